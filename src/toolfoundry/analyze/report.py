"""`toolfoundry report`: runs as one page that needs nothing but a browser.

    write_report([Path("before.jsonl"), Path("after.jsonl")], Path("page.html"), envs=Path("envs.jsonl"))

Scores with standard errors, plots, the course of a training, behaviour, and trajectories as conversations that can be
filtered. Whatever a model, a tool or a file wrote is untrusted: it reaches the page escaped and with its invisible
characters made visible, and the only script is ours, allowed by its hash; it builds nothing out of text.

The page stays under `MAX_BYTES`: where it would not, texts are cut shorter, and then fewer trajectories are shown.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from toolfoundry import __version__, page
from toolfoundry.analyze.behaviour import KINDS, MEASURES
from toolfoundry.analyze.behaviour_summary import (
    BehaviourSummary,
    Change,
    Played,
    behave,
    changes,
    examples,
    mean_text,
    short_key,
    summarise_behaviour,
)
from toolfoundry.analyze.conversation import Conversation, conversation, score_of
from toolfoundry.analyze.report_plots import draw_failures, draw_parts, draw_progress, draw_scores
from toolfoundry.analyze.reward_parts import PARTS, RewardParts, reward_parts
from toolfoundry.analyze.runs import Run, about_of, is_training_run, read_environments, read_runs
from toolfoundry.errors import InputError, MissingExtra, OutputError
from toolfoundry.evaluate import compare
from toolfoundry.evaluate.attempts import Attempt, Rule
from toolfoundry.evaluate.results import Result, summarise_attempts
from toolfoundry.seeds import generator
from toolfoundry.stats.plots import COLOURS
from toolfoundry.store import read
from toolfoundry.train.report import TrainingRun, describe_run
from toolfoundry.types import EnvSpec, ScenarioKind, Trajectory

__all__ = ["MAX_BYTES", "Chosen", "Shown", "choose", "require_extra", "write_report"]

MAX_BYTES = 9_500_000
_LONGEST, _SHORTEST = 4000, 250  # characters of one text


class Chosen(NamedTuple):
    """An attempt that is shown, and the number of its run."""

    run: int
    attempt: Attempt


class Shown(NamedTuple):
    """What a page came to: its trajectories, and those that it had no room for."""

    trajectories: int
    left_out: int


class Talk(NamedTuple):
    """A conversation on the page: its anchor, and the numbers of its run and of its group."""

    anchor: str
    run: int
    group: int
    shown: Conversation


class Benchmark(NamedTuple):
    """The results at one benchmark, by the number of the run; `differences` by group and metric, of two runs, and
    `shared` the pairs behind them, by group."""

    title: str
    results: dict[int, Result]
    groups: list[str]
    differences: dict[tuple[str, str], compare.Row]
    shared: dict[str, int]
    drawings: dict[str, page.Drawing]


class Behaviours(NamedTuple):
    """The behaviour of all runs; `changes` of two of them, by figure, over all scenarios."""

    summaries: list[BehaviourSummary]
    changes: dict[str, Change]
    drawings: dict[str, page.Drawing]


class Training(NamedTuple):
    """A training run, with the parts of the reward of what it collected, where it kept that."""

    name: str
    run: TrainingRun
    parts: page.Drawing | None


def require_extra() -> None:
    """Raises MissingExtra where the page could not be made."""
    page.require_extra("report", "jinja2", "the report")


def write_report(
    paths: Sequence[Path],
    output: Path,
    *,
    envs: Path | None = None,
    trajectories: int = 200,
    seed: int = 0,
    rule: Rule = "fixed",
) -> Shown:
    """Writes the page.

    Args:
        paths: files of trajectories or attempts, folders of evaluations and of training runs.
        envs: the environments that were played: some kinds of failure, and the text of sub-questions, are only there.
        trajectories: the most that are shown: of every run the worst, the best, and others drawn by the seed.
        rule: which of the scores of attempts are shown.

    Raises:
        InputError: there is nothing to show, or something cannot be read. MissingExtra: no extra `report`.
        OutputError: the page cannot be written.
    """
    require_extra()
    runs = read_runs(paths)
    trainings = [_training(path) for path in paths if is_training_run(path)]
    if not runs and not trainings:
        raise InputError(f"{paths[0]}: has nothing to show")
    specs = read_environments(envs)
    played = [behave(run.trajectories, specs) for run in runs]
    no_plots = ""
    try:
        page.require_extra("plots", "matplotlib", "the plots")
    except MissingExtra as missing:
        no_plots = str(missing)
    values = {
        "runs": runs,
        "colours": COLOURS,
        "benchmarks": _benchmarks(runs, rule, plots=not no_plots),
        "behaviours": _behaviours(runs, played, plots=not no_plots),
        "parts": [reward_parts(run.trajectories) for run in runs],
        "trainings": trainings,
        "no_plots": no_plots,
        "with_environments": bool(specs),
        "rule": rule,
    }
    text, shown = _fitting(values, runs, played, specs, trajectories, seed, rule)
    draft = output.with_name(f".{output.name}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(output)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise OutputError(f"{output}: cannot be written: {error.strerror or error}") from error
    return shown


def _fitting(
    values: Mapping[str, object],
    runs: Sequence[Run],
    played: Sequence[Played],
    specs: Mapping[str, EnvSpec],
    most: int,
    seed: int,
    rule: Rule,
) -> tuple[str, Shown]:
    """The page with as much text and as many trajectories as it has room for."""
    total = sum(len(run.attempts) for run in runs)
    longest = _LONGEST
    while True:
        chosen = choose(runs, played, most, seed, rule)
        talks = _talks(chosen, specs, rule)
        text = page.render_page(
            "toolfoundry.analyze",
            "report.html.jinja",
            script=importlib.resources.files("toolfoundry.analyze").joinpath("report.js").read_text(encoding="utf-8"),
            **values,
            talks=talks,
            groups=list(dict.fromkeys(one.attempt.group for one in chosen)),
            anchors=_anchors(chosen),
            kinds=KINDS,
            measures=MEASURES,
            part_titles=PARTS,
            total=total,
            passage=functools.partial(page.passage, max_chars=longest),
            longest=longest,
            mean_text=mean_text,
            short_key=short_key,
            version=__version__,
        )
        if len(text.encode()) <= MAX_BYTES or not talks:
            return text, Shown(len(talks), total - len(talks))
        if longest > _SHORTEST:
            longest //= 4
        else:
            most = len(talks) // 2


# --- tables --------------------------------------------------------------------------------------------------------


def _benchmarks(runs: Sequence[Run], rule: Rule, *, plots: bool) -> list[Benchmark]:
    found: list[Benchmark] = []
    for name in dict.fromkeys(run.benchmark for run in runs):
        of_name = {number: run for number, run in enumerate(runs) if run.benchmark == name}
        order = [*get_args(ScenarioKind)]
        results = {
            number: summarise_attempts(about_of(run), run.attempts, rule, groups=order)
            for number, run in of_name.items()
        }
        differences = _differences(list(of_name.values()), rule)
        found.append(
            Benchmark(
                title=name,
                results=results,
                groups=list(dict.fromkeys(row.group for result in results.values() for row in result.rows)),
                differences=differences,
                shared={group: row.pairs for (group, _), row in differences.items()},
                drawings=draw_scores(results) if plots else {},
            )
        )
    return found


def _differences(runs: Sequence[Run], rule: Rule) -> dict[tuple[str, str], compare.Row]:
    """What changed from the first to the second of two runs, where they have two clusters of attempts in common."""
    if len(runs) != 2:
        return {}
    try:
        found = compare.compare_runs(_observed(runs[0], rule), _observed(runs[1], rule), rule)
    except InputError:
        return {}
    return {(row.group, row.metric): row for row in found.rows if row.clusters > 1}


def _observed(run: Run, rule: Rule) -> compare.Run:
    found = {
        compare.Key(one.benchmark, one.trajectory.task.spec_id, one.trajectory.sample): compare.Observation(
            one.group, one.cluster, one.scores.get(rule)
        )
        for one in run.attempts
    }
    return compare.Run(run.name, run.attempts[0].trajectory.policy, found)


def _behaviours(runs: Sequence[Run], played: Sequence[Played], *, plots: bool) -> Behaviours:
    summaries = [summarise_behaviour(run.name, one) for run, one in zip(runs, played, strict=True)]
    changed = changes(*played) if len(played) == 2 else []
    drawings: dict[str, page.Drawing] = {}
    if plots and runs:
        if (drawing := draw_failures(dict(enumerate(summaries)))) is not None:
            drawings["Failures"] = drawing
        if (drawing := draw_progress({number: run.trajectories for number, run in enumerate(runs)})) is not None:
            drawings["Sub-questions solved after so many turns, mean share"] = drawing
    overall = [change for change in changed if change.scenario == "all" and change.clusters > 1]
    return Behaviours(summaries, {change.figure: change for change in overall}, drawings)


def _training(path: Path) -> Training:
    """The run, with its parts of the reward by round: of every round where they are few, else of some of them."""
    files = sorted((path / "rounds").glob("*.jsonl"))
    every = -(-len(files) // 40)
    rounds: list[tuple[int, RewardParts]] = []
    for file in files[::every] if files else []:
        parts = reward_parts(read(file, Trajectory))
        if parts.turns and file.stem.isdigit():
            rounds.append((int(file.stem), parts))
    try:
        page.require_extra("plots", "matplotlib", "the plots")
        drawing = draw_parts(rounds) if len(rounds) > 1 else None
    except MissingExtra:
        drawing = None
    return Training(path.resolve().name, describe_run(path), drawing)


# --- trajectories --------------------------------------------------------------------------------------------------


def choose(runs: Sequence[Run], played: Sequence[Played], most: int, seed: int, rule: Rule = "fixed") -> list[Chosen]:
    """At most `most` attempts, as many of each run: an example of every kind of failure, the worst, the best, and
    others drawn by the seed. In the order of the runs, the worst first, unscored ones before them."""
    chosen: list[Chosen] = []
    for number, (run, one) in enumerate(zip(runs, played, strict=True)):
        room = most * (number + 1) // len(runs) - most * number // len(runs)
        scores = {attempt.key: score_of(attempt, rule) for attempt in run.attempts}
        scored = sorted((score, key) for key, score in scores.items() if score is not None)
        by_trajectory = {attempt.trajectory.key: attempt.key for attempt in run.attempts}
        wanted = [by_trajectory[key] for keys in examples(one.behaviours, 1).values() for key in keys][: room // 4]
        third = (room - len(set(wanted))) // 3
        wanted += [key for _, key in scored[:third]] + [key for _, key in reversed(scored[len(scored) - third :])]
        kept = set(wanted)
        rest = sorted(scores.keys() - kept)
        left = min(len(rest), max(0, room - len(kept)))
        kept |= set(generator("report", seed, number).sample(rest, left))
        attempts = [attempt for attempt in run.attempts if attempt.key in kept]
        attempts.sort(key=lambda attempt: (-1.0 if (s := scores[attempt.key]) is None else s, attempt.key))
        chosen += [Chosen(number, attempt) for attempt in attempts]
    return chosen


def _talks(chosen: Sequence[Chosen], specs: Mapping[str, EnvSpec], rule: Rule) -> list[Talk]:
    groups = list(dict.fromkeys(one.attempt.group for one in chosen))
    return [
        Talk(
            anchor=f"t{place}",
            run=one.run,
            group=groups.index(one.attempt.group),
            shown=conversation(one.attempt, specs.get(one.attempt.trajectory.task.spec_id), rule),
        )
        for place, one in enumerate(chosen, start=1)
    ]


def _anchors(chosen: Sequence[Chosen]) -> dict[tuple[int, str], str]:
    """Run and trajectory -> the anchor of what is shown."""
    return {(one.run, one.attempt.trajectory.key): f"t{place}" for place, one in enumerate(chosen, start=1)}
