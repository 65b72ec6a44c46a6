"""`toolfoundry demo`: the whole path in a few minutes, from a seed to a policy that has learned.

Build, walk one environment through the five stages, audit, execute, prove, play, score, train; each step says the
command that does the same by hand. It ends with an error if any step did not give what it must: a clean audit, gold at
1, every cheat below it, a training that teaches.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from toolfoundry.answers import spelling
from toolfoundry.build.authors.procedural.profile import FTRL
from toolfoundry.build.construct import prepare
from toolfoundry.build.draft import STAGES, Brief, Draft
from toolfoundry.build.ledger import YIELDS, Ledger
from toolfoundry.build.pipeline import Recipe, build_on_cores
from toolfoundry.check import check, render_html
from toolfoundry.console import number
from toolfoundry.demo import environments
from toolfoundry.demo.chapters import begin, print_line
from toolfoundry.demo.training import train_chapter
from toolfoundry.errors import FoundryError, MissingExtra
from toolfoundry.metrics import Summary, summarise
from toolfoundry.policies.scripted import SCRIPTED, make
from toolfoundry.prove import prove_all
from toolfoundry.prove import summarise as summarise_proofs
from toolfoundry.reward import grade_trajectory
from toolfoundry.rollout import Job, run_rollout, run_rollouts
from toolfoundry.sandbox import Sandbox
from toolfoundry.store import RecordWriter, read, write_run_file
from toolfoundry.symbolic import references
from toolfoundry.types import EnvSpec, ScenarioKind, Trajectory
from toolfoundry.untrusted import visible

__all__ = ["run_tour"]

_RECIPE = Recipe(profile=FTRL, seed=7)
_COUNT = 40
_LINES = 14  # of a source
_INTRUDER = "def read_secret(path):\n    return open(path).read()\n"


def run_tour(folder: Path, out: Console) -> None:
    """Runs the demo and leaves its artifacts in `folder`, replacing those of an earlier one."""
    started = time.time()
    folder.mkdir(parents=True, exist_ok=True)
    specs = _build(folder, out)
    with Sandbox() as sandbox:
        spec = max(specs, key=_worth_seeing)
        asyncio.run(_walk(out, spec))
        _audit(folder, out, specs, sandbox)
        _execute(out, spec, sandbox)
        _prove(out, sandbox)
        summaries = _play(folder, out, specs, sandbox, started)
    _score(out, summaries)
    train_chapter(folder, out)
    out.print(f"\nDone in {time.time() - started:.0f} s. Everything is in [bold]{escape(str(folder))}[/bold].")


def _build(folder: Path, out: Console) -> list[EnvSpec]:
    path = folder / "environments.jsonl"
    begin(
        out,
        "1 Build",
        f"toolfoundry build --profile {_RECIPE.profile.name} --seed {_RECIPE.seed} -n {_COUNT} -o {path}",
    )
    started = time.time()
    with (
        Ledger(path, "overwrite", origin=_RECIPE.origin) as ledger,
        Progress(console=out, transient=True) as progress,
    ):
        task = progress.add_task("building", total=_COUNT)
        jobs = os.cpu_count() or 1
        build_on_cores(
            _RECIPE,
            _RECIPE.briefs(),
            ledger,
            count=_COUNT,
            jobs=jobs,
            on_progress=lambda counts: progress.update(task, completed=counts["accepted"]),
        )
        yields = " → ".join(f"{name} {ledger.counts[name]}" for name in YIELDS)
    out.print(yields)
    specs = list(read(path, EnvSpec))
    counts = Counter(spec.scenario.kind for spec in specs)
    tools = sum(len(spec.tools) for spec in specs)
    scenarios = ", ".join(f"{counts[kind]} {kind.replace('_', ' ')}" for kind in get_args(ScenarioKind))
    out.print(f"{len(specs)} environments with {tools} tools in {time.time() - started:.1f} s: {scenarios}")
    return specs


def _worth_seeing(spec: EnvSpec) -> tuple[int, int, int]:
    """Of the hardest scenario, with a merge in it, and not too long."""
    merged = any(change.startswith("merge") for change in spec.provenance.changes)
    return (spec.scenario.kind == "parallel_multi_hop", merged, -len(spec.goals))


async def _walk(out: Console, spec: EnvSpec) -> None:
    index = int(str(spec.provenance.labels["index"]))
    begin(
        out,
        "2 One of them, stage by stage",
        f"toolfoundry inspect environments.jsonl {spec.id}",
    )
    author, scaling = _RECIPE.author(), _RECIPE.profile.scaling
    brief = Brief(index=index, origin=_RECIPE.origin)
    drafts = {stage: await prepare(brief, author, scaling, until=stage) for stage in STAGES}
    _stage(out, "scenario decomposition", (spec.scenario.kind or "").replace("_", " "))
    out.print(f"[bold]{escape(visible(spec.scenario.question, 500))}[/bold]", highlight=False)
    for step in drafts["decompose"].scenario.steps:
        print_line(out, f"  {step.id}  {escape(visible(step.question))}  = {escape(visible(spelling(step.answer)))}")
    final = drafts["decompose"].scenario.final
    print_line(out, f"  final answer: {final.operation} of {', '.join(dict.fromkeys(references(final.arguments)))}")
    _stage(out, "document generation", f"{len(drafts['document'].documents)} documents, one for each step")
    for call in drafts["document"].calls:
        print_line(out, f"  {call.step}  {call.tool} {escape(visible(orjson.dumps(call.arguments).decode()))}")
    merges = [change for change in drafts["integrate"].changes if change.strategy == "merge"]
    _stage(out, "function integration", f"{len(drafts['integrate'].documents)} documents left")
    for change in merges:
        print_line(out, f"  {change.tool} ← {', '.join(change.before)}")
    scaled = drafts["scale"]
    _stage(out, "complexity scaling", _grown(drafts["integrate"], scaled))
    for change in [change for change in scaled.changes if change.strategy not in ("merge", "extend")][:4]:
        print_line(out, f"  {change.strategy}: {change.tool}: {escape(visible(change.detail))}")
    name = drafts["deploy"].calls[0].tool
    lines = drafts["deploy"].sources[name].rstrip().splitlines()
    _stage(out, "localized deployment", f"{len(drafts['deploy'].sources)} Python functions; the first of one of them:")
    for line in lines[:_LINES]:
        print_line(out, f"  [dim]{escape(visible(line))}[/dim]")
    print_line(out, f"  [dim]... {len(lines) - _LINES} more lines[/dim]")
    if spec.proof is not None:
        cheats = max(score for policy, score in spec.proof.panel.items() if policy != "gold")
        probes = sum(spec.proof.probes.values())
        _stage(out, "proof", f"{probes} calls executed, gold {spec.proof.panel['gold']:.1f}, best cheat {cheats:.2f}")


def _stage(out: Console, title: str, detail: str) -> None:
    out.print(f"[cyan]{title}[/cyan]: {escape(detail)}", highlight=False, soft_wrap=True)


def _grown(before: Draft, after: Draft) -> str:
    def parameters(draft: Draft) -> float:
        gold = [document for document in draft.documents if document.name in draft.gold_tools]
        return sum(len(document.parameters["properties"]) for document in gold) / len(gold)  # type: ignore[arg-type]

    more = len(after.documents) - len(after.gold_tools)
    return f"{parameters(before):.1f} → {parameters(after):.1f} parameters a tool, {more} distractors"


def _audit(folder: Path, out: Console, specs: Sequence[EnvSpec], sandbox: Sandbox) -> None:
    path = folder / "report.html"
    begin(out, "3 Audit", f"toolfoundry check {folder / 'environments.jsonl'} --html {path}")
    with Progress(console=out, transient=True) as progress:
        task = progress.add_task("checking", total=len(specs))
        report = check(specs, sandbox, on_progress=lambda steps: progress.advance(task, steps))
    gates = sum(gate.gate.severity == "defect" for gate in report.gates)
    out.print(f"{gates} gates, {sum(report.probes.values()):,} probing calls, {report.defects} defects")
    try:
        path.write_text(render_html(report), encoding="utf-8")
        out.print(f"report: {escape(str(path))}", highlight=False)
    except MissingExtra as missing:  # the page is a bonus; the audit itself needs no extra
        out.print(f"[yellow]{escape(str(missing))}[/yellow]")
    if report.defects:
        hit = [f"{r.gate.name} ({r.hits})" for r in report.gates if r.hits and r.gate.severity == "defect"]
        raise FoundryError(f"the demo's environments have defects: {', '.join(hit)}")


def _execute(out: Console, spec: EnvSpec, sandbox: Sandbox) -> None:
    begin(out, "4 Execute it", "toolfoundry rollout environments.jsonl --policy gold -o gold.jsonl")
    trajectory = asyncio.run(run_rollout(make("gold", spec), spec, sandbox, name="gold"))
    for turn, graded in zip(trajectory.turns, grade_trajectory(trajectory), strict=True):
        for call, result in zip(turn.completion.message.tool_calls, turn.results, strict=True):
            print_line(out, f"  [cyan]{call.name}[/cyan] {escape(visible(call.arguments))}")
            print_line(out, f"      → {escape(visible(result.text))}")
        if turn.completion.message.content:
            print_line(out, f"  {escape(visible(turn.completion.message.content))}")
        left = len(graded.unsolved_ids)
        print_line(out, f"      [green]reward {graded.reward.value:.2f}[/green], goals left: {left}")
    refused = sandbox.call(_INTRUDER, "read_secret", {"path": "/etc/passwd"})
    print_line(out, "  and a tool that opens /etc/passwd:")
    print_line(out, f"      → {escape(visible(refused.text))}")
    if refused.error is None:
        raise FoundryError("the sandbox let a tool read a file")


def _prove(out: Console, sandbox: Sandbox) -> None:
    begin(out, "5 Prove what others made", "toolfoundry prove own.jsonl -o proved.jsonl")
    forgotten = [_without_gold(spec) for spec in environments() if spec.state is None]
    with Progress(console=out, transient=True) as progress:
        task = progress.add_task("proving", total=len(forgotten))
        proved: list[EnvSpec] = []
        for spec in prove_all(forgotten, sandbox, jobs=os.cpu_count() or 1):
            proved.append(spec)
            progress.advance(task)
    summary = summarise_proofs(proved)
    out.print(
        f"{summary.tasks} environments written by hand: gold calls and edges forgotten, then found again for "
        f"{summary.proved} of {summary.goals} goals; "
        f"{summary.fair_tasks} of the tasks need nothing that a model could not know"
    )


def _without_gold(spec: EnvSpec) -> EnvSpec:
    goals = tuple(goal.model_copy(update={"needs": None, "echo_ok": None}) for goal in spec.goals)
    return spec.replace(goals=goals, gold_calls=None)


def _play(folder: Path, out: Console, specs: Sequence[EnvSpec], sandbox: Sandbox, started: float) -> list[Summary]:
    path = folder / "trajectories.jsonl"
    begin(out, "6 Play", f"toolfoundry rollout {folder / 'environments.jsonl'} --policy NAME -o {path}")

    async def play(writer: RecordWriter[Trajectory], progress: Progress) -> list[Trajectory]:
        task = progress.add_task("playing", total=len(specs) * len(SCRIPTED))
        played: list[Trajectory] = []
        for name in SCRIPTED:
            jobs = (Job(spec) for spec in specs)
            rollouts = run_rollouts(jobs, lambda spec, _, name=name: make(name, spec), sandbox, name=name)
            async for trajectory in rollouts:
                writer.write(trajectory)
                played.append(trajectory)
                progress.advance(task)
        return played

    with RecordWriter(path, Trajectory, "overwrite") as writer, Progress(console=out, transient=True) as progress:
        played = asyncio.run(play(writer, progress))
    write_run_file(
        path, command=["toolfoundry", "demo"], config={}, counts={"trajectories": len(played)}, started=started
    )
    turns = sum(len(trajectory.turns) for trajectory in played)
    calls = sum(len(turn.completion.message.tool_calls) for trajectory in played for turn in trajectory.turns)
    out.print(f"{len(played)} rollouts, {turns} turns, {calls} tool calls in the sandbox")
    return summarise(played)


def _score(out: Console, summaries: list[Summary]) -> None:
    begin(out, "7 Score", "toolfoundry score trajectories.jsonl")
    out.print("Solve-P, Solve-R and Solve-F1; with * in the paper's convention, where a silent policy is precise")
    table = Table()
    table.add_column("policy", no_wrap=True)
    columns = {
        "score": "score",
        "solve_p": "P",
        "solve_r": "R",
        "solve_f1": "F1",
        "answer": "answer",
        "paper_solve_p": "P*",
        "paper_solve_f1": "F1*",
        "calls": "calls",
    }
    for title in columns.values():
        table.add_column(title, justify="right", no_wrap=True)
    for summary in summaries:
        cells = [number(summary.overall.metrics[name].mean, 2) for name in columns]
        table.add_row(summary.policy, *cells, style="bold" if summary.policy == "gold" else "")
    out.print(table)
    scores = {summary.policy: summary.overall.metrics["score"].mean or 0.0 for summary in summaries}
    unscored = sum(summary.overall.unscored for summary in summaries)
    best = max(score for policy, score in scores.items() if policy != "gold")
    out.print(f"gold is at {scores['gold']:.3f}, the best cheat at {best:.3f}; {unscored} rollouts unscored")
    if scores["gold"] != 1.0 or best >= 1.0 or unscored:
        raise FoundryError("the demo's gold policy must score 1, every cheat less, and every rollout be scored")
