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
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from toolfoundry import __version__
from toolfoundry.errors import InputError
from toolfoundry.formats.chat_rows import opening_texts
from toolfoundry.store import RecordWriter, dump, replace_file
from toolfoundry.types import EnvSpec

__all__ = ["ENVIRONMENTS", "TASKS", "export_verifiers", "package_name"]

ENVIRONMENTS, TASKS = "environments.jsonl", "tasks.jsonl"
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

    Raises InputError for a bad name, for no environment, for the same one twice (a task's key is its id), and for one
    whose opening holds calls.
    """
    package = package_name(name)
    specs = iter(specs)
    first = next(specs, None)  # a file that cannot be read is an error before there is a folder
    if first is None:
        raise InputError("there is no environment to export")
    seen: set[str] = set()
    place = folder / package
    with RecordWriter(place / ENVIRONMENTS, EnvSpec, "overwrite") as writer, (place / TASKS).open("wb") as tasks:
        offset = writer.path.stat().st_size  # of the header
        for spec in chain([first], specs):
            if spec.id in seen:
                raise InputError(f"environment {spec.id}: found it twice, expected distinct environments")
            seen.add(spec.id)
            line = dump(spec)
            writer.write_line(line)
            tasks.write(orjson.dumps(_task(spec, offset)) + b"\n")
            offset += len(line) + 1
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
        replace_file((folder if file in _OF_THE_FOLDER else place) / file, text.encode())
    return len(seen)


def _task(spec: EnvSpec, offset: int) -> dict[str, Any]:
    """A task's data without what is the same in all: nothing in it that a policy must not know."""
    prompt: Any = opening_texts(spec)
    if [message["role"] for message in prompt] == ["user"]:  # the form that every harness takes
        prompt = prompt[0]["content"]
    return {"id": spec.id, "name": f"{spec.scenario.kind or 'unknown'}-{spec.id}", "prompt": prompt, "offset": offset}
