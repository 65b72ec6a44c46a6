"""Does the backend for real checkpoints teach what our loop teaches? The same configuration in both.

    python experiments/backends.py [--seeds 0 1 2] [--rl-steps 100] [--out experiments/out]

GRPO from the same warm starts, prompts, rewards and number of steps; with a constant learning rate, since TRL has no
trapezoid. CPU seconds are those of the training process, tools' processes not among them.
"""

# pyright: basic

from __future__ import annotations

from lab import compare_arms, opened

ARMS = {
    "loop": {"backend": "loop", "schedule": "constant"},
    "TRL": {"backend": "trl", "schedule": "constant", "samples_per_device": 64},
}


def main() -> None:
    lab, seeds = opened(__doc__, rl_steps=100)
    compare_arms(lab, seeds, ARMS)


if __name__ == "__main__":
    main()
