"""toolfoundry-bench: 400 environments that no training has seen, the same bytes wherever they are built.

    toolfoundry-bench        the profile `ftrl` at three levels: easy, medium (as the published test set) and hard
    toolfoundry-bench-tiny   the profile `tiny`, for policies of its small vocabulary

A hundred environments for each scenario, in the order level, scenario, index; the level is in `provenance.labels`.
Names (and, for tiny, relations) are those of the split `test`, which the split `train` shares with no seed. What a
benchmark is stands here and in the procedural author; `SHA256` holds what its files must be. A change of either that
changes the bytes is a new version of the benchmark. So that releases which build the same write the same, a proof
names the benchmark where it would name the release.
"""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from toolfoundry.build.authors.procedural.profile import FTRL, TINY, Profile
from toolfoundry.build.knobs import with_knobs
from toolfoundry.build.ledger import Ledger
from toolfoundry.build.pipeline import Recipe, build_on_cores
from toolfoundry.errors import InputError
from toolfoundry.seeds import derive_seed
from toolfoundry.store import RecordWriter, read
from toolfoundry.types import EnvSpec, ScenarioKind

__all__ = ["BENCHES", "LEVELS", "SHA256", "VERSION", "Part", "Verdict", "build_bench", "file_name", "parts", "verify"]

VERSION = 1
LEVELS: Mapping[str, Sequence[str]] = {
    "easy": """goals.parallel_single_hop=2..2:2 goals.multi_hop=2..3:2.4 goals.parallel_multi_hop=3..5:4
        tools.single_hop=2..5:3.5 tools.parallel_single_hop=3..6:4.5 tools.multi_hop=3..7:5
        tools.parallel_multi_hop=5..9:7 words.multi_hop=20 words.parallel_multi_hop=28 parameters=1..6:3.5
        lines=10..60:28 scaling.generalize=1 scaling.expand=1 scaling.retype=1 scaling.near=0.3""".split(),
    "medium": (),
    "hard": """goals.parallel_single_hop=3..6:4 goals.multi_hop=6..12:8.5 goals.parallel_multi_hop=8..18:12
        tools.single_hop=16..32:24 tools.parallel_single_hop=16..32:24 tools.multi_hop=20..40:28
        tools.parallel_multi_hop=24..40:32 words.single_hop=18 words.parallel_single_hop=34 words.multi_hop=48
        words.parallel_multi_hop=75 parameters=2..14:9 lines=15..110:55 scaling.generalize=3 scaling.expand=3
        scaling.retype=3 scaling.extend=3 scaling.near=0.8""".split(),
}
_TINY = ("nouns=familiar", 'hold_out=["relations"]')
SHA256: Mapping[str, str] = {  # of the files, whole and level by level
    "toolfoundry-bench.jsonl": "ca868630d68ba9bbda100f8e25f5db0f76335d4ac5fe11180e4730eeea4a949f",
    "toolfoundry-bench-easy.jsonl": "a73f9eacc937782214730220d333ffaddc76c39b071ade5ab79054480ca60558",
    "toolfoundry-bench-medium.jsonl": "4d2cdb9fabaeae5a67f70738bc2ac025cbcc09f5bee1dccb07ba29093d6a9ac4",
    "toolfoundry-bench-hard.jsonl": "d8e6a117f0a2abd1ee0867fe77556eb129aed3b760b3f22d215b59dd67e2171a",
    "toolfoundry-bench-tiny.jsonl": "70f55b7fac0887a774371508f45621676f99c1692b9950160af2de1355c56141",
}


class Part(NamedTuple):
    """What is built in one go: the environments of one level and scenario."""

    level: str
    recipe: Recipe
    size: int


class _Bench(NamedTuple):
    """A benchmark as it is built: the counts of its levels are per scenario and make 100."""

    profile: Profile
    levels: Mapping[str, Sequence[str]]
    counts: Mapping[str, int]


BENCHES: Mapping[str, _Bench] = {
    "toolfoundry-bench": _Bench(FTRL, LEVELS, {"easy": 34, "medium": 33, "hard": 33}),
    "toolfoundry-bench-tiny": _Bench(TINY, {"tiny": _TINY}, {"tiny": 100}),
}


