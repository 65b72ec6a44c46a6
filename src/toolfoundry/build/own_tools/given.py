"""What a user's file of tools comes to: tools or documents that can be used, and why the others cannot."""

from __future__ import annotations

from typing import Literal, NamedTuple

from toolfoundry.types import Tool, ToolSchema

__all__ = ["FileKind", "GivenTools", "Unusable"]

FileKind = Literal["functions", "openapi", "mcp"]


class Unusable(NamedTuple):
    """A tool that cannot be used: its name in the file, and what was found and what is expected (untrusted text)."""

    name: str
    reason: str


class GivenTools(NamedTuple):
    """The tools of one file, in its order.

    tools: functions with their sources, each of which runs by itself; empty where the file is a specification.
    documents: what a specification says about each tool; empty where the file holds functions.
    examples: calls that the docstring of a function shows, by its name.
    notes: what was read in another way than the file says, in words.
    """

    kind: FileKind
    tools: tuple[Tool, ...] = ()
    documents: tuple[ToolSchema, ...] = ()
    examples: dict[str, tuple[dict[str, object], ...]] = {}
    unusable: tuple[Unusable, ...] = ()
    notes: tuple[str, ...] = ()
