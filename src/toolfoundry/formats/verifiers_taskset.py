"""Our environments as tasks of verifiers 0.4: what a package of `toolfoundry export verifiers` is made of.

The package holds the environments and names itself; everything that it does is here. verifiers leads the conversation
and keeps the trace, each rollout has a tool server of its own that runs the tools in our sandbox, and our reward grades
the trace.

A task's data, which stands in traces and can be asked for by whoever holds a rollout's key, says only where its
environment is found: goals, answers, gold calls and sources stay in the package's file. They are hidden from a policy
as long as it has no shell where the package is installed, which is why a package plays with the `null` harness.

Not covered: traces that branch (compaction, subagents) are graded by their last branch. Calls of a turn beyond
`calls_per_turn` are executed, since a tool server does not know turns, and earn nothing.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Iterator
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
import verifiers.v1 as vf
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ListToolsResult, TextContent
from mcp_types import Tool as McpTool

from toolfoundry.chat.markup import dump
from toolfoundry.environment import Environment
from toolfoundry.errors import InputError
from toolfoundry.formats.conversation import read_conversation
from toolfoundry.formats.verifiers import ENVIRONMENTS, TASKS
from toolfoundry.frameworks import warn_untested
from toolfoundry.policies.scripted import make
from toolfoundry.reward import score_trajectory
from toolfoundry.rollout import run_rollout
from toolfoundry.sandbox import Sandbox
from toolfoundry.store import load_record
from toolfoundry.types import EnvSpec, Limits, Message, Score, ToolCall, Trajectory

__all__ = ["EnvironmentConfig", "EnvironmentData", "EnvironmentTask", "EnvironmentTools", "read_tasks"]

_INTERNAL_ERROR = -32603  # JSON-RPC's code for a failure that is the server's own


class EnvironmentData(vf.TaskData):
    """What verifiers knows of a task. `id` is the environment's; its record begins at byte `offset` of the file in
    the package of that name."""

    package: str
    offset: int


class EnvironmentConfig(vf.TaskConfig):
    """`--env.taskset.task.*`. A rollout ends after `max_turns` completions; the results of the last one still count,
    which is not so with verifiers' own `--env.agent.max-turns`."""

    tools: vf.ToolsetConfig = vf.ToolsetConfig()
    max_turns: int = Limits().max_turns
    calls_per_turn: int = Limits().calls_per_turn


class EnvironmentTask(vf.Task[EnvironmentData, vf.State, EnvironmentConfig]):
    """One environment: graded by the score of its trajectory, valid where its gold trajectory has a score of 1."""

    @cached_property
    def spec(self) -> EnvSpec:
        return _read(self.data)

    @property
    def key(self) -> str:
        """The environment's id, which is a hash of its content."""
        return self.data.id or self.hash

    @vf.stop
    async def turns_used_up(self, request: vf.Request, trace: vf.Trace) -> bool:  # noqa: ARG002 - its type says when
        """Asked before each completion; as a stop on the request, it leaves the last results in the trace."""
        return trace.num_turns >= self.config.max_turns

    @vf.reward(weight=1.0)
    async def rewards(self, trace: vf.Trace) -> dict[str, float]:
        return {"score": self._graded(trace).value}

    @vf.metric
    async def metrics(self, trace: vf.Trace) -> dict[str, float]:
        """As everywhere; `answer` is missing where the task has none."""
        score = self._graded(trace)
        solve = score.strict
        found = {"solve_p": solve.precision, "solve_r": solve.recall, "solve_f1": solve.f1}
        if score.answer_right is not None:
            found["answer"] = float(score.answer_right)
        return found | {"malformed": float(score.malformed)}

    async def validate(self, runtime: vf.Runtime) -> bool | None:  # noqa: ARG002 - verifiers gives it
        """Whether the gold calls, played in the sandbox, have a score of 1; None where there are none."""
        if self.spec.gold_calls is None:
            return None
        played = await run_rollout(make("gold", self.spec), self.spec, _sandbox(), name="gold")
        score = score_trajectory(played)
        if score is None:
            raise vf.TaskError(f"environment {self.spec.id}: the gold calls could not be played: {played.error}")
        return score.value == 1

    def _graded(self, trace: vf.Trace) -> Score:
        score = score_trajectory(self._trajectory(trace))
        if score is None:
            raise vf.TaskError(f"environment {self.spec.id}: the trace cannot be graded")
        return score

    def _trajectory(self, trace: vf.Trace) -> Trajectory:
        """The trace as our record, from the first completion on: an opening may hold messages of the assistant."""
        task, most = self.spec.task, self.config.calls_per_turn
        nodes = trace.branches[-1].nodes if trace.branches else []
        first = next((place for place, node in enumerate(nodes) if node.sampled), len(nodes))
        if first == len(nodes):  # nothing was said: that is how verifiers asks for the floor
            return Trajectory(task=task, policy="policy", calls_per_turn=most, prompt=(), turns=(), stop="max_turns")
        cut_off = next((call.finish_reason == "length" for call in reversed(trace.calls) if call.error is None), False)
        messages = [_as_openai(node.message) for node in nodes[first:]]
        return read_conversation(task, messages, calls_per_turn=most, cut_off=cut_off)


