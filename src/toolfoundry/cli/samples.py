"""The command `toolfoundry samples`: stored trajectories in, rows to train on out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolfoundry.console import ChatName, Problems, done_line, print_json, separate
from toolfoundry.errors import InputError, OutputError
from toolfoundry.store import read
from toolfoundry.types import EnvSpec, Preset, Trajectory

if TYPE_CHECKING:
    from toolfoundry.export_samples import Row
    from toolfoundry.samples import Prefix, Sample
    from toolfoundry.tokens import Dialect

__all__ = ["samples"]

Kind = Literal["prefixes", "episodes", "sft"]
RowFormat = Literal["own", "ftrl"]


def samples(
    trajectories: Annotated[Path, typer.Argument(metavar="TRAJECTORIES", show_default=False)],
    envs: Annotated[Path, typer.Option(metavar="ENVS", help="The environments played.", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="A .jsonl or .parquet file.", show_default=False)
    ],
    kind: Annotated[
        Kind, typer.Option(help="One row for each turn to be answered, each episode, or each demonstration.")
    ] = "prefixes",
    row_format: Annotated[
        RowFormat, typer.Option("--format", help="Prefixes: our columns, or those of FTRL's release.")
    ] = "own",
    reward: Annotated[
        Preset | None,
        typer.Option(help="Prefixes: the reward they will be scored with. (Default: that of the rollout.)"),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Leave out trajectories that scored less, or not at all.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Checkpoint folder or hub name: rows hold token ids of its tokenizer.")
    ] = None,
    chat: Annotated[ChatName, typer.Option(help="With --model: the chat format it is spoken to in.")] = "hermes",
    thinking: Annotated[bool, typer.Option(help="With --model: whether it thinks.")] = False,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="With --model: leave out longer prompts, or longer samples.")
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Report bad records and go on with the good.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Turn trajectories into rows to train on: per-turn prefixes, whole episodes, demonstrations."""
    from toolfoundry.export_samples import row_writer

    separate(output, trajectories, envs)
    if output.exists() and not force:
        raise OutputError(f"{output} exists; --force replaces it")
    if kind == "episodes" and model is None:
        raise InputError("option --model: found nothing, expected one (episodes are token ids)")
    if max_tokens is not None and model is None:
        raise InputError("option --model: found nothing, expected one (--max-tokens counts its tokens)")
    if row_format == "ftrl" and kind != "prefixes":
        raise InputError(f"option --format: found 'ftrl' with --kind {kind}, expected it with prefixes")
    if row_format == "ftrl" and reward not in (None, "ftrl"):
        raise InputError(f"option --reward: found {reward!r}, expected 'ftrl' (the release scores its rows with it)")
    dialect = None if model is None else _dialect(model, chat, thinking)
    problems = Problems()
    specs = {spec.id: spec for spec in read(envs, EnvSpec, skip_bad=skip_bad, on_bad=problems)}
    counts: Counter[str] = Counter(dict.fromkeys(("trajectories", "rows", "too_long", "left_out"), 0))
    make = _maker(kind, row_format, "ftrl" if row_format == "ftrl" else reward, dialect, max_tokens, counts)
    with row_writer(output) as writer:
        for trajectory in read(trajectories, Trajectory, skip_bad=skip_bad, on_bad=problems):
            counts["trajectories"] += 1
            try:
                spec = _environment(specs, trajectory, envs)
                rows = list(make(trajectory, spec)) if _good_enough(trajectory, kind, min_score) else None
            except (InputError, ValueError) as problem:
                if not skip_bad:
                    raise InputError(str(problem)) from None
                problems(problem)
                continue
            if rows is None:
                counts["left_out"] += 1
            for row in rows or []:
                writer.write(row)
                counts["rows"] += 1
        if not counts["rows"]:
            raise InputError(f"{trajectories}: gave no row ({_told(counts)})")
    if as_json:
        print_json({**counts, "skipped": problems.count})
    done_line(f"{counts['rows']} rows written to {output} ({_told(counts)})", problems)


def _maker(
    kind: Kind,
    row_format: RowFormat,
    preset: Preset | None,
    dialect: Dialect | None,
    max_tokens: int | None,
    counts: Counter[str],
) -> Callable[[Trajectory, EnvSpec], Iterator[Row]]:
    """What makes the rows of one trajectory; counts those that are too long."""
    from toolfoundry.export_samples import conversation_row, ftrl_row, prefix_row, sample_row
    from toolfoundry.samples import demonstration_samples, episode_samples, prefixes

    def fits(tokens: int) -> bool:
        too_long = max_tokens is not None and tokens > max_tokens
        counts["too_long"] += too_long
        return not too_long

    def of_prefix(prefix: Prefix, spec: EnvSpec) -> Row | None:
        tools = [tool.signature for tool in spec.tools]
        ids = None if dialect is None else dialect.prompt(prefix.messages, tools, prefix.said).ids
        if ids is not None and not fits(len(ids)):
            return None
        return ftrl_row(prefix, spec) if row_format == "ftrl" else prefix_row(prefix, spec, ids)

    def of_sample(sample: Sample) -> Row | None:
        return sample_row(sample) if fits(len(sample.token_ids)) else None

    def make(trajectory: Trajectory, spec: EnvSpec) -> Iterator[Row]:
        tools = [tool.signature for tool in spec.tools]
        if kind == "prefixes":
            found = [of_prefix(prefix, spec) for prefix in prefixes(trajectory, preset)]
        elif dialect is None:
            found = [conversation_row(trajectory, spec)]
        else:
            split = episode_samples if kind == "episodes" else demonstration_samples
            found = [of_sample(sample) for sample in split(trajectory, tools, dialect)]
        return (row for row in found if row is not None)

    return make


def _good_enough(trajectory: Trajectory, kind: Kind, min_score: float | None) -> bool:
    """Whether to use a trajectory: one that broke off is no demonstration, and has no score."""
    from toolfoundry.reward import trajectory_value

    if trajectory.stop == "error" and kind == "sft":
        return False
    if min_score is None:
        return True
    score = trajectory_value(trajectory)
    return score is not None and score >= min_score


def _environment(specs: Mapping[str, EnvSpec], trajectory: Trajectory, envs: Path) -> EnvSpec:
    spec = specs.get(trajectory.task.spec_id)
    if spec is None:
        raise InputError(f"trajectory {trajectory.key}: its environment is not in {envs}")
    return spec


def _dialect(model: str, chat: ChatName, thinking: bool) -> Dialect:
    from toolfoundry.chat import chat_format
    from toolfoundry.policies.transformers import load_codec
    from toolfoundry.tokens import Dialect

    return Dialect(chat_format(chat), load_codec(model, chat=chat), thinking)


def _told(counts: Counter[str]) -> str:
    told = [f"{counts['trajectories']} trajectories"]
    told += [f"{counts['too_long']} too long"] if counts["too_long"] else []
    told += [f"{counts['left_out']} trajectories left out"] if counts["left_out"] else []
    return ", ".join(told)
