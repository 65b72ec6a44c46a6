"""Draws scenarios: the graph of steps behind a question, its answers, and the look-ups that give them.

The kind of scenario, the number of steps and the final operation come from the profile. A graph is grown backwards
from what is asked to the names it starts from, so that its size is exact; whatever then turns out unfit (a tie, an
answer twice, an answer that stands in the question) is thrown away and drawn again.

The kind follows from the edges: none and one step, `single_hop`; none and more, `parallel_single_hop`; edges and one
step that needs no other, `multi_hop`; edges and several such, `parallel_multi_hop`.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple, TypeVar

from pydantic import JsonValue

from toolfoundry.build.authors.procedural.catalogue import EVENT_YEARS, Fact, facts, held, kinds
from toolfoundry.build.authors.procedural.catalogue.computing import UNIT_WORDS, computed
from toolfoundry.build.authors.procedural.grammar import Node, Voice, ask, sub_question, walk
from toolfoundry.build.authors.procedural.plan import Lookup, Plan
from toolfoundry.build.authors.procedural.profile import Profile, Span, Split
from toolfoundry.build.authors.procedural.world import InventedWorld
from toolfoundry.build.draft import Decomposition, Step
from toolfoundry.computations import ComputationError, compute, follow
from toolfoundry.seeds import generator
from toolfoundry.symbolic import answer_of
from toolfoundry.types import Answer, AnswerType, Final, ScenarioKind

__all__ = ["make_plan"]

_ATTEMPTS = 400
_EARLY = 60  # draws in which no function is used twice by chance
_LONGEST = 24  # steps of a chain, at most


_Item = TypeVar("_Item")


class _Unfit(Exception):
    """This draw came to nothing; another is tried."""


def make_plan(profile: Profile, seed: int, split: Split, index: int) -> Plan:
    """The scenario at this place of a set, the same for the same arguments."""
    parts = ("plan", profile.name, seed, split, index)
    kind = _drawn_kind(profile, generator(*parts, "kind"))
    steps = _drawn(profile.goals[kind], generator(*parts, "steps"))
    chosen = pool(split if "relations" in profile.hold_out else None)
    for attempt in range(_ATTEMPTS):
        rng = generator(*parts, attempt)
        world = InventedWorld(seed, split, parts[1:], restricted="relations" in profile.hold_out)
        try:
            drawn = _Draft(rng, world, chosen, profile, attempt >= _EARLY).scenario(kind, steps)
            return _plan(drawn, profile, kind, split, world, rng, (*parts, attempt))
        except _Unfit:
            continue
    raise AssertionError(f"no scenario of kind {kind} with {steps} steps in {_ATTEMPTS} draws: {parts}")


def _drawn_kind(profile: Profile, rng: random.Random) -> ScenarioKind:
    names = sorted(profile.shares)
    return rng.choices(names, [profile.shares[name] for name in names])[0]


def _drawn(span: Span, rng: random.Random) -> int:
    return rng.choices(range(span.low, span.high + 1), _weights(span.low, span.high, span.mean))[0]


@cache
def _weights(low: int, high: int, mean: float) -> tuple[float, ...]:
    """Weights w**k of the numbers from low to high such that their mean is exact."""
    if low == high:
        return (1.0,)
    small, large = 1e-9, 1e9
    weights: tuple[float, ...] = ()
    for _ in range(200):
        base = math.sqrt(small * large)
        weights = tuple(base**k for k in range(high - low + 1))
        if math.fsum(k * w for k, w in enumerate(weights)) / math.fsum(weights) + low < mean:
            small = base
        else:
            large = base
    return tuple(float(f"{weight:.9g}") for weight in weights)  # the last digits differ between machines


# --- what can be drawn from ----------------------------------------------------------------------------------------


class Pool(NamedTuple):
    """The facts of a split, sorted for drawing.

    into: relations by the type they lead to; guests: events that lead to an entity, the same way. measures: facts by
    what can be compared or added (unit, "date", "year", "count"). reach[k][type]: the types that k relations lead to.
    """

    relations: tuple[Fact, ...]
    attributes: tuple[Fact, ...]
    events: tuple[Fact, ...]
    into: Mapping[str, tuple[Fact, ...]]
    guests: Mapping[str, tuple[Fact, ...]]
    measures: Mapping[str, tuple[Fact, ...]]
    reach: tuple[Mapping[str, frozenset[str]], ...]
    ends: tuple[frozenset[str], ...]


@cache
def pool(split: Split | None) -> Pool:
    """The facts of a split; of all with None."""
    mine = [fact for name, fact in facts().items() if split is None or name in held(split)]
    relations = tuple(fact for fact in mine if fact.function.group == "relation")
    into: dict[str, list[Fact]] = {}
    guests: dict[str, list[Fact]] = {}
    measures: dict[str, list[Fact]] = {}
    for fact in mine:
        output = fact.function.output
        if output.kind == "entity":
            (into if fact.function.group == "relation" else guests).setdefault(output.entity, []).append(fact)
        elif output.kind in ("date", "year"):
            measures.setdefault(output.kind, []).append(fact)
        elif output.kind in ("number", "integer"):
            measures.setdefault(output.unit or "count", []).append(fact)
    reach: list[dict[str, frozenset[str]]] = [{name: frozenset({name}) for name in kinds()}]
    for _ in range(_LONGEST):
        last = reach[-1]
        step = {
            name: {f.function.output.entity for f in relations if f.function.subject in last[name]} for name in kinds()
        }
        reach.append({name: frozenset(found) for name, found in step.items()})
    ends = tuple(frozenset(t for found in level.values() for t in found) for level in reach)
    return Pool(
        relations,
        tuple(fact for fact in mine if fact.function.group == "attribute"),
        tuple(fact for fact in mine if fact.function.group == "event"),
        {name: tuple(found) for name, found in into.items()},
        {name: tuple(found) for name, found in guests.items()},
        {name: tuple(found) for name, found in measures.items()},
        tuple(reach),
        ends,
    )


class _Drawn(NamedTuple):
    """A scenario before it is said. aggregate: a last computation that is left to the model, or None."""

    tops: list[Node]
    aggregate: Node | None


# --- growing the graph ---------------------------------------------------------------------------------------------


class _Draft:
    """One attempt at a scenario."""

    def __init__(
        self, rng: random.Random, world: InventedWorld, facts_pool: Pool, profile: Profile, late: bool
    ) -> None:
        self.rng, self.world, self.pool, self.profile = rng, world, facts_pool, profile
        self.used: set[str] = set()
        self.late = late

    def scenario(self, kind: ScenarioKind, steps: int) -> _Drawn:
        match kind:
            case "single_hop":
                return _Drawn([self._alone()], None)
            case "parallel_single_hop":
                return self._side_by_side(steps)
            case "multi_hop":
                return self._from_one_root(steps)
            case "parallel_multi_hop":
                return self._from_several_roots(steps)

    # --- nodes

    def root(self, kind: str) -> Node:
        return Node(kind, self.world.root(kind, self.rng.getrandbits(62)))

    def know(self, fact: Fact, subject: Node, **qualifiers: str | int | Node) -> Node:
        """The node of a fact, with its value. Qualifiers that are not given are drawn."""
        function = fact.function
        if subject.fact is not None and turns(subject.fact, fact):
            raise _Unfit
        if not qualifiers:
            qualifiers = self.qualifiers(fact)
        arguments: dict[str, JsonValue] = {function.inputs[0].name: subject.value}
        arguments |= {name: part.value if isinstance(part, Node) else part for name, part in qualifiers.items()}
        output = function.output
        node = Node(output.entity or output.kind, self.world.first_value(function, arguments), output.unit)
        node.fact, node.subject, node.qualifiers, node.step = fact, subject, qualifiers, True
        return node

    def qualifiers(self, fact: Fact) -> dict[str, str | int | Node]:
        drawn: dict[str, str | int | Node] = {}
        for entry in fact.function.inputs[1:]:
            if entry.value.kind == "year":
                drawn[entry.name] = self.rng.randint(*EVENT_YEARS)
            else:
                drawn[entry.name] = self.rng.choice(entry.value.choices)
        return drawn

    def compute(
        self, operation: str, kind: str = "", unit: str = "", **arguments: str | float | Node | list[Node]
    ) -> Node:
        """The node of a computation, with its value."""
        entry = computed()[operation]
        plain: dict[str, JsonValue] = {
            name: part.value if isinstance(part, Node) else [p.value for p in part] if isinstance(part, list) else part
            for name, part in arguments.items()
        }
        try:
            value = compute(operation, plain).value
        except ComputationError as error:
            raise _Unfit from error
        node = Node(kind or entry.function.output.kind, value, unit)
        node.computed, node.arguments, node.step = entry, arguments, True
        return node

    def one(self, options: Sequence[_Item]) -> _Item:
        """One of the options, of which there may be none where relations are held out."""
        if not options:
            raise _Unfit
        return self.rng.choice(options)

    def pick(self, options: Sequence[Fact]) -> Fact:
        """A fact that this scenario has not used; late, where few are left, perhaps one that it has."""
        fact = self.one(
            [fact for fact in options if fact.function.id not in self.used] or (options if self.late else [])
        )
        self.used.add(fact.function.id)
        return fact

    def entity(self, kind: str, steps: int, start: Node | None = None, joins: float = 0.0) -> Node:
        """An entity of that type at the end of so many steps, from `start` or from a name of its own."""
        if steps >= 3 and self.rng.random() < joins:
            after = self.rng.randint(0, steps - 3)
            options = [name for name in self.pool.into if kind in self.pool.reach[after][name]]
            if options:
                joined = self.choice(self.rng.choice(options), steps - after, start)
                return self.follow(kind, after, joined)
        if steps == 0:
            if start is None:
                return self.root(kind)
            if start.kind != kind:
                raise _Unfit
            return start
        return self.follow(kind, steps, start)

    def follow(self, kind: str, steps: int, start: Node | None) -> Node:
        """A path of relations to that type, drawn backwards."""
        path: list[Fact] = []
        target = kind
        for left in range(steps - 1, -1, -1):
            reached = self.pool.reach[left][start.kind] if start is not None else self.pool.ends[left]
            options = self.pool.into.get(target, ())
            if target in self.pool.guests and self.rng.random() < 0.12:
                options = self.pool.guests[target]
            back = path[-1] if path else None
            fact = self.pick([f for f in options if f.function.subject in reached and not (back and turns(f, back))])
            path.append(fact)
            target = fact.function.subject
        node = start if start is not None else self.root(target)
        for fact in reversed(path):
            node = self.know(fact, node)
        return node

    def measured(self, fact: Fact, steps: int, start: Node | None = None, joins: float = 0.0) -> Node:
        """A fact at the end of so many steps, itself included."""
        self.used.add(fact.function.id)
        return self.know(fact, self.entity(fact.function.subject, steps - 1, start, joins))

    def choice(self, kind: str, steps: int, start: Node | None) -> Node:
        """One of several entities of a type, told by a tool: by a fact about them, or by the alphabet."""
        by = [fact for fact in self.pool.attributes if fact.more and fact.function.subject == kind]
        many = 3 if steps >= 10 and self.rng.random() < 0.25 else 2
        if by and steps >= 2 * many + 1 and self.rng.random() < 0.7:
            parts = self.split(steps - many - 1, many)
            options = [self.entity(kind, part, start) for part in parts]
            return self.compared(options, self.rng.choice(by))
        if steps < 3:
            raise _Unfit
        parts = self.split(steps - 1, 2)
        options = [self.entity(kind, part, start) for part in parts]
        operation = self.rng.choice(("first_alphabetically", "last_alphabetically"))
        return self.compute(operation, kind, names=options)

    def compared(self, options: list[Node], by: Fact) -> Node:
        values = [self.know(by, option) for option in options]
        apart(values)
        if by.function.output.kind == "date":
            operation = self.rng.choice(("name_with_earliest", "name_with_latest"))
            node = self.compute(operation, options[0].kind, names=options, dates=values)
        else:
            operation = self.rng.choice(("name_with_largest", "name_with_smallest"))
            node = self.compute(operation, options[0].kind, names=options, values=values)
        node.compared = by
        return node

    def split(self, total: int, parts: int, low: int = 1) -> list[int]:
        """Whole numbers of at least `low` that add up to the total, none much larger than the others."""
        if total < parts * low:
            raise _Unfit
        sizes = [low] * parts
        for _ in range(total - parts * low):
            sizes[self.rng.choice([place for place, size in enumerate(sizes) if size <= min(sizes) + 2])] += 1
        return sizes

    # --- scenarios

    def _alone(self) -> Node:
        draw = self.rng.random()
        if draw < 0.17:
            return self.reckoned()
        if draw < 0.85:
            options = self.pool.events
        else:
            options = self.pool.attributes if draw < 0.94 else self.pool.relations
        fact = self.one(options)
        return self.know(fact, self.root(fact.function.subject))

    def reckoned(self) -> Node:
        """A computation over values that the question gives."""
        entry = self.rng.choice([entry for entry in computed().values() if entry.alone])
        arguments: dict[str, str | float | Node | list[Node]] = {}
        for item in entry.function.inputs:
            value = item.value
            match value.kind:
                case "date":
                    arguments[item.name] = self.world.day(self.rng.getrandbits(62), int(value.low), int(value.high))
                case "choice":
                    others = [choice for choice in value.choices if choice not in arguments.values()]
                    arguments[item.name] = self.rng.choice(others)
                case "numbers":
                    few = (2, 3) if entry.function.computation == "product" else (3, 4, 5)
                    values = [
                        self.rng.randint(101, 998 if len(few) == 2 else 9840) for _ in range(self.rng.choice(few))
                    ]
                    arguments[item.name] = [Node("integer", number) for number in values]
                case "text":
                    arguments[item.name] = self.root(self.rng.choice(("person", "town", "ship", "book", "company")))
                case _:
                    scale = 10**value.decimals
                    number = self.rng.randint(round(value.low * scale), round(value.high * scale))
                    arguments[item.name] = number / scale if value.decimals else number
        if "values" in arguments and "threshold" in arguments and isinstance(values := arguments["values"], list):
            ordered = sorted(int(str(node.value)) for node in values)
            arguments["threshold"] = (ordered[0] + ordered[1]) // 2
        return self.compute(entry.function.computation, **arguments)  # pyright: ignore[reportArgumentType]

    def _side_by_side(self, steps: int) -> _Drawn:
        alike = self.rng.random() < self.profile.merged
        if self.rng.random() < self.profile.aggregate:
            unit, options = self.comparable(events=0.5)
            first = self.one(options)
            nodes = [self.know(first, self.root(first.function.subject))]
            for _ in range(steps - 1):
                fact = first if alike else self.rng.choice(options)
                if alike and fact.function.group == "event" and self.rng.random() < 0.35:
                    nodes.append(self.know(fact, nodes[0].subject or nodes[0]))
                else:
                    same = nodes[0].qualifiers if alike and self.rng.random() < 0.6 else {}
                    nodes.append(self.know(fact, self.root(fact.function.subject), **same))
            if nodes[0].subject is not None and self.rng.random() < 0.12:
                return self.names_by_model(steps)
            return _Drawn(nodes, self.aggregate(nodes, unit))
        first = self.rng.choice([*self.pool.attributes, *self.pool.events, *self.pool.relations])
        self.used.add(first.function.id)
        nodes = [self.know(first, self.root(first.function.subject))]
        while len(nodes) < steps:
            everything = [*self.pool.attributes, *self.pool.events, *self.pool.relations]
            near = [fact for fact in everything if fact.function.subject == first.function.subject]
            fact = self.pick(near if alike else everything)
            shared = alike and self.rng.random() < 0.5 and nodes[0].subject is not None
            nodes.append(
                self.know(fact, nodes[0].subject if shared and nodes[0].subject else self.root(fact.function.subject))
            )
        return _Drawn(nodes, None)

    def names_by_model(self, steps: int) -> _Drawn:
        """Names that relations lead to, of which the model takes the first or last, or sorts them."""
        fact = self.one(self.pool.relations)
        nodes = [self.know(fact, self.root(fact.function.subject))]
        options = self.pool.into.get(fact.function.output.entity, ())
        while len(nodes) < steps:
            fact = self.one(options)
            nodes.append(self.know(fact, self.root(fact.function.subject)))
        operation = self.rng.choice(("first_alphabetically", "last_alphabetically", "sort_names"))
        kind = "names" if operation == "sort_names" else nodes[0].kind
        return _Drawn(nodes, self.compute(operation, kind, names=nodes))

    def comparable(self, events: float) -> tuple[str, list[Fact]]:
        """What can be added or compared: the unit, and the facts that have it."""
        unit = self.rng.choices(
            sorted(self.pool.measures), [len(self.pool.measures[u]) for u in sorted(self.pool.measures)]
        )[0]
        wanted = "event" if self.rng.random() < events else "attribute"
        options = [fact for fact in self.pool.measures[unit] if fact.function.group == wanted]
        if not options:
            raise _Unfit
        return unit, options

    def aggregate(self, nodes: list[Node], unit: str) -> Node:
        """One number or date out of several. It is a step only if the caller says so."""
        two = len(nodes) == 2
        apart(nodes)
        if unit == "date":
            spans = ("days_between", "days_between", "weeks_between", "months_between", "years_between")
            if two and self.rng.random() < 0.8:
                return self.compute(self.rng.choice(spans), start=nodes[0], end=nodes[1])
            return self.compute(self.rng.choice(("earliest_date", "latest_date")), dates=nodes)
        shown = unit if unit in ("year", "count") else nodes[0].unit
        if unit == "year":
            if two:
                return self.compute("difference", first=nodes[0], second=nodes[1])
            return self.compute(self.rng.choice(("spread", "largest", "smallest")), values=nodes)
        if two:
            operation = self.rng.choice(
                ("total", "difference", "difference", "average", "ratio", "largest", "smallest")
            )
            if operation == "difference":
                return self.compute("difference", unit=shown, first=nodes[0], second=nodes[1])
            if operation == "ratio":
                large, small = sorted(nodes, key=lambda node: -float(str(node.value)))
                return self.compute("ratio", first=large, second=small)
        else:
            operation = self.rng.choice(("total", "total", "average", "spread", "largest", "smallest", "median"))
        if operation in ("average", "median") and _half(nodes):
            raise _Unfit
        return self.compute(operation, unit=shown, values=nodes)

    def _from_one_root(self, steps: int) -> _Drawn:
        draw = self.rng.random()
        if steps >= 3 and draw < 0.12:
            return _Drawn([self.unary(self.chain(steps - 1))], None)
        if steps >= 4 and draw < 0.24:
            return self._diamond(steps)
        if steps >= 5 and draw < 0.36:
            before = self.rng.randint(1, steps - 4)
            shared = self.entity(self.one(sorted(self.pool.into)), before)
            fact = self.pick([*self.pool.relations, *self.pool.attributes])
            top = self.measured(fact, steps - before, shared, joins=1.0)
            return _Drawn([top], None)
        if steps >= 3 and draw < 0.43:
            return _Drawn([self.dated(steps)], None)
        return _Drawn([self.chain(steps)], None)

    def dated(self, steps: int, start: Node | None = None) -> Node:
        """An event in the year of something else: "the attendance of A in the year in which B was launched"."""
        dates = [fact for fact in self.pool.measures.get("date", ()) if fact.function.output.low >= EVENT_YEARS[0]]
        before = self.rng.randint(0, min(2, steps - 3))
        fit = [f for f in self.pool.events if re.fullmatch(r"(?!of ).*\b(?:in|of) \{year\}", f.phrase)]
        event = self.one([f for f in fit if f.function.subject in self.pool.ends[before]])
        other = steps - 2 - before
        date = self.pick([fact for fact in dates if fact.function.subject in self.pool.ends[other - 1]])
        qualifiers = self.qualifiers(event)
        qualifiers["year"] = self.compute("year_of", "year", date=self.measured(date, other, start))
        self.used.add(event.function.id)
        return self.know(event, self.entity(event.function.subject, before, start), **qualifiers)

    def chain(self, steps: int, joins: float = 0.0) -> Node:
        if steps >= 3 and joins > 0 and self.rng.random() < 0.2:
            return self.dated(steps)
        draw = self.rng.random()
        options = self.pool.relations if draw < 0.42 else self.pool.attributes if draw < 0.78 else self.pool.events
        fact = self.one([fact for fact in options if fact.function.subject in self.pool.ends[steps - 1]])
        return self.measured(fact, steps, joins=joins)

    def _diamond(self, steps: int) -> _Drawn:
        """Two branches from one entity, which come together again."""
        by_tool = self.rng.random() < 0.6
        inner = steps - by_tool
        before = self.rng.randint(1, max(1, inner - 3))
        one, two = self.split(inner - before, 2)
        unit, options = self.comparable(events=0.2)
        for _ in range(20):
            first, second = self.rng.choice(options), self.rng.choice(options)
            reach = self.pool.reach
            starts = [
                name
                for name in kinds()
                if name in self.pool.ends[before]
                and first.function.subject in reach[one - 1][name]
                and second.function.subject in reach[two - 1][name]
            ]
            if starts and first is not second:
                break
        else:
            raise _Unfit
        shared = self.entity(self.rng.choice(starts), before)
        nodes = [self.measured(first, one, shared), self.measured(second, two, shared)]
        joined = self.aggregate(nodes, unit)
        return _Drawn([joined], None) if by_tool else _Drawn(nodes, joined)

    def unary(self, node: Node) -> Node:
        """A computation over one answer, done by a tool."""
        unit = next((q for q, words in UNIT_WORDS.items() if _UNIT_NAMES.get(node.unit, node.unit) in words), None)
        if unit is not None and node.kind in ("number", "integer"):
            old = _UNIT_NAMES.get(node.unit, node.unit)
            new = self.rng.choice([other for other in _ODD_UNITS[unit] if other != old])
            return self.compute(f"convert_{unit}", value=node, from_unit=old, to_unit=new)
        if node.kind == "date":
            operation = self.rng.choice(("add_days", "subtract_days", "add_months", "day_of_year", "days_left_in_year"))
            if operation in ("add_days", "subtract_days"):
                return self.compute(operation, date=node, days=self.rng.randint(101, 1990))
            if operation == "add_months":
                return self.compute(operation, date=node, months=self.rng.randint(11, 190))
            return self.compute(operation, date=node)
        if node.unit == "euros":
            return self.compute("exchange_amount", amount=node, rate=self.rng.randint(1125, 98875) / 10000)
        if node.kind in kinds():
            operation = self.rng.choice(("letter_sum", "reverse_text", "shift_letters"))
            if operation == "shift_letters":
                return self.compute(operation, text=node, shift=self.rng.randint(2, 24))
            return self.compute(operation, text=node)
        raise _Unfit

    def _from_several_roots(self, steps: int) -> _Drawn:
        by_model = self.rng.random() < self.profile.aggregate
        draw = self.rng.random()
        if not by_model:
            if draw < 0.35:
                many = self.rng.choice((2, 3)) if steps >= 7 else 2
                parts = self.split(steps, many)
                return _Drawn([self.chain(part, joins=0.2) for part in parts], None)
            if draw < 0.42 and steps >= 4:
                return _Drawn([self.dated(steps)], None)
            if draw < 0.7:
                fact = self.pick([*self.pool.relations, *self.pool.attributes])
                return _Drawn([self.measured(fact, steps, joins=1.0)], None)
            nodes, unit = self.branches(steps - 1)
            return _Drawn([self.aggregate(nodes, unit)], None)
        if draw < 0.3:
            return self._choice_by_model(steps)
        nodes, unit = self.branches(steps)
        return _Drawn(nodes, self.aggregate(nodes, unit))

    def branches(self, steps: int) -> tuple[list[Node], str]:
        many = self.one([k for k, low in ((2, 3), (2, 3), (3, 5), (4, 8)) if steps >= low])
        unit, options = self.comparable(events=0.12)
        same = self.rng.random() < 0.2
        first = self.one(options)
        chosen = [first if same else self.rng.choice(options) for _ in range(many)]
        parts = self.split(steps, many)
        return [self.measured(fact, part, joins=0.2) for fact, part in zip(chosen, parts, strict=True)], unit

    def _choice_by_model(self, steps: int) -> _Drawn:
        """Entities at the end of chains, and a fact about each by which the model chooses one or ranks all."""
        by = self.one([f for f in self.pool.attributes if f.more and f.function.subject in self.pool.into])
        many = 3 if steps >= 8 and self.rng.random() < 0.5 else 2
        parts = self.split(steps - many, many)
        options = [self.entity(by.function.subject, part, joins=0.2) for part in parts]
        node = self.compared(options, by)
        values = node.arguments["dates" if "dates" in node.arguments else "values"]
        assert isinstance(values, list)
        if many == 3 and self.rng.random() < 0.5:
            if by.function.output.kind == "date":
                node = self.compute("rank_by_date", "names", names=options, dates=values)
            else:
                operation = self.rng.choice(("rank_ascending", "rank_descending"))
                node = self.compute(operation, "names", names=options, values=values)
            node.compared = by
        return _Drawn(values, node)


_UNIT_NAMES = {"t": "tonne", "ha": "hectare", "minutes": "minute", "hours": "hour", "days": "day"}
_ODD_UNITS = {
    "length": ("foot", "yard", "mile", "inch"),
    "mass": ("pound", "stone"),
    "volume": ("pint", "gallon"),
    "area": ("acre", "square mile"),
    "speed": ("mph", "knot", "m/s"),
    "duration": ("hour", "second", "week"),
    "temperature": ("fahrenheit",),
}


def turns(first: Fact, second: Fact) -> bool:
    """Whether the second leads straight back to the type that the first came from ("the town of the theatre of A").

    The facts of a world are invented one by one: it would be another town. People are so many that nobody expects one.
    """
    back = second.function.output.entity
    return back == first.function.subject != "person" and first.function.output.entity != back


def _half(nodes: Sequence[Node]) -> bool:
    """Whether the mean lies half-way between two numbers of two decimals: people round such a one up, floats do not."""
    thousandths = 1000 * sum(float(str(node.value)) for node in nodes) / len(nodes)
    return abs(thousandths % 10 - 5) < 1e-3


def apart(nodes: Sequence[Node]) -> None:
    """Refuses ties and near ties."""
    if isinstance(nodes[0].value, str):
        days = sorted(_ordinal(str(node.value)) for node in nodes)
        if any(after - before < 45 for before, after in pairwise(days)):
            raise _Unfit
        return
    values = sorted(float(str(node.value)) for node in nodes)
    margin = 3 if nodes[0].kind == "year" else max(abs(values[0]), abs(values[-1])) * 0.03
    if any(after - before < margin for before, after in pairwise(values)):
        raise _Unfit


def _ordinal(day: str) -> int:
    year, month, number = map(int, day.split("-"))
    return year * 372 + month * 31 + number


# --- from the graph to the plan ------------------------------------------------------------------------------------


def _plan(
    drawn: _Drawn,
    profile: Profile,
    kind: ScenarioKind,
    split: Split,
    world: InventedWorld,
    rng: random.Random,
    seed: tuple[str | int, ...],
) -> Plan:
    steps = [node for node in walk(drawn.tops) if node.step]
    ids = {id(node): f"s{place}" for place, node in enumerate(steps, 1)}
    if _kind(steps, ids) != kind:
        raise _Unfit
    answers = {ids[id(node)]: _answer(node) for node in steps}
    _distinct(steps)
    final = _final(drawn, ids)
    answer = follow(final, answers)
    if drawn.aggregate is not None and drawn.aggregate.kind not in kinds():
        _worth(answer)
    for node in steps:
        if node.computed is not None and node.kind not in kinds():
            _worth(_answer(node))
    voice = Voice(rng, split if "wordings" in profile.hold_out else "", _words(profile, kind, len(steps), rng))
    tops = drawn.tops if drawn.aggregate is None else [drawn.aggregate]
    question = ask(tops, voice)
    _hidden(question, [*answers.values(), answer])
    lookups = tuple(_lookup(node, ids, answers) for node in steps)
    decomposition = Decomposition(
        question=question,
        answer=answer,
        steps=tuple(
            Step(id=ids[id(node)], question=sub_question(node, ids, voice), answer=answers[ids[id(node)]])
            for node in steps
        ),
        final=final,
    )
    world.settle([(node_function(node), _values(node), node.value) for node in steps])
    return Plan(decomposition, lookups, world, seed)


def node_function(node: Node):
    entry = node.fact or node.computed
    assert entry is not None
    return entry.function


def _kind(steps: Sequence[Node], ids: Mapping[int, str]) -> ScenarioKind:
    needs = [sum(id(part) in ids for part in node.inputs()) for node in steps]
    roots = needs.count(0)
    if not any(needs):
        return "single_hop" if len(steps) == 1 else "parallel_single_hop"
    return "multi_hop" if roots == 1 else "parallel_multi_hop"


_ANSWER_TYPES: dict[str, AnswerType] = {
    "number": "number", "integer": "number", "year": "number", "date": "date", "names": "list", "numbers": "list",
}  # fmt: skip


def _answer(node: Node) -> Answer:
    return Answer(type=_ANSWER_TYPES.get(node.kind, "text"), value=node.value)


def _distinct(steps: Sequence[Node]) -> None:
    """No two sub-answers are equal, except that a choice is one of its options; no name stands for two things."""
    seen: set[str] = set()
    for node in steps:
        chosen = node.computed is not None and node.computed.function.computation in _CHOOSING
        text = str(node.value).lower()
        if text in seen and not chosen:
            raise _Unfit
        seen.add(text)


_CHOOSING = frozenset(
    "first_alphabetically last_alphabetically name_with_largest name_with_smallest name_with_earliest name_with_latest "
    "earliest_date latest_date largest smallest median".split()
)


def _worth(answer: Answer) -> None:
    """Refuses computed answers that are too easily guessed."""
    if answer.type == "number" and isinstance(answer.value, int | float) and abs(answer.value) < 10:
        raise _Unfit


def _words(profile: Profile, kind: ScenarioKind, steps: int, rng: random.Random) -> float:
    """How long the question shall be: longer with more steps, such that the mean is the profile's."""
    mean, usual = profile.words[kind], profile.goals[kind].mean
    return mean * (steps + 3) / (usual + 3) * rng.uniform(0.85, 1.15)


