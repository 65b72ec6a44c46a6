"""From a design and its table to the Python source of one tool, written as a careful engineer would write it.

Everything stands inside the function: imports, the table, the checks of every argument. The function keeps no state,
reads no clock and draws no numbers. Sources differ in how the table is kept, how it is searched, how errors are
reported, in names, comments and docstrings; what they do follows from the design alone.
"""

from __future__ import annotations

import inspect
import random
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from pydantic import JsonValue

from toolfoundry.build.authors.procedural.design import Design, inputs_of, literal
from toolfoundry.build.authors.procedural.plan import Input
from toolfoundry.computations import COMPUTATIONS

__all__ = ["RESERVED", "Limits", "Table", "write_source"]

_WIDTH = 116
_PHASES = ("record", "number", "added", "text", "dressed", "output")
_KINDS = {
    "enum": ("str", "text"),
    "text": ("str", "text"),
    "date": ("str", "text"),
    "code": ("str", "text"),
    "boolean": ("bool", "true or false"),
    "integer": ("int", "a whole number"),
    "number": ("(int, float)", "a number"),
    "array": ("list", "a list"),
    "object": ("dict", "an object"),
}
RESERVED = frozenset(
    "all_rows candidates columns datetime error field given json kind known label name names re value wanted".split()
)
"""Names that sources use for themselves; no parameter that is added to a tool may have one."""
_HINTS = {"boolean": "bool", "integer": "int", "number": "float", "array": "list", "object": "dict"}


class Table(NamedTuple):
    """The rows behind a tool: dicts with the same keys in the same order, the subject first, then qualifiers."""

    columns: Sequence[str]
    rows: tuple[Mapping[str, JsonValue], ...]


class Limits(NamedTuple):
    """What a calculator accepts: numbers up to `highest` in size, dates of the years `first` to `last`.

    0 where there is no such input.
    """

    highest: int = 0
    first: int = 0
    last: int = 0


class _Style(NamedTuple):
    """How one source is written."""

    raises: bool
    layout: str
    hints: bool
    arguments: bool
    grouped: bool
    comments: bool
    terse: bool
    table: str
    row: str
    value: str
    extra: str


def write_source(design: Design, table: Table | None, limits: Limits, rng: random.Random) -> str:
    """The source of one tool; `table` is None for a calculator."""
    style = _style(design, table, rng)
    body: list[str] = [*_checks(design, style)]
    if table is None:
        body += _calculation(design, style, limits)
    else:
        body += [*_table(table, style), *_search(design, table, style)]
    adds = any("$x" in part.code for part in design.parts)
    if adds:
        body.append(f"{style.extra} = {{}}")
    for phase in _PHASES:
        for part in design.parts:
            if part.phase == phase:
                body += part.code.replace("$p", part.name).split("\n")
    body += _ending(design, adds)
    pairs = _pairs(design, table, style) if table else ""
    subject = design.forms[0].name
    lines = [*_failing(body, style.raises)]
    text = "\n".join(_terse(lines) if style.terse else lines)
    for token, meaning in (
        ("PAIRS", pairs),
        ("$v", style.value),
        ("$r", style.row),
        ("$x", style.extra),
        ("$s", subject),
    ):
        text = text.replace(token, meaning)
    modules = sorted({module for part in design.parts for module in part.modules})
    imports = [f"import {module}" for module in modules]
    head = [*_docstring(design, style), *imports, *([""] if imports else [])]
    inner = "\n".join(f"    {line}" if line else "" for line in (*head, *text.split("\n")))
    return f"{_signature(design, style)}\n{inner}\n"


