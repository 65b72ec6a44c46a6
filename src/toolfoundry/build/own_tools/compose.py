"""From observations to questions: single hop, parallel single hop, multi hop, parallel multi hop.

A fact is one value in the result of a recorded call. A single hop asks for a fact. Two facts asked for together are a
parallel single hop. Where a fact is an argument of another recorded call, the two make a hop more. Everything is over
what was recorded, so the gold calls, their results and all sub-answers are known before anything is worded.

Not asked for: what stands in the call's own arguments, what is the same whatever one asks, truth values and single
digits (they are guessed), what another call of the same question tells as well.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast, get_args

import orjson
from pydantic import JsonValue

from toolfoundry.answers import holds, infer, spelling, stands_in
from toolfoundry.build.decompose import complaints_about as scenario_complaints
from toolfoundry.build.decompose import kind_of
from toolfoundry.build.document import complaints_about as document_complaints
from toolfoundry.build.draft import Change, Decomposition, Documents, Draft, Step, SymbolicCall
from toolfoundry.build.own_tools.evidence import Evidence, Observation, Studied
from toolfoundry.build.own_tools.naming import akin
from toolfoundry.build.own_tools.wording import Asked, Path, question_of, step_question
from toolfoundry.check.static import telling
from toolfoundry.computations import ComputationError, follow
from toolfoundry.seeds import generator
from toolfoundry.symbolic import answer_of
from toolfoundry.types import Answer, Final, ScenarioKind, ToolSchema

__all__ = ["Composition", "Facts", "compositions", "documents_of", "with_repeats_merged"]

_MOST_TEXT = 80  # characters of an answer
_PATIENCE = 80  # draws of a scenario in a row that bring nothing new before it is given up
_KINDS: tuple[ScenarioKind, ...] = get_args(ScenarioKind)


class Fact(NamedTuple):
    """One value in the result of a recorded call."""

    observation: Observation
    path: Path
    answer: Answer

    @property
    def key(self) -> tuple[str, bytes, Path]:
        return self.observation.tool, orjson.dumps(self.observation.arguments, option=orjson.OPT_SORT_KEYS), self.path


class _Hop(NamedTuple):
    """A fact in its place in a question: `given` says which earlier hop gives which of its arguments."""

    id: str
    fact: Fact
    given: dict[str, str]


class Composition(NamedTuple):
    """A question with its steps, and the gold call of each: all that stages 1 and 2 need."""

    scenario: Decomposition
    calls: tuple[SymbolicCall, ...]


class Facts:
    """What can be asked about the tools of one file, and what leads from one to another."""

    def __init__(self, evidence: Evidence) -> None:
        self.documents: dict[str, ToolSchema] = {one.name: one.tool.signature for one in evidence.tools}
        self.by_tool: dict[str, dict[Path, list[Fact]]] = {}
        by_value: dict[tuple[type, Any], list[Fact]] = {}
        for studied in evidence.tools:
            fields = _fields(studied)
            if fields:
                self.by_tool[studied.name] = fields
            for fact in (fact for facts in fields.values() for fact in facts):
                for spelt in _spellings(fact.answer):
                    by_value.setdefault((type(spelt), spelt), []).append(fact)
        self.links: dict[tuple[str, bytes], dict[str, list[Fact]]] = {}
        for studied in evidence.tools:
            for observation in studied.observations:
                found = dict(_links(studied, observation, by_value))
                if found:
                    self.links[Fact(observation, (), Answer(type="text", value="")).key[:2]] = found

    def leading_to(self, fact: Fact) -> dict[str, list[Fact]]:
        """For each parameter of the call behind a fact, the facts that say its value."""
        return self.links.get(fact.key[:2], {})


def _fields(studied: Studied) -> dict[Path, list[Fact]]:
    """The facts of a tool, by their place in its results."""
    found: dict[Path, list[Fact]] = {}
    values: dict[Path, set[JsonValue]] = {}
    for observation in studied.observations:
        for path, value in _places(observation.value):
            values.setdefault(path, set()).add(value)
            if observation.arguments:
                answer = infer(value) if isinstance(value, str) else Answer(type="number", value=value)
                if _can_be_asked(answer, observation) and not any(holds(answer, text) for text in studied.plain):
                    found.setdefault(path, []).append(Fact(observation, path, answer))
    return {path: facts for path, facts in found.items() if len(values[path]) > 1}


def _places(value: JsonValue, path: Path = ()) -> Iterator[tuple[Path, str | int | float]]:
    if isinstance(value, dict):
        for name, part in value.items():
            if name.isidentifier() and len(path) < 3:
                yield from _places(part, (*path, name))
    elif isinstance(value, list):
        if value and len(path) < 3:
            yield from _places(value[0], (*path, 0))
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield path, value


def _can_be_asked(answer: Answer, observation: Observation) -> bool:
    if answer.type == "boolean" or stands_in(answer, observation.arguments):
        return False
    if answer.type == "number":
        return answer.value != 0 and len([digit for digit in spelling(answer) if digit.isdigit()]) > 1
    text = spelling(answer)
    code = len(text) > 2 and text == text.upper()  # of an airport, a currency
    return (telling(answer) or code) and len(text) <= _MOST_TEXT and text == text.strip() and text.isprintable()


def _plain(value: JsonValue) -> bool:
    return isinstance(value, str | int | float)


def _spellings(answer: Answer) -> Iterator[JsonValue]:
    """The values under which an answer can be an argument: as it is, and as text."""
    if _plain(answer.value):
        yield answer.value
    if spelling(answer) != answer.value:
        yield spelling(answer)


def _links(
    studied: Studied, observation: Observation, by_value: Mapping[tuple[type, Any], Sequence[Fact]]
) -> Iterator[tuple[str, list[Fact]]]:
    """For each argument that no choice or default offers, the facts of other calls that are its value."""
    properties = cast("dict[str, dict[str, Any]]", studied.tool.signature.parameters["properties"])
    for name in cast("list[str]", studied.tool.signature.parameters["required"]):
        value, schema = observation.arguments.get(name), properties[name]
        if not _plain(value) or isinstance(value, bool) or schema.keys() & {"enum", "const", "default"}:
            continue
        found = [
            fact
            for fact in by_value.get((type(value), value), ())
            if fact.observation != observation
            and (
                (name in studied.keyed and fact.answer.type == "text")
                or (fact.path and akin(_name(fact.path), fact.observation.tool, name, studied.name))
            )
        ]
        if found:
            yield name, found


def _name(path: Path) -> str:
    return next((part for part in reversed(path) if isinstance(part, str)), "")


# --- drawing ---------------------------------------------------------------------------------------------------------


def compositions(facts: Facts, *key: str | int) -> Iterator[Composition]:
    """Questions until nothing new is found, the four scenarios in equal shares while they last.

    What comes depends on the facts and the key (a seed) alone. No two ask for the same facts in the same way.
    """
    seen: set[tuple[Any, ...]] = set()
    made: Counter[ScenarioKind] = Counter()
    left: dict[ScenarioKind, int] = dict.fromkeys(_KINDS, _PATIENCE)
    draw = 0
    while left:
        kind = min(left, key=lambda kind: (made[kind], _KINDS.index(kind)))
        rng = generator("own-tools", *key, draw)
        draw += 1
        found = _drawn(kind, facts, rng) if facts.by_tool else None
        if found is None or found[0] in seen:
            left[kind] -= 1
            if not left[kind]:
                del left[kind]
            continue
        seen.add(found[0])
        left[kind] = _PATIENCE
        made[kind] += 1
        yield found[1]


def _drawn(kind: ScenarioKind, facts: Facts, rng: random.Random) -> tuple[tuple[Any, ...], Composition] | None:
    """One question of a scenario with what it asks for; None where the draw came to nothing sound."""
    end = _any_fact(facts, rng, linked=kind in ("multi_hop", "parallel_multi_hop"))
    if end is None:
        return None
    match kind:
        case "single_hop":
            ends = [[end]]
        case "parallel_single_hop":
            other = _second(end, facts, rng)
            ends = [[end], [other]] if other else []
        case "multi_hop" | "parallel_multi_hop":
            ends = [[end]]
            if kind == "parallel_multi_hop" and (other := _second(end, facts, rng)):
                ends = [[end], [other]]
    return _composed(kind, [fact for one in ends for fact in one], facts, rng)


def _any_fact(facts: Facts, rng: random.Random, *, linked: bool) -> Fact | None:
    """A fact: first the tool is drawn, then the field, then the call, those on values of other tools more often."""
    tools = [
        tool
        for tool, fields in facts.by_tool.items()
        if not linked or any(facts.leading_to(fact) for of_field in fields.values() for fact in of_field)
    ]
    if not tools:
        return None
    fields = facts.by_tool[rng.choice(tools)]
    some = fields[rng.choice(list(fields))]
    some = [fact for fact in some if facts.leading_to(fact)] if linked else some
    return some[int(len(some) * rng.random() ** 2)] if some else None


def _second(first: Fact, facts: Facts, rng: random.Random) -> Fact | None:
    """Another fact to be asked for beside the first: of the same field, or of any."""
    if rng.random() < 0.6:
        same = [fact for fact in facts.by_tool[first.observation.tool][first.path] if fact.answer != first.answer]
        if same:
            return rng.choice(same)
    other = _any_fact(facts, rng, linked=False)
    return other if other and other.observation != first.observation else None


def _composed(
    kind: ScenarioKind, ends: Sequence[Fact], facts: Facts, rng: random.Random
) -> tuple[tuple[Any, ...], Composition] | None:
    hops: list[_Hop] = []
    last: list[str] = []
    for end in ends:
        hop = _grown(end, hops, facts, rng, hops_left=rng.choice((1, 2, 2)) if "multi" in kind else 0)
        if hop is None:
            return None
        last.append(hop)
    if not hops or _told_elsewhere(hops):
        return None
    operation = _operation(ends, facts.documents, rng)
    final = _final(operation, last)
    steps = tuple(
        Step(id=hop.id, question=step_question(asked), answer=hop.fact.answer) for hop, asked in _asked(hops, facts)
    )
    try:
        answer = follow(final, {step.id: step.answer for step in steps})
    except ComputationError:
        return None
    if kind_of(steps) != kind or (answer.type == "number" and not answer.value):
        return None
    question = question_of([asked for _, asked in _asked(hops, facts)], last, operation, rng)
    if any(holds(hop.fact.answer, question) for hop in hops):
        return None
    scenario = Decomposition(question=question, answer=answer, steps=steps, final=final)
    calls = tuple(_call(hop, hops) for hop in hops)
    made = Composition(scenario, calls)
    if scenario_complaints(scenario) or document_complaints(scenario, documents_of(made, facts.documents)):
        return None
    return (operation, *sorted(str(hop.fact.key) for hop in hops)), made


def _grown(fact: Fact, hops: list[_Hop], facts: Facts, rng: random.Random, hops_left: int) -> str | None:
    """Adds the hop of a fact, before it those that give its arguments; returns its id, None where it does not fit."""
    given: dict[str, str] = {}
    leading = facts.leading_to(fact)
    if hops_left and leading:
        names = list(leading)
        rng.shuffle(names)
        for name in names[: 1 if rng.random() < 0.5 else len(names)]:
            parent = _grown(rng.choice(leading[name]), hops, facts, rng, hops_left - 1)
            if parent is None:
                return None
            given[name] = parent
    if any(hop.fact.observation == fact.observation for hop in hops):
        return None  # one call gives one answer
    hop = _Hop(f"s{len(hops) + 1}", fact, given)
    hops.append(hop)
    return hop.id


def _told_elsewhere(hops: Sequence[_Hop]) -> bool:
    """Whether the result of one call holds the answer of another that it does not need."""
    return any(
        holds(other.fact.answer, hop.fact.observation.content)
        for hop in hops
        for other in hops
        if other is not hop
        and other.id not in hop.given.values()
        and not stands_in(other.fact.answer, hop.fact.observation.arguments)
    )


def _operation(ends: Sequence[Fact], documents: Mapping[str, ToolSchema], rng: random.Random) -> str:
    """How the answers are put together: computed with only where they are the same thing under the same choices."""
    if len(ends) == 1:
        return "answer"
    one, other = ends
    if (one.observation.tool, one.path) != (other.observation.tool, other.path):
        return "list"
    properties = cast("dict[str, dict[str, Any]]", documents[one.observation.tool].parameters["properties"])
    choices = [name for name, schema in properties.items() if "enum" in schema]
    if any(one.observation.arguments.get(name) != other.observation.arguments.get(name) for name in choices):
        return "list"
    if one.answer.type == other.answer.type == "number":
        return rng.choice(("difference", "total"))
    return "days_between" if one.answer.type == other.answer.type == "date" else "list"


def _final(operation: str, last: Sequence[str]) -> Final:
    references: list[JsonValue] = [answer_of(step) for step in last]
    match operation:
        case "answer":
            arguments: dict[str, JsonValue] = {"value": references[0]}
        case "difference":
            arguments = {"first": references[0], "second": references[1]}
        case "days_between":
            arguments = {"start": references[0], "end": references[1]}
        case _:
            arguments = {"values": references}
    return Final(operation=operation, arguments=arguments)


def _asked(hops: Sequence[_Hop], facts: Facts) -> Iterator[tuple[_Hop, Asked]]:
    for hop in hops:
        observation = hop.fact.observation
        document = facts.documents[observation.tool]
        yield hop, Asked(hop.id, document, observation.arguments, hop.fact.path, hop.given)


def _call(hop: _Hop, hops: Sequence[_Hop]) -> SymbolicCall:
    answers = {other.id: other.fact.answer for other in hops}
    arguments: dict[str, JsonValue] = dict(hop.fact.observation.arguments)
    for name, step in hop.given.items():
        same = answers[step].value == arguments[name] and type(answers[step].value) is type(arguments[name])
        arguments[name] = answer_of(step, as_text=not same)
    return SymbolicCall(step=hop.id, tool=hop.fact.observation.tool, arguments=arguments)


def documents_of(made: Composition, documents: Mapping[str, ToolSchema]) -> Documents:
    """Stage 2: a document for each step; a tool that several steps ask has one more for each, under another name."""
    found: list[ToolSchema] = []
    calls: list[SymbolicCall] = []
    taken = set(documents)
    used: set[str] = set()
    for call in made.calls:
        document = documents[call.tool]
        if call.tool in used:
            number = 2
            while (name := _repeat_name(call.tool, number)) in taken:
                number += 1
            taken.add(name)
            document = document.model_copy(update={"name": name})
        used.add(call.tool)
        found.append(document)
        calls.append(call.model_copy(update={"tool": document.name}))
    return Documents(documents=tuple(found), calls=tuple(calls))


def _repeat_name(name: str, number: int | str) -> str:
    return f"{name[:60]}_{number}"


def _is_repeat(document: ToolSchema, of: ToolSchema) -> bool:
    number = document.name.rpartition("_")[2]
    return of.model_copy(update={"name": _repeat_name(of.name, number)}) == document


def with_repeats_merged(draft: Draft, documents: Mapping[str, ToolSchema]) -> Documents:
    """Stage 3: the further documents of a tool that several steps ask become that tool again."""
    origin = {
        document.name: next(name for name, one in documents.items() if _is_repeat(document, one))
        for document in draft.documents
        if document.name not in documents
    }
    kept = tuple(document for document in draft.documents if document.name not in origin)
    calls = tuple(call.model_copy(update={"tool": origin.get(call.tool, call.tool)}) for call in draft.calls)
    changes = tuple(
        Change(
            strategy="merge",
            tool=document.name,
            detail="the same tool, asked by several steps",
            before=(document.name, *(other for other, name in origin.items() if name == document.name)),
        )
        for document in kept
        if document.name in origin.values()
    )
    return Documents(documents=kept, calls=calls, changes=changes)
