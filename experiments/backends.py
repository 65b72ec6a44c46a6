"""Does the backend for real checkpoints teach what our loop teaches? The same configuration in both.

    python experiments/backends.py [--seeds 0 1 2] [--rl-steps 100] [--out experiments/out]

GRPO from the same warm starts, prompts, rewards and number of steps; with a constant learning rate, since TRL has no
trapezoid. CPU seconds are those of the training process, tools' processes not among them.
"""

# pyright: basic

from __future__ import annotations

from lab import Item, cpu_seconds, opened, table_of_arms

from toolfoundry.train.tiny.warmstart import WARM_START

ARMS = {"loop": {}, "TRL": {"samples_per_device": 64}}


def main() -> None:
    lab, seeds = opened(__doc__, rl_steps=100)
    results: dict[str, list[dict[str, list[Item]]]] = {}
    seconds: dict[str, list[float]] = {}
    for seed in seeds:
        start = lab.warm_start(WARM_START.model_copy(update={"seed": seed}))
        results.setdefault("warm start", []).append(lab.measure(start))
        for name, settings in ARMS.items():
            run = lab.reinforce(name, start, seed=seed, backend=name.lower(), schedule="constant", **settings)
            results.setdefault(name, []).append(lab.measure(run / "final"))
            seconds.setdefault(name, []).append(cpu_seconds(run))
    table_of_arms(results, seconds)


if __name__ == "__main__":
    main()
