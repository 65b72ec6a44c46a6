"""Plays completions through our MCP server with the official client, of whichever major is installed.

Needs the package `mcp` (`make test-mcp`), and nothing of pytest: other tests use it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from toolfoundry.reward import arguments_of
from toolfoundry.types import Message

COMMAND = [sys.executable, "-m", "toolfoundry.cli", "serve", "mcp"]


def play(spec_file: Path, spec_id: str, completions: Sequence[Message]) -> list[list[str | None]]:
    """What each call of each completion gave: the text that the model reads. Equal to the core's `ToolResult.text`.

    MCP has tools only: calls are made one by one in their order, and there is no reward. None stands for a call that
    no MCP client can make (no name, or arguments that are no JSON object). Calls beyond `Limits.calls_per_turn`,
    which a rollout refuses, are executed here.
    """
    return asyncio.run(_play(spec_file, spec_id, completions))


async def _play(spec_file: Path, spec_id: str, completions: Sequence[Message]) -> list[list[str | None]]:
    async with stdio(str(spec_file), "--id", spec_id) as client:
        played: list[list[str | None]] = []
        for said in completions:
            texts: list[str | None] = []
            for call in said.tool_calls:
                arguments = arguments_of(call)
                texts.append(None if arguments is None else text_of(await client.call_tool(call.name, arguments)))
            played.append(texts)
        return played


@contextlib.asynccontextmanager
async def stdio(*arguments: str) -> AsyncIterator[Any]:
    """The official client of a server process of its own: `toolfoundry serve mcp ARGUMENTS`."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    server = StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], *arguments])
    if second_major():
        from mcp import Client

        async with Client(server) as client:
            yield client
    else:
        async with stdio_client(server) as (incoming, outgoing), ClientSession(incoming, outgoing) as session:
            await session.initialize()
            yield session


@contextlib.asynccontextmanager
async def http(url: str, mode: str = "auto") -> AsyncIterator[Any]:
    """The official client of a server that runs. `mode` is for that of the second major: auto, legacy or a version."""
    if second_major():
        from mcp import Client

        async with Client(url, mode=mode) as client:
            yield client
    else:
        from mcp import ClientSession
        from mcp.client.streamable_http import streamable_http_client

        async with (
            streamable_http_client(url) as (incoming, outgoing, _),
            ClientSession(incoming, outgoing) as session,
        ):
            await session.initialize()
            yield session


def second_major() -> bool:
    from importlib import metadata

    return metadata.version("mcp").startswith("2.")


def text_of(result: Any) -> str:
    """The text of a tool's result."""
    [content] = result.content
    return content.text


def is_error(result: Any) -> bool:
    return result.is_error if second_major() else result.isError
