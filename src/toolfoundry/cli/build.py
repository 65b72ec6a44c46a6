"""The command `toolfoundry build`: briefs or a seed in, verified environments out."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import orjson
import typer
from pydantic import JsonValue
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from toolfoundry.cli.build_sessions import ModelSession, ProceduralSession
from toolfoundry.cli.build_tools import ToolsSession, without_rewriting
from toolfoundry.cli.ray import Ray, Shards, ShardSize, place_of
from toolfoundry.console import Problems, command_line, done_line, err, out, print_json, progress, separate, write_mode
from toolfoundry.errors import InputError, MissingExtra, OutputError
from toolfoundry.store import RecordWriter, WriteMode, read, run_file, write_run_file
from toolfoundry.types import EnvSpec, Tool
from toolfoundry.untrusted import visible

if TYPE_CHECKING:
    from toolfoundry.build.authors.llm import LLMConfig
    from toolfoundry.build.draft import Brief, Draft
    from toolfoundry.build.ledger import Ledger

__all__ = ["build"]

AuthorName = Literal["procedural", "llm"]
ProfileName = Literal["ftrl", "tiny", "hard"]
SplitName = Literal["train", "dev", "test"]
HELD_OUT = ("relations", "wordings")
StageName = Literal["decompose", "document", "integrate", "scale", "deploy"]
StructuredName = Literal["auto", "json_schema", "json_object", "text"]

_PROCEDURAL = "The procedural author"
_LLM = "The LLM author"
# How replies are paid for and come here, not what they say: an interrupted build may go on with others.
_MAY_CHANGE = frozenset(
    "api_key_env base_url batch_dir budget cache concurrency max_retries price_in price_out timeout_s".split()
)


def build(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where to write.", show_default=False)],
    author: Annotated[AuthorName, typer.Option(help="Who writes the content of the stages.")] = "procedural",
    profile: Annotated[
        ProfileName,
        typer.Option(help="What the environments are to look like; of it the LLM author takes the scaling levels."),
    ] = "ftrl",
    count: Annotated[
        int | None, typer.Option("-n", "--n", min=1, help="Environments to accept. (Default: 100, or all questions.)")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other environments.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="One quantity of the profile, as in scaling.expand=0; may be repeated."
        ),
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Refuse questions that are in this benchmark; may be repeated."),
    ] = None,
    stop_after: Annotated[StageName | None, typer.Option(help="Write the drafts after this stage instead.")] = None,
    drafts: Annotated[Path | None, typer.Option(metavar="FILE", help="Go on from drafts of an earlier stage.")] = None,
    split: Annotated[
        SplitName, typer.Option(help="Splits share no entity name.", rich_help_panel=_PROCEDURAL)
    ] = "train",
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="relations|wordings",
            help="Keep these apart between splits too; may be repeated.",
            rich_help_panel=_PROCEDURAL,
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes. (Default: all cores.)", rich_help_panel=_PROCEDURAL)
    ] = None,
    tools: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your own tools: functions (.py), an OpenAPI 3 file, an MCP tool list."),
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Questions: JSONL, text, MoreHopQA.", rich_help_panel=_LLM),
    ] = None,
    topics: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Topics, one a line.", rich_help_panel=_LLM)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model name at the endpoint.", rich_help_panel=_LLM)] = None,
    base_url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint.", rich_help_panel=_LLM)] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds the key.", rich_help_panel=_LLM)
    ] = None,
    batch_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go through Batch files in this folder.", rich_help_panel=_LLM)
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Replies received. (Default: NAME.replies.sqlite.)", rich_help_panel=_LLM),
    ] = None,
    pool: Annotated[
        Path | None,
        typer.Option(
            metavar="ENVS", help="Distractors from these. (Default: those of the demo.)", rich_help_panel=_LLM
        ),
    ] = None,
    structured: Annotated[StructuredName, typer.Option(help="How JSON is asked for.", rich_help_panel=_LLM)] = "auto",
    attempts: Annotated[int, typer.Option(min=1, max=10, help="Tries of a stage.", rich_help_panel=_LLM)] = 3,
    temperature: Annotated[float, typer.Option(min=0, help="Sampling temperature.", rich_help_panel=_LLM)] = 0.7,
    concurrency: Annotated[int, typer.Option(min=1, help="Items at a time.", rich_help_panel=_LLM)] = 16,
    extra_body: Annotated[
        str | None, typer.Option(metavar="JSON", help="Further fields of every request.", rich_help_panel=_LLM)
    ] = None,
    price_in: Annotated[
        float | None, typer.Option(min=0, help="Price of a million prompt tokens.", rich_help_panel=_LLM)
    ] = None,
    price_out: Annotated[
        float | None, typer.Option(min=0, help="Price of a million completion tokens.", rich_help_panel=_LLM)
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Stop before all requests cost more; needs both prices.", rich_help_panel=_LLM)
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Estimate requests, tokens and cost; with --tools show what can be used. Sends nothing.",
            rich_help_panel=_LLM,
        ),
    ] = False,
    measure: Annotated[
        int, typer.Option(min=0, help="On how many environments false accepts and rejects are measured.")
    ] = 200,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report as one page.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished output.")] = False,
    ray: Ray = None,
    shards: Shards = None,
    shard_size: ShardSize = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Report bad input and go on with the good.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Make environments: five stages, every gate, each one proved before it is written."""
    from toolfoundry.build.authors.procedural.profile import PROFILES
    from toolfoundry.build.benchmarks import Benchmarks
    from toolfoundry.build.knobs import with_knobs
    from toolfoundry.build.ledger import Ledger, rejects_file
    from toolfoundry.build.pipeline import Recipe
    from toolfoundry.build.reporting import report_on
    from toolfoundry.check import GATES

    strange = {
        "procedural": {
            "--dry-run": dry_run and tools is None,
            "--questions": questions,
            "--topics": topics,
            "--model": model,
            "--base-url": base_url,
            "--api-key-env": api_key_env,
            "--batch-dir": batch_dir,
            "--cache": cache,
            "--pool": pool,
            "--extra-body": extra_body,
            "--budget": budget,
        },
        "llm": {"--split": split != "train", "--hold-out": hold_out, "--jobs": jobs, "--ray": ray},
    }
    if given_anyway := [option for option, value in strange[author].items() if value]:
        raise InputError(f"--author {author} has no use for {', '.join(given_anyway)}: another author's options")
    place = place_of(ray, shards, shard_size, output)
    on_one_machine = {"--jobs": jobs, "--drafts": drafts, "--stop-after": stop_after, "--tools": tools}
    if place and (local := [option for option, value in on_one_machine.items() if value]):
        raise InputError(f"--ray has no use for {', '.join(local)}: the nodes build whole environments from the seed")
    if tools is not None:
        given_anyway = [
            option
            for option, value in (
                ("--split", split != "train"),
                ("--hold-out", hold_out),
                ("--questions", questions),
                ("--topics", topics),
                ("--pool", pool),
                ("--drafts", drafts),
                ("--stop-after", stop_after),
                ("--ray", ray),
            )
            if value
        ]
        if given_anyway:
            raise InputError(f"--tools has no use for {', '.join(given_anyway)}")
    inputs = [path for path in (tools, drafts, questions, topics, pool, *(exclude or ())) if path is not None]
    separate(output, *inputs)
    if html is not None:
        from toolfoundry.build.html import require_extra

        require_extra()
        separate(html, output, *inputs)
    knobs = list(settings or ())
    if hold_out:
        if unknown := [name for name in hold_out if name not in HELD_OUT]:
            raise InputError(f"--hold-out {unknown[0]}: expected {' or '.join(HELD_OUT)}")
        knobs.append(f"hold_out={orjson.dumps(hold_out).decode()}")
    chosen = with_knobs(PROFILES[profile], knobs)
    options: dict[str, JsonValue] = {
        "author": author,
        "seed": seed,
        "exclude": [str(path) for path in exclude or ()],
    }
    started = time.time()
    problems = Problems()
    mode = write_mode(force, resume)
    benchmarks = Benchmarks(exclude) if exclude else None
    session: ProceduralSession | ModelSession | ToolsSession
    if author == "procedural" and tools is not None:
        scaling = without_rewriting(chosen.scaling, knobs)
        session = ToolsSession(tools, seed, count, scaling, at_a_time=jobs, dry_run=dry_run)
        options |= session.options
        if dry_run:
            session.estimate(as_json)
            return
    elif author == "procedural":
        options |= {"profile": chosen.model_dump(mode="json"), "split": split}
        recipe = Recipe(profile=chosen, seed=seed, split=split)
        given = read(drafts, _draft(), skip_bad=skip_bad, on_bad=problems) if drafts else None
        wanted = count if count is not None else None if drafts else 100
        session = ProceduralSession(recipe, given, wanted, jobs or os.cpu_count() or 1, place, mode)
    else:
        from toolfoundry.build.authors.llm import LLMConfig

        if not model:
            raise InputError("--author llm needs --model (and --base-url, unless it is the vendor's)")
        if tools is None and sum(path is not None for path in (questions, topics, drafts)) != 1:
            raise InputError("--author llm needs exactly one of --questions, --topics, --drafts and --tools")
        if budget is not None and (budget <= 0 or price_in is None or price_out is None):
            raise InputError("--budget needs a sum above 0, and --price-in and --price-out to count with")
        config = LLMConfig.model_validate(
            {
                "model": model,
                **({"base_url": base_url} if base_url else {}),
                "api_key_env": api_key_env,
                "cache": cache or output.with_name(f"{_stem(output)}.replies.sqlite"),
                "batch_dir": batch_dir,
                "structured": structured,
                "temperature": temperature,
                "attempts": attempts,
                "seed": seed,
                "concurrency": concurrency,
                "extra_body": _json_object(extra_body, "--extra-body"),
                "price_in": price_in,
                "price_out": price_out,
                "budget": budget,
            }
        )
        options |= {"llm": _without_secrets(config)}
        if tools is not None:
            session = ToolsSession(tools, seed, count, without_rewriting(chosen.scaling, knobs), config)
            options |= session.options
        else:
            options |= {"scaling": chosen.scaling.model_dump(mode="json"), "input": str(questions or topics or drafts)}
            options |= {"pool": None if pool is None else str(pool)}
            given = _given(questions, topics, drafts, skip_bad, problems)
            session = ModelSession(config, given, _pool(pool), chosen, count)
        if dry_run:
            session.estimate(as_json)
            return
        if batch_dir is None and importlib.util.find_spec("openai") is None:  # before any file is there
            raise MissingExtra("openai", "--author llm")
        if batch_dir is None and api_key_env and not os.environ.get(api_key_env):
            raise InputError(f"--api-key-env: found nothing in {api_key_env}, expected the key")
    if stop_after is not None and not isinstance(session, ToolsSession):
        _same_build(output, mode, {**options, "stop_after": stop_after})
        _write_drafts(session, output, mode, stop_after, options, problems, started)
        return
    _same_build(output, mode, options)
    origin = session.recipe.origin if isinstance(session, ProceduralSession) and drafts is None else None
    with Ledger(output, mode, origin=origin, benchmarks=benchmarks) as ledger:
        write_run_file(output, command=command_line(), config=options, counts={"finished": False}, started=started)
        before = dict(ledger.counts)
        with _yields(session.count, ledger) as on_progress:
            seconds = session.build(ledger, on_progress)
        wall_s = time.time() - started
        if session.pending:
            err.print(escape(session.pending), highlight=False, soft_wrap=True)
            return
        report = None
        if ledger.accepted:
            with progress("measuring", ledger.accepted + min(measure, ledger.accepted)) as advance:
                report = report_on(
                    output,
                    ledger,
                    config=options,
                    seconds=seconds,
                    wall_s=wall_s,
                    processes=session.jobs,
                    measure=measure,
                    before=before,
                    notes=session.notes(before.get("proposed", 0)),
                    on_progress=advance,
                )
        counts: dict[str, Any] = {
            "finished": True,
            **ledger.counts,
            "gates": list(GATES),
            "rejects": {f"{stage}: {reason}": n for (stage, reason), n in ledger.rejects.most_common()},
            "seconds_by_stage": {stage: round(spent, 3) for stage, spent in seconds.items()},
            **session.about(),
        }
        write_run_file(output, command=command_line(), config=options, counts=counts, started=started)
    if report is not None:
        _write_report(output, html, report, as_json)
    rejected = ledger.counts["proposed"] - ledger.accepted
    done_line(
        f"{ledger.accepted} environments written to {output}, {rejected} rejects to {rejects_file(output).name}",
        problems,
    )
    if not ledger.accepted:
        raise typer.Exit(1)


