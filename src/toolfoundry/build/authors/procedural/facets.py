"""The catalogue of optional parameters: each with its schema, the code of its effect, and a value that shows it.

A facet is used where it fits (`when`): there its witness, put into the call that trials start from, changes the result.
Left out, or given its default, it changes nothing. Facets with the same `group` exclude one another.

The code is a template: `$p` the parameter, `$v` the value found, `$r` its row (a dict), `$x` a dict of fields to add,
`$key` the value's own field, `$s` the variable with the subject's name, `$noun` the noun,
`$unit` the unit, `PAIRS` all (name, value) pairs of the table. `fail f"..."` ends the call with an error. Facets are
applied in the order of their phases: those that read the row, arithmetic, added fields, text, dress, output.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable, Sequence, Set
from typing import NamedTuple, cast

from pydantic import JsonValue

from toolfoundry.build.authors.procedural.design import Column, Part, Phase, Site, key_of, literal

__all__ = ["FACETS", "Facet", "fill", "make_part", "units"]

Chosen = tuple[Column, ...]
Drawn = Callable[[Site, random.Random, Set[str]], Chosen | None]
Witness = JsonValue | Callable[[Site, Sequence[str], Chosen], JsonValue]


class Facet(NamedTuple):
    """One kind of optional parameter.

    kind: boolean, enum, text, date, code (a string with a pattern), integer, number, array or object. names, texts: what
    it may be called and how it may be described. options: sets of values to choose one from; the first value of a set is
    the default (of an enum without `free`), for arrays those that items can have. free: an enum without default.
    schema: further keywords. columns: what it needs in the rows, drawn from the site. fields: of an object.
    """

    id: str
    kind: str
    phase: Phase
    names: str
    texts: tuple[str, ...]
    code: str
    when: Callable[[Site], bool]
    witness: Witness = True
    default: JsonValue = None
    options: tuple[tuple[str, ...], ...] = ()
    free: bool = False
    schema: dict[str, JsonValue] = {}
    columns: Drawn | None = None
    fields: Callable[[Site, Chosen], dict[str, JsonValue]] | None = None
    units: bool = False
    group: str = ""
    modules: tuple[str, ...] = ()

    @property
    def excludes(self) -> str:
        return self.group or self.id


def make_part(facet: Facet, site: Site, rng: random.Random, taken: Set[str]) -> Part | None:
    """The facet as a parameter of a tool that it fits (`when`); None where its names are taken, or it needs more."""
    chosen = facet.columns(site, rng, taken) if facet.columns else ()
    if chosen is None:
        return None
    name = rng.choice(facet.names.split())
    if chosen:
        name = name.replace("$c", chosen[0].name)
    if name in taken or any(name == column.name for column in chosen):
        return None
    options = units(site.unit) if facet.units else rng.choice(facet.options) if facet.options else ()
    if not options and facet.kind in ("enum", "array"):
        options = chosen[0].options or tuple(column.name for column in chosen) if chosen else ()
    witness = (
        facet.witness(site, options or tuple(c.name for c in chosen), chosen)
        if callable(facet.witness)
        else facet.witness
    )
    if witness is None:
        return None
    default = options[0] if facet.kind == "enum" and not facet.free else facet.default
    words = _words_for(site, options, chosen)
    text = fill(rng.choice(facet.texts), words)
    if chosen and chosen[0].options:
        text = text.replace("$example", rng.choice(chosen[0].options))
    schema = _schema(facet, rng, text, options, default)
    if facet.kind == "object" and facet.fields is not None:
        schema["properties"] = facet.fields(site, chosen)
    code = fill(facet.code, words)
    return Part(facet.id, name, facet.kind, schema, default, witness, facet.phase, code, options, chosen, facet.modules)


def fill(template: str, words: dict[str, str]) -> str:
    """The template with each `$word` of a dict replaced."""
    if "$" in template:
        for word, text in words.items():
            template = template.replace(word, text)
    return template


def _words_for(site: Site, options: tuple[str, ...], chosen: Chosen) -> dict[str, str]:
    """What the words of a facet's templates stand for; longer words first, where one begins with another."""
    words = {f"$o{index}": option for index, option in enumerate(options)}
    if chosen:
        names = [column.name for column in chosen]
        words |= {"$fieldlist": ", ".join(map(literal, names)) + ("," if len(names) == 1 else "")}
        words |= {"$fields": ", ".join(names)}
    if site.unit in _FACTORS:
        factors = _FACTORS[site.unit]
        words |= {"$factors": literal(dict(factors)), "$first": literal(site.unit), "$units": ", ".join(factors)}
    if chosen:
        words |= {"$caption": chosen[0].name.replace("_", " "), "$column": chosen[0].name}
    return words | {
        "$subject": site.subject.replace("_", " "),
        "$noun": site.noun,
        "$unit": site.unit,
        "$key": site.key,
    }


def units(unit: str) -> tuple[str, ...]:
    """The units that a value in `unit` can be given in, that unit first; empty where none are known."""
    return tuple(_FACTORS.get(unit, ()))


def _schema(
    facet: Facet, rng: random.Random, text: str, options: tuple[str, ...], default: JsonValue
) -> dict[str, JsonValue]:
    """The schema of a parameter, without the fields of an object."""
    strings = ("enum", "text", "date", "code")
    schema: dict[str, JsonValue] = {"type": "string" if facet.kind in strings else facet.kind}
    told = default is not None and rng.random() < (0.35 if facet.kind == "enum" else 0.25)
    schema["description"] = f"{text} {_defaults(default)}" if told else text
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


def _defaults(value: JsonValue) -> str:
    if isinstance(value, bool):
        return f"Default is {str(value).lower()}."
    return f"Default is {value}."


# --- where a facet fits --------------------------------------------------------------------------------------------


def _number(site: Site) -> float | None:
    value = site.value
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _always(_: Site) -> bool:
    return True


def _bare(site: Site) -> bool:
    """The tool gives the value itself, no record."""
    return not site.record


def _table(site: Site) -> bool:
    return site.table


def _facts(site: Site) -> bool:
    return site.table and len(site.others) >= 1


def _two_facts(site: Site) -> bool:
    return site.table and len(site.others) >= 2


def _is_number(site: Site) -> bool:
    return site.kind == "number" and _number(site) is not None


def _number_table(site: Site) -> bool:
    return site.table and _is_number(site) and len(site.function.inputs) == 1


def _nonzero(site: Site) -> bool:
    return _is_number(site) and site.value != 0


def _fraction(site: Site) -> bool:
    value = _number(site)
    return _is_number(site) and value is not None and value != round(value)


def _grouped(site: Site) -> bool:
    return _is_number(site) and abs(_number(site) or 0) >= 1000


def _with_unit(site: Site) -> bool:
    return _is_number(site) and bool(site.unit)


def _converts(site: Site) -> bool:
    return _nonzero(site) and site.unit in _FACTORS


def _date(site: Site) -> bool:
    return site.kind == "date"


def _year(site: Site) -> bool:
    return site.kind == "year" and _number(site) is not None


def _words(site: Site) -> bool:
    """The value is a text with letters."""
    return site.kind in ("name", "text", "mixed") and isinstance(site.value, str) and site.value.upper() != site.value


def _person(site: Site) -> bool:
    return site.person and isinstance(site.value, str) and len(site.value.split()) == 2


def _single(site: Site) -> bool:
    """One value, no list and no truth value."""
    return site.kind not in ("list", "boolean")


def _list(site: Site) -> bool:
    return site.kind == "list" and isinstance(site.value, list) and len(site.value) >= 2


def _alternative(site: Site) -> bool:
    """The value can have been another one: of a choice there are too few."""
    return site.table and (site.kind in ("name", "number", "year", "date") or site.function.output.kind == "text")


# --- columns -------------------------------------------------------------------------------------------------------


def _options(name: str, *options: str) -> Drawn:
    def columns(_: Site, rng: random.Random, taken: Set[str]) -> Chosen | None:
        return None if name in taken else (Column(name, "option", rng.choice(options), options),)

    return columns


def _one(name: str, kind: str, base: JsonValue = None) -> Drawn:
    def columns(_: Site, __: random.Random, taken: Set[str]) -> Chosen | None:
        return None if name in taken else (Column(name, kind, base),)  # pyright: ignore[reportArgumentType]

    return columns


