"""The calls that an audit makes: what is tried on each tool, and how it is run.

Every probe is valid under its tool's schema, except those that leave a required argument out on purpose. All are run
twice (`toolfoundry.check.workers`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

from pydantic import JsonValue

from toolfoundry.answers import scalars, spelling, stands_in
from toolfoundry.check.static import ReadTool
from toolfoundry.check.workers import Arguments, Bench, Call, Workers
from toolfoundry.placeholders import placeholder_arguments
from toolfoundry.reward import arguments_of
from toolfoundry.types import EnvSpec, Goal, ToolResult

__all__ = [
    "Kind",
    "Probe",
    "Run",
    "Tried",
    "gold_arguments",
    "plan",
    "run_probes",
]

Kind = Literal[
    "gold",
    "gold-again",
    "gold-elsewhere",
    "wrong",
    "missing",
    "placeholder",
    "placeholder-all",
    "question-words",
    "echo",
]
_REPEATED: tuple[Kind, ...] = ("gold", "gold-again", "placeholder")
_MAX_PHRASES, _FEW_PHRASES = 12, 5
_PLAIN = "example"  # what placeholder_arguments puts where any text fits
_NONSENSE = "Qzxv Wrelk"


class Probe(NamedTuple):
    """One call; `goal` is the goal that it is about, if it is about one; `before` are the gold calls played first
    where there is a state."""

    kind: Kind
    tool: str
    arguments: Arguments
    goal: str | None = None
    before: tuple[Call, ...] = ()
    what: str = ""


class Run(NamedTuple):
    """A probe with its results in the first and in the second worker (where it was run only once, the same twice)."""

    probe: Probe
    result: ToolResult
    again: ToolResult


class Tried(NamedTuple):
    """All that was run on one environment."""

    runs: tuple[Run, ...]

    def of(self, *kinds: Kind) -> Iterator[Run]:
        return (run for run in self.runs if run.probe.kind in kinds)


def gold_arguments(spec: EnvSpec) -> dict[str, Call]:
    """Goal id -> the tool and arguments of its gold call, where there is a well-formed one."""
    goals = {goal.id for goal in spec.goals}
    found = {call.id: (call.name, arguments_of(call)) for call in spec.gold_calls or () if call.id in goals}
    return {goal: (name, arguments) for goal, (name, arguments) in found.items() if arguments is not None}


def plan(spec: EnvSpec, tools: Mapping[str, ReadTool], *, thorough: bool = True) -> list[Probe]:
    """Every probe of an environment, gold calls first, in an order that depends on nothing but the specification.

    Unless `thorough`, fewer words of the question are tried on every tool; its names come first.
    """
    phrases = _phrases(spec.scenario.question)[: _MAX_PHRASES if thorough else _FEW_PHRASES]
    prefixes = _prefixes(spec)
    gold = gold_arguments(spec)
    probes = [Probe("gold", *gold[g.id], g.id, prefixes[g.id]) for g in _played(spec) if g.id in gold]
    for name, read in tools.items():
        probes += _without_knowledge(phrases, name, read)
    for goal in spec.goals:
        probes += _echoes(goal, tools[goal.tool])
        if gold.get(goal.id, ("",))[0] == goal.tool:
            before = prefixes[goal.id]
            probes += [p._replace(goal=goal.id, before=before) for p in _wrong(goal, *gold[goal.id], tools[goal.tool])]
            probes += _elsewhere(spec, goal, gold[goal.id][1], tools)
    probes += [Probe("gold-again", *gold[g.id], g.id, prefixes[g.id]) for g in _played(spec) if g.id in gold]
    return probes


def _played(spec: EnvSpec) -> list[Goal]:
    by_id = {goal.id: goal for goal in spec.goals}
    return [by_id[call.id] for call in spec.gold_calls or () if call.id in by_id]


def _prefixes(spec: EnvSpec) -> dict[str, tuple[Call, ...]]:
    """The calls before each gold call; without a state they make no difference and are left out."""
    found: dict[str, tuple[Call, ...]] = {}
    before: tuple[Call, ...] = ()
    for call in spec.gold_calls or ():
        found[call.id] = before
        if spec.state is not None and (arguments := arguments_of(call)) is not None:
            before = (*before, (call.name, arguments))
    return found


def _without_knowledge(phrases: Sequence[str], name: str, read: ReadTool) -> Iterator[Probe]:
    least = placeholder_arguments(read.tool.signature.parameters)
    most = placeholder_arguments(read.tool.signature.parameters, optional=True)
    if read.accepts(least):
        yield Probe("placeholder", name, least)
    if most != least and read.accepts(most):
        yield Probe("placeholder-all", name, most)
    for phrase in phrases:
        if (words := _filled(least, phrase)) != least and read.accepts(words):
            yield Probe("question-words", name, words)


def _phrases(question: str) -> list[str]:
    """What a guesser takes from a question: names first, then its other words."""
    names = re.findall(r"[A-Z][\w'’-]*(?:\s+[A-Z][\w'’-]*)+", question)
    words = re.findall(r"[\w'’-]{3,}", question)
    capitals = [word for word in words if word[0].isupper() or word[0].isdigit()]
    longest = sorted(words, key=lambda word: (-len(word), word))
    return list(dict.fromkeys([*names, *capitals, *longest]))


def _filled(arguments: Arguments, value: JsonValue) -> Arguments:
    """The arguments with every free text replaced."""
    return {key: value if old == _PLAIN else old for key, old in arguments.items()}


def _echoes(goal: Goal, read: ReadTool) -> Iterator[Probe]:
    """The golden given as an argument wherever any text fits, in required parameters if there are such."""
    golden = spelling(goal.answer)
    for optional in (False, True):
        plain = placeholder_arguments(read.tool.signature.parameters, optional=optional)
        if (told := _filled(plain, golden)) != plain and read.accepts(told):
            yield Probe("echo", goal.tool, told, goal.id)
            return


def _wrong(goal: Goal, tool: str, arguments: Arguments, read: ReadTool) -> Iterator[Probe]:
    """The gold call spoiled: all free values at once, each required text, each required argument left out."""
    schemas = read.properties
    spoiled = {name: _spoiled(value, schemas.get(name, {})) for name, value in arguments.items()}
    if spoiled != arguments and read.accepts(spoiled) and not stands_in(goal.answer, spoiled):
        yield Probe("wrong", tool, spoiled, what="every free value replaced")
    for name in read.required:
        if name not in arguments:
            continue
        one = {**arguments, name: spoiled[name]}
        if spoiled[name] == _NONSENSE and one != spoiled and read.accepts(one):
            yield Probe("wrong", tool, one, what=f"{name} replaced")
        yield Probe("missing", tool, {k: v for k, v in arguments.items() if k != name}, what=f"{name} left out")


def _spoiled(value: JsonValue, schema: Mapping[str, Any]) -> JsonValue:
    """Another value of the same form; choices (enums, truth values) stay, since several may rightly do."""
    if "enum" in schema or "const" in schema or isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        form = re.sub(r"\d", lambda digit: str((int(digit.group()) + 3) % 10), value)
        dated = re.fullmatch(r"(\d{4})(-\d\d.*)", value)
        if dated:  # another year is always a valid date, but for 29 February
            return f"{int(dated[1]) - 117:04d}{dated[2].replace('-02-29', '-02-28')}"
        return form if re.fullmatch(r"[\d\W]+", value) or "pattern" in schema else _NONSENSE
    if isinstance(value, int | float):
        low, high = schema.get("minimum"), schema.get("maximum")
        other = value + max(11, round(abs(value) / 3))
        if high is not None and other > high:
            other = low if low is not None and low != value else high if value != high else value - 1
        return other
    if isinstance(value, list):
        return [_spoiled(item, _part(schema, "items")) for item in value]
    parts = _part(schema, "properties")
    return {key: _spoiled(item, _part(parts, key)) for key, item in value.items()}


def _part(schema: Mapping[str, Any], keyword: str) -> dict[str, Any]:
    found = schema.get(keyword)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _elsewhere(spec: EnvSpec, goal: Goal, arguments: Arguments, tools: Mapping[str, ReadTool]) -> Iterator[Probe]:
    """A gold call's values tried on every tool without a goal: by name of the parameter, and wherever a text fits."""
    owners = {other.tool for other in spec.goals}
    texts = [text for text in scalars(arguments) if isinstance(text, str)]
    for name, read in tools.items():
        if name in owners:
            continue
        plain = placeholder_arguments(read.tool.signature.parameters)
        same = {key: value for key, value in arguments.items() if key in read.properties}
        variants = [{**plain, **same}, *(_filled(plain, text) for text in texts)]
        for index, variant in enumerate(variants):
            if variant != plain and variant not in variants[:index] and read.accepts(variant):
                yield Probe("gold-elsewhere", name, variant, goal.id)


async def run_probes(probes: Sequence[Probe], workers: Workers, *, thorough: bool = True) -> Tried:
    """Runs all probes in the first worker and, if `thorough`, in the second; else there only the gold calls and the
    plainest one of each tool."""
    again = [probe for probe in probes if thorough or probe.kind in _REPEATED]
    first = await _run(probes, workers.first)
    second = iter(await _run(again, workers.second))
    repeated = iter([*again, None])
    following = next(repeated)
    runs: list[Run] = []
    for probe, result in zip(probes, first, strict=True):
        if probe is following:
            runs.append(Run(probe, result, next(second)))
            following = next(repeated)
        else:
            runs.append(Run(probe, result, result))
    return Tried(tuple(runs))


async def _run(probes: Sequence[Probe], bench: Bench) -> list[ToolResult]:
    results: list[ToolResult] = []
    for before, group in itertools.groupby(probes, key=lambda probe: probe.before):
        results += await bench.run([(probe.tool, probe.arguments) for probe in group], before)
    return results
