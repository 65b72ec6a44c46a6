"""What the world hands to the toolsmith: typed functions over invented entities, and the look-ups of one scenario.

    Profile, seed, split, index ──► Plan (decomposition + one Lookup a step + the World behind them) ──► tools

A *function* is what a tool can be asked for: a relation (entity to entity), an attribute (entity to value), an event
(entity and qualifiers to value) or a computation (values to value). A world answers every function for every entity,
and always the same: facts are invented when they are first asked for, from a seed made of their names. So a tool's
table can hold as many other rows as it wants, and distractors tell the truth too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from pydantic import JsonValue

from toolfoundry.build.draft import Decomposition
from toolfoundry.types import Answer

__all__ = ["Function", "Group", "Input", "Lookup", "Plan", "Value", "World"]

Group = Literal["relation", "attribute", "event", "computation"]


class Value(NamedTuple):
    """What an input takes or a function gives.

    kind: `entity` is a name of type `entity`; `number` has `decimals`, `integer` none; `year` is an integer; `date` is
    YYYY-MM-DD; `choice` is one of `choices`; `numbers`, `dates` and `names` are lists. low and high bound numbers,
    years and (as years) dates. unit: of a number or integer, as it is written after it ("m", "kg"), or "".
    """

    kind: Literal[
        "entity", "number", "integer", "year", "date", "text", "choice", "boolean", "numbers", "dates", "names"
    ]
    entity: str = ""
    unit: str = ""
    low: float = 0
    high: float = 0
    decimals: int = 0
    choices: tuple[str, ...] = ()


class Input(NamedTuple):
    """One input of a function, under the name that the base document's parameter has."""

    name: str
    description: str
    value: Value


class Function(NamedTuple):
    """What a tool can be asked for.

    id: "company.founder"; domain: a theme ("business", "nature", "time"), by which near distractors are found;
    noun: what it gives, for names ("founder"); summary: the same for documents ("the founder of a company");
    inputs: for facts the first is the entity that is asked about, under its type's name; computation: the name in
    `toolfoundry.computations` for a computation, whose inputs are then that function's parameters; "" for a fact.
    """

    id: str
    group: Group
    domain: str
    noun: str
    summary: str
    inputs: tuple[Input, ...]
    output: Value
    computation: str = ""

    @property
    def subject(self) -> str:
        """The type of the entity that a fact is about; "" for a computation."""
        return self.inputs[0].value.entity


class Lookup(NamedTuple):
    """The function that answers a step, and its inputs; answers of earlier steps are references (`symbolic`)."""

    step: str
    function: Function
    arguments: Mapping[str, JsonValue]
    answer: Answer


class World(Protocol):
    """The facts behind one environment. Everything depends on the world's seed and the names asked for alone."""

    def value(self, function: Function, arguments: Mapping[str, JsonValue]) -> JsonValue:
        """The fact: an entity's name, a number, an ISO date, a text. Computations are computed."""
        ...

    def entities(self, kind: str, count: int, purpose: str = "") -> Sequence[str]:
        """Names of that type which the scenario does not use; another purpose gives other names."""
        ...

    def known(self, kind: str) -> Sequence[str]:
        """Names of that type which the scenario uses, roots and answers, in order."""
        ...

    def functions(self, subject: str) -> Sequence[Function]:
        """All facts that can be asked about entities of a type, in a fixed order."""
        ...

    def all_functions(self) -> Sequence[Function]:
        """Every function there is, in a fixed order."""
        ...


class Plan(NamedTuple):
    """One scenario with what is needed to make its tools. `seed` parts: derive every choice from these."""

    decomposition: Decomposition
    lookups: tuple[Lookup, ...]
    world: World
    seed: tuple[str | int, ...]
