"""Runs tool code, inside a confined worker: one frame of calls in, frames of results out, until the host hangs up.

A frame is four bytes of length (little endian) and that much JSON. The host sends `{"id", "calls": [[name, arguments],
...]}` and gets one or more `[id, [[kind, text], ...], done, peak_kb]`, the last with `done` true; a result's kind is
null or that of a `ToolResult.error`. It sends `{"id", "state": true}` and gets `[id, state]`.

Each call runs in a new module: the source's code is executed again, so that nothing in its globals, defaults or
function attributes outlives a call. Without state the clock and the entropy start again too, and a call's result does
not depend on the calls before it. What code does to the standard library itself lasts as long as the worker.

Nothing here is a wall: tool code can reach and change all of it. The kernel's filter is the wall.
"""

from __future__ import annotations

import contextvars
import io
import json
import os
import random
import re
import resource
import signal
import sys
import time
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from .eager import Eager
from .world import World

__all__ = ["Config", "Source", "compile_source", "serve"]

FLUSH_S, FLUSH_BYTES, FLUSH_CALLS, TICK_S = 0.005, 32 << 10, 44, 0.01
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{6,16}(?=[ >,])")
PIECE, EAGER = memoryview(bytearray(1 << 16)), Eager()
CPU, NOW = time.process_time, time.perf_counter  # the real ones: this module is imported before the clocks are replaced
SET_TIMER = signal.setitimer
ENCODE = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps(ensure_ascii=False), but made once
USES_CHANCE = re.compile(
    r"\b(random|statistics|uuid|importlib|__import__|exec|eval)\b"
)  # else `random` is out of reach

Result = list[str | None]  # [kind, text]


class Config(NamedTuple):
    """What the host decides about one worker; fields as in `SandboxLimits`."""

    call_s: float
    output_bytes: int
    error_chars: int
    recursion: int
    state_bytes: int
    memory_bytes: int
    worker_cpu_s: int
    epoch_ns: int
    seed: int


class Source(NamedTuple):
    """A compiled source, or the result that every call of it gets."""

    code: CodeType | None
    failure: Result
    chance: bool


def compile_source(text: str) -> Source:
    """Compiles, never executes. The file name is `<string>`, so that messages read as those of a plain `exec`."""
    try:
        return Source(compile(text, "<string>", "exec", dont_inherit=True), [], bool(USES_CHANCE.search(text)))
    except MemoryError:
        return Source(None, ["memory", "the source is too deeply nested or too large to compile"], False)
    except Exception as error:  # SyntaxError, ValueError (null bytes), RecursionError, UnicodeEncodeError
        return Source(None, ["raised", f"{type(error).__name__}: {error}"], False)


class Overdue(BaseException):
    """Raised into tool code that has used up its time."""


class Stopwatch:
    """Interrupts tool code, and nothing else, when a call has used its CPU seconds.

    A timer ticks while calls are served, and stops itself between them. The first tick that falls into a call notes
    the CPU time, later ones compare: a call that ends between two ticks costs nothing. Code that swallows the
    exception gets it again ten ticks later; code that never returns to the interpreter is the host's to kill.
    """

    def __init__(self, call_s: float) -> None:
        self.call_s, self.tick_s = call_s, min(TICK_S, call_s / 4)
        self.call = self.seen = 0
        self.ticking = self.inside = self.overdue = False
        self.due = 0.0
        self.cpu = CPU
        signal.signal(signal.SIGALRM, self.tick)

    def start(self) -> None:
        if not self.ticking:
            self.ticking = True
            SET_TIMER(signal.ITIMER_REAL, self.tick_s, self.tick_s)

    def tick(self, *_: Any) -> None:
        if not self.inside:
            self.ticking = False
            SET_TIMER(signal.ITIMER_REAL, 0)
            return
        now = self.cpu()
        if self.seen != self.call:
            self.seen, self.due = self.call, now + self.call_s - self.tick_s
        elif now >= self.due:
            self.overdue, self.due = True, now + 10 * self.tick_s
            raise Overdue


class Discard(io.TextIOBase):
    """What tools print to, and read from. Results are what a tool returns; prints go nowhere."""

    encoding = "utf-8"

    def write(self, s: str, /) -> int:
        return len(s)

    def read(self, size: int | None = -1, /) -> str:  # noqa: ARG002
        return ""

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # noqa: ARG002
        return ""

    def close(self) -> None:
        """Stays open: closing it in one call would be seen by the next."""


