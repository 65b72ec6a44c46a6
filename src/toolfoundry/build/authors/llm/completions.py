"""One way to a reply: out of the cache, or from the transport within the budget, and then into the cache."""

from __future__ import annotations

import asyncio
from typing import Literal

from toolfoundry.build.authors.llm.cache import Prices, ReplyCache
from toolfoundry.build.authors.llm.endpoint import Transport
from toolfoundry.build.authors.llm.requests import MODES, ChatReply, ChatRequest, Mode
from toolfoundry.errors import EndpointError

__all__ = ["Completions", "Structured"]

Structured = Literal["auto", "json_schema", "json_object", "text"]
_NOT_UNDERSTOOD = (400, 422)


class Completions:
    """Replies to requests, each paid for once.

    structured: how servers are asked for JSON; `auto` tries the strictest way first, goes on to the next one where a
    server refuses the request and takes it the other way, and remembers that in the cache under `server`.
    """

    def __init__(
        self,
        cache: ReplyCache,
        transport: Transport,
        *,
        structured: Structured = "auto",
        server: str = "",
        prices: Prices | None = None,
        budget: float | None = None,
    ) -> None:
        self.cache, self._transport = cache, transport
        self._structured, self._note = structured, f"structured {server}"
        self._prices, self._budget = prices or Prices(), budget
        self._asking: dict[str, asyncio.Lock] = {}
        self.from_cache = 0
        """Replies of this process that were in the cache already."""
        self.received = 0
        """Replies of this process that came from the transport."""

    async def complete(self, request: ChatRequest) -> ChatReply:
        """The reply. Raises EndpointError, BudgetExceeded, or Pending."""
        if request.form is None:
            return await self._once(request)
        modes = self._modes()
        for mode in modes:
            try:
                reply = await self._once(request.model_copy(update={"mode": mode}))
            except EndpointError as error:
                if error.status not in _NOT_UNDERSTOOD or mode == modes[-1]:
                    raise
                continue
            if mode != modes[0]:
                self.cache.remember(self._note, mode)
            return reply
        raise AssertionError("there is always a mode")

    def _modes(self) -> tuple[Mode, ...]:
        if self._structured != "auto":
            return tuple(mode for mode in MODES if mode == self._structured)
        known = self.cache.note(self._note)
        return tuple(mode for mode in MODES if known not in MODES or MODES.index(mode) >= MODES.index(known))

    async def _once(self, request: ChatRequest) -> ChatReply:
        key = request.hash
        async with self._asking.setdefault(key, asyncio.Lock()):  # equal requests of two items are sent once
            try:
                if (known := self.cache.get(key)) is not None:
                    self.from_cache += 1
                    return known
                self.cache.begin(request, self._prices, self._budget, later=self._transport.later)
                try:
                    reply = await self._transport.complete(request)
                except EndpointError:
                    self.cache.give_up(key)
                    raise
                self.cache.put(key, reply, request.prompt_tokens)
                self.received += 1
                return reply
            finally:
                self._asking.pop(key, None)
