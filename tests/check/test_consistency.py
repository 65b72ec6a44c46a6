"""When a final answer does not follow from the sub-answers, and when nothing is said about it."""

from __future__ import annotations

from typing import Any

import pytest

from check.audit_specs import TOOLS, environment
from toolfoundry.answers import infer
from toolfoundry.check.consistency import final_verdict
from toolfoundry.check.report import Verdict
from toolfoundry.types import Answer, EnvSpec, Final, Goal, Proof

PARALLEL, CHAIN, SINGLE = "parallel_single_hop", "multi_hop", "single_hop"


def spec(kind: str, goldens: list[str], final: str | None, question: str, edges: bool) -> EnvSpec:
    ids = [f"g{index}" for index in range(len(goldens))]
    goals = tuple(
        Goal(
            id=id,
            tool="town_mayor",
            answer=infer(golden),
            needs=((ids[index - 1],) if index and kind == CHAIN else ()) if edges else None,
        )
        for index, (id, golden) in enumerate(zip(ids, goldens, strict=True))
    )
    return environment(question, final, kind=kind, tools=tuple(TOOLS.values()), goals=goals, gold_calls=None)


CONSISTENT = [
    (SINGLE, ["5,000"], "5000"),
    (SINGLE, ["Wooden masks"], "wooden masks"),
    (PARALLEL, ["8", "6"], "2"),
    (PARALLEL, ["11,034", "2,866"], "8,168"),
    (PARALLEL, ["9,700 W", "5,000 W"], "14,700"),
    (PARALLEL, ["3,500", "70"], "50"),
    (PARALLEL, ["7", "3"], "2.33"),
    (PARALLEL, ["40", "50"], "25%"),
    (PARALLEL, ["40", "50"], "45"),
    (PARALLEL, ["May 18, 2001", "May 26, 2001"], "8"),
    (PARALLEL, ["1949-01-17", "1999-03-01"], "50"),
    (PARALLEL, ["Pakistan", "Germany"], "Pakistan"),
    (CHAIN, ["Iraq", "363 meters"], "363"),
    (CHAIN, ["Langtang", "Ramesh Thapa"], "Ramesh Thapa"),
]
INCONSISTENT = [
    (SINGLE, ["5,000"], "5,001"),
    (PARALLEL, ["28", "16"], "54"),
    (PARALLEL, ["4", "4"], "6"),
    (PARALLEL, ["24", "6"], "35"),
    (PARALLEL, ["0.7×", "0.8×"], "104.5×"),
    (PARALLEL, ["May 18, 2001", "May 26, 2001"], "19"),
    (CHAIN, ["South Africa", "51,762"], "48,000"),
]


@pytest.mark.parametrize(("kind", "goldens", "final"), CONSISTENT)
@pytest.mark.parametrize("edges", [True, False])
def test_what_follows_passes(kind, goldens, final, edges):
    """Equal to the last answer, or a sum, difference, product, ratio, percentage, mean or span of two."""
    verdict = final_verdict(spec(kind, goldens, final, "What is it?", edges))
    assert (verdict.found, verdict.skipped) == ("", "")


@pytest.mark.parametrize(("kind", "goldens", "final"), INCONSISTENT)
@pytest.mark.parametrize("edges", [True, False])
def test_what_does_not_follow_is_found(kind, goldens, final, edges):
    verdict = final_verdict(spec(kind, goldens, final, "What is it?", edges))
    assert (verdict.found, verdict.skipped) == (final, "")
    assert all(golden in verdict.expected for golden in goldens[-1:])


@pytest.mark.parametrize(
    ("kind", "goldens", "final", "question"),
    [
        (PARALLEL, ["8", "6"], "No", "Are there more of the first?"),
        (PARALLEL, ["8", "6", "3"], "91", "What do they make?"),
        (PARALLEL, ["512", "603"], "a", "Which is higher: (a) the tower, or (b) the mast?"),
        (PARALLEL, ["512", "603", "4"], "c, a, b", "Rank: (a) the tower, (b) the mast, (c) the shed."),
        (PARALLEL, ["Pakistan", "Germany"], "The Federal Republic", "Which was first?"),
        (CHAIN, ["South Africa", "51,762"], "5", "How many digits has its capacity?"),
        (CHAIN, ["South Africa", "Newlands"], "8", "How long is its name?"),
        (SINGLE, ["1949-01-17"], "1949", "In which year?"),
        (SINGLE, ["8"], None, "How many?"),
    ],
)
def test_what_cannot_be_computed_is_skipped_with_a_reason(kind, goldens, final, question):
    """No verdict where the question may ask for something else to be made of the answers."""
    verdict = final_verdict(spec(kind, goldens, final, question, edges=True))
    assert verdict.skipped
    assert not verdict.found


