"""Environments written by hand: what may be left out, what follows from what, and how mistakes are named."""

import datetime
import random
import re
from pathlib import Path

import orjson
import pytest

from toolfoundry import demo
from toolfoundry.answers import holds, spelling
from toolfoundry.errors import InputError, RecordError
from toolfoundry.formats.toml import parse_toml, read_toml, read_toml_folder
from toolfoundry.signatures import describe
from toolfoundry.store import dump, load_record
from toolfoundry.types import Answer, EnvSpec

TEN_LINES = '''\
question = "How many steps has the tower at Orlen Point?"
answer = 214
steps = [{ tool = "tower_steps", arguments = { tower = "Orlen Point" } }]

[[tools]]
source = """
def tower_steps(tower: str) -> int:
    'The number of steps in a lighthouse tower.'
    return {'Orlen Point': 214, 'Cape Vane': 187}[tower]
"""
'''

CHAIN = '''\
question = "How old was the keeper of Orlen Point on 1 May 1900?"
answer = 41

[[steps]]
id = "keeper"
question = "Who kept Orlen Point on 1 May 1900?"
answer = "Hamo Tresk"
tool = "keeper"
arguments = { light = "Orlen Point", day = 1900-05-01 }

[[steps]]
question = "When was Hamo Tresk born?"
answer = 1858-09-30
needs = ["keeper"]
tool = "born"
arguments = { person = "Hamo Tresk" }

[[tools]]
source = """
def keeper(light: str, day: str): 'Who kept a light.'
"""

[[tools]]
source = """
def born(person: str): 'When somebody was born.'
"""
'''


def test_ten_lines_are_an_environment():
    """One step takes question and answer from the environment; name, description and schema from the function."""
    spec = parse_toml(TEN_LINES)
    assert spec.scenario.kind == "single_hop"
    assert spec.scenario.answer == Answer(type="number", value=214)
    assert spec.scenario.steps[0].question == spec.scenario.question
    assert [(goal.id, goal.tool, goal.answer.value, goal.needs) for goal in spec.goals] == [
        ("s1", "tower_steps", 214, ())
    ]
    assert [(call.id, orjson.loads(call.arguments)) for call in spec.gold_calls] == [("s1", {"tower": "Orlen Point"})]
    assert spec.tools[0].signature.description == "The number of steps in a lighthouse tower."
    assert spec.tools[0].signature.parameters == {
        "type": "object",
        "properties": {"tower": {"type": "string"}},
        "required": ["tower"],
    }
    assert spec.tools[0].source.startswith("def tower_steps")


def test_steps_with_needs_become_goals_with_edges():
    """Goals and gold calls follow the steps; TOML dates are dates as answers, and ISO text as arguments."""
    spec = parse_toml(CHAIN)
    assert spec.scenario.kind == "multi_hop"
    assert [(goal.id, goal.needs) for goal in spec.goals] == [("keeper", ()), ("s2", ("keeper",))]
    assert spec.goals[1].answer == Answer(type="date", value="1858-09-30")
    assert orjson.loads(spec.gold_calls[0].arguments)["day"] == "1900-05-01"


@pytest.mark.parametrize(
    ("needs", "kind"),
    [
        ([()], "single_hop"),
        ([(), ()], "parallel_single_hop"),
        ([(), ("s1",)], "multi_hop"),
        ([(), ("s1",), ("s1", "s2")], "multi_hop"),
        ([(), (), ("s1",)], "parallel_multi_hop"),
        ([(), ("s1",), ("s1",)], "parallel_multi_hop"),
    ],
)
def test_the_kind_follows_from_the_edges(needs, kind):
    """One step, independent steps, a chain through all, or a mixture; what the file says wins."""
    steps = "".join(
        f'[[steps]]\nquestion = "q{i}"\nanswer = {100 + i}\nneeds = {list(of)}\ntool = "f"\n'
        for i, of in enumerate(needs)
    )
    text = 'question = "q"\nanswer = 9\n' + steps + "[[tools]]\nsource = \"def f(): 'One.'\"\n"
    assert parse_toml(text).scenario.kind == kind
    assert parse_toml('kind = "multi_hop"\n' + text).scenario.kind == "multi_hop"


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("214", Answer(type="number", value=214)),
        ("2.5", Answer(type="number", value=2.5)),
        ('"5,000"', Answer(type="text", value="5,000")),
        ("true", Answer(type="boolean", value=True)),
        ("2001-05-18", Answer(type="date", value="2001-05-18")),
        ('["b", "a"]', Answer(type="list", value=["b", "a"])),
        ('{ type = "number", value = 5000, text = "5,000" }', Answer(type="number", value=5000, text="5,000")),
        ('{ type = "date", value = 2001-05-18 }', Answer(type="date", value="2001-05-18")),
    ],
)
def test_answers_have_the_type_that_toml_gives_them(written, answer):
    """A bare value has its own type; a table says type and spelling."""
    assert parse_toml(TEN_LINES.replace("answer = 214", f"answer = {written}")).scenario.answer == answer


