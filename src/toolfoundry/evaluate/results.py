"""From attempts to a table: means with clustered standard errors, pass^k, and what was unscored, counted apart.

Every metric is a mean over items, and an item's value the mean over its scored attempts, so that an item counts alike
however often it was tried. For the scored attempt i at an item of group g, with m attempts scored at that item and I
items scored in the group, the group's mean is the sum of x_i * w_i with w_i = 1/(I m). Over all groups the mean is

    items     that of all items as one group
    groups    the plain mean of the G groups' means: w_i = 1/(G I m)

The standard error is the cluster-robust ("sandwich") one for such a weighted mean: attempts of one cluster (the same
question in several modes, the same item tried k times) may be as alike as they like, clusters are independent.

    influence of cluster c:  u_c = sum over its attempts of w_i (x_i - mean of its group)
    variance of the mean:    C/(C-1) * sum over the C clusters of u_c^2

For single attempts that are clusters of their own this is the textbook s^2/n; with clusters it is the estimator of
Miller 2024 (arXiv:2411.00640, section 2.2) with the usual correction for few clusters. It is None for fewer than two
clusters, and where a group that is averaged over has fewer than two: then nothing is known of its spread.

pass^j (Yao et al. 2024, arXiv:2406.12045) is the chance that j tries at an item all succeed: the mean over items of
C(c, j)/C(n, j), for c successes in n scored tries. Items with fewer than j scored tries have none.

None is "no value": a mean over nothing, and a mean of groups of which one has no scored attempt at all. A group to
which a metric does not apply (scored attempts, but none with that metric) is left out of the metric's mean.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from toolfoundry.evaluate.attempts import RULES, About, Attempt, Rule
from toolfoundry.types import Record

__all__ = ["Cell", "Effort", "Result", "Row", "Value", "estimate", "summarise_attempts", "summarise_rules"]

Average = Literal["items", "groups"]


class Cell(Record):
    """One figure: a mean of values in [0, 1], its standard error, and over how many attempts, items and clusters."""

    mean: float | None
    stderr: float | None
    n: int
    items: int
    clusters: int


class Row(Record):
    """One group, or "all". n: attempts made; items: those tried; unscored: attempts without scores.

    passes: for metrics whose every value is 0 or 1, pass^1, pass^2, ... up to the tries made at an item; empty where
    every item was tried once.
    """

    group: str
    n: int
    items: int
    unscored: int
    metrics: dict[str, Cell]
    passes: dict[str, tuple[Cell, ...]] = {}


class Effort(Record):
    """What the attempts took, those that were made again included. Tokens are the policy's, as its server counts.

    unmetered: turns without counts, so that the sums are too low. again: attempts thrown away after an infrastructure
    failure and made anew. cost: None where no prices are known.
    """

    turns: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unmetered: int = 0
    again: int = 0
    cost: float | None = None

    def priced(self, prompt: float, completion: float) -> Effort:
        """With its cost, for prices per million tokens."""
        cost = (self.prompt_tokens * prompt + self.completion_tokens * completion) / 1e6
        return self.model_copy(update={"cost": cost})


class Result(Record):
    """A benchmark's table by one rule. The first row is over all; the others are its groups.

    metrics: name and title of each column. paper: the mean over those metrics that stand in the paper's Table 2.
    samples: the most tries at one item. stops: why attempts ended. failures: causes of unscored attempts, the 20 most
    frequent.
    """

    benchmark: str
    title: str
    rule: Rule
    average: Average
    metrics: dict[str, str]
    paper_metrics: tuple[str, ...]
    samples: int
    rows: tuple[Row, ...]
    paper: Cell
    effort: Effort
    stops: dict[str, int]
    failures: dict[str, int]

    @property
    def overall(self) -> Row:
        return self.rows[0]

    @property
    def unscored(self) -> float | None:
        """The share of attempts without scores; None where there are no attempts."""
        return self.overall.unscored / self.overall.n if self.overall.n else None


class Value(NamedTuple):
    """A scored attempt's number, and where it belongs."""

    group: str
    item: str
    cluster: str
    x: float


