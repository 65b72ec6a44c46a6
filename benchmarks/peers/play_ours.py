"""The rollouts in our own runner: the policy for OpenAI-compatible endpoints, tools in the sandbox."""

from __future__ import annotations

import asyncio

from playing import Clock, Play, options

import toolfoundry
from toolfoundry.policies.openai import OpenAIPolicy
from toolfoundry.reward import score_trajectory
from toolfoundry.rollout import Job, run_rollout, run_rollouts
from toolfoundry.sandbox import Sandbox
from toolfoundry.store import read
from toolfoundry.types import EnvSpec


async def play(chosen: Play) -> None:
    specs = list(read(chosen.envs, EnvSpec))
    jobs = (Job(spec, sample) for sample in range(chosen.samples) for spec in specs)
    policy = OpenAIPolicy("scripted", base_url=chosen.url, concurrency=chosen.concurrency)
    with Sandbox() as sandbox:
        async with policy:
            await run_rollout(policy, specs[0], sandbox)  # imports what is imported late
            begin = Clock()
            rewards: list[float] = []
            played = run_rollouts(
                jobs, lambda _, sample: policy.sampled(sample), sandbox, concurrency=chosen.concurrency
            )
            async for trajectory in played:
                score = score_trajectory(trajectory)
                assert score is not None, trajectory.error
                rewards.append(score.value)
        begin.report(toolfoundry.__version__, rewards)


if __name__ == "__main__":
    asyncio.run(play(options()))
