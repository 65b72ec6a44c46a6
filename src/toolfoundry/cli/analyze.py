"""`toolfoundry analyze`: where the parameters changed, and whether that place carries the gain."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
import typer
from pydantic import JsonValue
from rich.markup import escape
from rich.table import Table

from toolfoundry.chat import chat_format
from toolfoundry.console import (
    AsJson,
    Force,
    Problems,
    SkipBad,
    command_line,
    done_line,
    environments_of,
    err,
    out,
    print_json,
    progress,
)
from toolfoundry.errors import OutputError
from toolfoundry.store import SCHEMA_VERSION, RecordWriter, write_run_file
from toolfoundry.types import Limits, Trajectory
from toolfoundry.untrusted import visible

if TYPE_CHECKING:
    from toolfoundry.analyze.graft import Grafts
    from toolfoundry.analyze.parameters import ParameterChanges

__all__ = ["analyze_app"]

analyze_app = typer.Typer(
    no_args_is_help=True, help="What training changed, in parameters and behaviour.", rich_markup_mode="rich"
)

Folder = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write.", show_default=False)
]


@analyze_app.command(
    epilog="Examples: [cyan]toolfoundry analyze parameters start/final run/final -o changes[/cyan] · [cyan]toolfoundry "
    "analyze parameters Qwen2.5-7B-Instruct adapter --spectral[/cyan]"
)
def parameters(
    before: Annotated[Path, typer.Argument(help="Folder of a checkpoint (safetensors), or tiny.", show_default=False)],
    after: Annotated[
        Path, typer.Argument(help="Folder of another of the same shape, or of a LoRA adapter.", show_default=False)
    ],
    output: Folder = None,
    spectral: Annotated[
        bool, typer.Option("--spectral", help="Also the largest singular values of each matrix's change.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the random subspaces of --spectral.")] = 0,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Where the parameters changed, by layer and module. Memory stays the same however large the model is."""
    from toolfoundry.analyze.checkpoints import open_pair
    from toolfoundry.analyze.parameter_plots import save_heat_map
    from toolfoundry.analyze.parameter_report import to_markdown
    from toolfoundry.analyze.parameters import compare_checkpoints
    from toolfoundry.page import require_extra

    started = time.time()
    if output is not None:
        require_extra("plots", "matplotlib", "the heat map")
        _begin(output, "parameters.json", force)
    pair = open_pair(_packaged(before), _packaged(after))
    with progress("comparing, MiB", pair.bytes >> 20) as advance:
        seen = 0

        def on_bytes(count: int) -> None:
            nonlocal seen
            advance((seen + count >> 20) - (seen >> 20))
            seen += count

        changes = compare_checkpoints(pair, spectral=spectral, seed=seed, on_bytes=on_bytes)
    document = {
        "toolfoundry": "parameters",
        "schema_version": SCHEMA_VERSION,
        "before": str(before),
        "after": str(after),
        **changes.model_dump(mode="json"),
    }
    if output is not None:
        (output / "parameters.json").write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
        (output / "parameters.md").write_text(to_markdown(changes, str(before), str(after)), encoding="utf-8")
        save_heat_map(changes, output)
        config: dict[str, JsonValue] = {
            "before": str(before),
            "after": str(after),
            "spectral": spectral,
            "seed": seed,
        }
        counts: dict[str, JsonValue] = {"tensors": len(changes.tensors), "parameters": changes.total.elements}
        write_run_file(output / "parameters", command=command_line(), config=config, counts=counts, started=started)
    if as_json:
        print_json(document)
    else:
        _print_changes(changes)
    if output is not None:
        _say(f"parameters.md, .json, .svg and .png written to {output}")


def _packaged(checkpoint: Path) -> Path:
    """The folder of `tiny`, the policy in the package; any other as it is."""
    from toolfoundry.policies.transformers import TINY, checkpoint_folder

    return checkpoint_folder(TINY) if str(checkpoint) == TINY else checkpoint


def _begin(output: Path, name: str, force: bool) -> None:
    """Makes the folder. Raises OutputError where the result is there already and may not be replaced."""
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: found a file, expected a folder or nothing")
    if (output / name).exists() and not force:
        raise OutputError(f"{output / name} exists; --force replaces it")
    output.mkdir(parents=True, exist_ok=True)


def _say(text: str) -> None:
    err.print(escape(visible(text, 2000)), highlight=False, soft_wrap=True)


def _print_changes(changes: ParameterChanges) -> None:
    from toolfoundry.analyze.parameter_report import (
        HEADER,
        claim_sentence,
        largest_sentences,
        module_rows,
        top_tensors,
    )

    for first, kept, rows in (("module", range(5), module_rows(changes)), ("tensor", (0, 2, 3), top_tensors(changes))):
        table = Table()
        table.add_column(first, no_wrap=True)
        for column in kept:
            table.add_column(HEADER[column], justify="right")
        for at, row in enumerate(rows):
            cells = [row[0], *(row[1 + column] for column in kept)]
            table.add_row(*map(escape, cells), end_section=first == "module" and at == len(rows) - 2)
        out.print(table)
    for sentence in (*largest_sentences(changes), claim_sentence(changes), *changes.notes):
        out.print(escape(visible(sentence, 2000)), highlight=False)


