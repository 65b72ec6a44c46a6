"""The files of one round of TRL: which checkpoint to go on from, and the policy at the end.

folder/checkpoint-32/    transformers' own: weights in safetensors, states of optimizer and generators
folder/final/            the policy: safetensors and tokenizer, nothing else
"""
# pyright: basic

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from safetensors import SafetensorError

from toolfoundry.errors import FoundryError
from toolfoundry.train.config import TrainConfig

if TYPE_CHECKING:
    from transformers import Trainer

__all__ = ["is_of_the_disk", "last_checkpoint", "save_final", "steps_done"]


def last_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint of a round, None where there is none. One that was cut off by a kill is passed over:
    the state of the trainer is the last file that is written."""
    found: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        try:
            updates = json.loads((path / "trainer_state.json").read_bytes())["global_step"]
        except (OSError, ValueError, KeyError):
            continue
        found.append((updates, path))
    return max(found)[1] if found else None


def steps_done(config: TrainConfig, folder: Path) -> int:
    """How many steps of a round the last checkpoint holds: a run that is gone on with gives the metrics of those after.

    For SFT a step is an update.
    """
    checkpoint = last_checkpoint(folder)
    if checkpoint is None:
        return 0
    per_step = (
        1
        if config.algorithm == "sft"
        else config.prompts_per_step // (config.prompts_per_update or config.prompts_per_step)
    )
    return int(checkpoint.name.rpartition("-")[2]) // per_step


def is_of_the_disk(failure: Exception) -> bool:
    """Whether writing failed (disk full, no permission): safetensors and PyTorch have words of their own for it."""
    if isinstance(failure, OSError):
        return failure.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
    return isinstance(failure, SafetensorError) or "PytorchStreamWriter" in str(failure)


def save_final(trainer: Trainer, model: Any, tokenizer: Any, final: Path, sharded: bool) -> None:
    """Writes the policy to `final`, whole or not at all. An adapter is merged into the model before."""
    part = final.with_name(".final")
    shutil.rmtree(part, ignore_errors=True)
    if sharded:
        trainer.save_model(str(part))
    else:
        trained = cast("Any", trainer.model)
        if hasattr(trained, "merge_and_unload"):
            trained.merge_and_unload()
            model.requires_grad_(True)
        if trainer.is_world_process_zero():
            model.save_pretrained(part)
    if trainer.is_world_process_zero():
        tokenizer.save_pretrained(part)
        (part / "training_args.bin").unlink(missing_ok=True)  # a pickle, which nobody needs
        if not list(part.glob("*.safetensors")):
            raise FoundryError(
                f"{part}: no weights were written; FSDP needs fsdp_state_dict_type FULL_STATE_DICT, DeepSpeed ZeRO-3 "
                "stage3_gather_16bit_weights_on_model_save; the last checkpoint is intact"
            )
        shutil.rmtree(final, ignore_errors=True)
        part.replace(final)
    trainer.accelerator.wait_for_everyone()
