"""The folder of shards: whole or not there, once, and only of one run. Needs pyarrow, not Ray."""

from __future__ import annotations

import asyncio
import pickle
from array import array
from pathlib import Path

import orjson
import pytest
import typer

from toolfoundry.build.authors.procedural.profile import PROFILES
from toolfoundry.build.ledger import Ledger
from toolfoundry.build.pipeline import Recipe, build_on_cores
from toolfoundry.check import Assembly, check
from toolfoundry.cli.main import app
from toolfoundry.cli.ray import place_of
from toolfoundry.cluster.commands import Place, _begin, places_of
from toolfoundry.cluster.shards import Finished, Row, Shard, ShardFolder, hash_of, ranges
from toolfoundry.cluster.work import (
    AuditWork,
    BuildWork,
    PlayWork,
    ScoreWork,
    Work,
    audit_in,
    built_in,
    input_of,
    outcome_in,
)
from toolfoundry.errors import InputError, OutputError
from toolfoundry.metrics import summarise, summarise_outcomes, turn_rewards
from toolfoundry.policies.players import ModelOptions
from toolfoundry.policies.scripted import make
from toolfoundry.rollout import Job, run_rollouts
from toolfoundry.seeds import derive_seed
from toolfoundry.store import RecordWriter, dump, load_record, read
from toolfoundry.types import EnvSpec, Limits, Trajectory

pytest.importorskip("pyarrow", reason="needs the extra ray")

ROWS = [Row(0, "environment", "a", b'{"x":"\xc3\xbc"}', (b"\x00k", b"l")), Row(1, "reject", "", b"{}")]


def folder(path: Path, **about: int) -> ShardFolder:
    found = ShardFolder(path, hash_of(dict(about)))
    found.begin("resume", {**about, "size": 2})
    return found


def test_a_shard_is_read_as_it_was_written_and_stands_in_the_manifest(tmp_path):
    """Rows, seconds and node come back; the manifest has file, range, rows and hash of what was taken."""
    shards = folder(tmp_path / "s", seed=1)
    done = Finished(Shard(0, 2), ROWS, {"gate": 0.5}, "here")
    assert not shards.finished(done.shard)
    shards.write(done)
    assert shards.finished(done.shard)
    assert shards.read(done.shard) == done
    shards.describe(finished=True, accepted=1)
    manifest = orjson.loads((tmp_path / "s" / "manifest.json").read_bytes())
    assert (manifest["finished"], manifest["counts"], manifest["run"]["seed"]) == (True, {"accepted": 1}, 1)
    [entry] = manifest["shards"]
    assert (entry["file"], entry["first"], entry["items"], entry["rows"]) == (shards.file(done.shard).name, 0, 2, 2)


def test_the_first_of_two_stays_and_nothing_is_left_behind(tmp_path):
    """A shard that two nodes do is that of the first; one that is done again on purpose is replaced."""
    shards = folder(tmp_path / "s")
    shards.write(Finished(Shard(0, 2), ROWS, {}, "first"))
    shards.write(Finished(Shard(0, 2), ROWS[:1], {}, "second"))
    assert shards.read(Shard(0, 2)).node == "first"
    shards.write(Finished(Shard(0, 2), ROWS[:1], {}, "third"), replace=True)
    assert shards.read(Shard(0, 2)).node == "third"
    assert len(list((tmp_path / "s").glob("*.parquet"))) == 1
    assert not list((tmp_path / "s").glob(".*.unfinished"))


def test_attempts_that_did_not_end_are_counted(tmp_path):
    """Each attempt knows how many before it were begun and not finished; a finished shard has none."""
    shards = folder(tmp_path / "s")
    assert [shards.attempt(Shard(0, 2)) for _ in range(3)] == [0, 1, 2]
    assert shards.attempt(Shard(2, 2)) == 0
    shards.write(Finished(Shard(0, 2), ROWS, {}, "here"))
    assert shards.attempt(Shard(0, 2)) == 0


def test_damage_and_other_runs_are_named(tmp_path):
    """A damaged file, a folder that a node does not see, and a new run where there are shards."""
    shards = folder(tmp_path / "s")
    shards.write(Finished(Shard(0, 2), ROWS, {}, "here"))
    shards.file(Shard(0, 2)).write_bytes(shards.file(Shard(0, 2)).read_bytes()[:-9])
    with pytest.raises(InputError, match=r"damaged .* --resume"):
        shards.read(Shard(0, 2))
    with pytest.raises(InputError, match="every node sees"):
        ShardFolder(tmp_path / "s", hash_of({"seed": 2})).require()
    with pytest.raises(OutputError, match="--force"):
        shards.begin("new", {})
    shards.begin("overwrite", {"size": 2})
    assert not shards.finished(Shard(0, 2))


