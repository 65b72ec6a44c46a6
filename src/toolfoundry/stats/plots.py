"""The comparison as plots: SVG without text of others, in the ink of the page that it stands on.

Colours mean sets, in the order of `COLOURS`; the page has the legend, so that no name of a set gets into a drawing.
"""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Sequence
from typing import Any

from toolfoundry.page import Drawing, require_extra
from toolfoundry.stats.records import CHECKPOINTS, Distinct, SetStatistics

__all__ = ["COLOURS", "as_svg", "draw", "new_axes"]

COLOURS = ("#3b6fb6", "#d9822b", "#4a9c6d", "#a0529b", "#8c8c3b", "#c04a4a")
_INK = "#010203"  # stands for the page's own ink: replaced by currentColor
_MAX_BINS = 16
_HISTOGRAMS = {
    "tools": ("Tools per question", "% of questions"),
    "distractors": ("Distractors per question", "% of questions"),
    "goals": ("Sub-answers per question", "% of questions"),
    "words": ("Words per question", "% of questions"),
    "parameters": ("Parameters per tool", "% of tools"),
    "required": ("Required parameters per tool", "% of tools"),
    "lines": ("Source lines per tool", "% of tools"),
}


def draw(sets: Sequence[SetStatistics]) -> dict[str, Drawing]:
    """Title -> drawing. Raises MissingExtra without the extra `plots`."""
    require_extra("plots", "matplotlib", "the plots")
    drawings: dict[str, Drawing] = {}
    for name, (title, unit) in _HISTOGRAMS.items():
        drawings[title] = _histogram(title, unit, [getattr(one.overall, name) for one in sets])
    parameters = [sum(one.types.values()) for one in sets]
    drawings["JSON types of parameters"] = _shares("types", [one.types for one in sets], parameters)
    drawings["Schema keywords"] = _shares("keywords", [one.keywords for one in sets], parameters)
    sizes = [one.overall.environments for one in sets]
    drawings["Different tool names"] = _growth("names", [one.names for one in sets], sizes)
    drawings["Different runs of three words"] = _growth("trigrams", [one.trigrams for one in sets], sizes)
    known = [0 if one.shapes_unknown else size for one, size in zip(sets, sizes, strict=True)]
    drawings["Different shapes of questions"] = _growth("shapes", [one.shapes for one in sets], known)
    return drawings


def _histogram(title: str, unit: str, counts: Sequence[dict[int, int]]) -> Drawing:
    """Bars side by side, as shares of each set, over the same bins."""
    figure, axes = new_axes()
    low = min((min(one) for one in counts if one), default=0)
    high = max((max(one) for one in counts if one), default=0)
    width = -(-(high - low + 1) // _MAX_BINS)
    bins = range(low, high + 1, width)
    thick = 0.86 / max(1, len(counts))
    for place, one in enumerate(counts):
        total = sum(one.values()) or 1
        shares = [100 * sum(one.get(value, 0) for value in range(start, start + width)) / total for start in bins]
        at = [index - 0.43 + thick * (place + 0.5) for index in range(len(bins))]
        axes.bar(at, shares, thick, color=COLOURS[place % len(COLOURS)])
    every = -(-len(bins) // 8)
    ticks = list(range(0, len(bins), every))
    axes.set_xticks(ticks, [str(bins[i]) if width == 1 else f"{bins[i]}–{bins[i] + width - 1}" for i in ticks])
    axes.set_ylabel(unit)
    axes.grid(axis="y")
    return as_svg(figure, title)


def _shares(title: str, counts: Sequence[dict[str, int]], totals: Sequence[int]) -> Drawing:
    """Horizontal bars: in how many of 100 parameters."""
    figure, axes = new_axes()
    names = sorted({name for one in counts for name in one}, key=lambda n: (-sum(one.get(n, 0) for one in counts), n))
    names = names[:8]
    thick = 0.8 / max(1, len(counts))
    for place, (one, total) in enumerate(zip(counts, totals, strict=True)):
        at = [index - 0.4 + thick * (place + 0.5) for index in range(len(names))]
        shares = [100 * one.get(name, 0) / (total or 1) for name in names]
        axes.barh(at, shares, thick, color=COLOURS[place % len(COLOURS)])
    axes.set_yticks(range(len(names)), [re.sub(r"[^\w -]", "?", name)[:20] for name in names])
    axes.invert_yaxis()
    axes.set_xlabel("per 100 parameters")
    axes.grid(axis="x")
    return as_svg(figure, title)


def _growth(title: str, counts: Sequence[Distinct], sizes: Sequence[int]) -> Drawing:
    """How many different ones after so many environments; the last point is the whole set. A set of size 0 has none."""
    figure, axes = new_axes()
    for place, (one, size) in enumerate(zip(counts, sizes, strict=True)):
        points = {**one.after, size: one.total} if size else {}
        xs = sorted(points)
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(xs, [points[x] for x in xs], color=colour, marker="o", markersize=3.5, linewidth=1.6)
    if any(sizes):
        axes.set_xscale("log")
        ticks = [point for point in CHECKPOINTS if point <= max(sizes)][-7:] or [max(sizes)]
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("environments")
    axes.grid(axis="both")
    return as_svg(figure, title)


def _matplotlib(module: str = "matplotlib") -> Any:
    """Imported here, since only plots need it; untyped, since its types do not say what it takes."""
    return importlib.import_module(module)


def new_axes() -> tuple[Any, Any]:
    """An empty figure for a page, and its axes."""
    figure: Any = _matplotlib("matplotlib.figure").Figure(figsize=(4.6, 2.7), layout="constrained")
    axes = figure.add_subplot()
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
    axes.set_axisbelow(True)
    return figure, axes


def as_svg(figure: Any, title: str) -> Drawing:
    """The figure as SVG for a page: without header, ids and names of namespaces, the same for the same numbers."""
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": title,
        "text.parse_math": False,
        "font.family": "sans-serif",
    }
    axes = figure.axes[0]
    axes.tick_params(colors=_INK, labelsize=10.5, length=2.5)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=_INK, fontsize=10.5)
    for spine in axes.spines.values():
        spine.set(color=_INK, alpha=0.4)
    for line in (*axes.get_xgridlines(), *axes.get_ygridlines()):
        line.set(color=_INK, alpha=0.12, linewidth=0.7)
    text = io.StringIO()
    with _matplotlib().rc_context(style):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' xmlns(?::\w+)?="[^"]*"|(?<=<g) id="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", svg)
    svg = re.sub(r'(<svg)[^>]*?(viewBox="[^"]*")[^>]*>', r'\1 \2 role="img">', svg, count=1)
    return Drawing(svg.replace(_INK, "currentColor"))
