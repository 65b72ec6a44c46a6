"""How the chapters of the demo begin, and how they show a line that others wrote."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

__all__ = ["begin", "print_line"]


def begin(out: Console, title: str, *commands: str) -> None:
    """The title of a chapter, and the commands that do the same by hand."""
    out.print()
    out.rule(f"[bold]{title}", align="left")
    for command in commands:
        out.print(f"[dim]$ {escape(command)}[/dim]", highlight=False, soft_wrap=True)


def print_line(out: Console, text: str) -> None:
    """One line of markup, cut where the terminal ends. What others wrote in it is escaped by the caller."""
    out.print(text, highlight=False, no_wrap=True, overflow="ellipsis")
