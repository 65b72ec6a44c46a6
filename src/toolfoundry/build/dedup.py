"""Near-duplicates: an item is rejected iff an accepted item before it has one of its keys.

Two environments are near-duplicates when their questions have the same words whatever their order (small words left
out), when they have the same tools with the same answers, or when their questions differ in nothing but names and
numbers and they have tools of the same names. Keys are kept on disk; memory does not grow with the set.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from toolfoundry.check.static import duplicate_keys
from toolfoundry.errors import OutputError
from toolfoundry.types import EnvSpec

__all__ = ["KEYS", "KeyIndex", "keys_of"]

KEYS = ("question", "tools-and-answers", "question-pattern")
_NAME = re.compile(r"(?<![.?!] )\b[A-Z][\w'’-]*(?:\s+(?:of|the|&|and)?\s*[A-Z][\w'’-]*)*")


def keys_of(spec: EnvSpec) -> list[bytes]:
    """The keys of an environment, in the order of KEYS."""
    pattern = re.sub(r"\d+", "#", _NAME.sub("~", spec.scenario.question))
    names = " ".join(sorted(tool.name for tool in spec.tools))
    return [_digest(key) for key in (*duplicate_keys(spec), f"pattern:{pattern}\0{names}")]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:16]


class KeyIndex:
    """The keys of the accepted items, in a file that is thrown away at the end. Raises OutputError without a place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE keys (key BLOB PRIMARY KEY, item TEXT) WITHOUT ROWID")

    def duplicate(self, keys: Sequence[bytes]) -> tuple[str, str] | None:
        """The name of the first key that an accepted item has, and that item; None if there is none."""
        for name, key in zip(KEYS, keys, strict=True):
            row = self._database.execute("SELECT item FROM keys WHERE key = ?", (key,)).fetchone()
            if row is not None:
                return name, str(row[0])
        return None

    def add(self, keys: Sequence[bytes], item: str) -> None:
        """Notes the keys of an accepted item."""
        self._database.executemany("INSERT OR IGNORE INTO keys VALUES (?, ?)", [(key, item) for key in keys])

    def close(self) -> None:
        self._database.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> KeyIndex:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
