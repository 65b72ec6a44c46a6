"""What the experiments share: sets, starts, runs and measurements, each made once and then read from a folder.

    lab = Lab(Path("experiments/out"))
    start = lab.warm_start(WarmStart(...))                      a checkpoint's folder
    run = lab.reinforce("grpo", start, seed=0, algorithm="grpo")   a run's folder; killed, it goes on where it was
    results = lab.measure(run / "final")                        one row for each test environment

An artifact's name holds a hash of all that it was made from, so that a changed setting is another artifact. Several
processes may share the folder: one makes an artifact, the others wait for it.
"""

# pyright: basic

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import torch

from toolfoundry.intervals import Difference, mean_difference
from toolfoundry.reward import score_trajectory
from toolfoundry.sandbox import Sandbox
from toolfoundry.train.config import TrainConfig, load_preset
from toolfoundry.train.run import Progress, evaluate, load_start, table_of, train
from toolfoundry.train.tiny.warmstart import (
    WARM_START,
    WarmStart,
    build_set,
    imitate_demonstrations,
    show,
    tiny_profile,
)
from toolfoundry.types import EnvSpec, ScenarioKind

SCENARIOS: tuple[ScenarioKind, ...] = ("single_hop", "parallel_single_hop", "multi_hop", "parallel_multi_hop")
METRICS = ("solve_p", "solve_r", "solve_f1", "answer", "malformed")


class Item(NamedTuple):
    """One test environment's result. None: unscored (or, for `answer`, there is none to give)."""

    spec_id: str
    scenario: str
    solve_p: float | None
    solve_r: float | None
    solve_f1: float | None
    answer: float | None
    malformed: float | None


def key_of(*parts: Any) -> str:
    """Ten hex digits of what an artifact is made from."""
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()[:10]


