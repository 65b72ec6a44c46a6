"""A policy of the tiny profile that half knows a handful of environments, made in seconds: enough to train on.

Also run as a process of its own that kills itself: `run_toy.py logging|saving STEP train grpo ...`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from toolfoundry.build.authors.procedural.profile import TINY
from toolfoundry.build.ledger import Ledger
from toolfoundry.build.pipeline import Recipe, build_on_cores
from toolfoundry.store import read
from toolfoundry.train.config import TrainConfig
from toolfoundry.types import EnvSpec


def tiny_environments(path: Path, count: int, seed: int = 11) -> list[EnvSpec]:
    """Environments of the tiny profile, executed and accepted, in the file `path`."""
    recipe = Recipe(profile=TINY, seed=seed)
    with Ledger(path, "new", origin=recipe.origin) as ledger:
        build_on_cores(recipe, recipe.briefs(), ledger, count=count, jobs=1)
    return list(read(path, EnvSpec))


def random_start(folder: Path) -> Path:
    """The checkpoint of a network of 60,000 random weights with the tiny tokenizer."""
    import torch

    from toolfoundry.train.tiny.model import Size, build_model
    from toolfoundry.train.tiny.tokenizer import build_tokenizer

    torch.set_num_threads(1)
    tokenizer = build_tokenizer()
    build_model(tokenizer, Size(hidden=64, layers=2, heads=2), seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def half_taught(folder: Path, specs: Sequence[EnvSpec], steps: int = 60) -> Path:
    """A checkpoint that has begun to learn the gold play of these environments by heart; `folder` holds its run."""
    from toolfoundry.cli.train import _gold
    from toolfoundry.train.run import train

    start = random_start(folder.with_name("random"))
    config = TrainConfig(
        model=str(start),
        algorithm="sft",
        backend="loop",
        optimizer="muon",
        learning_rate=3e-3,
        schedule="trapezoid",
        warmup_steps=5,
        weight_decay=0.0,
        prompts_per_step=8,
        max_steps=steps,
    )
    return train(config, specs, folder, demonstrations=_gold(list(specs))).final


def small(model: Path, **changes: object) -> TrainConfig:
    """2 rounds over 8 environments, 4 prompts x 8 responses a step."""
    fields = {
        "model": str(model),
        "backend": "loop",
        "rounds": 2,
        "round_environments": 8,
        "max_turns": 8,
        "max_prompt_tokens": 700,
        "max_response_tokens": 48,
        "prompts_per_step": 4,
        "prompts_per_update": 4,
        "group_size": 8,
        "learning_rate": 2e-4,
        "weight_decay": 0.0,
        "kl_coefficient": 0.0,
        "entropy_coefficient": 0.0,
    }
    return TrainConfig(**{**fields, **changes})


def _main(where: str, killed_at: str, *arguments: str) -> None:
    """The command line in a process that kills itself when it has logged that step, or is saving it."""
    from toolfoundry.cli import main as cli
    from toolfoundry.train import run_folder

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    log, save = run_folder.RunFolder.log, run_folder.save_file

    def log_and_die(self, row):
        log(self, row)
        if where == "logging" and row["step"] == int(killed_at):
            kill()

    def save_and_die(tensors, path):
        save(tensors, path)
        if where == "saving" and path.parent.name == f".{int(killed_at):06d}":
            kill()

    run_folder.RunFolder.log, run_folder.save_file = log_and_die, save_and_die
    sys.argv = ["toolfoundry", *arguments]
    cli.main()


if __name__ == "__main__":
    _main(*sys.argv[1:])
