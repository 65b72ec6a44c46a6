"""Means, clustered standard errors, pass^k and accounts: by hand, and against the formulas written out directly."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import assistant, call
from toolfoundry.evaluate.attempts import About, Attempt
from toolfoundry.evaluate.results import Effort, Value, estimate, summarise_attempts, summarise_rules
from toolfoundry.types import Completion, Task, ToolResult, Trajectory, Turn, Usage

ABOUT = About("b", "B", {"m": "M", "extra": "E"}, "items", ("m",))
BY_GROUPS = ABOUT._replace(average="groups")


def attempt(
    item, x, *, group="g", cluster=None, sample=0, turns=(), facts=None, extra=None, error="EndpointError: 503"
):
    """One attempt with the score x by both rules; x None is unscored."""
    task = Task(spec_id=item, kind=None, goals=(), answer=None, tagged=False)
    stop = "error" if x is None else "answered"
    trajectory = Trajectory(
        task=task,
        policy="p",
        sample=sample,
        prompt=(),
        turns=tuple(turns),
        stop=stop,
        error=error if x is None else None,
    )
    scores = {"m": x} | ({} if extra is None else {"extra": extra})
    return Attempt(
        benchmark="b",
        group=group,
        cluster=cluster or item,
        trajectory=trajectory,
        facts=facts or {},
        scores={} if x is None else {"paper": scores, "fixed": scores},
    )


def cell(attempts, about=ABOUT):
    return summarise_attempts(about, attempts, "fixed").overall.metrics["m"]


# --- by hand -------------------------------------------------------------------------------------------------------


def test_the_plain_case_is_the_textbook_one():
    """0, 1, 1, 1: mean 3/4, s^2 = (9 + 3)/16/3 = 1/4, standard error sqrt(1/4/4) = 1/4."""
    found = cell([attempt(f"i{index}", x) for index, x in enumerate([0, 1, 1, 1])])
    assert (found.mean, found.n, found.items, found.clusters) == (0.75, 4, 4, 4)
    assert found.stderr == pytest.approx(0.25)


def test_clusters_count_as_wholes():
    """The same four in two clusters, (0, 1) and (1, 1): u = -1/8 and 1/8, 2/1 * 2/64 = 1/16."""
    attempts = [attempt(f"i{index}", x, cluster="ab"[index // 2]) for index, x in enumerate([0, 1, 1, 1])]
    found = cell(attempts)
    assert (found.mean, found.clusters) == (0.75, 2)
    assert found.stderr == pytest.approx(0.25)
    alike = [attempt(f"i{index}", x, cluster="ab"[index // 2]) for index, x in enumerate([0, 0, 1, 1])]
    assert cell(alike).stderr == pytest.approx(0.5)  # what two values, 0 and 1, have
    opposite = [attempt(f"i{index}", x, cluster="ab"[index % 2]) for index, x in enumerate([0, 0, 1, 1])]
    assert cell(opposite).stderr == 0


def test_an_item_counts_alike_however_often_it_was_tried():
    """Item a: 1, 1, 1, 0 is 3/4; item b: 0: mean 3/8, and repeating what is known makes nothing more certain."""
    tries = [attempt("a", x, sample=index) for index, x in enumerate([1, 1, 1, 0])] + [attempt("b", 0)]
    found = cell(tries)
    assert (found.mean, found.n, found.items) == (0.375, 5, 2)
    assert found.stderr == pytest.approx(0.375)  # two values, 3/4 and 0: half their difference
    thrice = [attempt(name, x, sample=index) for name, x in (("a", 1), ("b", 0), ("c", 0)) for index in range(3)]
    assert cell(thrice).stderr == pytest.approx(cell(thrice[::3]).stderr)


def test_the_mean_of_groups_is_unweighted():
    """Groups 1, 1, 1, 0 and 0, 1: (3/4 + 1/2)/2; an attempt's weight is 1/8 in the one and 1/4 in the other; C = 6."""
    attempts = [attempt(f"a{index}", x, group="a") for index, x in enumerate([1, 1, 1, 0])]
    attempts += [attempt(f"b{index}", x, group="b") for index, x in enumerate([0, 1])]
    found = cell(attempts, BY_GROUPS)
    assert found.mean == 0.625
    squares = (3 * (1 / 4) ** 2 + (3 / 4) ** 2) / 8**2 + 2 * (1 / 2) ** 2 / 4**2
    assert found.stderr == pytest.approx(math.sqrt(6 / 5 * squares))
    assert cell(attempts).mean == pytest.approx(4 / 6)


