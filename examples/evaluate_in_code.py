"""Plays a set as a benchmark with a scripted player, two samples an item: python examples/evaluate_in_code.py ENVS"""

import asyncio
import sys
from pathlib import Path
from statistics import mean

from toolfoundry.evaluate.own import load
from toolfoundry.evaluate.runner import run_benchmark
from toolfoundry.policies.players import Player
from toolfoundry.policies.scripted import make
from toolfoundry.sandbox import Sandbox


async def main(path: Path) -> float:
    benchmark = load(path)
    player = Player("one-hop", lambda _, spec, sample: make("one-hop", spec, sample), {}, dict)
    with Sandbox() as sandbox:
        attempts = [
            attempt async for attempt in run_benchmark(benchmark, player, sandbox, items=benchmark.items(), samples=2)
        ]
    scored = [attempt.scores["fixed"]["solve_f1"] for attempt in attempts if attempt.scores]  # empty: unscored
    return mean(scored)


if __name__ == "__main__":
    print(f"strict Solve-F1 {asyncio.run(main(Path(sys.argv[1]))):.3f}")
