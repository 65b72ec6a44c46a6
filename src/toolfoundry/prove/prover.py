"""Proves imported environments: calls that give their answers, the edges between goals, a whole sequence to play.

    search in the sandbox ──► candidates ──► replay on the unchanged tools, in a fresh worker ──► judge ──► order

Only the replay counts. The search runs the tools in its own process and could be told anything by a hostile one.
Nothing depends on the clock: the same specification gives the same proof on every machine.

Not covered: tools that work on a state (`EnvSpec.state`); their goals are reported as not found.
"""

# A JSON value narrowed by isinstance is a dict or list of unknown: that is what it is.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import orjson

from toolfoundry import __version__
from toolfoundry.answers import holds, published_match, spelling
from toolfoundry.prove.bundle import search_program
from toolfoundry.prove.judge import brought, computed, guessed, honest, replaced, reports_error
from toolfoundry.prove.origins import Path, leaves, schema_at, sources
from toolfoundry.prove.sequence import Placed, Proven, in_order, tells
from toolfoundry.prove.shapes import Fresh
from toolfoundry.prove.static import missing_words, never_returned
from toolfoundry.sandbox import Sandbox, SandboxLimits, Session
from toolfoundry.schemas import compile_if_valid
from toolfoundry.types import EnvSpec, Goal, GoalProof, Proof, ToolCall, ToolResult

__all__ = ["prove", "prove_all"]

_SEARCH_LIMITS = SandboxLimits(call_s=1.0, output_bytes=1 << 20)
_REPLAY_LIMITS = SandboxLimits(call_s=0.2)
_SEARCH_RUNS, _SECOND_RUNS = 4000, 500


def prove_all(specs: Iterable[EnvSpec], sandbox: Sandbox, *, jobs: int = 1) -> Iterator[EnvSpec]:
    """`prove` for each specification, in their order, `jobs` at a time."""
    if jobs == 1:
        yield from (prove(spec, sandbox) for spec in specs)
        return
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(prove, specs, itertools.repeat(sandbox))


def prove(spec: EnvSpec, sandbox: Sandbox) -> EnvSpec:
    """The specification with its proof, and with gold calls, edges and order of the goals that were proved.

    Goals that were not proved come last and keep `needs=None`: the edges of the task as a whole are not known then.
    Where the specification knows all its edges, they and its order stay as they are. Gold calls that it has already are
    kept as candidates. Never raises because of a tool.
    """
    task = _Task(spec)
    judged = {goal.id: _Verdict([], None, "") for goal in spec.goals}
    if spec.state is None:
        found = task.search(sandbox, judged, {}, _SEARCH_RUNS)
        judged = task.judge(sandbox, judged, found)
        if weak := task.unfair(judged):
            found = task.search(sandbox, judged, weak, _SECOND_RUNS)
            judged = task.judge(sandbox, judged, found)
    else:
        task.problems = dict.fromkeys(judged, "the tools work on a state")
    return task.conclude(sandbox, judged)


class _Verdict(NamedTuple):
    """What replay showed for one goal: proofs, or a call that meets the published rule and what is wrong with it."""

    proofs: list[Proven]
    published: dict[str, Any] | None
    flaw: str