def test_one_cluster_says_nothing_of_its_spread():
    """None, not 0; and so for a mean of groups of which one has a single cluster."""
    assert cell([attempt("a", 1.0), attempt("a", 0.0, sample=1)]).stderr is None
    attempts = [attempt("a", 1.0, group="a"), attempt("b", 1.0, group="b"), attempt("c", 0.0, group="b")]
    found = cell(attempts, BY_GROUPS)
    assert (found.mean, found.stderr) == (0.75, None)


def test_a_mean_over_nothing_is_none():
    """Never 0; also where there are no attempts at all."""
    found = summarise_attempts(ABOUT, [attempt("a", None)], "fixed")
    assert (found.overall.metrics["m"].mean, found.overall.n, found.overall.unscored, found.unscored) == (
        None,
        1,
        1,
        1.0,
    )
    empty = summarise_attempts(ABOUT, [], "fixed")
    assert (empty.overall.n, empty.overall.metrics["m"].mean, empty.unscored) == (0, None, None)


def test_unscored_attempts_are_counted_apart():
    """In no mean, with their causes; the items' means are over what was scored."""
    attempts = [attempt("a", 1), attempt("a", None, sample=1), attempt("b", 0), attempt("c", None, error="x")]
    result = summarise_attempts(ABOUT, attempts, "paper")
    assert (result.overall.n, result.overall.items, result.overall.unscored) == (4, 3, 2)
    assert (result.overall.metrics["m"].mean, result.overall.metrics["m"].n) == (0.5, 2)
    assert result.failures == {"EndpointError: 503": 1, "x": 1}
    assert result.stops == {"answered": 2, "error": 2}


def test_a_group_without_any_score_leaves_no_mean_of_groups():
    """An average over the other groups would be another quantity under the same name."""
    attempts = [attempt("a", 1, group="a"), attempt("b", 0, group="a"), attempt("c", None, group="c")]
    result = summarise_attempts(BY_GROUPS, attempts, "fixed")
    assert result.overall.metrics["m"].mean is None
    assert result.rows[1].metrics["m"].mean == 0.5
    assert cell(attempts).mean == 0.5  # over items it is a mean over the items that could be scored


def test_a_metric_that_does_not_apply_to_a_group_is_not_missing_there():
    """Calls without error, say, where no tools are given."""
    attempts = [attempt("a", 1, group="a"), attempt("b", 1, group="b", extra=0.25)]
    result = summarise_attempts(BY_GROUPS, attempts, "fixed")
    assert (result.overall.metrics["extra"].mean, result.rows[1].metrics["extra"].mean) == (0.25, None)


def test_groups_stand_in_the_order_that_is_given():
    """Those not named follow by name."""
    attempts = [attempt(name, 1, group=name) for name in ("union", "heavy", "clean", "other")]
    result = summarise_attempts(ABOUT, attempts, "fixed", groups=("clean", "slight", "heavy"))
    assert [row.group for row in result.rows] == ["all", "clean", "heavy", "other", "union"]


# --- pass^k --------------------------------------------------------------------------------------------------------


