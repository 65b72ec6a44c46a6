"""Our environments as an OpenEnv server: each reset chooses one of them, with tools of its own.

A session (a WebSocket, or a session of `/mcp`) has an `Episode`, which runs and grades as everywhere else. A step is
one turn of the policy: `call_tool` one call, `completion` a whole message with any number of calls, or with the final
answer, which ends the episode. The rewards of an episode add up to its score: every step has reward 0 but the last,
which has the score of the trajectory (`score_trajectory(...).value`). What each turn earned by itself is in
`metadata["turn_reward"]`; those are never to be added up.

Where something of ours fails, the client gets an error and no observation: no reward is made up. Goals and gold calls
are never sent; `metadata` is for the trainer and not to be shown to the policy.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, TypeAdapter

from toolfoundry import __version__
from toolfoundry.chat.markup import dump, well_formed
from toolfoundry.environment import Executor, opening
from toolfoundry.episode import Episode
from toolfoundry.errors import FoundryError, InputError, MissingExtra
from toolfoundry.frameworks import warn_untested
from toolfoundry.policies.wire import BadReply, read_said
from toolfoundry.reward import score_trajectory
from toolfoundry.serve.listen import is_loopback, listen, url_of
from toolfoundry.serve.openenv_tasks import Tasks
from toolfoundry.types import Completion, Fault, Limits, Message, Preset, ToolCall, ToolResult, Turn

try:
    from openenv.core.env_server.http_server import create_app
    from openenv.core.env_server.interfaces import Environment
    from openenv.core.env_server.mcp_types import (
        CallToolObservation,
        ListToolsObservation,
        Tool,
        ToolError,
        ToolErrorType,
    )
    from openenv.core.env_server.types import Action, ConcurrencyConfig, EnvironmentMetadata, Observation, State
    from openenv.core.utils import run_async_safely
except ImportError:
    raise MissingExtra("openenv", "serving environments over OpenEnv") from None

__all__ = [
    "IDLE_S",
    "SESSIONS",
    "OpeningObservation",
    "ToolFoundryAction",
    "ToolFoundryEnvironment",
    "TurnObservation",
    "http_server",
    "open_app",
    "run",
]

IDLE_S = 1800.0
SESSIONS = 256
_LISTED = 1000  # tasks that one answer of the Task API lists
_KINDS = {"unknown_tool": ToolErrorType.TOOL_NOT_FOUND, "timeout": ToolErrorType.TIMEOUT}
_KINDS |= {"malformed_call": ToolErrorType.INVALID_ARGS, "limit": ToolErrorType.INVALID_ARGS}


# --- what goes over the wire ---------------------------------------------------------------------------------------


class ToolFoundryAction(Action):
    """One turn of the policy, or a question for the tools.

    completion: `message` is what the policy said, in OpenAI's form: `content`, and `tool_calls` with `function.name`
    and `function.arguments` (text, as the model wrote it). `finish_reason` "length" says that it ended at its token
    limit; `faults` are others that a parser of ours has found (`toolfoundry.types.Fault`).
    call_tool: one call, `tool_name` with `arguments`. list_tools: the tools of this episode; no turn.
    """

    type: Literal["completion", "call_tool", "list_tools"] = "completion"
    message: dict[str, Any] | None = None
    finish_reason: str | None = None
    faults: list[Fault] = Field(default_factory=list)
    tool_name: str | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)


class OpeningObservation(Observation):
    """What a reset gives: the first messages and the tools, in OpenAI's form."""

    task_id: str
    messages: list[dict[str, Any]]
    tool_schemas: list[dict[str, Any]]


class TurnObservation(Observation):
    """What a completion caused: messages to be appended to the conversation, in OpenAI's form."""

    messages: list[dict[str, Any]]


class StepObservation(Observation):
    """The published schema of what a step gives: one of three, by the type of the action."""

    @classmethod
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        kinds: Any = TurnObservation | CallToolObservation | ListToolsObservation
        return TypeAdapter(kinds).json_schema(*arguments, **options)


# --- the environment -----------------------------------------------------------------------------------------------