def _earlier(*more: Column) -> Drawn:
    def columns(_: Site, __: random.Random, taken: Set[str]) -> Chosen | None:
        return None if "earlier" in taken else (Column("earlier", "earlier"), *more)

    return columns


def _other_facts(least: int, most: int) -> Drawn:
    def columns(site: Site, rng: random.Random, taken: Set[str]) -> Chosen | None:
        free = [(key, f) for f in site.others if (key := key_of(f.noun)) not in taken and key != site.key]
        free = list(dict(free).items())
        if len(free) < least:
            return None
        chosen = rng.sample(free, min(len(free), rng.randint(least, most)))
        return tuple(Column(key, "fact", None, (), function) for key, function in chosen)

    return columns


# --- the catalogue -------------------------------------------------------------------------------------------------

_FACTORS: dict[str, dict[str, float]] = {
    "m": {"m": 1, "km": 0.001, "cm": 100, "ft": 3.28084},
    "km": {"km": 1, "m": 1000, "mi": 0.621371},
    "cm": {"cm": 1, "m": 0.01, "in": 0.393701},
    "mm": {"mm": 1, "cm": 0.1, "in": 0.0393701},
    "kg": {"kg": 1, "g": 1000, "lb": 2.20462},
    "g": {"g": 1, "kg": 0.001, "oz": 0.035274},
    "t": {"t": 1, "kg": 1000, "lb": 2204.62},
    "tonnes": {"tonnes": 1, "kilograms": 1000, "pounds": 2204.62},
    "l": {"l": 1, "ml": 1000, "gal": 0.264172},
    "litres": {"litres": 1, "hectolitres": 0.01, "gallons": 0.264172},
    "m3": {"m3": 1, "l": 1000, "ft3": 35.3147},
    "m³": {"m³": 1, "l": 1000, "ft³": 35.3147},
    "m2": {"m2": 1, "ha": 0.0001, "ft2": 10.7639},
    "m²": {"m²": 1, "ha": 0.0001, "ft²": 10.7639},
    "ha": {"ha": 1, "km2": 0.01, "acres": 2.47105},
    "hectares": {"hectares": 1, "km2": 0.01, "acres": 2.47105},
    "km2": {"km2": 1, "ha": 100, "mi2": 0.386102},
    "km²": {"km²": 1, "ha": 100, "mi²": 0.386102},
    "km/h": {"km/h": 1, "m/s": 0.277778, "mph": 0.621371},
    "knots": {"knots": 1, "km/h": 1.852, "m/s": 0.514444},
    "min": {"min": 1, "h": 0.0166667, "s": 60},
    "minutes": {"minutes": 1, "hours": 0.0166667, "seconds": 60},
    "hours": {"hours": 1, "minutes": 60, "days": 0.0416667},
    "h": {"h": 1, "min": 60, "s": 3600},
    "days": {"days": 1, "weeks": 0.142857, "hours": 24},
    "years": {"years": 1, "months": 12, "decades": 0.1},
    "metres": {"metres": 1, "kilometres": 0.001, "feet": 3.28084},
    "kilometres": {"kilometres": 1, "metres": 1000, "miles": 0.621371},
    "centimetres": {"centimetres": 1, "metres": 0.01, "inches": 0.393701},
    "kilograms": {"kilograms": 1, "grams": 1000, "pounds": 2.20462},
    "grams": {"grams": 1, "kilograms": 0.001, "ounces": 0.035274},
    "kW": {"kW": 1, "W": 1000, "hp": 1.34102},
    "MW": {"MW": 1, "kW": 1000, "GW": 0.001},
}


def _other_unit(site: Site, *_: object) -> JsonValue:
    return [*_FACTORS[site.unit]][1]


def _as_given(_: Site, options: Sequence[str], __: Chosen) -> JsonValue:
    return options[1]


def _all_options(_: Site, options: Sequence[str], __: Chosen) -> JsonValue:
    return [*options]


def _first_option(_: Site, options: Sequence[str], __: Chosen) -> JsonValue:
    return [options[0]]


def _both(_: Site, names: Sequence[str], __: Chosen) -> JsonValue:
    return {name: True for name in names}


def _rounds(site: Site, options: Sequence[str], _: Chosen) -> JsonValue:
    value = _number(site) or 0
    steps = (1, 10, 100, 1000)
    return next((o for o, step in zip(options[1:], steps, strict=False) if round(value / step) * step != value), None)


def _above(site: Site, *_: object) -> JsonValue:
    return {"min": round(abs(_number(site) or 0) * 2 + 10)}


def _another(_: Site, __: Sequence[str], chosen: Chosen) -> JsonValue:
    return next(option for option in chosen[0].options if option != chosen[0].base)


def _filtered(*given: object) -> JsonValue:
    return {cast("Chosen", given[2])[0].name: _another(*given)}  # pyright: ignore[reportArgumentType]


def _peer(site: Site, *_: object) -> JsonValue:
    return site.peers[0]


def _peers(site: Site, *_: object) -> JsonValue:
    return [*site.peers]


def _unit_object(site: Site, *_: object) -> JsonValue:
    return {"unit": _other_unit(site)}


def _unit_fields(site: Site, _: Chosen) -> dict[str, JsonValue]:
    return {
        "unit": {"type": "string", "enum": [*_FACTORS[site.unit]], "description": "Unit of the result."},
        "decimals": {"type": "integer", "description": "Decimals to round to."},
    }


# Categories that entries of a register can have: column, names, description, values. Each is used as a free text, as
# an enum, as an array of accepted values, as a field to show, and within filter objects.
_CATEGORIES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("region", "region area territory in_region", "the region that the entry is filed under", ("North Coast", "Inner Vale", "Southern March", "Lake Country")),
    ("register", "register registry roll", "the register that holds the entry", ("civil", "harbour", "guild", "crown")),
    ("status", "status entry_status record_status", "the status of the entry", ("active", "archived", "under review")),
    ("category", "category class_of_entry entry_category", "the category of the entry", ("principal", "secondary", "auxiliary")),
    ("district", "district ward_district zone", "the district in which it is registered", ("east", "west", "north", "south")),
    ("tier", "tier level_of_entry administrative_tier", "the tier at which it is administered", ("local", "regional", "national")),
    ("contributor", "contributor contributed_by submitted_by", "who contributed the entry", ("survey office", "field team", "volunteers", "press desk")),
    ("collection", "collection series catalogue_series", "the collection that the entry belongs to", ("main", "supplement", "annex")),
    ("access", "access access_level visibility", "the access level of the entry", ("public", "members", "restricted")),
    ("method", "method collection_method recorded_by_method", "how the entry was collected", ("survey", "interview", "census", "self-report")),
    ("jurisdiction", "jurisdiction legal_area authority_area", "the jurisdiction that applies", ("Upper House", "Free Towns", "Old Crown")),
    ("archive", "archive holding_archive repository_name", "the archive that keeps the original", ("State Archive", "Town Archive", "Abbey Archive")),
    ("priority", "priority handling_priority review_priority", "the handling priority of the entry", ("routine", "raised", "urgent")),
    ("provenance", "provenance provenance_class origin_class", "where the entry comes from", ("original deed", "later copy", "oral account")),
)  # fmt: skip


def _categories() -> list[Facet]:
    facets: list[Facet] = []
    for column, names, what, options in _CATEGORIES:
        columns = _options(column, *options)
        group = f"category.{column}"
        facets.append(
            Facet(
                f"only_{column}",
                "text",
                "record",
                names,
                (
                    f"Only accept an entry with this value for {what}, such as '$example'.",
                    f"Restricts the search by {what} (for example '$example'); any if left out.",
                    f"Optional filter on {what}, e.g. '$example'. Not applied when omitted.",
                ),
                'if $p is not None and $r["$column"].casefold() != $p.strip().casefold():\n'
                '    fail f"the entry for {$s} does not match $p {$p!r}"',
                _table,
                _another,
                columns=columns,
                group=group,
            )
        )
        facets.append(
            Facet(
                f"enum_{column}",
                "enum",
                "record",
                names,
                (
                    f"Only accept an entry with this value for {what}.",
                    f"Filter on {what}; all values are accepted when omitted.",
                    f"Limits the search by {what}. Optional.",
                ),
                'if $p is not None and $r["$column"] != $p:\n    fail f"no entry for {$s} with $p {$p!r}"',
                _table,
                _another,
                free=True,
                columns=columns,
                group=group,
            )
        )
        facets.append(
            Facet(
                f"any_{column}",
                "array",
                "record",
                f"accepted_{column} {column}_in allowed_{column}",
                (
                    f"Values accepted for {what}. An empty list accepts all.",
                    f"List of accepted values of {what}; entries with another one are not returned.",
                ),
                'if $p and $r["$column"] not in $p:\n    fail f"the entry for {$s} is not among those accepted by $p"',
                _table,
                lambda *given: [_another(*given)],
                columns=columns,
                group=group,
            )
        )
        facets.append(
            Facet(
                f"show_{column}",
                "boolean",
                "added",
                f"include_{column} show_{column} with_{column} return_{column}",
                (
                    f"Also return {what}.",
                    f"Whether to add {what} to the result.",
                    f"If true, the result also states {what}.",
                ),
                'if $p:\n    $x["$column"] = $r["$column"]',
                _table,
                True,
                False,
                columns=columns,
                group=group,
            )
        )
    return facets


