"""Work for other processes, in a module that they can import."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator
from typing import NamedTuple

from toolfoundry.errors import InputError


class Doubling(NamedTuple):
    """Doubles numbers, knows its process, and fails or dies at given ones."""

    fails_at: int = -1
    dies_at: int = -1

    @contextlib.contextmanager
    def open(self) -> Generator[Callable[[int], tuple[int, int]]]:
        def do(number: int) -> tuple[int, int]:
            if number == self.fails_at:
                raise InputError(f"cannot double {number}")
            if number == self.dies_at:
                os._exit(9)
            return 2 * number, os.getpid()

        yield do
