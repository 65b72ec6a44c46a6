"""Policies that sample token ids themselves: many conversations are waited for together and sampled as one batch.

    batcher = Batcher(sampler, max_tokens=256, temperature=1.0)
    policy = TokenPolicy(dialect, batcher, seed=derive_seed("rollout", 0, spec.id, sample))     one for each rollout

A `Sampler` is the model behind it (`policies/transformers.py`, `policies/vllm.py`). Each request carries a seed of its
own, so that what is sampled does not depend on who else is in the batch, beyond the rounding of floating point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from toolfoundry.seeds import derive_seed
from toolfoundry.tokens import Dialect
from toolfoundry.types import Completion, Message, ToolSchema, Usage

__all__ = ["Batcher", "Request", "Sampled", "Sampler", "TokenPolicy"]


class Request(NamedTuple):
    """One completion that is wanted. Requests with equal `prompt_ids` share the work of reading the prompt."""

    prompt_ids: Sequence[int]
    seed: int


class Sampled(NamedTuple):
    """The sampled ids, the end of turn included where it came, and the log-probability of each as it was sampled
    (at the sampling temperature; 0 for greedy decoding)."""

    token_ids: list[int]
    logprobs: list[float]


class Sampler(Protocol):
    """A model that completes prompts. Temperature 0 is greedy. Results are in the order of the requests.

    Raises InputError for a prompt that does not fit the model.
    """

    def sample(self, requests: Sequence[Request], *, max_tokens: int, temperature: float) -> list[Sampled]: ...


class Batcher:
    """Collects the requests of rollouts that run at once: when none of them can go on, all are sampled together.

    `max_batch`: requests sampled at once. Bound to the event loop in which it is used.
    """

    def __init__(self, sampler: Sampler, *, max_tokens: int, temperature: float, max_batch: int = 64) -> None:
        self._sampler, self._max_tokens, self._temperature = sampler, max_tokens, temperature
        self._max_batch = max_batch
        self._waiting: list[tuple[Request, asyncio.Future[Sampled]]] = []
        self._round: asyncio.Task[None] | None = None

    async def sample(self, request: Request) -> Sampled:
        """The completion of one request, sampled together with the others that are waiting."""
        future: asyncio.Future[Sampled] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._serve())
        return await future

    async def _serve(self) -> None:
        while self._waiting:
            await self._settle()
            batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
            batch = [(request, future) for request, future in batch if not future.done()]
            if not batch:
                continue
            try:
                sampled = await asyncio.to_thread(
                    self._sampler.sample,
                    [request for request, _ in batch],
                    max_tokens=self._max_tokens,
                    temperature=self._temperature,
                )
            except Exception as failure:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(failure)
                continue
            for (_, future), result in zip(batch, sampled, strict=True):
                if not future.done():
                    future.set_result(result)

    async def _settle(self) -> None:
        """Waits until no more requests come in: rollouts that are executing tools get their chance to join."""
        seen, quiet_s = -1, 0.002
        while len(self._waiting) < self._max_batch and len(self._waiting) != seen:
            seen = len(self._waiting)
            await asyncio.sleep(quiet_s)


class TokenPolicy:
    """One rollout's policy: the conversation stays as ids, and each turn's sampled ids are remembered."""

    def __init__(self, dialect: Dialect, batcher: Batcher, *, seed: int) -> None:
        self._dialect, self._batcher, self._seed = dialect, batcher, seed
        self._said: list[list[int]] = []

    async def __call__(self, messages: Sequence[Message], tools: Sequence[ToolSchema]) -> Completion:
        prompt = self._dialect.prompt(messages, tools, self._said)
        request = Request(prompt.ids, derive_seed("turn", self._seed, len(self._said)))
        sampled = await self._batcher.sample(request)
        self._said.append(sampled.token_ids)
        calls = sum(len(message.tool_calls) for message in messages)
        return Completion(
            message=self._dialect.read(sampled.token_ids, first_id=calls),
            token_ids=tuple(sampled.token_ids),
            logprobs=tuple(sampled.logprobs),
            usage=Usage(prompt_tokens=len(prompt.ids), completion_tokens=len(sampled.token_ids)),
        )
