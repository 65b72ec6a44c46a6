"""The one loop: policy x environment -> trajectory.

    conversation = opening
    until a limit or the last turn:
        completion = policy(conversation, tools)
        step = environment.step(completion.message)        # runs the calls in the sandbox
        turn = (completion, results, notice, reward)       # graded by the one reward function
        conversation += message + results

`run_rollout` plays one and never raises for it: an infrastructure failure becomes a trajectory with `stop` "error"
and its cause, which is never scored. `run_rollouts` plays many at once, in a bounded number of tasks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import NamedTuple

from toolfoundry.environment import Environment, Executor
from toolfoundry.errors import ContextFull
from toolfoundry.policies import Policy
from toolfoundry.reward import grade_turn
from toolfoundry.types import Completion, EnvSpec, Limits, Message, Preset, StopReason, Trajectory, Turn

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
    task = spec.task
    started = time.monotonic()
    unsolved = tuple(goal.id for goal in task.goals)
    credited: frozenset[str] = frozenset()
    turns: list[Turn] = []
    stop: StopReason = "error"
    error: str | None = None
    calls = tokens = 0
    with Environment(spec, executor, limits, seed=sample) as environment:
        prompt, tools = environment.start()
        messages: list[Message] = list(prompt)
        try:
            while True:
                async with asyncio.timeout(_remaining(limits, started)):
                    completion = await policy(tuple(messages), tools)
                    message = completion.message
                    step = await environment.step(message)
                graded = grade_turn(
                    task.goals,
                    unsolved,
                    message,
                    step.results,
                    task.answer,
                    preset,
                    credited=credited,
                    tagged=task.tagged,
                    calls_per_turn=limits.calls_per_turn,
                )
                unsolved, credited = graded.unsolved_ids, graded.credited
                turns.append(
                    Turn(completion=completion, results=step.results, notice=step.notice, reward=graded.reward)
                )
                messages += [message, *step.messages]
                calls += len(message.tool_calls)
                tokens += _tokens(completion)
                if step.done:
                    stop = "length" if message.faults else "answered"
                    break
                if (reached := _limit_reached(limits, started, len(turns), calls, tokens)) is not None:
                    stop = reached
                    break
        except ContextFull as full:  # what was played counts; where nothing could be, there is nothing to score
            stop, error = ("length", None) if turns else ("error", _cause(full))
        except TimeoutError as failure:
            # Only a deadline of ours is the rollout's own end; a policy that times out by itself has failed.
            if (left := _remaining(limits, started)) is not None and left <= 0:
                stop = "max_time"
            else:
                error = _cause(failure)
        except Exception as failure:  # one bad rollout must not end the others: it is recorded with its cause
            error = _cause(failure)
    return Trajectory(
        task=task,
        policy=name,
        sample=sample,
        preset=preset,
        calls_per_turn=limits.calls_per_turn,
        prompt=prompt,
        turns=tuple(turns),
        stop=stop,
        error=error,
    )


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


def _tokens(completion: Completion) -> int:
    if completion.token_ids:
        return len(completion.token_ids)
    return completion.usage.completion_tokens if completion.usage else 0


def _limit_reached(limits: Limits, started: float, turns: int, calls: int, tokens: int) -> StopReason | None:
    if (left := _remaining(limits, started)) is not None and left <= 0:
        return "max_time"
    if turns >= limits.max_turns:
        return "max_turns"
    if limits.max_calls is not None and calls >= limits.max_calls:
        return "max_calls"
    if limits.max_tokens is not None and tokens >= limits.max_tokens:
        return "max_tokens"
    return None


def _cause(failure: BaseException) -> str:
    return f"{type(failure).__name__}: {failure}"[:2000]
