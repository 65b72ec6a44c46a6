"""How one step of our configuration is cut into the batches that TRL counts in.

    step        one sampling of `prompts_per_step` prompts, `group_size` responses each        ours
    update      one step of the optimizer, on `prompts_per_update` prompts with their groups   TRL's global_step
    pass        one forward and backward of `samples_per_device` sequences on each process     gradient accumulation

TRL samples once every `steps_per_generation` passes and updates once every `gradient_accumulation_steps` of them; a
checkpoint is exact only between two samplings. All three sizes must therefore divide each other. Knows no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from toolfoundry.errors import InputError
from toolfoundry.seeds import generator
from toolfoundry.train.config import TrainConfig

__all__ = ["BatchPlan", "batch_plan", "prompt_order", "steps_of"]


class BatchPlan(NamedTuple):
    """passes_per_step: TRL's `steps_per_generation`; passes_per_update: its `gradient_accumulation_steps`."""

    samples_per_device: int
    passes_per_step: int
    passes_per_update: int

    @property
    def updates_per_step(self) -> int:
        return self.passes_per_step // self.passes_per_update


def batch_plan(config: TrainConfig, processes: int = 1) -> BatchPlan:
    """The plan for that many processes, one device each.

    Raises InputError where the sizes do not divide each other, saying which value would fit.
    """
    if config.group_size < 2:
        raise InputError(f"group_size: found {config.group_size}, expected at least 2 (TRL samples groups)")
    prompts_per_update = config.prompts_per_update or config.prompts_per_step
    if config.prompts_per_step % prompts_per_update:
        found = f"prompts_per_update: found {prompts_per_update}"
        raise InputError(f"{found}, expected a divisor of prompts_per_step ({config.prompts_per_step})")
    update = prompts_per_update * config.group_size
    if update % (config.samples_per_device * processes):
        fitting = _largest_fitting(update, config.samples_per_device, processes)
        what = f"{prompts_per_update} prompts x {config.group_size} responses = {update} sequences an update"
        if fitting is None:
            raise InputError(f"processes: found {processes}, expected a divisor of {update} ({what})")
        raise InputError(
            f"samples_per_device: found {config.samples_per_device} on {processes} process(es), "
            f"expected a number with which they divide {what}, such as {fitting}"
        )
    passes_per_update = update // (config.samples_per_device * processes)
    passes_per_step = passes_per_update * (config.prompts_per_step // prompts_per_update)
    return BatchPlan(config.samples_per_device, passes_per_step, passes_per_update)


def steps_of(config: TrainConfig, prompts: int) -> int:
    """How many steps a round over that many prompts has: `steps_per_round`, or each prompt once; at most `max_steps`.

    What is left over and does not fill a step is not used. Raises InputError where no step is filled.
    """
    if prompts == 0 or (config.steps_per_round is None and prompts < config.prompts_per_step):
        found = f"prompts: found {prompts}"
        raise InputError(f"{found}, expected at least prompts_per_step ({config.prompts_per_step}), or steps_per_round")
    steps = config.steps_per_round or prompts // config.prompts_per_step
    return steps if config.max_steps is None else min(steps, config.max_steps)


def prompt_order(config: TrainConfig, prompts: int, *parts: str | int) -> Sequence[int]:
    """Which prompt is taken when: `steps_of` times `prompts_per_step` indices, shuffled anew in each pass.

    The order is made before the run, not while it runs, so that a resumed run goes on in it. Where one pass ends
    within a step, a prompt can stand twice in it: as two groups.
    """
    wanted = steps_of(config, prompts) * config.prompts_per_step
    order: list[int] = []
    while len(order) < wanted:
        indices = list(range(prompts))
        generator("prompts", config.seed, *parts, len(order)).shuffle(indices)
        order += indices
    return order[:wanted]


def _largest_fitting(update: int, at_most: int, processes: int) -> int | None:
    return next((size for size in range(at_most, 0, -1) if update % (size * processes) == 0), None)
