"""The folder of shards: one Parquet file for each range of items, whole or not there, and never done again.

    NAME.shards/
      000000000000-000000000480.1f2e3d4c5b6a.parquet     items 0 to 479 of the run with that hash
      manifest.json                                      the run, and every shard with its size, hash, node and times

The hash is that of everything that decides the content: version, kind of work, options, input. A shard is written
under a name of its own, forced to the disk, and linked to its final name; where two nodes do the same shard (one was
thought dead), the first stays. Columns: `place` (of the item in the run), `kind`, `id`, `line` (the record as a line of
JSONL) and `keys` (of environments: what near-duplicates share). The folder must be one that every node sees under the
same path.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import importlib
import os
import re
import uuid
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson
from pydantic import JsonValue

from toolfoundry import __version__
from toolfoundry.errors import InputError, MissingExtra, OutputError
from toolfoundry.store import WriteMode, replace_file

__all__ = ["Finished", "Row", "Shard", "ShardFolder", "hash_of", "ranges"]

_ENDING = ".parquet"
_SHARD = re.compile(r"\d{12,}-\d{12,}\.[0-9a-f]{12}\.parquet")  # other files in the folder are somebody else's


class Shard(NamedTuple):
    """Items `first` to `first + size - 1` of a run."""

    first: int
    size: int


class Row(NamedTuple):
    """What became of one item; see the module for the columns."""

    place: int
    kind: str
    id: str
    line: bytes
    keys: tuple[bytes, ...] = ()


class Finished(NamedTuple):
    """A shard as it was written: rows in the order of their items, seconds by stage, and the node that did it."""

    shard: Shard
    rows: list[Row]
    seconds: dict[str, float]
    node: str


def hash_of(about: Mapping[str, JsonValue]) -> str:
    """The hash of a run's content, from what decides it (the version is added)."""
    text = orjson.dumps({"version": __version__, **about}, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:12]


