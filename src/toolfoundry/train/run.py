# pyright: basic
"""One training run, from a configuration and environments to a folder with a better policy.

    load the model -> play the held-out environments (before) -> SFT or rounds -> play them again (after) -> final/

The backends (our loop, TRL) get values and give metrics; what they have in common is here.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import itertools
import os
import statistics
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson
import torch
from pydantic import JsonValue

from toolfoundry import __version__
from toolfoundry.chat import chat_format
from toolfoundry.errors import FoundryError, InputError
from toolfoundry.metrics import Summary, summarise
from toolfoundry.policies.transformers import (
    TINY,
    LocalPolicy,
    TransformersSampler,
    checkpoint_folder,
    load_policy,
    out_of_memory,
)
from toolfoundry.samples import Sample, demonstration_samples, fits
from toolfoundry.sandbox import Sandbox
from toolfoundry.tokens import Dialect
from toolfoundry.train.config import TrainConfig
from toolfoundry.train.loop import Optimizer, imitate, shuffled_batches
from toolfoundry.train.play import Clock, Table
from toolfoundry.train.rounds import Learner, OnStep, Row, pad_id, train_rounds
from toolfoundry.train.run_folder import RunFolder, State
from toolfoundry.types import EnvSpec, Limits, Trajectory

__all__ = ["TINY", "Outcome", "Progress", "evaluate", "load_start", "table_of", "train"]


class Outcome(NamedTuple):
    """What a run came to. `before`, `after`: on the held-out environments, None where there are none, and in all but
    the first of several processes."""

    final: Path
    steps: int
    before: Summary | None
    after: Summary | None


class Progress(NamedTuple):
    """How a run is watched: its parts by name as they begin, each step's metrics, and each evaluation."""

    on_part: Callable[[str], None] = lambda _: None
    on_step: OnStep = lambda _: None
    on_evaluation: Callable[[str, Summary], None] = lambda _, __: None


def load_start(config: TrainConfig) -> LocalPolicy:
    """The model that training begins with; "tiny" is checked to belong to the words of this release."""
    if config.model != TINY:
        return load_policy(config.model, chat=config.chat, dtype="float32" if not config.bf16 else "bfloat16")
    from toolfoundry.train.tiny.words import check_words

    folder = checkpoint_folder(TINY)
    check_words(folder)
    return load_policy(TINY, chat=config.chat, device="cpu")


def table_of(config: TrainConfig, policy: LocalPolicy, sandbox: Sandbox) -> Table:
    """Where this policy plays, under the limits of the configuration."""
    return Table(
        sampler=TransformersSampler(policy.model, policy.codec.end_ids),
        dialect=Dialect(chat_format(config.chat), policy.codec, config.thinking),
        executor=sandbox,
        reward=config.reward,
        limits=Limits(max_turns=config.max_turns),
        max_tokens=config.max_response_tokens,
        # A token of a small model costs mostly what is the same for any batch, and its cache is small.
        max_batch=256 if policy.model.num_parameters() < 20_000_000 else 64,
    )


def evaluate(table: Table, specs: Sequence[EnvSpec], *, temperature: float = 0.0, seed: int = 0) -> list[Trajectory]:
    """One trajectory of each environment; greedy by default."""
    return table.episodes(specs, temperature=temperature, seed=("evaluate", seed), name="policy")


def train(
    config: TrainConfig,
    specs: Sequence[EnvSpec],
    folder: Path,
    *,
    demonstrations: Sequence[Trajectory] = (),
    further: Sequence[Sample] = (),
    held_out: Sequence[EnvSpec] = (),
    about: Mapping[str, JsonValue] | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (a value)
) -> Outcome:
    """Trains one policy and leaves it in `folder/final`.

    Args:
        config: what is done.
        specs: the environments to train on (SFT: those of the demonstrations).
        folder: of the run.
        demonstrations: what SFT imitates. further: samples that it learns beside them.
        held_out: environments that the policy plays greedily before and after.
        about: what the run file says beside the configuration.
        resume: go on with a run that was begun. force: replace it.
        progress: how it is watched.

    Raises:
        InputError: something that was given does not fit. FoundryError: it diverged, or nothing could be scored.
    """
    backend = _backend(config)
    config = config.model_copy(update={"backend": backend})
    processes = _processes(backend)
    place = RunFolder(folder, main=processes.is_main_process)
    policy = load_start(config)
    known = _about(config, policy, specs, demonstrations, held_out)
    place.begin(config, {**(about or {}), **known}, resume=resume, force=force)
    processes.wait_for_everyone()  # what an earlier run has left is gone now
    found = place.newest() if resume else None
    with Sandbox() as sandbox, contextlib.closing(place), _memory(config):
        seen = held_out if place.main else ()
        before = _before(place, config, policy, sandbox, seen, progress)
        if found is not None and backend == "loop":
            _take_up(policy, found[0], config)
        progress.on_part("training")
        if backend == "trl":
            from toolfoundry.train.trl_run import train_with_trl

            samples = [*_samples_for(config, policy, specs, demonstrations), *further]
            table = table_of(config, policy, sandbox)
            policy, state = train_with_trl(config, policy, table, specs, samples, place, progress.on_step)
        elif config.algorithm == "sft":
            samples = [*_samples_for(config, policy, specs, demonstrations), *further]
            state = _imitate(config, policy, samples, place, progress)
        else:
            reference = copy.deepcopy(policy.model).eval() if config.kl_coefficient else None
            if reference is not None and found is not None:  # the start, not the checkpoint, is what KL keeps near
                reference = load_start(config).model.eval()
            learner = Learner(policy.model, policy.tokenizer, table_of(config, policy, sandbox), reference)
            state = train_rounds(learner, specs, config, place, on_step=progress.on_step)
        final = place.finish(policy.model, policy.tokenizer) if place.main else folder / "final"
        after = _play(config, policy, sandbox, seen, "after", folder, progress)
    return Outcome(final, state.step, before, after)


