"""Edits of a tool's source text: comments, spelling and layout of all that stays are kept.

Three repairs. Statements at module level that only print or try the tool out are cut. What the function needs from the
module (imports, constants, helpers) is moved into its body, so that it also works where sources are executed inside
another function. Modules of the standard library that the function uses and nobody imports are imported.

An edit is made only where it can be shown to be harmless, and checked afterwards on the syntax tree: same signature,
same body, nothing newly undefined. Otherwise the source stays as it is, and the gate stays hit.
"""

from __future__ import annotations

import ast
import datetime
import importlib
from collections.abc import Sequence
from typing import NamedTuple

from toolfoundry.check.source import Source, bound_names, executed_at_once, module_names, read_source
from toolfoundry.sandbox import ALLOWED_IMPORTS

__all__ = ["repair_source"]

_SWALLOWS = frozenset({"Exception", "BaseException", "NameError"})


class Edited(NamedTuple):
    """A source text and what was done to it, in words."""

    text: str
    changes: tuple[str, ...]


def repair_source(text: str, name: str) -> Edited:
    """The source with its module-level effects, hidden names and missing imports repaired, as far as that is safe."""
    changes: list[str] = []
    try:
        source = read_source(text, name)
    except (ValueError, LookupError, RecursionError):
        return Edited(text, ())
    for step in (_with_imports, _self_contained, _without_effects):
        try:
            edited = step(source)
            after = source if edited is None else read_source(edited.text, name)
        except (ValueError, LookupError, RecursionError):  # the edit would not be sound: nothing is changed
            continue
        if edited is not None and _same_tool(source, after):
            source = after
            changes += edited.changes
    return Edited(source.text, tuple(changes))


def _same_tool(before: Source, after: Source) -> bool:
    """Whether signature and undefined names are as they were, or fewer of the latter."""
    same = ast.dump(before.function.args) == ast.dump(after.function.args)
    return same and set(after.undefined) <= set(before.undefined)


# --- effects -------------------------------------------------------------------------------------------------------


def _without_effects(source: Source) -> Edited | None:
    """Cuts prints and example calls, where the function cannot have been influenced by them."""
    effects = source.effects()
    if not effects or source.clock_reads() or not _beyond_influence(source):
        return None
    rest = [statement for statement in source.tree.body if statement not in effects]
    bound = bound_names(node for effect in effects for node in ast.walk(effect))
    read = {n.id for statement in rest for n in ast.walk(statement) if isinstance(n, ast.Name) and n.id in bound}
    if read or not rest:
        return None
    spans = [_span(source, effect) for effect in effects]
    if None in spans:
        return None
    first = _lines(source)[effects[0].lineno - 1].strip()
    more = f" and {len(effects) - 1} more" if len(effects) > 1 else ""
    return Edited(_cut(source.text, spans), (f"cut from module level: {first}{more}",))


def _beyond_influence(source: Source) -> bool:
    """Whether nothing that survives a call inside the module reaches the function: no data that can be changed."""
    for statement in source.tree.body:
        if not module_names(statement) & {*source.hidden, source.function.name}:
            continue
        if isinstance(statement, ast.FunctionDef):
            defaults = [*statement.args.defaults, *[d for d in statement.args.kw_defaults if d is not None]]
            if statement.decorator_list or not all(_is_fixed(default) for default in defaults):
                return False
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            if statement.value is None or not _is_fixed(statement.value):
                return False
        elif not isinstance(statement, ast.Import | ast.ImportFrom):
            return False
    attributes = (node for node in source.nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
    return not any(isinstance(node, ast.Global | ast.Nonlocal) for node in source.nodes) and not any(attributes)


def _is_fixed(value: ast.expr) -> bool:
    """Whether a value is written out and cannot be changed."""
    if isinstance(value, ast.UnaryOp):
        return _is_fixed(value.operand)
    return isinstance(value, ast.Constant) or (isinstance(value, ast.Tuple) and all(map(_is_fixed, value.elts)))


# --- imports -------------------------------------------------------------------------------------------------------


def _with_imports(source: Source) -> Edited | None:
    """Imports what the function plainly means: `re.match` without `import re`."""
    found = [line for name in source.undefined if (line := _import_of(source, name)) is not None]
    return Edited(_inserted(source, lines=found), tuple(f"added {line!r}" for line in found)) if found else None


def _import_of(source: Source, name: str) -> str | None:
    """The import that makes sense of every use of a name, if there is one and no `except` hides its absence today."""
    if name not in ALLOWED_IMPORTS or _absence_is_handled(source, name):
        return None
    owners = {
        id(n.value): n.attr for n in source.nodes if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)
    }
    uses = [node for node in source.nodes if isinstance(node, ast.Name) and node.id == name]
    attributes = {owners.get(id(node)) for node in uses}
    if None in attributes:
        return None
    if name == "datetime" and all(hasattr(datetime.datetime, str(attribute)) for attribute in attributes):
        return "from datetime import datetime"
    try:
        module = importlib.import_module(name)  # of the standard library: the list is ours, not the tool's
    except ImportError:  # built without it
        return None
    return f"import {name}" if all(hasattr(module, str(attribute)) for attribute in attributes) else None


