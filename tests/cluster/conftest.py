"""A cluster of two nodes on this machine, where Ray is installed: `make test-ray`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from toolfoundry.demo import environments
from toolfoundry.store import RecordWriter
from toolfoundry.types import EnvSpec

SMALL: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}


class TwoNodes:
    """The head, and a second node that can be killed and started again."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args=SMALL)
        self.address: str = self._cluster.address
        self.head: str = self._cluster.head_node.node_id[:8]
        self._second: Any = None

    def second(self) -> str:
        """The id of the second node, which is started if there is none."""
        if self._second is None:
            self._second = self._cluster.add_node(**SMALL)
            self._cluster.wait_for_nodes()
        return self._second.node_id[:8]

    def kill_second(self) -> None:
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = None

    def shutdown(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="session")
def nodes():
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs the extra ray: make test-ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    found = TwoNodes()
    yield found
    found.shutdown()


@pytest.fixture
def envs(tmp_path) -> Path:
    """The environments of the package as a file."""
    path = tmp_path / "envs.jsonl"
    with RecordWriter(path, EnvSpec) as writer:
        for spec in environments():
            writer.write(spec)
    return path


class Commands:
    """`toolfoundry` in processes of their own."""

    def start(self, *words: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "toolfoundry.cli", *map(str, words)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        out, err = process.communicate(timeout=240)
        return process.returncode, out, err

    def __call__(self, *words: object) -> str:
        """Standard output of a command that succeeds, and says nothing about Ray."""
        code, out, err = self.finish(self.start(*words))
        assert code == 0, err
        assert "ray" not in err.lower(), err
        return out


@pytest.fixture
def toolfoundry() -> Commands:
    return Commands()
