"""Aggregates: means, standard errors, what was not scored, and seeds that share nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import assistant, call, capital_spec
from toolfoundry.metrics import summarise, turn_rewards
from toolfoundry.seeds import derive_seed, generator
from toolfoundry.types import Completion, ToolResult, Trajectory, Turn


def trajectory(policy, answer, *, solved=0, stop="answered", number=0, error=None):
    spec = capital_spec(number)
    turns = []
    if solved:
        made = call("author_of", "Tides")
        result = ToolResult(call_id="c0", content="Mira Olsen")
        turns.append(Turn(completion=Completion(message=assistant("", made)), results=(result,)))
    turns.append(Turn(completion=Completion(message=assistant(answer))))
    return Trajectory(task=spec.task, policy=policy, prompt=(), turns=tuple(turns), stop=stop, error=error)


def test_means_and_errors_by_hand():
    """Scores 0.5 and 5/6 (F1 2/3): mean 2/3, standard error of two values = |difference| / 2."""
    [summary] = summarise([trajectory("p", "Velden"), trajectory("p", "Velden", solved=1)])
    score = summary.overall.metrics["score"]
    assert score.mean == pytest.approx(2 / 3)
    assert score.stderr == pytest.approx((5 / 6 - 1 / 2) / 2)
    assert summary.overall.metrics["answer"].mean == 1.0
    assert (summary.overall.metrics["paper_solve_p"].mean, summary.overall.metrics["solve_p"].mean) == (1.0, 0.5)


def test_failures_are_counted_apart():
    """Not in any mean; with their causes."""
    failed = trajectory("p", "", stop="error", error="EndpointError: 503")
    [summary] = summarise([trajectory("p", "Velden"), failed, failed])
    assert (summary.overall.n, summary.overall.unscored) == (3, 2)
    assert summary.overall.metrics["answer"].n == 1
    assert summary.errors == {"EndpointError: 503": 2}
    assert summary.stops == {"answered": 1, "error": 2}


def test_a_mean_over_nothing_is_none():
    """Never 0."""
    [summary] = summarise([trajectory("p", "", stop="error")])
    assert summary.overall.metrics["score"].mean is None
    assert summarise([]) == []


def test_policies_and_scenarios_are_kept_apart():
    """In the order in which they appear; the first group is over all."""
    summaries = summarise([trajectory("b", "x"), trajectory("a", "x")])
    assert [summary.policy for summary in summaries] == ["b", "a"]
    assert [group.scenario for group in summaries[0].groups] == ["all", "unknown"]


def test_turn_rewards_under_another_preset():
    """The release pays 2q/(p+1) = 1 for the call; the answer then earns 1/(1+t) = 1/2: mean 3/4."""
    rewards = turn_rewards([trajectory("p", "Velden", solved=1)], "ftrl")
    assert rewards["p"].mean == pytest.approx(3 / 4)


def test_seeds_are_fixed_for_ever():
    """Changing these changes every generated environment."""
    assert derive_seed("rollout", 7) == 2419008788164433081
    assert generator("a", 1).random() == generator("a", 1).random()


parts = st.lists(st.text(max_size=5) | st.integers(-50, 50), max_size=4)


@given(parts, parts)
def test_different_parts_give_different_seeds(first, second):
    """Also where the parts read the same when joined."""
    same = [(type(part), part) for part in first] == [(type(part), part) for part in second]
    assert (derive_seed(*first) == derive_seed(*second)) == same
