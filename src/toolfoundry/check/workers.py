"""Where the calls of one environment run while it is audited.

Everything is tried in two workers that differ in their entropy and in the date on their clock, and policies play in
the first of them: tools without a state remember nothing between calls. Tools with a state get each probe in the
initial state, or in the one that the calls before it have made, and policies a worker of their own.

`own_workers` gives an environment workers of its own. `SharedWorkers` lets a shard of environments have two together:
a worker is a trust domain, so that is for tools of one author whom one trusts not to tamper with the worker.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import JsonValue

from toolfoundry.environment import Executor, ToolSession
from toolfoundry.errors import SandboxError
from toolfoundry.sandbox import Sandbox, Session
from toolfoundry.seeds import derive_seed
from toolfoundry.types import EnvSpec, ToolResult

__all__ = ["Arguments", "Bench", "Call", "SharedWorkers", "Workers", "own_workers"]

Arguments = dict[str, JsonValue]
Call = tuple[str, Arguments]

_MANY, _FEW = 16, 2  # calls that are made at once: as long as all come back, and after one that did not
_PATIENCE, _PATIENCE_IN_ALL = 3, 24  # calls without an end, of a tool and of an environment, before it is given up
_NOT_TRIED = ToolResult(call_id="", error="timeout: not tried, since several calls before did not come back")
_LATER = datetime(2026, 8, 20, 17, 45, tzinfo=UTC)


class Bench:
    """Where calls are tried: each as if it were the first, after the calls before it.

    Without a state all run in one session. With a state they share one for as long as the state stays as it was;
    whatever follows a change is tried again in a fresh one.
    """

    def __init__(self, shared: ToolSession | None, fresh: Callable[[], Session] | None = None) -> None:
        self._shared, self._fresh = shared, fresh

    async def run(self, calls: Sequence[Call], before: Sequence[Call] = ()) -> list[ToolResult]:
        """The results of the calls, in their order."""
        if self._shared is not None:
            return await self._shared.abatch(calls)
        assert self._fresh is not None
        results: list[ToolResult] = []
        size = len(calls)
        while len(results) < len(calls):
            batch = calls[len(results) : len(results) + size]
            async with self._fresh() as session:
                await session.abatch(before)
                unchanged = await _state(session) if len(batch) > 1 else None
                tried = await session.abatch(batch)
                if len(batch) == 1 or (unchanged is not None and await _state(session) == unchanged):
                    results += tried
                    size = min(2 * size, len(calls))
                else:
                    size = max(1, size // 4)
        return results


async def _state(session: Session) -> JsonValue:
    """The state, None where a tool has made it what cannot be read."""
    try:
        return await session.astate()
    except SandboxError:
        return None


class Workers(NamedTuple):
    """The two benches, and where policies play."""

    first: Bench
    second: Bench
    executor: Executor


@contextlib.asynccontextmanager
async def own_workers(spec: EnvSpec, sandbox: Sandbox, call_s: float | None = None) -> AsyncGenerator[Workers]:
    """Workers that serve this environment alone, and end with it. `call_s`: CPU seconds of a call, None as always."""
    sources = {tool.name: tool.source for tool in spec.tools}
    usual = sandbox.limits.model_copy(update={"call_s": call_s or sandbox.limits.call_s})
    later = usual.model_copy(update={"epoch": _LATER})
    seeds = [derive_seed("check", spec.id, i) for i in range(2)]

    def first() -> Session:
        return sandbox.session(sources, state=spec.state, seed=seeds[0], limits=usual)

    def second() -> Session:
        return sandbox.session(sources, state=spec.state, seed=seeds[1], limits=later)

    if spec.state is not None:
        yield Workers(Bench(None, first), Bench(None, second), sandbox)
        return
    async with first() as one, second() as other:
        wary = _Wary(one)
        yield Workers(Bench(wary), Bench(_Wary(other)), _Lent(wary))


class _Wary:
    """A session in which tools that do not come back are soon not tried again: each try costs seconds.

    Calls that are not made end like those before, by `timeout`.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lost: Counter[str] = Counter()

    async def abatch(self, calls: Sequence[tuple[str, Mapping[str, JsonValue]]]) -> list[ToolResult]:
        results: list[ToolResult] = []
        while len(results) < len(calls):
            size = _FEW if self._lost else _MANY
            batch = calls[len(results) : len(results) + size]
            tried = iter(await self._session.abatch([call for call in batch if not self._given_up(call[0])]))
            results += [_NOT_TRIED if self._given_up(name) else next(tried) for name, _ in batch]
            lost = [name for (name, _), result in zip(batch, results[-len(batch) :], strict=True) if _timed_out(result)]
            self._lost.update(lost)
        return results

    def _given_up(self, name: str) -> bool:
        return self._lost[name] >= _PATIENCE or self._lost.total() >= _PATIENCE_IN_ALL

    def close(self) -> None:
        self._session.close()


def _timed_out(result: ToolResult) -> bool:
    return result is not _NOT_TRIED and (result.error or "").startswith("timeout:")


class _Lent:
    """An executor whose sessions are one session, which goes on when they end."""

    def __init__(self, session: ToolSession) -> None:
        self._session = session

    def session(self, sources: Mapping[str, str], *, state: JsonValue = None, seed: int = 0) -> ToolSession:  # noqa: ARG002
        return _Unclosed(self._session)


class _Unclosed:
    def __init__(self, session: ToolSession) -> None:
        self.abatch = session.abatch

    def close(self) -> None:
        """Whoever lent the session closes it."""


class SharedWorkers:
    """Two workers for a shard of environments without state."""

    def __init__(self, specs: Sequence[EnvSpec], sandbox: Sandbox) -> None:
        sources = {f"{i}/{tool.name}": tool.source for i, spec in enumerate(specs) for tool in spec.tools}
        later = sandbox.limits.model_copy(update={"epoch": _LATER})
        self._first = sandbox.session(sources, seed=derive_seed("check", "shard", 0))
        self._second = sandbox.session(sources, seed=derive_seed("check", "shard", 1), limits=later)

    def of(self, index: int) -> Workers:
        """The workers for the environment at that place in the shard."""
        first, second = _Scoped(self._first, index), _Scoped(self._second, index)
        return Workers(Bench(first), Bench(second), _Lent(first))

    def close(self) -> None:
        self._first.close()
        self._second.close()

    async def __aenter__(self) -> SharedWorkers:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class _Scoped:
    """The part of a shared session that holds one environment's tools."""

    def __init__(self, session: Session, index: int) -> None:
        self._session, self._scope = session, f"{index}/"

    async def abatch(self, calls: Sequence[tuple[str, Mapping[str, JsonValue]]]) -> list[ToolResult]:
        return await self._session.abatch([(self._scope + name, arguments) for name, arguments in calls])

    def close(self) -> None:
        """The shard's workers outlive the environment."""
