"""The command `toolfoundry analyze behaviour`: how a policy fails and works, and what changed between two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from toolfoundry.console import SCENARIOS, AsJson, Force, Problems, done_line, err, number, out, print_json, separate
from toolfoundry.errors import InputError, OutputError
from toolfoundry.untrusted import visible

if TYPE_CHECKING:
    from toolfoundry.analyze.behaviour_summary import BehaviourSummary, Change

__all__ = ["behaviour"]


def behaviour(
    before: Annotated[
        Path,
        typer.Argument(
            metavar="BEFORE", help="Trajectories, attempts, or the folder of an evaluation or a training run."
        ),
    ],
    after: Annotated[
        Path | None,
        typer.Argument(metavar="[AFTER]", help="Another one on the same environments.", show_default=False),
    ] = None,
    envs: Annotated[
        Path | None,
        typer.Option(metavar="ENVS", help="The environments: some kinds of failure need them.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.md", help="Also write it as Markdown.", show_default=False),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Failures by kind, calls, parallelism and error recovery, by scenario; of two runs what changed."""
    from toolfoundry.analyze.behaviour_summary import behave, changes, markdown, summarise_behaviour
    from toolfoundry.analyze.runs import read_environments, read_runs

    if output is not None:
        if output.exists() and not force:
            raise OutputError(f"{output} exists; --force replaces it")
        separate(output, *(path for path in (before, after, envs) if path is not None))
    runs = read_runs([path for path in (before, after) if path is not None])
    specs = read_environments(envs)
    played = [behave(run.trajectories, specs) for run in runs]
    summaries = [summarise_behaviour(run.name, one) for run, one in zip(runs, played, strict=True)]
    changed = changes(*played) if len(played) == 2 else []
    if len(played) == 2 and not changed:
        raise InputError(f"{runs[0].name} and {runs[1].name} have no scored environment in common")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(markdown(summaries, changed), encoding="utf-8")
    if as_json:
        print_json(
            {
                "runs": [summary.model_dump(mode="json") for summary in summaries],
                "changes": [change.model_dump(mode="json") for change in changed],
            }
        )
    else:
        for summary in summaries:
            _print(summary)
        if changed:
            _print_changes(changed)
    if specs:
        strangers = sum(run_t.task.spec_id not in specs for run in runs for run_t in run.trajectories)
        if strangers:
            err.print(f"[yellow]trajectories whose environment is not in {escape(str(envs))}: {strangers}[/yellow]")
    elif not as_json:
        err.print("– cannot be told; some kinds need the environments: --envs", highlight=False)
    done_line(None if output is None else f"written to {output}", Problems())


def _print(summary: BehaviourSummary) -> None:
    from toolfoundry.analyze.behaviour import KINDS, MEASURES
    from toolfoundry.analyze.behaviour_summary import mean_text, share_text, short_key

    whole, *scenarios = summary.groups
    table = Table(title=escape(visible(summary.name, 80)), title_justify="left", title_style="bold")
    table.add_column("trajectories (times in all)")
    for group in summary.groups:
        title = SCENARIOS.get(group.scenario, group.scenario)
        table.add_column(title, justify="right", no_wrap=True)
    table.add_row("n scored", *(str(group.n) for group in summary.groups))
    table.add_row("unscored", *(str(group.unscored) for group in summary.groups), end_section=True)
    for kind, about in KINDS.items():
        shares = [group.failures[kind].share.mean for group in scenarios]
        cells = ["–" if share is None else f"{100 * share:.1f}%" for share in shares]
        table.add_row(about.title, share_text(whole.failures[kind]), *cells)
    table.add_section()
    for measure, title in MEASURES.items():
        cells = [number(group.measures[measure].mean, 2) for group in scenarios]
        table.add_row(title, mean_text(whole.measures[measure]), *cells)
    out.print(table)
    for kind, keys in summary.examples.items():
        line = ", ".join(visible(short_key(key), 80) for key in keys)
        out.print(f"[dim]{KINDS[kind].title}:[/dim] {escape(line)}", highlight=False)


def _print_changes(changed: Sequence[Change]) -> None:
    from toolfoundry.analyze.behaviour_summary import interval, title_of

    table = Table(title="after − before", title_justify="left", title_style="bold")
    table.add_column("all scenarios")
    for column in ("before", "after", "change [95%]", "pairs"):
        table.add_column(column, justify="right", no_wrap=True)
    for change in changed:
        if change.scenario == "all" and (change.before or change.after):
            style = "bold" if change.sure else None
            shown = interval(change).strip("*")
            cells = (f"{change.before:.3f}", f"{change.after:.3f}", escape(shown), str(change.pairs))
            table.add_row(title_of(change.figure), *cells, style=style)
    out.print(table)
