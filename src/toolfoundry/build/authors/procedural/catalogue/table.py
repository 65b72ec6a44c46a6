"""Reads the catalogue's tables: lines of text, of which an indented one goes on with the line before."""

from __future__ import annotations

import re
from importlib.resources import files

__all__ = ["table"]


def table(name: str) -> list[str]:
    """The lines of a file of this package, without empty ones."""
    text = files("toolfoundry.build.authors.procedural.catalogue").joinpath(name).read_text(encoding="utf-8")
    return [line for line in re.sub(r"\n[ \t]+", " ", text).splitlines() if line]
