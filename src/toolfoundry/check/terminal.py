"""The report in a terminal. Whatever is not ours is made visible and never read as markup."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolfoundry.check.report import Finding, GateReport, QualityReport
from toolfoundry.metrics import METRICS
from toolfoundry.untrusted import visible

__all__ = ["PANEL_COLUMNS", "plural", "print_report"]

PANEL_COLUMNS = {
    "solve_p": "Solve-P",
    "solve_r": "Solve-R",
    "solve_f1": "Solve-F1",
    "paper_solve_p": "P (paper)",
    "paper_solve_r": "R (paper)",
    "paper_solve_f1": "F1 (paper)",
    "answer": "answer",
    "score": "score",
}
assert PANEL_COLUMNS.keys() <= METRICS.keys()


def print_report(report: QualityReport, console: Console) -> None:
    """Prints the gates that were hit, an example of each defect, what passed or was not applied, panel and shape."""
    hit = [gate for gate in report.gates if gate.hits]
    console.print(
        f"[bold]{report.environments:,} environments[/bold], {report.tools:,} tools, {report.goals:,} goals; "
        f"{sum(report.probes.values()):,} probes executed",
        highlight=False,
    )
    for severity, title in (("defect", "Defects"), ("note", "Notes")):
        if rows := [gate for gate in hit if gate.gate.severity == severity]:
            console.print(_gates(title, rows, console.width >= 130))
    if not report.defects:
        console.print("[bold green]No defect.[/bold green]")
    for gate in hit:
        if gate.gate.severity == "defect" and gate.findings:
            console.print(_example(gate.gate.name, gate.findings[0]), soft_wrap=True)
    passed = [gate.gate.name for gate in report.gates if gate.applied and not gate.hits]
    if passed:
        console.print(Text.assemble(("\nPassed: ", "bold"), _shown(", ".join(passed), 2000)))
    for gate in report.gates:
        for reason, count in gate.skipped.items():
            line = f"{gate.gate.name}, {count:,} × {gate.gate.unit}: {reason}"
            console.print(Text.assemble(("not applied: ", "dim"), _shown(line)), soft_wrap=True)
    if report.panel:
        console.print(_panel(report))
    console.print(_shape(report))


def plural(unit: str, count: int) -> str:
    """A unit's name for a count."""
    return unit if count == 1 else "policies" if unit == "policy" else f"{unit}s"


def _shown(text: str, max_chars: int = 300) -> Text:
    """Text that is not read as markup; also what a report says itself may come out of a file."""
    return Text(visible(text, max_chars))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table


def _gates(title: str, gates: list[GateReport], wide: bool) -> Table:
    table = _table(title, "gate", "hit", "of", "share", "environments")
    if wide:
        table.add_column("what it is")
    for gate in gates:
        share = "–" if gate.share is None else f"{gate.share:.1%}"
        environments = f"{gate.environments:,}" if gate.environments else "–"
        row = (
            gate.gate.name,
            f"{gate.hits:,}",
            f"{gate.applied:,} {plural(gate.gate.unit, gate.applied)}",
            share,
            environments,
        )
        table.add_row(*row, *([_shown(gate.gate.title)] if wide else []))
    return table


def _example(gate: str, finding: Finding) -> Text:
    place = " ".join(part for part in (finding.spec, finding.tool, finding.goal) if part)
    return Text.assemble(
        (visible(gate, 40), "yellow"),
        (f" {visible(place, 90)}", "cyan"),
        f": found {visible(finding.found, 160)}",
        (f"; expected {visible(finding.expected, 90)}", "dim"),
    )


def _panel(report: QualityReport) -> Table:
    titles = [title.replace("Solve-", "").replace(" (paper)", "\npaper") for title in PANEL_COLUMNS.values()]
    table = _table("Scripted policies: mean Solve-P, -R, -F1, answer accuracy and score", "policy", "n", *titles)
    for summary in report.panel:
        means = [summary.overall.metrics[name].mean for name in PANEL_COLUMNS]
        cells = ["–" if mean is None else f"{mean:.3f}" for mean in means]
        table.add_row(_shown(summary.policy, 40), f"{summary.overall.n:,}", *cells)
    if unscored := sum(summary.overall.unscored for summary in report.panel):
        table.caption = f"{unscored:,} rollouts could not be scored: the sandbox failed, not the policy"
    return table


def _shape(report: QualityReport) -> Table:
    columns = ("scenario", "n", "tools", "distractors", "goals", "parameters\nper tool", "required\nper tool")
    table = _table("Shape: means over the environments", *columns)
    for part in report.statistics:
        environments, tools = max(1, part.environments), max(1, part.tools)
        table.add_row(
            _shown(part.scenario.replace("_", " "), 40),
            f"{part.environments:,}",
            f"{part.tools / environments:.2f}",
            f"{part.distractors / environments:.2f}",
            f"{part.goals / environments:.2f}",
            f"{part.parameters / tools:.2f}",
            f"{part.required / tools:.2f}",
        )
    return table
