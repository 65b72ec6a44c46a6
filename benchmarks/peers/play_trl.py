"""The rollouts in TRL's tool loop. It has no client for model servers: it generates in its own process, turn by turn
for a whole batch. So what is said comes from a script in place of the model; rendering, tokenizing, reading and
dispatching calls, masks and rewards are TRL's, with a tokenizer of single bytes and tools in our sandbox."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
import trl
from playing import Clock, options

from toolfoundry.policies.scripted import script
from toolfoundry.sandbox import Sandbox
from toolfoundry.store import read
from toolfoundry.types import EnvSpec

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from conformance.drive_trl import scripted_trainer


def main() -> None:
    chosen = options()
    torch.set_num_threads(1)
    scripts = {spec.id: script("gold", spec) for spec in read(chosen.envs, EnvSpec)}
    with Sandbox() as sandbox, tempfile.TemporaryDirectory() as folder:
        trainer = scripted_trainer(
            chosen.envs,
            sandbox,
            scripts,
            Path(folder),
            num_generations=chosen.samples,
            per_device_train_batch_size=chosen.samples,
        )
        rows = list(trainer.ours.dataset)
        at_once = max(1, chosen.concurrency // chosen.samples)
        trainer._generate_and_score_completions([rows[0]] * chosen.samples)  # imports what is imported late
        begin = Clock()
        rewards: list[float] = []
        for start in range(0, len(rows), at_once):
            batch = [row for row in rows[start : start + at_once] for _ in range(chosen.samples)]
            trainer._generate_and_score_completions(batch)
            rewards += trainer.rewards[:, 0].tolist()
        begin.report(trl.__version__, rewards, "generation scripted in its process: no server, no client")


if __name__ == "__main__":
    main()
