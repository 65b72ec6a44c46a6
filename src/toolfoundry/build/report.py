"""The report of a build: what was proposed, what became of it and why, what the result looks like, how good it is.

The record is filled by the build; here it is defined, printed and rendered as a page. Times differ from run to run, so
a report is no part of the artifact, and lies beside it. Details and questions in it are untrusted text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import orjson
from pydantic import JsonValue
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolfoundry.metrics import Metric
from toolfoundry.page import render_page
from toolfoundry.stats.compare import MEANS, sections
from toolfoundry.stats.records import SetStatistics
from toolfoundry.stats.shapes import draw_shape
from toolfoundry.types import Record
from toolfoundry.untrusted import visible

__all__ = [
    "BuildReport",
    "PanelScore",
    "Rate",
    "RejectExample",
    "Rejects",
    "StageTime",
    "print_build_report",
    "render_build_html",
]

_Z = 1.959963984540054  # 95%
_MEANINGS = {
    "proposed": "briefs taken up",
    "valid": "passed all five stages",
    "executable": "the gold calls give the sub-answers",
    "proved": "every gate passed",
    "accepted": "no near-duplicate, in no named benchmark: written",
}


class RejectExample(Record):
    """One rejected item; `detail` and `question` are untrusted text, `question` is "" where there was none yet."""

    index: int
    detail: str
    question: str = ""


class Rejects(Record):
    """All rejects of one reason at one stage: how many, and the first few."""

    stage: str
    reason: str
    count: int
    examples: tuple[RejectExample, ...] = ()


class StageTime(Record):
    """Work of one stage ("decompose", ..., "gate", "panel", "write"): seconds summed over all processes, and items."""

    stage: str
    seconds: float
    items: int


class Rate(Record):
    """`hits` of `n` tries, with the 95% Wilson interval. `name` is short, `meaning` one sentence."""

    name: str
    meaning: str
    hits: int
    n: int

    @property
    def share(self) -> float | None:
        """None where nothing was tried."""
        return self.hits / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's interval (1927), which is right for shares near 0; None where nothing was tried."""
        if not self.n:
            return None
        p, z2 = self.hits / self.n, _Z * _Z
        centre = (p + z2 / (2 * self.n)) / (1 + z2 / self.n)
        half = _Z / (1 + z2 / self.n) * math.sqrt(p * (1 - p) / self.n + z2 / (4 * self.n * self.n))
        return (max(0.0, centre - half), min(1.0, centre + half))


class PanelScore(Record):
    """A scripted policy over the accepted environments: its mean score and, where kept, mean strict Solve-F1."""

    policy: str
    score: Metric
    solve_f1: Metric | None = None


class BuildReport(Record):
    """One build, over all its runs where it was resumed.

    config: author, profile, seed, split and options as given. yields: how many items were proposed, valid, executable,
    proved and accepted (`_MEANINGS` says what each means), in that order. wall_s and
    processes: of this run; None where not known. false_accepts: wrong, placeholder and missing arguments that gave the
    golden; false_rejects: right calls in another order or spelling that were refused; both measured with probes
    that no gate uses, and split by name where that matters (answers with fewer than 20 possible values apart).
    notes: anything else that a reader has to know, one sentence each.
    """

    version: str
    config: dict[str, JsonValue]
    yields: dict[str, int]
    rejects: tuple[Rejects, ...] = ()
    times: tuple[StageTime, ...] = ()
    wall_s: float | None = None
    processes: int | None = None
    statistics: SetStatistics
    panel: tuple[PanelScore, ...] = ()
    false_accepts: tuple[Rate, ...] = ()
    false_rejects: tuple[Rate, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def accepted(self) -> int:
        return self.yields.get("accepted", 0)

    @property
    def per_second(self) -> float | None:
        """Accepted environments per second of wall time; None where that is not known."""
        return self.accepted / self.wall_s if self.wall_s else None


class _Yield(NamedTuple):
    """A line of the funnel. `kept` is the share of the line before, `share` that of what was proposed."""

    name: str
    meaning: str
    items: int
    kept: float | None
    share: float | None


def _funnel(report: BuildReport) -> Iterator[_Yield]:
    proposed = before = None
    for name, count in report.yields.items():
        proposed = count if proposed is None else proposed
        kept = count / before if before else None
        yield _Yield(name, _MEANINGS.get(name, ""), count, kept, count / proposed if proposed else None)
        before = count


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}%"


def _interval(rate: Rate) -> str:
    return "" if rate.interval is None else f"{_percent(rate.interval[0], 2)} to {_percent(rate.interval[1], 2)}"


def _config(report: BuildReport) -> dict[str, str]:
    plain = {name: value for name, value in report.config.items() if value is not None}
    return {name: value if isinstance(value, str) else orjson.dumps(value).decode() for name, value in plain.items()}


