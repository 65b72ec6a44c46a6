"""A run that was killed with SIGKILL goes on, with the same command and --resume, as if nothing had happened."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

pytest.importorskip("torch", reason="needs the extra train")

import torch
from safetensors.torch import load_file

from toolfoundry.train.run_folder import RunFolder
from train.run_toy import half_taught, tiny_environments

SETTINGS = (
    *("--preset", "tiny", "--rounds", "2", "--prompts-per-step", "2", "--group-size", "4", "--seed", "7"),
    *("--set", "prompts_per_update=2", "--set", "max_response_tokens=32", "--set", "save_every=2"),
    *("--set", "round_environments=6", "--set", "steps_per_round=4", "--set", "pass_rate=[0.0, 1.0]"),
    *("--set", "kl_coefficient=0.01", "--learning-rate", "2e-3", "--threads", "1"),
)


def killed(arguments, where, step):
    process = subprocess.run(
        [sys.executable, "-W", "ignore", Path(__file__).with_name("run_toy.py"), where, str(step), *arguments],
        check=False,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()[-2000:]


def metrics(folder):
    rows = [orjson.loads(line) for line in (folder / "metrics.jsonl").read_bytes().splitlines()]
    return [{key: value for key, value in row.items() if key not in ("time", "cpu_s")} for row in rows]


def test_killed_twice(tmp_path, run):
    """Killed in the middle of a round, after a step beyond the last checkpoint; gone on with, and killed in the next
    round while the checkpoint of its sixth step was being written; gone on with to the end. Metrics, the collected
    trajectories and the weights are those of a run that nobody killed, to the last bit, and so is the table of the
    held-out environments, which were played before the first kill."""
    specs = tiny_environments(tmp_path / "envs.jsonl", 8)
    tiny_environments(tmp_path / "test.jsonl", 2, seed=12)
    start = half_taught(tmp_path / "sft", specs, steps=30)
    common = ("train", "grpo", tmp_path / "envs.jsonl", "--model", start, "--held-out", tmp_path / "test.jsonl")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    code, _, err = run(*common, *SETTINGS, "-o", whole)
    assert code == 0, err
    assert [(row["round"], row["step"]) for row in metrics(whole)] == [(n // 4, n + 1) for n in range(8)]

    command = [*map(str, common), *SETTINGS, "-o", str(cut)]
    killed(command, "logging", 3)
    assert [row["step"] for row in metrics(cut)] == [1, 2, 3]
    assert RunFolder(cut).newest()[1].step == 2
    with (cut / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step":4,"round":0,"rew')
    killed([*command, "--resume"], "saving", 6)
    assert [row["step"] for row in metrics(cut)] == [1, 2, 3, 4, 5, 6]
    assert RunFolder(cut).newest()[1].step == 4
    assert (cut / "checkpoints" / ".000006").exists()
    assert not (cut / "final").exists()

    code, _, err = run(*command, "--resume")
    assert code == 0, err
    assert metrics(cut) == metrics(whole)
    for name in ("000.jsonl", "001.jsonl"):
        assert (cut / "rounds" / name).read_bytes() == (whole / "rounds" / name).read_bytes()
    one, other = (load_file(folder / "final" / "model.safetensors") for folder in (whole, cut))
    for name, weight in one.items():
        assert torch.equal(weight, other[name]), name
    for name in ("before.jsonl", "after.jsonl"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    assert RunFolder(cut).newest()[1] == RunFolder(whole).newest()[1]

    code, _, err = run(*command, "--resume")  # and once more, when it is over
    assert code == 0, err
    assert metrics(cut) == metrics(whole)
