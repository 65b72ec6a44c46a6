"""`toolfoundry export verifiers`, `nemo-gym`, `chat` and `huggingface`: sets for other people's programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
import typer

from toolfoundry.console import (
    AsJson,
    Envs,
    Force,
    Output,
    Problems,
    SkipBad,
    done_line,
    print_json,
    progress,
    separate,
)
from toolfoundry.errors import InputError, OutputError, RecordError, skip_or_raise
from toolfoundry.store import artifact_of, read, run_file
from toolfoundry.types import EnvSpec, Trajectory

if TYPE_CHECKING:
    from toolfoundry.formats.huggingface import Card

__all__ = ["export_chat", "export_to_huggingface", "export_to_nemo_gym", "export_to_verifiers"]

Folder = Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write.", show_default=False)]
Replace = Annotated[bool, typer.Option("--force", help="Replace what is in FOLDER.")]
Played = Annotated[
    Path | None,
    typer.Option("--trajectories", metavar="FILE", help="Recorded rollouts on ENVS.", show_default="the gold calls"),
]


def export_to_verifiers(
    envs: Envs,
    folder: Folder,
    name: Annotated[
        str | None, typer.Option(help="What verifiers calls the taskset.", show_default="the name of FOLDER")
    ] = None,
    skip_bad: SkipBad = False,
    force: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Write a package that verifiers 0.4 installs as a taskset: per-task tools in our sandbox, our rewards."""
    from toolfoundry.formats.verifiers import ENVIRONMENTS, export_verifiers, package_name

    package = package_name(name or folder.resolve().name)
    _may_write(folder, force)
    separate(folder / package / ENVIRONMENTS, envs)
    problems = Problems()
    count = export_verifiers(read(envs, EnvSpec, skip_bad=skip_bad, on_bad=problems), folder, package)
    taskset = package.replace("_", "-")
    if as_json:
        print_json({"environments": count, "taskset": taskset, "skipped": problems.count})
    place = folder if folder.is_absolute() else f"./{folder}"  # else pip takes it for a name
    check = f"pip install {place} && vf-validate {taskset} --runtime.type subprocess"
    done_line(f"{count} environments written to {folder}; check them with: {check}", problems)


