"""Complexity: trained with and without, tested on the harder set.

    python experiments/knobs.py [--seeds 0 1 2] [--rl-steps N] [--knobs NAME ...] [--out experiments/out]

The four strategies of stage 4 (generalize, expand, retype, and distractors by number and by nearness), and beside them
more sub-questions. For each, GRPO from the same warm start on environments with the knob and without it, both tested on
a set with the knob. The warm start has seen every form of a tool: a quarter of its demonstrations is plain, and a
quarter each has one of the other strategies at level 1.
"""

# pyright: basic

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lab import Item, Lab, opened, table_of_arms

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
    **{name: ({}, {"scaling": {**SCALING, name: 2}}) for name in ("generalize", "expand", "retype")},
}


def start_of(lab: Lab, seed: int) -> Path:
    """A warm start that knows every form of a tool."""
    recipe = WARM_START.model_copy(update={"seed": seed})
    share = recipe.environments // 4
    plain = lab.environments(recipe.environments, 0)[: recipe.environments - 3 * share]
    harder = [
        lab.environments(share, 10 + place, scaling={**SCALING, name: 1})
        for place, name in enumerate(("generalize", "expand", "retype"))
    ]
    return lab.warm_start(recipe, specs=[*plain, *(spec for specs in harder for spec in specs)])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--knobs", nargs="*", choices=KNOBS, default=list(KNOBS))
    lab, seeds = opened(__doc__, parser)
    for knob in parser.parse_args().knobs:
        without, with_ = KNOBS[knob]
        tests = {f"tested with {knob}": lab.environments(lab.test_environments, 2003, "test", **with_)}
        results: dict[str, list[dict[str, list[Item]]]] = {}
        for seed in seeds:
            start = start_of(lab, seed)
            results.setdefault("warm start", []).append(lab.measure(start, sets=tests))
            for name, settings in (("trained without", without), ("trained with", with_)):
                specs = lab.environments(lab.train_environments, 1000 + seed, **settings)
                run = lab.reinforce("knobs", start, seed=seed, specs=specs)  # named by its set: three share one
                results.setdefault(name, []).append(lab.measure(run / "final", sets=tests))
        print(f"\n## {knob}")
        table_of_arms(results)


if __name__ == "__main__":
    main()
