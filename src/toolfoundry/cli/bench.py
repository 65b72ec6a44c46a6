"""The commands `toolfoundry bench build` and `verify`: a test suite of our own, the same everywhere."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from toolfoundry.console import AsJson, Force, Problems, command_line, done_line, out, print_json, progress
from toolfoundry.errors import OutputError
from toolfoundry.store import write_run_file
from toolfoundry.untrusted import visible

if TYPE_CHECKING:
    from toolfoundry.evaluate.bench import Verdict

__all__ = ["bench_build", "bench_verify"]

BenchName = Literal["toolfoundry-bench", "toolfoundry-bench-tiny", "all"]
LevelName = Literal["easy", "medium", "hard"]


def bench_build(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write.", show_default=False)
    ],
    name: Annotated[BenchName, typer.Option(help="Which benchmark.")] = "all",
    level: Annotated[
        LevelName | None, typer.Option(help="Only this level of toolfoundry-bench, as a file of its own.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes. (Default: all cores.)")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Build toolfoundry-bench: 400 environments each, the same bytes on every machine."""
    from toolfoundry.evaluate.bench import BENCHES, VERSION, build_bench, file_name, parts, verify

    names = ["toolfoundry-bench"] if level else [name] if name != "all" else list(BENCHES)
    if level and name == "toolfoundry-bench-tiny":
        raise typer.BadParameter("toolfoundry-bench-tiny has no levels")
    for one in names:
        if (file := output / file_name(one, level)).exists() and not force:
            raise OutputError(f"{file} exists; --force replaces it")
    verdicts: list[Verdict] = []
    for one in names:
        started = time.time()
        count = sum(part.size for part in parts(one, level))
        with progress(f"building {one}", count) as advance:
            file = build_bench(one, output, level=level, jobs=jobs or os.cpu_count() or 1, on_progress=advance)
        [verdict] = verify(file)
        verdicts.append(verdict)
        write_run_file(
            file,
            command=command_line(),
            config={"benchmark": one, "version": VERSION, "level": level},
            counts={"environments": count, "sha256": verdict.sha256, "as_published": verdict.right},
            started=started,
        )
    _show(verdicts, as_json)
    done_line(f"{len(verdicts)} files written to {output}", Problems())


def bench_verify(
    path: Annotated[Path, typer.Argument(metavar="FOLDER|FILE", help="What was built.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Hold files of toolfoundry-bench against their hashes."""
    from toolfoundry.evaluate.bench import verify

    _show(verify(path), as_json)


def _show(verdicts: list[Verdict], as_json: bool) -> None:
    """Prints what was found. Exits with 1 where a file is not what it is called."""
    from toolfoundry.evaluate.bench import VERSION

    if as_json:
        print_json(
            [
                {"file": str(one.path), "sha256": one.sha256, "expected": one.expected, "right": one.right}
                for one in verdicts
            ]
        )
    else:
        for one in verdicts:
            verdict = f"[green]version {VERSION}[/green]" if one.right else "[red]not as published[/red]"
            out.print(
                f"{escape(visible(one.path.name, 100))}  {one.sha256}  {verdict}", highlight=False, soft_wrap=True
            )
            if not one.right:
                expected = one.expected or "a file name of toolfoundry-bench"
                out.print(f"  expected {expected}", highlight=False, soft_wrap=True)
    if not all(one.right for one in verdicts):
        raise typer.Exit(1)
