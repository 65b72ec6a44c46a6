"""Tools of a pool beside an author's own: the author is not asked about what others wrote."""

from __future__ import annotations

import asyncio
from typing import Any

from hand_author import LIGHT, HandAuthor
from toolfoundry.build.construct import construct
from toolfoundry.build.draft import Brief, Documents
from toolfoundry.build.scaling import Scaling
from toolfoundry.sandbox import Sandbox, SandboxLimits
from toolfoundry.types import ToolSchema

POOL = Scaling(**{**LIGHT.model_dump(), "distractors": 2})


def pooled(name: str, body: str, description: str = "Says something about a parish.") -> tuple[ToolSchema, str]:
    schema = ToolSchema(
        name=name,
        description=description,
        parameters={"type": "object", "properties": {"parish": {"type": "string"}}, "required": ["parish"]},
        output={"type": "string"},
    )
    return schema, f"def {name}(parish):\n    {body}\n"


def built(sandbox: Sandbox, *tools: tuple[ToolSchema, str]):
    given = Documents(
        documents=tuple(schema for schema, _ in tools),
        calls=(),
        sources={schema.name: source for schema, source in tools},
    )
    author = HandAuthor({"distractors": lambda asked, value: given}, attempts=1, trusted=False)
    return asyncio.run(construct(Brief(index=0, origin="pool"), author, POOL, sandbox))


GOOD = pooled(
    "parish_bells", 'return {"north": "six bells", "south": "two bells"}.get(parish, "Error: unknown parish")'
)


def test_a_tool_that_answers_a_goal_is_left_out(sandbox):
    """It gives 412 whatever it is asked. The author, which may be asked once only, is not blamed."""
    loose = pooled("parish_steps", 'return f"412 steps, {len(parish)} letters"')
    outcome = built(sandbox, GOOD, loose)
    assert outcome.reject is None, outcome.reject
    names = [tool.name for tool in outcome.spec.tools]
    assert "parish_bells" in names
    assert "parish_steps" not in names


def test_a_document_that_says_an_answer_is_not_chosen(sandbox):
    """Known before anything runs."""
    telling = pooled("parish_tower", "return parish.upper()", "For example, the Grey Finger has 412 steps.")
    outcome = built(sandbox, GOOD, telling)
    assert outcome.reject is None, outcome.reject
    assert [tool.name for tool in outcome.spec.tools if tool.name.startswith("parish")] == ["parish_bells"]


def test_a_tool_that_does_not_come_back_costs_one_timeout():
    """Found with the first calls: a hundred others are not tried on it."""
    author = HandAuthor({"deploy": lambda asked, value: _looping(value)}, attempts=1, trusted=False)
    with Sandbox(SandboxLimits(call_s=0.2)) as box:
        outcome = asyncio.run(construct(Brief(index=0, origin="loop"), author, LIGHT, box))
    assert outcome.reject is not None
    assert (outcome.reject.stage, outcome.reject.reason) == ("deploy", "call-fails")
    assert "does not come back" in outcome.reject.detail


def _looping(value: Any) -> Any:
    sources = {
        name: source.replace(":\n", ":\n    while True:\n        pass\n", 1) for name, source in value.sources.items()
    }
    return value.model_copy(update={"sources": sources})
