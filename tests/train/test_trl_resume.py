"""A round that was killed with SIGKILL goes on from its last whole checkpoint as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the extra train")

import torch

from toolfoundry.train.trl_backend import last_checkpoint, reinforce, steps_done
from train.toy_model import toy_model
from train.trl_toy import KEYS, Letters, resumable


def train(folder):
    """The metrics of each step, what it took, and the weights at the end."""
    rows = []
    model, tokenizer = toy_model()
    stats = reinforce(resumable(), model, tokenizer, KEYS, Letters(tokenizer), folder, rows.append)
    return rows, stats, model


def test_a_killed_round_goes_on_exactly(tmp_path):
    """Killed in the fifth of six steps, it goes on from the checkpoint after the fourth: metrics and weights are those
    of an uninterrupted run, to the last bit; a checkpoint that was being written when it was killed is passed over."""
    rows, stats, model = train(tmp_path / "whole")
    assert (stats.steps, stats.resumed_from) == (6, 0)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]

    killed = tmp_path / "killed"
    script = Path(__file__).with_name("trl_toy.py")
    process = subprocess.run(
        [sys.executable, "-W", "ignore", script, "resumable", killed, tmp_path / "killed.jsonl", "5"],
        check=False,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()[-2000:]
    assert not (killed / "final").exists()
    before = [json.loads(line) for line in (tmp_path / "killed.jsonl").read_text().splitlines()]
    half = killed / "checkpoint-10"
    half.mkdir()
    (half / "trainer_state.json").write_text('{"global_step": 1')
    assert last_checkpoint(killed) == killed / "checkpoint-8"
    assert steps_done(resumable(), killed) == 4

    after, resumed, again = train(killed)
    assert (resumed.steps, resumed.resumed_from) == (6, 4)
    assert before == rows[:5]
    assert after == rows[4:]
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


@pytest.mark.parametrize("algorithm", ["grpo", "reinforce++"])
def test_an_adapter_goes_on_exactly(tmp_path, algorithm):
    """The same for LoRA, whose checkpoints hold the adapter alone."""
    config = resumable().model_copy(update={"lora_rank": 4, "steps_per_round": 4, "algorithm": algorithm})

    class Stop(Exception):
        pass

    def go(folder, on_step):
        model, tokenizer = toy_model()
        reinforce(config, model, tokenizer, KEYS, Letters(tokenizer), folder, on_step)
        return model

    def stop(row):
        if row["step"] == 3:
            raise Stop

    whole, rest = [], []
    model = go(tmp_path / "whole", whole.append)
    with pytest.raises(Stop):
        go(tmp_path / "cut", stop)
    assert (last_checkpoint(tmp_path / "cut") / "adapter_model.safetensors").exists()
    again = go(tmp_path / "cut", rest.append)
    assert rest == whole[2:]
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_checkpoints_hold_nothing_that_runs_when_it_is_loaded(tmp_path):
    """Weights are safetensors; the states of optimizer, scheduler and generators load as tensors and plain values only,
    and the pickled arguments, which nobody reads, are not there."""
    train(tmp_path)
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint == tmp_path / "checkpoint-12"
    assert (checkpoint / "model.safetensors").exists()
    assert not list(tmp_path.rglob("training_args.bin"))
    assert not list(tmp_path.rglob("pytorch_model*"))
    for name in ("optimizer.pt", "scheduler.pt"):
        torch.load(checkpoint / name, weights_only=True)
    # Two checkpoints are kept, and the final policy has no state of the optimizer.
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-12", "checkpoint-8"]
    assert not list((tmp_path / "final").glob("*.pt"))


def test_a_round_that_is_over_is_not_trained_again(tmp_path):
    """Called again after its end, a round takes no further step and gives the same policy."""
    _, _, model = train(tmp_path)
    rows, stats, again = train(tmp_path)
    assert rows == []
    assert (stats.steps, stats.resumed_from, stats.responses) == (6, 6, 0)
    assert torch.equal(model.model.embed_tokens.weight, again.model.embed_tokens.weight)


def test_no_checkpoint_in_an_empty_folder(tmp_path):
    """Nothing, and things that are no checkpoints, are no checkpoint."""
    assert last_checkpoint(tmp_path / "absent") is None
    assert steps_done(resumable(), tmp_path / "absent") == 0
    (tmp_path / "checkpoint-3").mkdir()
    assert last_checkpoint(tmp_path) is None
