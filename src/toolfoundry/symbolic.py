"""Arguments that refer to answers which are not known yet: `{"$answer": "s1"}` stands for the answer of step s1.

A reference may stand anywhere in a JSON value, always for a whole value. `{"$answer": "s1", "as": "text"}` is the
answer as it is spelled, where a number has to go into a text parameter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import JsonValue

from toolfoundry.answers import spelling
from toolfoundry.types import Answer

__all__ = ["answer_of", "references", "resolve"]

_KEY = "$answer"


def answer_of(step: str, *, as_text: bool = False) -> dict[str, JsonValue]:
    """The reference to the answer of a step."""
    return {_KEY: step, "as": "text"} if as_text else {_KEY: step}


def references(value: JsonValue) -> Iterator[str]:
    """The ids of the steps that a value refers to, in order, repeated where they are repeated."""
    if isinstance(value, dict):
        if _KEY in value:
            yield str(value[_KEY])
        else:
            for part in value.values():
                yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def resolve(value: JsonValue, answers: Mapping[str, Answer]) -> Any:
    """The value with every reference replaced. Raises KeyError for a step that has no answer."""
    if isinstance(value, dict):
        if _KEY in value:
            answer = answers[str(value[_KEY])]
            return spelling(answer) if value.get("as") == "text" else answer.value
        return {key: resolve(part, answers) for key, part in value.items()}
    if isinstance(value, list):
        return [resolve(part, answers) for part in value]
    return value
