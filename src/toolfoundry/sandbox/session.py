"""One trust domain: its calls, its worker, and how both outlive a worker's death."""

from __future__ import annotations

import copy
import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

from pydantic import JsonValue

from toolfoundry.errors import SandboxError
from toolfoundry.sandbox.limits import SandboxLimits
from toolfoundry.sandbox.process import Answer, Call, Lost, Template, Worker
from toolfoundry.sandbox.waits import Steps, adrive, drive
from toolfoundry.types import ToolResult

if TYPE_CHECKING:
    from toolfoundry.sandbox.pool import Sandbox

__all__ = ["Session", "grant", "granted"]

CHUNK = 256  # calls that a worker gets at once


class Session:
    """One trust domain; made by `Sandbox.session`. Calls of one session run one after the other.

    Without state, a call's result depends on nothing but its arguments and the seed. With state, tools see the state
    as the calls before left it; their clock and chance run on. A call that ends by `timeout`, `memory` or `killed`
    leaves the state as it was before it.

    Usable as a context manager, sync and async.
    """

    def __init__(self, box: Sandbox, payload: bytes, stateful: bool, seed: int, limits: SandboxLimits) -> None:
        self.box, self.payload, self.stateful, self.limits = box, payload, stateful, limits
        self.key = hashlib.sha256(payload).digest()
        self.begin(seed)

    def begin(self, seed: int) -> None:
        self.seed = seed
        self.worker: Worker | None = None
        self.template: Template | None = None
        self.busy = self.closed = self.placed = self.retired = False
        self.turns: deque[Future[None]] = deque()
        self.answered: list[Call] = []  # the calls that made the state what it is

    def call(self, name: str, arguments: Mapping[str, JsonValue]) -> ToolResult:
        """The result of one call. A tool's failure is in it; SandboxError is ours."""
        return drive(self.steps([(name, arguments)]))[0]

    def batch(self, calls: Sequence[tuple[str, Mapping[str, JsonValue]]]) -> list[ToolResult]:
        """The results of several calls, in their order. One that brings the worker down does not take others along."""
        return drive(self.steps(calls))

    async def acall(self, name: str, arguments: Mapping[str, JsonValue]) -> ToolResult:
        """`call`, awaitable."""
        return (await adrive(self.steps([(name, arguments)])))[0]

    async def abatch(self, calls: Sequence[tuple[str, Mapping[str, JsonValue]]]) -> list[ToolResult]:
        """`batch`, awaitable."""
        return await adrive(self.steps(calls))

    def state(self) -> Any:
        """The state as it is now; None for a session without. Raises SandboxError if a tool made it other than JSON."""
        return drive(self._state())

    async def astate(self) -> Any:
        """`state`, awaitable."""
        return await adrive(self._state())

    def twin(self, seed: int | None = None) -> Session:
        """A new session with the sources and the state that this one began with, at no cost of serialising them."""
        twin = copy.copy(self)
        twin.begin(self.seed if seed is None else seed)
        return twin

    def close(self) -> None:
        """Ends the session and its worker; nothing of it is left. May be called more than once."""
        self.box.close_session(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    # --- for the sandbox ----------------------------------------------------------------------------------------------

    def steps(self, calls: Sequence[Call]) -> Steps[list[ToolResult]]:
        """The waits of `batch`, for `drive` or `adrive`."""
        if not calls:
            return []
        yield from self.box.enter(self)
        try:
            answers = yield from self._answers(calls)
        except BaseException:
            self.drop()  # cancelled or broken half-way: what the worker does now is not known
            raise
        finally:
            self.box.leave(self)
        return [_result(answer) for answer in answers]

    def _answers(self, calls: Sequence[Call]) -> Steps[list[Answer]]:
        answers: list[Answer] = []
        again = -1
        singly_until = 0  # after a loss, calls of that chunk go one by one, so that only the guilty one is charged
        while (done := len(answers)) < len(calls):
            chunk = calls[done : done + (1 if done < singly_until else CHUNK)]
            try:
                worker = self.worker or (yield from self._revive())
            except Lost as lost:
                return answers + [(lost.kind, lost.reason)] * (len(calls) - done)
            if self.closed:
                raise SandboxError("the session is closed")
            try:
                got = yield from worker.run(chunk, self.limits)
            except Lost as lost:
                self.drop()
                got = lost.answers
                singly_until = max(singly_until, done + len(chunk))
                if not got and len(chunk) == 1:
                    if lost.kind == "timeout" or again == done:
                        got = [(lost.kind, lost.reason)]
                    again = done  # what killed the worker may be left from an earlier call: once more in a new one
            answers += got
            if self.stateful:
                self._note(chunk, got)
            elif worker.served >= self.limits.calls_per_worker or worker.growth_bytes > self.limits.growth_bytes:
                self.drop()
        return answers

    def _note(self, calls: Sequence[Call], answers: Sequence[Answer]) -> None:
        for call, (kind, _) in zip(calls, answers, strict=False):
            if kind in ("timeout", "memory", "killed"):
                self.drop()
            else:
                self.answered.append(call)

    def _revive(self) -> Steps[Worker]:
        """A new worker, in the state that the answered calls led to."""
        self.template, self.worker = yield from self.box.spawn(self)
        worker = self.worker
        for start in range(0, len(self.answered), CHUNK):
            chunk = self.answered[start : start + CHUNK]
            try:
                again = len((yield from worker.run(chunk, self.limits)))
            except Lost:
                again = 0
            if again < len(chunk):
                self.drop()
                raise Lost("killed", "the state was lost: played again, the calls before did not give the same")
        return worker

    def _state(self) -> Steps[Any]:
        if not self.stateful:
            return None
        yield from self.box.enter(self)
        try:
            worker = self.worker or (yield from self._revive())
            return (yield from worker.state(self.limits.model_copy(update={"call_s": max(10, self.limits.call_s)})))
        except Lost as lost:
            self.drop()
            raise SandboxError(f"the state of the session cannot be read: {lost.reason}") from None
        except BaseException:
            self.drop()
            raise
        finally:
            self.box.leave(self)

    def drop(self) -> None:
        """Ends the worker, if there is one; the session can make another."""
        with self.box.lock:
            if self.worker is not None:
                self.worker.kill()
                self.worker = None
            if self.template is not None:
                self.box.leave_template(self.key, self.template)
                self.template = None

    def retire(self) -> None:
        """From now on the worker ends with each call, so that a session which nobody closes holds no place."""
        with self.box.lock:
            self.retired = True
            if not self.busy:
                self.box.release(self)

    def pass_turn(self) -> None:
        """Lets the next call of this session go on."""
        with self.box.lock:
            while self.turns:
                if grant(self.turns.popleft()):
                    return
            self.busy = False


def grant(future: Future[None]) -> bool:
    """Lets the one who waits for `future` go on; False if nobody waits any more."""
    if not future.set_running_or_notify_cancel():
        return False
    future.set_result(None)
    return True


def granted(future: Future[None], undo: Callable[[], None]) -> Steps[None]:
    """Waits for what `future` grants; when the wait is given up, but the grant has come, it goes to the next."""
    try:
        yield future
    except BaseException:
        if not future.cancel():
            undo()
        raise


def _result(answer: Answer) -> ToolResult:
    kind, text = answer
    return ToolResult(call_id="", content=text) if kind is None else ToolResult(call_id="", error=f"{kind}: {text}")
