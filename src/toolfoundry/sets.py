"""Any record of a large artifact at once, by its place: `open_set(path)[i]`, without reading what stands before it.

    with open_set(Path("envs.jsonl.zst"), EnvSpec) as envs:
        len(envs), envs[123_456], envs[10:20]

A plain JSONL file is mapped into memory and looked through once, for where its lines begin. A compressed one needs no
such pass if `pack` wrote it: the records lie in frames of 16 (alone they would compress half as well), and the file
ends with the seek table of the Zstandard Seekable Format, which other readers pass over: it is still a .jsonl.zst that
`zstdcat` and every command read. Frames of what a build wrote itself, one for each record, are found by their headers.

A set can be used by several threads and sent to other processes, which open it anew. It is a view of the file as it
was when it was opened; not covered: files that others change meanwhile.
"""

from __future__ import annotations

import io
import itertools
import mmap
import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

from toolfoundry.errors import InputError, MissingExtra, OutputError, RecordError
from toolfoundry.store import check_header, header_line, lines, load_record
from toolfoundry.types import Record

__all__ = ["RECORDS_PER_FRAME", "RecordSet", "open_set", "pack", "pack_lines"]

R = TypeVar("R", bound=Record)

RECORDS_PER_FRAME = 16
_LEVEL = 9
_FRAME, _SKIPPABLE = 0xFD2FB528, 0x184D2A5E
_TABLE = 0x8F92EAB1  # ends a file with a seek table
_FOOTER = struct.Struct("<IBI")  # frames, descriptor, magic


def open_set(path: Path, kind: type[R]) -> RecordSet[R]:
    """The records of an artifact as a sequence. Raises InputError for what cannot be opened, or has no frames to find.

    A record is read and checked when it is asked for: a bad one raises RecordError then, naming file and line.
    """
    return RecordSet(path, kind)


class RecordSet(Sequence[R], Generic[R]):
    """What `open_set` gives."""

    def __init__(self, path: Path, kind: type[R]) -> None:
        self.path, self.kind = path, kind
        try:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise InputError(f"{path}: cannot be opened: {error.strerror}") from error
        except ValueError:  # an empty file cannot be mapped
            check_header(b"", path, kind)
            raise
        try:
            self._lines: _PlainLines | _FramedLines
            self._lines = (_FramedLines if path.suffix == ".zst" else _PlainLines)(self._data, path)
            check_header(self._lines.header, path, kind)
        except BaseException:
            self._data.close()
            raise

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, place: int) -> R: ...
    @overload
    def __getitem__(self, place: slice) -> list[R]: ...
    def __getitem__(self, place: int | slice) -> R | list[R]:
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        index = place + len(self) if place < 0 else place
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: found place {place}, expected one below {len(self)}")
        line = self._lines.get(index)
        try:
            if not line.endswith(b"\n"):
                raise RecordError(found="a truncated last line", expected="a line that ends in a newline")
            return load_record(self.kind, line)
        except RecordError as error:
            raise error.located(str(self.path), self._lines.number(index)) from None

    def line(self, place: int) -> bytes:
        """The line of a record as it stands in the file, unchecked; `place` from 0."""
        return self._lines.get(place)

    def __iter__(self) -> Iterator[R]:
        return (self[index] for index in range(len(self)))

    def __reduce__(self) -> tuple[Callable[..., RecordSet[R]], tuple[Path, type[R]]]:
        return open_set, (self.path, self.kind)

    def close(self) -> None:
        self._data.close()

    def __enter__(self) -> RecordSet[R]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def pack(source: Path, target: Path, kind: type[Record]) -> int:
    """Writes an artifact compressed for random access, beside and then renamed; returns the number of records.

    The lines are the same bytes. Raises InputError where the source cannot be read, OutputError where the target
    cannot be written or does not end in .zst.
    """
    return pack_lines((_whole(line, number, source) for number, line in lines(source, kind)), target, kind)