def test_a_state_stays_out_of_the_schemas_and_actions_out_of_the_goals():
    """Tools of an environment with a state take `data`, which no model gives; an action is a gold call without goal."""
    light = '{ action = true, tool = "tower_steps", arguments = { tower = "x" } }'
    state = """'{"lamps": {"Orlen Point": 1}}'"""
    text = TEN_LINES.replace("tower: str", "tower: str, *, data: dict")
    text = text.replace("steps = [", f"state = {state}\nsteps = [{light}, ")
    spec = parse_toml(text)
    assert spec.state == {"lamps": {"Orlen Point": 1}}
    assert list(spec.tools[0].signature.parameters["properties"]) == ["tower"]
    assert [call.id for call in spec.gold_calls] == ["a1", "s2"]
    assert [goal.id for goal in spec.goals] == ["s2"]
    assert parse_toml(text.replace(state, "{ lamps = { 'Orlen Point' = 1 } }")) == spec


def test_a_prompt_is_text_or_messages():
    """Text is one user message; without a prompt the standard one is used."""
    assert parse_toml(TEN_LINES).prompt == ()
    one = parse_toml('prompt = "Look it up."\n' + TEN_LINES).prompt
    two = parse_toml(
        'prompt = [{ role = "system", content = "Be brief." }, { role = "user", content = "Go." }]\n' + TEN_LINES
    )
    assert [(message.role, message.content) for message in one] == [("user", "Look it up.")]
    assert [message.role for message in two.prompt] == ["system", "user"]


SIGNATURE = '''
from typing import Literal, Optional

def rate(
    city: str,
    days: list[int],
    scale: Literal["low", "high"] = "low",
    level: Literal[1, 2] = 2,
    limit: float | None = None,
    code: "int | str" = 0,
    extra: dict[str, bool] = {},
    anything: Optional[str] = "x",
    plain=3,
) -> dict:
    """Rate a city
    on some days.

    Args:
        city: Name of the city,
            in full.
        days (list): Days: numbers.
        plain: A number.

    Returns:
        city: not a parameter.
    """
'''


def test_the_schema_follows_from_signature_and_docstring():
    """Annotations give types, the docstring descriptions, defaults what may be left out; None means not given."""
    function = describe(SIGNATURE, None)
    assert (function.name, function.description) == ("rate", "Rate a city on some days.")
    assert function.parameters["required"] == ["city", "days"]
    assert function.parameters["properties"] == {
        "city": {"type": "string", "description": "Name of the city, in full."},
        "days": {"type": "array", "items": {"type": "integer"}, "description": "Days: numbers."},
        "scale": {"type": "string", "enum": ["low", "high"], "default": "low"},
        "level": {"type": "integer", "enum": [1, 2], "default": 2},
        "limit": {"type": "number"},
        "code": {"anyOf": [{"type": "integer"}, {"type": "string"}], "default": 0},
        "extra": {"type": "object", "additionalProperties": {"type": "boolean"}, "default": {}},
        "anything": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": "x"},
        "plain": {"type": "integer", "description": "A number.", "default": 3},
    }


def test_parameters_add_to_the_signature_or_replace_it():
    """A table per parameter is merged over what is inferred; a whole schema, also as JSON text, stands as it is."""
    more = parse_toml(TEN_LINES + 'parameters.tower.examples = ["Cape Vane"]\n').tools[0].signature.parameters
    assert more["properties"]["tower"] == {"type": "string", "examples": ["Cape Vane"]}
    whole = {"type": "object", "properties": {"tower": {"type": "string", "minLength": 2}}, "required": ["tower"]}
    text = TEN_LINES + f"parameters = '{orjson.dumps(whole).decode()}'\n"
    assert parse_toml(text).tools[0].signature.parameters == whole
    annotated = TEN_LINES.replace("tower: str", "tower")
    assert parse_toml(annotated + 'parameters.tower.type = "string"\n').tools[0].signature.parameters["required"] == [
        "tower"
    ]


def test_sources_are_never_run(tmp_path):
    """Reading a file parses its sources only: a source that would leave a trace leaves none."""
    trace = tmp_path / "trace"
    text = TEN_LINES.replace("def tower", f"open({str(trace)!r}, 'w')\ndef tower")
    assert parse_toml(text).tools[0].source.startswith("open")
    assert not trace.exists()


