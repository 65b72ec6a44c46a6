"""`toolfoundry evaluate`: a model plays benchmarks, and its tables are written with honest errors.

FOLDER/NAME.jsonl        the attempts at one benchmark, one record each as they end
FOLDER/results.json      every table by both rules; made from the attempts alone, so a resumed run gives the same
FOLDER/results.md        the same to read
FOLDER/evaluate.run.json the configuration, with the hash of each benchmark's files
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import orjson
import typer
from pydantic import JsonValue
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from toolfoundry.console import (
    ApiKeyEnv,
    AsJson,
    BaseUrl,
    Batch,
    Chat,
    Device,
    ParseText,
    Problems,
    Thinking,
    Timeout,
    TopP,
    command_line,
    done_line,
    err,
    out,
    print_json,
    progress,
    separate,
    write_mode,
)
from toolfoundry.errors import EndpointError, FoundryError, InputError, OutputError
from toolfoundry.evaluate.attempts import RULES, Attempt, Benchmark, Item, Rule
from toolfoundry.evaluate.results import Cell, Result, summarise_rules
from toolfoundry.evaluate.suite import PAPER_COLUMNS, Source, load_benchmark, paper_row, scripted_part, source_of
from toolfoundry.evaluate.suite import suite as paper_suite
from toolfoundry.evaluate.tables import Shown, effort_line, markdown, pass_table, percent, score_table
from toolfoundry.policies.scripted import SCRIPTED
from toolfoundry.store import SCHEMA_VERSION, RecordWriter, WriteMode, read, replace_file, run_file, write_run_file
from toolfoundry.untrusted import visible

if TYPE_CHECKING:
    from toolfoundry.evaluate.users import Users
    from toolfoundry.policies.players import Player

__all__ = ["evaluate"]

_FREE = ("base_url", "device")  # of a model's configuration: the same model may be met elsewhere


class _Loaded(NamedTuple):
    """A benchmark with where it came from, and the items of it that are played."""

    source: Source
    benchmark: Benchmark
    items: Sequence[Item]

    @property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(item.group for item in self.benchmark.items()))


def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(help="A checkpoint, a model's name at --base-url, or a scripted policy.", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="The run's folder.", show_default=False)
    ] = Path("evaluation"),
    suite: Annotated[Literal["paper"] | None, typer.Option(help="All benchmarks of the paper's Table 2.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="With --suite: where ftrl/, toolhop/, tau-bench/ and rotbench/ lie.",
        ),
    ] = None,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="With --suite: play what is there.")] = False,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="own, toolhop, tau-bench or rotbench; toolhop-direct, -mandatory or -free is one mode, own:NAME=PATH "
            "another set of environments. May be repeated.",
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="openai, transformers, vllm, or a scripted one. (Default: what MODEL and --base-url say.)"),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Attempts at each item.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="N items of each benchmark, its groups in turn.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of scripted policies and of sampling.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="Attempts at a time.")] = 64,
    retries: Annotated[int, typer.Option(min=0, help="New tries of an attempt that failed, not by the model.")] = 2,
    rule: Annotated[
        Rule | None,
        typer.Option(help="Scores that are shown; both are written. (Default: fixed; paper with --suite.)"),
    ] = None,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = None,
    chat: Chat = "hermes",
    batch: Batch = 64,
    device: Device = None,
    thinking: Thinking = None,
    parse_text: ParseText = False,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="Of sampling. (Default: 0, greedy; 1 with several --samples.)")
    ] = None,
    server_sampling: Annotated[
        bool, typer.Option("--server-sampling", help="Send no temperature: some endpoints take none.")
    ] = False,
    top_p: TopP = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Of one completion. (Default: 8192, 1024 for a model that does not think.)"),
    ] = None,
    timeout: Timeout = 300.0,
    request_retries: Annotated[int, typer.Option(min=0, help="Retries of one request.")] = 5,
    user_model: Annotated[
        str | None, typer.Option(help='τ-bench: the model that plays the user, or "scripted" (for a dry run).')
    ] = None,
    user_base_url: Annotated[str | None, typer.Option(help="τ-bench: the user's endpoint.")] = None,
    user_api_key_env: Annotated[str | None, typer.Option(help="τ-bench: variable with the user's key.")] = None,
    tau_scored: Annotated[
        Literal["open", "closed"] | None,
        typer.Option(help="τ-bench, rule paper: as the release scores open models (the default) or closed ones."),
    ] = None,
    price_in: Annotated[float | None, typer.Option(min=0, help="Price of a million prompt tokens.")] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="Price of a million completion tokens.")] = None,
    rescore: Annotated[
        bool, typer.Option("--rescore", help="Score the folder's attempts anew; nothing is played.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on; failed attempts are made again.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a run that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let a model play benchmarks; tables with standard errors, by the paper's rules and by ours."""
    started = time.time()
    mode = write_mode(force, resume)
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: found a file, expected a folder or nothing")
    found = _begun(output)
    if found and not (resume or rescore or force):
        raise OutputError(f"{output} holds a run; --resume goes on with it, --force replaces it")
    begun = {} if force else found
    sources = _sources(begun, suite, data, benchmark or [], allow_missing, scripted=(policy or model) in SCRIPTED)
    users = None if rescore else _users(sources, user_model, user_base_url, user_api_key_env, seed, concurrency)
    scored = tau_scored or begun.get("tau_scored") or "open"
    loaded = [_load(source, output, limit, user=users, scored=scored) for source in sources]
    for one in loaded if mode == "new" and not rescore else ():
        if (attempts_file := _attempts(output, one.source)).exists():
            raise OutputError(f"{attempts_file} exists; --resume goes on with it, --force replaces it")
    prices = _prices(price_in, price_out)
    shown: Rule = rule or ("paper" if suite else "fixed")
    config: dict[str, JsonValue]
    if rescore:
        config = {**begun, "tau_scored": scored, "benchmarks": _about_sources(loaded)}
        _same_run(output, {**begun, "tau_scored": scored}, config)
        changed = sum(_rescore(output, one) for one in loaded)
        document = _write_results(output, str(begun.get("policy")), config, loaded, prices)
        counts: dict[str, JsonValue] = {"attempts": document.attempts, "rescored": changed}
        write_run_file(_artifact(output), command=command_line(), config=config, counts=counts, started=started)
        _show(document, as_json, shown)
        done_line(f"attempts with other scores than before: {changed}; tables written to {output}", Problems())
        return

    player = _player(
        model,
        policy,
        seed,
        concurrency,
        samples,
        base_url=base_url,
        api_key_env=api_key_env,
        chat=chat,
        batch=batch,
        device=device,
        thinking=thinking,
        parse_text=parse_text,
        temperature=temperature,
        server_sampling=server_sampling,
        top_p=top_p,
        max_tokens=max_tokens,
        timeout_s=timeout,
        retries=request_retries,
    )
    for one in loaded:
        if player.name in SCRIPTED and any(item.spec is None for item in one.items):
            raise InputError(
                f"{one.source.name}: found policy {player.name!r}, expected a model: not all of its items are "
                f"environments{' (those of toolhop-mandatory and toolhop-free are)' * (one.source.kind == 'toolhop')}"
            )
        for item in one.items[:1]:  # what is wrong with the choice of policy is best said before anything is written
            player.start(item.id, item.spec, 0)
    config = {
        "policy": player.name,
        "seed": seed,
        "samples": samples,
        "limit": limit,
        "model": dict(player.config),
        "user": None if users is None else {"name": users.name, **users.config},
        "tau_scored": scored,
        "benchmarks": _about_sources(loaded),
    }
    _same_run(output, begun, config)
    output.mkdir(parents=True, exist_ok=True)
    for name in ["results.json", "results.md", *(f"{name}.jsonl" for name in _benchmarks(found) if force)]:
        (output / name).unlink(missing_ok=True)  # out of date from now on
    write_run_file(_artifact(output), command=command_line(), config=config, counts={}, started=started)
    attempts = asyncio.run(_play(output, loaded, player, mode, samples, concurrency, retries))
    document = _write_results(output, player.name, config, loaded, prices)
    usage: dict[str, JsonValue] = {"attempts": attempts, **player.usage()}
    if users is not None:
        usage["user"] = users.usage()
    write_run_file(_artifact(output), command=command_line(), config=config, counts=usage, started=started)
    _show(document, as_json, shown)
    done_line(f"{attempts} attempts and their tables written to {output}", Problems())
    _complain(document, output)


