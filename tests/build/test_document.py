"""Stage 2: every complaint about documents and gold calls, which must hold after the later stages too."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hand_author import HandAuthor
from toolfoundry.answers import infer
from toolfoundry.build.construct import prepare
from toolfoundry.build.document import complaints_about, document
from toolfoundry.build.draft import Brief, Decomposition, Documents, Rejected, Step, SymbolicCall
from toolfoundry.build.scaling import Scaling
from toolfoundry.symbolic import answer_of
from toolfoundry.types import Final, ToolSchema

SCENARIO = Decomposition(
    question="How many steps has the tower of Hask?",
    answer=infer("287"),
    steps=(
        Step(id="s1", question="Which tower stands in Hask?", answer=infer("Old Lantern")),
        Step(id="s2", question="How many steps has {s1}?", answer=infer("287")),
    ),
    final=Final(operation="answer", arguments={"value": answer_of("s2")}),
)
TEXT = {"type": "string"}
NUMBER = {"type": "integer"}


def tool(
    name: str, description: str = "Looks it up.", required: list[str] | None = None, **properties: Any
) -> ToolSchema:
    parameters = {"type": "object", "properties": properties, "required": required or list(properties)[:1]}
    return ToolSchema(name=name, description=description, parameters=parameters, output=TEXT)


TOWER = tool("town_tower", town=TEXT)
STEPS = tool("tower_steps", tower=TEXT, cellar={"type": "boolean", "default": False})
FIRST = SymbolicCall(step="s1", tool="town_tower", arguments={"town": "Hask"})
SECOND = SymbolicCall(step="s2", tool="tower_steps", arguments={"tower": answer_of("s1")})


def given(
    first: ToolSchema = TOWER, second: ToolSchema = STEPS, calls: Any = (FIRST, SECOND), more: Any = ()
) -> Documents:
    return Documents(documents=(first, second, *more), calls=tuple(calls))


def asks(**arguments: Any) -> tuple[SymbolicCall, ...]:
    """The gold calls, the second with other arguments."""
    return FIRST, SECOND.model_copy(update={"arguments": arguments})


def steps(**properties: Any) -> Documents:
    """The second tool with other parameters, the first of them required."""
    return given(second=tool("tower_steps", **properties))


def schema(parameters: Any) -> Documents:
    return given(second=STEPS.model_copy(update={"parameters": parameters}))


# What is wrong -> the documents, the reasons of all complaints, and what the first text names.
WRONG: dict[str, tuple[Documents, list[str], list[str]]] = {
    "no name": (given(first=tool("")), ["tool-name"], ["''", "identifier"]),
    "no identifier": (given(first=tool("town-tower")), ["tool-name"], ["'town-tower'", "identifier"]),
    "a long name": (given(first=tool("a" * 65)), ["tool-name"], ["64"]),
    "a name twice": (given(second=TOWER), ["tool-name"], ["two tools", "'town_tower'"]),
    "no description": (given(first=tool("town_tower", " ", town=TEXT)), ["no-description"], ["town_tower"]),
    "no output": (given(second=STEPS.model_copy(update={"output": None})), ["no-output-schema"], ["tower_steps"]),
    "an output that is no schema": (
        given(second=STEPS.model_copy(update={"output": {"type": "text"}})),
        ["schema-invalid"],
        ["tower_steps", "output"],
    ),
    "parameters that are no schema": (steps(tower={"type": "str"}), ["schema-invalid"], ["tower_steps", "parameters"]),
    "no object": (schema({"type": "array"}), ["schema-invalid"], ["expected type object with properties"]),
    "no properties": (schema({"type": "object"}), ["schema-invalid"], ["expected type object with properties"]),
    "a required parameter that is not there": (
        schema({"type": "object", "properties": {"tower": TEXT}, "required": ["tower", "town"]}),
        ["schema-invalid"],
        ["required", "names in properties"],
    ),
    "a parameter of any kind": (
        schema({"type": "object", "properties": {"tower": True}, "required": ["tower"]}),
        ["schema-invalid"],
        ["'tower'", "found true", "an object"],
    ),
    "a schema that stands elsewhere": (
        schema({"type": "object", "properties": {"tower": {"$ref": "#/$defs/name"}}, "$defs": {"name": TEXT}}),
        ["schema-invalid"],
        ["tower_steps", "$ref", "in its place"],
    ),
    "a parameter that is no identifier": (steps(tower=TEXT, **{"the day": TEXT}), ["parameter-name"], ["'the day'"]),
    "a step without a call": (given(calls=(FIRST,)), ["step-lost"], ["s2"]),
    "a call without a step": (
        given(calls=(FIRST, SECOND, FIRST.model_copy(update={"step": "s3"}))),
        ["unknown-step"],
        ["'s3'"],
    ),
    "two calls for a step": (given(calls=(FIRST, FIRST, SECOND)), ["step-twice"], ["two gold calls"]),
    "calls in another order": (given(calls=(SECOND, FIRST)), ["call-order"], ["s1, s2"]),
    "no such tool": (
        given(calls=(FIRST.model_copy(update={"tool": "tower"}), SECOND)),
        ["unknown-tool"],
        ["s1", "'tower'"],
    ),
    "the parent's answer is not used": (
        given(calls=asks(tower="Gull Watch")),
        ["parent-unused"],
        ["s2", '{"$answer": "s1"}'],
    ),
    "the parent's answer is written out": (
        given(calls=asks(tower="Old Lantern")),
        ["parent-unused", "parent-said"],
        ["s2", '{"$answer": "s1"}'],
    ),
    "an answer is used that is not needed": (
        given(calls=(FIRST.model_copy(update={"arguments": {"town": answer_of("s2", as_text=True)}}), SECOND)),
        ["parent-unneeded"],
        ["s1", "s2"],
    ),
    "an argument of another type": (
        given(calls=asks(tower=answer_of("s1"), cellar="yes")),
        ["gold-invalid"],
        ["s2", "tower_steps", "cellar", '"yes"'],
    ),
    "a required argument is missing": (
        given(calls=(FIRST.model_copy(update={"arguments": {}}), SECOND)),
        ["gold-invalid"],
        ["s1", '"town"'],
    ),
    "a number goes into a text": (
        steps(tower=NUMBER),
        ["gold-invalid"],
        ["s2", "tower", "Old Lantern"],
    ),
    "an enum carries the parent's answer": (
        steps(tower={"enum": ["Old Lantern", "Gull Watch"]}),
        ["carried-enum", "answer-in-document"],
        ["tower_steps.tower", "an enum"],
    ),
    "one of several schemas is an enum": (
        steps(tower={"anyOf": [{"enum": ["Gull Watch", "Grey Finger"]}, {"type": "string", "minLength": 3}]}),
        ["carried-enum"],
        ["tower_steps.tower", "an enum"],
    ),
    "a default carries it": (
        steps(tower={**TEXT, "default": "Gull Watch"}),
        ["carried-enum"],
        ["tower_steps.tower", "a default"],
    ),
    "the items of a list carry it": (
        given(
            second=tool("tower_steps", towers={"type": "array", "items": {"enum": ["Old Lantern"]}}),
            calls=asks(towers=[answer_of("s1")]),
        ),
        ["carried-enum", "answer-in-document"],
        ["tower_steps.towers", "an enum"],
    ),
    "a field of an object carries it": (
        given(
            second=tool("tower_steps", query={"type": "object", "properties": {"name": {"const": "Old Lantern"}}}),
            calls=asks(query={"name": answer_of("s1")}),
        ),
        ["carried-enum", "answer-in-document"],
        ["tower_steps.query", "an enum"],
    ),
    "an optional parameter carries it": (
        given(second=tool("tower_steps", town=TEXT, tower=TEXT), calls=asks(town="Hask", tower=answer_of("s1"))),
        ["carried-optional"],
        ["tower_steps.tower", "required"],
    ),
    "a description tells an answer": (
        given(second=tool("tower_steps", "Steps of the Old Lantern and others.", tower=TEXT)),
        ["answer-in-document"],
        ["tower_steps", "description", "s1", "'Old Lantern'"],
    ),
    "an example tells an answer": (
        steps(tower=TEXT, least={**NUMBER, "examples": [287]}),
        ["answer-in-document"],
        ["tower_steps", "least", "s2", "'287'"],
    ),
    "a tool nobody needs tells an answer": (
        given(more=(tool("tower_bells", tower={**TEXT, "default": "Old Lantern"}),)),
        ["answer-in-document"],
        ["tower_bells", "default", "s1"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_complaints(name):
    """The reasons of all complaints, and what was found and is expected in the first text."""
    documents, reasons, told = WRONG[name]
    complaints = complaints_about(SCENARIO, documents)
    assert [complaint.reason for complaint in complaints] == reasons
    for text in told:
        assert text in complaints[0].detail


BOOLEAN = SCENARIO.model_copy(
    update={"steps": (SCENARIO.steps[0].model_copy(update={"answer": infer("yes")}), SCENARIO.steps[1])}
)


def test_a_boolean_carries_nothing():
    """A truth value that comes from an earlier step could be guessed in two tries."""
    documents = steps(tower={"type": "boolean"})
    assert [complaint.reason for complaint in complaints_about(BOOLEAN, documents)] == ["carried-enum"]


@pytest.mark.parametrize(
    "documents",
    [
        given(),
        given(calls=asks(tower=answer_of("s1"), cellar=True)),
        given(more=(tool("tower_bells", tower=TEXT),)),
        given(second=TOWER.model_copy(update={"name": "tower_steps"}), calls=asks(town=answer_of("s1"))),
        given(
            second=tool("tower_steps", query={"type": "object", "properties": {"kind": {"enum": ["tower"]}}}),
            calls=asks(query={"kind": "tower", "name": answer_of("s1")}),
        ),
        given(
            second=tool("tower_steps", towers={"type": "array", "items": TEXT}), calls=asks(towers=[answer_of("s1")])
        ),
    ],
    ids=["plain", "an optional argument", "a distractor", "alike", "a choice beside what is carried", "in a list"],
)
def test_nothing_to_complain_of(documents):
    assert complaints_about(SCENARIO, documents) == []


def test_a_number_as_text():
    """An answer that is a number goes into a text parameter by its spelling, and not as it is."""
    scenario = SCENARIO.model_copy(
        update={
            "steps": (
                Step(id="s1", question="When was Hask founded?", answer=infer("1412")),
                Step(id="s2", question="How many towns were founded in {s1}?", answer=infer("287")),
            )
        }
    )
    assert [c.reason for c in complaints_about(scenario, given())] == ["gold-invalid"]
    assert complaints_about(scenario, given(calls=asks(tower=answer_of("s1", as_text=True)))) == []


def test_short_answers_are_no_leak():
    """'12' in a description is a coincidence."""
    last = Step(id="s2", question="How many bells has {s1}?", answer=infer("12"))
    scenario = SCENARIO.model_copy(update={"steps": (SCENARIO.steps[0], last), "answer": infer("12")})
    assert complaints_about(scenario, given(second=tool("tower_steps", "Of 12 months.", tower=TEXT))) == []


# --- the stage -------------------------------------------------------------------------------------------------------


def run(author, index=3):
    async def both():
        draft = await prepare(Brief(index=index, origin="test"), author, Scaling(), until="decompose")
        return await document(draft, author)

    return asyncio.run(both())


def test_one_document_for_each_step():
    """Two documents for four steps come too early; the author is told so and gives four."""
    author = HandAuthor({"document": lambda asked, value: value if asked else _merged(value)})
    draft = run(author)
    assert draft.stage == "document"
    assert [document.name for document in draft.documents] == [
        "town_tower",
        "tower_in_town",
        "tower_steps",
        "count_tower_steps",
    ]
    assert [call.step for call in draft.calls] == ["s1", "s2", "s3", "s4"]
    [complaint] = author.asked["document"][1].complaints
    assert complaint.reason == "one-to-one"
    assert complaint.detail == "found 2 documents for 4 steps, expected one each"


def _merged(value):
    used = {"tower_in_town": "town_tower", "count_tower_steps": "tower_steps"}
    calls = tuple(call.model_copy(update={"tool": used.get(call.tool, call.tool)}) for call in value.calls)
    return value.model_copy(update={"documents": value.documents[::2], "calls": calls})


def test_an_author_that_loses_a_step():
    """Rejected with the reason, after as many questions as it may be asked."""
    author = HandAuthor({"document": lambda asked, value: value.model_copy(update={"calls": value.calls[1:]})})
    with pytest.raises(Rejected) as caught:
        run(author)
    assert (caught.value.reason, caught.value.asked) == ("step-lost", 3)
    assert "no gold call answers s1" in caught.value.detail
