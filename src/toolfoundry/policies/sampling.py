"""Policies that sample token ids themselves: many conversations are waited for together and sampled as one batch.

    batcher = Batcher(sampler, max_tokens=256, temperature=1.0)
    policy = TokenPolicy(dialect, batcher, seed=derive_seed("rollout", 0, spec.id, sample))     one for each rollout

A `Sampler` is the model behind it (`policies/transformers.py`, `policies/vllm.py`). Each request carries a seed of its
own, so that what is sampled does not depend on who else is in the batch, beyond the rounding of floating point.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from toolfoundry.errors import ContextFull
from toolfoundry.seeds import derive_seed
from toolfoundry.tokens import Dialect, Transcript
from toolfoundry.types import Completion, Message, ToolSchema, Usage

__all__ = ["Batcher", "Request", "Sampled", "Sampler", "TokenPolicy"]

# Turns of the event loop without news. An answer ends a rollout, and the next one asks, within fewer than ten.
_QUIET_TURNS = 20


class Request(NamedTuple):
    """One completion that is wanted. Requests with equal `prompt_ids` share the work of reading the prompt."""

    prompt_ids: Sequence[int]
    seed: int


class Sampled(NamedTuple):
    """The sampled ids, the end of turn included where it came, and the log-probability of each under the distribution
    that it was drawn from (for temperature 0, which draws nothing, under that of temperature 1)."""

    token_ids: list[int]
    logprobs: list[float]


class Sampler(Protocol):
    """A model that completes prompts. Temperature 0 is greedy. Results are in the order of the requests.

    One that has an attribute `context` (the tokens that a prompt and its completion may have together) is never asked
    by a `Batcher` for a prompt that leaves no room in it. Raises ContextFull (an InputError) for one that does.
    """

    def sample(self, requests: Sequence[Request], *, max_tokens: int, temperature: float) -> list[Sampled]: ...


class Batcher:
    """Collects the requests of rollouts that run at once: when each of them waits for the model, all are sampled.

    So batches are full, and who is in a batch together does not depend on how long their tools took: the same rollouts
    with the same seeds give the same again. A rollout is known by its `TokenPolicy`, from its making until nobody holds
    it any more. If for `patience_s` seconds nothing happens, those that wait are sampled without the others; then
    the clock has a say in the grouping, and so in the rounding.

    `max_batch`: requests sampled at once; more are sampled in several batches of nearly equal size. Bound to the event
    loop in which it is used.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        max_tokens: int,
        temperature: float,
        max_batch: int = 64,
        patience_s: float = 2.0,
    ) -> None:
        self._sampler, self._max_tokens, self._temperature = sampler, max_tokens, temperature
        self._max_batch, self._patience_s = max_batch, patience_s
        self._context: int | None = getattr(sampler, "context", None)
        self._rollouts: weakref.WeakSet[object] = weakref.WeakSet()
        self._waiting: list[_Waiting] = []
        self._rounds: asyncio.Task[None] | None = None

    def expect(self, rollout: object) -> None:
        """From now on this rollout is waited for, until the object is gone."""
        self._rollouts.add(rollout)

    async def sample(self, request: Request) -> Sampled:
        """The completion of one request, sampled together with the others that are waiting.

        Raises ContextFull for a prompt that leaves no room in the model's context, else what the sampler raises.
        """
        if self._context is not None and len(request.prompt_ids) >= self._context:
            found = f"a prompt of {len(request.prompt_ids)} tokens"
            raise ContextFull(f"{found}, expected fewer than the model's context of {self._context}")
        future: asyncio.Future[Sampled] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(request, future))
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._serve())
        try:
            return await future
        finally:
            del future  # with an exception in it, it would hold this frame, and so the rollout, until collected

    async def _serve(self) -> None:
        while self._waiting:
            await self._settle()
            # An order that is the requests' own, with equal prompts side by side.
            together = sorted(self._waiting, key=_order)
            self._waiting = []
            parts = max(1, -(-len(together) // self._max_batch))
            size = -(-len(together) // parts)
            while together:
                await self._sample(together[:size])
                del together[:size]

    async def _sample(self, batch: list[_Waiting]) -> None:
        batch = [one for one in batch if not one.future.done()]  # a rollout may have run out of time
        if not batch:
            return
        outcome = await self._outcome([one.request for one in batch])
        for at, one in enumerate(batch):
            if one.future.done():
                continue
            if isinstance(outcome, Exception):
                one.future.set_exception(outcome)
            else:
                one.future.set_result(outcome[at])

    async def _outcome(self, requests: list[Request]) -> list[Sampled] | Exception:
        """A function of its own, so that an exception's frames do not hold the futures that will hold it."""
        try:
            sampled = await asyncio.to_thread(
                self._sampler.sample, requests, max_tokens=self._max_tokens, temperature=self._temperature
            )
            if len(sampled) != len(requests):  # else somebody would wait forever
                raise ValueError(f"sampler: found {len(sampled)} completions for {len(requests)} requests")
            return sampled
        except Exception as failure:
            return failure

    async def _settle(self) -> None:
        """Waits until all rollouts wait, and no more appear while those that are ready have their turn."""
        seen, turns, since = (0, 0), 0, time.monotonic()
        while turns < _QUIET_TURNS and time.monotonic() - since < self._patience_s:
            self._waiting = [one for one in self._waiting if not one.future.done()]
            now = (len(self._waiting), len(self._rollouts))
            if now != seen:
                seen, turns, since = now, 0, time.monotonic()
            elif now[0] >= now[1]:
                turns += 1
            await asyncio.sleep(0 if now[0] >= now[1] else 0.001)


class _Waiting(NamedTuple):
    request: Request
    future: asyncio.Future[Sampled]


def _order(waiting: _Waiting) -> tuple[list[int], int]:
    return list(waiting.request.prompt_ids), waiting.request.seed


class TokenPolicy:
    """One rollout's policy: the conversation stays as ids, and each turn's sampled ids are remembered."""

    def __init__(self, dialect: Dialect, batcher: Batcher, *, seed: int) -> None:
        self._dialect, self._batcher, self._seed = dialect, batcher, seed
        self._said: list[list[int]] = []
        self._last: Message | None = None
        self._transcript: Transcript | None = None
        batcher.expect(self)

    async def __call__(self, messages: Sequence[Message], tools: Sequence[ToolSchema]) -> Completion:
        if self._transcript is None:
            self._transcript = Transcript(self._dialect, tools)
        said_last = next((message for message in reversed(messages) if message.role == "assistant"), None)
        if self._last is not None and said_last != self._last:  # whoever plays has changed it: cut a call, say
            self._said[-1] = []
        prompt = self._transcript.prompt(messages, self._said)
        request = Request(prompt.ids, derive_seed("turn", self._seed, len(self._said)))
        sampled = await self._batcher.sample(request)
        self._said.append(sampled.token_ids)
        calls = sum(len(message.tool_calls) for message in messages)
        self._last = self._dialect.read(sampled.token_ids, first_id=calls)
        return Completion(
            message=self._last,
            token_ids=tuple(sampled.token_ids),
            logprobs=tuple(sampled.logprobs),
            usage=Usage(prompt_tokens=len(prompt.ids), completion_tokens=len(sampled.token_ids)),
        )
