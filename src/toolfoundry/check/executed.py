"""The gates that read what the probes gave: who answers without knowledge, what breaks, what is not repeatable.

Whether a result would be credited is asked of the same comparison as the reward's; where a golden is looked for in
somebody else's result, short goldens are skipped, as in the gates that only read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import orjson

from toolfoundry.answers import holds, may_hold, published_match, spelling, stands_in
from toolfoundry.check.probes import Probe, Run, Tried, gold_arguments
from toolfoundry.check.report import Verdict
from toolfoundry.check.static import NO_GOLD, TOO_SHORT, UNREAD, ReadTool, is_choice, telling
from toolfoundry.metrics import Outcome
from toolfoundry.prove.judge import reports_error
from toolfoundry.reward import arguments_of, published_output
from toolfoundry.types import EnvSpec, Goal, ToolResult

__all__ = ["NO_BREAK", "breaks", "credited", "executed_verdicts", "failed", "gold_calls_verdict", "gold_verdict"]

NO_BREAK = "a result, or an error of its own"
NO_PLACEHOLDER = "no schema-valid placeholder arguments could be made"


def credited(goal: Goal, probe: Probe, result: ToolResult) -> bool:
    """Whether the reward would take this result for the goal's answer."""
    if probe.tool != goal.tool or result.error is not None or not holds(goal.answer, result.content):
        return False
    return goal.echo_ok is not False or not stands_in(goal.answer, probe.arguments)


def failed(result: ToolResult) -> bool:
    """Whether a call ended in an error, raised or reported."""
    return result.error is not None or reports_error(result.content)


def executed_verdicts(spec: EnvSpec, tools: Mapping[str, ReadTool], tried: Tried) -> Iterator[Verdict]:
    """The verdicts of every gate of this module over one environment."""
    by_tool: dict[str, list[Run]] = {name: [] for name in tools}
    for run in tried.runs:
        by_tool.setdefault(run.probe.tool, []).append(run)
    for name, read in tools.items():
        yield _call_fails(name, read, by_tool[name])
        yield _repeatable(name, by_tool[name])
    good = {id(run) for run in tried.runs if not failed(run.result)}
    failures = [run for run in tried.runs if id(run) not in good]
    errors = [run.result.text.lower() for run in failures]
    prying = tried.of("placeholder", "placeholder-all", "question-words", "gold-elsewhere")
    owners = {goal.tool for goal in spec.goals}
    elsewhere = [run for run in prying if run.probe.tool not in owners and id(run) in good]
    told = [run.result.content.lower() for run in elsewhere]
    for goal in spec.goals:
        yield from _placeholders(goal, by_tool[goal.tool])
        yield _echo(goal, tried)
        yield _distractors(spec, goal, elsewhere, told)
        yield _errors(spec, goal, failures, errors)
        yield _wrong(spec, goal, tried)


def _shown(probe: Probe, text: str) -> str:
    arguments = orjson.dumps(probe.arguments).decode()
    return f"{probe.tool}({arguments[:160]}) gives {text[:240]}"


# --- tools ---------------------------------------------------------------------------------------------------------


def _call_fails(name: str, read: ReadTool, runs: list[Run]) -> Verdict:
    if read.source is None:
        return Verdict("call-fails", name, skipped=UNREAD)
    plain = [run for run in runs if run.probe.kind in ("placeholder", "placeholder-all")]
    if not plain:
        return Verdict("call-fails", name, skipped=NO_PLACEHOLDER)
    own = read.source.own_exceptions
    broken = next((run for run in plain if breaks(run.result, own)), None)
    found = _shown(broken.probe, broken.result.text) if broken else ""
    return Verdict("call-fails", name, found=found, expected=NO_BREAK)


def breaks(result: ToolResult, own_exceptions: Collection[str]) -> bool:
    """Whether a call ended in an error that its tool does not raise itself."""
    kind, _, detail = (result.error or "").partition(": ")
    return result.error is not None and not (kind == "raised" and detail.partition(":")[0] in own_exceptions)


def _repeatable(name: str, runs: list[Run]) -> Verdict:
    if not runs:
        return Verdict("nondeterministic", name, skipped=NO_PLACEHOLDER)
    differing = next((run for run in runs if _differs(run.result, run.again)), None)
    found = _shown(differing.probe, _both(differing.result, differing.again)) if differing else ""
    return Verdict("nondeterministic", name, found=found, expected="the same result twice")


def _both(one: ToolResult, other: ToolResult) -> str:
    """Two results, from a little before the place where they part."""
    same = next((i for i, (a, b) in enumerate(zip(one.text, other.text, strict=False)) if a != b), 0)
    start = max(0, same - 40)
    cut = "…" if start else ""
    return f"{cut}{one.text[start : start + 120]} / {cut}{other.text[start : start + 120]}"


def _differs(one: ToolResult, other: ToolResult) -> bool:
    return (one.content, one.error) != (other.content, other.error)


# --- goals ---------------------------------------------------------------------------------------------------------


