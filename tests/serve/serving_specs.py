"""Environments with tools that keep a state, fail, and hang, for the tests of servers."""

from __future__ import annotations

from toolfoundry.answers import infer
from toolfoundry.types import EnvSpec, Goal, Provenance, Scenario, Tool, ToolCall, ToolSchema

COUNT = """
def count(by, *, data):
    data["n"] += by
    return {"n": data["n"]}
"""
SOURCES = {
    "count": COUNT,
    "fail": "def fail(**_):\n    raise ValueError('as asked')\n",
    "hang": "def hang(**_):\n    while True:\n        pass\n",
    "length": "def length(text, **_):\n    return len(text)\n",
}
PARAMETERS = {
    "count": {"by": {"type": "integer", "minimum": 1, "default": 1, "description": "How much."}},
    "length": {"text": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/$defs/word"}}]}},
}


def counter(**changes) -> EnvSpec:
    """An environment whose state is a number. Its gold: count to 3, then to 7."""
    tools = tuple(
        Tool(
            signature=ToolSchema(
                name=name,
                description=f"The tool {name}.",
                parameters={
                    "type": "object",
                    "properties": PARAMETERS.get(name, {}),
                    "required": list(PARAMETERS.get(name, {})),
                    "$defs": {"word": {"type": "string"}},
                },
            ),
            source=source,
        )
        for name, source in SOURCES.items()
    )
    fields = {
        "scenario": Scenario(
            question="Count to 3, then on to 7. Where are you?",
            answer=infer("7"),
        ),
        "tools": tools,
        "goals": (
            Goal(id="g1", tool="count", answer=infer("3"), echo_ok=True),
            Goal(id="g2", tool="count", answer=infer("7"), needs=("g1",)),
        ),
        "gold_calls": (
            ToolCall(id="g1", name="count", arguments='{"by": 3}'),
            ToolCall(id="g2", name="count", arguments='{"by": 4}'),
        ),
        "state": {"n": 0},
        "provenance": Provenance(source="test"),
    }
    return EnvSpec.create(**{**fields, **changes})
