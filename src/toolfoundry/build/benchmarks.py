"""Keeping benchmarks out of training data: an item is refused if its question is in a named file.

In it means: the whole question stands there, or a run of 13 words does (the length at which Brown et al. 2020,
arXiv:2005.14165, Appendix C, call a text contaminated). Case and punctuation do not count. Any text file will do; of
JSON and JSONL files every text value is read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from toolfoundry.answers import scalars
from toolfoundry.errors import InputError

__all__ = ["RUN", "Benchmarks"]

RUN = 13


class Benchmarks:
    """The texts of the named files, as hashes of their runs of words; whole texts if they are shorter."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._runs: dict[int, str] = {}
        for path in paths:
            for text in _texts(path):
                for run in _runs(text):
                    self._runs.setdefault(run, path.name)

    def holding(self, question: str) -> str | None:
        """The name of the file that the question is in, or None."""
        return next((self._runs[run] for run in _runs(question) if run in self._runs), None)


def _runs(text: str) -> Iterator[int]:
    words = re.findall(r"\w+", text.casefold())
    for start in range(max(1, len(words) - RUN + 1)):
        piece = " ".join(words[start : start + RUN]).encode("utf-8", "surrogatepass")
        yield int.from_bytes(hashlib.blake2b(piece, digest_size=8).digest(), "big")


def _texts(path: Path) -> Iterator[str]:
    """Every text of at least three words in a file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    lines = data.splitlines()
    for piece in [data] if path.suffix == ".json" else lines:
        for value in _values(piece):
            yield from (line for line in value.splitlines() if len(line.split()) >= 3)


def _values(piece: bytes) -> Iterator[str]:
    try:
        value = orjson.loads(piece)
    except orjson.JSONDecodeError:
        yield piece.decode(errors="replace")
        return
    for leaf in scalars(value):
        if isinstance(leaf, str):
            yield leaf
            if leaf[:1] in "[{":  # JSON within JSON, as in the published rows
                yield from _values(leaf.encode())
