"""toolfoundry-bench: what it is made of, that the same bytes come out, and that a change is noticed."""

import hashlib
import json
from collections import Counter

import pytest

from tiny_sets import drafts
from toolfoundry.build.authors.procedural.profile import TINY
from toolfoundry.errors import InputError
from toolfoundry.evaluate.bench import BENCHES, SHA256, VERSION, build_bench, file_name, parts, sha256_of, verify
from toolfoundry.evaluate.own import load
from toolfoundry.store import read
from toolfoundry.types import EnvSpec

KINDS = ("single_hop", "parallel_single_hop", "multi_hop", "parallel_multi_hop")
# Of the first environment of every part. When these change, the benchmark has: a new version, and new hashes.
FIRST = {
    "toolfoundry-bench": "c03490b971e1f3e6ca0be5a79427c208b897b4c3cb87135e92d17cc108edc7ce",
    "toolfoundry-bench-tiny": "0d33758d58d4c0f3b6328accad58afea5024f0a68aa079808c91aea8d51125b4",
}


def test_a_hundred_of_each_scenario():
    """400 environments, 100 for each scenario; every part has a seed of its own, and all are of the split test."""
    for name in BENCHES:
        made = parts(name)
        assert sum(part.size for part in made) == 400
        counts = Counter()
        for part in made:
            [kind] = part.recipe.profile.shares
            counts[kind] += part.size
        assert counts == dict.fromkeys(KINDS, 100)
        assert len({part.recipe.seed for part in made}) == len(made)
        assert {part.recipe.split for part in made} == {"test"}
        assert set(BENCHES[name].levels) == {part.level for part in made}
    assert {file_name(name) for name in BENCHES} <= set(SHA256)
    with pytest.raises(InputError, match="expected toolfoundry-bench"):
        parts("other")
    with pytest.raises(InputError, match="expected easy, medium, hard"):
        parts("toolfoundry-bench", "tricky")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The first environment of every part, as files by name of the benchmark."""
    folder = tmp_path_factory.mktemp("bench")
    return {name: build_bench(name, folder, each=1) for name in BENCHES}


def test_the_first_environments_are_the_same_everywhere(first):
    """Byte for byte what was published. Nothing else is left in the folder."""
    assert {name: sha256_of(file) for name, file in first.items()} == FIRST
    folder = next(iter(first.values())).parent
    assert sorted(path.name for path in folder.iterdir()) == sorted(file_name(name) for name in BENCHES)


def test_levels_are_in_the_labels_and_get_harder(first):
    """More tools and longer gold play from easy to hard; ids are those of the content."""
    specs = list(read(first["toolfoundry-bench"], EnvSpec))
    assert [spec.provenance.labels["level"] for spec in specs] == ["easy"] * 4 + ["medium"] * 4 + ["hard"] * 4
    assert [spec.scenario.kind for spec in specs] == list(KINDS) * 3
    assert all(spec.provenance.labels["benchmark"] == f"toolfoundry-bench {VERSION}" for spec in specs)
    assert all(spec.proof.version == f"toolfoundry-bench {VERSION}" for spec in specs)
    tools = [sum(len(spec.tools) for spec in specs[i : i + 4]) for i in (0, 4, 8)]
    goals = [sum(len(spec.goals) for spec in specs[i : i + 4]) for i in (0, 4, 8)]
    assert tools == sorted(tools)
    assert goals == sorted(goals)
    assert len({*tools}) == len({*goals}) == 3


def test_it_is_a_set_like_any_other(first):
    """`evaluate` takes it as an own set."""
    for name, file in first.items():
        benchmark = load(file, name=name)
        assert len(benchmark.items()) == (12 if name == "toolfoundry-bench" else 4)


def test_tiny_asks_for_relations_that_training_never_has(first):
    """With relations held out in training too, no tool of the benchmark stands in any of it."""
    profile = TINY.model_copy(update={"hold_out": ("relations",)})
    trained = {document.name for draft in drafts(150, profile=profile) for document in draft.documents}
    tested = {tool.name for spec in read(first["toolfoundry-bench-tiny"], EnvSpec) for tool in spec.tools}
    assert len(trained) > 100
    assert not trained & tested


def test_what_is_not_the_benchmark_is_noticed(first, tmp_path, run):
    """A file with a name of the benchmark and another content: exit code 1. Nothing to verify: 3."""
    copy = tmp_path / "toolfoundry-bench-tiny.jsonl"
    copy.write_bytes(first["toolfoundry-bench-tiny"].read_bytes())
    [verdict] = verify(tmp_path)
    assert not verdict.right
    assert verdict.sha256 == hashlib.sha256(copy.read_bytes()).hexdigest()
    code, out, _ = run("bench", "verify", tmp_path)
    assert code == 1
    assert "not as published" in out
    code, out, _ = run("bench", "verify", copy, "--json")
    assert code == 1
    assert json.loads(out)[0]["expected"] == SHA256[copy.name]
    assert run("bench", "verify", tmp_path / "none.jsonl")[0] == 3
    (tmp_path / "empty").mkdir()
    assert run("bench", "verify", tmp_path / "empty")[0] == 3
    code, _, err = run("bench", "build", "-o", tmp_path, "--name", "toolfoundry-bench-tiny")
    assert code == 6
    assert "--force" in err


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_tiny_is_built_as_published(tmp_path, run, jobs):
    """The one command, with one process or two: the published bytes."""
    code, out, err = run("bench", "build", "-o", tmp_path, "--name", "toolfoundry-bench-tiny", "--jobs", jobs, "--json")
    assert code == 0, err
    assert [entry["right"] for entry in json.loads(out)] == [True]
    assert run("bench", "verify", tmp_path)[0] == 0


@pytest.mark.slow
def test_the_whole_is_built_as_published_and_holds_its_levels(tmp_path):
    """Minutes: all 400, with two processes; the files of single levels are their lines."""
    whole = build_bench("toolfoundry-bench", tmp_path, jobs=2)
    [verdict] = verify(whole)
    assert verdict.right
    header, *lines = whole.read_bytes().splitlines(keepends=True)
    for level in BENCHES["toolfoundry-bench"].levels:
        chosen = [line for line in lines if json.loads(line)["provenance"]["labels"]["level"] == level]
        assert hashlib.sha256(b"".join([header, *chosen])).hexdigest() == SHA256[f"toolfoundry-bench-{level}.jsonl"]
