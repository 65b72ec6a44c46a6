"""Stage 1: every complaint about a decomposition, the shapes of DAGs, and an author that is asked again."""

from __future__ import annotations

import asyncio
from typing import get_args

import pytest

from hand_author import QUESTIONS, HandAuthor
from toolfoundry.answers import infer
from toolfoundry.build.decompose import MOST_STEPS, complaints_about, decompose, is_choice, kind_of, rendered
from toolfoundry.build.draft import Brief, Decomposition, Rejected, Step
from toolfoundry.symbolic import answer_of
from toolfoundry.types import Final, ScenarioKind


def step(id, question, answer):
    return Step(id=id, question=question, answer=infer(answer))


CHAIN = (
    step("s1", "Which tower stands in Hask?", "Old Lantern"),
    step("s2", "Who drew the plans of {s1}?", "Bodo Quint"),
)
PAIR = (step("s1", "How many steps has Grey Finger?", "412"), step("s2", "How many steps has Gull Watch?", "198"))


def scenario(*steps, question="Who drew the plans of the tower of Hask?", answer="Bodo Quint", final=None):
    last = final or Final(operation="answer", arguments={"value": answer_of(steps[-1].id)})
    return Decomposition(question=question, answer=infer(answer), steps=steps, final=last)


def pair(
    question="How many steps have Grey Finger and Gull Watch together?", answer="610", operation="total", **arguments
):
    values = arguments or {"values": [answer_of("s1"), answer_of("s2")]}
    return scenario(*PAIR, question=question, answer=answer, final=Final(operation=operation, arguments=values))


def changed(place, **fields):
    """The chain with one step's question, answer or id replaced."""
    new = CHAIN[place].model_copy(update={k: infer(v) if k == "answer" else v for k, v in fields.items()})
    return tuple(new if i == place else one for i, one in enumerate(CHAIN))


# The decomposition, the reason of the only complaint, and what its text names: what was found, what is expected.
WRONG = {
    "empty question": (scenario(*CHAIN, question=" "), "no-question", ["the question is empty"]),
    "no steps": (scenario(step("s1", "?", "x")).model_copy(update={"steps": ()}), "steps", ["0 steps", "1 to 24"]),
    "too many steps": (
        scenario(*(step(f"s{n}", f"What is number {n}?", f"word{n}") for n in range(MOST_STEPS + 1))),
        "steps",
        ["25 steps", "1 to 24"],
    ),
    "a strange id": (scenario(CHAIN[0], *changed(1, id="1-b")[1:]), "step-id", ["'1-b'", "s1, s2"]),
    "an id twice": (
        scenario(CHAIN[0], step("s1", "Who lives in Pell?", "Ruta Elm")),
        "step-id",
        ["'s1'", "distinct"],
    ),
    "a later step": (
        scenario(*changed(0, question="Which tower was planned by {s2}?")),
        "cycle",
        ["step s1", "{s2}", "does not come before"],
    ),
    "itself": (scenario(*changed(1, question="Who built {s1}, {s2}?")), "cycle", ["step s2", "{s2}"]),
    "a step that is not there": (scenario(*changed(1, question="Who built {s1}, {s9}?")), "unknown-step", ["{s9}"]),
    "a step without a question": (scenario(*changed(0, question=" ")), "no-question", ["step s1"]),
    "a step without an answer": (scenario(*changed(0, answer=" ")), "no-answer", ["step s1"]),
    "the answer is asked for": (
        scenario(*CHAIN, question="Was the tower of Hask planned by Bodo Quint?"),
        "answer-in-question",
        ["'Bodo Quint'"],
    ),
    "a sub-answer is told": (
        scenario(*CHAIN, question="Who drew the plans of the Old Lantern of Hask?"),
        "golden-in-question",
        ["s1", "'Old Lantern'"],
    ),
    "a parent's answer is written out": (
        scenario(*changed(1, question="Who drew the plans of {s1}, the Old Lantern?")),
        "parent-said",
        ["s2", "s1", "'Old Lantern'", "{s1}"],
    ),
    "a step tells its own answer": (
        scenario(*changed(0, question="Is the Old Lantern the tower of Hask?")),
        "answer-in-step",
        ["s1", "'Old Lantern'"],
    ),
    "a step asks everything": (
        scenario(CHAIN[0], *changed(1, question="Who drew the plans of the tower of Hask?")[1:]).model_copy(
            update={"final": Final(operation="answer", arguments={"value": answer_of("s2")})}
        ),
        "whole-question",
        ["s2", "split"],
    ),
    "the final answer refers to nothing": (
        pair(operation="answer", value=answer_of("s7")),
        "unknown-step",
        ["'s7'", "final"],
    ),
    "a step is not used": (pair(answer="412", operation="answer", value=answer_of("s1")), "unused-step", ["s2"]),
    "no such operation": (pair(operation="addition"), "final-not-computable", ["'addition'"]),
    "wrong arguments": (
        pair(operation="difference", first=answer_of("s1"), other=answer_of("s2")),
        "final-not-computable",
        ["'difference'", "other"],
    ),
    "another value": (pair(answer="611"), "final-inconsistent", ["total", "'610'", "'611'"]),
}


