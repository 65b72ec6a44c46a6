"""How fast environments are built, how much memory it takes, and how different they are.

    python benchmarks/build.py gates  [--profile ftrl] [-n 256]     the gates alone, on one core
    python benchmarks/build.py whole  [--profile ftrl] [-n 1000]    everything, on one core and on all
    python benchmarks/build.py large  [--profile tiny] [-n 100000]  one run: memory, pace, and a re-check of a sample
    python benchmarks/build.py diversity [-n 10000]                 names, questions, shapes, near-duplicates, seeds

Absolute figures depend on the machine and what else it does; each row says how often it was repeated.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import re
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from itertools import islice
from pathlib import Path

from toolfoundry.build.authors.procedural.names import name_class
from toolfoundry.build.authors.procedural.profile import PROFILES
from toolfoundry.build.construct import prepare
from toolfoundry.build.deploy import to_spec
from toolfoundry.build.draft import Draft
from toolfoundry.build.ledger import Ledger
from toolfoundry.build.pipeline import Recipe, build_on_cores
from toolfoundry.build.verify import Verified, verify
from toolfoundry.check import check
from toolfoundry.check.workers import SharedWorkers, own_workers
from toolfoundry.sandbox import Sandbox
from toolfoundry.stats.measure import measure
from toolfoundry.store import read
from toolfoundry.types import EnvSpec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["gates", "whole", "large", "diversity"])
    parser.add_argument("--profile", default=None, choices=[*PROFILES])
    parser.add_argument("-n", type=int, default=None)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    match given.what:
        case "gates":
            gates(given.profile or "ftrl", given.n or 256, given.repeat)
        case "whole":
            whole(given.profile or "ftrl", given.n or 1000, given.repeat)
        case "large":
            large(given.profile or "tiny", given.n or 100_000)
        case _:
            diversity(given.profile or "ftrl", given.n or 10_000)


@contextlib.contextmanager
def one_core():
    """This process and all that it starts on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def spread(values: list[float]) -> str:
    """Median (least–most)."""
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})"


# --- the gates alone -------------------------------------------------------------------------------------------------


def gates(profile: str, n: int, repeat: int) -> None:
    recipe = Recipe(profile=PROFILES[profile], seed=1)
    gc.set_threshold(100_000, 20, 50)  # as in a build process

    async def author_all() -> list[Draft]:
        author, scaling = recipe.author(), recipe.profile.scaling
        return [await prepare(brief, author, scaling, until="deploy") for brief in islice(recipe.briefs(), n)]

    with one_core():
        began = time.perf_counter()
        drafts = asyncio.run(author_all())
        authored = n / (time.perf_counter() - began)
        author = recipe.author()
        specs = [to_spec(draft, author.prompt(draft.scenario.question)) for draft in drafts]
        pairs = list(zip(drafts, specs, strict=True))
        own: list[float] = []
        shared: list[float] = []
        probes = 0
        for _ in range(repeat):
            with Sandbox() as sandbox:  # a new one each time: it would know the sources of the last
                began = time.perf_counter()
                results = asyncio.run(_own(pairs, sandbox))
                own.append(n / (time.perf_counter() - began))
                probes = sum(sum(one.spec.proof.probes.values()) for one in results if one.spec.proof) // n
            with Sandbox() as sandbox:
                began = time.perf_counter()
                asyncio.run(_shared(pairs, sandbox, recipe.shard))
                shared.append(n / (time.perf_counter() - began))
    print(f"{profile}, {n} environments, one core, {probes} probing calls each; median (least–most) of {repeat}\n")
    print("| | environments/s |")
    print("|---|---|")
    print(f"| authoring alone | {authored:,.0f} |")
    print(f"| gates, two workers for each environment | {spread(own)} |")
    print(f"| gates, two workers for {recipe.shard} environments | {spread(shared)} |")


async def _own(pairs: list[tuple[Draft, EnvSpec]], sandbox: Sandbox) -> list[Verified]:
    turns = asyncio.Semaphore(8)

    async def one(draft: Draft, spec: EnvSpec) -> Verified:
        async with turns, own_workers(spec, sandbox) as workers:
            return await verify(draft, spec, workers, thorough=False)

    return await asyncio.gather(*(one(draft, spec) for draft, spec in pairs))


async def _shared(pairs: list[tuple[Draft, EnvSpec]], sandbox: Sandbox, size: int) -> None:
    for start in range(0, len(pairs), size):
        shard = pairs[start : start + size]
        async with SharedWorkers([spec for _, spec in shard], sandbox) as shared:
            calls = (verify(draft, spec, shared.of(i), thorough=False) for i, (draft, spec) in enumerate(shard))
            await asyncio.gather(*calls)


# --- everything ------------------------------------------------------------------------------------------------------


