"""What is asked of a model and what comes back, as values: a request is known by the hash of all that shapes its reply.

ChatRequest ──► body() for an endpoint or a Batch line ──► ChatReply
     └──► hash: the key in the cache, and the `custom_id` in a Batch file
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import orjson
from pydantic import JsonValue

from toolfoundry.types import Completion, Record

__all__ = [
    "MODES",
    "ChatMessage",
    "ChatReply",
    "ChatRequest",
    "Mode",
    "TokenField",
    "estimated_tokens",
    "hash_of",
    "reply_of",
]

Mode = Literal["json_schema", "json_object", "text"]
MODES: tuple[Mode, ...] = ("json_schema", "json_object", "text")
TokenField = Literal["max_tokens", "max_completion_tokens"]

_BYTES_PER_TOKEN = 3  # of English prose with JSON and code a token has about 4; fewer make the estimate a careful one


class ChatMessage(Record):
    """One message of the conversation with the author's model."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(Record):
    """One request.

    form: the JSON Schema that the reply is to follow, None for free text; mode: how the server is asked for it.
    extra: further fields, as the endpoint knows them.
    salt: sets apart requests that are equal and are to have replies of their own; it is not sent.
    token_field: under which name the limit is sent; newer models of OpenAI take only `max_completion_tokens`.
    """

    model: str
    messages: tuple[ChatMessage, ...]
    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    form: dict[str, JsonValue] | None = None
    mode: Mode = "text"
    extra: dict[str, JsonValue] = {}
    salt: str = ""
    token_field: TokenField = "max_tokens"

    def body(self) -> dict[str, Any]:
        """The request as a chat-completions endpoint takes it."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [message.model_dump() for message in self.messages],
            self.token_field: self.max_tokens,
        }
        body |= {key: value for key in ("temperature", "top_p") if (value := getattr(self, key)) is not None}
        if self.form is not None and self.mode == "json_schema":
            # Not `strict`: arguments and schemas within the reply are objects with any keys, which strict mode forbids.
            schema = {"name": "reply", "schema": self.form, "strict": False}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif self.form is not None and self.mode == "json_object":
            body["response_format"] = {"type": "json_object"}
        return {**self.extra, **body}

    @property
    def hash(self) -> str:
        """64 hex digits; equal exactly for requests that are the same on the wire and have the same salt."""
        return hash_of(self.body(), self.salt)

    @property
    def prompt_tokens(self) -> int:
        """An estimate of the prompt's tokens, from its bytes."""
        return estimated_tokens(message.content for message in self.messages)


class ChatReply(Record):
    """One reply. finish: it ended by itself, by its token limit, or by the server's content filter.

    prompt_tokens, completion_tokens: as the server counted them; None where it did not.
    """

    text: str
    finish: Literal["stop", "length", "filter"] = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def hash_of(body: Mapping[str, Any], salt: str) -> str:
    """The hash of a request that has this body."""
    canonical = orjson.dumps({"body": body, "salt": salt}, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()


def estimated_tokens(contents: Iterable[str]) -> int:
    """About how many tokens a conversation has, from its bytes."""
    return sum(len(content.encode()) // _BYTES_PER_TOKEN + 8 for content in contents)


def reply_of(completion: Completion) -> ChatReply:
    """The reply in a completion; tool calls are none of an author's business and are left out."""
    finish: Literal["stop", "length", "filter"] = "stop"
    for fault in completion.message.faults:
        if fault.kind == "unfinished":
            finish = "filter" if "filter" in fault.detail else "length"
    usage = completion.usage
    return ChatReply(
        text=completion.message.content,
        finish=finish,
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
    )
