"""Stage 1, scenario decomposition: a question as a DAG of sub-questions with typed answers.

The scenario (single-hop, parallel single-hop, multi-hop, parallel multi-hop) follows from the shape of the DAG. What an
author gives is checked: the DAG is acyclic and in order; a later step refers to each answer that it needs and does not
say it; no answer stands in the question; every step is used; the final answer follows from the steps by computation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

from toolfoundry.answers import equals, holds, spelling
from toolfoundry.build.asking import settle
from toolfoundry.build.author import Author
from toolfoundry.build.draft import Brief, Complaint, Decomposition, Draft, Step
from toolfoundry.check.static import telling
from toolfoundry.computations import ComputationError, follow
from toolfoundry.symbolic import references
from toolfoundry.types import Answer, ScenarioKind

__all__ = ["complaints_about", "decompose", "is_choice", "kind_of", "rendered"]

MOST_STEPS = 24
_REFERENCE = re.compile(r"\{(\w+)\}")
_STEP_ID = re.compile(r"[A-Za-z]\w{0,31}")


async def decompose(brief: Brief, author: Author) -> Draft:
    """The draft with its scenario. Raises Rejected."""
    scenario = await settle(partial(author.decompose, brief), partial(complaints_about, brief=brief), author)
    return Draft(brief=brief, author=author.name, stage="decompose", scenario=scenario)


def kind_of(steps: Sequence[Step]) -> ScenarioKind:
    """The scenario that a DAG's shape makes it: with or without edges, from one root or from several."""
    if not any(step.needs for step in steps):
        return "single_hop" if len(steps) == 1 else "parallel_single_hop"
    roots = sum(not step.needs for step in steps)
    return "multi_hop" if roots == 1 else "parallel_multi_hop"


def rendered(step: Step, steps: Sequence[Step]) -> str:
    """The sub-question with the answers that it needs filled in."""
    answers = {other.id: spelling(other.answer) for other in steps}
    return _REFERENCE.sub(lambda match: answers.get(match[1], match[0]), step.question)


def complaints_about(scenario: Decomposition, *, brief: Brief | None = None) -> list[Complaint]:
    """What is wrong with a decomposition, as texts that its author can act on; empty if nothing is."""
    if shape := list(_shape(scenario)):
        return shape
    return [*(_brief(scenario, brief) if brief else ()), *_leaks(scenario), *_final(scenario)]


def _shape(scenario: Decomposition) -> Iterator[Complaint]:
    steps = scenario.steps
    if not scenario.question.strip():
        yield Complaint("no-question", "the question is empty")
    if not 1 <= len(steps) <= MOST_STEPS:
        yield Complaint("steps", f"found {len(steps)} steps, expected 1 to {MOST_STEPS}")
    ids = [step.id for step in steps]
    earlier: set[str] = set()
    for step in steps:
        if not _STEP_ID.fullmatch(step.id) or step.id in earlier:
            yield Complaint("step-id", f"step id {step.id!r}: expected distinct ids such as s1, s2")
        for need in step.needs:
            if need == step.id or (need in ids and need not in earlier):
                yield Complaint(
                    "cycle",
                    f"step {step.id} refers to {{{need}}}, which does not come before it; steps stand in an order in "
                    "which they can be answered",
                )
            elif need not in ids:
                yield Complaint("unknown-step", f"step {step.id} refers to {{{need}}}, but there is no such step")
        if not step.question.strip():
            yield Complaint("no-question", f"step {step.id} has no question")
        if not spelling(step.answer).strip():
            yield Complaint("no-answer", f"step {step.id} has an empty answer")
        earlier.add(step.id)


def _brief(scenario: Decomposition, brief: Brief) -> Iterator[Complaint]:
    if brief.question is not None and _words(brief.question) != _words(scenario.question):
        yield Complaint("question-changed", f"the question was changed; it is: {brief.question}")
    if brief.answer is not None and not equals(brief.answer, spelling(scenario.answer)):
        found, expected = spelling(scenario.answer), spelling(brief.answer)
        yield Complaint("answer-changed", f"the final answer is {expected!r}, found {found!r}")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _leaks(scenario: Decomposition) -> Iterator[Complaint]:
    steps = scenario.steps
    by_id = {step.id: step for step in steps}
    if holds(scenario.answer, scenario.question):
        yield Complaint("answer-in-question", f"the final answer {spelling(scenario.answer)!r} stands in the question")
    asked = set(_words(scenario.question))
    for step in steps:
        before = _ancestors(step, by_id)
        choice = is_choice(step, scenario)
        if telling(step.answer) and not choice and holds(step.answer, scenario.question):
            yield Complaint("golden-in-question", f"the answer of {step.id}, {_said(step)}, stands in the question")
        open_text = _REFERENCE.sub(" … ", step.question)
        for other in before:
            if telling(other.answer) and holds(other.answer, open_text):
                yield Complaint(
                    "parent-said",
                    f"step {step.id} says the answer of {other.id}, {_said(other)}: write {{{other.id}}} in its place",
                )
        if telling(step.answer) and not choice and holds(step.answer, open_text):
            yield Complaint("answer-in-step", f"step {step.id} contains its own answer, {_said(step)}")
        if len(steps) > 1 and not step.needs and asked <= set(_words(step.question)):
            yield Complaint("whole-question", f"step {step.id} asks the whole question at once: split it")


def _said(step: Step) -> str:
    return repr(spelling(step.answer))


def _ancestors(step: Step, by_id: dict[str, Step]) -> list[Step]:
    found: dict[str, Step] = {}
    waiting = list(step.needs)
    while waiting:
        need = waiting.pop()
        if need not in found:
            found[need] = by_id[need]
            waiting += by_id[need].needs
    return list(found.values())


def is_choice(step: Step, scenario: Decomposition) -> bool:
    """Whether a step chooses among earlier answers, or ranks them: then its answer is known before, rightly."""
    before = _ancestors(step, {other.id: other for other in scenario.steps})
    parts = [part for part in spelling(step.answer).split(", ") if part]
    return bool(before) and all(any(equals(other.answer, part) for other in before) for part in parts)


def _final(scenario: Decomposition) -> Iterator[Complaint]:
    ids = {step.id for step in scenario.steps}
    used = list(references(scenario.final.arguments))
    if unknown := [step for step in used if step not in ids]:
        yield Complaint("unknown-step", f"the final answer refers to {unknown[0]!r}, but there is no such step")
        return
    needed = {need for step in scenario.steps for need in step.needs} | set(used)
    for step in scenario.steps:
        if step.id not in needed:
            yield Complaint("unused-step", f"neither a later step nor the final answer uses the answer of {step.id}")
    try:
        computed: Answer = follow(scenario.final, {step.id: step.answer for step in scenario.steps})
    except ComputationError as error:
        yield Complaint("final-not-computable", str(error))
        return
    if not equals(scenario.answer, spelling(computed)) and not equals(computed, spelling(scenario.answer)):
        yield Complaint(
            "final-inconsistent",
            f"{scenario.final.operation} of the sub-answers gives {spelling(computed)!r}, but the final answer is "
            f"{spelling(scenario.answer)!r}",
        )
