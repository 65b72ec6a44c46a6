"""The chat formats: `render` writes what a vendor's chat template writes, byte for byte, in plain Python.

A format is any object with the shape of `ChatFormat`; a new one is a class here and a line in `FORMATS`. The
templates reproduced are those of Qwen2.5-Instruct (`hermes`) and Qwen3, the hybrid release (`qwen3`).

Where our records hold more than a template can express: faults are not rendered (the environment tells the model
about them); Hermes has no thinking, so thinking is not rendered; an unreadable call (name "") is written back as the
model wrote it, between `<tool_call>` tags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from toolfoundry.chat import markup
from toolfoundry.errors import InputError
from toolfoundry.types import Message, ToolSchema

__all__ = ["FORMATS", "ChatFormat", "Hermes", "Qwen3", "chat_format", "keeps_prefix"]

_TOOLS_HEAD = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
_TOOLS_TAIL = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n'
    "</tool_call>"
)
_QWEN25_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
_EMPTY_THINKING = "<think>\n\n</think>\n\n"


class ChatFormat(Protocol):
    """How one family of models spells a conversation.

    `render` gives the whole conversation, with `generation` the opening of the assistant's next turn.
    `completion` is what the model has to sample after that opening to say `message`, end-of-turn token included.
    `parse` is its inverse for any text at all (`toolfoundry.chat.markup` says how); it never raises.
    `end_tokens` end a turn, the first of them in training. `thinks` says whether the format has thinking at all.
    """

    @property
    def name(self) -> str: ...
    @property
    def thinks(self) -> bool: ...
    @property
    def end_tokens(self) -> tuple[str, ...]: ...

    def render(
        self, messages: Sequence[Message], tools: Sequence[ToolSchema], *, generation: bool, thinking: bool
    ) -> str: ...

    def completion(self, message: Message, *, thinking: bool) -> str: ...

    def parse(self, text: str, *, finished: bool = True, first_id: int = 0) -> Message: ...


class Hermes:
    """Qwen2.5's format: Hermes tool calls, no thinking (`thinking` has no effect)."""

    name = "hermes"
    thinks = False
    end_tokens = markup.END_TOKENS

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSchema],
        *,
        generation: bool,
        thinking: bool,  # noqa: ARG002
    ) -> str:
        """The text of a conversation. Raises InputError without messages."""
        first = _first(messages)
        system = first.content if first.role == "system" else _QWEN25_SYSTEM
        head = "\n\n".join([system, *([_tools(tools)] if tools else [])])
        parts = [f"<|im_start|>system\n{head}<|im_end|>\n"]
        return _conversation(parts, messages, lambda index: self._turn(messages[index]), generation, "")

    def completion(self, message: Message, *, thinking: bool) -> str:  # noqa: ARG002
        """What is sampled after the generation prompt to say this message."""
        return self._turn(message).removeprefix("\n") + "<|im_end|>"

    def parse(self, text: str, *, finished: bool = True, first_id: int = 0) -> Message:
        """The message that a completion spells."""
        return markup.parse(text, thinks=False, finished=finished, first_id=first_id)

    def _turn(self, message: Message) -> str:
        calls = "".join(f"\n{markup.write_call(call, markup.dump)}" for call in message.tool_calls)
        return f"\n{message.content}{calls}" if message.content or not calls else calls


