"""The OpenEnv server with OpenEnv's own client and validator. Run by `make test-openenv`."""

import pytest

pytest.importorskip("openenv", reason="needs openenv: `make test-openenv` runs these tests where it is")

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request

from openenv.cli._validation import validate_running_environment
from openenv.core.env_server.mcp_types import RESERVED_TOOL_NAMES
from openenv.core.generic_client import GenericEnvClient
from openenv.core.mcp_client import MCPToolClient
from openenv.validation import Level, run_validation
from openenv.validation.types import ProviderCapability

from fakes import CannedExecutor, assistant, call, capital_spec
from serve import drive_openenv
from serve.serving_specs import counter
from toolfoundry.demo import environments
from toolfoundry.environment import opening
from toolfoundry.errors import InputError, SandboxError
from toolfoundry.policies.scripted import script
from toolfoundry.reward import score_trajectory
from toolfoundry.rollout import run_rollout
from toolfoundry.sandbox import Sandbox
from toolfoundry.serve.listen import listen, url_of
from toolfoundry.serve.openenv_export import export_openenv
from toolfoundry.serve.openenv_server import http_server, open_app
from toolfoundry.serve.openenv_tasks import RESERVED
from toolfoundry.store import RecordWriter
from toolfoundry.types import Completion, EnvSpec, Fault, Limits, Tool, ToolCall

pytestmark = pytest.mark.filterwarnings("ignore")  # openenv's own, and its frameworks'

TABLE = {("author_of", "Tides"): "Mira Olsen", ("town_of", "Mira Olsen"): "Velden"}
SPECS = (counter(), *environments()[::4])


def stored(path, specs):
    with RecordWriter(path, EnvSpec) as writer:
        for spec in specs:
            writer.write(spec)
    return path


@pytest.fixture(scope="module")
def envs(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("openenv") / "envs.jsonl", SPECS)


@pytest.fixture
def capital(tmp_path):
    """A set of one environment, for which a table stands in for the tools."""
    return {"train": stored(tmp_path / "capital.jsonl", [capital_spec()])}


@pytest.fixture(scope="module")
def box():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def server(envs):
    """A server process, as a user starts it."""
    with drive_openenv.serving(str(envs), f"test={envs}", "--max-turns", "6") as url:
        yield url


@contextlib.asynccontextmanager
async def serving(files, executor, host="127.0.0.1", **options):
    """Our server in this process; gives its URL, and stops it at the end."""
    with listen(host, 0) as bound:
        running = http_server(open_app(files, executor, **options), bound)
        task = asyncio.create_task(running.serve([bound]))
        try:
            while not running.started:
                await asyncio.sleep(0.01)
            yield url_of(bound)
        finally:
            running.should_exit = True
            await task


def says(*calls, text=""):
    return drive_openenv.action_of(assistant(text, *calls))


FIRST, SECOND = says(call("author_of", "Tides")), says(call("town_of", "Mira Olsen"))
RIGHT = says(text="<answer>Velden</answer>")


# --- rewards -------------------------------------------------------------------------------------------------------


def in_core(spec, said, box, limits=Limits()):
    """What the core gives for the same completions: score, turn rewards, texts."""
    remaining = iter(said)

    async def policy(messages, tools):
        return Completion(message=next(remaining))

    trajectory = asyncio.run(run_rollout(policy, spec, box, limits))
    assert trajectory.stop != "error", trajectory.error
    texts = [[result.text for result in turn.results] + [turn.notice] * bool(turn.notice) for turn in trajectory.turns]
    return score_trajectory(trajectory).value, [turn.reward.value for turn in trajectory.turns], texts


@pytest.mark.parametrize("policy", ["gold", "silent", "spam", "random", "answer-only"])
@pytest.mark.parametrize("spec", SPECS[1:4], ids=lambda spec: spec.id)
def test_rewards_are_those_of_the_core(server, box, spec, policy):
    """Score, turn rewards and results; the gold trajectory has 1, the silent policy 0."""
    said = script(policy, spec)
    played = drive_openenv.play_at(server, spec.id, said)
    assert played == in_core(spec, said, box)
    if policy in ("gold", "silent"):
        assert played.reward == {"gold": 1.0, "silent": 0.0}[policy]


