"""Template wording: questions out of the names of tools, parameters and fields, and of descriptions.

Two ways to ask. As one noun phrase ("What is the city of the customer with the customer id of order O-5117?"), or as
the steps one after the other in the words of the descriptions ("Look up an order (order id O-5117) and take the
customer id. ..."). Which of them, and how it begins, is drawn. A model words it better (`rewording`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson
from pydantic import JsonValue

from toolfoundry.build.own_tools.naming import DANGLING, field_words, noun_of, words_of
from toolfoundry.types import ToolSchema

__all__ = ["Asked", "Path", "question_of", "step_question"]

Path = tuple[str | int, ...]

_OPENINGS = ("What {is} {}?", "Tell me {}.", "I need to know {}.", "Find out {}.", "Please look up {}.")
_TOGETHER: dict[str, tuple[str, ...]] = {
    "difference": (
        "What is the difference between (1) {} and (2) {}?",
        "Take (1) {} and (2) {}. How far apart are they?",
    ),
    "total": ("What do (1) {} and (2) {} add up to?", "What is the sum of (1) {} and (2) {}?"),
    "days_between": ("How many days lie between (1) {} and (2) {}?",),
    "list": ("I need two things, in this order: (1) {}; (2) {}.", "Tell me (1) {} and (2) {}, in this order."),
}
_IDENTIFYING = frozenset("code id key name no number ref".split())
_ARTICLES = frozenset("a all an every one some the".split())
_BEHIND_NOUNS = frozenset({"about", "of"})


class Asked(NamedTuple):
    """One step to be worded: the call, the place of the answer in its result, and arguments that other steps give."""

    id: str
    document: ToolSchema
    arguments: Mapping[str, JsonValue]
    path: Path
    given: Mapping[str, str]  # parameter -> id of the step whose answer it takes


def question_of(steps: Sequence[Asked], ends: Sequence[str], operation: str, rng: random.Random) -> str:
    """The whole question: `ends` are the steps whose answers the final answer is computed from, by `operation`."""
    by_id = {step.id: step for step in steps}
    chain = all(len(step.given) <= 1 for step in steps) and len(ends) == 1
    if chain and rng.random() < 0.4:
        return _one_by_one(steps)
    phrases = [_phrase(by_id[end], by_id) for end in ends]
    if len(phrases) == 1:
        return rng.choice(_OPENINGS).replace("{is}", _is(by_id[ends[0]])).format(phrases[0])
    return rng.choice(_TOGETHER[operation]).format(*phrases)


def step_question(step: Asked) -> str:
    """The sub-question of one step, `{s1}` where the answer of another goes."""
    return f"What {_is(step)} {_phrase(step, {})}?"


def _is(step: Asked) -> str:
    words = (
        (_field(step) if step.path else noun_of(step.document.name)).partition(" of ")[0].partition(" in ")[0].split()
    )
    return "are" if words[-1].strip("“”").endswith("s") and not words[-1].endswith(("ss", "us")) else "is"


def _one_by_one(steps: Sequence[Asked]) -> str:
    parts: list[str] = []
    for place, step in enumerate(steps):
        fixed = {name: value for name, value in step.arguments.items() if name not in step.given}
        arguments = f" ({_listed(fixed)})" if fixed else ""
        sentence = f"{_imperative(step.document)}{arguments}"
        if step.given:
            [parameter] = step.given
            sentence = f"With it as {_plain(parameter)}, {sentence[:1].lower()}{sentence[1:]}"
        last = place == len(steps) - 1
        parts.append(
            f"{sentence}. What {_is(step)} {_field(step)}?" if last else f"{sentence} and take {_field(step)}."
        )
    return " ".join(parts)


def _phrase(step: Asked, by_id: Mapping[str, Asked]) -> str:
    """What a step asks for as one noun phrase; earlier steps inside it, or `{s1}` where they are not in `by_id`."""
    noun = noun_of(step.document.name)
    of = f"{_field(step)} of the {noun}" if step.path else f"the {noun}"
    arguments: list[str] = []
    for name, value in step.arguments.items():
        source = by_id.get(step.given.get(name, ""))
        said = _phrase(source, by_id) if source else f"{{{step.given[name]}}}" if name in step.given else _said(value)
        if len(step.arguments) == 1 and step.path:
            words = words_of(name)
            telling = " ".join(word for word in words if word not in _IDENTIFYING)
            if noun in (" ".join(words), telling) or not telling:  # it only says which one
                return f"{of} with {said}" if source else f"{_field(step)} of {noun} {said}"
        if source is not None:
            same = source.path and _plain(str(source.path[-1])) == _plain(name)
            arguments.append(said if same else f"{said} as {_plain(name)}")
        elif not isinstance(value, bool):
            arguments.append(f"{_plain(name)} {said}")
    for_ = f" for {_joined(arguments)}" if arguments else ""
    flags = [_flag(name, value) for name, value in step.arguments.items() if isinstance(value, bool)]
    return of + for_ + (f", {_joined(flags)}" if flags else "")


def _flag(name: str, value: JsonValue) -> str:
    return f"{'with' if value else 'without'} {_plain(name)}"


def _field(step: Asked) -> str:
    """The place of an answer in a result, with its article: from the inside out."""
    if not step.path:
        return "the result"
    said: list[str] = []
    for part in step.path:
        if isinstance(part, str):
            said.append(f"the {_plain(part)}")
        elif said:
            said[-1] = f"the first of {said[-1]}"
        else:
            said.append("the first entry")
    return " of ".join(reversed(said))


def _plain(name: str) -> str:
    """A name in words; one that ends in a preposition in quotes, so that the sentence can be read."""
    said = field_words(name)
    return f"“{said}”" if said.rsplit(" ", 1)[-1] in DANGLING else said


def _listed(arguments: Mapping[str, JsonValue]) -> str:
    return ", ".join(
        _flag(name, value) if isinstance(value, bool) else f"{_plain(name)} {_said(value)}"
        for name, value in arguments.items()
    )


def _said(value: JsonValue) -> str:
    match value:
        case str():
            return value
        case list():
            return _joined([_said(part) for part in value])
        case dict():
            return _joined([f"{key}: {_said(part)}" for key, part in value.items()])
        case _:
            return orjson.dumps(value).decode()


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "nothing"


def _imperative(document: ToolSchema) -> str:
    """The first sentence of a description as a request: "Returns the price." is "Return the price"."""
    text = " ".join(document.description.split())
    sentence = re.split(r"(?<=[a-z0-9)])[.:;](?:\s|$)", text, maxsplit=1)[0].strip(" .")
    first, _, rest = sentence.partition(" ")
    if first.lower() in _ARTICLES or rest.partition(" ")[0] in _BEHIND_NOUNS:  # it names a thing
        return f"Look up {sentence[:1].lower()}{sentence[1:]}"
    verb = _without_person(first) if rest else first
    return f"{verb[:1].upper()}{verb[1:]}{' ' if rest else ''}{rest}"


def _without_person(verb: str) -> str:
    """A verb without the ending of the third person."""
    if not re.fullmatch(r"[A-Za-z]{2,}[a-z]s", verb) or verb.endswith(("ss", "us", "is")):
        return verb
    if verb.endswith("ies") and len(verb) > 4:
        return f"{verb[:-3]}y"
    return verb[:-2] if verb.endswith(("shes", "ches", "sses", "xes", "zzes")) else verb[:-1]
