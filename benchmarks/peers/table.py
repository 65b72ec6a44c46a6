"""The last measurement of each framework as a Markdown table: `table.py [--out FOLDER]`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

TITLES = {
    "ours": "ToolFoundry",
    "ours_scripted": "ToolFoundry",
    "inspect": "inspect_ai",
    "verifiers": "verifiers",
    "trl": "TRL",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    rows = [json.loads(line) for line in (parser.parse_args().out / "peers.jsonl").read_text().splitlines()]
    last = {row["peer"]: row for row in rows}
    print("| framework | rollouts | at a time | rollouts/s | CPU per turn | peak memory | |")
    print("|---|---|---|---|---|---|---|")
    for peer in sorted(last, key=lambda peer: -last[peer]["rollouts_per_s"]):
        row = last[peer]
        numbers = f"{row['rollouts_per_s']:.1f} | {row['cpu_ms_per_turn']:.1f} ms | {row['memory_mb']:.0f} MB"
        name = f"{TITLES[peer]} {row['version']}"
        print(f"| {name} | {row['rollouts']:,} | {row['concurrency']} | {numbers} | {row['note']} |")


if __name__ == "__main__":
    main()
