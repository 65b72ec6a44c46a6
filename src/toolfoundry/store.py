"""Artifacts on disk: JSONL files of records with a versioned header line, and a run file beside each.

    ENVS.jsonl            {"toolfoundry": "environments", "schema_version": 1}
                          {"id": ..., ...}            one record a line, UTF-8, the same bytes for the same record
    ENVS.run.json         when, where, with which config, seeds and package versions it was made

A name that ends in `.zst` is compressed (extra `zst`). A writer appends and flushes record by record, so a process
that is killed loses nothing it had written; a resumed writer cuts off a half-written last line and goes on. A reader
names file and line of whatever it cannot read; with `skip_bad` it yields the good records and reports the bad ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import io
import os
import platform
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Generic, Literal, TypeVar

import orjson
from pydantic import JsonValue, ValidationError

from toolfoundry import __version__
from toolfoundry.errors import (
    InputError,
    MissingExtra,
    OutputError,
    RecordError,
    VersionError,
    invalid_field,
    skip_or_raise,
)
from toolfoundry.types import Record

__all__ = [
    "SCHEMA_VERSION",
    "RecordWriter",
    "WriteMode",
    "about_packages",
    "artifact_of",
    "check_header",
    "count_records",
    "dump",
    "header_line",
    "json_schema",
    "lines",
    "load_record",
    "read",
    "replace_file",
    "run_file",
    "write_run_file",
]

SCHEMA_VERSION = 1

WriteMode = Literal["new", "overwrite", "resume"]
R = TypeVar("R", bound=Record)
BadLine = Callable[[RecordError], None]


def dump(record: Record) -> bytes:
    """One line of JSONL, without its newline: fields in the order of their declaration, UTF-8."""
    return orjson.dumps(record.model_dump(mode="json"))


def load_record(kind: type[R], line: bytes) -> R:
    """The record in one line. Raises RecordError (without file and line) for anything else."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise RecordError(found=f"malformed JSON ({error})", expected=f"one {kind.__name__} as JSON") from None
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise invalid_field(error) from None


def json_schema(kind: type[Record]) -> dict[str, Any]:
    """The published JSON Schema of one record of an artifact."""
    schema = kind.model_json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"ToolFoundry {kind.artifact}, schema version {SCHEMA_VERSION}",
        **{key: value for key, value in schema.items() if key != "title"},
    }


# --- reading -------------------------------------------------------------------------------------------------------


def read(path: Path, kind: type[R], *, skip_bad: bool = False, on_bad: BadLine | None = None) -> Iterator[R]:
    """The records of an artifact, in file order.

    Raises RecordError at the first line that cannot be read, unless `skip_bad`: then each is given to `on_bad`.
    """
    for number, line in lines(path, kind):
        try:
            if not line.endswith(b"\n"):
                raise RecordError(found="a truncated last line", expected="a line that ends in a newline")
            yield load_record(kind, line)
        except RecordError as error:
            skip_or_raise(error.located(str(path), number), skip_bad, on_bad)


def count_records(path: Path, kind: type[Record]) -> int:
    """How many records an artifact has, bad ones included, without reading what is in them."""
    return sum(1 for _ in lines(path, kind))


def artifact_of(path: Path) -> str | None:
    """How the file's header line calls its records; None where there is no such line."""
    with _open_for_reading(path) as stream:
        try:
            header: Any = orjson.loads(stream.readline())
            return str(header["toolfoundry"])
        except (orjson.JSONDecodeError, OSError, EOFError, KeyError, TypeError, IndexError):
            return None


def header_line(kind: type[Record]) -> bytes:
    """The first line of an artifact of these records."""
    return orjson.dumps({"toolfoundry": kind.artifact, "schema_version": SCHEMA_VERSION}) + b"\n"


