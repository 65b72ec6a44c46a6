"""The reward of a toy task rises in twenty steps of GRPO, and higher than when the rewards are dealt out at random."""

import statistics

import pytest

pytest.importorskip("torch", reason="needs the extra train")

from toolfoundry.train.run import Progress, train
from train.run_toy import half_taught, small, tiny_environments


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A folder, eight environments, and a policy after forty steps of SFT on their gold play: it writes calls that
    cannot be read, and earns less than nothing."""
    path = tmp_path_factory.mktemp("toy")
    specs = tiny_environments(path / "envs.jsonl", 8)
    return path, specs, half_taught(path / "sft", specs, steps=40)


def trained(toy, name, **changes):
    """The metrics of twenty steps."""
    path, specs, start = toy
    rows = []
    config = small(start, rounds=20, max_steps=20, learning_rate=2e-3, **changes)
    train(config, specs, path / name, progress=Progress(on_step=rows.append))
    assert [row["step"] for row in rows] == list(range(1, 21))
    return rows


def change(rows, metric):
    """The mean of the last five steps, and by how much it differs from that of the first five."""
    values = [row[metric] for row in rows]
    last = statistics.fmean(values[-5:])
    return last, last - statistics.fmean(values[:5])


@pytest.fixture(scope="module")
def learned(toy):
    return trained(toy, "true")


def test_the_reward_of_a_toy_task_rises(learned):
    """What is learned first is to write what can be read: the reward rises by more than 0.1, of 0.2 that there are
    to be had by it, and three of four malformed responses are gone."""
    assert learned[0]["malformed"] > 0.5
    reward, gain = change(learned, "reward")
    assert reward > -0.06
    assert gain > 0.1
    malformed, fewer = change(learned, "malformed")
    assert malformed < 0.2
    assert fewer < -0.3


def test_random_rewards_do_not_teach_it(toy, learned):
    """The control: the same rewards, dealt out to the responses of the step at random, end lower. (They are a random
    walk: in one of four seeds that were tried it led half the way.)"""
    control = trained(toy, "shuffled", shuffle_rewards=True)
    assert change(control, "reward")[0] < change(learned, "reward")[0] - 0.05
