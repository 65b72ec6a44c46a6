"""Says a scenario in English: its steps one by one, and the whole question as a person would ask it.

A scenario is a graph of nodes: names, facts about a node, computations over nodes. A node is said as a noun phrase
("the founder of ..."); a long phrase is cut by sentences that introduce something ("Take the company that owns ... .")
to which the question then refers ("that company"). Something that is used twice is always introduced. Every choice is
drawn from the generator that the caller gives.
"""

from __future__ import annotations

import datetime
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import JsonValue

from toolfoundry.build.authors.procedural.catalogue import UNITS, Fact, Wordings, kinds
from toolfoundry.build.authors.procedural.catalogue.computing import UNIT_WORDS, Computed

__all__ = ["Node", "Voice", "ask", "sub_question", "walk"]

Content = "str | int | float | Node | list[Node]"


class Node:
    """A name (no fact, no computation), a fact about another node, or a computation over nodes.

    kind: the type of an entity, else the kind of the value. compared: the fact by which a computation chooses among or
    ranks names. step: a step of the scenario; the others are names, or the last computation where the model does it.
    """

    __slots__ = ("arguments", "compared", "computed", "fact", "kind", "qualifiers", "step", "subject", "unit", "value")

    def __init__(self, kind: str, value: JsonValue, unit: str = "") -> None:
        self.kind, self.value, self.unit = kind, value, unit
        self.fact: Fact | None = None
        self.subject: Node | None = None
        self.qualifiers: dict[str, str | int | Node] = {}
        self.computed: Computed | None = None
        self.arguments: dict[str, str | int | float | Node | list[Node]] = {}
        self.compared: Fact | None = None
        self.step = False

    def inputs(self) -> Iterator[Node]:
        """The nodes that this one is made from, in order."""
        if self.subject is not None:
            yield self.subject
        yield from (part for part in self.qualifiers.values() if isinstance(part, Node))
        for part in self.arguments.values():
            if isinstance(part, Node):
                yield part
            elif isinstance(part, list):
                yield from part


def walk(tops: Sequence[Node]) -> list[Node]:
    """All nodes, each once, after those that it is made from."""
    order: dict[int, Node] = {}

    def visit(node: Node) -> None:
        if id(node) not in order:
            for part in node.inputs():
                visit(part)
            order[id(node)] = node

    for top in tops:
        visit(top)
    return list(order.values())


class Voice(NamedTuple):
    """How things are said. split: whose wordings, or "" for all. words: the length to aim at."""

    rng: random.Random
    split: str
    words: float


# --- wordings ------------------------------------------------------------------------------------------------------

_PLURAL = {unit: words for by_name in UNIT_WORDS.values() for unit, words in by_name.items()}
_MONTHS = "January February March April May June July August September October November December".split()
_NAME_WORDS = 4  # a longer phrase is not put before 's
_MID_WORDS = 6  # nor a longer one than this into the middle of a clause


def _day(text: str) -> str:
    day = datetime.date.fromisoformat(text)
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _length(text: str) -> int:
    return text.count(" ") + 1


