"""Many environments: an author that invents on all cores, or one that waits for a model, many items at a time.

Both give the ledger their outcomes in the order of the briefs. Memory holds a few shards, whatever the number.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from toolfoundry.build.author import Author, Pending
from toolfoundry.build.authors.procedural.profile import Profile, Split
from toolfoundry.build.construct import Stopwatch, construct, construct_shard, prepare, reject_of
from toolfoundry.build.draft import Brief, Draft, Reject, Rejected, Stage
from toolfoundry.build.ledger import Ledger, Packed, pack
from toolfoundry.build.scaling import Scaling
from toolfoundry.processes import over_cores
from toolfoundry.sandbox import Sandbox
from toolfoundry.types import Record

__all__ = ["Building", "Built", "OnProgress", "Recipe", "build_on_cores", "build_with", "drafts", "take"]

T = TypeVar("T")
Given = Brief | Draft
OnProgress = Callable[[Counter[str]], None]


class Recipe(Record):
    """What makes a procedural build what it is: the same recipe and version give the same environments."""

    profile: Profile
    seed: int
    split: Split = "train"

    @property
    def origin(self) -> str:
        """What the environments say about where they come from."""
        return f"procedural/{self.profile.name}/{self.seed}/{self.split}"

    @property
    def shard(self) -> int:
        """How many environments share workers."""
        return 48 if self.profile.style == "compact" else 16

    def author(self) -> Author:
        """The author that follows this recipe."""
        if self.profile.style == "compact":
            from toolfoundry.build.authors.procedural.tiny import TinyAuthor

            return TinyAuthor(self.profile, self.seed, self.split)
        from toolfoundry.build.authors.procedural.author import ProceduralAuthor

        return ProceduralAuthor(self.profile, self.seed, self.split)

    def briefs(self, start: int = 0) -> Iterator[Brief]:
        """Briefs without end: an author that invents needs no more than its place in the run."""
        return (Brief(index=index, origin=self.origin) for index in itertools.count(start))


class Built(NamedTuple):
    """The outcomes of a shard, in order, and the seconds that each stage took."""

    packed: list[Packed]
    seconds: dict[str, float]


def build_on_cores(
    recipe: Recipe,
    given: Iterable[Given],
    ledger: Ledger,
    *,
    count: int | None,
    jobs: int,
    on_progress: OnProgress | None = None,
) -> dict[str, float]:
    """Builds until `count` environments are accepted, or `given` ends. Returns seconds by stage, over all processes.

    The number of processes, `jobs`, does not change what is built.
    """
    shards = _in_shards(given, recipe.shard)
    return take(over_cores(Building(recipe), shards, jobs), ledger, count=count, on_progress=on_progress)


def take(
    results: Generator[Built], ledger: Ledger, *, count: int | None, on_progress: OnProgress | None = None
) -> dict[str, float]:
    """Enters shards that come in order until `count` environments are accepted; returns seconds by stage."""
    spent: dict[str, float] = {}
    try:
        while count is None or ledger.accepted < count:
            shard = next(results, None)
            if shard is None:
                break
            for stage, seconds in shard.seconds.items():
                spent[stage] = spent.get(stage, 0.0) + seconds
            began = time.perf_counter()
            for packed in shard.packed:
                if count is not None and ledger.accepted >= count:
                    break
                ledger.take(packed)
                if on_progress is not None:
                    on_progress(ledger.counts)
            spent["write"] = spent.get("write", 0.0) + time.perf_counter() - began
    finally:
        results.close()
    return spent


def _in_shards(given: Iterable[Given], size: int) -> Iterator[list[Given]]:
    remaining = iter(given)
    while shard := list(itertools.islice(remaining, size)):
        yield shard


class Building(NamedTuple):
    """What a process does with shards of a build; it has the author and the sandbox from one to the next."""

    recipe: Recipe

    @contextlib.contextmanager
    def open(self) -> Generator[Callable[[Sequence[Given]], Built]]:
        author, scaling = self.recipe.author(), self.recipe.profile.scaling
        with Sandbox() as sandbox:
            yield lambda shard: _build_shard(shard, author, scaling, sandbox)


def _build_shard(given: Sequence[Given], author: Author, scaling: Scaling, sandbox: Sandbox) -> Built:
    """What became of items that share workers; how they are divided into shards does not change what is built."""
    watch = Stopwatch()
    with _rare_collections():
        outcomes = asyncio.run(construct_shard(given, author, scaling, sandbox, watch))
        watch.start()
        packed = [pack(outcome, author.name) for outcome in outcomes]
    watch.lap("pack")
    return Built(packed, watch.seconds)


@contextlib.contextmanager
def _rare_collections() -> Generator[None]:
    """Syntax trees are many objects and short-lived: looking for cycles among them again and again costs more."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


async def build_with(
    author: Author,
    given: Iterable[Given],
    scaling: Scaling,
    ledger: Ledger,
    sandbox: Sandbox,
    *,
    count: int | None = None,
    concurrency: int = 8,
    on_progress: OnProgress | None = None,
) -> int:
    """Builds with an author that waits for others; returns how many items are pending.

    Items that are pending, and those after the first of them, are not written: the next run takes them up, in order.

    Raises whatever ends a run (an endpoint that fails, a budget that is used up) after writing what was done before.
    """

    async def one(item: Given) -> Packed | None:
        try:
            return pack(await construct(item, author, scaling, sandbox), author.name)
        except Pending:
            return None

    pending = 0
    at_once = concurrency if count is None else min(concurrency, count)
    async with contextlib.aclosing(_in_order(given, one, at_once)) as results:
        async for packed in results:
            if packed is None:
                pending += 1
            elif not pending:
                ledger.take(packed)
                if on_progress is not None:
                    on_progress(ledger.counts)
            if count is not None and ledger.accepted + pending >= count:
                break
    return pending


async def drafts(
    author: Author, given: Iterable[Given], scaling: Scaling, until: Stage, *, concurrency: int = 8
) -> AsyncGenerator[Draft | Reject | None]:
    """The drafts after stage `until`, in the order of the briefs; a reject where an item ended, None while pending."""

    async def one(item: Given) -> Draft | Reject | None:
        try:
            return await prepare(item, author, scaling, until=until)
        except Rejected as problem:
            return reject_of(item.brief if isinstance(item, Draft) else item, author, problem)
        except Pending:
            return None

    async with contextlib.aclosing(_in_order(given, one, concurrency)) as results:
        async for result in results:
            yield result


async def _in_order(
    given: Iterable[Given], work: Callable[[Given], Coroutine[Any, Any, T]], concurrency: int
) -> AsyncGenerator[T]:
    """Works on several items at a time and gives the results in the order of the items."""
    remaining = iter(given)
    waiting: deque[asyncio.Task[T]] = deque()
    try:
        while True:
            while len(waiting) < concurrency and (item := next(remaining, None)) is not None:
                waiting.append(asyncio.create_task(work(item)))
            if not waiting:
                return
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
