"""One environment as a person wants to read it: what is asked, the tools, the gold trajectory, the proof, its origin.

Whatever an environment says is untrusted: control characters are made visible and nothing is read as markup. Nothing is
executed here; results are those that the proof recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, cast

import orjson
from pydantic import JsonValue
from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from toolfoundry.answers import spelling
from toolfoundry.policies.scripted import gold_turns
from toolfoundry.symbolic import references
from toolfoundry.types import EnvSpec, Goal, Proof, Tool, ToolCall, ToolResult
from toolfoundry.untrusted import visible

__all__ = ["print_environment", "render_environment"]

_MOST = 2000  # characters of one text
_DEEPEST = 40  # steps below each other
_STAGES = {
    "merge": "3 function integration",
    "generalize": "4 complexity scaling: functional generalization",
    "expand": "4 complexity scaling: parameter expansion",
    "retype": "4 complexity scaling: parameter type generalization",
    "extend": "4 complexity scaling: toolset extension",
}
_SHOWN_KEYWORDS = ("default", "enum", "const", "format", "pattern", "minimum", "maximum", "minItems", "maxItems")


def print_environment(spec: EnvSpec, console: Console, *, source: bool = True) -> None:
    """Prints all of an environment; without `source` the tools' code is left out."""
    for part in render_environment(spec, source=source):
        console.print(part)


def render_environment(spec: EnvSpec, *, source: bool = True) -> list[RenderableType]:
    """The parts in their order, each ready to be printed."""
    return [
        *_question(spec),
        _steps(spec),
        *_tools(spec, source),
        *_trajectory(spec),
        *_proof(spec.proof),
        *_provenance(spec),
    ]


def _said(text: str, style: str = "", most: int = _MOST) -> Text:
    return Text(visible(text, most), style=style)


def _json(value: JsonValue, most: int = 300) -> str:
    return visible(orjson.dumps(value).decode(), most)


def _heading(title: str) -> RenderableType:
    return Group("", Rule(Text(title, style="bold"), align="left", style="dim"))


def _columns(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), header_style="dim")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


# --- what is asked -------------------------------------------------------------------------------------------------


def _question(spec: EnvSpec) -> Iterator[RenderableType]:
    kind = (spec.scenario.kind or "scenario unknown").replace("_", " ")
    owners = {goal.tool for goal in spec.goals}
    counts = (
        f"{len(spec.goals)} sub-answers, {len(spec.tools)} tools, {len(spec.tools) - len(owners)} of them distractors"
    )
    yield _said(spec.id, "bold cyan", 40) + Text(f"  {kind}  {counts}", style="dim")
    yield Padding(_said(spec.scenario.question, "bold"), (1, 0, 0, 2))
    if spec.scenario.answer is not None:
        yield Padding(Text("answer  ", style="dim") + _said(spelling(spec.scenario.answer), "green"), (0, 0, 0, 2))
    if spec.prompt:
        yield _heading("Prompt")
        for message in spec.prompt:
            for line in message.content.splitlines():
                yield Text(f"{message.role}  ", style="dim") + _said(line)
    if spec.state is not None:
        yield _heading("State")
        yield Text(_json(spec.state, _MOST))


def _steps(spec: EnvSpec) -> RenderableType:
    """The DAG as a tree: below each step those whose answers it needs; one that was shown already is only named."""
    goals = {goal.id: goal for goal in spec.goals}
    questions = {step.id: step.question for step in spec.scenario.steps}
    final = spec.proof.final if spec.proof else None
    needed = {need for goal in spec.goals for need in goal.needs or ()}
    last = list(dict.fromkeys(references(final.arguments))) if final else []
    last = [goal for goal in last if goal in goals]
    last += [goal.id for goal in spec.goals if goal.id not in needed and goal.id not in last]
    how = f": {visible(final.operation, 60)}({_plain(final.arguments)})" if final else ""
    tree = Tree(Text(f"final answer{how}", style="dim"), guide_style="dim")
    shown: set[str] = set()

    def grow(branch: Tree, name: str, depth: int) -> None:
        goal = goals[name]
        if name in shown or depth > _DEEPEST:
            branch.add(_said(name, "cyan", 40) + Text("  (above)" if name in shown else "  …", style="dim"))
            return
        shown.add(name)
        below = branch.add(_step(goal, questions.get(name, "")))
        for need in goal.needs or ():
            grow(below, need, depth + 1)

    for name in last:
        grow(tree, name, 0)
    unknown = any(goal.needs is None for goal in spec.goals)
    title = "Steps (which needs which is not known)" if unknown else "Steps: below each those that it needs"
    return Group(_heading(title), tree)


