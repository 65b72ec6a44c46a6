"""Comparing answers: does a tool's result hold an answer, does a final message give it, does it stand in a call?

One comparison serves reward, prover and gates. A number is compared as a number ("5,000" is 5000 and is not in
"15,000" or "2010-50"), a date as a date ("May 18, 2001" is 2001-05-18), a truth value only where the text states
it, anything else as a run of whole tokens without regard to case and punctuation. Never as a bare substring: in the
published rule, kept here as `published_match` for comparison with the paper, "1" is in "2010".

Not covered: units are not converted ("1.2 km" is not "1200 m"), numbers are not read from words ("five"), and dates
of the forms 03/04/2021 are not read, since nobody can tell which number is the month.
"""

from __future__ import annotations

import datetime
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import orjson
from pydantic import JsonValue

from toolfoundry.types import Answer

__all__ = [
    "equals",
    "holds",
    "infer",
    "may_hold",
    "published_match",
    "rules_out",
    "scalars",
    "spelling",
    "stands_in",
    "tagged_answer",
    "values_in",
]

_SHORT = 2_000  # characters; what was read out of texts up to this length is kept for a while
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
# A number of its own: not part of a word, a longer number, a range, a date, a time or a version.
_NUMBER = re.compile(rf"(?<![\w.])(?<!\d[,:/\-])(?<![eE][+\-])([+\-]?{_DIGITS})(?:[eE]([+\-]?\d+))?(?![\w]|[.,:/\-]\d)")
_WHOLE_NUMBER = re.compile(rf"[+\-]?{_DIGITS}(?:[eE][+\-]?\d+)?\.?")
_TOKEN = re.compile(rf"{_DIGITS}|[^\W_]+|[$€£¥₹%°×+#&@<>=−]|(?<!\w)-(?=\d)")
_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = "(" + "|".join(f"{name[:3]}(?:{name[3:]})?" if name != "may" else "may" for name in _MONTHS) + r"|sept)\.?"
_DATES = (
    re.compile(r"(?<![\d\-/.])(?P<y>\d{4})([-/.])(?P<m>\d{1,2})\2(?P<d>\d{1,2})(?![\d\-/]|\.\d)"),
    re.compile(rf"\b(?P<month>{_MONTH})\s+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<y>\d{{4}})\b", re.IGNORECASE),
    re.compile(rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month>{_MONTH}),?\s+(?P<y>\d{{4}})\b", re.I),
)
_COMBINING = (
    r"[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u064b-\u065f"
    r"\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)
_MARKS = re.compile(rf"({_COMBINING}{{16}}){_COMBINING}+")
_MAX_ANSWER = 2000  # characters; what is longer is no answer
_TRUTH = {"yes": True, "true": True, "no": False, "false": False}
# Tokens that stand in ordinary sentences: as an answer they count only where the text states nothing else.
_COMMON = frozenset({"a", "an", "the", "no", "yes", "none", "not", "in", "on", "of", "is", "it", "all", "or", "and"})
_GAP = 8  # tokens that may stand between the parts of an answer such as "Boulder, Colorado"


def infer(text: str) -> Answer:
    """The typed answer that a golden's text spells, for sources that give only text.

    >>> infer("5,000").value, infer("2007-11-7").value, infer("No").value, infer("c, a, b").type
    (5000, '2007-11-07', False, 'text')
    """
    bare = text.strip()
    if len(bare) <= 300 and _WHOLE_NUMBER.fullmatch(bare) and not re.match(r"[+\-]?0\d", bare):
        number = _number(bare.rstrip("."))
        if abs(number) < 2**63 if isinstance(number, int) else math.isfinite(number):  # what a record can hold
            return Answer(type="number", value=number, text=text)
    for pattern in _DATES:
        if (match := pattern.fullmatch(bare.rstrip("."))) and (day := _date(match)):
            return Answer(type="date", value=day.isoformat(), text=text)
    if (truth := _TRUTH.get(bare.rstrip(".").lower())) is not None:
        return Answer(type="boolean", value=truth, text=text)
    return Answer(type="text", value=text)


def spelling(answer: Answer) -> str:
    """How the answer is written for a person, and for the published rule."""
    if answer.text is not None:
        return answer.text
    if isinstance(answer.value, bool):
        return "Yes" if answer.value else "No"
    if isinstance(answer.value, list):
        return ", ".join(str(part) for part in answer.value)
    return str(answer.value)


def holds(answer: Answer, content: str) -> bool:
    """Whether a tool result (text, or JSON as text) holds the answer as a typed value or on token boundaries.

    >>> holds(infer("1"), "founded in 2010"), holds(infer("1"), '{"rank": 1}')
    (False, True)
    """
    match answer.type:
        case "number":
            return _is_number(answer.value) and any(_close(answer.value, n) for n in _numbers(content))
        case "date":
            return any(day.isoformat() == answer.value for day in _dates(content)) or _holds_text(answer, content)
        case "boolean":
            return any(_states(leaf, answer.value) for leaf in _leaves(content))
        case "list" | "text":
            return _holds_text(answer, content)


def rules_out(answer: Answer, texts: str) -> bool:
    """Whether none of several texts, joined by newlines, can hold the answer: one look in place of many.

    False says nothing. Truth values and single everyday words, which depend on a text as a whole, are not ruled out.
    """
    if answer.type == "boolean":
        return False
    parts = _parts(spelling(answer))
    if answer.type in ("text", "list") and sum(map(len, parts)) == 1:
        word = parts[0][0]
        if len(word) == 1 or word in _COMMON:
            return False
    return not holds(answer, texts)


def may_hold(answer: Answer, lowered: Sequence[str]) -> Sequence[int]:
    """The places of the texts that may hold the answer: all others do not. Texts in lower case."""
    parts = _parts(spelling(answer)) if answer.type in ("text", "list") else ()
    word = next((token for part in parts for token in part), "")
    if not word.isalpha():
        return range(len(lowered))
    return [place for place, text in enumerate(lowered) if word in text or not text.isascii()]


def equals(answer: Answer, text: str) -> bool:
    """Whether a short text *is* the answer: nothing else of its kind stands in it.

    >>> equals(infer("5,000"), "5000 people"), equals(infer("5,000"), "4000 or 5000")
    (True, False)
    """
    bare = text.strip()
    if len(bare) > _MAX_ANSWER:
        return False
    match answer.type:
        case "number":
            numbers = list(_numbers(bare))
            return len(numbers) == 1 and _is_number(answer.value) and _close(answer.value, numbers[0])
        case "date":
            days = list(_dates(bare))
            return len(days) == 1 and days[0].isoformat() == answer.value
        case "boolean":
            return _states(bare, answer.value)
        case "list" | "text":
            return _without_article(_tokens(bare)) == _without_article(_tokens(spelling(answer)))


def stands_in(answer: Answer, arguments: JsonValue) -> bool:
    """Whether the answer stands in a call's own arguments, by the same comparison: in a value, in a key inside one, or,
    where it is text, spread over values that follow each other.

    Flags (JSON true and false) do not count: `verbose=true` does not give away the answer "yes".
    """
    values = [leaf for leaf in scalars(arguments) if leaf is not None and not isinstance(leaf, bool)]
    texts = [value if isinstance(value, str) else orjson.dumps(value).decode() for value in values]
    texts += _inner_keys(arguments)
    if answer.type == "text" and len(texts) > 1:
        texts.append(" ".join(texts))
    return any(holds(answer, text) for text in texts)


def _inner_keys(arguments: JsonValue) -> list[str]:
    """The keys of objects inside the arguments; the parameters' own names are not the caller's words."""
    waiting: list[JsonValue] = [*arguments.values()] if isinstance(arguments, dict) else [arguments]
    keys: list[str] = []
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            keys += item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return keys


def values_in(answer: Answer, text: str) -> int:
    """How many different values of the answer's kind a text names; 1 where they cannot be counted (text)."""
    match answer.type:
        case "number":
            return len(set(_numbers(text)))
        case "date":
            return len(set(_dates(text)))
        case _:
            return 1


def published_match(golden: str, output: str) -> bool:
    """The release's rule: every part of `golden.split(', ')`, without case and commas, is a substring of the output."""
    text = output.lower().replace(",", "").strip()
    return all(part.lower().replace(",", "").strip() in text for part in golden.split(", "))


def tagged_answer(text: str) -> str | None:
    """The content of the last `<answer>` tag, or None without one.

    >>> tagged_answer("<answer>4</answer> no: <answer> 5 </answer>")
    '5'
    """
    last: str | None = None
    start = text.find("<answer>")
    while start >= 0 and (end := text.find("</answer>", start)) >= 0:
        last = text[start + len("<answer>") : end]
        start = text.find("<answer>", end)
    return None if last is None else last.strip()


# --- numbers and dates ---------------------------------------------------------------------------------------------


def _number(text: str) -> int | float:
    plain = text.replace(",", "")
    return float(plain) if re.search(r"[.eE]", plain) else int(plain)


def _numbers(text: str) -> Iterable[float]:
    return _short_numbers(text) if len(text) <= _SHORT else _long_numbers(text)


@lru_cache(maxsize=4096)
def _short_numbers(text: str) -> tuple[float, ...]:
    """Many answers are looked for in the same result."""
    return tuple(_all_numbers(text))


@lru_cache(maxsize=4)
def _long_numbers(text: str) -> tuple[float, ...]:
    return tuple(_all_numbers(text))


def _all_numbers(text: str) -> Iterator[float]:
    for match in _NUMBER.finditer(text):
        digits, exponent = match.groups()
        if len(digits) <= 400 and (exponent is None or len(exponent) <= 4):
            yield float(digits.replace(",", "") + (f"e{exponent}" if exponent else ""))


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _close(wanted: JsonValue, found: float) -> bool:
    assert isinstance(wanted, int | float)
    if abs(wanted) >= 1e300:  # past the range in which the difference is a number
        return False
    return abs(wanted - found) <= 1e-9 * max(1.0, abs(wanted))


def _date(match: re.Match[str]) -> datetime.date | None:
    parts = match.groupdict()
    month = (
        _MONTHS.index(next(n for n in _MONTHS if n.startswith(parts["month"][:3].lower()))) + 1
        if parts.get("month")
        else int(parts["m"])
    )
    try:
        return datetime.date(int(parts["y"]), month, int(parts["d"]))
    except ValueError:
        return None


def _dates(text: str) -> Iterable[datetime.date]:
    return _short_dates(text) if len(text) <= _SHORT else _long_dates(text)


@lru_cache(maxsize=4096)
def _short_dates(text: str) -> tuple[datetime.date, ...]:
    return tuple(_all_dates(text))


@lru_cache(maxsize=4)
def _long_dates(text: str) -> tuple[datetime.date, ...]:
    return tuple(_all_dates(text))


def _all_dates(text: str) -> Iterator[datetime.date]:
    for pattern in _DATES:
        for match in pattern.finditer(text):
            if day := _date(match):
                yield day


# --- text ----------------------------------------------------------------------------------------------------------


def _normalise(token: str) -> str:
    if token[0].isdigit() and token.isascii() and not token.isdigit():
        plain = token.replace(",", "")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    return token


def _tokens(text: str) -> Sequence[str]:
    return _short_tokens(text) if len(text) <= _SHORT else _long_tokens(text)


@lru_cache(maxsize=4096)
def _short_tokens(text: str) -> tuple[str, ...]:
    return tuple(_all_tokens(text))


@lru_cache(maxsize=4)
def _long_tokens(text: str) -> tuple[str, ...]:
    return tuple(_all_tokens(text))


def _all_tokens(text: str) -> list[str]:
    """Words, numbers without thousands commas and trailing zeros, and symbols that carry meaning; no punctuation."""
    if not text.isascii():  # normalising takes quadratic time over a long run of combining marks
        text = _MARKS.sub(r"\1", text)
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return [_normalise(match.group()) for match in _TOKEN.finditer(folded)]


@lru_cache(maxsize=4096)
def _parts(golden: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(_tokens(part)) for part in golden.split(", "))


def _holds_text(answer: Answer, content: str) -> bool:
    parts = _parts(spelling(answer))
    wanted = [token for part in parts for token in part]
    if not wanted:
        return False
    if content.isascii() and wanted[0].isalpha() and wanted[0] not in content.lower():
        return False  # most texts hold nothing of the answer: no need to take them apart
    if len(wanted) == 1 and (len(wanted[0]) == 1 or wanted[0] in _COMMON):
        return _stated(wanted[0], content)
    tokens = _tokens(content)
    if _find(wanted, tokens, 0) >= 0:
        return True
    if len(parts) == 1 or any(sum(map(len, part)) < 3 for part in parts):
        return False
    return _in_order(parts, tokens)


def _find(wanted: Sequence[str], tokens: Sequence[str], start: int) -> int:
    """The first index from `start` at which the tokens stand in one run, or -1."""
    size = len(wanted)
    first = wanted[0]
    for index in range(start, len(tokens) - size + 1):
        if tokens[index] == first and [*tokens[index : index + size]] == [*wanted]:
            return index
    return -1


def _in_order(parts: Sequence[Sequence[str]], tokens: Sequence[str]) -> bool:
    """The parts of "Boulder, Colorado" may be fields of one record, in this order and close together."""
    start = _find(parts[0], tokens, 0)
    while start >= 0:
        end = start + len(parts[0])
        for part in parts[1:]:
            index = _find(part, tokens[: end + _GAP + len(part)], end)
            if index < 0:
                break
            end = index + len(part)
        else:
            return True
        start = _find(parts[0], tokens, start + 1)
    return False


def _stated(token: str, content: str) -> bool:
    """A one-letter or everyday word counts as a whole value, after a colon or equals sign, or in brackets or quotes."""
    if any([*_tokens(leaf)] == [token] for leaf in _leaves(content)):
        return True
    before, after = r"(?:[:=]\s*[\"'(]?|[\"'(\[])", r"(?=[\"')\].,;!]|\s*$)"
    return re.search(before + re.escape(token) + after, content, re.IGNORECASE | re.MULTILINE) is not None


def _states(leaf: str, truth: JsonValue) -> bool:
    """Whether one value says yes or no: it is the word, begins with it, or ends with it."""
    words = re.findall(r"[^\W\d_]+|[.,;:!]", leaf.casefold())
    if not words:
        return False
    first = _TRUTH.get(words[0]) if len(words) == 1 or words[1] in ".,;:!" else None
    while words and words[-1] in ".,;:!":
        words.pop()
    last = _TRUTH.get(words[-1]) if words else None
    return truth == (first if first is not None else last)


def _without_article(tokens: Sequence[str]) -> list[str]:
    return [*tokens[1:]] if len(tokens) > 1 and tokens[0] in ("the", "a", "an") else [*tokens]


def _leaves(content: str) -> Iterable[str]:
    """The scalar values of JSON text as text, or the text itself."""
    if content.lstrip()[:1] in ("{", "["):
        try:
            value: JsonValue = orjson.loads(content)
        except orjson.JSONDecodeError:
            return [content]
        return [leaf if isinstance(leaf, str) else orjson.dumps(leaf).decode() for leaf in scalars(value)]
    return [content]


def scalars(value: JsonValue) -> Iterator[str | int | float | bool | None]:
    """The scalar values in a JSON value, in order; deep nesting is no matter."""
    stack: list[JsonValue] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(reversed(item.values()))
        elif isinstance(item, list):
            stack.extend(reversed(item))
        else:
            yield item
