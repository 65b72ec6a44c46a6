"""Says where the value of an argument comes from: what a model that reads question, schema and results could know.

A value comes from a text if all its content words and numbers do (case, plural, order, filler words, number and date
formats aside), so that "explosion at prüm" comes from "the explosion at Prüm". Preference: enum (also true and false),
default, question, earlier results, examples that the parameter's description quotes (`document`). Part of the search
program, so: standard library only.

Not covered: synonyms, abbreviations and translations ("USA" does not come from "United States").
"""

# A JSON value narrowed by isinstance is a dict or list of unknown: that is what it is.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

Path = tuple[str | int, ...]

_FILLER = frozenset(
    "a an the of in on at to for by and or with from is are was were be been what which who whom whose when where how "
    "that this it its as s st nd rd th".split()
)
_WORD = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|[^\W\d_]+|[+*/%^=<>]|-(?=\s*[\d(])")
_MONTH_NAMES = "january february march april may june july august september october november december".split()
_CARDINALS = "one two three four five six seven eight nine ten".split()
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()
_COUNTS = {word: str(i) for names in (_CARDINALS, _ORDINALS) for i, word in enumerate(names, 1)}
_QUOTED = re.compile(r"(?<!\w)'([^']{1,60})'(?!\w)|\"([^\"]{1,60})\"")
_ARITHMETIC = frozenset("+*/%^=<>-")


@lru_cache(maxsize=20_000)
def words(text: str) -> frozenset[str]:
    """The content words of a text, singular and without case, and its numbers in plain form."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    found = [_singular(_plain(word)) for word in _WORD.findall(folded.replace("'s ", " ").replace("'", ""))]
    return frozenset(word for word in found if word not in _FILLER) or frozenset(found)


def told(text: str) -> bool:
    """Whether a text tells anything: not only filler words."""
    return not words(text) <= _FILLER


def _plain(word: str) -> str:
    if not word[0].isdigit():
        return _COUNTS.get(word, word)
    number = word.replace(",", "")
    number = number.rstrip("0").rstrip(".") if "." in number else number
    return number.lstrip("0") or "0"


def _singular(word: str) -> str:
    if len(word) <= 3 or word[-1] != "s" or word[-2] in "su":
        return word
    if word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-3] + "y" if word.endswith("ies") else word[:-1]


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every scalar and every empty list or object in a JSON value, with its path."""
    if value and isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    else:
        yield path, value


def schema_at(schema: Any, path: Path) -> Any:
    """The part of a JSON Schema that describes the value at a path, or None where the schema does not name it."""
    for key in path:
        if not isinstance(schema, dict):
            return None
        found: Any = schema
        schema = found.get("items") if isinstance(key, int) else (found.get("properties") or {}).get(key)
        if schema is None and not isinstance(key, int) and isinstance(found.get("additionalProperties"), dict):
            schema = found["additionalProperties"]
    return schema


def said(value: Any, text: str) -> bool:
    """Whether a scalar comes from a text: all its content words and numbers stand in it."""
    needed = words(str(value))
    if not needed:
        return False
    if needed - _ARITHMETIC <= words(text):
        return bool(needed - _ARITHMETIC)
    return isinstance(value, str) and any(words(spelled) <= words(text) for spelled in _date_spellings(value))


def _run_of(value: str, text: str) -> bool:
    """Whether a text has the value in one run, as it stands."""
    return f" {' '.join(_WORD.findall(value.casefold()))} " in f" {' '.join(_WORD.findall(text.casefold()))} "


def _date_spellings(value: str) -> list[str]:
    """A date in figures, or the year and month or month and day of one, as prose spells it."""
    if not (match := re.fullmatch(r"(?:(\d{4})-)?(\d{1,2})(?:-(\d{1,2}))?", value)) or not 1 <= int(match[2]) <= 12:
        return []
    if match[1] is None and match[3] is None:
        return []
    name = _MONTH_NAMES[int(match[2]) - 1]
    return [f"{month} {match[3] or ''} {match[1] or ''}" for month in (name, name[:3])]


def named(value: Any, described: Any) -> bool:
    """Whether the description of a parameter quotes the value, as in: the kind of place, e.g. 'park'."""
    if not isinstance(described, dict) or not isinstance(value, str):
        return False
    quoted = _QUOTED.findall(str(described.get("description", "")))
    return any(value.casefold() == (one or other).casefold() for one, other in quoted)


def scalar_texts(value: Any) -> Iterator[str]:
    """The texts of the scalar_texts of a result."""
    for _, leaf in leaves(value):
        if leaf is not None and not isinstance(leaf, bool | dict | list):
            yield str(leaf)


def origin(path: Path, value: Any, schema: Any, question: str, known: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Where the scalar at `path` comes from: enum, default, question, `goal:ID` (several: with spaces), document, code.

    Args:
        known: goals that may be used, each with the texts that its result tells (the answer first).
    """
    described = schema_at(schema, path)
    if described is None and not _keys_said(path, schema, [question, *(t for _, texts in known for t in texts[:1])]):
        return "code"
    spec: dict[str, Any] = described if isinstance(described, dict) else {}
    if isinstance(value, bool) or value is None or value in (spec.get("enum") or ()) or value == spec.get("const", ...):
        return "enum"
    if "default" in spec and value == spec["default"]:
        return "default"
    parents = (schema_at(schema, path[:size]) for size in range(1, len(path)))
    if any(isinstance(p, dict) and _within(value, p.get("default")) for p in parents):
        return "default"
    if isinstance(value, dict | list):
        return "free"
    if value == "" or _run_of(str(value), question):
        return "question"
    for goal, told in known:  # the very answer comes before words scattered over the question
        if told and words(str(value)) == words(told[0]):
            return f"goal:{goal}"
    if said(value, question):
        return "question"
    for texts in ([(goal, told[:1]) for goal, told in known], [(goal, told[1:]) for goal, told in known]):
        for goal, told in texts:  # answers first, then the rest of the results
            if any(said(value, text) for text in told):
                return f"goal:{goal}"
    if (mixed := _mixed(value, question, known)) != "code":
        return mixed
    return "document" if named(value, spec) else "code"


def _keys_said(path: Path, schema: Any, texts: list[str]) -> bool:
    """Whether the keys that an open object's schema does not name come from texts instead."""
    for size in range(1, len(path) + 1):
        parent, key = schema_at(schema, path[: size - 1]), path[size - 1]
        if schema_at(schema, path[:size]) is None and not isinstance(key, int):
            open_object = (
                isinstance(parent, dict) and size > 1 and parent.get("additionalProperties", True) is not False
            )
            return open_object and any(said(key, text) for text in texts)
    return True


def _within(value: Any, default: Any) -> bool:
    return isinstance(default, dict | list) and any(leaf == value for _, leaf in leaves(default))


def _mixed(value: Any, question: str, known: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A value made of words of the question and of earlier answers ("24 + 6", "Arun Dev's new novel")."""
    missing, used = words(str(value)) - words(question) - _ARITHMETIC, list[str]()
    for goal, texts in known:
        if missing and texts and (found := missing & words(texts[0])):
            missing -= found
            used.append(f"goal:{goal}")
    return " ".join(used) if used and not missing else "code"


def sources(
    arguments: dict[str, Any], schema: Any, question: str, known: Sequence[tuple[str, Sequence[str]]]
) -> dict[Path, str]:
    """The origin of every leaf of a call's arguments."""
    return {path: origin(path, value, schema, question, known) for path, value in leaves(arguments) if path}


def cost(found: Iterable[str]) -> tuple[int, int, int]:
    """Orders calls by what they ask of a model: values that nobody told it, values that it has to pick from examples in
    a description, and goals that must be solved before."""
    found = list(found)
    goals = {source for source in found if source.startswith("goal:")}
    return found.count("code"), found.count("document"), len(goals)
