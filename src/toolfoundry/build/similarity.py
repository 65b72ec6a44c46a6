"""How alike two tool documents are: shared words of name, description and parameters, rare words counting more.

Used to find documents that may overlap (integration) and distractors that are hard to tell from the right tool
(scaling). It proposes; whether two functions are the same is not decided here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

from toolfoundry.types import ToolSchema

__all__ = ["nearness", "word_weights"]

_WORD = re.compile(r"[A-Z]?[a-z]+|[0-9]+")
_STOP = frozenset(
    "a an and any are as at be by can for from get given gives has in into is it its may name not of on one only or "
    "returns that the their them this to tool used which with".split()
)


def word_weights(documents: Sequence[ToolSchema]) -> dict[str, float]:
    """The weight of each word: the fewer of the documents have it, the more it says."""
    counts = Counter(word for document in documents for word in _words(document))
    return {word: math.log(1 + len(documents) / count) for word, count in counts.items()}


def nearness(one: ToolSchema, other: ToolSchema, weights: Mapping[str, float]) -> float:
    """Weighted Jaccard similarity of the words of two documents, 0 to 1."""
    a, b = _words(one), _words(other)
    # Exact sums, rounded: `sum` adds in another way since Python 3.12, logarithms differ in their last bit between
    # machines, and what is chosen must not.
    union = math.fsum(weights.get(word, 1.0) for word in a | b)
    return round(math.fsum(weights.get(word, 1.0) for word in a & b) / union, 9) if union else 0.0


def _words(document: ToolSchema) -> frozenset[str]:
    properties = document.parameters.get("properties")
    names = " ".join(properties) if isinstance(properties, dict) else ""
    return _split(f"{document.name} {document.description} {names}".replace("_", " "))


@lru_cache(maxsize=4096)
def _split(text: str) -> frozenset[str]:
    words = (word.lower().rstrip("s") for word in _WORD.findall(text))
    return frozenset(word for word in words if len(word) > 1) - _STOP
