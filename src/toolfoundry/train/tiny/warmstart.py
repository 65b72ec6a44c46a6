# pyright: basic
"""The tiny policy's warm start: how the checkpoint in the package is made, and whether it fits this release.

    toolfoundry train tiny-warmstart -o CHECKPOINT

makes it again from a seed: build environments, demonstrate some of them, imitate. It depends on the words of the `tiny`
profile: `tiny.json` beside the weights says which, and a checkpoint of other words is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import torch
from pydantic import Field

from toolfoundry import __version__
from toolfoundry.build.authors.procedural.profile import TINY, Profile, Split
from toolfoundry.build.ledger import Ledger
from toolfoundry.build.pipeline import Recipe, build_on_cores
from toolfoundry.chat import chat_format
from toolfoundry.errors import InputError, OutputError
from toolfoundry.metrics import Summary
from toolfoundry.policies.transformers import HFCodec
from toolfoundry.sandbox import Sandbox
from toolfoundry.store import read
from toolfoundry.tokens import Dialect
from toolfoundry.train.config import TrainConfig, load_preset
from toolfoundry.train.run import Outcome, Progress, train
from toolfoundry.train.tiny.demonstrations import Habits, demonstrate
from toolfoundry.train.tiny.model import SIZES, build_model
from toolfoundry.train.tiny.plain import plain_samples
from toolfoundry.train.tiny.tokenizer import build_tokenizer
from toolfoundry.train.tiny.words import ABOUT, vocabulary_hash
from toolfoundry.types import EnvSpec, Record, Trajectory

__all__ = ["WARM_START", "WarmStart", "build_set", "imitate_demonstrations", "make_warmstart", "publish", "show"]


class WarmStart(Record):
    """What a warm start is made of.

    seed: of environments, demonstrations, weights and batches. environments: how many are built and demonstrated.
    habits: of the demonstrator. plain: samples of plain text that are learnt beside the demonstrations. steps: of SFT,
    16 samples each. size: of the network.
    """

    seed: int = 0
    environments: int = Field(default=8000, ge=1)
    habits: Habits = Habits(redundant=0.65, curt=0.5)
    plain: int = Field(default=3000, ge=0)
    steps: int = Field(default=3500, ge=1)
    size: str = "base"
    thinking: bool = False


WARM_START = WarmStart()
"""The recipe of the checkpoint in the package."""


def tiny_profile(nouns: str = "familiar", **changes: object) -> Profile:
    """The profile of training and test sets: relations are kept apart between splits."""
    return Profile.model_validate({**TINY.model_dump(), "hold_out": ("relations",), "nouns": nouns, **changes})


def build_set(
    path: Path,
    count: int,
    seed: int,
    split: Split = "train",
    *,
    profile: Profile | None = None,
    jobs: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[EnvSpec]:
    """So many environments, from the file if it has been built before."""
    recipe = Recipe(profile=profile or tiny_profile(), seed=seed, split=split)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"draft-{path.name}")
        with Ledger(draft, "overwrite", origin=recipe.origin) as ledger:
            build_on_cores(
                recipe,
                recipe.briefs(),
                ledger,
                count=count,
                jobs=jobs or os.cpu_count() or 1,
                on_progress=lambda counts: on_progress(counts["accepted"]),
            )
        draft.rename(path)
        for beside in path.parent.glob(f"draft-{path.stem}*"):
            beside.unlink()
    return list(read(path, EnvSpec))


def show(
    specs: Sequence[EnvSpec], recipe: WarmStart, on_progress: Callable[[int], None] = lambda _: None
) -> list[Trajectory]:
    """The demonstrations of a recipe."""
    shown: list[Trajectory] = []
    with Sandbox() as sandbox:
        for start in range(0, len(specs), 500):
            part = specs[start : start + 500]
            shown += asyncio.run(demonstrate(part, recipe.habits, sandbox, seed=recipe.seed, thinking=recipe.thinking))
            on_progress(len(shown))
    return shown


def imitate_demonstrations(
    recipe: WarmStart,
    specs: Sequence[EnvSpec],
    shown: Sequence[Trajectory],
    folder: Path,
    *,
    start: Path | None = None,
    steps: int | None = None,
    held_out: Sequence[EnvSpec] = (),
    force: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (a value)
) -> Outcome:
    """SFT on demonstrations, from random weights or, to go on with it, from `start`."""
    tokenizer = build_tokenizer()
    chat = chat_format("qwen3" if recipe.thinking else "hermes")
    dialect = Dialect(chat, HFCodec(tokenizer, chat.end_tokens), recipe.thinking)
    if start is None:
        start = folder.with_name(f"{folder.name}-random")
        build_model(tokenizer, SIZES[recipe.size], seed=recipe.seed).save_pretrained(start)
        tokenizer.save_pretrained(start)
    config: TrainConfig = load_preset(
        "tiny-sft",
        model=str(start),
        seed=recipe.seed,
        max_steps=steps or recipe.steps,
        thinking=recipe.thinking,
        chat=chat.name,
    )
    return train(
        config,
        specs,
        folder,
        demonstrations=shown,
        further=plain_samples(recipe.plain, recipe.seed, dialect),
        held_out=held_out,
        force=force,
        progress=progress,
    )


def make_warmstart(
    folder: Path,
    recipe: WarmStart = WARM_START,
    *,
    force: bool = False,
    progress: Progress = Progress(),  # noqa: B008
) -> Outcome:
    """Makes the checkpoint of a recipe: weights, tokenizer, `tiny.json`, a model card. Some ten minutes on two cores.

    On one thread, so that the weights are the same on every machine of one type; `tiny.json` has their hash.

    Raises OutputError where there is something already, unless `force`.
    """
    torch.set_num_threads(1)
    if folder.exists() and any(folder.iterdir()) and not force:
        raise OutputError(f"{folder} is not empty; --force replaces it")
    if recipe.size not in SIZES:
        raise InputError(f"size: found {recipe.size!r}, expected one of {', '.join(SIZES)}")
    work = folder.with_name(f"{folder.name}-work")
    progress.on_part(f"building {recipe.environments} environments")
    specs = build_set(work / "train.jsonl", recipe.environments, recipe.seed)
    tests = build_set(work / "test.jsonl", 400, recipe.seed + 1, "test")
    progress.on_part("demonstrating")
    shown = show(specs, recipe)
    outcome = imitate_demonstrations(recipe, specs, shown, work / "run", held_out=tests, force=True, progress=progress)
    publish(outcome.final, folder, recipe, outcome.after)
    return outcome


def publish(final: Path, folder: Path, recipe: WarmStart, measured: Summary | None) -> None:
    """Writes a trained policy as a warm start: what it was made from, and what it scores, stand beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(final, folder)
    (folder / "model.safetensors").chmod(0o644)  # its library writes it for the owner alone
    about = {
        "vocabulary": vocabulary_hash(build_tokenizer()),
        "weights": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16],
        "version": __version__,
        "recipe": recipe.model_dump(mode="json"),
        "test": None if measured is None else measured.model_dump(mode="json"),
    }
    (folder / ABOUT).write_bytes(orjson.dumps(about, option=orjson.OPT_INDENT_2) + b"\n")
    (folder / "README.md").write_text(_card(recipe, measured), encoding="utf-8")


