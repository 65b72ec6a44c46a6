"""The catalogue of optional parameters (`facets.toml`): each with its schema, its effect as code, and what shows it.

A facet is used where it fits (`when`): there its witness, put into the call that trials start from, changes the result.
Left out, or given its default, it changes nothing. Facets with the same `group` exclude one another. The code of a
tool's facets is put together in the order of their phases: what reads the row, arithmetic, added fields, text, dress,
output. So arithmetic still meets a number, whatever form the result takes in the end.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Callable, Sequence, Set
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple, cast

from pydantic import JsonValue

from toolfoundry.build.authors.procedural.design import Column, Part, Phase, Site, key_of, literal, pick

__all__ = ["Facet", "conditions", "facets", "fitting", "local_names", "make_part", "units"]


class Facet(NamedTuple):
    """One kind of optional parameter.

    kind: boolean, enum, text, date, code (a string with a pattern), integer, number, array or object. names, texts:
    what it may be called and how it may be described. when: the name of a condition on the site. witness, or
    `shown_by`, the name of a way to find one: a value that changes the result. options: sets of values to choose one
    from; the first value of a set is the default (of an enum that is not `free`); for arrays those that items can have.
    columns: what it needs in the rows; `options_of` the column where there is a fixed one. fields: of an object, or
    `fields_of`, a way to make them. units: the options are the units that the value can be given in.
    """

    id: str
    kind: str
    phase: Phase
    names: tuple[str, ...]
    texts: tuple[str, ...]
    code: str
    when: str
    witness: JsonValue = None
    shown_by: str = ""
    default: JsonValue = None
    options: tuple[tuple[str, ...], ...] = ()
    free: bool = False
    schema: dict[str, JsonValue] = {}
    columns: str = ""
    column: Column | None = None
    fields: dict[str, JsonValue] = {}
    fields_of: str = ""
    units: bool = False
    group: str = ""
    modules: tuple[str, ...] = ()

    @property
    def excludes(self) -> str:
        """The group, or the facet itself."""
        return self.group or self.id


def conditions(site: Site) -> frozenset[str]:
    """The names of the conditions that a tool meets."""
    return frozenset([name for name, test in _WHEN.items() if test(site)])


@lru_cache(maxsize=4096)
def fitting(kind: str, met: frozenset[str]) -> tuple[Facet, ...]:
    """The facets of one kind that make sense in a tool that meets these conditions."""
    return tuple(facet for facet in facets() if facet.kind == kind and facet.when in met)


@cache
def local_names() -> frozenset[str]:
    """The names that the code of facets binds: a parameter of that name would be overwritten."""
    bound = re.compile(r"^ *([a-z_]+(?:, [a-z_]+)*) = |\bfor ([a-z_]+(?:, [a-z_]+)*) in ", re.MULTILINE)
    found = [names for facet in facets() for pair in bound.findall(facet.code) for names in pair if names]
    return frozenset(name for names in found for name in names.split(", "))


@cache
def facets() -> tuple[Facet, ...]:
    """All facets, in a fixed order."""
    text = files("toolfoundry.build.authors.procedural").joinpath("facets.toml").read_text("utf-8")
    tables = cast("dict[str, list[dict[str, Any]]]", tomllib.loads(text))
    found = [_facet(table) for table in tables["facet"]]
    for category in tables["category"]:
        _CATEGORIES[category["column"]] = tuple(category["options"])
        found += [_filed(template, category) for template in tables["filed"]]
    return tuple(found)


_CATEGORIES: dict[str, tuple[str, ...]] = {}


def _facet(table: dict[str, Any]) -> Facet:
    options = tuple(tuple(group) for group in table.get("options", ()))
    plain: dict[str, Any] = {
        "texts": tuple(table["texts"]),
        "options": options,
        "modules": tuple(table.get("modules", ())),
        "names": tuple(table["names"].split()),
    }
    return Facet(**{**table, **plain, "code": table["code"].strip("\n")})


def _filed(template: dict[str, Any], category: dict[str, Any]) -> Facet:
    """One of the parameters that a category of entries makes."""
    name, options = category["column"], tuple(category["options"])
    texts = tuple(text.replace("$what", category["what"]) for text in template["texts"])
    facet = _facet({**template, "texts": texts, "names": template["names"].replace("$names", category["names"])})
    return facet._replace(id=f"{facet.id}_{name}", column=Column(name, "option", None, options), group=f"filed.{name}")


def make_part(facet: Facet, site: Site, rng: random.Random, taken: Set[str]) -> Part | None:
    """The facet as a parameter of a tool that it fits; None where its name is taken, or it needs what is not there."""
    columns = _columns(facet, site, rng, taken)
    if columns is None:
        return None
    name = pick(rng, facet.names)
    if columns:
        name = name.replace("$c", columns[0].name)
    if name in taken or any(name == column.name for column in columns):
        return None
    options: tuple[str, ...] = pick(rng, facet.options) if facet.options else ()
    if facet.units:
        options = units(site.unit)
    if not options and columns and facet.kind in ("enum", "array"):
        options = columns[0].options or tuple(column.name for column in columns)
    witness = facet.witness
    if facet.shown_by:
        witness = _SHOWN_BY[facet.shown_by](_Drawn(site, options or tuple(column.name for column in columns), columns))
    if witness is None:
        return None
    default = next(iter(options)) if facet.kind == "enum" and not facet.free else facet.default
    words = _words(site, options, columns)
    text = _fill(pick(rng, facet.texts), words)
    if columns and columns[0].options:
        text = text.replace("$example", pick(rng, columns[0].options))
    schema = _schema(facet, rng, text, options, default)
    if facet.kind == "object":
        schema["properties"] = _FIELDS_OF[facet.fields_of](site, columns) if facet.fields_of else facet.fields
    return Part(
        facet=facet.id,
        name=name,
        kind=facet.kind,
        schema=schema,
        default=default,
        witness=witness,
        phase=facet.phase,
        code=_fill(facet.code, words),
        options=options,
        columns=columns,
        modules=facet.modules,
    )


def _fill(template: str, words: dict[str, str]) -> str:
    """The template with each `$word` that is known replaced; those that only the source knows are left."""
    return _WORD.sub(lambda match: words.get(match[0], match[0]), template) if "$" in template else template


_WORD = re.compile(r"\$[a-z]+[0-9]?")


def _words(site: Site, options: tuple[str, ...], columns: tuple[Column, ...]) -> dict[str, str]:
    """What the words of a template stand for."""
    words = {"$noun": site.noun, "$unit": site.unit, "$key": site.key, "$subject": site.subject.replace("_", " ")}
    words |= {f"$o{index}": option for index, option in enumerate(options)}
    words["$options"] = ", ".join(options or (columns[0].options if columns else ()))
    if columns:
        names = [column.name for column in columns]
        words["$record"] = "{" + ", ".join(f'"{name}": $r["{name}"]' for name in names) + "}"
        words["$fields"] = ", ".join(names)
        words["$caption"], words["$column"] = names[0].replace("_", " "), names[0]
    if site.unit in _FACTORS:
        factors = _FACTORS[site.unit]
        words["$factors"], words["$units"] = literal(dict(factors)), ", ".join(factors)
        words["$first"] = literal(site.unit)
    return words


def _schema(
    facet: Facet, rng: random.Random, text: str, options: tuple[str, ...], default: JsonValue
) -> dict[str, JsonValue]:
    """The schema of a parameter, without the fields of an object."""
    strings = ("enum", "text", "date", "code")
    schema: dict[str, JsonValue] = {"type": "string" if facet.kind in strings else facet.kind}
    told = default is not None and rng.random() < (0.35 if facet.kind == "enum" else 0.25)
    schema["description"] = f"{text} Default is {str(default).lower()}." if told else text
    if facet.kind == "enum":
        schema["enum"] = [*options]
    elif facet.kind == "array":
        schema["items"] = {"type": "string", "enum": [*options]} if options else {"type": "string"}
    elif facet.kind == "date" and rng.random() < 0.5:
        schema["format"] = "date"
    schema |= facet.schema
    if default is not None and rng.random() < {"boolean": 0.96, "enum": 0.85}.get(facet.kind, 0.9):
        schema["default"] = default
    return schema


# --- where a facet fits --------------------------------------------------------------------------------------------


def _number(site: Site) -> float | None:
    """The number that the base call gives; None where it gives none."""
    value = site.value
    fits = site.kind in ("number", "year") and isinstance(value, int | float) and not isinstance(value, bool)
    return value if fits and isinstance(value, int | float) else None


def _quantity(site: Site) -> float | None:
    return _number(site) if site.kind == "number" else None


def _year(site: Site) -> float | None:
    return _number(site) if site.kind == "year" else None


def _text(site: Site) -> str:
    """The text with letters that the base call gives, or ""."""
    value = site.value
    told = site.kind in ("name", "text", "mixed") and isinstance(value, str) and value.upper() != value.lower()
    return value if told and isinstance(value, str) else ""


def _ranked(site: Site) -> bool:
    return site.table and _quantity(site) is not None and len(site.function.inputs) == 1


_WHEN: dict[str, Callable[[Site], bool]] = {
    "always": lambda _: True,
    "bare": lambda site: not site.record,
    "table": lambda site: site.table,
    "facts": lambda site: site.table and len(site.others) >= 1,
    "two facts": lambda site: site.table and len(site.others) >= 2,
    # the value can have been another one: of a choice there are too few
    "changeable": lambda site: (
        site.table and (site.kind in ("name", "number", "year", "date") or site.function.output.kind == "text")
    ),
    "single": lambda site: site.kind not in ("list", "boolean"),
    "number": lambda site: _quantity(site) is not None,
    "nonzero": lambda site: bool(_quantity(site)),
    "fraction": lambda site: (_quantity(site) or 0) % 1 != 0,
    "thousands": lambda site: abs(_quantity(site) or 0) >= 1000,
    "several digits": lambda site: (n := _quantity(site)) is not None and float(f"{n:.1g}") != n,
    "number in a table": _ranked,
    "large in a table": lambda site: _ranked(site) and (_number(site) or 0) > 40 and site.function.output.low >= 0,
    "unit": lambda site: _quantity(site) is not None and bool(site.unit),
    "convertible": lambda site: bool(_quantity(site)) and site.unit in _FACTORS,
    "date": lambda site: site.kind == "date",
    "year": lambda site: _year(site) is not None,
    "odd year": lambda site: (_year(site) or 0) % 10 != 0,
    "words": lambda site: bool(_text(site)) and _text(site).upper() != _text(site),
    "long words": lambda site: len(_text(site)) > 3 and _text(site).upper() != _text(site),
    "several words": lambda site: len(_text(site).split()) > 1,
    "person": lambda site: site.person and len(_text(site).split()) == 2,
    "list": lambda site: site.kind == "list" and isinstance(site.value, list) and len(site.value) >= 2,
    "truth": lambda site: site.kind == "boolean",
}


# --- what shows its effect -----------------------------------------------------------------------------------------


class _Drawn(NamedTuple):
    """What was drawn for one use of a facet."""

    site: Site
    options: tuple[str, ...]
    columns: tuple[Column, ...]


def _another(drawn: _Drawn) -> str:
    column = drawn.columns[0]
    return next(option for option in column.options if option != column.base)


def _rounding(drawn: _Drawn) -> str | None:
    """The first step that changes the number; the first option is no rounding."""
    value = _number(drawn.site) or 0
    steps = zip(drawn.options[1:], (1, 10, 100, 1000), strict=True)
    return next((option for option, step in steps if round(value / step) * step != value), None)


_SHOWN_BY: dict[str, Callable[[_Drawn], JsonValue]] = {
    "first option": lambda drawn: drawn.options[0],
    "second option": lambda drawn: drawn.options[1],
    "third option": lambda drawn: drawn.options[2],
    "first option listed": lambda drawn: [drawn.options[0]],
    "second option listed": lambda drawn: [drawn.options[1]],
    "all options listed": lambda drawn: [*drawn.options],
    "all fields": lambda drawn: dict.fromkeys(drawn.options, True),
    "another option": _another,
    "another option listed": lambda drawn: [_another(drawn)],
    "another field": lambda drawn: {drawn.columns[0].name: _another(drawn)},
    "rounding": _rounding,
    "less": lambda drawn: int((_number(drawn.site) or 0) - 10),
    "twice the value": lambda drawn: {"min": round(abs(_number(drawn.site) or 0) * 2 + 10)},
    "other unit": lambda drawn: units(drawn.site.unit)[1],
    "unit object": lambda drawn: {"unit": units(drawn.site.unit)[1]},
    "first word": lambda drawn: [_text(drawn.site).split()[0]],
    "peer": lambda drawn: drawn.site.peers[0],
    "peers": lambda drawn: [*drawn.site.peers],
}


# --- columns and fields --------------------------------------------------------------------------------------------

_COLUMNS: dict[str, tuple[Column, ...]] = {
    "earlier": (Column("earlier", "earlier"),),
    "earlier since": (Column("earlier", "earlier"), Column("since", "date")),
    "recorded_on": (Column("recorded_on", "date"),),
    "recorded": (Column("recorded", "year"),),
    "confidence": (Column("confidence", "confidence"),),
    "verified": (Column("verified", "flag"),),
    "verified=false": (Column("verified", "flag", False),),
}


def _columns(facet: Facet, site: Site, rng: random.Random, taken: Set[str]) -> tuple[Column, ...] | None:
    """What the facet needs in the rows; None where a column is there already, or there are too few facts."""
    if facet.column is not None:
        column = facet.column
        return None if column.name in taken else (column._replace(base=pick(rng, column.options)),)
    if not facet.columns:
        return ()
    if facet.columns in _COLUMNS:
        fixed = _COLUMNS[facet.columns]
        return None if fixed[0].name in taken else fixed
    if facet.columns == "two categories":
        free = [name for name in _CATEGORIES if name not in taken]
        chosen = rng.sample(free, 2) if len(free) > 1 else []
        filed = tuple(Column(name, "option", pick(rng, _CATEGORIES[name]), _CATEGORIES[name]) for name in chosen)
        return filed or None
    least, most = map(int, facet.columns.removeprefix("facts ").split())
    facts = {key: f for f in site.others if (key := key_of(f.noun)) not in taken and key != site.key}
    if len(facts) < least:
        return None
    names = rng.sample([*facts], min(len(facts), rng.randint(least, most)))
    return tuple(Column(name, "fact", None, (), facts[name]) for name in names)


_FIELDS_OF: dict[str, Callable[[Site, Sequence[Column]], dict[str, JsonValue]]] = {
    "flags": lambda _, columns: {
        column.name: {"type": "boolean", "description": f"Whether to add the {column.name.replace('_', ' ')}."}
        for column in columns
    },
    "options": lambda _, columns: {
        column.name: {"type": "string", "enum": [*column.options], "description": f"Accepted {column.name}."}
        for column in columns
    },
    "unit": lambda site, _: {
        "unit": {"type": "string", "enum": [*units(site.unit)], "description": "Unit of the result."},
        "decimals": {"type": "integer", "description": "Decimals to round to."},
    },
}


# --- units ---------------------------------------------------------------------------------------------------------

_FACTORS: dict[str, dict[str, float]] = {
    "m": {"m": 1, "km": 0.001, "ft": 3.28084},
    "km": {"km": 1, "m": 1000, "mi": 0.621371},
    "million km": {"million km": 1, "km": 1000000, "million mi": 0.621371},
    "cm": {"cm": 1, "m": 0.01, "in": 0.393701},
    "mm": {"mm": 1, "cm": 0.1, "in": 0.0393701},
    "kg": {"kg": 1, "g": 1000, "lb": 2.20462},
    "t": {"t": 1, "kg": 1000, "lb": 2204.62},
    "ha": {"ha": 1, "km2": 0.01, "acres": 2.47105},
    "km2": {"km2": 1, "ha": 100, "mi2": 0.386102},
    "m3/s": {"m3/s": 1, "l/s": 1000, "ft3/s": 35.3147},
    "km/h": {"km/h": 1, "m/s": 0.277778, "mph": 0.621371},
    "minutes": {"minutes": 1, "hours": 0.0166667, "seconds": 60},
    "hours": {"hours": 1, "minutes": 60, "days": 0.0416667},
    "days": {"days": 1, "weeks": 0.142857, "hours": 24},
    "euros": {"euros": 1, "cents": 100, "thousand euros": 0.001},
    "million euros": {"million euros": 1, "euros": 1000000, "billion euros": 0.001},
}


def units(unit: str) -> tuple[str, ...]:
    """The units that a value in `unit` can be given in, that unit first; empty where none are known."""
    return tuple(_FACTORS.get(unit, ()))
