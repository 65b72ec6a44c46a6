"""The comparison as one page with plots (extras `report` and `plots`)."""

from __future__ import annotations

from collections.abc import Sequence

from toolfoundry import __version__
from toolfoundry.page import render_page, require_extra
from toolfoundry.stats.compare import sections
from toolfoundry.stats.plots import COLOURS, draw
from toolfoundry.stats.records import SetStatistics
from toolfoundry.stats.shapes import draw_shape

__all__ = ["render_statistics", "require_extras"]


def require_extras() -> None:
    """Raises MissingExtra where the page could not be made: better known before the work than after it."""
    require_extra("report", "jinja2", "the page")
    require_extra("plots", "matplotlib", "its plots")


def render_statistics(sets: Sequence[SetStatistics]) -> str:
    """The whole page as text, the same for the same numbers. Raises MissingExtra."""
    require_extras()
    shapes = [
        (one, [(draw_shape(shape.nodes, shape.edges), shape.count) for shape in one.common_shapes]) for one in sets
    ]
    return render_page(
        "toolfoundry.stats",
        "stats.html.jinja",
        sets=sets,
        sections=sections(sets),
        drawings=draw(sets),
        colours=COLOURS,
        shapes=shapes,
        version=__version__,
    )
