"""A live environment: single-use, made from a specification; runs tools, never grades.

    opening = environment.start()                 the first messages and the tools
    step = await environment.step(message)        the tool results for one completion, and whether it was the last

A model's mistake (unreadable call, unknown tool, bad arguments, a tool that raises) comes back as a tool result that
says what was wrong. Whatever goes wrong on our side raises a FoundryError. There is no reset: a new episode is a new
environment, with a worker of its own, so that nothing survives a rollout.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from pydantic import JsonValue

from toolfoundry.chat import explain
from toolfoundry.reward import arguments_of
from toolfoundry.seeds import derive_seed
from toolfoundry.types import EnvSpec, Limits, Message, ToolCall, ToolResult, ToolSchema

__all__ = ["INSTRUCTION", "Environment", "Executor", "Opening", "Step", "ToolSession", "opening", "refusal"]

INSTRUCTION = (
    "Answer the question with the help of the tools. Everything you need is to be had from them: do not answer from "
    "memory. Calls that do not depend on each other may be made together. If a call fails, read the error and try "
    "again. When you know the answer, give it as <answer>ANSWER</answer>, as short as possible: a name, a number, a "
    "date as YYYY-MM-DD, or a list separated by commas."
)


class ToolSession(Protocol):
    """The tools of one rollout, running somewhere safe. `toolfoundry.sandbox.Session` is one."""

    async def abatch(self, calls: Sequence[tuple[str, Mapping[str, JsonValue]]]) -> list[ToolResult]: ...

    def close(self) -> None: ...


class Executor(Protocol):
    """Opens tool sessions. `toolfoundry.sandbox.Sandbox` is one."""

    def session(self, sources: Mapping[str, str], *, state: JsonValue = None, seed: int = 0) -> ToolSession: ...


class Opening(NamedTuple):
    """What the policy sees first."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSchema, ...]


class Step(NamedTuple):
    """What one completion caused: a result for each call, a notice beside them, and whether the episode is over."""

    results: tuple[ToolResult, ...]
    notice: str | None
    done: bool

    @property
    def messages(self) -> tuple[Message, ...]:
        """The results and the notice as messages, to be appended to the conversation."""
        replies = [Message(role="tool", content=result.text, call_id=result.call_id) for result in self.results]
        if self.notice is not None:
            replies.append(Message(role="user", content=self.notice))
        return tuple(replies)


def refusal(call: ToolCall, names: Collection[str]) -> str | None:
    """Why a call cannot be given to any of the tools, in words for the model, or None."""
    if arguments_of(call) is None:
        return f"malformed_call: {explain(call)}"
    if call.name not in names:
        return f"unknown_tool: there is no tool {call.name[:80]!r}; the tools are {', '.join(sorted(names))}"
    return None


def opening(spec: EnvSpec) -> Opening:
    """The specification's own prompt, or the standard one."""
    standard = (Message(role="user", content=f"{INSTRUCTION}\n\nQuestion: {spec.scenario.question}"),)
    return Opening(spec.prompt or standard, tuple(tool.signature for tool in spec.tools))


class Environment:
    """One episode of one specification."""

    def __init__(self, spec: EnvSpec, executor: Executor, limits: Limits = Limits(), *, seed: int = 0) -> None:
        self._spec = spec
        self._limits = limits
        self._names = {tool.name for tool in spec.tools}
        self._session: ToolSession | None = None
        self._executor = executor
        self._calls = 0
        self._seed = derive_seed("environment", spec.id, seed)

    def start(self) -> Opening:
        return opening(self._spec)

    async def step(self, message: Message) -> Step:
        """Executes the calls of one completion, in their order.

        A completion without calls ends the episode, unless something in it can be put right (a fault other than
        its having hit the token limit): then a notice says what.
        """
        most = self._most_calls()
        self._calls += len(message.tool_calls)
        refused = {
            call.id: error
            for index, call in enumerate(message.tool_calls)
            if (error := self._refuse(message, index, most))
        }
        accepted = [call for call in message.tool_calls if call.id not in refused]
        executed = await self._execute([(call.name, arguments_of(call) or {}) for call in accepted])
        results = {
            call.id: result.model_copy(update={"call_id": call.id})
            for call, result in zip(accepted, executed, strict=True)
        }
        results |= {call_id: ToolResult(call_id=call_id, error=error) for call_id, error in refused.items()}
        faults = [fault for fault in message.faults if fault.kind != "unfinished"]
        notice = "\n".join(explain(fault) for fault in faults) or None
        return Step(
            results=tuple(results[call.id] for call in message.tool_calls),
            notice=notice,
            done=not message.tool_calls and notice is None,
        )

    async def _execute(self, calls: list[tuple[str, dict[str, JsonValue]]]) -> list[ToolResult]:
        if not calls:
            return []
        if self._session is None:  # opened at the first call: a rollout that waits for its model holds no worker
            sources = {tool.name: tool.source for tool in self._spec.tools}
            self._session = self._executor.session(sources, state=self._spec.state, seed=self._seed)
        return await self._session.abatch(calls)

    def _most_calls(self) -> int:
        """How many calls the next turn may make."""
        left = self._limits.max_calls - self._calls if self._limits.max_calls is not None else None
        return self._limits.calls_per_turn if left is None else min(left, self._limits.calls_per_turn)

    def _refuse(self, message: Message, index: int, most: int) -> str | None:
        """Why a call is not executed, in words for the model, or None."""
        if index >= most:
            return f"limit: at most {max(0, most)} calls were still to be executed in this turn"
        return refusal(message.tool_calls[index], self._names)

    def close(self) -> None:
        """Ends the worker, if there is one. Closing twice is harmless."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def __enter__(self) -> Environment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