def _as_openai(message: Any) -> dict[str, Any]:
    """A message of verifiers in OpenAI's form."""
    plain = message.model_dump(exclude_none=True)
    calls = [
        {"id": call["id"], "function": {"name": call["name"], "arguments": call["arguments"]}}
        for call in plain.get("tool_calls") or ()
    ]
    return {**plain, "tool_calls": calls}


# --- tools ---------------------------------------------------------------------------------------------------------


class EnvironmentTools(vf.Toolset[vf.ToolsetConfig]):
    """The tools of one environment, for one rollout: a process of its own, with a worker of our sandbox in it.

    A package has a subclass, in a module that starts it: verifiers runs that module.
    """

    TOOL_PREFIX = None  # the names of the tools are those that the goals know

    async def setup_task(self, task: EnvironmentData) -> None:
        self._spec = _read(task)
        box = await self._exit_stack.enter_async_context(Sandbox())
        self._environment = self._exit_stack.enter_context(Environment(self._spec, box))
        self._one_at_a_time = asyncio.Lock()
        self._calls = 0

    def register(self, mcp: Any) -> None:
        """Answers for the server, which would make schemas out of Python signatures: ours are shown as they are."""
        tools = [
            McpTool(name=tool.name, description=tool.signature.description, input_schema=tool.signature.parameters)
            for tool in self._spec.tools
        ]

        async def answer(context: Any, call_next: Any) -> Any:
            if context.method == "tools/list":
                return ListToolsResult(tools=tools)
            if context.method == "tools/call":
                return await self._call(context.params["name"], context.params.get("arguments") or {})
            return await call_next(context)

        mcp.middleware.append(answer)

    async def _call(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
        """What the model reads. A failure of ours is an error of the protocol, which ends the rollout unscored."""
        async with self._one_at_a_time:
            call = ToolCall(id=f"call_{self._calls}", name=name, arguments=dump(arguments))
            self._calls += 1
            try:
                step = await self._environment.step(Message(role="assistant", tool_calls=(call,)))
            except Exception as failure:
                raise MCPError(_INTERNAL_ERROR, f"{type(failure).__name__}: {failure}") from failure
        [result] = step.results
        return CallToolResult(content=[TextContent(type="text", text=result.text)], is_error=result.error is not None)


# --- the package's files -------------------------------------------------------------------------------------------


def read_tasks(package: str) -> Iterator[EnvironmentData]:
    """The tasks of a package, in the order of its file, read as they are asked for."""
    warn_untested("verifiers")
    with (_folder(package) / TASKS).open("rb") as file:
        for line in file:
            yield EnvironmentData.model_validate({**orjson.loads(line), "package": package})


def _read(data: EnvironmentData) -> EnvSpec:
    """The environment that a task stands for. Raises InputError where the package holds another one at its place."""
    with (_folder(data.package) / ENVIRONMENTS).open("rb") as file:
        file.seek(data.offset)
        spec = load_record(EnvSpec, file.readline())
    if spec.id != data.id:
        raise InputError(
            f"package {data.package}: found environment {spec.id} at byte {data.offset}, expected {data.id}"
        )
    return spec


@lru_cache
def _folder(package: str) -> Path:
    return Path(str(resources.files(package)))


@lru_cache(maxsize=1)
def _sandbox() -> Sandbox:
    """The sandbox of this process: started at the first call, ended with the process."""
    box = Sandbox()
    atexit.register(box.close)
    return box