class ShardFolder:
    """The shards of one run. Goes to the nodes as it is; only where the command was typed is it begun and described.

    path: absolute. content: the run's hash.
    """

    def __init__(self, path: Path, content: str, version: str = __version__) -> None:
        self.path, self.content, self.version = path.absolute(), content, version
        self._about: dict[str, JsonValue] = {}
        self._taken: dict[Shard, dict[str, JsonValue]] = {}
        self._lock: weakref.finalize[..., Any] | None = None

    def __reduce__(self) -> tuple[type[ShardFolder], tuple[Path, str, str]]:
        return ShardFolder, (self.path, self.content, self.version)

    def begun_with(self) -> dict[str, JsonValue] | None:
        """What the manifest says of an earlier run here: kind of work, content, size of shards; None without one."""
        try:
            found = orjson.loads((self.path / "manifest.json").read_bytes())
            return {"work": found["run"].get("work"), "content": found["content"], "size": found["run"]["size"]}
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
            return None

    def begin(self, mode: WriteMode, about: Mapping[str, JsonValue]) -> None:
        """Makes the folder. Raises OutputError where a new run finds shards, or it cannot be written."""
        _arrow()
        self._about = dict(about)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._own()
            if (manifest := self.path / "manifest.json").exists() and b'"toolfoundry"' not in manifest.read_bytes():
                raise OutputError(f"{manifest} is not of shards; give a folder of its own with --shards")
            there = [file for file in self.path.iterdir() if _SHARD.fullmatch(file.name)]
            if there and mode == "new":
                raise OutputError(f"{self.path} has shards; --resume goes on with them, --force replaces them")
            if mode == "overwrite":
                for file in there:
                    file.unlink()
            self._sweep()
            self.describe()
            (self.path / f".{self.content}.run").touch()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}") from error

    def _own(self) -> None:
        """Keeps a second command out until this one has finished, or has died."""
        if self._lock is None or not self._lock.alive:
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            self._lock = weakref.finalize(self, os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._lock()
                raise OutputError(f"{self.path}: another command is working on these shards") from None

    def file(self, shard: Shard) -> Path:
        return self.path / f"{shard.first:012d}-{shard.first + shard.size:012d}.{self.content}{_ENDING}"

    def finished(self, shard: Shard) -> bool:
        return self.file(shard).exists()

    def require(self) -> None:
        """Raises InputError where this node does not see the folder of the run."""
        if not (self.path / f".{self.content}.run").exists():
            raise InputError(f"{self.path} is not the folder of this run here; expected one that every node sees")

    def attempt(self, shard: Shard) -> int:
        """Notes that a shard is begun; how often it was begun before and not finished."""
        with self._begun(shard).open("ab") as file:  # as many bytes as attempts
            before = file.seek(0, os.SEEK_END)
            file.write(b".")
        return before

    def _begun(self, shard: Shard) -> Path:
        return self.path / f".{self.file(shard).name}.begun"

    def write(self, done: Finished, *, replace: bool = False) -> None:
        """Writes a shard, unless it is there; `replace`: also then. Raises OutputError."""
        arrow, parquet = _arrow()
        columns = {name: [getattr(row, name) for row in done.rows] for name in Row._fields}
        schema = arrow.schema(
            [
                ("place", arrow.int64()),
                ("kind", arrow.string()),
                ("id", arrow.string()),
                ("line", arrow.large_binary()),
                ("keys", arrow.list_(arrow.binary())),
            ],
            metadata={"toolfoundry": orjson.dumps({"node": done.node, "seconds": done.seconds})},
        )
        name = self.file(done.shard)
        unfinished = self.path / f".{name.name}.{uuid.uuid4().hex}.unfinished"
        try:
            with unfinished.open("wb") as file:
                parquet.write_table(arrow.table(columns, schema=schema), file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            _finish(unfinished, name, replace)
        except OSError as error:
            raise OutputError(f"{name}: cannot be written: {error.strerror}") from error
        finally:
            for file in (unfinished, self._begun(done.shard)):
                file.unlink(missing_ok=True)

    def read(self, shard: Shard) -> Finished:
        """A finished shard; it is entered in the manifest. Raises InputError where the file is damaged."""
        arrow, parquet = _arrow()
        path = self.file(shard)
        try:
            content = path.read_bytes()
            table: Any = parquet.read_table(arrow.BufferReader(content))
            about: dict[str, Any] = orjson.loads(table.schema.metadata[b"toolfoundry"])
            columns: list[Any] = [table.column(name).to_pylist() for name in Row._fields]
        except (OSError, KeyError, TypeError, ValueError, arrow.ArrowException) as error:
            raise InputError(f"{path}: damaged ({error}); remove it and go on with --resume") from error
        rows = [Row._make((*values, tuple(keys))) for *values, keys in zip(*columns, strict=True)]
        done = Finished(shard, rows, about["seconds"], about["node"])
        self._taken[shard] = {
            "file": path.name,
            "first": shard.first,
            "items": shard.size,
            "rows": len(rows),
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "node": done.node,
            "seconds": cast("dict[str, JsonValue]", done.seconds),
        }
        return done

    def describe(self, *, finished: bool = False, **counts: JsonValue) -> None:
        """Writes the manifest: the run, and the shards that were taken so far. `finished`: nothing is missing."""
        if finished:
            self._sweep()
        document = {
            "toolfoundry": "shards",
            "version": __version__,
            "content": self.content,
            "run": self._about,
            "finished": finished,
            "counts": counts,
            "shards": [self._taken[shard] for shard in sorted(self._taken)],
        }
        replace_file(self.path / "manifest.json", orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
        if finished and self._lock is not None:
            self._lock()

    def _sweep(self) -> None:
        """Removes what nodes left behind that died while they wrote."""
        for ending in ("unfinished", "begun"):
            for file in self.path.glob(f".*{_ENDING}*.{ending}"):
                file.unlink(missing_ok=True)


def _finish(unfinished: Path, name: Path, replace: bool) -> None:
    """Gives a whole file its name; what has that name already stays, unless it is to be replaced."""
    if not replace:
        try:
            name.hardlink_to(unfinished)  # unlike a rename it never takes another's place
            return
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
    unfinished.replace(name)  # also where the file system has no links: the later of two equal shards stays


def ranges(first: int, end: int, size: int) -> Iterable[Shard]:
    """The shards of a run of `end` items from the one that holds item `first`; the last one may be smaller."""
    start = first - first % size
    return (Shard(at, min(size, end - at)) for at in range(start, end, size))


def _arrow() -> tuple[Any, Any]:
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise MissingExtra("ray", "shards in Parquet") from None
    return arrow, parquet