_PLAIN_TEXT: tuple[Facet, ...] = (
    Facet(
        "as_of", "date", "record", "as_of as_of_date reference_day valid_on",
        (
            "Return what was valid on this date (YYYY-MM-DD). Today's entry if left out.",
            "Date in the form YYYY-MM-DD for which the $noun is wanted; the current one by default.",
            "Historical date (YYYY-MM-DD): the $noun as it was on that day.",
        ),
        "if $p is not None:\n    try:\n        datetime.date.fromisoformat($p)\n    except (TypeError, ValueError):\n"
        '        fail "$p must be a date in the form YYYY-MM-DD"\n'
        '    if $p < $r["since"]:\n        $v = $r["earlier"]',
        _alternative, "1790-06-01", columns=_earlier(Column("since", "date")), group="alternative",
        modules=("datetime",),
    ),
    Facet(
        "recorded_after", "date", "record", "recorded_after updated_since entered_after newer_than",
        (
            "Only accept an entry that was recorded after this date (YYYY-MM-DD).",
            "Earliest acceptable date of record, in the form YYYY-MM-DD. No limit if omitted.",
        ),
        'if $p is not None and not re.fullmatch(r"\\d{4}-\\d{2}-\\d{2}", $p):\n    fail "$p must be written YYYY-MM-DD"\n'
        'if $p is not None and $r["recorded_on"] <= $p:\n    fail f"the entry for {$s} was recorded before {$p}"',
        _table, "2031-01-01", columns=_one("recorded_on", "date"), group="recorded", modules=("re",),
    ),
    Facet(
        "recorded_before", "date", "record", "recorded_before known_by entered_before no_later_than",
        (
            "Only accept an entry that was on record before this date (YYYY-MM-DD).",
            "Latest acceptable date of record (YYYY-MM-DD); without it any date is accepted.",
        ),
        'if $p is not None and not re.fullmatch(r"\\d{4}-\\d{2}-\\d{2}", $p):\n    fail "$p must be written YYYY-MM-DD"\n'
        'if $p is not None and $r["recorded_on"] >= $p:\n    fail f"nothing was on record for {$s} before {$p}"',
        _table, "1801-01-01", columns=_one("recorded_on", "date"), group="recorded", modules=("re",),
    ),
    Facet(
        "prefix", "text", "dressed", "prefix label_before leading_text lead_in",
        (
            "Text to put before the $noun.",
            "Optional text that is written in front of the result.",
            "A label such as 'Result:' that precedes the $noun.",
        ),
        'if $p:\n    $v = f"{$p} {$v}"',
        _single, "Result:",
    ),
    Facet(
        "suffix", "text", "dressed", "suffix trailing_text note_after closing_text",
        (
            "Text to put after the $noun.",
            "Optional text that is appended to the result.",
            "A remark, for example '(checked)', that follows the $noun.",
        ),
        'if $p:\n    $v = f"{$v} {$p}"',
        _single, "(checked)",
    ),
    Facet(
        "template", "text", "dressed", "template result_template text_template answer_pattern",
        (
            "A text in which '{}' stands for the $noun, such as 'Found: {}'.",
            "Pattern of the returned text; '{}' is replaced by the $noun. The bare value if omitted.",
        ),
        'if $p is not None:\n    if "{}" not in $p:\n        fail "$p must contain {}"\n'
        '    $v = $p.replace("{}", str($v))',
        _single, "Found: {}",
    ),
    Facet(
        "tag", "text", "added", "request_label reference_note caller_note tag",
        (
            "A note of the caller that is returned with the result.",
            "Free label to recognise this request by; it is handed back as it is.",
            "Optional reference, such as a file number, that is repeated in the result.",
        ),
        'if $p:\n    $x["note"] = $p.strip()',
        _always, "file 7",
    ),
    Facet(
        "field_name", "text", "output", "field_name result_key output_field key_name",
        (
            "Name of the field under which the $noun is returned; with it the result is always an object.",
            "Returns an object with the $noun under this key.",
        ),
        'if $p:\n    return {$p: $v, **$x}',
        _always, "answer_field", group="output",
    ),
    Facet(
        "compare_with", "text", "added", "compare_with peer_name versus compared_to",
        (
            "Name of another $subject; the difference between both is added.",
            "Also tell by how much the $noun differs from that of this other $subject.",
        ),
        'if $p is not None:\n'
        '    others = [n for name, n in PAIRS if name.casefold() == $p.strip().casefold()]\n'
        '    if not others:\n        fail f"nothing is known about {$p!r}, given as $p"\n'
        '    $x["difference"] = round($v - others[0], 4)',
        _number_table, _peer, group="compare",
    ),
    Facet(
        "unit_text", "text", "number", "unit measurement_unit in_unit desired_unit",
        (
            "Unit of the result: $units. Without it the value is in $unit.",
            "The unit to convert to, one of $units.",
        ),
        "factors = $factors\nif $p is not None:\n    if $p not in factors:\n"
        '        fail f"$p must be one of {\', \'.join(factors)}"\n    $v = round($v * factors[$p], 6)',
        _converts, _other_unit, group="unit",
    ),
    Facet(
        "unit_code", "code", "number", "unit_code unit_symbol",
        ("Symbol of the unit to convert to: $units.",),
        "factors = $factors\nif $p is not None:\n    if $p not in factors:\n"
        '        fail f"$p must be one of {\', \'.join(factors)}"\n    $v = round($v * factors[$p], 6)',
        _converts, _other_unit, schema={"pattern": "^[A-Za-z0-9/²³]{1,12}$"}, group="unit",
    ),
    Facet(
        "entry_code", "code", "added", "entry_code batch_code case_code",
        (
            "Code of two capital letters and three digits under which the request is filed, such as 'KD204'.",
            "Filing code (two letters, three digits, e.g. 'KD204'); returned with the result.",
        ),
        'if $p is not None:\n    if not re.fullmatch("[A-Z]{2}[0-9]{3}", $p):\n'
        '        fail "$p must be two capital letters and three digits"\n    $x["filed_under"] = $p[:2] + "/" + $p[2:]',
        _always, "KD204", schema={"pattern": "^[A-Z]{2}[0-9]{3}$", "examples": ["KD204"]}, modules=("re",),
    ),
    Facet(
        "date_pattern", "text", "text", "date_pattern date_layout strftime_pattern",
        (
            "How to write the date, with %Y, %m, %d, %B and %A, such as '%d.%m.%Y'.",
            "Layout of the date in strftime notation, for example '%A, %d %B %Y'. ISO by default.",
        ),
        "if $p is not None:\n    $v = datetime.date.fromisoformat($v).strftime($p)",
        _date, "%d.%m.%Y", group="date_style", modules=("datetime",),
    ),
    Facet(
        "days_since", "date", "added", "days_since counted_from compare_date reference_date",
        (
            "A date (YYYY-MM-DD); the number of days from it to the result is added.",
            "Also count the days between this date (YYYY-MM-DD) and the $noun.",
        ),
        "if $p is not None:\n    try:\n        start = datetime.date.fromisoformat($p)\n"
        '    except (TypeError, ValueError):\n        fail "$p must be a date in the form YYYY-MM-DD"\n'
        '    $x["days"] = (datetime.date.fromisoformat($v) - start).days',
        _date, "1850-03-01", modules=("datetime",),
    ),
    Facet(
        "decimal_mark", "text", "text", "decimal_mark decimal_separator radix_character",
        ("Character between whole part and decimals, '.' or ','.", "The decimal mark to write, for example ','."),
        'if $p is not None:\n    $v = str($v).replace(".", $p)',
        _fraction, ",", schema={"maxLength": 1}, group="digits",
    ),
    Facet(
        "thousands_mark", "text", "text", "thousands_separator thousands_mark group_character",
        ("Character between groups of three digits, for example ' '.", "How thousands are set apart; not at all if omitted."),
        'if $p is not None:\n    $v = f"{$v:,}".replace(",", $p)',
        _grouped, " ", schema={"maxLength": 1}, group="digits",
    ),
    Facet(
        "title", "text", "text", "honorific form_of_address personal_title",
        ("Title to put before the person's name, such as 'Dr'.", "Form of address that precedes the name; none by default."),
        'if $p:\n    $v = f"{$p.strip()} {$v}"',
        _person, "Dr", group="title",
    ),
    Facet(
        "separator", "text", "dressed", "separator joiner delimiter",
        ("Text between the items; with it the result is one line of text.", "Join the list into a text with this separator."),
        "if $p is not None:\n    $v = $p.join(str(item) for item in $v)",
        _list, "; ", group="list_form",
    ),
    Facet(
        "extra_fields", "text", "added", "extra_fields also_return additional_fields further_details",
        (
            "Comma-separated names of further fields to return: $fields.",
            "Further details to add, separated by commas. Known are $fields.",
        ),
        "known = ($fieldlist)\nfor field in ($p or \"\").split(\",\"):\n    if field.strip() in known:\n"
        '        $x[field.strip()] = $r[field.strip()]\n    elif field.strip():\n'
        '        fail f"$p: {field.strip()!r} is not one of {\', \'.join(known)}"',
        _two_facts, lambda _, options, __: options[0], columns=_other_facts(2, 3), group="extra_fields",
    ),
    Facet(
        "entry_of", "text", "record", "source_name source_title reference_work cited_work",
        (
            "Take the value from this work instead of the standard one: '$o0' (standard) or '$o1'.",
            "Name of the work to quote, '$o0' or '$o1'. The first if omitted.",
        ),
        'if $p is not None and $p.casefold() not in ("$o0".casefold(), "$o1".casefold()):\n'
        '    fail "$p must be $o0 or $o1"\nif $p is not None and $p.casefold() == "$o1".casefold():\n    $v = $r["earlier"]',
        _alternative, _as_given,
        options=(("Standard Gazette", "Old Almanac"), ("General Index", "First Survey"), ("Annual Register", "Founders' Roll")),
        columns=_earlier(), group="alternative",
    ),
    Facet(
        "year_difference", "code", "added", "years_until anniversary_year year_of_comparison",
        ("A year of four digits; the years from the $noun to it are added.",),
        'if $p is not None:\n    if not re.fullmatch("[0-9]{4}", $p):\n        fail "$p must be a year of four digits"\n'
        '    $x["years"] = int($p) - $v',
        _year, "2020", schema={"pattern": "^[0-9]{4}$"}, group="year_difference", modules=("re",),
    ),
)  # fmt: skip

