"""A policy is a function of the conversation; this one calls the first tool once, and then answers with what it saw."""

import asyncio
import json
from collections.abc import Sequence

from toolfoundry.demo import environments
from toolfoundry.rollout import run_rollout
from toolfoundry.sandbox import Sandbox
from toolfoundry.types import Completion, Message, ToolCall, ToolSchema, Trajectory


async def curious(messages: Sequence[Message], tools: Sequence[ToolSchema]) -> Completion:
    if messages[-1].role == "tool":
        return Completion(message=Message(role="assistant", content=f"<answer>{messages[-1].content}</answer>"))
    words = messages[-1].content.split()
    required = tools[0].parameters.get("required", [])
    arguments = {str(name): words[-1].strip("?") for name in required}  # a guess: the last word of the question
    call = ToolCall(id="c1", name=tools[0].name, arguments=json.dumps(arguments))
    return Completion(message=Message(role="assistant", tool_calls=(call,)))


async def main() -> list[Trajectory]:
    with Sandbox() as sandbox:
        return [await run_rollout(curious, spec, sandbox, name="curious") for spec in environments()[:4]]


if __name__ == "__main__":
    for trajectory in asyncio.run(main()):
        rewards = [turn.reward.value if turn.reward else None for turn in trajectory.turns]  # None: not scored
        print(trajectory.task.kind, rewards, trajectory.stop)
