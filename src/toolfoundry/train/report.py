"""The report of a training run, made from its folder: `report.html`, one page, and `curves.png`.

    write_report(Path("run"))

It reads `run.json`, `metrics.jsonl` and, where there are any, what the policy did on the held-out environments before
and after (`before.json`, `before.jsonl`, `after.json`, `after.jsonl`). It needs no torch, and works on a run that was
interrupted. Every text that a model, a tool or a file wrote is untrusted: it is escaped, and its invisible characters
are made visible.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError

from toolfoundry import page
from toolfoundry.errors import InputError, MissingExtra, OutputError
from toolfoundry.intervals import Difference, mean_difference
from toolfoundry.metrics import METRICS, Metric, Summary
from toolfoundry.reward import score_trajectory
from toolfoundry.store import read
from toolfoundry.train.curves import cpu_by_part, draw_curves, first_and_last, save_curves
from toolfoundry.types import Score, Trajectory

__all__ = [
    "SHOWN",
    "Call",
    "Cell",
    "Pair",
    "Said",
    "ScenarioRow",
    "TrainingRun",
    "changes",
    "describe_run",
    "most_improved",
    "read_metrics",
    "require_extra",
    "said",
    "write_report",
]

SHOWN = {
    "solve_p": "Solve-P",
    "solve_r": "Solve-R",
    "solve_f1": "Solve-F1",
    "answer": "final answer",
    "malformed": "malformed",
    "score": "score",
}
"""The metrics of the tables: a gain in one of them can hide a loss in another."""

_ABOUT = ("version", "start", "parameters", "environments", "prompt", "threads")


class Cell(NamedTuple):
    """One metric of one scenario; None: not measured."""

    before: Metric | None
    after: Metric | None
    difference: Difference | None


class ScenarioRow(NamedTuple):
    """A line of the table; `n` counts trajectories, `unscored` those of them that could not be scored."""

    scenario: str
    n: int
    unscored: int
    cells: list[Cell]


class Call(NamedTuple):
    """A call and what came back; `failed`: an error of the model's doing."""

    name: str
    arguments: str
    result: str
    failed: bool


class Said(NamedTuple):
    """One turn as it is shown. `reward` None: not scored."""

    thinking: str
    content: str
    calls: list[Call]
    faults: list[str]
    notice: str
    reward: float | None


class Pair(NamedTuple):
    """One environment before and after, with the scores of the two trajectories."""

    before: Trajectory
    after: Trajectory
    was: float
    now: float


class TrainingRun(NamedTuple):
    """What a page shows of a run. cards: (number, what it is). spent: CPU seconds by part. drawings: curves by title;
    none without the extra `plots`, and `no_plots` says so. errors: causes of unscored rollouts, before and after."""

    config: dict[str, str]
    about: dict[str, str]
    command: str
    files: dict[str, str]
    packages: dict[str, Any]
    steps: int
    rounds: int
    unscored: int
    cards: list[tuple[str, str]]
    spent: dict[str, float]
    seconds: float
    drawings: dict[str, page.Drawing]
    no_plots: str
    table: list[ScenarioRow]
    errors: list[tuple[str, dict[str, int]]]
    pair: Pair | None


def require_extra() -> None:
    """Raises MissingExtra where the page could not be made."""
    page.require_extra("report", "jinja2", "the training report")


def write_report(run: Path) -> Path:
    """Writes `report.html` and `curves.png` into a run's folder, and returns the page.

    Without the extra `plots` there are no curves, and the page says so.

    Raises:
        InputError: the folder holds no run, or a file of it cannot be read. MissingExtra: no extra `report`.
        OutputError: the report cannot be written.
    """
    require_extra()
    described, rows = describe_run(run), read_metrics(run / "metrics.jsonl")
    with contextlib.suppress(MissingExtra):  # then the page says so
        _save(run / "curves.png", lambda path: save_curves(rows, path))
    pair = described.pair
    text = page.render_page(
        "toolfoundry.train",
        "report.html.jinja",
        run=described,
        metrics=SHOWN,
        sides=[] if pair is None else [("before", pair.was, pair.before), ("after", pair.now, pair.after)],
        said=said,
    )
    target = run / "report.html"
    _save(target, lambda path: path.write_text(text, encoding="utf-8"))
    return target


def describe_run(run: Path) -> TrainingRun:
    """All that a page shows of a run. Raises InputError as `write_report` does."""
    about = _json(run / "run.json")
    rows = read_metrics(run / "metrics.jsonl")
    before, after = _summary(run / "before.json"), _summary(run / "after.json")
    played = [_trajectories(run / f"{when}.jsonl") for when in ("before", "after")]
    no_plots, drawings = "", {}
    try:
        drawings = draw_curves(rows)
    except MissingExtra as missing:
        no_plots = str(missing)
    config: dict[str, Any] = about.get("config") or {}
    if not {"algorithm", "model"} <= config.keys():
        raise InputError(f"{run / 'run.json'}: has no configuration, expected the run file of a training run")
    spent = cpu_by_part(rows)
    return TrainingRun(
        config={name: _plain(value) for name, value in config.items()},
        about={name: _plain(about[name]) for name in _ABOUT if name in about},
        command=" ".join(map(str, about.get("command") or ())),
        files=about.get("files") or {},
        packages=about.get("packages") or {},
        steps=int(rows[-1]["step"]) if rows else 0,
        rounds=len({row["round"] for row in rows if row.get("round") is not None}),
        unscored=sum(int(row.get("unscored") or 0) for row in rows),
        cards=list(_cards(before, after, rows)),
        spent=spent,
        seconds=sum(spent.values()),
        drawings=drawings,
        no_plots=no_plots,
        table=changes(before, after, *played),
        errors=[(when, one.errors) for when, one in (("before", before), ("after", after)) if one and one.errors],
        pair=most_improved(*played),
    )


