"""What turn rewards are made of: precision and completeness of turns with calls, and how turns without calls end.

By the preset `frontier` (docs/reward.md): a turn with p calls of which q newly solve a goal, with n goals ready before
it, earns the F1 of precision q/p and completeness q/max(n, q).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from toolfoundry.reward import grade_trajectory
from toolfoundry.types import Trajectory

__all__ = ["PARTS", "RewardParts", "reward_parts"]

PARTS: dict[str, str] = {
    "reward": "mean reward of a turn",
    "calling": "turns with calls",
    "precision": "precision: solved per call",
    "completeness": "completeness: solved per ready sub-question",
    "right": "turns without calls: right answer",
    "nothing": "turns without calls: earned nothing",
    "malformed": "turns without calls: malformed",
    "empty": "turns without calls: empty",
}


class RewardParts(NamedTuple):
    """Means over the turns of scored trajectories. values: by the names of `PARTS`; `calling` is a share of all turns,
    those after "turns without calls" are shares of these; None: there is no such turn."""

    turns: int
    values: Mapping[str, float | None]


def reward_parts(trajectories: Iterable[Trajectory]) -> RewardParts:
    """The parts of the reward, graded anew from what is stored; rollouts that failed are left out."""
    found: dict[str, list[float]] = {name: [] for name in PARTS}
    for trajectory in trajectories:
        if trajectory.stop == "error":
            continue
        for turn, graded in zip(trajectory.turns, grade_trajectory(trajectory, "frontier"), strict=True):
            reward = graded.reward
            found["reward"].append(reward.value)
            calling = reward.calls > reward.malformed
            found["calling"].append(float(calling))
            if calling:
                found["precision"].append(reward.solved / reward.calls)
                if most := max(reward.frontier, reward.solved):
                    found["completeness"].append(reward.solved / most)
                continue
            empty = not (reward.calls or turn.completion.message.content.strip()) and reward.value <= -0.5
            found["right"].append(float(reward.value > 0))
            found["nothing"].append(float(reward.value == 0))
            found["empty"].append(float(empty))
            found["malformed"].append(float(reward.value < 0 and not empty))
    means = {name: sum(values) / len(values) if values else None for name, values in found.items()}
    return RewardParts(len(found["reward"]), means)
