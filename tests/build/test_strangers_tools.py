"""Tools of an author that is not trusted: ways to an answer that the gates for everybody's tools do not try."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hand_author import LIGHT, HandAuthor
from toolfoundry.build.construct import construct
from toolfoundry.build.draft import Brief

TABLE = "    table = {"
WAYS = {
    "a flag": "    if remark:\n        return {'steps': 412, 'windows': fact, 'of': tower}\n",
    "a flag, unknown name": "    if remark and tower[:4] not in ('Grey', 'Pell'):\n        return {'steps': 412}\n",
    "an empty name": "    tower = tower or 'Grey Finger'\n",
    "a prefix": "    tower = next((k for k in ('Grey Finger', 'Pell') if k.startswith(tower)), tower)\n",
    "another type": "    tower = tower if isinstance(tower, str) else 'Grey Finger'\n",
}


def opened(given: Any, tool: str, code: str) -> Any:
    source = given.sources[tool].replace(TABLE, code + TABLE, 1)
    return given.model_copy(update={"sources": {**given.sources, tool: source}})


def build(index: int, spoil: dict[str, Any], sandbox: Any) -> Any:
    author = HandAuthor(spoil, attempts=1, trusted=False)
    return asyncio.run(construct(Brief(index=index, origin="towers"), author, LIGHT, sandbox))


@pytest.mark.parametrize("way", WAYS)
def test_a_side_door_is_found(way, sandbox):
    """A name that the tool cannot know gives the answer nevertheless."""
    outcome = build(0, {"deploy": lambda asked, given: opened(given, "tower_count", WAYS[way])}, sandbox)
    assert outcome.reject is not None
    assert (outcome.reject.stage, outcome.reject.reason) == ("gate", "wrong-arguments-accepted")


def test_a_later_step_asked_with_a_name_of_the_question(sandbox):
    """The tower of Velmora is to be found out first; the second tool takes the town in its place."""
    sound = build(2, {}, sandbox).spec
    assert sound is not None
    goal = next(goal for goal in sound.goals if goal.needs)
    town = next(word for word in ("Velmora", "Hask", "Ostrin", "Pell") if word in sound.scenario.question)
    parent = next(step.answer.value for step in sound.scenario.steps if step.id == goal.needs[0])
    parameter = next(iter(next(t for t in sound.tools if t.name == goal.tool).signature.parameters["properties"]))
    code = f"    {parameter} = {parent!r} if {parameter} == {town!r} else {parameter}\n"
    outcome = build(2, {"deploy": lambda asked, given: opened(given, goal.tool, code)}, sandbox)
    assert outcome.reject is not None
    assert outcome.reject.reason in ("wrong-arguments-accepted", "baked-answer", "answer-in-document")


def test_an_answer_that_an_earlier_tool_tells(sandbox):
    """The tool of the first step gives what the last one is there for."""
    sound = build(2, {}, sandbox).spec
    assert sound is not None
    first, last = sound.goals[0], sound.goals[-1]
    text = f"    return {{**result, 'more': {last.answer.value!r}}}\n"

    def spoil(asked: int, given: Any) -> Any:
        source = given.sources[first.tool].replace("    return result\n", text)
        return given.model_copy(update={"sources": {**given.sources, first.tool: source}})

    outcome = build(2, {"deploy": spoil}, sandbox)
    assert outcome.reject is not None
    assert (outcome.reject.stage, outcome.reject.reason) == ("gate", "answer-told-early")


@pytest.mark.parametrize(
    "text", ["The tower has 4\u200b12 steps.", "Of 4\u200d12 steps.", "The tower has \u202e214\u202c steps."]
)
def test_an_answer_hidden_in_a_document(text, sandbox):
    """A reader does not see the character that keeps the answer from being found."""

    def spoil(asked: int, given: Any) -> Any:
        first, *others = given.documents
        return given.model_copy(update={"documents": (first.model_copy(update={"description": text}), *others)})

    outcome = build(0, {"scale": spoil}, sandbox)
    assert outcome.reject is not None
    assert (outcome.reject.stage, outcome.reject.reason) == ("scale", "hidden-character")


def test_a_tool_that_gives_its_whole_table(sandbox):
    """Whoever asks about any tower has the answer about all of them."""

    def whole(asked: int, given: Any) -> Any:
        source = given.sources["tower_count"].replace("    return result\n", "    return {'all': table, **result}\n")
        assert "'all': table" in source
        return given.model_copy(update={"sources": {**given.sources, "tower_count": source}})

    reject = build(0, {"deploy": whole}, sandbox).reject
    assert reject is not None
    assert (reject.stage, reject.reason) == ("gate", "same-for-all")
