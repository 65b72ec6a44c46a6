"""`toolfoundry export verifiers`, `nemo-gym` and `huggingface`: sets of environments for other people's frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolfoundry.console import AsJson, Envs, Problems, SkipBad, done_line, print_json
from toolfoundry.errors import OutputError
from toolfoundry.store import read
from toolfoundry.types import EnvSpec

__all__ = ["export_to_verifiers"]

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write.", show_default=False)]
Replace = Annotated[bool, typer.Option("--force", help="Replace what is in FOLDER.")]


def export_to_verifiers(
    envs: Envs,
    folder: Folder,
    name: Annotated[
        str | None, typer.Option(help="What verifiers calls the taskset.", show_default="the name of FOLDER")
    ] = None,
    skip_bad: SkipBad = False,
    force: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Write a package that verifiers 0.4 installs as a taskset: per-task tools in our sandbox, our rewards."""
    from toolfoundry.formats.verifiers import export_verifiers, package_name

    package = package_name(name or folder.resolve().name)
    _prepare(folder, force)
    problems = Problems()
    count = export_verifiers(read(envs, EnvSpec, skip_bad=skip_bad, on_bad=problems), folder, package)
    project = package.replace("_", "-")
    if as_json:
        print_json({"environments": count, "taskset": project, "skipped": problems.count})
    done_line(
        f"{count} environments written to {folder}; check them: pip install {folder}, then vf-validate {project} "
        "--runtime.type subprocess",
        problems,
    )


def _prepare(folder: Path, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file, expected a folder")
    if folder.exists() and any(folder.iterdir()) and not force:
        raise OutputError(f"{folder} is not empty; --force replaces what is in it")
