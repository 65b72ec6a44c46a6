"""What all benchmarks share: items, how one is played, and the record of one try.

A benchmark is loaded from a path that the user names. It plays one item with one policy and gives an `Attempt`: the
conversation, facts about it that only the playing could establish, and the scores by each rule:

    paper    what FTRL's released evaluation computes on the same conversation, its faults included, to compare numbers
    fixed    ours: each difference is named in the benchmark's module and in docs/evaluation.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple, Protocol

from pydantic import JsonValue

from toolfoundry.environment import Executor
from toolfoundry.errors import InputError
from toolfoundry.policies import Policy
from toolfoundry.types import EnvSpec, Record, Trajectory

__all__ = ["RULES", "About", "Attempt", "Benchmark", "BrokenBenchmark", "Item", "Rule"]

Rule = Literal["paper", "fixed"]

RULES: tuple[Rule, ...] = ("paper", "fixed")


class Item(NamedTuple):
    """One thing to be tried.

    id: unique in its benchmark. group: the row of the table it counts in (scenario, mode, domain, noise level).
    cluster: items of one cluster are not independent (the same question in three modes): errors are clustered by it.
    spec: the environment, where the item is one; scripted policies play such items only.
    """

    id: str
    group: str
    cluster: str
    spec: EnvSpec | None = None


class Attempt(Record):
    """One try at one item.

    `trajectory` holds the conversation, whatever the benchmark; where the item is no environment its task has no
    goals, and a user's replies are the turns' notices. `facts` are what the scores need beyond it (a hash of the
    database, how a dialogue ended) and what a reader should know. `scores` are by rule and metric; they are empty
    exactly where the attempt is unscored, that is where the trajectory ended in an error that was not the model's.
    """

    artifact: ClassVar[str] = "attempts"

    benchmark: str
    group: str
    cluster: str
    trajectory: Trajectory
    facts: dict[str, JsonValue] = {}
    scores: dict[Rule, dict[str, float]] = {}

    @property
    def key(self) -> str:
        """Names the attempt within its file: a resumed run does not make it twice."""
        return f"{self.benchmark}/{self.trajectory.key}"


class About(NamedTuple):
    """What a benchmark's results look like.

    metrics: name of each metric and the title of its column, in the order of the table; every metric is a share or a
    mean in [0, 1], larger is better. average: over all items alike, or over the groups' means (as the paper does it
    for benchmarks with groups of their own). paper_metrics: those that stand in the paper's Table 2, in its order.
    """

    name: str
    title: str
    metrics: Mapping[str, str]
    average: Literal["items", "groups"]
    paper_metrics: Sequence[str]


class BrokenBenchmark(InputError):
    """What was found while playing shows that the benchmark's data is wrong, and no attempt at it means anything."""


class Benchmark(Protocol):
    """A loaded benchmark."""

    @property
    def about(self) -> About: ...

    def items(self) -> Sequence[Item]:
        """All items, in an order that does not change."""
        ...

    async def play(self, item: Item, policy: Policy, executor: Executor, *, name: str, sample: int) -> Attempt:
        """One try. A model's faults are part of the attempt; an infrastructure failure gives an unscored one.

        Raises BrokenBenchmark, which ends the whole run.
        """
        ...

    def score(self, attempt: Attempt) -> Attempt:
        """The attempt with its scores computed anew from the conversation and the facts: pure, and no model."""
        ...
