"""The time and the chance that tool code sees: both start from the session's epoch and seed, and run on from there.

No system call can be refused for this (clocks are read without one, through the vDSO), so the functions themselves are
replaced, once, in the zygote, before other modules copy them. Code that insists (a C extension, `_random`) can still
read the real clock: this is for repeatable results, not a wall.

A clock advances 10 microseconds each time that it is read and by the whole time of a sleep, which returns at once.
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import operator
import time
from collections.abc import Callable
from typing import Any

__all__ = ["World", "install"]

STEP_NS = 10_000
BOOT_NS = 1_000 * 10**9  # what monotonic clocks show at the epoch


class World:
    """The clock and the entropy of one session; `reset` takes both back to the start."""

    def __init__(self) -> None:
        self.epoch_ns = self.now_ns = 0
        self.seed = 0
        self.source: Any = None  # random.Random, made at first use
        self.uuid: dict[str, Any] = {}  # the names of `uuid`, which remembers the last time it saw

    def start(self, epoch_ns: int, seed: int) -> None:
        self.epoch_ns, self.seed = epoch_ns, seed
        self.reset()

    def reset(self) -> None:
        self.now_ns = self.epoch_ns
        self.source = None
        self.uuid["_last_timestamp"] = None

    def read(self) -> int:
        self.now_ns += STEP_NS
        return self.now_ns

    def entropy(self, size: int) -> bytes:
        if self.source is None:
            import random

            self.source = random.Random(self.seed)
        return self.source.randbytes(size)


def install(world: World) -> None:
    """Replaces the clocks of `time` and `datetime`. Call it before other modules are imported."""
    original = {name: getattr(time, name) for name in ("gmtime", "localtime", "ctime", "strftime", "asctime")}

    def since_boot() -> int:
        return world.read() - world.epoch_ns + BOOT_NS

    def sleep(secs: float, /) -> None:
        duration = secs if isinstance(secs, float) else operator.index(secs)
        if duration < 0:
            raise ValueError("sleep length must be non-negative")
        world.now_ns += int(duration * 10**9)

    def with_now(name: str) -> Callable[..., Any]:
        function = original[name]

        def read(secs: float | None = None, /) -> Any:
            return function(world.read() / 1e9 if secs is None else secs)

        return read

    def asctime(moment: Any = None, /) -> str:
        return original["asctime"](time.gmtime() if moment is None else moment)

    def strftime(form: str, moment: Any = None, /) -> str:
        return original["strftime"](form, time.gmtime() if moment is None else moment)

    def clock_ns(clk_id: int, /) -> int:
        return world.read() if clk_id == time.CLOCK_REALTIME else since_boot()

    def clock(clk_id: int, /) -> float:
        return clock_ns(clk_id) / 1e9

    def named(read: Callable[[], int], name: str) -> dict[str, Callable[..., Any]]:
        return {name: lambda: read() / 1e9, f"{name}_ns": lambda: int(read())}

    replaced: dict[str, Callable[..., Any]] = {
        "clock_gettime_ns": clock_ns,
        "clock_gettime": clock,
        "sleep": sleep,
        "asctime": asctime,
        "strftime": strftime,
    }
    replaced |= {name: with_now(name) for name in ("gmtime", "localtime", "ctime")}
    replaced |= named(world.read, "time")
    for name in ("monotonic", "perf_counter", "process_time", "thread_time"):
        replaced |= named(since_boot, name)
    for name, function in replaced.items():
        function.__name__ = function.__qualname__ = name
        setattr(time, name, function)

    def now(cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return cls.fromtimestamp(world.read() // 1000 / 1e6, tz)

    def utcnow(cls: type[datetime.datetime]) -> datetime.datetime:
        return cls.fromtimestamp(world.read() // 1000 / 1e6, datetime.UTC).replace(tzinfo=None)

    def today(cls: type[datetime.date]) -> datetime.date:
        return cls.fromtimestamp(world.read() // 1000 / 1e6)

    replace_methods(datetime.datetime, now=now, utcnow=utcnow, today=today)
    replace_methods(datetime.date, today=today)


def replace_methods(cls: type, **methods: Callable[..., Any]) -> None:
    """Puts class methods into a built-in type. A subclass would show in `type()`, `repr()` and arithmetic instead."""
    (namespace,) = gc.get_referents(cls.__dict__)
    for name, function in methods.items():
        function.__qualname__ = f"{cls.__name__}.{name}"
        namespace[name] = classmethod(function)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))


def install_entropy(world: World) -> None:
    """Replaces the sources of chance in `os`, `random`, `secrets` and `uuid`. Call it when they are imported."""
    import os
    import random
    import uuid

    seed_from = random.Random.seed

    def urandom(size: int, /) -> bytes:
        return world.entropy(size)

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        seed_from(self, int.from_bytes(world.entropy(16), "big") if a is None else a, version)

    def getrandom(size: int, flags: int = 0) -> bytes:  # noqa: ARG001
        return world.entropy(size)

    os.__dict__.update(urandom=urandom, getrandom=getrandom, getpid=lambda: 2, getppid=lambda: 1)
    random.__dict__.update(_urandom=urandom)
    random.Random.seed = seed
    world.uuid = uuid.__dict__
    world.uuid.update(_node=0x020000000000, _generate_time_safe=None, _UuidCreate=None)
