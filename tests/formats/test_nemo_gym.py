"""Rows of NeMo Gym, by the types of OpenAI's Responses API that its own are copies of; its own models too, where its
wheel is at hand (`make test-nemo-gym`)."""

import asyncio
import importlib
import json
import sys
import types
from pathlib import Path

import pytest

from fakes import TABLE, CannedExecutor, assistant, call, capital_spec
from toolfoundry.demo import environments
from toolfoundry.errors import RecordError
from toolfoundry.formats.conversation import read_conversation
from toolfoundry.formats.nemo_gym import RESERVED, nemo_gym_row, response_messages
from toolfoundry.policies.scripted import make
from toolfoundry.reward import score_trajectory
from toolfoundry.rollout import run_rollout
from toolfoundry.store import RecordWriter, load_record
from toolfoundry.types import EnvSpec, Message, Tool, ToolSchema

WHEEL = Path(__file__).parents[2] / ".venv-nemo-gym" / "wheel"


def test_a_row_shows_the_model_the_question_and_the_tools_alone():
    """What the model is given holds no goal and no source; the whole environment stands beside it, as it was."""
    for spec in environments():
        row = nemo_gym_row(spec, agent="simple_agent")
        given = json.dumps(row["responses_create_params"])
        assert not [tool.name for tool in spec.tools if json.dumps(tool.source)[1:-1] in given]
        assert [tool["parameters"] for tool in row["responses_create_params"]["tools"]] == [
            tool.signature.parameters for tool in spec.tools
        ]
        assert load_record(EnvSpec, row["verifier_metadata"]["environment"].encode()) == spec
        assert (row["task_id"], row["agent_ref"]["name"]) == (spec.id, "simple_agent")


def test_rows_are_requests_of_the_responses_api():
    """Each field is one of OpenAI's own type for it, with the values that it takes."""
    params = pytest.importorskip(
        "openai.types.responses.response_create_params", reason="needs the extra openai"
    ).ResponseCreateParamsNonStreaming
    from openai.types.responses import EasyInputMessageParam, FunctionToolParam
    from pydantic import TypeAdapter

    tool, message = TypeAdapter(FunctionToolParam), TypeAdapter(EasyInputMessageParam)
    for spec in environments():
        asked = nemo_gym_row(spec)["responses_create_params"]
        assert set(asked) <= set(params.__annotations__) | {"input", "tools", "parallel_tool_calls"}
        for value, adapter in [(asked["tools"], tool), (asked["input"], message)]:
            for item in value:
                assert adapter.validate_python(item) == item


def test_materialized_tasks_have_the_same_inside_their_envelope():
    spec = environments()[0]
    row, task = nemo_gym_row(spec), nemo_gym_row(spec, taskset="tools:train")
    assert task["task_id"] == {"taskset": "tools:train", "task_id": spec.id}
    assert task["task_input"] == {
        "responses_create_params": row["responses_create_params"],
        "task_data": row["verifier_metadata"],
    }


@pytest.mark.parametrize("name", [*sorted(RESERVED), "with space"])
def test_a_name_that_its_servers_use_themselves_is_an_error_of_that_row(name):
    """It names the environment, what was found, and what may stand there."""
    spec = capital_spec()
    odd = Tool(signature=ToolSchema(name=name, description="", parameters={"type": "object"}), source="")
    spec = spec.replace(tools=(*spec.tools, odd))
    with pytest.raises(RecordError, match=rf"{spec.id}\.tools.*found '{name}'.*expected letters"):
        nemo_gym_row(spec)


def test_an_opening_with_calls_is_an_error_of_that_row():
    spec = capital_spec(prompt=(assistant("", call("author_of", "Tides")), Message(role="user", content="Go on.")))
    with pytest.raises(RecordError, match="with calls or results"):
        nemo_gym_row(spec)


# --- what its agents said ------------------------------------------------------------------------------------------


def output_of(trajectory):
    """A trajectory as the items of a response."""
    items = []
    for turn in trajectory.turns:
        said = turn.completion.message
        if said.thinking:
            items.append({"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": said.thinking}]})
        if said.content:
            part = {"type": "output_text", "text": said.content, "annotations": []}
            items.append({"type": "message", "id": "m", "role": "assistant", "content": [part], "status": "completed"})
        items += [
            {"type": "function_call", "call_id": c.id, "name": c.name, "arguments": c.arguments}
            for c in said.tool_calls
        ]
        items += [{"type": "function_call_output", "call_id": r.call_id, "output": r.text} for r in turn.results]
    return items


