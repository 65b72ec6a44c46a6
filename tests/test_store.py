"""Artifacts: what is written is read back; what is damaged is named; nothing good is lost."""

import errno
import os

import orjson
import pytest
from hypothesis import given, settings

from strategies import specs
from toolfoundry.build.draft import Draft, Reject
from toolfoundry.errors import InputError, OutputError, RecordError, VersionError
from toolfoundry.store import RecordWriter, dump, json_schema, load_record, read, write_run_file
from toolfoundry.types import Answer, EnvSpec, Goal, Provenance, Scenario, Tool, ToolSchema, Trajectory


def spec(number: int) -> EnvSpec:
    tool = Tool(signature=ToolSchema(name="f", description="", parameters={"type": "object"}), source="")
    return EnvSpec.create(
        scenario=Scenario(question=f"Question {number}?", answer=None),
        tools=(tool,),
        goals=(Goal(id="g", tool="f", answer=Answer(type="number", value=number)),),
        provenance=Provenance(source="test"),
    )


def write(path, count, mode="new"):
    with RecordWriter(path, EnvSpec, mode) as writer:
        for number in range(count):
            writer.write(spec(number))
    return path


@given(specs())
@settings(max_examples=50)
def test_a_line_is_read_back(value):
    """Dump and load are inverse, byte for byte."""
    line = dump(value)
    assert load_record(EnvSpec, line) == value
    assert dump(load_record(EnvSpec, line)) == line


@pytest.mark.parametrize("name", ["envs.jsonl", "envs.jsonl.zst"])
def test_write_and_read(tmp_path, name):
    """Plain or compressed, in order, with the same records."""
    path = write(tmp_path / name, 5)
    assert list(read(path, EnvSpec)) == [spec(number) for number in range(5)]


