"""Which benchmarks there are, and the row of the paper's Table 2 that a model has.

The row's columns are Solve-P, Solve-R, Solve-F1, ToolHop AC, τ-bench Pass^1 and RoTBench TS, PI, CF; Avg is their plain
mean, which is there only when all eight are. The four benchmarks are independent of each other, the columns of one are
not: Avg's standard error combines, for each benchmark, the error of the mean over its columns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from toolfoundry.errors import InputError
from toolfoundry.evaluate.attempts import Benchmark
from toolfoundry.evaluate.results import Cell, Result

__all__ = ["BENCHMARKS", "PAPER_COLUMNS", "PAPER_SUITE", "Column", "Source", "average_of", "load_benchmark"]
__all__ += ["paper_row", "scripted_part", "source_of", "suite"]


class Source(NamedTuple):
    """A benchmark that is to be loaded: which kind, under which name, and from where."""

    kind: str
    name: str
    path: Path


def _own(path: Path, name: str, **_: Any) -> Benchmark:
    from toolfoundry.evaluate import own

    return own.load(path, name=name)


def _toolhop(path: Path, name: str, *, mode: Any = None, **_: Any) -> Benchmark:  # noqa: ARG001
    from toolfoundry.evaluate import toolhop

    return toolhop.load(path, mode=mode)


def _taubench(path: Path, name: str, *, user: Any = None, scored: Any = "open") -> Benchmark:  # noqa: ARG001
    from toolfoundry.evaluate import taubench

    return taubench.load(path, user=user, scored=scored)


def _rotbench(path: Path, name: str, **_: Any) -> Benchmark:  # noqa: ARG001
    from toolfoundry.evaluate import rotbench

    return rotbench.load(path)


BENCHMARKS: Mapping[str, Callable[..., Benchmark]] = {
    "own": _own,
    "toolhop": _toolhop,
    "toolhop-direct": partial(_toolhop, mode="direct"),
    "toolhop-mandatory": partial(_toolhop, mode="mandatory"),
    "toolhop-free": partial(_toolhop, mode="free"),
    "tau-bench": _taubench,
    "rotbench": _rotbench,
}


class _Place(NamedTuple):
    """Where a suite's folder holds a benchmark, and where it is to be had."""

    path: str
    origin: str


PAPER_SUITE: Mapping[str, _Place] = {
    "own": _Place("ftrl/test.jsonl", "Data/jsonl/raw/test.jsonl of github.com/bytedance/FTRL"),
    "toolhop": _Place("toolhop/toolhop.jsonl", "the data set bytedance-research/ToolHop on the Hugging Face hub"),
    "tau-bench": _Place("tau-bench", "tau-bench.jsonl and tau-bench/ in Data/jsonl/raw of github.com/bytedance/FTRL"),
    "rotbench": _Place("rotbench/First_Turn", "Data/First_Turn of github.com/Junjie-Ye/RoTBench"),
}


def suite(data: Path, *, allow_missing: bool = False) -> list[Source]:
    """The paper's benchmarks in a folder. Raises InputError for one that is not there, unless that is allowed."""
    if not data.is_dir():
        raise InputError(
            f"{data}: found no folder, expected one with {', '.join(p.path for p in PAPER_SUITE.values())}"
        )
    missing = {name: place for name, place in PAPER_SUITE.items() if not (data / place.path).exists()}
    if missing and not allow_missing:
        name, place = next(iter(missing.items()))
        also = f" ({', '.join(list(missing)[1:])} missing too)" if len(missing) > 1 else ""
        raise InputError(
            f"{data / place.path}: found nothing, expected {name}{also}. It comes from {place.origin}; see "
            "docs/evaluation.md. --allow-missing leaves out what is not there"
        )
    if len(missing) == len(PAPER_SUITE):
        raise InputError(f"{data}: found none of {', '.join(place.path for place in PAPER_SUITE.values())}")
    return [Source(name, name, data / place.path) for name, place in PAPER_SUITE.items() if name not in missing]


