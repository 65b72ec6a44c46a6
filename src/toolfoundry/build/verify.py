"""The proof of an environment: its gold calls are run, every gate is applied, and scripted policies play it.

The gates are those of `toolfoundry.check`, the same code that audits other people's sets, and three that only a builder
can judge: the arguments of a gold call can be known (from the question, an earlier answer, or the document), its result
is what the document's output schema says, and distractors have no dead parameters either. A stranger's tools
(`thorough`) are besides tried for side doors (`toolfoundry.build.strangers`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import orjson
from pydantic import JsonValue

from toolfoundry import __version__
from toolfoundry.answers import holds, infer, published_match, scalars, spelling
from toolfoundry.build.draft import Complaint, Draft
from toolfoundry.build.scale import from_pool
from toolfoundry.build.strangers import side_doors
from toolfoundry.check.audit import Examined, examine
from toolfoundry.check.gates import GATES
from toolfoundry.check.panel import call_key, panel_scores, score_verdicts
from toolfoundry.check.report import Verdict
from toolfoundry.check.workers import Workers
from toolfoundry.placeholders import placeholder_arguments
from toolfoundry.reward import arguments_of, published_output
from toolfoundry.schemas import compile_if_valid
from toolfoundry.symbolic import references
from toolfoundry.types import EnvSpec, GoalProof, Proof, ToolResult

__all__ = ["NOT_EXECUTABLE", "Verified", "verify"]

NOT_EXECUTABLE = frozenset(
    "source-invalid function-missing mismatch-required mismatch-optional mismatch-unknown mismatch-missing "
    "undefined-name forbidden-import call-fails gold-fails".split()
)
"""Gates that say that the tools do not run as documented, or the gold calls do not give the answers."""

_SHOWN = 400


class Verified(NamedTuple):
    """An environment with its proof, or what is wrong with it. `executable`: its gold calls give every answer."""

    spec: EnvSpec
    complaints: tuple[Complaint, ...]
    executable: bool


async def verify(draft: Draft, spec: EnvSpec, workers: Workers, *, thorough: bool = True) -> Verified:
    """Runs everything (`thorough` as in `examine`). A spec with complaints has no proof."""
    claimed = spec.model_copy(
        update={"proof": Proof(version=__version__, goals=(), final=draft.scenario.final, trials=draft.trials)}
    )
    if thorough and (stuck := await _stuck(spec, workers)):
        return Verified(spec, tuple(stuck), executable=False)
    found = await examine(claimed, workers, thorough=thorough)
    known = {call_key(run.probe.tool, run.probe.arguments): run.result for run in found.tried.runs}
    scores = await panel_scores(spec, workers.first, known)
    verdicts = [*found.verdicts, *score_verdicts(spec, scores)]
    complaints = [*_complaints(draft, verdicts), *_unknowable(draft, spec), *_unlike_output(spec, found)]
    if thorough and not complaints:
        complaints = await side_doors(draft, spec, found, workers)
    executable = not any(complaint.reason in NOT_EXECUTABLE for complaint in complaints)
    if complaints:
        return Verified(spec, tuple(complaints), executable)
    return Verified(spec.model_copy(update={"proof": _proof(draft, spec, found, scores)}), (), True)


async def _stuck(spec: EnvSpec, workers: Workers) -> list[Complaint]:
    """Tools that do not come back from their gold call, or from the plainest one: no use in trying a hundred others."""
    calls = [(call.name, arguments) for call in spec.gold_calls or () if (arguments := arguments_of(call)) is not None]
    calls += [(tool.name, placeholder_arguments(tool.signature.parameters)) for tool in spec.tools]
    found: dict[str, Complaint] = {}
    for (name, arguments), result in zip(calls, await workers.first.run(calls), strict=True):
        if (result.error or "").partition(":")[0] in ("timeout", "memory", "killed"):
            shown = orjson.dumps(arguments).decode()[:_SHOWN]
            found.setdefault(name, Complaint("call-fails", f"{name}({shown}) does not come back: {result.error}", name))
    return list(found.values())


def _complaints(draft: Draft, verdicts: Iterable[Verdict]) -> Iterator[Complaint]:
    others = from_pool(draft)
    seen: set[tuple[str, str | None, str | None]] = set()
    for verdict in sorted(verdicts, key=lambda verdict: verdict.gate not in NOT_EXECUTABLE):
        if not verdict.found or (verdict.gate, verdict.tool, verdict.goal) in seen:
            continue
        idle = verdict.gate == "effect-not-found" and verdict.tool not in others
        if GATES[verdict.gate].severity == "defect" or idle:
            seen.add((verdict.gate, verdict.tool, verdict.goal))
            # A distractor that answers is named at the beginning of what was found; the verdict names the goal's tool.
            answering = verdict.gate == "distractor-answers"
            tool = verdict.found.partition("(")[0] if answering else verdict.tool or ""
            yield Complaint("parameter-without-effect" if idle else verdict.gate, _told(verdict), tool)


def _told(verdict: Verdict) -> str:
    where = " ".join(part for part in (verdict.tool, f"(step {verdict.goal})" if verdict.goal else "") if part)
    title = GATES[verdict.gate].title
    return (
        f"{where + ': ' if where else ''}{title}: found {verdict.found[:_SHOWN]}, expected {verdict.expected[:_SHOWN]}"
    )


def _unlike_output(spec: EnvSpec, found: Examined) -> Iterator[Complaint]:
    """Gold calls whose result is not what the document's output schema says."""
    outputs = {tool.name: tool.signature.output for tool in spec.tools}
    for run in found.tried.of("gold"):
        output = outputs[run.probe.tool]
        validator = compile_if_valid(output) if output is not None else None
        if validator is None or run.result.error is not None:
            continue
        text = run.result.content
        read = {"True": True, "False": False, "None": None}
        values: list[JsonValue] = [text, read[text]] if text in read else [text]
        with contextlib.suppress(orjson.JSONDecodeError):
            values.append(orjson.loads(text))
        if not any(validator.is_valid(value) for value in values):
            schema = orjson.dumps(output).decode()[:_SHOWN]
            detail = f"{run.probe.tool} (step {run.probe.goal}): found the result {text[:_SHOWN]}, expected {schema}"
            yield Complaint("output-mismatch", detail)


