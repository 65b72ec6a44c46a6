"""How often wrong arguments are accepted and right ones refused, measured with probes that no gate uses.

Wrong: a free value of the gold call replaced by a plausible one of the same kind (a name or number out of the tool's
own table, the answer of another step, another name of the question), by a misspelling, or by what callers give who do
not know ("", "unknown", "N/A"). Right: the same arguments in another order, with defaults said, a whole number written
with a decimal point, and in other capitals where the document allows it.

A wrong call is accepted when the reward would take its result for the answer. Where fewer than 20 answers are possible
(truth values, small numbers, enums, a choice among the arguments), a wrong call may be right: such
goals are counted apart.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from pydantic import JsonValue

from toolfoundry.answers import equals, spelling, stands_in
from toolfoundry.build.report import Rate
from toolfoundry.check.executed import credited
from toolfoundry.check.probes import Probe, gold_arguments
from toolfoundry.check.static import ReadTool, read_tools
from toolfoundry.check.workers import own_workers
from toolfoundry.sandbox import Sandbox
from toolfoundry.seeds import generator
from toolfoundry.types import EnvSpec, Goal

__all__ = ["Acceptance", "measure_acceptance"]

FEW = 20  # possible answers; below this a goal is counted apart
_OTHERS = 8  # plausible values tried in place of one
_UNKNOWING = ("", "unknown", "N/A", "test", "string")
_ANY_CASE = re.compile(r"(case|capital)[\w\s-]{0,24}(not matter|ignored|insensitive|free)|insensitive|any case", re.I)
_MEANINGS = {
    "plausible": "another value of the same kind in place of a right one",
    "misspelt": "a letter of a name changed",
    "unknowing": "what callers give who do not know",
    "order": "the same arguments in another order",
    "defaults": "every default said",
    "decimal point": "a whole number written with a decimal point",
    "capitals": "a name in other capitals, where the document allows it",
}


class Acceptance(NamedTuple):
    """The two rates by kind of probe; first of each list the total over goals with many possible answers."""

    false_accepts: tuple[Rate, ...]
    false_rejects: tuple[Rate, ...]


class _Probe(NamedTuple):
    kind: str
    goal: Goal
    arguments: dict[str, JsonValue]
    right: bool
    few: bool


def measure_acceptance(
    specs: Iterable[EnvSpec], sandbox: Sandbox, on_progress: Callable[[int], None] | None = None
) -> Acceptance:
    """The rates over a set of environments that have gold calls. Environments with a state are passed over."""
    tries: Counter[tuple[str, bool, bool]] = Counter()
    hits: Counter[tuple[str, bool, bool]] = Counter()

    async def run() -> None:
        for spec in specs:
            if spec.gold_calls and spec.state is None:
                await _measure(spec, sandbox, tries, hits)
            if on_progress is not None:
                on_progress(1)

    asyncio.run(run())
    return Acceptance(_rates(tries, hits, right=False), _rates(tries, hits, right=True))


async def _measure(
    spec: EnvSpec,
    sandbox: Sandbox,
    tries: Counter[tuple[str, bool, bool]],
    hits: Counter[tuple[str, bool, bool]],
) -> None:
    probes = list(_probes(spec))
    async with own_workers(spec, sandbox) as workers:
        results = await workers.first.run([(probe.goal.tool, probe.arguments) for probe in probes])
    for probe, result in zip(probes, results, strict=True):
        key = (probe.kind, probe.right, probe.few)
        tries[key] += 1
        accepted = credited(probe.goal, Probe("wrong", probe.goal.tool, probe.arguments), result)
        hits[key] += accepted != probe.right


def _rates(
    tries: Counter[tuple[str, bool, bool]], hits: Counter[tuple[str, bool, bool]], *, right: bool
) -> tuple[Rate, ...]:
    what = "right calls refused" if right else "wrong calls accepted"
    rates: list[Rate] = []
    for few in (False, True):
        kinds = [kind for kind, is_right, is_few in tries if is_right == right and is_few == few]
        if not kinds:
            continue
        group = f"fewer than {FEW} possible answers" if few else f"{FEW} or more possible answers"
        n, k = sum(tries[kind, right, few] for kind in kinds), sum(hits[kind, right, few] for kind in kinds)
        rates.append(Rate(name=f"{what}: {group}", meaning="all kinds together", hits=k, n=n))
        for kind in (kind for kind in _MEANINGS if kind in kinds):
            name, meaning = f"{kind} ({group})", _MEANINGS[kind]
            n, k = tries[kind, right, few], hits[kind, right, few]
            rates.append(Rate(name=name, meaning=meaning, hits=k, n=n, part=True))
    return tuple(rates)


def _probes(spec: EnvSpec) -> Iterator[_Probe]:
    tools = read_tools(spec)
    gold = gold_arguments(spec)
    answers = [spelling(goal.answer) for goal in spec.goals]
    names = re.findall(r"[A-Z][\w'’-]*(?:\s+[A-Z][\w'’-]*)+", spec.scenario.question)
    for goal in spec.goals:
        if goal.id not in gold:
            continue
        arguments, read = gold[goal.id][1], tools[goal.tool]
        few = _has_few_answers(goal, read)
        for kind, changed in _wrong(spec, goal, arguments, read, [*answers, *names]):
            if changed != arguments and read.accepts(changed) and not stands_in(goal.answer, changed):
                yield _Probe(kind, goal, changed, right=False, few=few)
        for kind, same in _right(arguments, read):
            if read.accepts(same):
                yield _Probe(kind, goal, same, right=True, few=few)


def _has_few_answers(goal: Goal, read: ReadTool) -> bool:
    answer = goal.answer
    if answer.type == "boolean" or goal.echo_ok:
        return True
    if answer.type == "number" and isinstance(answer.value, int) and abs(answer.value) < FEW:
        return True
    output = read.tool.signature.output or {}
    enums = [part["enum"] for part in _schemas(output) if isinstance(part.get("enum"), list)]
    return any(len(enum) < FEW and any(equals(answer, str(value)) for value in enum) for enum in enums)


def _schemas(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    for part in (schema.get("items"), *cast("dict[str, Any]", schema.get("properties") or {}).values()):
        if isinstance(part, dict):
            yield from _schemas(cast("dict[str, Any]", part))


# --- wrong calls -----------------------------------------------------------------------------------------------------


def _wrong(
    spec: EnvSpec, goal: Goal, arguments: dict[str, JsonValue], read: ReadTool, texts: list[str]
) -> Iterator[tuple[str, dict[str, JsonValue]]]:
    literals: list[str | int | float] = list(read.source.literals) if read.source else []
    own_texts = [value for value in literals if isinstance(value, str) and 3 <= len(value) <= 60]
    blocks = [value for value in literals if isinstance(value, str) and len(value) > 60]
    # a table may be one long text: JSON, or lines with bars; its cells are texts as well
    cells = [cell.partition(", ")[0].strip() for block in blocks for cell in re.split(r'["|\n]', block)]
    own_texts += [cell for cell in cells if 3 <= len(cell) <= 60 and cell[0].isalnum()]
    numbers = [value for value in literals if isinstance(value, int | float) and not isinstance(value, bool)]
    rng = generator("acceptance", spec.id, goal.id)
    for name, value in arguments.items():
        schema = read.properties.get(name, {})
        if "enum" in schema or isinstance(value, bool):
            continue
        for place, leaf in _leaves(value):
            if isinstance(leaf, str):
                # capitals apart, since a table may be keyed by folded names
                others = [t for t in dict.fromkeys([*texts, *own_texts]) if t.casefold() != leaf.casefold()]
                if re.search(r"\d", leaf):  # dates, codes and times are replaced by others of their form
                    form = re.sub(r"\d", "0", leaf)
                    others = [text for text in others if re.sub(r"\d", "0", text) == form]
                tried = [("plausible", other) for other in rng.sample(others, min(_OTHERS, len(others)))]
                tried += [("misspelt", _misspelt(leaf))] if not re.search(r"\d", leaf) and len(leaf) > 4 else []
                tried += [("unknowing", other) for other in _UNKNOWING]
            elif isinstance(leaf, int | float):
                pool = [n for n in dict.fromkeys(numbers) if n != leaf and isinstance(n, type(leaf))]
                tried = [("plausible", other) for other in rng.sample(pool, min(_OTHERS, len(pool)))]
            else:
                continue
            for kind, other in tried:
                yield kind, {**arguments, name: _replaced(value, place, other)}


def _misspelt(name: str) -> str:
    """The name with its third letter from the end changed."""
    letter = "x" if name[-3] != "x" else "q"
    return name[:-3] + letter + name[-2:]


Path = tuple[str | int, ...]


def _leaves(value: JsonValue, place: Path = ()) -> Iterator[tuple[Path, JsonValue]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, (*place, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _leaves(part, (*place, index))
    else:
        yield place, value


def _replaced(value: JsonValue, place: Path, new: JsonValue) -> JsonValue:
    if not place:
        return new
    first, rest = place[0], place[1:]
    if isinstance(value, dict):
        return {key: _replaced(part, rest, new) if key == first else part for key, part in value.items()}
    assert isinstance(value, list)
    return [_replaced(part, rest, new) if index == first else part for index, part in enumerate(value)]


# --- right calls -----------------------------------------------------------------------------------------------------


def _right(arguments: dict[str, JsonValue], read: ReadTool) -> Iterator[tuple[str, dict[str, JsonValue]]]:
    if len(arguments) > 1:
        yield "order", dict(reversed(arguments.items()))
    defaults = {
        name: schema["default"]
        for name, schema in read.properties.items()
        if name not in arguments and schema.get("default") is not None
    }
    if defaults:
        yield "defaults", {**arguments, **defaults}
    for name, value in arguments.items():
        schema = read.properties.get(name, {})
        if schema.get("type") == "number" and isinstance(value, int) and not isinstance(value, bool):
            yield "decimal point", {**arguments, name: float(value)}
        said = f"{schema.get('description', '')} {read.tool.signature.description}"
        if isinstance(value, str) and "enum" not in schema and value.lower() != value and _ANY_CASE.search(said):
            for other in (value.upper(), value.lower()):
                yield "capitals", {**arguments, name: other}
