"""From briefs to verified environments: one at a time with corrections, or a shard at a time.

`construct` takes one brief through the five stages and the gates; what the gates find goes back to the author. A
`construct_shard` does the same for many briefs of an author whose code is one trust domain: their tools share workers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from toolfoundry.build.asking import MOST_COMPLAINTS, rejected, unfit
from toolfoundry.build.author import Author, Feedback
from toolfoundry.build.decompose import complaints_about as scenario_complaints
from toolfoundry.build.decompose import decompose
from toolfoundry.build.deploy import complaints_about as deploy_complaints
from toolfoundry.build.deploy import deploy, deploy_further, deployed, to_spec
from toolfoundry.build.document import complaints_about as document_complaints
from toolfoundry.build.document import document
from toolfoundry.build.draft import STAGES, Brief, Deployment, Documents, Draft, Reject, Rejected, Stage
from toolfoundry.build.integrate import integrate
from toolfoundry.build.scale import from_pool, scale, without_tools
from toolfoundry.build.scaling import Scaling
from toolfoundry.build.verify import Verified, verify
from toolfoundry.check.workers import SharedWorkers, own_workers
from toolfoundry.errors import SandboxError
from toolfoundry.sandbox import Sandbox
from toolfoundry.types import EnvSpec

__all__ = ["Outcome", "Stopwatch", "construct", "construct_shard", "prepare", "reject_of"]

AT_A_TIME = 8  # environments of a shard that are verified at once
CALL_S = 0.25  # CPU seconds of a call: tools are called hundreds of times, and more often in training


class Stopwatch:
    """Seconds by stage, added up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def start(self) -> None:
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Gives the time since the last lap to a stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


class Outcome(NamedTuple):
    """What became of one brief: an environment with its proof, or a reject."""

    brief: Brief
    spec: EnvSpec | None
    reject: Reject | None


async def prepare(
    given: Brief | Draft,
    author: Author,
    scaling: Scaling,
    *,
    until: Stage = "scale",
    watch: Stopwatch | None = None,
) -> Draft:
    """The draft after stage `until`, taken up where it was left. Raises Rejected, whose stage is in `stage`."""
    watch = watch or Stopwatch()
    draft = _sound(given) if isinstance(given, Draft) else None
    todo = STAGES[STAGES.index(draft.stage) + 1 if draft else 0 : STAGES.index(until) + 1]
    for stage in todo:
        try:
            draft = await _advance(stage, given, draft, author, scaling)
        except Rejected as problem:
            problem.stage = stage
            raise
        watch.lap(stage)
    assert draft is not None
    return draft


def _sound(draft: Draft) -> Draft:
    """A draft out of a file, held again to what the stages ask for. Raises Rejected."""
    if not (complaints := unfit(draft)):
        complaints = scenario_complaints(draft.scenario, brief=draft.brief)
    if not complaints and draft.stage != "decompose":
        written = Documents(documents=draft.documents, calls=draft.calls)
        complaints = document_complaints(draft.scenario, written)
    if not complaints and draft.stage == "deploy":
        complaints = deploy_complaints(draft, Deployment(sources={}, trials=draft.trials))
    if complaints:
        problem = rejected(complaints[:MOST_COMPLAINTS], 0)
        problem.stage = draft.stage
        raise problem
    return draft


async def _advance(stage: Stage, given: Brief | Draft, draft: Draft | None, author: Author, scaling: Scaling) -> Draft:
    if draft is None:
        assert isinstance(given, Brief)
        return await decompose(given, author)
    match stage:
        case "document":
            return await document(draft, author)
        case "integrate":
            return await integrate(draft, author)
        case "scale":
            return await scale(draft, author, scaling)
        case _:
            return deployed(draft, await deploy(draft, author))


async def construct(
    given: Brief | Draft, author: Author, scaling: Scaling, sandbox: Sandbox, watch: Stopwatch | None = None
) -> Outcome:
    """One environment with workers of its own; what the gates find goes back to the author, `attempts` times in all."""
    watch = watch or Stopwatch()
    brief = given.brief if isinstance(given, Draft) else given
    try:
        draft = await prepare(given, author, scaling, watch=watch)
        feedback: Feedback | None = None
        asked = 0
        while True:
            try:
                deployment, asked = await deploy_further(draft, author, feedback, asked)
            except Rejected as problem:
                problem.stage = "deploy"
                raise
            done = deployed(draft, deployment)
            spec = to_spec(done, author.prompt(done.scenario.question))
            watch.lap("deploy")
            async with own_workers(spec, sandbox, CALL_S) as workers:
                verified = await verify(done, spec, workers)
            watch.lap("gate")
            unfit = {complaint.tool for complaint in verified.complaints}
            if verified.complaints and unfit <= from_pool(draft):  # its author is not to be asked about others' tools
                draft, asked = without_tools(draft, unfit), asked - 1
                continue
            if not verified.complaints or asked >= author.attempts:
                return _outcome(brief, author, verified, asked)
            feedback = Feedback(deployment, verified.complaints[:MOST_COMPLAINTS])
    except Rejected as problem:
        return Outcome(brief, None, reject_of(brief, author, problem))


async def construct_shard(
    given: Sequence[Brief | Draft], author: Author, scaling: Scaling, sandbox: Sandbox, watch: Stopwatch | None = None
) -> list[Outcome]:
    """Environments of an author whose code is one trust domain, in the order of the briefs."""
    watch = watch or Stopwatch()
    outcomes: dict[int, Outcome] = {}
    made: list[tuple[int, Draft, EnvSpec]] = []
    briefs = [one.brief if isinstance(one, Draft) else one for one in given]
    for place, one in enumerate(given):
        try:
            draft = await prepare(one, author, scaling, until="deploy", watch=watch)
        except Rejected as problem:
            outcomes[place] = Outcome(briefs[place], None, reject_of(briefs[place], author, problem))
            continue
        made.append((place, draft, to_spec(draft, author.prompt(draft.scenario.question))))
        watch.lap("deploy")
    turns = asyncio.Semaphore(AT_A_TIME)
    async with SharedWorkers([spec for *_, spec in made], sandbox) as shared:

        async def verify_one(index: int) -> Verified:
            _, draft, spec = made[index]
            async with turns:
                try:
                    return await verify(draft, spec, shared.of(index), thorough=False)
                except SandboxError:  # whatever befell the shared workers, this environment gets its own
                    async with own_workers(spec, sandbox) as workers:
                        return await verify(draft, spec, workers, thorough=False)  # the same probes, the same bytes

        results = await asyncio.gather(*(verify_one(index) for index in range(len(made))))
    watch.lap("gate")
    for (place, *_), verified in zip(made, results, strict=True):
        outcomes[place] = _outcome(briefs[place], author, verified, 1)
    return [outcomes[place] for place in range(len(given))]


def _outcome(brief: Brief, author: Author, verified: Verified, asked: int) -> Outcome:
    if not verified.complaints:
        return Outcome(brief, verified.spec, None)
    problem = rejected(verified.complaints, asked)
    problem.stage = "gate" if verified.executable else "deploy"
    return Outcome(brief, None, reject_of(brief, author, problem))


def reject_of(brief: Brief, author: Author, problem: Rejected) -> Reject:
    """The record of a reject."""
    return Reject(
        brief=brief,
        author=author.name,
        stage=problem.stage,
        reason=problem.reason,
        detail=problem.detail[:4000],
        asked=problem.asked,
    )