@pytest.mark.parametrize("name", ["envs.jsonl", "envs.jsonl.zst"])
def test_a_killed_writer_loses_nothing(tmp_path, name):
    """Cut anywhere in its last record, the file is resumed with every whole record, and goes on."""
    whole = write(tmp_path / name, 3)
    before = write(tmp_path / f"two-{name}", 2).stat().st_size
    data = whole.read_bytes()
    for cut in range(before, len(data), max(1, (len(data) - before) // 9)):
        path = tmp_path / f"cut-{cut}-{name}"
        path.write_bytes(data[:cut])
        kept = []
        with RecordWriter(
            path, EnvSpec, "resume", keep=lambda record, kept=kept: kept.append(record) or True
        ) as writer:
            writer.write(spec(7))
        assert kept == [spec(0), spec(1)]
        assert list(read(path, EnvSpec)) == [spec(0), spec(1), spec(7)]


@pytest.mark.parametrize("name", ["envs.jsonl", "envs.jsonl.zst"])
def test_resume_can_drop_records(tmp_path, name):
    """What is to be done again is taken out, and the rest stays in order."""
    path = write(tmp_path / name, 4)
    with RecordWriter(path, EnvSpec, "resume", keep=lambda record: record != spec(1)) as writer:
        writer.write(spec(9))
    assert list(read(path, EnvSpec)) == [spec(0), spec(2), spec(3), spec(9)]


def test_an_existing_file_is_not_replaced_by_accident(tmp_path):
    """Only when asked for."""
    path = write(tmp_path / "envs.jsonl", 2)
    with pytest.raises(OutputError, match="--force replaces it"):
        RecordWriter(path, EnvSpec)
    assert len(list(read(write(path, 1, "overwrite"), EnvSpec))) == 1


def test_a_second_writer_is_kept_out(tmp_path):
    """Two processes writing one file would mix their records."""
    path = tmp_path / "envs.jsonl"
    with RecordWriter(path, EnvSpec) as writer:
        writer.write(spec(0))
        with pytest.raises(OutputError, match="another process"):
            RecordWriter(path, EnvSpec, "resume")


def test_a_full_disk_leaves_whole_records(tmp_path, monkeypatch):
    """The record that did not fit is taken back; the error says that the rest is intact."""
    path = write(tmp_path / "envs.jsonl", 2)
    with RecordWriter(path, EnvSpec, "resume") as writer:
        real = writer._file

        class Full:
            def __getattr__(self, name):
                return getattr(real, name)

            def write(self, data):
                real.write(bytes(data)[:10])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        writer._file = Full()
        with pytest.raises(OutputError, match="No space left on device; everything before this record is intact"):
            writer.write(spec(5))
    assert list(read(path, EnvSpec)) == [spec(0), spec(1)]


def test_a_truncated_compressed_file_is_not_read_as_whole(tmp_path):
    """The last record is missing, and that is said."""
    path = write(tmp_path / "envs.jsonl.zst", 3)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(RecordError, match=r":4: found a truncated last line"):
        list(read(path, EnvSpec))
    problems = []
    assert len(list(read(path, EnvSpec, skip_bad=True, on_bad=problems.append))) == 2
    assert len(problems) == 1


BAD_LINES = [
    (b"{broken\n", r":3: found malformed JSON"),
    (b"[]\n", r":3: found \[\], expected"),
    (dump(spec(5)).replace(b'"goals"', b'"goalz"') + b"\n", r":3: field 'goals'"),
    (dump(spec(5)).replace(b'"f"', b"7", 1) + b"\n", r":3: field 'tools\.0\.signature\.name': found 7"),
    (dump(spec(5)).replace(b"Question", b"Answer") + b"\n", r":3: field 'id': found '\w+', expected '\w+' \(the hash"),
    (dump(spec(5)), r":3: found a truncated last line"),
    (b"\xff\xfe\n", r":3: found malformed JSON"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES)
def test_a_bad_line_is_named_and_can_be_skipped(tmp_path, line, message):
    """File, line, field, found and expected; with skip_bad the good records are read and the bad ones reported."""
    path = write(tmp_path / "envs.jsonl", 1)
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(RecordError, match=message):
        list(read(path, EnvSpec))
    problems = []
    assert list(read(path, EnvSpec, skip_bad=True, on_bad=problems.append)) == [spec(0)]
    assert [problem.line for problem in problems] == [3]


@pytest.mark.parametrize(
    ("header", "error", "message"),
    [
        (b"", RecordError, "found an empty file, expected a header line"),
        (b'{"id": 1}\n', RecordError, "expected a header line"),
        (b'{"toolfoundry": "trajectories", "schema_version": 1}\n', RecordError, "an artifact of 'trajectories'"),
        (b'{"toolfoundry": "environments", "schema_version": 99}\n', VersionError, "found 99, expected 1"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path, header, error, message):
    """Another artifact, another version, or no artifact at all."""
    path = tmp_path / "envs.jsonl"
    path.write_bytes(header)
    with pytest.raises(error, match=message):
        list(read(path, EnvSpec))


def test_missing_and_unwritable_places(tmp_path):
    """One line, with the reason."""
    with pytest.raises(InputError, match=r"nowhere\.jsonl: cannot be opened: No such file"):
        list(read(tmp_path / "nowhere.jsonl", EnvSpec))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        RecordWriter(tmp_path / "file" / "envs.jsonl", EnvSpec)


@pytest.mark.parametrize("kind", [EnvSpec, Trajectory, Draft, Reject])
def test_the_published_schema_accepts_what_we_write(kind):
    """The JSON Schema is itself valid, and a record passes it."""
    import jsonschema_rs

    validator = jsonschema_rs.validator_for(json_schema(kind))
    if kind is EnvSpec:
        validator.validate(orjson.loads(dump(spec(1))))
    assert not validator.is_valid({"id": "x"})


def test_run_file_says_how_it_was_made(tmp_path):
    """Command, config, counts, versions and licences, beside the artifact."""
    path = write_run_file(
        tmp_path / "envs.jsonl.zst", command=["toolfoundry"], config={"seed": 1}, counts={"n": 2}, started=0.0
    )
    document = orjson.loads(path.read_bytes())
    assert path.name == "envs.run.json"
    assert document["config"] == {"seed": 1}
    assert document["packages"]["pydantic"]["licence"] == "MIT"
