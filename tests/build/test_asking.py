"""How often an author is asked, and answers that are no use to anything after it."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from hand_author import LIGHT, HandAuthor
from toolfoundry.build.construct import construct, prepare
from toolfoundry.build.draft import Brief, Draft, Reject
from toolfoundry.build.questions import read_briefs
from toolfoundry.store import dump
from toolfoundry.types import Answer


def brief(index: int = 0) -> Brief:
    return Brief(index=index, origin="towers")


def build(given: Any, author: HandAuthor, sandbox: Any) -> Any:
    return asyncio.run(construct(given, author, LIGHT, sandbox))


def broken(given: Any) -> Any:
    return given.model_copy(
        update={"sources": {name: source.replace("(412,", "(999,") for name, source in given.sources.items()}}
    )


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("attempts", [1, 3, 4])
def test_attempts_are_those_of_both_loops(attempts, sandbox):
    """Sources that are missing every other time, and wrong when they are not: `attempts` requests in all."""

    def spoil(asked: int, given: Any) -> Any:
        return given.model_copy(update={"sources": {}}) if asked % 2 else broken(given)

    author = HandAuthor({"deploy": spoil}, attempts=attempts)
    reject = build(brief(), author, sandbox).reject
    assert len(author.asked["deploy"]) == attempts
    assert reject.asked == attempts


def test_a_source_of_a_pool_is_not_written_again(sandbox):
    """An author that writes one for a distractor that came with its own is told so."""
    four = LIGHT.model_copy(update={"distractors": 4})

    def spoil(asked: int, given: Any) -> Any:
        source = "def bell_weight(bell, fact='weight'):\n    return {'weight': 1}\n"
        return given if asked else given.model_copy(update={"sources": {**given.sources, "bell_weight": source}})

    author = HandAuthor({"deploy": spoil}, attempts=2)
    outcome = asyncio.run(construct(brief(), author, four, sandbox))
    assert outcome.spec is not None
    assert [complaint.reason for complaint in author.asked["deploy"][1].complaints] == ["source-unasked"]
    source = next(tool.source for tool in outcome.spec.tools if tool.name == "bell_weight")
    assert "Great Agnes" in source


UNFIT = {
    "whole number": 10**30,
    "negative whole number": -(2**63) - 1,
    "no number": math.nan,
    "infinity": math.inf,
    "surrogate": "Grey \ud800Finger",
    "key": {"\udfff": 1},
    "deep": nested(200),
    "long": list(range(200_000)),
}


def calls_with(given: Any, value: Any) -> Any:
    call = given.calls[0]
    return given.model_copy(
        update={"calls": (call.model_copy(update={"arguments": {**call.arguments, "extra": value}}), *given.calls[1:])}
    )


@pytest.mark.parametrize("name", UNFIT)
@pytest.mark.parametrize("stage", ["decompose", "scale", "deploy"])
def test_values_that_cannot_be_kept_are_a_reject(stage, name, sandbox):
    """One item is lost, not the build: in an answer, an argument, a trial."""
    value = UNFIT[name]

    def spoil(asked: int, given: Any) -> Any:
        match stage:
            case "decompose":
                answer = Answer.model_construct(type="list", value=[value], text=None)
                return given.model_copy(update={"answer": answer})
            case "scale":
                return calls_with(given, value)
            case _:
                trial = given.trials[0].model_copy(update={"arguments": {"town": value}})
                return given.model_copy(update={"trials": (trial,)})

    outcome = build(brief(), HandAuthor({stage: spoil}, attempts=2, trusted=False), sandbox)
    assert (outcome.reject.stage, outcome.reject.reason, outcome.reject.asked) == (stage, "unfit-value", 2)


# --- drafts out of a file ------------------------------------------------------------------------------------------


SPOILT_DRAFTS = {
    "no steps": (lambda draft: {"scenario": draft.scenario.model_copy(update={"steps": ()})}, "steps"),
    "no calls": (lambda draft: {"calls": ()}, "step-lost"),
    "no documents": (lambda draft: {"documents": ()}, "unknown-tool"),
    "no sources": (lambda draft: {"sources": {}}, "source-missing"),
    "a huge number": (lambda draft: {"trials": (draft.trials[0].model_copy(update={"arguments": {"a": 10**30}}),)},
                      "unfit-value"),
    "an unknown step": (
        lambda draft: {"calls": tuple(c.model_copy(update={"step": "s9"}) for c in draft.calls)}, "step-lost"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT_DRAFTS)
def test_a_spoilt_draft_is_a_reject(name, sandbox):
    """A draft is a file that anybody can have written: it is held again to what its stages ask for."""
    spoil, reason = SPOILT_DRAFTS[name]
    draft: Draft = asyncio.run(prepare(brief(), HandAuthor(), LIGHT, until="deploy"))
    outcome = build(draft.model_copy(update=spoil(draft)), HandAuthor(), sandbox)
    assert (outcome.reject.stage, outcome.reject.reason, outcome.reject.asked) == ("deploy", reason, 0)


@pytest.mark.parametrize("text", ["9" * 250, "-99999999999999999999", "1e999"])
def test_a_number_that_no_record_can_hold_is_text(text, tmp_path):
    """Out of a file of questions it goes through to the record of a reject, which can be written."""
    path = tmp_path / "questions.jsonl"
    path.write_text(f'{{"question": "How many?", "answer": "{text}"}}\n')
    [read] = read_briefs(path)
    assert read.answer == Answer(type="text", value=text)
    reject = Reject(brief=read, author="hand", stage="decompose", reason="steps", detail="")
    assert Reject.model_validate_json(dump(reject)) == reject