def _plain(value: JsonValue) -> str:
    """The arguments of the final computation, with the ids of steps where their answers go."""
    if isinstance(value, dict):
        if "$answer" in value:
            return visible(str(value["$answer"]), 40)
        return ", ".join(f"{visible(name, 40)}: {_plain(part)}" for name, part in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    return _json(value)


def _step(goal: Goal, question: str) -> Text:
    line = _said(goal.id, "cyan", 40) + Text("  ")
    line += _said(question) + Text("  ") if question else Text()
    line += Text("= ", style="dim") + _said(spelling(goal.answer), "green")
    return line + Text(f"  {goal.answer.type}, from ", style="dim") + _said(goal.tool, "dim", 80)


# --- tools ---------------------------------------------------------------------------------------------------------


def _tools(spec: EnvSpec, source: bool) -> Iterator[RenderableType]:
    owners = {goal.tool for goal in spec.goals}
    yield _heading("Tools")
    for tool in spec.tools:
        part = Text("  distractor", style="yellow") if tool.name not in owners else Text()
        yield Group("", _said(tool.name, "bold", 100) + part, _said(tool.signature.description))
        yield _parameters(tool)
        if tool.signature.output is not None:
            yield Text("returns  ", style="dim") + Text(_json(tool.signature.output))
        if source:
            yield Padding(_code(tool.source), (1, 0, 0, 2))


def _parameters(tool: Tool) -> RenderableType:
    schema = tool.signature.parameters
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not properties:
        return Text("no parameters", style="dim")
    needed = schema.get("required")
    required = needed if isinstance(needed, list) else []
    table = _columns("parameter", "type", "", "description")
    for name, part in properties.items():
        fields = cast("dict[str, Any]", part) if isinstance(part, dict) else {}
        described = fields.get("description")
        more = "; ".join(f"{key} {_json(fields[key], 120)}" for key in _SHOWN_KEYWORDS if key in fields)
        about = _said(described if isinstance(described, str) else "")
        about += Text(f"{'  ' if about else ''}{more}", style="dim")
        table.add_row(_said(name, most=80), _type(fields), "required" if name in required else "", about)
    return table


def _type(schema: Mapping[str, Any]) -> Text:
    """The JSON type, with that of the items and the names of the fields."""
    kind = schema.get("type", "any")
    text = kind if isinstance(kind, str) else orjson.dumps(kind).decode()
    items, fields = schema.get("items"), schema.get("properties")
    if isinstance(items, dict):
        text += f" of {cast('dict[str, Any]', items).get('type', 'any')}"
    if isinstance(fields, dict):
        text += f" {{{', '.join(cast('dict[str, Any]', fields))}}}"
    return _said(text, most=120)


def _code(source: str) -> RenderableType:
    lines = [visible(line.expandtabs(4), 400) for line in source.splitlines()]
    return Syntax("\n".join(lines), "python", theme="ansi_dark", background_color="default", word_wrap=True)


# --- how it is solved ----------------------------------------------------------------------------------------------


def _trajectory(spec: EnvSpec) -> Iterator[RenderableType]:
    yield _heading("Gold trajectory")
    if not spec.gold_calls:
        yield Text("no gold calls are known (toolfoundry prove finds them)", style="dim")
        return
    results = {result.call_id: result for result in spec.proof.results} if spec.proof else {}
    for number, turn in enumerate(gold_turns(spec), start=1):
        for place, call in enumerate(turn):
            start = Text(f"{number}  " if place == 0 else "   ", style="dim")
            yield start + _call(call, results.get(call.id))
    if spec.scenario.answer is not None:
        answer = Text("<answer>") + _said(spelling(spec.scenario.answer), "green") + Text("</answer>")
        yield Text(f"{len(gold_turns(spec)) + 1}  ", style="dim") + answer


def _call(call: ToolCall, result: ToolResult | None) -> Text:
    line = _said(call.id, "cyan", 40) + Text("  ") + _said(call.name, "bold", 100) + Text(" ") + _said(call.arguments)
    if result is None:
        return line
    return line + Text("  → ", style="dim") + _said(result.text, "green" if result.error is None else "red", 600)


# --- why it is believed, and where it comes from ----------------------------------------------------------------------


def _proof(proof: Proof | None) -> Iterator[RenderableType]:
    yield _heading("Proof")
    if proof is None:
        yield Text("none", style="dim")
        return
    yield Text("by toolfoundry ", style="dim") + _said(proof.version, most=40)
    if proof.goals:
        table = _columns("goal", "status", "as published", "where its arguments come from")
        for goal in proof.goals:
            sources = "; ".join(f"{name}: {source}" for name, source in goal.sources.items())
            detail = _said(goal.reason or sources)
            table.add_row(_said(goal.goal, "cyan", 40), goal.status, "yes" if goal.published else "no", detail)
        yield table
    if proof.panel:
        scores = ", ".join(f"{visible(name, 40)} {score:.3f}" for name, score in proof.panel.items())
        yield Text("scores  ", style="dim") + Text(scores)
    if proof.probes:
        counts = ", ".join(f"{visible(kind, 40)} {count:,}" for kind, count in proof.probes.items())
        yield Text("calls executed  ", style="dim") + Text(counts)
    if proof.trials:
        shown = Counter(trial.tool for trial in proof.trials)
        yield Text("parameters shown to have an effect  ", style="dim") + Text(
            f"{sum(len(trial.variants) for trial in proof.trials)} in {len(shown)} tools"
        )
    for gate, reason in proof.not_applied.items():
        yield Text("not applied  ", style="dim") + _said(gate, most=60) + Text(": ", style="dim") + _said(reason)


def _provenance(spec: EnvSpec) -> Iterator[RenderableType]:
    yield _heading("Provenance")
    fields = {"source": spec.provenance.source, "location": spec.provenance.location, "parent": spec.provenance.parent}
    fields |= {
        name: value if isinstance(value, str) else _json(value) for name, value in spec.provenance.labels.items()
    }
    for name, value in fields.items():
        if value:
            yield _said(f"{name}  ", "dim", 60) + _said(value)
    by_stage: dict[str, list[str]] = {}
    for change in spec.provenance.changes:
        strategy, colon, detail = change.partition(": ")
        known = colon and strategy in _STAGES
        by_stage.setdefault(_STAGES[strategy] if known else "changes", []).append(detail if known else change)
    for stage, changes in by_stage.items():
        yield Text(stage, style="bold")
        for change in changes:
            yield Padding(_said(change), (0, 0, 0, 2))
