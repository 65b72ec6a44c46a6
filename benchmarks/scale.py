"""Large sets: what they cost by size, whether memory stays flat, how large they are, and how fast one record is found.

    python benchmarks/scale.py --tiny 100000 --ftrl 20000 -o scale/     everything, as one Markdown page
    python benchmarks/scale.py access --records 1000000 -o scale/       random access alone
    python benchmarks/scale.py page -o scale/                           the page again, from what was measured

Each set is built and checked by the commands that a user types. While they run, processes are looked at once a second:
environments written, CPU seconds, memory (PSS, so that shared pages count once). Start it again after an interruption:
builds go on where they were, and with `--ray ADDRESS` checks do too. Figures of a million and of a cluster are
extrapolations, and the page says so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from toolfoundry.sets import RECORDS_PER_FRAME, open_set, pack_lines
from toolfoundry.store import RecordWriter, lines, load_record
from toolfoundry.types import EnvSpec

TICK_S = 1.0
CLOCK = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="all", choices=["all", "access", "page"])
    parser.add_argument("--tiny", type=int, default=100_000, help="environments of this profile; 0 for none")
    parser.add_argument("--ftrl", type=int, default=20_000)
    parser.add_argument("--records", type=int, default=1_000_000, help="records of the set that is sampled at random")
    parser.add_argument("--compared", type=int, default=20_000, help="records of the sets whose formats are compared")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--ray", help="build and check on this cluster")
    parser.add_argument("--nodes", type=int, default=100, help="of the cluster that is extrapolated to")
    parser.add_argument("--node-cores", type=int, default=16)
    parser.add_argument("-o", "--output", type=Path, default=Path("scale"))
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    if given.what == "all":
        for profile, n in (("tiny", given.tiny), ("ftrl", given.ftrl)):
            if n:
                build_and_check(profile, n, given)
    if given.what in ("all", "access"):
        measure_access(given)
    page = "\n".join(write_page(given))
    (given.output / "scale.md").write_text(page + "\n")
    print(page)


# --- building and checking -------------------------------------------------------------------------------------------


def build_and_check(profile: str, n: int, given: argparse.Namespace) -> None:
    """Runs both commands, each unless it was finished before."""
    envs = given.output / f"{profile}-{n}.jsonl"
    where = ["--ray", given.ray] if given.ray else ["--jobs", str(given.jobs)]
    seed = ["--seed", str(given.seed), "-n", str(n), "--measure", "0", "--json"]
    build = ["build", "--profile", profile, *seed, *where, "--resume", "-o", str(envs)]
    watch(envs, "build", n, build, lambda: records_in(envs))
    check = ["check", str(envs), "--json", *where]
    watch(envs, "check", n, check, lambda: None)


def watch(envs: Path, what: str, n: int, words: list[str], progress: Callable[[], int | None]) -> None:
    """Runs a command and keeps a line a second of what it uses, in ENVS.BUILD.samples.jsonl; a finished one is kept."""
    path = envs.with_suffix(f".{what}.samples.jsonl")
    before = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if before and before[-1].get("finished"):
        return
    if before and what == "check":
        before = []  # a check begins anew; what an interrupted one took is not part of its cost
    elapsed, cpu, own = (before[-1][key] if before else 0.0 for key in ("seconds", "cpu_s", "own_cpu_s"))
    began = time.monotonic()
    result = envs.with_suffix(f".{what}.json")
    with path.open("w") as file, result.open("w") as out:
        for sample in before:
            file.write(json.dumps(sample) + "\n")
        process = subprocess.Popen([sys.executable, "-m", "toolfoundry.cli", *words], stdout=out)
        sample: dict[str, Any] = {}
        while True:
            code = process.poll()
            if code is None and (found := usage(process.pid)) is not None:
                sample = {
                    "seconds": elapsed + time.monotonic() - began,
                    "records": progress(),
                    "cpu_s": cpu + found[0],
                    "own_cpu_s": own + found[1],
                    "pss_mb": found[2],
                }
                file.write(json.dumps(sample) + "\n")
                file.flush()
            if code is not None:
                break
            time.sleep(TICK_S)
        if code:
            raise SystemExit(f"{what} of {envs} ended with {code}; start again to go on")
        sample |= {"seconds": elapsed + time.monotonic() - began, "records": n, "finished": True}
        file.write(json.dumps(sample) + "\n")


def usage(pid: int) -> tuple[float, float, float] | None:
    """CPU seconds of a process with its children, of itself alone, and memory of all in MB; None if it is gone.

    Workers of the sandbox that have ended are in no account: the first figure is too small where they do much.
    """
    cpu = own = memory = 0.0
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        folder = Path("/proc") / str(one)
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            rollup = (folder / "smaps_rollup").read_text()
            for thread in (folder / "task").iterdir():
                waiting += [int(child) for child in (thread / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            if one == pid:
                return None
            continue
        user, system, of_ended_user, of_ended_system = (int(field) / CLOCK for field in fields[11:15])
        cpu += user + system + of_ended_user + of_ended_system
        own = user + system if one == pid else own
        memory += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024
    return cpu, own, memory


_counted: dict[Path, tuple[int, int]] = {}


def records_in(path: Path) -> int:
    """Whole lines after the header, read on from where the last look ended."""
    if not path.exists():
        return 0
    position, count = _counted.get(path, (0, -1))
    with path.open("rb") as file:
        file.seek(position)
        while block := file.read(1 << 20):
            count += block.count(b"\n")
            position += len(block)
    _counted[path] = position, count
    return max(count, 0)


# --- random access ---------------------------------------------------------------------------------------------------


def measure_access(given: argparse.Namespace) -> None:
    """Sizes and times of the formats on the same records, and of the packed one at full size."""
    source = given.output / f"tiny-{given.tiny}.jsonl"
    if not source.exists():
        source = given.output / "tiny-1000.jsonl"
        words = ["build", "--profile", "tiny", "-n", "1000", "--measure", "0", "--force", "-o", str(source)]
        subprocess.run([sys.executable, "-m", "toolfoundry.cli", *words], stdout=subprocess.DEVNULL, check=True)
    rows = [*compared(source, given.compared, given.output)]
    large = given.output / f"packed-{given.records}.jsonl.zst"
    if not large.exists():
        began = time.monotonic()
        pack_lines(repeated(source, given.records), large, EnvSpec)
        print(f"{large}: written in {time.monotonic() - began:.0f} s", file=sys.stderr)
    rows.append({"format": f"packed: frames of {RECORDS_PER_FRAME}", **timed(large)})
    result = {"source": source.name, "different": sum(1 for _ in lines(source, EnvSpec)), "rows": rows}
    (given.output / "access.json").write_text(json.dumps(result, indent=2))


def repeated(source: Path, count: int) -> Iterator[bytes]:
    """As many lines, those of the source over and over: equal ones are far apart, so no frame holds two of them."""
    known = [line for _, line in lines(source, EnvSpec)]
    return (known[number % len(known)] for number in range(count))


def compared(source: Path, count: int, folder: Path) -> Iterator[dict[str, Any]]:
    known = list(repeated(source, count))
    plain, alone = folder / "plain.jsonl", folder / "alone.jsonl.zst"
    for path in (plain, alone):
        with RecordWriter(path, EnvSpec, "overwrite") as writer:
            for line in known:
                writer.write_line(line[:-1])
    packed = folder / "packed.jsonl.zst"
    pack_lines(iter(known), packed, EnvSpec)
    yield {"format": "plain JSONL", **timed(plain)}
    yield {"format": "a frame for each record (as a build writes .zst)", **timed(alone)}
    yield {"format": f"packed: frames of {RECORDS_PER_FRAME}", **timed(packed)}
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        return
    for size in (16, 100):
        path = folder / f"rows-{size}.parquet"
        parquet.write_table(pyarrow.table({"line": known}), path, row_group_size=size, compression="zstd")
        began = time.perf_counter()
        file = parquet.ParquetFile(path, memory_map=True)
        opened = time.perf_counter() - began

        def get(index: int, file: Any = file, size: int = size) -> bytes:
            return file.read_row_group(index // size)["line"][index % size].as_py()

        name = f"Parquet, zstd, row groups of {size}"
        yield {"format": name, **times_of(path, count, opened, get, lambda i, get=get: load_record(EnvSpec, get(i)))}


def timed(path: Path) -> dict[str, Any]:
    began = time.perf_counter()
    with open_set(path, EnvSpec) as records:
        opened = time.perf_counter() - began
        return times_of(path, len(records), opened, records.line, records.__getitem__)


def times_of(
    path: Path, count: int, opened: float, get: Callable[[int], bytes], load: Callable[[int], object]
) -> dict[str, Any]:
    """Milliseconds to find a line, and to have it as a checked record: median and 99th percentile of random places."""
    chance = random.Random(5)
    places = [chance.randrange(count) for _ in range(4000)]
    found: dict[str, Any] = {"records": count, "bytes": path.stat().st_size, "open_ms": opened * 1e3}
    for what, function, some in (("line", get, places), ("record", load, places[:1000])):
        times = []
        for place in some:
            began = time.perf_counter()
            function(place)
            times.append((time.perf_counter() - began) * 1e3)
        times.sort()
        found |= {f"{what}_ms": statistics.median(times), f"{what}_p99_ms": times[len(times) * 99 // 100]}
    return found


# --- the page --------------------------------------------------------------------------------------------------------


def write_page(given: argparse.Namespace) -> Iterator[str]:
    for path in sorted(given.output.glob("*.samples.jsonl")):
        samples = [json.loads(line) for line in path.read_text().splitlines()]
        if samples and samples[-1].get("finished"):
            yield from about_run(path, samples, given)
    if (given.output / "access.json").exists():
        yield from about_access(json.loads((given.output / "access.json").read_text()))


def about_run(path: Path, samples: list[dict[str, Any]], given: argparse.Namespace) -> Iterator[str]:
    name, what = path.name.split(".")[:2]
    profile, n = name.split("-")[0], samples[-1]["records"]
    seconds, cpu, own = (samples[-1][key] for key in ("seconds", "cpu_s", "own_cpu_s"))
    memory = [sample["pss_mb"] for sample in samples]
    middle = len(memory) // 2
    envs = path.with_name(f"{name}.jsonl")
    yield f"## {what}: {n:,} `{profile}`\n"
    yield "| | |\n|---|---|"
    yield f"| environments a second | {n / seconds:,.1f} |"
    yield f"| core-ms of an environment ({given.jobs} cores, busy or not) | {given.jobs * seconds / n * 1e3:.2f} |"
    yield f"| CPU ms: processes that live / the one that writes | {cpu / n * 1e3:.2f} / {own / n * 1e3:.3f} |"
    halves = f"{statistics.mean(memory[:middle] or memory):,.0f}, {statistics.mean(memory[middle:]):,.0f}"
    yield f"| memory, all processes: first half, second half, peak | {halves}, {max(memory):,.0f} MB |"
    grows = slope(samples[middle:], n) * 1e3
    yield f"| memory that grows with the set (second half) | {grows:,.2f} kB an environment |"
    if envs.exists():
        yield f"| bytes of an environment | {envs.stat().st_size / n:,.0f} |"
    if what == "build":
        yield "\n| environments | seconds | core-ms an environment up to here |\n|---|---|---|"
        for sample in curve(samples, n):
            each = given.jobs * sample["seconds"] / sample["records"] * 1e3
            yield f"| {sample['records']:,} | {sample['seconds']:,.0f} | {each:.2f} |"
    cores = given.nodes * given.node_cores
    early = next((s for s in samples if (s["records"] or 0) >= 0.1 * n), None)  # the start is no part of the rest
    more = n - early["records"] if early is not None and early["records"] < n else n
    later = early if more < n and early is not None else {"seconds": 0.0, "own_cpu_s": 0.0}
    at_once = 1e6 * given.jobs * (seconds - later["seconds"]) / more / cores / 60
    writing = 1e6 * (own - later["own_cpu_s"]) / more / 60
    alone = own > cpu / 2  # one process did the work as well
    one = "" if alone else f"; what one process does for all of them: {writing:,.1f} min"
    hours, least = 1e6 * seconds / n / 3600, max(at_once, 0.0 if alone else writing)
    yield (
        f"\nExtrapolated, not measured: a million takes {hours:,.1f} h on this machine, and at least {least:,.1f} min "
        f"on {given.nodes} nodes of {given.node_cores} such cores (the work alone: {at_once:,.1f} min{one}).\n"
    )


def curve(samples: list[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    """The samples at 1, 3, 10, 30 and 100 percent, each once."""
    found: dict[int, dict[str, Any]] = {}
    for share in (0.01, 0.03, 0.1, 0.3, 1.0):
        sample = next((s for s in samples if (s["records"] or 0) >= share * n), samples[-1])
        found.setdefault(sample["records"], sample)
    return list(found.values())


def slope(samples: list[dict[str, Any]], n: int) -> float:
    """Memory in MB that each further environment takes, by least squares over time at the run's mean pace."""
    if len(samples) < 3:
        return 0.0
    times, memory = [s["seconds"] for s in samples], [s["pss_mb"] for s in samples]
    pace = n / samples[-1]["seconds"]
    return statistics.linear_regression(times, memory).slope / pace


def about_access(found: dict[str, Any]) -> Iterator[str]:
    yield f"## One record of many\n\n{found['different']:,} different environments, over and over.\n"
    yield "| format | records | bytes of a record | open, ms | a line, ms (p99) | a checked record, ms (p99) |"
    yield "|---|---|---|---|---|---|"
    for row in found["rows"]:
        yield (
            f"| {row['format']} | {row['records']:,} | {row['bytes'] / row['records']:,.0f} | {row['open_ms']:,.1f} "
            f"| {row['line_ms']:.3f} ({row['line_p99_ms']:.3f}) | {row['record_ms']:.3f} ({row['record_p99_ms']:.3f}) |"
        )


if __name__ == "__main__":
    main()
