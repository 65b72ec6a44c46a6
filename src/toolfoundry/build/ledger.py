"""The books of a build: outcomes are taken in the order of their index, written, counted, and found again on resume.

    NAME.jsonl            the accepted environments
    NAME.rejects.jsonl    what was rejected, with stage, reason and detail: nothing is lost
    NAME.run.json         config, versions, counts and times of the run

Two checks need the whole set in view and are made here: near-duplicates and named benchmarks. As outcomes come in one
order, what is accepted does not depend on the number of processes, nor on where a run was interrupted.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from toolfoundry.build.benchmarks import Benchmarks
from toolfoundry.build.construct import Outcome
from toolfoundry.build.dedup import KeyIndex, keys_of
from toolfoundry.build.draft import Brief, Reject
from toolfoundry.build.verify import NOT_EXECUTABLE
from toolfoundry.errors import InputError
from toolfoundry.store import RecordWriter, WriteMode, dump
from toolfoundry.types import EnvSpec

__all__ = ["YIELDS", "Ledger", "Packed", "pack", "rejects_file"]

YIELDS = ("proposed", "valid", "executable", "proved", "accepted")
_EXAMPLES = 3


class Packed(NamedTuple):
    """An outcome as it travels between processes: an environment is the line that will be written."""

    brief: Brief
    author: str
    reject: Reject | None
    spec_id: str = ""
    question: str = ""
    line: bytes = b""
    keys: tuple[bytes, ...] = ()


def pack(outcome: Outcome, author: str) -> Packed:
    """The outcome with all that the ledger needs of it."""
    spec = outcome.spec
    if spec is None:
        return Packed(outcome.brief, author, outcome.reject)
    return Packed(outcome.brief, author, None, spec.id, spec.scenario.question, dump(spec), tuple(keys_of(spec)))


def rejects_file(output: Path) -> Path:
    """The place of the rejects: `NAME.rejects.jsonl` beside `NAME.jsonl` or `NAME.jsonl.zst`."""
    return output.with_name(f"{output.name.removesuffix('.zst').removesuffix('.jsonl')}.rejects.jsonl")


class Ledger:
    """Takes outcomes one after the other. `counts` are the yields so far, those of interrupted runs included.

    rejects: how many by stage and reason; examples: the first few of each; next_index: of the first brief that has
    not been taken yet.
    """

    def __init__(
        self, output: Path, mode: WriteMode, *, origin: str | None = None, benchmarks: Benchmarks | None = None
    ) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(YIELDS, 0))
        self.rejects: Counter[tuple[str, str]] = Counter()
        self.examples: dict[tuple[str, str], list[Reject]] = {}
        self.next_index = 0
        self._origin = origin
        self._benchmarks = benchmarks
        self._output = output
        self._index = KeyIndex(output.with_name(f".{output.name}.keys.sqlite"))
        try:
            self._specs = RecordWriter(output, EnvSpec, mode, keep=self._found_spec)
        except BaseException:
            self._index.close()
            raise
        try:
            self._rejected = RecordWriter(rejects_file(output), Reject, mode, keep=self._found_reject)
        except BaseException:
            self.close()
            raise

    @property
    def accepted(self) -> int:
        return self.counts["accepted"]

    def take(self, packed: Packed) -> Reject | None:
        """Writes one outcome; what is accepted by itself may still be rejected for what was accepted before it."""
        reject = packed.reject or self._rejected_in_set(packed)
        if reject is None:
            self._specs.write_line(packed.line)
            self._index.add(packed.keys, packed.spec_id)
        else:
            self._rejected.write(reject)
        self._count(packed.brief.index, reject)
        return reject

    def _rejected_in_set(self, packed: Packed) -> Reject | None:
        if self._benchmarks and (name := self._benchmarks.holding(packed.question)):
            return _of_set(packed, "in-benchmark", f"the question, or 13 words of it in a row, stands in {name}")
        if found := self._index.duplicate(packed.keys):
            what, other = found
            return _of_set(packed, "near-duplicate", f"the same {what.replace('-', ' ')} as {other}")
        return None

    def _count(self, index: int, reject: Reject | None) -> None:
        self.next_index = max(self.next_index, index + 1)
        self.counts.update(YIELDS[: YIELDS.index(reached(reject)) + 1])
        if reject is not None:
            key = (reject.stage, reject.reason)
            self.rejects[key] += 1
            if len(examples := self.examples.setdefault(key, [])) < _EXAMPLES:
                examples.append(reject)

    # --- going on with an interrupted build ---------------------------------------------------------------------------

    def _found_spec(self, spec: EnvSpec) -> bool:
        index = spec.provenance.labels.get("index")
        if not isinstance(index, int) or (self._origin is not None and spec.provenance.location != self._origin):
            found = spec.provenance.location or spec.provenance.source
            raise InputError(
                f"{self._output}: has environments of {found!r}, not of this build; --force starts it anew"
            )
        self._index.add(keys_of(spec), spec.id)
        self._count(index, None)
        return True

    def _found_reject(self, reject: Reject) -> bool:
        self._count(reject.brief.index, reject)
        return True

    def close(self) -> None:
        self._specs.close()
        if hasattr(self, "_rejected"):
            self._rejected.close()
        self._index.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def reached(reject: Reject | None) -> str:
    """How far an item came: the last of YIELDS that holds of it."""
    if reject is None:
        return "accepted"
    match reject.stage:
        case "set":
            return "proved"
        case "gate":
            return "executable"
        case "deploy":
            return "valid" if reject.reason in NOT_EXECUTABLE else "proposed"
        case _:
            return "proposed"


def _of_set(packed: Packed, reason: str, detail: str) -> Reject:
    return Reject(brief=packed.brief, author=packed.author, stage="set", reason=reason, detail=detail)
