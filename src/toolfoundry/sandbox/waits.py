"""Waiting, written once for threads and event loops.

What waits is a generator: it yields what it waits for, a `Ready`, a `Piece` or a future, and gets back what came.
`drive` runs one in the calling thread, `adrive` in the running event loop.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

from toolfoundry.sandbox.eager import Eager

__all__ = ["FIRST_S", "Piece", "Ready", "Steps", "adrive", "drive", "receive"]

T = TypeVar("T")
FIRST_S = 0.02  # how long a `Piece` is waited for; the sockets have it as SO_RCVTIMEO


class Ready(NamedTuple):
    """Wait until a descriptor can be read, at most so many seconds. Descriptor -1 is none: just wait."""

    descriptor: int
    seconds: float


class Piece(NamedTuple):
    """Wait for the next bytes of a worker, at most `FIRST_S`: b"" is its end, None that none came."""

    sock: socket.socket
    eager: Eager


Steps: TypeAlias = Generator[Ready | Piece | Future[None], Any, T]


def drive(steps: Steps[T]) -> T:
    """Runs a generator of waits in this thread."""
    try:
        wait = next(steps)
        came: bytes | bool | None
        while True:
            if isinstance(wait, Piece):
                came = _soon(wait.sock, wait.eager)
            elif isinstance(wait, Future):
                wait.result()
                came = True
            else:
                poll = select.poll()
                if wait.descriptor >= 0:
                    poll.register(wait.descriptor, select.POLLIN)
                came = bool(poll.poll(max(0.0, wait.seconds) * 1000))
            wait = steps.send(came)
    except StopIteration as done:
        return cast(T, done.value)
    finally:
        steps.close()


def _soon(sock: socket.socket, eager: Eager) -> bytes | None:
    times = eager.times()
    for _ in range(times):
        if (piece := receive(sock, socket.MSG_DONTWAIT)) is not None:
            eager.learn(True)
            return piece
    if times:
        eager.learn(False)
    return receive(sock, 0)


async def adrive(steps: Steps[T]) -> T:
    """Runs a generator of waits in the running event loop. Cancelling is safe: the generator is closed."""
    loop = asyncio.get_running_loop()
    try:
        wait = next(steps)
        came: bytes | bool | None
        while True:
            if isinstance(wait, Piece):
                ready = await _ready(loop, Ready(wait.sock.fileno(), FIRST_S))
                came = receive(wait.sock, socket.MSG_DONTWAIT) if ready else None
            elif isinstance(wait, Future):
                await asyncio.wrap_future(wait)
                came = True
            else:
                came = await _ready(loop, wait)
            wait = steps.send(came)
    except StopIteration as done:
        return cast(T, done.value)
    finally:
        steps.close()


def receive(sock: socket.socket, flags: int) -> bytes | None:
    """Bytes of a socket, b"" at its end, None if there are none yet."""
    try:
        return sock.recv(1 << 16, flags)
    except BlockingIOError:  # also after SO_RCVTIMEO
        return None
    except OSError:
        return b""


async def _ready(loop: asyncio.AbstractEventLoop, wait: Ready) -> bool:
    came: asyncio.Future[bool] = loop.create_future()

    def settle(value: bool) -> None:
        if not came.done():
            came.set_result(value)

    if wait.descriptor >= 0:
        loop.add_reader(wait.descriptor, settle, True)
    timer = loop.call_later(max(0.0, wait.seconds), settle, False)
    try:
        return await came
    finally:
        timer.cancel()
        if wait.descriptor >= 0:
            loop.remove_reader(wait.descriptor)
