"""Plays the same rollouts in one framework and measures it: `measure.py ours|inspect|verifiers|trl [--rollouts 1000]`.

Single-hop environments of the profile `ftrl`: the policy calls the right tool, reads the result, and answers. The model
is a server on loopback that answers at once, so what is measured is the framework with the adapter of ours in it: the
same tools in the same sandbox, the same reward. `ours_scripted` is without the server, as TRL's generation is.

    rollouts/s     wall time from the first rollout to the last reward
    CPU per turn   of the framework's processes, without the server and without its start-up
    memory         the most that its processes had at a time, shared pages counted once (PSS, sampled 5 times a second)

Appends one line of JSON to OUT/peers.jsonl, which table.py reads.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
PEERS = {
    "ours": ".venv",
    "ours_scripted": ".venv",
    "inspect": ".venv-inspect",
    "verifiers": ".venv-verifiers",
    "trl": ".venv",
}
SAMPLES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--rollouts", type=int, default=1000, help=f"a multiple of {SAMPLES}")
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "peers" / "out")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    envs = environments(chosen.out, chosen.rollouts // SAMPLES)
    python = ROOT / PEERS[chosen.peer] / "bin" / "python"
    with serving(envs) as url:
        options = {"envs": envs, "url": url, "samples": SAMPLES, "concurrency": chosen.concurrency}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        command = [str(python), str(HERE / f"play_{chosen.peer}.py"), *words]
        found = measured(command)
    row = {"peer": chosen.peer, "concurrency": chosen.concurrency, **found}
    with (chosen.out / "peers.jsonl").open("a") as lines:
        lines.write(json.dumps(row) + "\n")
    print(json.dumps(row, indent=1))


def environments(folder: Path, count: int) -> Path:
    """So many single-hop environments; built where they are not there yet."""
    path = folder / f"single-{count}.jsonl"
    if not path.exists():
        others = ("parallel_single_hop", "multi_hop", "parallel_multi_hop")
        none = [word for name in others for word in ("--set", f"shares.{name}=0")]
        command = [str(ROOT / ".venv" / "bin" / "toolfoundry"), "build", "--profile", "ftrl", "--seed", "77", *none]
        subprocess.run([*command, "-n", str(count), "-o", str(path)], check=True, capture_output=True)
    return path


@contextlib.contextmanager
def serving(envs: Path) -> Iterator[str]:
    """The scripted model server, in our environment; gives the base URL."""
    command = [str(ROOT / ".venv" / "bin" / "python"), str(HERE / "model_server.py"), str(envs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        finally:
            server.terminate()


def measured(command: list[str]) -> dict[str, float | str]:
    """Runs a player: what it reports, its CPU time and its memory. Exits where it fails or a reward is not 1."""
    quiet = {"TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    player = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **quiet})
    done, peaks = threading.Event(), [0]

    def watch() -> None:
        while not done.wait(0.2):
            peaks.append(memory_of(player.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert player.stdout is not None
    lines = player.stdout.readlines()
    _, status, usage = os.wait4(player.pid, 0)
    player.returncode = os.waitstatus_to_exitcode(status)
    done.set()
    watcher.join()
    reports = [json.loads(line.removeprefix("REPORT ")) for line in lines if line.startswith("REPORT ")]
    if player.returncode or len(reports) != 1:
        sys.exit(f"the player failed with code {player.returncode}: {''.join(lines)[-2000:]}")
    [report] = reports
    if abs(report["reward"] - 1) > 1e-6:
        sys.exit(f"mean reward {report['reward']}, expected 1: it has not played what was to be played")
    cpu_s = usage.ru_utime + usage.ru_stime - report["cpu_before_s"]
    rollouts = report["rollouts"]
    return {
        "version": report["version"],
        "rollouts": rollouts,
        "rollouts_per_s": rollouts / report["seconds"],
        "cpu_ms_per_turn": 1000 * cpu_s / (2 * rollouts),
        "memory_mb": max(peaks) / 1e6,
        "note": report["note"],
    }


def memory_of(pid: int) -> int:
    """Bytes of a process and all below it. One that ends while we look counts as nothing."""
    total, waiting = 0, [pid]
    while waiting:
        here = waiting.pop()
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{here}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
            for task in Path(f"/proc/{here}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
    return total


if __name__ == "__main__":
    main()