def pack_lines(remaining: Iterator[bytes], target: Path, kind: type[Record]) -> int:
    """The same from lines of JSONL, each with its newline."""
    if target.suffix != ".zst":
        raise OutputError(f"{target}: expected a name that ends in .zst")
    compressor = _zstandard().ZstdCompressor(level=_LEVEL)
    table = bytearray()
    count = 0
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            batch = [header_line(kind)]
            while batch:
                content = b"".join(batch)
                frame = compressor.compress(content)
                table += struct.pack("<II", len(frame), len(content))
                file.write(frame)
                batch = [*itertools.islice(remaining, RECORDS_PER_FRAME)]
                count += len(batch)
            file.write(struct.pack("<II", _SKIPPABLE, len(table) + _FOOTER.size) + table)
            file.write(_FOOTER.pack(len(table) // 8, 0, _TABLE))
        unfinished.replace(target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def _whole(line: bytes, number: int, source: Path) -> bytes:
    if not line.endswith(b"\n"):
        whole = "a line that ends in a newline"
        raise RecordError(found="a truncated last line", expected=whole, file=str(source), line=number)
    return line


class _PlainLines:
    """The lines of a plain file, by where they begin; empty ones are passed over."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:  # noqa: ARG002
        self._data = data
        end = data.find(b"\n") + 1 or len(data)
        self.header = data[:end]
        self._starts, self._ends = array("Q"), array("Q")
        while end < len(data):
            start, end = end, data.find(b"\n", end) + 1 or len(data)
            if data[start] > 32 or data[start:end].strip():
                self._starts.append(start)
                self._ends.append(end)

    def __len__(self) -> int:
        return len(self._starts)

    def get(self, index: int) -> bytes:
        return self._data[self._starts[index] : self._ends[index]]

    def number(self, index: int) -> int:
        """The number of the line in the file, from 1."""
        before, step = self._starts[index], 1 << 24
        return 1 + sum(self._data[at : min(at + step, before)].count(b"\n") for at in range(0, before, step))


class _FramedLines:
    """The lines of a compressed file: the header alone in the first frame, then the same number in each frame."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data, self._path = data, path
        self._zstandard = _zstandard()
        self._starts = _table(data, path) or _walk(data, path)
        self._last: tuple[int, list[bytes]] = -1, []
        self._each = 1
        (self.header,) = first if len(first := self._frame(0)) == 1 else (b"",)
        if not self.header:
            raise InputError(
                f"{path}: found {len(first)} lines in its first frame, expected the header alone; "
                "`toolfoundry pack` writes it so that any record can be found"
            )
        frames = len(self._starts) - 2
        if frames > 0:
            self._each = len(self._frame(1))
        self._count = 0 if frames <= 0 else self._each * (frames - 1) + len(self._frame(frames))

    def __len__(self) -> int:
        return self._count

    def get(self, index: int) -> bytes:
        number, place = divmod(index, self._each)
        known, content = self._last
        if known != number:
            content = self._frame(number + 1)
            self._last = number, content  # one assignment: another thread sees both or neither
        if len(content) != min(self._each, self._count - number * self._each):
            raise InputError(
                f"{self._path}: found {len(content)} records in frame {number + 1}, expected {self._each}; "
                "`toolfoundry pack` writes as many to each"
            )
        return content[place]

    def number(self, index: int) -> int:
        return index + 2

    def _frame(self, number: int) -> list[bytes]:
        frame = self._data[self._starts[number] : self._starts[number + 1]]
        try:
            decompressor = self._zstandard.ZstdDecompressor().decompressobj()
            content = decompressor.decompress(frame)
            if not decompressor.eof:  # cut off: no record may come of it, even if a whole line does
                content += b"?"
        except self._zstandard.ZstdError as error:
            raise InputError(f"{self._path}: corrupt zstd data in frame {number}: {error}") from error
        return io.BytesIO(content).readlines()  # unlike `splitlines`, at newlines only


def _table(data: mmap.mmap, path: Path) -> array[int] | None:
    """Where each frame begins and the last one ends, from the seek table; None where there is none."""
    if len(data) < 8 + _FOOTER.size:
        return None
    frames, descriptor, magic = _FOOTER.unpack(data[-_FOOTER.size :])
    entry = 12 if descriptor & 0x80 else 8  # with a checksum, or without
    if magic != _TABLE or len(data) < frames * entry + 8 + _FOOTER.size:
        return None
    table = data[-_FOOTER.size - frames * entry : -_FOOTER.size]
    sizes = (size for size, *_ in struct.iter_unpack("<III" if entry == 12 else "<II", table))
    starts = array("Q", itertools.accumulate(sizes, initial=0))
    if not frames or starts[-1] + 8 + len(table) + _FOOTER.size != len(data):
        raise InputError(
            f"{path}: found a seek table of {frames} frames that is not of this file; is it two in one? "
            "`toolfoundry pack` writes one"
        )
    return starts


def _walk(data: mmap.mmap, path: Path) -> array[int]:
    """The same from the headers of frames and blocks (RFC 8878); one that is cut off ends with the file."""
    starts = array("Q", [0])
    while (position := starts[-1]) < len(data):
        try:
            (magic,) = struct.unpack_from("<I", data, position)
            if magic & ~0xF == _SKIPPABLE & ~0xF:
                raise InputError(f"{path}: found frames without content, expected a file that `toolfoundry pack` wrote")
            if magic != _FRAME:
                raise InputError(f"{path}: corrupt zstd data: no frame begins at byte {position}")
            about = data[position + 4]
            single = about >> 5 & 1
            position += 6 - single + (0, 1, 2, 4)[about & 3] + (single, 2, 4, 8)[about >> 6]
            block = 0
            while not block & 1 and position < len(data):
                block = int.from_bytes(data[position : position + 3], "little")
                position += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
            position += 4 * (about >> 2 & 1)
        except (struct.error, IndexError):
            position = len(data)
        starts.append(min(position, len(data)))
    return starts


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise MissingExtra("zst", "reading and writing .zst files") from None
    return zstandard
