"""One question, one completion, no tools: the trajectory of benchmarks that are no environments."""

from __future__ import annotations

from collections.abc import Sequence

from toolfoundry.policies import Policy
from toolfoundry.types import Message, Task, ToolResult, Trajectory, Turn

__all__ = ["ask_once"]


async def ask_once(policy: Policy, prompt: Sequence[Message], task: Task, *, name: str, sample: int) -> Trajectory:
    """What the policy answers to the prompt. A failure is recorded with its cause (`stop` is "error"), never raised.

    Calls that it makes all the same have a result that says that there is no such tool.
    """
    turns: list[Turn] = []
    error: str | None = None
    try:
        completion = await policy(tuple(prompt), ())
    except Exception as failure:  # one bad attempt must not end the others
        error = f"{type(failure).__name__}: {failure}"[:2000]
    else:
        calls = completion.message.tool_calls
        refused = [ToolResult(call_id=call.id, error="unknown_tool: there are no tools here") for call in calls]
        turns.append(Turn(completion=completion, results=tuple(refused)))
    unfinished = any(fault.kind == "unfinished" for turn in turns for fault in turn.completion.message.faults)
    return Trajectory(
        task=task,
        policy=name,
        sample=sample,
        prompt=tuple(prompt),
        turns=tuple(turns),
        stop="error" if error is not None else "length" if unfinished else "answered",
        error=error,
    )
