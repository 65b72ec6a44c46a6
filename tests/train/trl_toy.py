"""A task without environments for the tests of the TRL backend: say lower-case letters. Also run as a process of its
own, or several, which kill themselves at a step (0: never): `trl_toy.py resumable|on_policy FOLDER METRICS STEP`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from toolfoundry.policies.sampling import Request
from toolfoundry.seeds import derive_seed
from toolfoundry.train.config import TrainConfig

KEYS = [f"say {number}" for number in range(8)]


class Letters:
    """Rollouts whose reward is the share of lower-case letters; `reward_of` replaces it (ids of all responses)."""

    def __init__(self, tokenizer: Any, reward_of: Any = None) -> None:
        self.responses = 0
        self.causes: Counter[str] = Counter()
        self.rewards: list[list[float | None]] = []
        self._tokenizer = tokenizer
        self._reward_of = reward_of or (lambda ids: sum(97 <= ord(self._letter(i)) <= 122 for i in ids) / len(ids))

    def _letter(self, token: int) -> str:
        return self._tokenizer.convert_ids_to_tokens(token)[0]

    def rollout(self, prompts: list[str], trainer: Any) -> dict[str, list[Any]]:
        from toolfoundry.policies.transformers import TransformersSampler

        place = trainer.accelerator.process_index * len(prompts)
        requests = [
            Request(
                self._tokenizer(key)["input_ids"], derive_seed("toy", trainer.state.global_step, place + offset, key)
            )
            for offset, key in enumerate(prompts)
        ]
        model = trainer.accelerator.unwrap_model(trainer.model)
        sampled = TransformersSampler(model, [self._tokenizer.eos_token_id]).sample(
            requests, max_tokens=8, temperature=trainer.temperature
        )
        self.responses += len(sampled)
        return {
            "prompt_ids": [list(request.prompt_ids) for request in requests],
            "completion_ids": [one.token_ids for one in sampled],
            "logprobs": [one.logprobs for one in sampled],
        }

    def reward(self, prompts: list[str], completion_ids: list[list[int]], **columns: Any) -> list[float | None]:
        self.rewards.append([self._reward_of(ids) for ids in completion_ids])
        return self.rewards[-1]


def toy_config(**changes: Any) -> TrainConfig:
    """4 prompts x 8 responses a step, in two updates, with a reference model; 20 steps."""
    fields = {
        "algorithm": "grpo",
        "prompts_per_step": 4,
        "group_size": 8,
        "prompts_per_update": 2,
        "samples_per_device": 8,
        "steps_per_round": 20,
        "max_response_tokens": 8,
        "learning_rate": 3e-3,
        "kl_coefficient": 0.001,
        "entropy_coefficient": 0.0,
        "save_every": 100,
    }
    return TrainConfig(**{**fields, **changes})


def resumable() -> TrainConfig:
    """Six steps with a checkpoint after each two."""
    return toy_config(steps_per_round=6, save_every=2, entropy_coefficient=0.001)


def on_policy() -> TrainConfig:
    """Three steps of one update each, whitened over all tokens of the batch."""
    return toy_config(algorithm="reinforce++-baseline", steps_per_round=3, prompts_per_update=None, loss_mean="token")


def recorded(monkeypatch: Any) -> list[dict[str, Any]]:
    """The batches that the backend's trainer makes from now on, as they are before it shuffles them."""
    import torch

    from toolfoundry.train import trl_backend, trl_trainer

    made: list[dict[str, Any]] = []

    class Recording(trl_trainer.ReinforceTrainer):
        def _generate_and_score_completions(self, inputs):
            batch = super()._generate_and_score_completions(inputs)
            made.append({name: value.clone() for name, value in batch.items() if isinstance(value, torch.Tensor)})
            return batch

    monkeypatch.setattr(trl_backend, "ReinforceTrainer", Recording)
    return made


def _main(which: str, folder: str, metrics: str, killed_at: str) -> None:
    from toolfoundry.train.trl_backend import reinforce
    from train.toy_model import toy_model

    model, tokenizer = toy_model()
    config = {"resumable": resumable, "on_policy": on_policy}[which]()
    with Path(metrics).open("a") as lines:

        def on_step(row: Any) -> None:
            print(json.dumps(row), file=lines, flush=True)
            if row["step"] == int(killed_at):
                os.kill(os.getpid(), signal.SIGKILL)

        reinforce(config, model, tokenizer, KEYS, Letters(tokenizer), Path(folder), on_step)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    _main(*sys.argv[1:])