@pytest.mark.parametrize("final", ["d", "a, b, a", "b, d, a"])
def test_a_label_that_the_question_does_not_have_is_found(final):
    question = "Rank: (a) the tower, (b) the mast, (c) the shed."
    assert final_verdict(spec(PARALLEL, ["512", "603", "4"], final, question, edges=True)).found == final


@pytest.mark.parametrize(
    ("order", "wrong"), [("Elm, Oak, Fir", False), ("Fir, Oak, Elm", False), ("Oak, Elm, Fir", True)]
)
def test_a_ranking_follows_the_numbers_that_its_names_lead_to(order, wrong):
    """Ascending or descending by the number that each name leads to; any other order is wrong."""
    heights = {"Elm": "12", "Oak": "35", "Fir": "61"}
    goals = [Goal(id=name, tool="town_mayor", answer=infer(name)) for name in heights]
    goals += [
        Goal(id=f"{name}_m", tool="person_study", answer=infer(height), needs=(name,))
        for name, height in heights.items()
    ]
    ranked = environment("Rank them.", order, kind="parallel_multi_hop", goals=tuple(goals), gold_calls=None)
    assert bool(final_verdict(ranked).found) is wrong


def test_the_answer_of_an_earlier_hop_is_not_the_final_one():
    """In a chain whose order is known; where it is not, nothing is said."""
    chain = spec(CHAIN, ["Iraq", "Nimrud"], "Iraq", "Where was it?", edges=True)
    assert final_verdict(chain).expected == "the last answer, Nimrud"
    assert not final_verdict(spec(CHAIN, ["Iraq", "Nimrud"], "Iraq", "Where was it?", edges=False)).found


# --- where it is recorded how the answer follows ----------------------------------------------------------------------


def recorded(goldens: list[str], final: Answer, operation: str, arguments: dict[str, Any]) -> EnvSpec:
    """Parallel steps g0, g1, ..., and a record in which `{"$answer": "g0"}` stands for the first."""
    proof = Proof(version="1", goals=(), final=Final(operation=operation, arguments=arguments))
    made = spec(PARALLEL, goldens, "?", "Which are they?", edges=True)
    return made.replace(scenario=made.scenario.model_copy(update={"answer": final}), proof=proof)


G = [{"$answer": f"g{index}"} for index in range(3)]


def test_what_is_recorded_is_computed():
    """A list of three numbers is no ranking, and the multiple of 4 next to 71 no combination of the two."""
    numbers = recorded(["7", "3", "12"], Answer(type="list", value=[7, 3, 12]), "list", {"values": G})
    assert final_verdict(numbers) == Verdict("final-inconsistent")
    spans = recorded(["71", "4"], infer("72"), "round_to", {"value": G[0], "step": G[1]})
    assert final_verdict(spans) == Verdict("final-inconsistent")


@pytest.mark.parametrize(
    ("operation", "arguments", "expected"),
    [
        ("product", {"values": G[:2]}, "21, by product"),
        ("total", {"values": [*G[:2], "x"]}, "what can be computed"),
        ("guess", {"values": G[:2]}, "what can be computed"),
        ("total", {"values": [*G[:2], {"$answer": "g7"}]}, "what can be computed"),
    ],
)
def test_a_record_that_does_not_give_the_answer_is_a_hit(operation, arguments, expected):
    """10 is the sum of 7 and 3, but that is not what is recorded."""
    verdict = final_verdict(recorded(["7", "3"], infer("10"), operation, arguments))
    assert verdict.found == "10"
    assert verdict.expected.startswith(expected)


def test_a_record_that_leaves_answers_out_is_not_believed():
    """Then the rules for sets without a record apply: 15 is nothing that 7 and 3 give."""
    one = recorded(["7", "3"], infer("15"), "add_up", {"values": G[:1]})
    assert final_verdict(one).expected == "a combination of 7 and 3"
