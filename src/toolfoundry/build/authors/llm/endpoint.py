"""Replies from an OpenAI-compatible chat endpoint, over the same line as the policy: its retries, limits and errors."""

from __future__ import annotations

from typing import Protocol

from toolfoundry.build.authors.llm.requests import ChatReply, ChatRequest, reply_of
from toolfoundry.policies.openai import EndpointUsage, OpenAIPolicy

__all__ = ["Endpoint", "Transport"]


class Transport(Protocol):
    """Where replies come from. May raise EndpointError, and `Pending` where they come `later`, in another run."""

    @property
    def later(self) -> bool: ...
    async def complete(self, request: ChatRequest) -> ChatReply: ...
    async def aclose(self) -> None: ...


class Endpoint:
    """The transport over HTTP; `policy` holds the address, the key, the timeout, retries and concurrency."""

    later = False

    def __init__(self, policy: OpenAIPolicy) -> None:
        self._policy = policy

    async def complete(self, request: ChatRequest) -> ChatReply:
        body = request.body()
        extra = {key: body.pop(key) for key in request.extra}  # the SDK refuses fields that it does not know
        return reply_of(await self._policy.exchange({**body, "extra_body": extra}))

    def usage(self) -> EndpointUsage:
        """HTTP requests, retries and tokens of this process."""
        return self._policy.usage()

    async def aclose(self) -> None:
        await self._policy.aclose()