class ToolFoundryEnvironment(Environment):
    """One session. OpenEnv makes one for each client, and for each question about tasks."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(
        self, tasks: Tasks, executor: Executor, limits: Limits = Limits(), preset: Preset = "frontier"
    ) -> None:
        super().__init__()
        self._tasks, self._executor, self._limits = tasks, executor, limits
        self._preset: Preset = preset
        self._episode: Episode | None = None
        self._calls = 0
        self._closed = False
        self._turn = asyncio.Lock()  # `/mcp` takes several requests of one session at a time
        self._state = State()

    async def reset_async(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        split: str | None = None,
        index: int | None = None,
        task_id: str | None = None,
        **unknown: Any,
    ) -> Observation:
        """Begins an episode: of the environment `task_id`, or `index` of `split`, or one drawn by `seed`.

        `seed` is also the seed of all chance in tools that keep a state (0 if not given, as in `toolfoundry rollout`).
        """
        if unknown:
            raise InputError(f"reset: found {min(unknown)!r}, expected task_id, split, index, seed or episode_id")
        _require(int, seed=seed, index=index)
        _require(str, split=split, task_id=task_id, episode_id=episode_id)
        async with self._turn:
            self._check_open()
            spec = self._tasks.choose(split, index, task_id, seed)
            self._end_episode()
            self._episode = Episode(spec, self._executor, self._limits, sample=seed or 0, preset=self._preset)
            self._calls = 0
            self._state = State(episode_id=episode_id, step_count=0, task_id=spec.id)
            return OpeningObservation(
                task_id=spec.id,
                messages=[{"role": said.role, "content": said.content} for said in self._episode.messages],
                tool_schemas=[tool.as_function() for tool in self._episode.tools],
            )

    async def step_async(self, action: Any, *_: Any, **_options: Any) -> Observation:
        """One turn. The sandbox bounds what it may take, not the client's `timeout_s`."""
        async with self._turn:
            self._check_open()
            if action.type == "list_tools":
                self._state.step_count += 1
                return ListToolsObservation(tools=self._listed(), reward=0.0)
            if action.type == "call_tool":
                if action.tool_name is None:
                    raise InputError("tool_name: found none, expected one for call_tool")
                turn = await self._take(self._one_call(action.tool_name, action.arguments))
                return _called(action.tool_name, turn.results[0], self._outcome(turn))
            message, ids = self._said(action)
            turn = await self._take(message)
            replies: list[dict[str, Any]] = [
                {"role": "tool", "tool_call_id": name or result.call_id, "content": result.text}
                for name, result in zip(ids, turn.results, strict=True)
            ]
            if turn.notice is not None:
                replies.append({"role": "user", "content": turn.notice})
            return TurnObservation(messages=replies, **self._outcome(turn))

    def reset(self, seed: int | None = None, episode_id: str | None = None, **which: Any) -> Observation:
        return run_async_safely(self.reset_async(seed=seed, episode_id=episode_id, **which))

    def step(self, action: Any, *_: Any, **_options: Any) -> Observation:
        return run_async_safely(self.step_async(action))

    @property
    def state(self) -> State:
        return self._state

    def close(self) -> None:
        """Ends the episode and its worker. OpenEnv does it when the client goes, or has been idle for too long."""
        self._closed = True
        self._end_episode()

    def get_metadata(self) -> EnvironmentMetadata:
        counts = ", ".join(f"{len(self._tasks.of_split(name))} in {name}" for name in self._tasks.splits)
        description = f"Questions to be answered with tools ({counts}); every task has tools of its own."
        return EnvironmentMetadata(name="toolfoundry", description=description, version=__version__)

    # --- turns ------------------------------------------------------------------------------------------------------

    async def _take(self, message: Message) -> Turn:
        if self._episode is None:
            raise InputError("there is no episode: reset begins one (plain HTTP has no sessions: use /ws)")
        if self._episode.stop is not None:
            raise InputError(f"the episode is over ({self._episode.stop}): reset begins another")
        turn = await self._episode.take(Completion(message=message))
        self._calls += len(message.tool_calls)
        self._state.step_count += 1
        return turn

    def _outcome(self, turn: Turn) -> dict[str, Any]:
        """done, reward and metadata of the step that gave this turn."""
        episode = self._episode
        assert episode is not None
        graded = None if turn.reward is None else turn.reward.model_dump(mode="json")
        metadata: dict[str, Any] = {"turn": len(episode.turns) - 1, "turn_reward": graded}
        if episode.stop is None:
            return {"done": False, "reward": 0.0, "metadata": metadata}
        score = score_trajectory(episode.trajectory())
        assert score is not None  # only a failure leaves a trajectory unscored, and a failure gives no turn
        metadata |= {"stop": episode.stop, "score": score.model_dump(mode="json")}
        episode.close()
        return {"done": True, "reward": score.value, "metadata": metadata}

    def _one_call(self, name: str, arguments: dict[str, Any]) -> Message:
        call = ToolCall(id=f"call_{self._calls}", name=name, arguments=dump(arguments))
        return Message(role="assistant", tool_calls=(call,))

    def _said(self, action: ToolFoundryAction) -> tuple[Message, list[str | None]]:
        """The completion as a message of ours, and the ids that its calls have with the client."""
        if (raw := action.message) is None:
            raise InputError("message: found none, expected one for a completion")
        try:
            said = read_said(raw, first_id=self._calls)
        except BadReply as problem:
            raise InputError(f"message: {problem}, expected a message in OpenAI's form") from None
        faults = tuple(action.faults)
        if action.finish_reason == "length" and not any(fault.kind == "unfinished" for fault in faults):
            faults += (Fault(kind="unfinished"),)
        ids = [call.get("id") if isinstance(call, dict) else None for call in raw.get("tool_calls") or ()]
        # What cannot be sent back must not be found out when the turn has been taken.
        sent = [well_formed(name) if isinstance(name, str) else None for name in ids]
        return said.model_copy(update={"faults": faults}), sent

    def _listed(self) -> list[Tool]:
        """The tools of the episode; before the first reset there are none."""
        tools = () if self._episode is None else self._episode.tools
        return [Tool(name=tool.name, description=tool.description, input_schema=tool.parameters) for tool in tools]

    def _check_open(self) -> None:
        if self._closed:
            raise InputError("this session was closed after too long without a request: connect anew")

    def _end_episode(self) -> None:
        if self._episode is not None:
            self._episode.close()
            self._episode = None

    # --- tools over /mcp --------------------------------------------------------------------------------------------

    @property
    def mcp_server(self) -> Any:
        """What OpenEnv's route `/mcp` asks for tools. A call there is a turn of one call too: none is for nothing."""

        async def get_tools() -> dict[str, Any]:
            return _Routed({tool.name: _route(self, tool) for tool in self._listed()}, self)

        return SimpleNamespace(get_tools=get_tools)

    # --- Task API ---------------------------------------------------------------------------------------------------

    def list_splits(self) -> list[str]:
        return self._tasks.splits

    def num_tasks(self, split: str) -> int:
        return len(self._tasks.of_split(split))

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """The first 1000; `get_task_range` gives others."""
        return self.get_task_range(split)

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        specs = self._tasks.of_split(split)
        if not 0 <= index < len(specs):
            raise IndexError(index)
        spec = specs[index]
        said = [{"role": message.role, "content": message.content} for message in opening(spec).messages]
        return {"id": spec.id, "split": split, "index": index, "scenario": spec.scenario.kind, "messages": said}

    def get_task_range(self, split: str, start: int | None = None, stop: int | None = None) -> list[dict[str, Any]]:
        """At most 1000 at a time."""
        places = range(*slice(start, stop).indices(self.num_tasks(split)))[:_LISTED]
        return [self.get_task(split, place) for place in places]


