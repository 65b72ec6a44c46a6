"""The prover on FTRL's published test set, where it is at hand."""

from itertools import islice

import pytest

from toolfoundry.formats.ftrl import read_ftrl
from toolfoundry.prove import prove_all, summarise
from toolfoundry.types import EnvSpec


def test_some_rows_of_every_kind(ftrl_rows, sandbox):
    """Of a sample of the rows, nearly all goals are proved, and the proved specifications are valid records."""
    specs = list(prove_all(islice(read_ftrl(ftrl_rows), 5, None, 12), sandbox))
    summary = summarise(specs)
    assert summary.proved >= 0.9 * summary.goals
    assert 2 * summary.fair_tasks >= summary.tasks
    assert all(EnvSpec.model_validate(spec.model_dump()) == spec for spec in specs)
    assert {spec.scenario.kind for spec in specs} == {
        "single_hop",
        "parallel_single_hop",
        "multi_hop",
        "parallel_multi_hop",
    }


@pytest.mark.slow
def test_all_rows(ftrl_rows, sandbox):
    """97% of the answers are proved strictly, 99% by the published rule, half of the tasks with a fair sequence."""
    summary = summarise(prove_all(read_ftrl(ftrl_rows), sandbox, jobs=2))
    assert summary.proved >= 0.97 * summary.goals
    assert summary.published >= 0.99 * summary.goals
    assert 2 * summary.fair_tasks >= summary.tasks
    assert len(summary.unfair) == summary.tasks - summary.fair_tasks