# --- what is evaluated ---------------------------------------------------------------------------------------------


def _artifact(output: Path) -> Path:
    """What the run file is called after."""
    return output / "evaluate.jsonl"


def _begun(output: Path) -> dict[str, JsonValue]:
    """The configuration of the run in the folder; {} where there is none."""
    path = run_file(_artifact(output))
    if not path.exists():
        return {}
    try:
        config: dict[str, JsonValue] = orjson.loads(path.read_bytes())["config"]
        _benchmarks(config)
        return config
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: found no run file of `toolfoundry evaluate`, expected one with 'config'") from None


def _benchmarks(config: Mapping[str, Any]) -> dict[str, Source]:
    """Those of a run, by name."""
    entries: dict[str, Any] = config.get("benchmarks") or {}
    return {name: Source(entry["kind"], name, Path(entry["path"])) for name, entry in entries.items()}


def _sources(
    begun: Mapping[str, JsonValue],
    suite: str | None,
    data: Path | None,
    given: Sequence[str],
    allow_missing: bool,
    *,
    scripted: bool,
) -> list[Source]:
    """Those that the run has had, and those given now."""
    if suite and data is None:
        raise InputError("option --data: found nothing, expected the folder with the benchmarks of --suite paper")
    if data is not None and not suite:
        raise InputError("option --data: found it without --suite; --benchmark NAME=PATH names one benchmark")
    sources = _benchmarks(begun)
    chosen = paper_suite(data, allow_missing=allow_missing) if data is not None else []
    if scripted and (part := scripted_part(chosen)) != chosen:
        whole = [source.kind.replace("toolhop", "toolhop-direct") for source in chosen]
        left_out = ", ".join(kind for kind in whole if kind != "own")
        if not part:
            raise InputError(f"{data}: found only {left_out}, expected environments: the policy is a scripted one")
        said = f"[yellow]left out, a scripted policy plays environments only:[/yellow] {left_out}"
        err.print(said, highlight=False, soft_wrap=True)
        chosen = part
    chosen += [source_of(text) for text in given]
    sources |= {source.name: source for source in chosen}
    if not sources:
        raise InputError("found no benchmark, expected --suite paper --data FOLDER, or --benchmark NAME=PATH")
    return list(sources.values())


