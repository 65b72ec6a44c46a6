"""The TRL backend: real checkpoints, one or several GPUs, LoRA, bf16, vLLM. It also runs on a CPU, for tests.

    train_sft(config, model, tokenizer, samples, folder)                                     SFTTrainer
    train_round(config, model, tokenizer, dialect, prompts, specs, sandbox, folder)          ReinforceTrainer

Each trains `model` in place over one round and returns what it took. `folder` belongs to the round: it holds the
checkpoints, and at the end `final/`, a plain checkpoint in safetensors with its tokenizer and no state of the
optimizer. Called again with the same values after it was killed, it goes on from the last whole checkpoint, and then
gives the metrics that the uninterrupted run would have given (except through vLLM, whose sampling cannot be repeated).

Each process of `accelerate launch` calls the function with the same values and a sandbox of its own. What TRL does
otherwise than the release that the paper trained with is listed in `docs/training-trl.md`.
"""
# pyright: basic

from __future__ import annotations

import dataclasses
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from toolfoundry.environment import Executor
from toolfoundry.errors import FoundryError, InputError, MissingExtra, OutputError
from toolfoundry.samples import Prefix, Sample
from toolfoundry.seeds import derive_seed
from toolfoundry.tokens import Dialect
from toolfoundry.train.config import TrainConfig
from toolfoundry.train.trl_plan import BatchPlan, batch_plan, prompt_order, steps_of
from toolfoundry.types import EnvSpec

try:
    import torch
    from accelerate import PartialState
    from datasets import Dataset
    from safetensors import SafetensorError
    from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
    from transformers.utils import logging as transformers_logging
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer
except ImportError:
    raise MissingExtra("train", "training with TRL") from None

from toolfoundry.train.trl_checkpoints import is_of_the_disk, last_checkpoint, save_final, steps_done
from toolfoundry.train.trl_rollouts import EpisodeRollouts, PrefixRollouts
from toolfoundry.train.trl_trainer import FiniteGradients, ReinforceTrainer, check_trl

__all__ = [
    "Stats",
    "grpo_arguments",
    "last_checkpoint",
    "reinforce",
    "steps_done",
    "train_round",
    "train_sft",
]

_CHECKPOINTING = next(
    field.name
    for field in dataclasses.fields(GRPOConfig)
    if field.name in ("activation_checkpointing", "gradient_checkpointing")
)
"""transformers renamed the setting between two versions that we work with; the new name stands first where it is."""

OnStep = Callable[[Mapping[str, float]], None]
"""Gets the metrics of each step, with its number (from 1) in the round as `step`."""

_NAMES = {
    **{
        name: name
        for name in (
            "loss grad_norm learning_rate reward reward_std groups flat_groups responses unscored malformed calls "
            "turns split solve_p solve_r solve_f1 answer kl entropy"
        ).split()
    },
    "clip_ratio/region_mean": "clipped",
    "completions/mean_length": "tokens",
    "completions/clipped_ratio": "cut_off",
    "sampling/sampling_logp_difference/mean": "sampler_gap",
    "mean_token_accuracy": "token_accuracy",
}
"""Which of TRL's metrics are passed on, and how we call them."""


class Stats(NamedTuple):
    """What one round took.

    responses: of this process. unscored: the causes why some of them were not scored, counted. resumed_from: how many
    of the steps were done before. sharded: the model in memory is in pieces (FSDP, DeepSpeed); `final` is whole.
    """

    steps: int
    updates: int
    responses: int
    unscored: dict[str, int]
    seconds: float
    resumed_from: int
    final: Path
    sharded: bool


