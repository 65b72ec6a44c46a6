"""The command line: each command reads artifacts, calls one function of the library, and writes artifacts.

Results go to standard output (as JSON with `--json`), everything else to standard error. Errors are one line with
the exit code of `toolfoundry.errors`; `--debug` shows the traceback.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer
from rich.markup import escape

from toolfoundry import __version__
from toolfoundry.cli.analyze import analyze_app
from toolfoundry.cli.behaviour import behaviour
from toolfoundry.cli.bench import bench_build, bench_verify
from toolfoundry.cli.build import build
from toolfoundry.cli.compare import compare
from toolfoundry.cli.evaluate import evaluate
from toolfoundry.cli.export import export_chat, export_to_huggingface, export_to_nemo_gym, export_to_verifiers
from toolfoundry.cli.export_openenv import export_to_openenv
from toolfoundry.cli.export_verl import export_to_verl
from toolfoundry.cli.gallery import gallery
from toolfoundry.cli.general import general
from toolfoundry.cli.pack import pack
from toolfoundry.cli.play import rollout, score
from toolfoundry.cli.ray import Ray, Shards, ShardSize, WithRay, place_of
from toolfoundry.cli.report import report
from toolfoundry.cli.samples import samples
from toolfoundry.cli.serve import serve_app
from toolfoundry.cli.train import train
from toolfoundry.console import (
    AsJson,
    Envs,
    Force,
    Output,
    Problems,
    SkipBad,
    command_line,
    done_line,
    environments_of,
    err,
    out,
    print_json,
    print_proofs,
    progress,
    separate,
    write_environments,
    write_mode,
)
from toolfoundry.errors import FoundryError, InputError, OutputError, RecordError, skip_or_raise
from toolfoundry.store import RecordWriter, artifact_of, count_records, json_schema, read, write_run_file
from toolfoundry.types import EnvSpec, Trajectory
from toolfoundry.untrusted import visible

if TYPE_CHECKING:
    from toolfoundry.build.draft import Draft

__all__ = ["app", "main"]

EXIT_CODES = """
[bold]Exit codes[/bold]  0 done · 1 a gate failed, or an error of our own · 2 wrong usage, or a missing extra ·
3 bad input · 4 no sandbox · 5 model endpoint failed · 6 cannot write · 7 budget used up · 130 interrupted
"""

app = typer.Typer(
    name="toolfoundry",
    help="Environments for tool-using language models: build, import, audit, prove, play, score, train.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
import_app = typer.Typer(no_args_is_help=True, help="Read other formats into environments.", rich_markup_mode="rich")
export_app = typer.Typer(no_args_is_help=True, help="Write environments in other formats.", rich_markup_mode="rich")
app.add_typer(import_app, name="import")
app.add_typer(export_app, name="export")
bench_app = typer.Typer(no_args_is_help=True, help="The test suite toolfoundry-bench.", rich_markup_mode="rich")
app.add_typer(bench_app, name="bench")
bench_app.command("build", epilog="Example: [cyan]toolfoundry bench build -o bench/[/cyan]")(bench_build)
bench_app.command("verify", epilog="Example: [cyan]toolfoundry bench verify bench/[/cyan]")(bench_verify)
app.add_typer(analyze_app, name="analyze")
app.add_typer(serve_app, name="serve")
analyze_app.command(
    epilog="Example: [cyan]toolfoundry analyze behaviour before.jsonl after.jsonl --envs test.jsonl[/cyan]"
)(behaviour)

Kind = Literal["environments", "trajectories", "drafts", "rejects"]


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"toolfoundry {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    if debug:
        os.environ["TOOLFOUNDRY_DEBUG"] = "1"


def main() -> None:
    """The console script."""
    try:
        app()
    except FoundryError as error:
        _fail(error, error.exit_code)
    except BrokenPipeError:  # the reader of our output has gone
        sys.stderr.close()
        sys.exit(0)
    except SystemExit as end:
        if end.code == 130:  # typer's word for Ctrl-C
            err.print("interrupted; what was written is whole (most commands go on with --resume)")
        raise
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(OutputError(f"{place}{error.strerror or error}"), OutputError.exit_code)
    except Exception as error:
        _fail(FoundryError(f"internal: {type(error).__name__}: {error} (--debug shows where)"), 1, error)


def _fail(error: Exception, code: int, cause: Exception | None = None) -> None:
    if os.environ.get("TOOLFOUNDRY_DEBUG"):
        raise cause or error
    err.print(f"[bold red]error:[/bold red] {escape(visible(str(error), 2000))}", highlight=False, soft_wrap=True)
    sys.exit(code)


# --- import, export, schema ----------------------------------------------------------------------------------------


@import_app.command("ftrl", epilog="Example: [cyan]toolfoundry import ftrl test.jsonl -o envs.jsonl[/cyan]")
def import_ftrl(
    file: Annotated[Path, typer.Argument(help="JSONL of FTRL rows.", show_default=False)],
    output: Output,
    skip_bad: SkipBad = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Read FTRL's published format (and its forks with gold calls)."""
    from toolfoundry.formats.ftrl import read_ftrl

    separate(output, file)
    problems = Problems()
    write_environments(read_ftrl(file, skip_bad=skip_bad, on_bad=problems), output, force, as_json, problems)