def estimate(values: Iterable[Value], average: Average = "items") -> Cell:
    """The mean and its clustered standard error (formulas: the module). The order of the values does not matter."""
    groups: dict[str, dict[str, list[Value]]] = defaultdict(lambda: defaultdict(list))
    for value in values:
        groups[value.group if average == "groups" else ""][value.item].append(value)
    influences: dict[str, list[float]] = defaultdict(list)
    means: list[float] = []
    fewest = math.inf
    for items in groups.values():
        mean = math.fsum(math.fsum(v.x for v in tries) / len(tries) for tries in items.values()) / len(items)
        means.append(mean)
        fewest = min(fewest, len({v.cluster for tries in items.values() for v in tries}))
        for tries in items.values():
            weight = 1 / (len(groups) * len(items) * len(tries))
            for v in tries:
                influences[v.cluster].append(weight * (v.x - mean))
    count = len(influences)
    stderr = None
    if count >= 2 and fewest >= 2:
        squares = math.fsum(math.fsum(parts) ** 2 for parts in influences.values())
        stderr = math.sqrt(count / (count - 1) * squares)
    return Cell(
        mean=math.fsum(means) / len(means) if means else None,
        stderr=stderr,
        n=sum(len(tries) for items in groups.values() for tries in items.values()),
        items=sum(len(items) for items in groups.values()),
        clusters=count,
    )


class _Try(NamedTuple):
    """What is kept of an attempt; `scores` None is unscored."""

    group: str
    item: str
    cluster: str
    scores: Mapping[str, float] | None


class _Seen(NamedTuple):
    """What is kept of a benchmark's attempts, the scores by rule."""

    tries: dict[Rule, list[_Try]]
    failures: dict[Rule, Counter[str]]
    stops: Counter[str]
    effort: Counter[str]


def summarise_attempts(about: About, attempts: Iterable[Attempt], rule: Rule, *, groups: Sequence[str] = ()) -> Result:
    """The table of one benchmark by one rule. Attempts are read once and not kept.

    groups: the order of the rows; groups that are not in it follow by name. The order of the attempts does not matter.
    """
    return _result(about, _see(attempts, (rule,)), rule, groups)


def summarise_rules(about: About, attempts: Iterable[Attempt], *, groups: Sequence[str] = ()) -> dict[Rule, Result]:
    """The same by each rule."""
    seen = _see(attempts, RULES)
    return {rule: _result(about, seen, rule, groups) for rule in RULES}


def _see(attempts: Iterable[Attempt], rules: Sequence[Rule]) -> _Seen:
    seen = _Seen({rule: [] for rule in rules}, {rule: Counter() for rule in rules}, Counter(), Counter())
    for attempt in attempts:
        trajectory = attempt.trajectory
        seen.stops[trajectory.stop] += 1
        seen.effort.update(_effort(attempt))
        for rule in rules:
            scores = attempt.scores.get(rule) or None
            seen.tries[rule].append(_Try(attempt.group, trajectory.task.spec_id, attempt.cluster, scores))
            if scores is None:
                seen.failures[rule][trajectory.error or "no cause is recorded"] += 1
    return seen


