"""The host's side of the processes: start a zygote, ask for templates and workers, exchange frames with a worker.

All that comes from a worker is hostile: frames are capped before they are read, parsed by a strict parser, and
checked; whatever is wrong with one, the worker counts as lost.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, cast

import orjson

from toolfoundry.errors import SandboxError, SandboxUnavailable
from toolfoundry.sandbox.eager import Eager
from toolfoundry.sandbox.limits import SandboxLimits
from toolfoundry.sandbox.waits import FIRST_S, Piece, Ready, Steps, receive

__all__ = ["Answer", "Call", "Lost", "Template", "Worker", "Zygote", "missing", "payload"]

Call: TypeAlias = tuple[str, Mapping[str, Any]]
Answer: TypeAlias = tuple[str | None, str]  # (kind of error or None, text)


KINDS = {None, "raised", "timeout", "memory", "output", "unknown_tool"}
HELLO_S = 20.0
PAUSE_S = 0.002
SLACK_S = 0.03  # a worker interrupts its call within two ticks of 10 ms of its limit
FRAME_FACTOR = 6  # JSON may write one byte as six characters

BOOT = """
import os, sys, types
for name, path in zip(("toolfoundry", "toolfoundry.sandbox"), sys.argv[1:3]):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [path]
try:
    from toolfoundry.sandbox.zygote import main
    main(int(sys.argv[3]), sys.argv[4])
except Exception as error:
    import json
    os.write(int(sys.argv[3]), json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
"""  # the packages are named but not run: the zygote holds the standard library, and of ToolFoundry only its own side


class Lost(Exception):
    """A worker is gone, or was sent away. `answers` are those that it gave before, in order."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(f"{kind}: {reason}")
        self.kind, self.reason = kind, reason
        self.answers: list[Answer] = []


KILLED = "the tool brought its process down"
UNLOADABLE = "the source brought down the process that compiles it"


class Zygote:
    """The process that holds the standard library. Raises SandboxUnavailable if it does not come up."""

    def __init__(self) -> None:
        here, zones = Path(__file__).parent, importlib.util.find_spec("tzdata")
        tzdata = Path(zones.origin).parent / "zoneinfo" if zones and zones.origin else ""
        self.reserve: list[socket.socket] = []
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        keep = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        python = [sys.executable, "-s", "-S", "-P", "-c", BOOT]
        with theirs:
            self.process = subprocess.Popen(
                [*python, str(here.parent), str(here), str(theirs.fileno()), str(tzdata)],
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**keep, "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC"},
                cwd="/",
            )
        try:
            self.channel.settimeout(HELLO_S)
            self.about: dict[str, Any] = orjson.loads(self.channel.recv(1 << 16) or b"{}")
            self.channel.setblocking(False)
        except (OSError, ValueError):
            self.about = {}
        if not self.about.get("repeatable"):
            self.close()
            what = "its clock could not be replaced" if self.about else "its first process did not come up"
            raise SandboxUnavailable(
                f"the sandbox cannot start: {self.about.get('error', what)} (Python {sys.version.split()[0]}, "
                f"{sys.executable})"
            )

    def template(self, payload: bytes) -> Steps[Template]:
        """A template of these sources and this state. Returns before the template has loaded them.

        One confined template without a payload is kept in reserve: to make it takes longer than to load most payloads.
        """
        file = os.memfd_create("payload")
        channel = None
        try:
            with open(file, "wb", closefd=False) as writer:
                writer.write(payload)
            with contextlib.suppress(Lost, IndexError):  # the one in reserve may have died
                channel = self.reserve.pop()
                yield from _pass(channel, str(len(payload)).encode(), [file])
                self.reserve.append((yield from self._blank()))
                return Template(channel)
            if channel is not None:
                channel.close()
            channel = yield from self._blank()
            yield from _pass(channel, str(len(payload)).encode(), [file])
            if not self.reserve:
                self.reserve.append((yield from self._blank()))
        except BaseException:
            if channel is not None:
                channel.close()
            raise
        finally:
            os.close(file)
        return Template(channel)

    def _blank(self) -> Steps[socket.socket]:
        """The channel of a new template that has no payload yet."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            yield from _pass(self.channel, b"template", [theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def close(self) -> None:
        """Ends the zygote, which first ends everything below it."""
        self.channel.close()
        for channel in self.reserve:
            channel.close()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _pass(channel: socket.socket, message: bytes, descriptors: list[int], gone: str = "") -> Steps[None]:
    """Sends one datagram with descriptors. Raises Lost, with the reason `gone`, if nobody is there to read it."""
    end = time.monotonic() + HELLO_S
    while True:
        try:
            socket.send_fds(channel, [message], descriptors)
        except BlockingIOError:  # many requests at once; an event loop watches a descriptor for one waiter only
            if time.monotonic() > end:
                what = "the process that makes workers has not answered"
                raise SandboxError(f"{what} for {HELLO_S:.0f} s: the machine is too busy") from None
            yield Ready(-1, PAUSE_S)
        except OSError as error:
            raise Lost("killed", gone or f"the process that makes workers is gone ({error.strerror})") from None
        else:
            return


class Template:
    """A process that holds compiled sources and parsed state, and forks workers of them."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.users = 0  # sessions with a living worker: a worker dies with its template

    def worker(self, limits: SandboxLimits, seed: int) -> Steps[Worker]:
        """A confined worker, with its report. Raises Lost if the template or the worker died before it reported."""
        request = {
            **limits.model_dump(include={*_CONFIG}),
            "epoch_ns": (limits.epoch - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND * 1000,
            "seed": seed,
        }
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, int(FIRST_S * 1e6)))
        worker = Worker(ours)
        try:
            try:
                yield from _pass(self.channel, orjson.dumps(request), [theirs.fileno()], gone=UNLOADABLE)
            finally:
                theirs.close()
            yield from worker.greet()
        except BaseException:
            worker.kill()
            raise
        return worker

    def close(self) -> None:
        self.channel.close()


