"""The one loop: policy x environment -> trajectory.

    until the last turn or a limit:
        completion = policy(episode.messages, episode.tools)
        episode.take(completion)                           # runs the calls in the sandbox, grades and records them

`run_rollout` plays one and never raises for it: an infrastructure failure becomes a trajectory with `stop` "error"
and its cause, which is never scored. `run_rollouts` plays many at once, in a bounded number of tasks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import NamedTuple

from toolfoundry.environment import Executor
from toolfoundry.episode import Episode
from toolfoundry.errors import ContextFull
from toolfoundry.policies import Policy
from toolfoundry.types import EnvSpec, Limits, Preset, Trajectory

__all__ = ["Job", "run_rollout", "run_rollouts"]

PolicyMaker = Callable[[EnvSpec, int], Policy]


class Job(NamedTuple):
    """One rollout to be played: which environment, and which of its samples."""

    spec: EnvSpec
    sample: int = 0

    def key(self, policy: str) -> str:
        """The key that the trajectory of this job will have."""
        return f"{self.spec.id}/{policy}/{self.sample}"


async def run_rollout(
    policy: Policy,
    spec: EnvSpec,
    executor: Executor,
    limits: Limits = Limits(),
    *,
    name: str = "policy",
    sample: int = 0,
    preset: Preset = "frontier",
) -> Trajectory:
    """Plays one episode. `name` and `sample` say in the record who played and which repetition this is."""
    started = time.monotonic()
    with Episode(spec, executor, limits, policy=name, sample=sample, preset=preset) as episode:
        try:
            while episode.stop is None:
                async with asyncio.timeout(_remaining(limits, started)):
                    completion = await policy(episode.messages, episode.tools)
                    await episode.take(completion)
                if (left := _remaining(limits, started)) is not None and left <= 0:
                    episode.end("max_time")
        except ContextFull as full:  # what was played counts; where nothing could be, there is nothing to score
            stop, error = ("length", None) if episode.turns else ("error", _cause(full))
            episode.end(stop, error)
        except TimeoutError as failure:
            # Only a deadline of ours is the rollout's own end; a policy that times out by itself has failed.
            if (left := _remaining(limits, started)) is not None and left <= 0:
                episode.end("max_time")
            else:
                episode.end("error", _cause(failure))
        except Exception as failure:  # one bad rollout must not end the others: it is recorded with its cause
            episode.end("error", _cause(failure))
        return episode.trajectory()


async def run_rollouts(
    jobs: Iterable[Job],
    maker: PolicyMaker,
    executor: Executor,
    limits: Limits = Limits(),
    *,
    name: str = "policy",
    preset: Preset = "frontier",
    concurrency: int = 64,
) -> AsyncGenerator[Trajectory]:
    """Plays all jobs, at most `concurrency` at a time; yields each trajectory as it ends (no fixed order).

    Jobs are drawn as places become free, so a long stream of environments never stands in memory. Leaving the loop
    early cancels what is still running.
    """
    remaining = iter(jobs)
    running: set[asyncio.Task[Trajectory]] = set()

    async def play(job: Job) -> Trajectory:
        try:
            policy = maker(job.spec, job.sample)
        except Exception as failure:
            task, message = job.spec.task, _cause(failure)
            return Trajectory(
                task=task,
                policy=name,
                sample=job.sample,
                preset=preset,
                prompt=(),
                turns=(),
                stop="error",
                error=message,
            )
        return await run_rollout(policy, job.spec, executor, limits, name=name, sample=job.sample, preset=preset)

    try:
        while True:
            while len(running) < concurrency and (job := next(remaining, None)) is not None:
                running.add(asyncio.create_task(play(job)))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for finished in done:
                yield finished.result()
    finally:
        for unfinished in running:
            unfinished.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _remaining(limits: Limits, started: float) -> float | None:
    return None if limits.max_time_s is None else limits.max_time_s - (time.monotonic() - started)


def _cause(failure: BaseException) -> str:
    return f"{type(failure).__name__}: {failure}"[:2000]
