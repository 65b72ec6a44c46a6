"""Directed graphs without labels: one key for all graphs of the same shape, and a small drawing of it.

The key is a Weisfeiler-Lehman hash: each node's colour is refined by the colours of the nodes it needs and of those
that need it, as many times as there are nodes. Equal graphs have equal keys whatever their nodes are called; some
different ones have too (the method cannot tell all regular graphs apart), none of them with fewer than six nodes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

from toolfoundry.page import Drawing

__all__ = ["draw_shape", "layers", "shape_key"]


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


def layers(nodes: int, edges: Collection[tuple[int, int]]) -> list[list[int]]:
    """The nodes by depth: each one layer below the lowest of those it needs."""
    depth = [0] * nodes
    for _ in range(nodes):
        for start, end in edges:
            depth[end] = max(depth[end], depth[start] + 1)
    return [[node for node in range(nodes) if depth[node] == level] for level in range(max(depth, default=-1) + 1)]


def draw_shape(nodes: int, edges: Sequence[tuple[int, int]]) -> Drawing:
    """The graph as SVG: what is needed above what needs it, in the page's own colours."""
    rows = layers(nodes, edges)
    width = 20.0 * max([4, *map(len, rows)])  # small graphs are not drawn larger
    height = 20.0 * max(3, len(rows))
    place: dict[int, tuple[float, float]] = {}
    for level, row in enumerate(rows):
        # Each as far below what it needs as can be, so that few edges cross.
        above = {node: [place[start][0] for start, end in edges if end == node] or [0.0] for node in row}
        for index, node in enumerate(sorted(row, key=lambda node: (sum(above[node]) / len(above[node]), node))):
            x, y = width / 2 + 20 * (index - (len(row) - 1) / 2), height / 2 + 20 * (level - (len(rows) - 1) / 2)
            place[node] = (x, y)
    lines = "".join(
        f'<path d="M{x:g} {y:g}C{x:g} {y + 9:g} {u:g} {v - 9:g} {u:g} {v:g}"/>'
        for (x, y), (u, v) in ((place[start], place[end]) for start, end in edges)
    )
    dots = "".join(f'<circle cx="{x:g}" cy="{y:g}" r="3.6"/>' for x, y in place.values())
    return Drawing(
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img">'
        f'<g fill="none" stroke="currentColor" stroke-opacity=".45" stroke-width="1.2">{lines}</g>'
        f'<g fill="var(--accent)">{dots}</g></svg>'
    )