def _without_secrets(config: LLMConfig) -> dict[str, JsonValue]:
    """For the run file: of further fields, which may hold a token, only the names."""
    said: dict[str, JsonValue] = config.model_dump(mode="json")
    return {**said, "extra_body": [*sorted(config.extra_body)]}


def _json_object(text: str | None, option: str) -> dict[str, JsonValue]:
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as error:
        raise InputError(f"{option}: found {text}, expected a JSON object ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{option}: found {text}, expected a JSON object")
    return cast("dict[str, JsonValue]", value)


def _draft() -> type[Draft]:
    from toolfoundry.build.draft import Draft

    return Draft


def _given(
    questions: Path | None, topics: Path | None, drafts: Path | None, skip_bad: bool, problems: Problems
) -> Iterable[Brief | Draft]:
    from toolfoundry.build.questions import read_briefs, read_topics

    if questions is not None:
        return read_briefs(questions, skip_bad=skip_bad, on_bad=problems)
    if topics is not None:
        return read_topics(topics)
    assert drafts is not None
    return read(drafts, _draft(), skip_bad=skip_bad, on_bad=problems)


def _pool(path: Path | None) -> list[Tool]:
    """Tools with source: of the named environments, or of those in the package."""
    from toolfoundry.build.authors.llm import pool_of
    from toolfoundry.demo import environments

    return pool_of(environments() if path is None else read(path, EnvSpec))


