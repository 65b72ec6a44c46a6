"""The tables behind tools: what the world says of the scenario's entities and of others of their kind.

A table has the gold rows of its tool, rows of other entities that the scenario uses, and rows of entities that it does
not. A row with a value that is a golden of the environment is left out, unless it is the gold row itself: so a golden
is to be had by its gold call only.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from toolfoundry.build.authors.procedural.design import Column, Design, pick
from toolfoundry.build.authors.procedural.plan import Function, Input, Plan
from toolfoundry.build.authors.procedural.sources import Table

__all__ = ["Facts"]

_FEW, _FILLERS, _SPARE = 3, 8, 3


class Facts:
    """What is known of one scenario's world, asked for once and kept."""

    def __init__(self, plan: Plan) -> None:
        self.world = plan.world
        self.goldens = {str(part) for step in plan.decomposition.steps for part in _parts(step.answer.value)}
        self.gold_functions = {lookup.function.id for lookup in plan.lookups}
        self._values: dict[tuple[JsonValue, ...], JsonValue] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._few: dict[str, tuple[str, ...]] = {}

    def others(self, kind: str) -> tuple[str, ...]:
        """Entities of a type that the scenario does not use: those for rows, then spare ones for earlier values."""
        if kind not in self._names:
            more = self.world.entities(kind, _FILLERS + _SPARE - _FEW, "more")
            self._names[kind] = tuple(dict.fromkeys((*self.few(kind), *more)))
        return self._names[kind]

    def few(self, kind: str) -> tuple[str, ...]:
        """The first of them: most candidates for distractors never get a table."""
        if kind not in self._few:
            self._few[kind] = tuple(self.world.entities(kind, _FEW, "few"))
        return self._few[kind]

    def value(self, function: Function, arguments: Mapping[str, JsonValue]) -> JsonValue:
        """What the function gives."""
        if function.computation:
            return self.world.value(function, arguments)
        key = (function.id, *arguments.values())
        if key not in self._values:
            self._values[key] = self.world.value(function, arguments)
        return self._values[key]

    def fact(self, function: Function, entity: str) -> JsonValue:
        """What a function of one input says of an entity."""
        return self.value(function, {function.inputs[0].name: entity})

    def is_golden(self, value: JsonValue) -> bool:
        """Whether a value is an answer of the scenario."""
        if isinstance(value, list):
            return any(str(part) in self.goldens for part in value)
        return str(value) in self.goldens

    def example(self, function: Function, rng: random.Random) -> dict[str, JsonValue]:
        """Inputs of a fact that the scenario does not use, and whose value is no golden."""
        for entity in self.few(function.subject):
            arguments: dict[str, JsonValue] = {function.inputs[0].name: entity}
            arguments |= {given.name: self.qualifier(given, rng) for given in function.inputs[1:]}
            if not self.is_golden(self.value(function, arguments)):
                return arguments
        raise LookupError(function.id)

    def qualifier(self, given: Input, rng: random.Random) -> JsonValue:
        """A value that an input other than the subject may have."""
        value = given.value
        match value.kind:
            case "entity":
                return pick(rng, self.few(value.entity))
            case "choice":
                return pick(rng, value.choices)
            case "boolean":
                return rng.random() < 0.5
            case "year" | "integer":
                return rng.randint(int(value.low), max(int(value.low), int(value.high)))
            case "number":
                return round(rng.uniform(value.low, value.high), value.decimals)
            case "date":
                first, last = datetime.date(int(value.low), 1, 1), datetime.date(int(value.high), 12, 28)
                return datetime.date.fromordinal(rng.randint(first.toordinal(), last.toordinal())).isoformat()
            case _:
                raise LookupError(given.name)

    def table(self, design: Design, gold: Sequence[Mapping[str, JsonValue]], rng: random.Random) -> Table:
        """The rows behind a design: `gold` are the inputs of its gold calls (all inputs, by name)."""
        function = design.function
        subject, *qualifiers = function.inputs
        ordered = [{given.name: call[given.name] for given in function.inputs} for call in (*gold, design.base)]
        base, wanted = _key(ordered[-1]), {_key(call) for call in ordered[:-1]}
        calls: list[dict[str, JsonValue]] = list({_key(call): call for call in ordered}.values())
        used = {str(call[subject.name]) for call in calls}
        known = [name for name in self.world.known(function.subject) if name not in used]
        others = [name for name in self.others(function.subject)[:_FILLERS] if name not in used]
        size = max(6, len(calls) + 2) + rng.randrange(2)
        if qualifiers:  # the same subject again, in another year or season
            calls += [
                {**call, **{given.name: self.qualifier(given, rng) for given in qualifiers}} for call in calls[:3]
            ]
        calls += [
            {subject.name: name} | {given.name: self.qualifier(given, rng) for given in qualifiers}
            for name in (*known[:3], *others)
        ]
        columns = {column.name: column for part in design.parts for column in part.columns}
        rows: dict[tuple[JsonValue, ...], dict[str, JsonValue]] = {}
        for call in calls:
            key = _key(call)
            if key in rows:
                continue
            row = dict(call)
            for name, aspect in zip(design.keys, design.aspects, strict=True):
                row[name] = self.value(aspect, call if qualifiers else {aspect.inputs[0].name: call[subject.name]})
            for name, column in columns.items():
                if name not in row:
                    row[name] = self._cell(column, design, row, key == base, rng)
            if key in wanted or key == base or not any(self.is_golden(row[name]) for name in (*design.keys, *columns)):
                rows[key] = row
                if len(rows) == size:
                    break
        shuffled = [*rows.values()]
        rng.shuffle(shuffled)
        return Table(tuple(shuffled[0]), tuple(shuffled))

    def _cell(
        self, column: Column, design: Design, row: Mapping[str, JsonValue], is_base: bool, rng: random.Random
    ) -> JsonValue:
        if is_base and column.base is not None:
            return column.base
        match column.kind:
            case "fact":
                assert column.function is not None
                return self.fact(column.function, str(row[design.function.inputs[0].name]))
            case "option":
                return pick(rng, column.options)
            case "flag":
                return rng.random() < 0.6
            case "confidence":
                return rng.randint(50, 97) / 100
            case "year":
                return rng.randint(min(2022, _latest_year(design, row) + 1), 2024)
            case "date":
                first = datetime.date(min(2022, _latest_year(design, row) + 1), 1, 1).toordinal()
                return datetime.date.fromordinal(rng.randint(first, _LAST_DAY)).isoformat()
            case _:
                return self._earlier(design, row, rng)

    def _earlier(self, design: Design, row: Mapping[str, JsonValue], rng: random.Random) -> JsonValue:
        """A value that was valid before: that of an entity which stands in no table."""
        function, now = design.function, row[design.keys[design.aspect]]
        spare = self.others(function.subject)[_FILLERS:]
        start = rng.randrange(len(spare))
        more = {given.name: row[given.name] for given in function.inputs[1:]}
        for place in range(len(spare)):
            before = self.value(function, {function.inputs[0].name: spare[(start + place) % len(spare)], **more})
            if before != now and not self.is_golden(before):
                return before
        raise LookupError(function.id)


def _key(call: Mapping[str, JsonValue]) -> tuple[JsonValue, ...]:
    return tuple(call.values())


def _parts(value: JsonValue) -> Sequence[JsonValue]:
    return value if isinstance(value, list) else [value]


def _latest_year(design: Design, row: Mapping[str, JsonValue]) -> int:
    """The latest year that a row tells of: nothing is recorded before it."""
    told = [row[given.name] for given in design.function.inputs[1:] if given.value.kind in ("year", "date")]
    if design.function.output.kind in ("year", "date"):
        told.append(row[design.keys[design.aspect]])
    return max((int(str(value)[:4]) for value in told), default=1950)


_LAST_DAY = datetime.date(2024, 12, 31).toordinal()
