"""A page of environments, one of each scenario: question, graph, tools, and the gold trajectory.

Without files to show, the environments are built here, from a seed, by the procedural author: one of each scenario of
each profile, the first that the seed gives, so that nobody chose the pretty ones. Texts of environments are untrusted
and reach the page escaped (`page.py`); results are those that the proof recorded, nothing is executed to draw.
"""

from __future__ import annotations

import asyncio
import html
import itertools
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, get_args

from pydantic import JsonValue

from toolfoundry import __version__
from toolfoundry.answers import spelling
from toolfoundry.page import Drawing, render_page
from toolfoundry.policies.scripted import gold_turns
from toolfoundry.stats.shapes import layers
from toolfoundry.symbolic import references
from toolfoundry.types import EnvSpec, ScenarioKind, ToolCall, ToolResult
from toolfoundry.untrusted import visible

__all__ = ["Section", "build_sections", "draw_graph", "one_of_each", "render_gallery", "render_one"]

SCENARIOS: tuple[ScenarioKind, ...] = get_args(ScenarioKind)
_WIDTH, _HEIGHT, _ACROSS, _DOWN = 168, 46, 14, 34  # of a box, and the space between two
_FITS = 20  # characters of an answer in a box
_MOST_BRIEFS = 200  # until each scenario has come up; a profile that leaves one out has fewer


class Section(NamedTuple):
    """Environments under one heading, in the order of the scenarios."""

    title: str
    about: str
    specs: list[EnvSpec]


def one_of_each(specs: Iterable[EnvSpec]) -> list[EnvSpec]:
    """The first environment of each scenario; those of no known scenario count as one more."""
    found: dict[ScenarioKind | None, EnvSpec] = {}
    for spec in specs:
        found.setdefault(spec.scenario.kind, spec)
        if len(found) > len(SCENARIOS):
            break
    return [found[kind] for kind in (*SCENARIOS, None) if kind in found]


def build_sections(seed: int = 0, on_progress: Callable[[int], None] | None = None) -> list[Section]:
    """One environment of each scenario and profile, built and proved here. Raises SandboxUnavailable.

    on_progress: is told of each environment (1).
    """
    from toolfoundry.build.authors.procedural.profile import PROFILES
    from toolfoundry.build.construct import construct
    from toolfoundry.build.pipeline import Recipe
    from toolfoundry.sandbox import Sandbox

    sections: list[Section] = []
    with Sandbox() as sandbox:
        for profile in PROFILES.values():
            recipe = Recipe(profile=profile, seed=seed)
            author, found = recipe.author(), dict[ScenarioKind | None, EnvSpec]()
            for brief in recipe.briefs():
                if len(found) == len(SCENARIOS) or brief.index == _MOST_BRIEFS:
                    break
                spec = asyncio.run(construct(brief, author, profile.scaling, sandbox)).spec
                if spec is not None and spec.scenario.kind not in found:
                    found[spec.scenario.kind] = spec
                    if on_progress is not None:
                        on_progress(1)
            command = f"toolfoundry build --profile {profile.name} --seed {seed}"
            sections.append(
                Section(f"Profile {profile.name}", command, [found[kind] for kind in SCENARIOS if kind in found])
            )
    return sections


# --- the graph -----------------------------------------------------------------------------------------------------


def draw_graph(spec: EnvSpec) -> Drawing:
    """The graph of an environment as SVG: a box for each goal with its answer, below those that it needs.

    The last box is the final answer, with the computation by which it follows where the proof says one.
    """
    goals = {goal.id: goal for goal in spec.goals}
    names = list(goals)
    final = spec.proof.final if spec.proof else None
    needed = {need for goal in spec.goals for need in goal.needs or ()}
    last = set(references(final.arguments)) & goals.keys() if final else set[str]()
    last |= {name for name in names if name not in needed}
    edges = [(names.index(need), names.index(goal.id)) for goal in spec.goals for need in goal.needs or ()]
    edges += [(names.index(name), len(names)) for name in names if name in last]
    rows, routes = _routed(layers(len(names) + 1, edges), edges)
    widths = [sum(_width_of(node) + _ACROSS for node in row) for row in rows]
    width, height = max(widths), len(rows) * (_HEIGHT + _DOWN) - _DOWN + 4
    place: dict[int, tuple[float, float]] = {}
    for level, row in enumerate(rows):
        x = (width - widths[level]) / 2
        for node in row:
            place[node] = (x + (_width_of(node) + _ACROSS) / 2, 2 + level * (_HEIGHT + _DOWN))
            x += _width_of(node) + _ACROSS
    how = f"final answer: {final.operation}" if final and final.operation != "answer" else "final answer"
    answer = "" if spec.scenario.answer is None else spelling(spec.scenario.answer)
    labels = [(goal.id, spelling(goal.answer), "goal") for goal in spec.goals] + [(how, answer, "final")]
    lines = "".join(_line([place[node] for node in route]) for route in routes)
    boxes = "".join(_box(*place[node], *labels[node]) for node in range(len(labels)))
    title = html.escape(visible(f"{len(names)} sub-answers, and how they lead to the final answer"))
    return Drawing(
        f'<svg class="graph" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{title}"><g class="edges">{lines}</g>{boxes}</svg>'
    )


