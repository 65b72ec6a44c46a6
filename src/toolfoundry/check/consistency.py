"""Does the final answer follow from the sub-answers, where that can be computed without reading the question?

A builder records how it follows (`Proof.final`): then it is computed, and has to be the one. For all other sets,
what a question asks for ("combined", "how many days after") is not parsed for a verdict of *right*; it is only ever
used to refrain from a verdict of *wrong*. A final answer is wrong where no way of combining the sub-answers that such
questions use gives it. Where other ways are conceivable, the verdict is "cannot be computed", with the reason.
"""

from __future__ import annotations

import datetime
import itertools
import math
import re
from collections.abc import Iterator, Sequence

from toolfoundry.answers import equals, holds, infer, spelling
from toolfoundry.check.report import Verdict
from toolfoundry.computations import ComputationError, follow
from toolfoundry.symbolic import references
from toolfoundry.types import Answer, EnvSpec, Goal

__all__ = ["final_verdict"]

_GATE = "final-inconsistent"
_NUMBER = re.compile(r"(?<![\w.,])[+\-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
_LABEL = re.compile(r"\(([a-z])\)")
# Words that ask for something to be made of the last answer: then another value than the answer itself may be right.
_DERIVED = re.compile(
    r"\b(sum|total|combined|difference|product|quotient|ratio|times|divided|multipl\w*|average|mean|percent\w*|half|"
    r"double|twice|square|cube|root|more|fewer|less|longer|older|younger|letters?|digits?|words?|characters?|vowels?|"
    r"rounded?|nearest|century|decade|age|years?|days?|months?|weeks?|hours?|minutes?|how many)\b",
    re.IGNORECASE,
)


def final_verdict(spec: EnvSpec) -> Verdict:
    """One verdict on one environment: consistent, inconsistent, or skipped with the reason."""
    final = spec.scenario.answer
    if final is None:
        return _skip("there is no final answer")
    if (known := _followed(spec, final)) is not None:
        return known
    goldens = [goal.answer for goal in spec.goals]
    if any(_same(golden, final) for golden in goldens):
        return _wrong_hop(spec, final)
    text = spelling(final)
    if labels := _LABEL.findall(spec.scenario.question):
        parts = [part.strip("() ").lower() for part in text.split(",")]
        if all(len(part) == 1 for part in parts) and final.type == "text":
            wrong = len(set(parts)) < len(parts) or not set(parts) <= set(labels)
            if wrong or len(parts) not in (1, len(set(labels))):
                return Verdict(_GATE, found=text, expected=f"of the labels {', '.join(dict.fromkeys(labels))}")
            return _skip("a choice among labels: which sub-answer a label stands for is not known")
    if len(goldens) == 1:
        return _single(final, goldens[0], spec.scenario.kind == "single_hop")
    numbers = [(goal, value) for goal in spec.goals if (value := _quantity(goal.answer)) is not None]
    wanted = _quantity(final)
    if wanted is None:
        return _ranking(spec, final, numbers)
    days = [day for golden in goldens if (day := _day(golden)) is not None]
    if len(days) == 2 and not numbers:
        return _judge(text, wanted, _spans(*days), "the time between " + _listed(goldens))
    if len(numbers) == 2 and not days:
        values = (numbers[0][1], numbers[1][1])
        expected = "a combination of " + _listed([goal.answer for goal, _ in numbers])
        return _judge(text, wanted, _pairs(*values), expected)
    if len(numbers) == 1 and not days and spec.scenario.kind == "multi_hop":
        value = numbers[0][1]
        if _DERIVED.search(spec.scenario.question):
            return _skip("the question asks for something made of the last answer")
        if numbers[0][0].id not in _last(spec):
            return _skip("the number is not the last answer")
        return _judge(text, wanted, _rescaled(value), "the last answer, " + spelling(numbers[0][0].answer))
    return _skip("neither one last answer nor two numbers or dates to be combined")


def _followed(spec: EnvSpec, final: Answer) -> Verdict | None:
    """The verdict where it is recorded how the final answer follows; None where it is not, or not from all goals."""
    follows = spec.proof.final if spec.proof else None
    if follows is None:
        return None
    if not {*_last(spec)} <= {*references(follows.arguments)}:  # some answers are for nothing: the record is doubtful
        return None
    try:
        computed = follow(follows, {goal.id: goal.answer for goal in spec.goals})
    except ComputationError as error:
        return Verdict(_GATE, found=spelling(final), expected=f"what can be computed, but {error}")
    if equals(final, spelling(computed)) or equals(computed, spelling(final)):
        return Verdict(_GATE)
    return Verdict(_GATE, found=spelling(final), expected=f"{spelling(computed)}, by {follows.operation}")


def _skip(reason: str) -> Verdict:
    return Verdict(_GATE, skipped=reason)


def _listed(answers: Sequence[Answer]) -> str:
    return " and ".join(spelling(answer) for answer in answers)


def _same(golden: Answer, final: Answer) -> bool:
    """Whether they are one answer, differently spelled: a unit, a place within a region, a thousands comma."""
    one, other = spelling(golden), spelling(final)
    if equals(final, one) or equals(golden, other):
        return True
    texts = final.type == golden.type == "text"
    return texts and (holds(final, one) or ("," not in other and holds(golden, other)))


def _wrong_hop(spec: EnvSpec, final: Answer) -> Verdict:
    """In a chain, the final answer is that of the last hop, where it is known which one is the last."""
    if spec.scenario.kind != "multi_hop" or len(last := _last(spec)) != 1:
        return Verdict(_GATE)
    goal = next(goal for goal in spec.goals if goal.id == last[0])
    if _same(goal.answer, final) or _DERIVED.search(spec.scenario.question):
        return Verdict(_GATE)
    return Verdict(_GATE, found=spelling(final), expected=f"the last answer, {spelling(goal.answer)}")


def _last(spec: EnvSpec) -> list[str]:
    """The goals that no other needs; all of them where the edges are not known."""
    needed = {need for goal in spec.goals for need in goal.needs or ()}
    return [goal.id for goal in spec.goals if goal.id not in needed or goal.needs is None]


def _single(final: Answer, golden: Answer, single_hop: bool) -> Verdict:
    if single_hop and final.type == golden.type == "number":
        return Verdict(_GATE, found=spelling(final), expected=spelling(golden))
    return _skip("made of one sub-answer in a way that is not known")


# --- numbers and dates ---------------------------------------------------------------------------------------------


def _quantity(answer: Answer) -> float | None:
    """The one number that an answer states, with or without a unit; None for dates, names and lists."""
    if answer.type == "number" and isinstance(answer.value, int | float):
        return float(answer.value)
    if answer.type != "text" or _day(answer) is not None:
        return None
    found = _NUMBER.findall(spelling(answer))
    return float(found[0].replace(",", "")) if len(found) == 1 and len(spelling(answer).split()) <= 4 else None


def _day(answer: Answer) -> datetime.date | None:
    if answer.type != "date" or not isinstance(answer.value, str):
        return None
    return datetime.date.fromisoformat(answer.value)


def _judge(text: str, wanted: float, candidates: Iterator[float], expected: str) -> Verdict:
    decimals = len(text.partition(".")[2].rstrip("%×x ")) if "." in text else 0
    # As exact as it is written: 33.3 stands for anything from 33.25 to 33.35; whole numbers may be rounded or cut off.
    slack = 0.5 * 10.0**-decimals if decimals else 1.0 - 1e-9
    for value in candidates:
        near = slack if value != round(value) else 1e-9
        if math.isclose(value, wanted, rel_tol=1e-9) or abs(value - wanted) <= near:
            return Verdict(_GATE)
    return Verdict(_GATE, found=text, expected=expected)


def _pairs(a: float, b: float) -> Iterator[float]:
    yield from (a + b, a - b, b - a, a * b, (a + b) / 2, max(a, b), min(a, b))
    for x, y in ((a, b), (b, a)):
        if y:
            yield from (x / y, 100 * x / y, 100 * (x - y) / y, 100 * x / (x + y) if x + y else 0.0, x % y)
        if 0 <= y <= 16 and abs(x) <= 1e6:
            yield x**y
    yield from (abs(a - b) + 1, abs(a - b) - 1)  # spans with both ends, or neither


def _spans(first: datetime.date, second: datetime.date) -> Iterator[float]:
    early, late = sorted((first, second))
    days = (late - early).days
    months = 12 * (late.year - early.year) + late.month - early.month
    for span in (days, days / 7, days / 365.25, months, late.year - early.year, days / 30.4375):
        yield from (span, span + 1, span - 1, -span)


def _rescaled(value: float) -> Iterator[float]:
    """The same quantity in another unit of the metric system, or time, or as a percentage."""
    yield value
    for factor in (10, 100, 1000, 1e6, 1e9, 60, 24, 7, 12, 365, 1.609344, 0.3048, 2.54, 0.45359237):
        yield from (value * factor, value / factor)


def _ranking(spec: EnvSpec, final: Answer, numbers: Sequence[tuple[Goal, float]]) -> Verdict:
    """A ranking of named things follows where each name leads, by the edges, to exactly one number."""
    parts = [part.strip() for part in spelling(final).split(",")]
    if final.type == "boolean":
        return _skip("yes or no: what was compared is not known")
    if len(parts) < 3 or len(numbers) != len(parts):
        return _skip("a choice or a text: how it follows is not known")
    values: list[float] = []
    for part in parts:
        owners = {goal.id for goal in spec.goals if _same(goal.answer, infer(part))}
        reached = [value for goal, value in numbers if owners & _needs_of(spec, goal)]
        if len(reached) != 1:
            return _skip("a ranking: which number belongs to which name is not known")
        values += reached
    steps = [b - a for a, b in itertools.pairwise(values)]
    if all(step >= 0 for step in steps) or all(step <= 0 for step in steps):
        return Verdict(_GATE)
    order = ", ".join(f"{part} = {value:g}" for part, value in zip(parts, values, strict=True))
    return Verdict(_GATE, found=spelling(final), expected=f"ascending or descending, but {order}")


def _needs_of(spec: EnvSpec, goal: Goal) -> set[str]:
    by_id = {other.id: other for other in spec.goals}
    found, waiting = {goal.id}, [goal]
    while waiting:
        fresh = [by_id[need] for need in waiting.pop().needs or () if need not in found]
        found |= {other.id for other in fresh}
        waiting += fresh
    return found
