"""Algorithms and modes, with SFT of the same compute beside them.

    python experiments/algorithms.py [--seeds 0 1 2] [--rl-steps N] [--out experiments/out]

GRPO, Dr. GRPO, REINFORCE++ and REINFORCE++-baseline on prefixes; GRPO and REINFORCE++-baseline on whole episodes, with
and without turn rewards; dynamic sampling and pass rates. Same warm starts, same number of steps.
"""

# pyright: basic

from __future__ import annotations

from lab import Item, cpu_seconds, opened, table_of_arms

from toolfoundry.train.tiny.warmstart import WARM_START

EPISODE = {"mode": "episode", "prompts_per_step": 8, "prompts_per_update": 8}
ARMS = {
    "GRPO": {"algorithm": "grpo"},
    "Dr. GRPO": {"algorithm": "dr-grpo"},
    "REINFORCE++": {"algorithm": "reinforce++"},
    "REINFORCE++-baseline": {"algorithm": "reinforce++-baseline"},
    "GRPO, refilled groups": {"algorithm": "grpo", "refill_groups": True},
    "GRPO, pass rates": {"algorithm": "grpo", "pass_rate": (0.0, 1.0)},
    "GRPO, episodes": {"algorithm": "grpo", **EPISODE},
    "GRPO, episodes and turns": {"algorithm": "grpo", "turn_weight": 1.0, **EPISODE},
    "REINFORCE++-baseline, episodes": {"algorithm": "reinforce++-baseline", **EPISODE},
}


def main() -> None:
    lab, seeds = opened(__doc__)
    results: dict[str, list[dict[str, list[Item]]]] = {}
    seconds: dict[str, list[float]] = {}
    for seed in seeds:
        start = lab.warm_start(WARM_START.model_copy(update={"seed": seed}))
        results.setdefault("warm start", []).append(lab.measure(start))
        for name, settings in ARMS.items():
            run = lab.reinforce(name.replace(", ", "-").replace(" ", "-"), start, seed=seed, **settings)
            results.setdefault(name, []).append(lab.measure(run / "final"))
            seconds.setdefault(name, []).append(cpu_seconds(run))
    table_of_arms(results, seconds)


if __name__ == "__main__":
    main()