@import_app.command("toolhop", epilog="Example: [cyan]toolfoundry import toolhop ToolHop.json -o envs.jsonl[/cyan]")
def import_toolhop(
    file: Annotated[Path, typer.Argument(help="ToolHop's rows: a JSON array, or JSONL.", show_default=False)],
    output: Output,
    mode: Annotated[
        Literal["mandatory", "free"], typer.Option(help="Which prompt: a tool at every step, or as the model likes.")
    ] = "free",
    skip_bad: SkipBad = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Read ToolHop's questions with their tools; `prove` finds the calls that answer them."""
    from toolfoundry.formats.toolhop import read_toolhop

    separate(output, file)
    problems = Problems()
    specs = read_toolhop(file, mode=mode, skip_bad=skip_bad, on_bad=problems)
    write_environments(specs, output, force, as_json, problems)


@import_app.command("toml", epilog="Example: [cyan]toolfoundry import toml my-environments/ -o envs.jsonl[/cyan]")
def import_toml(
    paths: Annotated[list[Path], typer.Argument(help="TOML files, or folders of them.", show_default=False)],
    output: Output,
    skip_bad: SkipBad = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Read environments written by hand, one TOML file each."""
    from toolfoundry.formats.toml import read_toml

    separate(output, *paths)
    problems = Problems()

    def specs() -> Iterator[EnvSpec]:
        for path in paths:
            for file in sorted(path.glob("*.toml")) if path.is_dir() else [path]:
                try:
                    yield read_toml(file)
                except RecordError as problem:
                    skip_or_raise(problem, skip_bad, problems)

    write_environments(specs(), output, force, as_json, problems)


@export_app.command("ftrl", epilog="Example: [cyan]toolfoundry export ftrl envs.jsonl -o test.jsonl[/cyan]")
def export_ftrl(
    envs: Envs,
    output: Output,
    with_gold: Annotated[bool, typer.Option("--with-gold", help="Add the column gt_tool_call.")] = False,
    skip_bad: SkipBad = False,
    force: Force = False,
) -> None:
    """Write FTRL's published format; imported rows come back byte for byte."""
    from toolfoundry.formats.ftrl import to_row

    separate(output, envs)
    if output.exists() and not force:
        raise OutputError(f"{output} exists; --force replaces it")
    if output.suffix == ".zst":
        raise OutputError(f"{output}: rows of other formats are written plain; leave out .zst")
    problems = Problems()
    count = 0
    unfinished = output.with_name(f".{output.name}.unfinished")
    with unfinished.open("w", encoding="utf-8", newline="\n") as file:
        for spec in read(envs, EnvSpec, skip_bad=skip_bad, on_bad=problems):
            try:
                row = to_row(spec, with_gold=with_gold)
            except InputError as problem:
                if not skip_bad:
                    raise
                problems(problem)
                continue
            file.write(row + "\n")
            count += 1
    unfinished.replace(output)
    done_line(f"{count} rows written to {output}", problems)


export_app.command("openenv", epilog="Example: [cyan]toolfoundry export openenv envs.jsonl -o env/[/cyan]")(
    export_to_openenv
)
export_app.command("verl", epilog="Example: [cyan]toolfoundry export verl envs.jsonl -o run/[/cyan]")(export_to_verl)
export_app.command("verifiers", epilog="Example: [cyan]toolfoundry export verifiers envs.jsonl -o my-set/[/cyan]")(
    export_to_verifiers
)
export_app.command("nemo-gym", epilog="Example: [cyan]toolfoundry export nemo-gym envs.jsonl -o rows.jsonl[/cyan]")(
    export_to_nemo_gym
)
export_app.command("chat", epilog="Example: [cyan]toolfoundry export chat envs.jsonl -o sft.jsonl[/cyan]")(export_chat)
export_app.command("huggingface", epilog="Example: [cyan]toolfoundry export huggingface envs.jsonl -o set/[/cyan]")(
    export_to_huggingface
)


app.command(epilog="Example: [cyan]toolfoundry pack envs.jsonl -o envs.packed.jsonl.zst[/cyan]")(pack)


@app.command(epilog="Example: [cyan]toolfoundry schema environments > environments.schema.json[/cyan]")
def schema(
    kind: Annotated[Kind, typer.Argument(help="Which artifact.")] = "environments",
) -> None:
    """Print the JSON Schema of one record of an artifact."""
    from toolfoundry.build.draft import Draft, Reject

    records = {record.artifact: record for record in (EnvSpec, Trajectory, Draft, Reject)}
    print_json(json_schema(records[kind]))


# --- build ---------------------------------------------------------------------------------------------------------

app.command(
    "build",
    cls=WithRay,
    epilog="Examples: [cyan]toolfoundry build --profile ftrl --seed 7 -n 1000 -o envs.jsonl[/cyan] · [cyan]toolfoundry "
    "build --author llm --model Qwen/Qwen3-32B --base-url http://127.0.0.1:8000/v1 --questions q.jsonl -o envs.jsonl"
    "[/cyan]",
)(build)

# --- inspect, stats --------------------------------------------------------------------------------------------------


@app.command(epilog="Example: [cyan]toolfoundry inspect envs.jsonl 0[/cyan]")
def inspect(
    envs: Envs,
    item: Annotated[str, typer.Argument(metavar="ID|INDEX", help="The beginning of an id, or a place from 0.")],
    source: Annotated[bool, typer.Option(help="Show the tools' code.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show one environment: question, steps, documents, code, gold trajectory, proof. A draft is shown as JSON."""
    from toolfoundry.build.draft import Draft
    from toolfoundry.show import print_environment

    if artifact_of(envs) == Draft.artifact:
        out.print_json(orjson.dumps(_find_draft(envs, item).model_dump(mode="json")).decode())
        return
    spec = _find(envs, item)
    if as_json:
        print_json(spec.model_dump(mode="json"))
    else:
        print_environment(spec, out, source=source)


def _find(envs: Path, item: str) -> EnvSpec:
    """The environment whose id begins with `item`, or the one at that place."""
    at_place: EnvSpec | None = None
    count = 0
    for count, spec in enumerate(read(envs, EnvSpec), start=1):
        if spec.id.startswith(item) and len(item) >= 4:
            return spec
        if item.isdigit() and count - 1 == int(item):
            at_place = spec
            if len(item) < 4:
                break
    if at_place is None:
        raise InputError(f"{envs}: there is no environment {item!r}: expected an id or a place from 0 to {count - 1}")
    return at_place


def _find_draft(path: Path, item: str) -> Draft:
    """The draft at that place in the run."""
    from toolfoundry.build.draft import Draft

    found = next((draft for draft in read(path, Draft) if str(draft.brief.index) == item), None)
    if found is None:
        raise InputError(f"{path}: there is no draft {item!r}: expected its index in the run")
    return found


@app.command(epilog="Example: [cyan]toolfoundry stats ours.jsonl ftrl.jsonl --html compare.html[/cyan]")
def stats(
    sets: Annotated[list[Path], typer.Argument(metavar="ENVS...", help="One set or several.", show_default=False)],
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one page with plots.")] = None,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Describe sets, or compare them side by side: sizes, schemas, diversity."""
    from toolfoundry.stats.compare import compare_sets
    from toolfoundry.stats.html import render_statistics, require_extras
    from toolfoundry.stats.terminal import print_statistics

    if html is not None:
        require_extras()
        separate(html, *sets)
    problems = Problems()
    names = [path.name for path in sets]
    titles = names if len(set(names)) == len(names) else [str(path) for path in sets]
    found = compare_sets(
        {
            title: read(path, EnvSpec, skip_bad=skip_bad, on_bad=problems)
            for title, path in zip(titles, sets, strict=True)
        }
    )
    if html is not None:
        html.write_text(render_statistics(found), encoding="utf-8")
    if as_json:
        print_json([one.model_dump(mode="json") for one in found])
    else:
        print_statistics(found, out)
    done_line(f"page written to {html}" if html else None, problems)


# --- check, repair, prove ------------------------------------------------------------------------------------------


@app.command(cls=WithRay, epilog="Example: [cyan]toolfoundry check envs.jsonl --html report.html[/cyan]")
def check(
    envs: Envs,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report as one page.")] = None,
    panel: Annotated[bool, typer.Option(help="Let the scripted policies play.")] = True,
    strict: Annotated[bool, typer.Option(help="Exit with 1 if there is a defect.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes. (Default: one for two cores.)")] = None,
    ray: Ray = None,
    shards: Shards = None,
    shard_size: ShardSize = None,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Run every gate that applies to a set, and print a quality report."""
    from toolfoundry.check import check_on_cores, print_report, processes_for, render_html
    from toolfoundry.check.html import require_extra

    if html is not None:  # what would prevent the page is better said before the work than after it
        require_extra()
        separate(html, envs)
        if not html.parent.is_dir():
            raise OutputError(f"{html}: there is no folder {html.parent}")
        if html.is_dir():
            raise OutputError(f"{html} is a folder")
    problems = Problems()
    count = count_records(envs, EnvSpec)
    if place := place_of(ray, shards, shard_size, envs, ".check.shards"):
        if jobs is not None:
            raise InputError("--ray has no use for --jobs: the cluster says how many work")
        from toolfoundry.cluster.commands import check_on_ray

        with progress("checking", count) as advance:
            report = check_on_ray(envs, place, panel=panel, on_bad=problems if skip_bad else None, on_done=advance)
    else:
        specs = read(envs, EnvSpec, skip_bad=skip_bad, on_bad=problems)
        with progress("checking", count) as advance:
            report = check_on_cores(specs, jobs=jobs or processes_for(count), panel=panel, on_progress=advance)
    if not report.environments:
        raise InputError(f"{envs}: has no environments")
    if html is not None:
        html.write_text(render_html(report), encoding="utf-8")
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        print_report(report, out)
    done_line(f"report written to {html}" if html else None, problems)
    if strict and report.defects:
        raise typer.Exit(1)


@app.command(epilog="Example: [cyan]toolfoundry repair envs.jsonl -o repaired.jsonl[/cyan]")
def repair(
    envs: Envs, output: Output, skip_bad: SkipBad = False, force: Force = False, as_json: AsJson = False
) -> None:
    """Fix what can be fixed mechanically (schemas, hidden names), and say what was changed."""
    from toolfoundry.repair import repair as run_repair

    separate(output, envs)
    problems = Problems()
    changes: dict[str, list[str]] = {}
    specs = environments_of(envs, skip_bad, problems)
    with RecordWriter(output, EnvSpec, write_mode(force)) as writer:
        for spec in specs:
            repaired, changed = run_repair(spec)
            writer.write(repaired)
            changes[repaired.id] = list(changed)
    changed_count = sum(1 for entries in changes.values() if entries)
    if as_json:
        print_json({"environments": len(changes), "changed": changed_count, "changes": changes})
    else:
        for spec_id, entries in changes.items():
            for entry in entries:
                out.print(f"[cyan]{spec_id}[/cyan] {escape(visible(entry, 200))}", highlight=False, soft_wrap=True)
    done_line(f"{changed_count} of {len(changes)} environments changed; written to {output}", problems)


@app.command(epilog="Example: [cyan]toolfoundry prove envs.jsonl -o proved.jsonl[/cyan]")
def prove(
    envs: Envs,
    output: Output,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished output.")] = False,
    skip_bad: SkipBad = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Find calls that give every golden answer, and the order in which a task can be solved."""
    from toolfoundry.prove import prove_all, summarise
    from toolfoundry.sandbox import Sandbox

    separate(output, envs)
    problems = Problems()
    started = time.time()
    specs = environments_of(envs, skip_bad, problems)
    proved: list[EnvSpec] = []

    def keep(spec: EnvSpec) -> bool:
        """What a proof leaves as it is tells whether the output was begun from this input."""
        here = specs[len(proved)] if len(proved) < len(specs) else None
        if here is None or (here.scenario, here.tools, here.prompt) != (spec.scenario, spec.tools, spec.prompt):
            raise InputError(f"{output} does not begin with the environments of {envs}; --force starts it anew")
        proved.append(spec)
        return True

    with (
        RecordWriter(output, EnvSpec, write_mode(force, resume), keep=keep) as writer,
        Sandbox() as sandbox,
        progress("proving", len(specs), len(proved)) as advance,
    ):
        for result in prove_all(specs[len(proved) :], sandbox, jobs=os.cpu_count() or 1):
            writer.write(result)
            proved.append(result)
            advance(1)
    summary = summarise(proved)
    write_run_file(
        output,
        command=command_line(),
        config={"envs": str(envs)},
        counts=summary.model_dump(mode="json"),
        started=started,
    )
    if as_json:
        print_json(summary.model_dump(mode="json"))
    else:
        print_proofs(summary)
    done_line(f"{len(proved)} environments written to {output}", problems)


# --- play, score, sample, train ---------------------------------------------------------------------------------------

app.command(
    cls=WithRay,
    epilog="Examples: [cyan]toolfoundry rollout envs.jsonl --policy gold -o gold.jsonl[/cyan] · [cyan]toolfoundry "
    "rollout envs.jsonl --policy openai --base-url http://127.0.0.1:8000/v1 --model Qwen/Qwen3-8B -o qwen.jsonl[/cyan] "
    "· [cyan]toolfoundry rollout envs.jsonl --policy transformers --model runs/grpo/final -o trained.jsonl[/cyan]",
)(rollout)
app.command(cls=WithRay, epilog="Example: [cyan]toolfoundry score gold.jsonl --reward ftrl --json[/cyan]")(score)
app.command(
    epilog="Examples: [cyan]toolfoundry evaluate tiny --benchmark own=envs.jsonl -o run[/cyan] · [cyan]toolfoundry "
    "evaluate Qwen/Qwen3-8B --base-url http://127.0.0.1:8000/v1 --suite paper --data benchmarks -o run[/cyan]"
)(evaluate)
app.command(epilog="Example: [cyan]toolfoundry samples rollouts.jsonl --envs envs.jsonl -o prefixes.parquet[/cyan]")(
    samples
)
app.command(epilog="Example: [cyan]toolfoundry general runs/grpo/final -o general/[/cyan]")(general)
app.command(epilog="Example: [cyan]toolfoundry compare before/ after/ -o compared.html[/cyan]")(compare)
app.command(epilog="Example: [cyan]toolfoundry gallery envs.jsonl -o gallery.html[/cyan]")(gallery)
app.command(epilog="Example: [cyan]toolfoundry report before.jsonl after.jsonl --envs test.jsonl -o page.html[/cyan]")(
    report
)
app.command(epilog="Example: [cyan]toolfoundry train grpo train.jsonl --held-out test.jsonl -o run[/cyan]")(train)


@app.command(epilog="Example: [cyan]toolfoundry demo -o demo-out[/cyan]")
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER")] = Path("demo-out"),
) -> None:
    """Build environments from a seed, look into one, audit, execute, prove, play and score them, and train on them."""
    from toolfoundry.demo.tour import run_tour

    run_tour(output, out)
