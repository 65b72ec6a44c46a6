"""The user whom an agent talks with: simulated by a language model, or scripted for tests.

A user is made for one dialogue from its instruction (who it is, what it wants, how it behaves) and sees what passes
between the two: its own messages and the agent's, never the agent's tool calls. It ends the dialogue by saying
`###STOP###`. It is no part of what is evaluated: when it fails, the attempt is unscored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from pydantic import JsonValue

from toolfoundry.errors import EndpointError, FoundryError
from toolfoundry.policies import Policy
from toolfoundry.policies.openai import OpenAIPolicy
from toolfoundry.types import Message

__all__ = ["STOP", "LLMUser", "ScriptedUser", "User", "Users", "llm_users", "scripted_users"]

STOP = "###STOP###"

_GREETING = "Hello, what can I do for you?"  # the agent's, whose first message is an answer to the user's first
_SILENCE = "(The agent sent an empty message.)"  # endpoints refuse an empty one
_RULES = f"""You play a customer in a chat with a service agent. The text below says who you are, what you want and \
how you behave. Stay in this role throughout.

{{instruction}}

How to play it:
- Write only the customer's next message, one line of it, and nothing else.
- Tell the agent what the present step needs, not everything at once.
- Use only facts that the text above states. If the agent asks for something that it does not state, say that you do \
not know it or do not have it at hand; never invent a number, a name or a date.
- Say things in your own words, as this customer would, and do not copy the text.
- When everything that you want is done, or it is settled that it will not be, send {STOP} alone, with no other word. \
Do not send it before."""


class User(Protocol):
    """One user in one dialogue."""

    async def __call__(self, transcript: Sequence[Message]) -> str:
        """The next message of the user, never empty.

        `transcript`: what was said so far, by turns: the user's messages (role "user") and the agent's messages to it
        (role "assistant"); empty at first. Raises EndpointError where the user cannot answer.
        """
        ...


class Users(NamedTuple):
    """A user for each dialogue, with the name it has in records, its configuration (no keys) and what it used up.

    `start` takes the instruction and the number of the repetition.
    """

    name: str
    start: Callable[[str, int], User]
    config: Mapping[str, JsonValue]
    usage: Callable[[], dict[str, JsonValue]]


class LLMUser:
    """A language model in the role of the user. To it the roles are swapped: what the agent says comes from "user"."""

    def __init__(self, policy: Policy, instruction: str) -> None:
        self._policy = policy
        self._opening = (
            Message(role="system", content=_RULES.replace("{instruction}", instruction.strip())),
            Message(role="user", content=_GREETING),
        )

    async def __call__(self, transcript: Sequence[Message]) -> str:
        seen = [
            Message(role="assistant", content=message.content)
            if message.role == "user"
            else Message(role="user", content=message.content.strip() or _SILENCE)
            for message in transcript
        ]
        try:
            completion = await self._policy((*self._opening, *seen), ())
        except EndpointError as error:
            raise EndpointError(f"the simulated user: {error}", error.status) from error
        except FoundryError as error:  # a full context, say: the user's, so it must not pass for the agent's
            raise EndpointError(f"the simulated user: {type(error).__name__}: {error}") from error
        if not (said := completion.message.content.strip()):
            raise EndpointError("the simulated user: found an empty message, expected what the user says next")
        return said


class ScriptedUser:
    """Says the instruction as it is, then `replies` in turn, and ends the dialogue after the agent's nth message to it.

    stop_after: n, at least 1; None never ends it. replies: the last one stays.
    """

    def __init__(
        self, instruction: str, stop_after: int | None = 1, replies: Sequence[str] = ("Yes, please go on.",)
    ) -> None:
        self._instruction, self._stop_after, self._replies = instruction, stop_after, replies

    async def __call__(self, transcript: Sequence[Message]) -> str:
        heard = sum(message.role == "assistant" for message in transcript)
        if heard == 0:
            return self._instruction
        if self._stop_after is not None and heard >= self._stop_after:
            return STOP
        return self._replies[min(heard, len(self._replies)) - 1]


def llm_users(
    model: str,
    *,
    base_url: str,
    api_key_env: str | None = None,
    temperature: float = 0.0,
    max_tokens: int = 512,
    **options: object,
) -> Users:
    """Users played by a model behind an OpenAI-compatible endpoint; `options` are further ones of `OpenAIPolicy`.

    The release's user is gpt-4o-2024-08-06 at temperature 0 with 512 tokens. Raises what `OpenAIPolicy` does.
    """
    fixed: dict[str, object] = {"api_key_env": api_key_env, "temperature": temperature, "max_tokens": max_tokens}
    policy = OpenAIPolicy(model, base_url=base_url, **fixed, **options)  # pyright: ignore[reportArgumentType]

    def start(instruction: str, sample: int) -> User:
        return LLMUser(policy.sampled(sample), instruction)

    return Users(model, start, policy.config(), lambda: policy.usage().model_dump())


def scripted_users(stop_after: int | None = 1) -> Users:
    """Users that say what `ScriptedUser` says: for tests, and for a look at a benchmark without a model."""

    def start(instruction: str, _: int) -> User:
        return ScriptedUser(instruction, stop_after)

    return Users("scripted", start, {"stop_after": stop_after}, dict)