def say(text: str) -> None:
    """A line of progress, on standard error."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


@dataclass
class Lab:
    """The folder of all artifacts, how long a policy is reinforced, and how large the sets are."""

    folder: Path
    rl_steps: int
    train_environments: int = 3000
    test_environments: int = 420

    def __post_init__(self) -> None:
        torch.set_num_threads(1)
        self.folder.mkdir(parents=True, exist_ok=True)

    # --- sets ---------------------------------------------------------------------------------------------------------

    def environments(
        self, count: int, seed: int, split: str = "train", nouns: str = "familiar", **knobs: Any
    ) -> list[EnvSpec]:
        """Built environments of the tiny profile; `knobs` are fields of the profile."""
        profile = tiny_profile(nouns, **knobs)
        path = self.folder / "sets" / f"{split}-{seed}-{count}-{key_of(profile.model_dump(mode='json'))}.jsonl"
        with self._once(path):
            if not path.exists():
                say(f"building {count} environments ({split}, seed {seed})")
            return build_set(path, count, seed, split, profile=profile, jobs=1)  # type: ignore[arg-type]

    def new_relations(self) -> dict[str, list[EnvSpec]]:
        """The test set: new names, and new relations of known words."""
        return {"new relations": self.environments(self.test_environments, 2001, "test")}

    def new_words(self) -> dict[str, list[EnvSpec]]:
        """Relations whose words were never seen."""
        return {"new words": self.environments(self.test_environments // 2, 2002, "test", "unfamiliar", hold_out=())}

    # --- policies -----------------------------------------------------------------------------------------------------

    def warm_start(
        self,
        recipe: WarmStart,
        *,
        start: Path | None = None,
        steps: int | None = None,
        specs: Sequence[EnvSpec] | None = None,
    ) -> Path:
        """The checkpoint that the recipe gives; from `start` on and of these environments, where they are given."""
        shown = [] if specs is None else [[spec.id for spec in specs]]
        name = key_of(recipe.model_dump(mode="json"), str(start), steps, *shown)
        folder = self.folder / "starts" / name
        with self._once(folder):
            if not (folder / "final").exists():
                say(f"warm start {name}: {recipe.model_dump_json()} {f'on from {start}' if start else ''}")
                if specs is None:
                    specs = self.environments(recipe.environments, 0)  # seeds differ in weights, habits and batches
                imitate_demonstrations(recipe, specs, show(specs, recipe), folder, start=start, steps=steps, force=True)
        return folder / "final"

    def reinforce(
        self, label: str, start: Path, *, seed: int, specs: Sequence[EnvSpec] | None = None, **settings: Any
    ) -> Path:
        """The folder of a run from a start, by the preset `tiny` with these settings; `label` is for people."""
        config = load_preset("tiny", **{"model": str(start), "seed": seed, "max_steps": self.rl_steps, **settings})
        chosen = list(specs) if specs is not None else self.environments(self.train_environments, 1000 + seed)
        key, runs = key_of(config.model_dump(mode="json"), [spec.id for spec in chosen]), self.folder / "runs"
        with self._once(runs / key):
            known = next(runs.glob(f"*-{key}"), None)  # whatever another experiment called it
            folder = known or runs / f"{label.replace(', ', '-').replace(' ', '-')}-{seed}-{key}"
            if not (folder / "final").exists():
                say(f"run {folder.name}")
                train(config, chosen, folder, resume=(folder / "run.json").exists(), progress=_progress(folder.name))
        return folder

    # --- measurements -------------------------------------------------------------------------------------------------

    def measure(
        self,
        model: Path,
        *,
        temperature: float = 0.0,
        sets: Mapping[str, Sequence[EnvSpec]] | None = None,
        **settings: Any,
    ) -> dict[str, list[Item]]:
        """The results on each test set; by default on new relations."""
        config: TrainConfig = load_preset("tiny", model=str(model), **settings)
        results: dict[str, list[Item]] = {}
        for title, specs in (sets or self.new_relations()).items():
            name = key_of(
                title,
                [spec.id for spec in specs],
                temperature,
                config.chat,
                config.thinking,
                config.max_response_tokens,
            )
            path = model.parent / f"measured-{name}.json"
            if not path.exists():
                policy = load_start(config)
                with Sandbox() as sandbox:
                    played = evaluate(table_of(config, policy, sandbox), specs, temperature=temperature)
                items: list[Item] = []
                for trajectory in played:
                    score = score_trajectory(trajectory)
                    kind = trajectory.task.kind or "unknown"
                    if score is None:
                        items.append(Item(trajectory.task.spec_id, kind, None, None, None, None, None))
                        continue
                    right = None if score.answer_right is None else float(score.answer_right)
                    solve = score.strict
                    wrong_form = float(score.malformed > 0 or trajectory.stop == "length")
                    items.append(
                        Item(trajectory.task.spec_id, kind, solve.precision, solve.recall, solve.f1, right, wrong_form)
                    )
                path.write_bytes(orjson.dumps([list(item) for item in items]))
            results[title] = [Item(*row) for row in orjson.loads(path.read_bytes())]
        return results

    @contextlib.contextmanager
    def _once(self, path: Path) -> Iterator[None]:
        """One process at a time makes an artifact."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def compare_arms(lab: Lab, seeds: Sequence[int], arms: Mapping[str, Mapping[str, Any]]) -> None:
    """Trains by the settings of each arm from the packaged recipe's warm start, for each seed, and prints the table."""
    results: dict[str, list[dict[str, list[Item]]]] = {"warm start": []}
    seconds: dict[str, list[float]] = {}
    for seed in seeds:
        start = lab.warm_start(WARM_START.model_copy(update={"seed": seed}))
        results["warm start"].append(lab.measure(start))
        for name, settings in arms.items():
            run = lab.reinforce(name, start, seed=seed, **settings)
            results.setdefault(name, []).append(lab.measure(run / "final"))
            seconds.setdefault(name, []).append(cpu_seconds(run))
    table_of_arms(results, seconds)


