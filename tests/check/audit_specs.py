"""One sound environment, and one spoiled copy of it for each gate: each has that fault, and says which gates see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from toolfoundry.answers import infer
from toolfoundry.types import EnvSpec, Goal, Provenance, Scenario, Tool, ToolCall, ToolSchema

MAYOR = '''def town_mayor(town, year=2020):
    """Who is mayor of a town."""
    mayors = {("velmora", 2020): "Ilse Tarn", ("velmora", 2021): "Bodo Quint", ("hask", 2021): "Ruta Elm"}
    name = mayors.get((town.strip().lower(), year))
    if name is None:
        return {"error": f"no mayor of {town!r} in {year} on record"}
    return {"mayor": name}
'''
STUDY = '''def person_study(person, detail=False):
    """What a person has studied."""
    studies = {"bodo quint": ("hydrology", "Oster"), "ilse tarn": ("botany", "Lund")}
    if person.lower() not in studies:
        raise ValueError(f"nobody called {person!r} in the register")
    subject, place = studies[person.lower()]
    return {"subject": subject, "place": place} if detail else {"subject": subject}
'''
RIVER = '''def river_length(river, unit="km"):
    """How long a river is."""
    lengths = {"Ansel": 182.5, "Morrow": 77.0}
    if river not in lengths:
        return {"error": f"unknown river {river!r}"}
    return {"length": round(lengths[river] / (1 if unit == "km" else 1.609344), 1), "unit": unit}
'''

NOISE = """def river_length(river, unit="km"):
    import random
    return {"metres": random.random(), "of": [river, unit]}
