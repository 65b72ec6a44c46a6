"""What does each reward design teach, and what does it break?

    python experiments/rewards.py [--seeds 0 1 2] [--rl-steps N] [--out experiments/out]

GRPO from the same warm starts with the paper's four designs (Ye et al. 2025, the reward ablation: f1, pr, rate and
precision, as released) and with `frontier`; all measured in the same strict way on new names and new relations.
"""

# pyright: basic

from __future__ import annotations

from lab import compare_arms, opened

from toolfoundry.types import PRESETS


def main() -> None:
    lab, seeds = opened(__doc__)
    compare_arms(lab, seeds, {reward: {"reward": reward} for reward in PRESETS})


if __name__ == "__main__":
    main()