def _placeholders(goal: Goal, runs: list[Run]) -> Iterator[Verdict]:
    plain = [run for run in runs if run.probe.kind in ("placeholder", "placeholder-all")]
    least = plain[0] if plain and plain[0].probe.kind == "placeholder" else None
    expected = f"anything but {spelling(goal.answer)}"
    if not plain:
        yield Verdict("placeholder-answers", goal.tool, goal.id, skipped=NO_PLACEHOLDER)
    else:
        hit = next((run for run in plain if credited(goal, run.probe, run.result)), None)
        found = _shown(hit.probe, hit.result.content) if hit else ""
        yield Verdict("placeholder-answers", goal.tool, goal.id, found, expected)
    if least is None:
        yield Verdict("placeholder-answers-published", goal.tool, goal.id, skipped=NO_PLACEHOLDER)
    else:
        output = published_output(goal.tool, least.result)
        found = _shown(least.probe, output) if published_match(spelling(goal.answer), output) else ""
        yield Verdict("placeholder-answers-published", goal.tool, goal.id, found, expected)


def _echo(goal: Goal, tried: Tried) -> Verdict:
    run = next((run for run in tried.of("echo") if run.probe.goal == goal.id), None)
    if run is None:
        return Verdict("echo-published", goal.tool, goal.id, skipped="no parameter takes any text")
    output = published_output(goal.tool, run.result)
    found = _shown(run.probe, output) if published_match(spelling(goal.answer), output) else ""
    return Verdict("echo-published", goal.tool, goal.id, found, "a result that does not repeat a guess")


def _distractors(spec: EnvSpec, goal: Goal, elsewhere: Sequence[Run], told: Sequence[str]) -> Verdict:
    """`elsewhere`: calls of tools without a goal that worked; `told`: their results in lower case."""
    if not telling(goal.answer):
        return Verdict("distractor-answers", goal.tool, goal.id, skipped=TOO_SHORT)
    if {other.tool for other in spec.goals} == {tool.name for tool in spec.tools}:
        return Verdict("distractor-answers", goal.tool, goal.id, skipped="there is no distractor")
    for place in may_hold(goal.answer, told):
        probe, result, _ = elsewhere[place]
        if not holds(goal.answer, result.content) or stands_in(goal.answer, probe.arguments):
            continue
        expected = f"{spelling(goal.answer)} from {goal.tool} only"
        return Verdict("distractor-answers", goal.tool, goal.id, _shown(probe, result.content), expected)
    return Verdict("distractor-answers", goal.tool, goal.id)


def _errors(spec: EnvSpec, goal: Goal, failures: Sequence[Run], errors: Sequence[str]) -> Verdict:
    """`failures`: the calls that failed; `errors`: what they said, in lower case."""
    if not telling(goal.answer):
        return Verdict("answer-in-error", goal.tool, goal.id, skipped=TOO_SHORT)
    if is_choice(spec, goal):
        return Verdict("answer-in-error", goal.tool, goal.id, skipped="a choice among earlier results")
    for place in may_hold(goal.answer, errors):
        probe, result, _ = failures[place]
        calls = (*probe.before, (probe.tool, probe.arguments))
        if holds(goal.answer, result.text) and not any(stands_in(goal.answer, arguments) for _, arguments in calls):
            found = _shown(probe, result.text)
            return Verdict("answer-in-error", goal.tool, goal.id, found, "an error without the answer")
    return Verdict("answer-in-error", goal.tool, goal.id)


def _wrong(spec: EnvSpec, goal: Goal, tried: Tried) -> Verdict:
    if goal.id not in gold_arguments(spec):
        return Verdict("wrong-arguments-accepted", goal.tool, goal.id, skipped=NO_GOLD)
    runs = [run for run in tried.of("wrong", "missing") if run.probe.goal == goal.id]
    if not runs:
        return Verdict("wrong-arguments-accepted", goal.tool, goal.id, skipped="the gold call has nothing to spoil")
    accepted = [run for run in runs if credited(goal, run.probe, run.result)]
    found = ""
    if accepted:
        spoiled = ", ".join(run.probe.what for run in accepted)
        found = f"{spoiled}: {_shown(accepted[0].probe, accepted[0].result.content)}"
    return Verdict("wrong-arguments-accepted", goal.tool, goal.id, found, "an error, or another result")


def gold_calls_verdict(spec: EnvSpec, tried: Tried) -> Verdict:
    """Whether the gold calls give every answer: in order, after all other calls, and in a fresh worker."""
    if not spec.gold_calls:
        return Verdict("gold-fails", skipped=NO_GOLD)
    if unread := [call.id for call in spec.gold_calls if arguments_of(call) is None]:
        return Verdict("gold-fails", found=f"{unread[0]}: malformed arguments", expected="a JSON object")
    goals = {goal.id: goal for goal in spec.goals}
    first: dict[str, ToolResult] = {}
    for run in tried.of("gold", "gold-again"):
        goal = goals[run.probe.goal or ""]
        before = first.setdefault(goal.id, run.result)
        for result in (run.result, run.again):
            if not credited(goal, run.probe, result):
                expected = f"{spelling(goal.answer)}, not out of the arguments"
                return Verdict("gold-fails", found=f"{goal.id}: {_shown(run.probe, result.text)}", expected=expected)
            if _differs(before, result):
                found = f"{goal.id}: {_both(before, result)}"
                return Verdict("gold-fails", found=found, expected="the same result every time")
    if first.keys() != goals.keys():
        return Verdict("gold-fails", skipped="some goals have no gold call")
    return Verdict("gold-fails")


def gold_verdict(calls: Verdict, played: Outcome | None) -> Verdict:
    """The verdict on the gold calls, and whether the gold trajectory scores 1 besides."""
    if calls.found or calls.skipped:
        return calls
    score = played.score if played else None
    if score is None or score.value < 1:
        found = f"the gold trajectory scores {score.value:.3f}" if score else "the gold trajectory could not be played"
        return Verdict("gold-fails", found=found, expected="1")
    return calls
