"""Random access: `open_set` gives what `read` gives, record by record, from plain and compressed files."""

from __future__ import annotations

import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from toolfoundry.cli.main import app
from toolfoundry.errors import InputError, OutputError, RecordError, VersionError
from toolfoundry.sets import RECORDS_PER_FRAME, open_set, pack
from toolfoundry.store import RecordWriter, read
from toolfoundry.types import Answer, EnvSpec, Goal, Provenance, Scenario, Tool, ToolSchema, Trajectory

SIZES = [0, 1, RECORDS_PER_FRAME - 1, RECORDS_PER_FRAME, RECORDS_PER_FRAME + 1, 100]


def spec(number: int) -> EnvSpec:
    tool = Tool(signature=ToolSchema(name="f", description="", parameters={"type": "object"}), source="")
    return EnvSpec.create(
        scenario=Scenario(question=f"Question {number}?\u2028\x85", answer=None),
        tools=(tool,),
        goals=(Goal(id="g", tool="f", answer=Answer(type="number", value=number)),),
        provenance=Provenance(source="test"),
    )


def written(path: Path, count: int) -> Path:
    with RecordWriter(path, EnvSpec) as writer:
        for number in range(count):
            writer.write(spec(number))
    return path


def packed(path: Path, count: int) -> Path:
    assert pack(written(path / "source.jsonl", count), path / "packed.jsonl.zst", EnvSpec) == count
    return path / "packed.jsonl.zst"


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("form", ["plain", "as a build compresses", "packed"])
def test_a_place_is_what_a_reader_meets_there(tmp_path, form, count):
    """Length, every place from both ends, slices and order are those of `read`, in all three forms."""
    name = "envs.jsonl" if form == "plain" else "envs.jsonl.zst"
    path = packed(tmp_path, count) if form == "packed" else written(tmp_path / name, count)
    expected = list(read(path, EnvSpec))
    assert expected == [spec(number) for number in range(count)]
    with open_set(path, EnvSpec) as records:
        assert len(records) == count
        places = list(range(count))
        random.Random(7).shuffle(places)
        assert [records[place] for place in places] == [expected[place] for place in places]
        assert [records[place - count] for place in places] == [expected[place] for place in places]
        assert records[3:60:7] == expected[3:60:7]
        assert list(records) == expected
        with pytest.raises(IndexError, match=f"found place {count}"):
            records[count]


def test_packing_keeps_the_bytes_of_the_lines(tmp_path):
    """A packed file decompresses to the file it was made of, and is smaller than frames of one record."""
    zstandard = pytest.importorskip("zstandard", reason="needs the extra zst")
    target = packed(tmp_path, 100)
    source = tmp_path / "source.jsonl"
    with target.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        assert stream.read() == source.read_bytes()
    alone = written(tmp_path / "alone.jsonl.zst", 100)
    assert target.stat().st_size < alone.stat().st_size / 2


def test_a_set_goes_to_other_threads_and_processes(tmp_path):
    """One set serves several threads; pickled, it is opened anew."""
    path = packed(tmp_path, 100)
    with open_set(path, EnvSpec) as records, ThreadPoolExecutor(8) as threads:
        places = [number * 37 % 100 for number in range(400)]
        assert list(threads.map(lambda place: records[place], places)) == [spec(place) for place in places]
        with pickle.loads(pickle.dumps(records)) as again:
            assert again[99] == records[99]


def test_a_bad_record_is_named_when_it_is_asked_for(tmp_path):
    """File, line and field of a bad record are said; its neighbours can be read. Empty lines count as lines."""
    path = written(tmp_path / "envs.jsonl", 3)
    header, first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(header + first + b"\n\n" + second.replace(b'"question"', b'"query"') + third[:-1])
    with open_set(path, EnvSpec) as records:
        assert len(records) == 3
        assert records[0] == spec(0)
        with pytest.raises(RecordError, match=r"envs\.jsonl:5: field 'scenario\.question'"):
            records[1]
        with pytest.raises(RecordError, match=r"envs\.jsonl:6: found a truncated last line"):
            records[2]
    with pytest.raises(RecordError, match=r"envs\.jsonl:6: found a truncated last line"):
        pack(path, tmp_path / "target.jsonl.zst", EnvSpec)
    assert not list(tmp_path.glob("*.zst"))
    assert not list(tmp_path.glob(".*"))