def test_only_shards_are_removed(tmp_path):
    """A folder in which something else lies loses nothing of it, whatever is begun there."""
    place = tmp_path / "s"
    shards = folder(place)
    shards.write(Finished(Shard(0, 2), ROWS, {}, "here"))
    for name in ("train.parquet", "part-0.parquet", "0-1.parquet"):
        (place / name).write_bytes(b"mine")
    shards.begin("overwrite", {"size": 2})
    assert sorted(file.name for file in place.glob("*.parquet")) == ["0-1.parquet", "part-0.parquet", "train.parquet"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "manifest.json").write_text('{"name": "mine"}')
    with pytest.raises(OutputError, match=r"manifest\.json is not of shards"):
        folder(other)
    assert (other / "manifest.json").read_text() == '{"name": "mine"}'


@pytest.mark.parametrize("mode", [None, "resume", "overwrite"])
def test_shards_of_another_command_are_kept(tmp_path, mode):
    """An audit that is given the folder of a build does not replace it."""
    built = BuildWork(Recipe(profile=PROFILES["tiny"], seed=1))
    place = Place("local", tmp_path / "s", 2)
    begun, _ = _begin(built, place, "new", items=2, cores=1, most=2)
    begun.write(Finished(Shard(0, 2), ROWS, {}, "here"))
    begun.describe(finished=True)
    (tmp_path / "envs.jsonl").touch()
    with pytest.raises(InputError, match="has shards of build, expected those of check"):
        _begin(AuditWork(input_of(tmp_path / "envs.jsonl"), True), place, mode, items=2, cores=1, most=2)
    assert begun.finished(Shard(0, 2))


def test_one_command_at_a_time(tmp_path):
    """A second command on the same shards is refused while the first one works; what goes to the nodes has no lock."""
    first = folder(tmp_path / "s")
    other = ShardFolder(tmp_path / "s", first.content)
    with pytest.raises(OutputError, match="another command"):
        other.begin("resume", {})
    sent = pickle.loads(pickle.dumps(first))
    assert (sent.path, sent.content, sent.version) == (first.path, first.content, first.version)
    first.describe(finished=True)
    other.begin("resume", {})
    other.describe(finished=True)


def test_ranges_cover_the_items_and_stay_where_they_are():
    """Every item is in one shard; a run that goes on begins with the shard that holds its first item."""
    assert list(ranges(0, 10, 4)) == [Shard(0, 4), Shard(4, 4), Shard(8, 2)]
    assert list(ranges(5, 12, 4)) == [Shard(4, 4), Shard(8, 4)]
    assert list(ranges(0, 0, 4)) == []


def rows_of(work: Work, items: int, size: int) -> list[Row]:
    """What the nodes would do, here."""
    with work.open() as do:
        return [row for shard in ranges(0, items, size) for row in do(shard, {})[0]]