def test_pass_k_by_hand():
    """4 tries: a succeeds 4 times, b 2, c 0. pass^1 = 1/2, pass^2 = (1 + 1/6 + 0)/3, pass^3 = pass^4 = 1/3."""
    tries = [
        attempt(name, float(index < wins), sample=index)
        for name, wins in (("a", 4), ("b", 2), ("c", 0))
        for index in range(4)
    ]
    result = summarise_attempts(ABOUT, tries, "fixed")
    found = [one.mean for one in result.overall.passes["m"]]
    assert found == pytest.approx([1 / 2, 7 / 18, 1 / 3, 1 / 3])
    assert found[0] == result.overall.metrics["m"].mean
    assert result.overall.passes["m"][0].stderr == pytest.approx(result.overall.metrics["m"].stderr)
    assert result.samples == 4


def test_pass_k_is_over_items_with_k_scored_tries():
    """An unscored try is no failure: that item has pass^1 only."""
    tries = [attempt("a", 1.0), attempt("a", None, sample=1), attempt("b", 1.0), attempt("b", 0.0, sample=1)]
    one, two = summarise_attempts(ABOUT, tries, "fixed").overall.passes["m"]
    assert (one.mean, one.items) == (0.75, 2)
    assert (two.mean, two.items) == (0.0, 1)


def test_pass_k_is_for_right_and_wrong_only():
    """Not for shares, and not where each item was tried once."""
    assert summarise_attempts(ABOUT, [attempt("a", 1.0), attempt("b", 0.0)], "fixed").overall.passes == {}
    tries = [attempt("a", 0.5), attempt("a", 1.0, sample=1)]
    assert summarise_attempts(ABOUT, tries, "fixed").overall.passes == {}


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=5))
def test_pass_k_is_the_share_of_all_choices_of_k_tries(items):
    """C(c, k)/C(n, k), counted out."""
    tries, outcomes = [], []
    for index, (n, wins) in enumerate(items):
        outcomes.append([float(try_ < wins) for try_ in range(n)])
        tries += [attempt(f"i{index}", x, sample=sample) for sample, x in enumerate(outcomes[-1])]
    passes = summarise_attempts(ABOUT, tries, "fixed").overall.passes.get("m", ())
    for k, found in enumerate(passes, start=1):
        shares = [
            sum(all(chosen) for chosen in itertools.combinations(one, k)) / math.comb(len(one), k)
            for one in outcomes
            if len(one) >= k
        ]
        assert found.mean == pytest.approx(sum(shares) / len(shares))
        assert found.items == len(shares)


# --- against the formulas ------------------------------------------------------------------------------------------


def direct(values, average):
    """The module's formulas, written out attempt by attempt."""
    groups = sorted({v.group for v in values}) if average == "groups" else [None]
    weights, centred, total = [], [], 0.0
    for value in values:
        alike = [v for v in values if average == "items" or v.group == value.group]
        items = {v.item for v in alike}
        mine = [v for v in alike if v.item == value.item]
        weights.append(1 / (len(groups) * len(items) * len(mine)))
        means = [
            sum(v.x for v in alike if v.item == item) / sum(v.item == item for v in alike) for item in sorted(items)
        ]
        centred.append(value.x - sum(means) / len(means))
        total += weights[-1] * value.x
    clusters = sorted({v.cluster for v in values})
    influences = [
        sum(w * c for w, c, v in zip(weights, centred, values, strict=True) if v.cluster == cluster)
        for cluster in clusters
    ]
    count = len(clusters)
    small = any(len({v.cluster for v in values if group in (None, v.group)}) < 2 for group in groups)
    if count < 2 or small:
        return total, None
    return total, math.sqrt(count / (count - 1) * sum(u * u for u in influences))


@st.composite
def tries(draw):
    """Attempts at items, each item in one group and one cluster, clusters across groups."""
    count = draw(st.integers(1, 7))
    items = [(draw(st.sampled_from("ab")), f"i{i}", draw(st.sampled_from("uvwxyz"))) for i in range(count)]
    return [
        Value(*draw(st.sampled_from(items)), draw(st.floats(0, 1, width=16))) for _ in range(draw(st.integers(1, 16)))
    ]