def _require(kind: type, **given: Any) -> None:
    """Raises InputError for a value of another type than this, or None."""
    for name, value in given.items():
        if value is not None and type(value) is not kind:
            raise InputError(f"{name}: found {str(value)[:80]!r}, expected {'a number' if kind is int else 'text'}")


def _called(name: str, result: ToolResult, outcome: dict[str, Any]) -> CallToolObservation:
    error = None
    if result.error is not None:
        kind = result.error.partition(":")[0]
        error = ToolError(error_type=_KINDS.get(kind, ToolErrorType.EXECUTION_ERROR), message=result.error)
    return CallToolObservation(tool_name=well_formed(name), result=result.text, error=error, **outcome)


def _route(environment: ToolFoundryEnvironment, tool: Any) -> SimpleNamespace:
    async def call(**arguments: Any) -> str:
        action = ToolFoundryAction(type="call_tool", tool_name=tool.name, arguments=arguments)
        return (await environment.step_async(action)).result

    return SimpleNamespace(name=tool.name, description=tool.description, parameters=tool.input_schema, fn=call)


class _Routed(dict[str, Any]):
    """Tool name -> how it is called. A name that no tool has can be called too: the episode says and counts it."""

    def __init__(self, tools: dict[str, Any], environment: ToolFoundryEnvironment) -> None:
        super().__init__(tools)
        self._environment = environment

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Any:
        return _route(self._environment, Tool(name=name, description="", input_schema={}))


