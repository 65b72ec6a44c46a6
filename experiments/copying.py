"""Is a call made twice redundant for a network this small? How well names are copied from results read once, and twice.

    python experiments/copying.py [--seeds 0 1 2] [--rl-steps 600] [--out experiments/out]

The conversations are gold play without and with the habit of the warm start (every call twice); a greedy response is
asked for wherever a further call is needed.
"""

# pyright: basic

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from lab import markdown, opened, spread

from toolfoundry.samples import Prefix, prefixes
from toolfoundry.sandbox import Sandbox
from toolfoundry.train.config import load_preset
from toolfoundry.train.play import Answered
from toolfoundry.train.run import load_start, table_of
from toolfoundry.train.tiny.demonstrations import Habits, demonstrate
from toolfoundry.train.tiny.warmstart import WARM_START
from toolfoundry.types import EnvSpec

READ = {"once": Habits(), "twice": Habits(redundant=1.0)}


def further_calls(specs: Sequence[EnvSpec], habits: Habits, sandbox: Sandbox) -> list[Prefix]:
    """The prefixes of gold play at which some goals are solved and others are not."""
    played = asyncio.run(demonstrate(specs, habits, sandbox))
    found = [prefix for trajectory in played for prefix in prefixes(trajectory)]
    return [prefix for prefix in found if 0 < len(prefix.unsolved) < len(prefix.task.goals)]


def solves(answered: Answered) -> bool:
    """Whether a call of the response solves a goal."""
    assert answered.scored.graded is not None, answered.scored.error
    return answered.scored.graded.reward.solved > 0


def invents(answered: Answered) -> bool:
    """Whether a call of the response names what the conversation does not; an unreadable call names nothing."""
    said = "\n".join(message.content for message in answered.prefix.messages)
    names: list[str] = []
    for call in answered.message.tool_calls:
        with contextlib.suppress(json.JSONDecodeError):
            names += map(str, json.loads(call.arguments).values())
    return any(name not in said for name in names)


def main() -> None:
    lab, seeds = opened(__doc__, rl_steps=600)
    specs = [spec for spec in lab.new_relations()["new relations"] if spec.scenario.kind == "multi_hop"]
    by_id = {spec.id: spec for spec in specs}
    shares: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for seed in seeds:
        start = lab.warm_start(WARM_START.model_copy(update={"seed": seed}))
        policies: dict[str, Path] = {"warm start": start, "GRPO": lab.reinforce("GRPO", start, seed=seed) / "final"}
        for name, model in policies.items():
            config = load_preset("tiny", model=str(model))
            with Sandbox() as sandbox:
                table = table_of(config, load_start(config), sandbox)
                for times, habits in READ.items():
                    asked = further_calls(specs, habits, sandbox)
                    said = table.responses(asked, by_id, group_size=1, temperature=0.0, seed=("copying",))
                    counts = [sum(of(one) for one in said) / len(said) for of in (solves, invents)]
                    shares.setdefault((name, times), []).append((counts[0], counts[1]))
    rows = [
        [name, times, *(spread(values) for values in zip(*found, strict=True))]
        for (name, times), found in shares.items()
    ]
    print(markdown(["policy", "results read", "next goal solved", "a name that stands nowhere"], rows))


if __name__ == "__main__":
    main()