def test_what_is_wrong_in_a_completion_counts_as_in_the_core(server, box):
    """Unreadable and unknown calls, one too many, faults of a parser, the token limit, a limit of turns."""
    spec = SPECS[0]
    said = [
        assistant(
            "",
            ToolCall(id="a", name="count", arguments='{"by": '),
            ToolCall(id="b", name="nothing", arguments="{}"),
            ToolCall(id="c", name="count", arguments='{"by": 3}'),
        ),
        assistant("<tool_response>7</tool_response>", faults=(Fault(kind="invented_result", detail="7"),)),
        assistant("", *(ToolCall(id=f"c{i}", name="count", arguments='{"by": 1}') for i in range(18))),
        assistant("I think"),
    ]
    assert drive_openenv.play_at(server, spec.id, said) == in_core(spec, said, box)
    cut = [said[0], assistant("it is", faults=(Fault(kind="unfinished"),))]
    assert drive_openenv.play_at(server, spec.id, cut) == in_core(spec, cut, box)
    endless = [said[2]] * 6
    played = drive_openenv.play_at(server, spec.id, endless)
    assert played == in_core(spec, endless, box, Limits(max_turns=6))
    assert played.reward is not None


def test_a_call_tool_is_a_turn_of_one_call(server, box):
    """Parallel calls made one at a time are graded as such: the score is the same, the turns earn less."""
    spec = SPECS[1]
    calls = spec.gold_calls
    assert len(calls) > 1
    with GenericEnvClient(base_url=server).sync() as client:
        client.reset(task_id=spec.id)
        steps = [
            client.step({"type": "call_tool", "tool_name": one.name, "arguments": json.loads(one.arguments)})
            for one in calls
        ]
        steps.append(client.step(drive_openenv.action_of(script("gold", spec)[-1])))
    score, turns, texts = in_core(spec, [assistant("", one) for one in calls] + [script("gold", spec)[-1]], box)
    assert [step.metadata["turn_reward"]["value"] for step in steps] == turns
    assert [step.reward for step in steps] == [0.0] * len(calls) + [score]
    assert [step.done for step in steps] == [False] * len(calls) + [True]
    assert [[step.observation["result"]] for step in steps[:-1]] == texts[:-1]
    assert steps[-1].metadata["stop"] == "answered"
    assert steps[-1].metadata["score"]["value"] == score == 1.0


def test_a_mistake_in_a_call_tool(server):
    """Result and error carry what the model is to read; the kinds are OpenEnv's."""
    with GenericEnvClient(base_url=server).sync() as client:
        client.reset(task_id=SPECS[0].id)

        def told(name):
            observation = client.step({"type": "call_tool", "tool_name": name}).observation
            return observation["error"]["error_type"], observation["result"]

        assert told("nothing")[0] == "tool_not_found"
        assert told("fail") == ("execution_error", "Error: raised: ValueError: as asked")
        assert told("hang")[0] == "timeout"
        long = client.step({"type": "call_tool", "tool_name": "length", "arguments": {"text": "abc"}}).observation
        assert (long["tool_name"], long["result"], long["error"]) == ("length", "3", None)


# --- tasks ---------------------------------------------------------------------------------------------------------


