"""TRL's GRPOTrainer with our advantages, and with the failures that must not pass in silence.

    ReinforceTrainer(algorithm="reinforce++", model=..., reward_funcs=reward, args=GRPOConfig(...), ...)

Two private methods of TRL are overridden, both around what TRL does, not instead of it: the one that gathers rewards
(they are kept) and the one that makes the batch (its advantages are replaced by `toolfoundry.advantages`, computed
over the batch of all processes). `check_trl` says so when an installed TRL has others than those this was built for.

An unscored response (reward None) has no part in its group's mean, in whitening, or in the loss; a step in which
nothing was scored raises. A loss or gradient that is not finite raises before it gets into the weights.
"""
# pyright: basic

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, cast

from toolfoundry.advantages import Algorithm, has_spread, response_advantages
from toolfoundry.errors import FoundryError, MissingExtra

try:
    import torch
    import trl
    from packaging.version import Version
    from transformers import TrainerCallback
    from trl.trainer.grpo_trainer import GRPOTrainer
except ImportError:
    raise MissingExtra("train", "training with TRL") from None

__all__ = ["HOOKS", "SUPPORTED", "FiniteGradients", "ReinforceTrainer", "check_trl"]

SUPPORTED = ("1.16", "1.17")
"""From this version of TRL, to below that one."""

HOOKS = {
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_generate_and_score_completions": ["self", "inputs"],
    "training_step": ["self", "model", "inputs", "num_items_in_batch"],
    "create_model_card": ["self", "model_name", "dataset_name", "tags"],
}
"""The methods of GRPOTrainer that are overridden, and the parameters with which TRL calls them."""

_BATCH = {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "num_items_in_batch"}


def check_trl(trainer: type = GRPOTrainer, version: str = trl.__version__) -> None:
    """Raises FoundryError where TRL is of another version, or a hook is not the one this was built for."""
    low, high = SUPPORTED
    if not Version(low) <= Version(version) < Version(high):
        raise FoundryError(f"trl: found {version}, expected >={low},<{high}: pip install 'trl>={low},<{high}'")
    for name, expected in HOOKS.items():
        hook = getattr(trainer, name, None)
        found = "no such method" if hook is None else list(inspect.signature(hook).parameters)
        if found != expected:
            raise FoundryError(f"trl {version}: GRPOTrainer.{name}: found {found}, expected {expected}")


class ReinforceTrainer(GRPOTrainer):
    """GRPO, Dr. GRPO, REINFORCE++ and its baseline variant; one reward function, any way of sampling.

    why_unscored: says for the error message why responses were not scored.
    """

    def __init__(self, *, algorithm: Algorithm, why_unscored: Callable[[], str] = str, **options: Any) -> None:
        check_trl()
        self._algorithm: Algorithm = algorithm
        self._why_unscored = why_unscored
        self._gathered_rewards: torch.Tensor | None = None
        super().__init__(**options)
        self.add_callback(FiniteGradients())

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        expected = (len(prompts) * self.accelerator.num_processes, 1)
        if tuple(rewards.shape) != expected:
            raise FoundryError(
                f"trl {trl.__version__}: _calculate_rewards gave the shape {tuple(rewards.shape)}, "
                f"expected {expected}: one reward for each response of all processes"
            )
        self._gathered_rewards = rewards
        return rewards

    def _generate_and_score_completions(self, inputs):
        batch = super()._generate_and_score_completions(inputs)
        if missing := _BATCH - batch.keys():
            raise FoundryError(
                f"trl {trl.__version__}: _generate_and_score_completions gave no {', '.join(sorted(missing))}"
            )
        rewards = self._gathered_rewards
        if rewards is None or batch["advantages"].shape != (len(inputs),):
            raise FoundryError(
                f"trl {trl.__version__}: _generate_and_score_completions gave advantages of the shape "
                f"{tuple(batch['advantages'].shape)}, expected {(len(inputs),)}, after _calculate_rewards"
            )
        trained = batch["completion_mask"] * batch.get("tool_mask", 1)
        tokens: Any = self.accelerator.gather(trained.sum(dim=1))
        advantages = self._advantages(rewards[:, 0].tolist(), tokens.tolist())
        start = self.accelerator.process_index * len(inputs)
        own = advantages[start : start + len(inputs)]
        device = batch["advantages"].device
        batch["advantages"] = torch.tensor([a or 0.0 for a in own], dtype=torch.float32, device=device)
        if None in own:
            scored = torch.tensor([a is not None for a in own], dtype=trained.dtype, device=device)
            batch["tool_mask"] = batch.get("tool_mask", torch.ones_like(trained)) * scored[:, None]
        return batch

    def _advantages(self, rewards_D: list[float], tokens_D: list[int]) -> list[float | None]:
        """The advantage of each response of all processes, None for an unscored one (a reward that is NaN)."""
        mode = "train" if cast("Any", self.model).training else "eval"
        size: int = cast("Any", self).num_generations if mode == "train" else cast("Any", self).num_generations_eval
        scored = [index for index, reward in enumerate(rewards_D) if not math.isnan(reward)]
        if not scored:
            raise FoundryError(
                f"update {self.state.global_step + 1}: none of {len(rewards_D)} responses could be scored, "
                f"so there is nothing to learn from: {self._why_unscored() or 'every reward was None'}"
            )
        values = response_advantages(
            [rewards_D[index] for index in scored],
            [tokens_D[index] for index in scored],
            [index // size for index in scored],
            self._algorithm,
        )
        groups: dict[int, list[float]] = {}
        for index in scored:
            groups.setdefault(index // size, []).append(rewards_D[index])
        flat = sum(not has_spread(group) for group in groups.values())
        for name, value in {
            "groups": len(groups),
            "flat_groups": flat / len(groups),
            "responses": len(scored),
            "unscored": len(rewards_D) - len(scored),
        }.items():
            self._metrics[mode][name].append(value)
        found: list[float | None] = [None] * len(rewards_D)
        for index, value in zip(scored, values, strict=True):
            found[index] = value
        return found

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise _diverged("loss", loss.item(), self.state.global_step)
        return loss

    def create_model_card(self, model_name=None, dataset_name=None, tags=None):
        """None: whoever drives the training describes the model."""


class FiniteGradients(TrainerCallback):
    """Stops before an update whose gradients are not finite: the weights stay those of the last update."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **rest):  # noqa: ARG002
        gradients = [p.grad for p in model.parameters() if p.grad is not None] if model is not None else []
        norm: Any = torch.nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # a part of it on each device (FSDP)
        if not torch.isfinite(norm):
            raise _diverged("norm of the gradients", norm.item(), state.global_step)


def _diverged(what: str, value: float, updates: int) -> FoundryError:
    return FoundryError(
        f"the {what} is {value} in update {updates + 1}: training has diverged (a lower learning_rate, a larger "
        "kl_coefficient or float32 may help); the last checkpoint is intact"
    )
