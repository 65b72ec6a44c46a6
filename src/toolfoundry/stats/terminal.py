"""The comparison in a terminal: one table, a column for each set, and with two sets how they compare."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolfoundry.stats.compare import sections
from toolfoundry.stats.records import SetStatistics
from toolfoundry.untrusted import visible

__all__ = ["print_statistics"]


def print_statistics(sets: Sequence[SetStatistics], console: Console) -> None:
    """Prints every quantity of the sets side by side. Their names are the user's and are never read as markup."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    for one in sets:
        table.add_column(Text(visible(one.name, 40)), justify="right")
    if len(sets) == 2:
        table.add_column(Text("ratio", style="dim"), justify="right", style="dim")
    for section in sections(sets):
        title = Text.assemble((section.title, "bold"), (f"  {section.note}" if section.note else "", "dim"))
        table.add_row(title, *("" for _ in sets), *([""] if len(sets) == 2 else []))
        for index, row in enumerate(section.rows):
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
            cells = [*row.cells, *([ratio] if len(sets) == 2 else [])]
            label = Text(f"  {visible(row.label, 60)}")
            table.add_row(label, *cells, end_section=index == len(section.rows) - 1)
    console.print(table)
