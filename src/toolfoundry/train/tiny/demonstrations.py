"""Demonstrations for the warm start: gold play, and gold play with bad habits.

A demonstrator knows the gold calls. What it shows is spoiled on purpose, turn by turn and with a probability for each
habit, since nobody's real demonstrations are clean. The calls are really executed, so that results and errors are
those that a policy will meet.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import cast

import orjson
from pydantic import Field

from toolfoundry.answers import spelling
from toolfoundry.environment import Executor
from toolfoundry.policies.scripted import gold_turns
from toolfoundry.rollout import Job, run_rollouts
from toolfoundry.seeds import derive_seed, generator
from toolfoundry.types import Completion, EnvSpec, Message, Record, ToolCall, ToolSchema, Trajectory

__all__ = ["CLEAN", "Habits", "demonstrate", "script"]


class Habits(Record):
    """How often a demonstrator does what it should not; each is a probability.

    redundant: a turn with calls has one more, which nothing needs. serial: calls that could be made together are made
    one by one. hasty: an episode leaves out its last turn with calls, and guesses. muddled: the final answer is a
    wrong one that stands in the conversation (the right names in another order where there are several).
    """

    redundant: float = Field(default=0.0, ge=0, le=1)
    serial: float = Field(default=0.0, ge=0, le=1)
    hasty: float = Field(default=0.0, ge=0, le=1)
    muddled: float = Field(default=0.0, ge=0, le=1)


CLEAN = Habits()


async def demonstrate(
    specs: Sequence[EnvSpec], habits: Habits, executor: Executor, *, seed: int = 0, thinking: bool = False
) -> list[Trajectory]:
    """One demonstration of each environment, in their order."""
    played: dict[str, Trajectory] = {}

    def maker(spec: EnvSpec, _: int) -> _Script:
        return _Script(script(spec, habits, seed=seed, thinking=thinking))

    async for trajectory in run_rollouts([Job(spec) for spec in specs], maker, executor, name="demonstrator"):
        played[trajectory.task.spec_id] = trajectory
    return [played[spec.id] for spec in specs]


class _Script:
    """A policy that says the same whatever happens."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._remaining = iter(messages)

    async def __call__(self, messages: Sequence[Message], tools: Sequence[ToolSchema]) -> Completion:  # noqa: ARG002
        return Completion(message=next(self._remaining))


def script(spec: EnvSpec, habits: Habits, *, seed: int = 0, thinking: bool = False) -> list[Message]:
    """The messages of one demonstration; with `thinking` each begins with a plan of its calls.

    Raises InputError without gold calls.
    """
    rng = generator("demonstration", derive_seed(seed), spec.id)
    turns = gold_turns(spec)
    answers = {goal.id: spelling(goal.answer) for goal in spec.goals}
    hasty = rng.random() < habits.hasty and len(spec.goals) > 1
    if hasty:
        turns = turns[:-1] if len(turns) > 1 else [turns[0][:-1]]
    said: list[Message] = []
    known: list[tuple[str, str]] = []  # (type, name) that the conversation has shown
    made = 0
    for turn in turns:
        alone = rng.random() < habits.serial
        for needed in [[call] for call in turn] if alone else [list(turn)]:
            known += [(kind, str(name)) for call in needed for kind, name in _arguments(call).items()]
            if rng.random() < habits.redundant:
                needed.insert(rng.randint(0, len(needed)), _needless(spec, known, rng))
            calls = [call.model_copy(update={"id": f"call_{made + i}"}) for i, call in enumerate(needed)]
            made += len(calls)
            plan = ", ".join(call.name.replace("_", " ") for call in calls) if thinking else ""
            said.append(Message(role="assistant", tool_calls=tuple(calls), thinking=plan))
        known += [("", answers[call.id]) for call in turn if call.id in answers]
    right = "" if spec.scenario.answer is None else spelling(spec.scenario.answer)
    given = _wrong(right, [name for _, name in known], rng) if hasty or rng.random() < habits.muddled else right
    said.append(Message(role="assistant", content=f"<answer>{given}</answer>", thinking="answer" if thinking else ""))
    return said


def _arguments(call: ToolCall) -> dict[str, object]:
    return cast("dict[str, object]", orjson.loads(call.arguments))


def _needless(spec: EnvSpec, known: Sequence[tuple[str, str]], rng: random.Random) -> ToolCall:
    """A call of any tool about a name that has come up, of the right type where there is one."""
    tool = rng.choice(spec.tools)
    kind = next(iter(cast("dict[str, object]", tool.signature.parameters["properties"])))
    fitting = [name for known_kind, name in known if known_kind == kind] or [name for _, name in known]
    arguments = orjson.dumps({kind: rng.choice(fitting)}).decode()
    return ToolCall(id="", name=tool.name, arguments=arguments)


def _wrong(right: str, names: Sequence[str], rng: random.Random) -> str:
    """An answer that is wrong but not absurd."""
    parts = right.split(", ")
    if len(parts) > 1:
        return ", ".join(reversed(parts)) if rng.random() < 0.5 else rng.choice(parts)
    others = [name for name in dict.fromkeys(names) if name != right]
    return rng.choice(others) if others else "unknown"