class _Task:
    """One specification under proof."""

    def __init__(self, spec: EnvSpec) -> None:
        self.spec = spec
        self.question = spec.scenario.question
        self.tools = {tool.name: tool for tool in spec.tools}
        self.goals = {goal.id: goal for goal in spec.goals}
        self.schemas: dict[str, Any] = {name: tool.signature.parameters for name, tool in self.tools.items()}
        self.answers = {goal.id: spelling(goal.answer) for goal in spec.goals}
        self.sources = {name: tool.source for name, tool in self.tools.items()}
        self.validators = {name: compile_if_valid(schema) for name, schema in self.schemas.items()}
        self.problems = dict[str, str]()  # goal -> why no search was possible
        self.fresh = Fresh()

    # --- search ------------------------------------------------------------------------------------------------------

    def search(
        self, sandbox: Sandbox, judged: Mapping[str, _Verdict], again: Iterable[str], max_runs: int
    ) -> dict[str, list[dict[str, Any]]]:
        """Candidates for each goal, or only for those named, with what is known so far to start from."""
        wanted = dict[str, list[Goal]]()
        for goal in self.goals.values():
            if not again or goal.id in again:
                wanted.setdefault(goal.tool, []).append(goal)
        known = [
            (goal, tells(answer, proofs[0].content) if (proofs := judged[goal].proofs) else [answer])
            for goal, answer in self.answers.items()
        ]
        gold = {call.id: _parsed(call.arguments) for call in self.spec.gold_calls or ()}
        calls = list[tuple[str, dict[str, Any]]]()
        for tool, goals in wanted.items():
            given = [gold[g.id] for g in goals if g.id in gold] + [
                p.arguments for g in goals for p in judged[g.id].proofs
            ]
            call = {"source": self.sources[tool], "name": tool, "schema": self.schemas[tool], "question": self.question}
            call |= {"targets": {goal.id: goal.answer.model_dump(mode="json") for goal in goals}, "known": known}
            calls.append(("search", {**call, "given": given, "max_runs": max_runs}))
        with sandbox.session({"search": search_program()}, limits=_SEARCH_LIMITS) as session:
            results = session.batch(calls)
        return {
            goal.id: _calls(found.get(goal.id))
            for result, goals in zip(results, wanted.values(), strict=True)
            for found in [self._read(result, goals)]
            for goal in goals
        }

    def _read(self, result: ToolResult, goals: Sequence[Goal]) -> dict[str, Any]:
        """What a search found; its text comes from the process that ran the tool."""
        try:
            answer: Any = orjson.loads(result.content) if result.error is None else {"problem": result.error}
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict) or not isinstance(answer.get("found", {}), dict):
            answer = {"problem": "the search gave no readable answer"}
        if problem := answer.get("problem"):
            self.problems |= {goal.id: str(problem)[:200] for goal in goals}
        return answer.get("found", {})

    # --- judgement ---------------------------------------------------------------------------------------------------

    def judge(
        self, sandbox: Sandbox, judged: Mapping[str, _Verdict], found: Mapping[str, list[dict[str, Any]]]
    ) -> dict[str, _Verdict]:
        """Replays candidates on the unchanged tools in a fresh worker; verdicts on other goals stay as they are."""
        seen = {(goal, _json(proof.arguments)) for goal, verdict in judged.items() for proof in verdict.proofs}
        calls = list[tuple[str, dict[str, Any]]]()
        for goal, candidates in found.items():
            for arguments in candidates:
                if (goal, text := _json(arguments)) not in seen:
                    seen.add((goal, text))
                    calls.append((goal, arguments))
        with sandbox.session(self.sources, limits=_REPLAY_LIMITS) as session:
            results = session.batch([(self.goals[goal].tool, arguments) for goal, arguments in calls])
            verdicts = dict(judged)
            for (goal, arguments), result in zip(calls, results, strict=True):
                verdicts[goal] = self._weighed(session, self.goals[goal], arguments, result, verdicts[goal])
        return verdicts

    def _weighed(
        self, session: Session, goal: Goal, arguments: dict[str, Any], result: ToolResult, verdict: _Verdict
    ) -> _Verdict:
        """The verdict with one more call: a proof, or the first that meets the published rule with its flaw."""
        content, schema = result.content, self.schemas[goal.tool]
        if result.error is not None or self.validators[goal.tool] is None:
            return verdict
        echo, told = brought(goal.answer, arguments), sources(arguments, schema, self.question, self._others(goal))
        flaw = ""
        if reports_error(content):
            flaw = "only an error report says it"
        elif not holds(goal.answer, content):
            flaw = "it stands in the result only as a part of other words or numbers"
        elif not self.fits(goal, arguments):
            flaw = "only arguments that the schema forbids give it"
        elif guessed(goal.answer, arguments, told, self.sources[goal.tool]):
            flaw = "it is calculated from numbers that nobody told"
        elif echo and not honest(goal.answer, arguments, told):
            flaw = "it is given only to those who pass it as an argument"
        elif echo and not computed(goal.answer, arguments, schema, content, lambda a: _run(session, goal.tool, a)):
            flaw = "the result only quotes it from the call's arguments"
        if not flaw:
            return verdict._replace(proofs=[*verdict.proofs, Proven(arguments, content, echo)])
        if verdict.published is None and published_match(self.answers[goal.id], content):
            return verdict._replace(published=arguments, flaw=flaw)
        return verdict

    def fits(self, goal: Goal, arguments: dict[str, Any]) -> bool:
        """Whether the schema of the goal's tool allows the arguments."""
        validator = self.validators[goal.tool]
        return validator is not None and validator.is_valid(arguments)

    def _others(self, goal: Goal) -> list[tuple[str, list[str]]]:
        return [(other, [answer]) for other, answer in self.answers.items() if other != goal.id]

    def unfair(self, judged: Mapping[str, _Verdict]) -> list[str]:
        """Proved goals none of whose calls a model could make, even with all other results at hand."""
        told = [(g, tells(self.answers[g], v.proofs[0].content)) for g, v in judged.items() if v.proofs]
        return [
            goal
            for goal, verdict in judged.items()
            if verdict.proofs
            and all("code" in self._told(goal, p, [t for t in told if t[0] != goal]).values() for p in verdict.proofs)
        ]

    def _told(self, goal: str, call: Proven, known: list[tuple[str, list[str]]]) -> dict[Path, str]:
        return sources(call.arguments, self.schemas[self.goals[goal].tool], self.question, known)

    # --- conclusion --------------------------------------------------------------------------------------------------

    def conclude(self, sandbox: Sandbox, judged: Mapping[str, _Verdict]) -> EnvSpec:
        """Orders what was proved, plays it once more in a fresh worker, and writes it all down."""
        proofs = {goal: verdict.proofs for goal, verdict in judged.items() if verdict.proofs}
        schemas = {goal: self.schemas[self.goals[goal].tool] for goal in proofs}
        steady = list[Placed]()
        if proofs:
            with sandbox.session(self.sources, limits=_REPLAY_LIMITS) as session:
                self._tell_apart(session, proofs)
                free = _FreePlaces(self, session)
                placed = in_order(proofs, self.answers, schemas, self.question, free)
                again = session.batch([(self.goals[p.goal].tool, p.call.arguments) for p in placed])
            same = [r.error is None and r.content == p.call.content for p, r in zip(placed, again, strict=True)]
            steady = [entry for entry, kept in zip(placed, same, strict=True) if kept]
        done = {entry.goal: entry for entry in steady}
        goals = list(self.spec.goals)
        if any(goal.needs is None for goal in goals):
            goals = [self._edged(self.goals[g], done) for g in [*done, *(g for g in self.goals if g not in done)]]
        calls = [
            ToolCall(id=goal.id, name=goal.tool, arguments=_json(done[goal.id].call.arguments))
            for goal in goals
            if goal.id in done
        ]
        entries = tuple(self._entry(self.goals[goal.id], done, judged[goal.id]) for goal in goals)
        return self.spec.replace(
            goals=tuple(goals), gold_calls=tuple(calls) or None, proof=Proof(version=__version__, goals=entries)
        )

    def _edged(self, goal: Goal, done: Mapping[str, Placed]) -> Goal:
        """The goal with its needs, if it was proved."""
        entry = done.get(goal.id)
        if entry is None:
            return goal.model_copy(update={"needs": None, "echo_ok": None})
        needs = tuple(need for need in entry.needs if need in done)
        return goal.model_copy(update={"needs": needs, "echo_ok": entry.call.echo})

    def _tell_apart(self, session: Session, proofs: dict[str, list[Proven]]) -> None:
        """Adds calls for goals of one tool that have not enough different ones: the same call is not paid twice.

        Such a call differs only in an optional parameter that does not matter for the answer.
        """
        asked = {goal: {_json(call.arguments) for call in calls} for goal, calls in proofs.items()}
        for goal, calls in list(proofs.items()):
            target, schema = self.goals[goal], self.schemas[self.goals[goal].tool]
            rivals = [g for g in proofs if self.goals[g].tool == target.tool and asked[g] & asked[goal]]
            verdict = _Verdict(calls, None, "")
            for name, spec in (schema.get("properties") or {}).items():
                if len(verdict.proofs) >= len(rivals):
                    break
                default = spec.get("default") if isinstance(spec, dict) else None
                other = {**calls[0].arguments, name: self.fresh.value(spec) if default is None else default}
                if name not in calls[0].arguments:
                    verdict = self._weighed(session, target, other, session.call(target.tool, other), verdict)
            proofs[goal] = verdict.proofs

    def _entry(self, goal: Goal, done: Mapping[str, Placed], verdict: _Verdict) -> GoalProof:
        met = any(published_match(self.answers[goal.id], proof.content) for proof in verdict.proofs)
        published = met or verdict.published is not None
        if entry := done.get(goal.id):
            told = entry.sources if set(entry.needs) <= set(done) else dict.fromkeys(entry.sources, "code")
            sources = {".".join(map(str, path)): source for path, source in told.items()}
            return GoalProof(goal=goal.id, status="proved", published=published, sources=sources)
        if verdict.proofs:
            return GoalProof(goal=goal.id, status="not_found", reason="the same call gave different results")
        tool = self.tools[goal.tool]
        if verdict.published is not None:
            return GoalProof(goal=goal.id, status="published_only", published=True, reason=verdict.flaw)
        if self.validators[goal.tool] is None:
            return GoalProof(goal=goal.id, status="not_found", reason="the tool's schema is no JSON Schema")
        if reason := never_returned(tool, goal.answer):
            return GoalProof(goal=goal.id, status="unsolvable", reason=reason)
        reason = self.problems.get(goal.id) or f"no call in {_SEARCH_RUNS} runs gave it"
        if not self.problems.get(goal.id) and (missing := missing_words(tool, goal.answer)):
            reason += f"; the code has no {', '.join(map(repr, missing))}"
        return GoalProof(goal=goal.id, status="not_found", reason=reason)


