"""inspect_ai as a front: its model, its log, our sandbox and our scores. Run by `make test-inspect`."""

import pytest

pytest.importorskip("inspect_ai", reason="needs inspect_ai: `make test-inspect` runs these tests where it is")

import orjson
from inspect_ai import eval as run_eval
from inspect_ai.log import read_eval_log
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ChatMessageTool,
    ModelOutput,
    ModelUsage,
    get_model,
)
from inspect_ai.tool import ToolCall as InspectCall

from toolfoundry.demo import environments
from toolfoundry.evaluate.inspect_tasks import solve, to_trajectory
from toolfoundry.policies.scripted import gold_turns
from toolfoundry.reward import grade_trajectory, score_trajectory
from toolfoundry.rollout import run_rollout
from toolfoundry.store import RecordWriter
from toolfoundry.types import Completion, EnvSpec, Message

pytestmark = pytest.mark.filterwarnings("ignore")  # inspect_ai's own

SPECS = environments()[::3]  # of every scenario, one with a state


@pytest.fixture(scope="module")
def envs(tmp_path_factory):
    path = tmp_path_factory.mktemp("inspect") / "envs.jsonl"
    with RecordWriter(path, EnvSpec) as writer:
        for spec in SPECS:
            writer.write(spec)
    return path


def gold(spec, turn):
    """What the gold policy says, as calls (name, arguments) and text."""
    turns = gold_turns(spec)
    if turn < len(turns):
        return [(call.name, orjson.loads(call.arguments)) for call in turns[turn]], ""
    from toolfoundry.answers import spelling

    return [], f"<answer>{spelling(spec.scenario.answer)}</answer>"


def model(says):
    """A model that is a function from environment and turn."""

    def output(messages, tools, tool_choice, config):
        spec = next(spec for spec in SPECS if spec.scenario.question in messages[0].text)
        turn = sum(message.role == "assistant" for message in messages)
        calls, text = says(spec, turn)
        message = ChatMessageAssistant(
            content=text,
            tool_calls=[
                InspectCall(id=f"{turn}-{i}", function=name, arguments=arguments)
                for i, (name, arguments) in enumerate(calls)
            ]
            or None,
        )
        choice = ChatCompletionChoice(message=message, stop_reason="tool_calls" if calls else "stop")
        return ModelOutput(model="mockllm", choices=[choice], usage=ModelUsage(input_tokens=5, output_tokens=2))

    return get_model("mockllm/model", custom_outputs=output, memoize=False)


def evaluated(envs, says, folder, **options):
    [log] = run_eval(
        solve(str(envs), **options), model=model(says), log_dir=str(folder), display="none", fail_on_error=False
    )
    return read_eval_log(log.location)  # what the viewer opens


def metrics(log):
    return {score.name: {name: metric.value for name, metric in score.metrics.items()} for score in log.results.scores}


def test_the_gold_policy_scores_one(envs, tmp_path):
    """Every environment, tools in our sandbox, all four scores 1 with a standard error of 0; the log is whole."""
    log = evaluated(envs, gold, tmp_path)
    assert log.status == "success"
    assert log.results.completed_samples == len(SPECS)
    assert metrics(log) == {name: {"mean": 1, "stderr": 0} for name in ("solve_p", "solve_r", "solve_f1", "answer")}
    sample = log.samples[0]
    spec = next(spec for spec in SPECS if spec.id == sample.id)
    assert sample.metadata["scenario"] == spec.scenario.kind
    assert sample.target
    assert [m for m in sample.messages if isinstance(m, ChatMessageTool)]
    assert log.stats.model_usage["mockllm/model"].output_tokens > 0


def test_parameters_need_no_description(tmp_path):
    """inspect_ai refuses tools without them; sets with short documents (the profile `tiny`) have none."""
    spec = SPECS[0]
    tools = []
    for tool in spec.tools:
        bare = {name: {**one, "description": ""} for name, one in tool.signature.parameters["properties"].items()}
        parameters = {**tool.signature.parameters, "properties": bare}
        tools.append(
            tool.model_copy(update={"signature": tool.signature.model_copy(update={"parameters": parameters})})
        )
    with RecordWriter(tmp_path / "envs.jsonl", EnvSpec) as writer:
        writer.write(spec.replace(tools=tuple(tools)))
    log = evaluated(tmp_path / "envs.jsonl", gold, tmp_path)
    assert metrics(log)["solve_f1"]["mean"] == 1


def half(spec, turn):
    """Mistakes of many kinds, then the gold play without its last calls, and a wrong answer."""
    tool = spec.tools[0].name
    match turn:
        case 0:
            return [("no_such_tool", {}), (tool, {"surely_no_parameter": 1})], "let me see"
        case 1:
            return [(tool, {})], ""
        case _:
            turns = gold_turns(spec)[:-1]
            return gold(spec, turn - 2) if turn - 2 < len(turns) else ([], "<answer>nobody knows</answer>")


