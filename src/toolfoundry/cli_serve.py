"""`toolfoundry serve mcp` and `serve openenv`: live servers."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from toolfoundry.console import Envs, err
from toolfoundry.errors import InputError
from toolfoundry.store import read
from toolfoundry.types import EnvSpec
from toolfoundry.untrusted import visible

__all__ = ["serve_app"]

Host = Annotated[str, typer.Option(help="Address to listen at; by default only this machine reaches it.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")]
Idle = Annotated[float, typer.Option(min=1, help="Seconds without a request after which a session ends.")]

serve_app = typer.Typer(no_args_is_help=True, help="Serve environments to other programs.", rich_markup_mode="rich")


@serve_app.command("mcp", epilog="Example: [cyan]toolfoundry serve mcp envs.jsonl --transport http[/cyan]")
def serve_mcp(
    envs: Envs,
    item: Annotated[
        str | None, typer.Option("--id", help="Which environment, by the beginning of its id.", show_default="first")
    ] = None,
    transport: Annotated[Literal["stdio", "http"], typer.Option(help="http is streamable HTTP, at /mcp.")] = "stdio",
    host: Host = "127.0.0.1",
    port: Port = 8000,
    idle: Idle = 1800.0,
) -> None:
    """Serve the tools of one environment over MCP; each client has a worker of the sandbox of its own."""
    from toolfoundry.sandbox import Sandbox
    from toolfoundry.serve.listen import listen, url_of
    from toolfoundry.serve.mcp_server import http_server, serve_stdio

    spec = _find(envs, item)
    question = escape(visible(spec.scenario.question, 100))
    with Sandbox() as sandbox, contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how a server ends
        if transport == "stdio":
            asyncio.run(serve_stdio(spec, sandbox))
            return
        with listen(host, port) as bound:
            _say(f"{len(spec.tools)} tools at {url_of(bound, '/mcp')} (environment {spec.id}: {question})")
            asyncio.run(http_server(spec, sandbox, bound, host=host, idle_s=idle).serve([bound]))


def _find(envs: Path, item: str | None) -> EnvSpec:
    """The first environment, or the one whose id begins with `item`. Reads no further than it must."""
    for spec in read(envs, EnvSpec):
        if item is None or spec.id.startswith(item):
            return spec
    expected = "at least one" if item is None else f"one whose id begins with {item!r}"
    raise InputError(f"{envs}: has no such environment: expected {expected}")


def _say(text: str) -> None:
    err.print(text, highlight=False, soft_wrap=True)
