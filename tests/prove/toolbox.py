"""Small tools in the style that models write them, and a builder of specifications around them."""

from __future__ import annotations

import ast
from textwrap import dedent
from typing import Any

from toolfoundry.answers import infer
from toolfoundry.types import EnvSpec, Goal, Provenance, Scenario, Tool, ToolSchema

TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}


def tool(source: str, **properties: Any) -> Tool:
    """A tool from source with annotated parameters; `properties` replace what the annotations say."""
    source = dedent(source).strip() + "\n"
    function = next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    args = function.args.args
    described: dict[str, Any] = {
        arg.arg: {"type": TYPES[ast.unparse(arg.annotation)] if arg.annotation else "string"} for arg in args
    }
    required = [arg.arg for arg in args[: len(args) - len(function.args.defaults)]]
    parameters = {"type": "object", "properties": described | properties, "required": required}
    return Tool(
        signature=ToolSchema(name=function.name, description="A tool.", parameters=parameters),
        source=source,
    )


def environment(question: str, goals: list[tuple[str, str]], tools: list[Tool], **fields: Any) -> EnvSpec:
    """A specification with goals g1, g2, ... from (tool name, answer) pairs, edges unknown."""
    return EnvSpec.create(
        scenario=Scenario(question=question, answer=None),
        tools=tuple(tools),
        goals=tuple(
            Goal(id=f"g{i}", tool=name, answer=infer(answer), needs=None, echo_ok=None)
            for i, (name, answer) in enumerate(goals, 1)
        ),
        provenance=Provenance(source="test"),
        **fields,
    )


def single(source: str, answer: str, question: str = "?", **properties: Any) -> EnvSpec:
    """A specification with one tool and one goal."""
    only = tool(source, **properties)
    return environment(question, [(only.name, answer)], [only])
