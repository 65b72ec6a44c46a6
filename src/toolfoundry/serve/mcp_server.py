"""The tools of one environment as an MCP server, for the current major of the official SDK and the one before.

Each client has a worker of the sandbox of its own, and with it a state of its own: over stdio a process has one
client, over streamable HTTP each session is one. A call runs as in a rollout: unknown tools, wrong arguments and tools
that raise come back as results with `isError`, with the words that a policy reads; what goes wrong on our side is an
error of the protocol, so that no model takes it for a tool's answer.

The 2026-07-28 protocol has no sessions over HTTP: each request stands alone. A tool without state gives the same
result anyhow (in a worker of that request). An environment with a state tells such clients that it speaks the versions
before, to which they fall back by themselves.

Not covered: goals and rewards, which an MCP client has no use for (see `openenv_server`), and a tool's `output`
schema: MCP would have it describe structured content, and our results are text.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator
from typing import Any

from toolfoundry import __version__
from toolfoundry.chat.markup import dump
from toolfoundry.environment import Environment, Executor, opening
from toolfoundry.errors import FoundryError, MissingExtra
from toolfoundry.frameworks import warn_untested
from toolfoundry.serve.listen import is_loopback
from toolfoundry.types import EnvSpec, Message, ToolCall, ToolResult

try:
    from mcp import types
    from mcp.server.lowlevel import Server
except ImportError:
    raise MissingExtra("mcp", "serving tools over MCP") from None

__all__ = ["IDLE_S", "MAX_ARGUMENT_BYTES", "PROMPT", "ClientTools", "build_server", "http_server", "serve_stdio"]

PROMPT = "task"
MAX_ARGUMENT_BYTES = 4 << 20
_MAX_REQUEST_BYTES = 4 * MAX_ARGUMENT_BYTES  # beyond it 413, at which the first major's client gives up its session
IDLE_S = 1800.0
_INSTRUCTIONS = f"The tools of one ToolFoundry environment. The question that they answer is the prompt {PROMPT!r}."
_SECOND = not hasattr(Server, "list_tools")  # 2.x takes its handlers in the constructor
_INTERNAL_ERROR, _INVALID_REQUEST, _INVALID_PARAMS = -32603, -32600, -32602


class ClientTools:
    """The tools of one client: an environment that only this client's calls reach."""

    def __init__(self, spec: EnvSpec, executor: Executor) -> None:
        self._environment = Environment(spec, executor)

    async def call(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        """What one call gives. Raises FoundryError where something of ours failed."""
        text = dump(arguments)
        if (size := len(text.encode())) > MAX_ARGUMENT_BYTES:
            error = f"limit: found arguments of {size} bytes, expected at most {MAX_ARGUMENT_BYTES}"
            return ToolResult(call_id="", error=error)
        call = ToolCall(id="call_0", name=name, arguments=text)
        return (await self._environment.step(Message(role="assistant", tool_calls=(call,)))).results[0]

    def close(self) -> None:
        self._environment.close()


def build_server(spec: EnvSpec, executor: Executor, *, over_http: bool = False) -> Server:
    """The server of one environment, for whichever major of the SDK is installed."""
    warn_untested("mcp")

    @contextlib.asynccontextmanager
    async def lifespan(_: Server) -> AsyncIterator[ClientTools]:
        with contextlib.closing(ClientTools(spec, executor)) as tools:
            yield tools

    options: dict[str, Any] = {"version": __version__, "instructions": _INSTRUCTIONS, "lifespan": lifespan}
    return _second_major(spec, executor, options, over_http) if _SECOND else _first_major(spec, options)


def _first_major(spec: EnvSpec, options: dict[str, Any]) -> Server:
    """1.x enters the lifespan once for each session, over every transport."""
    server = Server("toolfoundry", **options)

    @server.list_tools()
    async def list_tools() -> list[types.Tool]:
        return _listed(spec).tools

    async def call_tool(request: types.CallToolRequest) -> types.ServerResult:
        tools: ClientTools = server.request_context.lifespan_context
        return types.ServerResult(await _called(tools, request.params.name, request.params.arguments))

    # Not by the SDK's decorator: it checks arguments before the tool sees them, and turns our failures into results.
    server.request_handlers[types.CallToolRequest] = call_tool

    @server.list_prompts()
    async def list_prompts() -> list[types.Prompt]:
        return _prompts().prompts

    @server.get_prompt()
    async def get_prompt(name: str, _: dict[str, str] | None) -> types.GetPromptResult:
        return _prompt(spec, name)

    return server


def _second_major(spec: EnvSpec, executor: Executor, options: dict[str, Any], over_http: bool) -> Server:
    """2.x enters the lifespan once for each process; over HTTP what belongs to a session hangs on its connection."""
    from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

    def tools_of(context: Any) -> ClientTools:
        if not over_http:
            return context.lifespan_context
        if spec.state is not None and context.protocol_version in MODERN_PROTOCOL_VERSIONS:
            raise _error(
                _INVALID_REQUEST,
                f"this environment has a state, which lives in a session, and version {context.protocol_version} of "
                f"the protocol has none over HTTP: connect with {HANDSHAKE_PROTOCOL_VERSIONS[-1]}",
            )
        connection = context.session._connection  # the SDK has no public way to it; tests/serve guards it
        if "toolfoundry" not in connection.state:
            tools = connection.state["toolfoundry"] = ClientTools(spec, executor)
            connection.exit_stack.callback(tools.close)
        return connection.state["toolfoundry"]

    async def call_tool(context: Any, parameters: Any) -> types.CallToolResult:
        return await _called(tools_of(context), parameters.name, parameters.arguments)

    async def list_tools(*_: Any) -> types.ListToolsResult:
        return _listed(spec)

    async def list_prompts(*_: Any) -> types.ListPromptsResult:
        return _prompts()

    async def get_prompt(_: Any, parameters: Any) -> types.GetPromptResult:
        return _prompt(spec, parameters.name)

    server = Server(
        "toolfoundry",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        **options,
    )
    if over_http and spec.state is not None:

        async def discover(*_: Any) -> Any:
            capabilities = server.get_capabilities()
            return types.DiscoverResult(
                supported_versions=list(HANDSHAKE_PROTOCOL_VERSIONS),
                capabilities=capabilities,
                instructions=_INSTRUCTIONS,
            )

        server.add_request_handler("server/discover", types.RequestParams, discover)
    return server


# --- what goes over the wire ---------------------------------------------------------------------------------------
# Results are made of their JSON form, which is the same for both majors; their attributes have other names.


def _listed(spec: EnvSpec) -> types.ListToolsResult:
    schemas = [tool.signature for tool in spec.tools]
    listed = [{"name": tool.name, "description": tool.description, "inputSchema": tool.parameters} for tool in schemas]
    return types.ListToolsResult.model_validate({"tools": listed})


async def _called(tools: ClientTools, name: str, arguments: dict[str, Any] | None) -> types.CallToolResult:
    try:
        result = await tools.call(name, arguments or {})
    except FoundryError as error:
        raise _error(_INTERNAL_ERROR, f"the call was not executed: {error}") from error
    content = [{"type": "text", "text": result.text}]
    return types.CallToolResult.model_validate({"content": content, "isError": result.error is not None})


def _prompts() -> types.ListPromptsResult:
    prompt = {"name": PROMPT, "description": "The question, with what is said about how to answer it."}
    return types.ListPromptsResult.model_validate({"prompts": [prompt]})


def _prompt(spec: EnvSpec, name: str) -> types.GetPromptResult:
    if name != PROMPT:
        raise _error(_INVALID_PARAMS, f"there is no prompt {name[:80]!r}; there is {PROMPT!r}")
    messages = [  # MCP knows no system messages
        {"role": "assistant" if said.role == "assistant" else "user", "content": {"type": "text", "text": said.content}}
        for said in opening(spec).messages
    ]
    return types.GetPromptResult.model_validate({"messages": messages})


def _error(code: int, message: str) -> Exception:
    """An error of the protocol."""
    if _SECOND:
        from mcp import MCPError

        return MCPError(code, message)
    from mcp import McpError

    return McpError(types.ErrorData(code=code, message=message))


# --- transports ----------------------------------------------------------------------------------------------------


async def serve_stdio(spec: EnvSpec, executor: Executor) -> None:
    """Serves the one client at standard input and output, until it closes them."""
    from mcp.server.stdio import stdio_server

    server = build_server(spec, executor)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def http_server(
    spec: EnvSpec, executor: Executor, bound: socket.socket, *, host: str = "127.0.0.1", idle_s: float = IDLE_S
) -> Any:
    """The server at a listening socket, with the one path `/mcp`; `await it.serve([bound])` runs it until a signal.

    host: the name under which the socket was bound. The server answers to it and, where only this machine reaches it,
    to the names of loopback: a page in a browser whose name was made to point at this machine (DNS rebinding) has
    another. Bound to every address it answers to any name. idle_s: a session without a request for that long ends.
    """
    import uvicorn
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from mcp.server.transport_security import TransportSecuritySettings
    from starlette.applications import Starlette
    from starlette.routing import Route

    own = f"[{host}]" if ":" in host else host
    hosts = {own, "127.0.0.1", "localhost", "[::1]"} if is_loopback(bound) else {own}
    names = [form for name in sorted(hosts) for form in (name, f"{name}:*")]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=not ipaddress.ip_address(bound.getsockname()[0]).is_unspecified,
        allowed_hosts=names,
        allowed_origins=[f"http://{name}" for name in names],
    )
    server = build_server(spec, executor, over_http=True)
    manager = StreamableHTTPSessionManager(
        app=server,
        security_settings=security,
        session_idle_timeout=idle_s,
        max_request_body_size=_MAX_REQUEST_BYTES,
    )
    app = Starlette(routes=[Route("/mcp", endpoint=manager.asgi_app)], lifespan=lambda _: manager.run())
    # Without uvicorn's own logging, which writes to standard output; what is wrong still goes to standard error.
    return uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2))