"""


def schema(name: str, required: list[str], **properties: Any) -> ToolSchema:
    parameters = {"type": "object", "properties": properties, "required": required}
    return ToolSchema(name=name, description=f"Looks up: {name.replace('_', ' ')}.", parameters=parameters)


TEXT = {"type": "string", "description": "A name."}
TOOLS = {
    "town_mayor": Tool(
        signature=schema("town_mayor", ["town"], town=TEXT, year={"type": "integer", "default": 2020}), source=MAYOR
    ),
    "person_study": Tool(
        signature=schema("person_study", ["person"], person=TEXT, detail={"type": "boolean", "default": False}),
        source=STUDY,
    ),
    "river_length": Tool(
        signature=schema(
            "river_length", ["river"], river=TEXT, unit={"type": "string", "enum": ["km", "mi"], "default": "km"}
        ),
        source=RIVER,
    ),
}
QUESTION = "What has the one studied who was mayor of Velmora in 2021?"


def call(id: str, name: str, **arguments: Any) -> ToolCall:
    return ToolCall(id=id, name=name, arguments=json.dumps(arguments))


GOALS = (
    Goal(id="mayor", tool="town_mayor", answer=infer("Bodo Quint")),
    Goal(id="study", tool="person_study", answer=infer("hydrology"), needs=("mayor",)),
)
GOLD = (call("mayor", "town_mayor", town="Velmora", year=2021), call("study", "person_study", person="Bodo Quint"))


def environment(question: str = QUESTION, final: str | None = "hydrology", **fields: Any) -> EnvSpec:
    answer = None if final is None else infer(final)
    values: dict[str, Any] = {
        "scenario": Scenario(question=question, answer=answer, kind=fields.pop("kind", "multi_hop")),
        "tools": tuple(TOOLS.values()),
        "goals": GOALS,
        "gold_calls": GOLD,
        "provenance": Provenance(source="test", location="written by hand"),
    }
    return EnvSpec.create(**(values | fields))


def with_tool(name: str, source: str | None = None, **parameters: Any) -> EnvSpec:
    """The sound environment with another source, or other keywords in the schema, for one tool."""
    tool = TOOLS[name]
    signature = tool.signature.model_copy(update={"parameters": {**tool.signature.parameters, **parameters}})
    changed = Tool(signature=signature, source=tool.source if source is None else source)
    return environment(tools=tuple(changed if one.name == name else one for one in TOOLS.values()))


def properties(name: str, **changes: Any) -> dict[str, Any]:
    kept: Any = TOOLS[name].signature.parameters["properties"]
    return {key: value for key, value in {**kept, **changes}.items() if value is not None}


def _weak() -> EnvSpec:
    short = (GOALS[0], GOALS[1].model_copy(update={"answer": infer("ox")}))
    tools = {
        **TOOLS,
        "person_study": TOOLS["person_study"].model_copy(update={"source": STUDY.replace("hydrology", "ox")}),
    }
    return environment(goals=short, final="ox", tools=tuple(tools.values()))


def _twice() -> EnvSpec:
    source = MAYOR.replace('"Ruta Elm"', '"Bodo Quint"')
    goals = (GOALS[0], GOALS[0].model_copy(update={"id": "hask"}), GOALS[1])
    gold = (GOLD[0], call("hask", "town_mayor", town="Hask", year=2021), GOLD[1])
    return with_tool("town_mayor", source).replace(goals=goals, gold_calls=gold)


def _state() -> EnvSpec:
    """Sound, with a state: a desk gives a pass, and the register opens to that pass only."""
    open_desk = '''def open_desk(clerk, data):
    """Opens the desk."""
    if clerk != "Veit":
        return {"error": "no such clerk"}
    data["pass"] = "Q-7741"
    return {"pass": data["pass"]}
'''
    read_entry = '''def read_entry(number, day_pass, data):
    """Reads an entry of the register."""
    if data["pass"] is None or day_pass != data["pass"]:
        return {"error": "the desk is closed"}
    return {"entry": data["entries"].get(str(number), "none")}
'''
    numbered = {"number": {"type": "integer"}, "day_pass": TEXT}
    return environment(
        question="Open the desk as Veit and say what entry 4711 is about.",
        final="drainage rights",
        tools=(
            Tool(signature=schema("open_desk", ["clerk"], clerk=TEXT), source=open_desk),
            Tool(signature=schema("read_entry", ["number", "day_pass"], **numbered), source=read_entry),
        ),
        goals=(
            Goal(id="pass", tool="open_desk", answer=infer("Q-7741")),
            Goal(id="entry", tool="read_entry", answer=infer("drainage rights"), needs=("pass",)),
        ),
        gold_calls=(
            call("pass", "open_desk", clerk="Veit"),
            call("entry", "read_entry", number=4711, day_pass="Q-7741"),
        ),
        state={"pass": None, "entries": {"4711": "drainage rights", "12": "a footpath"}},
    )


SOUND = {"sound": environment(), "sound, with a state": _state()}

# What is wrong -> the environment, and every defect or note that it then has beyond those of the sound one.
SPOILED: dict[str, tuple[Callable[[], EnvSpec], set[str]]] = {
    "the question holds the final answer": (
        lambda: environment(QUESTION.replace("?", ", hydrology or botany?")),
        {"answer-in-question", "golden-in-question"},
    ),
    "the question holds a sub-answer": (
        lambda: environment(QUESTION.replace("one", "one (Bodo Quint)")),
        {"golden-in-question"},
    ),
    "a golden of two characters": (_weak, {"weak-golden"}),
    "two goals with one answer": (_twice, {"duplicate-golden"}),
    "the final answer is that of another hop": (lambda: environment(final="Bodo Quint"), {"final-inconsistent"}),
    "a description shows the answer": (
        lambda: with_tool(
            "person_study", properties=properties("person_study", person={**TEXT, "description": "Of hydrology, say."})
        ),
        {"answer-in-document"},
    ),
    "an enum shows a sub-answer and carries it": (
        lambda: with_tool(
            "person_study", properties=properties("person_study", person={**TEXT, "enum": ["Bodo Quint", "Ilse Tarn"]})
        ),
        {"answer-in-document", "carried-enum", "placeholder-answers", "placeholder-answers-published"},
    ),
    "a default that the schema rejects": (
        lambda: with_tool(
            "river_length", properties=properties("river_length", unit={"enum": ["km", "mi"], "default": "ell"})
        ),
        {"default-invalid"},
    ),
    "a type that JSON Schema does not know": (
        lambda: with_tool("river_length", properties=properties("river_length", river={"type": "str"})),
        {"schema-invalid"},
    ),
    "a source that cannot be parsed": (lambda: with_tool("river_length", "def river_length(:"), {"source-invalid"}),
    "a source without the function": (lambda: with_tool("river_length", "x = 1"), {"function-missing"}),
    "the function needs more than the schema": (
        lambda: with_tool("river_length", RIVER.replace('unit="km"', "unit")),
        {"mismatch-required", "call-fails"},
    ),
    "the schema requires more than the function": (
        lambda: with_tool("river_length", required=["river", "unit"]),
        {"mismatch-optional"},
    ),
    "the schema has a parameter of its own": (
        lambda: with_tool("river_length", properties=properties("river_length", season=TEXT)),
        {"mismatch-unknown", "call-fails"},
    ),
    "the function has a parameter of its own": (
        lambda: with_tool(
            "river_length", RIVER.replace('unit="km"', 'unit="km", factor=1').replace("182.5", "182.5 * factor")
        ),
        {"mismatch-missing"},
    ),
    "a parameter that is never read": (
        lambda: with_tool("person_study", STUDY.replace(' if detail else {"subject": subject}', "")),
        {"dead-parameter"},
    ),
    "a parameter that is only validated": (
        lambda: with_tool("person_study", STUDY.replace("if detail else", "if detail in (True, False) else")),
        {"parameter-without-effect"},
    ),
    "a parameter of a distractor that is only validated": (
        lambda: with_tool(
            "river_length",
            RIVER.replace('(1 if unit == "km" else 1.609344)', "len([unit])").replace(', "unit": unit', ""),
        ),
        {"effect-not-found"},
    ),
    "a name that nothing defines": (
        lambda: with_tool("river_length", RIVER.replace("round(", "rounded(")),
        {"undefined-name", "effect-not-found"},
    ),
    "an import that the published executor hides": (
        lambda: with_tool(
            "river_length", "import math\n" + RIVER.replace("round(", "math.floor(").replace(", 1),", "),")
        ),
        {"hidden-names"},
    ),
    "an example call": (
        lambda: with_tool("river_length", RIVER + "\nprint(river_length('Ansel'))\n"),
        {"top-level-effects"},
    ),
    "today's date in the result": (
        lambda: with_tool(
            "river_length",
            RIVER.replace("    lengths", "    import datetime\n    lengths")
            .replace('"unit": unit', '"unit": unit, "on": str(datetime.date.today())')
            .replace('{"error": f"unknown river {river!r}"}', '{"error": f"unknown on {datetime.date.today()}"}'),
        ),
        {"clock-or-randomness", "nondeterministic"},
    ),
    "random numbers": (
        lambda: with_tool("river_length", NOISE),
        {"clock-or-randomness", "nondeterministic"},
    ),
    "an address in memory": (
        lambda: with_tool("river_length", RIVER.replace('"unit": unit}', '"unit": unit, "serial": id(object())}')),
        {"clock-or-randomness"},
    ),
    "a foreign module": (
        lambda: with_tool("river_length", RIVER.replace("    lengths", "    import numpy\n    lengths")),
        {"forbidden-import", "call-fails", "effect-not-found"},
    ),
    "eval": (
        lambda: with_tool("river_length", RIVER.replace("lengths[river]", "eval('lengths[river]')")),
        {"dangerous-call"},
    ),
    "a tool that breaks on valid arguments": (
        lambda: with_tool("river_length", RIVER.replace("    if river", "    int(river)\n    if river")),
        {"call-fails", "effect-not-found"},
    ),
    "a tool that answers whatever it is asked": (
        lambda: with_tool(
            "person_study",
            STUDY.replace('raise ValueError(f"nobody called {person!r} in the register")', "person = 'bodo quint'"),
        ),
        {"placeholder-answers", "placeholder-answers-published", "wrong-arguments-accepted"},
    ),
    "a distractor that answers": (
        lambda: with_tool(
            "river_length",
            RIVER.replace('{"error": f"unknown river {river!r}"}', '{"nearby": "the hydrology of " + river}'),
        ),
        {"distractor-answers"},
    ),
    "an error that tells the answer": (
        lambda: with_tool("person_study", STUDY.replace('f"nobody called {person!r}', 'f"no hydrology of {person!r}')),
        {"answer-in-error", "placeholder-answers-published"},
    ),
    "a gold call that fails": (
        lambda: environment(gold_calls=(GOLD[0], call("study", "person_study", person="Bodo Quind"))),
        {"gold-fails"},
    ),
    "an argument that does not matter": (
        lambda: with_tool(
            "town_mayor", MAYOR.replace("(town.strip().lower(), year)", "('velmora' if town else '', year)")
        ),
        {"wrong-arguments-accepted"},
    ),
    "no final answer and one goal": (
        lambda: environment(final=None, goals=(GOALS[0],), gold_calls=(GOLD[0],)),
        set(),
    ),
}