def train_sft(
    config: TrainConfig,
    model: Any,
    tokenizer: Any,
    samples: Sequence[Sample],
    folder: Path,
    on_step: OnStep | None = None,
) -> Stats:
    """Imitates the samples: cross-entropy on exactly the tokens whose mask is True, for `epochs`, or `max_steps` steps.

    A step is one update here; it takes `prompts_per_update` samples (`prompts_per_step` where that is None).

    Raises:
        InputError: there is nothing to learn from, or the configuration does not fit the machine.
        FoundryError: training diverged, or memory did not suffice; the last checkpoint is intact.
    """
    if not any(any(sample.mask) for sample in samples):
        raise InputError(f"samples: found {len(samples)} without a token to learn, expected at least one with some")
    _prepare(config, model, tokenizer)
    processes = _processes()
    size = config.prompts_per_update or config.prompts_per_step
    if size % (config.samples_per_device * processes):
        raise InputError(
            f"samples_per_device: found {config.samples_per_device} on {processes} process(es), expected a number with "
            f"which they divide {size} (the samples of an update)"
        )
    rows = Dataset.from_list(
        [
            {
                "input_ids": list(sample.token_ids),
                "labels": [token if said else -100 for token, said in zip(sample.token_ids, sample.mask, strict=True)],
            }
            for sample in samples
        ]
    )
    arguments = SFTConfig(
        **_common(config, folder, updates_per_step=1),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        gradient_accumulation_steps=size // (config.samples_per_device * processes),
        packing=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    with _quiet(), _kept_as_it_was(model):
        trainer = SFTTrainer(
            model=model, args=arguments, train_dataset=rows, processing_class=tokenizer, peft_config=_lora(config)
        )
        trainer.add_callback(FiniteGradients())
        return _train(trainer, model, tokenizer, folder, 1, on_step)


def train_round(
    config: TrainConfig,
    model: Any,
    tokenizer: Any,
    dialect: Dialect,
    prompts: Sequence[Prefix] | Sequence[EnvSpec],
    specs: Mapping[str, EnvSpec],
    sandbox: Executor,
    folder: Path,
    on_step: OnStep | None = None,
    *,
    round_: int = 0,
    loaded_from: str | Path | None = None,
) -> Stats:
    """One round of training: the paper's single responses at stored prefixes, or whole episodes, as `config.mode` says.

    Args:
        config: how; `steps_of` says how many steps that are.
        model: in float32, or with `lora_rank` in any type. It is trained in place; an adapter is merged into it.
        tokenizer: the model's, padding on the left.
        dialect: how the model is spoken to.
        prompts: prefixes, none longer than `max_prompt_tokens`; in mode `episode` the environments to play.
        specs: the environments of the prefixes, by id (mode `prefix` only).
        sandbox: where tools are executed.
        folder: of this round; a checkpoint in it is gone on from.
        on_step: gets the metrics of each step.
        round_: which round it is: another one draws and samples otherwise.
        loaded_from: the folder or hub name from which the model was loaded and not changed since: the reference model
            and vLLM are loaded from it. None: where one is needed, a copy is first written to `folder/start`.

    Raises:
        InputError: the configuration does not fit the data, the model or the machine; mode `episode` and a chat format
            that rewrites earlier turns.
        FoundryError: training diverged, nothing could be scored, or memory did not suffice; the last checkpoint is
            intact.
    """
    given: Any = prompts
    rollouts = (
        PrefixRollouts(config, dialect, sandbox, given, specs, round_)
        if config.mode == "prefix"
        else EpisodeRollouts(config, dialect, sandbox, given, round_)
    )
    return reinforce(
        config, model, tokenizer, rollouts.keys, rollouts, folder, on_step, round_=round_, loaded_from=loaded_from
    )


def reinforce(
    config: TrainConfig,
    model: Any,
    tokenizer: Any,
    keys: Sequence[str],
    rollouts: Any,
    folder: Path,
    on_step: OnStep | None = None,
    *,
    round_: int = 0,
    loaded_from: str | Path | None = None,
) -> Stats:
    """One round of policy gradients on the prompts that `keys` name.

    rollouts: an object with `rollout(keys, trainer)` and `reward(...)`, TRL's `rollout_func` and reward function, and
    the counts `responses` and `causes`.
    """
    check_trl()
    _prepare(config, model, tokenizer)
    plan = batch_plan(config, _processes())
    steps = steps_of(config, len(keys))
    order = prompt_order(config, len(keys), round_)
    rows = Dataset.from_dict({"prompt": [keys[index] for index in order]})
    with _quiet(), _kept_as_it_was(model):
        _point_to_start(config, model, tokenizer, folder, loaded_from)
        trainer = ReinforceTrainer(
            algorithm=cast("Any", config.algorithm),
            why_unscored=lambda: next((cause for cause, _ in rollouts.causes.most_common(1)), ""),
            model=model,
            args=grpo_arguments(config, folder, plan, steps),
            train_dataset=rows,
            processing_class=tokenizer,
            reward_funcs=rollouts.reward,
            rollout_func=rollouts.rollout,
            peft_config=_lora(config),
        )
        stats = _train(trainer, model, tokenizer, folder, plan.updates_per_step, on_step)
    return stats._replace(responses=rollouts.responses, unscored=dict(rollouts.causes))


def grpo_arguments(config: TrainConfig, folder: Path, plan: BatchPlan, steps: int) -> GRPOConfig:
    """TRL's configuration for ours; `docs/training-trl.md` explains each line that is not a plain translation."""
    options: dict[str, Any] = {}
    if config.vllm:
        options = {
            "use_vllm": True,
            "vllm_mode": "colocate",
            "vllm_max_model_length": config.max_prompt_tokens + config.max_response_tokens,
            "vllm_importance_sampling_mode": "token_truncate",
        }
    return GRPOConfig(
        **_common(config, folder, plan.updates_per_step),
        **options,
        max_steps=steps * plan.updates_per_step,
        steps_per_generation=plan.passes_per_step,
        gradient_accumulation_steps=plan.passes_per_update,
        num_generations=config.group_size,
        num_iterations=1,
        max_completion_length=config.max_response_tokens,
        temperature=config.temperature,
        loss_type="grpo" if config.loss_mean == "sequence" else "dapo",
        scale_rewards="none",  # the advantages are ours
        epsilon=config.clip,
        delta=config.dual_clip,
        beta=config.kl_coefficient,
        use_bias_correction_kl=False,
        entropy_coef=config.entropy_coefficient,
        shuffle_dataset=False,  # the rows stand in their order
        remove_unused_columns=False,
    )


# --- what both kinds of training share -----------------------------------------------------------------------------


def _common(config: TrainConfig, folder: Path, updates_per_step: int) -> dict[str, Any]:
    """The arguments that every trainer takes. Logging and saving happen at the end of a step, never within one."""
    cuda = torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": config.samples_per_device,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": config.warmup_steps * updates_per_step,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.grad_clip,
        "bf16": config.bf16,
        _CHECKPOINTING: config.gradient_checkpointing,
        "use_cpu": not cuda,
        "dataloader_pin_memory": cuda,
        "ddp_find_unused_parameters": False,  # all are used
        "seed": derive_seed("trl", config.seed) % 2**31,
        "logging_steps": updates_per_step,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": config.save_every * updates_per_step,
        "save_total_limit": config.keep_checkpoints,
        "report_to": list(config.report_to) or "none",
        "disable_tqdm": True,
    }


