"""What a step of reinforcement learning costs: our loop against TRL, and where its time goes.

    python benchmarks/training.py [--steps 10] [--repeat 3]

Both train the packaged tiny policy on the same environments with the same configuration (preset `tiny`, GRPO, 16
prompts of 8 responses a step), in turns, each in a fresh process, on one thread. CPU seconds of the process, tools'
processes left out; the first two steps of a run are not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENVIRONMENTS = 200


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
    shares = {name: value for name, value in found["loop"][0].items() if name not in ("step", "reward")}
    whole = sum(shares.values())
    print("loop, shares of a step: " + ", ".join(f"{name} {value / whole:.1%}" for name, value in shares.items()))


def run(backend: str, folder: Path, steps: int) -> dict[str, float]:
    """One run of so many steps: CPU seconds a step, the last reward, and (loop) the seconds of each part."""
    import torch

    from toolfoundry.train.config import load_preset
    from toolfoundry.train.run import Progress, train
    from toolfoundry.train.tiny.warmstart import build_set

    torch.set_num_threads(1)
    specs = build_set(folder.parent / "envs.jsonl", ENVIRONMENTS, 77, jobs=1)
    settings = {"max_steps": steps + 2, "save_every": 10**6, "samples_per_device": 64, "schedule": "constant"}
    config = load_preset("tiny", backend=backend, **settings)
    marks: list[float] = []
    rows: list[dict[str, object]] = []

    def on_step(row: dict[str, object]) -> None:
        marks.append(time.process_time())
        rows.append(row)

    train(config, specs, folder, progress=Progress(on_step=on_step))
    result = {"step": (marks[-1] - marks[1]) / (len(marks) - 2), "reward": float(str(rows[-1]["reward"]))}
    for row in rows[2:]:
        for name, seconds in dict(row.get("cpu_s") or {}).items():  # type: ignore[call-overload]
            result[name] = result.get(name, 0.0) + seconds
    return result


if __name__ == "__main__":
    main()
