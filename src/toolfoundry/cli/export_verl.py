"""`toolfoundry export verl`: everything that verl needs to train on a set of environments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape

from toolfoundry.console import Problems, done_line, err, print_json
from toolfoundry.errors import InputError, OutputError, invalid_field
from toolfoundry.store import read
from toolfoundry.train.verl.export import VERSION, Exported, VerlAlgorithm, VerlMode, VerlRun, export_verl
from toolfoundry.types import EnvSpec, Preset, Trajectory
from toolfoundry.untrusted import visible

__all__ = ["export_to_verl"]


def export_to_verl(
    envs: Annotated[Path, typer.Argument(metavar="ENVS", help="Environments to train on.", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write.", show_default=False)
    ],
    algorithm: Annotated[VerlAlgorithm, typer.Option(help="How advantages are estimated.")] = "grpo",
    model: Annotated[str, typer.Option(help="A name on the Hugging Face hub, or a folder.")] = VerlRun().model,
    thinking: Annotated[bool, typer.Option("--thinking/--no-thinking", help="Let the model think (Qwen3).")] = False,
    chat: Annotated[
        str | None, typer.Option(help="Chat format.", show_default="qwen3 for a model of that name, else hermes")
    ] = None,
    reward: Annotated[Preset, typer.Option(help="Which reward.")] = "frontier",
    mode: Annotated[VerlMode, typer.Option(help="What a row is: one turn, or a whole episode.")] = "prefix",
    trajectories: Annotated[
        Path | None,
        typer.Option(help="Rollouts of the model on ENVS, whose prefixes are the rows (mode prefix).", metavar="FILE"),
    ] = None,
    val: Annotated[Path | None, typer.Option(metavar="ENVS", help="Environments to validate on.")] = None,
    val_fraction: Annotated[float, typer.Option(help="Without --val: this share of ENVS is held out.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Of the hold-out, and of verl's shuffling.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace what is in FOLDER.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out records that cannot be read.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write rows, environments, configuration and launch scripts for verl (several GPUs or nodes)."""
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file, expected a folder")
    if output.exists() and any(output.iterdir()) and not force:
        raise OutputError(f"{output} is not empty; --force replaces what is in it")
    if trajectories is not None and mode == "episode":
        raise InputError("--trajectories: found with mode episode, expected mode prefix: episodes are played anew")
    fields = {"algorithm": algorithm, "model": model, "thinking": thinking, "chat": chat, "reward": reward}
    try:
        run = VerlRun.model_validate({**fields, "mode": mode, "val_fraction": val_fraction, "seed": seed})
    except ValidationError as error:
        raise invalid_field(error) from None
    problems = Problems()

    def specs(path: Path) -> list[EnvSpec]:
        return list(read(path, EnvSpec, skip_bad=skip_bad, on_bad=problems))

    def played() -> Iterator[Trajectory]:
        if trajectories is not None:
            yield from read(trajectories, Trajectory, skip_bad=skip_bad, on_bad=problems)

    exported = export_verl(specs(envs), output, run, val=None if val is None else specs(val), trajectories=played())
    if as_json:
        print_json(exported.model_dump())
    _say(exported, output)
    done_line(f"start it with {output / 'train.sh'}", problems)


def _say(exported: Exported, output: Path) -> None:
    lines = [
        f"{exported.train_rows} rows to train on, {exported.val_rows} to validate on, of {exported.environments} "
        f"environments; {exported.batch} prompts a step",
    ]
    if exported.openings:
        lines.append(
            f"{exported.openings} environments have no rollouts in --trajectories: only their first turn is trained "
            "(`toolfoundry rollout` records the model's own)"
        )
    if exported.lossy or exported.rejected:
        keywords = ", ".join(f"{visible(name)} {count}" for name, count in exported.dropped.items())
        lines.append(
            f"schemas: of {exported.tools} tools verl {VERSION}'s own model would reject {exported.rejected} and drop "
            f"keywords from {exported.lossy} ({keywords}); our agent loop shows them in full. All: "
            f"{output / 'schemas.json'}"
        )
    for line in lines:
        err.print(escape(line), highlight=False, soft_wrap=True)
