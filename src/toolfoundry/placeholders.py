"""Arguments without knowledge: valid under a tool's JSON Schema, and made from nothing else.

Scripted policies play with them and gates probe with them: whoever gets an answer this way has not used the tool.
Covers the keywords that tool schemas use (type, enum, const, default, properties, required, items, minItems,
minimum, maximum, exclusive bounds, minLength, maxLength, format, anyOf/oneOf/allOf by their first branch); `pattern`
only where one of a few common shapes matches, else by the first of the schema's own `examples`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import orjson
from pydantic import JsonValue

from toolfoundry.schemas import compile_if_valid

__all__ = ["placeholder_arguments", "random_arguments"]

Schema = Mapping[str, Any]

_FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "12:00:00",
    "email": "name@example.org",
    "uri": "https://example.org",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}
_SHAPES = (
    "2000-01-01",
    "2000-01",
    "2000",
    "12:00",
    "1",
    "12",
    "123",
    "A",
    "AB",
    "ABC",
    "a",
    "example",
    "AB12",
    "01/01/2000",
)
_DEPTH, _MOST_ITEMS, _MOST_CHARS, _MOST = 8, 100, 10_000, 2**53  # beyond these a schema asks for nonsense
_WORDS = ("alpha", "river", "north", "seven", "green", "basic", "daily", "local", "first", "other")


def placeholder_arguments(parameters: Schema, *, optional: bool = False) -> dict[str, JsonValue]:
    """The plainest valid arguments: required parameters only, or `optional` ones too."""
    return orjson.loads(_plainest(orjson.dumps(parameters), optional))


def random_arguments(parameters: Schema, rng: random.Random) -> dict[str, JsonValue]:
    """Random valid arguments: each optional parameter is given with probability one half."""
    return _object(parameters, rng, False, 0) if _sound(parameters) else {}


@lru_cache(maxsize=4096)
def _plainest(parameters: bytes, optional: bool) -> bytes:
    """As JSON, so that whoever changes the arguments does not change the cache."""
    schema = orjson.loads(parameters)
    return orjson.dumps(_object(schema, None, optional, 0) if _sound(schema) else {})


def _sound(parameters: Schema) -> bool:
    """Whether it is a JSON Schema at all: for what is none there are no valid arguments."""
    return compile_if_valid(parameters) is not None


def _object(schema: Schema, rng: random.Random | None, optional: bool, depth: int) -> dict[str, JsonValue]:
    required = set(cast("list[str]", schema.get("required") or []))
    properties = cast("dict[str, Schema]", schema.get("properties") or {})
    chosen = {
        name: property_schema
        for name, property_schema in properties.items()
        if name in required or optional or (rng is not None and rng.random() < 0.5)
    }
    values = {name: _value(property_schema, rng, optional, depth + 1) for name, property_schema in chosen.items()}
    return {**values, **dict.fromkeys(sorted(required - set(properties)), "example")}


def _value(schema: object, rng: random.Random | None, optional: bool, depth: int) -> JsonValue:
    if not isinstance(schema, Mapping) or depth > _DEPTH:  # `true` allows anything
        return "example"
    return _described(cast(Schema, schema), rng, optional, depth)


def _described(schema: Schema, rng: random.Random | None, optional: bool, depth: int) -> JsonValue:
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        options = cast("list[JsonValue]", schema["enum"])
        return options[0] if rng is None else rng.choice(options)
    if rng is None and schema.get("default") is not None:
        return schema["default"]
    for keyword in ("anyOf", "oneOf", "allOf"):
        if schema.get(keyword):
            return _value(schema[keyword][0], rng, optional, depth + 1)
    kind = schema.get("type", "string")
    if isinstance(kind, list):
        kinds = cast("list[str]", kind)
        kind = next((name for name in kinds if name != "null"), "null")
    match kind:
        case "boolean":
            return False if rng is None else rng.random() < 0.5
        case "integer":
            return _integer(schema, rng)
        case "number":
            return _number(schema, rng)
        case "array":
            least = min(int(schema.get("minItems", 0)), _MOST_ITEMS)
            count = max(least, 1 if "minItems" not in schema else 0) if rng is None else least + rng.randrange(3)
            count = min(count, int(schema.get("maxItems", count)))
            item = schema.get("items", {"type": "string"})
            return [_value(item, rng, optional, depth + 1) for _ in range(count)]
        case "object":
            return _object(schema, rng, optional, depth + 1)
        case "null":
            return None
        case _:
            return _string(schema, rng)


def _bounds(schema: Schema, step: float) -> tuple[float | None, float | None]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if (above := schema.get("exclusiveMinimum")) is not None and not isinstance(above, bool):
        low = above + step
    if (below := schema.get("exclusiveMaximum")) is not None and not isinstance(below, bool):
        high = below - step
    return low, high


def _integer(schema: Schema, rng: random.Random | None) -> int:
    low, high = _bounds(schema, 1)
    multiple = max(1, math.ceil(schema.get("multipleOf") or 1))
    low, high = (None if bound is None else max(-_MOST, min(_MOST, bound)) for bound in (low, high))
    first = math.ceil(low) if low is not None else min(1, int(high)) if high is not None else 1
    first = -(-first // multiple) * multiple
    last = int(high) if high is not None else first + 100 * multiple
    return first if rng is None else first + multiple * rng.randrange(max(1, (last - first) // multiple + 1))


def _number(schema: Schema, rng: random.Random | None) -> float:
    low, high = _bounds(schema, 1e-6)
    first = low if low is not None else min(1.0, high) if high is not None else 1.0
    last = high if high is not None else first + 100
    return first if rng is None else round(rng.uniform(first, last), 3)


def _string(schema: Schema, rng: random.Random | None) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    if pattern := schema.get("pattern"):
        # The validator's engine gives up on patterns that take for ever; Python's does not.
        validator = compile_if_valid({"type": "string", "pattern": pattern})
        shown = next((text for text in schema.get("examples") or () if isinstance(text, str)), "example")
        return next((shape for shape in _SHAPES if validator is not None and validator.is_valid(shape)), shown)
    text = "example" if rng is None else rng.choice(_WORDS)
    text = text.ljust(min(int(schema.get("minLength", 0)), _MOST_CHARS), "x")
    return text[: int(schema["maxLength"])] if "maxLength" in schema else text