_CONFIG = ("call_s", "output_bytes", "error_chars", "recursion", "state_bytes", "memory_bytes", "worker_cpu_s")
_MICROSECOND = datetime.resolution


_FRAME = [int, list, bool, int]  # number of the request, results, whether they are the last, peak memory in KB


class Worker:
    """One confined process. After `Lost`, and after anything unexpected, it must be killed and not used again."""

    __slots__ = ("base_kb", "eager", "held", "number", "peak_kb", "pid", "pidfd", "report", "served", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.held, self.eager = sock, bytearray(), Eager()
        self.pid = self.pidfd = -1
        self.report: dict[str, int] = {}
        self.number = self.served = self.peak_kb = self.base_kb = 0

    def kill(self) -> None:
        """Ends the process now; it may be called at any time, and more than once."""
        if self.pidfd >= 0:
            self.stop()
            os.close(self.pidfd)
            self.pidfd = -1
        self.sock.close()

    def stop(self) -> None:
        """Ends the process, but leaves the descriptors to the thread that is waiting for it."""
        if self.pidfd >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    @property
    def growth_bytes(self) -> int:
        """By how much its memory has ever exceeded that after its first calls."""
        return (self.peak_kb - self.base_kb) << 10

    def greet(self) -> Steps[None]:
        if not (yield Ready(self.sock.fileno(), HELLO_S)):
            # Loading is only compiling, and its CPU time is limited: the source cannot be what this waits for.
            raise SandboxError(f"no worker came up within {HELLO_S:.0f} s: the machine is too busy")
        try:
            message, descriptors, _, _ = socket.recv_fds(self.sock, 8, 1)
        except OSError:
            message, descriptors = b"", []
        if not descriptors:
            raise Lost("killed", UNLOADABLE)
        self.pid, self.pidfd = int.from_bytes(message, "little"), descriptors[0]
        report = self._parse((yield from self._frame(4096)))
        if not isinstance(report, dict) or not all(type(v) is int for v in report.values()):
            raise Lost("killed", KILLED)
        self.report = cast(dict[str, int], report)

    def run(self, calls: Sequence[Call], limits: SandboxLimits) -> Steps[list[Answer]]:
        """The answers to the calls in order; fewer if the worker stopped after a call that spoilt its state.

        Raises Lost, with the answers up to then.
        """
        answers: list[Answer] = []
        cap = FRAME_FACTOR * (2 * limits.output_bytes + 8 * limits.error_chars) + (1 << 20)
        self.number += 1
        try:
            yield from self._send({"id": self.number, "calls": calls})
            done = False
            while not done:
                frame = self._parse((yield from self._frame(cap, limits)))
                if type(frame) is not list or [*map(type, frame)] != _FRAME or frame[0] != self.number:
                    raise Lost("killed", KILLED)
                _, results, done, self.peak_kb = cast(tuple[int, list[Any], bool, int], frame)
                had = len(answers)
                answers += [self._answer(result, limits) for result in results]
                if len(answers) > len(calls) or len(answers) == had:
                    raise Lost("killed", KILLED)
            if self.held:
                raise Lost("killed", KILLED)
        except Lost as lost:
            lost.answers = answers[: len(calls)]
            raise
        self.served += len(answers)
        self.base_kb = self.base_kb or self.peak_kb
        return answers

    def state(self, limits: SandboxLimits) -> Steps[Any]:
        """The state as it is now. Raises Lost, or SandboxError if it is no JSON any more."""
        self.number += 1
        yield from self._send({"id": self.number, "state": True})
        frame = yield from self._frame(limits.state_bytes + 1024, limits)
        try:
            reply: Any = json.loads(frame)
        except (ValueError, RecursionError):
            reply = None
        match reply:
            case [self.number, state]:
                return state
            case [self.number, None, str(reason)]:
                raise SandboxError(f"the state of the session cannot be read: {reason[:400]}")
            case _:
                raise Lost("killed", KILLED)

    @staticmethod
    def _answer(result: Any, limits: SandboxLimits) -> Answer:
        try:
            kind, text = result
            if kind in KINDS and type(text) is str:
                if kind is not None:
                    return kind, text[: limits.error_chars + 200]
                if len(text) <= limits.output_bytes:
                    return None, text
        except (TypeError, ValueError):  # not a pair, or a kind that cannot be looked up
            pass
        raise Lost("killed", KILLED)

    @staticmethod
    def _parse(frame: bytes) -> list[Any] | dict[str, Any] | None:
        try:
            return orjson.loads(frame)
        except orjson.JSONDecodeError:
            raise Lost("killed", KILLED) from None

    def _send(self, request: dict[str, Any]) -> Steps[None]:
        data = exact_json(request)
        view = memoryview(len(data).to_bytes(4, "little") + data)
        end = 0.0
        while True:
            try:
                view = view[self.sock.send(view, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                end = end or time.monotonic() + HELLO_S
                if time.monotonic() > end:
                    raise Lost("killed", KILLED) from None
                yield Ready(-1, PAUSE_S)
            except OSError:
                raise Lost("killed", KILLED) from None
            if not view:
                return

    def _frame(self, cap: int, limits: SandboxLimits | None = None) -> Steps[bytes]:
        """The next frame. Without limits, each piece of it must come soon; with limits, all of it within patience.

        Most calls are quick: patience is made only when the first piece has not come soon, or was not all.
        """
        patience: Patience | None = None
        ended = False
        piece: bytes | None = None if self.held else (yield Piece(self.sock, self.eager))
        while True:
            if piece == b"":
                raise Lost("killed", KILLED)
            self.held += piece or b""
            if (frame := self._take(cap)) is not None:
                return frame
            if limits is None:
                seconds = HELLO_S
            elif ended:
                raise Lost("timeout", f"the call took longer than {limits.call_s:g} s")
            else:
                patience = patience or Patience(self.pid, limits, FIRST_S)
                ended = patience.ended()
                seconds = 0 if ended else patience.seconds
            came = yield Ready(self.sock.fileno(), seconds)
            if not came and limits is None:
                raise Lost("killed", "the worker does not answer")
            piece = receive(self.sock, socket.MSG_DONTWAIT) if came else None

    def _take(self, cap: int) -> bytes | None:
        """A whole frame from what has been received, or None."""
        held = self.held
        if len(held) < 4:
            return None
        end = 4 + int.from_bytes(held[:4], "little")
        if end > cap:
            raise Lost("killed", KILLED)
        if len(held) < end:
            return None
        frame = bytes(memoryview(held)[4:end])
        del held[:end]
        return frame


class Patience:
    """How long to wait for a frame of a worker. It ends when the worker has computed for longer than a call may, or
    stands still for as long, or at the limit of wall time: one that waits for its turn on a busy machine is left alone.
    It begins when `waited` seconds have passed, which the worker is taken to have computed for.
    """

    __slots__ = ("call_s", "pid", "seconds", "spent", "start", "wall_s")

    def __init__(self, pid: int, limits: SandboxLimits, waited: float) -> None:
        self.pid, self.call_s, self.wall_s = pid, limits.call_s, limits.wall_s or 10 * limits.call_s
        self.start, self.spent = time.monotonic() - waited, _cpu_seconds(pid) - waited
        self.seconds = limits.call_s + SLACK_S - waited

    def ended(self) -> bool:
        waited, used = time.monotonic() - self.start, _cpu_seconds(self.pid) - self.spent
        self.seconds = max(self.call_s + SLACK_S - waited, 0.01)
        if waited >= self.wall_s or used >= self.call_s + SLACK_S / 2:
            return True
        return waited >= self.call_s + SLACK_S and not _is_runnable(self.pid)


def _cpu_seconds(pid: int) -> float:
    """CPU seconds that a process has used; 0 when it is gone. `~pid << 3 | 2` is its clock (clock_getcpuclockid(3))."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _is_runnable(pid: int) -> bool:
    """Whether a process computes or waits for a core; also true where /proc does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] in (b"R", b"D")
    except OSError:
        return True


def exact_json(value: Any) -> bytes:
    """The value as JSON that Python reads back as the same value. Raises TypeError for what JSON cannot hold.

    The fast writer makes null of NaN, and refuses big numbers and lone surrogates; the slow one writes them.
    """
    with contextlib.suppress(TypeError):
        fast = orjson.dumps(value, option=_STRICT)
        if b"null" not in fast:
            return fast
    try:
        return json.dumps(value).encode()
    except RecursionError:
        raise TypeError("nested too deeply for JSON") from None


_STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS


def payload(sources: Mapping[str, str], state: Any) -> bytes:
    """Sources and state as a template reads them."""
    sources = dict(sources)
    return exact_json({"sources": sources} if state is None else {"sources": sources, "state": state})


def missing(report: Mapping[str, int], required: Iterable[str]) -> list[str]:
    """The walls that a worker's report does not name as standing."""
    return [name for name in required if report.get(name) != 1]
