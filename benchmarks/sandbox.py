"""Measures the sandbox against the released way of calling tools, and what a worker, a state and a hang cost.

    python benchmarks/sandbox.py --ftrl test.jsonl [--tools corpus.py] [--rounds 3] [--every 1] [--json FILE]

Four ways, taken in turns for each tool, so that all meet the same load of the machine:
batch     the sandbox, 64 calls at once
single    the sandbox, one call after the other
released  as FTRL's release does it: the source executed for each call, in a thread that is waited for
plain     the source executed in a fresh dict for each call, no thread, no limit
The last two run tool code without walls, in a throwaway process without environment variables, in an empty folder.

FTRL's tools are called with the plainest arguments that their schemas allow. The corpus, if given, is a Python file
that defines TOOLS, a list of (label, source, function, [arguments, ...]). Calls of the first two ways are counted after
a first batch: a session keeps its worker, and what a new one costs is measured apart.
"""

from __future__ import annotations

import argparse
import json
import platform
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from toolfoundry.placeholders import placeholder_arguments
from toolfoundry.sandbox import Sandbox, SandboxLimits, Session

BATCH, BATCHES, SINGLES, BARE_CALLS = 64, 8, 64, 8  # some milliseconds for each way
WAYS = ("batch", "single", "released", "plain")

BARE = '''
import json, os, sys, threading, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(os.open("/dev/null", os.O_WRONLY), 1)

def text(value):
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)

def plain(source, name, arguments):
    try:
        names = {"__name__": "tool"}
        exec(source, names)
        return text(names[name](**arguments))
    except Exception as error:
        return str(error)

def released(source, name, arguments):
    """exec in a function's own scope, then eval of the name, in a thread with a time limit."""
    got = []
    def run():
        try:
            scope = {"arguments": arguments}
            exec(source, globals(), scope)
            got.append(text(eval(name, globals(), scope)(**arguments)))
        except BaseException as error:
            got.append("an error occured when call " + name + ": " + str(error))
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    return got[0] if got else "timeout"

for line in sys.stdin:
    way, source, name, arguments, count = json.loads(line)
    call = {"plain": plain, "released": released}[way]
    began = time.perf_counter()
    for i in range(count):
        call(source, name, arguments[i % len(arguments)])
    print(time.perf_counter() - began, file=answers, flush=True)
'''


class Case(NamedTuple):
    """A tool with arguments to call it with."""

    origin: str
    source: str
    name: str
    arguments: list[dict[str, Any]]


class Bare:
    """The throwaway process."""

    def __init__(self, folder: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-s", "-c", BARE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd=folder,
            text=True,
        )

    def seconds(self, way: str, case: Case, count: int) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([way, case.source, case.name, case.arguments, count]) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def ftrl_cases(file: Path) -> list[Case]:
    cases: list[Case] = []
    for line in file.read_text().splitlines():
        row = json.loads(line)
        codes = json.loads(row["codes"])
        for tool in json.loads(row["tools"]):
            name, parameters = tool["function"]["name"], tool["function"]["parameters"]
            cases.append(Case("ftrl", codes[name], name, [placeholder_arguments(parameters)]))
    return cases


def corpus_cases(file: Path) -> list[Case]:
    return [Case("corpus", source, name, calls) for _, source, name, calls in runpy.run_path(str(file))["TOOLS"]]


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(box: Sandbox, bare: Bare, case: Case) -> dict[str, float]:
    """Calls a second, by way."""

    def calls(count: int) -> list[tuple[str, dict[str, Any]]]:
        return [(case.name, case.arguments[i % len(case.arguments)]) for i in range(count)]

    def one_by_one(session: Session) -> None:
        for name, arguments in calls(SINGLES):
            session.call(name, arguments)

    with box.session({case.name: case.source}) as session:
        session.batch(calls(BATCH))
        batch = timed(lambda: [session.batch(calls(BATCH)) for _ in range(BATCHES)]) / BATCHES
        single = timed(lambda: one_by_one(session))
    return {
        "batch": BATCH / batch,
        "single": SINGLES / single,
        "released": BARE_CALLS / bare.seconds("released", case, BARE_CALLS),
        "plain": BARE_CALLS / bare.seconds("plain", case, BARE_CALLS),
    }


