"""What is done with a shard: items in, rows out, by the functions of the local commands.

Each kind of work is a value that goes to the nodes. There it is opened once in each process (an author, a sandbox, the
input), and then given one shard after the other. `about` is everything that decides what comes out.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson
from pydantic import JsonValue

from toolfoundry.build.ledger import Packed
from toolfoundry.build.pipeline import Building, Built, Recipe
from toolfoundry.check import Auditing
from toolfoundry.check.audit import Audit
from toolfoundry.check.report import Verdict
from toolfoundry.cluster.shards import Finished, Row, Shard
from toolfoundry.errors import InputError, RecordError
from toolfoundry.metrics import Outcome, rewards_of
from toolfoundry.policies.players import ModelOptions, choose
from toolfoundry.rollout import Job, run_rollouts
from toolfoundry.sandbox import Sandbox
from toolfoundry.sets import RecordSet, open_set
from toolfoundry.store import dump, load_record
from toolfoundry.types import EnvSpec, Limits, Preset, Score, Trajectory

__all__ = [
    "AuditWork",
    "BuildWork",
    "Input",
    "PlayWork",
    "ScoreWork",
    "Work",
    "audit_in",
    "built_in",
    "input_of",
    "outcome_in",
]

DoShard = Callable[[Shard, Mapping[int, Row]], tuple[list[Row], dict[str, float]]]
"""Rows of a shard, and seconds by stage. Given too: rows of an earlier run by item, which need not be made again."""


class Work(Protocol):
    """One kind of work."""

    def about(self) -> dict[str, JsonValue]:
        """What decides the rows."""
        ...

    def open(self) -> AbstractContextManager[DoShard]:
        """Ready to do shards in this process."""
        ...


class Input(NamedTuple):
    """A file that every node sees: absolute path, size in bytes, hash of its content and of some blocks of it."""

    path: Path
    size: int
    sha256: str
    blocks: str

    def open(self, kind: type[Any]) -> RecordSet[Any]:
        """The records. Raises InputError where this node sees another file, or none."""
        try:
            size = self.path.stat().st_size
            blocks = _hash_of_blocks(self.path, size)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be opened: {error.strerror}; expected on every node") from error
        if size != self.size:
            raise InputError(f"{self.path}: found {size:,} bytes here, expected {self.size:,}, the same on every node")
        if blocks != self.blocks:
            raise InputError(f"{self.path}: found other content here, expected the same on every node")
        return open_set(self.path, kind)


def input_of(path: Path) -> Input:
    """The file with its hash. Raises InputError."""
    try:
        with path.open("rb") as file:
            sha256, size = hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
        return Input(path.absolute(), size, sha256, _hash_of_blocks(path, size))
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from error


def _hash_of_blocks(path: Path, size: int, count: int = 16, block: int = 1 << 16) -> str:
    """Of evenly spaced blocks, the first and the last among them: to read all of it would take each process minutes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for number in range(count):
            file.seek(max(0, size - block) * number // (count - 1))
            digest.update(file.read(block))
    return digest.hexdigest()


# --- build -----------------------------------------------------------------------------------------------------------


class BuildWork(NamedTuple):
    """Environments of a recipe: rows of kind "environment" and "reject"."""

    recipe: Recipe

    def about(self) -> dict[str, JsonValue]:
        return {"work": "build", "recipe": self.recipe.model_dump(mode="json")}

    @contextlib.contextmanager
    def open(self) -> Generator[DoShard]:
        with Building(self.recipe).open() as build:

            def do(shard: Shard, _: Mapping[int, Row]) -> tuple[list[Row], dict[str, float]]:
                rows: list[Row] = []
                seconds: Counter[str] = Counter()
                for first in range(shard.first, shard.first + shard.size, self.recipe.shard):
                    size = min(self.recipe.shard, shard.first + shard.size - first)
                    built = build([*islice(self.recipe.briefs(first), size)])
                    rows += [_packed_row(packed) for packed in built.packed]
                    for stage, spent in built.seconds.items():
                        seconds[stage] += spent  # type: ignore[assignment]  # a counter of seconds
                return rows, dict(seconds)

            yield do


def _packed_row(packed: Packed) -> Row:
    if packed.reject is not None:
        return Row(packed.brief.index, "reject", "", dump(packed.reject))
    return Row(packed.brief.index, "environment", packed.spec_id, packed.line, packed.keys)


def built_in(done: Finished, recipe: Recipe, author: str, start: int) -> Built:
    """The outcomes in a shard from item `start` on, as the ledger takes them."""
    from toolfoundry.build.draft import Brief, Reject

    packed: list[Packed] = []
    for row in done.rows:
        if row.place < start:
            continue
        brief = Brief(index=row.place, origin=recipe.origin)
        if row.kind == "reject":
            packed.append(Packed(brief, author, load_record(Reject, row.line)))
        else:
            question = orjson.loads(row.line)["scenario"]["question"]
            packed.append(Packed(brief, author, None, row.id, question, row.line, row.keys))
    return Built(packed, done.seconds)


# --- check -----------------------------------------------------------------------------------------------------------


class AuditWork(NamedTuple):
    """Audits of environments: rows of kind "audit", and "bad" for a line that cannot be read."""

    envs: Input
    panel: bool

    def about(self) -> dict[str, JsonValue]:
        return {"work": "check", "input": self.envs.sha256, "panel": self.panel}

    @contextlib.contextmanager
    def open(self) -> Generator[DoShard]:
        with self.envs.open(EnvSpec) as envs, Auditing(self.panel).open() as audit:

            def do(shard: Shard, _: Mapping[int, Row]) -> tuple[list[Row], dict[str, float]]:
                good, bad = _records(envs, range(shard.first, shard.first + shard.size))
                audits = zip(good.items(), audit([*good.values()]), strict=True)
                return sorted(bad + [_audit_row(place, spec, found) for (place, spec), found in audits]), {}

            yield do


def _audit_row(place: int, spec: EnvSpec, audit: Audit) -> Row:
    line = {
        "verdicts": [[*verdict] for verdict in audit.verdicts],
        "probes": audit.probes,
        "played": {name: _outcome(outcome) for name, outcome in audit.played.items()},
    }
    return Row(place, "audit", spec.id, orjson.dumps(line))


def audit_in(row: Row) -> Audit:
    """The audit that a row holds."""
    line = orjson.loads(row.line)
    played = {name: _outcome_of(outcome) for name, outcome in line["played"].items()}
    return Audit([Verdict(*verdict) for verdict in line["verdicts"]], Counter(line["probes"]), played)


def _outcome(outcome: Outcome) -> list[JsonValue]:
    score = None if outcome.score is None else outcome.score.model_dump(mode="json")
    return [outcome.policy, outcome.scenario, score, outcome.stop, outcome.error]


def _outcome_of(value: list[Any]) -> Outcome:
    policy, scenario, score, stop, error = value
    return Outcome(policy, scenario, None if score is None else Score.model_validate(score), stop, error)


# --- rollout ---------------------------------------------------------------------------------------------------------


class PlayWork(NamedTuple):
    """Rollouts: rows of kind "trajectory", one for each environment and repetition, repetition by repetition.

    environments: how many play; places: theirs in the file, as unsigned 64-bit numbers, None where they are the first.
    samples: repetitions; name: of the player, in the records. options: of an endpoint; its key is read on the node,
    from the variable that they name. A row of an earlier run that did not fail is kept.
    """

    envs: Input
    environments: int
    places: bytes | None
    samples: int
    policy: str
    name: str
    options: ModelOptions
    seed: int
    limits: Limits
    reward: Preset
    concurrency: int

    def about(self) -> dict[str, JsonValue]:
        paid = {"api_key_env", "timeout_s", "retries", "base_url"}  # how replies come here, not what they say
        return {
            "work": "rollout",
            "input": self.envs.sha256,
            "places": None if self.places is None else hashlib.sha256(self.places).hexdigest(),
            "environments": self.environments,
            "policy": self.policy,
            "options": {name: value for name, value in self.options._asdict().items() if name not in paid},
            "seed": self.seed,
            "limits": self.limits.model_dump(mode="json"),
            "reward": self.reward,
        }

    @contextlib.contextmanager
    def open(self) -> Generator[DoShard]:
        player = choose_scalable(self.policy, self.options, self.seed, self.concurrency)
        places = None if self.places is None else array("Q", self.places)
        with self.envs.open(EnvSpec) as envs, Sandbox() as sandbox:

            async def play(jobs: Mapping[tuple[str, int], tuple[int, Job]]) -> list[Row]:
                played = run_rollouts(
                    (job for _, job in jobs.values()),
                    player.make,
                    sandbox,
                    self.limits,
                    name=self.name,
                    preset=self.reward,
                    concurrency=self.concurrency,
                )
                async with contextlib.aclosing(played):
                    return [
                        _trajectory_row(jobs[trajectory.task.spec_id, trajectory.sample][0], trajectory)
                        async for trajectory in played
                    ]

            def do(shard: Shard, known: Mapping[int, Row]) -> tuple[list[Row], dict[str, float]]:
                rows = [row for row in known.values() if row.kind == "trajectory"]
                jobs: dict[tuple[str, int], tuple[int, Job]] = {}
                left = [i for i in range(shard.first, shard.first + shard.size) if i not in {row.place for row in rows}]
                for index in left:
                    sample, number = divmod(index, self.environments)
                    place = number if places is None else places[number]
                    good, bad = _records(envs, [place])
                    rows += [row._replace(place=index) for row in bad]
                    for spec in good.values():
                        jobs[spec.id, sample] = index, Job(spec, sample)
                return sorted(rows + asyncio.run(play(jobs))), {}

            yield do


def choose_scalable(policy: str, options: ModelOptions, seed: int, concurrency: int) -> Any:
    """A player that many processes can have at a time. Raises InputError for one that loads a checkpoint."""
    from toolfoundry.policies.players import LOCAL

    if policy in LOCAL:
        raise InputError(
            f"option --policy: found {policy!r} with --ray, expected openai or a scripted one; serve the checkpoint "
            "(vllm serve), and every node can play with it"
        )
    unused = {"chat", "batch", "device", "retries"}
    endpoint = {name: value for name, value in options._asdict().items() if name not in unused}
    return choose(policy, seed=seed, max_retries=options.retries, concurrency=concurrency, **endpoint)


def _trajectory_row(index: int, trajectory: Trajectory) -> Row:
    kind = "failed" if trajectory.stop == "error" else "trajectory"
    return Row(index, kind, trajectory.key, dump(trajectory))


# --- score -----------------------------------------------------------------------------------------------------------


class ScoreWork(NamedTuple):
    """Scores of trajectories: rows of kind "score", and "bad" for a line that cannot be read.

    reward: also grade every turn anew with this preset.
    """

    trajectories: Input
    reward: Preset | None

    def about(self) -> dict[str, JsonValue]:
        return {"work": "score", "input": self.trajectories.sha256, "reward": self.reward}

    @contextlib.contextmanager
    def open(self) -> Generator[DoShard]:
        with self.trajectories.open(Trajectory) as trajectories:

            def do(shard: Shard, _: Mapping[int, Row]) -> tuple[list[Row], dict[str, float]]:
                good, rows = _records(trajectories, range(shard.first, shard.first + shard.size))
                for place, one in good.items():
                    rewards = None if self.reward is None else rewards_of(one, self.reward)
                    line = orjson.dumps({"outcome": _outcome(Outcome.of(one)), "rewards": rewards})
                    rows.append(Row(place, "score", one.key, line))
                return sorted(rows), {}

            yield do


def outcome_in(row: Row) -> tuple[Outcome, list[float] | None]:
    """How a trajectory ended, and the rewards of its turns: None where it failed, or none were asked for."""
    line = orjson.loads(row.line)
    return _outcome_of(line["outcome"]), line["rewards"]


def _records(records: RecordSet[Any], places: range | list[int]) -> tuple[dict[int, Any], list[Row]]:
    """The records at these places, and a row for each that cannot be read."""
    good: dict[int, Any] = {}
    bad: list[Row] = []
    for place in places:
        try:
            good[place] = records[place]
        except RecordError as error:
            bad.append(Row(place, "bad", "", str(error).encode()))
    return good, bad