def _final(drawn: _Drawn, ids: Mapping[int, str]) -> Final:
    if drawn.aggregate is not None:
        return Final(operation=node_function(drawn.aggregate).computation, arguments=_symbolic(drawn.aggregate, ids))
    if len(drawn.tops) == 1:
        return Final(operation="answer", arguments={"value": answer_of(ids[id(drawn.tops[0])])})
    return Final(operation="list", arguments={"values": [answer_of(ids[id(top)]) for top in drawn.tops]})


def _arguments(node: Node, said: Callable[[Node], JsonValue]) -> dict[str, JsonValue]:
    if node.fact is not None and node.subject is not None:
        arguments: dict[str, JsonValue] = {node.fact.function.inputs[0].name: said(node.subject)}
        return arguments | {
            name: said(part) if isinstance(part, Node) else part for name, part in node.qualifiers.items()
        }
    return {
        name: said(part)
        if isinstance(part, Node)
        else [said(each) for each in part]
        if isinstance(part, list)
        else part
        for name, part in node.arguments.items()
    }


def _symbolic(node: Node, ids: Mapping[int, str]) -> dict[str, JsonValue]:
    return _arguments(node, lambda part: answer_of(ids[id(part)]) if id(part) in ids else part.value)


def _values(node: Node) -> dict[str, JsonValue]:
    return _arguments(node, lambda part: part.value)


def _lookup(node: Node, ids: Mapping[int, str], answers: Mapping[str, Answer]) -> Lookup:
    step = ids[id(node)]
    return Lookup(step, node_function(node), _symbolic(node, ids), answers[step])


def _hidden(question: str, answers: Sequence[Answer]) -> None:
    """Refuses a question in which an answer stands."""
    said = question.lower()
    for answer in answers:
        values = answer.value if isinstance(answer.value, list) else [answer.value]
        if any(str(value).lower() in said for value in values):
            raise _Unfit