def _style(design: Design, table: Table | None, rng: random.Random) -> _Style:
    names = {form.name for form in design.forms} | {part.name for part in design.parts} | {design.selector}
    rich = table is not None and len(table.columns) > 2

    def free(*words: str) -> str:
        chosen = [word for word in words if word not in names]
        return rng.choice(chosen)

    several = len(design.forms) > 1 or (
        table is not None and len({str(row[table.columns[0]]) for row in table.rows}) < len(table.rows)
    )
    if several:
        layouts = ("records", "tuples", "tuples")
    elif rich:
        wide = table is not None and len(table.columns) > 5
        layouts = ("tuples",) if wide else ("records", "tuples", "mapping")
    else:
        layouts = ("mapping", "mapping", "pairs", "parallel")
    return _Style(
        raises=rng.random() < 0.5,
        layout=rng.choice(layouts),
        hints=rng.random() < 0.25,
        arguments=rng.random() < 0.05,
        grouped=rng.random() < 0.75,
        comments=rng.random() < 0.15,
        terse=rng.random() < 0.9,
        table=free("table", "records", "register", "entries", "data", "catalogue", "listing"),
        row=free("row", "entry", "record", "match", "found"),
        value=free("value", "answer", "result", "outcome"),
        extra=free("extra", "details", "additions", "more"),
    )


def _signature(design: Design, style: _Style) -> str:
    hints = style.hints
    given: list[str] = []
    for form in design.forms:
        kind = str(form.schema.get("type", "string"))
        given.append(f"{form.name}: {_HINTS.get(kind, 'str')}" if hints else form.name)
    if design.selector:
        given.append(f"{design.selector}: str" if hints else design.selector)
    for part in design.parts:
        hint = _HINTS.get(part.kind, "str") + ("" if part.default is not None else " | None")
        default = literal(part.default)
        given.append(f"{part.name}: {hint} = {default}" if hints else f"{part.name}={default}")
    line = f"def {design.name}({', '.join(given)}):"
    if len(line) <= 116:
        return line
    return "\n".join([f"def {design.name}(", *_packed(given, 4), "):"])


def _packed(items: Sequence[str], indent: int) -> Iterator[str]:
    """Items with commas, as many on a line as fit."""
    line = ""
    for item in items:
        if line and indent + len(line) + len(item) > _WIDTH:
            yield " " * indent + line
            line = ""
        line = f"{line} {item}," if line else f"{item},"
    if line:
        yield " " * indent + line


def _docstring(design: Design, style: _Style) -> list[str]:
    first = design.description.split(". ")[0].rstrip(".") + "."
    if not style.arguments:
        return [f'"""{first}"""']
    lines = ['"""' + first, "", "Args:"]
    for form in design.forms:
        lines.append(f"    {form.name}: {_first_sentence(str(form.schema.get('description', '')))}")
    if design.selector:
        lines.append(f"    {design.selector}: Which fact is wanted.")
    for part in design.parts:
        lines.append(f"    {part.name}: {_first_sentence(str(part.schema['description']))}")
    return [*lines, '"""']


def _first_sentence(text: str) -> str:
    return text.split(". ")[0].split("; ")[0].rstrip(".").replace("\\", "\\\\") + "."


# --- checks --------------------------------------------------------------------------------------------------------


def _checks(design: Design, style: _Style) -> Iterator[str]:
    for form, given in zip(design.forms, inputs_of(design.function), strict=True):
        yield from _check_input(form.name, form.way, given)
    if design.selector:
        yield f"if {design.selector} not in ({', '.join(map(literal, design.keys))}):"
        yield f'    fail "{design.selector} must be one of {", ".join(design.keys)}"'
    plain = [part for part in design.parts if part.kind != "enum"]
    enums = [part for part in design.parts if part.kind == "enum"]
    if style.comments and plain:
        yield "# optional arguments"
    if style.grouped and len(plain) > 1:
        checks = [f'("{part.name}", {part.name}, {_KINDS[part.kind][0]})' for part in plain if part.kind != "number"]
        line = f"for label, given, kind in ({', '.join(checks)}{',' if len(checks) == 1 else ''}):"
        if len(line) > _WIDTH:
            yield "for label, given, kind in ("
            yield from _packed(checks, 4)
            yield "):"
        elif checks:
            yield line
        if checks:
            yield "    if given is not None and not isinstance(given, kind):"
            yield '        fail f"{label} must be of type {kind.__name__}"'
        yield from (line for part in plain if part.kind == "number" for line in _check_kind("number", [part.name]))
    else:
        for kind in dict.fromkeys(part.kind for part in plain):
            same = [part.name for part in plain if part.kind == kind]
            yield from _check_kind(kind, same)
    for part in enums:
        absent = f"{part.name} is not None and " if part.default is None else ""
        yield f"if {absent}{part.name} not in ({', '.join(map(literal, part.options))}):"
        yield f'    fail "{part.name} must be one of {", ".join(part.options)}"'


