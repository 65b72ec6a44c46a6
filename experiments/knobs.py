"""Complexity: trained with and without, tested on the harder set.

    python experiments/knobs.py [--seeds 0 1 2] [--rl-steps N] [--out experiments/out]

The knobs of stage 4 that the `tiny` profile follows: the number of distractors (toolset extension), the share of them
that resemble a gold tool, and, beside stage 4, more sub-questions. For each, GRPO from the same warm start on
environments with the knob and without it, both tested on a set with the knob.
"""

# pyright: basic

from __future__ import annotations

from typing import Any

from lab import Item, opened, table_of_arms

from toolfoundry.build.authors.procedural.profile import TINY
from toolfoundry.train.tiny.warmstart import WARM_START

SCALING = TINY.scaling.model_dump()
MANY = {kind: {"low": 8, "high": 12, "mean": 10} for kind in TINY.tools}
LONGER = {
    "single_hop": {"low": 1, "high": 1, "mean": 1},
    "parallel_single_hop": {"low": 3, "high": 4, "mean": 3.5},
    "multi_hop": {"low": 3, "high": 4, "mean": 3.5},
    "parallel_multi_hop": {"low": 4, "high": 5, "mean": 4.5},
}
TOOLS_FOR_LONGER = {kind: {"low": 5, "high": 7, "mean": 6} for kind in TINY.tools}
KNOBS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # (without, with)
    "distractors": ({"scaling": {**SCALING, "extend": 0}}, {"tools": MANY}),
    "near distractors": (
        {"tools": MANY, "scaling": {**SCALING, "near": 0.0}},
        {"tools": MANY, "scaling": {**SCALING, "near": 1.0}},
    ),
    "sub-questions": ({}, {"goals": LONGER, "tools": TOOLS_FOR_LONGER}),
}


def main() -> None:
    lab, seeds = opened(__doc__)
    for knob, (without, with_) in KNOBS.items():
        tests = {f"tested with {knob}": lab.environments(lab.test_environments, 2003, "test", **with_)}
        results: dict[str, list[dict[str, list[Item]]]] = {}
        for seed in seeds:
            start = lab.warm_start(WARM_START.model_copy(update={"seed": seed}))
            results.setdefault("warm start", []).append(lab.measure(start, sets=tests))
            for name, settings in (("trained without", without), ("trained with", with_)):
                specs = lab.environments(lab.train_environments, 1000 + seed, **settings)
                run = lab.reinforce(f"{knob}-{name}".replace(" ", "-"), start, seed=seed, specs=specs)
                results.setdefault(name, []).append(lab.measure(run / "final", sets=tests))
        print(f"\n## {knob}")
        table_of_arms(results, "warm start")


if __name__ == "__main__":
    main()
