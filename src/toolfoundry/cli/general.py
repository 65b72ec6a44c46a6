"""The command `toolfoundry general`: what training did to abilities that it is not about."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import orjson
import typer
from pydantic import JsonValue
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from toolfoundry.console import (
    AsJson,
    Problems,
    command_line,
    done_line,
    out,
    print_json,
)
from toolfoundry.errors import InputError, OutputError
from toolfoundry.store import SCHEMA_VERSION, about_packages, write_run_file
from toolfoundry.untrusted import visible

__all__ = ["general"]


def general(
    model: Annotated[str, typer.Argument(help="A checkpoint, or with --base-url a model's name.", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write.", show_default=False)
    ],
    tasks: Annotated[
        str, typer.Option(help="Separated by commas; other names are tasks of lm-evaluation-harness.")
    ] = "mmlu,bbh,gsm8k,math,humaneval,mbpp",
    limit: Annotated[int | None, typer.Option(min=1, help="Items of each task, for a quick look.")] = None,
    include: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Tasks of your own (YAML of the harness).")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="Environment variable that holds the key.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 8,
    device: Annotated[str | None, typer.Option(help="Where a checkpoint runs: cpu, cuda, cuda:1, ...")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Prompts of a checkpoint at a time.")] = 8,
    thinking: Annotated[bool | None, typer.Option("--thinking/--no-thinking", help="Let the model think.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="A checkpoint without a chat template.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of whatever the harness draws.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace results that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """MMLU, BBH, GSM8K, MATH, HumanEval and MBPP through lm-evaluation-harness; code runs in our sandbox."""
    from toolfoundry.evaluate.general import checkpoint, endpoint, run
    from toolfoundry.evaluate.tables import markdown, score_table

    names = list(dict.fromkeys(name.strip() for name in tasks.split(",") if name.strip()))
    if not names:
        raise InputError("--tasks: found none, expected at least one")
    if base_url is None:
        chosen = checkpoint(model, device=device, batch=batch, thinking=thinking, chat=not plain)
    elif plain or device is not None:
        raise InputError("--plain and --device are for a checkpoint, found --base-url")
    else:
        chosen = endpoint(model, base_url, api_key_env=api_key_env, concurrency=concurrency, thinking=thinking)
    place = output / "results.json"
    if place.exists() and not force:
        raise OutputError(f"{place} exists; --force replaces it")
    started = time.time()
    found = run(chosen, names, limit=limit, include=include, seed=seed)
    settings: dict[str, JsonValue] = {
        "tasks": [*names],
        "limit": limit,
        "seed": seed,
        "thinking": thinking,
        "chat_template": chosen.chat,
    }
    document = {
        "toolfoundry": "evaluation",
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "settings": {**settings, "harness": about_packages("lm_eval")},
        "benchmarks": {name: {result.rule: result.model_dump(mode="json")} for name, result in found.items()},
        "table_2": None,
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        place.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
        text = markdown(model, {name: {result.rule: result} for name, result in found.items()}, None)
        (output / "results.md").write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{error.filename or output}: cannot be written: {error.strerror}") from error
    counts = {name: result.overall.n for name, result in found.items()}
    write_run_file(
        output / "general.jsonl",
        command=command_line(),
        config={"model": model, "base_url": base_url, **settings},
        counts=counts,
        started=started,
    )
    if as_json:
        print_json(document)
    else:
        table = Table(box=SIMPLE_HEAD)
        for heading in ("", "accuracy", "n", "unscored"):
            table.add_column(heading, justify="right" if heading else "left")
        for result in found.values():
            table.add_row(*(escape(visible(cell, 60)) for cell in (result.title, *score_table(result).rows[0][1:])))
        out.print(table)
    done_line(f"{sum(counts.values())} items; results written to {output}", Problems())
