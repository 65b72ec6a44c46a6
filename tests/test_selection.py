"""Which groups are trained on, and which environments are played."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolfoundry.errors import InputError
from toolfoundry.selection import PassRates, Refill

# --- groups ---------------------------------------------------------------------------------------------------------


def test_a_step_is_refilled_until_it_is_full():
    """4 wanted: 4 drawn, 1 of them has spread, so 3 / (1/4) = 12 are drawn next; full is full."""
    fill = Refill(wanted=4, most=100)
    assert fill.to_draw() == 4
    assert [fill.add(f"a{i}", [0, 0, i == 2]) for i in range(4)] == [False, False, True, False]
    assert fill.to_draw() == 12
    assert [fill.add(f"b{i}", [0, 1]) for i in range(4)] == [True, True, True, False]
    assert fill.kept == ["a2", "b0", "b1", "b2"]
    assert (fill.flat, fill.spare, fill.sampled, fill.to_draw()) == (3, 1, 8, 0)


def test_a_step_of_flat_groups_ends():
    """At `most` sampled groups it stops with what there is, which may be nothing: the caller skips the step."""
    fill = Refill(wanted=4, most=10)
    drawn = []
    while n := fill.to_draw():
        drawn.append(n)
        for _ in range(n):
            fill.add("x", [1.0, 1.0])
    assert sum(drawn) == 10
    assert fill.kept == []


def test_an_unscored_group_is_flat():
    """Nothing is known of it, so it teaches nothing."""
    fill = Refill(wanted=1, most=2)
    assert not fill.add("x", [])
    assert fill.flat == 1


def test_impossible_bounds_are_refused():
    """`most` below `wanted` could never fill a step."""
    with pytest.raises(ValueError, match="expected 1 <= wanted <= most"):
        Refill(wanted=4, most=3)


# --- environments ---------------------------------------------------------------------------------------------------

IDS = [f"e{i:02}" for i in range(40)]


def rates(**options):
    """e00-e09 never solved, e10-e19 always, e20-e29 sometimes, e30-e39 unknown."""
    made = PassRates(**options)
    for index, spec_id in enumerate(IDS[:30]):
        made.record(spec_id, [0.0, 0.0] if index < 10 else [1.0, 1.0] if index < 20 else [0.0, 1.0])
    return made


def test_neither_always_nor_never():
    """Without revisits only environments that are solved sometimes, or unknown, are drawn while there are enough."""
    drawn = rates(revisit=0.0).draw(IDS, 20, 7)
    assert sorted(drawn) == IDS[20:]


def test_the_others_come_back():
    """A tenth of 20 places goes to those outside the band, the longest unplayed first."""
    made = rates()
    drawn = made.draw(IDS, 20, 7)
    assert [spec_id for spec_id in IDS[:20] if spec_id in drawn] == ["e00", "e01"]
    made.record("e00", [0.0])
    assert [spec_id for spec_id in IDS[:20] if spec_id in made.draw(IDS, 20, 7)] == ["e01", "e02"]


def test_places_that_are_left_are_filled():
    """More are wanted than lie inside the band: the others fill up, never an environment twice, never more than all."""
    made = rates()
    drawn = made.draw(IDS, 25, 0)
    assert set(IDS[20:]) <= set(drawn)
    assert len(drawn) == len(set(drawn)) == 25
    assert sorted(made.draw(IDS, 99, 0)) == IDS


def test_the_band_is_the_callers():
    """(.2, .8) leaves out what is nearly always or nearly never solved; the borders lie outside."""
    made = PassRates((0.2, 0.8))
    for spec_id, mean in {"low": 0.1, "border": 0.2, "middle": 0.5, "high": 0.9}.items():
        made.record(spec_id, [mean])
    assert [spec_id for spec_id in ("low", "border", "middle", "high", "new") if made.inside(spec_id)] == [
        "middle",
        "new",
    ]


def test_only_the_last_scores_count():
    """With recent=2, [0, 0, 1, 1] is a mean of 1."""
    made = PassRates(recent=2)
    made.record("e", [0.0, 0.0])
    made.record("e", [1.0])
    assert made.mean("e") == 0.5
    made.record("e", [1.0])
    assert made.mean("e") == 1.0


def test_unscored_rollouts_say_nothing():
    """None is not 0: the environment stays unknown."""
    made = PassRates()
    made.record("e", [None, None])
    assert made.mean("e") is None
    made.record("e", [None, 0.25])
    assert made.mean("e") == 0.25


def test_draws_depend_on_the_seed_and_nothing_else():
    """The same seed, the same draw, another one another; over many seeds every environment inside has its turn."""
    made = rates(revisit=0.0)
    assert made.draw(IDS, 5, 1, "a") == made.draw(IDS, 5, 1, "a")
    assert made.draw(IDS, 5, 1, "a") != made.draw(IDS, 5, 1, "b")
    counts = Counter(spec_id for seed in range(400) for spec_id in made.draw(IDS, 5, seed))
    assert set(counts) == set(IDS[20:])
    assert min(counts.values()) > 60  # 100 expected, deviation about 9


def test_only_what_is_offered_is_drawn():
    """Environments that were played in an earlier round, and are not in this set, are not drawn."""
    assert sorted(rates().draw(IDS[25:32], 99, 0)) == IDS[25:32]
    assert rates().draw([], 3, 0) == []
    assert rates().draw(["e25", "e25", "e00", "e00"], 9, 0) in (["e25", "e00"], ["e00", "e25"])


scores = st.lists(st.none() | st.floats(0, 1), max_size=6)


@given(st.lists(st.tuples(st.sampled_from(IDS), scores), max_size=30), st.integers(0, 45), st.integers())
def test_a_resumed_run_draws_the_same(history, n, seed):
    """State, through JSON, is all there is: same draws, same state again."""
    made = PassRates((0.1, 0.9), recent=3, revisit=0.25)
    for spec_id, found in history:
        made.record(spec_id, found)
    resumed = PassRates.from_state(json.loads(json.dumps(made.state())))
    assert resumed.state() == made.state()
    assert resumed.draw(IDS, n, seed) == made.draw(IDS, n, seed)
    assert len(set(made.draw(IDS, n, seed))) == min(n, len(IDS))


@pytest.mark.parametrize("state", [{}, {"band": [0, 1], "recent": 0, "revisit": 0, "scores": []}, {"band": 3}])
def test_a_state_that_is_none_is_refused(state):
    """One line that says so, not a crash later on."""
    with pytest.raises(InputError, match="pass rates: found"):
        PassRates.from_state(state)


def test_settings_that_make_no_sense_are_refused():
    """A band upside down would leave out everything."""
    with pytest.raises(ValueError, match="low < high"):
        PassRates((0.9, 0.1))
