# pyright: basic
"""Our own training loop, for policies that a CPU can train: imitation and policy gradients, readable top to bottom.

    imitate(model, samples, ...)      SFT: cross-entropy of the masked tokens
    improve(model, samples, ...)      one policy-gradient step on samples with advantages

    L = - mean( min(r A, clip(r, 1 - e, 1 + e) A) ) + beta * KL - gamma * H         r = pi(token) / pi_old(token)

The objective is PPO's with the dual clip (Ye et al. 2020, arXiv:1912.09729), KL is the k3 estimate exp(d) - d - 1 with
d = log pi_ref - log pi, as in the release that the paper trained with; advantages come from `toolfoundry.advantages`.

What is left out, compared with TRL: several devices, mixed precision, LoRA, packing. What is done instead, because it
pays on two cores: a group's prompt is read once, logits only where the mask is True, no backward pass for samples
without an advantage. `docs/training.md` has the comparison.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from toolfoundry.errors import FoundryError
from toolfoundry.samples import Sample
from toolfoundry.seeds import generator
from toolfoundry.train.config import TrainConfig

__all__ = ["Batch", "Optimizer", "UpdateStats", "collate", "imitate", "improve", "shuffled_batches", "token_logprobs"]

_CHUNK = 64  # samples of one forward and backward pass
_ROW = 2048  # tokens of a row that samples share: attention to what a token does not see costs too


class Batch(NamedTuple):
    """B rows of L tokens, padded on the right, and N targets in the order of the samples and then of their tokens.

    positions: of each token in its own sample. attention: which tokens a token sees, (B, 1, L, L); None: all before it.
    rows, sources, targets: in which row, and at which token, the model predicts which id.
    """

    ids: Tensor
    positions: Tensor
    attention: Tensor | None
    rows: Tensor
    sources: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> Batch:
        ids, positions, rows, sources, targets = (
            part.to(device) for part in (self.ids, self.positions, self.rows, self.sources, self.targets)
        )
        attention = None if self.attention is None else self.attention.to(device)
        return Batch(ids, positions, attention, rows, sources, targets)


def collate(samples: Sequence[Sample], pad: int) -> Batch:
    """The samples as one rectangle. Neighbours with the same prompt share a row, and their prompt is read once.

    In such a row the rest of each sample follows the prompt, sees it and itself, and goes on from its positions: the
    model computes for each what it would compute alone.
    """
    shared: list[tuple[tuple[int, ...], list[Sample]]] = []
    lengths: list[int] = []
    for sample in samples:
        prompt = sample.token_ids[: sample.mask.index(True)]
        length = len(sample.token_ids)
        if shared and shared[-1][0] == prompt and lengths[-1] + length - len(prompt) <= _ROW:
            shared[-1][1].append(sample)
            lengths[-1] += length - len(prompt)
        else:
            shared.append((prompt, [sample]))
            lengths.append(length)
    size = len(shared), max(lengths)
    ids, positions = torch.full(size, pad), torch.zeros(size, dtype=torch.long)
    owner = torch.full(size, -1)  # 0: the prompt; 1, 2, ...: the rest of a sample; -1: padding
    rows: list[int] = []
    sources: list[int] = []
    targets: list[int] = []
    for row, (prompt, members) in enumerate(shared):
        start = len(prompt)
        ids[row, :start], positions[row, :start], owner[row, :start] = torch.tensor(prompt), torch.arange(start), 0
        at = start
        for number, sample in enumerate(members, start=1):
            rest = sample.token_ids[start:]
            end = at + len(rest)
            ids[row, at:end] = torch.tensor(rest)
            positions[row, at:end] = torch.arange(start, start + len(rest))
            owner[row, at:end] = number
            for place, (token, wanted) in enumerate(zip(rest, sample.mask[start:], strict=True)):
                if wanted:
                    rows.append(row)
                    sources.append(at + place - 1 if place else start - 1)
                    targets.append(token)
            at = end
    attention = None
    if any(len(members) > 1 for _, members in shared):
        before = torch.ones(size[1], size[1], dtype=torch.bool).tril()
        same = (owner[:, :, None] == owner[:, None, :]) | (owner[:, None, :] == 0)
        attention = (before & same)[:, None]
    return Batch(ids, positions, attention, torch.tensor(rows), torch.tensor(sources), torch.tensor(targets))


def target_logits(model, batch: Batch) -> tuple[Tensor, Tensor]:
    """(logits, ids) of the targets; `model` is any causal language model of transformers."""
    batch = batch.to(model.device)
    hidden = model.model(
        input_ids=batch.ids, attention_mask=batch.attention, position_ids=batch.positions, use_cache=False
    ).last_hidden_state
    return model.lm_head(hidden[batch.rows, batch.sources]).float(), batch.targets


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The log-probability of each target, and the entropy of the distribution that it was drawn from."""
    logprobs = torch.log_softmax(logits / temperature, -1)
    return logprobs.gather(1, targets[:, None])[:, 0], -(logprobs.exp() * logprobs).sum(-1)