def test_each_reset_chooses_tools(server):
    """By id, by split and index, by seed; the tools are those of the environment, schemas unchanged."""
    with GenericEnvClient(base_url=server).sync() as client:
        assert client.step({"type": "list_tools"}).observation["tools"] == []
        for which, spec in (
            ({"task_id": SPECS[2].id}, SPECS[2]),
            ({"split": "test", "index": 1}, SPECS[1]),
            ({}, SPECS[0]),
        ):
            first = client.reset(**which, episode_id="e").observation
            assert first["task_id"] == spec.id
            assert first["messages"] == [{"role": said.role, "content": said.content} for said in opening(spec)[0]]
            assert first["tool_schemas"] == [tool.signature.as_function() for tool in spec.tools]
            listed = client.step({"type": "list_tools"}).observation["tools"]
            assert [(tool["name"], tool["input_schema"]) for tool in listed] == [
                (tool.name, tool.signature.parameters) for tool in spec.tools
            ]
            assert client.state() == {"episode_id": "e", "step_count": 1, "task_id": spec.id}
        drawn = [client.reset(seed=seed).observation["task_id"] for seed in (1, 1, *range(2, 30))]
        assert drawn[0] == drawn[1]
        assert set(drawn) == {spec.id for spec in SPECS}


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ({"task_id": "nothing"}, "task_id: found 'nothing', expected the id of an environment"),
        ({"split": "dev"}, "split: found 'dev', expected one of train, test"),
        ({"index": 99}, f"index: found 99, expected one from 0 to {len(SPECS) - 1}"),
        ({"index": -1}, "index: found -1"),
        ({"task_id": SPECS[0].id, "index": 1}, "is task 0 of 'train', and another was named too"),
        ({"idx": 1}, "reset: found 'idx', expected task_id, split, index, seed or episode_id"),
        ({"task_id": ["a"]}, "task_id: found "),
        ({"split": 5}, "split: found '5', expected text"),
        ({"index": "0"}, "index: found '0', expected a number"),
        ({"index": True}, "index: found 'True', expected a number"),
        ({"seed": 1.5}, "seed: found '1.5', expected a number"),
    ],
    ids=["id", "split", "index", "negative", "two", "unknown", "list", "no text", "text", "flag", "fraction"],
)
def test_a_reset_that_names_no_task(server, which, said):
    """It says what was found and what was expected; the session goes on."""
    with GenericEnvClient(base_url=server).sync() as client:
        with pytest.raises(RuntimeError) as error:
            client.reset(**which)
        assert said in str(error.value)
        assert client.reset().observation["task_id"] == SPECS[0].id


