"""A conversation that another framework has led, as our record: messages in OpenAI's form become a trajectory.

Whoever keeps only the conversation (a trace, a log, a chat history) can have it graded by our reward this way. What is
lost against an episode that we drive ourselves: whether a result was an error can only be told from its text, which
begins with "Error: " then (as `ToolResult.text` writes it), and completions have no tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolfoundry.errors import RecordError
from toolfoundry.policies.wire import BadReply, read_said
from toolfoundry.types import Completion, Fault, Limits, Message, StopReason, Task, ToolResult, Trajectory, Turn

__all__ = ["read_conversation"]

_ERROR = "Error: "


def read_conversation(
    task: Task,
    messages: Sequence[Mapping[str, Any]],
    *,
    policy: str = "policy",
    sample: int = 0,
    calls_per_turn: int = Limits().calls_per_turn,
    cut_off: bool = False,
) -> Trajectory:
    """The trajectory of a conversation. Its turns carry no rewards: `score_trajectory` grades it.

    What stands before the first message of the assistant is the prompt. `cut_off`: its last message ended at a token
    limit. Tool messages belong to the calls of the assistant's message before them, by `tool_call_id` where the ids of
    that message are distinct, else by their order; a call without one was not executed, and those of a message beyond
    `calls_per_turn` count as not executed, as in our own rollouts. What the user says later is the notice of the turn
    before it. Without any message of the assistant the trajectory is unscored (stop "error").

    Raises RecordError for a message of an unknown role, or whose content or calls have another form.
    """
    prompt: list[Message] = []
    spoken: list[tuple[Message, list[Any], list[Mapping[str, Any]], list[str]]] = []
    calls = 0
    for index, raw in enumerate(messages):
        role = raw.get("role") if isinstance(raw, Mapping) else None  # pyright: ignore[reportUnnecessaryIsInstance]
        if role not in ("system", "user", "assistant", "tool"):
            expected = "system, user, assistant or tool"
            raise RecordError(field=f"messages.{index}.role", found=repr(role), expected=expected)
        try:
            said = read_said(raw, first_id=calls)
        except BadReply as problem:
            raise RecordError(
                field=f"messages.{index}",
                found=str(problem).removeprefix("found "),
                expected="a message in OpenAI's form",
            ) from None
        if role == "assistant":
            calls += len(said.tool_calls)
            spoken.append((said, [_id(call) for call in raw.get("tool_calls") or ()], [], []))
        elif not spoken:
            prompt.append(Message(role=role, content=said.content))
        elif role == "tool":
            spoken[-1][2].append({"id": _known(raw.get("tool_call_id")), "text": said.content})
        else:
            spoken[-1][3].append(said.content)
    turns = [
        Turn(
            completion=Completion(message=_cut(said) if cut_off and place == len(spoken) - 1 else said),
            results=_results(said, ids, replies, calls_per_turn),
            notice="\n".join(notices) or None,
        )
        for place, (said, ids, replies, notices) in enumerate(spoken)
    ]
    return Trajectory(
        task=task,
        policy=policy,
        sample=sample,
        calls_per_turn=calls_per_turn,
        prompt=tuple(prompt),
        turns=tuple(turns),
        stop=_stop(turns),
        error=None if turns else "the assistant said nothing",
    )


def _results(
    said: Message, ids: Sequence[Any], replies: Sequence[Mapping[str, Any]], most: int
) -> tuple[ToolResult, ...]:
    by_id = {reply["id"]: reply for reply in replies}
    trusted = len(set(ids)) == len(ids) and len(by_id) == len(replies) and set(by_id) <= set(ids)
    results: list[ToolResult] = []
    for place, call in enumerate(said.tool_calls):
        reply = by_id.get(ids[place]) if trusted else replies[place] if place < len(replies) else None
        if reply is None or place >= most:
            results.append(ToolResult(call_id=call.id, error="limit: not executed"))
        elif (text := str(reply["text"])).startswith(_ERROR):
            results.append(ToolResult(call_id=call.id, error=text.removeprefix(_ERROR)))
        else:
            results.append(ToolResult(call_id=call.id, content=text))
    return tuple(results)


def _id(call: Any) -> Any:
    return _known(call.get("id")) if isinstance(call, Mapping) else None  # pyright: ignore[reportUnknownMemberType]


def _known(given: Any) -> Any:
    """An id, None where it is of a kind that none is."""
    return given if isinstance(given, str | int) else None


def _cut(said: Message) -> Message:
    return said.model_copy(update={"faults": (*said.faults, Fault(kind="unfinished"))})


def _stop(turns: Sequence[Turn]) -> StopReason:
    """A conversation that ends with calls was cut off by a limit of turns."""
    if not turns:
        return "error"
    last = turns[-1].completion.message
    cut_off = any(fault.kind == "unfinished" for fault in last.faults)
    return "max_turns" if last.tool_calls else "length" if cut_off else "answered"