def _absence_is_handled(source: Source, name: str) -> bool:
    """Whether a NameError is caught: then today's result is one that callers may have seen."""
    for node in source.nodes:
        if isinstance(node, ast.Try) and any(_catches(handler.type) for handler in node.handlers):
            inside = (child for statement in node.body for child in ast.walk(statement))
            if any(isinstance(child, ast.Name) and child.id == name for child in inside):
                return True
    return False


def _catches(caught: ast.expr | None) -> bool:
    parts = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(part is None or getattr(part, "id", "") in _SWALLOWS for part in parts)


# --- hidden names --------------------------------------------------------------------------------------------------


def _self_contained(source: Source) -> Edited | None:
    """Moves what the function needs from the module into its body."""
    if not source.hidden or source.function.decorator_list or (source.effects() and not _beyond_influence(source)):
        return None
    name = source.function.name
    needed = _closure(source)
    moved = [s for s in source.tree.body if s is not source.function and module_names(s) & needed]
    moved = [s for s in source.tree.body if s in moved or _touches(s, moved)]
    if any(isinstance(node, ast.Global) for node in source.nodes) or not all(_can_move(s, name) for s in moved):
        return None
    if any("*" in module_names(statement) for statement in source.tree.body):  # what it brings is not known
        return None
    spans = [_span(source, statement) for statement in moved]
    text = _inserted(source, [span for span in spans if span], wrap=name in source.hidden)
    # What nothing at module level reads any more is cut there.
    staying = [s for s in source.tree.body if s not in moved and s is not source.function]
    read = [*executed_at_once(source.function), *(node for s in staying for node in ast.walk(s))]
    still_read = {node.id for node in read if isinstance(node, ast.Name)}
    gone = {ast.dump(statement) for statement in moved if not module_names(statement) & still_read}
    edited = read_source(text, name)
    cuts = [_span(edited, statement) for statement in edited.tree.body if ast.dump(statement) in gone]
    after = read_source(_cut(text, cuts), name)
    if None in spans or None in cuts or after.hidden or not _body_kept(source, after, len(moved)):
        return None
    return Edited(after.text, (f"moved into the function: {', '.join(source.hidden)}",))


def _closure(source: Source) -> set[str]:
    """The hidden names, and what the statements that define them read when they are executed."""
    needed = set(source.hidden) - {source.function.name}
    everything = {name for statement in source.tree.body for name in module_names(statement)}
    while True:
        definitions = [s for s in source.tree.body if module_names(s) & needed and s is not source.function]
        read = {n.id for s in definitions for n in executed_at_once(s) if isinstance(n, ast.Name)}
        if (found := needed | (read & everything) - {source.function.name}) == needed:
            return needed
        needed = found


def _touches(statement: ast.stmt, moved: Sequence[ast.stmt]) -> bool:
    """Whether a statement changes data that is moved: `TABLE["x"] = 1`, `TABLE.update(...)`, a loop that fills it."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
        return False
    data = {name for s in moved if isinstance(s, ast.Assign | ast.AnnAssign) for name in module_names(s)}
    return any(isinstance(node, ast.Name) and node.id in data for node in ast.walk(statement))


def _can_move(statement: ast.stmt, name: str) -> bool:
    if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
        return False
    return name not in {n.id for n in executed_at_once(statement) if isinstance(n, ast.Name)}


def _body_kept(before: Source, after: Source, moved: int) -> bool:
    """Whether the function's own statements are the same, after what was moved in."""
    documented = int(ast.get_docstring(before.function, clean=False) is not None)
    old, new = before.function.body[documented:], after.function.body[documented + moved :]
    if before.function.name in before.hidden:
        new = getattr(new[0], "body", [])
    return [ast.dump(s) for s in old] == [ast.dump(s) for s in new]


