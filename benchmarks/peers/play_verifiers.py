"""The rollouts in verifiers: the taskset that we export, its null harness and subprocess runtime.

Each rollout has a tool server and a chat program of its own, as verifiers runs them. The chat program's environment,
which uv would make from the network, is this one.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import verifiers.v1 as vf
from playing import Clock, Play, options

from toolfoundry.formats.verifiers import export_verifiers
from toolfoundry.store import read
from toolfoundry.types import EnvSpec

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from verifiers_backend.drive_verifiers import _prepare_chat_program


async def play(chosen: Play) -> None:
    _prepare_chat_program()
    os.environ.setdefault("NO_KEY", "none")
    config = {
        "taskset": {"id": "peers_set", "task": {"max_turns": 20}},
        "agent": {"runtime": {"type": "subprocess"}},
    }
    env = vf.load_environment(vf.resolve_env_config(config))
    client = vf.EvalClientConfig(base_url=chosen.url, api_key_var="NO_KEY")
    context = vf.ModelContext(model="scripted", client=client)
    free = asyncio.Semaphore(chosen.concurrency)

    async def one(task) -> float:
        async with free:
            episode = await env.run_episode(task, context)
        [trace] = episode.traces
        assert trace.ok, trace.errors
        return trace.reward

    async with env.serving():
        tasks = [task for _ in range(chosen.samples) for task in env.taskset]
        await one(tasks[0])  # imports what is imported late
        begin = Clock()
        rewards = await asyncio.gather(*(one(task) for task in tasks))
        begin.report(metadata.version("verifiers"), list(rewards))


def main() -> None:
    chosen = options()
    with tempfile.TemporaryDirectory() as folder:
        export_verifiers(list(read(chosen.envs, EnvSpec)), Path(folder), "peers_set")
        sys.path.insert(0, folder)
        os.environ["PYTHONPATH"] = folder
        asyncio.run(play(chosen))


if __name__ == "__main__":
    main()
