"""A comparison as tables: for the terminal, as Markdown and as a page. Shares are shown in percent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolfoundry import __version__
from toolfoundry.console import SCENARIOS
from toolfoundry.evaluate.compare import TITLES, Comparison, Flips, Pairing, Row, Side
from toolfoundry.page import render_page
from toolfoundry.untrusted import visible

__all__ = ["print_comparison", "to_html", "to_markdown"]

ARROWS = {"up": "↑", "down": "↓", "same": "=", None: "–"}
HEADINGS = ("group", "metric", "pairs", "A", "B", "B − A", "95% interval", "", "p (Holm)")
_MOST_ITEMS = 50


class _Line(NamedTuple):
    """One row as it is shown. `verdict` colours it."""

    cells: tuple[str, ...]
    verdict: str


def to_markdown(found: Comparison) -> str:
    """The comparison as a Markdown document."""
    lines = ["# Two runs compared", ""]
    lines += ["| | run | policy | attempts | not in the other | unscored |", "|---|---|---|---|---|---|"]
    for name, side in (("A", found.a), ("B", found.b)):
        cells = [name, _plain(side.path), _plain(side.policy), str(side.attempts), str(side.unpaired)]
        lines.append(f"| {' | '.join([*cells, str(side.unscored)])} |")
    lines += ["", notes(found), ""]
    for pairing in found.pairings:
        lines += [f"## {_plain(pairing.benchmark)}", "", _paired(pairing), ""]
        lines += [f"| {' | '.join(HEADINGS)} |", "|---|---|---|---|---|---|---|---|---|"]
        lines += [f"| {' | '.join(_plain(cell) for cell in line.cells)} |" for line in _lines(found, pairing)]
        lines.append("")
        for flips in _flips_of(found, pairing):
            lines += [_escaped(_flipped(flips)), ""]
            for title, items in (("right → wrong", flips.lost), ("wrong → right", flips.won)):
                if items:
                    lines += [f"- {title}: {_listed([_plain(item) for item in items])}"]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def to_html(found: Comparison) -> str:
    """The comparison as one page. Raises MissingExtra without the extra `report`."""
    benchmarks = [
        (pairing, _paired(pairing), _lines(found, pairing), [(_flipped(f), f) for f in _flips_of(found, pairing)])
        for pairing in found.pairings
    ]
    sides: list[tuple[str, Side]] = [("A", found.a), ("B", found.b)]
    return render_page(
        "toolfoundry.evaluate",
        "compare.html.jinja",
        sides=sides,
        notes=notes(found),
        headings=HEADINGS,
        benchmarks=benchmarks,
        version=__version__,
    )


def print_comparison(found: Comparison, console: Console) -> None:
    """Prints one table for each benchmark, and what flipped."""
    for name, side in (("A", found.a), ("B", found.b)):
        about = f"{visible(side.policy, 60)}  {side.attempts} attempts in {visible(side.path, 100)}"
        console.print(Text.assemble((f"{name}  ", "bold"), about), soft_wrap=True)
    colours = {"up": "green", "down": "red"}
    for pairing in found.pairings:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left")
        table.title = Text.assemble((visible(pairing.benchmark, 60), "bold"), (f"  {_paired(pairing)}", "dim"))
        for index, heading in enumerate(HEADINGS):
            table.add_column(heading, justify="left" if index < 2 else "right", no_wrap=True)
        for line in _lines(found, pairing):
            table.add_row(*(Text(visible(cell, 60)) for cell in line.cells), style=colours.get(line.verdict, ""))
        console.print(table)
        for flips in _flips_of(found, pairing):
            console.print(Text(_flipped(flips)), soft_wrap=True)
    console.print(Text(notes(found), style="dim"))


def notes(found: Comparison) -> str:
    """How the table is to be read."""
    tested = sum(row.p is not None for row in found.rows)
    return (
        f"Rule: {found.rule}. Values are percent, over pairs that are scored in both runs. Intervals: Student's t, "
        "standard errors clustered by question. An arrow stands where the 95% interval of the difference excludes 0, "
        f"“=” where it does not. By chance alone about {0.05 * tested:.1f} of these {tested} rows would have an arrow: "
        "the last column is adjusted for all of them together (Holm), and below 0.05 holds for the table as a whole."
    )


def _paired(pairing: Pairing) -> str:
    """How many pairs there are, and what was left out."""
    over = " (mean over groups)" if pairing.average == "groups" else ""
    parts = [f"{pairing.pairs} pairs{over}"]
    if pairing.left_out:
        parts.append(f"{pairing.left_out} more unscored in one run or both")
    parts += [f"{n} only in {name}" for name, n in (("A", pairing.only_a), ("B", pairing.only_b)) if n]
    return ", ".join(parts)


def _lines(found: Comparison, pairing: Pairing) -> list[_Line]:
    return [_line(row) for row in found.rows if row.benchmark == pairing.benchmark]


def _line(row: Row) -> _Line:
    interval = "–" if row.low is None or row.high is None else f"{_signed(row.low)}…{_signed(row.high)}"
    clusters = f" ({row.clusters})" if row.clusters != row.pairs else ""
    cells = (
        SCENARIOS.get(row.group, row.group),
        TITLES.get(row.metric, row.metric),
        f"{row.pairs}{clusters}",
        f"{100 * row.a:.2f}",
        f"{100 * row.b:.2f}",
        _signed(row.difference),
        interval,
        ARROWS[row.verdict],
        _p(row.p_holm),
    )
    return _Line(cells, row.verdict or "")


def _flips_of(found: Comparison, pairing: Pairing) -> list[Flips]:
    return [flips for flips in found.flips if flips.benchmark == pairing.benchmark]


def _flipped(flips: Flips) -> str:
    return (
        f"{visible(TITLES.get(flips.metric, flips.metric), 40)}: {len(flips.lost)} right → wrong, {len(flips.won)} "
        f"wrong → right, {flips.both_right} right in both, {flips.both_wrong} wrong in both "
        f"(McNemar, exact: p {'' if flips.p < 0.001 else '= '}{_p(flips.p)})"
    )


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - _MOST_ITEMS} more" if len(items) > _MOST_ITEMS else ""
    return ", ".join(items[:_MOST_ITEMS]) + more


def _signed(share: float) -> str:
    text = f"{100 * share:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")


def _p(p: float | None) -> str:
    return "–" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def _plain(text: str) -> str:
    """Text of others in Markdown: no markup of theirs is read."""
    return _escaped(visible(text, 120))


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)
