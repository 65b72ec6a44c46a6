"""Environments as a benchmark: which files, which groups, and scores by both rules on the same conversation."""

import asyncio
import json
from typing import get_args

import pytest

from fakes import TABLE, CannedExecutor, assistant, call, capital_spec, says
from published_rows import ftrl_row
from toolfoundry.compat.ftrl import parse_qwen
from toolfoundry.errors import InputError, RecordError
from toolfoundry.evaluate import own
from toolfoundry.evaluate.attempts import Attempt
from toolfoundry.formats.ftrl import read_ftrl, unsolved_set
from toolfoundry.policies.scripted import make
from toolfoundry.reward import score_trajectory
from toolfoundry.store import RecordWriter
from toolfoundry.types import (
    Completion,
    EnvSpec,
    Limits,
    Scenario,
    ScenarioKind,
    ToolCall,
    ToolResult,
    Trajectory,
    Turn,
)


def written(path, *specs):
    with RecordWriter(path, EnvSpec) as writer:
        for spec in specs:
            writer.write(spec)
    return path


def of_kind(kind, number=0):
    spec = capital_spec(number)
    return spec.replace(scenario=Scenario(question=spec.scenario.question, answer=spec.scenario.answer, kind=kind))


def played(benchmark, policy, index=0):
    item = benchmark.items()[index]
    play = benchmark.play(item, policy, CannedExecutor(TABLE), name="p", sample=2)
    return asyncio.run(play)


@pytest.fixture
def benchmark(tmp_path):
    return own.load(written(tmp_path / "envs.jsonl", capital_spec()))


def test_groups_are_scenarios_in_the_papers_order(tmp_path):
    """Whatever the order of the file; those of no kind come last. Each item is a cluster of its own."""
    kinds = ["parallel_multi_hop", None, "single_hop", "multi_hop", "parallel_single_hop"]
    path = written(tmp_path / "envs.jsonl", *(of_kind(kind, number) for number, kind in enumerate(kinds)))
    items = own.load(path).items()
    assert [item.group for item in items] == [
        "single_hop",
        "parallel_single_hop",
        "multi_hop",
        "parallel_multi_hop",
        "unknown",
    ]
    assert [item.cluster for item in items] == [item.id for item in items] == [item.spec.id for item in items]


def test_an_environment_that_stands_there_twice_is_one_item(tmp_path):
    """And it is said."""
    benchmark = own.load(written(tmp_path / "envs.jsonl", capital_spec(), capital_spec(1), capital_spec()))
    assert (len(benchmark.items()), benchmark.repeated) == (2, 1)


def test_gold_scores_one_by_both_rules(benchmark):
    """The attempt is named after what was played, by whom, and which repetition."""
    attempt = played(benchmark, make("gold", benchmark.items()[0].spec))
    assert attempt.scores == {
        "paper": {"solve_p": 1.0, "solve_r": 1.0, "solve_f1": 1.0},
        "fixed": {"solve_p": 1.0, "solve_r": 1.0, "solve_f1": 1.0, "answer": 1.0},
    }
    assert attempt.key == f"own/{benchmark.items()[0].id}/p/2"
    assert attempt.trajectory.sample == 2


def test_where_the_rules_differ(benchmark):
    """Silence is precise to the release; a call that cannot be read counts for us only."""
    silent = played(benchmark, says(assistant("Velden")))
    assert (silent.scores["paper"]["solve_p"], silent.scores["fixed"]["solve_p"]) == (1.0, 0.0)
    assert (silent.scores["fixed"]["answer"], "answer" in silent.scores["paper"]) == (1.0, False)
    broken = call("author_of", "Tides").model_copy(update={"arguments": "{", "id": "c1"})
    attempt = played(benchmark, says(assistant("", call("author_of", "Tides"), broken), assistant("no idea")))
    assert (attempt.scores["paper"]["solve_p"], attempt.scores["fixed"]["solve_p"]) == (1.0, 0.5)


def test_scores_are_those_of_the_one_grader(benchmark):
    """`paper` is Score.paper and `fixed` Score.strict of the stored trajectory."""
    attempt = played(benchmark, make("spam", benchmark.items()[0].spec))
    score = score_trajectory(attempt.trajectory)
    assert attempt.scores["paper"]["solve_f1"] == score.paper.f1
    assert attempt.scores["fixed"]["solve_r"] == score.strict.recall


def test_scoring_anew_needs_no_tools_and_changes_nothing(benchmark):
    """Pure: from the record alone, as often as wanted; an unscored attempt stays so."""
    attempt = played(benchmark, make("one-hop", benchmark.items()[0].spec))
    bare = attempt.model_copy(update={"scores": {}, "facts": {}})
    assert benchmark.score(bare) == attempt == benchmark.score(attempt)
    assert attempt.scores["fixed"]["solve_r"] == 0.5
    failed = played(benchmark, says(RuntimeError("the provider is down")))
    assert (failed.scores, failed.trajectory.error) == ({}, "RuntimeError: the provider is down")
    assert benchmark.score(failed) == failed