def _load(source: Source, output: Path, limit: int | None, **options: Any) -> _Loaded:
    from toolfoundry.evaluate.own import Own
    from toolfoundry.evaluate.runner import spread

    if source.path.is_file():
        separate(_attempts(output, source), source.path)
    benchmark = load_benchmark(source, **options)
    if isinstance(benchmark, Own) and benchmark.repeated:
        err.print(f"[yellow]the same environment again, left out: {benchmark.repeated}[/yellow]")
    return _Loaded(source, benchmark, spread(benchmark.items(), limit))


def _about_sources(loaded: Sequence[_Loaded]) -> dict[str, JsonValue]:
    """What the run file says of each benchmark."""
    return {
        source.name: {"kind": source.kind, "path": str(source.path.resolve()), "sha256": _sha256(source.path)}
        for source, _, _ in loaded
    }


def _sha256(path: Path) -> str:
    """Of a file's content, or of the names and contents of a folder's files."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    whole = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        whole.update(f"{file.relative_to(path).as_posix()}\0{_sha256(file)}\n".encode())
    return whole.hexdigest()


def _attempts(output: Path, source: Source) -> Path:
    return output / f"{source.name}.jsonl"


# --- who plays -----------------------------------------------------------------------------------------------------


def _player(
    model: str | None,
    policy: str | None,
    seed: int,
    concurrency: int,
    samples: int,
    *,
    server_sampling: bool,
    **options: Any,
) -> Player:
    from toolfoundry.policies.players import ModelOptions, choose_player

    if policy is None:
        policy = (model if model in SCRIPTED else "openai" if options["base_url"] else "transformers") or ""
    if model is None and policy not in SCRIPTED:
        raise InputError("argument MODEL: found nothing, expected a checkpoint, a model's name, or a scripted policy")
    if server_sampling and (options["temperature"] is not None or policy != "openai"):
        raise InputError("option --server-sampling: expected an endpoint, and no --temperature")
    if options["temperature"] is None and not server_sampling:
        options["temperature"] = 0.0 if samples == 1 else 1.0
    if options["max_tokens"] is None:
        thinks = options["thinking"] or (options["thinking"] is None and policy == "openai")
        options["max_tokens"] = 8192 if thinks else 1024
    return choose_player(policy, ModelOptions(model=model, **options), seed=seed, concurrency=concurrency)


def _users(
    sources: Sequence[Source],
    model: str | None,
    base_url: str | None,
    api_key_env: str | None,
    seed: int,
    concurrency: int,
) -> Users | None:
    """Who speaks with the model in τ-bench; None where it is not played."""
    if not any(source.kind == "tau-bench" for source in sources):
        return None
    from toolfoundry.evaluate.users import llm_users, scripted_users

    if model == "scripted" and base_url is None:
        return scripted_users()
    if model is None or base_url is None:
        missing = "--user-model" if model is None else "--user-base-url"
        raise InputError(
            f"option {missing}: found nothing, expected a value (τ-bench needs a model that plays the user)"
        )
    return llm_users(model, base_url=base_url, api_key_env=api_key_env, seed=seed, concurrency=concurrency)


def _same_run(output: Path, begun: Mapping[str, JsonValue], config: Mapping[str, JsonValue]) -> None:
    """Raises InputError where a run that is to be gone on with was begun with another configuration."""
    if not begun:
        return

    def compared(run: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {name: run.get(name) for name in ("policy", "seed", "tau_scored")}
        for part in ("model", "user"):
            settings: dict[str, Any] = run.get(part) or {}
            found |= {f"{part} {name}": value for name, value in settings.items() if name not in _FREE}
        entries: dict[str, Any] = run.get("benchmarks") or {}
        return found | {f"sha256 of {name}": entry["sha256"] for name, entry in entries.items()}

    before, now = compared(begun), compared(config)
    for name in before.keys() & now.keys():
        if before[name] != now[name]:
            raise InputError(
                f"{output} was begun with {name} {before[name]!r}, found {now[name]!r}; --resume goes on with the same "
                "run only"
            )


# --- playing and scoring -------------------------------------------------------------------------------------------


async def _play(
    output: Path,
    loaded: Sequence[_Loaded],
    player: Player,
    mode: WriteMode,
    samples: int,
    concurrency: int,
    retries: int,
) -> int:
    """Plays what is missing of each benchmark; how many attempts the files then hold."""
    from toolfoundry.evaluate.runner import key_of, run_benchmark
    from toolfoundry.sandbox import Sandbox

    count = 0
    with Sandbox() as sandbox:
        for source, benchmark, items in loaded:
            path = _attempts(output, source)
            known = {item.id for item in benchmark.items()}
            done: set[str] = set()

            def keep(attempt: Attempt, path: Path = path, known: set[str] = known, done: set[str] = done) -> bool:
                if attempt.trajectory.task.spec_id not in known:
                    raise InputError(f"{path}: found an attempt at {attempt.key!r}, which is no item of the benchmark")
                if attempt.trajectory.stop == "error":
                    return False
                done.add(attempt.key)
                return True

            wanted = {key_of(benchmark, item, player.name, sample) for item in items for sample in range(samples)}
            with RecordWriter(path, Attempt, mode, keep=keep) as writer:
                attempts = run_benchmark(
                    benchmark,
                    player,
                    sandbox,
                    items=items,
                    samples=samples,
                    concurrency=concurrency,
                    retries=retries,
                    done=done,
                )
                count += len(done)
                with progress(source.name, len(wanted), len(wanted & done)) as advance:
                    async with contextlib.aclosing(attempts):
                        async for attempt in attempts:
                            writer.write(attempt)
                            count += 1
                            advance(1)
    return count


def _rescore(output: Path, one: _Loaded) -> int:
    """Scores a benchmark's attempts anew, in place; how many got other scores."""
    path = _attempts(output, one.source)
    if not path.exists():
        raise InputError(f"{path}: found nothing, expected the attempts of `toolfoundry evaluate`")
    anew = path.with_name(f".rescoring-{path.name}")
    changed = 0
    with RecordWriter(path, Attempt, "resume"), RecordWriter(anew, Attempt, "overwrite") as writer:
        for attempt in read(path, Attempt):
            scored = one.benchmark.score(attempt)
            changed += scored.scores != attempt.scores
            writer.write(scored)
        anew.replace(path)
    return changed


