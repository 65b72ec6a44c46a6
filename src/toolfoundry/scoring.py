"""Scores single responses at stored prefixes by executing their calls: the paper's way of training on turns.

Responses to one environment share a worker, since tools without state remember nothing between calls; a call that
several of them make is executed once. With state, every response gets a worker of its own, in which the calls of its
prefix are played again.

A response whose tools cannot be executed (not: whose call fails) is unscored: `graded` None, with the cause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson
from pydantic import JsonValue

from toolfoundry.environment import Environment, Executor, ToolSession
from toolfoundry.errors import FoundryError
from toolfoundry.reward import Graded, grade_turn
from toolfoundry.samples import Prefix
from toolfoundry.types import EnvSpec, Limits, Message, Preset, ToolResult

__all__ = ["Response", "Scored", "score_responses"]


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
    responses: Sequence[Response], executor: Executor, *, preset: Preset = "frontier", limits: Limits = Limits()
) -> list[Scored]:
    """The scores, in the order of the responses. Never raises for one of them."""
    sessions: dict[str, _Shared] = {}
    try:
        return list(await asyncio.gather(*(_score(r, executor, sessions, preset, limits) for r in responses)))
    finally:
        for session in sessions.values():
            session.end()


async def _score(
    response: Response, executor: Executor, sessions: dict[str, _Shared], preset: Preset, limits: Limits
) -> Scored:
    spec, prefix, message = response
    if spec.state is None and message.tool_calls:
        if spec.id not in sessions:
            sessions[spec.id] = _Shared(executor.session({tool.name: tool.source for tool in spec.tools}))
        executor = sessions[spec.id]
    try:
        with Environment(spec, executor, limits) as environment:
            if spec.state is not None and message.tool_calls:
                for earlier in prefix.messages:
                    if earlier.role == "assistant" and earlier.tool_calls:
                        await environment.step(earlier)
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
            calls_per_turn=limits.calls_per_turn,
        )
    except FoundryError as failure:
        return Scored(None, error=f"{type(failure).__name__}: {failure}"[:2000])
    return Scored(graded, step.results)


class _Shared:
    """An executor whose sessions are one session, in which equal calls are executed once."""

    def __init__(self, session: ToolSession) -> None:
        self._session = session
        self._known: dict[bytes, ToolResult] = {}
        self._lock = asyncio.Lock()

    def session(self, sources: Mapping[str, str], *, state: JsonValue = None, seed: int = 0) -> ToolSession:  # noqa: ARG002
        return self

    async def abatch(self, calls: Sequence[tuple[str, Mapping[str, JsonValue]]]) -> list[ToolResult]:
        keys = [orjson.dumps([name, arguments], option=orjson.OPT_SORT_KEYS) for name, arguments in calls]
        async with self._lock:
            new = {key: call for key, call in zip(keys, calls, strict=True) if key not in self._known}
            if new:
                results = await self._session.abatch(list(new.values()))
                self._known.update(zip(new, results, strict=True))
        return [self._known[key] for key in keys]

    def close(self) -> None:
        """The responses that come later use it too."""

    def end(self) -> None:
        self._session.close()
