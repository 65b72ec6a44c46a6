"""The facts behind the procedural environments: invented when they are first asked for, the same ever after.

A fact depends on seed, split, function and arguments alone, so that all environments of a seed and split tell of one
world. One thing bends to the environment: an answer of its scenario is never given for any other question, since a
table beside it must not answer the sub-question too.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from pydantic import JsonValue

from toolfoundry.build.authors.procedural.catalogue import facts, held
from toolfoundry.build.authors.procedural.catalogue.computing import computed
from toolfoundry.build.authors.procedural.names import PATTERNS, class_of
from toolfoundry.build.authors.procedural.plan import Function, Value
from toolfoundry.build.authors.procedural.profile import Split
from toolfoundry.computations import compute
from toolfoundry.seeds import derive_seed

__all__ = ["InventedWorld", "Known"]

_LETTERS = "BCDFGHJKLMNPRSTVWXZ"
_ATTEMPTS = 200  # a choice of twelve, of which a scenario knows a few, needs far fewer

Known = tuple[str | int, ...]
"""What a fact was asked for: the function's id and the values of its inputs."""


class InventedWorld:
    """A `plan.World`. `purpose` (the parts that name the scenario) only chooses among names, never among facts."""

    def __init__(self, seed: int, split: Split, purpose: tuple[str | int, ...], restricted: bool = False) -> None:
        self._seed, self._split, self._purpose, self._restricted = seed, split, purpose, restricted
        self._class = class_of(seed, split)
        self._settled: dict[Known, JsonValue] = {}
        self._answers: set[JsonValue] = set()
        self._known: dict[str, list[str]] = {}
        self._names: set[str] = set()

    def value(self, function: Function, arguments: Mapping[str, JsonValue]) -> JsonValue:
        """The fact: an entity's name, a number, an ISO date, a text. Computations are computed."""
        if function.computation:
            return compute(function.computation, arguments).value
        key = _key(function, arguments)
        if key in self._settled:
            return self._settled[key]
        attempt = 0
        while (value := self._draw(function, key, attempt)) in self._answers and attempt < _ATTEMPTS:
            attempt += 1
        return value

    def entities(self, kind: str, count: int, purpose: str = "") -> Sequence[str]:
        """Names of that type which the scenario does not use; another purpose gives other names."""
        found: list[str] = []
        for draw in self._draws("entity", *self._purpose, kind, purpose):
            if len(found) == count:
                break
            name = self._name(kind, draw)
            if name not in self._names and name not in found:
                found.append(name)
        return found

    def known(self, kind: str) -> Sequence[str]:
        """Names of that type which the scenario uses, roots and answers, in order."""
        return self._known.get(kind, [])

    def functions(self, subject: str) -> Sequence[Function]:
        """All facts that can be asked about entities of a type, in a fixed order."""
        return _by_subject(self._split if self._restricted else None).get(subject, ())

    def all_functions(self) -> Sequence[Function]:
        """Every function there is, in a fixed order."""
        return _all(self._split if self._restricted else None)

    def root(self, kind: str, draw: int) -> str:
        """A name for something that a question starts from."""
        return self._name(kind, draw)

    @staticmethod
    def day(draw: int, low: int, high: int) -> str:
        """A date in the years from low to high."""
        first = datetime.date(low, 1, 1).toordinal()
        days = datetime.date(high, 12, 31).toordinal() - first + 1
        return datetime.date.fromordinal(first + draw % days).isoformat()

    def first_value(self, function: Function, arguments: Mapping[str, JsonValue]) -> JsonValue:
        """The fact as it is before any scenario is settled."""
        return self._draw(function, _key(function, arguments), 0)

    def settle(self, answered: Sequence[tuple[Function, Mapping[str, JsonValue], JsonValue]]) -> None:
        """Takes the answers of the scenario, which from now on answer nothing else."""
        for function, arguments, value in answered:
            if not function.computation:
                self._settled[_key(function, arguments)] = value
                for entry, what in ((i.value, arguments[i.name]) for i in function.inputs):
                    self._note(entry, what)
                self._note(function.output, value)
            if not isinstance(value, list):
                self._answers.add(value)

    def _note(self, value: Value, what: JsonValue) -> None:
        if value.kind == "entity" and isinstance(what, str) and what not in self._names:
            self._names.add(what)
            self._known.setdefault(value.entity, []).append(what)

    def _draws(self, *parts: str | int) -> Iterator[int]:
        attempt = 0
        while True:
            yield derive_seed(*parts, self._seed, self._split, attempt)
            attempt += 1

    def _name(self, kind: str, draw: int) -> str:
        pattern = PATTERNS[kind]
        return pattern.member(self._class, draw % pattern.per_class)

    def _draw(self, function: Function, key: Known, attempt: int) -> JsonValue:
        draw = derive_seed("fact", self._seed, self._split, *key, attempt)
        output = function.output
        match output.kind:
            case "entity":
                name = self._name(output.entity, draw)
                return self._draw(function, key, attempt + 1) if name in key else name
            case "choice":
                return output.choices[draw % len(output.choices)]
            case "text":
                return _code(output.choices[0], draw)
            case "date":
                return self.day(draw, int(output.low), int(output.high))
            case "year":
                return int(output.low) + draw % (int(output.high - output.low) + 1)
            case _:
                return _number(output, draw)


def _key(function: Function, arguments: Mapping[str, JsonValue]) -> Known:
    values = [arguments[entry.name] for entry in function.inputs]
    return (function.id, *(value if isinstance(value, int | str) else repr(value) for value in values))


def _number(output: Value, draw: int) -> int | float:
    """Between low and high; where they are far apart, every doubling of low is equally likely.

    Whole arithmetic only: powers and logarithms of floats differ between machines in the last digit.
    """
    scale = 10**output.decimals
    low, high = round(output.low * scale), round(output.high * scale)
    if high > 20 * low:
        doublings = (high // low).bit_length()
        draw, step = divmod(draw, doublings)
        low = min(low << step, high // 2)
        high = min(2 * low, high)
    number = low + draw % (high - low + 1)
    if not output.decimals:
        return number
    return (number - 1 if number % 10 == 0 else number) / scale


def _code(form: str, draw: int) -> str:
    parts: list[str] = []
    for sign in form:
        if sign in "A0":
            draw, digit = divmod(draw, len(_LETTERS) if sign == "A" else 9)
            parts.append(_LETTERS[digit] if sign == "A" else str(digit + 1))
        else:
            parts.append(sign)
    return "".join(parts)


@cache
def _all(split: Split | None) -> tuple[Function, ...]:
    chosen = [fact.function for name, fact in facts().items() if split is None or name in held(split)]
    return (*chosen, *(entry.function for entry in computed().values()))


@cache
def _by_subject(split: Split | None) -> dict[str, tuple[Function, ...]]:
    found: dict[str, list[Function]] = {}
    for function in _all(split):
        if not function.computation:
            found.setdefault(function.subject, []).append(function)
    return {subject: tuple(functions) for subject, functions in found.items()}
