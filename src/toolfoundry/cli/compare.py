"""The command `toolfoundry compare`: two runs on the same items, and which differences are more than noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from toolfoundry.console import AsJson, Force, Problems, done_line, out, print_json
from toolfoundry.errors import InputError, OutputError
from toolfoundry.evaluate.attempts import Rule

__all__ = ["compare"]


def compare(
    run_a: Annotated[
        Path,
        typer.Argument(metavar="RUN_A", help="A folder of `evaluate`, or a file of attempts or trajectories."),
    ],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="The run that is compared with it.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Also write it: .md, .html or .json.", show_default=False),
    ] = None,
    rule: Annotated[Rule, typer.Option(help="Which of the stored scores: as published, or repaired.")] = "fixed",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Compare two runs item by item: paired differences with intervals, and what flipped."""
    from toolfoundry.evaluate.compare import compare_runs, load_run
    from toolfoundry.evaluate.compare_tables import print_comparison, to_html, to_markdown
    from toolfoundry.page import require_extra

    if output is not None:  # what would prevent the file is better said before the work than after it
        if output.suffix not in (".md", ".html", ".json"):
            raise InputError(f"--output {output}: expected a name that ends in .md, .html or .json")
        if output.exists() and not force:
            raise OutputError(f"{output} exists; --force replaces it")
        if any(run.exists() and output.exists() and output.samefile(run) for run in (run_a, run_b)):
            raise OutputError(f"{output} is also a run that is compared; give another name")
        if output.suffix == ".html":
            require_extra("report", "jinja2", "the page")
    found = compare_runs(load_run(run_a, rule), load_run(run_b, rule), rule)
    document = found.model_dump(mode="json")
    if output is not None:
        match output.suffix:
            case ".md":
                text = to_markdown(found)
            case ".html":
                text = to_html(found)
            case _:
                text = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{output}: cannot be written: {error.strerror}") from error
    if as_json:
        print_json(document)
    else:
        print_comparison(found, out)
    if output is not None:
        done_line(f"comparison written to {output}", Problems())
