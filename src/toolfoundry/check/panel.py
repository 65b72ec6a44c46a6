"""The scripted policies as a gate: each cheat below gold on every environment, and near zero over the set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from toolfoundry.check.report import Verdict
from toolfoundry.check.static import NO_GOLD
from toolfoundry.environment import Executor
from toolfoundry.metrics import Outcome, Summary
from toolfoundry.policies.scripted import CHEATS, SCRIPTED, make
from toolfoundry.rollout import run_rollout
from toolfoundry.types import EnvSpec

__all__ = ["CEILINGS", "ceiling_verdicts", "panel_verdicts", "play_panel"]

CEILINGS = {"silent": 0.0, "answer-only": 0.0, "spam": 0.05, "random": 0.05, "repeat": 0.05, "echo": 0.05}
_NEED_GOLD = ("gold", "one-hop")
NOT_PLAYED = "the scripted policies did not play"


async def play_panel(spec: EnvSpec, executor: Executor, *, cheats: bool) -> dict[str, Outcome]:
    """Policy name -> how its one rollout ended. Gold plays wherever there are gold calls, and so does one-hop."""
    names = [name for name in SCRIPTED if (cheats or name == "gold") and (spec.gold_calls or name not in _NEED_GOLD)]
    return {name: Outcome.of(await run_rollout(make(name, spec), spec, executor, name=name)) for name in names}


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
