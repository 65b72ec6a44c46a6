# pyright: basic
"""The folder of a training run: what it was asked for, what happened, and where it can go on.

    RUN/run.json                 configuration, seeds, hashes, versions, licences: what can be redone from it
    RUN/metrics.jsonl            one line a step
    RUN/rounds/003.jsonl         the trajectories that were collected for that round (mode `prefix`)
    RUN/checkpoints/000120/      model, tokenizer, optimizer and state after that many steps
    RUN/final/                   model and tokenizer at the end
    RUN/before.json, .jsonl      the held-out environments as the start played them, if any; RUN/after.* by `final/`

A checkpoint is written beside and then renamed, so that one that is there is whole; weights and optimizer state are
safetensors, never pickles. To go on means: the newest checkpoint is loaded, metrics after it are cut off, and the steps
since then are done again with the same seeds, so that they give the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import torch
from pydantic import JsonValue, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from toolfoundry.errors import FoundryError, InputError, OutputError, RecordError, invalid_field
from toolfoundry.store import replace_file
from toolfoundry.train.config import TrainConfig
from toolfoundry.train.loop import Optimizer
from toolfoundry.types import Record

__all__ = ["RunFolder", "State"]

RESUMABLE = {"rounds", "max_steps", "save_every", "keep_checkpoints", "report_to"}
"""What may differ between a run and its continuation."""

SAME = ("environments", "start", "demonstrations", "held_out")
"""What must not, beside the rest of the configuration."""

OURS = (
    *("metrics.jsonl", "rounds", "checkpoints", "final", "before.json", "before.jsonl", "after.json", "after.jsonl"),
    *("report.html", "curves.png"),
)
"""What a run writes beside `run.json`."""


class State(Record):
    """Where a run stands: steps done, the round, its steps and how many of its prompts are used up, and the pass rates
    as they were when it began."""

    step: int = 0
    round: int = 0
    round_steps: int = 0
    used: int = 0
    pass_rates: dict[str, JsonValue] = {}


class RunFolder:
    """One run's folder. `begin` makes it or goes on with it.

    Where a run has several processes (`accelerate launch`), the first of them alone writes (`main`); the others read.
    """

    def __init__(self, path: Path, *, main: bool = True) -> None:
        self.path, self.main = path, main
        self._metrics: Any = None

    def begin(self, config: TrainConfig, about: Mapping[str, JsonValue], *, resume: bool, force: bool) -> None:
        """Makes the folder and writes `run.json`, or checks that a run that is gone on with is the same one.

        To replace a run removes what a run writes, and nothing else that lies there. Raises OutputError where there is
        a run already, InputError where it was begun with another configuration, or its `run.json` cannot be read.
        """
        if not self.main:
            return
        described = self.path / "run.json"
        if force:
            self._clear()
        elif described.exists():
            if not resume:
                raise OutputError(f"{self.path} holds a run; --resume goes on with it, --force replaces it")
            self._check_same(described, config, about)
        elif found := next((name for name in OURS if (self.path / name).exists()), None):
            raise OutputError(f"{self.path} holds {found}, but no run.json that says of what run; --force replaces it")
        self.path.mkdir(parents=True, exist_ok=True)
        document = {"toolfoundry": "training", "schema_version": 1, "config": config.model_dump(mode="json"), **about}
        replace_file(described, orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
        for name in ("checkpoints", "rounds"):
            (self.path / name).mkdir(exist_ok=True)

    def _clear(self) -> None:
        for name in ("run.json", *OURS):
            path = self.path / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _check_same(self, described: Path, config: TrainConfig, about: Mapping[str, JsonValue]) -> None:
        try:
            begun = orjson.loads(described.read_bytes())
            settings = dict(begun["config"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{described}: cannot be read as the description of a run: {error}") from None
        before = {name: value for name, value in settings.items() if name not in RESUMABLE}
        now = {name: value for name, value in config.model_dump(mode="json").items() if name not in RESUMABLE}
        before |= {name: begun[name] for name in SAME if name in begun}
        now |= {name: about.get(name) for name in SAME if name in begun}
        for name in now:
            if before.get(name) != now[name]:
                found = f"{name} {before.get(name)!r}, found {now[name]!r}"
                raise InputError(f"{self.path} was begun with {found}; --force starts anew")

    # --- metrics ------------------------------------------------------------------------------------------------------

    def cut_metrics(self, step: int) -> None:
        """Drops the lines of steps after `step`, and a half-written last one."""
        if not self.main:
            return
        self.close()
        path = self.path / "metrics.jsonl"
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        kept: list[bytes] = []
        for line in lines[:-1]:
            try:
                if orjson.loads(line)["step"] <= step:
                    kept.append(line + b"\n")
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue
        replace_file(path, b"".join(kept))

    def log(self, row: Mapping[str, JsonValue]) -> None:
        """Appends one line to the metrics."""
        if not self.main:
            return
        if self._metrics is None:
            self._metrics = (self.path / "metrics.jsonl").open("ab", buffering=0)
        try:
            self._metrics.write(orjson.dumps(dict(row)) + b"\n")
        except OSError as error:
            raise OutputError(f"{self.path / 'metrics.jsonl'}: {error.strerror}") from error

    def rows(self) -> Iterator[dict[str, Any]]:
        """The metrics so far."""
        path = self.path / "metrics.jsonl"
        for line in path.read_bytes().splitlines() if path.exists() else []:
            yield orjson.loads(line)

    def close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def save(self, model: Any, tokenizer: Any, optimizer: Optimizer | None, state: State, keep: int) -> Path:
        """Writes a checkpoint, and removes all but the newest `keep`.

        Raises FoundryError where a weight is not finite: then those that are there stay.
        """
        for name, weight in model.named_parameters():
            if not torch.isfinite(weight).all():
                raise FoundryError(
                    f"training diverged by step {state.step}: {name} is not finite; the last checkpoint is intact "
                    "(lower learning_rate)"
                )
        target = self.path / "checkpoints" / f"{state.step:06d}"
        draft = target.with_name(f".{target.name}")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            _save(model, tokenizer, draft)
            if optimizer is not None:
                save_file(optimizer.tensors(), draft / "optimizer.safetensors")
            (draft / "state.json").write_bytes(orjson.dumps(state.model_dump(mode="json")) + b"\n")
            shutil.rmtree(target, ignore_errors=True)
            draft.rename(target)
        except (OSError, SafetensorError) as error:
            raise OutputError(f"{target}: cannot be written: {error}") from error
        for old in self._checkpoints()[:-keep]:
            shutil.rmtree(old)
        return target

    def newest(self) -> tuple[Path, State] | None:
        """The newest checkpoint and its state; None where there is none."""
        found = self._checkpoints()
        if not found:
            return None
        path = found[-1] / "state.json"
        try:
            return found[-1], State.model_validate(orjson.loads(path.read_bytes()))
        except (OSError, orjson.JSONDecodeError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from error
        except ValidationError as error:
            problem = invalid_field(error)
            raise RecordError(
                expected=problem.expected, found=problem.found, field=problem.field, file=str(path)
            ) from None

    def restore(self, checkpoint: Path, optimizer: Optimizer) -> None:
        """Loads the optimizer's state of a checkpoint."""
        path = checkpoint / "optimizer.safetensors"
        try:
            optimizer.load(load_file(path))
        except (OSError, SafetensorError, IndexError, ValueError) as error:
            raise InputError(f"{path}: cannot be read as the state of this run's optimizer: {error}") from error

    def finish(self, model: Any, tokenizer: Any) -> Path:
        """Writes the final model."""
        final = self.path / "final"
        draft = self.path / ".final"
        shutil.rmtree(draft, ignore_errors=True)
        try:
            _save(model, tokenizer, draft)
            shutil.rmtree(final, ignore_errors=True)
            draft.rename(final)
        except (OSError, SafetensorError) as error:
            raise OutputError(f"{final}: cannot be written: {error}") from error
        return final

    def _checkpoints(self) -> Sequence[Path]:
        folder = self.path / "checkpoints"
        return sorted(path for path in folder.glob("[0-9]*") if (path / "state.json").exists())


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Without the library's progress bars: there is a live line already."""
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    finally:
        if bars:
            logging.enable_progress_bar()
