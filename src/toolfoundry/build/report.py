"""The report of a build: what was proposed, what became of it and why, what the result looks like, how good it is.

The record is filled by the build; `terminal` prints it and `html` makes a page of it. Times differ from run to run, so
a report is no part of the artifact, and lies beside it. Details and questions in it are untrusted text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import JsonValue

from toolfoundry.metrics import Metric
from toolfoundry.stats.records import SetStatistics
from toolfoundry.types import Record

__all__ = [
    "BuildReport",
    "PanelScore",
    "Rate",
    "RejectExample",
    "Rejects",
    "StageTime",
    "Yield",
    "funnel",
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
    """`hits` of `n` tries, with the 95% Wilson interval. `name` is short, `meaning` one sentence.

    part: one kind of the tries that the rate before it counts together.
    """

    name: str
    meaning: str
    hits: int
    n: int
    part: bool = False

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
    proved and accepted (`_MEANINGS` says what each means), in that order. earlier: how many of the accepted are of
    earlier runs. times, wall_s and processes: of this run; None where not known. false_accepts: wrong, placeholder and
    missing arguments that gave the golden; false_rejects: right calls in another order or spelling that were refused;
    both measured with probes that no gate uses, and split by name where that matters (answers with fewer than 20
    possible values apart).
    notes: anything else that a reader has to know, one sentence each.
    """

    version: str
    config: dict[str, JsonValue]
    yields: dict[str, int]
    earlier: int = 0
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
        """Environments accepted in this run per second of its wall time; None where that is not known, or none was."""
        new = self.accepted - self.earlier
        return new / self.wall_s if new and self.wall_s else None


class Yield(NamedTuple):
    """A line of the funnel. `kept` is the share of the line before, `share` that of what was proposed."""

    name: str
    meaning: str
    items: int
    kept: float | None
    share: float | None


def funnel(report: BuildReport) -> Iterator[Yield]:
    """The yields as they are shown."""
    proposed = before = None
    for name, count in report.yields.items():
        proposed = count if proposed is None else proposed
        kept = count / before if before else None
        yield Yield(name, _MEANINGS.get(name, ""), count, kept, count / proposed if proposed else None)
        before = count
