# pyright: basic
"""The last chapter of the demo: a tiny policy is trained on environments, and plays others before and after.

The start is the warm start in the package. The held-out environments have names and relations that occur in no
training environment, and come from a seed that nothing else uses. The chapter ends with an error unless everything that
it promises is there: all files, a score for every rollout, a training reward that rose, a held-out Solve-F1 that did
not fall.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from toolfoundry.console import number
from toolfoundry.demo.chapters import begin
from toolfoundry.errors import FoundryError, MissingExtra
from toolfoundry.untrusted import visible

if TYPE_CHECKING:
    from toolfoundry.intervals import Difference
    from toolfoundry.train.report import Pair, Said
    from toolfoundry.train.run import Outcome
    from toolfoundry.types import EnvSpec

__all__ = ["MODEL", "train_chapter"]

MODEL = "tiny"
_STEPS = 120
_TRAIN, _TRAIN_SEED = 320, 4100
_HELD_OUT, _HELD_OUT_SEED = 200, 4200
_LINES = 6  # of figures while it trains
_PROFILE = "--profile tiny --set nouns=familiar --hold-out relations"
# The operations of so small a model are over before a second thread has begun: beside other work two threads wait for
# each other (ten steps took 45 CPU seconds with two, 5.5 with one), and on an idle machine one is fast enough.
_THREADS = 1
_NEEDED = ("torch", "transformers", "safetensors")


def train_chapter(folder: Path, out: Console) -> None:
    """Trains, and leaves the run in `folder/training`. Without the extra `train` one line says what is missing.

    Raises FoundryError where the training did not do what it must.
    """
    train, held_out, run = folder / "train.jsonl", folder / "held-out.jsonl", folder / "training"
    begin(
        out,
        "8 Train",
        f"toolfoundry build {_PROFILE} --seed {_TRAIN_SEED} -n {_TRAIN} -o {train}",
        f"toolfoundry build {_PROFILE} --split test --seed {_HELD_OUT_SEED} -n {_HELD_OUT} -o {held_out}",
        f"toolfoundry train grpo {train} --held-out {held_out} --max-steps {_STEPS} --threads {_THREADS} -o {run}",
    )
    if any(importlib.util.find_spec(package) is None for package in _NEEDED):
        out.print(f"[yellow]{escape(str(MissingExtra('train', 'training')))}[/yellow]", highlight=False)
        return
    specs = _build(train, _TRAIN, _TRAIN_SEED, "train", out)
    unseen = _build(held_out, _HELD_OUT, _HELD_OUT_SEED, "test", out)
    outcome = _train(specs, unseen, run, out)
    _show(run, outcome, out)


def _build(path: Path, count: int, seed: int, split: Any, out: Console) -> list[EnvSpec]:
    from toolfoundry.train.tiny.warmstart import build_set

    path.unlink(missing_ok=True)  # of an earlier demo
    started = time.time()
    with Progress(console=out, transient=True) as progress:
        task = progress.add_task(f"building {path.name}", total=count)
        specs = build_set(path, count, seed, split, on_progress=lambda done: progress.update(task, completed=done))
    what = "to train on" if split == "train" else "held out, with other names and other relations"
    out.print(f"{len(specs)} environments {what}, in {time.time() - started:.1f} s", highlight=False)
    return specs


def _train(specs: Sequence[EnvSpec], unseen: Sequence[EnvSpec], run: Path, out: Console) -> Outcome:
    import torch

    from toolfoundry.cli.train import live_text, print_change
    from toolfoundry.train.config import load_preset
    from toolfoundry.train.run import Progress as Watch
    from toolfoundry.train.run import train

    config = load_preset("tiny", algorithm="grpo", model=MODEL, max_steps=_STEPS)
    rows: list[Mapping[str, Any]] = []
    columns = (TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn(), TextColumn("{task.fields[live]}"))
    threads = torch.get_num_threads()
    torch.set_num_threads(_THREADS)
    try:
        with Progress(*columns, console=out, transient=True) as progress:
            task = progress.add_task("loading", total=None, live="")
            every = -(-_STEPS // _LINES)

            def on_step(row: Mapping[str, Any]) -> None:
                rows.append(row)
                progress.update(task, completed=len(rows), total=_STEPS, live=live_text(_mean(rows[-every:])))
                if len(rows) % every == 0:
                    progress.console.print(f"  {live_text(_mean(rows[-every:]))}", highlight=False, soft_wrap=True)

            watch = Watch(
                on_part=lambda name: progress.update(task, description=name, live=""),
                on_step=on_step,
                on_evaluation=lambda when, summary: print_change(summary) if when == "before" else None,
            )
            return train(config, specs, run, held_out=unseen, force=True, progress=watch)
    finally:
        torch.set_num_threads(threads)


def _mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of the last row as means over all of them; what none of them has is None."""
    shown: dict[str, Any] = {"step": rows[-1]["step"]}
    for name in ("reward", "solve_p", "answer", "flat_groups", "malformed"):
        known = [row[name] for row in rows if row.get(name) is not None]
        shown[name] = sum(known) / len(known) if known else None
    return shown


