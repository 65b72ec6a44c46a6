"""Does a part of the trained model carry the gain? It is put into the base model, and the base's part into the trained.

    part = parse_part("mlp:lowest-third")
    grafts = measure_grafts(base, trained, [part], play)

Two models are in memory. To graft a part is to swap it between them: then the base has the trained part and the
trained model the base's, both are measured, and the part is swapped back. All play the same environments greedily.
Intervals are 95%, paired over the environments; what could not be scored in one of two is left out of the pair, and
counted.
"""
# pyright: basic

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

from toolfoundry.analyze.checkpoints import ATTENTION, MLP, MODULES, Module, place_of
from toolfoundry.errors import InputError
from toolfoundry.intervals import Difference, mean_difference
from toolfoundry.reward import score_trajectory
from toolfoundry.seeds import generator
from toolfoundry.types import Record, Trajectory

__all__ = [
    "METRICS",
    "Graft",
    "Grafts",
    "Mean",
    "Part",
    "Travelled",
    "measure_grafts",
    "paired",
    "parse_part",
    "swapped",
    "travelled",
]

METRICS = ("solve_f1", "answer")
_GROUPS: dict[str, tuple[Module, ...]] = {
    "mlp": MLP,
    "attention": ATTENTION,
    "norms": ("norms",),
    "embeddings": ("embeddings", "head"),
    "all": MODULES,
}
_THIRDS = ("lowest-third", "middle-third", "highest-third")
_RESAMPLES = 2000


class Part(NamedTuple):
    """A choice of tensors. `layers`: "all" (those outside the layers too), a third, or the first and the last layer."""

    text: str
    modules: frozenset[Module]
    layers: str | tuple[int, int]

    def has(self, name: str, layers: int) -> bool:
        """Whether a tensor of a model of so many layers is in it."""
        layer, module = place_of(name)
        if module not in self.modules or self.layers == "all":
            return module in self.modules
        if layer is None:
            return False
        if isinstance(self.layers, str):
            return 3 * layer // layers == _THIRDS.index(self.layers)
        return self.layers[0] <= layer <= self.layers[1]


class Mean(Record):
    """The mean of a metric over n scored environments; None over none."""

    mean: float | None
    n: int


class Travelled(Record):
    """Which share of the gain went along.

    `share`: of the whole gain; below 0 or above 1 where a graft is worse than the base or better than the trained
    model. The interval: 2.5% and 97.5% of 2,000 resamples of the environments. All None where the gain itself is not
    told from 0 by its interval: a share of nothing means nothing.
    """

    difference: Difference
    share: float | None
    low: float | None
    high: float | None


class Graft(Record):
    """One part, both ways.

    `parameters`: share of the model's elements in it. `in_base`: scores of the base model with the trained part, and
    `brings`: what that gains over the base. `in_trained`: of the trained model with the base's part, and `costs`: what
    is lost with the trained part. By metric.
    """

    part: str
    tensors: int
    parameters: float
    in_base: dict[str, Mean]
    brings: dict[str, Travelled]
    in_trained: dict[str, Mean]
    costs: dict[str, Travelled]


class Grafts(Record):
    """All parts. `unscored`: by player, what could not be scored."""

    environments: int
    base: dict[str, Mean]
    trained: dict[str, Mean]
    gain: dict[str, Difference]
    grafts: tuple[Graft, ...]
    unscored: dict[str, int]


def parse_part(text: str) -> Part:
    """A part from MODULES[:LAYERS]: mlp,attention,norms,embeddings or all : lowest-third, 0-2, 5 or all.

    Raises InputError for anything else.
    """
    modules, colon, layers = text.partition(":")
    names = modules.split(",")
    if unknown := [name for name in names if name not in _GROUPS]:
        expected = f"{', '.join(list(_GROUPS)[:-1])} or {list(_GROUPS)[-1]}"
        raise InputError(f"part {text!r}: found module {unknown[0]!r}, expected {expected}")
    chosen: frozenset[Module] = frozenset(module for name in names for module in _GROUPS[name])
    if not colon or layers in ("all", *_THIRDS):
        return Part(text, chosen, layers or "all")
    first, dash, last = layers.partition("-")
    if not (first.isdecimal() and (last.isdecimal() if dash else not last)):
        raise InputError(f"part {text!r}: found layers {layers!r}, expected all, {', '.join(_THIRDS)}, 0-2 or 5")
    return Part(text, chosen, (int(first), int(last or first)))


# --- swapping ------------------------------------------------------------------------------------------------------


def _chosen(base: Any, trained: Any, part: Part) -> list[tuple[Any, Any]]:
    """The tensors of the part in both models; one that is shared under two names (tied) comes once.

    Raises InputError where the models have other tensors, or the part is empty in them.
    """
    ours, theirs = (dict(model.named_parameters()) for model in (base, trained))
    if ours.keys() != theirs.keys():
        differing = sorted(ours.keys() ^ theirs.keys())
        raise InputError(f"the models differ in {len(differing)} tensors, the first is {differing[0]}")
    if unlike := [name for name, one in ours.items() if one.shape != theirs[name].shape]:
        shapes = f"{list(ours[unlike[0]].shape)} and {list(theirs[unlike[0]].shape)}"
        raise InputError(f"the models have {len(unlike)} tensors of other shapes, the first is {unlike[0]}: {shapes}")
    layers = 1 + max((layer for name in ours if (layer := place_of(name).layer) is not None), default=-1)
    pairs = [(one, theirs[name]) for name, one in ours.items() if part.has(name, layers)]
    if not pairs:
        raise InputError(f"part {part.text!r}: found no such tensors in a model of {layers} layers")
    return pairs


