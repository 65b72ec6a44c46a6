"""The command `toolfoundry train`: environments in, a better policy out."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from toolfoundry.console import SCENARIOS, Problems, command_line, done_line, err, number, out, print_json, separate
from toolfoundry.errors import FoundryError, InputError, OutputError, RecordError, invalid_field
from toolfoundry.store import read
from toolfoundry.types import EnvSpec, Trajectory
from toolfoundry.untrusted import visible

if TYPE_CHECKING:
    from toolfoundry.metrics import Summary
    from toolfoundry.train.config import TrainConfig

__all__ = ["train"]

What = Literal["sft", "grpo", "dr-grpo", "reinforce++", "reinforce++-baseline", "tiny-warmstart"]


def train(
    algorithm: Annotated[What, typer.Argument(help="What is done.", show_default=False)],
    envs: Annotated[
        Path | None, typer.Argument(metavar="ENVS", help="Environments to train on.", show_default=False)
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="The run's folder.", show_default=False)
    ] = Path("run"),
    model: Annotated[
        str | None, typer.Option(help='A checkpoint folder, a name on the hub, or "tiny", the policy in the package.')
    ] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="A set of settings: see `toolfoundry train --presets`.")
    ] = None,
    presets: Annotated[bool, typer.Option("--presets", help="List the presets of the package.")] = False,
    held_out: Annotated[
        Path | None, typer.Option(metavar="ENVS", help="Played greedily before and after the training.")
    ] = None,
    demonstrations: Annotated[
        Path | None,
        typer.Option(metavar="TRAJECTORIES", help="What SFT imitates. (Default: the gold play of ENVS.)"),
    ] = None,
    mode: Annotated[
        Literal["prefix", "episode"] | None, typer.Option(help="Single responses to prefixes, or whole episodes.")
    ] = None,
    reward: Annotated[str | None, typer.Option(help="Which reward grades the turns.")] = None,
    chat: Annotated[str | None, typer.Option(help="Chat format of the model: hermes, qwen3.")] = None,
    thinking: Annotated[bool | None, typer.Option("--thinking/--no-thinking", help="Let it think.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything that is drawn.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Times that the policy collects anew.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Steps of the whole run.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of AdamW.")] = None,
    group_size: Annotated[int | None, typer.Option(min=1, help="Responses to each prompt.")] = None,
    prompts_per_step: Annotated[int | None, typer.Option(min=1, help="Prompts (SFT: samples) of a step.")] = None,
    lora_rank: Annotated[int | None, typer.Option(min=1, help="Train a LoRA adapter of this rank (TRL).")] = None,
    backend: Annotated[
        Literal["auto", "loop", "trl"] | None, typer.Option(help="auto: TRL where there is CUDA, else our loop.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting of the configuration; may be repeated."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N environments.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of torch on a CPU.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was begun.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a run that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a policy on the feedback of environments."""
    from toolfoundry.train.config import preset_names

    if presets:
        for name in preset_names():
            out.print(name, highlight=False)
        return
    if force and resume:
        raise typer.BadParameter("--force replaces the run, --resume goes on with it: give one of them")
    if algorithm == "tiny-warmstart":
        _make_warmstart(output, threads, force, as_json)
        return
    if envs is None:
        raise typer.BadParameter("ENVS is missing: the environments to train on")
    options: dict[str, Any] = {
        "algorithm": algorithm,
        "model": model,
        "mode": mode,
        "reward": reward,
        "chat": chat,
        "thinking": thinking,
        "seed": seed,
        "rounds": rounds,
        "max_steps": max_steps,
        "learning_rate": learning_rate,
        "group_size": group_size,
        "prompts_per_step": prompts_per_step,
        "lora_rank": lora_rank,
        "backend": backend,
    }
    overrides = {name: value for name, value in options.items() if value is not None} | _settings(settings or ())
    default = ("tiny-sft" if algorithm == "sft" else "tiny") if (model or "tiny") == "tiny" else None
    config = _config(preset or default, overrides)
    _train(config, envs, output, held_out, demonstrations, limit, threads, resume, force, as_json)


def _make_warmstart(output: Path, threads: int | None, force: bool, as_json: bool) -> None:
    _require_torch(threads)
    from toolfoundry.train.run import Progress as Watch
    from toolfoundry.train.tiny.warmstart import WARM_START, make_warmstart

    with _live(WARM_START.steps) as live:
        outcome = make_warmstart(output, force=force, progress=Watch(live.part, live.step))
    if as_json:
        print_json(None if outcome.after is None else outcome.after.model_dump(mode="json"))
    done_line(f"the warm start is in {output}", Problems())


def _require_torch(threads: int | None) -> None:
    from toolfoundry.errors import MissingExtra

    try:
        import torch
    except ImportError:
        raise MissingExtra("train", "training") from None
    if threads is not None:
        torch.set_num_threads(threads)


def _config(preset: str | None, overrides: dict[str, Any]) -> TrainConfig:
    from toolfoundry.train.config import TrainConfig, load_preset

    if preset is not None:
        return load_preset(preset, **overrides)
    try:
        return TrainConfig(**overrides)
    except ValidationError as error:
        problem = invalid_field(error)
        raise RecordError(
            expected=problem.expected, found=problem.found, field=problem.field, file="settings"
        ) from None


def _settings(settings: tuple[str, ...] | list[str]) -> dict[str, Any]:
    """NAME=VALUE pairs; a value is TOML, `none`, or text. Raises InputError for a name that is no setting."""
    from toolfoundry.train.config import TrainConfig

    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in TrainConfig.model_fields:
            raise InputError(f"--set {setting}: expected NAME=VALUE with one of {', '.join(TrainConfig.model_fields)}")
        try:
            found[name] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[name] = None if text == "none" else text
    return found


