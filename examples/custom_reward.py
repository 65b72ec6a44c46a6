"""A reward of your own over stored trajectories: ours, less a price for every call. None stays None: not scored."""

import asyncio

from toolfoundry.demo import environments
from toolfoundry.policies.scripted import make
from toolfoundry.reward import grade_trajectory, trajectory_value
from toolfoundry.rollout import run_rollout
from toolfoundry.sandbox import Sandbox
from toolfoundry.types import Trajectory


def thrifty(trajectory: Trajectory, price: float = 0.02) -> float | None:
    """The score of the trajectory minus a price for each call."""
    value = trajectory_value(trajectory)
    calls = sum(graded.reward.calls for graded in grade_trajectory(trajectory))
    return None if value is None else value - price * calls


async def main() -> dict[str, float | None]:
    spec = environments()[0]
    with Sandbox() as sandbox:
        played = [await run_rollout(make(name, spec), spec, sandbox, name=name) for name in ("gold", "spam", "silent")]
    return {trajectory.policy: thrifty(trajectory) for trajectory in played}


if __name__ == "__main__":
    print(asyncio.run(main()))
