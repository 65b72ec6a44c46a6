"""Invented names: numbers written in syllables, so that two seeds or two splits can never share one.

A pattern ("person", "ship", ...) is a fixed frame with slots; each slot takes one of a list of parts, so a name is a
number in mixed radix, and every number below the pattern's `size` is exactly one name. The number of a name, before
an affine scramble that makes neighbours look unrelated, belongs to the class `number mod CLASSES`; a seed and split own
one class:

    class = (3 * seed + split) mod CLASSES,  CLASSES = 3 * 2**20

So names of different splits are disjoint always, names of different seeds whenever the seeds differ modulo 2**20.
`name_class` reads the class off a name. No name can be read as one of another pattern: their last syllables differ.

A token is two or three syllables: S (onset, vowel, coda), M (onset, vowel), and an ending, which for the last token
is one of the pattern's own. Every syllable has one vowel group and starts with a consonant, and no onset starts with
two consonants of which the first could be a coda, so a token is read back in one way only.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import NamedTuple

from toolfoundry.seeds import derive_seed

__all__ = ["CLASSES", "PATTERNS", "Pattern", "class_of", "name_class"]

CLASSES = 3 * 2**20
_SPLITS = ("train", "dev", "test")

_SINGLE = tuple("b d f g h j k l m n p r s t v w z y".split())
_ONSETS = (*_SINGLE, *"br dr fr gr kr pr tr vr bl gl".split())
_CODAS = ("", "l", "m", "n", "r", "s")
_S = tuple(onset + vowel + coda for onset in _ONSETS for vowel in ("a", "e", "i", "o", "u", "ei") for coda in _CODAS)
_START = tuple(syllable.capitalize() for syllable in _S)
_M = tuple(onset + vowel for onset in _SINGLE for vowel in "aeiou")
_FIRST = tuple(
    "vik dov bek zov jar tov zan rok taz mir kai voi lek dri keb zim rud gul hov yel mun zal pik wen".split()
)
# What simple endings end in: sounds in which few English words do, so that names are seldom words of a document.
_RIMES = """a i o u il ul ak ek ik ok uk an in on un am em im om az ez iz oz uz ath eth ith oth uth ir as os
av ev iv ov uv esh ish""".split()
# Endings of last tokens, each of one pattern only: chosen for some, dealt from all simple ones to the others.
_CHOSEN = {
    "person": "ni nak dov kar vist rell gan sky vey dez mak tov lak niak zen bar vall jan rick tull fen gart dro sson",
    "town": "burg dorf wick holt gard mere sted bruk hav kirk lund nesk pol ravik tuna vaara zell furt combe deen",
    "region": "land shire mark dalia tania gau reth vonia mora rieth lesk vane grav dell brim tarn wold",
    "country": "stan zia vania ngo desh rovia tria donia bique duras lunda rabia gonia kesh moor nistan vakia",
    "company": "corp tex dyne lux tron plex max gen zon nova tec vex lyn mont bourne stein wright quist berg dahl",
}
_DEALT = """river lake mountain island castle bridge tower museum theatre library university hospital ship railway
newspaper orchestra festival race club stadium asteroid observatory mine vineyard garden language harbour""".split()
_FRAMES = {
    "company": "{}{} & {}{}{}", "bridge": "{}{}-{}{}{}", "newspaper": "{}{}-{}{}{}", "railway": "{}{}-{}{}{}",
    "ship": "{}{} of {}{}{}", "club": "{}{}-{}{}{}",
}  # fmt: skip
_TITLES = {
    "book": "The {} {} of {}{}{}", "film": "The {} {} from {}{}{}", "painting": "{}{}{} with {} {}",
    "opera": "{}{}{} and the {} {}", "album": "{} {} for {}{}{}",
}  # fmt: skip
# Words that stand in titles only; none of them is used in a wording of the catalogue.
_ADJECTIVES = """amber ashen bitter borrowed brazen candid crimson crooked drowsy dusky fabled faithful feathered fickle
forgotten frosted gilded gentle hushed idle ivory jagged kindled lonesome luminous midnight mossy nimble pallid patient
plaited dappled ragged restless russet sable salted scarlet sunlit silent silken sleepless slender solemn spotted
stolen sullen tangled tender thirsty thorny threadbare twilight unspoken velvet veiled wandering wayward weathered
whispering wilted winding wistful woven""".title().split()
_THINGS = """
acorn anvil badger bellows bonfire bramble candle carousel cicada cinder clover cobweb compass cricket crow dagger
dandelion ember falcon feather fiddle firefly foxglove hammock harp hazel heron hourglass ivy juniper kestrel
lantern lark locket loom marigold moth nettle nightjar orchard otter owl parasol pebble pendulum plover quill raven
reed saffron scarecrow shadow sparrow spindle swallow tambourine thimble thistle thrush umbrella violin walnut wren
""".title().split()


class Pattern(NamedTuple):
    """How names of one kind are made: a frame with a {} for each slot, and the list of parts that each slot takes.

    size: how many names there are. It is prime: if it shared a divisor with CLASSES, one slot would take the same part
    in all names of a class.
    """

    frame: str
    slots: tuple[tuple[str, ...], ...]
    size: int
    factor: int
    offset: int

    @property
    def per_class(self) -> int:
        """How many names of this pattern a class has."""
        return self.size // CLASSES

    def name(self, number: int) -> str:
        """The name with that number, 0 <= number < size."""
        rest = (number * self.factor + self.offset) % self.size
        parts: list[str] = []
        for slot in self.slots:
            rest, digit = divmod(rest, len(slot))
            parts.append(slot[digit])
        return self.frame.format(*parts)

    def number(self, name: str) -> int | None:
        """The number of a name, or None if this pattern does not give it."""
        match = _reader(self.frame, self.slots).fullmatch(name)
        if match is None:
            return None
        scrambled = 0
        for slot, part in zip(reversed(self.slots), reversed(match.groups()), strict=True):
            scrambled = scrambled * len(slot) + slot.index(part)
        return (
            (scrambled - self.offset) * pow(self.factor, -1, self.size) % self.size if scrambled < self.size else None
        )

    def member(self, name_class: int, index: int) -> str:
        """A name of a class, 0 <= index < per_class."""
        return self.name(name_class + CLASSES * index)


def class_of(seed: int, split: str) -> int:
    """The class of names that a seed and split own."""
    return (seed * len(_SPLITS) + _SPLITS.index(split)) % CLASSES


def name_class(name: str) -> int | None:
    """The class that a name belongs to, or None if no pattern gives it."""
    for pattern in PATTERNS.values():
        if (number := pattern.number(name)) is not None:
            return number % CLASSES
    return None


def _pattern(kind: str, frame: str, slots: tuple[tuple[str, ...], ...]) -> Pattern:
    size = math.prod(map(len, slots))
    while not _is_prime(size):
        size -= 1
    return Pattern(frame, slots, size, 1 + derive_seed("factor", kind) % (size - 1), derive_seed("offset", kind) % size)


def _is_prime(number: int) -> bool:
    """Miller-Rabin; with these bases exact below 3.4e14."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17):
        power = pow(base, odd, number)
        if power != 1 and all(pow(power, 2**k, number) != number - 1 for k in range(twos)):
            return False
    return True


