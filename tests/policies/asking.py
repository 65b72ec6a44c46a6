"""One question put to the policy over real HTTP, for the tests of the policy."""

import asyncio

import pytest

from fake_openai_server import serve
from toolfoundry.errors import EndpointError
from toolfoundry.policies.openai import OpenAIPolicy
from toolfoundry.types import Completion, Message, ToolSchema

TOOL = ToolSchema(name="clock", description="The time.", parameters={"type": "object", "properties": {}})
ASK = [Message(role="user", content="What time is it?")]


class Session:
    """One policy against one script: what came back, what was asked, how long it would have waited."""

    def __init__(self, handler, **options):
        self.waits: list[float] = []
        self.handler, self.options = handler, options

    def ask(self, messages=ASK, tools=(TOOL,)) -> Completion:
        async def run() -> Completion:
            with serve(self.handler) as base_url:
                async with OpenAIPolicy("m", **{"base_url": base_url, "sleep": self.sleep, **self.options}) as policy:
                    try:
                        return await policy(messages, tools)
                    finally:
                        self.usage = policy.usage()

        return asyncio.run(run())

    def fail(self) -> str:
        with pytest.raises(EndpointError) as caught:
            self.ask()
        return str(caught.value)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    @property
    def body(self):
        return self.handler.requests[-1].body
