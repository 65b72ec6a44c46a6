"""Three sizes of the policy, and thinking before the call or not: the paper's scales and inference modes, in small.

    python experiments/sizes.py [--seeds 0 1 2] [--rl-steps N] [--out experiments/out]

Both factors are varied from the packaged policy, which is of the middle size and does not think.
"""

# pyright: basic

from __future__ import annotations

from lab import Item, cpu_seconds, opened, table_of_arms

from toolfoundry.train.tiny.warmstart import WARM_START

ARMS = (("small", False), ("base", False), ("large", False), ("base", True))  # size, thinking


def main() -> None:
    lab, seeds = opened(__doc__)
    for size, thinking in ARMS:
        settings = {"thinking": thinking, "chat": "qwen3" if thinking else "hermes"}
        results: dict[str, list[dict[str, list[Item]]]] = {"warm start": [], "GRPO": []}
        seconds: dict[str, list[float]] = {"warm start": [], "GRPO": []}
        for seed in seeds:
            recipe = WARM_START.model_copy(update={"seed": seed, "size": size, "thinking": thinking})
            start = lab.warm_start(recipe)
            run = lab.reinforce("GRPO", start, seed=seed, **settings)
            for name, folder in (("warm start", start.parent), ("GRPO", run)):
                results[name].append(lab.measure(folder / "final", **settings))
                seconds[name].append(cpu_seconds(folder))
        print(f"\n## {size}, {'thinking' if thinking else 'not thinking'}")
        table_of_arms(results, seconds)


if __name__ == "__main__":
    main()
