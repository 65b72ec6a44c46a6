"""Advantages: small tables with their arithmetic, and the same numbers by another way of computing them."""

import math
from statistics import variance

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolfoundry.advantages import (
    WHITEN_EPS,
    by_group,
    discounted_returns,
    grpo,
    has_spread,
    reinforce_returns,
    response_advantages,
    whiten,
    whiten_tokens,
)

ALGORITHMS = ("grpo", "dr-grpo", "reinforce++", "reinforce++-baseline")
rewards = st.floats(-1, 2, allow_nan=False).map(lambda value: round(value, 3))


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        # mean 1/2, deviations ±1/2, unbiased variance (1/4 + 1/4) / (2 - 1) = 1/2, std .70711: ±.5 / .70711 = ±.70711
        ([1, 0], [0.70711, -0.70711]),
        # mean 1/4, deviations 3/4, -1/4 x3, variance (9 + 1 + 1 + 1) / 16 / 3 = 1/4, std 1/2
        ([1, 0, 0, 0], [1.5, -0.5, -0.5, -0.5]),
        # mean .5, deviations -.8 -.5 .5 .8, variance (.64 + .25 + .25 + .64) / 3 = .59333, std .77028
        ([-0.3, 0, 1, 1.3], [-1.03858, -0.64912, 0.64912, 1.03858]),
    ],
)
def test_grpo(group, expected):
    """(r - mean) / (std + 1e-6), with the unbiased standard deviation."""
    assert grpo(group) == pytest.approx(expected, abs=1e-5)
    assert sum(grpo(group)) == pytest.approx(0, abs=1e-9)


def test_eps_is_added_to_the_deviation():
    """[2e-6, 0]: mean 1e-6, std sqrt(2e-12) = 1.41421e-6, so 1e-6 / (1.41421e-6 + 1e-6) = .41421."""
    assert grpo([2e-6, 0.0]) == pytest.approx([0.41421, -0.41421], abs=1e-5)


def test_dr_grpo_only_centres():
    """r - mean: [1, 0, 0, 0] has mean 1/4."""
    assert grpo([1, 0, 0, 0], scale=False) == [0.75, -0.25, -0.25, -0.25]


@pytest.mark.parametrize("group", [[0.1] * 3, [0.1 + 0.2, 0.3], [1.0], [0.0, 1e-12]])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_equal_rewards_teach_nothing(group, algorithm):
    """Zeros exactly, whatever the rounding of their mean; so does a group of one. Changing this changes training."""
    assert not has_spread(group)
    assert response_advantages(group, [3] * len(group), ["g"] * len(group), algorithm) == [0.0] * len(group)


def test_an_empty_group_is_an_error():
    """There is nothing to compare; that is a caller's mistake, not a zero."""
    with pytest.raises(ValueError, match="found an empty group"):
        grpo([])
    with pytest.raises(ValueError, match="found none, expected at least one token"):
        whiten([], [])
    with pytest.raises(ValueError, match="found 0 rewards"):
        response_advantages([], [], [], "grpo")
    assert not has_spread([])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_reward_that_is_no_number_is_an_error(bad, algorithm):
    """An unscored response is left out by the caller; it cannot slip in as NaN."""
    with pytest.raises(ValueError, match="not finite"):
        response_advantages([bad, 1.0], [1, 1], ["g", "g"], algorithm)


def test_lengths_must_fit():
    """As many rewards as lengths as groups."""
    with pytest.raises(ValueError, match="found 2 rewards, 1 lengths, 2 groups"):
        response_advantages([1.0, 0.0], [1], ["g", "g"], "grpo")


def test_an_unscored_member_is_left_out():
    """[1, 0, unscored] is the group [1, 0]: its members get ±.70711, as if the third had not been sampled."""
    found = response_advantages([1.0, 0.5, 0.0, 0.5], [4, 4, 4, 4], ["a", "b", "a", "b"], "grpo")
    assert found == pytest.approx([0.70711, 0, -0.70711, 0], abs=1e-5)


def test_groups_need_not_stand_together():
    """a = [1, 0], mean 1/2; b = [0, 1, 2], mean 1."""
    assert by_group([1, 0, 0, 1, 2], ["a", "b", "a", "b", "b"], scale=False) == [0.5, -1.0, -0.5, 0.0, 1.0]


def test_whitening_counts_tokens():
    """Rewards 1 (3 tokens) and 0 (1 token): mean 3/4 over four tokens, squares 3/16 + 9/16 = 3/4, variance 3/4 / 3 =
    1/4, so (1 - 3/4) / sqrt(1/4 + 1e-8) = .5, and (0 - 3/4) / .5 = -1.5."""
    assert whiten([1, 0], [3, 1]) == pytest.approx([0.5, -1.5], abs=1e-7)
    assert response_advantages([1, 0], [3, 1], ["a", "b"], "reinforce++") == whiten([1, 0], [3, 1])


def test_whitening_eps_stands_under_the_root():
    """±1e-4, one token each: variance 2e-8, (1e-4) / sqrt(2e-8 + 1e-8) = .57735."""
    assert whiten([1e-4, -1e-4], [1, 1]) == pytest.approx([0.57735, -0.57735], abs=1e-5)