def test_building_in_shards_is_building(tmp_path):
    """The outcomes of shards of any size, taken by the ledger, are the bytes of the local build."""
    recipe = Recipe(profile=PROFILES["tiny"], seed=11)
    with Ledger(tmp_path / "local.jsonl", "new") as ledger:
        build_on_cores(recipe, recipe.briefs(), ledger, count=30, jobs=1)
    shards = folder(tmp_path / "s")
    with BuildWork(recipe).open() as do, Ledger(tmp_path / "shards.jsonl", "new") as ledger:
        for shard in ranges(0, 40, 20):
            rows, seconds = do(shard, {})
            shards.write(Finished(shard, rows, seconds, "here"))
            for packed in built_in(shards.read(shard), recipe, recipe.author().name, 0).packed:
                if ledger.accepted < 30:
                    ledger.take(packed)
    assert (tmp_path / "shards.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()


def test_checking_in_shards_is_checking(envs, sandbox):
    """The report out of rows is the report of the local audit."""
    specs = list(read(envs, EnvSpec))[:4]
    with RecordWriter(envs, EnvSpec, "overwrite") as writer:
        for spec in specs:
            writer.write(spec)
    assembly = Assembly()
    for row in rows_of(AuditWork(input_of(envs), panel=True), len(specs), 3):
        assembly.enter(specs[row.place], audit_in(row))
    assert assembly.report() == check(specs, sandbox)


def play_work(envs: Path, **changes: object) -> PlayWork:
    count, places, _ = places_of(envs, None)
    work = PlayWork(
        input_of(envs), count, places, 2, "random", "random", ModelOptions(), 3, Limits(), "frontier", concurrency=4
    )
    return work._replace(**changes)


def test_playing_and_scoring_in_shards_are_playing_and_scoring(tmp_path, envs, sandbox):
    """The same trajectories, in the order of the set, and the same scores of them."""
    specs = list(read(envs, EnvSpec))

    async def play() -> list[Trajectory]:
        jobs = [Job(spec, sample) for sample in range(2) for spec in specs]
        maker = lambda spec, sample: make("random", spec, derive_seed(3, sample))  # noqa: E731
        found = {t.key: t async for t in run_rollouts(jobs, maker, sandbox, name="random")}
        return [found[job.key("random")] for job in jobs]

    expected = asyncio.run(play())
    rows = rows_of(play_work(envs), 2 * len(specs), 5)
    assert [row.line for row in rows] == [dump(trajectory) for trajectory in expected]
    path = tmp_path / "t.jsonl"
    with RecordWriter(path, Trajectory) as writer:
        for trajectory in expected:
            writer.write(trajectory)
    found = [outcome_in(row) for row in rows_of(ScoreWork(input_of(path), "ftrl"), len(expected), 7)]
    assert summarise_outcomes(outcome for outcome, _ in found) == summarise(expected)
    rewards = [reward for _, rewards in found for reward in rewards or ()]
    assert turn_rewards(expected, "ftrl")["random"].mean == pytest.approx(sum(rewards) / len(rewards))


def test_what_did_not_fail_is_not_played_again(envs):
    """Of an earlier shard the trajectories stay, and only what failed is played."""
    work = play_work(envs)
    first = rows_of(work, 4, 4)
    known = {0: first[0]._replace(line=b"kept"), 1: first[1]._replace(kind="failed", line=b"not kept")}
    with work.open() as do:
        again, _ = do(Shard(0, 4), known)
    assert [row.line for row in again] == [b"kept", *(row.line for row in first[1:])]


def test_bad_lines_and_repeated_environments(envs):
    """A bad line is a row that names it; an environment that stands twice in the file plays once."""
    lines = envs.read_bytes().splitlines(keepends=True)
    envs.write_bytes(b"".join([*lines[:3], lines[1], b'{"id": 5}\n', lines[3]]))
    count, places, left_out = places_of(envs, None)
    assert (count, array("Q", places or b"").tolist(), left_out) == (4, [0, 1, 3, 4], 1)
    assert places_of(envs, 2) == (2, None, 0)
    rows = rows_of(play_work(envs, samples=1), 4, 4)
    assert [row.kind for row in rows] == ["trajectory", "trajectory", "bad", "trajectory"]
    assert f"{envs}:5: " in rows[2].line.decode()
    assert load_record(Trajectory, rows[3].line).task.spec_id == orjson.loads(lines[3])["id"]


def test_a_node_that_sees_another_file_says_so(tmp_path, envs):
    """The size of the input is compared; a file that is not there is named."""
    known = input_of(envs)
    with envs.open("ab") as file:
        file.write(b"\n")
    with pytest.raises(InputError, match="the same on every node"):
        known.open(EnvSpec)
    envs.unlink()
    with pytest.raises(InputError, match="expected on every node"):
        known.open(EnvSpec)


def test_a_node_that_sees_another_file_of_that_size_says_so(tmp_path):
    """Not only the size is compared: a byte that differs, wherever it is in a small file, is found."""
    path = tmp_path / "envs.jsonl"
    path.write_bytes(b"a" * 100_000)
    known = input_of(path)
    path.write_bytes(b"a" * 60_000 + b"b" + b"a" * 39_999)
    with pytest.raises(InputError, match="other content here, expected the same on every node"):
        known.open(EnvSpec)


def test_what_does_not_decide_the_content_is_not_in_its_hash(envs):
    """Another address or patience goes on with the same shards; another seed does not."""
    work = play_work(envs)
    same = work._replace(options=ModelOptions(base_url="http://127.0.0.1:1", timeout_s=1, retries=0), concurrency=9)
    assert hash_of(work.about()) == hash_of(same.about())
    assert hash_of(work.about()) != hash_of(work._replace(seed=4).about())


def test_the_option_may_stand_alone(tmp_path, monkeypatch):
    """`--ray` without an address is `auto`; what follows it is not taken for one unless it looks like one."""
    command = typer.main.get_command(app).commands["check"]  # type: ignore[attr-defined]
    for words, address in [
        (["--ray", "e.jsonl"], "auto"),
        (["e.jsonl", "--ray"], "auto"),
        (["--ray", "10.0.0.1:6379", "e.jsonl"], "10.0.0.1:6379"),
        (["--ray=local", "e.jsonl"], "local"),
        (["e.jsonl"], None),
    ]:
        context = command.make_context("check", list(words))
        assert (context.params["ray"], str(context.params["envs"])) == (address, "e.jsonl")
    assert place_of(None, None, None, Path("a.jsonl")) is None
    assert place_of("auto", None, None, Path("d/a.jsonl.zst")) == ("auto", Path("d/a.shards"), None)
    with pytest.raises(typer.BadParameter, match="need --ray"):
        place_of(None, None, 5, Path("a.jsonl"))


def test_options_that_do_not_go_together(run, tmp_path, envs):
    """Options of local builds, the model's author, and checkpoints are refused before anything is written."""
    output = tmp_path / "o.jsonl"
    assert "--ray has no use for --jobs" in run("build", "--ray", "--jobs", "2", "-o", output)[2]
    assert "--author llm has no use for --ray" in run("build", "--author", "llm", "--ray", "-o", output)[2]
    code, _, err = run("rollout", envs, "--ray", "--policy", "transformers", "--model", "tiny", "-o", output)
    assert (code, "vllm serve" in err) == (3, True)
    assert not output.exists()


def test_without_ray_the_line_to_type_is_said(run, tmp_path, envs):
    """Where Ray is not installed `--ray` names the extra and leaves the output as it was."""
    try:
        import ray  # noqa: F401
    except ImportError:
        code, _, err = run("check", envs, "--ray")
        assert (code, "pip install 'toolfoundry[ray]'" in err) == (2, True)
    else:
        pytest.skip("Ray is installed here")
