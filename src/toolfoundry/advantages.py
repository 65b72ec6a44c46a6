"""Advantages: from the rewards of sampled responses to the number that multiplies each token's gradient.

Plain functions over lists, the same for every backend. Axes: D responses; G responses to one prompt, which stand
together (a group); T tokens of a response (ragged).

    GRPO              A = (r - mean_G) / (std_G + 1e-6)                    DeepSeekMath (arXiv:2402.03300), eq. in 4.1.2
    Dr. GRPO          A = r - mean_G                                       Liu et al. 2025 (arXiv:2503.20783)
    REINFORCE++       A = whiten over all tokens of the batch (return)     Hu et al. 2025 (arXiv:2501.03262)
    ... -baseline     the same, after subtracting mean_G

The standard deviation of a group is unbiased (divided by G - 1) and eps is 1e-6, as in the release that the paper
trained with; whitening is per token, with unbiased variance and eps 1e-8 under the root, as in verl's `masked_whiten`.

Departure: a group with equal rewards, or of one response, has advantage 0 exactly: it teaches nothing, and is not
turned into rounding noise. (The release gives a group of one its reward as advantage, with mean 0 and deviation 1.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

__all__ = [
    "Algorithm",
    "by_group",
    "discounted_returns",
    "grpo",
    "has_spread",
    "reinforce_returns",
    "response_advantages",
    "whiten",
    "whiten_tokens",
]

Algorithm = Literal["grpo", "dr-grpo", "reinforce++", "reinforce++-baseline"]

GROUP_EPS = 1e-6
WHITEN_EPS = 1e-8
_EQUAL = 1e-9  # rewards that differ by less are the same reward


def has_spread(rewards_G: Sequence[float]) -> bool:
    """Whether a group's rewards differ: otherwise it has nothing to say about what is better. An empty one has none."""
    return len(rewards_G) > 0 and max(rewards_G) - min(rewards_G) > _EQUAL


def grpo(rewards_G: Sequence[float], *, scale: bool = True) -> list[float]:
    """The advantages of one group: centred, and divided by the standard deviation where `scale` (GRPO, not Dr. GRPO).

    A group of one, or with equal rewards, gives zeros. Raises ValueError for an empty group.
    """
    if not rewards_G:
        raise ValueError("rewards: found an empty group, expected at least one reward")
    if not has_spread(rewards_G):
        return [0.0] * len(rewards_G)
    mean = math.fsum(rewards_G) / len(rewards_G)
    centred = [reward - mean for reward in rewards_G]
    if not scale:
        return centred
    std = math.sqrt(math.fsum(value * value for value in centred) / (len(centred) - 1))
    return [value / (std + GROUP_EPS) for value in centred]


def by_group(values_D: Sequence[float], groups_D: Sequence[str | int], *, scale: bool) -> list[float]:
    """Each value centred within its group (`grpo`), in the order given; members need not stand together."""
    members: dict[str | int, list[int]] = {}
    for index, group in enumerate(groups_D):
        members.setdefault(group, []).append(index)
    result = [0.0] * len(values_D)
    for indices in members.values():
        advantages = grpo([values_D[index] for index in indices], scale=scale)
        for index, advantage in zip(indices, advantages, strict=True):
            result[index] = advantage
    return result


def whiten(values_D: Sequence[float], tokens_D: Sequence[int]) -> list[float]:
    """Values of responses, shifted and scaled to mean 0 and variance 1 over all *tokens* of the batch.

    Each value stands `tokens_D[i]` times, once for each token of its response. Equal values give zeros.
    Raises ValueError where there is no token at all.
    """
    return [value for (value,) in whiten_tokens([(v,) for v in values_D], tokens_D)]


def whiten_tokens(values_D_T: Sequence[Sequence[float]], repeats_D: Sequence[int] | None = None) -> list[list[float]]:
    """Per-token values, whitened over all tokens of the batch. `repeats_D`: how often a response's values stand."""
    repeats = repeats_D if repeats_D is not None else [1] * len(values_D_T)
    count = sum(len(values) * times for values, times in zip(values_D_T, repeats, strict=True))
    if count == 0:
        raise ValueError("tokens: found none, expected at least one token to whiten over")
    total = math.fsum(math.fsum(values) * times for values, times in zip(values_D_T, repeats, strict=True))
    mean = total / count
    squares = math.fsum(
        math.fsum((value - mean) ** 2 for value in values) * times
        for values, times in zip(values_D_T, repeats, strict=True)
    )
    variance = squares / (count - 1) if count > 1 else 0.0
    if math.sqrt(variance) <= _EQUAL:
        return [[0.0] * len(values) for values in values_D_T]
    scale = 1 / math.sqrt(variance + WHITEN_EPS)
    return [[(value - mean) * scale for value in values] for values in values_D_T]


def discounted_returns(rewards_T: Sequence[float], gamma: float = 1.0) -> list[float]:
    """return_t = r_t + gamma * return_{t+1}: with gamma 1 and a reward on the last token, that reward on each."""
    returns: list[float] = []
    following = 0.0
    for reward in reversed(rewards_T):
        following = reward + gamma * following
        returns.append(following)
    return returns[::-1]


def reinforce_returns(reward: float, kl_T: Sequence[float], *, beta: float, gamma: float = 1.0) -> list[float]:
    """The return of each token where the divergence is part of the reward: r_t = [t = T] * reward - beta * KL_t.

    REINFORCE++ (arXiv:2501.03262) whitens these over the batch (`whiten_tokens`). `kl_T`: an estimate of the divergence
    from the reference policy at each token of one response. Raises ValueError for a response without tokens.
    """
    if not kl_T:
        raise ValueError("kl: found no token, expected at least one (the reward stands on the last)")
    rewards = [-beta * kl for kl in kl_T]
    rewards[-1] += reward
    return discounted_returns(rewards, gamma)


def response_advantages(
    rewards_D: Sequence[float], tokens_D: Sequence[int], groups_D: Sequence[str | int], algorithm: Algorithm
) -> list[float]:
    """One advantage for each response, which all of its tokens share (gamma 1, no KL in the reward).

    Args:
        rewards_D: the rewards of one batch.
        tokens_D: how many sampled tokens each response has (whitening counts tokens, not responses).
        groups_D: which prompt each response answers; a group may be smaller than the others (unscored members).
        algorithm: which estimator.

    Raises:
        ValueError: lengths do not fit each other, a reward is not finite, or there is nothing to estimate from.
    """
    if not rewards_D or not len(rewards_D) == len(tokens_D) == len(groups_D):
        found = f"{len(rewards_D)} rewards, {len(tokens_D)} lengths, {len(groups_D)} groups"
        raise ValueError(f"found {found}, expected as many of each, and at least one")
    if not all(math.isfinite(reward) for reward in rewards_D):
        raise ValueError("rewards: found one that is not finite, expected numbers (an unscored response is left out)")
    match algorithm:
        case "grpo":
            return by_group(rewards_D, groups_D, scale=True)
        case "dr-grpo":
            return by_group(rewards_D, groups_D, scale=False)
        case "reinforce++":
            return whiten(rewards_D, tokens_D)
        case "reinforce++-baseline":
            return whiten(by_group(rewards_D, groups_D, scale=False), tokens_D)