class Qwen3:
    """Qwen3's format: Hermes tool calls, with thinking that can be switched off.

    Thinking before the last question is dropped, thinking since then is kept: see `keeps_prefix`.
    """

    name = "qwen3"
    thinks = True
    end_tokens = markup.END_TOKENS

    def render(
        self, messages: Sequence[Message], tools: Sequence[ToolSchema], *, generation: bool, thinking: bool
    ) -> str:
        """The text of a conversation. Raises InputError without messages."""
        first = _first(messages)
        system = [first.content] if first.role == "system" else []
        head = "\n\n".join([*system, *([_tools(tools)] if tools else [])])
        parts = [f"<|im_start|>system\n{head}<|im_end|>\n"] if system or tools else []
        since = max((index for index, message in enumerate(messages) if _asks(message)), default=len(messages))

        def turn(index: int) -> str:
            message, last = messages[index], index == len(messages) - 1
            if index > since and (last or message.thinking):
                return "\n" + self._thinking(message) + self._said(message, message.content.lstrip("\n"))
            return "\n" + self._said(message, message.content)

        return _conversation(parts, messages, turn, generation, "" if thinking else _EMPTY_THINKING)

    def completion(self, message: Message, *, thinking: bool) -> str:
        """What is sampled after the generation prompt to say this message; without `thinking`, that is no thinking."""
        said = self._said(message, message.content.lstrip("\n")) + "<|im_end|>"
        return self._thinking(message) + said if thinking else said

    def parse(self, text: str, *, finished: bool = True, first_id: int = 0) -> Message:
        """The message that a completion spells."""
        return markup.parse(text, thinks=True, finished=finished, first_id=first_id)

    def _thinking(self, message: Message) -> str:
        thinking = message.thinking.strip("\n")
        return f"<think>\n{thinking}\n</think>\n\n"

    def _said(self, message: Message, content: str) -> str:
        # The template asks whether there is content before it strips it: "\n" alone still brings this newline.
        between = "\n" if message.content and message.tool_calls else ""
        return content + between + "\n".join(markup.write_call(call) for call in message.tool_calls)


FORMATS: dict[str, ChatFormat] = {"hermes": Hermes(), "qwen3": Qwen3()}


def chat_format(name: str) -> ChatFormat:
    """The format of that name. Raises InputError for an unknown one."""
    if name not in FORMATS:
        raise InputError(f"chat format: found {name!r}, expected one of {', '.join(FORMATS)}")
    return FORMATS[name]


def keeps_prefix(chat: ChatFormat, messages: Sequence[Message], tools: Sequence[ToolSchema], *, thinking: bool) -> bool:
    """Whether the text only ever grew: each assistant turn's prompt and completion begin the text of the whole.

    Where it did, all turns can be one training sample; where not, each assistant turn is a sample of its own.
    Hermes always keeps it. Qwen3 keeps it from a question to the next while it thinks, and drops the thinking, or
    the empty `<think>` block of a turn without, once another message follows.
    """
    whole = chat.render(messages, tools, generation=True, thinking=thinking)
    return all(
        whole.startswith(
            chat.render(messages[:index], tools, generation=True, thinking=thinking)
            + chat.completion(message, thinking=thinking)
        )
        for index, message in enumerate(messages)
        if index and message.role == "assistant"
    )


def _first(messages: Sequence[Message]) -> Message:
    if not messages:
        raise InputError("messages: found none, expected at least one")
    return messages[0]


def _asks(message: Message) -> bool:
    """A user message that is not a tool result in disguise: thinking before the last of these is dropped."""
    text = message.content
    return message.role == "user" and not (text.startswith("<tool_response>") and text.endswith("</tool_response>"))


def _tools(tools: Sequence[ToolSchema]) -> str:
    return _TOOLS_HEAD + "".join("\n" + markup.dump(tool.as_function()) for tool in tools) + _TOOLS_TAIL


def _conversation(
    parts: list[str], messages: Sequence[Message], assistant: Callable[[int], str], generation: bool, opening: str
) -> str:
    def turns() -> Iterator[str]:
        for index, message in enumerate(messages):
            if message.role == "assistant":
                yield f"<|im_start|>assistant{assistant(index)}<|im_end|>\n"
            elif message.role == "tool":
                if index == 0 or messages[index - 1].role != "tool":
                    yield "<|im_start|>user"
                yield f"\n<tool_response>\n{message.content}\n</tool_response>"
                if index == len(messages) - 1 or messages[index + 1].role != "tool":
                    yield "<|im_end|>\n"
            elif message.role == "user" or index:
                yield f"<|im_start|>{message.role}\n{message.content}<|im_end|>\n"
        if generation:
            yield f"<|im_start|>assistant\n{opening}"

    return "".join([*parts, *turns()])
