"""The audit: every gate over a set of environments, and the report.

    with Sandbox() as sandbox:
        report = check(specs, sandbox)
    print_report(report, console); html = render_html(report)

Gates read (`static`, `consistency`), execute (`probes`, `executed`, `effects`), and let scripted policies play
(`panel`). Tool code runs in the sandbox only: one worker for one environment. A gate that cannot be applied says so
and is counted; nothing passes in silence. The result does not depend on clock, machine or order of work.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from toolfoundry import __version__
from toolfoundry.check.audit import Audit, audit
from toolfoundry.check.gates import GATES
from toolfoundry.check.html import render_html
from toolfoundry.check.panel import ceiling_verdicts
from toolfoundry.check.report import (
    EnvironmentReport,
    Finding,
    Gate,
    GateReport,
    QualityReport,
    Statistics,
    Verdict,
)
from toolfoundry.check.static import duplicate_keys
from toolfoundry.check.statistics import ShapeCounts, shape_of
from toolfoundry.check.terminal import print_report
from toolfoundry.check.workers import own_workers
from toolfoundry.metrics import Outcome, summarise_outcomes
from toolfoundry.processes import over_cores
from toolfoundry.sandbox import Sandbox
from toolfoundry.types import EnvSpec

__all__ = [
    "GATES",
    "Assembly",
    "Auditing",
    "EnvironmentReport",
    "Finding",
    "Gate",
    "GateReport",
    "QualityReport",
    "Statistics",
    "check",
    "check_on_cores",
    "print_report",
    "processes_for",
    "render_html",
]

_SHARD = 16  # environments that are sent to a process at a time
_WORTH_A_PROCESS = 64  # a process of its own takes a second to start


def check(
    specs: Iterable[EnvSpec],
    sandbox: Sandbox,
    *,
    panel: bool = True,
    max_findings: int = 10_000,
    concurrency: int = 8,
    on_progress: Callable[[int], None] | None = None,
) -> QualityReport:
    """The audit of a set; the order of the environments decides which of two duplicates is the first.

    Args:
        panel: whether the scripted policies play; without, their gates are skipped.
        max_findings: how many findings of each gate the report keeps (all are counted).
        concurrency: how many environments are worked on at a time; does not change the result.
        on_progress: called with 1 after each environment.

    Runs an event loop of its own, so call it from a thread of its own where one is running already (a notebook).

    Raises:
        SandboxError: the sandbox failed; a tool that fails is a finding.
    """
    return asyncio.run(_check(specs, sandbox, panel, max_findings, concurrency, on_progress))


async def _check(
    specs: Iterable[EnvSpec],
    sandbox: Sandbox,
    panel: bool,
    max_findings: int,
    concurrency: int,
    on_progress: Callable[[int], None] | None,
) -> QualityReport:
    assembly = Assembly(max_findings)
    async for spec, found in _audits(specs, sandbox, panel, concurrency):
        assembly.enter(spec, found)
        if on_progress is not None:
            on_progress(1)
    return assembly.report()


def check_on_cores(
    specs: Iterable[EnvSpec],
    *,
    jobs: int,
    panel: bool = True,
    max_findings: int = 10_000,
    on_progress: Callable[[int], None] | None = None,
) -> QualityReport:
    """The report of `check`, made by so many processes, each with a sandbox of its own."""
    assembly = Assembly(max_findings)
    waiting: deque[list[EnvSpec]] = deque()  # environments whose audits are not here yet

    def shards() -> Iterator[list[EnvSpec]]:
        remaining = iter(specs)
        while shard := list(islice(remaining, _SHARD)):
            waiting.append(shard)
            yield shard

    with contextlib.closing(over_cores(Auditing(panel), shards(), jobs)) as results:
        for found in results:
            for spec, one in zip(waiting.popleft(), found, strict=True):
                assembly.enter(spec, one)
            if on_progress is not None:
                on_progress(len(found))
    return assembly.report()


def processes_for(environments: int) -> int:
    """One for every two cores, unless the set is so small that starting them would take longer than its audit.

    Tools take as long in their workers as the audit takes here: with two cores, a second process gains nothing.
    """
    return max(1, min((os.cpu_count() or 1) // 2, environments // _WORTH_A_PROCESS))


class Auditing(NamedTuple):
    """What a process does with shards of a set: the audits of their environments, in order."""

    panel: bool

    @contextlib.contextmanager
    def open(self) -> Generator[Callable[[Sequence[EnvSpec]], list[Audit]]]:
        with Sandbox() as sandbox:

            async def all_of(shard: Sequence[EnvSpec]) -> list[Audit]:
                return [found async for _, found in _audits(shard, sandbox, self.panel)]

            yield lambda shard: asyncio.run(all_of(shard))


class Assembly:
    """The report of a set as its audits come in, in the order of the set.

    It keeps no environment: of each a line of the report, and keys of 16 bytes that duplicates would share.
    """

    def __init__(self, max_findings: int = 10_000) -> None:
        self._ledger = _Ledger(max_findings)
        self._probes: Counter[str] = Counter()
        self._played: Counter[Outcome] = Counter()
        self._shapes = ShapeCounts()
        self._across = _AcrossTheSet()

    def enter(self, spec: EnvSpec, found: Audit) -> None:
        """Adds the next environment."""
        self._ledger.enter(spec, [*found.verdicts, self._across.near_duplicate(spec)])
        self._probes += found.probes
        self._played.update(found.played.values())
        self._shapes.add(shape_of(spec))

    def report(self) -> QualityReport:
        """What was found; nothing can be entered after this."""
        summaries = summarise_outcomes(self._played.elements())
        self._ledger.enter(None, [*self._across.shared_names(), *ceiling_verdicts(summaries)])
        everything, *_ = statistics = tuple(self._shapes.results())
        return QualityReport(
            version=__version__,
            environments=everything.environments,
            tools=everything.tools,
            goals=everything.goals,
            probes=dict(sorted(self._probes.items())),
            gates=self._ledger.gates(),
            panel=tuple(summaries),
            statistics=statistics,
            per_environment=tuple(self._ledger.environments),
        )


def _audits(
    specs: Iterable[EnvSpec], sandbox: Sandbox, panel: bool, concurrency: int = 8
) -> AsyncGenerator[tuple[EnvSpec, Audit]]:
    """Each environment with what was found out about it alone, in the order of the set."""
    return _in_order(specs, lambda spec: _audit(spec, sandbox, panel), concurrency)


async def _audit(spec: EnvSpec, sandbox: Sandbox, panel: bool) -> Audit:
    async with own_workers(spec, sandbox) as workers:
        return await audit(spec, workers, panel=panel)


async def _in_order(
    specs: Iterable[EnvSpec], work: Callable[[EnvSpec], Coroutine[Any, Any, Audit]], concurrency: int
) -> AsyncGenerator[tuple[EnvSpec, Audit]]:
    """Works on several environments at a time and gives the results in the order of the set."""
    waiting: deque[tuple[EnvSpec, asyncio.Task[Audit]]] = deque()
    try:
        for spec in specs:
            waiting.append((spec, asyncio.create_task(work(spec))))
            if len(waiting) >= concurrency:
                first, task = waiting.popleft()
                yield first, await task
        while waiting:
            first, task = waiting.popleft()
            yield first, await task
    finally:
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)


class _AcrossTheSet:
    """What can only be judged with the whole set in view; keeps keys, not environments."""

    def __init__(self) -> None:
        self._keys: dict[bytes, str] = {}
        self._names: dict[str, dict[bytes, int]] = {}

    def near_duplicate(self, spec: EnvSpec) -> Verdict:
        """Hit iff an accepted environment of lower index has one of its keys."""
        for tool in spec.tools:
            sources = self._names.setdefault(tool.name, {})
            digest = hashlib.sha256(tool.source.strip().encode("utf-8", "surrogatepass")).digest()
            sources[digest] = sources.get(digest, 0) + 1
        keys = [hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:16] for key in duplicate_keys(spec)]
        for key, what in zip(keys, ("question", "tools and goldens"), strict=True):
            if key in self._keys:
                return Verdict("near-duplicate", found=f"the {what} of {self._keys[key]}", expected="something new")
        self._keys |= dict.fromkeys(keys, spec.id)
        return Verdict("near-duplicate")

    def shared_names(self) -> Iterable[Verdict]:
        for name, sources in self._names.items():
            many = f"{len(sources)} different sources in {sum(sources.values())} environments"
            yield Verdict("shared-name", name, found=many if len(sources) > 1 else "", expected="one")


_FIELDS = {*EnvironmentReport.model_fields}


class _Ledger:
    """Adds up verdicts, by gate and by environment."""

    def __init__(self, max_findings: int) -> None:
        self.environments: list[EnvironmentReport] = []
        self._max_findings = max_findings
        self._applied: Counter[str] = Counter()
        self._hits: Counter[str] = Counter()
        self._in: Counter[str] = Counter()
        self._skipped: dict[str, Counter[str]] = {name: Counter() for name in GATES}
        self._findings: dict[str, list[Finding]] = {name: [] for name in GATES}
        self._known: dict[tuple[tuple[str, int], ...], dict[str, int]] = {}  # counts that environments share

    def enter(self, spec: EnvSpec | None, verdicts: Iterable[Verdict]) -> None:
        """The verdicts on one environment, or (None) on the set as a whole."""
        here: Counter[str] = Counter()
        for verdict in verdicts:
            if verdict.skipped:
                self._skipped[verdict.gate][verdict.skipped] += 1
                continue
            self._applied[verdict.gate] += 1
            if not verdict.found:
                continue
            here[verdict.gate] += 1
            if len(self._findings[verdict.gate]) < self._max_findings:
                spec_id = spec.id if spec else ""
                finding = Finding(
                    spec=spec_id, tool=verdict.tool, goal=verdict.goal, found=verdict.found, expected=verdict.expected
                )
                self._findings[verdict.gate].append(finding)
        self._hits += here
        if spec is not None:
            self._in.update(here.keys())
            hits = {name: here[name] for name in GATES if here[name]}
            # Unvalidated, since validation copies: of a large set as many of these are kept, and most counts are alike.
            self.environments.append(
                EnvironmentReport.model_construct(
                    _FIELDS,
                    spec=spec.id,
                    location=spec.provenance.location,
                    kind=spec.scenario.kind,
                    question=spec.scenario.question,
                    tools=len(spec.tools),
                    goals=len(spec.goals),
                    defects=self._counts({name: n for name, n in hits.items() if GATES[name].severity == "defect"}),
                    notes=self._counts({name: n for name, n in hits.items() if GATES[name].severity == "note"}),
                )
            )

    def _counts(self, counts: dict[str, int]) -> dict[str, int]:
        return self._known.setdefault((*counts.items(),), counts)

    def gates(self) -> tuple[GateReport, ...]:
        return tuple(
            GateReport(
                gate=gate,
                applied=self._applied[name],
                hits=self._hits[name],
                environments=self._in[name],
                skipped=dict(self._skipped[name].most_common()),
                findings=tuple(self._findings[name]),
            )
            for name, gate in GATES.items()
        )
