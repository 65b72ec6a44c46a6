"""Is anything lost? Plain text and a task without tools, before and after reinforcement learning.

    python experiments/forgetting.py [--seeds 0 1 2] [--rl-steps N] [--out experiments/out]

The warm start has also learnt sentences about invented names, and to repeat names (`toolfoundry.train.tiny.plain`).
"""

# pyright: basic

from __future__ import annotations

from pathlib import Path

from lab import Item, markdown, opened, spread, table_of_arms

from toolfoundry.chat import chat_format
from toolfoundry.policies.transformers import TransformersSampler, load_policy
from toolfoundry.tokens import Dialect
from toolfoundry.train.tiny.plain import plain_scores
from toolfoundry.train.tiny.warmstart import WARM_START

ARMS = {
    "GRPO": {"algorithm": "grpo"},
    "REINFORCE++-baseline": {"algorithm": "reinforce++-baseline"},
    "GRPO with KL 0.05": {"algorithm": "grpo", "kl_coefficient": 0.05},
}


def main() -> None:
    lab, seeds = opened(__doc__)
    found: dict[str, list[dict[str, float]]] = {}
    results: dict[str, list[dict[str, list[Item]]]] = {}

    def score(name: str, model: Path) -> None:
        policy = load_policy(str(model), chat="hermes", device="cpu")
        sampler = TransformersSampler(policy.model, policy.codec.end_ids)
        dialect = Dialect(chat_format("hermes"), policy.codec)
        found.setdefault(name, []).append(plain_scores(policy.model, sampler, dialect))
        results.setdefault(name, []).append(lab.measure(model))

    for seed in seeds:
        start = lab.warm_start(WARM_START.model_copy(update={"seed": seed}))
        score("warm start", start)
        for name, settings in ARMS.items():
            run = lab.reinforce(name, start, seed=seed, **settings)
            score(name, run / "final")
    rows = [
        [name, spread([one["loss"] for one in scores]), spread([one["exact"] for one in scores])]
        for name, scores in found.items()
    ]
    print(markdown(["policy", "loss of sentences, nats a token", "names repeated without fault"], rows))
    table_of_arms(results)


if __name__ == "__main__":
    main()