def fetch(url, body=None, **headers):
    """(status, JSON) of a plain request."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_task_api_tells_no_answers(server):
    """Splits, counts, tasks and ranges; a task is its question."""
    base = f"{server}/toolfoundry"
    assert fetch(f"{base}/splits") == (200, [{"name": "train", "type": "train"}, {"name": "test", "type": "test"}])
    assert fetch(f"{base}/num_tasks", {"split": "test"}) == (200, {"num_tasks": len(SPECS)})
    messages = [{"role": said.role, "content": said.content} for said in opening(SPECS[1])[0]]
    task = {"id": SPECS[1].id, "split": "test", "index": 1, "scenario": SPECS[1].scenario.kind, "messages": messages}
    assert fetch(f"{base}/task", {"split": "test", "index": 1}) == (200, {"task": task})
    assert fetch(f"{base}/task_range", {"split": "test", "start": 1, "stop": 2})[1] == {"tasks": [task]}
    _, listed = fetch(f"{base}/tasks", {"split": "train"})
    assert [one["id"] for one in listed["tasks"]] == [spec.id for spec in SPECS]
    assert fetch(f"{base}/task", {"split": "test", "index": len(SPECS)})[0] == 400
    status, text = fetch(f"{base}/num_tasks", {"split": "dev"})
    assert status == 400
    assert "expected one of train, test" in text


def test_reserved_names_are_told_at_the_start(run, tmp_path):
    """An environment whose tool is called `step` cannot be served, and the message names it."""
    assert RESERVED == RESERVED_TOOL_NAMES
    spec = counter()
    renamed = [
        Tool(signature=tool.signature.model_copy(update={"name": "step"}), source=tool.source)
        if tool.name == "length"
        else tool
        for tool in spec.tools
    ]
    bad = counter(tools=tuple(renamed))
    path = stored(tmp_path / "bad.jsonl", [spec, bad])
    code, out, err = run("serve", "openenv", path, "--port", "0")
    assert (code, out) == (3, "")
    assert f"bad.jsonl:3: environment {bad.id}: found a tool 'step', expected a name that OpenEnv does not keep" in err


# --- sessions ------------------------------------------------------------------------------------------------------


def test_sessions_keep_apart(capital, box, tmp_path):
    """Two clients of one environment have a state each, and one that goes takes only its own worker along."""

    async def two():
        executor = CannedExecutor(TABLE)
        async with serving(capital, executor, sessions=2) as url, GenericEnvClient(base_url=url) as one:
            async with GenericEnvClient(base_url=url) as other:
                await one.reset()
                await other.reset()
                assert (await one.step(FIRST)).metadata["turn_reward"]["solved"] == 1
                assert (await other.step(SECOND)).metadata["turn_reward"]["solved"] == 1
                assert executor.open == 2
                async with GenericEnvClient(base_url=url) as third:
                    with pytest.raises(RuntimeError, match="CAPACITY"):
                        await third.reset()
            await until(lambda: executor.open == 1)
            await one.step(SECOND)
            assert (await one.step(RIGHT)).reward == 1.0
            assert executor.open == 0
            assert await one.reset()  # and again

    asyncio.run(two())
    counting = {"train": stored(tmp_path / "counter.jsonl", [counter()])}

    async def count():
        async with (
            serving(counting, box) as url,
            GenericEnvClient(base_url=url) as one,
            GenericEnvClient(base_url=url) as other,
        ):
            await one.reset()
            await other.reset()
            by = {"type": "call_tool", "tool_name": "count", "arguments": {"by": 5}}
            hanging = asyncio.create_task(one.step({"type": "call_tool", "tool_name": "hang"}))
            await asyncio.sleep(0.1)
            assert (await other.step(by)).observation["result"] == '{"n": 5}'
            assert not hanging.done()
            await hanging
            assert (await one.step(by)).observation["result"] == '{"n": 5}'

    asyncio.run(count())


async def until(holds):
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.02)


def test_an_idle_session_is_closed(capital):
    """After the idle time its worker is gone, and its next request is told so; others go on."""

    async def idle():
        executor = CannedExecutor(TABLE)
        async with serving(capital, executor, idle_s=2) as url, GenericEnvClient(base_url=url) as one:
            await one.reset()
            await one.step(FIRST)
            assert executor.open == 1
            await until(lambda: executor.open == 0)
            with pytest.raises(RuntimeError, match="closed after too long without a request: connect anew"):
                await one.step(SECOND)
            with pytest.raises(RuntimeError, match="connect anew"):
                await one.reset()
            async with GenericEnvClient(base_url=url) as other:
                await other.reset()
                assert (await other.step(FIRST)).metadata["turn_reward"]["solved"] == 1

    asyncio.run(idle())


def test_our_failure_is_no_reward(capital):
    """The client gets an error with the cause and no observation; the same step can be made again."""

    class FailsOnce(CannedExecutor):
        def session(self, sources, *, state=None, seed=0):
            if not self.opened:
                self.opened = 1
                raise SandboxError("no worker can be made")
            return super().session(sources, state=state, seed=seed)

    async def fail():
        async with serving(capital, FailsOnce(TABLE)) as url, GenericEnvClient(base_url=url) as client:
            await client.reset()
            with pytest.raises(RuntimeError, match="no worker can be made"):
                await client.step(FIRST)
            assert (await client.state())["step_count"] == 0
            await client.step(FIRST)
            await client.step(SECOND)
            assert (await client.step(RIGHT)).reward == 1.0

    asyncio.run(fail())


def test_steps_out_of_season(capital):
    """Before a reset, after the end, in another form: an error that says so, and the session goes on."""

    async def play():
        async with serving(capital, CannedExecutor(TABLE)) as url, GenericEnvClient(base_url=url) as client:
            with pytest.raises(RuntimeError, match="there is no episode: reset begins one"):
                await client.step(FIRST)
            await client.reset()
            for wrong, said in (
                ({"type": "fly"}, "VALIDATION_ERROR"),
                ({"message": 3}, "VALIDATION_ERROR"),
                ({"type": "completion"}, "message: found none, expected one for a completion"),
                ({"type": "call_tool"}, "tool_name: found none, expected one for call_tool"),
            ):
                with pytest.raises(RuntimeError, match=said):
                    await client.step(wrong)
            with pytest.raises(RuntimeError, match="tool_calls that are no array, expected a message in OpenAI's form"):
                await client.step({"message": {"role": "assistant", "tool_calls": "x"}})
            assert (await client.step(RIGHT)).done
            with pytest.raises(RuntimeError, match=r"the episode is over \(answered\): reset begins another"):
                await client.step(RIGHT)
            status, text = await asyncio.to_thread(fetch, f"{url}/step", {"action": RIGHT})
            assert status == 400
            assert "plain HTTP has no sessions" in text
            status, text = await asyncio.to_thread(fetch, f"{url}/health", Host="evil.example")
            assert status == 400

    asyncio.run(play())


def test_what_cannot_be_sent_back_takes_no_turn_away(capital):
    """A call whose name or id holds half a character, or an id that is no text: the turn is graded and answered."""

    async def play():
        async with serving(capital, CannedExecutor(TABLE)) as url, GenericEnvClient(base_url=url) as client:
            await client.reset()
            told = await client.step({"type": "call_tool", "tool_name": "\ud800"})
            assert (told.observation["tool_name"], told.metadata["turn"]) == ("\ufffd", 0)
            for turn, name in enumerate(["\ud800", 5, [["x"]], None], start=1):
                said = says(call("author_of", "Tides"))
                said["message"]["tool_calls"][0]["id"] = name
                step = await client.step(said)
                assert step.metadata["turn"] == turn
                [reply] = step.observation["messages"]
                assert reply["tool_call_id"] == ("\ufffd" if name == "\ud800" else f"call_{turn}")

    asyncio.run(play())


def test_pages_of_others_are_refused(capital):
    """A page in a browser reaches it neither by a request nor, what browsers let every page do, by a WebSocket."""
    import websockets

    async def ask():
        async with serving(capital, CannedExecutor(TABLE)) as url:
            address = url.replace("http", "ws") + "/ws"
            for origin in ("http://evil.example", "null", "http://[", "http://localhost.evil.example:8000"):
                with pytest.raises(websockets.InvalidStatus, match="403"):
                    await websockets.connect(address, origin=origin)
                assert (await asyncio.to_thread(fetch, f"{url}/health", Origin=origin))[0] == 403
            for host in ("evil.example", "127.0.0.1.evil.example", "[", ""):
                assert (await asyncio.to_thread(fetch, f"{url}/health", Host=host))[0] == 400
            for own in (url, "http://localhost:3000"):
                async with websockets.connect(address, origin=own) as socket:
                    await socket.send('{"type": "reset", "data": {}}')
                    assert json.loads(await socket.recv())["type"] == "observation"
                assert (await asyncio.to_thread(fetch, f"{url}/health", Origin=own))[0] == 200

    asyncio.run(ask())


def test_pages_of_others_are_refused_on_every_address_too(capital):
    """Bound to every address, as in a container, it answers to any name, and to the pages of that name alone."""
    import websockets

    async def ask():
        async with serving(capital, CannedExecutor(TABLE), host="0.0.0.0") as url:
            port = url.rpartition(":")[2]
            for origin in (f"http://evil.example:{port}", "null"):
                with pytest.raises(websockets.InvalidStatus, match="403"):
                    await websockets.connect(f"ws://127.0.0.1:{port}/ws", origin=origin)
            async with websockets.connect(f"ws://127.0.0.1:{port}/ws", origin=f"http://127.0.0.1:{port}") as socket:
                await socket.send('{"type": "reset", "data": {}}')
                assert json.loads(await socket.recv())["type"] == "observation"
            plain = {"Host": "envs.example", "Origin": "https://envs.example"}
            assert (await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/health", **plain))[0] == 200
            assert (await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/health"))[0] == 200

    asyncio.run(ask())


def test_an_oversized_message_ends_only_its_own_session(capital):
    """The connection of who sends it is closed; others keep their episodes."""

    async def flood():
        async with serving(capital, CannedExecutor(TABLE)) as url, GenericEnvClient(base_url=url) as other:
            await other.reset()
            async with GenericEnvClient(base_url=url) as client:
                await client.reset()
                with pytest.raises(Exception, match=r"1009|too big"):
                    await client.step(says(text="x" * (17 << 20)))
            assert (await other.step(FIRST)).metadata["turn_reward"]["solved"] == 1

    asyncio.run(flood())


# --- /mcp ----------------------------------------------------------------------------------------------------------


def test_the_client_of_tools(capital):
    """MCPToolClient lists the tools of its episode; calls past `step` count in it, made-up tools included."""
    spec = capital_spec()

    async def play():
        async with serving(capital, CannedExecutor(TABLE)) as url, MCPToolClient(base_url=url) as client:
            await client.reset()
            listed = await client.list_tools(use_cache=False)
            assert [(tool.name, tool.input_schema) for tool in listed] == [
                (tool.name, tool.signature.parameters) for tool in spec.tools
            ]
            assert await client.call_tool("author_of", x="Tides") == "Mira Olsen"
            assert (await client.call_tool("made_up")).startswith("Error: unknown_tool")
            assert await client.call_tool("town_of", x="Mira Olsen") == "Velden"
            last = await client.step(open_action(RIGHT))
            assert last.metadata["turn"] == 3
            assert last.reward == pytest.approx(0.5 * (2 * 2 / (3 + 2)) + 0.5)  # three calls for two goals
            with pytest.raises(RuntimeError, match="the episode is over"):
                await client.call_tool("author_of", x="Tides")

    asyncio.run(play())


def open_action(action):
    from toolfoundry.serve.openenv_server import ToolFoundryAction

    return ToolFoundryAction(**action)


# --- the folder, and OpenEnv's validator -----------------------------------------------------------------------------


def test_a_running_server_is_valid(server):
    """What `openenv validate --url` asks of one."""
    report = validate_running_environment(server, timeout_s=30)
    assert report["passed"], report


class LocalProvider:
    """Starts the exported server as a process where OpenEnv's own provider would start a container."""

    name = "local"
    capabilities = frozenset({ProviderCapability.IMAGE_BUILD})
    supported_network_modes = frozenset({"no-network"})

    def build(self, root, execution):
        assert (root / execution.dockerfile).is_file()
        self.root = root
        return "sha256:" + "0" * 64

    def start(self, spec):
        app = self.root / "server" / "app.py"
        command = [sys.executable, str(app), "--port", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.base_url = self.process.stderr.readline().split(" at ")[1].strip()
        return self

    def inspect(self):
        return {}

    def stop(self):
        self.process.terminate()
        self.process.communicate(timeout=20)


def test_an_exported_folder_is_valid(run, envs, tmp_path):
    """`openenv validate` passes; its graders pass on a gold episode that they play at the folder's own server."""
    folder = tmp_path / "env"
    code, out, _ = run("export", "openenv", envs, f"test={envs}", "-o", folder, "--name", "my_set", "--json")
    assert code == 0
    assert json.loads(out) == {"name": "my_set", "tasks": {"train": len(SPECS), "test": len(SPECS)}}
    report = run_validation(folder, max_level=Level.RUNTIME, provider=LocalProvider())
    results = {result.check_id: (result.status.value, result.evidence) for result in report.results}
    for check in ("static.manifest", "runtime.startup", "runtime.reward_well_formed", "runtime.observation_schema"):
        assert results[check][0] == "pass", results[check]
    assert results["runtime.state_contract"][0] == "pass", results
    assert report.verdict.value in ("pass", "warn")
    assert run_validation(folder, max_level=Level.STATIC).verdict.value == "pass"
    assert run("export", "openenv", envs, "-o", folder)[0] == 6
    assert run("export", "openenv", envs, envs, "-o", folder, "--force")[0] == 3


def test_a_name_that_cannot_be_a_package(envs, tmp_path):
    """It is refused before anything is written."""
    with pytest.raises(InputError, match="--name: found 'My set', expected lower-case letters"):
        export_openenv({"train": envs}, tmp_path / "env", "My set")
    assert not (tmp_path / "env").exists()
