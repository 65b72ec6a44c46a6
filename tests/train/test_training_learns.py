"""The reward of a toy task rises in twenty steps of GRPO, and does not when the rewards are dealt out at random."""

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


def test_the_reward_of_a_toy_task_rises(toy):
    """What is learned first is to write what can be read: the reward rises by more than 0.1, of 0.2 that there are
    to be had by it, and three of four malformed responses are gone."""
    rows = trained(toy, "true")
    assert rows[0]["malformed"] > 0.5
    reward, gain = change(rows, "reward")
    assert reward > -0.06
    assert gain > 0.1
    malformed, fewer = change(rows, "malformed")
    assert malformed < 0.2
    assert fewer < -0.3


def test_random_rewards_teach_nothing(toy):
    """The control: the same rewards, dealt out to the responses of the step at random."""
    rows = trained(toy, "shuffled", shuffle_rewards=True)
    assert change(rows, "reward")[0] < -0.12
