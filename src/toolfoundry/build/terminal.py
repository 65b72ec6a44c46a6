"""The report of a build in a terminal. Whatever is not ours is made visible and never read as markup."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolfoundry.build.report import BuildReport, Rate, funnel
from toolfoundry.metrics import Metric
from toolfoundry.stats.compare import MEANS, sections
from toolfoundry.untrusted import visible

__all__ = ["interval", "mean", "percent", "print_build_report"]

_SHORT = {
    "all": "all",
    "single_hop": "single",
    "parallel_single_hop": "single ∥",
    "multi_hop": "multi",
    "parallel_multi_hop": "multi ∥",
}


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
    console.print(_diversity(report))
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
    for line in funnel(report):
        name, meaning = Text(visible(line.name, 40)), Text(line.meaning, style="dim")
        table.add_row(name, f"{line.items:,}", percent(line.kept), percent(line.share), meaning)
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
        share = percent(time.seconds / total)
        table.add_row(Text(visible(time.stage, 20)), f"{time.seconds:.1f}", f"{time.items:,}", each, share)
    return table


def _rates(report: BuildReport) -> Table:
    table = _table("Wrong calls accepted, right calls refused", "", "found", "of", "rate", "95% interval")
    for rate in (*report.false_accepts, *report.false_rejects):
        if rate.part:  # in the page and the JSON
            continue
        name = Text(visible(rate.name, 80))
        table.add_row(name, f"{rate.hits:,}", f"{rate.n:,}", percent(rate.share, 2), interval(rate))
    return table


def _panel(report: BuildReport) -> Table:
    solved = any(one.solve_f1 is not None for one in report.panel)
    table = _table("Scripted policies", "policy", "n", "mean score", *(["mean strict Solve-F1"] if solved else []))
    for one in report.panel:
        means = [mean(one.score), *([mean(one.solve_f1)] if solved else [])]
        table.add_row(Text(visible(one.policy, 40)), f"{one.score.n:,}", *means)
    return table


def _means(report: BuildReport) -> Table:
    kinds = [part.scenario for part in report.statistics.scenarios]
    table = _table("The set: means by scenario", "", *(_SHORT.get(kind, "unknown") for kind in kinds))
    for section in sections([report.statistics]):
        if section.title in MEANS.values():
            table.add_row(section.title, *(row.cells[0].partition(" ")[0] for row in section.rows))
    return table


def _diversity(report: BuildReport) -> Table:
    table = _table("How many different", "", "")
    table.show_header = False
    for row in sections([report.statistics])[-1].rows:
        if row.sized:  # the totals
            table.add_row(row.label, row.cells[0])
    return table


def percent(value: float | None, digits: int = 1) -> str:
    """A share in percent, "–" where it is not known."""
    return "–" if value is None else f"{100 * value:.{digits}f}%"


def interval(rate: Rate) -> str:
    """The interval of a rate, "" where nothing was tried."""
    return "" if rate.interval is None else f"{percent(rate.interval[0], 2)} to {percent(rate.interval[1], 2)}"


def mean(metric: Metric | None) -> str:
    """A mean, "–" where there is none."""
    return "–" if metric is None or metric.mean is None else f"{metric.mean:.3f}"