def _train(
    config: TrainConfig,
    envs: Path,
    output: Path,
    held_out: Path | None,
    demonstrations: Path | None,
    limit: int | None,
    threads: int | None,
    resume: bool,
    force: bool,
    as_json: bool,
) -> None:
    _require_torch(threads)
    from toolfoundry.train.run import Progress as Watch
    from toolfoundry.train.run import train as run

    problems = Problems()
    for path in (envs, held_out, demonstrations, Path(config.model)):
        if path is not None:
            separate(output, path)
            if force and path.exists() and path.resolve().is_relative_to(output.resolve()):
                raise OutputError(f"{path} lies in {output}, which --force replaces; give another name")
    specs = list({spec.id: spec for spec in read(envs, EnvSpec)}.values())[:limit]
    if not specs:
        raise InputError(f"{envs}: has no environments")
    unseen = list(read(held_out, EnvSpec)) if held_out is not None else []
    if shared := {spec.id for spec in unseen} & {spec.id for spec in specs}:
        raise InputError(f"{held_out}: {len(shared)} environments are also trained on, the first is {min(shared)}")
    shown = list(read(demonstrations, Trajectory)) if demonstrations is not None else []
    if config.algorithm == "sft" and not shown:
        shown = _gold(specs)
    about: dict[str, Any] = {
        "command": command_line(),
        "files": {str(path): _sha256(path) for path in (envs, held_out, demonstrations) if path is not None},
    }
    with _live(config.max_steps) as live:
        outcome = run(
            config,
            specs,
            output,
            demonstrations=shown,
            held_out=unseen,
            about=about,
            resume=resume,
            force=force,
            progress=Watch(live.part, live.step),
        )
    if int(os.environ.get("RANK", "0")):  # of several processes the first one reports
        return
    if as_json:
        result: dict[str, Any] = {"final": str(outcome.final), "steps": outcome.steps}
        for name, summary in (("before", outcome.before), ("after", outcome.after)):
            result[name] = None if summary is None else summary.model_dump(mode="json")
        print_json(result)
    elif outcome.before is not None and outcome.after is not None:
        print_change(outcome.before, outcome.after)
    _report(output)
    done_line(f"{outcome.steps} steps; the policy is in {outcome.final}", problems)


def _report(run: Path) -> None:
    """Writes the run's report. It is not worth failing for: the run is over, and a report can be made again."""
    from toolfoundry.train.report import write_report

    try:
        page = write_report(run)
    except FoundryError as error:
        err.print(f"[yellow]no report:[/yellow] {escape(visible(str(error), 400))}", highlight=False, soft_wrap=True)
    else:
        err.print(f"report: {escape(str(page))}", highlight=False, soft_wrap=True)


def _gold(specs: list[EnvSpec]) -> list[Trajectory]:
    """The gold play of every environment, executed."""
    import asyncio

    from toolfoundry.policies.scripted import make
    from toolfoundry.rollout import Job, run_rollouts
    from toolfoundry.sandbox import Sandbox

    async def play() -> list[Trajectory]:
        with Sandbox() as sandbox:
            jobs = (Job(spec) for spec in specs)
            return [t async for t in run_rollouts(jobs, lambda spec, _: make("gold", spec), sandbox, name="gold")]

    order = {spec.id: index for index, spec in enumerate(specs)}
    return sorted(asyncio.run(play()), key=lambda trajectory: order[trajectory.task.spec_id])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- what is shown -------------------------------------------------------------------------------------------------


def print_change(before: Summary, after: Summary | None = None) -> None:
    """Before and after, by scenario: all the metrics that a gain in one of them can hide behind."""
    from toolfoundry.train.report import SHOWN

    title = "held-out environments, greedy: " + ("before" if after is None else "before → after")
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("mean")
    for group in before.groups:
        table.add_column(escape(visible(SCENARIOS.get(group.scenario, group.scenario), 40)), justify="right")
    for metric, name in SHOWN.items():
        cells = [number(group.metrics[metric].mean, 2) for group in before.groups]
        if after is not None:
            now = [number(group.metrics[metric].mean, 2) for group in after.groups]
            cells = [f"{a}→{b}" for a, b in zip(cells, now, strict=True)]
        table.add_row(name, *cells)
    table.add_row("n", *(str(group.n) for group in before.groups))
    out.print(table)


class _Live:
    """The line that shows how a run goes."""

    def __init__(self, progress: Progress, steps: int | None) -> None:
        self._progress, self._steps = progress, steps
        self._task = progress.add_task("loading", total=None, live="")

    def part(self, name: str) -> None:
        self._progress.update(self._task, description=name, live="")

    def step(self, row: dict[str, Any]) -> None:
        total = self._steps or row.get("of")
        self._progress.update(self._task, completed=row["step"], total=total, live=live_text(row))


def live_text(row: dict[str, Any]) -> str:
    """One step's metrics in a line."""
    shown = {
        "reward": "reward",
        "solve_p": "P",
        "answer": "answer",
        "flat_groups": "flat",
        "malformed": "malformed",
        "kl": "KL",
        "loss": "loss",
        "token_accuracy": "tokens right",
    }
    parts = [f"{title} {number(row[name])}" for name, title in shown.items() if row.get(name) is not None]
    head = f"step {row['step']}" + (f" round {row['round']}" if "round" in row else "")
    return " · ".join([head, *parts])


@contextlib.contextmanager
def _live(steps: int | None) -> Generator[_Live]:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[live]}"))
    with Progress(*columns, console=err, transient=True) as progress:
        yield _Live(progress, steps)
