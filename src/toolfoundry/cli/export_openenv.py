"""`toolfoundry export openenv`: a folder that OpenEnv's own tools build, validate and push."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolfoundry.cli.serve import split_files
from toolfoundry.console import AsJson, Force, Problems, done_line, print_json
from toolfoundry.errors import OutputError

__all__ = ["export_to_openenv"]


def export_to_openenv(
    envs: Annotated[
        list[str],
        typer.Argument(metavar="[SPLIT=]ENVS...", help="Environments of a split (train).", show_default=False),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write.", show_default=False)
    ],
    name: Annotated[str, typer.Option(help="What the set is called.")] = "toolfoundry_set",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write openenv.yaml, server, Dockerfile and environments: a package for OpenEnv."""
    from toolfoundry.serve.openenv_export import export_openenv

    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file, expected a folder")
    if output.exists() and any(output.iterdir()) and not force:
        raise OutputError(f"{output} is not empty; --force replaces what is in it")
    counts = export_openenv(split_files(envs), output, name)
    if as_json:
        print_json({"name": name, "tasks": counts})
    tasks = ", ".join(f"{count} in {split}" for split, count in counts.items())
    done_line(f"{tasks}; check it with openenv validate {output} --level static --skip-build", Problems())
