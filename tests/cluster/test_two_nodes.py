"""Two nodes on loopback: the local run's bytes, also when a node or the command is killed in the middle."""

from __future__ import annotations

import importlib.util
import signal
import sys
import time
from pathlib import Path

import orjson
import pytest

from cluster import odd_work
from toolfoundry.cluster.shards import ShardFolder, hash_of, ranges
from toolfoundry.errors import FoundryError, InputError, SandboxUnavailable

if importlib.util.find_spec("ray") is None:
    pytest.skip("needs the extra ray: make test-ray", allow_module_level=True)

from toolfoundry.cluster.on_ray import connected, do_shards

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
BUILD = ["build", "--profile", "tiny", "--seed", "21", "-n", "480", "--measure", "0", "--json"]


def wait_for(condition, process, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def nodes_of(folder: Path) -> list[str]:
    """For each shard the node that did it."""
    import pyarrow.parquet

    abouts = [pyarrow.parquet.read_schema(file).metadata[b"toolfoundry"] for file in files_in(folder)]
    return [orjson.loads(about)["node"].rstrip(")").split(", ")[-1] for about in abouts]


def places_in(folder: Path) -> list[int]:
    import pyarrow.parquet

    return [place for file in files_in(folder) for place in pyarrow.parquet.read_table(file)["place"].to_pylist()]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A build without Ray."""
    from typer.testing import CliRunner

    from toolfoundry.cli.main import app

    output = tmp_path_factory.mktemp("local") / "envs.jsonl"
    assert CliRunner().invoke(app, [*BUILD, "--jobs", "1", "-o", str(output)]).exit_code == 0
    return output


def assert_same_build(output: Path, local: Path) -> None:
    """Environments and rejects are the local bytes; every item was done in exactly one shard; nothing is left over."""
    assert output.read_bytes() == local.read_bytes()
    rejects = "envs.rejects.jsonl"
    assert output.with_name(rejects).read_bytes() == local.with_name(rejects).read_bytes()
    folder = output.with_name("envs.shards")
    places = places_in(folder)
    assert places == list(range(len(places)))
    assert len(places) >= 480
    manifest = orjson.loads((folder / "manifest.json").read_bytes())
    assert manifest["finished"]
    assert {entry["file"] for entry in manifest["shards"]} <= {file.name for file in files_in(folder)}
    assert not [*folder.glob(".*.unfinished"), *folder.glob(".*.begun")]


def test_a_node_is_killed_in_the_middle(nodes, toolfoundry, local, tmp_path):
    """Both nodes work; one is killed; the other does the rest, and the set is that of the local run."""
    second = nodes.second()
    output, folder = tmp_path / "envs.jsonl", tmp_path / "envs.shards"
    process = toolfoundry.start(*BUILD, "--ray", nodes.address, "--shard-size", 24, "-o", output)
    wait_for(lambda: second in nodes_of(folder) and nodes.head in nodes_of(folder), process)
    before = len(files_in(folder))
    nodes.kill_second()
    code, out, err = toolfoundry.finish(process)
    assert code == 0, err
    assert orjson.loads(out)["yields"]["accepted"] == 480
    assert before < len(files_in(folder))
    assert_same_build(output, local)


def test_the_command_is_killed_and_goes_on(nodes, toolfoundry, local, tmp_path):
    """After kill -9, `--resume` does what is missing and leaves finished shards alone; without Ray it goes on too."""
    nodes.second()
    output, folder = tmp_path / "envs.jsonl", tmp_path / "envs.shards"
    words = [*BUILD, "--ray", nodes.address, "--shard-size", 24, "-o", output]
    process = toolfoundry.start(*words)
    wait_for(lambda: len(files_in(folder)) >= 3, process)
    process.send_signal(signal.SIGKILL)
    toolfoundry.finish(process)
    time.sleep(1)  # until Ray has ended what that command had begun
    there = {file.name: file.stat().st_ino for file in files_in(folder)}
    assert 3 <= len(there) < 20
    code, _, err = toolfoundry.finish(toolfoundry.start(*words))
    assert (code, "--resume" in err) == (6, True)
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("envs.jsonl", "envs.rejects.jsonl", "envs.run.json"):
        (alone / name).write_bytes((tmp_path / name).read_bytes())
    toolfoundry(*BUILD, "--jobs", 1, "-o", alone / "envs.jsonl", "--resume")
    assert (alone / "envs.jsonl").read_bytes() == local.read_bytes()
    toolfoundry(*words, "--resume")
    assert there.items() <= {file.name: file.stat().st_ino for file in files_in(folder)}.items()
    assert_same_build(output, local)


def test_check_rollout_and_score(nodes, toolfoundry, envs, tmp_path):
    """The same report, trajectories and scores as without Ray; a finished shard is not done again."""
    nodes.second()
    ray = ["--ray", nodes.address, "--shard-size", 3]
    assert toolfoundry("check", envs, "--json", *ray) == toolfoundry("check", envs, "--json")
    folder = envs.with_name("envs.check.shards")
    there = {file: file.stat().st_ino for file in files_in(folder)}
    toolfoundry("check", envs, *ray)
    assert {file: file.stat().st_ino for file in files_in(folder)} == there
    one, other = tmp_path / "local.jsonl", tmp_path / "nodes.jsonl"
    play = ["rollout", envs, "--policy", "random", "--samples", 2, "--seed", 5, "--json", "-o"]
    assert toolfoundry(*play, other, *ray) == toolfoundry(*play, one)
    assert sorted(other.read_bytes().splitlines()) == sorted(one.read_bytes().splitlines())
    score = ["score", other, "--reward", "ftrl", "--json"]
    assert toolfoundry(*score, *ray) == toolfoundry(*score)


@pytest.fixture
def odd(nodes, tmp_path):
    """Does odd work on the cluster, in this process."""
    import ray.cloudpickle

    ray.cloudpickle.register_pickle_by_value(sys.modules[odd_work.__name__])
    nodes.second()

    def run(how: str) -> list[int]:
        work = odd_work.OddWork(how)
        folder = ShardFolder(tmp_path / how, hash_of(work.about()))
        folder.begin("new", {"size": 1})
        with connected(nodes.address) as cores:
            assert cores == 2
            return [row.place for done in do_shards(work, folder, ranges(0, 5, 1)) for row in done.rows]

    return run


def test_what_goes_wrong_on_a_node_is_said_with_its_name(odd):
    """A node without a sandbox ends the run as a machine without one does; a bug of ours names itself."""
    assert odd("well") == [0, 1, 2, 3, 4]
    with pytest.raises(SandboxUnavailable, match=r"^node \S+ \(.*\): the kernel has no seccomp$"):
        odd("no sandbox")
    with pytest.raises(FoundryError, match=r"^node .*: ZeroDivisionError: found nothing to divide by$"):
        odd("a bug")


def test_a_shard_that_always_kills_its_process_is_given_up(odd):
    """It is not tried for ever, and the message says which items."""
    with pytest.raises(FoundryError, match=r"items from 2 died 6 times"):
        odd("dies")


def test_where_there_is_no_cluster(toolfoundry, envs, monkeypatch):
    """An address without a cluster, given or noted by Ray, is one line, and exit code 3."""
    code, _, err = toolfoundry.finish(toolfoundry.start("check", envs, "--ray", "127.0.0.1:1"))
    assert code == 3, err
    assert "found no cluster there" in err
    with pytest.raises(InputError, match="found no cluster there"), connected("127.0.0.1:1"):
        pass
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:2")
    with pytest.raises(InputError, match=r"127\.0\.0\.1:2: found no cluster there"), connected("auto"):
        pass
