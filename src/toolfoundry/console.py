"""What commands share: their common options, and what they show: tables, JSON, progress bars, reports of bad records.

Results go to `out`, everything else to `err`. Text from tools, models and files is untrusted: it goes through
`visible` and rich's `escape` before it is shown.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from toolfoundry.errors import InputError, OutputError
from toolfoundry.metrics import Summary
from toolfoundry.prove.summary import ProofSummary
from toolfoundry.store import RecordWriter, WriteMode, read
from toolfoundry.types import EnvSpec
from toolfoundry.untrusted import visible

out = Console()
err = Console(stderr=True)

Envs = Annotated[Path, typer.Argument(metavar="ENVS", help="Environments (.jsonl or .jsonl.zst).", show_default=False)]
Output = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where to write.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Report bad records and go on with the good ones.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

# How a model is reached and sampled: for the commands that let one play (`policies.players.ModelOptions`).
BaseUrl = Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint.")]
ApiKeyEnv = Annotated[str | None, typer.Option(help="Environment variable that holds the key.")]
ChatName = Literal["hermes", "qwen3"]
Chat = Annotated[ChatName, typer.Option(help="Chat format of a checkpoint.")]
Batch = Annotated[int, typer.Option(min=1, help="Completions of a checkpoint sampled at a time.")]
Device = Annotated[str | None, typer.Option(help="Where a checkpoint runs: cpu, cuda, cuda:1, ...")]
Thinking = Annotated[bool | None, typer.Option("--thinking/--no-thinking", help="Let the model think.")]
ParseText = Annotated[bool, typer.Option(help="Read calls out of the text, for servers that do not.")]
TopP = Annotated[float | None, typer.Option(min=0, max=1, help="Nucleus sampling.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds for one request.")]


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


def separate(output: Path, *inputs: Path) -> None:
    """Raises OutputError where the output is one of the inputs, under whatever name: it would be lost."""
    for path in inputs:
        if output.exists() and path.exists() and output.samefile(path):
            raise OutputError(f"{output} is also the input; give another name")


def environments_of(path: Path, skip_bad: bool, problems: Problems) -> list[EnvSpec]:
    """The environments of an artifact; there must be one."""
    specs = list(read(path, EnvSpec, skip_bad=skip_bad, on_bad=problems))
    if not specs:
        raise InputError(f"{path}: has no environments")
    return specs


def write_environments(specs: Iterable[EnvSpec], output: Path, force: bool, as_json: bool, problems: Problems) -> None:
    goals = count = tools = 0
    scenarios: dict[str, int] = {}
    remaining = iter(specs)
    first = next(remaining, None)  # before the output is touched: with nothing to write nothing is left behind
    if first is None:
        raise InputError("there is no environment in the input")
    with RecordWriter(output, EnvSpec, write_mode(force)) as writer:
        for spec in itertools.chain([first], remaining):
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
        err.print(f"[yellow]bad records skipped: {problems.count}[/yellow]")
    if text:
        err.print(escape(text), highlight=False, soft_wrap=True)


def command_line() -> list[str]:
    """The command line for the run file, without credentials that a URL may carry."""
    return ["toolfoundry", *(re.sub(r"//[^/@\s]+@", "//…@", part) for part in sys.argv[1:])]


def print_json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


_ROWS = {
    "score": "score",
    "solve_p": "Solve-P",
    "solve_r": "Solve-R",
    "solve_f1": "Solve-F1",
    "answer": "final answer",
    "paper_solve_p": "paper Solve-P",
    "paper_solve_r": "paper Solve-R",
    "paper_solve_f1": "paper Solve-F1",
    "calls": "calls",
    "malformed": "malformed",
}
SCENARIOS = {
    "single_hop": "single",
    "parallel_single_hop": "single ∥",
    "multi_hop": "multi",
    "parallel_multi_hop": "multi ∥",
}


def print_summaries(summaries: Sequence[Summary]) -> None:
    """One table for each policy: metrics down, scenarios across, standard errors over all."""
    for summary in summaries:
        table = Table(title=escape(visible(summary.policy, 80)), title_justify="left", title_style="bold")
        table.add_column("mean")
        table.add_column("all", justify="right")
        for group in summary.groups[1:]:
            table.add_column(SCENARIOS.get(group.scenario, group.scenario), justify="right")
        for metric, title in _ROWS.items():
            overall = summary.overall.metrics[metric]
            spread = "" if overall.stderr is None else f" ±{number(overall.stderr)}"
            cells = [number(group.metrics[metric].mean) for group in summary.groups[1:]]
            table.add_row(
                title, number(overall.mean) + spread, *cells, end_section=metric in ("answer", "paper_solve_f1")
            )
        table.add_row("trajectories", *(str(group.n) for group in summary.groups))
        if summary.overall.unscored:
            table.add_row("of these unscored", *(str(group.unscored) for group in summary.groups))
        out.print(table)
        for cause, count in summary.errors.items():
            err.print(
                f"[yellow]{count} unscored:[/yellow] {escape(visible(cause, 300))}", highlight=False, soft_wrap=True
            )


def print_proofs(summary: ProofSummary) -> None:
    """How many goals are proved and tasks can be played, and why the others cannot."""
    goals = Table(title="Goals", title_justify="left", title_style="bold")
    for column in ("", "count", "share"):
        goals.add_column(column, justify="right" if column else "left")
    for title, count in (
        ("proved", summary.proved),
        ("met by the published substring rule", summary.published),
        ("of these not proved", summary.published_only),
        ("proved unsolvable", summary.unsolvable),
        ("not found", summary.not_found),
        ("proved with arguments that a model could know", summary.fair_goals),
    ):
        goals.add_row(title, str(count), f"{count / summary.goals:.1%}" if summary.goals else "–")
    out.print(goals)
    tasks = Table(title="Tasks", title_justify="left", title_style="bold")
    for column in ("", "count", "share"):
        tasks.add_column(column, justify="right" if column else "left")
    rows = [
        ("with a call sequence for every goal", summary.sequences),
        ("with a fair one", summary.fair_tasks),
        ("of these with an example from a description", summary.documented_tasks),
    ]
    for title, count in rows + [(f"not fair: {reason}", count) for reason, count in summary.reasons.items()]:
        tasks.add_row(escape(title), str(count), f"{count / summary.tasks:.1%}" if summary.tasks else "–")
    out.print(tasks)


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