class Optimizer:
    """AdamW, or Muon on the inner matrices beside AdamW on the rest, with a schedule in steps.

    Muon (`torch.optim.Muon`) learns to imitate in a fraction of the steps here; for policy gradients AdamW is steadier.
    """

    def __init__(self, model, config: TrainConfig, total_steps: int | None) -> None:
        self._model, self._config, self._total = model, config, total_steps
        parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        inner = [p for name, p in parameters if config.optimizer == "muon" and p.ndim == 2 and "embed" not in name]
        chosen = {id(p) for p in inner}
        rest = [p for _, p in parameters if id(p) not in chosen]
        decay = config.weight_decay
        self.parts: list[torch.optim.Optimizer] = []
        if inner:
            self.parts.append(torch.optim.Muon(inner, lr=config.muon_learning_rate, weight_decay=decay))
        self.parts.append(torch.optim.AdamW(rest, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=decay))
        self._rates = [group["lr"] for part in self.parts for group in part.param_groups]
        self.steps = 0

    def factor(self) -> float:
        """What the learning rates are multiplied by at the next step."""
        rising = min(1.0, (self.steps + 1) / (self._config.warmup_steps + 1))
        if self._config.schedule == "constant" or self._total is None:
            return rising
        left = 1 - self.steps / self._total  # trapezoid: constant for the first half, then down to a fiftieth
        return rising * max(0.02, min(1.0, 2 * left))

    def step(self) -> float:
        """Applies the gradients, clears them, and returns their norm. Raises FoundryError where it is not finite."""
        norm = float(torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._config.grad_clip))
        if not math.isfinite(norm):
            raise FoundryError(
                f"training diverged at step {self.steps}: the gradient is {norm}; the last checkpoint is intact "
                "(lower learning_rate, or raise warmup_steps)"
            )
        factor = self.factor()
        groups = [group for part in self.parts for group in part.param_groups]
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate * factor
        for part in self.parts:
            part.step()
            part.zero_grad(set_to_none=True)
        self.steps += 1
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors: part, parameter and quantity; `steps` is among them."""
        found = {"steps": torch.tensor(self.steps)}
        for number, part in enumerate(self.parts):
            for index, values in part.state_dict()["state"].items():
                for name, value in values.items():
                    found[f"{number}.{index}.{name}"] = torch.as_tensor(value).contiguous()
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Takes up the state that `tensors` gave. Raises ValueError for that of another optimizer or model."""
        if "steps" not in tensors:
            raise ValueError("it has no 'steps'")
        states: list[dict[int, dict[str, Tensor]]] = [{} for _ in self.parts]
        for key, value in tensors.items():
            if key != "steps":
                number, index, name = key.split(".")
                parameters = [p for group in self.parts[int(number)].param_groups for p in group["params"]]
                shape = parameters[int(index)].shape
                if value.ndim and value.shape != shape:  # torch would take it, and fail at the next step
                    raise ValueError(f"{key} has shape {tuple(value.shape)}, its parameter {tuple(shape)}")
                states[int(number)].setdefault(int(index), {})[name] = value
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})
        self.steps = int(tensors["steps"])


# --- imitation -----------------------------------------------------------------------------------------------------


def shuffled_batches(samples: Sequence[Sample], size: int, *parts: str | int) -> Iterator[list[Sample]]:
    """Batches of like length without end, each sample once an epoch; the order depends on the seed `parts` alone."""
    epoch = 0
    while True:
        rng = generator("epoch", *parts, epoch)
        order = list(range(len(samples)))
        rng.shuffle(order)
        stretch = 16 * size  # sorted by length within a stretch: little padding, and still mixed
        batches: list[list[int]] = []
        for start in range(0, len(order), stretch):
            near = sorted(order[start : start + stretch], key=lambda index: len(samples[index].token_ids))
            batches += [near[i : i + size] for i in range(0, len(near), size)]
        rng.shuffle(batches)
        for batch in batches:
            yield [samples[index] for index in batch]
        epoch += 1