STEPS = 'steps = [{ tool = "tower_steps", arguments = { tower = "Orlen Point" } }]'
MISTAKES = {
    "not TOML": ("answer = 214", "answer =", None, "Invalid value", "TOML"),
    "no question": ("question", "#", "question", "nothing", "required"),
    "empty question": (
        '"How many steps has the tower at Orlen Point?"',
        '""',
        "question",
        '""',
        "at least 1 character",
    ),
    "a misspelt field": ("answer =", "anwser =", "anwser", "an unknown field", "answer"),
    "a misspelt field of a step": ("arguments =", "args =", "steps.0.args", "an unknown field", "arguments"),
    "a misspelt field of a tool": ("source =", "code =", "tools.0.code", "an unknown field", "source"),
    "no steps": (STEPS, "steps = []", "steps", "[]", "at least one"),
    "steps that are no array": (STEPS, 'steps = "two"', "steps", '"two"', "an array"),
    "a step that is no table": (STEPS, "steps = [3]", "steps.0", "3", "a table"),
    "an unknown kind": ("answer = 214", 'answer = 214\nkind = "many"', "kind", '"many"', "'single_hop'"),
    "an answer without value": ("214\n", '""\n', "answer", '""', "not empty"),
    "an answer of the wrong type": ("214\n", '{ type = "date", value = "May" }\n', "answer", '"May"', "YYYY-MM-DD"),
    "an answer of unknown type": ("214\n", '{ type = "day", value = "May" }\n', "answer.type", '"day"', "text, number"),
    "a number past 64 bits": ("214\n", "99999999999999999999\n", "answer", "64 bits", "JSON"),
    "no number": ("214\n", "nan\n", "answer", "nan", "JSON"),
    "an unknown tool": ('tool = "tower_steps"', 'tool = "steps"', "steps.0.tool", "'steps'", "tower_steps"),
    "an unknown argument": ("{ tower =", "{ town =", "steps.0.arguments", "'town'", "(tower)"),
    "an argument of the wrong type": (
        '"Orlen Point" }',
        "7 }",
        "steps.0.arguments.tower",
        None,
        'not of type "string"',
    ),
    "a need that is no step": ("[{ tool", '[{ needs = ["s0"], tool', "steps.0.needs", "'s0'", "earlier step"),
    "an action with an answer": ("[{ tool", "[{ action = true, answer = 1, tool", "steps.0.answer", "1", "action"),
    "nothing but actions": ("[{ tool", "[{ action = true, tool", "goals", "none", "at least one"),
    "a state that is no JSON": ("answer = 214", "answer = 214\nstate = '{'", "state", "malformed JSON", "JSON text"),
    "an unknown role": (
        "answer = 214",
        'answer = 214\nprompt = [{ role = "tool", content = "x" }]',
        "prompt.0.role",
        '"tool"',
        "'user'",
    ),
    "a source that is no Python": ("-> int:", "-> int", "tools.0.source", "in line 1", "Python"),
    "a source without function": ("def tower", "async def tower", "tools.0.source", "none", "one public function"),
    "a source with two functions": (
        "def tower",
        "def other(): 0\ndef tower",
        "tools.0.source",
        "other, tower_steps",
        "name",
    ),
    "a name that is no function": ("[[tools]]", '[[tools]]\nname = "g"', "tools.0.source", "tower_steps", "'g'"),
    "no type": ("tower: str", "tower", "tools.0.parameters.tower", "no annotation", "Literal"),
    "a type that is not known": ("tower: str", "tower: Tower", "tools.0.parameters.tower", "Tower", "Literal"),
    "open parameters": ("tower: str", "tower: str, **more", "tools.0.source", "**kwargs", "named parameters"),
    "no description": (
        "    'The number of steps in a lighthouse tower.'\n",
        "",
        "tools.0.description",
        "nothing",
        "docstring",
    ),
    "a schema for no parameter": (
        "[[tools]]",
        "[[tools]]\nparameters.town = {}",
        "tools.0.parameters",
        "'town'",
        "(tower)",
    ),
    "no schema": ("[[tools]]", "[[tools]]\nparameters = 3", "tools.0.parameters", "int", "JSON Schema"),
    "a schema that is wrong": (
        "[[tools]]",
        '[[tools]]\nparameters.tower.type = "str"',
        "tools.0.parameters.properties.tower.type",
        None,
        '"str"',
    ),
    "a schema from elsewhere": (
        "[[tools]]",
        '[[tools]]\nparameters.tower."$ref" = "http://127.0.0.1:9/"',
        "tools.0.parameters",
        None,
        "not fetched",
    ),
    "an output that is no schema": ("[[tools]]", "[[tools]]\noutput = '[]'", "tools.0.output", "[]", "JSON Schema"),
}


