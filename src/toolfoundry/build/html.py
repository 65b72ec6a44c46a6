"""The report of a build as one page: no script, nothing that is loaded, every text escaped."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
from pydantic import JsonValue

from toolfoundry import page
from toolfoundry.build.report import BuildReport, funnel
from toolfoundry.build.terminal import interval, mean, percent
from toolfoundry.stats.compare import MEANS, sections
from toolfoundry.stats.shapes import draw_shape

__all__ = ["render_build_html", "require_extra"]


def require_extra() -> None:
    """Raises MissingExtra where the page could not be made: better known before a build than after it."""
    page.require_extra("report", "jinja2", "the HTML report")


def render_build_html(report: BuildReport) -> str:
    """The whole page as text: no script, nothing loaded. Raises MissingExtra without the extra `report`."""
    statistics = report.statistics
    shown = sections([statistics])
    by_scenario = [section for section in shown if section.title in MEANS.values()]
    return page.render_page(
        "toolfoundry.build",
        "report.html.jinja",
        report=report,
        statistics=statistics,
        config=dict(_options(report.config)),
        proposed=report.yields.get("proposed", 0),
        funnel=list(funnel(report)),
        by_scenario=by_scenario,
        others=[section for section in shown[1:] if section not in by_scenario],
        percent=percent,
        interval=interval,
        mean=mean,
        solved=any(one.solve_f1 is not None for one in report.panel),
        seconds=sum(time.seconds for time in report.times) or 1.0,
        shapes=[(draw_shape(shape.nodes, shape.edges), shape.count) for shape in statistics.common_shapes],
        charts={title: getattr(statistics.overall, name) for name, title in MEANS.items()},
    )


def _options(config: dict[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, str]]:
    """What was given, the fields of a profile one by one; what is None was not given."""
    for name, value in config.items():
        if isinstance(value, dict) and not prefix:
            yield from _options(value, f"{name}.")
        elif value is not None:
            yield prefix + name, value if isinstance(value, str) else orjson.dumps(value).decode()
