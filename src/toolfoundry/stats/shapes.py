"""Directed graphs without labels: one key for all graphs of the same shape.

The key is a Weisfeiler-Lehman hash: each node's colour is refined by the colours of the nodes it needs and of those
that need it, as many times as there are nodes. Equal graphs have equal keys whatever their nodes are called; some
different ones have too (the method cannot tell all regular graphs apart), none of them with fewer than six nodes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

__all__ = ["shape_key"]


def shape_key(nodes: int, edges: Collection[tuple[int, int]]) -> str:
    """The key of a graph with nodes 0 to nodes - 1.

    >>> shape_key(3, [(0, 1), (0, 2)]) == shape_key(3, [(2, 0), (2, 1)])
    True
    >>> shape_key(3, [(0, 1), (0, 2)]) == shape_key(3, [(0, 2), (1, 2)])
    False
    """
    before: list[list[int]] = [[] for _ in range(nodes)]
    after: list[list[int]] = [[] for _ in range(nodes)]
    for start, end in edges:
        before[end].append(start)
        after[start].append(end)
    colours = [0] * nodes
    for _ in range(nodes):
        signatures = [
            (colours[node], sorted(colours[i] for i in before[node]), sorted(colours[i] for i in after[node]))
            for node in range(nodes)
        ]
        colours = [_digest(repr(signature)) for signature in signatures]
    return f"{nodes}-{_digest(repr(sorted(colours))):016x}"


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
