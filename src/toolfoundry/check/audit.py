"""The audit of one environment: every gate that can be judged without the others of its set."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from toolfoundry.check.consistency import final_verdict
from toolfoundry.check.effects import find_effects
from toolfoundry.check.executed import executed_verdicts, gold_calls_verdict, gold_verdict
from toolfoundry.check.panel import panel_verdicts, play_panel
from toolfoundry.check.probes import Tried, plan, run_probes
from toolfoundry.check.report import Verdict
from toolfoundry.check.static import read_tools, static_verdicts
from toolfoundry.check.workers import Workers
from toolfoundry.metrics import Outcome
from toolfoundry.types import EnvSpec

__all__ = ["Audit", "Examined", "audit", "examine"]


class Examined(NamedTuple):
    """What reading and executing the tools found out about one environment."""

    verdicts: list[Verdict]
    probes: Counter[str]
    tried: Tried


async def examine(spec: EnvSpec, workers: Workers, *, thorough: bool = True) -> Examined:
    """The verdict of every gate that needs no policy; whether the gold calls give the answers is among them.

    Unless `thorough`, only calls that know what they do are made twice, and fewer guesses: enough for the code of an
    author who is trusted.
    """
    tools = read_tools(spec)
    planned = plan(spec, tools, thorough=thorough)
    tried = await run_probes(planned, workers, thorough=thorough)
    effects = await find_effects(spec, tools, workers.first)
    verdicts = [
        *static_verdicts(spec, tools),
        final_verdict(spec),
        *executed_verdicts(spec, tools, tried),
        *effects.verdicts,
        gold_calls_verdict(spec, tried),
    ]
    probes = Counter(run.probe.kind for run in tried.runs for _ in range(1 if run.again is run.result else 2))
    probes["effect"] = effects.calls
    return Examined(verdicts, +probes, tried)


class Audit(NamedTuple):
    """All that was found out about one environment. `played`: how each policy's rollout ended, by name."""

    verdicts: list[Verdict]
    probes: Counter[str]
    played: dict[str, Outcome]


async def audit(spec: EnvSpec, workers: Workers, *, panel: bool = True) -> Audit:
    """The verdict of every gate on an environment. `panel`: whether the scripted policies play."""
    examined = await examine(spec, workers)
    played = await play_panel(spec, workers.executor, cheats=panel)
    verdicts = [v if v.gate != "gold-fails" else gold_verdict(v, played.get("gold")) for v in examined.verdicts]
    return Audit([*verdicts, *panel_verdicts(spec, played)], examined.probes, played)