def imitate(model, optimizer: Optimizer, samples: Sequence[Sample], pad: int) -> tuple[float, float, float]:
    """One step of SFT on a batch: (loss, share of the targets that are the likeliest token, gradient norm)."""
    logits, targets = target_logits(model, collate(samples, pad))
    loss = functional.cross_entropy(logits, targets)
    loss.backward()
    right = (logits.argmax(-1) == targets).float().mean().item()
    return loss.item(), right, optimizer.step()


# --- policy gradient -----------------------------------------------------------------------------------------------


class UpdateStats(NamedTuple):
    """Means over the tokens (or of the updates) of one step. None: not computed."""

    loss: float
    kl: float | None
    entropy: float | None
    clipped: float
    grad_norm: float | None
    updates: int
    trained: int


def improve(
    model,
    reference,
    optimizer: Optimizer,
    samples: Sequence[Sample],
    config: TrainConfig,
    pad: int,
) -> UpdateStats:
    """One step on samples with advantages: an update for each part of `prompts_per_update` groups, in their order.

    Samples whose advantages are all 0 count in the mean and have no gradient, unless KL or entropy give them one.
    """
    regular = bool(config.kl_coefficient or config.entropy_coefficient)
    sums = {"loss": 0.0, "kl": 0.0, "entropy": 0.0, "clipped": 0.0}
    tokens = trained = updates = 0
    norm: float | None = None
    for part in _parts(samples, config.prompts_per_update):
        useful = [sample for sample in part if regular or any(sample.advantages)]
        if not useful:
            continue
        total_tokens = sum(len(sample.advantages) for sample in part)
        for start in range(0, len(useful), _CHUNK):
            chunk = useful[start : start + _CHUNK]
            batch = collate(chunk, pad)
            logits, targets = target_logits(model, batch)
            logprobs, entropy = token_logprobs(logits, targets, config.temperature)
            old = logprobs.new_tensor([value for sample in chunk for value in sample.logprobs])
            advantages = logprobs.new_tensor([value for sample in chunk for value in sample.advantages])
            ratio = torch.exp(logprobs - old)
            plain = -ratio * advantages
            kept = torch.maximum(plain, -ratio.clamp(1 - config.clip, 1 + config.clip) * advantages)
            if config.dual_clip is not None:
                kept = torch.where(advantages < 0, torch.minimum(kept, -config.dual_clip * advantages), kept)
            losses = kept
            if reference is not None:
                with torch.no_grad():
                    ref_logits, _ = target_logits(reference, batch)
                    ref_logprobs, _ = token_logprobs(ref_logits, targets, config.temperature)
                gap = (ref_logprobs - logprobs).clamp(-20, 20)
                kl = (gap.exp() - gap - 1).clamp(-10, 10)
                losses = losses + config.kl_coefficient * kl
                sums["kl"] += kl.detach().sum().item()
            if config.entropy_coefficient:
                losses = losses - config.entropy_coefficient * entropy
            if config.loss_mean == "sequence":
                shares = losses.new_tensor(
                    [1 / len(sample.advantages) for sample in chunk for _ in sample.advantages]
                ) / len(part)
            else:
                shares = torch.full_like(losses, 1 / total_tokens)
            loss = (losses * shares).sum()
            if not torch.isfinite(loss):
                raise FoundryError(
                    f"training diverged at step {optimizer.steps}: the loss is {loss.item()}; the last checkpoint is "
                    "intact (lower learning_rate)"
                )
            loss.backward()
            sums["loss"] += loss.item()
            sums["entropy"] += entropy.detach().sum().item()
            sums["clipped"] += ((ratio - 1).abs() > config.clip).sum().item()
            tokens += len(targets)
        norm = optimizer.step()
        trained += len(useful)
        updates += 1
    per_token = max(tokens, 1)
    return UpdateStats(
        loss=sums["loss"] / max(updates, 1),
        kl=sums["kl"] / per_token if reference is not None else None,
        entropy=sums["entropy"] / per_token if tokens else None,
        clipped=sums["clipped"] / per_token,
        grad_norm=norm,
        updates=updates,
        trained=trained,
    )


def _parts(samples: Sequence[Sample], groups: int | None) -> Iterator[list[Sample]]:
    """The samples in parts of so many groups; None: all at once."""
    by_group: dict[str, list[Sample]] = {}
    for sample in samples:
        by_group.setdefault(sample.group, []).append(sample)
    members = list(by_group.values())
    size = groups or len(members)
    for start in range(0, len(members), size):
        yield [sample for group in members[start : start + size] for sample in group]