# --- can the arguments be known? -------------------------------------------------------------------------------------


def _unknowable(draft: Draft, spec: EnvSpec) -> Iterator[Complaint]:
    documents = {document.name: document for document in draft.documents}
    for call in draft.calls:
        properties = cast("dict[str, dict[str, Any]]", documents[call.tool].parameters.get("properties", {}))
        for name, value in call.arguments.items():
            if _origin(value, properties.get(name, {}), spec.scenario.question) == "code":
                shown = orjson.dumps(value).decode()[:_SHOWN]
                where = f"{call.tool}.{name} = {shown} (step {call.step})"
                yield Complaint("argument-unknowable", f"{where}: stands neither in the question nor in the document")


def _origin(value: JsonValue, schema: Mapping[str, Any], question: str) -> str:
    """Where an argument's value comes from, in the words of `GoalProof.sources`."""
    goals = [f"goal:{step}" for step in dict.fromkeys(references(value))]
    if goals:
        return " ".join(goals)
    if "enum" in schema or isinstance(value, bool):
        return "enum"
    if schema.get("default") == value:
        return "default"
    document = orjson.dumps(schema).decode()
    from_question = False
    for leaf in scalars(value):
        text = leaf if isinstance(leaf, str) else str(leaf)
        if leaf is None or isinstance(leaf, bool) or holds(infer(text), document):
            continue
        words = re.findall(r"\w+", text.casefold())
        asked = re.findall(r"\w+", question.casefold())
        if not holds(infer(text), question) and not any(word in asked for word in words):
            return "code"
        from_question = True
    return "question" if from_question else "document"


# --- the proof -------------------------------------------------------------------------------------------------------


def _proof(draft: Draft, spec: EnvSpec, found: Examined, scores: Mapping[str, float]) -> Proof:
    gold: dict[str, ToolResult] = {run.probe.goal or "": run.result for run in found.tried.of("gold")}
    documents = {document.name: document for document in draft.documents}
    calls = {call.step: call for call in draft.calls}
    goals: list[GoalProof] = []
    for goal in spec.goals:
        call = calls[goal.id]
        properties = cast("dict[str, dict[str, Any]]", documents[call.tool].parameters.get("properties", {}))
        question = spec.scenario.question
        sources = {name: _origin(value, properties.get(name, {}), question) for name, value in call.arguments.items()}
        published = published_match(spelling(goal.answer), published_output(goal.tool, gold[goal.id]))
        goals.append(GoalProof(goal=goal.id, status="proved", published=published, sources=sources))
    return Proof(
        version=__version__,
        goals=tuple(goals),
        final=draft.scenario.final,
        results=tuple(gold[goal.id].model_copy(update={"call_id": goal.id}) for goal in spec.goals),
        trials=draft.trials,
        panel={name: round(score, 6) for name, score in scores.items()},
        probes=dict(sorted(found.probes.items())),
        not_applied=_not_applied(found.verdicts),
    )


def _not_applied(verdicts: Iterable[Verdict]) -> dict[str, str]:
    """Gates that judged nothing here, with the first reason why."""
    applied = {verdict.gate for verdict in verdicts if not verdict.skipped}
    skipped = {verdict.gate: verdict.skipped for verdict in reversed(list(verdicts)) if verdict.skipped}
    return {name: skipped[name] for name in GATES if name in skipped and name not in applied}
