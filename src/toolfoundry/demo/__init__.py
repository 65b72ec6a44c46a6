"""Sixteen environments of our own writing, four for each scenario, that pass every gate of `toolfoundry check`.

All names in them are invented, so that nothing in them can be known by heart. The files are ordinary examples of the
format that `docs/writing-environments.md` describes.
"""

from __future__ import annotations

from importlib import resources

from toolfoundry.formats.toml import parse_toml
from toolfoundry.types import EnvSpec

__all__ = ["environments"]


def environments() -> tuple[EnvSpec, ...]:
    """The environments of the package, in the order of their files' names."""
    folder = resources.files(__name__) / "environments"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return tuple(parse_toml(file.read_text(encoding="utf-8"), location=file.name) for file in files)