# --- text ----------------------------------------------------------------------------------------------------------

Span = tuple[int, int]  # lines from, to (not included), counted from 0


def _lines(source: Source) -> list[str]:
    if "\r" in source.text:
        raise ValueError("line endings other than a line feed")
    return source.text.split("\n")


def _span(source: Source, statement: ast.stmt) -> Span | None:
    """The lines of a module-level statement with its decorators and the comments above it; None where it shares a
    line with another."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    start = min([statement.lineno, *(decorator.lineno for decorator in decorators)]) - 1
    end = statement.end_lineno or statement.lineno
    for other in source.tree.body:
        if other is not statement and (other.end_lineno or 0) > start and other.lineno <= end:
            return None
    lines = _lines(source)
    while start > 0 and lines[start - 1].startswith("#"):
        start -= 1
    return start, end


def _cut(text: str, spans: Sequence[Span | None]) -> str:
    """The text without these lines, and without the blank lines that this leaves at its ends."""
    dropped = {line for span in spans if span for line in range(*span)}
    kept = [line for number, line in enumerate(text.split("\n")) if number not in dropped]
    return "\n".join(kept).strip("\n") + ("\n" if text.endswith("\n") else "") if dropped else text


def _inserted(source: Source, spans: Sequence[Span] = (), lines: Sequence[str] = (), *, wrap: bool = False) -> str:
    """The text with some of its lines, or others, copied to the start of the function's body, after its docstring.

    With `wrap`, the function's own body becomes an inner function of the same name, which it can call itself.
    """
    function, text = source.function, _lines(source)
    documented = ast.get_docstring(function, clean=False) is not None
    header = _header_end(function, text)
    at = function.body[0].end_lineno or header if documented else header
    body = function.body[1:] if documented else function.body
    if not body or header < function.lineno or _first_line(body[0]) < at:
        raise ValueError("the body shares a line with its header")
    first = text[body[0].lineno - 1]
    indent = first[: len(first) - len(first.lstrip())]
    added = [line for span in spans for line in _indented(source, span, indent)]
    if len(added) > len(spans):  # more than one-liners: set apart
        added.append("")
    end = function.end_lineno or len(text)
    own = text[at:end]
    if wrap:
        if not all(parameter.keyword for parameter in source.parameters) or function.args.vararg or function.args.kwarg:
            raise ValueError("parameters that cannot be passed on by name")
        call = ", ".join(f"{parameter.name}={parameter.name}" for parameter in source.parameters)
        inner = [*_indented(source, (function.lineno - 1, header), indent), *_indented(source, (at, end), indent)]
        own = [*inner, f"{indent}return {function.name}({call})"]
    return "\n".join([*text[:at], *(indent + line for line in lines), *added, *own, *text[end:]])


def _first_line(statement: ast.stmt) -> int:
    """The line (from 0) on which a statement begins."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)]) - 1


def _header_end(function: ast.FunctionDef, text: Sequence[str]) -> int:
    """The line (from 0) after the header; comments between it and the body belong to the body."""
    line = _first_line(function.body[0])
    while text[line - 1].strip() == "" or text[line - 1].lstrip().startswith("#"):
        line -= 1
    return line


def _indented(source: Source, span: Span, by: str) -> list[str]:
    """Some lines, moved to the right, but for those that begin inside a string: that would change the string."""
    strings = [node for node in source.nodes if isinstance(node, ast.Constant | ast.JoinedStr)]
    inside = {
        line
        for node in strings
        if isinstance(node, ast.JoinedStr) or isinstance(node.value, str | bytes)
        for line in range(node.lineno, node.end_lineno or node.lineno)
    }
    lines = enumerate(_lines(source)[slice(*span)], start=span[0])
    return [by + line if line.strip() and number not in inside else line for number, line in lines]