def _check_kind(kind: str, names: list[str]) -> Iterator[str]:
    python, words = _KINDS[kind]
    if len(names) == 1:
        yield f"if {names[0]} is not None and not isinstance({names[0]}, {python}):"
        yield f'    fail "{names[0]} must be {words}"'
        return
    pairs = ", ".join(f'"{name}": {name}' for name in names)
    if len(pairs) < 70:
        yield f"for label, given in {{{pairs}}}.items():"
    else:
        yield "for label, given in {"
        yield from _packed(pairs.split(", "), 4)
        yield "}.items():"
    yield f"    if given is not None and not isinstance(given, {python}):"
    yield f'        fail f"{{label}} must be {words}"'


def _check_input(name: str, way: str, given: Input) -> Iterator[str]:
    kind = given.value.kind
    if way == "tried":
        yield f"if not isinstance({name}, list) or not {name} or not all(isinstance(n, str) for n in {name}):"
        yield f'    fail "{name} must be a list with at least one name"'
    elif way == "named":
        yield f'if not isinstance({name}, dict) or not isinstance({name}.get("name"), str):'
        yield f'    fail "{name} must be an object with the field name"'
        yield f'{name} = {name}["name"]'
    elif way == "text":
        yield f"if not isinstance({name}, str) or not {name}.strip().isdigit():"
        yield f'    fail "{name} must be written in digits"'
        yield f"{name} = int({name})"
    elif way == "parts":
        yield "try:"
        yield f'    {name} = "%04d-%02d-%02d" % ({name}["year"], {name}["month"], {name}["day"])'
        yield "except (KeyError, TypeError):"
        yield f'    fail "{name} must have the fields year, month and day"'
    elif kind == "choice":
        yield f"if {name} not in ({', '.join(map(literal, given.value.choices))}):"
        yield f'    fail "{name} must be one of {", ".join(given.value.choices)}"'
    elif kind in ("entity", "text", "date"):
        yield f"if not isinstance({name}, str) or not {name}.strip():"
        yield f'    fail "{name} must be a text that is not empty"'
    elif kind in ("numbers", "dates", "names"):
        inner = "(int, float)" if kind == "numbers" else "str"
        yield f"if not isinstance({name}, list) or not all(isinstance(item, {inner}) for item in {name}):"
        yield f'    fail "{name} must be a list of {"numbers" if kind == "numbers" else "texts"}"'
    elif kind == "boolean":
        yield f"if not isinstance({name}, bool):"
        yield f'    fail "{name} must be true or false"'
    else:
        python, words = ("(int, float)", "a number") if kind == "number" else ("int", "a whole number")
        yield f"if isinstance({name}, bool) or not isinstance({name}, {python}):"
        yield f'    fail "{name} must be {words}"'


# --- tables --------------------------------------------------------------------------------------------------------


def _table(table: Table, style: _Style) -> Iterator[str]:
    subject, *rest = table.columns
    name = style.table
    match style.layout:
        case "mapping" if len(rest) == 1:
            yield f"{name} = {{"
            yield from _packed([f"{literal(row[subject])}: {literal(row[rest[0]])}" for row in table.rows], 4)
            yield "}"
        case "mapping":
            yield f"{name} = {{"
            for row in table.rows:
                yield f"    {literal(row[subject])}: {literal({key: row[key] for key in rest})},"
            yield "}"
        case "parallel":
            yield f"names = [{', '.join(literal(row[subject]) for row in table.rows)}]"
            yield f"{name} = [{', '.join(literal(row[rest[0]]) for row in table.rows)}]"
        case "records":
            yield f"{name} = ["
            for row in table.rows:
                yield f"    {literal(dict(row))},"
            yield "]"
        case _:
            if style.layout == "tuples":
                yield f"columns = ({', '.join(map(literal, table.columns))})"
            yield f"{name} = ["
            yield from _packed([f"({', '.join(literal(row[key]) for key in table.columns)})" for row in table.rows], 4)
            yield "]"


