"""Values worth trying where comparisons lead nowhere: from other answers, the question, the schema and the source.

Part of the search program, so: standard library only.
"""

# A JSON value narrowed by isinstance is a dict or list of unknown: that is what it is.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from toolfoundry.prove.origins import Path, said, schema_at, told
from toolfoundry.prove.proposals import Arguments, numbers_in
from toolfoundry.prove.shapes import kind


def _phrases(question: str) -> list[str]:
    """The runs of one to six words of a question that neither begin nor end with a filler word; calculations first."""
    found = question.split()
    runs = (found[i : i + size] for size in (2, 3, 1, 4, 5, 6) for i in range(len(found) - size + 1))
    phrases = (" ".join(run).strip("\"'’“”.,;:!?()[]") for run in runs if told(run[0]) and told(run[-1]))
    return list(dict.fromkeys([*_calculations(question), *phrases]))


def _calculations(question: str) -> list[str]:
    found = re.findall(r"[\d(][\d\s.+\-*/^%()]*[+\-*/^%][\d\s.+\-*/^%()]*[\d)]", question)
    return [text for text in found if re.search(r"\d\s*[+*/^%-]+\s*\(*\d", text)]


class Pools:
    """Values to try in one tool.

    Args:
        schema: as the model sees it. parameters: name -> schema of all that the function takes.
        constants: of the source. texts: what other goals' results tell. own: the answers looked for, tried last, as
            texts only: a call that brings its answer along hardly ever proves it.
    """

    def __init__(
        self,
        schema: Any,
        parameters: Arguments,
        constants: Sequence[Any],
        question: str,
        texts: Sequence[str],
        own: Sequence[str],
    ) -> None:
        self.parameters, self.answers = {"properties": parameters}, list(dict.fromkeys(texts))
        self.phrases = _phrases(question)
        parts = [part for text in self.answers for part in text.split(", ") if ", " in text]
        quoted = re.findall(r"'([^']{1,60})'|\"([^\"]{1,60})\"", json.dumps(schema, ensure_ascii=False))
        written = [c for c in constants if isinstance(c, str) and len(c) < 80]
        named = [text for pair in quoted for text in pair if text]
        self.texts = list(dict.fromkeys([*self.answers, *parts, *written, *named, *own]))
        self.mentioned = [c for c in self.texts if any(said(c, text) for text in [*self.answers, question])]
        self.asked = list(dict.fromkeys(numbers_in(question)))
        self.numbers = list(dict.fromkeys([n for text in self.answers for n in numbers_in(text)] + self.asked))
        self.sizes = [numbers_in(text)[0] for text in self.answers if len(numbers_in(text)) == 1]
        self.constants = [c for c in constants if isinstance(c, int | float)] + [0, 1, 2, 3, 4, 5, 10]
        operands = list(dict.fromkeys([*self.sizes, *self.numbers]))[:7]
        self.expressions = _calculations(question)
        self.expressions += [" + ".join(map(str, self.sizes))] if len(self.sizes) > 2 else []
        self.expressions += [f"{a} {op} {b}" for a, b in itertools.permutations(operands, 2) for op in "+-*/"]

    def likely(self, path: Path) -> list[Any]:
        """The few values for one place that question or answers tell, best first."""
        spec = schema_at(self.parameters, path)
        match kind(spec) if not (isinstance(spec, dict) and spec.get("enum")) else "enum":
            case "enum":
                return sorted(spec["enum"], key=self._unmentioned)[:6]
            case "boolean":
                return [True, False]
            case "integer" | "number" as name:
                return [
                    int(n) if n == int(n) else n
                    for n in [*self.asked[:5], *self.sizes[:3]]
                    if name == "number" or n == int(n)
                ]
            case "array" | "object":
                return self.values(path)[:6]
            case _:
                return [*self.expressions[:1], *self.mentioned[:6]]

    def _unmentioned(self, value: Any) -> bool:
        return value not in self.mentioned

    def values(self, path: Path) -> list[Any]:
        """What to try at one place of the arguments, best first."""
        spec = schema_at(self.parameters, path)
        spec = spec if isinstance(spec, dict) else {}
        if spec.get("enum"):
            return list(spec["enum"])
        match kind(spec):
            case "boolean":
                return [True, False]
            case "integer":
                return [int(n) for n in [*self.numbers, *self.constants] if n == int(n)][:80]
            case "number":
                return [*self.numbers, *self.constants][:80]
            case "array":
                return list(self._lists(spec.get("items")))
            case "object":
                named = {"abcdefgh"[i]: n for i, n in enumerate(self.sizes[:8])}
                return [] if spec.get("properties") else [named, {}]
            case _:
                return [*self.texts, *map(str, self.numbers[:10]), *self.phrases]

    def _lists(self, items: Any) -> Iterator[list[Any]]:
        wanted = kind(items)
        if isinstance(items, dict) and items.get("enum"):
            yield from ([option] for option in items["enum"])
            yield list(items["enum"])
            return
        if wanted in ("number", "integer", None):
            for pool in (self.sizes, self.asked, self.numbers):
                yield from _choices(pool)
        if wanted in ("string", None):
            for pool in (self.answers, [str(n) for n in self.sizes], self.mentioned):
                yield from _choices(pool)
            yield from ([text] for text in self.texts[:60])
            yield from map(list, itertools.combinations(self.texts[:10], 2))
        if wanted == "array":
            yield from ([list(pair)] for pair in itertools.permutations(self.numbers[:5], 2))
            yield [list(self.sizes)]
        if wanted == "object":
            properties: Arguments = items.get("properties") or {}
            for numbers in itertools.chain(_choices(self.sizes), _choices(self.numbers)):
                for label in ("{}", "({})"):
                    yield [
                        {
                            name: n if kind(part) in ("number", "integer") else label.format("abcdefghijkl"[i % 12])
                            for name, part in properties.items()
                        }
                        for i, n in enumerate(numbers)
                    ]


def _choices(pool: Sequence[Any]) -> Iterator[list[Any]]:
    """All of a pool, then pairs and triples in every order, then one at a time."""
    if pool:
        yield list(pool)
    if len(pool) <= 9:
        for size in (2, 3):
            yield from map(list, itertools.islice(itertools.permutations(pool, size), 140))
    yield from ([item] for item in pool)
