"""Pages: HTML without scripts, network, fonts or images of others, light and dark.

Every text on a page is untrusted. It reaches the page through the template's autoescape only, and every string goes
through `visible` on its way (`finalize`), so that neither markup nor invisible characters get through, whatever a
template forgets. Drawings of our own (SVG, made of numbers) come in as `Drawing`. The Content-Security-Policy allows
the page's own styles and nothing else.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from toolfoundry.errors import MissingExtra
from toolfoundry.untrusted import visible

__all__ = ["Bar", "Drawing", "histogram", "render_page", "require_extra"]

_MAX_CHARS, _MAX_BARS = 600, 24


class Drawing(str):
    """Markup or a script of our own making, which is not escaped: what others wrote may stand in it only escaped."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


class Bar(NamedTuple):
    """One bar of a histogram: its label, its count and its height in percent of the highest."""

    label: str
    units: int
    height: float


def require_extra(extra: str, package: str, what: str) -> None:
    """Raises MissingExtra where a page could not be made: better known before the work than after it."""
    if importlib.util.find_spec(package) is None:
        raise MissingExtra(extra, what)


def render_page(package: str, template: str, **values: Any) -> str:
    """The page that a template of a package makes of the values. Raises MissingExtra without the extra `report`."""
    require_extra("report", "jinja2", "an HTML page")
    import jinja2

    def load(name: str) -> str:
        folder = "toolfoundry" if name == "page.html.jinja" else package
        return importlib.resources.files(folder).joinpath(name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(histogram=histogram, **values)


def _finalize(value: Any) -> Any:
    """What every expression of a template passes through."""
    if hasattr(value, "__html__"):
        return value
    return visible(value, _MAX_CHARS) if isinstance(value, str) else value


def histogram(counts: Mapping[int, int]) -> list[Bar]:
    """Bars over every value from the lowest to the highest, or over bins of equal width where those are too many."""
    if not counts:
        return []
    low, high = min(counts), max(counts)
    width = -(-(high - low + 1) // _MAX_BARS)
    bins = Counter[int]()
    for value, count in counts.items():
        bins[(value - low) // width] += count
    most = max(bins.values())
    return [
        Bar(str(start) if width == 1 else f"{start}–{start + width - 1}", bins[index], 100 * bins[index] / most)
        for index, start in enumerate(range(low, high + 1, width))
    ]
