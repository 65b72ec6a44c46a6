"""The policy under training plays: whole episodes to collect from or to be measured by, and single responses.

    table = Table(sampler, dialect, sandbox, reward="frontier")
    trajectories = table.episodes(specs, samples=1, temperature=1.0, seed=("collect", 0))
    answers = table.responses(prefixes, specs, group_size=8, temperature=1.0, seed=("step", 17))

Everything is drawn from seeds with named parts: the same policy and parts give the same again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from toolfoundry.environment import Executor
from toolfoundry.policies.sampling import Batcher, Request, Sampled, Sampler, TokenPolicy
from toolfoundry.rollout import Job, run_rollouts
from toolfoundry.samples import Prefix
from toolfoundry.scoring import Response, Scored, score_responses
from toolfoundry.seeds import derive_seed
from toolfoundry.tokens import Dialect, Prompt
from toolfoundry.types import EnvSpec, Limits, Message, Preset, Trajectory

__all__ = ["Answered", "Clock", "Table"]

Seed = tuple[str | int, ...]


class Answered(NamedTuple):
    """One response to a prefix: the prompt that it answers, what was sampled, the message, and what it earned."""

    prefix: Prefix
    prompt: Prompt
    sampled: Sampled
    message: Message
    scored: Scored


class Clock:
    """CPU seconds of this process by what they were spent on (`spent`), tools' processes left out."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, name: str) -> None:
        """Books the time since the last lap."""
        now = time.process_time()
        self.spent[name] = self.spent.get(name, 0.0) + now - self._last
        self._last = now


@dataclass
class Table:
    """Where a policy plays: its sampler and dialect, the sandbox, the reward and the limits of a rollout."""

    sampler: Sampler
    dialect: Dialect
    executor: Executor
    reward: Preset = "frontier"
    limits: Limits = field(default_factory=Limits)
    max_tokens: int = 1024
    max_batch: int = 64

    def episodes(
        self, specs: Sequence[EnvSpec], *, samples: int = 1, temperature: float, seed: Seed, name: str = "policy"
    ) -> list[Trajectory]:
        """`samples` trajectories of each environment, in the order of the environments; failed ones are among them."""
        return asyncio.run(self._episodes(specs, samples, temperature, derive_seed(*seed), name))

    async def _episodes(
        self, specs: Sequence[EnvSpec], samples: int, temperature: float, seed: int, name: str
    ) -> list[Trajectory]:
        batcher = Batcher(self.sampler, max_tokens=self.max_tokens, temperature=temperature, max_batch=self.max_batch)

        def maker(spec: EnvSpec, sample: int) -> TokenPolicy:
            return TokenPolicy(self.dialect, batcher, seed=derive_seed("rollout", seed, spec.id, sample))

        jobs = [Job(spec, sample) for spec in specs for sample in range(samples)]
        order = {job.key(name): index for index, job in enumerate(jobs)}
        played = [
            trajectory
            async for trajectory in run_rollouts(
                jobs, maker, self.executor, self.limits, name=name, preset=self.reward, concurrency=self.max_batch
            )
        ]
        return sorted(played, key=lambda trajectory: order[trajectory.key])

    def responses(
        self,
        prefixes: Sequence[Prefix],
        specs: Mapping[str, EnvSpec],
        *,
        group_size: int,
        temperature: float,
        seed: Seed,
        clock: Clock | None = None,
    ) -> list[Answered]:
        """`group_size` responses to each prefix, group after group, each scored by executing its calls."""
        clock = clock or Clock()
        prompts = [self.prompt(prefix, specs) for prefix in prefixes]
        requests = [
            Request(prompt.ids, derive_seed("response", *seed, prefix.key, member))
            for prefix, prompt in zip(prefixes, prompts, strict=True)
            for member in range(group_size)
        ]
        clock.lap("prompt")
        sampled = self.sampler.sample(requests, max_tokens=self.max_tokens, temperature=temperature)
        clock.lap("generate")
        asked = [pair for pair in zip(prefixes, prompts, strict=True) for _ in range(group_size)]
        said = [
            Response(
                specs[prefix.task.spec_id],
                prefix,
                self.dialect.read(one.token_ids, first_id=sum(len(m.tool_calls) for m in prefix.messages)),
            )
            for (prefix, _), one in zip(asked, sampled, strict=True)
        ]
        scored = asyncio.run(score_responses(said, self.executor, preset=self.reward, limits=self.limits))
        clock.lap("reward")
        return [
            Answered(prefix, prompt, one, response.message, score)
            for (prefix, prompt), one, response, score in zip(asked, sampled, said, scored, strict=True)
        ]

    def prompt(self, prefix: Prefix, specs: Mapping[str, EnvSpec]) -> Prompt:
        """The ids of a prefix."""
        tools = [tool.signature for tool in specs[prefix.task.spec_id].tools]
        turns = sum(message.role == "assistant" for message in prefix.messages)
        return self.dialect.prompt(prefix.messages, tools, prefix.said or [()] * turns)