# --- drafts, resuming, showing ---------------------------------------------------------------------------------------


def _write_drafts(
    session: ProceduralSession | ModelSession,
    output: Path,
    mode: WriteMode,
    until: StageName,
    options: dict[str, JsonValue],
    problems: Problems,
    started: float,
) -> None:
    from toolfoundry.build.draft import Draft, Reject
    from toolfoundry.build.ledger import rejects_file
    from toolfoundry.build.pipeline import drafts

    done: list[int] = []

    def keep(record: Draft | Reject) -> bool:
        done.append(record.brief.index)
        return True

    made = pending = 0
    with (
        RecordWriter(output, Draft, mode, keep=keep) as writer,
        RecordWriter(rejects_file(output), Reject, mode, keep=keep) as rejects,
    ):

        async def run() -> None:
            nonlocal made, pending
            given = islice(session.items(max(done, default=-1) + 1), _left(session.count, len(done)))
            author = session.author if isinstance(session, ProceduralSession) else session.open()
            async for result in drafts(author, given, session.scaling, until):
                if result is None:
                    pending += 1
                elif not pending:
                    made += 1
                    writer.write(result) if isinstance(result, Draft) else rejects.write(result)
            if isinstance(session, ModelSession):
                model = author
                if pending:
                    err.print(escape(f"{pending} items wait for replies. {model.finish()}"), soft_wrap=True)  # type: ignore[union-attr]
                session.note(model)  # type: ignore[arg-type]
                await model.aclose()  # type: ignore[union-attr]

        asyncio.run(run())
    write_run_file(
        output,
        command=command_line(),
        config={**options, "stop_after": until},
        counts={"drafts": made},
        started=started,
    )
    done_line(f"{made + len(done)} items taken to stage {until}; drafts written to {output}", problems)


