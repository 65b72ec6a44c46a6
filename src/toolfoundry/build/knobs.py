"""Changing single quantities of a profile from the command line: `tools.multi_hop=4..20:9`, `scaling.expand=0`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, cast

import orjson
from pydantic import ValidationError

from toolfoundry.build.authors.procedural.profile import Profile
from toolfoundry.errors import InputError, invalid_field

__all__ = ["with_knobs"]

_SPAN = re.compile(r"(\d+)\.\.(\d+)(?::(\d+(?:\.\d+)?))?")


def with_knobs(profile: Profile, settings: Iterable[str]) -> Profile:
    """The profile with `NAME=VALUE` settings: a name is a path of fields, a value a number, text, JSON, or a span
    LOW..HIGH:MEAN (the mean may be left out: the middle). Raises InputError for anything else."""
    values: dict[str, Any] = profile.model_dump()
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting}: expected NAME=VALUE")
        *parents, last = path.split(".")
        place = values
        for parent in parents:
            place = _inside(place, parent, setting)
        if last not in place:
            raise InputError(f"--set {setting}: there is no {last!r}; the names here are {', '.join(place)}")
        place[last] = _value(text)
    try:
        return Profile.model_validate(values)
    except ValidationError as error:
        problem = invalid_field(error)
        expected = "LOW..HIGH:MEAN, as in 4..20:9" if "instance of Span" in problem.expected else problem.expected
        raise InputError(f"--set: field {problem.field!r}: found {problem.found}, expected {expected}") from None


def _inside(place: dict[str, Any], name: str, setting: str) -> dict[str, Any]:
    inner = place.get(name)
    if not isinstance(inner, dict):
        raise InputError(f"--set {setting}: there is no {name!r} with fields; the names here are {', '.join(place)}")
    return cast("dict[str, Any]", inner)


def _value(text: str) -> Any:
    if span := _SPAN.fullmatch(text):
        low, high = int(span[1]), int(span[2])
        return {"low": low, "high": high, "mean": float(span[3]) if span[3] else (low + high) / 2}
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