def _train(
    trainer: Trainer, model: Any, tokenizer: Any, folder: Path, updates_per_step: int, on_step: OnStep | None
) -> Stats:
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    if sharded and hasattr(trainer.model, "merge_and_unload"):
        raise InputError("lora_rank: found it with FSDP or DeepSpeed, expected one of them: an adapter is merged whole")
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(_Report(updates_per_step, on_step))
    checkpoint = last_checkpoint(folder)
    final = folder / "final"
    started = time.monotonic()
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
        seconds = time.monotonic() - started
        save_final(trainer, model, tokenizer, final, sharded)
    except torch.OutOfMemoryError as failure:
        raise FoundryError(
            f"out of memory in update {trainer.state.global_step + 1} ({str(failure).splitlines()[0]}): lower "
            "samples_per_device, max_response_tokens or max_prompt_tokens, or switch on gradient_checkpointing, bf16 "
            "or lora_rank; the last checkpoint is intact"
        ) from failure
    except (OSError, SafetensorError, RuntimeError) as failure:
        if not is_of_the_disk(failure):
            raise
        raise OutputError(f"{folder}: cannot be written: {failure}; the last whole checkpoint is intact") from failure
    updates = trainer.state.global_step
    return Stats(
        steps=updates // updates_per_step,
        updates=updates,
        responses=0,
        unscored={},
        seconds=seconds,
        resumed_from=int(checkpoint.name.rpartition("-")[2]) // updates_per_step if checkpoint is not None else 0,
        final=final,
        sharded=sharded,
    )


