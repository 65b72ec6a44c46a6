"""How much bad habit may a start have? Starts and what GRPO makes of them, with paired differences by scenario.

    python experiments/habits.py [--seeds 0 1 2] [--redundant 0.7] [--curt 0.6] [--steps 2500] [--rl-steps 200]

`--redundant` is the share of episodes whose calls are made twice, `--curt` that of lists which are cut short.
"""

# pyright: basic

from __future__ import annotations

import argparse

from lab import SCENARIOS, Item, cpu_seconds, markdown, opened, paired, shown, table_of_arms

from toolfoundry.train.tiny.demonstrations import Habits
from toolfoundry.train.tiny.warmstart import WARM_START

SET = "new relations"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--redundant", type=float, default=WARM_START.habits.redundant)
    parser.add_argument("--curt", type=float, default=WARM_START.habits.curt)
    parser.add_argument("--steps", type=int, default=WARM_START.steps, help="of imitation")
    lab, seeds = opened(__doc__, parser)
    given = parser.parse_args()
    habits = Habits(redundant=given.redundant, curt=given.curt)
    for seed in seeds:
        recipe = WARM_START.model_copy(update={"seed": seed, "habits": habits, "steps": given.steps})
        start = lab.warm_start(recipe)
        run = lab.reinforce("GRPO", start, seed=seed, algorithm="grpo")
        before, after = (lab.measure(model)[SET] for model in (start, run / "final"))
        print(f"\n## seed {seed}")
        results: dict[str, list[dict[str, list[Item]]]] = {"warm start": [{SET: before}], "GRPO": [{SET: after}]}
        table_of_arms(results, {"warm start": [cpu_seconds(start.parent)], "GRPO": [cpu_seconds(run)]})
        rows = [
            [
                kind.replace("_", " "),
                *(shown(paired([before], [after], m, kind)) for m in ("solve_f1", "solve_r", "answer")),
            ]
            for kind in SCENARIOS
        ]
        print("\n" + markdown(["scenario", "Solve-F1", "Solve-R", "answer"], rows))


if __name__ == "__main__":
    main()
