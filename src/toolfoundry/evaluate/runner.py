"""Playing a benchmark: many attempts at once, each tried again when something of ours failed, none counted twice.

    attempts = run_benchmark(benchmark, player, sandbox, items=benchmark.items())
    async with contextlib.aclosing(attempts):
        async for attempt in attempts: ...                       in the order in which they end

An infrastructure failure is never a wrong answer: after its retries the attempt is yielded unscored, with its cause.
When nothing works any more the run stops with EndpointError: what was yielded before stays good, and whoever keeps it
goes on later with `done`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from itertools import zip_longest
from typing import NamedTuple

from pydantic import JsonValue

from toolfoundry.environment import Executor
from toolfoundry.errors import ContextFull, EndpointError
from toolfoundry.evaluate.attempts import Attempt, Benchmark, BrokenBenchmark, Item
from toolfoundry.policies import Policy
from toolfoundry.policies.players import Player
from toolfoundry.types import Completion, Message, Task, ToolSchema, Trajectory

__all__ = ["key_of", "run_benchmark", "spread"]

_MOST_FAILURES = 10
_REFUSED = (400, 413, 422)  # the endpoint is there, and does not take this conversation


def key_of(benchmark: Benchmark, item: Item, name: str, sample: int) -> str:
    """The key that the attempt will have."""
    return f"{benchmark.about.name}/{item.id}/{name}/{sample}"


def spread(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit` items, the groups in turn, so that a part has something of each; None is all of them."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    in_turn = [item for round_ in zip_longest(*groups.values()) for item in round_ if item is not None]
    chosen = {item.id for item in in_turn[:limit]}
    return [item for item in items if item.id in chosen]


async def run_benchmark(
    benchmark: Benchmark,
    player: Player,
    executor: Executor,
    *,
    items: Iterable[Item],
    samples: int = 1,
    concurrency: int = 64,
    retries: int = 2,
    done: Collection[str] = (),
    name: str | None = None,
) -> AsyncGenerator[Attempt]:
    """Plays every item `samples` times, at most `concurrency` at once; yields attempts as they end.

    Work is drawn as places become free. Leaving the loop early cancels what is still running.

    Args:
        retries: how often an attempt that an infrastructure failure ended is made again, with a new policy. What was
            thrown away is in the attempt's facts: `again` with the number of `tries` and their tokens. A conversation
            that the model's endpoint refuses as it is, or that its context cannot hold, is not tried again.
        done: keys (`key_of`) of attempts that are not to be made.
        name: who plays, in the records; None is the player's name.
    Raises:
        EndpointError: the first 10 attempts all failed, or 10 in a row for another reason than a refused conversation.
        BrokenBenchmark: the benchmark's data is found to be wrong.
    """
    who = name or player.name
    everything = list(items)
    jobs = (
        (item, sample)
        for sample in range(samples)
        for item in everything
        if key_of(benchmark, item, who, sample) not in done
    )
    running: set[asyncio.Task[_Outcome]] = set()
    ended = in_a_row = 0

    async def play(item: Item, sample: int) -> _Outcome:
        thrown_away: list[Attempt] = []
        while True:
            watched = _Watched()
            try:
                watched.policy = player.start(item.id, item.spec, sample)
                attempt = await benchmark.play(item, watched, executor, name=who, sample=sample)
            except BrokenBenchmark:
                raise
            except Exception as failure:  # one bad attempt must not end the others: it is recorded with its cause
                attempt = _failed(benchmark, item, who, sample, failure)
            if attempt.key != (expected := key_of(benchmark, item, who, sample)):  # a resumed run would make it again
                raise ValueError(f"{benchmark.about.name}: found an attempt {attempt.key!r}, expected {expected!r}")
            if attempt.trajectory.stop != "error" or watched.refused or len(thrown_away) == retries:
                return _Outcome(_with_thrown_away(attempt, thrown_away), watched.refused)
            thrown_away.append(attempt)

    finished: set[asyncio.Task[_Outcome]] = set()
    try:
        while True:
            while len(running) < concurrency and (job := next(jobs, None)) is not None:
                running.add(asyncio.create_task(play(*job)))
            if not running:
                return
            finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            problem: EndpointError | None = None
            for task in finished:
                attempt, refused = task.result()
                yield attempt
                none_worked = in_a_row == ended
                ended += 1
                # An endpoint that refuses a conversation is there. Where nothing has worked at all, that is no comfort.
                failed = attempt.trajectory.stop == "error" and (none_worked or not refused)
                in_a_row = in_a_row + 1 if failed else 0
                if in_a_row >= _MOST_FAILURES:
                    which = f"the first {in_a_row} attempts" if none_worked else f"{in_a_row} attempts in a row"
                    problem = EndpointError(f"{benchmark.about.name}: {which} failed ({attempt.trajectory.error})")
            if problem is not None:  # what has ended with it was given out
                raise problem
    finally:
        for unfinished in running:
            unfinished.cancel()
        await asyncio.gather(*running, *finished, return_exceptions=True)


class _Outcome(NamedTuple):
    attempt: Attempt
    refused: bool


class _Watched:
    """A policy that remembers whether the conversation was refused, which another try would not change."""

    policy: Policy
    refused = False

    async def __call__(self, messages: Sequence[Message], tools: Sequence[ToolSchema]) -> Completion:
        try:
            return await self.policy(messages, tools)
        except ContextFull:
            self.refused = True
            raise
        except EndpointError as error:
            self.refused = error.status in _REFUSED
            raise


def _failed(benchmark: Benchmark, item: Item, name: str, sample: int, failure: Exception) -> Attempt:
    """The record of an attempt that did not come to be."""
    task = item.spec.task if item.spec else Task(spec_id=item.id, kind=None, goals=(), answer=None, tagged=False)
    cause = f"{type(failure).__name__}: {failure}"[:2000]
    trajectory = Trajectory(task=task, policy=name, sample=sample, prompt=(), turns=(), stop="error", error=cause)
    return Attempt(benchmark=benchmark.about.name, group=item.group, cluster=item.cluster, trajectory=trajectory)


def _with_thrown_away(attempt: Attempt, thrown_away: Sequence[Attempt]) -> Attempt:
    if not thrown_away:
        return attempt
    usages = [turn.completion.usage for lost in thrown_away for turn in lost.trajectory.turns]
    again: dict[str, JsonValue] = {
        "tries": len(thrown_away),
        "prompt_tokens": sum(usage.prompt_tokens for usage in usages if usage),
        "completion_tokens": sum(usage.completion_tokens for usage in usages if usage),
    }
    return attempt.model_copy(update={"facts": {**attempt.facts, "again": again}})