class _Report(TrainerCallback):
    """Passes the metrics of each step on, and keeps pickles that nobody reads out of the checkpoints."""

    def __init__(self, updates_per_step: int, on_step: OnStep | None) -> None:
        self._updates_per_step, self._on_step = updates_per_step, on_step

    def on_log(self, args, state, control, logs=None, **rest):  # noqa: ARG002
        if self._on_step is None or not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        metrics = {ours: logs[theirs] for theirs, ours in _NAMES.items() if logs.get(theirs) is not None}
        metrics.update((name, round(metrics[name])) for name in ("groups", "responses", "unscored") if name in metrics)
        self._on_step({"step": state.global_step // self._updates_per_step, **metrics})

    def on_save(self, args, state, control, **rest):  # noqa: ARG002
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / "training_args.bin").unlink(missing_ok=True)


def _lora(config: TrainConfig) -> Any:
    if config.lora_rank is None:
        return None
    try:
        from peft import LoraConfig
    except ImportError:
        raise MissingExtra("train", "lora_rank") from None
    return LoraConfig(
        r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def _processes() -> int:
    return PartialState(cpu=not torch.cuda.is_available()).num_processes


def _prepare(config: TrainConfig, model: Any, tokenizer: Any) -> None:
    """Makes model and tokenizer ready. Raises InputError, before anything is written, where the configuration cannot
    be carried out here."""
    cuda = torch.cuda.is_available()
    if config.vllm and not cuda:
        raise InputError("vllm: found no CUDA device, expected one (or vllm = false: the model samples itself)")
    if config.bf16 and not (cuda and torch.cuda.is_bf16_supported()):
        raise InputError("bf16: found no CUDA device that computes in bfloat16, expected one (or bf16 = false)")
    if config.optimizer != "adamw" or config.schedule != "constant":
        found = f"optimizer: found {config.optimizer} with schedule {config.schedule}"
        raise InputError(f"{found}, expected adamw and constant with the backend trl")
    if config.refill_groups or config.turn_weight:
        found = "refill_groups" if config.refill_groups else "turn_weight"
        raise InputError(f"{found}: the backend trl has no such thing; expected it off, or backend loop")
    if config.dual_clip is not None and config.dual_clip <= 1 + config.clip:
        raise InputError(f"dual_clip: found {config.dual_clip}, expected more than 1 + clip ({1 + config.clip})")
    largest, rows = max(tokenizer.get_vocab().values()), model.get_input_embeddings().num_embeddings
    if largest >= rows:
        raise InputError(f"tokenizer: found ids up to {largest}, expected less than {rows}, the model's embeddings")
    if tokenizer.pad_token_id is None:
        raise InputError("tokenizer: found no padding token, expected one that is not sampled")
    tokenizer.padding_side = "left"
    if config.lora_rank is None:
        model.float()  # a step of 1e-6 is lost in the rounding of bfloat16; bf16 computes in it, on weights in float32


def _point_to_start(
    config: TrainConfig, model: Any, tokenizer: Any, folder: Path, loaded_from: str | Path | None
) -> None:
    """Makes the model's config name a place that holds the model as it is now: TRL loads its reference model, and
    vLLM, from there. A copy that an interrupted run has written is used again."""
    if not (config.vllm or (config.kl_coefficient and config.lora_rank is None)):
        return
    if loaded_from is None:
        start = folder / "start"
        with PartialState().main_process_first():
            if PartialState().is_main_process and not (start / "tokenizer_config.json").exists():
                part = folder / ".start"
                shutil.rmtree(part, ignore_errors=True)
                model.save_pretrained(part)
                tokenizer.save_pretrained(part)
                shutil.rmtree(start, ignore_errors=True)
                part.replace(start)
        loaded_from = start
    model.config._name_or_path = model.name_or_path = str(loaded_from)


@contextmanager
def _kept_as_it_was(model: Any) -> Iterator[None]:
    """TRL and accelerate replace `forward` and set flags; afterwards all but the weights is what it was."""
    name, forward = model.config._name_or_path, model.__dict__.get("forward")
    use_cache, training = model.config.use_cache, model.training
    try:
        yield
    finally:
        model.config._name_or_path = model.name_or_path = name
        model.__dict__.pop("forward", None)
        if forward is not None:
            model.forward = forward
        getattr(model, f"{_CHECKPOINTING}_disable")()
        model.config.use_cache = use_cache
        model.train(training)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars for each file, and without warnings that only TRL's authors can do something about."""
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # `rollout_func` is marked experimental; `check_trl` is what guards us against its change.
            warnings.filterwarnings("ignore", "You are using 'rollout_func'", UserWarning)
            warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
            yield
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
