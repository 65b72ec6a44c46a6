"""Shards of work on the cores of this machine: processes that are opened once, and results in the order of the shards.

    for result in over_cores(work, shards, jobs=8):      # `work` is a value that can be pickled; see `Opens`

Memory holds a few shards, whatever their number.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack
from itertools import islice
from typing import Any, Protocol, TypeVar

from toolfoundry.errors import FoundryError

__all__ = ["Opens", "over_cores"]

Shard = TypeVar("Shard")
Result = TypeVar("Result")
In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)
_AHEAD = 2  # shards for each process that are worked on or wait to be taken
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Opens(Protocol[In, Out]):
    """Work that needs something to be open (a sandbox, an author): opened once in each process."""

    def open(self) -> AbstractContextManager[Callable[[In], Out]]:
        """Ready to do one shard after another."""
        ...


def over_cores(work: Opens[Shard, Result], shards: Iterable[Shard], jobs: int) -> Generator[Result]:
    """The result of each shard, in order; with one job everything happens in this process.

    Raises FoundryError where a process dies, and whatever the work raises.
    """
    if jobs == 1:
        with work.open() as do:
            for shard in shards:
                yield do(shard)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit the threads and sockets of whoever calls
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(work,))
    remaining = iter(shards)
    waiting: deque[Future[Result]] = deque()
    try:
        for shard in islice(remaining, jobs * _AHEAD):
            waiting.append(pool.submit(_do, shard))
        while waiting:
            done = waiting.popleft().result()
            for shard in islice(remaining, 1):
                waiting.append(pool.submit(_do, shard))
            yield done
    except BrokenProcessPool:
        raise FoundryError(
            "one of the processes died; is the machine out of memory? fewer (--jobs) need less, and a build goes on "
            "with --resume"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_open = ExitStack()  # of a process of the pool, for as long as it lives
_work: Callable[[Any], Any] | None = None


def _begin(work: Opens[Any, Any]) -> None:
    global _work
    gc.freeze()  # what was imported stays, and need not be looked through again
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    _work = _open.enter_context(work.open())


def _do(shard: Any) -> Any:
    assert _work is not None
    return _work(shard)
