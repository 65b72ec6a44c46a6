"""Conversations as token ids: what the policy sampled is kept, what lies between is encoded once, nothing again.

    prompt = dialect.prompt(messages, tools, said)     ids before the next turn; `said`: the ids of each turn so far
    transcript.prompt(messages, said)                  the same, asked again and again as a conversation grows
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

__all__ = ["Codec", "Dialect", "Prompt", "Transcript"]


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

    first: the earliest of the policy's turns (counted from 0) whose sampled ids stand in `ids`; the turns before it
        were rewritten by the chat format, and belong to other samples. spans: where each turn from `first` on lies.
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
            said: the sampled ids of the last assistant messages, in order; one that is empty is encoded from its
                message. Assistant messages before these belong to the opening (an example in an imported prompt):
                nobody sampled them, and they are encoded as text.

        Raises:
            ValueError: `said` has more turns than there are assistant messages.
        """
        return Transcript(self, tools).prompt(messages, said)

    def spell(self, message: Message) -> list[int]:
        """The ids that say a message: what a demonstration teaches."""
        return self.codec.encode(self.chat.completion(message, thinking=self.thinking))

    def read(self, ids: Sequence[int], first_id: int = 0) -> Message:
        """The message that sampled ids spell; `first_id` numbers its first call. Never raises."""
        finished = bool(ids) and ids[-1] in self.codec.end_ids
        return self.chat.parse(self.codec.decode(ids), finished=finished, first_id=first_id)


class Transcript:
    """One conversation as it grows, for whoever asks for the prompt of each turn: every turn is rendered once, and no
    text is encoded twice.

    `prompt` is `Dialect.prompt`; each call must go on with the conversation of the call before.
    """

    def __init__(self, dialect: Dialect, tools: Sequence[ToolSchema]) -> None:
        self._dialect, self._tools = dialect, tools
        self._ids: list[int] = []
        self._text = ""  # what the ids stand for
        self._first = 0
        self._spans: list[tuple[int, int]] = []
        self._prompts = 0  # how many prompts have been written: that of turn 0, of turn 1, ...

    def prompt(self, messages: Sequence[Message], said: Sequence[Sequence[int]]) -> Prompt:
        assistants = [index for index, message in enumerate(messages) if message.role == "assistant"]
        opening = len(assistants) - len(said)
        if opening < 0:
            raise ValueError(f"said: found the ids of {len(said)} turns, expected at most {len(assistants)}")
        turns = assistants[opening:]
        for turn in range(self._prompts, len(turns) + 1):
            if turn:
                self._say(messages[turns[turn - 1]], said[turn - 1])
            self._show(messages if turn == len(turns) else messages[: turns[turn]])
        return Prompt(list(self._ids), self._first, tuple(self._spans))

    def _say(self, message: Message, sampled: Sequence[int]) -> None:
        codec, spoken = self._dialect.codec, self._dialect.chat.completion(message, thinking=self._dialect.thinking)
        sampled = sampled or codec.encode(spoken)
        self._spans.append((len(self._ids), len(self._ids) + len(sampled)))
        self._ids += sampled
        if not sampled or sampled[-1] not in codec.end_ids:
            self._ids.append(codec.end_ids[0])
        self._text += spoken

    def _show(self, messages: Sequence[Message]) -> None:
        """Writes what the chat format puts before the next turn; where it rewrites what it has shown, begins anew."""
        shown = self._dialect.chat.render(messages, self._tools, generation=True, thinking=self._dialect.thinking)
        if not shown.startswith(self._text):
            self._ids, self._spans, self._first, self._text = [], [], self._prompts, ""
        self._ids += self._dialect.codec.encode(shown[len(self._text) :])
        self._text = shown
        self._prompts += 1
