"""The report as one page: no network, no fonts, no images, one small script that filters rows.

Every text of the report is untrusted. Nothing reaches the page but through the template's autoescape, and every string
goes through `visible` on its way (`finalize`), so that neither markup nor invisible characters get through, whatever
the template forgets. The page's Content-Security-Policy allows its own styles and the one script, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import importlib.util
from collections import Counter
from typing import Any, NamedTuple

from toolfoundry.check.report import GateReport, QualityReport
from toolfoundry.check.terminal import PANEL_COLUMNS, plural
from toolfoundry.errors import MissingExtra
from toolfoundry.untrusted import visible

__all__ = ["render_html", "require_extra"]

_MAX_CHARS, _MAX_ROWS, _MAX_BARS = 600, 200, 24

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


class Bar(NamedTuple):
    """One bar of a histogram: its label, its count and its height in percent of the highest."""

    label: str
    units: int
    height: float


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
    if importlib.util.find_spec("jinja2") is None:
        raise MissingExtra("report", "the HTML report")


def render_html(report: QualityReport) -> str:
    """The whole page as text, the same for the same report. Raises MissingExtra without the extra `report`."""
    require_extra()
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = importlib.resources.files("toolfoundry.check").joinpath("report.html.jinja").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    everything = report.statistics[0] if report.statistics else None
    return environment.from_string(text).render(
        report=report,
        script=_Trusted(SCRIPT),
        plural=plural,
        listed=_listed,
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'",
        groups=_groups(report),
        scenarios=[part.scenario for part in report.statistics[1:]],
        matrix=_matrix(report),
        panel_columns=PANEL_COLUMNS,
        charts={
            "Tools per environment": _histogram(everything.tools_per_environment),
            "Goals per environment": _histogram(everything.goals_per_environment),
            "Parameters per tool": _histogram(everything.parameters_per_tool),
            "Words per question": _histogram(everything.question_words),
            "Defect classes hit": _histogram(Counter(len(e.defects) for e in report.per_environment)),
        }
        if everything
        else {},
        max_rows=_MAX_ROWS,
        max_environments=2000,
    )


class _Trusted(str):
    """Text of our own that is no HTML to be escaped and no untrusted text to be made visible: the script."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def _finalize(value: Any) -> Any:
    """What every expression of the template passes through."""
    if isinstance(value, _Trusted) or hasattr(value, "__html__"):
        return value
    return visible(value, _MAX_CHARS) if isinstance(value, str) else value


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


def _histogram(counts: dict[int, int] | Counter[int]) -> list[Bar]:
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
        Bar(
            str(start) if width == 1 else f"{start}–{start + width - 1}",
            bins[index],
            100 * bins[index] / most,
        )
        for index, start in enumerate(range(low, high + 1, width))
    ]
