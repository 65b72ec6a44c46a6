"""What `build`, `check`, `rollout` and `score` share where they run on a Ray cluster: their options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from toolfoundry.cluster.commands import Place

__all__ = ["Ray", "ShardSize", "Shards", "WithRay", "place_of"]

_PANEL = "On a cluster"
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="[ADDRESS]",
        help="Do the work on a Ray cluster: HOST:PORT of its head, auto (the one this machine is in, as without an "
        "address), or local.",
        rich_help_panel=_PANEL,
    ),
]
Shards = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Where the shards lie; every node must see it. (Default: beside the output, NAME.shards.)",
        rich_help_panel=_PANEL,
    ),
]
ShardSize = Annotated[
    int | None,
    typer.Option(min=1, help="Items of a shard. (Default: by their number and the cores.)", rich_help_panel=_PANEL),
]

_ADDRESS = re.compile(r"auto|local|[\w.-]+:\d+|\[[0-9a-fA-F:]+\]:\d+")


class WithRay(TyperCommand):
    """A command whose `--ray` may stand without an address."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for at, word in reversed([*enumerate(args)]):
            if word == "--ray" and not (at + 1 < len(args) and _ADDRESS.fullmatch(args[at + 1])):
                args.insert(at + 1, "auto")
        return super().parse_args(ctx, args)


def place_of(
    ray: str | None, shards: Path | None, size: int | None, beside: Path, ending: str = ".shards"
) -> Place | None:
    """Where the work is done; None: here, without Ray. `beside`: the file whose name the folder has by default."""
    from toolfoundry.cluster.commands import Place

    if ray is None:
        if shards is not None or size is not None:
            raise typer.BadParameter("--shards and --shard-size need --ray")
        return None
    stem = beside.name.removesuffix(".zst").removesuffix(".jsonl")
    return Place(ray, shards or beside.with_name(stem + ending), size)
