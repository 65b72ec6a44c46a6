"""Two runs on the same items: what changed, and how much of it is noise.

Attempts are paired by benchmark, item and sample; only pairs that are scored in both runs count, and all others are
counted apart. For each metric and group the mean of the paired differences B - A, and its standard error, are those of
`results.estimate` (clustered: the same question in three modes is one cluster); the 95% interval is Student's t with
C - 1 degrees of freedom for C clusters.

Where all differences are equal there is no spread to estimate an interval from; the verdict is then that of an exact
sign test over the clusters. The p-values of one table are adjusted together (Holm 1979). Which items flipped is told
for metrics that are 0 or 1, with McNemar's exact test: the binomial test over clusters in which one direction prevails,
which is the usual one where each cluster is one pair.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, get_args

from toolfoundry.errors import InputError
from toolfoundry.evaluate.attempts import Attempt, Rule
from toolfoundry.evaluate.results import Cell, Value, estimate
from toolfoundry.evaluate.suite import average_of
from toolfoundry.intervals import exact_sign_test, holm, t_quantile, within
from toolfoundry.reward import score_trajectory
from toolfoundry.store import artifact_of, read
from toolfoundry.types import Record, ScenarioKind, Trajectory

__all__ = [
    "TITLES",
    "Comparison",
    "Flips",
    "Key",
    "Observation",
    "Pairing",
    "Row",
    "Run",
    "Side",
    "compare_runs",
    "load_run",
]

Average = Literal["items", "groups"]
Verdict = Literal["up", "down", "same"]

ALL = "all"
TITLES = {
    "solve_p": "Solve-P",
    "solve_r": "Solve-R",
    "solve_f1": "Solve-F1",
    "answer": "answer",
    "invocation": "invocation",
    "pass_1": "Pass^1",
    "ts": "TS",
    "pi": "PI",
    "cf": "CF",
}
_LEVEL = 0.95
_ROUNDING = 1e-12  # a standard error below it is no spread


# --- reading a run -------------------------------------------------------------------------------------------------


class Observation(NamedTuple):
    """One attempt, as far as it is compared. `scores` None: unscored."""

    group: str
    cluster: str
    scores: Mapping[str, float] | None


class Key(NamedTuple):
    """What two attempts must share to be a pair."""

    benchmark: str
    item: str
    sample: int


class Run(NamedTuple):
    """All attempts of one policy, and where they were read."""

    path: str
    policy: str
    found: Mapping[Key, Observation]


def load_run(path: Path, rule: Rule = "fixed") -> Run:
    """The attempts in a file or in a folder of `toolfoundry evaluate`, or the trajectories in a file of `rollout`.

    Raises InputError for anything else, for a run of several policies, and for one that tries an item twice.
    """
    files = [path]
    if path.is_dir():
        files = [file for file in sorted(path.glob("*.jsonl*")) if artifact_of(file) == Attempt.artifact]
        if not files:
            raise InputError(f"{path}: has no file of attempts; expected a folder that `toolfoundry evaluate` wrote")
    found: dict[Key, Observation] = {}
    policies: set[str] = set()
    for file in files:
        for key, policy, observation in _observations(file, rule):
            policies.add(policy)
            if len(policies) > 1:
                one, other = sorted(policies)
                raise InputError(f"{path}: found attempts of {one!r} and of {other!r}, expected one policy")
            if key in found:
                raise InputError(f"{file}: sample {key.sample} of {key.benchmark} item {key.item!r} is there twice")
            found[key] = observation
    if not found:
        raise InputError(f"{path}: has no attempts")
    return Run(str(path), policies.pop(), found)


def _observations(file: Path, rule: Rule) -> Iterable[tuple[Key, str, Observation]]:
    match artifact_of(file):
        case Attempt.artifact:
            for attempt in read(file, Attempt):
                played = attempt.trajectory
                scores = attempt.scores.get(rule)
                if attempt.scores and scores is None:
                    raise InputError(f"{file}: {attempt.key}: has no scores by the rule {rule!r}")
                key = Key(attempt.benchmark, played.task.spec_id, played.sample)
                yield key, played.policy, Observation(attempt.group, attempt.cluster, scores)
        case Trajectory.artifact:
            for played in read(file, Trajectory):
                task = played.task
                key = Key("own", task.spec_id, played.sample)
                yield key, played.policy, Observation(task.kind or "unknown", task.spec_id, _scores(played, rule))
        case other:
            found = "no header line of ours" if other is None else f"an artifact of {other!r}"
            raise InputError(f"{file}: found {found}, expected attempts of `evaluate` or trajectories of `rollout`")


def _scores(trajectory: Trajectory, rule: Rule) -> dict[str, float] | None:
    score = score_trajectory(trajectory)
    if score is None:
        return None
    solve = score.paper if rule == "paper" else score.strict
    scores = {"solve_p": solve.precision, "solve_r": solve.recall, "solve_f1": solve.f1}
    if rule == "fixed" and score.answer_right is not None:  # as in `own`: the release has no score for it
        scores["answer"] = float(score.answer_right)
    return scores


# --- what is compared ----------------------------------------------------------------------------------------------


class Side(Record):
    """One of the two runs: how many attempts it has, how many of them the other one lacks, how many are unscored."""

    path: str
    policy: str
    attempts: int
    unpaired: int
    unscored: int


class Pairing(Record):
    """How the attempts at one benchmark were paired. `left_out`: pairs that are unscored in one run or in both."""

    benchmark: str
    average: Average
    only_a: int
    only_b: int
    pairs: int
    left_out: int


class Row(Record):
    """One metric of one group ("all": the whole benchmark) over `pairs` pairs in `clusters` clusters.

    difference: mean of B - A, in [-1, 1]. stderr, low, high: None where they cannot be estimated (fewer than two
    clusters, in all or in a group that is averaged over; or all differences equal). p: two-sided, None where fewer than
    two clusters are; p_holm: adjusted over all rows
    of the table. verdict: "up" or "down" only where the interval excludes 0; None where nothing can be said.
    """

    benchmark: str
    group: str
    metric: str
    pairs: int
    clusters: int
    a: float
    b: float
    difference: float
    stderr: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    verdict: Verdict | None


class Flips(Record):
    """Items of a 0/1 metric that came out otherwise: `lost` were right in A only, `won` in B only ("ITEM/SAMPLE").

    p: McNemar's exact test, by clusters.
    """

    benchmark: str
    metric: str
    both_right: int
    both_wrong: int
    lost: tuple[str, ...]
    won: tuple[str, ...]
    p: float


class Comparison(Record):
    """Two runs side by side, by one rule."""

    artifact: ClassVar[str] = "comparison"

    rule: Rule
    a: Side
    b: Side
    pairings: tuple[Pairing, ...]
    rows: tuple[Row, ...]
    flips: tuple[Flips, ...]


class _Pair(NamedTuple):
    key: Key
    group: str
    cluster: str
    a: Mapping[str, float]
    b: Mapping[str, float]


def compare_runs(a: Run, b: Run, rule: Rule = "fixed") -> Comparison:
    """The comparison of two runs that were loaded by the same rule. Raises InputError where they share no attempt."""
    shared = [key for key in a.found if key in b.found]
    if not shared:
        one, other = next(iter(a.found)), next(iter(b.found))
        raise InputError(
            f"{a.path} and {b.path} share no attempt: the first of the one is {one.benchmark} item {one.item!r} "
            f"(sample {one.sample}), of the other {other.benchmark} item {other.item!r} (sample {other.sample})"
        )
    pairs: dict[str, list[_Pair]] = {key.benchmark: [] for key in (*a.found, *b.found)}
    for key in shared:
        one, other = a.found[key], b.found[key]
        if (one.group, one.cluster) != (other.group, other.cluster):
            raise InputError(
                f"{key.benchmark} item {key.item!r}: found in group {one.group!r} of {a.path}, in {other.group!r} of "
                f"{b.path}; expected runs on the same benchmark"
            )
        if one.scores is not None and other.scores is not None:
            pairs[key.benchmark].append(_Pair(key, one.group, one.cluster, one.scores, other.scores))
    pairings = tuple(_pairing(name, a, b, len(scored)) for name, scored in pairs.items())
    rows = [row for pairing in pairings for row in _rows(pairing, pairs[pairing.benchmark])]
    adjusted = holm([row.p for row in rows])
    return Comparison(
        rule=rule,
        a=_side(a, b),
        b=_side(b, a),
        pairings=pairings,
        rows=tuple(row.model_copy(update={"p_holm": p}) for row, p in zip(rows, adjusted, strict=True)),
        flips=tuple(flips for name, scored in pairs.items() for flips in _flips(name, scored)),
    )


def _side(run: Run, other: Run) -> Side:
    return Side(
        path=run.path,
        policy=run.policy,
        attempts=len(run.found),
        unpaired=sum(key not in other.found for key in run.found),
        unscored=sum(one.scores is None for one in run.found.values()),
    )


def _pairing(benchmark: str, a: Run, b: Run, scored: int) -> Pairing:
    of_a = {key for key in a.found if key.benchmark == benchmark}
    of_b = {key for key in b.found if key.benchmark == benchmark}
    return Pairing(
        benchmark=benchmark,
        average=average_of(benchmark),
        only_a=len(of_a - of_b),
        only_b=len(of_b - of_a),
        pairs=scored,
        left_out=len(of_a & of_b) - scored,
    )


def _rows(pairing: Pairing, pairs: Sequence[_Pair]) -> Iterable[Row]:
    present = {pair.group for pair in pairs}
    groups = [kind for kind in get_args(ScenarioKind) if kind in present]
    groups += [group for group in dict.fromkeys(pair.group for pair in pairs) if group not in groups]
    for group in [ALL, *groups] if len(groups) > 1 else [ALL]:
        chosen = pairs if group == ALL else [pair for pair in pairs if pair.group == group]
        for metric in _metrics(chosen):
            both = [pair for pair in chosen if metric in pair.a and metric in pair.b]
            if both:
                yield _row(pairing, group, metric, both)


def _metrics(pairs: Sequence[_Pair]) -> list[str]:
    found = dict.fromkeys(metric for pair in pairs for metric in pair.a)
    order = list(TITLES)
    return sorted(found, key=lambda metric: order.index(metric) if metric in order else len(order))


def _row(pairing: Pairing, group: str, metric: str, pairs: Sequence[_Pair]) -> Row:
    average = pairing.average
    differences = [_value(pair, pair.b[metric] - pair.a[metric]) for pair in pairs]
    found = estimate(differences, average)
    mean = _mean(found)
    stderr = None if found.stderr is None or found.stderr < _ROUNDING else found.stderr
    low = high = p = None
    if stderr is not None:
        reach = t_quantile(0.5 + _LEVEL / 2, found.clusters - 1) * stderr
        low, high = mean - reach, mean + reach
        p = 1 - within(abs(mean) / stderr, found.clusters - 1)
    elif found.stderr is not None:  # all differences are equal
        p = exact_sign_test(_directions(differences))
    known = p is not None
    told_apart = known and (low > 0 or high < 0 if low is not None and high is not None else p < 1 - _LEVEL)
    return Row(
        benchmark=pairing.benchmark,
        group=group,
        metric=metric,
        pairs=len(pairs),
        clusters=found.clusters,
        a=_mean(estimate([_value(pair, pair.a[metric]) for pair in pairs], average)),
        b=_mean(estimate([_value(pair, pair.b[metric]) for pair in pairs], average)),
        difference=mean,
        stderr=stderr,
        low=low,
        high=high,
        p=p,
        p_holm=None,
        verdict=None if not known else "same" if not told_apart else "up" if mean > 0 else "down",
    )


def _value(pair: _Pair, x: float) -> Value:
    return Value(pair.group, pair.key.item, pair.cluster, x)


def _mean(cell: Cell) -> float:
    assert cell.mean is not None  # there are pairs
    return cell.mean


def _flips(benchmark: str, pairs: Sequence[_Pair]) -> Iterable[Flips]:
    for metric in _metrics(pairs):
        both = [pair for pair in pairs if metric in pair.a and metric in pair.b]
        if not all({pair.a[metric], pair.b[metric]} <= {0.0, 1.0} for pair in both):
            continue
        outcomes = Counter((pair.a[metric], pair.b[metric]) for pair in both)
        differences = [_value(pair, pair.b[metric] - pair.a[metric]) for pair in both]
        yield Flips(
            benchmark=benchmark,
            metric=metric,
            both_right=outcomes[1.0, 1.0],
            both_wrong=outcomes[0.0, 0.0],
            lost=tuple(f"{pair.key.item}/{pair.key.sample}" for pair in both if pair.a[metric] > pair.b[metric]),
            won=tuple(f"{pair.key.item}/{pair.key.sample}" for pair in both if pair.a[metric] < pair.b[metric]),
            p=exact_sign_test(_directions(differences)),
        )


# --- statistics ----------------------------------------------------------------------------------------------------


def _directions(values: Sequence[Value]) -> list[float]:
    """The sum of the differences of each cluster."""
    sums: dict[str, list[float]] = {}
    for one in values:
        sums.setdefault(one.cluster, []).append(one.x)
    return [math.fsum(parts) for parts in sums.values()]
