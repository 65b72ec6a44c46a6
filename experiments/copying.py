"""Is a call made twice redundant for a network this small? How well names are copied from results read once, and twice.

    python experiments/copying.py [--size base] [--thinking] [--seeds 0 1 2] [--rl-steps 600] [--out experiments/out]

The conversations are gold play without and with the habit of the warm start (every call twice). A greedy response is
asked for wherever a multi-hop question needs a further call, and wherever only the final answer is left.
"""

# pyright: basic

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections.abc import Sequence

from lab import markdown, opened, spread

from toolfoundry.reward import final_answer, final_answer_right
from toolfoundry.samples import Prefix, prefixes
from toolfoundry.sandbox import Sandbox
from toolfoundry.train.config import load_preset
from toolfoundry.train.play import Answered
from toolfoundry.train.run import load_start, table_of
from toolfoundry.train.tiny.demonstrations import Habits, demonstrate
from toolfoundry.train.tiny.model import SIZES
from toolfoundry.train.tiny.warmstart import WARM_START
from toolfoundry.types import EnvSpec

READ = {"once": Habits(), "twice": Habits(redundant=1.0)}


def asked_for(specs: Sequence[EnvSpec], habits: Habits, thinking: bool, sandbox: Sandbox) -> list[Prefix]:
    """The prefixes of gold play at which further calls of a multi-hop question are needed, or the answer alone."""
    played = asyncio.run(demonstrate(specs, habits, sandbox, thinking=thinking))
    found = [prefix for trajectory in played for prefix in prefixes(trajectory)]
    return [
        prefix
        for prefix in found
        if not prefix.unsolved or (prefix.task.kind == "multi_hop" and len(prefix.unsolved) < len(prefix.task.goals))
    ]


def right(answered: Answered) -> bool:
    """Whether a call of the response solves a goal, or its answer is the right one."""
    wanted = answered.prefix.task.answer
    if not answered.prefix.unsolved and wanted is not None:
        return final_answer_right(answered.message, wanted, tagged=True)
    assert answered.scored.graded is not None, answered.scored.error
    return answered.scored.graded.reward.solved > 0


def invents(answered: Answered) -> bool:
    """Whether the response names what the conversation does not; an unreadable call names nothing."""
    shown = "\n".join(message.content for message in answered.prefix.messages)
    if not answered.prefix.unsolved:
        names = (final_answer(answered.message, tagged=True) or "").split(", ")
    else:
        names = list[str]()
        for call in answered.message.tool_calls:
            with contextlib.suppress(json.JSONDecodeError):
                names += map(str, json.loads(call.arguments).values())
    return any(name not in shown for name in names)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", choices=SIZES, default=WARM_START.size)
    parser.add_argument("--thinking", action="store_true")
    lab, seeds = opened(__doc__, parser, rl_steps=600)
    given = parser.parse_args()
    settings = {"thinking": given.thinking, "chat": "qwen3" if given.thinking else "hermes"}
    specs = lab.new_relations()["new relations"]
    by_id = {spec.id: spec for spec in specs}
    shares: dict[tuple[str, str], list[list[float]]] = {}
    for seed in seeds:
        recipe = WARM_START.model_copy(update={"seed": seed, "size": given.size, "thinking": given.thinking})
        start = lab.warm_start(recipe)
        policies = {"warm start": start, "GRPO": lab.reinforce("GRPO", start, seed=seed, **settings) / "final"}
        for name, model in policies.items():
            config = load_preset("tiny", model=str(model), **settings)
            with Sandbox() as sandbox:
                table = table_of(config, load_start(config), sandbox)
                for times, habits in READ.items():
                    asked = asked_for(specs, habits, given.thinking, sandbox)
                    said = table.responses(asked, by_id, group_size=1, temperature=0.0, seed=("copying",))
                    calls = [one for one in said if one.prefix.unsolved]
                    answers = [one for one in said if not one.prefix.unsolved]
                    found = [sum(map(of, some)) / len(some) for some in (calls, answers) for of in (right, invents)]
                    shares.setdefault((name, times), []).append(found)
    rows = [
        [name, times, *(spread(values) for values in zip(*found, strict=True))]
        for (name, times), found in shares.items()
    ]
    measured = ("next goal solved", "a call names what stands nowhere", "answer right", "it names what stands nowhere")
    print(markdown(("policy", "results read", *measured), rows))


if __name__ == "__main__":
    main()