_FLAGS: tuple[Facet, ...] = (
    Facet(
        "include_fact", "boolean", "added", "include_$c with_$c return_$c add_$c show_$c",
        ("Also return the $caption.", "Whether to add the $caption to the result.", "If true, the $caption is given as well.",
         "Set to true to receive the $caption too."),
        'if $p:\n    $x["$column"] = $r["$column"]',
        _facts, True, False, columns=_other_facts(1, 1), group="include_fact_1",
    ),
    Facet(
        "include_fact_2", "boolean", "added", "include_$c with_$c show_$c include_$c_details",
        ("Whether the $caption should be part of the result.", "Adds the $caption.", "If set, the result names the $caption as well."),
        'if $p:\n    $x["$column"] = $r["$column"]',
        _facts, True, False, columns=_other_facts(1, 1), group="include_fact_2",
    ),
    Facet(
        "detailed", "boolean", "added", "detailed verbose full_record extended_output",
        ("Return further details beside the $noun.", "Whether to give the full record instead of the $noun alone.",
         "If true, more fields of the entry are returned."),
        "if $p:\n    $x.update({field: $r[field] for field in ($fieldlist)})",
        _two_facts, True, False, columns=_other_facts(2, 3), group="detail",
    ),
    Facet(
        "with_unit", "boolean", "dressed", "with_unit include_unit append_unit show_unit",
        ("Write the unit ($unit) after the number; the result is then text.", "Whether to append the unit $unit to the value."),
        'if $p:\n    $v = f"{$v} $unit"',
        _with_unit, True, False,
    ),
    Facet(
        "uppercase", "boolean", "text", "uppercase in_capitals upper_case all_caps",
        ("Whether to write the result in capital letters.", "If true, the $noun is returned in upper case."),
        "if $p:\n    $v = str($v).upper()",
        _words, True, False, group="case",
    ),
    Facet(
        "surname_first", "boolean", "text", "surname_first family_name_first last_name_first",
        ("Write the family name before the given name.", "If true, a name is returned as 'Family, Given'."),
        'if $p and " " in $v:\n    given, family = $v.rsplit(" ", 1)\n    $v = f"{family}, {given}"',
        _person, True, False, group="name_style",
    ),
    Facet(
        "abbreviate", "boolean", "text", "abbreviate initials_only abbreviate_given_name short_name",
        ("Abbreviate the given name to its first letter.", "If true, only the initial of the given name is written."),
        'if $p and " " in $v:\n    given, family = $v.rsplit(" ", 1)\n    $v = f"{given[0]}. {family}"',
        _person, True, False, group="name_style",
    ),
    Facet(
        "round_result", "boolean", "number", "round_result whole_number rounded round_to_integer",
        ("Round the result to a whole number.", "Whether decimals are rounded away."),
        "if $p:\n    $v = round($v)",
        _fraction, True, False, group="rounding",
    ),
    Facet(
        "scientific", "boolean", "text", "scientific scientific_notation exponent_form",
        ("Write the number in scientific notation.", "If true, the value is given like 1.25e+03."),
        'if $p:\n    $v = f"{$v:.4e}"',
        _is_number, True, False, group="digits",
    ),
    Facet(
        "grouped", "boolean", "text", "grouped_digits thousands_separators readable_digits",
        ("Separate thousands by commas; the result is then text.", "Whether digits are grouped in threes."),
        'if $p:\n    $v = f"{$v:,}"',
        _grouped, True, False, group="digits",
    ),
    Facet(
        "include_rank", "boolean", "added", "include_rank with_rank show_position",
        ("Also give the rank among all known entries, the largest first.", "Whether to add the position by size."),
        'if $p:\n    $x["rank"] = 1 + sum(n > $v for _, n in PAIRS)',
        _number_table, True, False, group="rank",
    ),
    Facet(
        "include_average", "boolean", "added", "include_average with_mean compare_to_average",
        ("Also give the average over all known entries.", "Whether the mean of all entries is added for comparison."),
        'if $p:\n    known = [n for _, n in PAIRS]\n    $x["average"] = round(sum(known) / len(known), 3)',
        _number_table, True, False, group="average",
    ),
    Facet(
        "include_earlier", "boolean", "added", "include_history include_earlier with_previous show_former",
        ("Also give the entry that was valid before.", "Whether the previous $noun is returned too.",
         "If true, the former value is added."),
        'if $p:\n    $x["formerly"] = $r["earlier"]',
        _alternative, True, False, columns=_earlier(), group="alternative",
    ),
    Facet(
        "original", "boolean", "record", "use_original original_entry first_entry pre_revision",
        ("Return the original entry instead of the revised one.", "If true, the $noun as it was first recorded is returned."),
        'if $p:\n    $v = $r["earlier"]',
        _alternative, True, False, columns=_earlier(), group="alternative",
    ),
    Facet(
        "verified_only", "boolean", "record", "verified_only confirmed_only reviewed_only exclude_unverified",
        ("Only accept entries that have been verified.", "Whether unverified entries are treated as missing."),
        'if $p and not $r["verified"]:\n    fail f"the entry for {$s} has not been verified"',
        _table, True, False, columns=_one("verified", "flag", False), group="verified",
    ),
    Facet(
        "show_verified", "boolean", "added", "include_verification show_verification with_review_state",
        ("Also tell whether the entry has been verified.", "If true, the review state of the entry is added."),
        'if $p:\n    $x["verified"] = $r["verified"]',
        _table, True, False, columns=_one("verified", "flag"), group="verified",
    ),
    Facet(
        "show_recorded", "boolean", "added", "include_record_date show_record_date with_date_of_entry",
        ("Also return the date on which the entry was recorded.", "Whether to add the entry's date of record."),
        'if $p:\n    $x["recorded_on"] = $r["recorded_on"]',
        _table, True, False, columns=_one("recorded_on", "date"), group="recorded",
    ),
    Facet(
        "show_confidence", "boolean", "added", "include_confidence with_confidence show_certainty",
        ("Also return how certain the entry is, from 0 to 1.", "Whether to add the confidence of the entry."),
        'if $p:\n    $x["confidence"] = $r["confidence"]',
        _table, True, False, columns=_one("confidence", "confidence"), group="confidence",
    ),
    Facet(
        "letters", "boolean", "added", "count_letters include_letter_count with_length",
        ("Also count the letters of the $noun.", "If true, the number of letters is added."),
        'if $p:\n    $x["letters"] = sum(sign.isalpha() for sign in str($v))',
        _words, True, False,
    ),
    Facet(
        "initials", "boolean", "added", "include_initials add_initials with_monogram",
        ("Also give the initials of the $noun.", "Whether the first letters of its words are added."),
        'if $p:\n    $x["initials"] = "".join(word[0].upper() for word in str($v).split())',
        _words, True, False,
    ),
    Facet(
        "weekday", "boolean", "added", "include_weekday with_weekday name_the_weekday",
        ("Also name the day of the week.", "Whether to add the weekday of the date."),
        'if $p:\n    $x["weekday"] = datetime.date.fromisoformat($v).strftime("%A")',
        _date, True, False, modules=("datetime",),
    ),
    Facet(
        "day_of_year", "boolean", "added", "include_day_of_year with_ordinal_day day_number",
        ("Also give the number of the day within its year.", "If true, the ordinal day is added."),
        'if $p:\n    $x["day_of_year"] = datetime.date.fromisoformat($v).timetuple().tm_yday',
        _date, True, False, modules=("datetime",),
    ),
    Facet(
        "split_date", "boolean", "added", "split_date separate_parts include_parts",
        ("Also give month and day of the month as numbers.", "Whether the date is returned in parts as well."),
        'if $p:\n    $x["month"], $x["day"] = int($v[5:7]), int($v[8:10])',
        _date, True, False,
    ),
    Facet(
        "decade", "boolean", "text", "decade_only as_decade to_decade",
        ("Return the decade instead of the year.", "If true, the result is like '1870s'."),
        'if $p:\n    $v = f"{$v // 10 * 10}s"',
        _year, True, False, group="year_style",
    ),
    Facet(
        "century", "boolean", "added", "include_century with_century name_century",
        ("Also tell the century.", "Whether to add the number of the century."),
        'if $p:\n    $x["century"] = ($v - 1) // 100 + 1',
        _year, True, False,
    ),
    Facet(
        "leap_year", "boolean", "added", "check_leap_year include_leap_year",
        ("Also tell whether it was a leap year.",),
        'if $p:\n    $x["leap_year"] = $v % 4 == 0 and ($v % 100 != 0 or $v % 400 == 0)',
        _year, True, False,
    ),
    Facet(
        "sentence", "boolean", "output", "as_sentence full_sentence in_words",
        ("Answer in a whole sentence.", "If true, the result is a sentence instead of the bare value."),
        'if $p:\n    return f"The $noun is {$v}."',
        _single, True, False, group="output",
    ),
    Facet(
        "as_list", "boolean", "output", "as_list wrap_in_list list_result",
        ("Return the result as a list with one item.", "Whether the $noun is wrapped in a list."),
        "if $p:\n    return [$v]",
        _single, True, False, group="output",
    ),
    Facet(
        "json_text", "boolean", "output", "as_json json_output serialize",
        ("Return a JSON text with named fields.", "If true, the result is a JSON object written as text."),
        'if $p:\n    return json.dumps({"$key": $v, **$x})',
        _bare, True, False, group="output", modules=("json",),
    ),
    Facet(
        "words_boolean", "boolean", "text", "in_words yes_or_no as_yes_no",
        ("Answer 'yes' or 'no' instead of true or false.",),
        'if $p:\n    $v = "yes" if $v else "no"',
        lambda site: site.kind == "boolean", True, False,
    ),
    Facet(
        "reverse_list", "boolean", "text", "reverse reverse_order descending backwards",
        ("Give the items in the opposite order.", "Whether the order of the result is reversed."),
        "if $p:\n    $v = $v[::-1]",
        _list, True, False, group="list_order",
    ),
    Facet(
        "numbered", "boolean", "dressed", "numbered with_numbers enumerate_items",
        ("Number the items, starting with 1.", "If true, every item is preceded by its position."),
        'if $p:\n    $v = [f"{place}. {item}" for place, item in enumerate($v, 1)]',
        _list, True, False, group="list_form",
    ),
    Facet(
        "count_items", "boolean", "added", "include_count with_count count_items",
        ("Also tell how many items there are.", "Whether to add the number of items."),
        'if $p:\n    $x["count"] = len($v)',
        _list, True, False,
    ),
    Facet(
        "parity", "boolean", "added", "include_parity with_parity odd_or_even",
        ("Also tell whether the value is odd or even; decimals are cut off.",),
        'if $p:\n    $x["parity"] = "even" if int($v) % 2 == 0 else "odd"',
        _is_number, True, False,
    ),
    Facet(
        "whole_part", "boolean", "added", "split_decimals separate_fraction with_whole_part",
        ("Also give the whole part of the number.", "Whether the part before the decimals is returned as well."),
        'if $p:\n    $x["whole_part"] = int($v)',
        _fraction, True, False,
    ),
    Facet(
        "thousands", "boolean", "number", "in_thousands as_thousands scale_to_thousands",
        ("Return the value in thousands.", "If true, the number is divided by 1000."),
        "if $p:\n    $v = $v / 1000",
        _nonzero, True, False, group="scale",
    ),
)  # fmt: skip

