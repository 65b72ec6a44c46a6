"""Several processes train as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the extra train")

from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("trl_toy.py")


def run(folder, processes):
    """The metrics of each step."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes] if processes > 1 else []
    subprocess.run(
        [sys.executable, "-W", "ignore", *map(str, launch), SCRIPT, "on_policy", folder, folder / "metrics.jsonl", "0"],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path):
    """Advantages are whitened over the batch of all processes, and gradients are those of the whole batch: metrics and
    weights differ by rounding alone."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = run(tmp_path / "one", 1), run(tmp_path / "two", 2)
    assert len(one) == len(two) == 3
    for left, right in zip(one, two, strict=True):
        assert left.keys() == right.keys()
        for name, value in left.items():
            assert right[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    weights = [load_file(tmp_path / name / "final" / "model.safetensors") for name in ("one", "two")]
    for name, weight in weights[0].items():
        assert (weight - weights[1][name]).abs().max() < 1e-3, name