@given(tries(), st.sampled_from(["items", "groups"]), st.randoms(use_true_random=False))
def test_means_and_errors_follow_the_formulas(values, average, random):
    """In any order of the attempts."""
    mean, stderr = direct(values, average)
    found = estimate(values, average)
    assert found.mean == pytest.approx(mean)
    assert (found.stderr is None) == (stderr is None)
    if stderr is not None:
        assert found.stderr == pytest.approx(stderr, abs=1e-9)
    random.shuffle(values)
    assert estimate(values, average) == found


@given(st.lists(st.floats(0, 1, width=16), min_size=2, max_size=20))
def test_single_attempts_have_the_standard_error_of_the_mean(xs):
    """s / sqrt n."""
    found = estimate([Value("", f"i{index}", f"i{index}", x) for index, x in enumerate(xs)])
    mean = sum(xs) / len(xs)
    variance = sum((x - mean) ** 2 for x in xs) / (len(xs) - 1)
    assert found.stderr == pytest.approx(math.sqrt(variance / len(xs)), abs=1e-9)


@given(st.lists(st.floats(0, 1, width=16), min_size=2, max_size=8), st.integers(2, 5))
def test_copies_in_a_cluster_change_nothing(xs, copies):
    """Clustering is what makes it so: asking the same thing again adds no knowledge."""
    once = estimate([Value("", f"i{index}", f"c{index}", x) for index, x in enumerate(xs)])
    again = estimate(
        [Value("", f"i{index}/{copy}", f"c{index}", x) for index, x in enumerate(xs) for copy in range(copies)]
    )
    assert again.mean == pytest.approx(once.mean)
    assert again.stderr == pytest.approx(once.stderr, abs=1e-9)


# --- accounts ------------------------------------------------------------------------------------------------------


def test_what_attempts_took_is_added_up():
    """Turns, calls, tokens; turns without counts are said; what was thrown away is paid for, too."""
    made = call("f", "x")
    result = ToolResult(call_id=made.id, content="1")
    metered = Turn(
        completion=Completion(message=assistant("", made), usage=Usage(prompt_tokens=100, completion_tokens=7)),
        results=(result,),
    )
    unmetered = Turn(completion=Completion(message=assistant("done")))
    again = {"again": {"tries": 2, "prompt_tokens": 50, "completion_tokens": 5}}
    attempts = [attempt("a", 1, turns=[metered, unmetered]), attempt("b", 0, turns=[metered], facts=again)]
    effort = summarise_attempts(ABOUT, attempts, "fixed").effort
    assert effort == Effort(turns=3, calls=2, prompt_tokens=250, completion_tokens=19, unmetered=1, again=2, cost=None)
    assert effort.priced(2.0, 10.0).cost == pytest.approx((250 * 2 + 19 * 10) / 1e6)


def test_the_mean_of_the_papers_metrics_has_an_error_of_its_own():
    """Two metrics that always sum to 1: their mean is certain, whatever each of them is."""
    about = ABOUT._replace(paper_metrics=("m", "extra"))
    attempts = [attempt(f"i{index}", x, extra=1 - x) for index, x in enumerate([0.0, 0.25, 1.0])]
    result = summarise_attempts(about, attempts, "fixed")
    assert result.paper.mean == 0.5
    assert result.paper.stderr == pytest.approx(0.0, abs=1e-12)
    assert result.overall.metrics["m"].stderr > 0.2


def test_both_rules_at_once_are_each_alone():
    """And the order of the attempts does not matter."""
    attempts = [attempt(f"i{index}", x, extra=0.5) for index, x in enumerate([0.1, 0.7, None, 0.3])]
    both = summarise_rules(ABOUT, iter(attempts))
    assert both["paper"] == summarise_attempts(ABOUT, attempts[::-1], "paper")
    assert both["fixed"] == summarise_attempts(ABOUT, attempts[::-1], "fixed")