def _left(count: int | None, done: int) -> int | None:
    return None if count is None else max(0, count - done)


def _stem(output: Path) -> str:
    return output.name.removesuffix(".zst").removesuffix(".jsonl")


def _same_build(output: Path, mode: WriteMode, options: dict[str, JsonValue]) -> None:
    """Raises InputError where an output that is to be gone on with was begun with other options."""
    if mode != "resume" or not run_file(output).exists():
        return
    try:
        before = orjson.loads(run_file(output).read_bytes())
        config, version = before["config"], before["packages"]["toolfoundry"]["version"]
    except (orjson.JSONDecodeError, KeyError, TypeError, OSError):
        return
    from toolfoundry import __version__

    if version != __version__:
        raise InputError(f"{output} was begun by version {version}, this is {__version__}: --force starts it anew")
    for name, value in options.items():
        if name not in config:
            continue
        old, new = config[name], orjson.loads(orjson.dumps(value))
        if name == "llm" and isinstance(old, dict):
            old = {key: given for key, given in cast("dict[str, Any]", old).items() if key not in _MAY_CHANGE}
            new = {key: given for key, given in new.items() if key not in _MAY_CHANGE}
        if old != new:
            where, was = _difference(name, old, new)
            shown = escape(visible(str(was), 200))
            raise InputError(f"{output} was begun with another {where} ({shown}): --force starts it anew")


def _difference(name: str, old: Any, new: Any) -> tuple[str, Any]:
    """The first field in which two values differ, named from the outside in, and what the old one has there."""
    if isinstance(old, dict) and isinstance(new, dict):
        before, after = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
        for key in after:
            if key in before and before[key] != after[key]:
                return _difference(f"{name}.{key}", before[key], after[key])
    return name, cast("Any", old)


@contextmanager
def _yields(count: int | None, ledger: Ledger) -> Generator[Callable[[Counter[str]], None]]:
    """A live line of the yields on standard error."""
    columns = (SpinnerColumn(), TextColumn("building"), TextColumn("{task.fields[yields]}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as live:
        task = live.add_task("", total=count, yields="")

        def show(counts: Counter[str]) -> None:
            of = f" of {count:,}" if count else ""
            line = " → ".join(f"{name} {counts[name]:,}" for name in counts)
            live.update(task, yields=line + of)

        show(ledger.counts)
        yield show


def _write_report(output: Path, html: Path | None, report: Any, as_json: bool) -> None:
    from toolfoundry.build.terminal import print_build_report

    place = output.with_name(f"{_stem(output)}.report.json")
    try:
        place.write_bytes(orjson.dumps(report.model_dump(mode="json"), option=orjson.OPT_INDENT_2) + b"\n")
        if html is not None:
            from toolfoundry.build.html import render_build_html

            html.write_text(render_build_html(report), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{error.filename or place}: cannot be written: {error.strerror}") from None
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        print_build_report(report, out)
