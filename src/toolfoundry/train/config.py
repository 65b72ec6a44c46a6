"""The configuration of one training run: one flat frozen record, printed into the run folder.

Names and units are those of the paper's release where it has the setting (`docs/training.md` has the table). A preset
is a TOML file with some of these fields; the command line overrides it. Knows no torch.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from toolfoundry.errors import InputError, RecordError, invalid_field
from toolfoundry.types import Preset, Record

__all__ = ["ALGORITHMS", "Mode", "TrainAlgorithm", "TrainConfig", "load_preset", "preset_names"]

TrainAlgorithm = Literal["sft", "grpo", "dr-grpo", "reinforce++", "reinforce++-baseline"]
Mode = Literal["prefix", "episode"]
Backend = Literal["auto", "loop", "trl"]

ALGORITHMS: tuple[TrainAlgorithm, ...] = ("sft", "grpo", "dr-grpo", "reinforce++", "reinforce++-baseline")


class TrainConfig(Record):
    """How one policy is trained on one set of environments.

    The path of a run: `rounds` times, the current policy plays `round_environments` environments once at
    `collect_temperature`; the prefixes of these rollouts (mode `prefix`), or the environments themselves (mode
    `episode`), are the prompts of that round; each step takes `prompts_per_step` of them, samples `group_size`
    responses to each at `temperature`, and updates the policy in parts of `prompts_per_update` prompts.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    # what
    model: str = "tiny"
    """A folder with a checkpoint, a name on the Hugging Face hub, or "tiny": the warm start in the package."""
    algorithm: TrainAlgorithm = "grpo"
    mode: Mode = "prefix"
    backend: Backend = "auto"
    """auto: `trl` where there is a CUDA device, else `loop`."""
    chat: str = "hermes"
    thinking: bool = False
    reward: Preset = "frontier"
    seed: int = 0

    # what is played
    rounds: int = Field(default=3, ge=1)
    round_environments: int | None = Field(default=None, ge=1)
    """None: all of them in every round."""
    collect_temperature: float = Field(default=1.0, ge=0)
    max_turns: int = Field(default=20, ge=1)
    max_prompt_tokens: int = Field(default=16384, ge=1)
    """Longer prompts are left out, and counted."""
    max_response_tokens: int = Field(default=1024, ge=1)

    # the batch
    prompts_per_step: int = Field(default=512, ge=1)
    group_size: int = Field(default=16, ge=1)
    prompts_per_update: int | None = Field(default=32, ge=1)
    """None: one update a step, on policy."""
    steps_per_round: int | None = Field(default=None, ge=1)
    """None: until each prompt of the round was used once."""
    temperature: float = Field(default=1.0, gt=0)
    refill_groups: bool = False
    """Draw further prompts in place of groups whose rewards are all equal (dynamic sampling)."""
    pass_rate: tuple[float, float] | None = None
    """Mode `prefix`: environments whose last scores have a mean strictly between these two are played first, and only
    they are trained on: what is always solved, or never, teaches nothing."""

    # the update
    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: on the inner matrices, at `muon_learning_rate`, beside AdamW on the rest (backend `loop` only)."""
    learning_rate: float = Field(default=1e-6, gt=0)
    muon_learning_rate: float = Field(default=0.02, gt=0)
    schedule: Literal["constant", "trapezoid"] = "constant"
    """trapezoid: constant for the first half of the steps, then down to a fiftieth."""
    max_steps: int | None = Field(default=None, ge=1)
    """Steps of the whole run; None: until the rounds, or for SFT the epochs, are over."""
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    grad_clip: float = Field(default=1.0, gt=0)
    clip: float = Field(default=0.2, gt=0)
    dual_clip: float | None = Field(default=3.0, gt=1)
    kl_coefficient: float = Field(default=0.001, ge=0)
    """Weight of the k3 estimate of the divergence from the start of the run (backend `trl`: of the round, as in the
    paper's release); 0: no reference model is held."""
    entropy_coefficient: float = Field(default=0.001, ge=0)
    loss_mean: Literal["sequence", "token"] = "sequence"
    """sequence: mean over the tokens of each response, then over responses (the release); token: over all tokens."""
    shuffle_rewards: bool = False
    """A control that must not learn: the rewards of a step are dealt out to its responses at random."""
    turn_weight: float = Field(default=0.0, ge=0)
    """Mode episode: weight of the turn rewards' advantage beside the trajectory score's."""
    epochs: int = Field(default=1, ge=1)
    """SFT: passes over the demonstrations."""

    # the machine
    bf16: bool = False
    gradient_checkpointing: bool = False
    lora_rank: int | None = Field(default=None, ge=1)
    lora_alpha: int = Field(default=32, ge=1)
    vllm: bool = False
    samples_per_device: int = Field(default=8, ge=1)
    """Sequences of one forward and backward pass; the rest is accumulated."""
    save_every: int = Field(default=50, ge=1)
    """Steps between checkpoints; one is also written at the end of each round."""
    keep_checkpoints: int = Field(default=2, ge=1)
    report_to: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.algorithm not in ("sft", "reinforce++") and self.group_size < 2:
            raise RecordError(
                field="group_size", found=str(self.group_size), expected=f"at least 2 for {self.algorithm}"
            )
        if self.pass_rate is not None and not 0 <= self.pass_rate[0] < self.pass_rate[1] <= 1:
            raise RecordError(field="pass_rate", found=str(self.pass_rate), expected="0 <= low < high <= 1")
        if self.pass_rate is not None and self.mode == "episode":
            raise RecordError(field="pass_rate", found="mode 'episode'", expected="mode 'prefix'")
        per_update = self.prompts_per_update if self.algorithm != "sft" else None
        if per_update is not None and per_update > self.prompts_per_step:
            found = f"{per_update} (with prompts_per_step {self.prompts_per_step})"
            raise RecordError(field="prompts_per_update", found=found, expected="at most prompts_per_step")
        return self


def preset_names() -> list[str]:
    """The presets in the package, by name."""
    folder = resources.files("toolfoundry.train") / "presets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_preset(name: str, **overrides: Any) -> TrainConfig:
    """A preset of the package, or the one in a TOML file, with fields replaced by `overrides`.

    Raises InputError for an unknown name or file, RecordError for a field that does not fit.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"{name}: there is no such preset file")
        text, place = path.read_text(encoding="utf-8"), name
    elif name in preset_names():
        text = (resources.files("toolfoundry.train") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
        place = f"preset {name}"
    else:
        raise InputError(f"preset: found {name!r}, expected a .toml file or one of {', '.join(preset_names())}")
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{place}: malformed TOML ({error})") from None
    try:
        return TrainConfig(**{**fields, **overrides})
    except ValidationError as error:
        problem = invalid_field(error)
        where = "settings" if str(problem.field) in overrides else place
        raise RecordError(expected=problem.expected, found=problem.found, field=problem.field, file=where) from None
