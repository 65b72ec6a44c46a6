"""Many environments: the same bytes for any number of processes and interruptions; authors that wait."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import re
from pathlib import Path
from typing import Any

import pytest

from hand_author import LIGHT, HandAuthor
from toolfoundry.build.author import Pending
from toolfoundry.build.authors.procedural.profile import TINY
from toolfoundry.build.draft import STAGES, Brief, Draft, Reject
from toolfoundry.build.ledger import Ledger, rejects_file
from toolfoundry.build.pipeline import Recipe, build_on_cores, build_with, drafts
from toolfoundry.errors import EndpointError, FoundryError
from toolfoundry.store import read
from toolfoundry.types import EnvSpec

RECIPE = Recipe(profile=TINY, seed=7)
N = 100


def build(
    path: Path, count: int = N, jobs: int = 1, mode: Any = "new", recipe: Recipe = RECIPE, on_progress: Any = None
):
    with Ledger(path, mode, origin=recipe.origin, benchmarks=None) as ledger:
        given = recipe.briefs(ledger.next_index)
        seconds = build_on_cores(recipe, given, ledger, count=count, jobs=jobs, on_progress=on_progress)
        return ledger, seconds


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "e.jsonl"
    ledger, seconds = build(path)
    assert ledger.accepted == N
    assert {*STAGES, "gate", "pack", "write"} <= seconds.keys()
    return path


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes() and rejects_file(one).read_bytes() == rejects_file(other).read_bytes()


def test_as_many_as_are_wanted(whole):
    """Not one more, though they are made by the shard; every one has a proof and its place in the run."""
    specs = list(read(whole, EnvSpec))
    assert len(specs) == N
    indices = [int(str(spec.provenance.labels["index"])) for spec in specs]
    assert indices == sorted(set(indices))
    assert {spec.provenance.location for spec in specs} == {"procedural/tiny/7/train"}
    assert all(spec.proof and spec.proof.panel["gold"] == 1.0 for spec in specs)
    assert N % RECIPE.shard


def test_the_number_of_processes_changes_nothing(whole, tmp_path):
    """Two processes, another order of work, the same bytes; progress is told for each item."""
    told: list[int] = []
    build(tmp_path / "e.jsonl", jobs=2, on_progress=lambda counts: told.append(counts["proposed"]))
    assert same(tmp_path / "e.jsonl", whole)
    assert told == list(range(1, len(told) + 1))
    assert len(told) >= N


@pytest.mark.parametrize("lines", [0, 1, 37, N])
def test_an_interrupted_build_goes_on(whole, tmp_path, lines):
    """Cut off after any line, in the middle of the next: the same bytes in the end."""
    path = tmp_path / "e.jsonl"
    kept = whole.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[: lines + 1]) + kept[min(lines + 1, N)][:50] * (lines < N))
    rejects_file(path).write_bytes(rejects_file(whole).read_bytes())
    build(path, mode="resume")
    assert same(path, whole)


def test_more_of_the_same(whole, tmp_path):
    """A smaller build is the beginning of a larger one, and can be gone on with."""
    path = tmp_path / "e.jsonl"
    build(path, count=20)
    assert whole.read_bytes().startswith(path.read_bytes())
    build(path, count=20, mode="resume")
    assert len(list(read(path, EnvSpec))) == 20
    build(path, mode="resume")
    assert same(path, whole)


def test_a_build_of_what_is_given(tmp_path):
    """Without a number, until the items end."""
    with Ledger(tmp_path / "e.jsonl", "new", origin=None, benchmarks=None) as ledger:
        build_on_cores(RECIPE, itertools.islice(RECIPE.briefs(), 5), ledger, count=None, jobs=1)
        assert (ledger.accepted, ledger.next_index) == (5, 5)


def _names(path: Path) -> set[str]:
    return set(re.findall(r"\b[A-Z][a-z]{9}\b", path.read_text()))


def test_seeds_and_splits_share_nothing(whole, tmp_path):
    """No entity name, no question."""
    own = {spec.scenario.question for spec in read(whole, EnvSpec)}
    for number, fields in enumerate(({"seed": 8}, {"split": "test"})):
        path = tmp_path / f"{number}.jsonl"
        build(path, recipe=RECIPE.model_copy(update=fields))
        assert len(_names(path)) > N
        assert not _names(path) & _names(whole)
        assert not {spec.scenario.question for spec in read(path, EnvSpec)} & own


def test_a_process_that_dies_ends_the_build(tmp_path):
    """One line that says how to go on; what was written stays, and is gone on with."""

    def kill(counts: Any) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(FoundryError, match=r"one of the processes died.*--resume"):
        build(tmp_path / "e.jsonl", count=400, jobs=2, on_progress=kill)
    written = len(list(read(tmp_path / "e.jsonl", EnvSpec)))
    assert 0 < written < 400
    ledger, _ = build(tmp_path / "e.jsonl", count=written + 1, mode="resume")
    assert ledger.accepted == written + 1


# --- authors that wait -------------------------------------------------------------------------------------------


def briefs(*indices: int) -> list[Brief]:
    return [Brief(index=index, origin="towers") for index in indices]


def build_by_hand(path: Path, author: HandAuthor, sandbox: Any, given: Any, mode: Any = "new", **options: Any):
    async def run() -> int:
        return await build_with(author, given, LIGHT, ledger, sandbox, **options)

    with Ledger(path, mode, origin="towers", benchmarks=None) as ledger:
        given = [one for one in given if one.index >= ledger.next_index]
        return asyncio.run(run()), ledger


def test_an_author_of_ones_own(sandbox, tmp_path):
    """Accepted in the order of the briefs, whatever the concurrency; what comes again is a near-duplicate."""
    for concurrency in (1, 5):
        path = tmp_path / f"{concurrency}.jsonl"
        pending, ledger = build_by_hand(path, HandAuthor(), sandbox, briefs(*range(6)), concurrency=concurrency)
        assert pending == 0
        assert dict(ledger.counts) == {"proposed": 6, "valid": 6, "executable": 6, "proved": 6, "accepted": 4}
        assert [spec.provenance.labels["index"] for spec in read(path, EnvSpec)] == [0, 1, 2, 3]
        assert [reject.reason for reject in read(rejects_file(path), Reject)] == ["near-duplicate"] * 2
    assert same(tmp_path / "1.jsonl", tmp_path / "5.jsonl")


def test_a_number_of_environments(sandbox, tmp_path):
    _, ledger = build_by_hand(tmp_path / "e.jsonl", HandAuthor(), sandbox, briefs(*range(4)), count=2, concurrency=4)
    assert ledger.counts["proposed"] == ledger.accepted == 2


class Waiting(HandAuthor):
    """Has no answer yet to the briefs named."""

    def __init__(self, *waiting: int, problem: Exception | None = None) -> None:
        super().__init__()
        self.waiting, self.problem = waiting, problem or Pending()

    async def decompose(self, brief: Brief, feedback: Any = None):
        if brief.index in self.waiting:
            raise self.problem
        return await super().decompose(brief, feedback)


def test_what_waits_is_left_for_the_next_run(sandbox, tmp_path):
    """Nothing after the first item that waits is written, so that the next run takes all of them up in order."""
    path, whole = tmp_path / "e.jsonl", tmp_path / "whole.jsonl"
    pending, ledger = build_by_hand(path, Waiting(1, 3), sandbox, briefs(*range(4)))
    assert (pending, ledger.next_index, ledger.accepted) == (2, 1, 1)
    pending, ledger = build_by_hand(path, Waiting(3), sandbox, briefs(*range(4)), mode="resume")
    assert (pending, ledger.next_index, ledger.accepted) == (1, 3, 3)
    pending, ledger = build_by_hand(path, Waiting(), sandbox, briefs(*range(4)), mode="resume")
    assert (pending, ledger.accepted) == (0, 4)
    build_by_hand(whole, HandAuthor(), sandbox, briefs(*range(4)))
    assert same(path, whole)


def test_an_endpoint_that_fails_ends_the_run(sandbox, tmp_path):
    """After what came before it was written; the next run goes on there."""
    path = tmp_path / "e.jsonl"
    with pytest.raises(EndpointError, match="no answer"):
        build_by_hand(path, Waiting(2, problem=EndpointError("no answer")), sandbox, briefs(*range(4)))
    assert len(list(read(path, EnvSpec))) == 2
    _, ledger = build_by_hand(path, HandAuthor(), sandbox, briefs(*range(4)), mode="resume")
    assert ledger.accepted == 4


@pytest.mark.parametrize("until", STAGES)
def test_drafts_alone(until):
    """One for each brief, in order; a reject where an item ended, None where it waits."""

    async def run() -> list[Draft | Reject | None]:
        return [one async for one in drafts(author, briefs(*range(4)), LIGHT, until, concurrency=3)]

    author = Waiting(1)
    author.spoil["decompose"] = lambda asked, value: value.model_copy(update={"steps": value.steps[:3]})
    first, second, third, fourth = asyncio.run(run())
    assert second is None
    for one in (first, third):
        assert isinstance(one, Draft)
        assert one.stage == until
    assert isinstance(fourth, Reject)
    assert (fourth.stage, fourth.reason, fourth.asked) == ("decompose", "unknown-step", 3)
