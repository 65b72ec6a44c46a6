"""Names as words: of tools, parameters and fields, and which of them mean the same thing."""

from __future__ import annotations

import re

__all__ = ["DANGLING", "akin", "field_words", "noun_of", "words_of"]

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# What a name begins with is left out of what it is about, or becomes a noun behind it.
_SAYS_NOTHING = (
    "describe fetch find get list locate look lookup obtain query read resolve retrieve search show tell up view"
)
_VERBS: dict[str, str] = dict.fromkeys(_SAYS_NOTHING.split(), "") | {
    "calculate": "calculation",
    "check": "check",
    "compute": "calculation",
    "convert": "conversion",
    "count": "count",
    "estimate": "estimate",
    "measure": "measurement",
    "plan": "plan",
    "quote": "quote",
    "rate": "rating",
    "track": "tracking",
}
# Words that say what kind of value something is, and not of what.
_KINDS = frozenset(
    "amount at by cents chf code codes count date day days dkk eur euro euros for from g gbp hours id ids in kg key km "
    "level list m minutes name names no nr number of on pct percent points ref sek string text the to total unit units "
    "usd value".split()
)
DANGLING = frozenset("at by for from in of on since to until with".split())
"""Words that leave a sentence open where a name ends in them."""

_UNITS = {
    "cents": "in cents",
    "chf": "in CHF",
    "eur": "in EUR",
    "g": "in grams",
    "gbp": "in GBP",
    "kg": "in kg",
    "km": "in km",
    "pct": "in percent",
    "percent": "in percent",
    "sek": "in SEK",
    "usd": "in USD",
}


def words_of(name: str) -> list[str]:
    """The words of an identifier, in lower case: `customerId` and `customer_id` have the same."""
    return [word.lower() for word in _WORD.findall(name)]


def field_words(name: str) -> str:
    """An identifier as a person says it, a unit at its end written out.

    >>> field_words("weight_g"), field_words("memberSince")
    ('weight in grams', 'member since')
    """
    words = words_of(name)
    if len(words) > 1 and words[-1] in _UNITS:
        return f"{' '.join(words[:-1])} {_UNITS[words[-1]]}"
    return " ".join(words) or name


def noun_of(tool: str) -> str:
    """What a tool is about: its name without the verb in front, or with it as a noun.

    >>> noun_of("get_order"), noun_of("lookUpCustomer"), noun_of("convert_price"), noun_of("convert")
    ('order', 'customer', 'price conversion', 'convert')
    >>> noun_of("list_flights_from"), noun_of("distance_km")
    ('flights', 'distance in km')
    """
    words = words_of(tool)
    rest = list(words)
    said = ""
    while rest and rest[0] in _VERBS:
        said = _VERBS[rest.pop(0)]
    while len(rest) > 1 and rest[-1] in DANGLING:
        rest.pop()
    return f"{field_words('_'.join(rest))} {said}".strip() if rest else " ".join(words) or tool


def akin(field: str, of: str, parameter: str, to: str) -> bool:
    """Whether a field in a result of tool `of` and a parameter of tool `to` seem to mean the same thing.

    >>> akin("customer_id", "get_order", "customer_id", "get_customer"), akin("id", "get_order", "order", "track")
    (True, True)
    >>> akin("customer_id", "get_order", "product_id", "get_product")
    False
    """
    return bool(_meaning(field, of) & _meaning(parameter, to))


def _meaning(name: str, tool: str) -> set[str]:
    telling = {word.rstrip("s") for word in words_of(name) if word not in _KINDS}
    return telling or {word.rstrip("s") for word in words_of(noun_of(tool)) if word not in _KINDS}