def opened(
    about: str | None, parser: argparse.ArgumentParser | None = None, *, rl_steps: int = 200
) -> tuple[Lab, list[int]]:
    """The lab and the seeds that the command line names; `parser` for an experiment with options of its own."""
    parser = parser or argparse.ArgumentParser()
    parser.description = (about or "").splitlines()[0]
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--rl-steps", type=int, default=rl_steps, help="of reinforcement learning")
    parser.add_argument("--out", type=Path, default=Path("experiments/out"))
    arguments = parser.parse_args()
    return Lab(arguments.out, arguments.rl_steps), arguments.seeds


def _progress(name: str) -> Progress:
    def on_step(row: Mapping[str, Any]) -> None:
        if row["step"] % 50 == 0:
            kept = {
                k: round(v, 3)
                for k in ("reward", "flat_groups", "malformed", "answer")
                if (v := row.get(k)) is not None
            }
            say(f"{name} step {row['step']}: {kept}")

    return Progress(on_step=on_step)


def rows_of(run: Path) -> list[dict[str, Any]]:
    """A run's metrics."""
    return [orjson.loads(line) for line in (run / "metrics.jsonl").read_bytes().splitlines()]


def cpu_seconds(run: Path) -> float:
    """What a run's steps took, in CPU seconds of its process."""
    return sum(sum(row["cpu_s"].values()) for row in rows_of(run))


# --- statistics ------------------------------------------------------------------------------------------------------


def mean_of(items: Sequence[Item], metric: str, scenario: str | None = None) -> float:
    """The mean over the scored items of a scenario (None: the mean of the scenarios' means)."""
    if scenario is None:
        return statistics.fmean(mean_of(items, metric, kind) for kind in SCENARIOS)
    values = [getattr(item, metric) for item in items if item.scenario == scenario]
    return statistics.fmean(value for value in values if value is not None)


def paired(
    before: Sequence[Sequence[Item]], after: Sequence[Sequence[Item]], metric: str, scenario: str | None = None
) -> Difference:
    """After minus before over the same environments and seeds; the error is clustered by environment."""
    differences: dict[str, list[float]] = {}
    for was, now in zip(before, after, strict=True):
        for a, b in zip(was, now, strict=True):
            assert a.spec_id == b.spec_id
            x, y = getattr(a, metric), getattr(b, metric)
            if x is not None and y is not None and scenario in (None, a.scenario):
                differences.setdefault(a.spec_id, []).append(y - x)
    return mean_difference([statistics.fmean(values) for values in differences.values()])


def shown(one: Difference) -> str:
    """A difference with its interval."""
    return f"{one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"


def spread(values: Sequence[float]) -> str:
    """Mean and range over seeds."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.fmean(values):.3f} ({min(values):.3f}–{max(values):.3f})"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def table_of_arms(
    results: Mapping[str, Sequence[Mapping[str, Sequence[Item]]]], seconds: Mapping[str, Sequence[float]] | None = None
) -> None:
    """Prints a table for each test set: a row for each arm, with the paired differences to the first one."""
    base, *_ = results.values()
    for title in base[0]:
        print(f"\n### {title}: greedy, mean and range of {len(base)} seeds\n")
        rows: list[list[str]] = []
        for name, measured in results.items():
            row = [name, *(spread([mean_of(one[title], metric) for one in measured]) for metric in METRICS)]
            before, after = ([one[title] for one in arm] for arm in (base, measured))
            row += ["", ""] if measured is base else [shown(paired(before, after, m)) for m in ("solve_f1", "answer")]
            if seconds is not None:
                row.append(f"{statistics.fmean(seconds[name]):.0f}" if name in seconds else "")
            rows.append(row)
        header = [
            "policy",
            "Solve-P",
            "Solve-R",
            "Solve-F1",
            "answer",
            "malformed",
            "Solve-F1 gained",
            "answers gained",
        ]
        print(markdown([*header, *(["CPU s"] if seconds is not None else [])], rows))
