"""What a difference is worth: intervals of means by Student's t, an exact sign test, and Holm's adjustment."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterable, Sequence
from statistics import NormalDist

from toolfoundry.types import Record

__all__ = ["Difference", "exact_sign_test", "holm", "mean_difference", "t_quantile", "within"]


class Difference(Record):
    """The mean of n differences with its 95% interval; no mean for n = 0, no interval for n < 2."""

    mean: float | None
    low: float | None
    high: float | None
    n: int


def mean_difference(differences: Sequence[float]) -> Difference:
    """The mean of independent differences (one for each environment, say), with the interval of Student's t."""
    n = len(differences)
    mean = statistics.fmean(differences) if n else None
    if mean is None or n < 2:
        return Difference(mean=mean, low=None, high=None, n=n)
    half = t_quantile(0.975, n - 1) * statistics.stdev(differences) / math.sqrt(n)
    return Difference(mean=mean, low=mean - half, high=mean + half, n=n)


def exact_sign_test(differences: Iterable[float]) -> float:
    """The two-sided p-value of as many, or more, of one sign among those that are not 0; 1 where all are.

    >>> exact_sign_test([1, 1, 1, 1, 1, -1, 0])
    0.21875
    """
    signs = [difference > 0 for difference in differences if difference]
    n, fewer = len(signs), min(sum(signs), len(signs) - sum(signs))
    tail = ways = 1
    for k in range(fewer):
        ways = ways * (n - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**n)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjustment: all conclusions at level p hold together with probability 1 - p. None stays None.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, place) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - rank)))
        adjusted[place] = least
    return adjusted


def within(t: float, freedom: int) -> float:
    """P(|T| <= t) of Student's t, as a finite sum (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = total = (cosine if odd else 1.0) if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    total *= sine
    return min(1.0, (angle + total) * 2 / math.pi if odd else total)


@functools.lru_cache(maxsize=1024)
def t_quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t for a probability above one half; beyond 500 degrees of freedom by expansion.

    >>> round(t_quantile(0.975, 1), 3), round(t_quantile(0.975, 9), 3), round(t_quantile(0.975, 10_000), 3)
    (12.706, 2.262, 1.96)
    """
    z = NormalDist().inv_cdf(probability)
    if freedom > 500:  # Abramowitz and Stegun 26.7.5
        return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    low, high = 0.0, z
    while within(high, freedom) < 2 * probability - 1:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < 2 * probability - 1 else (low, middle)
    return (low + high) / 2