_CHOICES: tuple[Facet, ...] = (
    Facet(
        "unit", "enum", "number", "unit units output_unit result_unit measurement_unit",
        ("Unit of the result.", "The unit in which the $noun is returned.", "Measurement unit to convert the result to."),
        "if $p != $first:\n    factors = $factors\n    $v = round($v * factors[$p], 6)",
        _converts, _as_given, units=True, group="unit",
    ),
    Facet(
        "output_format", "enum", "output", "output_format response_format format result_format return_format",
        ("Form of the result.", "How the answer is returned.", "Output format of the response."),
        'if $p == "$o1":\n    return json.dumps({"$key": $v, **$x})\nif $p == "$o2":\n    return f"The $noun is {$v}."',
        _always, lambda _, options, __: options[2],
        options=(("plain", "json", "sentence"), ("value", "json_text", "sentence"), ("simple", "json", "prose"), ("raw", "json", "text")),
        group="output", modules=("json",),
    ),
    Facet(
        "markup", "enum", "output", "markup text_style rendering presentation",
        ("Markup of the returned value.", "How the value is marked up.", "Text style in which the $noun is presented."),
        'if $p == "$o1":\n    return f"**{$v}**"\nif $p == "$o2":\n    return f"<b>{$v}</b>"',
        _single, _as_given,
        options=(("none", "markdown", "html"), ("plain", "markdown", "html")),
        group="output",
    ),
    Facet(
        "language", "enum", "dressed", "language answer_language output_language locale",
        ("Language of the label before the $noun; without one in English.", "Answers in other languages carry a label.",
         "Language in which the answer is labelled; 'en' returns the bare value."),
        'if $p != "en":\n    labels = {"de": "Antwort", "fr": "Réponse", "es": "Respuesta"}\n    $v = f"{labels[$p]}: {$v}"',
        _single, _as_given, options=(("en", "de", "fr", "es"),),
    ),
    Facet(
        "letter_case", "enum", "text", "letter_case case text_case capitalization",
        ("Upper or lower case of the result.", "How letters are written.", "Case of the returned text."),
        'if $p == "$o1":\n    $v = str($v).upper()\nelif $p == "$o2":\n    $v = str($v).lower()',
        _words, _as_given,
        options=(("original", "upper", "lower"), ("unchanged", "uppercase", "lowercase"), ("as_is", "upper", "lower")),
        group="case",
    ),
    Facet(
        "name_style", "enum", "text", "name_style name_format name_order person_name_format",
        ("How the person's name is written.", "Form of the name in the result.", "Order and length of the name."),
        'if $p != "$o0" and " " in $v:\n    given, family = $v.rsplit(" ", 1)\n'
        '    $v = f"{family}, {given}" if $p == "$o1" else f"{given[0]}. {family}"',
        _person, _as_given,
        options=(("full", "surname_first", "initials"), ("given_first", "family_first", "abbreviated")),
        group="name_style",
    ),
    Facet(
        "name_part", "enum", "text", "name_part part_of_name return_part",
        ("Which part of the name is returned.", "Whole name, given name or family name."),
        'if $p == "$o1":\n    $v = $v.split()[0]\nelif $p == "$o2":\n    $v = $v.split()[-1]',
        _person, _as_given, options=(("whole", "given", "family"), ("full", "first", "last")), group="name_style",
    ),
    Facet(
        "edition", "enum", "record", "edition release data_edition data_version dataset_version",
        ("Edition of the data to use.", "Which edition of the register is consulted.", "Data release the answer is taken from."),
        'if $p == "$o1":\n    $v = $r["earlier"]',
        _alternative, _as_given,
        options=(("latest", "first"), ("current", "archived"), ("revised", "original"), ("second", "first"), ("present", "historical")),
        columns=_earlier(), group="alternative",
    ),
    Facet(
        "source", "enum", "record", "source data_source provider evidence_source",
        ("Source that the answer is taken from.", "Which of the sources is consulted.", "Data source to rely on."),
        'if $p == "$o1":\n    $v = $r["earlier"]',
        _alternative, _as_given,
        options=(("register", "survey"), ("official", "press"), ("registry", "census"), ("primary", "secondary"), ("ledger", "chronicle")),
        columns=_earlier(), group="alternative",
    ),
    Facet(
        "rounding", "enum", "number", "rounding round_mode rounding_step precision_mode",
        ("Rounding of the result.", "To what the value is rounded.", "How far the number is rounded."),
        'if $p != "$o0":\n    step = {"$o1": 1, "$o2": 10, "$o3": 100, "$o4": 1000}[$p]\n    $v = round($v / step) * step',
        _is_number, _rounds,
        options=(("none", "units", "tens", "hundreds", "thousands"), ("exact", "ones", "tens", "hundreds", "thousands")),
        group="rounding",
    ),
    Facet(
        "number_format", "enum", "text", "number_format number_style numeric_format digit_style",
        ("How the number is written.", "Notation of the number; other than the first it is text."),
        'if $p == "$o1":\n    $v = f"{$v:,.2f}"\nelif $p == "$o2":\n    $v = f"{$v:.3e}"',
        _is_number, lambda _, options, __: options[2],
        options=(("plain", "grouped", "scientific"), ("standard", "financial", "exponent")),
        group="digits",
    ),
    Facet(
        "statistic", "enum", "number", "statistic measure figure returned_measure",
        ("What is returned: the value itself, its rank among all entries, or its share of their total in percent.",
         "Which figure is wanted: value, rank (largest first) or percentage of the total."),
        'if $p != "$o0":\n    known = [n for _, n in PAIRS]\n'
        '    rank, share = 1 + sum(n > $v for n in known), round(100 * $v / sum(known), 2)\n    $v = rank if $p == "$o1" else share',
        lambda site: _number_table(site) and (_number(site) or 0) > 40 and site.function.output.low >= 0, _as_given,
        options=(("value", "rank", "share"), ("amount", "position", "percentage")),
        group="rank",
    ),
    Facet(
        "date_style", "enum", "text", "date_style date_format date_notation",
        ("How the date is written.", "Notation of the date in the result.", "Format for dates."),
        'if $p != "$o0":\n    layout = {"$o1": "%d %B %Y", "$o2": "%d/%m/%Y", "$o3": "%Y%m%d"}[$p]\n'
        "    $v = datetime.date.fromisoformat($v).strftime(layout)",
        _date, _as_given, options=(("iso", "long", "short", "compact"), ("iso", "written", "numeric", "basic")),
        group="date_style", modules=("datetime",),
    ),
    Facet(
        "calendar", "enum", "text", "calendar calendar_system date_system",
        ("Calendar notation of the result: ordinary, by day of the year, or by week.", "How the day is counted."),
        'if $p == "$o1":\n    $v = datetime.date.fromisoformat($v).strftime("%Y-%j")\n'
        'elif $p == "$o2":\n    $v = "%d-W%02d-%d" % tuple(datetime.date.fromisoformat($v).isocalendar())',
        _date, _as_given, options=(("gregorian", "ordinal", "week"), ("standard", "day_count", "iso_week")),
        group="date_style", modules=("datetime",),
    ),
    Facet(
        "granularity", "enum", "text", "granularity date_precision resolution",
        ("How exact the date is given.", "Precision of the returned date."),
        'if $p == "$o1":\n    $v = $v[:7]\nelif $p == "$o2":\n    $v = $v[:4]',
        _date, _as_given, options=(("day", "month", "year"), ("full", "month", "year")), group="date_style",
    ),
    Facet(
        "era", "enum", "text", "era_notation era year_notation",
        ("Whether an era is written after the year.", "Era notation of the year."),
        'if $p != "$o0":\n    $v = f"{$v} {$p}"',
        _year, _as_given, options=(("none", "CE", "AD"), ("plain", "AD", "CE")), group="year_style",
    ),
    Facet(
        "year_precision", "enum", "number", "year_precision period time_resolution",
        ("Return the exact year, or the first year of its decade or century.", "How exact the year is given."),
        'if $p == "$o1":\n    $v = $v // 10 * 10 - 0\nelif $p == "$o2":\n    $v = $v // 100 * 100',
        lambda site: _year(site) and (_number(site) or 0) % 10 != 0, _as_given,
        options=(("year", "decade", "century"), ("exact", "decade", "century")), group="year_style",
    ),
    Facet(
        "quotes", "enum", "dressed", "quotes quote_style quotation_marks",
        ("Quotation marks around the result.", "How the value is quoted."),
        'if $p == "$o1":\n    $v = f"\'{$v}\'"\nelif $p == "$o2":\n    $v = f\'"{$v}"\'',
        _single, _as_given, options=(("none", "single", "double"), ("off", "single", "double")),
    ),
    Facet(
        "detail_level", "enum", "added", "detail_level verbosity level_of_detail depth",
        ("How much is returned: the $noun alone, or further fields of the entry.", "Amount of detail in the result.",
         "Level of detail of the response."),
        'if $p == "$o1":\n    $x.update({field: $r[field] for field in ($fieldlist)})',
        _facts, _as_given,
        options=(("brief", "full"), ("basic", "extended"), ("summary", "detailed"), ("short", "complete")),
        columns=_other_facts(1, 3), group="detail",
    ),
    Facet(
        "companion", "enum", "added", "companion_field also_include additional_detail secondary_field",
        ("A further detail of the same entry to return.", "Which other field is given beside the $noun, if any."),
        'if $p is not None:\n    $x[$p] = $r[$p]',
        _two_facts, lambda _, options, __: options[0], free=True, columns=_other_facts(2, 4), group="extra_fields",
    ),
    Facet(
        "sort", "enum", "text", "sort_order arrangement listing_order",
        ("Order of the items.", "Whether the items are left in order, reversed or sorted by the alphabet."),
        'if $p == "$o1":\n    $v = $v[::-1]\nelif $p == "$o2":\n    $v = sorted($v, key=str)',
        _list, _as_given, options=(("given", "reversed", "alphabetical"), ("default", "backwards", "alphabetic")),
        group="list_order",
    ),
    Facet(
        "truth", "enum", "text", "truth_format boolean_style verdict_style",
        ("How the verdict is written.",),
        'if $p == "$o1":\n    $v = "yes" if $v else "no"\nelif $p == "$o2":\n    $v = int($v)',
        lambda site: site.kind == "boolean", _as_given, options=(("boolean", "yes_no", "number"),), group="words_boolean",
    ),
    Facet(
        "audience", "enum", "dressed", "wrapping delivery answer_form",
        ("Bare value or with an introduction.", "Whether the value is introduced by its name."),
        'if $p == "$o1":\n    $v = f"$noun: {$v}"',
        _single, _as_given, options=(("bare", "labelled"), ("value_only", "with_label"), ("plain", "introduced")),
    ),
)  # fmt: skip