@pytest.mark.parametrize("rule", ["fixed", "paper"])
def test_scores_are_those_of_our_own_rollout(envs, tmp_path, sandbox, rule):
    """The same messages, played by our own loop in our own environment, are graded alike."""
    import asyncio

    log = evaluated(envs, half, tmp_path, rule=rule)
    for spec in SPECS:

        async def policy(messages, tools, spec=spec):
            calls, text = half(spec, sum(message.role == "assistant" for message in messages))
            made = [{"id": f"c{i}", "name": n, "arguments": orjson.dumps(a).decode()} for i, (n, a) in enumerate(calls)]
            return Completion(message=Message(role="assistant", content=text, tool_calls=made))

        ours = score_trajectory(asyncio.run(run_rollout(policy, spec, sandbox)))
        solved = ours.paper if rule == "paper" else ours.strict
        [sample] = [sample for sample in log.samples if sample.id == spec.id]
        theirs = sample.scores["solve_scores"].value
        assert [theirs[name] for name in ("solve_p", "solve_r", "solve_f1")] == [
            solved.precision,
            solved.recall,
            solved.f1,
        ], spec.provenance.location
        if rule == "fixed":
            assert theirs["answer"] == 0
        else:
            assert theirs["answer"] != theirs["answer"]  # NaN: the release has no such score


def test_a_result_is_what_our_sandbox_gave(envs, tmp_path, sandbox):
    """Contents and errors as the model reads them, with the kind in front; turns are graded one by one."""
    log = evaluated(envs, half, tmp_path)
    sample = log.samples[0]
    spec = next(spec for spec in SPECS if spec.id == sample.id)
    played = to_trajectory(spec.task, sample.messages, policy="mock")
    assert played.prompt[0].content == sample.messages[0].text
    errors = [result.error for turn in played.turns[:2] for result in turn.results]
    assert [error.partition(":")[0] for error in errors] == ["unknown_tool", "raised", "raised"]
    assert len(grade_trajectory(played)) == len(played.turns)
    assert played.stop == "answered"


def test_limits_of_turns_and_calls(envs, tmp_path):
    """Two turns of twenty calls: sixteen of each are executed, and the sample ends as one that was cut off."""

    def greedy(spec, turn):
        call = gold_turns(spec)[0][0]
        return [(call.name, orjson.loads(call.arguments))] * 20, ""

    log = evaluated(envs, greedy, tmp_path, max_turns=2)
    spec = next(spec for spec in SPECS if spec.id == log.samples[0].id)
    played = to_trajectory(spec.task, log.samples[0].messages, policy="mock")
    assert played.stop == "max_turns"
    assert [len(turn.results) for turn in played.turns] == [20, 20]
    refused = [result.error for turn in played.turns for result in turn.results if result.error is not None]
    assert len(refused) == 8
    assert all(error.startswith("limit:") for error in refused)


def test_a_call_that_cannot_be_read_is_malformed():
    """A parse error of inspect_ai's stays what it is for our reward; a cut-off answer is no answer."""
    spec = SPECS[0]
    call = InspectCall(id="x", function=spec.tools[0].name, arguments={}, parse_error="not JSON: {")
    conversation = [
        ChatMessageAssistant(content="", tool_calls=[call]),
        ChatMessageTool(content="", tool_call_id="x", error={"type": "parsing", "message": "not JSON: {"}),
        ChatMessageAssistant(content=gold(spec, 99)[1]),
    ]
    played = to_trajectory(spec.task, conversation, policy="mock")
    assert played.turns[0].results[0].error.startswith("malformed_call:")
    assert score_trajectory(played).malformed == 1
    assert score_trajectory(played).answer_right is True
    cut = to_trajectory(spec.task, conversation, policy="mock", cut_off=True)
    assert cut.stop == "length"
    assert score_trajectory(cut).answer_right is False
    unfinished = to_trajectory(spec.task, conversation[:1], policy="mock")
    assert unfinished.turns[0].results[0].error.startswith("limit:")
    assert score_trajectory(to_trajectory(spec.task, [], policy="mock")) is None


def test_a_failing_sandbox_is_not_a_wrong_answer(envs, tmp_path, monkeypatch):
    """The sample has an error and no score; the means are over the others."""
    from toolfoundry.errors import SandboxError
    from toolfoundry.evaluate import inspect_tasks

    box = inspect_tasks._sandbox()
    broken = SPECS[0]

    class Half:
        def session(self, sources, **options):
            if set(sources) == {tool.name for tool in broken.tools}:
                raise SandboxError("gone")
            return box.session(sources, **options)

    monkeypatch.setattr(inspect_tasks, "_sandbox", Half)
    log = evaluated(envs, gold, tmp_path)
    failed = [sample for sample in log.samples if sample.error is not None]
    assert [sample.id for sample in failed] == [broken.id]
    assert not failed[0].scores
    assert metrics(log)["solve_f1"]["mean"] == 1


def test_the_task_is_found_by_its_name(envs, tmp_path):
    """`toolfoundry/solve` needs no path to our code: the entry point registers it. The log says which task it was."""
    [log] = run_eval(
        "toolfoundry/solve",
        task_args={"envs": str(envs), "rule": "paper"},
        model=model(gold),
        limit=2,
        log_dir=str(tmp_path),
        display="none",
    )
    log = read_eval_log(log.location)
    assert (log.status, log.eval.task, log.eval.task_args["envs"]) == ("success", "toolfoundry/solve", str(envs))
    assert metrics(log)["solve_f1"]["mean"] == 1