@contextlib.contextmanager
def _memory(config: TrainConfig) -> Generator[None]:
    """Says in one line that memory did not suffice, and what would need less."""
    try:
        yield
    except (MemoryError, RuntimeError) as failure:
        if isinstance(failure, RuntimeError) and not out_of_memory(failure):
            raise
        less = "samples_per_device" if config.backend == "trl" else "max_prompt_tokens or max_response_tokens"
        raise FoundryError(f"out of memory; the last checkpoint is intact (a lower {less} needs less)") from failure


class _Alone:
    """The processes of a run that has one."""

    is_main_process = True

    def wait_for_everyone(self) -> None:
        """There is nobody to wait for."""


def _processes(backend: Literal["loop", "trl"]) -> Any:
    """Which process of the run this is. Raises InputError where the backend has no use for several."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return _Alone()
    if backend == "loop":
        raise InputError("backend: 'loop' trains in one process, found several; expected --backend trl")
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def _backend(config: TrainConfig) -> Literal["loop", "trl"]:
    """Which one trains. Raises InputError where it cannot do what is asked for."""
    if config.backend == "auto":
        backend = "trl" if torch.cuda.is_available() else "loop"
    else:
        backend = config.backend
    if backend == "trl" and (config.optimizer, config.schedule) != ("adamw", "constant"):
        found = f"optimizer {config.optimizer!r} with schedule {config.schedule!r}"
        raise InputError(f"{found}: the backend is 'trl', expected 'adamw' with 'constant' (--set schedule=constant)")
    if backend == "loop" and config.lora_rank is not None:
        raise InputError("lora_rank: the backend is 'loop', which trains whole models; expected --backend trl")
    return backend


def _take_up(policy: LocalPolicy, checkpoint: Path, config: TrainConfig) -> None:
    """Puts the weights of a checkpoint into the model. Raises InputError where they are those of another one."""
    weights = load_policy(str(checkpoint), chat=config.chat).model.state_dict()
    try:
        policy.model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise InputError(f"{checkpoint}: is not a checkpoint of this run's model: {first}") from None


def _before(
    place: RunFolder,
    config: TrainConfig,
    policy: LocalPolicy,
    sandbox: Sandbox,
    held_out: Sequence[EnvSpec],
    progress: Progress,
) -> Summary | None:
    path = place.path / "before.json"
    if path.exists():  # of the run that is gone on with
        try:
            return Summary.model_validate(orjson.loads(path.read_bytes()))
        except ValueError as error:
            raise InputError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    return _play(config, policy, sandbox, held_out, "before", place.path, progress)


def _play(
    config: TrainConfig,
    policy: LocalPolicy,
    sandbox: Sandbox,
    held_out: Sequence[EnvSpec],
    when: str,
    folder: Path,
    progress: Progress,
) -> Summary | None:
    """The held-out environments, greedily; trajectories and summary go into the folder as `when`."""
    if not held_out:
        return None
    from toolfoundry.store import RecordWriter, replace_file

    progress.on_part(f"playing {len(held_out)} held-out environments")
    trajectories = evaluate(table_of(config, policy, sandbox), held_out, seed=config.seed)
    with RecordWriter(folder / f"{when}.jsonl", Trajectory, "overwrite") as writer:
        for trajectory in trajectories:
            writer.write(trajectory)
    summary = summarise(trajectories)[0]
    replace_file(folder / f"{when}.json", orjson.dumps(summary.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
    progress.on_evaluation(when, summary)
    return summary


def _about(
    config: TrainConfig,
    policy: LocalPolicy,
    specs: Sequence[EnvSpec],
    demonstrations: Sequence[Trajectory],
    held_out: Sequence[EnvSpec],
) -> dict[str, JsonValue]:
    """What the run depends on beside its configuration."""
    from toolfoundry.store import about_packages, dump

    weights = hashlib.sha256()
    for name, tensor in sorted(policy.model.state_dict().items()):
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    prompt = orjson.dumps([message.model_dump() for spec in specs[:1] for message in spec.prompt])
    return {
        "version": __version__,
        "start": f"{config.model} {weights.hexdigest()[:16]}",
        "parameters": sum(p.numel() for p in policy.model.parameters()),
        "environments": _hashed(spec.id.encode() for spec in specs),
        "held_out": _hashed(spec.id.encode() for spec in held_out),
        "demonstrations": _hashed(dump(trajectory) for trajectory in demonstrations),
        "prompt": hashlib.sha256(prompt).hexdigest()[:16],
        "threads": torch.get_num_threads(),
        "packages": about_packages(
            "toolfoundry", "torch", "transformers", "tokenizers", "trl", "peft", "accelerate", "safetensors"
        ),
    }


def _hashed(parts: Iterable[bytes]) -> str:
    """How many, and what they hash to together."""
    count, digest = 0, hashlib.sha256()
    for count, part in enumerate(parts, start=1):  # noqa: B007
        digest.update(part)
    return f"{count} {digest.hexdigest()[:16]}"


# --- SFT -----------------------------------------------------------------------------------------------------------


def demonstration_set(
    config: TrainConfig, dialect: Dialect, specs: Sequence[EnvSpec], demonstrations: Sequence[Trajectory]
) -> list[Sample]:
    """The samples of all demonstrations that fit. Raises InputError where there are none, or one has no environment."""
    tools = {spec.id: [tool.signature for tool in spec.tools] for spec in specs}
    if missing := [t.task.spec_id for t in demonstrations if t.task.spec_id not in tools]:
        raise InputError(f"demonstrations: found one of environment {missing[0]}, which is not among those given")
    samples = [sample for t in demonstrations for sample in demonstration_samples(t, tools[t.task.spec_id], dialect)]
    fitting = list(fits(samples, config.max_prompt_tokens + config.max_response_tokens))
    if not fitting:
        raise InputError(f"demonstrations: found {len(samples)}, none of which fits, expected at least one")
    return fitting


def _samples_for(
    config: TrainConfig, policy: LocalPolicy, specs: Sequence[EnvSpec], demonstrations: Sequence[Trajectory]
) -> list[Sample]:
    if config.algorithm != "sft":
        return []
    dialect = Dialect(chat_format(config.chat), policy.codec, config.thinking)
    return demonstration_set(config, dialect, specs, demonstrations)


def _imitate(
    config: TrainConfig,
    policy: LocalPolicy,
    samples: Sequence[Sample],
    place: RunFolder,
    progress: Progress,
) -> State:
    """SFT in our own loop: `prompts_per_step` samples a step, `epochs` passes or `max_steps` steps."""
    size = config.prompts_per_step
    total = config.max_steps or config.epochs * -(-len(samples) // size)
    optimizer = Optimizer(policy.model, config, total)
    state = State()
    if (found := place.newest()) is not None:
        checkpoint, state = found
        place.restore(checkpoint, optimizer)
    place.cut_metrics(state.step)
    policy.model.train()
    pad = pad_id(policy.tokenizer)
    batches = itertools.islice(shuffled_batches(samples, size, config.seed), state.step, total)
    clock = Clock()
    recent: list[tuple[float, float, float]] = []
    for batch in batches:
        recent.append(imitate(policy.model, optimizer, batch, pad))
        state = state.model_copy(update={"step": state.step + 1})
        saving = state.step % config.save_every == 0
        if state.step % 10 == 0 or state.step == total or saving:  # saving: a row never spans a checkpoint
            clock.lap("train")
            losses, right, norms = zip(*recent, strict=True)
            row: Row = {
                "step": state.step,
                "of": total,
                "loss": statistics.fmean(losses),
                "token_accuracy": statistics.fmean(right),
                "grad_norm": statistics.fmean(norms),
                "cpu_s": {name: round(seconds, 4) for name, seconds in clock.spent.items()},
                "time": round(time.time(), 3),
            }
            place.log(row)
            progress.on_step(row)
            clock, recent = Clock(), []
        if saving:
            place.save(policy.model, policy.tokenizer, optimizer, state, config.keep_checkpoints)
    place.save(policy.model, policy.tokenizer, optimizer, state, config.keep_checkpoints)
    policy.model.eval()
    return state
