"""Algorithms and modes, from the same warm starts and with the same number of steps.

    python experiments/algorithms.py [--seeds 0 1 2] [--arms NAME ...] [--rl-steps N] [--out experiments/out]

GRPO, Dr. GRPO, REINFORCE++ and REINFORCE++-baseline on prefixes; GRPO and REINFORCE++-baseline on whole episodes, with
and without turn rewards; dynamic sampling and pass rates. SFT of the same compute is in `learning.py`.
"""

# pyright: basic

from __future__ import annotations

import argparse

from lab import compare_arms, opened

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
    parser = argparse.ArgumentParser()
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=list(ARMS))
    lab, seeds = opened(__doc__, parser)
    compare_arms(lab, seeds, {name: ARMS[name] for name in parser.parse_args().arms})


if __name__ == "__main__":
    main()