# --- the server ----------------------------------------------------------------------------------------------------


def open_app(
    files: Mapping[str, Path],
    executor: Executor,
    *,
    name: str = "toolfoundry",
    limits: Limits = Limits(),
    preset: Preset = "frontier",
    sessions: int = SESSIONS,
    idle_s: float = IDLE_S,
) -> Any:
    """The FastAPI application that serves the environments of these files, one for each split.

    name: under which the Task API knows it (`/NAME/splits`). sessions: clients at a time. idle_s: a session without a
    request for that long is closed.
    """
    warn_untested("openenv")
    app = create_app(
        functools.partial(ToolFoundryEnvironment, Tasks(files), executor, limits, preset),
        ToolFoundryAction,
        StepObservation,
        env_name=name,
        concurrency_config=ConcurrencyConfig(max_concurrent_envs=sessions, session_timeout=idle_s),
        reset_observation_cls=OpeningObservation,
    )
    app.add_exception_handler(FoundryError, _explain)
    return app


async def _explain(_: Any, error: Exception) -> Any:
    """An error over plain HTTP: the client's mistakes as 400, ours as 503; the WebSocket has words of its own."""
    from starlette.responses import JSONResponse

    return JSONResponse({"detail": str(error)}, status_code=400 if isinstance(error, InputError) else 503)


def http_server(app: Any, bound: socket.socket, *, host: str = "127.0.0.1") -> Any:
    """The server of an application at a listening socket; `await it.serve([bound])` runs it until a signal.

    It does not answer to a page in a browser that comes from elsewhere: browsers let every page open a WebSocket. Where
    only this machine reaches it, it answers to the names of loopback and to `host` alone, since such a page may be
    called by a name that was made to point here (DNS rebinding).
    """
    import uvicorn

    names = frozenset({"127.0.0.1", "localhost", "::1", host.lower()}) if is_loopback(bound) else None
    app.add_middleware(_OwnPagesOnly, names=names)
    # Without uvicorn's own logging, which writes to standard output; what is wrong still goes to standard error.
    return uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2))


class _OwnPagesOnly:
    """Refuses what comes from a page of another host, and what asks for another than these names (None: any) (ASGI)."""

    def __init__(self, app: Any, names: frozenset[str] | None) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import PlainTextResponse

        if scope["type"] in ("http", "websocket"):
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            host = _name_in(f"//{headers.get(b'host', '')}")
            if self._names is not None and host not in self._names:
                return await PlainTextResponse("Invalid host header", 400)(scope, receive, send)
            origin = headers.get(b"origin")
            if origin is not None and (_name_in(origin) or "") not in (self._names or {host}):
                return await PlainTextResponse("Invalid origin", 403)(scope, receive, send)
        return await self._app(scope, receive, send)


def _name_in(address: str) -> str | None:
    """The host that an address names, in lower case and without port or brackets."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def run(app: Any, arguments: Sequence[str] | None = None) -> None:
    """What the script of an exported folder does: serves the application at `--host` and `--port` until a signal."""
    parser = argparse.ArgumentParser(description="Serves a set of ToolFoundry environments over OpenEnv.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)
    try:
        with listen(options.host, options.port) as bound, contextlib.suppress(KeyboardInterrupt):
            print(f"serving at {url_of(bound)}", file=sys.stderr, flush=True)
            asyncio.run(http_server(app, bound, host=options.host).serve([bound]))
    except FoundryError as error:
        raise SystemExit(str(error)) from None
