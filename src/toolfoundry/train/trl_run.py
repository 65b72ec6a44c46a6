# pyright: basic
"""A whole run with TRL: rounds as in `toolfoundry.train.rounds`, each trained by one of TRL's trainers.

Each round has a folder of its own, RUN/rounds/NNN/, whose `final/` says that it is over; the round that was interrupted
goes on from the trainer's own checkpoint. The optimizer begins anew in every round, and KL is measured from the policy
at the start of the round: so do the scripts of the paper's release, one for each iteration.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolfoundry.policies.transformers import LocalPolicy, TransformersSampler, checkpoint_folder, load_policy
from toolfoundry.samples import Sample
from toolfoundry.train.config import TrainConfig
from toolfoundry.train.play import Table
from toolfoundry.train.rounds import OnStep, Row, draw_environments, round_prompts
from toolfoundry.train.run_folder import RunFolder, State
from toolfoundry.train.trl_backend import train_round, train_sft
from toolfoundry.train.trl_checkpoints import steps_done
from toolfoundry.types import EnvSpec

__all__ = ["train_with_trl"]


def train_with_trl(
    config: TrainConfig,
    policy: LocalPolicy,
    table: Table,
    specs: Sequence[EnvSpec],
    samples: Sequence[Sample],
    place: RunFolder,
    on_step: OnStep,
) -> tuple[LocalPolicy, State]:
    """The trained policy and where the run ended. `samples`: what SFT imitates; empty otherwise."""
    if config.algorithm == "sft":
        folder = place.path / "rounds" / "sft"
        log = _Log(place, on_step, before=0, round_=0)
        place.cut_metrics(steps_done(config, folder))
        train_sft(config, policy.model, policy.tokenizer, samples, folder, log)
        return policy, State(step=log.steps)
    by_id = {spec.id: spec for spec in specs}
    state, start = State(), str(checkpoint_folder(config.model))
    for round_ in range(config.rounds):
        state = state.model_copy(update={"round": round_})
        left = None if config.max_steps is None else config.max_steps - state.step
        if left is not None and left <= 0:
            break
        folder = place.path / "rounds" / f"{round_:03d}"
        log = _Log(place, on_step, before=state.step, round_=round_)
        final = folder / "final"
        this = config.model_copy(update={"max_steps": left})
        chosen = draw_environments(specs, config, state)
        prompts = chosen
        if config.mode == "prefix":
            prompts, _, state = round_prompts(table, chosen, by_id, config, place, state)
        if final.exists():  # of the run that is gone on with
            policy = _reload(policy, final, config)
            table.sampler = TransformersSampler(policy.model, policy.codec.end_ids)
            steps = sum(row.get("round") == round_ for row in place.rows())
            state, start = state.model_copy(update={"step": state.step + steps}), str(final)
            continue
        place.cut_metrics(state.step + steps_done(this, folder))
        stats = train_round(
            this,
            policy.model,
            policy.tokenizer,
            table.dialect,
            prompts,
            by_id,
            table.executor,
            folder,
            log,
            round_=round_,
            loaded_from=start,
        )
        if stats.sharded:  # the pieces that this process holds are no model
            policy = _reload(policy, stats.final, config)
            table.sampler = TransformersSampler(policy.model, policy.codec.end_ids)
        state, start = state.model_copy(update={"step": state.step + stats.steps}), str(final)
    return policy, state


def _reload(policy: LocalPolicy, folder: Path, config: TrainConfig) -> LocalPolicy:
    dtype = str(next(policy.model.parameters()).dtype).removeprefix("torch.")
    return load_policy(str(folder), chat=config.chat, dtype=dtype, device=str(policy.model.device))


class _Log:
    """Writes the rows of a round into the run's metrics, with the number of the step in the run."""

    def __init__(self, place: RunFolder, on_step: OnStep, *, before: int, round_: int) -> None:
        self._place, self._on_step, self._before, self._round = place, on_step, before, round_
        self.steps = before
        self._cpu = time.process_time()

    def __call__(self, row: Mapping[str, float]) -> None:
        self.steps = self._before + int(row["step"])
        cpu = time.process_time()
        full: Row = {
            **row,
            "step": self.steps,
            "round": self._round,
            "cpu_s": {"step": round(cpu - self._cpu, 4)},
            "time": round(time.time(), 3),
        }
        self._cpu = cpu
        self._place.log(full)
        self._on_step(full)