def _routed(rows: Sequence[Sequence[int]], edges: Sequence[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Rows in an order in which few edges cross, and the nodes that each edge goes through.

    An edge over several rows gets a place in each row between, a node below 0, so that it goes past boxes and not
    behind them.
    """
    level = {node: number for number, row in enumerate(rows) for node in row}
    filled = [list(row) for row in rows]
    routes: list[list[int]] = []
    for start, end in edges:
        route = [start]
        for number in range(level[start] + 1, level[end]):
            route.append(-1 - sum(node < 0 for row in filled for node in row))
            filled[number].append(route[-1])
        routes.append([*route, end])
    above: dict[int, list[int]] = {}
    for route in routes:
        for start, end in itertools.pairwise(route):
            above.setdefault(end, []).append(start)
    at: dict[int, float] = {}
    for row in filled:
        mean = {node: statistics.mean([at[one] for one in above[node]]) if node in above else 0.0 for node in row}
        row.sort(key=lambda node: mean[node])  # stable: what has nothing above it keeps its order
        at |= {node: index - (len(row) - 1) / 2 for index, node in enumerate(row)}
    return filled, routes


def _width_of(node: int) -> int:
    return _WIDTH if node >= 0 else 10


def _line(route: Sequence[tuple[float, float]]) -> str:
    """Curves from the lower edge of the first place through those between to the upper edge of the last."""
    (x, y), *between = route
    path = f"M{x:g} {y + _HEIGHT:g}"
    y += _HEIGHT
    for u, v in between:
        path += f"C{x:g} {y + _DOWN / 2:g} {u:g} {v - _DOWN / 2:g} {u:g} {v:g}"
        if (u, v) != route[-1]:
            path += f"V{v + _HEIGHT:g}"
        x, y = u, v + _HEIGHT
    return f'<path d="{path}"/>'


def _box(x: float, y: float, name: str, answer: str, kind: str) -> str:
    def text(of: str, css: str, down: int, most: int) -> str:
        return f'<text class="{css}" x="{x:g}" y="{y + down:g}">{html.escape(visible(of, most))}</text>'

    return (
        f'<g class="{kind}"><title>{html.escape(visible(f"{name} = {answer}"))}</title>'
        f'<rect x="{x - _WIDTH / 2:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="8"/>'
        f"{text(name, 'name', 18, 28)}{text(answer, 'answer', 36, _FITS)}</g>"
    )


# --- the page ------------------------------------------------------------------------------------------------------


class _Step(NamedTuple):
    id: str
    question: str
    answer: str
    tool: str


class _Tool(NamedTuple):
    name: str
    description: str
    parameters: str
    distractor: bool


class _Call(NamedTuple):
    turn: str  # its number, with the first call of a turn only
    id: str
    name: str
    arguments: str
    result: str


def render_gallery(sections: Sequence[Section]) -> str:
    """The whole page as text, the same for the same environments. Raises MissingExtra."""
    return render_page(
        "toolfoundry",
        "gallery.html.jinja",
        sections=[(one.title, one.about, [(_kind(s), Drawing(render_one(s))) for s in one.specs]) for one in sections],
        version=__version__,
    )


def render_one(spec: EnvSpec) -> str:
    """One environment as a piece of HTML, for a page that has the styles (`gallery_style.css.jinja`)."""
    owners = {goal.tool for goal in spec.goals}
    questions = {step.id: step.question for step in spec.scenario.steps}
    results = {result.call_id: result for result in spec.proof.results} if spec.proof else {}
    steps = [_Step(g.id, questions.get(g.id, ""), spelling(g.answer), g.tool) for g in spec.goals]
    tools = [
        _Tool(tool.name, tool.signature.description, _parameters(tool.signature.parameters), tool.name not in owners)
        for tool in sorted(spec.tools, key=lambda tool: tool.name not in owners)
    ]
    turns = gold_turns(spec) if spec.gold_calls else []
    calls = [
        _row(call, str(number) if place == 0 else "", results.get(call.id))
        for number, turn in enumerate(turns, start=1)
        for place, call in enumerate(turn)
    ]
    return render_page(
        "toolfoundry",
        "gallery_one.html.jinja",
        spec=spec,
        answer="" if spec.scenario.answer is None else spelling(spec.scenario.answer),
        graph=draw_graph(spec),
        steps=steps,
        tools=tools,
        calls=calls,
        last_turn=len(turns) + 1,
        panel=sorted((spec.proof.panel if spec.proof else {}).items(), key=lambda one: (-one[1], one[0])),
        probes=sum(spec.proof.probes.values()) if spec.proof else 0,
    )


def _kind(spec: EnvSpec) -> str:
    return (spec.scenario.kind or "scenario unknown").replace("_", " ")


def _row(call: ToolCall, turn: str, result: ToolResult | None) -> _Call:
    return _Call(turn, call.id, call.name, call.arguments, result.text if result else "not recorded")


def _parameters(schema: dict[str, JsonValue]) -> str:
    """The names of the parameters, the required ones first and marked."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return ""
    needed = required if isinstance(required, list) else []
    return ", ".join([f"{name}*" for name in properties if name in needed] + [n for n in properties if n not in needed])
