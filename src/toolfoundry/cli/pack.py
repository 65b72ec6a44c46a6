"""`toolfoundry pack`: an artifact compressed so that any record can be read at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolfoundry.console import AsJson, Force, Problems, done_line, print_json, separate
from toolfoundry.errors import InputError, OutputError
from toolfoundry.store import artifact_of
from toolfoundry.types import EnvSpec, Trajectory

__all__ = ["pack"]


def pack(
    artifact: Annotated[Path, typer.Argument(metavar="FILE", help="Environments or another artifact.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where to write: a .jsonl.zst.", show_default=False)
    ],
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Compress a large set so that any environment in it can be read at once."""
    from toolfoundry.build.draft import Draft, Reject
    from toolfoundry.sets import pack as run_pack

    separate(output, artifact)
    if output.exists() and not force:
        raise OutputError(f"{output} exists; --force replaces it")
    kinds = {kind.artifact: kind for kind in (EnvSpec, Trajectory, Draft, Reject)}
    found = artifact_of(artifact)
    if found not in kinds:
        raise InputError(f"{artifact}: found an artifact of {found!r}, expected one of {', '.join(kinds)}")
    count = run_pack(artifact, output, kinds[found])
    size = output.stat().st_size
    if as_json:
        print_json({"records": count, "bytes": size})
    done_line(f"{count:,} records, {size:,} bytes, written to {output}", Problems())
