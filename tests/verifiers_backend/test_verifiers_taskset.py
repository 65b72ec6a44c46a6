"""An exported set in verifiers: its own validation, and whole rollouts through its own machinery."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("verifiers", reason="verifiers runs in its own virtual environment: make test-verifiers")

import verifiers.v1 as vf

from toolfoundry.demo import environments
from toolfoundry.environment import INSTRUCTION, Environment
from toolfoundry.errors import SandboxError
from toolfoundry.formats.verifiers import export_verifiers
from toolfoundry.formats.verifiers_taskset import EnvironmentTools
from toolfoundry.policies.scripted import script
from toolfoundry.reward import score_trajectory
from toolfoundry.rollout import run_rollout
from toolfoundry.store import RecordWriter
from toolfoundry.types import Completion, EnvSpec, Limits, Message, ToolCall
from verifiers_backend.drive_verifiers import play, trace_of

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def specs():
    return {spec.id: spec for spec in environments()}


@pytest.fixture(scope="module")
def spec_file(tmp_path_factory, specs):
    path = tmp_path_factory.mktemp("specs") / "envs.jsonl"
    with RecordWriter(path, EnvSpec) as writer:
        for spec in specs.values():
            writer.write(spec)
    return path


@pytest.fixture(scope="module")
def package(tmp_path_factory, specs):
    """The name of an exported package that can be imported here, and its folder."""
    folder = tmp_path_factory.mktemp("package")
    export_verifiers(specs.values(), folder, "demo_set")
    sys.path.insert(0, str(folder))
    yield "demo_set", str(folder)
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def tasks(package):
    name, _ = package
    return list(vf.load_taskset(vf.taskset_config_type(name)(id=name)))


def multi_hop(specs):
    return next(spec for spec in specs.values() if spec.scenario.kind == "multi_hop")


def test_vf_validate_finds_gold_valid_and_doing_nothing_at_the_floor(package, specs, tmp_path):
    """For every task, by verifiers' own command."""
    name, folder = package
    command = [sys.executable, "-m", "verifiers.v1.cli.validate", name, "--runtime.type", "subprocess", "--no-rich"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": folder},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    [results] = tmp_path.glob("*/results.jsonl")
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert len(rows) == len(specs)
    assert all(row["gold"]["valid"] is True and row["noop"]["reward"] == 0 for row in rows)


def test_tasks_are_the_environments_and_tell_nothing(tasks, specs):
    """Key and id are ours; the data, which stands in traces, holds neither answers nor goals nor sources."""
    assert [task.key for task in tasks] == [task.data.id for task in tasks] == list(specs)
    for task, spec in zip(tasks, specs.values(), strict=True):
        assert task.spec == spec
        assert task.data.prompt == f"{INSTRUCTION}\n\nQuestion: {spec.scenario.question}"
        assert set(task.data.model_dump(exclude_defaults=True)) == {"idx", "id", "name", "prompt", "package", "offset"}


def test_a_package_that_was_changed_under_a_task_is_an_error(tasks):
    """Not a wrong environment, and not a reward of 0."""
    moved = tasks[0].with_data(offset=tasks[1].data.offset)
    del moved.__dict__["spec"]
    with pytest.raises(Exception, match="expected " + tasks[0].key):
        _ = moved.spec


def test_tools_are_shown_with_their_own_schemas_and_run_in_the_sandbox(tasks, sandbox):
    """What the model is given for a call is what our own environment gives, errors too."""
    from mcp import Client
    from mcp.server.mcpserver import MCPServer

    task = tasks[0]
    [call, *_] = task.spec.gold_calls
    asked = [(call.name, json.loads(call.arguments)), (call.name, {"no": 1}), ("nothing_like_it", {})]

    async def served():
        tools = EnvironmentTools(vf.ToolsetConfig())
        async with tools._exit_stack:
            await tools.setup_task(task.data)
            server = MCPServer("tools")
            tools.register(server)
            async with Client(server) as client:
                listed = (await client.list_tools()).tools
                results = [await client.call_tool(name, arguments) for name, arguments in asked]
        return listed, results

    async def ours():
        with Environment(task.spec, sandbox, Limits()) as environment:
            for name, arguments in asked:
                message = Message(
                    role="assistant", tool_calls=(ToolCall(id="c", name=name, arguments=json.dumps(arguments)),)
                )
                yield (await environment.step(message)).results[0]

    async def collected():
        return [result async for result in ours()]

    listed, results = asyncio.run(served())
    assert [(tool.name, tool.description, tool.input_schema) for tool in listed] == [
        (tool.name, tool.signature.description, tool.signature.parameters) for tool in task.spec.tools
    ]
    expected = asyncio.run(collected())
    assert [result.content[0].text for result in results] == [result.text for result in expected]
    assert [result.is_error for result in results] == [False, True, True]


def test_a_failure_of_ours_is_no_result(tasks):
    """It reaches the chat program as an error of the protocol, which ends the rollout; a model never reads it."""
    from mcp import Client
    from mcp.server.mcpserver import MCPServer
    from mcp.shared.exceptions import MCPError

    class Broken:
        async def step(self, message):
            raise SandboxError("no worker could be made")

    async def called():
        tools = EnvironmentTools(vf.ToolsetConfig())
        async with tools._exit_stack:
            await tools.setup_task(tasks[0].data)
            tools._environment = Broken()
            server = MCPServer("tools")
            tools.register(server)
            async with Client(server) as client:
                await client.call_tool(tasks[0].spec.tools[0].name, {})

    with pytest.raises(Exception) as caught:
        asyncio.run(called())
    found = caught.value
    while isinstance(found, BaseExceptionGroup):
        [found] = found.exceptions
    assert isinstance(found, MCPError)
    assert "SandboxError: no worker could be made" in str(found)


def test_a_whole_rollout_of_the_gold_calls_has_the_highest_reward(specs, spec_file):
    """Several turns through verifiers' interception, its chat program and our tool server, thinking included."""
    spec = multi_hop(specs)
    said = [message.model_copy(update={"thinking": "Hm."}) for message in script("gold", spec)]
    trace = trace_of(spec_file, spec.id, said)
    assert trace.ok, trace.errors
    assert trace.reward == 1
    assert trace.metrics == {"solve_p": 1, "solve_r": 1, "solve_f1": 1, "answer": 1, "malformed": 0}
    assert trace.task.key == spec.id
    assert spec.goals[0].answer.value not in json.dumps(trace.task.data.model_dump(mode="json"))


def test_mistakes_and_the_limit_of_turns_give_our_score(specs, spec_file, sandbox):
    """Unreadable arguments, an unknown tool, a repeated call; then it is cut off, and the last results still count."""
    spec = multi_hop(specs)
    first, *_ = script("gold", spec)
    [gold, *_] = first.tool_calls
    odd = Message(
        role="assistant",
        tool_calls=(
            ToolCall(id="a", name=gold.name, arguments="{not json"),
            ToolCall(id="b", name="nothing_like_it", arguments="{}"),
            gold.model_copy(update={"id": "c"}),
        ),
    )
    again = Message(role="assistant", tool_calls=(gold.model_copy(update={"id": "d"}),))
    trace = trace_of(spec_file, spec.id, [again, odd])

    async def says(messages, tools):
        return Completion(message=[again, odd][sum(message.role == "assistant" for message in messages)])

    played = asyncio.run(run_rollout(says, spec, sandbox, Limits(max_turns=2)))
    score = score_trajectory(played)
    assert trace.stop_condition == "turns_used_up"
    assert 0 < trace.reward == score.value
    assert trace.metrics["malformed"] == score.malformed == 1


def test_silence_has_the_floor(specs, spec_file):
    assert play(spec_file, multi_hop(specs).id, script("silent", multi_hop(specs))) == 0
