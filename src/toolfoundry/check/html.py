"""The report as one page: no network, no fonts, no images, one small script that filters rows.

Every text of the report is untrusted and reaches the page by way of `toolfoundry.page` only. The page's
Content-Security-Policy allows its own styles and the one script, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from typing import NamedTuple

from toolfoundry import page
from toolfoundry.check.report import GateReport, QualityReport
from toolfoundry.check.terminal import PANEL_COLUMNS, plural

__all__ = ["render_html", "require_extra"]

_MAX_ROWS = 200

SCRIPT = """
const unfold = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
};
addEventListener("hashchange", unfold);
unfold();
for (const input of document.querySelectorAll("input[data-filters]")) {
  const rows = [...document.getElementById(input.dataset.filters).tBodies[0].rows];
  const count = input.nextElementSibling;
  const apply = () => {
    const wanted = input.value.toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = wanted ? shown + " of " + rows.length : "";
  };
  input.hidden = false;
  input.addEventListener("input", apply);
}
"""


class Listed(NamedTuple):
    """How the page lists the findings of a gate: what was expected is said once where it is the same for all, and
    else has a column; so have tool and goal, where the findings have them."""

    expected: str
    column: bool
    placed: bool


class Cell(NamedTuple):
    """One cell of the gates-by-scenario table: environments hit, of how many, and the share."""

    hit: int
    of: int
    share: float


def require_extra() -> None:
    """Raises MissingExtra where a page could not be made: better known before an audit than after it."""
    page.require_extra("report", "jinja2", "the HTML report")


def render_html(report: QualityReport) -> str:
    """The whole page as text, the same for the same report. Raises MissingExtra without the extra `report`."""
    require_extra()
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    everything = report.statistics[0] if report.statistics else None
    return page.render_page(
        "toolfoundry.check",
        "report.html.jinja",
        report=report,
        script=page.Drawing(SCRIPT),
        plural=plural,
        listed=_listed,
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'",
        groups=_groups(report),
        scenarios=[part.scenario for part in report.statistics[1:]],
        matrix=_matrix(report),
        panel_columns=PANEL_COLUMNS,
        charts={
            "Tools per environment": page.histogram(everything.tools_per_environment),
            "Goals per environment": page.histogram(everything.goals_per_environment),
            "Parameters per tool": page.histogram(everything.parameters_per_tool),
            "Words per question": page.histogram(everything.question_words),
            "Defect classes hit": page.histogram(Counter(len(e.defects) for e in report.per_environment)),
        }
        if everything
        else {},
        max_rows=_MAX_ROWS,
        max_environments=2000,
    )


def _groups(report: QualityReport) -> list[tuple[str, str, list[GateReport]]]:
    """The gates as the page lists them: heading, class, members."""
    hit = [gate for gate in report.gates if gate.hits]
    return [
        ("Defects", "defect", [gate for gate in hit if gate.gate.severity == "defect"]),
        ("Notes", "note", [gate for gate in hit if gate.gate.severity == "note"]),
        ("Looked for and not found", "passed", [gate for gate in report.gates if gate.applied and not gate.hits]),
        ("Not applicable here", "skipped", [gate for gate in report.gates if not gate.applied]),
    ]


def _listed(row: GateReport) -> Listed:
    expected = {finding.expected for finding in row.findings}
    placed = any(finding.tool or finding.goal for finding in row.findings)
    same = len(expected) == 1
    return Listed(expected.pop() if same else "", not same, placed)


def _matrix(report: QualityReport) -> list[tuple[str, list[Cell]]]:
    """Gate -> for each scenario the environments with that defect."""
    kinds = [part.scenario for part in report.statistics[1:]]
    of = Counter(environment.kind or "unknown" for environment in report.per_environment)
    hit = Counter(
        (name, environment.kind or "unknown") for environment in report.per_environment for name in environment.defects
    )
    names = [gate.gate.name for gate in report.gates if gate.gate.severity == "defect" and gate.environments]
    return [(name, [Cell(hit[name, k], of[k], hit[name, k] / max(1, of[k])) for k in kinds]) for name in names]
