"""What only a stranger's tools are tried for: side doors that the gates of `toolfoundry.check` do not knock at.

A gold result must not tell a later answer; values that say nothing, of another type or out of the question must not
give one, under any choice of the other parameters; and other subjects must have other answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import orjson
from pydantic import JsonValue

from toolfoundry.answers import holds, spelling, stands_in
from toolfoundry.build.decompose import is_choice
from toolfoundry.build.draft import Complaint, Draft
from toolfoundry.check.audit import Examined
from toolfoundry.check.executed import credited, failed
from toolfoundry.check.probes import Probe, gold_arguments
from toolfoundry.check.static import read_tools, telling
from toolfoundry.check.workers import Workers
from toolfoundry.symbolic import references
from toolfoundry.types import EnvSpec, Goal, ToolSchema

__all__ = ["side_doors"]

_SHOWN = 400
_MOST_NAMES = 12  # of a question, or of an enum
_NAME = re.compile(r"[A-Z][\w'’-]*(?:\s+[A-Z][\w'’-]*)*")
_UNKNOWN = "Vrelk Oszqa"
_NO_TEXTS: tuple[JsonValue, ...] = (0, 1, True, None, [], {})
_SEPARATOR = re.compile(r"[|;,\t\n\"\[\]{}]+")
_MOST_SUBJECTS = 32


async def side_doors(draft: Draft, spec: EnvSpec, found: Examined, workers: Workers) -> list[Complaint]:
    """Complaints about tools that give answers away; the calls made are counted in `found.probes`."""
    return [
        *_told_too_early(draft, spec, found),
        *await _accepted(draft, spec, found, workers),
        *await _same_for_all(spec, found, workers),
    ]


def _told_too_early(draft: Draft, spec: EnvSpec, found: Examined) -> Iterator[Complaint]:
    """Gold calls whose result holds the answer of another step, too: that step need not be taken."""
    steps = {step.id: step for step in draft.scenario.steps}
    for run in found.tried.of("gold"):
        before = set(steps[run.probe.goal or ""].needs)
        for goal in spec.goals:
            if goal.id == run.probe.goal or goal.id in before or not telling(goal.answer):
                continue
            if is_choice(steps[goal.id], draft.scenario) or stands_in(goal.answer, run.probe.arguments):
                continue
            own = steps[run.probe.goal or ""].answer
            if holds(goal.answer, run.result.content) and not holds(goal.answer, spelling(own)):
                what = f"{run.probe.tool} (step {run.probe.goal}) gives {run.result.content[:_SHOWN]}"
                expected = f"expected nothing of the answer of {goal.id}, {spelling(goal.answer)!r}"
                yield Complaint("answer-told-early", f"{what}: {expected}", run.probe.tool)


async def _accepted(draft: Draft, spec: EnvSpec, found: Examined, workers: Workers) -> list[Complaint]:
    """Gold calls with a value that says nothing, of another type, or out of the question, under every choice of the
    other parameters: none may give the answer."""
    tried = list(_further_probes(draft, spec))
    results = await workers.first.run([(probe.tool, probe.arguments) for _, probe in tried])
    found.probes["further"] = len(tried)
    complaints: dict[str, Complaint] = {}
    for (goal, probe), result in zip(tried, results, strict=True):
        if credited(goal, probe, result):
            shown = orjson.dumps(probe.arguments).decode()[:_SHOWN]
            detail = f"{probe.tool}({shown}) gives {result.content[:_SHOWN]}, expected an error ({probe.what})"
            complaints.setdefault(goal.id, Complaint("wrong-arguments-accepted", detail, probe.tool))
    return list(complaints.values())


def _further_probes(draft: Draft, spec: EnvSpec) -> Iterator[tuple[Goal, Probe]]:
    gold, goals = gold_arguments(spec), {goal.id: goal for goal in spec.goals}
    properties = {tool.name: _properties(tool.signature) for tool in spec.tools}
    names = list(dict.fromkeys(_NAME.findall(spec.scenario.question)))[:_MOST_NAMES]
    for call in draft.calls:
        goal, schemas, arguments = goals[call.step], properties[call.tool], gold[call.step][1]
        for name, value in arguments.items():
            if not isinstance(value, str) or "enum" in schemas.get(name, {}):
                continue
            carried = any(True for _ in references(call.arguments[name]))
            others: list[tuple[str, JsonValue]] = [("it is no text", other) for other in _NO_TEXTS]
            if telling(goal.answer):  # a short answer may be right for these
                others += [("it is empty", ""), ("it is one letter", value[:1])]
                others += [("it is out of the question", other) for other in names if carried]
            for what, other in others:
                if other != value:
                    yield goal, Probe("wrong", call.tool, {**arguments, name: other}, what=f"{name}: {what}")
            for flag, choice in _choices(schemas, arguments):
                wrong = {**arguments, name: _UNKNOWN, flag: choice}
                yield goal, Probe("wrong", call.tool, wrong, what=f"{name}: there is nothing of that name")


def _choices(schemas: Mapping[str, dict[str, Any]], arguments: Mapping[str, JsonValue]) -> Iterator[tuple[str, Any]]:
    """Every value of each enum and truth value, one at a time; both ends of a number's range."""
    for name, schema in schemas.items():
        values: list[Any] = [*schema.get("enum", ())][:_MOST_NAMES]
        values += (True, False) if schema.get("type") == "boolean" else ()
        values += [schema[key] for key in ("minimum", "maximum") if key in schema]
        yield from ((name, value) for value in values if value != arguments.get(name))


async def _same_for_all(spec: EnvSpec, found: Examined, workers: Workers) -> list[Complaint]:
    """Gold calls about other subjects, as they stand in the tool's source: not all of them may hold the answer."""
    tools, gold = read_tools(spec), gold_arguments(spec)
    complaints: list[Complaint] = []
    for goal in spec.goals:
        tool, arguments = gold[goal.id]
        source = tools[tool].source
        if source is None or goal.echo_ok or not telling(goal.answer):
            continue
        texts = [text for literal in source.literals if isinstance(literal, str) for text in _SEPARATOR.split(literal)]
        subjects = list(dict.fromkeys(text.strip() for text in texts if 2 < len(text.strip()) <= 60))[:_MOST_SUBJECTS]
        free = [
            n for n, value in arguments.items() if isinstance(value, str) and "enum" not in tools[tool].properties[n]
        ]
        tried = [{**arguments, name: subject} for name in free for subject in subjects if subject != arguments[name]]
        tried = [changed for changed in tried if tools[tool].accepts(changed) and not stands_in(goal.answer, changed)]
        results = await workers.first.run([(tool, changed) for changed in tried])
        found.probes["further"] += len(tried)
        own = {str(value).casefold() for value in arguments.values()}
        worked = [
            (changed, result)
            for changed, result in zip(tried, results, strict=True)
            if not failed(result) and not own >= {str(value).casefold() for value in changed.values()}
        ]
        if len(worked) > 1 and all(holds(goal.answer, result.content) for _, result in worked):
            shown = orjson.dumps(worked[0][0]).decode()[:_SHOWN]
            detail = f"{tool}({shown}) gives {worked[0][1].content[:_SHOWN]}, and so do all others that were tried"
            expected = f"expected {spelling(goal.answer)!r} for the gold call only (step {goal.id})"
            complaints.append(Complaint("same-for-all", f"{detail}: {expected}", tool))
    return complaints


def _properties(document: ToolSchema) -> dict[str, dict[str, Any]]:
    return cast("dict[str, dict[str, Any]]", document.parameters.get("properties", {}))