def parts(name: str, level: str | None = None) -> list[Part]:
    """What a benchmark is made of, or one level of it. Raises InputError for names that are none."""
    if name not in BENCHES:
        raise InputError(f"found benchmark {name!r}, expected {' or '.join(BENCHES)}")
    bench = BENCHES[name]
    if level is not None and level not in bench.levels:
        raise InputError(f"{name}: found level {level!r}, expected {', '.join(bench.levels)}")
    return [
        Part(one, _recipe(name, bench.profile, one, settings, kind), bench.counts[one])
        for one, settings in bench.levels.items()
        if level in (None, one)
        for kind in get_args(ScenarioKind)
    ]


def _recipe(name: str, base: Profile, level: str, settings: Sequence[str], kind: ScenarioKind) -> Recipe:
    """All of one scenario; each part has names of its own by its seed."""
    profile = with_knobs(base, [*settings, f"name={name}-{level}"]).model_copy(update={"shares": {kind: 1.0}})
    return Recipe(profile=profile, seed=derive_seed(name, VERSION, level, kind) % 2**32, split="test")


def file_name(name: str, level: str | None = None) -> str:
    return f"{name}.jsonl" if level is None else f"{name}-{level}.jsonl"


def build_bench(
    name: str,
    folder: Path,
    *,
    level: str | None = None,
    each: int | None = None,
    jobs: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> Path:
    """Builds a benchmark, or one level of it, into a folder, and returns the file. What was there is replaced.

    Args:
        each: only so many of the first environments of each part, for a quick look.
        jobs: processes; their number does not change a byte.
        on_progress: told how many environments were accepted since the last time.
    """
    wanted = [part._replace(size=min(part.size, each or part.size)) for part in parts(name, level)]
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / file_name(name, level)
    accepted = 0

    def report(counts: Counter[str]) -> None:
        nonlocal accepted
        if on_progress is not None:
            on_progress(counts["accepted"] - accepted)
        accepted = counts["accepted"]

    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as temporary:
        built = Path(temporary) / output.name
        total = 0
        with Ledger(built, "new") as ledger:  # one for all parts: near-duplicates are looked for in the whole
            for part in wanted:
                total += part.size
                briefs = part.recipe.briefs()
                while ledger.accepted < total:
                    given = list(itertools.islice(briefs, total - ledger.accepted))
                    build_on_cores(part.recipe, given, ledger, count=total, jobs=jobs, on_progress=report)
        labelled = Path(temporary) / "labelled.jsonl"
        with RecordWriter(labelled, EnvSpec) as writer:
            for spec, of in zip(read(built, EnvSpec), _levels(wanted), strict=True):
                writer.write(_labelled(spec, name, of))
        labelled.replace(output)
    return output


def _levels(wanted: Sequence[Part]) -> Iterator[str]:
    for part in wanted:
        yield from [part.level] * part.size


def _labelled(spec: EnvSpec, name: str, level: str) -> EnvSpec:
    """The environment as part of the benchmark; its id, which is of what a model can notice, stays."""
    assert spec.proof is not None  # nothing is built without one
    version = f"{name} {VERSION}"
    labels = {**spec.provenance.labels, "benchmark": version, "level": level}
    return spec.model_copy(
        update={
            "proof": spec.proof.model_copy(update={"version": version}),
            "provenance": spec.provenance.model_copy(update={"labels": labels}),
        }
    )


class Verdict(NamedTuple):
    """Whether one file is what it is called. `expected` None: no file of that name is known."""

    path: Path
    sha256: str
    expected: str | None

    @property
    def right(self) -> bool:
        return self.sha256 == self.expected


def verify(path: Path) -> list[Verdict]:
    """The files of benchmarks in a folder, or the one that is named, held against their hashes.

    Raises InputError where there is nothing to verify.
    """
    files = [path / file for file in SHA256 if (path / file).is_file()] if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: has no file of a benchmark; expected {', '.join(SHA256)}")
    return [Verdict(file, sha256_of(file), SHA256.get(file.name)) for file in files]


def sha256_of(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{file}: cannot be opened: {error.strerror}") from error
