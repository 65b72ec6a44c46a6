"""The values between a plan and its tools: what a tool is to do, before any of it is written as a document or as code.

    Lookup ──► Design ──► document (JSON Schema)        a Design has Forms (one for each input of its function)
                     └──► source (Python)               and Parts (one for each optional parameter)

A `Site` is what a facet has to know of the tool that it is put into.
"""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, TypeVar

from pydantic import JsonValue

from toolfoundry.build.authors.procedural.plan import Function, Input
from toolfoundry.computations import COMPUTATIONS

__all__ = [
    "Column",
    "Design",
    "Form",
    "Part",
    "Phase",
    "Result",
    "Site",
    "inputs_of",
    "key_of",
    "literal",
    "result_kind",
]

T = TypeVar("T")
Result = Literal["name", "number", "year", "date", "text", "boolean", "list", "mixed"]
Phase = Literal["record", "number", "added", "text", "dressed", "output"]


class Column(NamedTuple):
    """One more value in every row of a tool's table.

    kind: `fact` (what `function` says of the row's entity), `option` (one of `options`), `earlier` (a value that the
    main one had before), `confidence` (0.5 to 0.97), `year`, `date` (ISO), `flag` (true or false). base: the value in
    the row of the base call; None where it does not matter.
    """

    name: str
    kind: Literal["fact", "option", "earlier", "confidence", "year", "date", "flag"]
    base: JsonValue = None
    options: tuple[str, ...] = ()
    function: Function | None = None


class Part(NamedTuple):
    """An optional parameter: its schema, what the code does with it, and a value that changes the base call's result.

    default: what the code takes where it is not given. kind: its JSON type, with `enum` and `text` for strings.
    code: lines in the template language of `sources`. options: the values of an enum, or of an array's items.
    """

    facet: str
    name: str
    kind: str
    schema: Mapping[str, JsonValue]
    default: JsonValue
    witness: JsonValue
    phase: Phase
    code: str
    options: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    modules: tuple[str, ...] = ()


class Form(NamedTuple):
    """How an input of the function is given: the parameter's name, its schema, and how values are written.

    way: `plain` (as the function takes it), `text` (digits of a year), `tried` (an array of spellings, the first that
    is known counts), `named` (an object with the field `name`), `parts` (a date as an object).
    """

    name: str
    schema: Mapping[str, JsonValue]
    way: Literal["plain", "text", "tried", "named", "parts"] = "plain"


class Site(NamedTuple):
    """What a facet may ask about its tool. `value` is the main value that the base call gives.

    others: functions of the same subject that the tool may tell beside its own (no gold function is among them).
    record: whether it gives a record of fields, not the bare value; table: whether it looks something up; peers:
    names of two other entities in its table.
    """

    function: Function
    kind: Result
    key: str
    noun: str
    subject: str
    value: JsonValue
    unit: str
    person: bool
    others: tuple[Function, ...]
    record: bool
    table: bool
    peers: tuple[str, ...]


class Design(NamedTuple):
    """One tool. aspects: the facts it gives; where there are several, the parameter `selector` tells them apart.

    base: the inputs of the call that trials start from, by input names, with `aspect` the index of its fact.
    notes: what each strategy of stage 4 did, as (strategy, words). id: the part of the seed that tells tools apart.
    """

    id: str
    name: str
    description: str
    aspects: tuple[Function, ...]
    keys: tuple[str, ...]
    selector: str
    selector_text: str
    forms: tuple[Form, ...]
    parts: tuple[Part, ...]
    record: bool
    base: Mapping[str, JsonValue]
    aspect: int
    notes: tuple[tuple[str, str], ...] = ()

    @property
    def function(self) -> Function:
        """The fact of the base call."""
        return self.aspects[self.aspect]


@lru_cache(maxsize=1024)
def inputs_of(function: Function) -> tuple[Input, ...]:
    """The inputs of a function; a computation over real numbers takes them where the world only has whole ones."""
    if not function.computation:
        return function.inputs
    hints = inspect.get_annotations(COMPUTATIONS[function.computation].function)
    return tuple(
        given._replace(value=given.value._replace(kind="number"))
        if given.value.kind == "integer" and "float" in str(hints[given.name])
        else given
        for given in function.inputs
    )


@lru_cache(maxsize=4096)
def key_of(noun: str) -> str:
    """A noun as a field or parameter name.

    >>> key_of("Year of founding")
    'year_of_founding'
    """
    return re.sub(r"[^a-z0-9]+", "_", noun.lower()).strip("_")


def pick(rng: random.Random, items: Sequence[T]) -> T:
    """One of the items; `Random.choice` takes four times as long, and a tool takes a hundred choices."""
    return items[int(rng.random() * len(items))]


def result_kind(function: Function) -> Result:
    """What kind of value a function gives, as facets tell them apart."""
    match function.output.kind:
        case "entity":
            return "name"
        case "number" | "integer":
            return "number"
        case "year":
            return "year"
        case "date":
            return "date"
        case "boolean":
            return "boolean"
        case "numbers" | "dates" | "names":
            return "list"
        case _:
            return "text"


def literal(value: JsonValue) -> str:
    """A JSON value as Python writes it, with double quotes."""
    if isinstance(value, str):
        if "\\" in value or '"' in value or "\n" in value:
            value = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(part)}" for key, part in value.items()) + "}"
    return repr(value)