# --- in a terminal -------------------------------------------------------------------------------------------------


def print_build_report(report: BuildReport, console: Console) -> None:
    """Prints yields, rejects with an example each, times, rates, panel and means. Texts are never read as markup."""
    console.print(_yields(report))
    if report.rejects:
        console.print(_rejects(report))
    if report.times:
        console.print(_times(report))
    if report.false_accepts or report.false_rejects:
        console.print(_rates(report))
    if report.panel:
        console.print(_panel(report))
    console.print(_means(report))
    for note in report.notes:
        console.print(Text(visible(note, 400)), soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table


def _yields(report: BuildReport) -> Table:
    table = _table("Yields", "", "items", "of the line above", "of all", "")
    table.columns[-1].justify = "left"
    for line in _funnel(report):
        name, meaning = Text(visible(line.name, 40)), Text(line.meaning, style="dim")
        table.add_row(name, f"{line.items:,}", _percent(line.kept), _percent(line.share), meaning)
    if report.per_second is not None:
        per = f"{report.per_second:.1f} environments/s"
        table.caption = per if report.processes is None else f"{per} with {report.processes} processes"
    return table


def _rejects(report: BuildReport) -> Table:
    table = _table("Rejects", "stage", "reason", "items", "an example")
    table.columns[1].justify = table.columns[3].justify = "left"
    for rejects in report.rejects:
        example = f"#{rejects.examples[0].index}: {rejects.examples[0].detail}" if rejects.examples else ""
        stage, reason = Text(visible(rejects.stage, 20)), Text(visible(rejects.reason, 40))
        table.add_row(stage, reason, f"{rejects.count:,}", Text(visible(example, 160)))
    return table


def _times(report: BuildReport) -> Table:
    table = _table("Time by stage", "stage", "seconds, all processes", "items", "ms per item", "share")
    total = sum(time.seconds for time in report.times) or 1.0
    for time in report.times:
        each = f"{1000 * time.seconds / time.items:.2f}" if time.items else "–"
        share = _percent(time.seconds / total)
        table.add_row(Text(visible(time.stage, 20)), f"{time.seconds:.1f}", f"{time.items:,}", each, share)
    return table


def _rates(report: BuildReport) -> Table:
    table = _table("Wrong calls accepted, right calls refused", "", "found", "of", "rate", "95% interval")
    for rate in (*report.false_accepts, *report.false_rejects):
        name = Text(visible(rate.name, 80))
        table.add_row(name, f"{rate.hits:,}", f"{rate.n:,}", _percent(rate.share, 2), _interval(rate))
    return table


def _panel(report: BuildReport) -> Table:
    table = _table("Scripted policies", "policy", "n", "mean score", "mean strict Solve-F1")
    for one in report.panel:
        table.add_row(Text(visible(one.policy, 40)), f"{one.score.n:,}", *(_mean(m) for m in (one.score, one.solve_f1)))
    return table


def _mean(metric: Metric | None) -> str:
    return "–" if metric is None or metric.mean is None else f"{metric.mean:.3f}"


def _means(report: BuildReport) -> Table:
    table = _table("The set: means by scenario, and what is different", "")
    kinds = [part.scenario for part in report.statistics.scenarios]
    for kind in kinds:
        table.add_column(Text(visible(kind.replace("_", " "), 40)), justify="right")
    shown = sections([report.statistics])
    for section in shown:
        if section.title in MEANS.values():
            table.add_row(section.title, *(row.cells[0].partition(" ")[0] for row in section.rows))
    for row in shown[-1].rows:
        if row.sized:  # the totals
            table.add_row(f"Different {row.label}", row.cells[0])
    return table


# --- as a page -----------------------------------------------------------------------------------------------------


def render_build_html(report: BuildReport) -> str:
    """The whole page as text: no script, nothing loaded. Raises MissingExtra without the extra `report`."""
    statistics = report.statistics
    shown = sections([statistics])
    by_scenario = [section for section in shown if section.title in MEANS.values()]
    return render_page(
        "toolfoundry.build",
        "report.html.jinja",
        report=report,
        statistics=statistics,
        config=_config(report),
        proposed=report.yields.get("proposed", 0),
        funnel=list(_funnel(report)),
        by_scenario=by_scenario,
        others=[section for section in shown[1:] if section not in by_scenario],
        percent=_percent,
        interval=_interval,
        mean=_mean,
        seconds=sum(time.seconds for time in report.times) or 1.0,
        shapes=[(draw_shape(shape.nodes, shape.edges), shape.count) for shape in statistics.common_shapes],
        charts={title: getattr(statistics.overall, name) for name, title in MEANS.items()},
    )