@pytest.mark.parametrize(("old", "new", "field", "found", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named(old, new, field, found, expected, tmp_path):
    """Each mistake gives one line with the file, the field, what was found and what was expected."""
    assert old in TEN_LINES
    path = tmp_path / "env.toml"
    path.write_text(TEN_LINES.replace(old, new, 1))
    with pytest.raises(RecordError) as caught:
        read_toml(path)
    error = caught.value
    assert error.field == field
    assert (found is None and error.found is None) or found in error.found
    assert expected in error.expected
    assert error.file == str(path)
    assert "\n" not in str(error)


def test_two_tools_of_one_name_and_two_steps_of_one_id_are_mistakes():
    """Names of tools and ids of steps are distinct."""
    with pytest.raises(RecordError, match="two tools named 'tower_steps'"):
        parse_toml(TEN_LINES + TEN_LINES[TEN_LINES.index("[[tools]]") :])
    with pytest.raises(RecordError, match=r"steps\.1\.id.*'keeper'"):
        parse_toml(CHAIN.replace("[[steps]]\nquestion", '[[steps]]\nid = "keeper"\nquestion'))
    with pytest.raises(RecordError, match=r"steps\.1\.question.*nothing"):
        parse_toml(CHAIN.replace('question = "When was Hamo Tresk born?"\n', ""))


def test_a_syntax_error_has_its_line():
    """The line of the file is named, also where the text just ends."""
    with pytest.raises(RecordError) as caught:
        parse_toml(TEN_LINES.replace("answer = 214", "answer = ="))
    assert caught.value.line == 2
    with pytest.raises(RecordError) as caught:
        parse_toml(TEN_LINES.rstrip().removesuffix('"""'))
    assert caught.value.line is not None


def test_files_and_folders(tmp_path):
    """A folder gives its files in the order of their names; a bad one stops it, or is passed over and told."""
    with pytest.raises(InputError, match=r"found no \.toml file"):
        list(read_toml_folder(tmp_path))
    (tmp_path / "b.toml").write_text(CHAIN)
    (tmp_path / "a.toml").write_text(TEN_LINES)
    (tmp_path / "c.toml").write_bytes(b"\xff")
    told = []
    specs = list(read_toml_folder(tmp_path, skip_bad=True, on_bad=told.append))
    assert [spec.provenance.location for spec in specs] == ["a.toml", "b.toml"]
    assert "UTF-8" in str(told[0])
    with pytest.raises(RecordError, match=r"c\.toml"):
        list(read_toml_folder(tmp_path))
    with pytest.raises(InputError, match="cannot be read"):
        read_toml(tmp_path / "none.toml")


def test_the_same_text_gives_the_same_record():
    """Reading is deterministic and the record survives JSON; where the file lies is not part of its identity."""
    spec = parse_toml(CHAIN, location="x.toml")
    assert dump(parse_toml(CHAIN, location="x.toml")) == dump(spec)
    assert load_record(EnvSpec, dump(spec)) == spec
    assert parse_toml(CHAIN).id == spec.id
    assert spelling(spec.goals[1].answer) == datetime.date(1858, 9, 30).isoformat()


def test_damaged_files_give_record_errors_only():
    """Whatever is cut out of a file or put into it, the error is one that names the file's mistake."""
    whole = next(spec for spec in demo.environments() if spec.state is not None)
    base = "".join(f"[[tools]]\nsource = '''\n{tool.source}'''\n" for tool in whole.tools) + TEN_LINES
    rng = random.Random(11)
    refused = []
    for _ in range(150):
        text = list(base)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text))
            text[at : at + rng.randint(0, 20)] = rng.choice(
                ["", "'''", '"', "=", "]", "{", "\n[[tools]]\n", "\\", "\x00"]
            )
        try:
            parse_toml("".join(text))
        except RecordError as error:
            refused.append(error)
    assert len(refused) > 100
    assert all(error.expected and "\n" not in str(error) for error in refused)


def manual():
    text = (Path(__file__).parents[2] / "docs" / "writing-environments.md").read_text()
    return re.findall(r"```toml\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("text", manual(), ids=range(len(manual())))
def test_the_examples_of_the_manual_work(text, sandbox):
    """Each example in docs/writing-environments.md is read, and its gold calls give its answers."""
    spec = parse_toml(text)
    with sandbox.session({tool.name: tool.source for tool in spec.tools}, state=spec.state) as session:
        for goal, call in zip(spec.goals, spec.gold_calls, strict=True):
            assert holds(goal.answer, session.call(call.name, orjson.loads(call.arguments)).content)