_WHOLE: tuple[Facet, ...] = (
    Facet(
        "decimals", "integer", "number", "decimals decimal_places digits_after_point",
        ("Number of decimals to round to.", "How many decimals the result has at most."),
        "if $p is not None:\n    $v = round($v, $p)",
        _fraction, 0, schema={"minimum": 0}, group="rounding",
    ),
    Facet(
        "significant", "integer", "number", "significant_digits significant_figures",
        ("Round to this many significant digits (1 to 12).",),
        'if $p is not None:\n    $v = float(f"{$v:.{min($p, 12)}g}")',
        lambda site: _is_number(site) and float(f"{_number(site):.1g}") != _number(site), 1,
        schema={"minimum": 1}, group="rounding",
    ),
    Facet(
        "max_length", "integer", "text", "max_length max_characters truncate_at",
        ("Cut the text after this many characters.", "Greatest length of the returned text; not cut if omitted."),
        "if $p is not None:\n    $v = str($v)[:$p]",
        lambda site: _words(site) and len(str(site.value)) > 3, 3, schema={"minimum": 1},
    ),
    Facet(
        "pad", "integer", "text", "width minimum_width padded_width",
        ("Pad the number with zeros to this width.", "Least number of characters; shorter numbers get leading zeros."),
        "if $p is not None:\n    $v = str($v).zfill($p)",
        _is_number, 24, group="digits", schema={"minimum": 1},
    ),
    Facet(
        "revision", "integer", "record", "revision revisions_back steps_back",
        ("0 for the current entry, 1 for the one before.", "How many revisions to go back, at most one."),
        'if $p:\n    $v = $r["earlier"]',
        _alternative, 1, 0, schema={"minimum": 0, "maximum": 1}, columns=_earlier(), group="alternative",
    ),
    Facet(
        "not_before", "integer", "record", "min_record_year recorded_from first_year earliest_record_year",
        ("Only accept entries recorded in this year or later.", "Earliest year of record that is accepted."),
        'if $p is not None and $r["recorded"] < $p:\n    fail f"the entry for {$s} is older than {$p}"',
        _table, 2050, columns=_one("recorded", "year"), group="recorded_year",
    ),
    Facet(
        "not_after", "integer", "record", "max_record_year recorded_until last_year latest_record_year",
        ("Only accept entries recorded in this year or before.", "Latest year of record that is accepted."),
        'if $p is not None and $r["recorded"] > $p:\n    fail f"the entry for {$s} is newer than {$p}"',
        _table, 1700, columns=_one("recorded", "year"), group="recorded_year",
    ),
    Facet(
        "years_since", "integer", "added", "compare_year reference_year relative_to_year",
        ("A year; the years between it and the $noun are added.", "Also count the years from this one to the $noun."),
        'if $p is not None:\n    $x["years_apart"] = abs($v - $p)',
        _year, 1700, group="year_difference",
    ),
    Facet(
        "shift_years", "integer", "number", "add_years year_offset shift_years",
        ("Years to add to the result.", "Shift the year by this many."),
        "if $p:\n    $v = $v + $p",
        _year, 5, 0,
    ),
    Facet(
        "shift_days", "integer", "text", "add_days day_offset shift_days",
        ("Days to add to the date.", "Shift the date by this many days."),
        "if $p:\n    $v = (datetime.date.fromisoformat($v) + datetime.timedelta(days=max(-9999, min($p, 9999)))).isoformat()",
        _date, 5, 0, group="date_style", modules=("datetime",),
    ),
    Facet(
        "cap", "integer", "number", "cap upper_cap limit_value ceiling",
        ("Greatest value to return; larger ones are cut to it.",),
        "if $p is not None:\n    $v = min($v, $p)",
        _is_number, lambda site, *_: int((_number(site) or 0) - 10), group="cap",
    ),
    Facet(
        "limit", "integer", "text", "limit max_items top_n how_many",
        ("Return at most this many items.", "Number of items to keep, from the start of the list."),
        "if $p is not None:\n    $v = $v[:$p]",
        _list, 1, schema={"minimum": 1}, group="limit",
    ),
    Facet(
        "skip", "integer", "text", "offset skip_items start_at",
        ("Leave out this many items at the start.",),
        "if $p:\n    $v = $v[$p:]",
        _list, 1, 0, schema={"minimum": 0}, group="limit",
    ),
)  # fmt: skip

