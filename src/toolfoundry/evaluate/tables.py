"""How results are shown: the same tables in Markdown and, by the command line, on the terminal. Figures in percent.

Names of groups and causes of failures come from data and servers: they are shown as text, whatever they hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from toolfoundry.console import SCENARIOS
from toolfoundry.evaluate.attempts import Rule
from toolfoundry.evaluate.results import Cell, Effort, Result
from toolfoundry.untrusted import visible

__all__ = ["Shown", "effort_line", "markdown", "pass_table", "percent", "score_table"]


class Shown(NamedTuple):
    """A table of text: the first column of each row is its name."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def percent(cell: Cell | None) -> str:
    """`41.61±2.30`; without the error where there is none, and "–" without a mean."""
    if cell is None or cell.mean is None:
        return "–"
    return f"{100 * cell.mean:.2f}" + ("" if cell.stderr is None else f"±{100 * cell.stderr:.2f}")


def score_table(result: Result) -> Shown:
    """Rows are groups, the first is over all; n is the number of attempts, unscored ones included."""
    rows = result.rows if len(result.rows) > 2 else result.rows[:1]
    sizes = {"n": [row.n for row in rows], "items": [row.items for row in rows]}
    if sizes["n"] == sizes["items"]:
        del sizes["items"]
    header = ["", *result.metrics.values(), *sizes, "unscored"]
    cells = [
        [
            _short(row.group),
            *(percent(row.metrics[name]) for name in result.metrics),
            *(f"{numbers[index]:,}" for numbers in sizes.values()),
            f"{100 * row.unscored / row.n:.1f}%" if row.unscored else "0",
        ]
        for index, row in enumerate(rows)
    ]
    over = ", all: mean of the groups" if result.average == "groups" and len(rows) > 1 else ""
    return Shown(f"{result.title}, rule {result.rule}{over}", header, cells)


def pass_table(result: Result) -> Shown | None:
    """pass^1, pass^2, ...; None where nothing was tried more than once."""
    most = max((len(cells) for row in result.rows for cells in row.passes.values()), default=0)
    if most == 0:
        return None
    rows = [
        [
            f"{_short(row.group)}: {result.metrics[name]}",
            *map(percent, cells),
            *["–"] * (most - len(cells)),
        ]
        for row in result.rows
        for name, cells in row.passes.items()
    ]
    title = f"{result.title}, rule {result.rule}: all of j tries succeed"
    return Shown(title, ["", *(f"pass^{j}" for j in range(1, most + 1))], rows)


def _paper_table(model: str, rows: Mapping[Rule, Mapping[str, Cell | None]]) -> Shown:
    """The row of Table 2, by each rule."""
    titles = list(next(iter(rows.values())))
    cells = [[f"{visible(model, 60)}, {rule}", *map(percent, row.values())] for rule, row in rows.items()]
    return Shown("Table 2 of the paper", ["", *titles], cells)


def effort_line(effort: Effort) -> str:
    parts = [f"{effort.turns:,} turns, {effort.calls:,} tool calls"]
    if effort.prompt_tokens or effort.completion_tokens:
        parts.append(f"{effort.prompt_tokens:,} prompt and {effort.completion_tokens:,} completion tokens")
        if effort.unmetered:
            parts.append(f"{effort.unmetered:,} turns without counts")
    if effort.cost is not None:
        parts.append(f"cost {'at least ' if effort.unmetered else ''}{effort.cost:.4g}")
    if effort.again:
        parts.append(f"{effort.again:,} attempts made again after a failure")
    return "; ".join(parts)


def markdown(
    model: str, results: Mapping[str, Mapping[Rule, Result]], row: Mapping[Rule, Mapping[str, Cell | None]] | None
) -> str:
    """The whole evaluation as a page: both rules, every group, what it took and what failed."""
    parts = [f"# Evaluation of {_plain(model)}", "Percent, ± standard error clustered by question."]
    if row is not None:
        parts += [_table(_paper_table(model, row))]
    for name, by_rule in results.items():
        parts.append(f"## {_plain(name)}")
        for result in by_rule.values():
            parts.append(_table(score_table(result)))
            if (passes := pass_table(result)) is not None:
                parts.append(_table(passes))
        result = next(iter(by_rule.values()))
        parts.append(effort_line(result.effort) + ".")
        parts += [f"- {count:,} unscored: {_plain(cause)}" for cause, count in result.failures.items()]
    return "\n\n".join(parts) + "\n"


def _table(shown: Shown) -> str:
    lines = [f"**{_plain(shown.title)}**", ""]
    lines.append("| " + " | ".join(map(_plain, shown.header)) + " |")
    lines.append("|---" * len(shown.header) + "|")
    lines += ["| " + " | ".join(map(_plain, row)) + " |" for row in shown.rows]
    return "\n".join(lines)


def _short(group: str) -> str:
    return SCENARIOS.get(group, group)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", visible(text, 300))
