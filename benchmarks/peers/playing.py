"""What the players of all peers share: their options, and the line in which each reports.

A player is run by measure.py in the virtual environment of its framework. What it does before `begin` (imports, the
start of the framework) is not measured.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path


class Play(argparse.Namespace):
    """Options. envs: the file of environments. url: of the model server. samples: rollouts of each environment."""

    envs: Path
    url: str
    samples: int
    concurrency: int


def options() -> Play:
    parser = argparse.ArgumentParser()
    parser.add_argument("--envs", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    return parser.parse_args(namespace=Play())


class Clock:
    """`begin = Clock()`, then `begin.report(...)` prints the line. CPU time until the end is known to measure.py."""

    def __init__(self) -> None:
        used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
        self._before_s = sum(usage.ru_utime + usage.ru_stime for usage in used)
        self._started = time.perf_counter()

    def report(self, version: str, rewards: list[float], note: str = "") -> None:
        seconds = time.perf_counter() - self._started
        line = {
            "version": version,
            "rollouts": len(rewards),
            "seconds": seconds,
            "cpu_before_s": self._before_s,
            "reward": sum(rewards) / len(rewards),
            "note": note,
        }
        print("REPORT " + json.dumps(line), flush=True)