@pytest.mark.parametrize("name", ["gold", "silent", "answer-only", "spam", "repeat", "one-hop"])
def test_a_response_has_the_score_of_its_rollout(name):
    """The turns are found again in the flat list of items, so that our reward gives the same number."""
    spec = capital_spec()
    played = asyncio.run(run_rollout(make(name, spec), spec, CannedExecutor(TABLE)))
    items = output_of(played) or [{"type": "message", "role": "assistant", "content": []}]
    read = read_conversation(spec.task, response_messages(items))
    assert score_trajectory(read) == score_trajectory(played)
    assert len(read.turns) == len(played.turns)


def test_what_was_thought_and_asked_is_kept_apart():
    items = [
        {"role": "user", "content": "Who?"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Mira"}]},
    ]
    assert response_messages(items) == [
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Mira", "reasoning_content": "Hm.", "tool_calls": []},
    ]


def test_items_that_have_no_place_here_are_an_error():
    with pytest.raises(RecordError, match=r"output\.0\.type.*web_search_call"):
        response_messages([{"type": "web_search_call", "id": "1"}])


# --- command and schema --------------------------------------------------------------------------------------------


def test_the_command_reports_each_row_that_cannot_be(tmp_path, run):
    """With --skip-bad it goes on with the others; without, it ends with exit code 3 and writes nothing."""
    good = capital_spec()
    odd = Tool(signature=ToolSchema(name="verify", description="", parameters={"type": "object"}), source="")
    envs, rows = tmp_path / "envs.jsonl", tmp_path / "rows.jsonl"
    with RecordWriter(envs, EnvSpec) as writer:
        writer.write(good.replace(tools=(*good.tools, odd)))
        writer.write(good)
    code, _, err = run("export", "nemo-gym", envs, "-o", rows)
    assert (code, rows.exists()) == (3, False)
    assert "'verify'" in err
    code, out, err = run("export", "nemo-gym", envs, "-o", rows, "--skip-bad", "--json")
    assert (code, json.loads(out)) == (0, {"rows": 1, "skipped": 1})
    assert [json.loads(line)["task_id"] for line in rows.read_text().splitlines()] == [good.id]
    assert run("export", "nemo-gym", envs, "-o", rows, "--skip-bad")[0] == 6


@pytest.fixture
def gym(monkeypatch):
    """NeMo Gym's own models of a request, a response and a task, without the server around them."""
    if not WHEEL.is_dir():
        pytest.skip("NeMo Gym's wheel is not here: make test-nemo-gym")
    package, server = types.ModuleType("nemo_gym"), types.ModuleType("nemo_gym.server_utils")
    package.__path__ = [str(WHEEL / "nemo_gym")]
    server.__getattr__ = lambda name: type(name, (), {})  # its HTTP client, which needs Ray
    monkeypatch.setitem(sys.modules, "nemo_gym", package)
    monkeypatch.setitem(sys.modules, "nemo_gym.server_utils", server)
    yield importlib.import_module
    for name in [name for name in sys.modules if name.startswith("nemo_gym.")]:
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_nemo_gyms_own_models_take_the_rows(gym):
    """Its request model forbids unknown fields, and keeps every schema as it is."""
    request = gym("nemo_gym.openai_utils").NeMoGymResponseCreateParamsNonStreaming
    task_id = gym("nemo_gym.episode_types").TaskId
    for spec in environments():
        row = nemo_gym_row(spec, taskset="tools:train")
        asked = row["task_input"]["responses_create_params"]
        read = request.model_validate(asked)
        assert [dict(tool) for tool in read.tools] == asked["tools"]
        assert [(m.role, m.content) for m in read.input] == [(m["role"], m["content"]) for m in asked["input"]]
        assert task_id.model_validate(row["task_id"]).task_id == spec.id


def test_the_items_we_read_are_nemo_gyms(gym):
    """Its own models of the items of a response, dumped, are read to the gold trajectory's score."""
    from pydantic import TypeAdapter

    item = TypeAdapter(gym("nemo_gym.openai_utils").NeMoGymResponseOutputItem)
    spec = capital_spec()
    played = asyncio.run(run_rollout(make("gold", spec), spec, CannedExecutor(TABLE)))
    items = [item.validate_python(raw).model_dump() for raw in output_of(played)]
    score = score_trajectory(read_conversation(spec.task, response_messages(items)))
    assert score is not None
    assert score.value == 1
