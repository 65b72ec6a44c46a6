"""Aggregates over trajectories: means with standard errors, by scenario, with what could not be scored counted apart.

The standard error is that of the mean over trajectories (sample standard deviation / sqrt n); it is None for n < 2,
and a mean over nothing is None, never 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, get_args

from toolfoundry.reward import grade_trajectory, score_trajectory
from toolfoundry.types import Preset, Record, ScenarioKind, Score, StopReason, Trajectory

__all__ = [
    "METRICS",
    "Group",
    "Metric",
    "Outcome",
    "Summary",
    "mean_rewards",
    "rewards_of",
    "summarise",
    "summarise_outcomes",
    "turn_rewards",
]


class Metric(Record):
    """A mean with its standard error over n scored trajectories."""

    mean: float | None
    stderr: float | None
    n: int


class Group(Record):
    """The metrics of one scenario ("all" for every trajectory); `unscored` counts infrastructure failures."""

    scenario: str
    n: int
    unscored: int
    metrics: dict[str, Metric]


class Summary(Record):
    """A policy's results: one group for all, one for each scenario present, and why rollouts stopped or failed."""

    policy: str
    groups: tuple[Group, ...]
    stops: dict[str, int]
    errors: dict[str, int]

    @property
    def overall(self) -> Group:
        return self.groups[0]


class Outcome(NamedTuple):
    """All that is needed of one trajectory; `score` None is unscored."""

    policy: str
    scenario: str
    score: Score | None
    stop: StopReason
    error: str | None

    @classmethod
    def of(cls, trajectory: Trajectory) -> Outcome:
        scenario = trajectory.task.kind or "unknown"
        return cls(trajectory.policy, scenario, score_trajectory(trajectory), trajectory.stop, trajectory.error)


METRICS: dict[str, Callable[[Score], float | None]] = {
    "score": lambda score: score.value,
    "solve_p": lambda score: score.strict.precision,
    "solve_r": lambda score: score.strict.recall,
    "solve_f1": lambda score: score.strict.f1,
    "answer": lambda score: None if score.answer_right is None else float(score.answer_right),
    "paper_solve_p": lambda score: score.paper.precision,
    "paper_solve_r": lambda score: score.paper.recall,
    "paper_solve_f1": lambda score: score.paper.f1,
    "calls": lambda score: float(score.strict.calls),
    "turns": lambda score: float(score.turns),
    "malformed": lambda score: float(score.malformed),
    "echo_possible": lambda score: float(score.echo_possible),
}


def summarise(trajectories: Iterable[Trajectory]) -> list[Summary]:
    """One summary for each policy, in the order in which they first appear."""
    return summarise_outcomes(map(Outcome.of, trajectories))


def summarise_outcomes(outcomes: Iterable[Outcome]) -> list[Summary]:
    """The same from what was kept of the trajectories. Memory grows with the different outcomes, not their number."""
    by_policy: dict[str, Counter[tuple[str, Score | None]]] = {}
    stops: dict[str, Counter[str]] = {}
    errors: dict[str, Counter[str]] = {}
    for name, scenario, score, stop, error in outcomes:
        by_policy.setdefault(name, Counter())[scenario, score] += 1
        stops.setdefault(name, Counter())[stop] += 1
        if error is not None:
            errors.setdefault(name, Counter())[error] += 1
    return [
        Summary(
            policy=name,
            groups=tuple(_groups(rows)),
            stops=dict(sorted(stops[name].items())),
            errors=dict(errors.get(name, Counter[str]()).most_common(20)),
        )
        for name, rows in by_policy.items()
    ]


def turn_rewards(trajectories: Iterable[Trajectory], preset: Preset) -> dict[str, Metric]:
    """The mean reward of a turn under a preset, for each policy; turns of failed rollouts are left out."""
    return mean_rewards((trajectory.policy, rewards_of(trajectory, preset)) for trajectory in trajectories)


def rewards_of(trajectory: Trajectory, preset: Preset) -> list[float] | None:
    """The rewards of its turns under a preset; None for a failed rollout."""
    if trajectory.stop == "error":
        return None
    return [graded.reward.value for graded in grade_trajectory(trajectory, preset)]


def mean_rewards(rewards: Iterable[tuple[str, Sequence[float] | None]]) -> dict[str, Metric]:
    """The mean for each policy; given are policy and rewards of each trajectory, None for one that is left out."""
    values: dict[str, Counter[float]] = {}
    for policy, found in rewards:
        if found is not None:
            values.setdefault(policy, Counter()).update(found)
    return {name: _metric(found) for name, found in values.items()}


def _groups(rows: Counter[tuple[str, Score | None]]) -> Iterable[Group]:
    yield _group("all", rows)
    present = {kind for kind, _ in rows}
    for scenario in [kind for kind in (*get_args(ScenarioKind), "unknown") if kind in present]:
        yield _group(scenario, Counter({row: count for row, count in rows.items() if row[0] == scenario}))


def _group(scenario: str, rows: Counter[tuple[str, Score | None]]) -> Group:
    values: dict[str, Counter[float]] = {name: Counter() for name in METRICS}
    for (_, score), count in rows.items():
        for name, value in METRICS.items():
            if score is not None and (found := value(score)) is not None:
                values[name][found] += count
    unscored = sum(count for (_, score), count in rows.items() if score is None)
    metrics = {name: _metric(found) for name, found in values.items()}
    return Group(scenario=scenario, n=rows.total(), unscored=unscored, metrics=metrics)


def _metric(values: Counter[float]) -> Metric:
    """Of values with how often each was met. `fsum` is exact, so the order in which they came does not matter."""
    n = values.total()
    if n == 0:
        return Metric(mean=None, stderr=None, n=0)
    mean = math.fsum(values.elements()) / n
    if n == 1:
        return Metric(mean=mean, stderr=None, n=1)
    variance = math.fsum((value - mean) ** 2 for value in values.elements()) / (n - 1)
    return Metric(mean=mean, stderr=math.sqrt(variance / n), n=n)
