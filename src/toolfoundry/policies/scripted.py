"""Policies without a model: the gold one, and a panel of cheats that a sound environment must hold below it.

Each is a pure function from the scene (specification, conversation, tools, turn) to a message. None of the cheats
looks at gold calls or tool sources, except where its purpose is to show what knowing them would be worth:
`answer-only` knows the final answer, `one-hop` the first gold call.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import orjson
from pydantic import JsonValue

from toolfoundry.answers import spelling
from toolfoundry.environment import opening
from toolfoundry.errors import InputError
from toolfoundry.placeholders import placeholder_arguments, random_arguments
from toolfoundry.policies import Policy
from toolfoundry.seeds import generator
from toolfoundry.types import Completion, EnvSpec, Limits, Message, ToolCall, ToolSchema

__all__ = ["CHEATS", "SCRIPTED", "gold_turns", "make", "script"]

_BATCH, _REPEATS, _RANDOM_TURNS, _ECHO_TURNS = 16, 5, 4, 3


@dataclass(frozen=True)
class Scene:
    """What a scripted policy decides on. `rng` is seeded by rollout and turn, `steady` by the rollout alone."""

    name: str
    spec: EnvSpec
    messages: Sequence[Message]
    tools: Sequence[ToolSchema]
    turn: int
    seed: int

    @cached_property
    def rng(self) -> random.Random:
        return generator(self.name, self.spec.id, self.seed, self.turn)

    @cached_property
    def steady(self) -> random.Random:
        return generator(self.name, self.spec.id, self.seed)


def make(name: str, spec: EnvSpec, seed: int = 0) -> Policy:
    """The named scripted policy for one rollout. Raises InputError without gold calls to play."""
    play = SCRIPTED[name]
    if play in (gold, one_hop):
        gold_turns(spec)

    async def policy(messages: Sequence[Message], tools: Sequence[ToolSchema]) -> Completion:
        turn = sum(message.role == "assistant" for message in messages)
        return Completion(message=play(Scene(name, spec, messages, tools, turn, seed)))

    return policy


def script(name: str, spec: EnvSpec, seed: int = 0) -> list[Message]:
    """All messages of the named policy in one rollout: none of them looks at results, so they are known beforehand.

    Raises InputError without gold calls to play.
    """
    play = SCRIPTED[name]
    if play in (gold, one_hop):
        gold_turns(spec)
    messages, tools = opening(spec)
    said: list[Message] = []
    while len(said) < Limits().max_turns:
        said.append(play(Scene(name, spec, messages, tools, len(said), seed)))
        if not said[-1].tool_calls:
            break
    return said


def gold(scene: Scene) -> Message:
    """Plays the gold calls, every ready goal at once, and gives the right answer."""
    turns = gold_turns(scene.spec)
    if scene.turn < len(turns):
        return Message(role="assistant", tool_calls=tuple(turns[scene.turn]))
    return _final(scene.spec)


def one_hop(scene: Scene) -> Message:
    """Makes the first gold call, then gives up: what under-completion earns."""
    first = gold_turns(scene.spec)[0][0]
    return Message(role="assistant", tool_calls=(first,)) if scene.turn == 0 else _say("unknown")


def silent(_: Scene) -> Message:
    """Says nothing."""
    return Message(role="assistant")


def answer_only(scene: Scene) -> Message:
    """Knows the right answer by heart and calls no tool."""
    return _final(scene.spec)


def spam(scene: Scene) -> Message:
    """Calls every tool once with placeholder arguments."""
    batch = scene.tools[scene.turn * _BATCH : (scene.turn + 1) * _BATCH]
    if not batch:
        return _say("unknown")
    return _call(scene, [(tool.name, placeholder_arguments(tool.parameters)) for tool in batch])


def random_calls(scene: Scene) -> Message:
    """Calls random tools with random valid arguments, then answers with a word of the question."""
    if scene.turn == _RANDOM_TURNS or not scene.tools:
        return _say(scene.rng.choice(_words(scene)))
    chosen = [scene.rng.choice(scene.tools) for _ in range(scene.rng.randint(1, 3))]
    return _call(scene, [(tool.name, random_arguments(tool.parameters, scene.rng)) for tool in chosen])


def repeat(scene: Scene) -> Message:
    """Repeats one placeholder call of one tool."""
    if scene.turn == _REPEATS or not scene.tools:
        return _say("unknown")
    tool = scene.steady.choice(scene.tools)
    return _call(scene, [(tool.name, placeholder_arguments(tool.parameters))])


def echo(scene: Scene) -> Message:
    """Fills every text parameter with words of the question, and answers with one of them."""
    if scene.turn == _ECHO_TURNS or not scene.tools:
        return _say(scene.rng.choice(_words(scene)))
    chosen = scene.rng.sample(list(scene.tools), min(3, len(scene.tools)))
    calls: list[tuple[str, JsonValue]] = []
    for tool in chosen:
        plain = placeholder_arguments(tool.parameters)
        words = {key: scene.rng.choice(_words(scene)) if value == "example" else value for key, value in plain.items()}
        calls.append((tool.name, words))
    return _call(scene, calls)


SCRIPTED: dict[str, Callable[[Scene], Message]] = {
    "gold": gold,
    "silent": silent,
    "answer-only": answer_only,
    "spam": spam,
    "random": random_calls,
    "repeat": repeat,
    "echo": echo,
    "one-hop": one_hop,
}
CHEATS: tuple[str, ...] = tuple(name for name in SCRIPTED if name != "gold")


def gold_turns(spec: EnvSpec) -> list[list[ToolCall]]:
    """The gold calls in as few turns as their order allows: every ready goal at once, at most 16 calls.

    A call that solves no goal (it changes the state) is a turn of its own, and nothing overtakes it. Goals whose
    needs are not known are played one at a time. Raises InputError where there are no gold calls.
    """
    if not spec.gold_calls:
        raise InputError(f"environment {spec.id}: has no gold calls to play; `toolfoundry prove` finds them")
    needs = {goal.id: goal.needs for goal in spec.goals}
    remaining: list[ToolCall] = list(spec.gold_calls)
    done: set[str] = set()
    turns: list[list[ToolCall]] = []
    while remaining:
        barrier = next((index for index, call in enumerate(remaining) if needs.get(call.id) is None), len(remaining))
        ready = [call for call in remaining[:barrier] if done.issuperset(needs[call.id] or ())]
        turn = ready[: Limits().calls_per_turn] or remaining[:1]
        turns.append(turn)
        done.update(call.id for call in turn)
        remaining = [call for call in remaining if call.id not in done]
    return turns


def _say(answer: str) -> Message:
    return Message(role="assistant", content=f"<answer>{answer}</answer>")


def _call(scene: Scene, calls: Sequence[tuple[str, JsonValue]]) -> Message:
    tool_calls = tuple(
        ToolCall(id=f"call_{scene.turn}_{index}", name=name, arguments=orjson.dumps(arguments).decode())
        for index, (name, arguments) in enumerate(calls)
    )
    return Message(role="assistant", tool_calls=tool_calls)


def _final(spec: EnvSpec) -> Message:
    answer = spec.scenario.answer
    text = "done" if answer is None else spelling(answer)
    return _say(text) if spec.task.tagged else Message(role="assistant", content=text)


def _words(scene: Scene) -> list[str]:
    """The names (runs of capitalised words) and the words of the question; never empty."""
    asked = [message.content for message in scene.messages if message.role == "user"]
    question = asked[0].rpartition("Question:")[2] if asked else ""
    names = re.findall(r"[A-Z][\w'’-]*(?:\s+[A-Z][\w'’-]*)+", question)
    return [*names, *(word for word in re.findall(r"[\w'’-]+", question) if len(word) > 2)] or ["unknown"]
