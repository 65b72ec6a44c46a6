"""Shards over processes: the results of one process, in order, and clear errors."""

from __future__ import annotations

import contextlib
import os

import pytest

from check.audit_specs import SPOILED, environment
from doubling import Doubling
from toolfoundry.check import check, check_on_cores
from toolfoundry.errors import FoundryError, InputError
from toolfoundry.processes import over_cores


def test_results_come_in_order_from_other_processes():
    """Two processes do the work, none of it happens here, and the order is that of the shards."""
    found = list(over_cores(Doubling(), range(40), 2))
    assert [doubled for doubled, _ in found] == [2 * n for n in range(40)]
    assert os.getpid() not in {pid for _, pid in found}
    assert {pid for _, pid in over_cores(Doubling(), range(4), 1)} == {os.getpid()}


def test_shards_are_made_as_they_are_needed():
    """A set without end is not read ahead by more than a few shards."""
    made = []

    def shards():
        for number in range(10**9):
            made.append(number)
            yield number

    with contextlib.closing(over_cores(Doubling(), shards(), 2)) as results:
        assert [next(results)[0] for _ in range(3)] == [0, 2, 4]
    assert len(made) < 10


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_the_work_is_the_callers(jobs):
    """As it was raised, after the results before it."""
    results = over_cores(Doubling(fails_at=3), range(10), jobs)
    assert [next(results)[0] for _ in range(3)] == [0, 2, 4]
    with pytest.raises(InputError, match="cannot double 3"):
        next(results)


def test_a_process_that_dies_is_an_error():
    """Nothing hangs and nothing is left out in silence."""
    with pytest.raises(FoundryError, match="one of the processes died"):
        list(over_cores(Doubling(dies_at=5), range(10), 2))


def test_the_audit_of_many_processes_is_that_of_one(sandbox):
    """Every gate, duplicates across the set included, whatever process saw an environment."""
    specs = [environment(), *(make() for make, _ in SPOILED.values()), environment()]
    progress: list[int] = []
    report = check_on_cores(specs, jobs=2, on_progress=progress.append)
    assert report == check(specs, sandbox)
    assert sum(progress) == len(specs) == report.environments
    assert report.defects
