"""The scripted policies as a gate: each cheat below gold on every environment, and near zero over the set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import orjson
from pydantic import JsonValue

from toolfoundry.answers import holds
from toolfoundry.check.report import Verdict
from toolfoundry.check.static import NO_GOLD
from toolfoundry.check.workers import Bench, Call
from toolfoundry.environment import Executor
from toolfoundry.metrics import Outcome, Summary
from toolfoundry.policies.scripted import CHEATS, SCRIPTED, make, script
from toolfoundry.reward import arguments_of, final_answer_right, trajectory_value
from toolfoundry.rollout import run_rollout
from toolfoundry.types import Completion, EnvSpec, Message, ToolResult, Trajectory, Turn

__all__ = ["CEILINGS", "call_key", "ceiling_verdicts", "panel_scores", "panel_verdicts", "play_panel", "score_verdicts"]

CEILINGS = {"silent": 0.0, "answer-only": 0.0, "spam": 0.05, "random": 0.05, "repeat": 0.05, "echo": 0.05}
_NEED_GOLD = ("gold", "one-hop")
NOT_PLAYED = "the scripted policies did not play"


async def play_panel(spec: EnvSpec, executor: Executor, *, cheats: bool) -> dict[str, Outcome]:
    """Policy name -> how its one rollout ended. Gold plays wherever there are gold calls, and so does one-hop."""
    names = [name for name in SCRIPTED if (cheats or name == "gold") and (spec.gold_calls or name not in _NEED_GOLD)]
    return {name: Outcome.of(await run_rollout(make(name, spec), spec, executor, name=name)) for name in names}


async def panel_scores(spec: EnvSpec, bench: Bench, known: Mapping[str, ToolResult]) -> dict[str, float]:
    """Policy name -> its trajectory score: what `play_panel` gives, at a fraction of its cost, for tools without state.

    No scripted policy looks at results, so all calls of all of them are made at once. `known` are results of calls
    made before, by `call_key`.
    """
    played = {name: script(name, spec) for name in SCRIPTED}
    results = dict(known)
    new: dict[str, Call] = {}
    for call in (call for messages in played.values() for message in messages for call in message.tool_calls):
        if (key := call.name + call.arguments) not in results and key not in new:
            new[key] = (call.name, arguments_of(call) or {})
    results |= zip(new, await bench.run([*new.values()]), strict=True)
    return {
        name: _score(
            spec,
            name,
            messages,
            [[results[call.name + call.arguments] for call in message.tool_calls] for message in messages],
        )
        for name, messages in played.items()
    }


def call_key(name: str, arguments: Mapping[str, JsonValue]) -> str:
    """The same for equal calls; of a call whose arguments are written as we write them, its name and arguments."""
    return name + orjson.dumps(arguments).decode()


def _score(spec: EnvSpec, name: str, messages: Sequence[Message], turns: Sequence[Sequence[ToolResult]]) -> float:
    hit = False
    for goal in spec.goals:
        texts = [
            result.text
            for message, turn in zip(messages, turns, strict=True)
            for call, result in zip(message.tool_calls, turn, strict=True)
            if call.name == goal.tool
        ]
        hit = hit or any(holds(goal.answer, text) for text in texts)
    if not hit:  # nothing solved: Solve-F1 is 0, whatever else was called
        final = spec.scenario.answer
        return 0.5 * final_answer_right(messages[-1], final, tagged=spec.task.tagged) if final is not None else 0.0
    trajectory = Trajectory(
        task=spec.task,
        policy=name,
        prompt=(),
        turns=tuple(
            Turn(
                completion=Completion(message=message),
                results=tuple(
                    result.model_copy(update={"call_id": call.id})
                    for call, result in zip(message.tool_calls, turn, strict=True)
                ),
            )
            for message, turn in zip(messages, turns, strict=True)
        ),
        stop="answered",
    )
    return trajectory_value(trajectory) or 0.0


def panel_verdicts(spec: EnvSpec, played: Mapping[str, Outcome]) -> Iterator[Verdict]:
    """What the rollouts on one environment say."""
    silent = played["silent"].score if "silent" in played else None
    if silent is None:
        yield Verdict("published-precision", skipped=NOT_PLAYED)
        yield Verdict("cheat-above-gold", skipped=NOT_PLAYED)
        return
    free = silent.paper.precision == 1.0
    yield Verdict("published-precision", found="Solve-P 1 without a call" if free else "", expected="0")
    gold = played["gold"].score if "gold" in played else None
    if gold is None:
        yield Verdict("cheat-above-gold", skipped=NO_GOLD)
        return
    above = [
        f"{name} {one.score.value:.3f}"
        for name, one in played.items()
        if name in CHEATS and one.score and one.score.value >= gold.value and not _same_play(spec, name)
    ]
    yield Verdict("cheat-above-gold", found=", ".join(above), expected=f"below gold's {gold.value:.3f}")


def score_verdicts(spec: EnvSpec, scores: Mapping[str, float]) -> Iterator[Verdict]:
    """The verdicts on the scores of `panel_scores`: gold has all there is to have, and no cheat as much."""
    gold = scores["gold"]
    yield Verdict("gold-fails", found=f"the gold trajectory scores {gold:.3f}" if gold < 1 else "", expected="1")
    above = [
        f"{name} {value:.3f}"
        for name, value in scores.items()
        if name in CHEATS and value >= gold and not _same_play(spec, name)
    ]
    yield Verdict("cheat-above-gold", found=", ".join(above), expected=f"below gold's {gold:.3f}")


def _same_play(spec: EnvSpec, name: str) -> bool:
    """Whether a policy plays just what gold does: the one gold call, where no final answer is asked for."""
    return name == "one-hop" and len(spec.gold_calls or ()) == 1 and spec.scenario.answer is None


def ceiling_verdicts(summaries: Iterable[Summary]) -> Iterator[Verdict]:
    """What the whole set says: a cheat's mean strict Solve-F1 against its ceiling."""
    means = {summary.policy: summary.overall.metrics["solve_f1"] for summary in summaries}
    for name, ceiling in CEILINGS.items():
        metric = means.get(name)
        if metric is None or metric.mean is None:
            yield Verdict("cheat-above-ceiling", name, skipped=NOT_PLAYED)
            continue
        found = f"{name}: mean strict Solve-F1 {metric.mean:.4f}" if metric.mean > ceiling else ""
        yield Verdict("cheat-above-ceiling", name, found=found, expected=f"at most {ceiling:g}")