@analyze_app.command(
    epilog="Example: [cyan]toolfoundry analyze graft start/final run/final --envs test.jsonl --part mlp:lowest-third "
    "--part attention --part all:0-2 -o grafts[/cyan]"
)
def graft(
    base: Annotated[str, typer.Argument(help='A checkpoint before training, or "tiny".', show_default=False)],
    trained: Annotated[str, typer.Argument(help="The same model after training.", show_default=False)],
    envs: Annotated[Path, typer.Option(metavar="ENVS", help="What is played.", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write.", show_default=False)
    ],
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULES[:LAYERS]",
            help="mlp, attention, norms, embeddings (commas between) or all; layers: lowest-third, middle-third, "
            "highest-third, 0-2, 5 or all. May be repeated. (Default: mlp and attention, by thirds.)",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N environments.")] = None,
    max_turns: Annotated[int, typer.Option(min=1, help="Turns of one rollout.")] = 20,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of one completion.")] = 1024,
    chat: Annotated[Literal["hermes", "qwen3"], typer.Option(help="Chat format of the models.")] = "hermes",
    thinking: Annotated[bool, typer.Option("--thinking/--no-thinking", help="Let them think.")] = False,
    device: Annotated[str | None, typer.Option(help="Where they run: cpu, cuda, cuda:1, ...")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    skip_bad: SkipBad = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Whether a part of the trained model carries the gain: graft it into the base model, and back, and play."""
    from toolfoundry.analyze.checkpoints import open_pair
    from toolfoundry.analyze.graft import measure_grafts, parse_part
    from toolfoundry.analyze.graft_report import to_markdown
    from toolfoundry.policies.transformers import TransformersSampler, checkpoint_folder, load_policy
    from toolfoundry.sandbox import Sandbox
    from toolfoundry.tokens import Dialect
    from toolfoundry.train.play import Table as Playing

    started = time.time()
    problems = Problems()
    parts = [parse_part(text) for text in dict.fromkeys(part or _THIRDS)]
    specs = list({spec.id: spec for spec in environments_of(envs, skip_bad, problems)}.values())[:limit]
    open_pair(checkpoint_folder(base), checkpoint_folder(trained))  # says in one line how they differ
    _begin(output, "grafts.json", force)
    first, second = (load_policy(model, chat=chat, device=device) for model in (base, trained))
    config: dict[str, JsonValue] = {
        "base": base,
        "trained": trained,
        "envs": str(envs),
        "environments": len(specs),
        "parts": [one.text for one in parts],
        "max_turns": max_turns,
        "max_tokens": max_tokens,
        "chat": chat,
        "thinking": thinking,
        "temperature": 0,
        "seed": seed,
    }
    with Sandbox() as sandbox, progress("playing", 2 + 2 * len(parts)) as advance:

        def play(model: Any, name: str) -> list[Trajectory]:
            table = Playing(
                sampler=TransformersSampler(model, first.codec.end_ids),
                dialect=Dialect(chat_format(chat), first.codec, thinking),
                executor=sandbox,
                limits=Limits(max_turns=max_turns),
                max_tokens=max_tokens,
                max_batch=256 if model.num_parameters() < 20_000_000 else 64,
            )
            return table.episodes(specs, temperature=0, seed=("graft", seed), name=name)

        def keep(name: str, trajectories: list[Trajectory]) -> None:
            with RecordWriter(output / f"{_file_name(name)}.jsonl", Trajectory, "overwrite") as writer:
                for trajectory in trajectories:
                    writer.write(trajectory)
            advance(1)

        grafts = measure_grafts(first.model, second.model, parts, play, seed=seed, on_played=keep)
    document = {
        "toolfoundry": "grafts",
        "schema_version": SCHEMA_VERSION,
        **config,
        **grafts.model_dump(mode="json"),
    }
    (output / "grafts.json").write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    (output / "grafts.md").write_text(to_markdown(grafts, base, trained, str(envs)), encoding="utf-8")
    counts: dict[str, JsonValue] = {"environments": len(specs), "unscored": sum(grafts.unscored.values())}
    write_run_file(output / "grafts", command=command_line(), config=config, counts=counts, started=started)
    if as_json:
        print_json(document)
    else:
        _print_grafts(grafts)
    done_line(f"grafts.md, grafts.json and the trajectories written to {output}", problems)


_THIRDS = tuple(
    f"{modules}:{third}-third" for modules in ("mlp", "attention") for third in ("lowest", "middle", "highest")
)


def _file_name(name: str) -> str:
    """A name of ours as one of a file: letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name)


def _print_grafts(grafts: Grafts) -> None:
    from toolfoundry.analyze.graft_report import METRIC_TITLES, graft_rows, header, summary_sentences

    for metric, title in METRIC_TITLES.items():
        table = Table(title=title, title_justify="left", title_style="bold")
        kept = (0, 1, 2, 4, 5, 7)  # the differences are in grafts.md
        for at in kept:
            table.add_column(header()[at], justify="right" if at else "left", no_wrap=not at)
        for row in graft_rows(grafts, metric):
            table.add_row(*(escape(row[at]) for at in kept))
        out.print(table)
    for sentence in summary_sentences(grafts):
        out.print(escape(sentence), highlight=False)
