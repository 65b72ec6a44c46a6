"""Trains the policy in the package with GRPO on a CPU: python examples/train_tiny.py ENVS [STEPS] (extra `train`)"""

import sys
from pathlib import Path

import torch

from toolfoundry.store import read
from toolfoundry.train.config import load_preset
from toolfoundry.train.run import Outcome, Progress, train
from toolfoundry.types import EnvSpec


def main(envs: Path, steps: int, folder: Path = Path("run")) -> Outcome:
    torch.set_num_threads(1)  # its operations are small: threads would wait for each other
    specs = list(read(envs, EnvSpec))
    config = load_preset(
        "tiny", model="tiny", algorithm="grpo", max_steps=steps, round_environments=8, prompts_per_step=8,
        prompts_per_update=8, group_size=4,
    )  # fmt: skip
    progress = Progress(on_step=lambda row: print("step", row["step"], "reward", row["reward"]))
    return train(config, specs[:-4], folder, held_out=specs[-4:], force=True, progress=progress)


if __name__ == "__main__":
    outcome = main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20)
    print("the policy is in", outcome.final)
