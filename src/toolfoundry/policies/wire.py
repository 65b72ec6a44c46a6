"""What goes over the wire to an OpenAI-compatible endpoint, and what comes back: pure functions, no network.

A reply is taken apart without trust: whatever the model got wrong becomes part of the message, whatever is no chat
completion at all is a `BadReply`. Ids of calls are ours, counted within the conversation, so that a record does not
depend on what a server makes up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, cast

from toolfoundry.chat import chat_format, well_formed
from toolfoundry.chat.markup import Malformed, begins_call, dump, load, write_call
from toolfoundry.types import Completion, Fault, Message, ToolCall, Usage

__all__ = ["BadReply", "error_text", "read_reply", "read_said", "wire_messages"]


class BadReply(Exception):
    """A reply that is no chat completion, in words."""


# --- the request ---------------------------------------------------------------------------------------------------


def wire_messages(messages: Sequence[Message], *, send_thinking: bool = False) -> list[dict[str, Any]]:
    """The conversation as an endpoint takes it. Calls are numbered anew, so that every id is unique.

    A call that cannot be sent (without a name, or with arguments that are no JSON object: servers refuse them) stands
    in the content as the model wrote it, and its result follows the other results as a user message.
    """
    wire: list[dict[str, Any]] = []
    ids: dict[str, str] = {}
    loose: list[str] = []
    count = 0
    for message in (*messages, None):
        if message is not None and message.role == "tool":
            if (wire_id := ids.get(message.call_id or "")) is None:
                loose.append(well_formed(message.content))
            else:
                wire.append({"role": "tool", "tool_call_id": wire_id, "content": well_formed(message.content)})
            continue
        if loose:
            wire.append({"role": "user", "content": "\n".join(loose)})
            loose = []
        if message is None:
            break
        content = [message.content] if message.content else []
        plain: dict[str, Any] = {"role": message.role}
        calls: list[dict[str, Any]] = []
        ids = {}
        for call in message.tool_calls:
            if not _sendable(call):
                content.append(write_call(call))
                continue
            ids[call.id] = f"call_{count}"
            count += 1
            function = {"name": call.name, "arguments": call.arguments}
            calls.append({"id": ids[call.id], "type": "function", "function": function})
        plain["content"] = well_formed("\n".join(content))
        if calls:
            plain["tool_calls"] = calls
        if send_thinking and message.thinking:
            # Servers disagree about the name of the field, and ignore the one that they do not know.
            plain["reasoning_content"] = plain["reasoning"] = well_formed(message.thinking)
        wire.append(plain)
    return wire


def _sendable(call: ToolCall) -> bool:
    try:
        return bool(call.name) and isinstance(load(call.arguments), dict)
    except Malformed:
        return False


# --- the reply -----------------------------------------------------------------------------------------------------


def read_reply(body: bytes, *, first_id: int, parse_text: bool) -> Completion:
    """The completion in a reply, its calls named `call_N` from `first_id` on. Raises BadReply where there is none.

    `parse_text` reads Hermes markup and `<think>` out of the text if the reply has no calls of its own.
    """
    try:
        reply: Any = json.loads(body)
    except (ValueError, RecursionError):
        start = body[:60].decode(errors="replace")
        raise BadReply(f"found {start!r}, expected JSON") from None
    choices = _get(reply, "choices")
    if not isinstance(choices, list) or not choices:
        raise BadReply(f"found no choices ({error_text(body) or 'and no error message'})")
    choice: Any = cast("list[Any]", choices)[0]
    message, reason = _get(choice, "message"), _get(choice, "finish_reason")
    if not isinstance(message, dict):
        raise BadReply("found a choice without a message")
    if reason in ("abort", "error"):
        raise BadReply(f"found finish_reason {reason!r}")
    said = read_said(message, first_id=first_id)
    content, thinking, calls, faults = said.content, said.thinking, said.tool_calls, said.faults
    if parse_text and not calls:
        read = chat_format("qwen3").parse(content, finished=reason != "length", first_id=first_id)
        content, calls, thinking = read.content, read.tool_calls, thinking or read.thinking
        known = {fault.kind for fault in faults}
        faults += tuple(fault for fault in read.faults if fault.kind not in known)
    if reason in ("length", "content_filter") and not any(fault.kind == "unfinished" for fault in faults):
        detail = "the token limit was reached" if reason == "length" else "the server's content filter stopped it"
        faults += (Fault(kind="unfinished", detail=detail),)
    return Completion(
        message=Message(role="assistant", content=content, thinking=thinking, tool_calls=calls, faults=faults),
        usage=_usage(_get(reply, "usage")),
    )


def read_said(message: Any, *, first_id: int) -> Message:
    """What an assistant's message in OpenAI's form says and calls, with its fault if it calls while it thinks.

    Raises BadReply where it is none.
    """
    items: Any = _get(message, "tool_calls") or []
    if not isinstance(items, list):
        raise BadReply("found tool_calls that are no array")
    thinking = _text(_get(message, "reasoning_content")) or _text(_get(message, "reasoning"))
    return Message(
        role="assistant",
        content=_text(_get(message, "content")) or _text(_get(message, "refusal")),
        thinking=thinking,
        tool_calls=tuple(
            _call(item, f"call_{first_id + index}") for index, item in enumerate(cast("list[Any]", items))
        ),
        faults=(Fault(kind="call_in_thinking"),) if begins_call(thinking) else (),
    )


def _call(item: Any, call_id: str) -> ToolCall:
    """One call as the endpoint gives it: arguments as text, as an object, or none. Not a call: the name ""."""
    function = _get(item, "function")
    name, arguments = _get(function, "name"), _get(function, "arguments")
    try:
        if not isinstance(name, str) or not name.strip():
            return ToolCall(id=call_id, name="", arguments=dump(item if function is None else function))
        if not isinstance(arguments, str):
            arguments = "{}" if arguments is None else dump(arguments)
    except RecursionError:
        raise BadReply("found a call that is nested too deeply") from None
    return ToolCall(id=call_id, name=well_formed(name), arguments=well_formed(arguments) if arguments.strip() else "{}")


def _text(value: Any) -> str:
    """Text as it is, or joined from its parts; nothing for null."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "".join(_text(_get(part, "text")) for part in cast("list[Any]", value))
    if not isinstance(value, str):
        raise BadReply(f"found content that is no text but {type(value).__name__}")
    return well_formed(value)


def _usage(usage: Any) -> Usage | None:
    counts = [_get(usage, name) for name in ("prompt_tokens", "completion_tokens")]
    if not all(type(count) is int and 0 <= count < 10**9 for count in counts):
        return None
    return Usage(prompt_tokens=counts[0], completion_tokens=counts[1])


def _get(value: Any, key: str) -> Any:
    return cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None


def error_text(body: bytes) -> str:
    """What an error body says, by the usual fields or as plain text; nothing for an HTML page."""
    try:
        reply: Any = json.loads(body)
    except (ValueError, RecursionError):
        text = re.sub(r"\s+", " ", body.decode(errors="replace")).strip()
        return "" if "<" in text else text  # a page for people
    error = _get(reply, "error") or reply
    parts = [_get(error, name) for name in ("message", "code")] if isinstance(error, dict) else [error]
    parts.append(_get(reply, "detail"))
    return ", ".join(str(part) for part in parts if isinstance(part, str | int))
