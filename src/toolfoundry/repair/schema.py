"""A tool's JSON Schema made to agree with the signature of its function, and with itself."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import orjson
from pydantic import JsonValue

from toolfoundry.check.source import Parameter, Source
from toolfoundry.schemas import compile_if_valid

__all__ = ["MendedSchema", "repair_schema"]

Schema = dict[str, Any]
_TYPES = {"string", "integer", "number", "boolean", "array", "object", "null"}
_MEANT = {
    "str": "string", "text": "string", "date": "string", "datetime": "string", "int": "integer", "long": "integer",
    "float": "number", "double": "number", "decimal": "number", "bool": "boolean", "list": "array", "tuple": "array",
    "set": "array", "dict": "object", "map": "object", "none": "null",
}  # fmt: skip


class MendedSchema(NamedTuple):
    """The parameters, and what was changed in them, in words."""

    parameters: dict[str, JsonValue]
    changes: tuple[str, ...]


def repair_schema(parameters: Mapping[str, Any], source: Source | None, given: frozenset[str]) -> MendedSchema:
    """The schema with invalid keywords put right, and `properties` and `required` from the signature.

    Args:
        source: None where the function cannot be read: then the schema is only made valid.
        given: parameters that the environment passes, not the model.
    """
    changes: list[str] = []
    schema: Schema = orjson.loads(orjson.dumps(dict(parameters)))
    if schema.get("type") != "object":
        schema = {**schema, "type": "object"}
        changes.append("the parameters are an object")
    if not isinstance(schema.get("properties"), dict):
        schema["properties"] = {}
        changes.append("`properties` is an object")
    if not isinstance(schema.get("required", []), list):
        del schema["required"]
        changes.append("dropped a `required` that is no list")
    _make_valid(schema, "", changes.append)
    if source is not None:
        _agree(schema, source, given, changes.append)
    return MendedSchema(schema, tuple(changes))


def _make_valid(schema: Schema, path: str, say: Callable[[str], None]) -> None:
    """Type names of other languages, `required` inside a property, defaults that the schema rejects; at any depth."""
    kind = schema.get("type")
    if isinstance(kind, str) and kind not in _TYPES:
        meant = kind.strip().lower()
        meant = _MEANT.get(meant, meant)
        if meant in _TYPES:
            schema["type"] = meant
            say(f"{path} has the type {meant!r}, not {kind!r}")
        elif meant == "any":
            del schema["type"]
            say(f"{path} has no type, instead of {kind!r}")
    for name, part in _parts(schema).items():
        place = f"{path}.{name}" if path else name
        if isinstance(part.get("required"), bool):
            if part.pop("required") and name not in schema.setdefault("required", []):
                schema["required"].append(name)
            say(f"{place} is named in `required`, not marked itself")
        _make_valid(part, place, say)
    if isinstance(schema.get("items"), dict):
        _make_valid(schema["items"], f"{path}[]", say)
    if path and schema.get("default") is not None and not _accepts(schema, schema["default"]):
        say(f"{path} no longer has the default {orjson.dumps(schema.pop('default')).decode()}, which it rejects")


def _parts(schema: Schema) -> dict[str, Schema]:
    found = schema.get("properties")
    parts = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    return {name: part for name, part in parts.items() if isinstance(part, dict)}


def _accepts(schema: Schema, value: JsonValue) -> bool:
    validator = compile_if_valid(schema)
    return validator is None or validator.is_valid(value)  # an invalid schema is another matter


def _agree(schema: Schema, source: Source, given: frozenset[str], say: Callable[[str], None]) -> None:
    """`properties` and `required` from the signature."""
    properties: Schema = schema["properties"]
    own = {p.name: p for p in source.parameters if p.name not in given and p.keyword}
    for name in [name for name in properties if name not in own and not source.open_ended]:
        del properties[name]
        say(f"{name} is gone, which the function does not take")
    for name, parameter in own.items():
        if name not in properties:
            properties[name] = _described(parameter)
            say(f"{name} is added, which the function takes")
    before = [name for name in schema.get("required", []) if isinstance(name, str)]
    known = [name for name in dict.fromkeys(before) if name in properties and (name not in own or own[name].required)]
    required = [*known, *(name for name, parameter in own.items() if parameter.required and name not in known)]
    if more := [name for name in required if name not in before]:
        say(f"`required` has {', '.join(more)}, for which the function has no default")
    if fewer := [name for name in before if name in properties and name not in required]:
        say(f"`required` no longer has {', '.join(fewer)}, for which the function has a default")
    if lost := [name for name in before if name not in properties]:
        say(f"`required` no longer has {', '.join(lost)}, which is no parameter")
    if required != before or ("required" in schema and len(before) != len(schema["required"])):
        schema["required"] = required


def _described(parameter: Parameter) -> Schema:
    """A schema from annotation and default, empty where neither says anything."""
    schema: Schema = {}
    name = getattr(parameter.annotation, "id", "")
    if meant := _MEANT.get(name):
        schema["type"] = meant
    try:
        value: Any = ast.literal_eval(parameter.default) if parameter.default is not None else None
        orjson.dumps(value)
    except (ValueError, TypeError, RecursionError):
        return schema
    if value is not None and not isinstance(value, tuple | set | bytes):
        schema.setdefault("type", _MEANT.get(type(value).__name__, "string"))
        schema["default"] = value
    return schema
