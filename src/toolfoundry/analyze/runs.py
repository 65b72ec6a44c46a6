"""What was played, read from whatever holds it: a file of `rollout`, a file or folder of `evaluate`, a training run.

All of it becomes attempts, so that one table and one page serve: a trajectory is an attempt at the benchmark "own".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from toolfoundry.errors import InputError
from toolfoundry.evaluate.attempts import About, Attempt
from toolfoundry.evaluate.compare import TITLES
from toolfoundry.evaluate.own import Own
from toolfoundry.evaluate.suite import average_of
from toolfoundry.store import artifact_of, read
from toolfoundry.types import EnvSpec, Limits, Trajectory

__all__ = ["Run", "about_of", "is_training_run", "read_environments", "read_runs", "trajectory_files"]

_OWN = About("own", "own", {name: TITLES[name] for name in ("solve_p", "solve_r", "solve_f1", "answer")}, "items", ())


class Run(NamedTuple):
    """The attempts of one file at one benchmark. `name` is the shortest one that tells the runs apart."""

    name: str
    benchmark: str
    attempts: list[Attempt]

    @property
    def trajectories(self) -> list[Trajectory]:
        return [attempt.trajectory for attempt in self.attempts]


def is_training_run(path: Path) -> bool:
    """Whether a folder is one that `toolfoundry train` wrote."""
    return (path / "run.json").exists() and (path / "metrics.jsonl").exists()


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """All runs of some files and folders, in their order; those of a training run are before and after, or, where
    nothing was held out, the first and the last round that it collected; there may be none.

    Raises InputError for what holds no attempts, and RecordError for a line that cannot be read.
    """
    runs: list[Run] = []
    for path in paths:
        files = trajectory_files(path)
        if not files and not is_training_run(path):
            raise InputError(f"{path}: has no trajectories; expected what `rollout`, `evaluate` or `train` wrote")
        for file in files:
            by_benchmark: dict[str, list[Attempt]] = {}
            for attempt in _attempts(file):
                by_benchmark.setdefault(attempt.benchmark, []).append(attempt)
            if not by_benchmark and not path.is_dir():
                raise InputError(f"{path}: has no trajectories")
            several = len(by_benchmark) > 1
            for benchmark, attempts in by_benchmark.items():
                name = _name(path, file, alone=len(paths) == 1) + (f" {benchmark}" if several else "")
                runs.append(Run(name, benchmark, attempts))
    return [run._replace(name=name) for run, name in zip(runs, _distinct([run.name for run in runs]), strict=True)]


def trajectory_files(path: Path) -> list[Path]:
    """The files of a folder that hold what was played; a file is its own."""
    if not path.is_dir():
        return [path]
    if is_training_run(path):
        held_out = [file for when in ("before", "after") if (file := path / f"{when}.jsonl").exists()]
        rounds = sorted((path / "rounds").glob("*.jsonl"))
        return held_out or list(dict.fromkeys([*rounds[:1], *rounds[-1:]]))
    return [file for file in sorted(path.glob("*.jsonl*")) if artifact_of(file) == Attempt.artifact]


def _name(path: Path, file: Path, *, alone: bool) -> str:
    stem = file.name.removesuffix(".zst").removesuffix(".jsonl")
    if path.is_dir() and file.parent != path:
        stem = f"round {stem}"
    return stem if alone or not path.is_dir() else f"{path.resolve().name} {stem}"


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number where one is there already."""
    found: list[str] = []
    for name in names:
        number, free = 1, name
        while free in found:
            number += 1
            free = f"{name} ({number})"
        found.append(free)
    return found


def _attempts(file: Path) -> Iterator[Attempt]:
    artifact = artifact_of(file)
    if artifact == Attempt.artifact:
        yield from read(file, Attempt)
    elif artifact == Trajectory.artifact:
        own = Own(_OWN, (), Limits())
        for trajectory in read(file, Trajectory):
            spec_id, group = trajectory.task.spec_id, trajectory.task.kind or "unknown"
            yield own.score(Attempt(benchmark="own", group=group, cluster=spec_id, trajectory=trajectory))
    else:
        found = "no header line of ours" if artifact is None else f"an artifact of {artifact!r}"
        raise InputError(f"{file}: found {found}, expected trajectories or attempts")


def about_of(run: Run) -> About:
    """What the results of a run look like, as far as its attempts tell."""
    if run.benchmark == "own":
        return _OWN
    found = dict.fromkeys(name for attempt in run.attempts for scores in attempt.scores.values() for name in scores)
    metrics = {name: TITLES.get(name, name) for name in [*(n for n in TITLES if n in found), *found]}
    return About(run.benchmark, run.benchmark, metrics, average_of(run.benchmark), ())


def read_environments(path: Path | None) -> dict[str, EnvSpec]:
    """The environments of a file by id; none without a file."""
    return {} if path is None else {spec.id: spec for spec in read(path, EnvSpec)}
