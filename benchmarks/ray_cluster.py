"""What Ray costs and what a dead node costs: the same build here and on a cluster of this machine's cores.

    python benchmarks/ray_cluster.py [--profile tiny] [-n 2000] [--nodes 2] [--shard-size 96] [-o ray-cluster/]

Needs the extra ray. Three builds of the same set, by the command that a user types: without Ray in as many processes as
there are nodes, on a cluster of nodes of one core each, and on such a cluster of which one node is killed after a third
of the shards. The bytes of all three are compared. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


class Run(NamedTuple):
    """own_cpu_s: of the command's process and, without Ray, of its children."""

    name: str
    seconds: float
    own_cpu_s: float
    output: Path
    shards: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="tiny", choices=["tiny", "ftrl"])
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--shard-size", type=int, default=96)
    parser.add_argument("-o", "--output", type=Path, default=Path("ray-cluster"))
    given = parser.parse_args()
    words = ["build", "--profile", given.profile, "-n", str(given.n), "--measure", "0", "--force"]
    runs = [build("without Ray", [*words, "--jobs", str(given.nodes)], given.output / "local.jsonl")]
    for name in ("all nodes live", "one node dies"):
        cluster, nodes = start(given.nodes)
        output = given.output / f"{name.split()[0]}.jsonl"
        folder = output.with_suffix(".shards")

        def die(folder: Path = folder, cluster: Any = cluster, nodes: list[Any] = nodes) -> bool:
            enough = len(list(folder.glob("*.parquet"))) * 3 * given.shard_size >= given.n
            if enough:
                cluster.remove_node(nodes[-1], allow_graceful=False)
            return enough

        ray = ["--ray", cluster.address, "--shard-size", str(given.shard_size)]
        runs.append(build(name, [*words, *ray], output, die if name == "one node dies" else None))
        cluster.shutdown()
    print(f"\n{given.n:,} `{given.profile}`, {given.nodes} nodes of one core, shards of {given.shard_size}\n")
    print("| build | seconds | CPU s of the command | shards | bytes |\n|---|---|---|---|---|")
    for run in runs:
        same = "the same" if run.output.read_bytes() == runs[0].output.read_bytes() else "DIFFERENT"
        print(f"| {run.name} | {run.seconds:.1f} | {run.own_cpu_s:.1f} | {run.shards or '–'} | {same} |")


def start(count: int) -> tuple[Any, list[Any]]:
    from ray.cluster_utils import Cluster

    small: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    nodes = [cluster.add_node(**small) for _ in range(count - 1)]
    cluster.wait_for_nodes()
    return cluster, nodes


def build(name: str, words: list[str], output: Path, meanwhile: Callable[[], bool] | None = None) -> Run:
    began = time.monotonic()
    command = [sys.executable, "-m", "toolfoundry.cli", *words, "-o", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    pid = 0
    while not pid:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if meanwhile is not None and meanwhile():
            meanwhile = None
        time.sleep(0.05)
    if status:
        raise SystemExit(f"{name}: the build ended with {os.waitstatus_to_exitcode(status)}")
    cpu = used.ru_utime + used.ru_stime
    shards = len(list(output.with_suffix(".shards").glob("*.parquet")))
    return Run(name, time.monotonic() - began, cpu, output, shards)


if __name__ == "__main__":
    main()