def _result(about: About, seen: _Seen, rule: Rule, groups: Sequence[str]) -> Result:
    tries = seen.tries[rule]
    present = {one.group for one in tries}
    order = [name for name in dict.fromkeys(groups) if name in present]
    order += sorted(present.difference(order))
    samples = max(Counter(one.item for one in tries).values(), default=0)
    binary = [name for name in about.metrics if samples > 1 and _binary(tries, name)]
    rows = [_row("all", tries, about, about.average, binary)]
    rows += [_row(name, [one for one in tries if one.group == name], about, "items", binary) for name in order]
    return Result(
        benchmark=about.name,
        title=about.title,
        rule=rule,
        average=about.average,
        metrics=dict(about.metrics),
        paper_metrics=tuple(about.paper_metrics),
        samples=samples,
        rows=tuple(rows),
        paper=_cell(_together(tries, about.paper_metrics), "together", about.average),
        effort=Effort(**seen.effort),
        stops=dict(sorted(seen.stops.items())),
        failures=dict(sorted(seen.failures[rule].items(), key=lambda one: (-one[1], one[0]))[:20]),
    )


def _row(group: str, tries: Sequence[_Try], about: About, average: Average, binary: Sequence[str]) -> Row:
    return Row(
        group=group,
        n=len(tries),
        items=len({one.item for one in tries}),
        unscored=sum(one.scores is None for one in tries),
        metrics={name: _cell(tries, name, average) for name in about.metrics},
        passes={name: _passes(tries, name, average) for name in binary},
    )


def _values(tries: Iterable[_Try], metric: str) -> list[Value]:
    return [
        Value(one.group, one.item, one.cluster, one.scores[metric])
        for one in tries
        if one.scores is not None and metric in one.scores
    ]


def _cell(tries: Sequence[_Try], metric: str, average: Average) -> Cell:
    return _whole(tries, estimate(_values(tries, metric), average), average)


def _whole(tries: Sequence[_Try], cell: Cell, average: Average) -> Cell:
    """The cell, without a mean where a group that belongs in it has no scored attempt."""
    lost = {one.group for one in tries} - {one.group for one in tries if one.scores is not None}
    return cell.model_copy(update={"mean": None, "stderr": None}) if lost and average == "groups" else cell


def _together(tries: Iterable[_Try], metrics: Sequence[str]) -> list[_Try]:
    """Each try with one score, the mean over the metrics: they are correlated, so its error is not theirs combined."""

    def one_score(scores: Mapping[str, float] | None) -> Mapping[str, float] | None:
        if scores is None or not metrics or any(name not in scores for name in metrics):
            return None if scores is None else {}
        return {"together": math.fsum(scores[name] for name in metrics) / len(metrics)}

    return [one._replace(scores=one_score(one.scores)) for one in tries]


def _binary(tries: Iterable[_Try], metric: str) -> bool:
    values = _values(tries, metric)
    return bool(values) and all(value.x in (0.0, 1.0) for value in values)


def _passes(tries: Sequence[_Try], metric: str, average: Average) -> tuple[Cell, ...]:
    """pass^1, pass^2, ... as far as any item has that many scored tries."""
    by_item = [
        list(values) for _, values in groupby(sorted(_values(tries, metric), key=lambda v: v.item), lambda v: v.item)
    ]
    cells: list[Cell] = []
    for j in range(1, max(map(len, by_item), default=0) + 1):
        chances = [
            values[0]._replace(x=math.comb(sum(v.x == 1.0 for v in values), j) / math.comb(len(values), j))
            for values in by_item
            if len(values) >= j
        ]
        cells.append(_whole(tries, estimate(chances, average), average))
    return tuple(cells)


def _effort(attempt: Attempt) -> dict[str, int]:
    turns = attempt.trajectory.turns
    usages = [turn.completion.usage for turn in turns]
    lost = attempt.facts.get("again")
    again = lost if isinstance(lost, dict) else {}
    return {
        "turns": len(turns),
        "calls": sum(len(turn.completion.message.tool_calls) for turn in turns),
        "prompt_tokens": sum(usage.prompt_tokens for usage in usages if usage) + _count(again.get("prompt_tokens")),
        "completion_tokens": sum(usage.completion_tokens for usage in usages if usage)
        + _count(again.get("completion_tokens")),
        "unmetered": sum(usage is None for usage in usages),
        "again": _count(again.get("tries")),
    }


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
