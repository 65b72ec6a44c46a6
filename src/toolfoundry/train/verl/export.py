"""What verl 0.9.1 needs to train on our environments: rows, environments, configuration, launch scripts.

    FOLDER/train.parquet  val.parquet    one row for each environment (episodes) or stored prefix
    FOLDER/environments.jsonl            what the rows refer to by id: the tools with their sources, goals, answers
    FOLDER/config.yaml  agent_loop.yaml  verl's configuration with the paper's settings; our agent loops
    FOLDER/train.sh  train-nodes.sh      one node; several nodes with Ray
    FOLDER/schemas.json                  what verl's own model of tool schemas would lose; our loops lose nothing

Rows hold no answers, except for the goals in a prefix's state, which the policy never sees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import orjson
from pydantic import Field, JsonValue

from toolfoundry.chat import chat_format
from toolfoundry.environment import opening
from toolfoundry.errors import InputError, MissingExtra, OutputError
from toolfoundry.samples import Prefix, prefixes
from toolfoundry.seeds import derive_seed
from toolfoundry.store import RecordWriter, dump
from toolfoundry.types import EnvSpec, Message, Preset, Record, Trajectory

__all__ = ["ESTIMATORS", "VERSION", "Exported", "Lost", "VerlRun", "export_verl", "lost_schema"]

VERSION = "0.9.1"

VerlAlgorithm = Literal["grpo", "reinforce++", "reinforce++-baseline"]
VerlMode = Literal["prefix", "episode"]

ESTIMATORS: dict[VerlAlgorithm, str] = {
    "grpo": "grpo",
    "reinforce++": "reinforce_plus_plus",
    "reinforce++-baseline": "reinforce_plus_plus_baseline",
}

_RELEASE_BATCH, _RELEASE_MINI_BATCH = 512, 32
_MOST_TOKENS_OF_A_PROMPT = 16384
_FILES = ("config.yaml", "agent_loop.yaml", "train.sh", "train-nodes.sh")


class VerlRun(Record):
    """Which run is exported. `chat` None: from the model's name (hermes for Qwen2.5, qwen3 for Qwen3)."""

    algorithm: VerlAlgorithm = "grpo"
    model: str = "Qwen/Qwen2.5-7B-Instruct"
    thinking: bool = False
    chat: str | None = None
    reward: Preset = "frontier"
    mode: VerlMode = "prefix"
    val_fraction: float = Field(default=0.05, gt=0, lt=1)
    seed: int = 0

    @property
    def format(self) -> str:
        return self.chat or ("qwen3" if "qwen3" in self.model.lower() else "hermes")


class Lost(NamedTuple):
    """What verl's schema model makes of one tool: keywords that it drops, and why it rejects the tool (None: not)."""

    dropped: tuple[str, ...]
    rejected: str | None


class Exported(Record):
    """What was written. `batch`: prompts of one step. `openings`: environments without rollouts, whose row is their
    opening (mode `prefix`). `lossy`, `rejected`: distinct tools whose schema verl's own model
    would drop something from, or reject; `dropped`: how many parameters lose each keyword."""

    train_rows: int
    val_rows: int
    environments: int
    openings: int
    batch: int
    tools: int
    lossy: int
    rejected: int
    dropped: dict[str, int]


