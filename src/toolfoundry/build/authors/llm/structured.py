"""Reading the JSON and the code in a model's reply, sloppy as it may be. Replies are read, never evaluated.

JSON may stand alone, in a fence, or in prose; trailing commas, typographic quotes as delimiters, Python's constants,
comments and line breaks within strings are mended. What is cut off or says something else is `Unreadable`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import orjson
from pydantic import JsonValue

from toolfoundry.build.draft import Complaint

__all__ = ["Fence", "Unreadable", "fences", "is_refusal", "read_json", "without_thinking"]

_MOST_STARTS = 12  # places in a reply at which JSON is looked for
_MOST_CHARS = 500_000
_FENCE = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.MULTILINE | re.DOTALL
)
_REFUSAL = re.compile(
    r"\b(I(?:['’]m| am) (?:sorry|unable|not able)|I (?:can(?:['’]t|not)|won['’]t|must decline)|as an AI\b)",
    re.IGNORECASE,
)
_CLOSING = {"“": "”", "„": "“", "”": "”", '"': '"'}
_CONSTANTS = {"True": "true", "False": "false", "None": "null"}


class Unreadable(Exception):
    """A reply that cannot be used, with what its author is to be told.

    partial: sources in it that are complete, so that only the others are asked for again.
    """

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        self.complaints = tuple(complaints)
        self.partial: dict[str, str] = {}
        super().__init__("; ".join(complaint.detail for complaint in complaints))

    @classmethod
    def because(cls, reason: str, detail: str) -> Unreadable:
        return cls([Complaint(reason, detail)])


class Fence(NamedTuple):
    """A fenced block: its language in lower case ("" for none), and its text."""

    language: str
    text: str


def without_thinking(text: str) -> str:
    """The text after the model's thinking, where the server leaves that in."""
    end = text.rfind("</think>")
    return text[end + len("</think>") :] if end >= 0 else text


def fences(text: str) -> list[Fence]:
    """The fenced blocks of a reply, in order; one that is not closed ends with the reply."""
    return [Fence(match[2].lower(), match[3]) for match in _FENCE.finditer(text)]


def read_json(text: str) -> JsonValue:
    """The one JSON object or array that a reply gives: the longest there is. Raises Unreadable.

    >>> read_json('Sure! Here it is: {“steps”: [1, 2,],} Hope that helps.')
    {'steps': [1, 2]}
    """
    answer = without_thinking(text).strip()
    if not answer:
        raise Unreadable.because("refused", "the reply was empty; the JSON object that was asked for is expected")
    if len(answer) > _MOST_CHARS:
        raise Unreadable.because(
            "unreadable", f"the reply has {len(answer)} characters, expected at most {_MOST_CHARS}"
        )
    span = answer.rfind("}") - answer.find("{") + 1
    best: tuple[int, Any] | None = None
    for candidate in _candidates(answer):
        found = _decoded(candidate) or _decoded(_mended(candidate))
        if found and (best is None or found[0] > best[0]):
            best = found
        if best and best[0] >= span // 2:
            break
    if best is None or best[0] < span // 2:  # a part of something broken is not what was meant
        _explain(answer)
    try:
        orjson.dumps(best[1])
    except (TypeError, ValueError):
        detail = "the JSON holds half a surrogate pair or a number of more than 64 bits"
        raise Unreadable.because("unreadable", detail) from None
    return best[1]


def is_refusal(text: str) -> bool:
    """Whether a reply without usable content declines, rather than being badly formed."""
    return len(text) < 1500 and _REFUSAL.search(text) is not None


def _explain(answer: str) -> NoReturn:
    if is_refusal(answer):
        raise Unreadable.because("refused", "the reply declines; the JSON object that was asked for is expected")
    if (start := answer.find("{")) < 0:
        raise Unreadable.because("unreadable", "there is no JSON object in the reply")
    try:
        json.loads(_mended(answer[start:]))
        problem = "no JSON object"
    except json.JSONDecodeError as error:
        problem = f"{error.msg} at line {error.lineno}, column {error.colno} from the first brace"
    except (ValueError, RecursionError):
        problem = "it is nested too deeply, or holds NaN or Infinity"
    raise Unreadable.because("unreadable", f"the JSON of the reply cannot be parsed: {problem}")


def _candidates(answer: str) -> Iterator[str]:
    yield answer
    yield from sorted((f.text.strip() for f in fences(answer) if f.language in ("", "json")), key=len, reverse=True)
    starts = [match.start() for match in re.finditer(r"[{\[]", answer)]
    for start in starts[:_MOST_STARTS]:
        yield answer[start:]


def _decoded(text: str) -> tuple[int, Any] | None:
    """The value at the beginning of a text, with the length of its text; None if it is no object or array."""
    if text[:1] not in ("{", "["):
        return None
    try:
        value, end = json.JSONDecoder(parse_constant=_refuse).raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return (end, value) if value else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _mended(text: str) -> str:
    """The text with what models get wrong in JSON put right; strings keep their content."""
    parts: list[str] = []
    index = 0
    while index < len(text):
        char = text[index]
        if char in _CLOSING:
            content, index = _string(text, index + 1, _CLOSING[char])
            parts.append(content)
        elif char == ",":
            rest = re.compile(r"\s*[}\]]").match(text, index + 1)
            parts.append("" if rest else ",")
            index += 1
        elif text.startswith("//", index):
            index = end if (end := text.find("\n", index)) >= 0 else len(text)
        elif char.isalpha():
            word = re.compile(r"\w+").match(text, index)
            assert word is not None
            parts.append(_CONSTANTS.get(word[0], word[0]))
            index = word.end()
        else:
            parts.append(char)
            index += 1
    return "".join(parts)


def _string(text: str, index: int, closing: str) -> tuple[str, int]:
    """The string that begins at an index, with straight quotes and escaped control characters, and where it ends."""
    parts = ['"']
    while index < len(text) and text[index] != closing:
        char = text[index]
        if char == "\\":
            parts.append(text[index : index + 2])
            index += 2
            continue
        if char == '"':
            parts.append('\\"')
        elif ord(char) < 0x20:
            parts.append(json.dumps(char)[1:-1])
        else:
            parts.append(char)
        index += 1
    return "".join([*parts, '"']), index + 1