class Engine:
    def __init__(self, sources: dict[str, Source], state: Any, config: Config, world: World) -> None:
        self.sources, self.state, self.config, self.world = sources, state, config, world
        self.watch = Stopwatch(config.call_s)
        self.peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.chance = random.Random(config.seed).getstate()

    def call(self, name: str, arguments: dict[str, Any]) -> Result:
        """The result of one call; whatever the tool does short of ending the process, this returns."""
        sources = self.sources
        source = sources.get(name) or sources.get("")
        if source is None:
            return ["unknown_tool", f"{name[:80]!r} is not one of the tools: {', '.join(sources)}"]
        if source.code is None:
            return source.failure
        watch = self.watch
        watch.call += 1
        watch.overdue = False
        if self.state is None:
            self.world.reset()
            if source.chance:
                random.setstate(self.chance)
        result: Result
        try:
            watch.inside = True
            result = contextvars.Context().run(self.attempt, source.code, name, arguments)
            watch.inside = False
        except Overdue:
            watch.inside = False
            result = ["raised", "Overdue: "]  # only if the tool raised it itself
        if watch.overdue:
            result = ["timeout", f"the call took longer than {self.config.call_s:g} s"]
        return result

    def attempt(self, code: CodeType, name: str, arguments: dict[str, Any]) -> Result:
        config = self.config
        try:
            module = ModuleType("tool")
            sys.modules["tool"] = module  # dataclasses, enum and typing look a class's module up by name
            namespace = vars(module)
            exec(code, namespace)
            name = name.rpartition("/")[2]  # sources of one name are told apart by a scope before it
            if name not in namespace:
                raise NameError(f"name {name!r} is not defined")
            function = namespace[name]
            value = function(**arguments) if self.state is None else function(**arguments, data=self.state)
            if type(value) is not str:
                # As in the release the very types count: an OrderedDict is shown by its str().
                value = ENCODE(value) if type(value) in (dict, list) else str.__str__(str(value))
            if " at 0x" in value:
                value = ADDRESS.sub(" at 0x0", value)
            size = len(value)
            if not value.isascii():
                size = len(value.encode())
            if size > config.output_bytes:
                return ["output", f"the result has {size} bytes, more than {config.output_bytes}"]
            namespace.clear()  # functions and their globals hold each other: without this they wait for the collector
            return [None, value]
        except Overdue:
            raise
        except MemoryError:
            return ["memory", f"the call needed more than {config.memory_bytes >> 20} MiB"]
        except UnicodeEncodeError as error:
            if error.encoding == "utf-8" and error.reason == "surrogates not allowed":
                return ["output", "the result is not text: it has a lone surrogate"]
            return describe(error, config.error_chars)
        except BaseException as error:  # SystemExit and KeyboardInterrupt too: they end a call, not a worker
            return describe(error, config.error_chars)

    def dump_state(self, number: int) -> str:
        try:
            text = json.dumps([number, self.state])
        except Exception as error:
            return json.dumps([number, None, f"it is no longer JSON ({': '.join(map(str, describe(error, 200)[1:]))})"])
        if len(text) > self.config.state_bytes:
            return json.dumps([number, None, f"it has grown beyond {self.config.state_bytes} bytes"])
        return text

    def serve(self, request: dict[str, Any]) -> None:
        """Answers one request. Results leave when some have gathered: the host reads them while the next are made."""
        number = request["id"]
        if "state" in request:
            send(self.dump_state(number))
            return
        results: list[Result] = []
        began = last = NOW()
        size, stateful = 0, self.state is not None
        self.watch.start()
        for name, arguments in request["calls"]:
            if len(results) >= FLUSH_CALLS or size > FLUSH_BYTES or (results and NOW() - last > FLUSH_S):
                send(json.dumps([number, results, False, 0]))
                results, size, last = [], 0, NOW()
            result = self.call(name, arguments)
            results.append(result)
            size += len(result[1] or "")
            if stateful and result[0] in ("timeout", "memory"):
                break  # the state may be half changed: the host rebuilds it before the next call
        if not number & 15 or NOW() - began > FLUSH_S:  # a system call, so not for each quick request
            self.peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        send(json.dumps([number, results, True, self.peak_kb]))


def describe(error: BaseException, chars: int) -> Result:
    """`raised`, with the exception's own text as FTRL's runner would show it."""
    name = type(error).__name__
    name = name[:60] if name.isidentifier() else "Exception"
    try:
        text = str.__str__(str(error))[:chars]
    except Overdue:
        raise
    except BaseException as second:
        text = f"its text cannot be made ({type(second).__name__[:60]})"
    if " at 0x" in text:
        text = ADDRESS.sub(" at 0x0", text)
    return ["raised", f"{name}: {text.encode(errors='replace').decode()}"]


def send(text: str) -> None:
    data = text.encode()
    data = len(data).to_bytes(4, "little") + data
    sent = os.write(3, data)
    while sent < len(data):
        sent += os.write(3, memoryview(data)[sent:])


def begin() -> bytes:
    """The first bytes of a request."""
    times = EAGER.times()
    for _ in range(times):
        try:
            size = os.preadv(3, [PIECE], -1, os.RWF_NOWAIT)
        except OSError:  # nothing yet, or a kernel that cannot say so
            continue
        EAGER.learn(True)
        return bytes(PIECE[:size])
    if times:
        EAGER.learn(False)
    return os.read(3, len(PIECE))


def receive() -> dict[str, Any]:
    """The next request; the host sends one at a time."""
    data = begin()
    while data and len(data) < (end := 4 + int.from_bytes(data[:4], "little")):
        pieces, missing = [data], end - len(data)
        while missing > 0 and (piece := os.read(3, min(missing, 1 << 20))):
            pieces.append(piece)
            missing -= len(piece)
        data = b"".join(pieces) if missing <= 0 else b""
    if not data:
        os._exit(0)  # the host is done, or gone
    return json.loads(str(data[4:], "utf-8"))


def serve(sources: dict[str, Source], state: Any, config: Config, world: World, report: dict[str, int]) -> None:
    """Reports, then serves requests until the host hangs up. Does not return."""
    sys.stdin = sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = sys.__stdin__ = Discard()  # type: ignore[assignment]
    sys.setrecursionlimit(config.recursion)
    world.start(config.epoch_ns, config.seed)
    engine = Engine(sources, state, config, world)
    random.setstate(engine.chance)
    send(json.dumps(report))
    while True:
        request = receive()
        sys.setrecursionlimit(config.recursion)
        engine.serve(request)
