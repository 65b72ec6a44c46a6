"""Environments as rows of NVIDIA NeMo Gym (0.7), and what its agents said as messages that our reward grades.

    {"responses_create_params": {"input": [...], "tools": [...], "parallel_tool_calls": true},
     "task_id": ID, "verifier_metadata": {"scenario": KIND, "environment": RECORD}}

The model is given `responses_create_params` alone. `environment` is the whole record as JSON text, tools with their
sources, goals and answers: what a resources server needs to run the calls and to verify. With a taskset's name the same
stands in the envelope of a materialized task (`task_id`, `task_input`), which NeMo Gym's environment servers take.

Not covered: the server itself (NeMo Gym needs Python 3.13.14).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from toolfoundry.errors import RecordError
from toolfoundry.formats.chat_rows import opening_texts
from toolfoundry.store import dump
from toolfoundry.types import EnvSpec

__all__ = ["RESERVED", "nemo_gym_row", "response_messages"]

RESERVED = frozenset({"verify", "seed_session", "close_session", "aggregate_metrics", "mcp"})


def nemo_gym_row(spec: EnvSpec, *, agent: str | None = None, taskset: str | None = None) -> dict[str, Any]:
    """One environment as a row.

    Args:
        spec: the environment.
        agent: the agent server that plays it; None leaves that to NeMo Gym's `+agent_name`.
        taskset: where given, the row is a materialized task of this taskset.

    Raises:
        RecordError: a tool has a name that NeMo Gym's servers use themselves or cannot serve, or the opening holds
            calls or tool messages.
    """
    for tool in spec.tools:
        if tool.name in RESERVED or not re.fullmatch(r"[A-Za-z0-9_-]+", tool.name):
            expected = f"letters, digits, _ and -, and none of NeMo Gym's own names {sorted(RESERVED)}"
            raise RecordError(field=f"{spec.id}.tools", found=repr(tool.name), expected=expected)
    asked: dict[str, Any] = {
        "input": opening_texts(spec),
        "tools": [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.signature.description,
                "parameters": tool.signature.parameters,
                "strict": False,
            }
            for tool in spec.tools
        ],
        "parallel_tool_calls": True,
    }
    known = {"scenario": spec.scenario.kind, "environment": dump(spec).decode()}
    if taskset is None:
        row: dict[str, Any] = {"responses_create_params": asked, "task_id": spec.id, "verifier_metadata": known}
    else:
        task = {"responses_create_params": asked, "task_data": known}
        row = {"task_id": {"taskset": taskset, "task_id": spec.id}, "task_input": task}
    return row if agent is None else {**row, "agent_ref": {"type": "responses_api_agents", "name": agent}}


def response_messages(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The items of a response's `output` as messages in OpenAI's chat form, for `read_conversation`.

    What the model gave up to the next tool results is one message: its text, its reasoning and its calls. Items of
    other kinds (searches, computer use) have no place in our environments.

    Raises RecordError for these.
    """
    messages: list[dict[str, Any]] = []
    for place, item in enumerate(items):
        kind = item.get("type") or "message"
        if kind == "function_call_output":
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")})
            continue
        if kind == "message" and item.get("role", "assistant") != "assistant":
            messages.append({"role": item.get("role"), "content": _text(item.get("content"))})
            continue
        if kind not in ("message", "reasoning", "function_call"):
            expected = "message, reasoning, function_call or function_call_output"
            raise RecordError(field=f"output.{place}.type", found=repr(kind), expected=expected)
        if not messages or messages[-1]["role"] != "assistant":
            messages.append({"role": "assistant", "content": "", "reasoning_content": "", "tool_calls": []})
        said = messages[-1]
        if kind == "message":
            said["content"] += _text(item.get("content"))
        elif kind == "reasoning":
            said["reasoning_content"] += _text(item.get("content") or item.get("summary"))
        else:
            call = {"name": item.get("name"), "arguments": item.get("arguments")}
            said["tool_calls"].append({"id": item.get("call_id"), "function": call})
    return messages


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts: list[Any] = content or []
    return "".join(str(part.get("text") or part.get("refusal") or "") for part in parts)
