"""What the command line shows: tables, JSON, progress bars, and the reports of bad records.

Results go to `out`, everything else to `err`. Text from tools, models and files is untrusted: it goes through
`visible` and rich's `escape` before it is shown.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from toolfoundry.metrics import Summary
from toolfoundry.store import RecordWriter, WriteMode
from toolfoundry.types import EnvSpec, Record
from toolfoundry.untrusted import visible

out = Console()
err = Console(stderr=True)


class Problems:
    """Reports bad records as they are met, at most twenty of them, and counts all."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, problem: Exception) -> None:
        self.count += 1
        if self.count <= 20:
            err.print(
                f"[yellow]skipped:[/yellow] {escape(visible(str(problem), 400))}", highlight=False, soft_wrap=True
            )


def write_mode(force: bool, resume: bool = False) -> WriteMode:
    if force and resume:
        raise typer.BadParameter("--force replaces the output, --resume goes on with it: give one of them")
    return "overwrite" if force else "resume" if resume else "new"


def write_environments(specs: Iterable[EnvSpec], output: Path, force: bool, as_json: bool, problems: Problems) -> None:
    goals = count = tools = 0
    scenarios: dict[str, int] = {}
    with RecordWriter(output, EnvSpec, write_mode(force)) as writer:
        for spec in specs:
            writer.write(spec)
            count += 1
            goals += len(spec.goals)
            tools += len(spec.tools)
            kind = spec.scenario.kind or "unknown"
            scenarios[kind] = scenarios.get(kind, 0) + 1
    if as_json:
        result = {
            "environments": count,
            "tools": tools,
            "goals": goals,
            "scenarios": scenarios,
            "skipped": problems.count,
        }
        print_json(result)
    done_line(f"{count} environments ({tools} tools, {goals} goals) written to {output}", problems)


def done_line(text: str | None, problems: Problems) -> None:
    if problems.count:
        err.print(f"[yellow]{problems.count} bad records skipped[/yellow]")
    if text:
        err.print(escape(text), highlight=False, soft_wrap=True)


def command_line() -> list[str]:
    """The command line for the run file, without credentials that a URL may carry."""
    return ["toolfoundry", *(re.sub(r"//[^/@\s]+@", "//…@", part) for part in sys.argv[1:])]


def print_json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_record(record: Record) -> None:
    table = Table(show_header=False, box=None)
    for name, value in record.model_dump(mode="json").items():
        text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
        table.add_row(name.replace("_", " "), escape(visible(text, 4000)))
    out.print(table)


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def print_summaries(summaries: Sequence[Summary], as_json: bool) -> None:
    if as_json:
        print_json([summary.model_dump(mode="json") for summary in summaries])
        return
    columns = [
        "score",
        "solve_p",
        "solve_r",
        "solve_f1",
        "answer",
        "paper_solve_p",
        "paper_solve_r",
        "paper_solve_f1",
        "calls",
    ]
    for summary in summaries:
        table = Table(title=escape(visible(summary.policy, 80)), title_justify="left")
        table.add_column("scenario")
        table.add_column("n", justify="right")
        table.add_column("unscored", justify="right")
        for column in columns:
            table.add_column(column.replace("_", " "), justify="right")
        for group in summary.groups:
            cells = [number(group.metrics[column].mean) for column in columns]
            if group.scenario == "all":
                cells = [
                    f"{cell} ±{number(group.metrics[column].stderr)}"
                    if group.metrics[column].stderr is not None
                    else cell
                    for column, cell in zip(columns, cells, strict=True)
                ]
            table.add_row(group.scenario, str(group.n), str(group.unscored), *cells)
        out.print(table)
        for cause, count in summary.errors.items():
            err.print(
                f"[yellow]{count} unscored:[/yellow] {escape(visible(cause, 300))}", highlight=False, soft_wrap=True
            )


@contextlib.contextmanager
def progress(title: str, total: int, completed: int = 0) -> Generator[Callable[[int], None]]:
    """A progress bar on standard error; yields a function that moves it on by a number of steps."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(title, total=total, completed=completed)
        yield lambda steps=1: progress.update(task, advance=steps)


class LiveScore:
    """The rollout's bar with the running mean of strict Solve-F1 over what could be scored."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._total = 0.0
        self._scored = self._unscored = 0

    def update(self, solve_f1: float | None) -> None:
        if solve_f1 is None:
            self._unscored += 1
        else:
            self._total += solve_f1
            self._scored += 1
        mean = self._total / self._scored if self._scored else None
        text = f"Solve-F1 {number(mean)}" + (f" · {self._unscored} unscored" if self._unscored else "")
        self._progress.update(self._task, advance=1, live=text)


@contextlib.contextmanager
def live_score(total: int) -> Generator[LiveScore]:
    columns = (
        TextColumn("playing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[live]}"),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        yield LiveScore(progress, progress.add_task("", total=total, live=""))
