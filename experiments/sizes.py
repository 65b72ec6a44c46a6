"""Three sizes of the policy, and thinking before the call or not: the paper's scales and inference modes, in small.

python experiments/sizes.py [--seeds 0 1 2] [--rl-steps N] [--out experiments/out]
"""

# pyright: basic

from __future__ import annotations

from lab import Item, cpu_seconds, opened, table_of_arms

from toolfoundry.train.tiny.model import SIZES
from toolfoundry.train.tiny.warmstart import WARM_START


def main() -> None:
    lab, seeds = opened(__doc__)
    results: dict[str, list[dict[str, list[Item]]]] = {}
    seconds: dict[str, list[float]] = {}
    for seed in seeds:
        for size in SIZES:
            for thinking in (False, True):
                recipe = WARM_START.model_copy(update={"seed": seed, "size": size, "thinking": thinking})
                settings = {"thinking": thinking, "chat": "qwen3" if thinking else "hermes"}
                start = lab.warm_start(recipe)
                title = f"{size}, {'thinking' if thinking else 'not thinking'}"
                results.setdefault(f"{title}: warm start", []).append(lab.measure(start, **settings))
                plain = size == "base" and not thinking
                run = lab.reinforce("GRPO" if plain else f"GRPO-{size}-{thinking}", start, seed=seed, **settings)
                results.setdefault(f"{title}: GRPO", []).append(lab.measure(run / "final", **settings))
                seconds.setdefault(f"{title}: GRPO", []).append(cpu_seconds(run))
    table_of_arms(results, None, seconds)


if __name__ == "__main__":
    main()
