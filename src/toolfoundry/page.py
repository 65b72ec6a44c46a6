"""Pages: HTML without network, fonts or images of others, light and dark; with a script only where one is given.

Every text on a page is untrusted. It reaches the page through the template's autoescape only, and every string goes
through `visible` on its way (`finalize`), so that neither markup nor invisible characters get through, whatever a
template forgets. Drawings of our own (SVG, made of numbers) come in as `Drawing`. The Content-Security-Policy allows
the page's own styles and, by its hash, the one script of ours that it is given, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import importlib.util
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from toolfoundry.errors import MissingExtra
from toolfoundry.untrusted import visible

__all__ = ["Bar", "Drawing", "histogram", "passage", "render_page", "require_extra"]

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


def render_page(package: str, template: str, *, script: str = "", **values: Any) -> str:
    """The page that a template of a package makes of the values. Raises MissingExtra without the extra `report`.

    script: of our own making, and the same whatever the values are. Other templates that this one names (`extends`,
    `import`) are looked for from the folder of `toolfoundry` on.
    """
    require_extra("report", "jinja2", "an HTML page")
    import jinja2

    def load(name: str) -> str:
        folder = package if name == template else "toolfoundry"
        return importlib.resources.files(folder).joinpath(name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    ours = {"histogram": histogram, "script": Drawing(script), "script_hash": f"sha256-{digest}"}
    return environment.get_template(template).render(**ours, **values)


def _finalize(value: Any) -> Any:
    """What every expression of a template passes through."""
    if hasattr(value, "__html__"):
        return value
    return visible(value, _MAX_CHARS) if isinstance(value, str) else value


def passage(text: str, max_chars: int) -> Drawing:
    """Text of others with its line breaks, for an element that keeps them (`white-space: pre-wrap`); escaped here."""
    lines: list[str] = []
    left = max_chars
    for line in text.replace("\r\n", "\n").split("\n"):
        if left <= 0:
            lines.append("…")
            break
        lines.append(visible(line.replace("\t", "    "), left))
        left -= len(lines[-1]) + 1
    return Drawing(html.escape("\n".join(lines)))


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
