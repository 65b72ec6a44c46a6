"""Fakes: tools without a sandbox, and policies that say what they are told."""

from __future__ import annotations

import orjson

from toolfoundry.answers import infer
from toolfoundry.types import (
    Completion,
    EnvSpec,
    Goal,
    Message,
    Provenance,
    Scenario,
    Tool,
    ToolCall,
    ToolResult,
    ToolSchema,
)

PARAMETERS = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}


class CannedExecutor:
    """A table from (tool, x) to a result; counts the sessions that are open."""

    def __init__(self, table):
        self.table = table
        self.open = self.most = self.opened = 0

    def session(self, sources, *, state=None, seed=0):
        self.open += 1
        self.opened += 1
        self.most = max(self.most, self.open)
        return CannedSession(self)


class CannedSession:
    def __init__(self, executor):
        self.executor = executor

    async def abatch(self, calls):
        return [self._result(name, arguments) for name, arguments in calls]

    def _result(self, name, arguments):
        content = self.executor.table.get((name, arguments.get("x")))
        if content is None:
            return ToolResult(call_id="", error="raised: KeyError: nothing of that name")
        return ToolResult(call_id="", content=content)

    def close(self):
        self.executor.open -= 1


def capital_spec(number=0, **changes) -> EnvSpec:
    """Two hops: the author of a book, then the author's town."""
    tools = tuple(
        Tool(signature=ToolSchema(name=name, description=name, parameters=PARAMETERS), source=f"def {name}(x): ...")
        for name in ("author_of", "town_of", "distractor")
    )
    goals = (
        Goal(id="g1", tool="author_of", answer=infer("Mira Olsen")),
        Goal(id="g2", tool="town_of", answer=infer("Velden"), needs=("g1",)),
    )
    gold = (call("author_of", "Tides", id="g1"), call("town_of", "Mira Olsen", id="g2"))
    fields = {
        "scenario": Scenario(question=f"Where does the author of Tides live ({number})?", answer=infer("Velden")),
        "tools": tools,
        "goals": goals,
        "gold_calls": gold,
        "provenance": Provenance(source="test"),
    }
    return EnvSpec.create(**{**fields, **changes})


TABLE = {("author_of", "Tides"): "Mira Olsen", ("town_of", "Mira Olsen"): "Velden"}


def call(name, x, id="c0"):
    return ToolCall(id=id, name=name, arguments=orjson.dumps({"x": x}).decode())


def says(*messages):
    """A policy that says these messages in turn; a callable is asked, an exception is raised."""

    async def policy(conversation, tools):
        turn = sum(message.role == "assistant" for message in conversation)
        message = messages[min(turn, len(messages) - 1)]
        if isinstance(message, Exception):
            raise message
        return message if isinstance(message, Completion) else Completion(message=message)

    return policy


def assistant(content="", *calls, **fields):
    return Message(role="assistant", content=content, tool_calls=calls, **fields)
