"""What the rollout loop itself costs: everything but the model and the tools.

    python benchmarks/rollout.py [--environments 1000] [--turns 6] [--repeats 5]

A policy that answers at once plays environments whose tools answer at once; what is left is conversation handling,
grading, records and asyncio. CPU time of this process is measured, per turn, with and without writing the
trajectories to disk, at concurrency 1 and 1,000. Reported: median, and range over the repeats.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import orjson

from toolfoundry.answers import infer
from toolfoundry.policies.scripted import make
from toolfoundry.rollout import Job, run_rollouts
from toolfoundry.store import RecordWriter
from toolfoundry.types import (
    EnvSpec,
    Goal,
    Provenance,
    Scenario,
    Tool,
    ToolCall,
    ToolResult,
    ToolSchema,
    Trajectory,
)


class Canned:
    """Every call answers "value N" for its argument n, without a sandbox."""

    def session(self, sources, *, state=None, seed=0):  # noqa: ARG002 - the Executor protocol
        return self

    async def abatch(self, calls):
        return [ToolResult(call_id="", content=f"value {1000 + arguments['n']}") for _, arguments in calls]

    def close(self):
        pass


def chain(number: int, hops: int, tools: int = 10) -> EnvSpec:
    """A multi-hop environment of the published set's size: ten tools with seven parameters each."""
    properties = {f"parameter_{i}": {"type": "string", "description": "Some words about it. " * 3} for i in range(7)}
    made = tuple(
        Tool(
            signature=ToolSchema(
                name=f"tool_{i}",
                description="What it does. " * 8,
                parameters={"type": "object", "properties": properties},
            ),
            source="",
        )
        for i in range(tools)
    )
    goals = tuple(
        Goal(id=f"g{i}", tool=f"tool_{i}", answer=infer(str(1000 + i)), needs=(f"g{i - 1}",) if i else ())
        for i in range(hops)
    )
    gold = tuple(ToolCall(id=f"g{i}", name=f"tool_{i}", arguments=orjson.dumps({"n": i}).decode()) for i in range(hops))
    return EnvSpec.create(
        scenario=Scenario(question=f"Question {number}?", answer=infer("1234")),
        tools=made,
        goals=goals,
        gold_calls=gold,
        provenance=Provenance(source="benchmark"),
    )


def play(specs: list[EnvSpec], concurrency: int, output: Path | None) -> tuple[float, int]:
    """CPU seconds and turns of one run over all environments."""

    async def run() -> int:
        turns = 0
        writer = RecordWriter(output, Trajectory, "overwrite") if output else None
        rollouts = run_rollouts(
            (Job(spec) for spec in specs), lambda spec, _: make("gold", spec), Canned(), concurrency=concurrency
        )
        async for trajectory in rollouts:
            assert trajectory.stop == "answered", trajectory.error
            turns += len(trajectory.turns)
            if writer:
                writer.write(trajectory)
        if writer:
            writer.close()
        return turns

    started = time.process_time()
    turns = asyncio.run(run())
    return time.process_time() - started, turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    specs = [chain(number, options.turns - 1) for number in range(options.environments)]
    print(f"{options.environments} environments, {options.turns} turns each, Python {sys.version.split()[0]}")
    print("| concurrency | trajectories written | ms a turn, median | range |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for concurrency in (1, 1000):
            for output in (None, Path(folder) / "trajectories.jsonl"):
                costs = []
                for _ in range(options.repeats):
                    seconds, turns = play(specs, concurrency, output)
                    costs.append(1e3 * seconds / turns)
                median = statistics.median(costs)
                written = "yes" if output else "no"
                print(f"| {concurrency} | {written} | {median:.3f} | {min(costs):.3f}–{max(costs):.3f} |", flush=True)


if __name__ == "__main__":
    main()
