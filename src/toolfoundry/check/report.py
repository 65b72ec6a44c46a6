"""What an audit gives: every gate with what it was applied to, what it found, and what it could not decide.

A *unit* is what a gate judges: a goal, a tool, an environment, a name, a policy or a whole set. A gate gives one
verdict per unit: passed, hit (with what was found and what was expected), or skipped with the reason. So
`applied + skipped` units were met, `hits` of the applied ones are wrong, and nothing passes by being left out.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from toolfoundry.metrics import Summary
from toolfoundry.types import Record, ScenarioKind

__all__ = [
    "EnvironmentReport",
    "Finding",
    "Gate",
    "GateReport",
    "QualityReport",
    "Severity",
    "Statistics",
    "Unit",
    "Verdict",
]

Severity = Literal["defect", "note"]
Unit = Literal["goal", "tool", "environment", "name", "policy"]


class Gate(Record):
    """One thing that is checked. A `defect` makes a set fail; a `note` is worth knowing and fails nothing."""

    name: str
    severity: Severity
    unit: Unit
    title: str
    meaning: str


class Verdict(NamedTuple):
    """What one gate says about one unit: skipped if `skipped` gives a reason, hit if `found` is not empty."""

    gate: str
    tool: str | None = None
    goal: str | None = None
    found: str = ""
    expected: str = ""
    skipped: str = ""


class Finding(Record):
    """One unit that a gate hit. `spec` is the environment's id ("" for the set as a whole); texts are untrusted."""

    spec: str
    tool: str | None = None
    goal: str | None = None
    found: str
    expected: str


class GateReport(Record):
    """A gate over the whole set. `findings` are the first ones in the order of the set, `hits` counts all of them.

    applied: units that were judged; hits: those that are wrong; environments: environments with a hit;
    skipped: units that could not be judged, by reason.
    """

    gate: Gate
    applied: int
    hits: int
    environments: int
    skipped: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def share(self) -> float | None:
        """Hits among the units that were judged; None where none was."""
        return self.hits / self.applied if self.applied else None


class EnvironmentReport(Record):
    """One environment: how many units each gate hit in it. `score` is the gold trajectory's, where there is one."""

    spec: str
    location: str | None
    kind: ScenarioKind | None
    question: str
    tools: int
    goals: int
    defects: dict[str, int]
    notes: dict[str, int]


class Statistics(Record):
    """The shape of a set, or of one scenario in it: counts by value, ready to be drawn as histograms."""

    scenario: str
    environments: int
    tools: int
    distractors: int
    goals: int
    parameters: int
    required: int
    parameter_types: dict[str, int]
    tools_per_environment: dict[int, int]
    goals_per_environment: dict[int, int]
    parameters_per_tool: dict[int, int]
    question_words: dict[int, int]


class QualityReport(Record):
    """The audit of a set. The same set and version give the same report, on any machine and in any order of work.

    `probes` counts the calls that were executed for the gates (the panel's own calls not included), by kind.
    """

    version: str
    environments: int
    tools: int
    goals: int
    probes: dict[str, int]
    gates: tuple[GateReport, ...]
    panel: tuple[Summary, ...]
    statistics: tuple[Statistics, ...]
    per_environment: tuple[EnvironmentReport, ...]

    @property
    def defects(self) -> int:
        """How many units the gates of severity `defect` hit; 0 is a clean set."""
        return sum(report.hits for report in self.gates if report.gate.severity == "defect")

    @property
    def faulty(self) -> int:
        """How many environments have a defect of their own."""
        return sum(bool(environment.defects) for environment in self.per_environment)

    def gate(self, name: str) -> GateReport:
        """The report of one gate by its name. Raises KeyError for an unknown name."""
        found = next((report for report in self.gates if report.gate.name == name), None)
        if found is None:
            raise KeyError(name)
        return found