class _FreePlaces:
    """Whether any value would do in one place of a call: two fresh ones must prove the goal as well."""

    def __init__(self, task: _Task, session: Session) -> None:
        self.task, self.session = task, session
        self.known = dict[tuple[str, str, Path], bool]()

    def __call__(self, goal: str, call: Proven, path: Path) -> bool:
        key = (goal, _json(call.arguments), path)
        if key not in self.known:
            target = self.task.goals[goal]
            schema = self.task.schemas[target.tool]
            value, spec = dict(leaves(call.arguments))[path], schema_at(schema, path)
            others = (
                replaced(call.arguments, path, self.task.fresh.like(value, spec, self.task.question)) for _ in range(2)
            )
            self.known[key] = all(self._proves(target, other) for other in others)
        return self.known[key]

    def _proves(self, goal: Goal, arguments: dict[str, Any]) -> bool:
        if brought(goal.answer, arguments) or not self.task.fits(goal, arguments):
            return False
        content = _run(self.session, goal.tool, arguments)
        return content is not None and holds(goal.answer, content) and not reports_error(content)


def _run(session: Session, tool: str, arguments: dict[str, Any]) -> str | None:
    result = session.call(tool, arguments)
    return result.content if result.error is None else None


def _json(arguments: dict[str, Any]) -> str:
    return json.dumps(arguments, ensure_ascii=False)


def _parsed(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _calls(found: Any) -> list[dict[str, Any]]:
    """The calls in what a search gave for one goal, without monsters."""
    calls = [call for call in found if isinstance(call, dict)] if isinstance(found, list) else []
    return [call for call in calls[:12] if _depth(call) <= 30 and len(orjson.dumps(call)) <= 16_000]


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            item
            for container in level
            if isinstance(container, dict | list)
            for item in (container.values() if isinstance(container, dict) else container)
        ]
    return depth
