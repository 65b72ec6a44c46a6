"""The four commands on a cluster, from options to results: each the local one, with its middle done by the nodes."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson
from pydantic import JsonValue

from toolfoundry.build.ledger import Ledger
from toolfoundry.build.pipeline import Built, OnProgress, Recipe, take
from toolfoundry.check import Assembly
from toolfoundry.check.report import QualityReport
from toolfoundry.cluster.on_ray import connected, do_shards
from toolfoundry.cluster.shards import Finished, Row, ShardFolder, hash_of, ranges
from toolfoundry.cluster.work import (
    AuditWork,
    BuildWork,
    PlayWork,
    ScoreWork,
    Work,
    audit_in,
    built_in,
    input_of,
    outcome_in,
)
from toolfoundry.errors import InputError, OutputError
from toolfoundry.metrics import Metric, Outcome, Summary, mean_rewards, summarise_outcomes
from toolfoundry.sets import open_set
from toolfoundry.store import RecordWriter, WriteMode, load_record
from toolfoundry.types import EnvSpec, Preset, Trajectory

__all__ = ["Place", "build_on_ray", "check_on_ray", "places_of", "play_on_ray", "score_on_ray"]

OnBad = Callable[[Exception], None]
OnDone = Callable[[int], None]
_AT_LEAST = 4  # shards for each core, so that none of them waits long for the others at the end


class Place(NamedTuple):
    """Where a run is done. `size`: items of a shard; None chooses it by the number of items and cores."""

    address: str
    folder: Path
    size: int | None = None


def build_on_ray(
    recipe: Recipe, ledger: Ledger, place: Place, mode: WriteMode, *, count: int, on_progress: OnProgress | None = None
) -> tuple[dict[str, float], int]:
    """Builds until `count` environments are accepted; returns seconds by stage, and the cores of the cluster."""
    work = BuildWork(recipe)
    with connected(place.address) as cores:
        folder, size = _begin(work, place, mode, items=count, cores=cores, step=recipe.shard, most=80 * recipe.shard)
        seconds = take(_built(work, ledger, folder, count, size), ledger, count=count, on_progress=on_progress)
        folder.describe(finished=True, **ledger.counts)
        return seconds, cores


def _built(work: BuildWork, ledger: Ledger, folder: ShardFolder, count: int, size: int) -> Generator[Built]:
    """Shards without end, as many at a time as the rest is expected to need."""
    author = work.recipe.author().name
    while True:
        start = ledger.next_index
        share = max(0.1, ledger.accepted / start if start else 1.0)
        end = math.ceil((start + (count - ledger.accepted) / share) / size) * size
        for done in do_shards(work, folder, ranges(start, end, size)):
            yield built_in(done, work.recipe, author, start)


def check_on_ray(
    envs: Path,
    place: Place,
    *,
    panel: bool = True,
    on_bad: OnBad | None = None,
    on_done: OnDone | None = None,
) -> QualityReport:
    """The audit of a set. `on_bad` gets each line that cannot be read; without it the first one raises InputError."""
    work = AuditWork(input_of(envs), panel)
    assembly = Assembly()
    with connected(place.address) as cores, open_set(envs, EnvSpec) as specs:
        if not len(specs):
            raise InputError(f"{envs}: has no environments")
        folder, size = _begin(work, place, None, items=len(specs), cores=cores, most=256)
        for row in _rows(do_shards(work, folder, ranges(0, len(specs), size), on_done=on_done), on_bad):
            assembly.enter(specs[row.place], audit_in(row))
        folder.describe(finished=True)
    return assembly.report()


def places_of(envs: Path, limit: int | None) -> tuple[int, bytes | None, int]:
    """How many environments play, their places (None: the first ones), and how many were left out as met before."""
    seen: set[str | int] = set()
    places = array("Q")
    with open_set(envs, EnvSpec) as specs:
        for place in range(len(specs)):
            if limit is not None and len(places) >= limit:
                break
            key = _id(specs.line(place))
            if key is None or key not in seen:  # what cannot be read is reported where it is to be played
                seen.add(place if key is None else key)
                places.append(place)
    left_out = (places[-1] + 1 if places else 0) - len(places)
    return len(places), places.tobytes() if left_out else None, left_out


def _id(line: bytes) -> str | None:
    try:
        return str(orjson.loads(line)["id"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def play_on_ray(
    work: PlayWork,
    output: Path,
    place: Place,
    mode: WriteMode,
    *,
    on_bad: OnBad | None = None,
    on_done: OnDone | None = None,
) -> list[Summary]:
    """Plays, and writes all trajectories, repetition by repetition in the order of the set; returns the summaries.

    On resume what failed is played again. Raises OutputError, InputError as the local command does.
    """
    if output.exists() and mode == "new":
        raise OutputError(f"{output} exists; --force replaces it (--resume goes on with it)")
    if output.exists() and mode == "resume" and not (place.folder / "manifest.json").exists():
        raise OutputError(f"{output} was begun without --ray, or with another --shards; go on with it in the same way")
    items = work.environments * work.samples
    played: Counter[Outcome] = Counter()

    def failed(done: Finished) -> bool:
        return any(row.kind == "failed" for row in done.rows)

    unfinished = output.with_name(f".unfinished-{output.name}")  # the ending says how it is compressed
    with connected(place.address) as cores:
        folder, size = _begin(work, place, mode, items=items, cores=cores, most=512)
        shards = do_shards(work, folder, ranges(0, items, size), again=failed, on_done=on_done)
        with RecordWriter(unfinished, Trajectory, "overwrite") as writer:
            for row in _rows(shards, on_bad):
                writer.write_line(row.line)
                played[Outcome.of(load_record(Trajectory, row.line))] += 1
        unfinished.replace(output)
        folder.describe(finished=True, trajectories=played.total())
    return summarise_outcomes(played.elements())


def score_on_ray(
    trajectories: Path,
    place: Place,
    *,
    reward: Preset | None = None,
    on_bad: OnBad | None = None,
    on_done: OnDone | None = None,
) -> tuple[list[Summary], dict[str, Metric]]:
    """The summaries, and the mean reward of a turn for each policy where a preset is given."""
    work = ScoreWork(input_of(trajectories), reward)
    with connected(place.address) as cores, open_set(trajectories, Trajectory) as records:
        items = len(records)
        if not items:
            raise InputError(f"{trajectories}: has no trajectories to score")
        folder, size = _begin(work, place, None, items=items, cores=cores, most=4096)
        played: Counter[Outcome] = Counter()

        def rewards() -> Iterator[tuple[str, list[float] | None]]:
            for row in _rows(do_shards(work, folder, ranges(0, items, size), on_done=on_done), on_bad):
                outcome, values = outcome_in(row)
                played[outcome] += 1
                yield outcome.policy, values

        means = mean_rewards(rewards())
        folder.describe(finished=True)
    return summarise_outcomes(played.elements()), {} if reward is None else means


def _rows(shards: Iterator[Finished], on_bad: OnBad | None) -> Iterator[Row]:
    """The rows of all shards, those of bad lines taken out."""
    for done in shards:
        for row in done.rows:
            if row.kind != "bad":
                yield row
            elif on_bad is None:
                raise InputError(row.line.decode())
            else:
                on_bad(InputError(row.line.decode()))


def _begin(
    work: Work, place: Place, mode: WriteMode | None, *, items: int, cores: int, most: int, step: int = 1
) -> tuple[ShardFolder, int]:
    """The folder, and the size of its shards. `mode` None: what is there is used if it is of the same content."""
    about: dict[str, JsonValue] = work.about()
    folder = ShardFolder(place.folder, hash_of(about))
    before = folder.begun_with()
    if before and before["work"] != about["work"]:
        raise InputError(f"{folder.path} has shards of {before['work']}, expected those of {about['work']}")
    if mode is None:
        mode = "resume" if before and before["content"] == folder.content else "overwrite"
    if mode == "resume" and before and before["content"] != folder.content:
        raise InputError(f"{folder.path} was begun with other options, input or version: --force starts it anew")
    size = place.size
    if mode == "resume" and before and isinstance(known := before["size"], int):
        if size is not None and size != known:
            raise InputError(f"{folder.path} was begun with --shard-size {known}, found {size}")
        size = known
    if size is None:
        size = min(most, max(1, math.ceil(items / (max(cores, 1) * _AT_LEAST) / step)) * step)
    folder.begin(mode, {**about, "size": size})
    return folder, size
