"""Plays completions through our OpenEnv server with OpenEnv's own client.

Needs the package `openenv` (`make test-openenv`), and nothing of pytest: other tests use it too.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from toolfoundry.types import Message

COMMAND = [sys.executable, "-m", "toolfoundry.cli", "serve", "openenv"]


class Played(NamedTuple):
    """reward: the sum of the steps' rewards, the trajectory's score; None where the episode did not end.

    turn_rewards: what each turn earned by itself. results: what the policy read after each.
    """

    reward: float | None
    turn_rewards: list[float | None]
    results: list[list[str]]


def play(spec_file: Path, spec_id: str, completions: Sequence[Message]) -> Played:
    """One episode on a server of its own, until it ends or there is nothing more to say."""
    with serving(str(spec_file)) as url:
        return play_at(url, spec_id, completions)


def play_at(url: str, spec_id: str, completions: Sequence[Message]) -> Played:
    """One episode on a server that runs."""
    from openenv.core.generic_client import GenericEnvClient

    rewards: list[float] = []
    turn_rewards: list[float | None] = []
    results: list[list[str]] = []
    with GenericEnvClient(base_url=url).sync() as client:
        client.reset(task_id=spec_id)
        for said in completions:
            step = client.step(action_of(said))
            graded = step.metadata["turn_reward"]
            turn_rewards.append(None if graded is None else graded["value"])
            results.append([message["content"] for message in step.observation["messages"]])
            rewards.append(step.reward)
            if step.done:
                return Played(sum(rewards), turn_rewards, results)
    return Played(None, turn_rewards, results)


def action_of(said: Message) -> dict[str, Any]:
    """A completion as the action of that name."""
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in said.tool_calls
    ]
    message = {"role": "assistant", "content": said.content, "reasoning_content": said.thinking, "tool_calls": calls}
    faults = [fault.model_dump(mode="json") for fault in said.faults]
    return {"type": "completion", "message": message, "faults": faults}


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """A server process of its own, `toolfoundry serve openenv ARGUMENTS`; gives its URL."""
    with subprocess.Popen([*COMMAND, *arguments, "--port", "0"], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            line = server.stderr.readline()
            assert " at http" in line, line + server.stderr.read()
            yield line.split(" at ")[1].strip()
        finally:
            server.terminate()