# --- results -------------------------------------------------------------------------------------------------------


class _Document(NamedTuple):
    """What results.json is made from. `row` is that of Table 2, where the benchmarks are the paper's."""

    model: str
    results: dict[str, dict[Rule, Result]]
    row: dict[Rule, dict[str, Cell | None]] | None
    settings: Mapping[str, JsonValue]

    @property
    def attempts(self) -> int:
        return sum(by_rule["fixed"].overall.n for by_rule in self.results.values())

    def as_json(self) -> dict[str, Any]:
        def plain(cells: Mapping[str, Cell | None]) -> dict[str, Any]:
            return {name: None if cell is None else cell.model_dump(mode="json") for name, cell in cells.items()}

        return {
            "toolfoundry": "evaluation",
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "settings": dict(self.settings),
            "benchmarks": {
                name: {rule: result.model_dump(mode="json") for rule, result in by_rule.items()}
                for name, by_rule in self.results.items()
            },
            "table_2": None if self.row is None else {rule: plain(cells) for rule, cells in self.row.items()},
        }


def _prices(prompt: float | None, completion: float | None) -> tuple[float, float] | None:
    if (prompt is None) != (completion is None):
        raise InputError("options --price-in, --price-out: found one of them, expected both or none")
    return None if prompt is None or completion is None else (prompt, completion)