SEEN_TWICE = {"the answer is asked for", "a sub-answer is told", "a step asks everything"}


@pytest.mark.parametrize("name", WRONG)
def test_complaints(name):
    """Each names what was found and what is expected."""
    wrong, reason, told = WRONG[name]
    found = [complaint for complaint in complaints_about(wrong) if complaint.reason == reason]
    assert found, complaints_about(wrong)
    for text in told:
        assert text in found[0].detail


@pytest.mark.parametrize("name", sorted(WRONG.keys() - SEEN_TWICE))
def test_one_mistake_is_one_complaint(name):
    """Nothing is said of what is right; leaks may be seen in two places."""
    wrong, reason, _ = WRONG[name]
    assert {complaint.reason for complaint in complaints_about(wrong)} == {reason}


SOUND = {
    "one step": scenario(PAIR[0], question="How many steps has Grey Finger?", answer="412"),
    "a chain": scenario(*CHAIN),
    "a total": pair(),
    "a total, otherwise written": pair(answer="610.0"),
    "a list": pair("How many steps have the two towers, in turn?", "412, 198", "list"),
    "truth": scenario(
        PAIR[0],
        step("s2", "Are {s1} steps more than 300?", "yes"),
        question="Has Grey Finger more than 300 steps, yes or no?",
        answer="yes",
    ),
    "a short answer that stands in the question by chance": scenario(
        step("s1", "How many bells hang in Pell?", "12"),
        step("s2", "How many rings has a row of {s1} bells, 12 a minute?", "4096"),
        question="How many rings have the bells of Pell, 12 at noon left out?",
        answer="4096",
    ),
    "a choice among earlier answers": scenario(
        *CHAIN[:1],
        step("s2", "Which tower stands in Pell?", "Gull Watch"),
        step("s3", "Which has more steps, {s1} or {s2}?", "Old Lantern"),
        question="Which of the towers of Hask and Pell has more steps?",
        answer="Old Lantern",
    ),
    "a ranking of earlier answers": scenario(
        *CHAIN[:1],
        step("s2", "Which tower stands in Pell?", "Gull Watch"),
        step("s3", "Rank {s1} and {s2} by their steps.", "Gull Watch, Old Lantern"),
        question="How do the towers of Hask and Pell rank by their steps?",
        answer="Gull Watch, Old Lantern",
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_nothing_to_complain_of(name):
    assert complaints_about(SOUND[name]) == []


def test_choices_are_told_apart_from_other_answers():
    """Only a step whose whole answer is made of earlier answers chooses among them."""
    chosen = SOUND["a choice among earlier answers"]
    assert [is_choice(one, chosen) for one in chosen.steps] == [False, False, True]
    other = chosen.model_copy(
        update={"steps": (*chosen.steps[:2], step("s3", "Which is it, {s1} or {s2}?", "Grey Finger"))}
    )
    assert not is_choice(other.steps[2], other)


@pytest.mark.parametrize(
    ("needs", "kind"),
    [
        (
            [
                "",
            ],
            "single_hop",
        ),
        (["", ""], "parallel_single_hop"),
        (["", "1"], "multi_hop"),
        (["", "1", "12"], "multi_hop"),
        (["", "1", "1", "23"], "multi_hop"),
        (["", "", "12"], "parallel_multi_hop"),
        (["", "1", "", "3"], "parallel_multi_hop"),
        (["", "1", ""], "parallel_multi_hop"),
    ],
)
def test_the_scenario_follows_from_the_shape(needs, kind):
    """needs[i]: the numbers of the steps that step i + 1 refers to."""
    steps = [
        step(f"s{i}", "Which " + " ".join(f"{{s{n}}}" for n in above), f"word{i}") for i, above in enumerate(needs, 1)
    ]
    assert kind_of(steps) == kind


def test_a_question_with_its_answers_filled_in():
    assert rendered(CHAIN[1], CHAIN) == "Who drew the plans of Old Lantern?"
    assert rendered(CHAIN[1], CHAIN[1:]) == "Who drew the plans of {s1}?"


@pytest.mark.parametrize(
    ("brief", "reasons"),
    [
        ({}, []),
        ({"question": "who drew the plans of the tower of Hask"}, []),
        ({"question": "Who planned the tower of Hask?"}, ["question-changed"]),
        ({"answer": infer("bodo quint")}, []),
        ({"answer": infer("Bodo")}, ["answer-changed"]),
        ({"question": "What?", "answer": infer("412")}, ["question-changed", "answer-changed"]),
    ],
)
def test_what_was_given_stays(brief, reasons):
    """A brief's question may change in case and punctuation only, its answer in spelling only."""
    found = complaints_about(scenario(*CHAIN), brief=Brief(index=0, origin="test", **brief))
    assert [complaint.reason for complaint in found] == reasons
    if reasons:
        texts = " ".join(complaint.detail for complaint in found)
        for given in brief.values():
            assert (given if isinstance(given, str) else str(given.value)) in texts


# --- asking again ----------------------------------------------------------------------------------------------------


def _no_steps(value):
    return value.model_copy(update={"steps": ()})


def _other_answer(value):
    return value.model_copy(update={"answer": infer("13")})


def run(author, index=1):
    return asyncio.run(decompose(Brief(index=index, origin="test"), author))


def test_an_author_is_told_what_was_wrong():
    """Wrong twice, then right: asked three times, each time with its own answer and the complaints about it."""
    mistakes = [_no_steps, _other_answer]
    author = HandAuthor({"decompose": lambda asked, value: mistakes[asked](value) if asked < 2 else value})
    draft = run(author)
    assert draft.stage == "decompose"
    assert draft.author == "hand"
    assert draft.scenario.question == QUESTIONS[1][0]
    told = author.asked["decompose"]
    assert len(told) == 3
    assert told[0] is None
    for feedback, mistake in zip(told[1:], mistakes, strict=True):
        assert feedback.previous == mistake(draft.scenario)
        assert feedback.complaints == tuple(complaints_about(feedback.previous))


@pytest.mark.parametrize("attempts", [1, 3])
def test_an_author_that_stays_wrong(attempts):
    """Asked as often as it may be, then rejected with the reason of the first complaint and the texts of all."""
    author = HandAuthor({"decompose": lambda asked, value: _other_answer(value)}, attempts=attempts)
    with pytest.raises(Rejected) as caught:
        run(author)
    assert (caught.value.reason, caught.value.asked) == ("final-inconsistent", attempts)
    assert "'554'" in caught.value.detail
    assert "'13'" in caught.value.detail
    assert len(author.asked["decompose"]) == attempts


def test_an_author_is_not_told_more_than_it_can_use():
    """A dozen complaints at once."""
    steps = tuple(step(f"{n}x", "?", "-") for n in range(20))
    author = HandAuthor(
        {"decompose": lambda asked, value: value if asked else value.model_copy(update={"steps": steps})}
    )
    run(author)
    assert len(author.asked["decompose"][1].complaints) == 12


@pytest.mark.parametrize(("index", "kind"), list(enumerate(get_args(ScenarioKind))))
def test_the_author_by_hand_is_right(index, kind):
    author = HandAuthor(attempts=1)
    assert kind_of(run(author, index).scenario.steps) == kind
    assert author.asked["decompose"] == [None]
