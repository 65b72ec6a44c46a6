"""The tables of docs/leaderboard.md: every scripted policy on toolfoundry-bench, and models on the tiny one.

    toolfoundry bench build -o bench
    python benchmarks/leaderboard.py bench --model "warm start=tiny" --model "GRPO=runs/grpo/final"

Each row is a run of `toolfoundry evaluate` in the work folder, which is gone on with where it is there. With `--page`
the tables replace those between the page's markers; else they are printed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from toolfoundry.console import SCENARIOS
from toolfoundry.evaluate.attempts import Attempt
from toolfoundry.evaluate.bench import BENCHES, file_name, verify
from toolfoundry.evaluate.results import Cell, Value, estimate
from toolfoundry.policies.scripted import SCRIPTED
from toolfoundry.store import read
from toolfoundry.types import EnvSpec

METRICS = {"solve_p": "Solve-P", "solve_r": "Solve-R", "solve_f1": "Solve-F1", "answer": "answer"}
TINY = "toolfoundry-bench-tiny"


class Entry(NamedTuple):
    """A row: its label, what plays it (a scripted policy or a model), and further options of `evaluate`."""

    label: str
    model: str
    options: Sequence[str] = ()


def play(entry: Entry, bench: str, environments: Path, work: Path) -> Path:
    """The attempts of one row at one benchmark; what was done before is not done again."""
    folder = work / bench / entry.label.replace(" ", "-")
    command = [sys.executable, "-m", "toolfoundry.cli", "evaluate", entry.model, "-o", str(folder)]
    command += ["--benchmark", f"own:{bench}={environments}", "--resume", *entry.options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / f"{bench}.jsonl"


def row(label: str, attempts: Path, column_of: Callable[[Attempt], str], columns: Sequence[str]) -> str:
    found = list(read(attempts, Attempt))
    cells = [_mean(found, metric) for metric in METRICS]
    cells += [_mean([one for one in found if column_of(one) == column], "solve_f1", error=False) for column in columns]
    unscored = sum(not one.scores for one in found)
    return f"| {label} | {' | '.join(cells)} | {unscored} |"


def _mean(attempts: Sequence[Attempt], metric: str, *, error: bool = True) -> str:
    values = [
        Value(one.group, one.trajectory.task.spec_id, one.cluster, one.scores["fixed"][metric])
        for one in attempts
        if metric in one.scores.get("fixed", {})
    ]
    cell: Cell = estimate(values)
    if cell.mean is None:
        return "–"
    spread = f" ± {100 * cell.stderr:.1f}" if error and cell.stderr is not None else ""
    return f"{100 * cell.mean:.1f}{spread}"


def table(bench: str, environments: Path, entries: Sequence[Entry], work: Path) -> str:
    """One benchmark: four scores with standard errors, then Solve-F1 by level (tiny: by scenario)."""
    labels: Mapping[str, str] = {spec.id: str(spec.provenance.labels["level"]) for spec in read(environments, EnvSpec)}
    levels = list(dict.fromkeys(labels.values()))
    if len(levels) > 1:
        columns, titles = levels, [f"F1 {level}" for level in levels]

        def column_of(attempt: Attempt) -> str:
            return labels[attempt.trajectory.task.spec_id]
    else:
        columns, titles = list(SCENARIOS), [f"F1 {title}" for title in SCENARIOS.values()]

        def column_of(attempt: Attempt) -> str:
            return attempt.group

    heads = ["policy", *METRICS.values(), *titles, "unscored"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [row(one.label, play(one, bench, environments, work), column_of, columns) for one in entries]
    return "\n".join(lines)


def put(page: Path, name: str, text: str) -> None:
    """Replaces what stands between the markers of a table."""
    before, start, rest = page.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not (start and end):
        raise SystemExit(f"{page}: has no markers <!-- {name} --> and <!-- /{name} -->")
    page.write_text(f"{before}{start}{text}\n{end}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path, help="folder of `toolfoundry bench build`")
    parser.add_argument("--work", type=Path, default=Path("out/leaderboard"), help="where the runs are kept")
    parser.add_argument("--model", action="append", default=[], metavar="LABEL=MODEL", help="a row of the tiny table")
    parser.add_argument("--max-tokens", type=int, default=128, help="of one completion of a model")
    parser.add_argument("--page", type=Path, help="write the tables into this page")
    options = parser.parse_args()
    if wrong := [verdict.path for verdict in verify(options.bench) if not verdict.right]:
        raise SystemExit(f"{wrong[0]}: is not the published benchmark; `toolfoundry bench build` makes it")
    scripted = [Entry(name, name) for name in SCRIPTED]
    models: list[Entry] = []
    for given in options.model:
        label, equals, model = given.partition("=")
        if not equals:
            raise SystemExit(f"--model {given}: expected LABEL=MODEL")
        models.append(Entry(label, model, ["--policy", "transformers", "--max-tokens", str(options.max_tokens)]))
    for bench in BENCHES:
        entries = [*scripted, *models] if bench == TINY else scripted
        text = table(bench, options.bench / file_name(bench), entries, options.work)
        if options.page is None:
            print(f"\n{bench}\n{text}")
        else:
            put(options.page, bench, text)


if __name__ == "__main__":
    main()
