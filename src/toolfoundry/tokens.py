"""Conversations as token ids: what the policy sampled is kept, what lies between is encoded once, nothing again.

    prompt = dialect.prompt(messages, tools, said)     ids before the next turn; `said`: the ids of each turn so far
    message = dialect.read(ids)                        the message that sampled ids spell

A rendered conversation that is tokenised anew need not give the ids that were sampled, and then log-probabilities
and masks belong to other tokens. So ids are only ever appended: the sampled ones of each turn, then those of the text
that the chat format puts between this turn and the next. Where a format rewrites what it has shown (Qwen3 drops
earlier thinking), the text no longer begins with what came before: then everything is encoded anew, and the turns
before belong to another sample.

Not covered: control tokens spelled out by a tool. A codec that reads them in text lets a tool result end a turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from toolfoundry.chat import ChatFormat
from toolfoundry.types import Message, ToolSchema

__all__ = ["Codec", "Dialect", "Prompt"]


class Codec(Protocol):
    """A tokenizer: `decode(encode(text)) == text` for any text that the model can be shown.

    `end_ids` are the tokens that end a turn; the first of them closes one that the policy did not close.
    """

    @property
    def end_ids(self) -> tuple[int, ...]: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


class Prompt(NamedTuple):
    """The ids before the next turn.

    first: the earliest assistant turn (counted from 0) whose sampled ids stand in `ids`; the turns before it were
        rewritten by the chat format, and belong to other samples. spans: where each turn from `first` on lies.
    """

    ids: list[int]
    first: int
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Dialect:
    """How a model is spoken to: a chat format with thinking on or off, and a tokenizer."""

    chat: ChatFormat
    codec: Codec
    thinking: bool = False

    def prompt(
        self, messages: Sequence[Message], tools: Sequence[ToolSchema], said: Sequence[Sequence[int]] = ()
    ) -> Prompt:
        """The ids before the turn that follows `messages`.

        Args:
            messages: the conversation; it ends with something that is not the assistant's.
            tools: their schemas, in the order in which the model sees them.
            said: the sampled ids of each assistant message, in order; an empty one is encoded from its message.

        Raises:
            ValueError: `said` and the assistant messages are not equally many.
        """
        turns = [index for index, message in enumerate(messages) if message.role == "assistant"]
        if len(said) != len(turns):
            raise ValueError(f"said: found the ids of {len(said)} turns, expected {len(turns)}")
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        first, text = 0, ""  # `ids` stands for `text`
        for turn, end in enumerate([*turns, len(messages)]):
            shown = self.chat.render(messages[:end], tools, generation=True, thinking=self.thinking)
            if not shown.startswith(text):
                ids, spans, first, text = [], [], turn, ""
            ids += self.codec.encode(shown[len(text) :])
            if end == len(messages):
                break
            spoken = self.chat.completion(messages[end], thinking=self.thinking)
            sampled = list(said[turn]) or self.codec.encode(spoken)
            spans.append((len(ids), len(ids) + len(sampled)))
            ids += sampled
            if not sampled or sampled[-1] not in self.codec.end_ids:
                ids.append(self.codec.end_ids[0])
            text = shown + spoken
        return Prompt(ids, first, tuple(spans))

    def spell(self, message: Message) -> list[int]:
        """The ids that say a message: what a demonstration teaches."""
        return self.codec.encode(self.chat.completion(message, thinking=self.thinking))

    def read(self, ids: Sequence[int], first_id: int = 0) -> Message:
        """The message that sampled ids spell; `first_id` numbers its first call. Never raises."""
        finished = bool(ids) and ids[-1] in self.codec.end_ids
        return self.chat.parse(self.codec.decode(ids), finished=finished, first_id=first_id)
