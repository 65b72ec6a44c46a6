"""The curves of a training run: what each step's metrics were, as one PNG and as drawings for the page.

A faint point is a step, the line their mean over a window around it, an upright line the begin of a round.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

from toolfoundry.page import Drawing, require_extra
from toolfoundry.stats.plots import COLOURS, as_svg, new_axes

__all__ = ["Panel", "cpu_by_part", "curves", "draw_curves", "first_and_last", "save_curves"]

Row = Mapping[str, Any]


class Panel(NamedTuple):
    """One metric over the steps that have it. `share`: it lies between 0 and 1, and is drawn so."""

    title: str
    unit: str
    steps: list[int]
    values: list[float]
    share: bool


_REINFORCE = {
    "reward": ("Reward", "mean of a response", False),
    "solve_p": ("Solve-P", "goals solved per call", True),
    "solve_f1": ("Solve-F1", "mean of an episode", True),
    "answer": ("Final answers right", "share", True),
    "flat_groups": ("Flat groups", "share of groups without spread", True),
    "malformed": ("Malformed", "share of responses", False),
    "entropy": ("Entropy", "nats per token", False),
    "kl": ("KL from the start", "nats per token", False),
    "tokens": ("Response length", "tokens", False),
}
_IMITATE = {
    "loss": ("Loss", "nats per token", False),
    "token_accuracy": ("Tokens right", "share", True),
    "grad_norm": ("Gradient norm", "", False),
}
_PARTS = {  # `step`: the whole of it, from a backend that does not tell its parts apart
    "collect": "collect",
    "prompt": "generate",
    "generate": "generate",
    "reward": "reward",
    "train": "train",
    "step": "step",
}
_CPU = "CPU seconds per step"
_MAX_POINTS, _MAX_BARS = 400, 40


def curves(rows: Sequence[Row]) -> list[Panel]:
    """The metrics of a run that have values, in the order in which they are shown."""
    shown = _REINFORCE if any("reward" in row for row in rows) else _IMITATE
    panels: list[Panel] = []
    for name, (title, unit, share) in shown.items():
        known = [(int(row["step"]), float(row[name])) for row in rows if row.get(name) is not None]
        if known:
            steps, values = zip(*known, strict=True)
            panels.append(Panel(title, unit, list(steps), list(values), share))
    return panels


def first_and_last(rows: Sequence[Row], name: str) -> tuple[float, float] | None:
    """The mean of a metric over the first and over the last fifth of its steps; None with less than two."""
    values = [float(row[name]) for row in rows if row.get(name) is not None]
    if len(values) < 2:
        return None
    part = -(-len(values) // 5)
    return sum(values[:part]) / part, sum(values[-part:]) / part


def cpu_by_part(rows: Sequence[Row]) -> dict[str, float]:
    """CPU seconds of a run: collecting rollouts, generating responses (their prompts included), rewards, training."""
    spent = dict.fromkeys([*_PARTS.values(), "other"], 0.0)
    for row in rows:
        for name, seconds in _cpu(row).items():
            spent[_PARTS.get(name, "other")] += seconds
    return {name: seconds for name, seconds in spent.items() if seconds}


def _cpu(row: Row) -> dict[str, float]:
    return cast("dict[str, float]", row.get("cpu_s") or {})


def draw_curves(rows: Sequence[Row]) -> dict[str, Drawing]:
    """Title -> drawing for a page. Raises MissingExtra without the extra `plots`."""
    require_extra("plots", "matplotlib", "the plots")
    drawings: dict[str, Drawing] = {}
    for panel in curves(rows):
        figure, axes = new_axes()
        _draw(axes, panel, _round_starts(rows))
        drawings[panel.title] = as_svg(figure, panel.title)
    if cpu_by_part(rows):
        figure, axes = new_axes()
        _draw_cpu(axes, rows)
        drawings[_CPU] = as_svg(figure, _CPU)
    return drawings


def save_curves(rows: Sequence[Row], path: Path) -> bool:
    """Writes all curves into one PNG; False where there is nothing to draw. Raises MissingExtra."""
    require_extra("plots", "matplotlib", "the plots")
    panels = curves(rows)
    count = len(panels) + bool(cpu_by_part(rows))
    if not count:
        return False
    across = min(3, count)
    down = -(-count // across)
    matplotlib_figure: Any = importlib.import_module("matplotlib.figure")
    figure = matplotlib_figure.Figure(figsize=(4.4 * across, 2.9 * down), layout="constrained", dpi=130)
    places = list(figure.subplots(down, across, squeeze=False).flat)
    for axes, panel in zip(places, panels, strict=False):
        axes.set_title(panel.title, fontsize=10.5, loc="left")
        _draw(axes, panel, _round_starts(rows))
    if count > len(panels):
        axes = places[len(panels)]
        axes.set_title(_CPU, fontsize=10.5, loc="left")
        _draw_cpu(axes, rows)
    for axes in places[:count]:
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_alpha(0.4)
        axes.grid(alpha=0.15)
        axes.tick_params(labelsize=8.5, length=2.5)
    for axes in places[count:]:
        axes.set_visible(False)
    figure.savefig(path, format="png", metadata={"Software": None})
    return True


def _draw(axes: Any, panel: Panel, starts: Sequence[int]) -> None:
    every = -(-len(panel.steps) // _MAX_POINTS)
    axes.plot(
        panel.steps[::every],
        panel.values[::every],
        linestyle="",
        marker="o",
        markersize=4,
        markeredgewidth=0,
        color=COLOURS[0],
        alpha=0.45,
    )
    axes.plot(panel.steps, _smooth(panel.values), color=COLOURS[0], linewidth=1.8)
    if panel.share:
        axes.set_ylim(-0.02, 1.02)
    elif min(panel.values) >= 0:
        axes.set_ylim(bottom=0)
        if not any(panel.values):
            axes.set_ylim(0, 1)
    if starts:
        height = 1.0 if len(starts) <= 12 else 0.04
        axes.vlines(
            starts, 0, height, transform=axes.get_xaxis_transform(), color=COLOURS[1], linewidth=0.8, alpha=0.35
        )
    _label(axes, panel.unit)
    axes.grid(axis="both")


def _smooth(values: Sequence[float]) -> list[float]:
    """The mean over a window of a seventh of all steps around each; at the ends over what there is of it."""
    half = max(1, len(values) // 14)
    return [sum(part) / len(part) for i in range(len(values)) for part in [values[max(0, i - half) : i + half + 1]]]


def _round_starts(rows: Sequence[Row]) -> list[int]:
    """The first step of every round but the first."""
    return [int(b["step"]) for a, b in pairwise(rows) if a.get("round") != b.get("round")]


def _draw_cpu(axes: Any, rows: Sequence[Row]) -> None:
    """Bars of some steps each, their parts on top of each other."""
    size = -(-len(rows) // _MAX_BARS)
    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    edges = [0.5, *(int(group[-1]["step"]) + 0.5 for group in groups)]  # a line may stand for several steps
    counts = [max(1.0, b - a) for a, b in pairwise(edges)]
    spent = [cpu_by_part(group) for group in groups]
    bottoms = [0.0] * len(groups)
    for place, name in enumerate(cpu_by_part(rows)):
        heights = [one.get(name, 0.0) / count for one, count in zip(spent, counts, strict=True)]
        axes.bar(
            edges[:-1],
            heights,
            [0.92 * count for count in counts],
            bottoms,
            align="edge",
            color=COLOURS[place],
            label=name,
        )
        bottoms = [a + b for a, b in zip(bottoms, heights, strict=True)]
    axes.legend(
        fontsize=8.5,
        frameon=False,
        ncols=5,
        labelcolor="linecolor",
        handlelength=0.8,
        columnspacing=0.8,
        handletextpad=0.4,
    )
    axes.set_ylim(top=max(bottoms) * 1.15)
    _label(axes, "seconds")
    axes.grid(axis="y")


def _label(axes: Any, unit: str) -> None:
    axes.set_xlabel("step", fontsize=8.5)
    axes.set_ylabel(unit, fontsize=8.5)
    axes.xaxis.get_major_locator().set_params(integer=True)