def _save(target: Path, write: Callable[[Path], object]) -> None:
    """Writes beside and renames, so that what is there is whole. `write` may leave nothing to rename."""
    draft = target.with_name(f".{target.name}")
    try:
        write(draft)
        if draft.exists():
            draft.replace(target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error


# --- what is read --------------------------------------------------------------------------------------------------


def _json(path: Path) -> dict[str, Any]:
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read, expected the run file of a training run: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: found no object, expected the run file of a training run")
    return found  # pyright: ignore[reportUnknownVariableType]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """A run's metrics, those lines that are whole: a run that was killed may have left half of one at the end."""
    rows: list[dict[str, Any]] = []
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        try:
            row: Any = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):  # pyright: ignore[reportUnknownMemberType]
            rows.append(row)  # pyright: ignore[reportUnknownArgumentType]
    return rows


def _summary(path: Path) -> Summary | None:
    if not path.exists():
        return None
    try:
        return Summary.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(
            f"{path}: cannot be read as the summary of an evaluation: {error.errors()[0]['msg']}"
        ) from None


def _trajectories(path: Path) -> list[Trajectory]:
    return list(read(path, Trajectory)) if path.exists() else []


# --- what is shown -------------------------------------------------------------------------------------------------


def _cards(
    before: Summary | None, after: Summary | None, rows: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    """(number, what it is) of the most telling figures."""
    if before is not None and after is not None:
        for name, title in (("solve_f1", "Solve-F1"), ("answer", "final answers right"), ("malformed", "malformed")):
            was, now = (one.overall.metrics[name].mean for one in (before, after))
            if was is not None and now is not None:
                yield f"{was:.2f} → {now:.2f}", f"{title}, held out"
    for name, title in (("reward", "training reward"), ("loss", "loss"), ("token_accuracy", "tokens right")):
        if (name == "reward" or not any("reward" in row for row in rows)) and (ends := first_and_last(rows, name)):
            yield f"{ends[0]:.2f} → {ends[1]:.2f}", f"{title}, first and last fifth of the steps"


def changes(
    before: Summary | None,
    after: Summary | None,
    played_before: Sequence[Trajectory] = (),
    played_after: Sequence[Trajectory] = (),
) -> list[ScenarioRow]:
    """The table of all metrics by scenario, the whole first; empty where nothing was held out."""
    if (shown := after or before) is None:
        return []
    pairs = list(_scored_pairs(played_before, played_after))
    table: list[ScenarioRow] = []
    for group in shown.groups:
        of_scenario = [(a, b) for kind, a, b in pairs if group.scenario in ("all", kind)]
        cells: list[Cell] = []
        for name in SHOWN:
            values = [(METRICS[name](a), METRICS[name](b)) for a, b in of_scenario]
            moved = [y - x for x, y in values if x is not None and y is not None]
            cells.append(
                Cell(
                    _metric(before, group.scenario, name),
                    _metric(after, group.scenario, name),
                    mean_difference(moved) if moved else None,
                )
            )
        table.append(ScenarioRow(group.scenario.replace("_", " "), group.n, group.unscored, cells))
    return table


def _metric(summary: Summary | None, scenario: str, name: str) -> Metric | None:
    groups = summary.groups if summary is not None else ()
    return next((group.metrics.get(name) for group in groups if group.scenario == scenario), None)


def _scored_pairs(before: Sequence[Trajectory], after: Sequence[Trajectory]) -> Iterator[tuple[str, Score, Score]]:
    """Scenario and both scores of every environment that was scored both times."""
    for was, now in _matched(before, after):
        a, b = score_trajectory(was), score_trajectory(now)
        if a is not None and b is not None:
            yield now.task.kind or "unknown", a, b


def _matched(before: Sequence[Trajectory], after: Sequence[Trajectory]) -> Iterator[tuple[Trajectory, Trajectory]]:
    by_key = {(trajectory.task.spec_id, trajectory.sample): trajectory for trajectory in before}
    for now in after:
        if (was := by_key.get((now.task.spec_id, now.sample))) is not None:
            yield was, now


def most_improved(before: Sequence[Trajectory], after: Sequence[Trajectory]) -> Pair | None:
    """The environment whose score rose most; of several the one with most goals, then the one with the first id."""
    pairs: list[Pair] = []
    for was, now in _matched(before, after):
        a, b = score_trajectory(was), score_trajectory(now)
        if a is not None and b is not None:
            pairs.append(Pair(was, now, a.value, b.value))
    return min(pairs, key=lambda pair: (pair.was - pair.now, -len(pair.after.task.goals), pair.after.key), default=None)


def said(trajectory: Trajectory) -> list[Said]:
    """The turns of a trajectory as they are shown, side by side with those of another."""
    turns: list[Said] = []
    for turn in trajectory.turns:
        message = turn.completion.message
        results = {result.call_id: result for result in turn.results}
        calls = [
            Call(call.name, call.arguments, result.text if result else "", bool(result and result.error is not None))
            for call in message.tool_calls
            for result in [results.get(call.id)]
        ]
        faults = [f"{fault.kind.replace('_', ' ')} {fault.detail}".strip() for fault in message.faults]
        reward = None if turn.reward is None else turn.reward.value
        turns.append(Said(message.thinking, message.content, calls, faults, turn.notice or "", reward))
    return turns


def _plain(value: Any) -> str:
    """A setting as a person writes it."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
