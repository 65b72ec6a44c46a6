"""A set of environments as a package that verifiers 0.4 installs and plays: `toolfoundry export verifiers`.

FOLDER/pyproject.toml  README.md
FOLDER/NAME/environments.jsonl      the environments, as they are
FOLDER/NAME/taskset.py  tools.py    names for verifiers; the code is toolfoundry.formats.verifiers_taskset
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from toolfoundry import __version__
from toolfoundry.errors import InputError
from toolfoundry.store import RecordWriter, replace_file
from toolfoundry.types import EnvSpec

__all__ = ["export_verifiers", "package_name"]

_FILE = "environments.jsonl"
_TEXTS = ("pyproject.toml", "README.md", "__init__.py", "taskset.py", "tools.py")
_OF_THE_FOLDER = ("pyproject.toml", "README.md")


def package_name(name: str) -> str:
    """The module that a taskset of this name is imported as: lower case, "_" for "-".

    Raises InputError where that is no module name.
    """
    module = name.lower().replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", module) or keyword.iskeyword(module) or module in _TAKEN:
        expected = "letters, digits, - and _, beginning with a letter, and not the name of a package that it needs"
        raise InputError(f"name: found {name!r}, expected {expected}")
    return module


_TAKEN = ("verifiers", "toolfoundry")


def export_verifiers(specs: Iterable[EnvSpec], folder: Path, name: str) -> int:
    """Writes the package `name` into `folder` and gives the number of environments. Files of the same names are
    replaced.

    Raises InputError for a bad name, for no environment, and for the same one twice: a task's key is its id.
    """
    package = package_name(name)
    seen: set[str] = set()
    with RecordWriter(folder / package / _FILE, EnvSpec, "overwrite") as writer:
        for spec in specs:
            if spec.id in seen:
                raise InputError(f"environment {spec.id}: found it twice, expected distinct environments")
            seen.add(spec.id)
            writer.write(spec)
    if not seen:
        raise InputError("there is no environment to export")
    values = {
        "PROJECT": package.replace("_", "-"),
        "PACKAGE": package,
        "COUNT": str(len(seen)),
        "VERSION": __version__,
    }
    templates = resources.files("toolfoundry.formats") / "verifiers_package"
    for file in _TEXTS:
        text = (templates / f"{file}.in").read_text(encoding="utf-8")
        for mark, value in values.items():
            text = text.replace(f"@{mark}@", value)
        place = folder if file in _OF_THE_FOLDER else folder / package
        replace_file(place / file, text.encode())
    return len(seen)
