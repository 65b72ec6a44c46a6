"""What one worker process of verl holds: the settings of the run, its environments, and one sandbox.

verl hands its configuration to every worker. Ours stands in it under `data.toolfoundry`, which is the part that verl's
dataset, its agent loops and (by interpolation) its reward function all get to see.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import atexit
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
from omegaconf import DictConfig, OmegaConf
from pydantic import Field, ValidationError

from toolfoundry.chat import chat_format
from toolfoundry.environment import opening
from toolfoundry.errors import FoundryError, InputError, invalid_field
from toolfoundry.frameworks import warn_untested
from toolfoundry.sandbox import Sandbox
from toolfoundry.store import artifact_of, load_record
from toolfoundry.tokens import Dialect
from toolfoundry.types import EnvSpec, Preset, Record

__all__ = ["Environments", "Settings", "Unscored", "dialect_of", "sandbox", "settings_of"]


class Unscored(FoundryError):
    """A rollout or response that could not be scored, through no fault of the policy.

    verl has no score that means "none". Raising is its way to say so: the session gives no sample, its group goes on
    without it, and verl logs the cause.
    """


class Settings(Record):
    """How rollouts are played and scored: the block `data.toolfoundry` of verl's configuration."""

    environments: str
    """Path of the environments (.jsonl), the same on every node."""
    chat: str = "hermes"
    thinking: bool = False
    reward: Preset = "frontier"
    max_turns: int = Field(default=20, ge=1)
    max_turn_tokens: int | None = Field(default=None, ge=1)
    """Most tokens of one turn; None: as many as the response has left."""
    calls_per_turn: int = Field(default=16, ge=1)


def settings_of(block: Mapping[str, Any] | DictConfig | None) -> Settings:
    """The settings in a block of verl's configuration. Raises InputError where they do not fit."""
    warn_untested("verl")
    if block is None:
        raise InputError("verl's configuration: found no block data.toolfoundry, expected the one in config.yaml")
    fields = OmegaConf.to_container(block, resolve=True) if isinstance(block, DictConfig) else dict(block)
    try:
        return Settings.model_validate(fields)
    except ValidationError as error:
        problem = invalid_field(error, "data.toolfoundry")
        raise InputError(f"verl's configuration: {problem}") from None


class Environments:
    """The environments of one file, by id. Lines are kept as they are and read when they are asked for."""

    def __init__(self, path: str) -> None:
        if not Path(path).is_file():
            raise InputError(f"{path}: there is no such file on this node (environments must be on shared storage)")
        if (found := artifact_of(Path(path))) != EnvSpec.artifact:
            raise InputError(f"{path}: found {found or 'another kind of file'}, expected {EnvSpec.artifact}")
        self._path = path
        with Path(path).open("rb") as file:
            next(file, None)  # the header line
            self._lines = {orjson.loads(line)["id"]: line for line in file}
        self._specs: dict[str, EnvSpec] = {}

    @staticmethod
    @lru_cache(maxsize=4)
    def at(path: str) -> Environments:
        """The environments in that file; read once in each process."""
        return Environments(path)

    def __getitem__(self, spec_id: str) -> EnvSpec:
        if spec_id not in self._specs:
            if spec_id not in self._lines:
                raise InputError(f"{self._path}: has no environment {spec_id!r}; rows and environments do not match")
            self._specs[spec_id] = load_record(EnvSpec, self._lines[spec_id])
        return self._specs[spec_id]


@lru_cache(maxsize=1)
def sandbox() -> Sandbox:
    """The sandbox of this process: started at the first call, ended with the process."""
    box = Sandbox()
    atexit.register(box.close)
    return box


class _Codec:
    """A tokenizer of transformers, as conversations need it: control tokens are read in text, and shown."""

    def __init__(self, tokenizer: Any, end_tokens: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        known = tokenizer.get_vocab()
        self.end_ids = tuple(known[token] for token in end_tokens if token in known)
        if not self.end_ids:
            raise InputError(f"tokenizer: found none of {', '.join(end_tokens)}, expected the end of a turn as a token")

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def dialect_of(tokenizer: Any, settings: Settings, sample: EnvSpec) -> Dialect:
    """How the model is spoken to, after a check on one environment that its own chat template writes the same.

    Raises InputError where it does not: then the policy would be trained on prompts that it was never given before.
    """
    chat = chat_format(settings.chat)
    messages, tools = opening(sample)
    ours = chat.render(messages, tools, generation=True, thinking=settings.thinking)
    theirs = tokenizer.apply_chat_template(
        [{"role": message.role, "content": message.content} for message in messages],
        tools=[tool.as_function() for tool in tools],
        add_generation_prompt=True,
        tokenize=False,
        enable_thinking=settings.thinking,
    )
    if ours != theirs:
        at = next(
            (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
        )
        raise InputError(
            f"chat format {chat.name!r}: found {ours[at : at + 40]!r} where the model's own chat template writes "
            f"{theirs[at : at + 40]!r}; set data.toolfoundry.chat to the format of this model"
        )
    return Dialect(chat, _Codec(tokenizer, chat.end_tokens), settings.thinking)
