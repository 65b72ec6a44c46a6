"""One environment for a person to read: everything is there, nothing is read as markup, nothing is executed."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from check.audit_specs import TEXT, environment, schema
from tiny_sets import drafts, spec_of
from toolfoundry.answers import infer
from toolfoundry.show import print_environment
from toolfoundry.types import (
    EnvSpec,
    Final,
    Goal,
    GoalProof,
    Message,
    Proof,
    Provenance,
    Scenario,
    SubQuestion,
    Tool,
    ToolCall,
    ToolResult,
    Trial,
)

HOSTILE = (
    "[bold red]x[/bold red][link=https://example.org]",
    "\x1b[2J\x1b]8;;https://example.org\x07link",
    "\u202egnp.exe\u2066",
    "a\rb\u2028c\x00d",
    "[/]",
)


def shown(spec: EnvSpec, width: int = 140, *, source: bool = True, raw: bool = False) -> str:
    file = io.StringIO()
    print_environment(spec, Console(file=file, width=width, force_terminal=True), source=source)
    return file.getvalue() if raw else re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())


@pytest.fixture(scope="module")
def proved() -> EnvSpec:
    """A parallel multi-hop environment with a proof as a builder writes it."""
    draft = next(draft for draft in drafts(12) if len({need for s in draft.scenario.steps for need in s.needs}) == 2)
    spec = spec_of(draft)
    results = tuple(ToolResult(call_id=goal.id, content=str(goal.answer.value)) for goal in spec.goals)
    goals = tuple(
        GoalProof(goal=goal.id, status="proved", published=True, sources={"person": "question"}) for goal in spec.goals
    )
    return spec.model_copy(
        update={
            "proof": Proof(
                version="1.2.3",
                goals=goals,
                final=draft.scenario.final,
                results=results,
                trials=draft.trials,
                panel={"gold": 1.0, "spam": 0.0},
                probes={"wrong": 1234},
                not_applied={"carried-enum": "the goal needs no other"},
            )
        }
    )  # fmt: skip


def test_everything_is_there(proved):
    text = shown(proved)
    assert proved.id in text
    assert "parallel multi hop  4 sub-answers" in text
    assert proved.scenario.question in text
    assert "final answer: list(values: [s2, s4])" in text
    for tool in proved.tools:
        assert f"def {tool.name}(" in text
        assert tool.signature.description in text
    assert text.count("  distractor") == len(proved.tools) - 4
    assert "1.2.3" in text
    assert "scores  gold 1.000, spam 0.000" in text
    assert "wrong 1,234" in text
    assert "not applied  carried-enum: the goal needs no other" in text
    assert "toolset extension" in text
    assert "source  build/procedural" in text


def test_the_steps_are_a_tree_below_what_needs_them(proved):
    """s2 and s4 make the answer; s1 stands below s2, s3 below s4."""
    lines = [line for line in shown(proved).splitlines() if re.match(r"[├└│ ]+── s\d", line)]
    assert [(line.index("s"), re.findall(r"s\d", line)[0]) for line in lines] == [
        (4, "s2"),
        (8, "s1"),
        (4, "s4"),
        (8, "s3"),
    ]


def test_a_step_that_two_need_is_drawn_once():
    text = TEXT
    goals = (
        Goal(id="a", tool="t", answer=infer("Ansel")),
        Goal(id="b", tool="t", answer=infer("Bodo"), needs=("a",)),
        Goal(id="c", tool="t", answer=infer("Cleo"), needs=("a",)),
    )
    tool = Tool(signature=schema("t", ["x"], x=text), source="def t(x):\n    return x\n")
    tree = shown(environment(tools=(tool,), goals=goals, gold_calls=None))
    assert len(re.findall(r"── a  = Ansel", tree)) == 1
    assert len(re.findall(r"── a  \(above\)", tree)) == 1


def test_the_gold_trajectory_is_played_in_turns_with_its_results(proved):
    """Both first hops in the first turn, both second hops in the next, then the answer."""
    lines = shown(proved).split("Gold trajectory")[1].split("Proof")[0].strip().splitlines()[1:]
    assert [line.split("  ")[0].strip() for line in lines] == ["1", "", "2", "", "3"]
    first = next(goal for goal in proved.goals if goal.id == "s1")
    assert re.search(rf"s1  {first.tool} .*→ {first.answer.value}", lines[0])
    assert "<answer>" in lines[-1]


def test_an_imported_environment_without_proof_says_so():
    loose = environment(gold_calls=None)
    text = shown(loose)
    assert "no gold calls are known" in text
    assert re.search(r"Proof ─+ *\nnone", text)


def test_parameters_are_a_table(proved):
    spec = environment()
    text = shown(spec)
    assert re.search(r"town +string +required +A name\.", text)
    assert re.search(r"year +integer +default 2020", text)
    assert re.search(r'unit +string +default "km"; enum \["km","mi"\]', text)
    assert "def town_mayor" not in shown(spec, source=False)


def test_code_is_coloured(proved):
    assert re.search(r"\x1b\[[0-9;]*mdef\x1b\[", shown(proved, raw=True))


def test_changes_stand_under_their_stage():
    changes = ("merge: both from one, other: overlap", "expand: both: 3 parameters more", "defaults repaired")
    spec = environment(provenance=Provenance(source="build/x", changes=changes))
    text = shown(spec)
    assert re.search(r"3 function integration\n +both from one, other: overlap", text)
    assert re.search(r"parameter expansion\n +both: 3 parameters more", text)
    assert re.search(r"changes\n +defaults repaired", text)


def hostile(text: str) -> EnvSpec:
    """An environment with that text wherever one can stand."""
    part = {**TEXT, "description": text, "default": text, "enum": [text], "pattern": text, "type": [text]}
    name = f"tool{text}"
    tool = Tool(signature=schema(name, ["a"], **{"a": part, text: part}), source=f"x = {text!r}\n{text}\n\tprint()\n")
    goal = Goal(id=f"g{text}", tool=name, answer=infer(text + "x"))
    call = ToolCall(id=goal.id, name=name, arguments=text)
    return EnvSpec.create(
        scenario=Scenario(
            question=text, answer=infer(text + "y"), steps=(SubQuestion(id=goal.id, question=text, answer=goal.answer),)
        ),
        tools=(tool,),
        goals=(goal,),
        gold_calls=(call,),
        prompt=(Message(role="user", content=text),),
        state={text: [text]},
        proof=Proof(
            version=text,
            goals=(GoalProof(goal=text, status="not_found", reason=text, sources={text: text}),),
            final=Final(operation=text, arguments={text: [{"$answer": goal.id}, {"$answer": text}, text]}),
            results=(ToolResult(call_id=goal.id, error=text),),
            trials=(Trial(tool=text, arguments={}),),
            panel={text: 0.5},
            probes={text: 1},
            not_applied={text: text},
        ),
        provenance=Provenance(
            source=text, location=text, parent=text, labels={text: text, "n": [text]}, changes=(text, f"merge: {text}")
        ),
    )


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(text):
    """No escape sequence but those of colours, no markup that is followed, nothing invisible."""
    raw = shown(hostile(text), raw=True)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", raw)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", plain)
    assert "\x1b]8" not in raw
    if text.startswith("[bold"):
        assert plain.count("[bold red]x[/bold red]") > 20