def export_to_nemo_gym(
    envs: Envs,
    output: Output,
    agent: Annotated[
        str | None, typer.Option(help="Agent server that plays the rows.", show_default="left to NeMo Gym")
    ] = None,
    taskset: Annotated[
        str | None, typer.Option(help="Write materialized tasks of this taskset.", show_default="plain rows")
    ] = None,
    skip_bad: SkipBad = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write rows in the format of NVIDIA NeMo Gym 0.7."""
    from toolfoundry.formats.nemo_gym import nemo_gym_row

    separate(output, envs)
    problems = Problems()

    def rows() -> Iterator[dict[str, Any]]:
        for spec in read(envs, EnvSpec, skip_bad=skip_bad, on_bad=problems):
            yield from _made(lambda: nemo_gym_row(spec, agent=agent, taskset=taskset), skip_bad, problems)  # noqa: B023

    count = _write_lines(rows(), output, force)
    if as_json:
        print_json({"rows": count, "skipped": problems.count})
    done_line(f"{count} rows written to {output}", problems)


def export_chat(
    envs: Envs,
    output: Output,
    trajectories: Played = None,
    form: Annotated[
        Literal["openai", "template"], typer.Option(help="Calls as OpenAI's API has them, or for chat templates.")
    ] = "openai",
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Leave out conversations that scored less, or not at all.")
    ] = None,
    skip_bad: SkipBad = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write conversations for fine-tuning, messages and tools alone: gold, or recorded."""
    from toolfoundry.formats.chat_rows import chat_row
    from toolfoundry.reward import trajectory_value

    separate(output, envs, *([trajectories] if trajectories else []))
    problems = Problems()
    left_out = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal left_out
        for spec, played in _conversations(envs, trajectories, skip_bad, problems):
            score = trajectory_value(played)
            if min_score is not None and (score is None or score < min_score):
                left_out += 1
                continue
            yield from _made(lambda: chat_row(played, spec, form), skip_bad, problems)  # noqa: B023

    count = _write_lines(rows(), output, force)
    if as_json:
        print_json({"rows": count, "left_out": left_out, "skipped": problems.count})
    done_line(f"{count} conversations written to {output}" + (f", {left_out} left out" if left_out else ""), problems)


def export_to_huggingface(
    envs: Envs,
    folder: Folder,
    trajectories: Played = None,
    split: Annotated[str, typer.Option(help="What the rows are called.")] = "train",
    title: Annotated[str | None, typer.Option(help="Of the card.", show_default="the name of FOLDER")] = None,
    licence: Annotated[
        str, typer.Option("--license", help="An identifier of the hub: apache-2.0, cc-by-4.0, ...")
    ] = "unknown",
    check: Annotated[bool, typer.Option("--check/--no-check", help="Audit the set for the card.")] = True,
    force: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Write Parquet and a dataset card, as `datasets.load_dataset` and the hub take them."""
    from toolfoundry.check import check_on_cores, processes_for
    from toolfoundry.formats.huggingface import Card, export_huggingface
    from toolfoundry.sets import open_set

    _may_write(folder, force)
    problems = Problems()
    with open_set(envs, EnvSpec) as specs:
        report = None
        if check:
            with progress("checking", len(specs)) as advance:
                report = check_on_cores(specs, jobs=processes_for(len(specs)), on_progress=advance)
        card = _card(envs, Card(title or folder.resolve().name, licence, report=report))
        conversations = _conversations(envs, trajectories, False, problems)
        counts = export_huggingface(specs, folder, card, conversations=conversations, split=split)
    if as_json:
        print_json({**counts, "defects": None if report is None else report.defects})
    done_line(f"{counts['environments']} environments, {counts['conversations']} conversations: {folder}", problems)


# --- parts ---------------------------------------------------------------------------------------------------------


def _may_write(folder: Path, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file, expected a folder")
    if folder.exists() and any(folder.iterdir()) and not force:
        raise OutputError(f"{folder} is not empty; --force replaces what is in it")


def _made(make: Callable[[], dict[str, Any]], skip_bad: bool, problems: Problems) -> Iterator[dict[str, Any]]:
    """One row, or, where there cannot be one, an error or a report of it."""
    try:
        yield make()
    except RecordError as problem:
        skip_or_raise(problem, skip_bad, problems)


def _write_lines(rows: Iterator[dict[str, Any]], output: Path, force: bool) -> int:
    from toolfoundry.export_samples import row_writer

    if output.exists() and not force:
        raise OutputError(f"{output} exists; --force replaces it")
    if output.suffix != ".jsonl":
        raise OutputError(f"{output}: found the ending {output.suffix!r}, expected .jsonl")
    count = 0
    with row_writer(output) as writer:
        for row in rows:
            writer.write(row)
            count += 1
        if not count:
            raise InputError("there is no row to write")
    return count


def _conversations(
    envs: Path, trajectories: Path | None, skip_bad: bool, problems: Problems
) -> Iterator[tuple[EnvSpec, Trajectory]]:
    """Recorded rollouts with their environments, or the gold calls of those that have some, played in the sandbox."""
    from toolfoundry.formats.chat_rows import gold_conversations
    from toolfoundry.sandbox import Sandbox

    if trajectories is None:
        with Sandbox() as box:
            yield from gold_conversations(read(envs, EnvSpec, skip_bad=skip_bad, on_bad=problems), box)
        return
    if (found := artifact_of(trajectories)) != Trajectory.artifact:
        raise InputError(f"{trajectories}: found {found or 'no artifact'}, expected trajectories")
    specs = {spec.id: spec for spec in read(envs, EnvSpec, skip_bad=skip_bad, on_bad=problems)}
    for trajectory in read(trajectories, Trajectory, skip_bad=skip_bad, on_bad=problems):
        if (spec := specs.get(trajectory.task.spec_id)) is not None:
            yield spec, trajectory
        else:
            expected = f"one of {envs}"
            problem = RecordError(field=trajectory.key, found="another environment", expected=expected)
            skip_or_raise(problem, skip_bad, problems)


def _card(envs: Path, card: Card) -> Card:
    """The card with the set's origin, where its run file says that. Its command line is not shown: it names paths."""
    try:
        config: Any = orjson.loads(run_file(envs).read_bytes())["config"]
        author, profile, seed = config.get("author"), config.get("profile"), config.get("seed")
        known = [f"author {author}"] if author else []
        known += [f"profile {profile['name']}"] if profile else []
        return card._replace(made_by=", ".join(known) or None, seed=seed)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return card
