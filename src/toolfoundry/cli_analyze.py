"""`toolfoundry analyze`: where the parameters changed, and whether that place carries the gain."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from pydantic import JsonValue
from rich.markup import escape
from rich.table import Table

from toolfoundry.console import AsJson, Force, command_line, err, out, print_json, progress
from toolfoundry.errors import OutputError
from toolfoundry.store import SCHEMA_VERSION, write_run_file
from toolfoundry.untrusted import visible

if TYPE_CHECKING:
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
    before: Annotated[Path, typer.Argument(help="Folder of a checkpoint (safetensors).", show_default=False)],
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
    pair = open_pair(before, after)
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


def _begin(output: Path, name: str, force: bool) -> None:
    """Makes the folder. Raises OutputError where the result is there already and may not be replaced."""
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

    for first, rows in (("module", module_rows(changes)), ("tensor", top_tensors(changes))):
        table = Table(title_justify="left")
        table.add_column(first, no_wrap=first == "tensor")
        for column in HEADER:
            table.add_column(column, justify="right")
        for at, row in enumerate(rows):
            table.add_row(*map(escape, row), end_section=first == "module" and at == len(rows) - 2)
        out.print(table)
    for sentence in (*largest_sentences(changes), claim_sentence(changes), *changes.notes):
        out.print(escape(visible(sentence, 2000)), highlight=False)
