"""The JSON Schema that a tool's Python source implies, read from its syntax tree: nothing is imported or executed.

Types come from the annotations (str, int, float, bool, list[X], dict[str, X], Literal[...], unions), descriptions from
the docstring (a paragraph, then `Args:` with one `name: text` each), `required` from the absence of a default. What an
annotation cannot say (a format, bounds, examples, the properties of an object) is merged over it.

Not covered: aliases, classes and TypedDicts as annotations, `*args` and `**kwargs`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from typing import NamedTuple, cast

from pydantic import JsonValue

from toolfoundry.errors import RecordError
from toolfoundry.sources import parse_source

__all__ = ["FunctionSchema", "describe"]

Schema = dict[str, JsonValue]
_NAMES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}
_SECTIONS = re.compile(r"^(Args|Arguments|Parameters|Returns|Raises|Examples?|Notes?):[ ]*$", re.MULTILINE)
_ANNOTATIONS = "str, int, float, bool, list[...], dict[...], Literal[...], a union of these, or a type in `parameters`"


class FunctionSchema(NamedTuple):
    """A function's name, the first part of its docstring as one line ("" without), and its parameters' schema."""

    name: str
    description: str
    parameters: Schema


def describe(
    source: str, name: str | None, given: JsonValue = None, *, infer: bool = True, hidden: Collection[str] = ()
) -> FunctionSchema:
    """The schema of the one function that a source defines under a name.

    Args:
        source: Python; parsed, not run.
        name: which function; None where the source has only one that does not begin with an underscore.
        given: with `infer`, schemas by parameter, merged over the inferred ones; else the whole schema as it is.
        infer: whether the schema comes from the signature.
        hidden: parameters that the caller of the tool does not give.

    Raises:
        RecordError: with the field (`source`, `name` or `parameters`) and what was found and expected.
    """
    function = _function(source, name)
    docstring = ast.get_docstring(function) or ""
    text, entries = _sections(docstring)
    if not infer:
        return FunctionSchema(function.name, text, cast(Schema, given))
    if given is not None and not isinstance(given, dict):
        raise RecordError(field="parameters", found=type(given).__name__, expected="a JSON Schema or a table of them")
    spec = function.args
    if spec.vararg or spec.kwarg or spec.posonlyargs:
        found = f"*args, **kwargs or positional-only parameters in {function.name}"
        raise RecordError(field="source", found=found, expected="named parameters")
    positional = list(zip(spec.args, [*[None] * (len(spec.args) - len(spec.defaults)), *spec.defaults], strict=True))
    pairs = [*positional, *zip(spec.kwonlyargs, spec.kw_defaults, strict=True)]
    visible = [(argument, default) for argument, default in pairs if argument.arg not in hidden]
    more = dict(given or {})
    properties = {
        argument.arg: _property(argument, default, entries.get(argument.arg), more.pop(argument.arg, {}))
        for argument, default in visible
    }
    if more:
        known = ", ".join(properties) or "it has none"
        raise RecordError(
            field="parameters", found=repr(next(iter(more))), expected=f"a parameter of {function.name} ({known})"
        )
    required: list[JsonValue] = [argument.arg for argument, default in visible if default is None]
    return FunctionSchema(
        function.name, text, {"type": "object", "properties": cast(JsonValue, properties), "required": required}
    )


def _function(source: str, name: str | None) -> ast.FunctionDef:
    try:
        module = parse_source(source)
    except ValueError as error:
        raise RecordError(field="source", found=str(error), expected="Python") from None
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    wanted = [node for node in functions if (node.name == name if name else not node.name.startswith("_"))]
    names = ", ".join(node.name for node in functions) or "none"
    if not wanted or (name is None and len(wanted) > 1):
        expected = f"a function {name!r}" if name else "one public function, or a `name` that says which"
        raise RecordError(field="source", found=f"the functions {names}" if functions else "none", expected=expected)
    return wanted[-1]


def _property(argument: ast.arg, default: ast.expr | None, text: str | None, given: JsonValue) -> Schema:
    if not isinstance(given, dict):
        raise RecordError(field=f"parameters.{argument.arg}", found=repr(given)[:60], expected="a table, a JSON Schema")
    value: JsonValue = None
    literal = True
    if default is not None:
        try:
            value = _plain(ast.literal_eval(default))
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            literal = False
    none = default is not None and literal and value is None
    schema = _annotated(argument.annotation, drop_none=none)
    if schema is None and literal and value is not None:
        schema = {"type": _NAMES[type(value).__name__]}
    if schema is None and not given.keys() & {"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"}:
        annotation = "no annotation" if argument.annotation is None else ast.unparse(argument.annotation)[:60]
        raise RecordError(field=f"parameters.{argument.arg}", found=annotation, expected=_ANNOTATIONS)
    schema = dict(schema or {})
    if text:
        schema["description"] = text
    if literal and value is not None:
        schema["default"] = value
    return schema | given


def _annotated(node: ast.expr | None, *, drop_none: bool = False) -> Schema | None:
    """The schema of an annotation, None where it is absent or of a kind that is not covered.

    `drop_none`: the default None only means "not given", so the schema does not offer null.
    """
    match node:
        case ast.Constant(value=None):
            return {"type": "null"}
        case ast.Constant(value=str() as text):
            try:
                [statement] = parse_source(text).body
            except ValueError:
                return None
            return _annotated(statement.value, drop_none=drop_none) if isinstance(statement, ast.Expr) else None
        case ast.Name(id=name) if name in _NAMES:
            return {"type": _NAMES[name]}
        case ast.Attribute(attr="Any") | ast.Name(id="Any"):
            return {}
        case ast.BinOp(op=ast.BitOr()):
            return _union(_branches(node), drop_none)
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            return _subscript(name, inner, drop_none)
        case _:
            return None


def _subscript(name: str, inner: ast.expr, drop_none: bool) -> Schema | None:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    match name:
        case "Literal":
            if not parts or not all(isinstance(part, ast.Constant) for part in parts):
                return None
            try:
                values = [_plain(cast(ast.Constant, part).value) for part in parts]
            except ValueError:
                return None
            kinds = {_NAMES.get(type(value).__name__) for value in values}
            return {"type": kinds.pop(), "enum": values} if len(kinds) == 1 else {"enum": values}
        case "Optional":
            return _union([inner, ast.Constant(value=None)], drop_none)
        case "Union":
            return _union(parts, drop_none)
        case "list" | "List" | "dict" | "Dict":
            item = _annotated(parts[-1])
            if item is None:
                return None
            if name in ("list", "List"):
                return {"type": "array", "items": item} if item else {"type": "array"}
            return {"type": "object", "additionalProperties": item} if item else {"type": "object"}
        case _:
            return None


def _branches(node: ast.expr) -> list[ast.expr]:
    """The members of `A | B | C`, which Python nests to the left."""
    members: list[ast.expr] = []
    while isinstance(node, ast.BinOp):
        members.append(node.right)
        node = node.left
    return [node, *reversed(members)]


def _union(members: list[ast.expr], drop_none: bool) -> Schema | None:
    schemas = [_annotated(member) for member in members]
    if any(schema is None for schema in schemas):
        return None
    kept = [schema for schema in schemas if schema is not None and not (drop_none and schema == {"type": "null"})]
    return kept[0] if len(kept) == 1 else {"anyOf": cast("list[JsonValue]", kept)}


def _plain(value: object) -> JsonValue:
    """A literal as JSON has it; raises ValueError where JSON has nothing like it."""
    match value:
        case int() | float() if not -(2**63) <= value < 2**64:
            raise ValueError(f"{value} is more than a record can hold")
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [_plain(item) for item in cast("list[object]", value)]
        case dict():
            return {str(key): _plain(item) for key, item in cast("dict[object, object]", value).items()}
        case _:
            raise ValueError(f"{type(value).__name__} is not JSON")


def _sections(docstring: str) -> tuple[str, dict[str, str]]:
    """The description in one line, and the texts of the `Args:` section by parameter."""
    parts = re.split(
        r"^(Args|Arguments|Parameters|Returns|Raises|Example|Examples|Notes?):[ ]*$", docstring, flags=re.M
    )
    text = " ".join(parts[0].split())
    entries: dict[str, str] = {}
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        if title not in ("Args", "Arguments", "Parameters"):
            continue
        lines = [line for line in body.splitlines() if line.strip()]
        margin = min((len(line) - len(line.lstrip()) for line in lines), default=0)
        name = ""
        for line in lines:
            entry = re.match(r"(\w+)\s*(?:\([^)]*\))?:\s*(.*)", line[margin:])
            if entry:
                name, first = entry.groups()
                entries[name] = first.strip()
            elif name:
                entries[name] = f"{entries[name]} {line.strip()}".strip()
    return text, entries