def build(profile: str, n: int, jobs: int, output: Path, seed: int = 1) -> tuple[float, dict[str, float], int]:
    """Environments/s, seconds by stage, and how many items it took."""
    recipe = Recipe(profile=PROFILES[profile], seed=seed)
    began = time.perf_counter()
    with Ledger(output, "overwrite", origin=recipe.origin) as ledger:
        seconds = build_on_cores(recipe, recipe.briefs(), ledger, count=n, jobs=jobs)
        return n / (time.perf_counter() - began), seconds, ledger.counts["proposed"]


def whole(profile: str, n: int, repeat: int) -> None:
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "set.jsonl"
        single: list[float] = []
        multiple: list[float] = []
        stages: dict[str, list[float]] = defaultdict(list)
        for _ in range(repeat):
            with one_core():
                pace, seconds, _items = build(profile, n, 1, output)
            single.append(pace)
            for stage, spent in seconds.items():
                stages[stage].append(1000 * spent / n)
            multiple.append(build(profile, n, cores, output)[0])
        size = output.stat().st_size / n
    print(f"{profile}, {n} environments with authoring, gates and panel; median (least–most) of {repeat}\n")
    print("| | environments/s |")
    print("|---|---|")
    print(f"| one process on one core | {spread(single)} |")
    print(f"| {cores} processes on {cores} cores | {spread(multiple)} |")
    by_stage = ", ".join(f"{stage} {statistics.median(values):.2f}" for stage, values in stages.items())
    print(f"\nms by stage on one core: {by_stage}. {size / 1000:.1f} kB an environment.")


def large(profile: str, n: int) -> None:
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(dir=".") as folder:
        output = Path(folder) / "set.jsonl"
        pace, _, items = build(profile, n, cores, output)
        parent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"{profile}: {n:,} of {items:,} items accepted, {pace:,.0f} environments/s with {cores} processes")
        print(f"{output.stat().st_size / n / 1000:.1f} kB an environment")
        print(f"peak memory: this process {parent:,.0f} MB, the largest build process {children:,.0f} MB")
        step = max(1, n // 500)
        sample = [spec for place, spec in enumerate(read(output, EnvSpec)) if place % step == 0]
        with Sandbox() as sandbox:
            report = check(sample, sandbox)
        print(f"re-checked {len(sample)} of them: {report.faulty} with a defect")


# --- how different they are ------------------------------------------------------------------------------------------


def diversity(profile: str, n: int) -> None:
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(dir=".") as folder:
        one, other = Path(folder) / "one.jsonl", Path(folder) / "other.jsonl"
        build(profile, n, cores, one, seed=1)
        build(profile, n, cores, other, seed=2)
        found = measure("one", read(one, EnvSpec))
        print(f"{profile}, {n:,} environments of one seed\n")
        print("| different | |")
        print("|---|---|")
        print(f"| questions | {found.questions.total:,} |")
        print(f"| tool names, without digits and version words | {found.names.total:,} |")
        print(f"| shapes of questions | {found.shapes.total:,} |")
        pairs, most = near_pairs(one)
        print(f"| pairs of questions with Jaccard similarity of words >= 0.9 | {pairs:,} (most alike: {most:.2f}) |")
        names = entity_names(one) & entity_names(other)
        questions = {s.scenario.question for s in read(one, EnvSpec)} & {
            s.scenario.question for s in read(other, EnvSpec)
        }
        print(f"| entity names shared with another seed | {len(names):,} |")
        print(f"| questions shared with another seed | {len(questions):,} |")


def near_pairs(path: Path) -> tuple[int, float]:
    """Pairs of questions whose sets of words have a Jaccard similarity of 0.9 or more, and the highest met.

    Two sets that alike share one of their rarest words: only such pairs are compared (prefix filtering, exact).
    """
    questions = [frozenset(re.findall(r"\w+", spec.scenario.question.casefold())) for spec in read(path, EnvSpec)]
    frequency: dict[str, int] = defaultdict(int)
    for words in questions:
        for word in words:
            frequency[word] += 1
    index: dict[str, list[int]] = defaultdict(list)
    pairs, most = 0, 0.0
    for place, words in enumerate(questions):
        rare = sorted(words, key=lambda word: (frequency[word], word))[: len(words) - int(0.9 * len(words)) + 1]
        for earlier in {other for word in rare for other in index[word]}:
            similarity = len(words & questions[earlier]) / len(words | questions[earlier])
            pairs += similarity >= 0.9
            most = max(most, similarity)
        for word in rare:
            index[word].append(place)
    return pairs, most


def entity_names(path: Path) -> set[str]:
    """Every invented name among the answers and in the questions; minerals, weekdays and the like are no names."""
    found: set[str] = set()
    for spec in read(path, EnvSpec):
        found |= {str(goal.answer.value) for goal in spec.goals if goal.answer.type == "text"}
        found |= set(re.findall(r"[A-Z][\w-]+(?: [A-Z][\w-]+)+", spec.scenario.question))
    return {name for name in found if name_class(name) is not None}


if __name__ == "__main__":
    main()
