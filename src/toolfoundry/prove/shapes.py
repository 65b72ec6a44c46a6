"""Values that fit a JSON Schema: is this one valid, and what is a fresh one like?

Covers the keywords that tool schemas use; the host checks every proof with a complete validator. Fresh texts and
numbers are all different, so that a value seen inside the tool tells which argument it came from. Part of the search
program, so: standard library only.
"""

# A JSON value narrowed by isinstance is a dict or list of unknown: that is what it is.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
from typing import Any

from toolfoundry.prove.origins import said

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
_LONGEST = 200  # characters of a text made from a pattern
_FORMATS = {
    "date": "2020-01-{:02d}",
    "date-time": "2020-01-{:02d}T00:00:00Z",
    "time": "12:{:02d}:00",
    "email": "zq{}@example.org",
    "uri": "https://example.org/{}",
}


def kind(schema: Any) -> str | None:
    """The first JSON type that a schema allows, or None where it does not say."""
    if not isinstance(schema, dict):
        return None
    found: Any = schema.get("type")
    return next((t for t in found if t != "null"), None) if isinstance(found, list) else found


def valid(value: Any, schema: Any) -> bool:
    """Whether a value fits a schema, as far as this module covers it."""
    if not isinstance(schema, dict):
        return True
    spec: dict[str, Any] = schema
    allowed = spec.get("type")
    if allowed is not None:
        names = allowed if isinstance(allowed, list) else [allowed]
        if not any(_is(value, name) for name in names):
            return False
    if spec.get("enum") and value not in spec["enum"]:
        return False
    if isinstance(value, dict):
        properties = spec.get("properties") or {}
        if any(name not in value for name in spec.get("required") or ()):
            return False
        if spec.get("additionalProperties") is False and any(name not in properties for name in value):
            return False
        return all(valid(item, properties[name]) for name, item in value.items() if name in properties)
    if isinstance(value, list):
        if not spec.get("minItems", 0) <= len(value) <= spec.get("maxItems", len(value)):
            return False
        return all(valid(item, spec.get("items")) for item in value)
    if isinstance(value, str):
        if not spec.get("minLength", 0) <= len(value) <= spec.get("maxLength", len(value)):
            return False
        pattern = spec.get("pattern")
        if not pattern or not _tame(pattern) or len(value) > 200:
            return True  # the validator's judgement comes later
        try:
            return re.search(pattern, value) is not None
        except (re.error, OverflowError, RecursionError):
            return True
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = spec.get("minimum", value), spec.get("maximum", value)
        return low <= value <= high
    return True


def _tame(pattern: str) -> bool:
    """Whether a pattern cannot take for ever: no group is repeated, and at most three parts are, without end."""
    return len(pattern) <= 200 and not re.search(r"\)[*+?{]", pattern) and len(re.findall(r"[*+]|,\}", pattern)) <= 3


def _is(value: Any, name: Any) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(name, (object,)))


class Fresh:
    """Makes values that fit a schema and differ from all made before."""

    def __init__(self) -> None:
        self.made = 0

    def text(self) -> str:
        self.made += 1
        return f"zq{self.made}x"

    def value(self, schema: Any) -> Any:
        spec: dict[str, Any] = schema if isinstance(schema, dict) else {}
        if spec.get("enum"):
            return spec["enum"][0]
        match kind(spec):
            case "boolean":
                return spec.get("default") is not False
            case "integer" | "number" as name:
                self.made += 1
                number = 900 + self.made + (0.5 if name == "number" else 0)
                number = min(number, spec.get("maximum", number))
                return max(number, spec.get("minimum", number))
            case "array":
                size = max(1, min(spec.get("minItems", 1), 3))
                return [self.value(spec.get("items")) for _ in range(size)]
            case "object":
                properties: dict[str, Any] = spec.get("properties") or {}
                return {name: self.value(part) for name, part in properties.items()}
            case _:
                return self._string(spec)

    def like(self, value: Any, schema: Any, question: str) -> Any:
        """A fresh value of the same form: a date for a date (in the same month if the question tells it), digits for
        digits."""
        if not isinstance(value, str) or (isinstance(schema, dict) and schema.get("enum")):
            return self.value(schema)
        self.made += 1
        if re.fullmatch(r"\d{4}-\d{2}(-\d{2})?", value):
            month = (
                value[:7]
                if value[7:] and said(value[:7], question)
                else f"{1950 + self.made % 70}-{self.made % 9 + 1:02}"
            )
            return month + (f"-{self.made % 28 + 1:02}" if value[7:] else "")
        return str(int(value) + self.made) if value.isascii() and value.isdigit() else self.value(schema)

    def _string(self, spec: dict[str, Any]) -> str:
        self.made += 1
        if spec.get("format") in _FORMATS:
            return _FORMATS[spec["format"]].format(1 + self.made % 28)
        if spec.get("pattern") and (example := matching(spec["pattern"])):
            return example
        return f"zq{self.made}x".ljust(spec.get("minLength", 0), "x")[: spec.get("maxLength", 99)]


def matching(pattern: str) -> str | None:
    """A short text that a plain regular expression matches; it is not tried, since patterns may take for ever."""
    try:
        return _generate(re._parser.parse(pattern))  # type: ignore[attr-defined]  # the only parser there is
    except (re.error, RecursionError, OverflowError, KeyError, StopIteration):
        return None


def _generate(parsed: Any) -> str:
    text = ""
    for op, detail in parsed:
        match str(op):
            case "LITERAL":
                text += chr(detail)
            case "NOT_LITERAL" | "ANY":
                text += "a"
            case "IN":
                text += _member(detail)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, part = detail
                text += (_generate(part) * min(least or (1 if most else 0), 50))[:_LONGEST]
            case "SUBPATTERN":
                text += _generate(detail[3])
            case "BRANCH":
                text += _generate(detail[1][0])
            case _:
                pass
    return text[:_LONGEST]


def _member(options: Any) -> str:
    """One character of a set; a negated set gets the first plain character that it does not exclude."""
    op, detail = str(options[0][0]), options[0][1]
    if op == "NEGATE":
        excluded = {chr(d) for o, d in options[1:] if str(o) == "LITERAL"}
        return next(c for c in "abcdefghijklmnop01234567" if c not in excluded)
    if op == "RANGE":
        return chr(detail[0])
    if op == "CATEGORY":
        return {"CATEGORY_DIGIT": "1", "CATEGORY_SPACE": " "}.get(str(detail), "a")
    return chr(detail)