def export_verl(
    specs: Sequence[EnvSpec],
    folder: Path,
    run: VerlRun,
    *,
    val: Sequence[EnvSpec] | None = None,
    trajectories: Iterable[Trajectory] = (),
) -> Exported:
    """Writes everything into `folder`, which is made.

    Args:
        specs: the environments to train on.
        folder: where to write; what is there under the same names is replaced.
        run: which run.
        val: the environments to validate on; None takes `run.val_fraction` of `specs` away for it, at least one.
        trajectories: rollouts of the policy, whose prefixes are the rows (mode `prefix`). An environment without
            rollouts gives its opening alone.

    Raises:
        InputError: an option does not fit the others, or nothing is left to train on.
        MissingExtra: pyarrow is not installed.
    """
    _check(run)
    train, val = _split(specs, run) if val is None else (list(specs), list(val))
    known = {spec.id: spec for spec in [*train, *val]}
    if not train or not val:
        found = f"{len(train)} for training and {len(val)} for validation"
        raise InputError(f"environments: found {found}, expected at least one of each")
    if twice := {spec.id for spec in train} & {spec.id for spec in val}:
        found = f"{len(twice)} environments that are trained on too ({min(twice)})"
        raise InputError(f"validation: found {found}, expected others")
    states = _prefixes(trajectories, known, run)
    rows = {
        "train": [row for spec in train for row in _rows(spec, states.get(spec.id), run)],
        "val": [row for spec in val for row in _rows(spec, states.get(spec.id), run)],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for split, these in rows.items():
            _write_parquet(folder / f"{split}.parquet", split, these)
        with RecordWriter(folder / "environments.jsonl", EnvSpec, "overwrite") as writer:
            for spec in known.values():
                writer.write(spec)
        batch = _batch(len(rows["train"]))
        _write_files(folder, run, batch)
        schemas = _report_schemas(folder / "schemas.json", known.values())
    except OSError as error:
        raise OutputError(f"{error.filename or folder}: {error.strerror}") from error
    return Exported(
        train_rows=len(rows["train"]),
        val_rows=len(rows["val"]),
        environments=len(known),
        openings=sum(not states.get(spec_id) for spec_id in known) if run.mode == "prefix" else 0,
        batch=batch,
        **schemas,
    )


def _check(run: VerlRun) -> None:
    chat = chat_format(run.format)
    if run.thinking and not chat.thinks:
        raise InputError(f"--thinking: chat format {chat.name!r} has no thinking, expected a model that thinks (Qwen3)")
    if run.mode == "episode" and run.reward not in ("frontier", "ftrl"):
        expected = "frontier or ftrl in mode episode (the other variants score single turns)"
        raise InputError(f"--reward: found {run.reward!r}, expected {expected}")


def _split(specs: Sequence[EnvSpec], run: VerlRun) -> tuple[list[EnvSpec], list[EnvSpec]]:
    """(for training, for validation), each in the order given; which is which depends on ids and seed alone."""
    count = max(1, round(run.val_fraction * len(specs)))
    drawn = sorted((spec.id for spec in specs), key=lambda name: derive_seed("verl-validation", run.seed, name))
    held_out = set(drawn[:count])
    return [spec for spec in specs if spec.id not in held_out], [spec for spec in specs if spec.id in held_out]


# --- rows ----------------------------------------------------------------------------------------------------------


def _prefixes(
    trajectories: Iterable[Trajectory], known: Mapping[str, EnvSpec], run: VerlRun
) -> dict[str, list[Prefix]]:
    """The prefixes of the rollouts, by environment. Sampled ids are left out: verl's tokenizer need not be theirs."""
    found: dict[str, list[Prefix]] = {}
    for trajectory in trajectories:
        if (spec_id := trajectory.task.spec_id) not in known:
            raise InputError(f"trajectory {trajectory.key}: its environment is not among those that are exported")
        states = [prefix.model_copy(update={"said": ()}) for prefix in prefixes(trajectory, run.reward)]
        found.setdefault(spec_id, []).extend(states)
    return found


def _rows(spec: EnvSpec, states: list[Prefix] | None, run: VerlRun) -> list[dict[str, Any]]:
    messages = opening(spec).messages
    if run.mode == "episode":
        return [_row(spec, spec.id, messages, "", run)]
    first = Prefix(
        key=f"{spec.id}#0",
        task=spec.task,
        messages=messages,
        unsolved=tuple(goal.id for goal in spec.goals),
        solve_rate=0.0,
    )
    return [_row(spec, state.key, state.messages, dump(state).decode(), run) for state in states or [first]]


def _row(spec: EnvSpec, key: str, messages: Sequence[Message], state: str, run: VerlRun) -> dict[str, Any]:
    return {
        "data_source": f"toolfoundry/{spec.scenario.kind or 'unknown'}",
        "agent_name": f"toolfoundry_{run.mode}",
        "prompt": [{"role": message.role, "content": _content(message, run)} for message in messages],
        "ability": "tool_use",
        "reward_model": {"style": "rule", "ground_truth": state},
        "extra_info": {"environment": spec.id, "key": key},
    }


def _content(message: Message, run: VerlRun) -> str:
    """The message as text, calls as the markup that the model writes: Arrow wants the same fields in each message."""
    if message.role != "assistant":
        return message.content
    chat = chat_format(run.format)
    return chat.completion(message, thinking=run.thinking).removesuffix(chat.end_tokens[0])


def _write_parquet(path: Path, split: str, rows: list[dict[str, Any]]) -> None:
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]
        import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise MissingExtra("train", "writing Parquet") from None
    for index, row in enumerate(rows):
        row["extra_info"] |= {"index": index, "split": split}
    unfinished = path.with_name(f".{path.name}.unfinished")
    cast(Any, pq).write_table(cast(Any, pa).Table.from_pylist(rows), unfinished)
    unfinished.replace(path)


# --- configuration -------------------------------------------------------------------------------------------------