def _write_results(
    output: Path,
    model: str,
    config: Mapping[str, JsonValue],
    loaded: Sequence[_Loaded],
    prices: tuple[float, float] | None,
) -> _Document:
    """Makes the tables from the attempts on disk, and writes them."""
    results: dict[str, dict[Rule, Result]] = {}
    for one in loaded:
        attempts = read(_attempts(output, one.source), Attempt)
        by_rule: dict[Rule, Result] = summarise_rules(one.benchmark.about, attempts, groups=one.groups)
        if prices is not None:
            for rule, result in by_rule.items():
                by_rule[rule] = result.model_copy(update={"effort": result.effort.priced(*prices)})
        results[one.source.name] = by_rule
    names = {column.benchmark for column in PAPER_COLUMNS} & results.keys()
    row: dict[Rule, dict[str, Cell | None]] | None = None
    if len(names) > 1:
        row = {rule: paper_row({name: results[name][rule] for name in names}) for rule in RULES}
    settings = {name: _settled(value) for name, value in config.items() if name != "benchmarks"}
    document = _Document(model, results, row, settings)
    replace_file(output / "results.json", orjson.dumps(document.as_json(), option=orjson.OPT_INDENT_2) + b"\n")
    replace_file(output / "results.md", markdown(model, results, row).encode())
    return document


def _settled(value: JsonValue) -> JsonValue:
    """A setting without what may change when a run is gone on with."""
    if isinstance(value, dict):
        return {name: part for name, part in value.items() if name not in _FREE}
    return value


def _show(document: _Document, as_json: bool, rule: Rule) -> None:
    if as_json:
        print_json(document.as_json())
        return
    for by_rule in document.results.values():
        result = by_rule[rule]
        _print(score_table(result))
        if (passes := pass_table(result)) is not None:
            _print(passes)
        out.print(effort_line(result.effort), highlight=False)
        for cause, count in result.failures.items():
            err.print(
                f"[yellow]{count} unscored:[/yellow] {escape(visible(cause, 300))}", highlight=False, soft_wrap=True
            )
    if document.row is not None:
        _print(_upright(document.model, document.row))


def _upright(model: str, rows: Mapping[Rule, Mapping[str, Cell | None]]) -> Shown:
    """The row of Table 2 as two columns, one for each rule: in a line it would not fit."""
    titles = list(next(iter(rows.values())))
    cells = [[title, *(percent(row[title]) for row in rows.values())] for title in titles]
    return Shown(f"Table 2 of the paper, {model}", ["", *rows], cells)


def _print(shown: Shown) -> None:
    title = escape(visible(f"{shown.title} (percent ± standard error)", 160))
    out.print(f"\n[bold]{title}[/bold]", highlight=False)
    table = Table()
    table.box, table.pad_edge, table.collapse_padding = SIMPLE_HEAD, False, True  # eighty columns suffice
    for index, name in enumerate(shown.header):
        table.add_column(escape(visible(name, 60)), justify="right" if index else "left", no_wrap=bool(index))
    for row in shown.rows:
        table.add_row(*(escape(visible(cell, 80)) for cell in row))
    out.print(table)


def _complain(document: _Document, output: Path) -> None:
    """Raises where attempts are unscored: the table stands, but the evaluation is not complete."""
    results = [by_rule["fixed"] for by_rule in document.results.values()]
    unscored = sum(result.overall.unscored for result in results)
    if not unscored:
        return
    causes = [cause for result in results for cause in result.failures]
    text = (
        f"{unscored} of {document.attempts} attempts are unscored ({causes[0]}); they count "
        f"in no mean. --resume makes them again ({output})"
    )
    raise EndpointError(text) if any(cause.startswith("EndpointError") for cause in causes) else FoundryError(text)
