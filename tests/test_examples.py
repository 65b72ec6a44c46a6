"""The examples run, in a short form, and show what they say they show."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name, *arguments, folder):
    """The standard output of an example, run as a reader runs it."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with what the first example makes: twelve environments."""
    folder = tmp_path_factory.mktemp("examples")
    printed = example("build_in_code.py", 12, "envs.jsonl", folder=folder)
    assert len(printed.splitlines()) >= 12
    return folder


def test_examples_are_short():
    """Each is at most 40 lines."""
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 40, path.name


def test_a_policy_of_ones_own(folder):
    """One call, then an answer: two turns, each with a reward."""
    lines = example("custom_policy.py", folder=folder).splitlines()
    assert len(lines) == 4
    assert all(line.endswith("answered") and "None" not in line.partition("[")[2] for line in lines)


def test_a_reward_of_ones_own(folder):
    """Calls cost: gold gets less than 1, spam less than 0, silence nothing."""
    values = ast.literal_eval(example("custom_reward.py", folder=folder))
    assert 0.5 < values["gold"] < 1
    assert values["spam"] < 0 == values["silent"]


def test_stored_trajectories(folder, run):
    """Scores of gold are 1 in both conventions."""
    assert run("rollout", folder / "envs.jsonl", "--policy", "gold", "-o", folder / "gold.jsonl")[0] == 0
    printed = example("score_stored.py", "gold.jsonl", folder=folder)
    assert "strict F1 1.00, as published 1.00" in printed
    assert "gold all 1.0 0.0 n=12 unscored=0" in printed


def test_an_evaluation(folder):
    """The player of first hops is right where there is one hop only."""
    value = float(example("evaluate_in_code.py", "envs.jsonl", folder=folder).split()[-1])
    assert 0.3 < value < 1


def test_training(folder):
    """One step, and a policy at the end."""
    pytest.importorskip("torch", reason="needs the extra train")
    printed = example("train_tiny.py", "envs.jsonl", 1, folder=folder)
    assert "step 1 reward" in printed
    assert (folder / "run" / "final" / "model.safetensors").exists()