_REAL: tuple[Facet, ...] = (
    Facet(
        "factor", "number", "number", "factor multiplier scale_factor quantity",
        ("Multiply the result by this number.", "Factor that is applied to the value."),
        "if $p != 1:\n    $v = round($v * $p, 6)",
        _nonzero, 2.5, 1, group="scale",
    ),
    Facet(
        "add", "number", "number", "correction adjustment add_constant calibration_offset",
        ("A correction that is added to the value.", "Constant to add to the result."),
        "if $p:\n    $v = round($v + $p, 6)",
        _is_number, 1.5, 0, group="add",
    ),
    Facet(
        "growth", "number", "number", "growth_percent percent_change markup_percent",
        ("Raise the value by this many percent.", "Percentage by which the result is increased; negative to lower it."),
        "if $p:\n    $v = round($v * (1 + $p / 100), 4)",
        _nonzero, 10.5, 0, group="growth",
    ),
    Facet(
        "min_confidence", "number", "record", "min_confidence confidence_threshold required_confidence certainty",
        ("Least confidence of an accepted entry, from 0 to 1.", "Entries that are less certain than this are not returned.",
         "Confidence threshold between 0 and 1."),
        'if $r["confidence"] < $p:\n    fail f"the entry for {$s} is less certain than {$p}"',
        _table, 0.99, 0, columns=_one("confidence", "confidence"), group="confidence",
    ),
    Facet(
        "max_uncertainty", "number", "record", "max_uncertainty allowed_doubt uncertainty_limit",
        ("Greatest uncertainty of an accepted entry, from 0 to 1.", "Entries with more uncertainty are left out."),
        'if 1 - $r["confidence"] > $p:\n    fail f"the entry for {$s} is more uncertain than {$p}"',
        _table, 0.001, 1, columns=_one("confidence", "confidence"), group="confidence",
    ),
    Facet(
        "tolerance", "number", "added", "tolerance_percent margin_percent error_margin",
        ("Also give the bounds of the value at this tolerance in percent.", "Margin in percent for which bounds are added."),
        'if $p is not None:\n    $x["bounds"] = [round($v * (1 - $p / 100), 3), round($v * (1 + $p / 100), 3)]',
        _nonzero, 5.5,
    ),
    Facet(
        "threshold", "number", "added", "threshold compare_value benchmark",
        ("Also tell whether the value is above this one.", "A value to compare with; the result says if it is exceeded."),
        'if $p is not None:\n    $x["above"] = $v > $p',
        _is_number, 7.5, group="threshold",
    ),
    Facet(
        "share_of", "number", "added", "share_of_total whole_amount percentage_of",
        ("A total; the share that the value has in it is added, in percent.",),
        'if $p:\n    $x["percent"] = round(100 * $v / $p, 3)',
        _nonzero, 1234.5, group="share",
    ),
    Facet(
        "record_age", "number", "record", "max_record_age oldest_record max_age_years",
        ("Greatest age of the entry in years, counted up to 2025.", "Entries older than this many years (as of 2025) are left out."),
        'if $p is not None and 2025 - $r["recorded"] > $p:\n    fail f"the entry for {$s} is older than {$p} years"',
        _table, 0.5, columns=_one("recorded", "year"), group="recorded_year",
    ),
)  # fmt: skip

