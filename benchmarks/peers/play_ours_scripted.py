"""The rollouts in our own runner with a scripted policy in its process, as TRL's generation is scripted."""

from __future__ import annotations

import asyncio

from playing import Clock, Play, options

import toolfoundry
from toolfoundry.policies.scripted import make
from toolfoundry.reward import score_trajectory
from toolfoundry.rollout import Job, run_rollout, run_rollouts
from toolfoundry.sandbox import Sandbox
from toolfoundry.store import read
from toolfoundry.types import EnvSpec


async def play(chosen: Play) -> None:
    specs = list(read(chosen.envs, EnvSpec))
    jobs = (Job(spec, sample) for sample in range(chosen.samples) for spec in specs)
    with Sandbox() as sandbox:
        await run_rollout(make("gold", specs[0], 0), specs[0], sandbox)  # imports what is imported late
        begin = Clock()
        rewards: list[float] = []
        played = run_rollouts(
            jobs, lambda spec, sample: make("gold", spec, sample), sandbox, concurrency=chosen.concurrency
        )
        async for trajectory in played:
            score = score_trajectory(trajectory)
            assert score is not None, trajectory.error
            rewards.append(score.value)
    begin.report(toolfoundry.__version__, rewards, "generation scripted in its process: no server, no client")


if __name__ == "__main__":
    asyncio.run(play(options()))
