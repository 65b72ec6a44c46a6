"""Measures what the LLM author adds to each request: prompts, HTTP, cache, reading of the reply, checks of the stages.

    python benchmarks/llm_author.py                 the recorded constructions, twelve times over
    python benchmarks/llm_author.py --rounds 50

The endpoint is the tests' own on loopback, in a process of its own, and answers at once, so that nearly all of the time
is ours: `alone_ms` is the wall time of a request, one after the other; `together_ms` the same with 16 items at a time;
`cpu_ms` the CPU time of this process for a request; `cached_ms` the wall time of a reply out of the cache. Tools are
not executed here. Prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fake_openai_server import serve
from llm_replay import Item, Replay, load_cassette
from toolfoundry.build.authors.llm import LLMAuthor, LLMConfig
from toolfoundry.build.construct import prepare
from toolfoundry.build.draft import Rejected
from toolfoundry.build.scaling import Scaling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="how often each construction is made")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=answer, args=(theirs,))
    server.start()
    url = ours.recv()
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = asyncio.run(measure(url, Path(folder), options.rounds))
    finally:
        ours.send("stop")
        server.join()
    print(json.dumps(result, indent=2))


def answer(pipe: Connection) -> None:
    """Serves the recordings until told to stop."""
    with serve(Replay(load_cassette())) as url:
        pipe.send(url)
        pipe.recv()


async def measure(url: str, folder: Path, rounds: int) -> dict[str, float]:
    items = load_cassette()
    await run(url, folder / "warm.sqlite", items, 1, at_once=1)
    alone = await run(url, folder / "alone.sqlite", items, rounds, at_once=1)
    together = await run(url, folder / "together.sqlite", items, rounds, at_once=16)
    cached = await run(url, folder / "alone.sqlite", items, rounds, at_once=1)
    requests = alone["received"]
    assert requests == together["received"] == cached["from_cache"]
    return {
        "requests": requests,
        "alone_ms": round(1000 * alone["wall_s"] / requests, 2),
        "together_ms": round(1000 * together["wall_s"] / requests, 2),
        "cpu_ms": round(1000 * alone["cpu_s"] / requests, 2),
        "cached_ms": round(1000 * cached["wall_s"] / requests, 2),
    }


async def run(url: str, cache: Path, items: list[Item], rounds: int, *, at_once: int) -> dict[str, float]:
    """Makes every construction so many times, each time with another seed, so that no reply is in the cache yet."""
    turns = asyncio.Semaphore(at_once)
    received = from_cache = 0
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for seed in range(rounds):
        async with LLMAuthor(LLMConfig(model="m", base_url=url, cache=cache, seed=seed)) as author:

            async def one(item: Item, author: LLMAuthor = author) -> None:
                async with turns:
                    with contextlib.suppress(Rejected):
                        await prepare(item.brief, author, Scaling(extend=0), until="deploy")

            await asyncio.gather(*(one(item) for item in items))
            usage = author.usage()
            received, from_cache = received + usage.received, from_cache + usage.from_cache
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return {"received": received, "from_cache": from_cache, "wall_s": wall_s, "cpu_s": cpu_s}


if __name__ == "__main__":
    main()
