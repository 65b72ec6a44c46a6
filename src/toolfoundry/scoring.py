"""Scores single responses at stored prefixes by executing their calls: the paper's way of training on turns.

Responses to one environment share a worker, since tools without state remember nothing between calls; their calls go
to it together, and one that several of them make is executed once. With state, every response gets a worker of its own,
in which the calls of its prefix are played again. Equal messages at one prefix are one response, scored once.

A response whose tools cannot be executed (not: whose call fails) is unscored: `graded` None, with the cause.
Not covered: the limits of a whole rollout; of `Limits` only `calls_per_turn` applies to one response.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import orjson
from pydantic import JsonValue

from toolfoundry.environment import Environment, Executor, ToolSession
from toolfoundry.errors import SandboxError
from toolfoundry.reward import Graded, grade_turn
from toolfoundry.samples import Prefix
from toolfoundry.types import EnvSpec, Limits, Message, Preset, ToolResult

__all__ = ["Response", "Scored", "score_responses"]

Call: TypeAlias = tuple[str, Mapping[str, JsonValue]]


class Response(NamedTuple):
    """One message of the policy, said at a prefix of an environment."""

    spec: EnvSpec
    prefix: Prefix
    message: Message


class Scored(NamedTuple):
    """What a response earned, and what its calls gave. `graded` None: unscored, for the reason in `error`."""

    graded: Graded | None
    results: tuple[ToolResult, ...] = ()
    error: str | None = None


async def score_responses(
    responses: Sequence[Response],
    executor: Executor,
    *,
    preset: Preset = "frontier",
    limits: Limits = Limits(),
    concurrency: int = 64,
) -> list[Scored]:
    """The scores, in the order of the responses. What fails for one of them leaves that one unscored.

    `concurrency`: how many workers are in use at once, at most. Raises ValueError where a prefix is of another
    environment than the one it is given with.
    """
    for spec, prefix, _ in responses:
        if prefix.task.spec_id != spec.id:
            raise ValueError(f"prefix {prefix.key}: found environment {spec.id}, expected {prefix.task.spec_id}")
    groups: dict[tuple[str, int], list[int]] = {}  # what shares a worker
    first: dict[tuple[int, Message], int] = {}  # a sure policy says the same again and again: it is scored once
    same = [first.setdefault((id(prefix), message), index) for index, (_, prefix, message) in enumerate(responses)]
    for index in first.values():
        spec, prefix, _ = responses[index]
        key = (spec.id, prefix.sample) if spec.state is None else ("", index)
        groups.setdefault(key, []).append(index)
    free = asyncio.Semaphore(concurrency)
    scored: dict[int, Scored] = {}

    async def score(indices: list[int]) -> None:
        async with free:
            with contextlib.closing(_Shared(executor)) as shared:
                found = await asyncio.gather(
                    *(_score(responses[index], shared, preset, limits.calls_per_turn) for index in indices)
                )
            scored.update(zip(indices, found, strict=True))

    await asyncio.gather(*(score(indices) for indices in groups.values()))
    return [scored[index] for index in same]


async def _score(response: Response, shared: _Shared, preset: Preset, calls_per_turn: int) -> Scored:
    spec, prefix, message = response
    executor = shared if spec.state is None else shared.executor
    limits = Limits(calls_per_turn=calls_per_turn)
    try:
        with Environment(spec, executor, limits, seed=prefix.sample) as environment:
            if spec.state is not None and message.tool_calls:
                await _replay(environment, prefix.messages[len(spec.prompt) :])
            step = await environment.step(message)
        graded = grade_turn(
            prefix.task.goals,
            prefix.unsolved,
            message,
            step.results,
            prefix.task.answer,
            preset,
            credited=frozenset(prefix.credited),
            tagged=prefix.task.tagged,
            calls_per_turn=calls_per_turn,
        )
    except Exception as failure:  # one response must not take the others along: it is unscored, with the cause
        return Scored(None, error=f"{type(failure).__name__}: {failure}"[:2000])
    return Scored(graded, step.results)


async def _replay(environment: Environment, messages: Sequence[Message]) -> None:
    """Plays the calls of a prefix again. Raises SandboxError where they do not give what the prefix shows."""
    for index, message in enumerate(messages):
        if message.role == "assistant" and message.tool_calls:
            step = await environment.step(message)
            shown = messages[index + 1 : index + 1 + len(step.results)]
            if [reply.content for reply in shown] != [result.text for result in step.results]:
                raise SandboxError("the calls of the prefix, played again, gave other results than it shows")


class _Shared:
    """An executor whose sessions are one session, for tools without state. Equal calls are executed once, and those
    that wait at the same time as one batch; if that fails, it fails for all who have a call in it."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self._session: ToolSession | None = None
        self._known: dict[bytes, ToolResult | Exception] = {}
        self._wanted: dict[bytes, Call] = {}
        self._lock = asyncio.Lock()

    def session(self, sources: Mapping[str, str], *, state: JsonValue = None, seed: int = 0) -> ToolSession:
        if self._session is None:
            self._session = self.executor.session(sources, state=state, seed=seed)
        return _Share(self)

    async def abatch(self, calls: Sequence[Call]) -> list[ToolResult]:
        keys = [orjson.dumps([name, arguments], option=orjson.OPT_SORT_KEYS) for name, arguments in calls]
        self._wanted |= {key: call for key, call in zip(keys, calls, strict=True) if key not in self._known}
        await asyncio.sleep(0)  # so that the others can say what they want
        async with self._lock:
            if self._wanted:
                await self._execute()
        results = [self._known[key] for key in keys]
        for result in results:
            if isinstance(result, Exception):
                raise result
        return [result for result in results if isinstance(result, ToolResult)]

    async def _execute(self) -> None:
        assert self._session is not None
        wanted, self._wanted = self._wanted, {}
        try:
            self._known |= zip(wanted, await self._session.abatch(list(wanted.values())), strict=True)
        except Exception as failure:
            self._known |= dict.fromkeys(wanted, failure)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()


class _Share(NamedTuple):
    """What one response holds of the shared session: closing it leaves the session to the others."""

    of: _Shared

    async def abatch(self, calls: Sequence[Call]) -> list[ToolResult]:
        return await self.of.abatch(calls)

    def close(self) -> None:
        """The session ends with its environment's last response."""