def lines(path: Path, kind: type[Record]) -> Iterator[tuple[int, bytes]]:
    """Numbered lines (from 2) after a checked header; empty lines are passed over."""
    with _open_for_reading(path) as stream:
        try:
            header = stream.readline()
            check_header(header, path, kind)
            for number, line in enumerate(stream, start=2):
                if line.strip():
                    yield number, line
        except (OSError, EOFError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from error


def check_header(line: bytes, path: Path, kind: type[Record]) -> None:
    """Raises RecordError or VersionError where a file's first line is not that of an artifact of this kind."""
    wanted = kind.artifact
    expected = f'a header line {{"toolfoundry": "{wanted}", "schema_version": {SCHEMA_VERSION}}}'
    try:
        header: Any = orjson.loads(line)
        found, version = header["toolfoundry"], header["schema_version"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        text = line[:60].decode(errors="replace").strip() or "an empty file"
        if line and wanted == "environments":
            expected += "; `toolfoundry import` reads other formats"
        raise RecordError(found=text, expected=expected, file=str(path), line=1) from None
    if found != wanted:
        raise RecordError(found=f"an artifact of {found!r}", expected=f"one of {wanted!r}", file=str(path), line=1)
    if version != SCHEMA_VERSION:
        raise VersionError(
            f"{path}:1: field 'schema_version': found {version!r}, expected {SCHEMA_VERSION}; "
            f"ToolFoundry {__version__} reads only this version"
        )


@contextlib.contextmanager
def _open_for_reading(path: Path) -> Generator[BinaryIO | io.BufferedReader]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from error
    with file:
        if path.suffix == ".zst":
            zstandard = _zstandard()
            try:
                yield io.BufferedReader(_Frames(file, zstandard))
            except zstandard.ZstdError as error:
                raise InputError(f"{path}: corrupt zstd data: {error}") from error
        else:
            yield file


class _Frames(io.RawIOBase):
    """The content of one zstd frame after the other. A last frame that is cut off reads as a line without its end."""

    def __init__(self, file: BinaryIO, zstandard: Any) -> None:
        self._file, self._zstandard = file, zstandard
        self._frame: Any = None
        self._ready, self._raw = b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._ready:
            self._raw = self._raw or self._file.read(1 << 16)
            if not self._raw:
                cut_off = self._frame is not None and not self._frame.eof
                self._frame, self._ready = None, b"?" if cut_off else b""
                break
            if self._frame is None or self._frame.eof:
                self._frame = self._zstandard.ZstdDecompressor().decompressobj()
            self._ready = self._frame.decompress(self._raw)
            self._raw = self._frame.unused_data if self._frame.eof else b""
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise MissingExtra("zst", "reading and writing .zst files") from None
    return zstandard


# --- writing -------------------------------------------------------------------------------------------------------


class RecordWriter(Generic[R]):
    """Appends records to one artifact, flushing each, under a lock that keeps a second writer out.

    `mode`: "new" refuses an existing file, "overwrite" replaces it, "resume" goes on with it: a half-written last
    line is cut off, and each record found is given to `keep`, which says whether it stays (a failed rollout that is
    to be done again does not). A write that fails (disk full) is undone: the file always ends after a whole record.
    """

    def __init__(
        self, path: Path, kind: type[R], mode: WriteMode = "new", keep: Callable[[R], bool] = lambda _: True
    ) -> None:
        self.path, self.kind = path, kind
        exists = path.exists() and path.stat().st_size > 0
        compressor = _zstandard().ZstdCompressor() if path.suffix == ".zst" else None  # before a file is there
        if exists and mode == "new":
            goes_on = "--resume goes on with it, where the command has that option"
            raise OutputError(f"{path} exists; --force replaces it ({goes_on})")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("r+b" if exists else "wb", buffering=0)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise OutputError(f"{path}: another process is writing it") from None
        self._compress: Any = compressor
        try:
            if exists and mode == "resume":
                self._go_on(keep)
            else:
                self._file.truncate(0)
                self._append(header_line(self.kind))
        except OSError as error:
            self._file.close()
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
        except BaseException:
            self._file.close()
            raise

    def write(self, record: R) -> None:
        self._append(dump(record) + b"\n")

    def write_line(self, line: bytes) -> None:
        """Writes a record that was dumped elsewhere."""
        self._append(line + b"\n")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> RecordWriter[R]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _append(self, data: bytes) -> None:
        if self._compress is not None:
            data = self._compress.compress(data)
        start = self._file.seek(0, os.SEEK_END)
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(start)
            raise OutputError(f"{self.path}: {error.strerror}; everything before this record is intact") from error

    def _go_on(self, keep: Callable[[R], bool]) -> None:
        if self._compress is not None:
            self._cut_compressed_tail()
        else:
            self._cut_tail()
        if self._file.seek(0, os.SEEK_END) == 0:
            self._append(header_line(self.kind))
        if sum(not keep(record) for record in read(self.path, self.kind)) == 0:
            return
        rest = self.path.with_name(f".rewriting-{self.path.name}")  # the ending says how it is compressed
        with RecordWriter(rest, self.kind, "overwrite") as writer:
            for record in read(self.path, self.kind):
                if keep(record):
                    writer.write(record)
            rest.replace(self.path)
            self._file.close()
            self._file = writer.detach()

    def detach(self) -> io.FileIO:
        """The open, locked file; the writer must not be used after this."""
        file, self._file = self._file, io.FileIO(os.devnull, "wb")
        return file

    def _cut_tail(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        position = size
        while position > 0:
            start = max(0, position - 65536)
            self._file.seek(start)
            block = self._file.read(position - start)
            if (newline := block.rfind(b"\n")) >= 0:
                self._file.truncate(start + newline + 1)
                return
            position = start
        self._file.truncate(0)

    def _cut_compressed_tail(self) -> None:
        """Each record is a frame of its own; the first frame that does not decompress begins the damaged tail."""
        zstandard = _zstandard()
        good = 0
        while True:
            frame = zstandard.ZstdDecompressor().decompressobj()
            position = good
            try:
                while not frame.eof:
                    self._file.seek(position)
                    if not (chunk := self._file.read(65536)):
                        self._file.truncate(good)
                        return
                    position += len(chunk)
                    frame.decompress(chunk)
            except zstandard.ZstdError:
                self._file.truncate(good)
                return
            good = position - len(frame.unused_data)


def run_file(artifact: Path) -> Path:
    """The place of an artifact's run file: `NAME.run.json` beside `NAME.jsonl` or `NAME.jsonl.zst`."""
    return artifact.with_name(f"{artifact.name.removesuffix('.zst').removesuffix('.jsonl')}.run.json")


def write_run_file(
    artifact: Path,
    *,
    command: Sequence[str],
    config: Mapping[str, JsonValue],
    counts: Mapping[str, JsonValue],
    started: float,
) -> Path:
    """Writes `NAME.run.json` beside the artifact: everything that is true of this run and not of its records.

    `config` is the run's whole configuration, seeds included; it must hold no keys. Clock, host and versions are
    here so that they are not in the records, which are the same bytes on every machine.
    """
    path = run_file(artifact)
    document = {
        "toolfoundry": "run",
        "schema_version": SCHEMA_VERSION,
        "command": list(command),
        "config": dict(config),
        "counts": dict(counts),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
        "python": platform.python_version(),
        "platform": f"{sys.platform}-{platform.machine()}",
        "packages": about_packages("toolfoundry", "pydantic", "orjson", "jsonschema-rs", "openai", "zstandard"),
    }
    replace_file(path, orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    return path


def replace_file(path: Path, data: bytes) -> None:
    """Writes beside and renames, so that the file is there whole or as it was. Raises OutputError."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def about_packages(*names: str) -> dict[str, JsonValue]:
    """Version and licence of those packages that are installed."""
    found: dict[str, JsonValue] = {}
    for name in names:
        if (about := _about(name)) is not None:
            found[name] = {"version": about[0], "licence": about[1]}
    return found


def _about(package: str) -> tuple[str, str] | None:
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    fields: dict[str, Any] = distribution.metadata.json
    licence = str(fields.get("license_expression") or fields.get("license") or "not stated")
    return distribution.version, licence.splitlines()[0]
