"""The audit of one environment: every gate that can be judged without the others of its set."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from toolfoundry.check.consistency import final_verdict
from toolfoundry.check.effects import find_effects
from toolfoundry.check.executed import executed_verdicts, gold_verdict
from toolfoundry.check.panel import panel_verdicts, play_panel
from toolfoundry.check.probes import Tried, plan, run_probes
from toolfoundry.check.report import Verdict
from toolfoundry.check.static import read_tools, static_verdicts
from toolfoundry.check.workers import Workers
from toolfoundry.metrics import Outcome
from toolfoundry.types import EnvSpec

__all__ = ["Audit", "audit"]


class Audit(NamedTuple):
    """All that was found out about one environment. `played`: how each policy's rollout ended, by name."""

    verdicts: list[Verdict]
    probes: Counter[str]
    played: dict[str, Outcome]
    tried: Tried


async def audit(spec: EnvSpec, workers: Workers, *, panel: bool = True) -> Audit:
    """The verdict of every gate on an environment. `panel`: whether the scripted policies play."""
    tools = read_tools(spec)
    verdicts = [*static_verdicts(spec, tools), final_verdict(spec)]
    planned = plan(spec, tools)
    tried = await run_probes(planned, workers)
    effects = await find_effects(spec, tools, workers.first)
    played = await play_panel(spec, workers.executor, cheats=panel)
    verdicts += [
        *executed_verdicts(spec, tools, tried),
        *effects.verdicts,
        gold_verdict(spec, tried, played.get("gold")),
        *panel_verdicts(spec, played),
    ]
    probes = Counter({kind: 2 * n for kind, n in Counter(probe.kind for probe in planned).items()})
    probes["effect"] = effects.calls
    return Audit(verdicts, +probes, played, tried)
