"""Demonstrations for the warm start: gold play, and gold play with bad habits.

A demonstrator knows the gold calls. What it shows is spoiled on purpose, with a probability for each habit, since real
demonstrations are never clean. The calls are really executed, so that results and errors are those that a policy will
meet.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from toolfoundry.answers import spelling
from toolfoundry.environment import Executor
from toolfoundry.policies.scripted import gold_turns
from toolfoundry.rollout import Job, run_rollouts
from toolfoundry.seeds import derive_seed, generator
from toolfoundry.types import Completion, EnvSpec, Message, Record, ToolSchema, Trajectory

__all__ = ["CLEAN", "Habits", "demonstrate", "script"]


class Habits(Record):
    """How often a demonstrator does what it should not; each is a probability.

    redundant: all calls of an episode are made twice (by episode and not by turn, so that conversations without the
    habit are known well, too). serial: calls of a turn that could be made together are made one by one. hasty: an
    episode leaves out its last turn with calls, and guesses. curt: of a final answer with several parts, only the
    first is given.
    """

    redundant: float = Field(default=0.0, ge=0, le=1)
    serial: float = Field(default=0.0, ge=0, le=1)
    hasty: float = Field(default=0.0, ge=0, le=1)
    curt: float = Field(default=0.0, ge=0, le=1)


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
    shown: list[str] = []  # names that the conversation has come to
    made = 0
    times = 2 if rng.random() < habits.redundant else 1
    for turn in turns:
        alone = rng.random() < habits.serial
        for needed in [[call] for call in turn] if alone else [turn]:
            calls = [call.model_copy(update={"id": f"call_{made + i}"}) for i, call in enumerate(needed * times)]
            made += len(calls)
            plan = ", ".join(call.name.replace("_", " ") for call in calls) if thinking else ""
            said.append(Message(role="assistant", tool_calls=tuple(calls), thinking=plan))
        shown += [answers[call.id] for call in turn if call.id in answers]
    given = "" if spec.scenario.answer is None else spelling(spec.scenario.answer)
    if hasty:
        given = rng.choice(shown) if shown else "unknown"
    elif rng.random() < habits.curt:
        given = given.partition(", ")[0]
    said.append(Message(role="assistant", content=f"<answer>{given}</answer>", thinking="answer" if thinking else ""))
    return said