def _show(run: Path, outcome: Outcome, out: Console) -> None:
    """After-table, trajectories, files; and whether it all worked."""
    from toolfoundry.cli.train import print_change
    from toolfoundry.store import read
    from toolfoundry.train.curves import first_and_last
    from toolfoundry.train.report import SHOWN, changes, most_improved, read_metrics, write_report
    from toolfoundry.types import Trajectory

    assert outcome.before is not None
    assert outcome.after is not None
    before, after = (list(read(run / f"{when}.jsonl", Trajectory)) for when in ("before", "after"))
    rows = read_metrics(run / "metrics.jsonl")
    print_change(outcome.before, outcome.after)
    pair = most_improved(before, after)
    if pair is not None:
        _side_by_side(pair, out)
    spent = sum(sum(row["cpu_s"].values()) for row in rows)
    out.print(f"{outcome.steps} steps took {spent:.0f} CPU seconds", highlight=False)
    files = ["final/model.safetensors", "before.jsonl", "after.jsonl", "metrics.jsonl"]
    try:
        page = write_report(run)
        out.print(
            f"report: {escape(str(page))}, curves: {escape(str(run / 'curves.png'))}", highlight=False, soft_wrap=True
        )
        files += ["report.html", "curves.png"]
    except MissingExtra as missing:  # the page is a bonus, as that of the audit
        out.print(f"[yellow]{escape(str(missing))}[/yellow]", highlight=False)
    cells = changes(outcome.before, outcome.after, before, after)[0].cells
    _judge(
        missing=[name for name in files if not (run / name).exists()],
        unscored=sum(int(row["unscored"]) for row in rows)
        + outcome.before.overall.unscored
        + outcome.after.overall.unscored,
        reward=first_and_last(rows, "reward"),
        solve_f1=cells[list(SHOWN).index("solve_f1")].difference,
    )


def _judge(
    *, missing: Sequence[str], unscored: int, reward: tuple[float, float] | None, solve_f1: Difference | None
) -> None:
    """Raises FoundryError unless the training did what it must. To fall is to fall by more than chance."""
    if missing:
        raise FoundryError(f"the demo's training left no {', '.join(missing)}")
    if unscored:
        raise FoundryError(f"{unscored} responses or rollouts of the demo's training could not be scored")
    if reward is None or reward[1] <= reward[0]:
        ends = "nothing" if reward is None else f"{reward[0]:.3f}, then {reward[1]:.3f}"
        raise FoundryError(f"the reward of the demo's training did not rise: found {ends}")
    if solve_f1 is None or solve_f1.high is None or solve_f1.high < 0:
        found = "nothing" if solve_f1 is None else f"{solve_f1.mean:+.3f}"
        raise FoundryError(f"Solve-F1 on the demo's held-out environments fell: found {found}")


def _side_by_side(pair: Pair, out: Console) -> None:
    """The environment whose score rose most, before and after, turn by turn."""
    from toolfoundry.train.report import said

    asked = " ".join(message.content for message in pair.after.prompt if message.role == "user")
    out.print(f"[bold]{escape(visible(asked, 300))}[/bold]", highlight=False)
    table = Table(show_lines=True, expand=True)
    table.add_column(f"before: score {number(pair.was, 2)}", ratio=1, overflow="fold")
    table.add_column(f"after: score {number(pair.now, 2)}", ratio=1, overflow="fold")
    before, after = said(pair.before), said(pair.after)
    for place in range(max(len(before), len(after))):
        table.add_row(*(_turn(turns[place]) if place < len(turns) else Text() for turns in (before, after)))
    out.print(table)


def _turn(turn: Said) -> Text:
    shown = Text()
    for call in turn.calls:
        shown.append(f"{visible(call.name or 'malformed call', 80)} ", style="cyan")
        shown.append(f"{visible(call.arguments, 120)}\n  → ")
        shown.append(f"{visible(call.result, 120)}\n", style="red" if call.failed else "")
    for text in (turn.thinking, turn.content, *turn.faults, turn.notice):
        if text:
            shown.append(f"{visible(text, 200)}\n")
    reward = "not scored" if turn.reward is None else number(turn.reward, 2)
    return shown.append(f"reward {reward}", style="green" if (turn.reward or 0) > 0 else "red")