def test_other_files_are_refused(tmp_path):
    """No such file, an empty one, another artifact, another version, and a target that is not compressed."""
    with pytest.raises(InputError, match="cannot be opened"):
        open_set(tmp_path / "none.jsonl", EnvSpec)
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(RecordError, match="an empty file"):
        open_set(empty, EnvSpec)
    path = written(tmp_path / "envs.jsonl", 1)
    with pytest.raises(RecordError, match="an artifact of 'environments'"):
        open_set(path, Trajectory)
    old = tmp_path / "old.jsonl"
    old.write_bytes(orjson.dumps({"toolfoundry": "environments", "schema_version": 0}) + b"\n")
    with pytest.raises(VersionError):
        open_set(old, EnvSpec)
    with pytest.raises(OutputError, match=r"ends in \.zst"):
        pack(path, tmp_path / "packed.jsonl", EnvSpec)


def test_compressed_files_without_records_to_find(tmp_path):
    """One frame for all, damaged data and a damaged table are refused with what to do."""
    zstandard = pytest.importorskip("zstandard", reason="needs the extra zst")
    whole = tmp_path / "whole.jsonl.zst"
    whole.write_bytes(zstandard.ZstdCompressor().compress(written(tmp_path / "envs.jsonl", 3).read_bytes()))
    with pytest.raises(InputError, match="toolfoundry pack"):
        open_set(whole, EnvSpec)
    alone = written(tmp_path / "alone.jsonl.zst", 3)
    content = alone.read_bytes()
    alone.write_bytes(b"XX" + content)
    with pytest.raises(InputError, match="corrupt zstd data"):
        open_set(alone, EnvSpec)
    target = packed(tmp_path, 40)
    content = bytearray(target.read_bytes())
    content[120:140] = bytes(20)
    target.write_bytes(content)
    with pytest.raises(InputError, match="corrupt zstd data"), open_set(target, EnvSpec) as records:
        list(records)


def until_it_fails(records):
    """How many records come, and what is then wrong; "" where nothing is."""
    count = 0
    try:
        for number, record in enumerate(records()):
            assert record == spec(number)
            count += 1
    except RecordError as error:
        return count, error.found
    return count, ""


@pytest.mark.parametrize("form", ["plain", "as a build compresses", "packed"])
def test_a_file_that_is_cut_off_is_not_shorter(tmp_path, form):
    """Wherever it ends, the records before can be read, and then comes the error that `read` gives as well."""
    name = "envs.jsonl" if form == "plain" else "envs.jsonl.zst"
    path = packed(tmp_path, 40) if form == "packed" else written(tmp_path / name, 40)
    content = path.read_bytes()
    for size in range(1, len(content) - 60, 97):  # not within the table, which says so when the file is opened
        path.write_bytes(content[:size])
        expected = until_it_fails(lambda: read(path, EnvSpec))
        assert until_it_fails(lambda: open_set(path, EnvSpec)) == expected
        assert expected[0] < 40


def test_a_table_of_another_file_is_refused(tmp_path):
    """Two packed files in one, or a table that says less than there is, give no part of the records in silence."""
    content = packed(tmp_path, 40).read_bytes()
    frames = content[-9:-5]
    for name, other in {
        "twice": content * 2,
        "less": content[:-9] + (2).to_bytes(4, "little") + content[-5:],
        "nothing": content[:-9] + bytes(4) + content[-5:],
    }.items():
        path = tmp_path / f"{name}.jsonl.zst"
        path.write_bytes(other)
        with pytest.raises(InputError, match=rf"{name}\.jsonl\.zst: found a seek table"):
            open_set(path, EnvSpec)
    assert int.from_bytes(frames, "little") == 4


def test_lines_of_spaces_are_no_records(tmp_path):
    """They are passed over however long they are, as `read` does; lines may end as on Windows."""
    path = written(tmp_path / "envs.jsonl", 3)
    header, first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(header + b"       \n" + first + b"\t \t \r\n" + second[:-1] + b"\r\n" + b" " + third)
    with open_set(path, EnvSpec) as records:
        assert list(records) == [*read(path, EnvSpec)] == [spec(0), spec(1), spec(2)]


def test_the_command(tmp_path):
    """`toolfoundry pack` writes the set, says how large it is, and replaces nothing unasked."""
    source, target = written(tmp_path / "envs.jsonl", 40), tmp_path / "packed.jsonl.zst"
    command = ["pack", str(source), "-o", str(target)]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    assert orjson.loads(result.stdout) == {"records": 40, "bytes": target.stat().st_size}
    assert isinstance(CliRunner().invoke(app, command).exception, OutputError)
    assert CliRunner().invoke(app, [*command, "--force"]).exit_code == 0
    with open_set(target, EnvSpec) as records:
        assert records[39] == spec(39)
