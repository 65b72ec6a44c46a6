"""From the books of a build to its report: the accepted environments are read once more, as a stranger would."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from pydantic import JsonValue

from toolfoundry import __version__
from toolfoundry.build.acceptance import Acceptance, measure_acceptance
from toolfoundry.build.ledger import Ledger
from toolfoundry.build.report import BuildReport, PanelScore, RejectExample, Rejects, StageTime
from toolfoundry.metrics import Metric
from toolfoundry.sandbox import Sandbox
from toolfoundry.stats.measure import Measurement
from toolfoundry.store import read
from toolfoundry.types import EnvSpec

__all__ = ["report_on"]


def report_on(
    output: Path,
    ledger: Ledger,
    *,
    config: Mapping[str, JsonValue],
    seconds: Mapping[str, float],
    wall_s: float | None = None,
    processes: int | None = None,
    measure: int = 200,
    before: Mapping[str, int] | None = None,
    notes: tuple[str, ...] = (),
    on_progress: Callable[[int], None] | None = None,
) -> BuildReport:
    """The report of a finished build.

    Args:
        measure: on how many of the first environments the acceptance of wrong and right calls is measured; 0 for none.
        before: the yields of earlier runs; None where this is the first.
        on_progress: called with 1 after each environment that was read, and after each that was measured.
    """
    earlier = before or {}
    measurement = Measurement(output.name)
    panel: dict[str, _Running] = {}
    for spec in read(output, EnvSpec):
        measurement.add(spec)
        for policy, score in (spec.proof.panel if spec.proof else {}).items():
            panel.setdefault(policy, _Running()).add(score)
        if on_progress is not None:
            on_progress(1)
    acceptance = Acceptance((), ())
    if measure:
        with Sandbox() as sandbox:
            acceptance = measure_acceptance(islice(read(output, EnvSpec), measure), sandbox, on_progress)
    return BuildReport(
        version=__version__,
        config=dict(config),
        yields=dict(ledger.counts),
        earlier=earlier.get("accepted", 0),
        rejects=tuple(_rejects(ledger)),
        times=tuple(
            StageTime(
                stage=stage, seconds=round(spent, 3), items=ledger.counts["proposed"] - earlier.get("proposed", 0)
            )
            for stage, spent in seconds.items()
        ),
        wall_s=wall_s,
        processes=processes,
        statistics=measurement.result(),
        panel=tuple(PanelScore(policy=policy, score=running.metric()) for policy, running in panel.items()),
        false_accepts=acceptance.false_accepts,
        false_rejects=acceptance.false_rejects,
        notes=notes,
    )


def _rejects(ledger: Ledger) -> Iterator[Rejects]:
    for (stage, reason), count in ledger.rejects.most_common():
        examples = tuple(
            RejectExample(index=one.brief.index, detail=one.detail[:500], question=one.brief.question or "")
            for one in ledger.examples[stage, reason]
        )
        yield Rejects(stage=stage, reason=reason, count=count, examples=examples)


class _Running:
    """A mean and its standard error, value by value."""

    def __init__(self) -> None:
        self.n, self.total, self.squares = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        self.n += 1
        self.total += value
        self.squares += value * value

    def metric(self) -> Metric:
        mean = self.total / self.n
        variance = max(0.0, (self.squares - self.n * mean * mean) / (self.n - 1)) if self.n > 1 else None
        return Metric(mean=mean, stderr=math.sqrt(variance / self.n) if variance is not None else None, n=self.n)
