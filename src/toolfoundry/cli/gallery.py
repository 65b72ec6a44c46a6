"""The command `toolfoundry gallery`: environments drawn on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolfoundry.console import Force, Problems, done_line, progress, separate
from toolfoundry.errors import InputError, OutputError

__all__ = ["gallery"]


def gallery(
    envs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[ENVS...]", help="Sets to show. Without one, each profile is shown.", show_default=False
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.html", help="Where to write.")] = Path(
        "gallery.html"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of the environments that are built where no set is given.")] = 0,
    force: Force = False,
) -> None:
    """Draw one environment of each scenario: question, graph, tools, gold trajectory, as one HTML page."""
    from toolfoundry.gallery import Section, build_sections, one_of_each, render_gallery
    from toolfoundry.page import require_extra
    from toolfoundry.store import read, replace_file
    from toolfoundry.types import EnvSpec

    require_extra("report", "jinja2", "the page")
    if output.exists() and not force:
        raise OutputError(f"{output} exists; --force replaces it")
    if envs:
        separate(output, *envs)
        sections = [Section(path.name, "", one_of_each(read(path, EnvSpec))) for path in envs]
        if empty := [one.title for one in sections if not one.specs]:
            raise InputError(f"{empty[0]}: found no environment, expected at least one")
    else:
        with progress("environments", 12) as advance:
            sections = build_sections(seed, advance)
    replace_file(output, render_gallery(sections).encode())
    done_line(f"{sum(len(one.specs) for one in sections)} environments on {output}", Problems())