def _card(recipe: WarmStart, measured: Summary | None) -> str:
    """The model card."""
    rows: list[str] = []
    for group in measured.groups if measured is not None else ():
        metrics = group.metrics
        cells = [metrics[name].mean for name in ("solve_p", "solve_r", "solve_f1", "answer", "malformed")]
        shown = " | ".join("–" if cell is None else f"{cell:.3f}" for cell in cells)
        rows.append(f"| {group.scenario.replace('_', ' ')} | {group.n} | {shown} |")
    table = "\n".join(rows)
    data = (
        f"{recipe.environments} demonstrations, one for each environment built from seed {recipe.seed} "
        f"(split `train`, familiar nouns, relations held out), and {recipe.plain} samples of plain text"
    )
    return f"""---
license: apache-2.0
library_name: transformers
tags: [tool-use, reinforcement-learning]
---
# The tiny policy's warm start

A Qwen3 decoder of under a million parameters that plays environments of ToolFoundry's `tiny` profile, and nothing else.
Training with `toolfoundry train grpo ENVS` begins with it.

| | |
|---|---|
| made by | `toolfoundry train tiny-warmstart -o FOLDER`, version {__version__} |
| data | {data} |
| demonstrator | gold calls, with these habits: `{recipe.habits.model_dump_json()}` |
| training | {recipe.steps} steps of 16, Muon 0.02 and AdamW 0.003, seed {recipe.seed} |
| tokens | 1 for each word and syllable of the profile; another word list needs another checkpoint |

Greedy, on environments of the `test` split with new names and new relations:

| scenario | n | Solve-P | Solve-R | Solve-F1 | final answer | malformed |
|---|---|---|---|---|---|---|
{table}

It was trained on invented text alone: no data of persons, nothing from the web.
"""
