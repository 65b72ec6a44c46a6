"""What does each reward design teach, and what does it break?

    python experiments/rewards.py [--seeds 0 1 2] [--rl-steps N] [--out experiments/out]

GRPO from the same warm starts with the paper's four designs (Ye et al. 2025, the reward ablation: f1, pr, rate and
precision, as released) and with `frontier`; all measured in the same strict way on new names and new relations.
"""

# pyright: basic

from __future__ import annotations

from lab import Item, opened, table_of_arms

from toolfoundry.train.tiny.warmstart import WARM_START
from toolfoundry.types import PRESETS


def main() -> None:
    lab, seeds = opened(__doc__)
    results: dict[str, list[dict[str, list[Item]]]] = {}
    for seed in seeds:
        start = lab.warm_start(WARM_START.model_copy(update={"seed": seed}))
        results.setdefault("warm start", []).append(lab.measure(start))
        for reward in PRESETS:
            run = lab.reinforce("GRPO" if reward == "frontier" else reward, start, seed=seed, reward=reward)
            results.setdefault(reward, []).append(lab.measure(run / "final"))
    table_of_arms(results)


if __name__ == "__main__":
    main()
