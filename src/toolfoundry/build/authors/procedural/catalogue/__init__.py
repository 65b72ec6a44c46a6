"""What can be asked in the procedural world: types, and the facts about them with their wordings, as plain tables.

The table `facts.txt` has a heading for each type, `# type | domain | word for one`, and a line for each fact:

    KEY = OUTPUT | NOUNS | CLAUSES | QUESTIONS | COMPARE
    KEY(QUALIFIERS; PHRASE) = OUTPUT | NOUNS | CLAUSES | QUESTIONS

- OUTPUT: `@person` (an entity: the fact is a relation), `12.5..90.5 km` (a number with as many decimals as the low
  bound shows, and its unit), `year 1802..1949`, `date 1951..2015`, `of granite; slate` (a choice), `code AA-0000`.
- NOUNS, three at least: each gives "the NOUN of {}" and, unless it has an "of" itself, "{}'s NOUN".
- CLAUSES: whole noun phrases ("the town where {} was born"). {} is the entity.
- QUESTIONS: whole questions. `{in unit}` becomes "in kilometres".
- COMPARE: what the entity with the larger value does, and the one with the smaller ("is taller ~ is lower").
- QUALIFIERS, for events: `year` and at most one choice, `season spring;summer`; PHRASE says them ("in the {season} of
  {year}") and stands where a clause or question has {q}, and after the noun phrases.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from toolfoundry.build.authors.procedural.catalogue.table import table
from toolfoundry.build.authors.procedural.plan import Function, Input, Value
from toolfoundry.build.authors.procedural.profile import Split
from toolfoundry.seeds import derive_seed

__all__ = ["EVENT_YEARS", "UNITS", "Fact", "Kind", "Wordings", "facts", "held", "kinds"]

EVENT_YEARS = (1951, 2022)
UNITS = {
    "km": "kilometres", "m": "metres", "cm": "centimetres", "mm": "millimetres", "km2": "square kilometres",
    "ha": "hectares", "t": "tonnes", "m3/s": "cubic metres per second", "km/h": "kilometres per hour",
    "minutes": "minutes", "hours": "hours", "days": "days", "euros": "euros", "million euros": "millions of euros",
    "million km": "millions of kilometres",
}  # fmt: skip
_LINE = re.compile(r"(?P<key>\w+)(?:\((?P<qualifiers>[^;)]*(?:;[^;)]*)*?); (?P<phrase>[^;)]*)\))? = (?P<rest>.*)")
_RANGE = re.compile(r"(?P<low>[\d.]+?)\.\.(?P<high>[\d.]+)(?: (?P<unit>.+))?")


class Kind(NamedTuple):
    """A type of entity. `word` is what one is called."""

    name: str
    domain: str
    word: str


class Wordings(NamedTuple):
    """How a fact is said. {} stands for the entity and, in events, {q} for the qualifiers.

    nouns ("the founder of {}") and clauses ("whoever founded {}") end with the entity, so that a long phrase can take
    its place; in mids ("the town where {} was born") and owned ("{}'s founder") it has to be short.
    """

    nouns: tuple[str, ...]
    clauses: tuple[str, ...]
    mids: tuple[str, ...]
    owned: tuple[str, ...]
    questions: tuple[str, ...]


class Fact(NamedTuple):
    """A function with its wordings: for each split those it has where wordings are held out, and under "" all.

    phrase: how an event's qualifiers are said. more, less: what the entity with the larger or smaller value does; "".
    """

    function: Function
    wordings: dict[str, Wordings]
    phrase: str
    more: str
    less: str


@cache
def kinds() -> dict[str, Kind]:
    """All types of entities, in a fixed order."""
    return {name: Kind(name, domain, word) for name, domain, word, _ in _sections()}


@cache
def facts() -> dict[str, Fact]:
    """All facts by the id of their function, in a fixed order."""
    found: dict[str, Fact] = {}
    for name, domain, word, lines in _sections():
        for line in lines:
            fact = _fact(name, domain, word, line)
            found[fact.function.id] = fact
    return found


def _sections() -> list[tuple[str, str, str, list[str]]]:
    sections: list[tuple[str, str, str, list[str]]] = []
    for line in table("facts.txt"):
        if line.startswith("# "):
            name, domain, word = line[2:].split(" | ")
            sections.append((name, domain, word, []))
        else:
            sections[-1][-1].append(line)
    return sections


def _fact(kind: str, domain: str, word: str, line: str) -> Fact:
    match = _LINE.fullmatch(line)
    assert match is not None, line
    output, nouns, clauses, questions, *compare = [part.strip() for part in match["rest"].split(" |")]
    more, less = compare[0].split(" ~ ") if compare else ("", "")
    value = _value(output)
    names = nouns.split(" / ")
    inputs = [Input(kind, f"Name of the {word}", Value("entity", entity=kind))]
    for qualifier in (match["qualifiers"] or "").split(", "):
        name, _, choices = qualifier.partition(" ")
        if name == "year":
            low, high = EVENT_YEARS
            inputs.append(Input("year", "Year that is asked about", Value("year", low=low, high=high)))
        elif name:
            what = f"{name.capitalize()} that is asked about"
            inputs.append(Input(name, what, Value("choice", choices=tuple(choices.split(";")))))
    group = "event" if len(inputs) > 1 else "relation" if value.kind == "entity" else "attribute"
    article = "an" if word[0] in "aeiou" else "a"
    function = Function(
        f"{kind}.{match['key']}", group, domain, names[0], f"the {names[0]} of {article} {word}", tuple(inputs), value
    )
    units = f"in {UNITS[value.unit]}" if value.unit else ""
    asked = tuple(text.strip().replace("{in unit}", units) for text in questions.split(" / "))
    said = tuple(text for text in clauses.split(" / ") if text)
    shares = {
        "": (names, said, asked),
        "train": (names[2:], said, asked),
        "dev": (names[:1], (), ()),
        "test": (names[1:2], (), ()),
    }
    wordings = {split: _wordings(*share, match["phrase"] or "") for split, share in shares.items()}
    return Fact(function, wordings, match["phrase"] or "", more, less)


def _wordings(nouns: list[str], clauses: tuple[str, ...], questions: tuple[str, ...], phrase: str) -> Wordings:
    """All phrases of these nouns and clauses, by where the entity stands in them. phrase: of an event, else ""."""
    event = bool(phrase)
    said = [f"the {noun} {{q}} of {{}}" if event else f"the {noun} of {{}}" for noun in nouns]
    after = event and not phrase.startswith(
        "of "
    )  # "the harvest of wheat in 1990 of A", not "the harvest of A of wheat"
    mids = [f"the {noun} of {{}} {{q}}" for noun in nouns] if after else []
    mids += [clause for clause in clauses if not clause.endswith("{}")]
    ends = [clause for clause in clauses if clause.endswith("{}")]
    tail = " {q}" if event else ""
    owned = [f"{{}}'s {noun}{tail}" for noun in nouns if " of " not in noun]
    return Wordings(tuple(said), tuple(ends), tuple(mids), tuple(owned), questions)


def _value(text: str) -> Value:
    form, _, rest = text.partition(" ")
    if text.startswith("@"):
        return Value("entity", entity=text[1:])
    if form in ("year", "date"):
        low, high = rest.split("..")
        return Value("year" if form == "year" else "date", low=int(low), high=int(high))
    if form == "of":
        return Value("choice", choices=tuple(rest.split("; ")))
    if form == "code":
        return Value("text", choices=(rest,))
    match = _RANGE.fullmatch(text)
    assert match is not None, text
    decimals = len(match["low"].partition(".")[2])
    low, high = float(match["low"]), float(match["high"])
    return Value("number" if decimals else "integer", unit=match["unit"] or "", low=low, high=high, decimals=decimals)


_DEALT: tuple[Split, ...] = ("train", "dev", "train", "test")
_DEAL = "deal 197"  # one with which dev and test, too, have chains of twelve relations and more


@cache
def held(split: Split) -> frozenset[str]:
    """The ids of the facts that a split has where relations are held out: half for train, a quarter for each other.

    They are dealt by hash, within each kind of output, so that in every split all kinds of questions can be asked.
    """
    by_output: dict[str, list[str]] = {}
    for fact in facts().values():
        output = fact.function.output
        by_output.setdefault(output.entity or output.unit or output.kind, []).append(fact.function.id)
    mine: set[str] = set()
    for kind, ids in by_output.items():
        first = derive_seed(_DEAL, kind)
        for place, name in enumerate(sorted(ids, key=lambda name: derive_seed(_DEAL, name)), first):
            if _DEALT[place % len(_DEALT)] == split:
                mine.add(name)
    return frozenset(mine)
