"""`Sandbox`: where the rest of ToolFoundry, and its users, run tool code.

A session is one trust domain: one environment, or one rollout of it. It has one worker at a time, which is made at its
first call, and nothing of it is left when it ends. Sessions with the same sources and state share a template, which
holds both once. An idle worker may be taken from its session when all places are in use; like a worker that was killed
it is made again, and where there is state, the calls that had been answered are played again to rebuild it.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Self

from pydantic import JsonValue

from toolfoundry.errors import SandboxError, SandboxUnavailable
from toolfoundry.sandbox.limits import SandboxLimits
from toolfoundry.sandbox.process import Lost, Template, Worker, Zygote, missing, payload
from toolfoundry.sandbox.session import Session, grant, granted
from toolfoundry.sandbox.waits import Steps, drive
from toolfoundry.types import ToolResult

__all__ = ["REQUIRED", "Sandbox"]

REQUIRED = (
    *("seccomp", "no_new_privs", "no_capabilities", "not_dumpable", "memory_limit", "cpu_limit"),
    *("no_open", "no_socket", "no_fork", "no_other_read", "no_other_write", "no_executable_memory", "no_prctl"),
)
"""What a worker must report to hold. `landlock` (a second wall round files) and `not_root` are not required."""

HONEST = payload({"f": "def f(): return 1"}, None)
TEMPLATES = 64  # templates kept though no session uses them
ONE_OFF_SESSIONS = 64  # sources that `Sandbox.call` keeps a session for
RESTART_S = 60.0  # a zygote that dies twice within this time is not started a third time
CONTAINER = "run it in a Linux container, for example: docker run --rm -v $PWD:/w -w /w python:3.12 ..."


class Sandbox:
    """Runs tool code in confined processes. Thread-safe, and usable from any number of event loops.

    >>> with Sandbox() as box:
    ...     box.call("def double(n):\\n    return 2 * n", "double", {"n": 21}).content
    '42'

    Args:
        limits: of each session that is not given its own.
        max_workers: living workers at most; calls wait for a place. Default: 256, or what the limit of open files
            allows. For programs that compute for long, give the number of cores.

    Raises SandboxUnavailable, at the first use, where the walls cannot be put up; then nothing is executed.
    """

    def __init__(self, limits: SandboxLimits | None = None, *, max_workers: int | None = None) -> None:
        self.limits = limits or SandboxLimits()
        self.max_workers = max_workers if max_workers is not None else _affordable_workers()
        if self.max_workers < 1:
            raise ValueError(f"max_workers: found {max_workers}, expected at least 1")
        self.report: dict[str, int] = {}  # what the workers report to hold, once started
        self.lock = threading.RLock()
        self._pid = os.getpid()
        self._zygote: Zygote | None = None
        self._born, self._restarted = 0.0, False
        self._closed = False
        self._templates: OrderedDict[bytes, Template] = OrderedDict()
        self._one_off: OrderedDict[str, Session] = OrderedDict()
        self._idle: OrderedDict[Session, None] = OrderedDict()
        self._places = self.max_workers
        self._waiting: deque[Future[None]] = deque()
        self._finalizer: weakref.finalize[..., Any] | None = None

    # --- use --------------------------------------------------------------------------------------------------------

    def call(self, source: str, name: str, arguments: Mapping[str, JsonValue]) -> ToolResult:
        """The result of one call. All calls with the same source share a session without state."""
        return self.batch(source, [(name, arguments)])[0]

    def batch(self, source: str, calls: Sequence[tuple[str, Mapping[str, JsonValue]]]) -> list[ToolResult]:
        """The results of several calls of functions of one source, in their order."""
        return self._of(source).batch(calls)

    async def acall(self, source: str, name: str, arguments: Mapping[str, JsonValue]) -> ToolResult:
        """`call`, awaitable."""
        return (await self.abatch(source, [(name, arguments)]))[0]

    async def abatch(self, source: str, calls: Sequence[tuple[str, Mapping[str, JsonValue]]]) -> list[ToolResult]:
        """`batch`, awaitable."""
        return await self._of(source).abatch(calls)

    def session(
        self,
        sources: Mapping[str, str],
        *,
        state: JsonValue = None,
        seed: int = 0,
        limits: SandboxLimits | None = None,
    ) -> Session:
        """A trust domain of its own: one environment, or one rollout.

        Args:
            sources: tool name to the Python source that defines the function of that name. "SCOPE/NAME" is the
                function NAME too, so that one session can hold several of a name.
            state: where not None, a JSON value that each tool gets, as its keyword argument `data`, and may change.
            seed: of all chance that the tools see, 0 to 2**63 - 1.
            limits: instead of the sandbox's.
        """
        return Session(self, payload(sources, state), state is not None, seed, limits or self.limits)

    def start(self) -> Self:
        """Starts the processes and tests the walls, if that has not been done; the first call does it too.

        Raises SandboxUnavailable with what is missing and what to do.
        """
        with self.lock:
            self._check_usable()
            if self._zygote is None:
                self._start()
        return self

    def close(self) -> None:
        """Ends every process of the sandbox. Calls that are running raise SandboxError."""
        with self.lock:
            self._closed = True
            for session in [*self._idle]:
                session.close()
            self._forget_templates()
            if self._finalizer is not None:
                self._finalizer()
            self._one_off.clear()
            waiting, self._waiting = [*self._waiting], deque()
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(SandboxError("the sandbox is closed"))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *_: object) -> None:
        self.close()

    # --- processes ----------------------------------------------------------------------------------------------------

    def _of(self, source: str) -> Session:
        with self.lock:
            session = self._one_off.pop(source, None) or self.session({"": source})
            self._one_off[source] = session
            while len(self._one_off) > ONE_OFF_SESSIONS:
                _, oldest = self._one_off.popitem(last=False)
                oldest.retire()
        return session

    def _check_usable(self) -> None:
        if self._closed:
            raise SandboxError("the sandbox is closed")
        if self._pid != os.getpid():
            raise SandboxError(
                f"this sandbox belongs to process {self._pid}, and this is a fork of it: create a new Sandbox here"
            )

    def _start(self) -> None:
        if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
            raise SandboxUnavailable(
                f"the sandbox needs Linux on x86-64 or arm64, and this is {platform.system()} on {platform.machine()}: "
                + CONTAINER
            )
        if not sys.executable:
            raise SandboxUnavailable("the sandbox needs sys.executable, which is empty in this embedded interpreter")
        try:
            os.close(os.pidfd_open(os.getpid()))
        except OSError as error:
            raise SandboxUnavailable(f"the sandbox needs pidfd_open (Linux 5.9 or later): {error.strerror}") from None
        self._zygote = zygote = Zygote()
        self._born = time.monotonic()
        self._finalizer = weakref.finalize(self, _end, zygote, self._pid)
        self._places += 1  # for the test, which must not wait for those who wait for the start
        try:
            drive(self._test())
        except BaseException:
            self._zygote = None
            self._forget_templates()
            self._finalizer()
            raise
        finally:
            self._places -= 1

    def _test(self) -> Steps[None]:
        """Lets tool code try what is forbidden, in workers like all others."""
        from toolfoundry.sandbox.selftest import TRIALS, succeeded

        try:
            yield from self._make_any_worker()
        except SandboxUnavailable:
            raise
        except SandboxError as error:
            raise SandboxUnavailable(f"the sandbox cannot start: {error}") from None
        session = self.session(TRIALS, limits=SandboxLimits())
        try:
            results = yield from session.steps([(name, {}) for name in TRIALS])
        finally:
            session.close()
        if through := [name for name, result in zip(TRIALS, results, strict=True) if succeeded(result)]:
            raise SandboxUnavailable(f"the sandbox does not hold on this machine: tool code could {', '.join(through)}")

    def _forget_templates(self) -> None:
        while self._templates:
            self._templates.popitem()[1].close()

    def _restart(self, dead: Zygote) -> None:
        with self.lock:
            if self._zygote is not dead:
                return
            self._zygote = None
            dead.close()
            self._forget_templates()
            if time.monotonic() - self._born < RESTART_S and self._restarted:
                raise SandboxError(
                    "the sandbox's first process died twice within a minute; is the machine out of memory?"
                )
            self._restarted = True
            self._start()

    def _template(self, session: Session) -> Steps[Template]:
        """The template of a session's sources and state, with one more user."""
        while True:
            with self.lock:
                self.start()
                zygote = self._zygote
                if (template := self._templates.get(session.key)) is not None:
                    template.users += 1
                    self._templates.move_to_end(session.key)
                    return template
            assert zygote is not None
            try:
                template = yield from zygote.template(session.payload)
            except Lost:
                self._restart(zygote)
                continue
            with self.lock:
                if session.key in self._templates or self._zygote is not zygote:
                    template.close()
                else:
                    self._templates[session.key] = template

    def leave_template(self, key: bytes, template: Template, *, broken: bool = False) -> None:
        with self.lock:
            template.users -= 1
            if broken and self._templates.get(key) is template:
                del self._templates[key]
            if self._templates.get(key) is not template:
                if template.users == 0:
                    template.close()
                return
            unused = [key for key, other in self._templates.items() if other.users == 0]
            for old in unused[: max(0, len(self._templates) - TEMPLATES)]:
                self._templates.pop(old).close()

    def spawn(self, session: Session) -> Steps[tuple[Template, Worker]]:
        """A worker whose report is complete. Raises Lost if the sources cannot be loaded."""
        reason = Lost("killed", "no worker could be made")
        for _ in range(2):  # a template can die of something else once; twice is its sources' doing
            template = yield from self._template(session)
            try:
                worker = yield from template.worker(session.limits, session.seed)
            except Lost as lost:
                self.leave_template(session.key, template, broken=True)
                reason = lost
                continue
            except BaseException:
                self.leave_template(session.key, template)
                raise
            if gaps := missing(worker.report, REQUIRED):
                worker.kill()
                self.leave_template(session.key, template, broken=True)
                raise SandboxUnavailable(
                    f"the sandbox cannot be set up here: missing {', '.join(gaps)}; the kernel must allow seccomp "
                    f"filters and no_new_privs to unprivileged processes, as a default container does: {CONTAINER}"
                )
            self.report = worker.report
            return template, worker
        if session.payload == HONEST:
            raise SandboxError(
                "no worker can be made: is the machine out of memory or processes, or older than Linux 5.9?"
            )
        yield from self._make_any_worker()
        raise reason

    def _make_any_worker(self) -> Steps[None]:
        """Raises SandboxError if the machine, and not some source, is to blame for a worker that cannot be made."""
        honest = Session(self, HONEST, False, 0, SandboxLimits())
        template, worker = yield from self.spawn(honest)
        worker.kill()
        self.leave_template(honest.key, template)

    # --- turns and places ---------------------------------------------------------------------------------------------

    def enter(self, session: Session) -> Steps[None]:
        """Waits for the session's turn, then for a place for its worker. Whoever enters must leave."""
        with self.lock:
            turn: Future[None] | None = None
            if session.busy:
                session.turns.append(turn := Future())
            session.busy = True
        if turn is not None:
            yield from granted(turn, session.pass_turn)
        try:
            self._check_usable()
            if session.closed:
                raise SandboxError("the session is closed")
            with self.lock:
                place: Future[None] | None = None
                if session.worker is not None:
                    self._idle.pop(session, None)
                elif self._places > 0:
                    self._places -= 1
                elif self._idle:
                    victim, _ = self._idle.popitem(last=False)
                    victim.drop()
                    victim.placed = False
                else:
                    self._waiting.append(place := Future())
                session.placed = place is None
            if place is not None:
                yield from granted(place, self._free_place)
                session.placed = True
        except BaseException:
            self.leave(session)
            raise

    def leave(self, session: Session) -> None:
        with self.lock:
            if session.worker is None or session.closed or session.retired or self._waiting:
                self.release(session)
            else:
                self._idle[session] = None
            session.pass_turn()

    def release(self, session: Session) -> None:
        """Takes worker and place from a session that has no call running."""
        with self.lock:
            self._idle.pop(session, None)
            session.drop()
            if session.placed:
                session.placed = False
                self._free_place()

    def _free_place(self) -> None:
        with self.lock:
            while self._waiting:
                if grant(self._waiting.popleft()):
                    return
            self._places += 1

    def close_session(self, session: Session) -> None:
        with self.lock:
            session.closed = True
            if self._pid != os.getpid():
                return  # the worker is our parent's
            if session.busy:  # its call, in another thread or task, finds the worker lost and the session closed
                if session.worker is not None:
                    session.worker.stop()
            else:
                self.release(session)


def _end(zygote: Zygote, owner: int) -> None:
    if os.getpid() == owner:
        zygote.close()


def _affordable_workers() -> int:
    """256, or as many as leave half of the files that this process may open; a worker takes two, a template one."""
    try:
        import resource
    except ImportError:
        return 1  # not a machine on which the sandbox starts
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 256 if files == resource.RLIM_INFINITY else max(1, min(256, files // 6))
