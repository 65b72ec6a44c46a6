"""What an evaluation costs beside the model and the tools, and how long 1,000 own-test items take.

    python benchmarks/evaluation.py runner [--items 1000] [--turns 6] [--repeats 5]
    python benchmarks/evaluation.py whole ENVS [--repeat 3]

`runner` plays with a policy and tools that answer at once: what is left is the conversation, grading by both rules, the
record of each attempt and its way to the disk, and, last, the tables, which are made from what was written. CPU time
of this process, per turn. `whole` is `toolfoundry evaluate gold --benchmark own=ENVS` as a user runs it, tools in the
sandbox: wall-clock time, CPU time of the command and of the tools' processes. On a busy machine only the latter count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rollout import Canned, chain
from toolfoundry.evaluate.attempts import Attempt
from toolfoundry.evaluate.own import Own, load
from toolfoundry.evaluate.results import summarise_rules
from toolfoundry.evaluate.runner import run_benchmark
from toolfoundry.policies.players import choose
from toolfoundry.store import RecordWriter, read
from toolfoundry.types import EnvSpec


def play(benchmark: Own, concurrency: int, output: Path) -> tuple[float, int]:
    """CPU seconds and turns of all attempts, written."""

    async def run() -> int:
        turns = 0
        items = benchmark.items()
        with RecordWriter(output, Attempt, "overwrite") as writer:
            async for attempt in run_benchmark(
                benchmark, choose("gold"), Canned(), items=items, concurrency=concurrency
            ):
                assert attempt.trajectory.stop == "answered", attempt.trajectory.error
                turns += len(attempt.trajectory.turns)
                writer.write(attempt)
        return turns

    started = time.process_time()
    turns = asyncio.run(run())
    return time.process_time() - started, turns


def tables(benchmark: Own, attempts: Path) -> float:
    """CPU seconds for reading all attempts and making the tables."""
    started = time.process_time()
    found = summarise_rules(benchmark.about, read(attempts, Attempt))
    assert found["fixed"].overall.metrics["solve_r"].mean == 1.0
    return time.process_time() - started


def runner(options: argparse.Namespace) -> None:
    print(f"{options.items} items, {options.turns} turns each, Python {sys.version.split()[0]}, {load_average()}")
    print("| | ms a turn, median | range |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        envs, attempts = Path(folder) / "envs.jsonl", Path(folder) / "attempts.jsonl"
        with RecordWriter(envs, EnvSpec) as writer:
            for number in range(options.items):
                writer.write(chain(number, options.turns - 1))
        benchmark = load(envs)
        costs: dict[str, list[float]] = {}
        for _ in range(options.repeats):
            for concurrency in (1, 64):
                seconds, turns = play(benchmark, concurrency, attempts)
                costs.setdefault(f"playing, concurrency {concurrency}", []).append(1e3 * seconds / turns)
            costs.setdefault("tables", []).append(1e3 * tables(benchmark, attempts) / turns)
    for name, found in costs.items():
        print(f"| {name} | {statistics.median(found):.3f} | {min(found):.3f} – {max(found):.3f} |")


def whole(options: argparse.Namespace) -> None:
    print(f"{options.envs}, {os.cpu_count()} cores, Python {sys.version.split()[0]}, {load_average()}")
    print("| run | wall | CPU of the command | CPU of the tools' processes |\n|---|---|---|---|")
    for repeat in range(options.repeat):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "once", options.envs, folder]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = json.loads(output.splitlines()[-1])
        print(
            f"| {repeat + 1} | {found['wall']:.1f} s | {found['command']:.1f} s | {found['tools']:.1f} s |", flush=True
        )


def once(options: argparse.Namespace) -> None:
    """One evaluation in this process, from the imports on; prints what it took as JSON."""
    from toolfoundry.cli.main import app
    from toolfoundry.sandbox import process
    from toolfoundry.sandbox.process import Worker

    ended, stop = 0.0, Worker.stop

    def counted(self: Worker) -> None:
        """Adds up what a worker used before it goes: nobody waits for it, so the kernel keeps no account."""
        nonlocal ended
        if self.pidfd >= 0:
            ended += process._cpu_seconds(self.pid)
        stop(self)

    Worker.stop = counted  # type: ignore[method-assign]
    started = time.monotonic() - time.process_time()  # the imports before this line, too
    app(
        ["evaluate", "gold", "--benchmark", f"own={options.envs}", "-o", f"{options.folder}/run"], standalone_mode=False
    )
    zygote = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = {"command": time.process_time(), "tools": ended + zygote.ru_utime + zygote.ru_stime}
    print(json.dumps({"wall": time.monotonic() - started, **used}))


def load_average() -> str:
    return f"load average {os.getloadavg()[0]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("runner")
    one.add_argument("--items", type=int, default=1000)
    one.add_argument("--turns", type=int, default=6)
    one.add_argument("--repeats", type=int, default=5)
    one.set_defaults(function=runner)
    other = commands.add_parser("whole")
    other.add_argument("envs")
    other.add_argument("--repeat", type=int, default=3)
    other.set_defaults(function=whole)
    inner = commands.add_parser("once")
    inner.add_argument("envs")
    inner.add_argument("folder")
    inner.set_defaults(function=once)
    options = parser.parse_args()
    options.function(options)


if __name__ == "__main__":
    main()
