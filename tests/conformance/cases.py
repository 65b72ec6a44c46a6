"""The recorded episodes that every framework plays: `python tests/conformance/cases.py` records them anew.

Two environments, one with parallel goals and one with parallel chains and a state, are each played in five ways. An
episode is what the policy says; what our core makes of it (the reward, and what the model reads) stands beside it. A
framework conforms when its own machinery comes to the same.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import NamedTuple

from toolfoundry.demo import environments
from toolfoundry.policies.scripted import script
from toolfoundry.reward import score_trajectory
from toolfoundry.rollout import run_rollout
from toolfoundry.sandbox import Sandbox
from toolfoundry.store import RecordWriter, dump, load_record
from toolfoundry.types import Completion, EnvSpec, Message, Record, ToolCall, Trajectory

FILE = Path(__file__).with_name("cases.jsonl")
SPECS: tuple[EnvSpec, ...] = tuple(environments()[index] for index in (0, 4))


class Case(Record):
    """One episode. `score`: the reward of our core; `results`: what the model reads, for each call of each turn."""

    id: str
    spec_id: str
    said: tuple[Message, ...]
    score: float
    results: tuple[tuple[str, ...], ...]


class Way(NamedTuple):
    """A way to play, and what is to be learned from it."""

    name: str
    about: str


WAYS = (
    Way("gold", "every goal, every ready one at once, and the right answer: 1"),
    Way("silent", "an empty message: 0"),
    Way("redundant", "the first goals, one of them asked for twice, and a wrong answer"),
    Way("malformed", "all goals, with a call beside the first that cannot be read, and the right answer"),
    Way("answer-only", "the right answer without a call"),
)


def episode(way: str, spec: EnvSpec) -> list[Message]:
    """What the policy says in that way of playing."""
    gold = script("gold", spec)
    if way == "redundant":
        again = gold[0].tool_calls[0].model_copy(update={"id": "again"})
        twice = Message(role="assistant", content="Once more.", tool_calls=(again,))
        return [gold[0], twice, Message(role="assistant", content="<answer>nobody knows</answer>")]
    if way == "malformed":
        first, *rest = gold
        bad = ToolCall(id="bad", name=spec.tools[0].name, arguments='{"name": "Holl')
        return [first.model_copy(update={"tool_calls": (*first.tool_calls, bad)}), *rest]
    return script(way, spec)


async def play(spec: EnvSpec, said: list[Message] | tuple[Message, ...], sandbox: Sandbox) -> Trajectory:
    """The episode in our core."""

    async def policy(messages, tools):
        return Completion(message=said[sum(message.role == "assistant" for message in messages)])

    return await run_rollout(policy, spec, sandbox)


def record() -> list[Case]:
    """Every case, with what the core makes of it."""
    cases: list[Case] = []
    with Sandbox() as sandbox:
        for spec in SPECS:
            for way in WAYS:
                said = episode(way.name, spec)
                trajectory = asyncio.run(play(spec, said, sandbox))
                score = score_trajectory(trajectory)
                assert score is not None, trajectory.error
                results = tuple(tuple(result.text for result in turn.results) for turn in trajectory.turns)
                name = f"{spec.scenario.kind}/{way.name}"
                cases.append(Case(id=name, spec_id=spec.id, said=tuple(said), score=score.value, results=results))
    return cases


def load() -> list[Case]:
    """The recorded cases."""
    return [load_record(Case, line) for line in FILE.read_bytes().splitlines()]


def write_environments(path: Path) -> Path:
    """The environments of the cases, as a file that every adapter reads."""
    with RecordWriter(path, EnvSpec) as writer:
        for spec in SPECS:
            writer.write(spec)
    return path


if __name__ == "__main__":
    FILE.write_bytes(b"".join(dump(case) + b"\n" for case in record()))
    sys.stdout.write(f"{len(load())} cases in {FILE}\n")