def quartiles(values: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return {"median": middle, "low": low, "high": high, "n": len(values)}


def throughput(box: Sandbox, cases: list[Case], rounds: int) -> dict[str, Any]:
    """Over tools: median and quartiles of each tool's median over the rounds, and of its ratios within a round."""
    found: list[list[dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        bare = Bare(folder)
        try:
            for _ in range(rounds):
                found.append([measure(box, bare, case) for case in cases])
        finally:
            bare.close()
    per_tool = [[found[r][i] for r in range(rounds)] for i in range(len(cases))]
    result: dict[str, Any] = {"tools": len(cases), "rounds": rounds}
    for way in WAYS:
        result[way] = quartiles([statistics.median(m[way] for m in runs) for runs in per_tool])
    for way in ("batch", "single"):
        for other in ("released", "plain"):
            ratios = [statistics.median(m[way] / m[other] for m in runs) for runs in per_tool]
            of_rounds = [statistics.median(m[way] / m[other] for m in a_round) for a_round in found]
            result[f"{way}/{other}"] = quartiles(ratios) | {"rounds": [round(value, 1) for value in of_rounds]}
    return result


def private_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_")) / 1024


def workers(box: Sandbox, count: int, state: Any = None) -> dict[str, Any]:
    """Milliseconds from asking for a session to its first result, and the worker's private memory, in MB."""
    source = "def f(n, data=None):\n    return n + {}\n"
    found: dict[str, list[float]] = {"new_sources_ms": [], "same_sources_ms": [], "private_mb": []}
    for i in range(count):
        for kind in ("new_sources_ms", "same_sources_ms"):
            began = time.perf_counter()
            with box.session({"f": source.format(i)}, state=state) as session:
                session.call("f", {"n": i})
                found[kind].append(1e3 * (time.perf_counter() - began))
                assert session.worker is not None
                found["private_mb"].append(private_mb(session.worker.pid))
    return {kind: quartiles(values) for kind, values in found.items()}


def hangs(box: Sandbox, count: int, call_s: float = 0.2) -> dict[str, Any]:
    """Milliseconds beyond the limit until the host has the `timeout`."""
    bodies = {
        "loop": "while True: pass",
        "loop_in_c": "sum(range(10 ** 15))",
        "stand_still": "import threading; l = threading.Lock(); l.acquire(); l.acquire()",
    }
    result: dict[str, Any] = {}
    for name, body in bodies.items():
        late: list[float] = []
        for _ in range(count):
            with box.session(
                {"f": f"def f(hang):\n  if hang:\n    {body}\n"}, limits=SandboxLimits(call_s=call_s)
            ) as session:
                session.call("f", {"hang": False})
                late.append(1e3 * (timed(lambda: session.call("f", {"hang": True})) - call_s))
        result[name] = quartiles(late) | {"max": max(late)}
    return result


def show(report: dict[str, Any]) -> None:
    print(f"Python {report['python']}, {report['machine']}\n")
    for name, found in report["throughput"].items():
        print(f"{name}: {found['tools']} tools, {found['rounds']} rounds")
        print("| | median over tools | quartiles | medians of the rounds |\n|---|---|---|---|")
        for key, value in found.items():
            if isinstance(value, dict):
                form = "{:.1f}x" if "/" in key else "{:,.0f} calls/s"
                low, middle, high = (form.format(value[k]) for k in ("low", "median", "high"))
                print(f"| {key} | {middle} | {low} - {high} | {value.get('rounds', '')} |")
        print()
    print("| | median | quartiles | max |\n|---|---|---|---|")
    for group in ("worker", "worker with a state of 2 MB", "late after a limit of 200 ms, ms"):
        for key, value in report[group].items():
            most = f"{value['max']:.1f}" if "max" in value else ""
            print(f"| {group}: {key} | {value['median']:.1f} | {value['low']:.1f} - {value['high']:.1f} | {most} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ftrl", type=Path, help="FTRL's test set, JSONL")
    parser.add_argument("--tools", type=Path, help="a Python file that defines TOOLS")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--every", type=int, default=1, help="only every n-th tool")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    sets = {
        "FTRL's tools": ftrl_cases(options.ftrl)[:: options.every] if options.ftrl else [],
        "corpus": corpus_cases(options.tools)[:: options.every] if options.tools else [],
    }
    state = {"rows": [{"id": i, "name": "n" * 50, "values": [i, i + 1]} for i in range(22_000)]}
    with Sandbox() as box:
        report = {
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, Linux {platform.release()}",
            "throughput": {name: throughput(box, cases, options.rounds) for name, cases in sets.items() if cases},
            "worker": workers(box, 20),
            "worker with a state of 2 MB": workers(box, 5, state),
            "late after a limit of 200 ms, ms": hangs(box, 10),
        }
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
