"""How hard the documents are made: a level for each strategy of stage 4 (Ye et al. 2025, Figure 2).

Level 0 switches a strategy off; 2 is as in the published test set; 3 goes beyond.

| level | generalize                      | expand, parameters | retype, not plain text | extend, distractors |
|-------|---------------------------------|--------------------|------------------------|---------------------|
| 1     | names and descriptions widened  | about 4 a tool     | about 15%              | about 2             |
| 2     | some tools serve a class of needs | about 7 a tool   | about 50%, with enums  | as published        |
| 3     | all do                          | about 9 a tool     | more                   | up to 40 tools      |
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from toolfoundry.types import Record

__all__ = ["Level", "Scaling"]

Level = Annotated[int, Field(ge=0, le=3)]


class Scaling(Record):
    """Levels of the four strategies. `near` is the share of distractors that are chosen by similarity.

    distractors: a fixed number instead of the level's; parameters: a mean number per tool instead of the level's.
    """

    generalize: Level = 2
    expand: Level = 2
    retype: Level = 2
    extend: Level = 2
    near: Annotated[float, Field(ge=0, le=1)] = 0.6
    distractors: Annotated[int, Field(ge=0, le=60)] | None = None
    parameters: Annotated[float, Field(ge=1, le=12)] | None = None
