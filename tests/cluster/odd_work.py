"""Work that goes wrong on a node, for the tests of what is said then."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from typing import Any, NamedTuple

from pydantic import JsonValue

from toolfoundry.cluster.shards import Row
from toolfoundry.errors import SandboxUnavailable


class OddWork(NamedTuple):
    """how: "no sandbox", "a bug" or "dies"; anything else does the work."""

    how: str

    def about(self) -> dict[str, JsonValue]:
        return {"work": "odd", "how": self.how}

    @contextlib.contextmanager
    def open(self) -> Generator[Any]:
        if self.how == "no sandbox":
            raise SandboxUnavailable("the kernel has no seccomp")

        def do(shard: Any, _: Any) -> tuple[list[Row], dict[str, float]]:
            if self.how == "a bug":
                raise ZeroDivisionError("found nothing to divide by")
            if self.how == "dies" and shard.first == 2:
                os._exit(9)
            return [Row(place, "odd", "", b"{}") for place in range(shard.first, shard.first + shard.size)], {}

        yield do