def _write_files(folder: Path, run: VerlRun, batch: int) -> None:
    turn_tokens = 8192 if run.thinking else 1024
    context = _MOST_TOKENS_OF_A_PROMPT + turn_tokens
    # An episode has the same context as the longest prefix with its response; the halves are ours.
    prompt_tokens = _MOST_TOKENS_OF_A_PROMPT if run.mode == "prefix" else _MOST_TOKENS_OF_A_PROMPT // 2
    batch_comment, length_comment = "Prompts of one step.", "A stored prefix, and one turn."
    if batch < _RELEASE_BATCH:
        batch_comment = f"The release: {_RELEASE_BATCH}. Here are fewer rows, and verl drops a batch that is not full."
    if run.mode == "episode":
        length_comment = "The opening, and all that follows, tool results too; the sum is the release's for one turn."
    texts = {
        "ALGORITHM_NAME": run.algorithm,
        "MODE": run.mode,
        "BATCH_COMMENT": f"  # {batch_comment}",
        "LENGTH_COMMENT": f"  # {length_comment}",
    }
    values: dict[str, JsonValue] = {
        "ESTIMATOR": ESTIMATORS[run.algorithm],
        "BATCH": batch,
        "MINI_BATCH": min(_RELEASE_MINI_BATCH, batch),
        "PROMPT_TOKENS": prompt_tokens,
        "RESPONSE_TOKENS": context - prompt_tokens,
        "TURN_TOKENS": turn_tokens,
        "CONTEXT": context,
        "SEED": run.seed,
        "CHAT": run.format,
        "THINKING": run.thinking,
        "REWARD": run.reward,
        "MODEL": run.model,
        "EXPERIMENT": f"{run.algorithm}-{run.mode}-{run.reward}",
    }
    texts |= {name: orjson.dumps(value).decode() for name, value in values.items()}  # JSON scalars are YAML scalars
    templates = resources.files("toolfoundry.train.verl") / "templates"
    for name in _FILES:
        text = (templates / name).read_text(encoding="utf-8")
        for mark, value in texts.items():
            text = text.replace(f"@{mark}@", value)
        (folder / name).write_text(text, encoding="utf-8")
        if name.endswith(".sh"):
            (folder / name).chmod(0o755)


def _batch(rows: int) -> int:
    """Prompts of one step: the release's, or as many as there are, in whole mini-batches where that can be."""
    return min(_RELEASE_BATCH, rows // _RELEASE_MINI_BATCH * _RELEASE_MINI_BATCH or rows)


# --- schemas -------------------------------------------------------------------------------------------------------


def lost_schema(parameters: Mapping[str, JsonValue]) -> Lost:
    """What `OpenAIFunctionParametersSchema` of verl 0.9.1 makes of a tool's parameters.

    It knows type, properties and required, and of each property type, description and enum; everything else is
    dropped in silence. A property without a plain type (`anyOf`, `$ref`, `const`) is rejected.
    """
    dropped = [key for key in parameters if key not in ("type", "properties", "required")]
    if not isinstance(parameters.get("type"), str):
        return Lost(tuple(dropped), "parameters: no type")
    properties = parameters.get("properties")
    if not isinstance(properties, dict):
        return Lost(tuple(dropped), "parameters: no properties")
    rejected: str | None = None
    for name, schema in properties.items():
        if not isinstance(schema, dict):
            rejected = rejected or f"{name}: not an object"
            continue
        kind = schema.get("type")
        named = isinstance(kind, str) or (isinstance(kind, list) and all(isinstance(item, str) for item in kind))
        if not named:
            rejected = rejected or f"{name}: no plain type"
        dropped += [f"{name}.{key}" for key in schema if key not in ("type", "description", "enum")]
    return Lost(tuple(dropped), rejected)


def _report_schemas(path: Path, specs: Iterable[EnvSpec]) -> dict[str, Any]:
    """Writes which distinct tools verl's own model would change; gives the sums."""
    tools: dict[bytes, dict[str, Any]] = {}
    for spec in specs:
        for tool in spec.tools:
            key = orjson.dumps(tool.signature.as_function(), option=orjson.OPT_SORT_KEYS)
            if key not in tools:
                lost = lost_schema(tool.signature.parameters)
                tools[key] = {"tool": tool.name, "environment": spec.id, **lost._asdict()}
    changed = [entry for entry in tools.values() if entry["dropped"] or entry["rejected"]]
    report = {"verl": VERSION, "tools": len(tools), "changed": changed}
    path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    keywords = Counter(place.rpartition(".")[2] for entry in changed for place in entry["dropped"])
    return {
        "tools": len(tools),
        "lossy": sum(bool(entry["dropped"]) for entry in changed),
        "rejected": sum(entry["rejected"] is not None for entry in changed),
        "dropped": dict(keywords.most_common()),
    }
