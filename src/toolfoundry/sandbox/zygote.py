"""The two trusted processes below the host: the zygote, which loads the standard library once, and its templates.

    host ──► zygote ──► template (compiles the sources, parses the state) ──► worker (confined; runs tool code)

The host makes every socket pair and hands one end down: to the zygote with a request for a template, to a template
with a request for a worker. Requests have no replies; the answer is what comes out of the new socket: a worker first
sends a descriptor of its own process, by which the host can kill it, then its report, then results. Each process ends
when the one above it does. No process that can fork ever executes tool code.

Sources and state come in an anonymous file, so that megabytes cross in one message; a template first gives up its
rights, then reads and parses them. State and code are shared with its workers, copy on write.
"""

from __future__ import annotations

import os
import sys

# What `random`, `logging` and `threading` want to do in every fork touches a hundred pages, and is not needed here: a
# worker's chance is set before it serves, and no other thread can hold a lock.
REGISTER_AT_FORK = os.register_at_fork
os.register_at_fork = dict

# ruff: noqa: E402
from . import engine, world  # first of all: the engine keeps the real clocks for itself

WORLD = world.World()
world.install(WORLD)  # before anything else can copy the clocks

import contextlib
import datetime
import gc
import importlib
import importlib.abc
import itertools
import json
import resource
import signal
import socket
import time
import warnings
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from . import harden
from .modules import ENCODINGS, PRELOAD

LOAD_CPU_S, LOAD_BYTES = 5, 2 << 30  # what parsing one environment's sources and state may use
HIDDEN = "ctypes _ctypes socket _socket select subprocess _posixsubprocess multiprocessing signal resource".split()
GETPID = os.getpid  # tools see a constant
PAGE = resource.getpagesize()


class Absent(importlib.abc.MetaPathFinder):
    """Answers every import that is not already loaded, in place of the finders that would open files."""

    def find_spec(self, fullname: str, *_: Any) -> None:
        raise ModuleNotFoundError(f"No module named {fullname!r} in the sandbox", name=fullname)


def preload(zones: Path | None) -> list[zoneinfo.ZoneInfo]:
    """Imports all that tools may import, loads every time zone, then closes the import system."""
    for name in PRELOAD:
        importlib.import_module(name)
    for name in ENCODINGS:
        importlib.import_module(f"encodings.{name}")
    world.install_entropy(WORLD)
    loaded: list[zoneinfo.ZoneInfo] = []
    if zones is not None:
        zoneinfo.reset_tzpath(to=[str(zones)])
        names = (zones.parent / "zones").read_text().split()
        loaded += [zoneinfo.ZoneInfo(name) for name in names]  # these references keep zoneinfo's cache filled
    zoneinfo.reset_tzpath(to=[])
    everywhere = frozenset(zone.key for zone in loaded)
    zoneinfo.available_timezones = lambda: set(everywhere)
    for name in HIDDEN:  # tidiness, not a wall: tool code can find them through `gc`
        sys.modules.pop(name, None)
    sys.argv[:], sys.orig_argv[:] = [""], []
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    sys.meta_path[:] = [Absent()]
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    os.register_at_fork = REGISTER_AT_FORK
    return loaded


def repeatable() -> bool:
    """Whether the replaced clocks and entropy are the ones that code gets."""
    import random
    import uuid

    seen: list[str] = []
    for _ in range(2):
        WORLD.start(10**18, 1)
        random.seed(0)
        now, today = datetime.datetime.now(), datetime.date.today()
        seen.append(repr((now, today, time.time(), random.Random().random(), uuid.uuid4(), uuid.uuid1())))
    return seen[0] == seen[1] and seen[0].startswith("(datetime.datetime(2001, 9, 9, 1, 46, 40, 10), ")


def move(descriptor: int, *keep: int) -> None:
    """Puts a descriptor at 3 and closes all others but the standard ones and `keep`. Raises OSError if it cannot."""
    os.dup2(descriptor, 3)
    edges = [3, *sorted(kept for kept in keep if kept > 3), 1 << 32]
    for below, above in itertools.pairwise(edges):
        if above - below > 1 and (failed := harden.syscall("close_range", below + 1, above - 1, 0)):
            raise OSError(-failed, "close_range")


def soft_limit(number: int, value: int) -> None:
    _, hard = resource.getrlimit(number)
    if hard != resource.RLIM_INFINITY:
        value = hard if value == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(number, (value, hard))


def worker(channel: int, control: socket.socket, request: dict[str, Any], size: int, abi: int, loaded: Any) -> NoReturn:
    """The forked child: hands its own descriptor up, gives up its rights, and serves."""
    move(channel)  # where the template's own channel was, so `control` now is the worker's
    config = engine.Config(**request)
    own = harden.syscall("pidfd_open", GETPID(), 0)
    socket.send_fds(control, [GETPID().to_bytes(8, "little")], [own])
    os.close(own)
    report = harden.confine_worker(size + config.memory_bytes, config.worker_cpu_s)
    sources, state = loaded
    engine.serve(sources, state, config, WORLD, {**report, "landlock": abi})
    os._exit(0)


def template(channel: int) -> NoReturn:
    """Gives up its rights, loads one set of sources with its state, then forks workers until the host hangs up."""
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    move(channel, statm)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=3)
    abi = harden.confine_template()
    message, descriptors, _, _ = socket.recv_fds(control, 64, 1)
    if not message:
        os._exit(0)
    data = os.pread(descriptors[0], int(message), 0)
    os.close(descriptors[0])
    soft_limit(resource.RLIMIT_CPU, LOAD_CPU_S)
    soft_limit(resource.RLIMIT_AS, LOAD_BYTES)
    loads = json.loads(data)
    sources = {name: engine.compile_source(text) for name, text in loads["sources"].items()}
    loaded = sources, loads.get("state")
    del data, loads
    soft_limit(resource.RLIMIT_CPU, resource.RLIM_INFINITY)
    soft_limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 1)
        if not message:
            os._exit(0)
        size = int(os.pread(statm, 64, 0).split()[0]) * PAGE
        forked(worker, descriptors[0], control, json.loads(message), size, abi, loaded)
        os.close(descriptors[0])


def forked(target: Callable[..., NoReturn], *arguments: Any) -> None:
    """Runs `target` in a child, which never comes back here; if there can be none, the host finds its socket shut."""
    with contextlib.suppress(OSError):
        if os.fork() == 0:
            try:
                target(*arguments)
            finally:
                os._exit(70)


def main(channel: int, zones: str) -> None:
    """Serves requests for templates until the host hangs up."""
    move(channel)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=3)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # whatever the host's thread had blocked
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    harden.prctl(harden.PR_SET_CHILD_SUBREAPER, 1)  # a dead template's workers come to us: pid 1 may not reap them
    harden.own_filters()
    kept = preload(Path(zones) if zones else None)
    control.send(json.dumps({"repeatable": repeatable(), "zones": len(kept)}).encode())
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 64, 1)
        if not message:
            break
        forked(template, descriptors[0])
        os.close(descriptors[0])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)  # all below are in our group; a worker that ignores this dies with its template
    with contextlib.suppress(ChildProcessError):
        os.wait()  # with SIGCHLD ignored it returns when the last child is gone
