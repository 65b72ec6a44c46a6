"""The prover on FTRL's published test set, where it is at hand."""

import json
from itertools import islice

import pytest

from toolfoundry.formats.ftrl import read_ftrl
from toolfoundry.prove import prove_all, summarise
from toolfoundry.reward import grade_turn
from toolfoundry.types import EnvSpec, Message


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


def test_whole_sequences_earn_full_reward(ftrl_rows, sandbox):
    """Where every goal is proved, the gold calls, all ready ones at a time, earn 1.0 in every turn."""
    specs = [
        spec for spec in prove_all(islice(read_ftrl(ftrl_rows), 0, None, 15), sandbox) if summarise([spec]).sequences
    ]
    assert len(specs) >= 4
    for spec in specs:
        unsolved, credited = {goal.id for goal in spec.goals}, frozenset()
        with sandbox.session({tool.name: tool.source for tool in spec.tools}) as session:
            while unsolved:
                ready = [goal.id for goal in spec.goals if goal.id in unsolved and not set(goal.needs) & unsolved]
                calls = tuple(call for call in spec.gold_calls if call.id in ready)
                results = session.batch([(call.name, json.loads(call.arguments)) for call in calls])
                results = [r.model_copy(update={"call_id": c.id}) for c, r in zip(calls, results, strict=True)]
                message = Message(role="assistant", tool_calls=calls)
                graded = grade_turn(spec.goals, unsolved, message, results, None, credited=credited)
                assert graded.reward.value == 1.0
                unsolved, credited = set(graded.unsolved_ids), graded.credited


@pytest.mark.slow
def test_all_rows(ftrl_rows, sandbox):
    """97% of the answers are proved strictly, 99% by the published rule, half of the tasks with a fair sequence."""
    summary = summarise(prove_all(read_ftrl(ftrl_rows), sandbox, jobs=2))
    assert summary.proved >= 0.97 * summary.goals
    assert summary.published >= 0.99 * summary.goals
    assert 2 * summary.fair_tasks >= summary.tasks
    assert len(summary.unfair) == summary.tasks - summary.fair_tasks
