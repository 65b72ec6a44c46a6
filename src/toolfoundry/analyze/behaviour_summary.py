"""Behaviour by scenario, and what changed between two policies on the same environments.

A failure's figure is the share of trajectories that have it at least once; beside it stands how often it happened in
all. Standard errors and intervals are clustered by environment, and paired differences are by environment and sample
(`toolfoundry.evaluate.compare` has the formulas). None: nothing that could be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, get_args

from toolfoundry.analyze.behaviour import KINDS, MEASURES, Behaviour, FailureKind, behaviour
from toolfoundry.evaluate.results import Cell, Value, estimate
from toolfoundry.intervals import exact_sign_test, t_quantile
from toolfoundry.types import EnvSpec, Record, ScenarioKind, Trajectory
from toolfoundry.untrusted import visible

__all__ = ["BehaviourGroup", "BehaviourSummary", "Change", "Played", "behave", "changes", "examples", "markdown"]
__all__ += ["scenarios_of", "summarise_behaviour", "title_of"]

ALL = "all"


class Share(Record):
    """One kind of failure in one scenario. `count`: occurrences in all; None: cannot be told of any trajectory."""

    share: Cell
    count: int | None


class BehaviourGroup(Record):
    """One scenario ("all": every trajectory); `n` counts the scored ones."""

    scenario: str
    n: int
    unscored: int
    failures: dict[FailureKind, Share]
    measures: dict[str, Cell]


class BehaviourSummary(Record):
    """A file's behaviour. examples: for each kind of failure that happened the keys of trajectories that show it, those
    with the fewest other failures first."""

    name: str
    groups: tuple[BehaviourGroup, ...]
    examples: dict[FailureKind, tuple[str, ...]]


class Change(Record):
    """One figure (a kind of failure, or a measure) before and after, over the pairs that have it in both.

    difference: after minus before; low, high: its 95% interval (Student's t, clustered by environment), None with fewer
    than two clusters, or where all differences are equal
    """

    scenario: str
    figure: str
    pairs: int
    clusters: int
    before: float
    after: float
    difference: float
    low: float | None
    high: float | None
    sure: bool


class Played(NamedTuple):
    """What a set of trajectories shows: of the scored ones the behaviour, and of the others how many a scenario has."""

    behaviours: list[Behaviour]
    unscored: Mapping[str, int]


def behave(trajectories: Iterable[Trajectory], specs: Mapping[str, EnvSpec] | None = None) -> Played:
    """The behaviour of all trajectories, each with its environment where that is among `specs` (by id)."""
    behaviours: list[Behaviour] = []
    unscored: dict[str, int] = {}
    for trajectory in trajectories:
        found = behaviour(trajectory, (specs or {}).get(trajectory.task.spec_id))
        if found is None:
            scenario = trajectory.task.kind or "unknown"
            unscored[scenario] = unscored.get(scenario, 0) + 1
        else:
            behaviours.append(found)
    return Played(behaviours, unscored)


def title_of(figure: str) -> str:
    """How a kind of failure or a measure is called."""
    return KINDS[figure].title if figure in KINDS else MEASURES[figure]


def figure_of(one: Behaviour, figure: str) -> float | None:
    """1 or 0 for a kind of failure (it happened or not), the measure's value for a measure; None: cannot be told."""
    if figure not in KINDS:
        return one.measures[figure]
    count = one.failures[figure]
    return None if count is None else float(count > 0)


def scenarios_of(played: Sequence[Played]) -> list[str]:
    """ "all", and the scenarios that are there."""
    present = {one.scenario for each in played for one in each.behaviours} | {
        kind for each in played for kind in each.unscored
    }
    return [ALL, *(kind for kind in (*get_args(ScenarioKind), "unknown") if kind in present)]


def summarise_behaviour(name: str, played: Played, most_examples: int = 3) -> BehaviourSummary:
    """Shares and means by scenario, all trajectories first."""
    groups: list[BehaviourGroup] = []
    for scenario in scenarios_of([played]):
        chosen = [one for one in played.behaviours if scenario in (ALL, one.scenario)]
        shares: dict[FailureKind, Share] = {}
        for kind in KINDS:
            counts = [count for one in chosen if (count := one.failures[kind]) is not None]
            shares[kind] = Share(share=_cell(chosen, kind), count=sum(counts) if counts else None)
        unscored = sum(played.unscored.values()) if scenario == ALL else played.unscored.get(scenario, 0)
        measures = {measure: _cell(chosen, measure) for measure in MEASURES}
        groups.append(
            BehaviourGroup(scenario=scenario, n=len(chosen), unscored=unscored, failures=shares, measures=measures)
        )
    return BehaviourSummary(name=name, groups=tuple(groups), examples=examples(played.behaviours, most_examples))


def _cell(chosen: Sequence[Behaviour], figure: str) -> Cell:
    known = [(one.spec_id, x) for one in chosen if (x := figure_of(one, figure)) is not None]
    return estimate(Value(ALL, spec_id, spec_id, x) for spec_id, x in known)


def examples(behaviours: Sequence[Behaviour], most: int = 3) -> dict[FailureKind, tuple[str, ...]]:
    """Keys of trajectories that show a kind of failure, the purest first; kinds that never happened are left out."""
    found: dict[FailureKind, tuple[str, ...]] = {}
    for kind in KINDS:
        having = [one for one in behaviours if one.failures[kind]]
        having.sort(key=lambda one: (sum(count or 0 for count in one.failures.values()), one.key))
        if having:
            found[kind] = tuple(one.key for one in having[:most])
    return found


def changes(before: Played, after: Played) -> list[Change]:
    """Every figure of every scenario that is known in at least one pair of the same environment and sample."""
    by_key = {(one.spec_id, one.sample): one for one in before.behaviours}
    pairs = [(was, now) for now in after.behaviours if (was := by_key.get((now.spec_id, now.sample))) is not None]
    found: list[Change] = []
    for scenario in scenarios_of([after]):
        chosen = [(was, now) for was, now in pairs if scenario in (ALL, now.scenario)]
        for figure in (*KINDS, *MEASURES):
            known = [
                (now.spec_id, a, b)
                for was, now in chosen
                if (a := figure_of(was, figure)) is not None and (b := figure_of(now, figure)) is not None
            ]
            if known:
                found.append(_change(scenario, figure, known))
    return found


def _change(scenario: str, figure: str, known: Sequence[tuple[str, float, float]]) -> Change:
    def mean(values: Iterable[tuple[str, float]]) -> Cell:
        return estimate(Value(ALL, spec_id, spec_id, x) for spec_id, x in values)

    found = mean((spec_id, b - a) for spec_id, a, b in known)
    before = mean((spec_id, a) for spec_id, a, _ in known).mean
    after = mean((spec_id, b) for spec_id, _, b in known).mean
    assert found.mean is not None
    assert before is not None
    assert after is not None
    low = high = None
    sure = False
    if found.stderr is not None and found.stderr > 1e-12:
        reach = t_quantile(0.975, found.clusters - 1) * found.stderr
        low, high = found.mean - reach, found.mean + reach
        if figure in KINDS:  # a difference of shares
            low, high = max(-1.0, low), min(1.0, high)
        sure = not low <= 0 <= high
    elif found.stderr is not None:
        sure = exact_sign_test([found.mean] * found.clusters) < 0.05
    return Change(
        scenario=scenario,
        figure=figure,
        pairs=len(known),
        clusters=found.clusters,
        before=before,
        after=after,
        difference=found.mean,
        low=low,
        high=high,
        sure=sure,
    )


# --- as text -------------------------------------------------------------------------------------------------------


def markdown(summaries: Sequence[BehaviourSummary], changed: Sequence[Change] = ()) -> str:
    """Tables of one or two sets, and of what changed between them; names and keys as code."""
    parts: list[str] = ["# Behaviour", ""]
    for summary in summaries:
        names = [group.scenario.replace("_", " ") for group in summary.groups]
        parts += [f"## {_code(summary.name)}", ""]
        parts += _table(["failure: share of trajectories (occurrences)", *names], list(_failure_rows(summary)))
        parts += ["", *_table(["mean per trajectory", *names], list(_measure_rows(summary)))]
        rows = [
            [KINDS[kind].title, ", ".join(_code(short_key(key)) for key in keys)]
            for kind, keys in summary.examples.items()
        ]
        parts += ["", *_table(["failure", "trajectories that show it"], rows), ""]
    for scenario in dict.fromkeys(change.scenario for change in changed):
        rows = [
            [
                title_of(change.figure),
                f"{change.before:.3f}",
                f"{change.after:.3f}",
                interval(change),
                str(change.pairs),
            ]
            for change in changed
            if change.scenario == scenario and (change.before or change.after)
        ]
        parts += [f"## Change: {scenario.replace('_', ' ')}", "", "What was 0 both times is left out.", ""]
        parts += [*_table(["", "before", "after", "difference [95% interval]", "pairs"], rows), ""]
    return "\n".join(parts).rstrip() + "\n"


def _failure_rows(summary: BehaviourSummary) -> Iterable[list[str]]:
    yield ["n (unscored)", *(f"{group.n} ({group.unscored})" for group in summary.groups)]
    for kind, about in KINDS.items():
        yield [about.title, *(share_text(group.failures[kind]) for group in summary.groups)]


def _measure_rows(summary: BehaviourSummary) -> Iterable[list[str]]:
    for measure, title in MEASURES.items():
        yield [title, *(mean_text(group.measures[measure]) for group in summary.groups)]


def share_text(share: Share) -> str:
    """A share in percent with the occurrences; "–" where it cannot be told."""
    return "–" if share.share.mean is None else f"{100 * share.share.mean:.1f}% ({share.count})"


def mean_text(metric: Cell) -> str:
    """A mean with its standard error; "–" for none."""
    if metric.mean is None:
        return "–"
    return f"{metric.mean:.2f}" + ("" if metric.stderr is None else f" ±{metric.stderr:.2f}")


def interval(change: Change) -> str:
    """The difference with its interval, in bold where that leaves out 0."""
    text = f"{change.difference:+.3f}"
    if change.low is not None and change.high is not None:
        text += f" [{change.low:+.3f}, {change.high:+.3f}]"
    return f"**{text}**" if change.sure else text


def short_key(key: str) -> str:
    """A trajectory's key without the policy: it is the same in a whole file."""
    return f"{key.partition('/')[0]}/{key.rpartition('/')[2]}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", "|---|" + "---:|" * (len(header) - 1)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def _code(text: str) -> str:
    """Text of others in a cell: visible, and without what would end the code or the cell."""
    return f"`{visible(text, 200).replace('`', chr(39)).replace('|', '/')}`"