def _search(design: Design, table: Table, style: _Style) -> Iterator[str]:
    """Finds the row, or the value alone where the table has no more columns."""
    form = design.forms[0]
    subject, *rest = table.columns
    name, row, who = style.table, style.row, form.name
    if style.comments:
        yield "# names are compared without regard to case and spacing"
    qualified = len(design.forms) > 1
    if form.way == "tried":
        yield f'wanted = [" ".join(n.split()).casefold() for n in {who}]'
    else:
        yield f'wanted = " ".join({who}.split()).casefold()'
    if qualified:
        yield from _search_qualified(design, table, style)
    else:
        match style.layout:
            case "mapping":
                yield f"known = {{name.casefold(): name for name in {name}}}"
            case "parallel":
                yield "known = {name.casefold(): place for place, name in enumerate(names)}"
            case "pairs":
                yield f"known = {{name.casefold(): {style.value} for name, {style.value} in {name}}}"
            case "tuples":
                yield f"known = {{record[0].casefold(): dict(zip(columns, record)) for record in {name}}}"
            case _:
                yield f'known = {{record["{subject}"].casefold(): record for record in {name}}}'
        if form.way == "tried":
            yield "wanted = next((name for name in wanted if name in known), None)"
            yield "if wanted is None:"
            yield f"    fail f\"none of these is known: {{', '.join({who})}}\""
            yield f"{who} = {who}[0]"
        else:
            yield "if wanted not in known:"
            yield f'    fail f"there is no {subject.replace("_", " ")} named {{{who}!r}}; check the spelling"'
        match style.layout:
            case "mapping" if len(rest) == 1:
                yield f"$v = {name}[known[wanted]]"
                return
            case "parallel":
                yield f"$v = {name}[known[wanted]]"
                return
            case "pairs":
                yield "$v = known[wanted]"
                return
            case "mapping":
                yield f"{row} = {name}[known[wanted]]"
            case _:
                yield f"{row} = known[wanted]"
    if design.selector:
        yield f"$v = {row}[{design.selector}]"
    else:
        yield f'$v = {row}["{design.keys[0]}"]'


def _search_qualified(design: Design, table: Table, style: _Style) -> Iterator[str]:
    subject = table.columns[0]
    qualifiers = table.columns[1 : len(design.forms)]
    name, row = style.table, style.row
    if style.layout == "tuples":
        yield f"all_rows = [dict(zip(columns, record)) for record in {name}]"
        name = "all_rows"
    test = "in wanted" if design.forms[0].way == "tried" else "== wanted"
    yield f'candidates = [c for c in {name} if c["{subject}"].casefold() {test}]'
    yield "if not candidates:"
    yield f'    fail f"there is no {subject.replace("_", " ")} named {{{design.forms[0].name}!r}}; check the spelling"'
    conditions: list[str] = []
    for column, form, given in zip(qualifiers, design.forms[1:], design.function.inputs[1:], strict=True):
        if given.value.kind in ("entity", "text"):
            conditions.append(f'c["{column}"].casefold() == {form.name}.strip().casefold()')
        else:
            conditions.append(f'c["{column}"] == {form.name}')
    yield f"{row} = next((c for c in candidates if {' and '.join(conditions)}), None)"
    yield f"if {row} is None:"
    told = ", ".join(f"{form.name} {{{form.name}!r}}" for form in design.forms[1:])
    yield f'    fail f"nothing is recorded for {{{design.forms[0].name}}} with {told}"'


