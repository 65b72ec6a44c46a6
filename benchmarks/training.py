"""What a step of reinforcement learning costs: our loop against TRL, and where its time goes.

    python benchmarks/training.py [--steps 10] [--repeat 3]

Both train the packaged tiny policy on the same environments with the same configuration (preset `tiny`, GRPO, 16
prompts of 8 responses a step), in turns, each in a fresh process, on one thread. CPU seconds of the process and of the
tools' processes; the first two steps of a run are not counted. What is neither sampling nor training (environments,
tools, reward, prompts) is what the environments cost.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ENVIRONMENTS = 200
PARTS = ("sampling", "training", "environments and reward, our process", "tools' processes")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--run", nargs=2, metavar=("BACKEND", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(run(arguments.run[0], Path(arguments.run[1]), arguments.steps)))
        return
    found: dict[str, list[dict[str, float]]] = {"loop": [], "trl": []}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(arguments.repeat):
            for backend, results in found.items():
                place = str(Path(folder) / f"{backend}-{repeat}")
                command = [sys.executable, __file__, "--steps", str(arguments.steps), "--run", backend, place]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                results.append(json.loads(output.splitlines()[-1]))
                print(f"{backend}: {results[-1]}", file=sys.stderr, flush=True)
    print("| | CPU s a step, median (least – most) | reward of the last step |\n|---|---|---|")
    for backend, results in found.items():
        steps = sorted(result["step"] for result in results)
        spread = f"{statistics.median(steps):.2f} ({steps[0]:.2f} – {steps[-1]:.2f})"
        print(f"| {backend} | {spread} | {results[0]['reward']:.3f} |")
    ratios = sorted(trl["step"] / loop["step"] for loop, trl in zip(found["loop"], found["trl"], strict=True))
    print(f"\nTRL / loop: {statistics.median(ratios):.2f} ({ratios[0]:.2f} – {ratios[-1]:.2f})")
    print("\n| part of a step of the loop | share, median (least – most) |\n|---|---|")
    for name in PARTS:
        shares = sorted(result[name] / result["step"] for result in found["loop"])
        print(f"| {name} | {statistics.median(shares):.1%} ({shares[0]:.1%} – {shares[-1]:.1%}) |")


def run(backend: str, folder: Path, steps: int) -> dict[str, float]:
    """One run of so many steps: CPU seconds a step and the last reward; for the loop also the seconds of each part."""
    import torch

    from toolfoundry.policies.transformers import TransformersSampler
    from toolfoundry.sandbox import process
    from toolfoundry.sandbox.process import Worker
    from toolfoundry.train.config import load_preset
    from toolfoundry.train.run import Progress, train
    from toolfoundry.train.tiny.warmstart import build_set

    torch.set_num_threads(1)
    specs = build_set(folder.parent / "envs.jsonl", ENVIRONMENTS, 77, jobs=1)
    settings = {"max_steps": steps + 2, "save_every": 10**6, "samples_per_device": 64, "schedule": "constant"}
    config = load_preset("tiny", backend=backend, **settings)
    marks: list[tuple[float, float, float]] = []
    rows: list[Mapping[str, Any]] = []
    sampling = ended = 0.0
    sample, stop = TransformersSampler.sample, Worker.stop

    def timed(self: TransformersSampler, *given: Any, **options: Any) -> Any:
        nonlocal sampling
        began = time.process_time()
        sampled = sample(self, *given, **options)
        sampling += time.process_time() - began
        return sampled

    def counted(self: Worker) -> None:
        """Adds up what a worker used before it goes: nobody waits for it, so the kernel keeps no account."""
        nonlocal ended
        if self.pidfd >= 0:
            ended += process._cpu_seconds(self.pid)
        stop(self)

    def on_step(row: Mapping[str, Any]) -> None:
        marks.append((time.process_time(), sampling, ended + cpu_of_descendants()))
        rows.append(row)

    TransformersSampler.sample, Worker.stop = timed, counted  # type: ignore[method-assign]
    train(config, specs, folder, progress=Progress(on_step=on_step))
    here, sampled, tools = ((last - first) / steps for first, last in zip(marks[1], marks[-1], strict=True))
    result = {"step": here + tools, "reward": rows[-1]["reward"]}
    if backend == "loop":
        trained = sum(row["cpu_s"]["train"] for row in rows[2:]) / steps
        rest = here - sampled - trained
        result |= dict(zip(PARTS, (sampled, trained, rest, tools), strict=True))
    return result


def cpu_of_descendants() -> float:
    """CPU seconds of the processes that this one started, and those that they started; of ended ones if waited for."""
    found: dict[int, tuple[int, float]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            found[int(path.parent.name)] = (int(fields[1]), sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK"))
    ours, total = {os.getpid()}, 0.0
    while new := {pid for pid, (parent, _) in found.items() if parent in ours and pid not in ours}:
        ours |= new
        total += sum(found[pid][1] for pid in new)
    return total


if __name__ == "__main__":
    main()
