"""The environments of an OpenEnv server, by split and place and by id. Needs nothing of OpenEnv's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from toolfoundry.errors import InputError
from toolfoundry.seeds import generator
from toolfoundry.sets import RecordSet, open_set
from toolfoundry.store import lines
from toolfoundry.types import EnvSpec

__all__ = ["RESERVED", "Tasks"]

RESERVED = frozenset({"reset", "step", "state", "close"})
"""Names that OpenEnv keeps for itself: a client could not tell such a tool from its own methods."""


class Tasks:
    """Splits of one file each, from which records are read as they are asked for; a set may be large.

    Raises InputError where there is no split, a split has no environment, or a tool has a reserved name.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._sets: dict[str, RecordSet[EnvSpec]] = {}
        self._places: dict[str, tuple[str, int]] = {}
        for split, path in files.items():
            specs = self._sets[split] = open_set(path, EnvSpec)
            for place, (number, line) in enumerate(lines(path, EnvSpec)):
                try:
                    record: Any = orjson.loads(line)
                    spec_id, names = str(record["id"]), [str(tool["signature"]["name"]) for tool in record["tools"]]
                except (orjson.JSONDecodeError, KeyError, TypeError):
                    specs[place]  # reads it again, and says what is wrong with it
                    raise
                if taken := RESERVED.intersection(names):
                    raise InputError(
                        f"{path}:{number}: environment {spec_id}: found a tool {min(taken)!r}, expected a name that "
                        f"OpenEnv does not keep for itself ({', '.join(sorted(RESERVED))})"
                    )
                self._places.setdefault(spec_id, (split, place))
            if not len(specs):
                raise InputError(f"{path}: has no environments")
        if not self._sets:
            raise InputError("found no split, expected at least one")

    @property
    def splits(self) -> list[str]:
        return list(self._sets)

    def of_split(self, split: str) -> RecordSet[EnvSpec]:
        if split not in self._sets:
            raise InputError(f"split: found {split!r}, expected one of {', '.join(self._sets)}")
        return self._sets[split]

    def choose(self, split: str | None, index: int | None, task_id: str | None, seed: int | None) -> EnvSpec:
        """The environment that a reset asks for. Where it names none, `seed` draws one, and without a seed it is the
        first, of the first split if none is named."""
        if task_id is not None:
            if task_id not in self._places:
                raise InputError(f"task_id: found {task_id!r}, expected the id of an environment of this server")
            its_split, place = self._places[task_id]
            if split not in (None, its_split) or index not in (None, place):
                raise InputError(f"task_id: {task_id!r} is task {place} of {its_split!r}, and another was named too")
            return self._sets[its_split][place]
        specs = self.of_split(split or self.splits[0])
        if index is None:
            index = 0 if seed is None else generator("openenv", seed).randrange(len(specs))
        if not 0 <= index < len(specs):
            raise InputError(f"index: found {index}, expected one from 0 to {len(specs) - 1}")
        return specs[index]