class _Speaker:
    """Says nodes, knowing what has been introduced as what."""

    def __init__(self, voice: Voice, refer: Callable[[Node], str | None], typed: float, mood: int = 0) -> None:
        self.rng, self.split, self.refer, self.typed, self.mood = voice.rng, voice.split, refer, typed, mood

    def phrase(self, node: Node, whole: bool = False) -> str:
        """A noun phrase. whole: it stands alone, so it does not begin with "whoever"."""
        if (known := self.refer(node)) is not None:
            return known
        if node.fact is not None:
            return self._fact(node, node.fact, whole)
        if node.computed is not None:
            return self._computed(node, node.computed)
        name = str(node.value)
        if node.kind in kinds() and node.kind != "person" and self.rng.random() < self.typed:
            return f"the {kinds()[node.kind].word} {name}"
        return name

    def wordings(self, fact: Fact) -> Wordings:
        return fact.wordings[self.split]

    def _fact(self, node: Node, fact: Fact, whole: bool) -> str:
        assert node.subject is not None
        subject = self.phrase(node.subject)
        words = self.wordings(fact)
        size = _length(subject)
        clauses = [text for text in words.clauses if not (whole and text.startswith("whoever"))]
        options: list[Sequence[str]] = [words.nouns, clauses, clauses]
        if size <= _MID_WORDS:
            options += [words.mids, words.mids]
        if size <= _NAME_WORDS and "'s" not in subject and not subject.startswith("the "):
            options += [words.owned]
        if any(isinstance(part, Node) for part in node.qualifiers.values()) and words.mids:
            options = [words.mids]  # a year in many words comes last
        options = [group for group in options if group]
        text = self.shaped(lambda: self.rng.choice(self.rng.choice(options)))
        return text.replace("{}", subject).replace("{q}", self.qualified(node, fact))

    def shaped(self, draw: Callable[[], str]) -> str:
        """A wording; the shortest or longest of several where the whole is too long or too short."""
        if self.mood == 0:
            return draw()
        return min((draw() for _ in range(2 if self.mood > 0 else 4)), key=lambda text: -self.mood * _length(text))

    def qualified(self, node: Node, fact: Fact) -> str:
        said = {k: self.year(v) if isinstance(v, Node) else str(v) for k, v in node.qualifiers.items()}
        return fact.phrase.format(**said) if fact.phrase else ""

    def year(self, node: Node) -> str:
        """A year that is itself an answer: "in the year in which the ship was launched"."""
        date = node.arguments.get("date")
        if self.refer(node) is None and isinstance(date, Node) and date.fact is not None and date.subject is not None:
            subject = self.phrase(date.subject)
            words = self.wordings(date.fact)
            said = words.mids if _length(subject) <= _MID_WORDS else words.clauses
            for text in said:
                for day, year in (("the date on which ", "the year in which "), ("the day that ", "the year that ")):
                    if text.startswith(day):
                        return text.replace(day, year).replace("{}", subject)
            return f"the year of {self.phrase(date)}"
        return self.phrase(node)

    def _computed(self, node: Node, computed: Computed) -> str:
        if node.compared is not None:
            return self._compared(node, node.compared)
        if "to_unit" in node.arguments and isinstance(node.arguments["value"], Node):
            return self._converted(node, node.arguments["value"])
        if (text := self._together(node, computed)) is not None:
            return text
        values = {name: self.said(part, computed.function.computation) for name, part in node.arguments.items()}
        names, numbers = node.arguments.get("names"), node.arguments.get("values")
        if isinstance(names, list) and isinstance(numbers, list):
            values["pairs"] = self._pairs(names, numbers)
        for name in ("from_unit", "to_unit"):
            if name in values:
                values[name] = _PLURAL[values[name]]
        values.setdefault("pairs", "")
        text = self.shaped(lambda: self.rng.choice(self._spoken(computed)))
        if any(isinstance(part, list) and len(part) == 2 for part in node.arguments.values()):
            text = _OF_MANY.sub(lambda match: _OF_TWO[match.group()], text)
        return text.format(**values)

    def _together(self, node: Node, computed: Computed) -> str | None:
        """ "the combined length of A and B", where the same is asked about all of them."""
        forms = _TOGETHER.get(computed.function.computation)
        parts = list(node.inputs())
        fact = parts[0].fact if parts else None
        if forms is None or fact is None or any(self.refer(part) is not None for part in parts):
            return None
        if any(part.fact is not fact or part.qualifiers != parts[0].qualifiers for part in parts):
            return None
        noun = self.rng.choice(self.wordings(fact).nouns)[4:].removesuffix(" of {}")
        subjects = [self.phrase(part.subject) for part in parts if part.subject is not None]
        text = self.rng.choice(forms).format(noun.replace("{q}", self.qualified(parts[0], fact)), _joined(subjects))
        return _OF_MANY.sub(lambda match: _OF_TWO[match.group()], text) if len(parts) == 2 else text

    def _spoken(self, computed: Computed) -> Sequence[str]:
        """Six wordings; where they are held out, one is for dev and one for test."""
        match self.split:
            case "dev":
                return computed.wordings[:1]
            case "test":
                return computed.wordings[1:2]
            case "train":
                return computed.wordings[2:]
            case _:
                return computed.wordings

    def said(self, part: str | int | float | Node | list[Node], operation: str = "") -> str:
        """An argument of a computation: a phrase, a date as people write it, a number, or several of them."""
        if isinstance(part, list):
            return _joined([self.said(each) for each in part])
        if isinstance(part, Node):
            text = self.phrase(part)
            named = part.kind in kinds() and operation in _ON_TEXT and part.fact is not None
            return f"the name of {text}" if named and self.refer(part) is None else text
        if isinstance(part, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", part):
            return _day(part)
        return str(part)

    def _pairs(self, names: Sequence[Node], values: Sequence[Node]) -> str:
        return _joined(
            [f"{self.said(name)} with {self.said(value)}" for name, value in zip(names, values, strict=True)]
        )

    def _converted(self, node: Node, value: Node) -> str:
        said = self.phrase(value)
        old, new = (_PLURAL[str(node.arguments[name])] for name in ("from_unit", "to_unit"))
        forms = ("{} converted from {} to {}", "{} expressed not in {} but in {}", "{} recalculated from {} to {}")
        return self.rng.choice(forms).format(said + "," * (_length(said) > _MID_WORDS), old, new)

    def _compared(self, node: Node, compared: Fact) -> str:
        names = node.arguments["names"]
        assert isinstance(names, list)
        assert node.computed is not None
        said = [self.phrase(name) for name in names]
        operation = node.computed.function.computation
        if operation.startswith("rank"):
            falling = operation == "rank_descending"
            if compared.function.output.kind in ("year", "date"):
                first = "latest first" if falling else "earliest first"
            else:
                first = "largest first" if falling else "smallest first"
            return f"{_joined(said)} in the order of {compared.function.noun}, {first}"
        clause = self.clause(node, compared)
        forms = ("whichever of {} {}", "the one of {} that {}", "the one among {} that {}")
        if node.kind == "person":
            forms = ("whoever of {} {}", "the one of {} who {}", "the one among {} who {}")
        return self.rng.choice(forms).format(_joined(said), clause)

    def clause(self, node: Node, compared: Fact) -> str:
        assert node.computed is not None
        larger = node.computed.function.computation in ("name_with_largest", "name_with_latest")
        text = compared.more if larger else compared.less
        many = node.arguments["names"]
        if isinstance(many, list) and len(many) > 2:
            for word, most in _SUPERLATIVES.items():
                text = text.replace(f"the {word}", "the " + most.removeprefix("the "))
                text = re.sub(rf"(?<!the ){word}\b", most, text)
        return text

    # --- questions

    def question(self, node: Node) -> str:
        """A direct question for one node, with its question mark."""
        if node.fact is not None and node.subject is not None and self.refer(node) is None:
            subject = self.phrase(node.subject)
            words = self.wordings(node.fact)
            asked = [
                text
                for text in words.questions
                if _length(subject) <= _MID_WORDS + 2 or re.search(r"\{\}(?: \{q\})?[^a-z]*(?: in [a-z ]+)?\?", text)
            ]
            if asked and self.rng.random() < 0.75:
                text = self.rng.choice(asked)
                if (unit := self.unit(node)) and _length(subject) > _MID_WORDS and f", {unit}" not in text:
                    text = text.replace(f" {unit}?", f", {unit}?")
                return _capital(text.replace("{}", subject).replace("{q}", self.qualified(node, node.fact)))
        if node.compared is not None and not isinstance(node.value, list):
            return self._asked_choice(node, node.compared)
        if node.computed is not None and node.computed.function.computation in _BY_TWO and self.rng.random() < 0.7:
            parts = list(node.inputs())
            alike = len(parts) == 2 and parts[0].fact is not None and parts[0].fact is parts[1].fact
            if len(parts) == 2 and not (alike and parts[0].qualifiers == parts[1].qualifiers):
                return self._asked_two(node, node.computed.function.computation, *parts)
        phrase = self.phrase(node, whole=True)
        if phrase.startswith(("how ", "what ", "by how ", "which ")):
            return f"{_capital(_inverted(phrase))}"
        if phrase.startswith("whichever "):
            return "Which" + phrase.removeprefix("whichever") + "?"
        if node.kind == "person":
            if phrase.startswith("the person who "):
                return "Who" + phrase.removeprefix("the person who") + "?"
            return f"Who is {phrase}?"
        if node.kind in kinds():
            word = kinds()[node.kind].word
            plain = phrase.startswith((f"the {word} ", "whichever", "the one")) or f" {word} " in phrase[:30]
            form = "What is the name of {}?" if plain or self.rng.random() < 0.5 else f"Which {word} is {{}}?"
            return form.format(phrase)
        if node.kind == "names":
            return (
                f"What is {phrase}?"
                if re.match("the (?:[a-z]+ )?(?:order|list) ", phrase)
                else f"Can you list {phrase}?"
            )
        return self.rng.choice(self._what(node)[: 2 if _length(phrase) > _MID_WORDS else 3]).format(phrase)

    def _what(self, node: Node) -> tuple[str, ...]:
        if unit := self.unit(node):
            return ("What is {}, " + unit + "?", unit.capitalize() + ", what is {}?", "What is {} " + unit + "?")
        return ("What is {}?",)

    def unit(self, node: Node) -> str:
        """ "in metres" for a number with a unit that no computation has said already."""
        return f"in {UNITS[node.unit]}" if node.unit in UNITS else ""

    def _asked_choice(self, node: Node, compared: Fact) -> str:
        names = node.arguments["names"]
        assert isinstance(names, list)
        said = [self.phrase(name) for name in names]
        clause = self.clause(node, compared)
        either = ", ".join(said[:-1]) + " or " + said[-1]
        if node.kind == "person":
            forms = ("Who {c}: {e}?", "Of {b}, who {c}?", "Who {c}, {e}?", "Who among {b} {c}?")
        else:
            word = kinds()[node.kind].word
            forms = (
                f"Which {word} {{c}}: {{e}}?",
                "Of {b}, which {c}?",
                f"Which {word} {{c}}, {{e}}?",
                "Which of {b} {c}?",
            )
        return self.rng.choice(forms).format(c=clause, e=either, b=_joined(said))

    def _asked_two(self, node: Node, operation: str, first: Node, second: Node) -> str:
        one, two = self.phrase(first), self.phrase(second)
        unit = UNITS.get(node.unit, "")
        forms: dict[str, tuple[str, ...]] = {
            "difference": (
                "By how much do {0} and {1} differ{u}?",
                "What is the difference between {0} and {1}{u}?",
                "How large is the gap between {0} and {1}{u}?",
                "How far apart are {0} and {1}{u}?",
            ),
            "total": (
                "What do {0} and {1} add up to{u}?",
                "How much do {0} and {1} make together{u}?",
                "What is the sum of {0} and {1}{u}?",
                "If you add {0} and {1}, what do you get{u}?",
            ),
            "days_between": (
                "How many days lie between {0} and {1}?",
                "How many days apart are {0} and {1}?",
                "What is the number of days between {0} and {1}?",
            ),
            "years_between": (
                "How many whole years lie between {0} and {1}?",
                "How many full years separate {0} and {1}?",
            ),
            "ratio": (
                "How many times does {1} go into {0}, to three decimals?",
                "If you divide {0} by {1}, what do you get, to three decimals?",
            ),
        }
        tail = f", in {unit}" if unit else ""
        return self.rng.choice(forms[operation]).format(one, two, u=tail)


_TOGETHER = {
    "total": ("the combined {} of {}", "the joint {} of {}"),
    "difference": ("the difference in {} between {}", "the gap in {} between {}"),
    "average": ("the average {} of {}, to two decimals", "the mean {} of {}, to two decimals"),
    "spread": ("the spread in {} among {}", "the widest gap in {} among {}"),
    "largest": ("the largest {} of {}", "the highest {} of {}"),
    "smallest": ("the smallest {} of {}", "the lowest {} of {}"),
}
_OF_TWO = {
    "largest": "larger", "smallest": "smaller", "earliest": "earlier", "latest": "later", "greatest": "greater",
    "highest": "higher", "lowest": "lower", "biggest": "bigger", "least": "smaller", "oldest": "older",
    "most recent": "more recent", "longest": "longer",
}  # fmt: skip
_OF_MANY = re.compile("|".join(_OF_TWO))
_ON_TEXT = frozenset({"letter_sum", "letter_count", "reverse_text", "shift_letters", "initials", "nth_letter"})
_BY_TWO = frozenset({"difference", "total", "days_between", "years_between", "ratio"})
_SUPERLATIVES = {
    "taller": "the tallest", "shorter": "the shortest", "longer": "the longest", "larger": "the largest",
    "smaller": "the smallest", "higher": "highest", "lower": "lowest", "deeper": "deepest", "later": "last",
    "earlier": "first", "more": "the most", "fewer": "the fewest", "less": "the least", "wider": "the widest",
    "narrower": "the narrowest", "faster": "the fastest", "slower": "the slowest", "shallower": "the shallowest",
    "sooner": "soonest",
}  # fmt: skip


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _small(text: str) -> str:
    return text[0].lower() + text[1:]


def _inverted(phrase: str) -> str:
    """An indirect question ("how many days lie between ...") as a direct one; those it cannot turn are asked for."""
    if re.match(r"(?:how many [a-z ]*?(?:lie|stand|are|exceed|spell|make)\b)", phrase):
        return phrase + "?"
    return f"Can you say {phrase}?"


# --- the whole question --------------------------------------------------------------------------------------------

_WRAPPED = (
    "I need to know: {}", "Please look this up: {}", "Here is what I want to know: {}", "For a quiz: {}",
    "Quick question: {}", "Can you help me with this? {}", "Please find out: {}", "Could you check this for me? {}",
    "I am curious: {}", "One question: {}", "For my notes: {}", "I have been wondering: {}", "We are not sure here: {}",
    "This came up today: {}", "Please answer this for me: {}", "It is for an article: {}",
)  # fmt: skip
_NAMED = (
    "Name {}.", "Tell me the name of {}.", "Please give me the name of {}.", "I am looking for {}.", "Find {}.",
    "I would like to know the name of {}.", "Could you find out the name of {}?", "Please identify {}.",
)  # fmt: skip
_GIVEN = (
    "Tell me {}.", "Find out {}.", "Please look up {}.", "I would like to know {}.", "Can you tell me {}?",
    "Could you find out {}?", "I need {}.", "Please find {}.",
)  # fmt: skip
_WORKED = ("Work out {}.", "Calculate {}.", "Please work out {}.", "I would like to know {}.", "Can you determine {}?")
_LISTED = (
    "Name {}.",
    "Give me {}.",
    "Please list {}.",
    "I am looking for {}, in this order.",
    "Find {}.",
)
_ORDERED = ("List {}.", "Give me {}.", "Please list {}.", "Can you list {}?", "Name {}.", "I would like to have {}.")
_TAKEN = ("Take {}.", "Consider {}.", "Start with {}.", "Think of {}.", "Let us begin with {}.", "This is about {}.")
_THEN = ("Then take {}.", "Next, consider {}.", "From there, go on to {}.", "Now think of {}.", "Also consider {}.")
_CALLED = ("There is {} called {}.", "I am reading about {} called {}.", "Somewhere there is {} called {}.")


def ask(tops: Sequence[Node], voice: Voice) -> str:
    """The whole question for these nodes, of about the length that the voice aims at."""
    best, miss, mood = "", 1e9, 0
    cuts = _cuts(tops)
    shared = _shared(tops)
    forced = {id(node) for node in shared if node.step or voice.rng.random() < 0.4}
    for attempt in range(8):
        wanted = min(2, attempt // 2) if _depth(tops) > 3 else 0
        text = _composed(tops, voice, _introduced(cuts, forced, wanted, voice.rng), mood)
        off = _length(text) - voice.words
        if abs(off) < miss:
            best, miss = text, abs(off)
        if miss <= 0.08 * voice.words:
            break
        mood = -1 if off > 0 else 1
    return best


def _depth(tops: Sequence[Node]) -> int:
    return sum(node.fact is not None for node in walk(tops))


def _shared(tops: Sequence[Node]) -> list[Node]:
    """Nodes that must be introduced, since two phrases speak of them."""
    spoken: dict[int, int] = {}
    seen: set[int] = set()
    order: list[Node] = []

    def visit(node: Node) -> None:
        spoken[id(node)] = spoken.get(id(node), 0) + 1
        if id(node) in seen:
            return
        seen.add(id(node))
        for part in _spoken_inputs(node):
            visit(part)
        order.append(node)

    for top in tops:
        visit(top)
    return [node for node in order if spoken[id(node)] > 1]


def _spoken_inputs(node: Node) -> Iterator[Node]:
    """The inputs that the phrase of a node says: of a choice by a fact, the names alone."""
    if node.compared is not None and isinstance(names := node.arguments["names"], list):
        yield from names
    else:
        yield from node.inputs()


def _cuts(tops: Sequence[Node]) -> list[Node]:
    """Entities at which a long phrase can be cut, in order; not the tops themselves."""
    return [
        node
        for node in walk(tops)
        if node.kind in kinds() and not any(node is top for top in tops) and node.compared is None
    ]


def _introduced(cuts: Sequence[Node], forced: set[int], wanted: int, rng: random.Random) -> list[Node]:
    """Which of the cuts to introduce: all forced ones, and others of types that would not be mixed up."""
    chosen = [node for node in cuts if id(node) in forced]
    others = [node for node in cuts if id(node) not in forced and node.fact is not None]
    rng.shuffle(others)
    for node in others:
        if len(chosen) >= wanted:
            break
        if all(node.kind != other.kind for other in chosen):
            chosen.append(node)
    ids = {id(node) for node in chosen}
    return [node for node in cuts if id(node) in ids]


def _composed(tops: Sequence[Node], voice: Voice, introduced: Sequence[Node], mood: int) -> str:
    rng = voice.rng
    spoken: dict[int, str] = {}
    speaker = _Speaker(
        voice, lambda node: spoken.get(id(node)), typed=0.0 if mood < 0 else rng.choice((0.0, 0.3, 0.8)), mood=mood
    )
    sentences: list[str] = []
    kinds_seen: dict[str, int] = {}
    for node in introduced:
        word = kinds()[node.kind].word
        if node.fact is None and node.computed is None:
            article = "an" if word[0] in "aeiou" else "a"
            sentences.append(rng.choice(_CALLED).format(f"{article} {word}", node.value))
        else:
            phrase = speaker.phrase(node, whole=True)
            sentences.append(rng.choice(_THEN if sentences else _TAKEN).format(phrase))
        kinds_seen[node.kind] = kinds_seen.get(node.kind, 0) + 1
        spoken[id(node)] = f"that {word}" if kinds_seen[node.kind] == 1 else f"that other {word}"
    sentences.append(_closing(tops, speaker, rng))
    return " ".join(sentences)


def _closing(tops: Sequence[Node], speaker: _Speaker, rng: random.Random) -> str:
    if len(tops) > 1:
        return _several(tops, speaker, rng)
    top = tops[0]
    if rng.random() < 0.6:
        question = speaker.question(top)
        if rng.random() > (0.05, 0.4, 0.7)[speaker.mood + 1]:
            return question
        wrapped = rng.choice(_WRAPPED)
        return wrapped.format(_small(question) if wrapped.endswith(": {}") else question)
    phrase = speaker.phrase(top, whole=True)
    if unit := speaker.unit(top):
        phrase += f", {unit}" if rng.random() < 0.5 or _length(phrase) > _MID_WORDS else f" {unit}"
    if top.kind in kinds():
        frames = _NAMED
    elif top.kind == "names":
        frames = ("Give me {}.", "I need {}.", "Please find {}.") if phrase.startswith("the alphabetical") else _ORDERED
    elif top.computed is not None and top.computed.function.domain in ("arithmetic", "units"):
        frames = _WORKED
    else:
        frames = _GIVEN
    if phrase.startswith(("how ", "what ", "which ", "by how ")):
        frames = ("Tell me {}.", "I would like to know {}.", "Can you tell me {}?", "Please find out {}.")
    return rng.choice(frames).format(phrase)


def _several(tops: Sequence[Node], speaker: _Speaker, rng: random.Random) -> str:
    if rng.random() < 0.6:
        questions = [speaker.question(top).rstrip("?") for top in tops]
        text = ", ".join([questions[0], *map(_small, questions[1:-1])]) + ", and " + _small(questions[-1]) + "?"
        if rng.random() < 0.7 or speaker.mood < 0:
            return text
        return rng.choice(("I need to know: {}", "Please find out: {}", "For my notes: {}")).format(_small(text))
    phrases = [speaker.phrase(top, whole=True) + (f" {unit}" if (unit := speaker.unit(top)) else "") for top in tops]
    return rng.choice(_LISTED).format(_joined(phrases))


# --- steps ---------------------------------------------------------------------------------------------------------


def sub_question(node: Node, ids: Mapping[int, str], voice: Voice) -> str:
    """The question of one step; the answers of others stand in it as {s1}."""
    speaker = _Speaker(
        voice, lambda other: f"{{{ids[id(other)]}}}" if id(other) in ids and other is not node else None, 0.3
    )
    if node.compared is not None:
        names, values = (part for part in node.arguments.values() if isinstance(part, list))
        what = node.compared.function.noun
        pairs = _joined(
            [f"{speaker.phrase(n)} ({what} {speaker.phrase(v)})" for n, v in zip(names, values, strict=True)]
        )
        assert node.computed is not None
        time = node.compared.function.output.kind in ("year", "date")
        largest = node.computed.function.computation in ("name_with_largest", "name_with_latest")
        most = ("latest" if largest else "earliest") if time else ("largest" if largest else "smallest")
        return f"Which of {pairs} has the {most} {what}?"
    return speaker.question(node)