def test_a_task_without_an_answer_has_no_answer_score(tmp_path):
    """Not a 0 in the mean."""
    spec = capital_spec(scenario=Scenario(question="Where?", answer=None))
    benchmark = own.load(written(tmp_path / "envs.jsonl", spec))
    assert "answer" not in played(benchmark, make("gold", spec)).scores["fixed"]


def test_twenty_turns_and_no_more(benchmark, tmp_path):
    """As in the paper; other limits may be given."""
    again = says(assistant("", call("distractor", "x")))
    assert len(played(benchmark, again).trajectory.turns) == 20
    short = own.load(tmp_path / "envs.jsonl", limits=Limits(max_turns=3))
    attempt = played(short, again)
    assert (len(attempt.trajectory.turns), attempt.trajectory.stop) == (3, "max_turns")
    assert attempt.scores["fixed"]["solve_f1"] == 0.0


# --- files ---------------------------------------------------------------------------------------------------------


def test_published_rows_are_told_by_their_header(tmp_path):
    """A file without our header line is read as FTRL's rows."""
    path = tmp_path / "test.jsonl"
    path.write_text("\n".join([ftrl_row(), ftrl_row(answer="6", data_source="self/multi_hop")]))
    assert [item.group for item in own.load(path).items()] == ["single_hop", "multi_hop"]


def test_a_bad_row_is_named(tmp_path):
    """File, line, field, found, expected."""
    path = tmp_path / "test.jsonl"
    path.write_text("\n".join([ftrl_row(), ftrl_row(codes="{}")]))
    with pytest.raises(RecordError, match=r"test.jsonl:2: field 'codes.f': found nothing, expected Python source"):
        own.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no environments"),
        ('{"toolfoundry": "environments", "schema_version": 1}\n', "has no environments"),
        ('{"toolfoundry": "trajectories", "schema_version": 1}\n', "found 'trajectories', expected environments"),
        ('{"toolfoundry": "environments", "schema_version": 99}\n', "field 'schema_version': found 99, expected 1"),
        ('[{"question": "What?"}]\n', "expected environments"),
        ("\x00\x01\x02", "expected environments"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    """With what was found, and what was expected."""
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        own.load(path)


def test_a_missing_file_is_said(tmp_path):
    """And so is a folder."""
    with pytest.raises(InputError, match="No such file"):
        own.load(tmp_path / "no.jsonl")
    with pytest.raises(InputError, match="Is a directory"):
        own.load(tmp_path)


def test_the_published_test_set(ftrl_rows, ftrl_parity):
    """`paper` gives what the release's functions gave on recorded responses: its precision, and R and F1 from its Q."""
    benchmark = own.load(ftrl_rows)
    assert {item.group for item in benchmark.items()} == set(get_args(ScenarioKind))
    specs = list(read_ftrl(ftrl_rows))
    compared = 0
    for line in ftrl_parity.read_text().splitlines():
        vector = json.loads(line)
        spec = specs[vector["row"]]
        if vector["unsolved_set"] != unsolved_set(spec.goals) or not vector["feedback"]:
            continue  # a later state, or no call
        calls = parse_qwen(vector["response"].removesuffix("<|im_end|>")).calls
        turn = recorded(calls, vector["feedback"])
        trajectory = Trajectory(task=spec.task, policy="p", prompt=(), turns=(turn,), stop="max_turns")
        attempt = Attempt(benchmark="own", group="g", cluster=spec.id, trajectory=trajectory)
        scores = benchmark.score(attempt).scores["paper"]
        made, goals, solved = len(calls), len(spec.goals), vector["scores"]["solve_rate"]
        assert scores["solve_p"] == pytest.approx(vector["scores"]["solve_precision"])
        assert scores["solve_r"] == pytest.approx(solved / goals)
        assert scores["solve_f1"] == pytest.approx(2 * solved / (made + goals))
        compared += 1
    assert compared > 500


def recorded(calls, feedback):
    """A turn with these calls, and results that read to the release as they did."""
    made = [ToolCall(id=f"c{i}", name=name, arguments=json.dumps(given)) for i, (name, given) in enumerate(calls)]
    results = []
    for call_, text in zip(made, feedback, strict=True):
        error = text.removeprefix(f"an error occured when call {call_.name}: ")
        failed = {"error": f"raised: Error: {error}"} if error != text else {"content": text}
        results.append(ToolResult(call_id=call_.id, **failed))
    return Turn(completion=Completion(message=assistant("", *made)), results=tuple(results))
