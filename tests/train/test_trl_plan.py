"""How a step is cut into TRL's batches, and in which order prompts are taken."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolfoundry.errors import InputError
from toolfoundry.train.config import TrainConfig
from toolfoundry.train.trl_plan import BatchPlan, batch_plan, prompt_order, steps_of


def config(**changes):
    fields = {"prompts_per_step": 64, "group_size": 8, "prompts_per_update": 16, "samples_per_device": 8}
    return TrainConfig(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "processes", "plan"),
    [
        # 16 prompts x 8 = 128 sequences an update, 8 at a time: 16 passes; 4 updates a step
        ({}, 1, BatchPlan(8, 64, 16)),
        ({}, 4, BatchPlan(8, 16, 4)),
        ({"prompts_per_update": None}, 1, BatchPlan(8, 64, 64)),  # one update a step
        ({"prompts_per_update": 64, "samples_per_device": 512}, 1, BatchPlan(512, 1, 1)),
        ({"samples_per_device": 1}, 8, BatchPlan(1, 64, 16)),
    ],
)
def test_plan(changes, processes, plan):
    """Worked examples."""
    assert batch_plan(config(**changes), processes) == plan


@given(st.integers(1, 6), st.integers(2, 6), st.integers(1, 4), st.integers(1, 48), st.integers(1, 4))
def test_a_plan_loses_no_sequence(updates, group, prompts, samples, processes):
    """An update and a step have exactly their sequences, and an error names a size that works."""
    wanted = config(
        prompts_per_step=updates * prompts, prompts_per_update=prompts, group_size=group, samples_per_device=samples
    )
    try:
        plan = batch_plan(wanted, processes)
    except InputError as error:
        if "such as" not in str(error):
            assert (prompts * group) % processes
            return
        fitting = int(str(error).rpartition(" ")[2])
        assert fitting < samples
        plan = batch_plan(wanted.model_copy(update={"samples_per_device": fitting}), processes)
    assert plan.samples_per_device * plan.passes_per_update * processes == prompts * group
    assert plan.updates_per_step == updates


@pytest.mark.parametrize(
    ("changes", "processes", "message"),
    [
        ({"samples_per_device": 24}, 1, r"found 24 on 1 process.* 16 prompts x 8 responses = 128 .* such as 16"),
        ({"prompts_per_update": 24}, 1, r"prompts_per_update: found 24, expected a divisor of prompts_per_step \(64\)"),
        ({}, 3, r"processes: found 3, expected a divisor of 128"),
        ({"algorithm": "reinforce++", "group_size": 1}, 1, "group_size: found 1, expected at least 2"),
    ],
)
def test_sizes_that_do_not_divide(changes, processes, message):
    """The message has what was found and what would fit."""
    with pytest.raises(InputError, match=message):
        batch_plan(config(**changes), processes)


def test_steps():
    """Each prompt once, without a last step that is not full; or as many steps as are asked for."""
    assert steps_of(config(), 64) == 1
    assert steps_of(config(), 191) == 2
    assert steps_of(config(steps_per_round=5), 3) == 5
    assert steps_of(config(steps_per_round=5, max_steps=2), 3) == 2
    with pytest.raises(InputError, match="found 63, expected at least prompts_per_step"):
        steps_of(config(), 63)
    with pytest.raises(InputError, match="found 0"):
        steps_of(config(steps_per_round=5), 0)


def test_order():
    """Each pass takes every prompt once, shuffled by the seed and the round; passes are shuffled differently."""
    order = prompt_order(config(steps_per_round=5), 100, 0)
    assert len(order) == 5 * 64
    assert Counter(order[:100]) == Counter(order[100:200]) == Counter(range(100))
    assert order[:100] != order[100:200] != list(range(100))
    assert order == prompt_order(config(steps_per_round=5), 100, 0)
    assert order != prompt_order(config(steps_per_round=5), 100, 1)
    assert order != prompt_order(config(steps_per_round=5, seed=1), 100, 0)
    assert order[:64] == prompt_order(config(steps_per_round=1), 100, 0)
