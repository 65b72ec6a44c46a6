"""`toolfoundry serve mcp` and `serve openenv`: live servers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from toolfoundry.console import Envs, err
from toolfoundry.errors import InputError
from toolfoundry.store import read
from toolfoundry.types import EnvSpec, Limits, Preset
from toolfoundry.untrusted import visible

__all__ = ["serve_app", "split_files"]

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
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # the SDK reads in a thread that an exception cannot end
            asyncio.run(serve_stdio(spec, sandbox))
            return
        with listen(host, port) as bound:
            _say(f"{len(spec.tools)} tools at {url_of(bound, '/mcp')} (environment {spec.id}: {question})")
            asyncio.run(http_server(spec, sandbox, bound, host=host, idle_s=idle).serve([bound]))


@serve_app.command("openenv", epilog="Example: [cyan]toolfoundry serve openenv envs.jsonl test=test.jsonl[/cyan]")
def serve_openenv(
    envs: Annotated[
        list[str],
        typer.Argument(metavar="[SPLIT=]ENVS...", help="Environments of a split (train).", show_default=False),
    ],
    name: Annotated[str, typer.Option(help="What the Task API calls the set.")] = "toolfoundry",
    host: Host = "127.0.0.1",
    port: Port = 8000,
    idle: Idle = 1800.0,
    sessions: Annotated[int, typer.Option(min=1, help="Clients at a time.")] = 256,
    max_turns: Annotated[int, typer.Option(min=1, help="Turns of one episode.")] = 20,
    reward: Annotated[Preset, typer.Option(help="Which reward grades single turns.")] = "frontier",
) -> None:
    """Serve sets of environments to OpenEnv's clients: an episode for each reset, with tools and rewards."""
    from toolfoundry.sandbox import Sandbox
    from toolfoundry.serve.listen import listen, url_of
    from toolfoundry.serve.openenv_server import http_server, open_app

    files = split_files(envs)
    with listen(host, port) as bound, Sandbox() as sandbox, contextlib.suppress(KeyboardInterrupt):
        limits = Limits(max_turns=max_turns)
        app = open_app(files, sandbox, name=name, limits=limits, preset=reward, sessions=sessions, idle_s=idle)
        _say(f"{escape(', '.join(files))} at {url_of(bound)}")
        asyncio.run(http_server(app, bound, host=host).serve([bound]))


def split_files(envs: list[str]) -> dict[str, Path]:
    """`test=FILE` or FILE, which is the split `train`, as split -> file. Raises InputError for a split named twice."""
    files: dict[str, Path] = {}
    for item in envs:
        split, equals, path = item.partition("=")
        split, path = (split, path) if equals else ("train", item)
        if split in files:
            raise InputError(f"{item}: found a second split {split!r}, expected SPLIT=FILE with distinct names")
        files[split] = Path(path)
    return files


def _find(envs: Path, item: str | None) -> EnvSpec:
    """The first environment, or the one whose id begins with `item`. Reads no further than it must."""
    for spec in read(envs, EnvSpec):
        if item is None or spec.id.startswith(item):
            return spec
    expected = "at least one" if item is None else f"one whose id begins with {item!r}"
    raise InputError(f"{envs}: has no such environment: expected {expected}")


def _say(text: str) -> None:
    err.print(text, highlight=False, soft_wrap=True)
