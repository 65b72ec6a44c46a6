"""What a set of environments is to look like: every quantity that makes them harder, in one record.

`ftrl` has the statistics of the published test set (Ye et al. 2025; 50 questions a scenario), `tiny` is for a policy
that two CPU cores can train, `hard` goes beyond. A quantity is a `Span`: whole numbers from low to high with that mean.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from toolfoundry.build.scaling import Scaling
from toolfoundry.errors import RecordError
from toolfoundry.types import Record, ScenarioKind

__all__ = ["FTRL", "HARD", "PROFILES", "TINY", "Profile", "Span", "Split"]

Split = Literal["train", "dev", "test"]


class Span(Record):
    """Whole numbers from `low` to `high` with the mean `mean`."""

    low: Annotated[int, Field(ge=0)]
    high: Annotated[int, Field(ge=0)]
    mean: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _check(self) -> Span:
        if not self.low <= self.mean <= self.high:
            raise ValueError("LOW..HIGH:MEAN with a mean from low to high")
        return self


class Profile(Record):
    """The knobs of the procedural author.

    shares: of the four scenarios. goals: sub-questions of each. tools: tools of each, distractors included.
    words: mean length of the question in words, by scenario. required: mean number of required parameters a tool.
    parameters: parameters a tool. lines: mean length of a tool's source. aggregate: share of the parallel scenarios
    whose final answer is left to the model to work out (else a tool does it, or it is a list of the answers).
    merged: share of the steps of parallel questions that share a tool with another.
    hold_out: what beside names is kept apart between splits. nouns: which of the compact style's nouns are used:
    those that the packaged warm start has seen, those that it has never seen, or all.
    """

    name: str
    style: Literal["full", "compact"] = "full"
    shares: dict[ScenarioKind, Annotated[float, Field(ge=0)]]
    goals: dict[ScenarioKind, Span]
    tools: dict[ScenarioKind, Span]
    words: dict[ScenarioKind, float]
    required: dict[ScenarioKind, float]
    parameters: Span
    lines: Span
    aggregate: Annotated[float, Field(ge=0, le=1)] = 0.75
    merged: Annotated[float, Field(ge=0, le=1)] = 0.6
    hold_out: tuple[Literal["relations", "wordings"], ...] = ()
    nouns: Literal["all", "familiar", "unfamiliar"] = "all"
    scaling: Scaling = Scaling()

    @model_validator(mode="after")
    def _check(self) -> Profile:
        if not sum(self.shares.values()):
            raise RecordError(field="shares", found="nothing above 0", expected="a share of at least one scenario")
        if self.nouns != "all" and self.style != "compact":
            raise RecordError(
                field="nouns", found=repr(self.nouns), expected="'all' (others with style 'compact' only)"
            )
        for name in ("goals", "tools", "words", "required"):
            for kind in self.shares:
                if kind not in getattr(self, name):
                    raise RecordError(field=f"{name}.{kind}", found="nothing", expected="a value for each scenario")
        return self


FTRL = Profile(
    name="ftrl",
    shares={"single_hop": 1, "parallel_single_hop": 1, "multi_hop": 1, "parallel_multi_hop": 1},
    goals={
        "single_hop": Span(low=1, high=1, mean=1),
        "parallel_single_hop": Span(low=2, high=3, mean=2.02),
        "multi_hop": Span(low=2, high=10, mean=5.72),
        "parallel_multi_hop": Span(low=5, high=11, mean=7.66),
    },
    tools={
        "single_hop": Span(low=5, high=11, mean=7.96),
        "parallel_single_hop": Span(low=3, high=12, mean=7.48),
        "multi_hop": Span(low=4, high=14, mean=10.34),
        "parallel_multi_hop": Span(low=8, high=15, mean=11.26),
    },
    words={"single_hop": 15.0, "parallel_single_hop": 20.2, "multi_hop": 33.3, "parallel_multi_hop": 47.2},
    required={"single_hop": 2.51, "parallel_single_hop": 1.74, "multi_hop": 1.29, "parallel_multi_hop": 1.28},
    parameters=Span(low=1, high=12, mean=7.14),
    lines=Span(low=13, high=87, mean=43),
)
TINY = Profile(
    name="tiny",
    style="compact",
    shares={"single_hop": 1, "parallel_single_hop": 1, "multi_hop": 1, "parallel_multi_hop": 1},
    goals={
        "single_hop": Span(low=1, high=1, mean=1),
        "parallel_single_hop": Span(low=2, high=3, mean=2.3),
        "multi_hop": Span(low=2, high=3, mean=2.3),
        "parallel_multi_hop": Span(low=3, high=4, mean=3.7),
    },
    tools={
        "single_hop": Span(low=3, high=6, mean=4.5),
        "parallel_single_hop": Span(low=3, high=6, mean=4.6),
        "multi_hop": Span(low=3, high=6, mean=4.6),
        "parallel_multi_hop": Span(low=4, high=6, mean=5.2),
    },
    words={"single_hop": 7, "parallel_single_hop": 14, "multi_hop": 11, "parallel_multi_hop": 20},
    required={"single_hop": 1, "parallel_single_hop": 1, "multi_hop": 1, "parallel_multi_hop": 1},
    parameters=Span(low=1, high=1, mean=1),
    lines=Span(low=6, high=16, mean=10),
    scaling=Scaling(generalize=0, expand=0, retype=0, extend=1),
)
HARD = Profile(
    name="hard",
    shares={"single_hop": 0.5, "parallel_single_hop": 0.5, "multi_hop": 1, "parallel_multi_hop": 2},
    goals={
        "single_hop": Span(low=1, high=1, mean=1),
        "parallel_single_hop": Span(low=3, high=6, mean=4),
        "multi_hop": Span(low=6, high=12, mean=8.5),
        "parallel_multi_hop": Span(low=8, high=18, mean=12),
    },
    tools={
        "single_hop": Span(low=16, high=32, mean=24),
        "parallel_single_hop": Span(low=16, high=32, mean=24),
        "multi_hop": Span(low=20, high=40, mean=28),
        "parallel_multi_hop": Span(low=24, high=40, mean=32),
    },
    words={"single_hop": 18, "parallel_single_hop": 34, "multi_hop": 48, "parallel_multi_hop": 75},
    required={"single_hop": 2.5, "parallel_single_hop": 1.9, "multi_hop": 1.4, "parallel_multi_hop": 1.4},
    parameters=Span(low=2, high=14, mean=9),
    lines=Span(low=15, high=110, mean=55),
    scaling=Scaling(generalize=3, expand=3, retype=3, extend=3, near=0.8),
)
PROFILES: dict[str, Profile] = {profile.name: profile for profile in (FTRL, TINY, HARD)}
