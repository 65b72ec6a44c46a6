"""Conversations as bare chat rows, in the two forms that fine-tuning takes.

    openai      {"messages": [...], "tools": [...]} as OpenAI's fine-tuning and its kin read it: arguments as JSON text,
                no key that the format does not have
    template    the same for Hugging Face chat templates: arguments as objects, thinking as `reasoning_content`

`toolfoundry samples` writes rows with ids, scores and the same columns throughout (for Parquet, and for our trainer).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

from toolfoundry.environment import Executor, opening
from toolfoundry.errors import RecordError
from toolfoundry.export_samples import Row, as_chat
from toolfoundry.policies.scripted import make
from toolfoundry.reward import arguments_of
from toolfoundry.rollout import run_rollout
from toolfoundry.samples import conversation
from toolfoundry.types import EnvSpec, Message, Trajectory

__all__ = ["ChatForm", "chat_row", "gold_conversations", "opening_texts"]

ChatForm: TypeAlias = Literal["openai", "template"]

_AT_ONCE = 64


def opening_texts(spec: EnvSpec) -> list[dict[str, str]]:
    """The opening as messages of role and text, for formats whose prompts hold nothing else.

    Raises RecordError where it holds calls or tool messages.
    """
    messages = opening(spec).messages
    for message in messages:
        if message.role == "tool" or message.tool_calls:
            found = f"a message of the {message.role} with calls or results"
            raise RecordError(field=f"{spec.id}.prompt", found=found, expected="messages of text")
    return [{"role": message.role, "content": message.content} for message in messages]


def chat_row(trajectory: Trajectory, spec: EnvSpec, form: ChatForm) -> Row:
    """A trajectory as messages and tools, up to what the policy said last.

    Raises RecordError where it cannot be shown as an example: nothing was said, the rollout failed, or a call is not
    one (no name, or arguments that are no JSON object).
    """
    if trajectory.stop == "error" or not trajectory.turns:
        raise RecordError(
            field=trajectory.key, found="a rollout that failed or said nothing", expected="a conversation"
        )
    for turn in trajectory.turns:
        for call in turn.completion.message.tool_calls:
            if arguments_of(call) is None:
                raise RecordError(field=trajectory.key, found=f"call {call.id} that cannot be read", expected="a call")
    messages = [*conversation(trajectory, len(trajectory.turns) - 1), trajectory.turns[-1].completion.message]
    return {
        "messages": [_message(message, form) for message in messages],
        "tools": [tool.signature.as_function() for tool in spec.tools],
    }


def _message(message: Message, form: ChatForm) -> dict[str, Any]:
    row = {key: value for key, value in as_chat(message).items() if value is not None}
    if form == "openai":
        row.pop("reasoning_content", None)
    elif message.tool_calls:
        for shown, call in zip(row["tool_calls"], message.tool_calls, strict=True):
            shown["function"]["arguments"] = arguments_of(call)
    return row


def gold_conversations(specs: Iterable[EnvSpec], executor: Executor) -> Iterator[tuple[EnvSpec, Trajectory]]:
    """Every environment that has gold calls, with these played in the sandbox; in the order given.

    Runs an event loop of its own.
    """
    playable = (spec for spec in specs if spec.gold_calls)
    while chunk := list(itertools.islice(playable, _AT_ONCE)):
        yield from zip(chunk, asyncio.run(_play(chunk, executor)), strict=True)


async def _play(specs: Sequence[EnvSpec], executor: Executor) -> list[Trajectory]:
    return await asyncio.gather(*(run_rollout(make("gold", spec), spec, executor, name="gold") for spec in specs))
