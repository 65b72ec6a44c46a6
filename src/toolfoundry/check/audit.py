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


async def examine(spec: EnvSpec, workers: Workers) -> Examined:
    """The verdict of every gate that needs no policy; whether the gold calls give the answers is among them."""
    tools = read_tools(spec)
    planned = plan(spec, tools)
    tried = await run_probes(planned, workers)
    effects = await find_effects(spec, tools, workers.first)
    verdicts = [
        *static_verdicts(spec, tools),
        final_verdict(spec),
        *executed_verdicts(spec, tools, tried),
        *effects.verdicts,
        gold_calls_verdict(spec, tried),
    ]
    probes = Counter({kind: 2 * n for kind, n in Counter(probe.kind for probe in planned).items()})
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
