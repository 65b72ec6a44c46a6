"""The command `toolfoundry report`: runs as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolfoundry.console import Force, Problems, done_line, separate
from toolfoundry.errors import OutputError
from toolfoundry.evaluate.attempts import Rule

__all__ = ["report"]


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Trajectories, attempts, folders of `evaluate` or of `train`.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.html", help="Where to write.")] = Path(
        "report.html"
    ),
    envs: Annotated[
        Path | None,
        typer.Option(metavar="ENVS", help="The environments: some kinds of failure need them.", show_default=False),
    ] = None,
    trajectories: Annotated[int, typer.Option(min=0, help="Trajectories that are shown, at most.")] = 200,
    seed: Annotated[int, typer.Option(help="Draws those that are neither the best nor the worst.")] = 0,
    rule: Annotated[Rule, typer.Option(help="Which of the stored scores: as published, or repaired.")] = "fixed",
    force: Force = False,
) -> None:
    """Show runs as one HTML page: scores, plots, behaviour, training, and trajectories as conversations."""
    from toolfoundry.analyze.report import require_extra, write_report

    require_extra()
    if output.is_dir():
        raise OutputError(f"{output}: found a folder, expected a name for the page")
    if output.exists() and not force:
        raise OutputError(f"{output} exists; --force replaces it")
    separate(output, *(path for path in (*runs, envs) if path is not None))
    shown = write_report(runs, output, envs=envs, trajectories=trajectories, seed=seed, rule=rule)
    left = f", {shown.left_out} left out" if shown.left_out else ""
    done_line(f"{shown.trajectories} trajectories{left}; written to {output}", Problems())