def scripted_part(sources: Sequence[Source]) -> list[Source]:
    """The same without what is no environment, which a scripted policy cannot play; of ToolHop two modes are left."""
    part: list[Source] = []
    for source in sources:
        if source.kind == "own":
            part.append(source)
        elif source.kind == "toolhop":
            part += [Source(kind, kind, source.path) for kind in ("toolhop-mandatory", "toolhop-free")]
    return part


def source_of(text: str) -> Source:
    """What `KIND=PATH` or `own:NAME=PATH` names. Raises InputError for anything else."""
    what, equals, path = text.partition("=")
    kind, colon, name = what.partition(":")
    fit = re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name) and name not in BENCHMARKS and kind == "own"
    if not equals or not path or kind not in BENCHMARKS or (colon and not fit):
        known = ", ".join(BENCHMARKS)
        raise InputError(
            f"option --benchmark: found {text!r}, expected NAME=PATH with one of {known}, or own:NAME=PATH for a set "
            "of environments under a name of its own (letters, digits, - _ .)"
        )
    return Source(kind, name or kind, Path(path))


def load_benchmark(source: Source, **options: Any) -> Benchmark:
    """The benchmark. `options`: of τ-bench, `user` and `scored`. Raises InputError, RecordError."""
    if not source.path.exists():
        place = PAPER_SUITE["toolhop" if source.kind.startswith("toolhop") else source.kind]
        raise InputError(f"{source.path}: found nothing, expected {source.kind}. It comes from {place.origin}")
    return BENCHMARKS[source.kind](source.path, source.name, **options)


def average_of(name: str) -> Literal["items", "groups"]:
    """What the means of a benchmark of that name are over. Sets of environments have names of their own."""
    from toolfoundry.evaluate import rotbench, taubench, toolhop

    for about in (rotbench.ABOUT, taubench.ABOUT, toolhop.ABOUT):
        if about.name == name:
            return about.average
    return "items"


# --- the paper's row -----------------------------------------------------------------------------------------------


class Column(NamedTuple):
    """A column of Table 2: its title, and which metric of which benchmark stands in it."""

    title: str
    benchmark: str
    metric: str


PAPER_COLUMNS = (
    Column("Solve-P", "own", "solve_p"),
    Column("Solve-R", "own", "solve_r"),
    Column("Solve-F1", "own", "solve_f1"),
    Column("ToolHop AC", "toolhop", "answer"),
    Column("τ Pass^1", "tau-bench", "pass_1"),
    Column("RoT TS", "rotbench", "ts"),
    Column("RoT PI", "rotbench", "pi"),
    Column("RoT CF", "rotbench", "cf"),
)


def paper_row(results: Mapping[str, Result]) -> dict[str, Cell | None]:
    """The row of Table 2 from results by one rule, by the kind of benchmark; None where a benchmark is not there.

    The last entry is "Avg", None where not all columns have a mean. Figures are shares, not yet percent.
    """
    row: dict[str, Cell | None] = {
        column.title: results[column.benchmark].overall.metrics.get(column.metric)
        if column.benchmark in results
        else None
        for column in PAPER_COLUMNS
    }
    row["Avg"] = _average(results) if all(cell and cell.mean is not None for cell in row.values()) else None
    return row


def _average(results: Mapping[str, Result]) -> Cell:
    kinds = list(dict.fromkeys(column.benchmark for column in PAPER_COLUMNS))
    weights = {kind: sum(column.benchmark == kind for column in PAPER_COLUMNS) / len(PAPER_COLUMNS) for kind in kinds}
    cells = {kind: results[kind].paper for kind in kinds}
    errors = [cells[kind].stderr for kind in kinds]
    squares = [(weights[kind] * (cells[kind].stderr or 0.0)) ** 2 for kind in kinds]
    return Cell(
        mean=math.fsum(weights[kind] * (cells[kind].mean or 0.0) for kind in kinds),
        stderr=None if None in errors else math.sqrt(math.fsum(squares)),
        n=sum(cell.n for cell in cells.values()),
        items=sum(cell.items for cell in cells.values()),
        clusters=sum(cell.clusters for cell in cells.values()),
    )
