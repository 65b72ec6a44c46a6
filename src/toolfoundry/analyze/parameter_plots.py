"""The parameter changes as a picture for a page of its own: layer by module, with what each has of the whole.

Nothing that others wrote is drawn: only layer numbers and our names of modules.
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

from toolfoundry.analyze.checkpoints import MODULES, Module
from toolfoundry.analyze.parameters import Change, ParameterChanges
from toolfoundry.page import require_extra

__all__ = ["TITLES", "save_heat_map"]

TITLES: dict[Module, str] = {
    "q": "attention q",
    "k": "attention k",
    "v": "attention v",
    "qkv": "attention qkv",
    "o": "attention o",
    "gate": "MLP gate",
    "up": "MLP up",
    "gate_up": "MLP gate+up",
    "down": "MLP down",
    "norms": "norms",
    "embeddings": "embeddings",
    "head": "head",
    "other": "other",
}
_Inside = dict[tuple[int, Module], Change]

_INK, _FAINT, _BAR = "#2b2f36", "#d5d9e0", "#7d8794"
_COLOURS = ("#f6f7fb", "#c9d8ee", "#7fa6d6", "#3b6fb6", "#1f3f78", "#0d1b3a")
_MAX_WRITTEN = 12
"""Layers up to which a number fits into a cell."""


def save_heat_map(changes: ParameterChanges, folder: Path) -> list[Path]:
    """Writes parameters.svg and parameters.png. Raises MissingExtra without the extra `plots`."""
    require_extra("plots", "matplotlib", "the heat map")
    inside: _Inside = {(cell.layer, cell.module): cell.change for cell in changes.cells if cell.layer is not None}
    outside: dict[Module, Change] = {cell.module: cell.change for cell in changes.cells if cell.layer is None}
    rows: list[Module] = [module for module in MODULES if any(found == module for _, found in inside)]
    style = {"font.family": "sans-serif", "font.size": 9, "text.color": _INK, "svg.fonttype": "none"}
    with _matplotlib().rc_context({**style, "text.parse_math": False, "svg.hashsalt": "toolfoundry"}):
        figure = _draw(changes, rows, inside, outside)
        paths = [folder / "parameters.svg", folder / "parameters.png"]
        for path, about in zip(paths, ({"Date": None}, {"Software": None}), strict=True):
            figure.savefig(path, dpi=150, facecolor="white", metadata=about)
    return paths


def _draw(
    changes: ParameterChanges,
    rows: list[Module],
    inside: _Inside,
    outside: dict[Module, Change],
) -> Any:
    layers = max(1, changes.layers)
    written = layers <= _MAX_WRITTEN
    cell_w, cell_h = (0.62 if written else max(0.2, 0.34 - 0.002 * layers)), 0.36
    sizes = {
        "map": max(3.2, cell_w * layers),
        "share": 1.25,
        "top": 0.75,
        "rows": cell_h * max(1, len(rows)),
        "low": 0.36,
    }
    figure: Any = _matplotlib("matplotlib.figure").Figure(
        figsize=(sizes["map"] + sizes["share"] + 2.1, sizes["rows"] + sizes["top"] + sizes["low"] + 2.15),
        layout="constrained",
    )
    grid = figure.add_gridspec(
        4,
        2,
        width_ratios=[sizes["map"], sizes["share"]],
        height_ratios=[sizes["top"], sizes["rows"], sizes["low"], 0.13],
        hspace=0.04,
        wspace=0.03,
    )
    colours = _matplotlib("matplotlib.colors").LinearSegmentedColormap.from_list("changes", _COLOURS)
    colours = colours.with_extremes(bad="white")
    highest = max((c.relative for c in [*inside.values(), *outside.values()] if c.relative), default=0.0)
    highest = highest or 1e-12
    table = [[_percent(inside.get((layer, module))) for layer in range(layers)] for module in rows]

    main = figure.add_subplot(grid[1, 0])
    drawn = _cells(main, table or [[math.nan]], colours, 100 * highest, written)
    main.set_yticks(range(len(rows)), [TITLES[module] for module in rows])
    every = 1 if layers <= 40 else 5
    main.set_xticks(range(0, layers, every), [str(layer) for layer in range(0, layers, every)])
    main.set_xlabel("layer", fontsize=8.5, color=_INK)

    top = figure.add_subplot(grid[0, 0], sharex=main)
    of_layer = [sum(c.share or 0 for (at, _), c in inside.items() if at == layer) for layer in range(layers)]
    top.bar(range(layers), [100 * share for share in of_layer], 0.72, color=_BAR)
    top.tick_params(labelbottom=False)
    top.grid(axis="y", color=_FAINT, linewidth=0.6)
    top.set_axisbelow(True)
    top.set_title("grey bars: share of the squared change, %", loc="left", fontsize=8.5, color=_INK)
    side = figure.add_subplot(grid[1, 1], sharey=main)
    shares = [sum(100 * (c.share or 0) for (_, m), c in inside.items() if m == module) for module in rows]
    elsewhere = sum(100 * (change.share or 0) for change in outside.values())
    room = 1.5 * max([*shares, elsewhere, 1e-9])
    _shares(side, shares, room)

    if outside:
        low = figure.add_subplot(grid[2, 0])
        names = list(outside)
        _cells(low, [[_percent(outside[module]) for module in names]], colours, 100 * highest, True)
        low.set_yticks([0], ["outside layers"])
        low.set_xticks(range(len(names)), ["final norm" if n == "norms" else TITLES[n] for n in names])
        rest = figure.add_subplot(grid[2, 1], sharey=low)
        _shares(rest, [elsewhere], room)
    scale = figure.add_subplot(grid[3, 0])
    figure.colorbar(drawn, cax=scale, orientation="horizontal").outline.set_visible(False)
    scale.set_xlabel("colour: relative change ‖d‖/‖w‖, %", fontsize=8.5, color=_INK)
    figure.suptitle("Where the parameters changed", x=0.01, ha="left", fontsize=12, fontweight="bold")
    for axes in figure.axes:
        axes.tick_params(colors=_INK, labelsize=8.5, length=2.5 if axes is scale else 0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def _cells(axes: Any, table: list[list[float]], colours: Any, highest: float, written: bool) -> Any:
    """Coloured cells with white lines between them; numbers in them where they fit."""
    drawn = axes.pcolormesh(
        [x - 0.5 for x in range(len(table[0]) + 1)], [y - 0.5 for y in range(len(table) + 1)], table,
        cmap=colours, vmin=0, vmax=highest, edgecolors="white", linewidth=1.2,
    )  # fmt: skip
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.tick_params(length=0)
    for y, row in enumerate(table):
        for x, value in enumerate(row):
            if written and not math.isnan(value):
                ink = "white" if value > 0.5 * highest else _INK
                axes.text(x, y, _short(value), ha="center", va="center", fontsize=8, color=ink)
            elif math.isnan(value):
                axes.text(x, y, "·", ha="center", va="center", fontsize=8, color=_FAINT)
    return drawn


def _shares(axes: Any, shares: list[float], room: float) -> None:
    """Bars to the right of rows, with their numbers."""
    axes.barh(range(len(shares)), shares, 0.62, color=_BAR)
    axes.set_xlim(0, room)
    axes.set_xticks([])
    axes.tick_params(labelleft=False, length=0)
    for y, share in enumerate(shares):
        axes.text(share, y, f" {share:.1f}%", va="center", fontsize=8, color=_INK)


def _percent(change: Change | None) -> float:
    """The relative change in percent; NaN where there is none."""
    return math.nan if change is None or change.relative is None else 100 * change.relative


def _short(value: float) -> str:
    """Two digits or so: 0, 0.012, 1.3, 24."""
    if value == 0:
        return "0"
    return (
        f"{value:.0f}"
        if value >= 10
        else f"{value:.1f}"
        if value >= 1
        else f"{value:.2g}"
        if value >= 1e-3
        else "<.001"
    )


def _matplotlib(module: str = "matplotlib") -> Any:
    """Untyped, since its types do not say what it takes."""
    return importlib.import_module(module)
