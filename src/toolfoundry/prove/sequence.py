"""From proofs of single goals to an order in which one can know the arguments: the edges of the task.

Goals are placed one after another, each with the call that asks least of a model: arguments that the question, the
schema or the results of goals placed before tell. The goal that comes next is the one that would profit least from
waiting for the results of others, in the order of the task where that is equal. The goals whose results a call uses are
its needs, so the graph is acyclic by construction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from toolfoundry.prove.origins import Path, cost, scalar_texts, sources

__all__ = ["Placed", "Proven", "in_order", "tells"]


class Proven(NamedTuple):
    """A call that proves a goal, with its result. `echo`: the answer stands in its arguments, rightly."""

    arguments: dict[str, Any]
    content: str
    echo: bool


class Placed(NamedTuple):
    """A goal in the order of play: its call, where each argument comes from, and the goals that come before it."""

    goal: str
    call: Proven
    sources: dict[Path, str]

    @property
    def needs(self) -> tuple[str, ...]:
        found = (part[5:] for source in self.sources.values() for part in source.split() if part.startswith("goal:"))
        return tuple(dict.fromkeys(found))


def tells(answer: str, content: str) -> list[str]:
    """The texts that a result tells a model: the answer, then every value in it."""
    try:
        values = list(scalar_texts(json.loads(content)))
    except ValueError:
        values = [content]
    return [answer, *values]


def in_order(
    proofs: Mapping[str, Sequence[Proven]],
    answers: Mapping[str, str],
    schemas: Mapping[str, Any],
    question: str,
    is_free: Callable[[str, Proven, Path], bool],
) -> list[Placed]:
    """The goals in an order of play.

    Args:
        proofs: goal id -> the calls that prove it, likeliest first.
        answers, schemas: goal id -> its answer as text, the JSON Schema of its tool.
        is_free: whether any value would do in that place of a goal's call.
    """
    placed, known = list[Placed](), list[tuple[str, list[str]]]()
    everything = [(goal, tells(answers[goal], calls[0].content)) for goal, calls in proofs.items()]
    waiting = list(proofs)

    def options(goal: str, texts: Sequence[tuple[str, Sequence[str]]]) -> list[tuple[tuple[int, ...], Placed]]:
        found = list[tuple[tuple[int, ...], Placed]]()
        used = [entry.call.arguments for entry in placed if schemas[entry.goal] is schemas[goal]]
        for rank, call in enumerate(proofs[goal]):
            told = sources(call.arguments, schemas[goal], question, texts)
            for path, source in told.items():
                if source not in ("enum", "default", "free") and is_free(goal, call, path):
                    told[path] = "free"
            found.append(((call.arguments in used, *cost(told.values()), rank), Placed(goal, call, told)))
        return found

    while waiting:
        now = {goal: min(options(goal, known), key=_first) for goal in waiting}
        later = {g: min(options(g, [k for k in everything if k[0] != g]), key=_first)[0] for g in waiting}
        goal = min(waiting, key=lambda g: [a - b for a, b in zip(now[g][0][:3], later[g][:3], strict=True)])
        entry = now[goal][1]
        placed.append(entry)
        known.append((goal, tells(answers[goal], entry.call.content)))
        waiting.remove(goal)
    return placed


def _first(option: tuple[tuple[int, ...], Placed]) -> tuple[int, ...]:
    return option[0]