_ARRAYS: tuple[Facet, ...] = (
    Facet(
        "include", "array", "added", "include include_fields extra_details additional_information",
        ("Further fields of the entry to return.", "Details to add to the result.", "List of additional fields."),
        "for field in $p or []:\n    if field not in ($fieldlist):\n"
        '        fail f"$p: there is no field {field!r}"\n    $x[field] = $r[field]',
        _two_facts, _all_options, columns=_other_facts(2, 4), group="extra_fields",
    ),
    Facet(
        "statistics", "array", "added", "statistics summary_statistics comparison_figures",
        ("Figures over all known entries to add.", "Summary figures of the whole table to return."),
        'known = [n for _, n in PAIRS]\nfor figure in $p or []:\n    if figure == "mean":\n'
        '        $x["mean"] = round(sum(known) / len(known), 3)\n    elif figure == "spread":\n'
        '        $x["spread"] = round(max(known) - min(known), 3)\n    else:\n        $x["count"] = len(known)',
        _number_table, _first_option, options=(("mean", "spread", "count"), ("spread", "count", "mean")), group="average",
    ),
    Facet(
        "conversions", "array", "added", "convert_to conversions also_in_units",
        ("Further units in which the value is given.", "Units to convert the value to, beside the result itself."),
        'for name in $p or []:\n    factors = $factors\n    if name not in factors:\n'
        '        fail f"$p: there is no unit {name!r}"\n    $x[f"in_{name}"] = round($v * factors[name], 4)',
        _converts, lambda _, options, __: [options[1]], units=True, group="unit",
    ),
    Facet(
        "remarks", "array", "added", "remarks caller_notes annotations",
        ("Notes that are returned, numbered, with the result.", "Remarks of the caller to keep with the result."),
        'if $p:\n    $x["remarks"] = {str(place): remark for place, remark in enumerate($p, 1)}',
        _always, ["first check"], group="remarks",
    ),
    Facet(
        "name_changes", "array", "text", "strip_words drop_words words_to_omit",
        ("Words to leave out of the returned text.", "Words that are removed from the result."),
        'if $p:\n    $v = " ".join(word for word in str($v).split() if word not in $p)',
        lambda site: _words(site) and len(str(site.value).split()) > 1, lambda site, *_: [str(site.value).split()[0]],
        group="drop_words",
    ),
    Facet(
        "compare_list", "array", "added", "compare_with_all peers comparison_group",
        ("Names of others; those with a larger value are counted.", "Others of the same kind to compare with; unknown names are ignored."),
        'if $p:\n    group = [name.casefold() for name in $p]\n'
        '    $x["larger_in_group"] = sum(n > $v for name, n in PAIRS if name.casefold() in group)',
        _number_table, _peers, group="compare",
    ),
)  # fmt: skip


def _flag_fields(_: Site, chosen: Chosen) -> dict[str, JsonValue]:
    words = [(column.name, column.name.replace("_", " ")) for column in chosen]
    return {name: {"type": "boolean", "description": f"Whether to add the {text}."} for name, text in words}


def _option_fields(_: Site, chosen: Chosen) -> dict[str, JsonValue]:
    return {c.name: {"type": "string", "enum": [*c.options], "description": f"Accepted {c.name}."} for c in chosen}


def _range_fields(low: str, high: str, kind: str, what: str) -> Callable[[Site, Chosen], dict[str, JsonValue]]:
    def fields(_: Site, __: Chosen) -> dict[str, JsonValue]:
        return {
            low: {"type": kind, "description": f"Least {what}."},
            high: {"type": kind, "description": f"Greatest {what}."},
        }

    return fields


def _two_categories(_: Site, rng: random.Random, taken: Set[str]) -> Chosen | None:
    free = [entry for entry in _CATEGORIES if entry[0] not in taken]
    if len(free) < 2:
        return None
    return tuple(Column(n, "option", rng.choice(options), options) for n, _, _, options in rng.sample(free, 2))


_OBJECTS: tuple[Facet, ...] = (
    Facet(
        "filters", "object", "record", "filters search_filters criteria restrictions",
        ("Conditions that the entry has to meet.", "Filters on the entry; fields left out are not applied."),
        'for field, wanted in ($p or {}).items():\n    if field not in ($fieldlist):\n'
        '        fail f"$p: there is no field {field!r}"\n    if $r[field] != wanted:\n'
        '        fail f"the entry for {$s} has another {field}"',
        _table, _filtered, columns=_two_categories, fields=_option_fields, group="filters",
    ),
    Facet(
        "bounds", "object", "number", "value_range accepted_range bounds plausible_range",
        ("Range that the value has to lie in; else there is no result.", "Least and greatest acceptable value."),
        'if $p and not $p.get("min", $v) <= $v <= $p.get("max", $v):\n    fail "the value lies outside $p"',
        _is_number, _above, fields=_range_fields("min", "max", "number", "value that is accepted"), group="bounds",
    ),
    Facet(
        "record_years", "object", "record", "record_years period_of_record recorded_between",
        ("Years between which the entry must have been recorded.", "Range of years of record; open ends are allowed."),
        'if $p and not $p.get("from_year", 0) <= $r["recorded"] <= $p.get("to_year", 9999):\n'
        '    fail f"the entry for {$s} was not recorded within $p"',
        _table, {"from_year": 2100}, columns=_one("recorded", "year"),
        fields=_range_fields("from_year", "to_year", "integer", "year of record"), group="recorded_year",
    ),
    Facet(
        "extras", "object", "added", "include_options extras sections details_to_include",
        ("Which further fields to add.", "Fields that are added where they are set to true."),
        "for field, wanted in ($p or {}).items():\n    if field not in ($fieldlist):\n"
        '        fail f"$p: there is no field {field!r}"\n    if wanted:\n        $x[field] = $r[field]',
        _two_facts, _both, columns=_other_facts(2, 3), fields=_flag_fields, group="extra_fields",
    ),
    Facet(
        "dress", "object", "dressed", "formatting format_options presentation_options layout",
        ("Texts to put around the result.", "Text before and after the $noun."),
        'if $p:\n    $v = f"{$p.get(\'before\', \'\')} {$v} {$p.get(\'after\', \'\')}".strip()',
        _single, {"before": "Result:"},
        fields=lambda *_: {
            "before": {"type": "string", "description": "Text before the value."},
            "after": {"type": "string", "description": "Text after the value."},
        },
        group="dress",
    ),
    Facet(
        "text_options", "object", "text", "text_options writing writing_options",
        ("How the text is written.", "Case and length of the returned text."),
        'if $p:\n    $v = str($v)[: $p.get("max_length", 200)]\n    if $p.get("uppercase"):\n        $v = $v.upper()',
        lambda site: _words(site) and len(str(site.value)) > 3, {"uppercase": True},
        fields=lambda *_: {
            "uppercase": {"type": "boolean", "description": "Whether to use capital letters."},
            "max_length": {"type": "integer", "description": "Number of characters to keep."},
        },
        group="case",
    ),
    Facet(
        "conversion", "object", "number", "conversion unit_conversion measurement",
        ("Unit of the result, and its decimals.", "Conversion of the result: unit and number of decimals."),
        'if $p:\n    factors = $factors\n    if $p.get("unit", $first) not in factors:\n'
        '        fail f"$p: the unit must be one of {\', \'.join(factors)}"\n'
        '    $v = round($v * factors[$p.get("unit", $first)], $p.get("decimals", 6))',
        _converts, _unit_object, fields=_unit_fields, group="unit",
    ),
    Facet(
        "scaling", "object", "number", "linear_adjustment recalculation adjustment_rule",
        ("A factor and a constant by which the value is adjusted.", "Linear adjustment: the value times factor, plus constant."),
        'if $p:\n    $v = round($v * $p.get("factor", 1) + $p.get("constant", 0), 6)',
        _is_number, {"constant": 12},
        fields=lambda *_: {
            "factor": {"type": "number", "description": "Factor, 1 if left out."},
            "constant": {"type": "number", "description": "Constant to add, 0 if left out."},
        },
        group="scale",
    ),
    Facet(
        "caller", "object", "added", "request_context caller_details requester",
        ("Who asks, and under which number; returned with the result.", "Details of the request to keep with the result."),
        'if $p:\n    $x["request"] = f"{$p.get(\'name\', \'unnamed\')} / {$p.get(\'number\', 0)}"',
        _always, {"name": "desk", "number": 4},
        fields=lambda *_: {
            "name": {"type": "string", "description": "Name of the requesting desk."},
            "number": {"type": "integer", "description": "Number of the request."},
        },
        group="tag",
    ),
)  # fmt: skip

FACETS: tuple[Facet, ...] = (*_FLAGS, *_CHOICES, *_PLAIN_TEXT, *_WHOLE, *_REAL, *_ARRAYS, *_OBJECTS, *_categories())