def _pairs(design: Design, table: Table, style: _Style) -> str:
    subject, *rest = table.columns
    key = design.keys[design.aspect]
    match style.layout:
        case "mapping" if len(rest) == 1:
            return f"{style.table}.items()"
        case "mapping":
            return f'[(name, r["{key}"]) for name, r in {style.table}.items()]'
        case "parallel":
            return f"zip(names, {style.table})"
        case "pairs":
            return style.table
        case "tuples":
            return f"[(r[0], r[{table.columns.index(key)}]) for r in {style.table}]"
        case _:
            return f'[(r["{subject}"], r["{key}"]) for r in {style.table}]'


# --- calculators ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _function_source(name: str) -> str:
    return textwrap.dedent(inspect.getsource(COMPUTATIONS[name].function)).rstrip()


def _calculation(design: Design, style: _Style, limits: Limits) -> Iterator[str]:
    function = design.function
    inputs = list(zip(design.forms, function.inputs, strict=True))
    for form, given in inputs:
        kind = given.value.kind
        if limits.highest and kind in ("number", "integer", "numbers"):
            many = f"any(abs(number) > {limits.highest} for number in {form.name})"
            yield f"if {many if kind == 'numbers' else f'abs({form.name}) > {limits.highest}'}:"
            yield f'    fail "{form.name}: numbers up to {limits.highest} are accepted"'
        if limits.first and kind in ("date", "dates"):
            span = f'"{limits.first}" <= {{}} < "{limits.last + 1}"'
            many = f"all({span.format('day')} for day in {form.name})"
            yield f"if not {many if kind == 'dates' else span.format(form.name)}:"
            yield f'    fail "{form.name}: dates from {limits.first} to {limits.last} are accepted"'
    name = function.computation
    yield ""
    yield from _function_source(name).split("\n")
    yield ""
    call = ", ".join(f"{given.name}={form.name}" for form, given in inputs)
    if style.raises:
        yield f"$v = {name}({call})"
        return
    yield "try:"
    yield f"    $v = {name}({call})"
    yield "except ValueError as error:"
    yield '    return {"error": str(error)}'


# --- the end ---------------------------------------------------------------------------------------------------------


def _ending(design: Design, adds: bool) -> Iterator[str]:
    key = "value" if design.selector else design.keys[0]
    if not design.record:
        if adds:
            yield "if $x:"
            yield f'    return {{"{key}": $v, **$x}}'
        yield "return $v"
        return
    fields = [f'"{key}": $v']
    if not design.function.computation:
        first = design.forms[0].name
        fields.insert(0, f'"{design.function.inputs[0].name}": {first}')
    if design.selector:
        fields.insert(1, f'"{design.selector}": {design.selector}')
    yield f"return {{{', '.join(fields)}{', **$x' if adds else ''}}}"


def _failing(lines: Sequence[str], raises: bool) -> Iterator[str]:
    """Each `fail MESSAGE` as this source reports errors."""
    for line in lines:
        for part in line.split("\n"):
            bare = part.lstrip()
            if bare.startswith("fail "):
                indent, message = part[: len(part) - len(bare)], bare[5:]
                yield f"{indent}raise ValueError({message})" if raises else f'{indent}return {{"error": {message}}}'
            else:
                yield part


def _terse(lines: Sequence[str]) -> list[str]:
    """Short conditions with one statement on one line."""
    short: list[str] = []
    place = 0
    while place < len(lines):
        line = lines[place]
        short.append(line)
        place += 1
        if line[-1:] != ":" or line.lstrip()[:3] != "if " or place == len(lines):
            continue
        indent = len(line) - len(line.lstrip())
        statement, after = lines[place], lines[place + 1] if place + 1 < len(lines) else ""
        alone = len(after) - len(after.lstrip()) <= indent and not after.lstrip().startswith(("el", "except"))
        simple = not statement.rstrip().endswith((":", "{", "(", "["))
        if alone and simple and len(line) + len(statement.lstrip()) < 116:
            short[-1] = f"{line} {statement.lstrip()}"
            place += 1
    return short