@contextlib.contextmanager
def swapped(base: Any, trained: Any, part: Part) -> Generator[None]:
    """The two models with the part exchanged; as they were afterwards. Raises InputError as `_chosen`."""
    pairs = _chosen(base, trained, part)
    _exchange(pairs)
    try:
        yield
    finally:
        _exchange(pairs)


def _exchange(pairs: Sequence[tuple[Any, Any]]) -> None:
    for one, other in pairs:
        kept = one.data.clone()
        one.data.copy_(other.data)
        other.data.copy_(kept)


# --- measuring -----------------------------------------------------------------------------------------------------


def measure_grafts(
    base: Any,
    trained: Any,
    parts: Sequence[Part],
    play: Callable[[Any, str], list[Trajectory]],
    *,
    seed: int = 0,
    on_played: Callable[[str, list[Trajectory]], None] = lambda _, __: None,
) -> Grafts:
    """The four scores of each part, and what went along.

    Args:
        base, trained: two models of the same architecture and dtype.
        play: greedy trajectories of a model, one of each environment, in the order of the environments, under a name.
        seed: of the resamples.
        on_played: called with the name of what has played.
    Raises:
        InputError: the models do not fit together, or a part is empty; nothing was played then.
    """
    whole = sum(one.numel() for one in base.parameters())
    sizes = [_chosen(base, trained, part) for part in parts]
    unscored: dict[str, int] = {}

    def scores(model: Any, name: str) -> dict[str, list[float | None]]:
        trajectories = play(model, name)
        on_played(name, trajectories)
        found = _scores(trajectories)
        unscored[name] = sum(value is None for value in found["solve_f1"])
        return found

    before, after = scores(base, "base"), scores(trained, "trained")
    grafts: list[Graft] = []
    for part, pairs in zip(parts, sizes, strict=True):
        with swapped(base, trained, part):
            grafted = scores(base, f"base with trained {part.text}")
            deprived = scores(trained, f"trained with base {part.text}")
        grafts.append(
            Graft(
                part=part.text,
                tensors=len(pairs),
                parameters=sum(one.numel() for one, _ in pairs) / whole,
                in_base=_means(grafted),
                brings={m: travelled(before[m], grafted[m], before[m], after[m], seed) for m in METRICS},
                in_trained=_means(deprived),
                costs={m: travelled(deprived[m], after[m], before[m], after[m], seed) for m in METRICS},
            )
        )
    return Grafts(
        environments=len(before["solve_f1"]),
        base=_means(before),
        trained=_means(after),
        gain={m: paired(before[m], after[m]) for m in METRICS},
        grafts=tuple(grafts),
        unscored={name: count for name, count in unscored.items() if count},
    )


def _scores(trajectories: Sequence[Trajectory]) -> dict[str, list[float | None]]:
    """By metric: None where it was not scored, and for the answer also where the environment has none."""
    found = [score_trajectory(trajectory) for trajectory in trajectories]
    rights = [None if one is None else one.answer_right for one in found]
    return {
        "solve_f1": [None if one is None else one.strict.f1 for one in found],
        "answer": [None if right is None else float(right) for right in rights],
    }


def _means(scores: Mapping[str, Sequence[float | None]]) -> dict[str, Mean]:
    known = {metric: [value for value in values if value is not None] for metric, values in scores.items()}
    return {m: Mean(mean=statistics.fmean(values) if values else None, n=len(values)) for m, values in known.items()}


def paired(before: Sequence[float | None], after: Sequence[float | None]) -> Difference:
    """After minus before over those that both have."""
    return mean_difference([b - a for a, b in zip(before, after, strict=True) if a is not None and b is not None])


def travelled(
    low: Sequence[float | None],
    high: Sequence[float | None],
    base: Sequence[float | None],
    trained: Sequence[float | None],
    seed: int = 0,
) -> Travelled:
    """The difference from `low` to `high` and its share of the gain from `base` to `trained`, by environment."""
    difference, gain = paired(low, high), paired(base, trained)
    told = gain.low is not None and gain.high is not None and (gain.low > 0 or gain.high < 0)
    rows = [
        (b - a, d - c)
        for a, b, c, d in zip(low, high, base, trained, strict=True)
        if a is not None and b is not None and c is not None and d is not None
    ]
    whole = sum(gap for _, gap in rows)
    if not told or not whole:
        return Travelled(difference=difference, share=None, low=None, high=None)
    random = generator("graft", seed)
    shares: list[float] = []
    for _ in range(_RESAMPLES):
        drawn = random.choices(rows, k=len(rows))
        total = sum(gap for _, gap in drawn)
        shares.append(sum(part for part, _ in drawn) / total if total else math.copysign(math.inf, whole))
    shares.sort()
    at = round(0.025 * _RESAMPLES)
    return Travelled(difference=difference, share=sum(p for p, _ in rows) / whole, low=shares[at - 1], high=shares[-at])