def test_the_baseline_variant_centres_first():
    """Groups [1, 0] and [3, 2], two tokens each: centred ±1/2; mean 0, squares 8/4 = 2, variance 2 / 7 = .28571,
    so ±.5 / .53452 = ±.93541. Without the baseline, the second group would have all the praise."""
    found = response_advantages([1, 0, 3, 2], [2] * 4, ["a", "a", "b", "b"], "reinforce++-baseline")
    assert found == pytest.approx([0.93541, -0.93541] * 2, abs=1e-5)
    plain = response_advantages([1, 0, 3, 2], [2] * 4, ["a", "a", "b", "b"], "reinforce++")
    assert plain[0] < 0 < plain[3]


def test_a_single_token_has_no_spread():
    """One token in the whole batch: nothing to whiten against, advantage 0."""
    assert whiten([1.0], [1]) == [0.0]


def test_returns():
    """From the back: gamma 1/2: 4, 2 + 4/2 = 4, 1 + 4/2 = 3. With gamma 1, a last reward stands on each token."""
    assert discounted_returns([1, 2, 4], 0.5) == [3, 4, 4]
    assert discounted_returns([0, 0, 1]) == [1, 1, 1]
    assert discounted_returns([]) == []


def test_divergence_in_the_reward():
    """beta 0.1, KL 1 2 3, reward 1: r = -.1, -.2, 1 - .3; summed from the back .7, .5, .4; with gamma .5 the second is
    -.2 + .35 = .15, the first -.1 + .075 = -.025."""
    assert reinforce_returns(1, [1, 2, 3], beta=0.1) == pytest.approx([0.4, 0.5, 0.7])
    assert reinforce_returns(1, [1, 2, 3], beta=0.1, gamma=0.5) == pytest.approx([-0.025, 0.15, 0.7])
    assert reinforce_returns(0.5, [1, 2], beta=0.0) == [0.5, 0.5]
    with pytest.raises(ValueError, match="found no token"):
        reinforce_returns(1, [], beta=0.1)


batches = st.lists(st.tuples(rewards, st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=12)


@given(batches, st.sampled_from(ALGORITHMS), st.randoms(use_true_random=False))
def test_the_order_of_responses_does_not_matter(batch, algorithm, random):
    """Shuffled responses get the same advantages, shuffled."""
    order = list(range(len(batch)))
    random.shuffle(order)
    straight = response_advantages(*map(list, zip(*batch, strict=True)), algorithm)
    shuffled = response_advantages(*map(list, zip(*[batch[i] for i in order], strict=True)), algorithm)
    assert shuffled == pytest.approx([straight[i] for i in order], abs=1e-9)


@given(batches)
def test_whitened_tokens_have_mean_zero_and_variance_one(batch):
    """Over all tokens; or all are zero. Exactly, the variance is v / (v + eps): below 1 where v is as small as eps."""
    values, tokens, _ = map(list, zip(*batch, strict=True))
    raw = [value for value, times in zip(values, tokens, strict=True) for _ in range(times)]
    white = [value for value, times in zip(whiten(values, tokens), tokens, strict=True) for _ in range(times)]
    assert sum(white) == pytest.approx(0, abs=1e-6)
    if any(white):
        before = variance(raw)
        assert variance(white) == pytest.approx(before / (before + WHITEN_EPS), rel=1e-6)


@given(batches)
def test_per_token_and_per_response_whitening_agree(batch):
    """A response's value, written out on each of its tokens, is whitened to the same number."""
    values, tokens, _ = map(list, zip(*batch, strict=True))
    written_out = whiten_tokens([[value] * times for value, times in zip(values, tokens, strict=True)])
    for white, row in zip(whiten(values, tokens), written_out, strict=True):
        assert row == pytest.approx([white] * len(row), abs=1e-9)


@given(batches)
@settings(deadline=None)  # the first example imports torch
def test_equal_to_the_estimators_of_the_origin(batch):
    """The same batch through masked tensors in double precision: group statistics and `masked_whiten` as in verl."""
    torch = pytest.importorskip("torch", reason="needs the extra train")
    torch.set_num_threads(1)
    values, tokens, groups = map(list, zip(*batch, strict=True))
    score = torch.tensor(values, dtype=torch.float64)
    mask = (torch.arange(max(tokens))[None, :] < torch.tensor(tokens)[:, None]).double()

    def masked_whiten(dense):
        mean = (dense * mask).sum() / mask.sum()
        variance = (((dense - mean) ** 2) * mask).sum() / mask.sum() * mask.sum() / (mask.sum() - 1)
        return (dense - mean) * torch.rsqrt(variance + 1e-8) * mask

    def centred(divide):
        out = torch.zeros_like(score)
        for group in set(groups):
            members = torch.tensor([name == group for name in groups])
            if members.sum() > 1 and has_spread(score[members].tolist()):
                out[members] = score[members] - score[members].mean()
                if divide:
                    out[members] /= score[members].std() + 1e-6
        return out

    def compare(algorithm, expected):
        found = response_advantages(values, tokens, groups, algorithm)
        assert found == pytest.approx(expected.tolist(), abs=1e-6)

    compare("grpo", centred(True))
    compare("dr-grpo", centred(False))
    for algorithm, rows in (("reinforce++", score), ("reinforce++-baseline", centred(False))):
        dense = rows[:, None] * mask
        spread = dense[mask.bool()].std(unbiased=False) > 1e-6
        compare(algorithm, masked_whiten(dense)[:, 0] if spread else torch.zeros_like(score))
