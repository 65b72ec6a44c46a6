"""From a design and its table to the Python source of one tool, written as a careful engineer would write it.

Everything stands inside the function: imports, the table, the checks of every argument. The function keeps no state,
reads no clock and draws no numbers. Sources differ in how the table is kept, how it is searched, how errors are
reported, in names, comments and docstrings; what they do follows from the design alone.
"""

from __future__ import annotations

import builtins
import inspect
import json
import keyword
import random
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import JsonValue

from toolfoundry.build.authors.procedural.design import Design, inputs_of, literal, pick
from toolfoundry.build.authors.procedural.plan import Input
from toolfoundry.computations import COMPUTATIONS

__all__ = ["RESERVED", "Limits", "Table", "write_source"]

_WIDTH = 114
_PHASES = ("record", "number", "added", "text", "dressed", "output")
_KINDS = {
    "enum": "str",
    "text": "str",
    "date": "str",
    "code": "str",
    "boolean": "bool",
    "integer": "int",
    "number": "int/float",
    "array": "list",
    "object": "dict",
}
RESERVED = frozenset(
    "cells columns datetime error field given json kind known label name options re value wanted".split()
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
    """How one source is written. layout: `values` (name -> value), `lists` (name -> other columns), `objects`
    (name -> fields, read by their names), `rows` (a list of lists); written as `json`, as `text` or as a `dict`.
    """

    raises: bool
    layout: str
    written: str
    block: bool
    echoes: bool
    hints: bool
    arguments: bool
    comments: bool
    terse: bool
    rules: str
    rule: str
    table: str
    row: str
    value: str
    extra: str


def write_source(design: Design, table: Table | None, limits: Limits, rng: random.Random) -> str:
    """The source of one tool; `table` is None for a calculator."""
    if table is not None:
        table = _keyed(table, design)
    style = _style(design, table, rng)
    body: list[str] = [*_checks(design, table is None, style)]
    if table is None:
        body += _calculation(design, style, limits)
    else:
        body += [*_table(table, style), *_search(design, table, style)]
    ending = list(_parts(design, style))
    adds = any("$x" in line for line in ending)
    if adds:
        body.append(f"{style.extra} = {{}}")
    body += ending
    body += _ending(design, adds)
    lines = [*_failing(body, style.raises)]
    text = "\n".join(_terse(lines) if style.terse else lines)
    if table is not None:
        if style.layout != "objects":  # the columns are variables
            text = _COLUMN.sub(r"\1", text)
        if "PAIRS" in text:
            text = text.replace("PAIRS", _pairs(style))
    tokens = {"$v": style.value, "$r": style.row, "$x": style.extra, "$s": design.forms[0].name}
    text = _TOKEN.sub(lambda match: tokens[match[0]], text)
    modules = sorted({module for part in design.parts for module in part.modules} | _modules(table, style))
    imports = [f"import {module}" for module in modules]
    head = [*_docstring(design, style), *imports, *([""] if imports else [])]
    lines = [part for line in text.split("\n") for part in ([line] if len(line) <= _WIDTH else _fitted(line))]
    inner = "\n".join([f"    {line}" if line else "" for line in (*head, *lines)])
    return f"{_signature(design, style)}\n{inner}\n"


_COLUMN = re.compile(r'\$r\["(\w+)"\]')
_TOKEN = re.compile(r"\$[vrxs]")


def _parts(design: Design, style: _Style) -> Iterator[str]:
    """What the optional parameters do, in the order of their phases."""
    for phase in _PHASES:
        for part in design.parts:
            if part.phase == phase:
                if style.comments:
                    yield f"# {part.name.replace('_', ' ')}"
                yield from part.code.replace("$p", part.name).split("\n")


def _style(design: Design, table: Table | None, rng: random.Random) -> _Style:
    names = {form.name for form in design.forms} | {part.name for part in design.parts} | {design.selector}
    layout = written = ""
    if table is not None:
        names |= set(table.columns)
        layout, written = _layout(design, table, rng)

    def free(*words: str) -> str:
        return pick(rng, [word for word in words if word not in names])

    return _Style(
        raises=rng.random() < 0.5,
        layout=layout,
        written=written,
        block=rng.random() < 0.7,
        echoes=rng.random() < 0.3,
        hints=rng.random() < 0.07,
        arguments=rng.random() < 0.1 and len(design.parts) < 8,
        comments=rng.random() < 0.2 and len(design.parts) < 8,
        terse=rng.random() < 0.6,
        rules=free("rules", "expected", "contract", "accepted"),
        rule=free("rule", "line", "item", "demand"),
        table=free("table", "records", "register", "entries", "data", "catalogue", "listing"),
        row=free("row", "entry", "record", "match", "found"),
        value=free("value", "answer", "result", "outcome"),
        extra=free("extra", "details", "additions", "more"),
    )


def _layout(design: Design, table: Table, rng: random.Random) -> tuple[str, str]:
    """How the table is kept, and how it is written."""
    rest = table.columns[2:]
    if design.selector or any(keyword.iskeyword(column) or column in _BUILTINS for column in rest):
        return "objects", "json"
    texts = all(isinstance(cell, str) and "|" not in cell for row in table.rows for cell in row.values())
    texts = texts and all(sum(len(str(cell)) + 3 for cell in row.values()) < _WIDTH - 4 for row in table.rows)
    written = "text" if texts and rng.random() < 0.5 else "json"
    if rest:
        return "lists", written
    return "values", "dict" if rng.random() < 0.35 else written


_BUILTINS = frozenset(dir(builtins))


def _modules(table: Table | None, style: _Style) -> set[str]:
    return set() if table is None else {"json": {"json"}, "text": {"re"}}.get(style.written, set())


def _keyed(table: Table, design: Design) -> Table:
    """The table with one column in place of the inputs: what is looked for, in small letters; then the value."""
    inputs, key = table.columns[: len(design.forms)], design.keys[design.aspect]
    rest = [column for column in table.columns[len(inputs) :] if column != key]
    rows = tuple(
        {inputs[0]: ", ".join(str(row[column]) for column in inputs).casefold(), **{c: row[c] for c in (key, *rest)}}
        for row in table.rows
    )
    return Table((inputs[0], key, *rest), rows)


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
    return "\n".join([f"def {design.name}(", *_packed(given), "):"])


def _packed(items: Sequence[str], spare: int = 4) -> Iterator[str]:
    """Items with commas, indented, as many on a line as fit; `spare` signs of it are left free."""
    line = ""
    for item in items:
        if line and spare + len(line) + len(item) > _WIDTH:
            yield " " * 4 + line
            line = ""
        line = f"{line} {item}," if line else f"{item},"
    if line:
        yield " " * 4 + line


def _docstring(design: Design, style: _Style) -> list[str]:
    first = design.description.split(". ")[0].rstrip(".") + "."
    whole = [f'"""{first}'] if len(first) < _WIDTH - 8 else textwrap.wrap(f'"""{first}', _WIDTH - 4)
    if not style.arguments:
        return [*whole[:-1], f'{whole[-1]}"""']
    lines = [*whole, "", "Args:"]
    told = {form.name: str(form.schema.get("description", "")) for form in design.forms}
    if design.selector:
        told[design.selector] = "Which fact is wanted"
    told |= {part.name: str(part.schema["description"]) for part in design.parts}
    for name, text in told.items():
        lines += textwrap.wrap(
            f"{name}: {_first_sentence(text)}", _WIDTH - 8, initial_indent="    ", subsequent_indent=" " * 8
        )
    return [*lines, '"""']


def _first_sentence(text: str) -> str:
    return text.split(". ")[0].split("; ")[0].rstrip(".").replace("\\", "\\\\") + "."


# --- checks --------------------------------------------------------------------------------------------------------


def _checks(design: Design, calculates: bool, style: _Style) -> Iterator[str]:
    """Types and choices of all arguments by one loop over a short text; what it cannot say is checked before."""
    rules: dict[str, str] = {}
    for form, given in zip(design.forms, inputs_of(design.function), strict=True):
        if form.way in ("tried", "named", "parts") or given.value.kind in ("numbers", "dates", "names"):
            yield from _check_input(form.name, form.way, given)
        elif not calculates:
            continue  # it is looked for as text, whatever it is
        elif form.way == "text":
            yield f"if not str({form.name}).strip().isdigit():"
            yield f'    fail "{form.name} must be written in digits"'
            yield f"{form.name} = int({form.name})"
        elif given.value.kind == "choice":
            rules[form.name] = f"str; {'; '.join(given.value.choices)}"
        else:
            rules[form.name] = _INPUT_KINDS.get(given.value.kind, "str")
    if design.selector:
        rules[design.selector] = f"str; {'; '.join(design.keys)}"
    for part in design.parts:
        if (part.kind == "enum" and part.default is None) or (
            part.kind in ("text", "date", "code") and not _NEEDS_TEXT.search(part.code)
        ):
            continue  # its code says which values there are, or takes anything
        options = "".join(f"; {option}" for option in part.options) if part.kind == "enum" else ""
        rules[part.name] = _KINDS[part.kind] + ("/NoneType" if part.default is None else "") + options
    if len(set(rules.values())) <= _FEW:
        yield from _each(rules)
        return
    if style.comments:
        yield "# what each argument has to be: its type, then the choices if there are any"
    said = [f"{name}; {rule}" for name, rule in rules.items()]
    if style.block and max(map(len, said)) < _WIDTH - 4:
        yield f'{style.rules} = """'
        yield from said
        yield '""".strip().splitlines()'
        start = f"{style.rule}.strip()"
    else:
        yield f"{style.rules} = ("
        lines = textwrap.wrap(" | ".join(said), _WIDTH - 10, break_long_words=False, break_on_hyphens=False)
        for place, line in enumerate(lines):
            yield f'    "{line}{" " if place + 1 < len(lines) else ""}"'
        yield ').split(" | ")'
        start = style.rule
    given = [*rules]
    loop = f"for {style.rule}, given in zip({style.rules}, ({', '.join(given)}{',' if len(given) == 1 else ''})):"
    if len(loop) > _WIDTH:
        yield f"for {style.rule}, given in zip({style.rules}, ("
        yield from _packed(given)
        yield ")):"
    else:
        yield loop
    yield f'    label, kind, *options = {start}.split("; ")'
    yield "    if type(given).__name__ not in kind or options and given not in options:"
    yield '        fail f"{label} must be {options or kind}"'


def _each(rules: Mapping[str, str]) -> Iterator[str]:
    """The same checks one by one."""
    flags = [name for name, rule in rules.items() if rule == "bool"]
    if len(flags) > 1:
        told = f"{', '.join(flags[:-1])} and {flags[-1]}"
        yield f"if {{{', '.join(f'type({name})' for name in flags)}}} != {{bool}}:"
        yield f'    fail "{told} must be true or false"'
    for name, rule in rules.items():
        kind, *options = rule.split("; ")
        if name in flags and len(flags) > 1:
            continue
        if options:
            yield f"if {name} not in ({', '.join(map(literal, options))}{',' if len(options) == 1 else ''}):"
            yield f'    fail "{name} must be one of {", ".join(options)}"'
        else:
            types = [word.replace("NoneType", "type(None)") for word in kind.split("/")]
            test = f"not in ({', '.join(types)})" if len(types) > 1 else f"is not {kind}"
            yield f"if type({name}) {test}:"
            yield f'    fail "{name} must be {_WORDS[kind.partition("/N")[0]]}"'


_FEW = 5  # checks; a loop over more of them is shorter
_NEEDS_TEXT = re.compile(r"\$p[.\[]|, \$p\)|in \$p|\{\$p:")
_WORDS = {
    "str": "a text",
    "bool": "true or false",
    "int": "a whole number",
    "int/float": "a number",
    "list": "a list",
    "dict": "an object",
}
_INPUT_KINDS = {"boolean": "bool", "number": "int/float", "integer": "int", "year": "int"}


def _check_input(name: str, way: str, given: Input) -> Iterator[str]:
    if way == "tried":
        yield f"if not isinstance({name}, list) or not all(isinstance(n, str) for n in {name}):"
        yield f'    fail "{name} must be a list of names"'
    elif way == "named":
        yield f'if not isinstance({name}, dict) or not isinstance({name}.get("name"), str):'
        yield f'    fail "{name} must be an object with the field name"'
        yield f'{name} = {name}["name"]'
    elif way == "parts":
        yield "try:"
        yield f'    {name} = "%04d-%02d-%02d" % ({name}["year"], {name}["month"], {name}["day"])'
        yield "except (KeyError, TypeError):"
        yield f'    fail "{name} must have the fields year, month and day"'
    else:
        inner = "(int, float)" if given.value.kind == "numbers" else "str"
        yield f"if not isinstance({name}, list) or not all(isinstance(item, {inner}) for item in {name}):"
        yield f'    fail "{name} must be a list of {"numbers" if given.value.kind == "numbers" else "texts"}"'


# --- tables --------------------------------------------------------------------------------------------------------


_json = json.JSONEncoder(ensure_ascii=False).encode  # made once: `json.dumps` makes one for every value


def _table(table: Table, style: _Style) -> Iterator[str]:
    """The table, most often as one text: that is read in a moment, and nobody has to parse every cell as code."""
    subject, key, *rest = table.columns
    name = style.table
    if style.comments:
        lines = textwrap.wrap(f"{style.table}: {', '.join(table.columns).replace('_', ' ')}", _WIDTH - 4)
        yield from (f"# {line}" for line in lines)
    if style.written == "dict":
        yield f"{name} = {{"
        yield from (f"    {literal(row[subject])}: {literal(row[key])}," for row in table.rows)
        yield "}"
    elif style.written == "text":
        groups = r" \| ".join([r"(\S.*)", *[r"(.+)"] * (len(table.columns) - 1)])
        cells = f're.findall(r"{groups}", """'
        yield f"{name} = dict({cells}" if not rest else f"{name} = {{name: cells for name, *cells in {cells}"
        yield from (f"    {' | '.join(str(row[column]) for column in table.columns)}" for row in table.rows)
        yield '"""))' if not rest else '""")}'
    else:
        if style.layout == "objects":
            yield from _columns(table)
        rows: list[list[str]] = []
        for row in table.rows:
            cells = [_json(row[column]) for column in table.columns]
            match style.layout:
                case "values":
                    rows.append([f"{cells[0]}: {cells[1]}"])
                case _ if len(cells) > 2:
                    rows.append([f"{cells[0]}: [{cells[1]}", *cells[2:-1], f"{cells[-1]}]"])
                case _:
                    rows.append([f"{cells[0]}: [{cells[1]}]"])
        raw = "r" if any("\\" in cell for row in rows for cell in row) else ""
        yield f'{name} = json.loads({raw}"""{{'
        for place, cells in enumerate(rows):
            lines = [*_packed(cells)]
            if place + 1 == len(rows):
                lines[-1] = lines[-1][:-1]
            yield from lines
        yield '}""")'


def _columns(table: Table) -> Iterator[str]:
    words = " ".join(table.columns[1:])
    lines = textwrap.wrap(words, _WIDTH - 24)
    if len(lines) == 1:
        yield f'columns = "{words}".split()'
        return
    yield "columns = ("
    for place, line in enumerate(lines):
        yield f'    "{line}{" " if place + 1 < len(lines) else ""}"'
    yield ").split()"


def _search(design: Design, table: Table, style: _Style) -> Iterator[str]:
    """Finds the row, and the value in it."""
    form = design.forms[0]
    name, who = style.table, form.name
    thing = table.columns[0].replace("_", " ")
    if style.comments:
        yield "# upper and lower case do not matter"
    if form.way == "tried":
        yield f"wanted = next((name for name in map(str.casefold, {who}) if name in {name}), None)"
        yield "if wanted is None:"
        yield f"    fail f\"none of these is known: {{', '.join({who})}}\""
        yield f"{who} = {who}[0]"
    elif len(design.forms) > 1:
        told = ", ".join(f"{{{form.name}}}" for form in design.forms)
        choices = "".join(
            f"; {form.name} is one of {', '.join(given.value.choices)}"
            for form, given in zip(design.forms, design.function.inputs, strict=True)
            if given.value.kind == "choice"
        )
        yield f'wanted = f"{told}".casefold()'
        yield f"if wanted not in {name}:"
        yield f'    fail f"nothing is recorded for {{wanted}}{choices}"'
    else:
        yield f"wanted = str({who}).casefold()"
        yield f"if wanted not in {name}:"
        if style.echoes:
            yield f'    fail f"there is no {thing} named {{{who}!r}}; check the spelling"'
        else:
            yield f'    fail "no {thing} of this name is known; check the spelling"'
    if style.layout == "values":
        yield f"$v = {name}[wanted]"
    elif style.layout == "lists":
        yield from _unpacked(table.columns[2:], f"{name}[wanted]")
    else:
        yield f"$r = dict(zip(columns, {name}[wanted]))"
        yield f"$v = $r[{design.selector}]" if design.selector else f'$v = $r["{design.keys[0]}"]'


def _unpacked(rest: Sequence[str], row: str) -> Iterator[str]:
    line = f"$v, {', '.join(rest)} = {row}"
    if len(line) > _WIDTH - 8:  # names are put in later
        yield "("
        yield from _packed(["$v", *rest], 12)
        yield f") = {row}"
    else:
        yield line


def _pairs(style: _Style) -> str:
    match style.layout:
        case "values":
            return f"{style.table}.items()"
        case _:
            return f"[(name, cells[0]) for name, cells in {style.table}.items()]"


# --- calculators ---------------------------------------------------------------------------------------------------


# Read when this module is: later the file may be another than the one that was imported.
_FUNCTION_SOURCES = {
    name: textwrap.dedent(inspect.getsource(computation.function)).rstrip()
    for name, computation in COMPUTATIONS.items()
}


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
    yield from _FUNCTION_SOURCES[name].split("\n")
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
        yield f'return {{"{key}": $v, **$x}} if $x else $v' if adds else "return $v"
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
                start, end = ("raise ValueError(", ")") if raises else ('return {"error": ', "}")
                if len(indent) + len(start) + len(message) + len(end) <= _WIDTH:
                    yield f"{indent}{start}{message}{end}"
                else:
                    yield f"{indent}{start if raises else 'return {'}"
                    lines = [*_broken(message, _WIDTH - len(indent) - 14)]
                    yield from (
                        f"{indent}    {line}" for line in (lines if raises else ['"error": ' + lines[0], *lines[1:]])
                    )
                    yield f"{indent}{end}"
            else:
                yield part


def _fitted(line: str, depth: int = 0) -> Iterator[str]:
    """A line of code, or several: broken after a comma, or before a word, within brackets and outside texts."""
    if len(line) <= _WIDTH:
        yield line
        return
    place, within, quote = 0, depth, ""
    for index, sign in enumerate(line[:_WIDTH]):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        elif depth and (line[index - 1 : index + 1] == ", " or line[index : index + 5] == " and "):
            place, within = index + 1, depth
    if not place:
        yield line
        return
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    yield line[:place].rstrip()
    yield from _fitted(indent + line[place:], within)


def _broken(message: str, width: int) -> Iterator[str]:
    """A text literal on several lines; it is broken at spaces outside braces."""
    start = 'f"' if message.startswith("f") else '"'
    line, depth = "", 0
    for word in re.split("(?<= )", message[len(start) : -1]):
        if depth == 0 and line and len(line) + len(word) > width:
            yield f'{start}{line}"'
            line = ""
        line += word
        depth += (word.count("{") - word.count("}")) if start == 'f"' else 0
    yield f'{start}{line}"'


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
        if alone and simple and len(line) + len(statement.lstrip()) < 100:
            short[-1] = f"{line} {statement.lstrip()}"
            place += 1
    return short