@cache
def _reader(frame: str, slots: tuple[tuple[str, ...], ...]) -> re.Pattern[str]:
    groups = ["(" + "|".join(slot) + ")" for slot in slots]
    return re.compile(re.escape(frame).replace(r"\{\}", "{}").format(*groups))


def _patterns() -> dict[str, Pattern]:
    chosen = {kind: tuple(endings.split()) for kind, endings in _CHOSEN.items()}
    taken = {ending for endings in chosen.values() for ending in endings}
    free = [ending for ending in (onset + rime for rime in _RIMES for onset in _SINGLE) if ending not in taken]
    kinds = [*_DEALT, *_TITLES]
    endings = chosen | {kind: tuple(free[place :: len(kinds)]) for place, kind in enumerate(kinds)}
    patterns: dict[str, Pattern] = {}
    for kind, last in endings.items():
        if kind in _TITLES:
            token = (_START, _S, last)
            words = (tuple(_ADJECTIVES), tuple(_THINGS))
            slots = (*token, *words) if _TITLES[kind].startswith("{}{}") else (*words, *token)
            patterns[kind] = _pattern(kind, _TITLES[kind], slots)
        else:
            frame = _FRAMES.get(kind, "{}{} {}{}{}")
            patterns[kind] = _pattern(kind, frame, (_START, _FIRST, _START, _M, last))
    return patterns


PATTERNS = _patterns()
