"""The MCP server with the official client, over stdio and HTTP. Run by `make test-mcp`, once for each major."""

import pytest

pytest.importorskip("mcp", reason="needs the MCP SDK: `make test-mcp` runs these tests where it is")

import asyncio
import contextlib
import json
import subprocess
import time

from fakes import CannedExecutor, capital_spec
from serve import drive_mcp
from serve.serving_specs import counter
from toolfoundry.demo import environments
from toolfoundry.environment import opening
from toolfoundry.errors import SandboxError
from toolfoundry.policies.scripted import script
from toolfoundry.rollout import run_rollout
from toolfoundry.sandbox import Sandbox
from toolfoundry.serve.listen import listen, url_of
from toolfoundry.serve.mcp_server import MAX_ARGUMENT_BYTES, http_server
from toolfoundry.store import RecordWriter
from toolfoundry.types import Completion, EnvSpec

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")

SPECS = (counter(), *environments()[::5])
if_second_major = pytest.mark.skipif(not drive_mcp.second_major(), reason="the first major knows no 2026-07-28")


@pytest.fixture(scope="module")
def envs(tmp_path_factory):
    path = tmp_path_factory.mktemp("mcp") / "envs.jsonl"
    with RecordWriter(path, EnvSpec) as writer:
        for spec in SPECS:
            writer.write(spec)
    return path


@pytest.fixture(scope="module")
def box():
    with Sandbox() as sandbox:
        yield sandbox


@contextlib.asynccontextmanager
async def serving(spec, executor, **options):
    """Our server in this process; gives its URL, and stops it at the end."""
    with listen("127.0.0.1", 0) as bound:
        server = http_server(spec, executor, bound, **options)
        running = asyncio.create_task(server.serve([bound]))
        try:
            while not server.started:
                await asyncio.sleep(0.01)
            yield url_of(bound, "/mcp")
        finally:
            server.should_exit = True
            await running


async def call(client, name, **arguments):
    """(text, whether it is an error)"""
    result = await client.call_tool(name, arguments)
    return drive_mcp.text_of(result), drive_mcp.is_error(result)


# --- stdio ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[1]], ids=["state", "none"])
def test_gold_calls_give_what_they_give_in_a_rollout(spec, envs, box):
    """Through a server process and the official client, results are those of the core."""
    said = script("gold", spec)
    policy = iter(said)

    async def gold(messages, tools):
        return Completion(message=next(policy))

    trajectory = asyncio.run(run_rollout(gold, spec, box))
    expected = [[result.text for result in turn.results] for turn in trajectory.turns]
    assert drive_mcp.play(envs, spec.id, said) == expected
    assert sum(map(len, expected)) == len(spec.gold_calls)


def test_everything_listed_and_nothing_told(envs):
    """Schemas are listed as they stand in the record; the question is the prompt; instructions name it."""

    async def look():
        async with drive_mcp.stdio(str(envs)) as client:
            tools = (await client.list_tools()).tools
            [prompt] = (await client.list_prompts()).prompts
            told = await client.get_prompt(prompt.name)
            with pytest.raises(Exception, match="there is no prompt 'other'"):
                await client.get_prompt("other")
            return tools, told

    tools, told = asyncio.run(look())
    schemas = [tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in tools]
    assert [(tool["name"], tool["description"], tool["inputSchema"]) for tool in schemas] == [
        (tool.name, tool.signature.description, tool.signature.parameters) for tool in SPECS[0].tools
    ]
    assert not any("outputSchema" in tool for tool in schemas)
    assert [said.content.text for said in told.messages] == [said.content for said in opening(SPECS[0]).messages]


def test_mistakes_come_back_in_the_words_of_the_core(envs):
    """An unknown tool, a tool that raises, wrong arguments, one that hangs: results that a model can read."""

    async def err():
        async with drive_mcp.stdio(str(envs)) as client:
            return [
                await call(client, "nothing"),
                await call(client, "fail"),
                await call(client, "count", wrong=1),
                await call(client, "hang"),
                await call(client, "count", by=5),
                await call(client, "length", text="x" * MAX_ARGUMENT_BYTES),
                await call(client, "length", text="x" * 2_000_000),
            ]

    unknown, raised, wrong, hung, counted, oversized, large = asyncio.run(err())
    assert unknown == (
        "Error: unknown_tool: there is no tool 'nothing'; the tools are count, fail, hang, length",
        True,
    )
    assert raised == ("Error: raised: ValueError: as asked", True)
    assert wrong[1]
    assert wrong[0].startswith("Error: raised: TypeError")
    assert hung[1]
    assert hung[0].startswith("Error: timeout")
    assert counted == ('{"n": 5}', False)
    assert oversized[1]
    assert oversized[0].startswith("Error: limit: found arguments of 4194")
    assert large == ("2000000", False)


def test_stdout_carries_only_the_protocol(envs):
    """Every line at standard output is a JSON-RPC message, and the server ends when its input does."""
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}}
    messages = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "hang", "arguments": {}}},
    ]
    with subprocess.Popen(
        [*drive_mcp.COMMAND, str(envs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        for message in messages:
            server.stdin.write(json.dumps(message) + "\n")
        server.stdin.write("no json\n")
        server.stdin.flush()
        lines = [json.loads(server.stdout.readline())]
        while lines[-1].get("id") != 2:
            lines.append(json.loads(server.stdout.readline()))
        rest, _ = server.communicate(timeout=20)
    assert rest == ""
    assert server.returncode == 0
    assert all(line["jsonrpc"] == "2.0" for line in lines)
    assert lines[0]["result"]["instructions"].endswith("is the prompt 'task'.")
    assert lines[-1]["result"]["isError"] is True


# --- HTTP ----------------------------------------------------------------------------------------------------------


def test_each_session_has_a_state_of_its_own(box):
    """Two clients of one environment count for themselves, whatever one of them does: hang, or say too much."""

    async def two():
        async with serving(counter(), box) as url, drive_mcp.http(url) as one, drive_mcp.http(url) as other:
            assert await call(one, "count", by=3) == ('{"n": 3}', False)
            hanging = asyncio.create_task(call(one, "hang"))
            await asyncio.sleep(0.1)
            assert await call(other, "count", by=10) == ('{"n": 10}', False)
            assert not hanging.done()
            assert (await hanging)[0].startswith("Error: timeout")
            assert await call(one, "count", by=1) == ('{"n": 4}', False)
            text, wrong = await call(one, "length", text="x" * MAX_ARGUMENT_BYTES)
            assert wrong
            assert text.startswith("Error: limit: found arguments of 4194")
            assert await call(one, "count", by=1) == ('{"n": 5}', False)

    asyncio.run(two())


def test_a_session_ends_with_its_client():
    """The worker of a client that goes is closed; others keep theirs."""

    async def come_and_go():
        executor = CannedExecutor({("author_of", "Tides"): "Mira Olsen"})
        async with serving(capital_spec(state={}), executor) as url:
            async with drive_mcp.http(url) as one:
                async with drive_mcp.http(url) as other:
                    await call(one, "author_of", x="Tides")
                    await call(other, "author_of", x="Tides")
                    assert executor.open == 2
                await until(lambda: executor.open == 1)
                assert await call(one, "author_of", x="Tides") == ("Mira Olsen", False)
            await until(lambda: executor.open == 0)
        assert executor.opened == 2

    asyncio.run(come_and_go())


async def until(holds):
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.02)


def test_a_client_that_disconnects_in_the_middle_harms_nobody(box):
    """Its call is dropped; the next one is served, and so are others."""

    async def leave():
        async with serving(counter(), box) as url, drive_mcp.http(url) as other:
            assert await call(other, "count", by=1) == ('{"n": 1}', False)

            async def goes():
                async with drive_mcp.http(url) as client:
                    await call(client, "hang")

            going = asyncio.create_task(goes())
            await asyncio.sleep(0.5)
            going.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await going
            assert await call(other, "count", by=1) == ('{"n": 2}', False)
            async with drive_mcp.http(url) as next_one:
                assert await call(next_one, "count", by=1) == ('{"n": 1}', False)

    asyncio.run(leave())


def test_our_failure_is_no_result():
    """Where the sandbox fails, the client gets an error of the protocol, not text for a model."""

    class Broken(CannedExecutor):
        def session(self, sources, *, state=None, seed=0):
            raise SandboxError("out of memory")

    async def fail():
        async with serving(capital_spec(), Broken({})) as url, drive_mcp.http(url) as client:
            with pytest.raises(Exception, match="the call was not executed: out of memory"):
                await call(client, "author_of", x="Tides")

    asyncio.run(fail())


def raw(url, body, **headers):
    """(status, text) of a plain POST."""
    import http.client
    from urllib.parse import urlsplit

    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    with contextlib.closing(connection):
        accept = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        connection.request("POST", address.path, body=body, headers=accept | headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}" * (9 << 20), {}, 413),
        (b'{"jsonrpc"', {}, 400),
        (b"{}", {"Host": "evil.example"}, 421),
        (b"{}", {"Origin": "http://evil.example"}, 403),
        (b"{}", {"Mcp-Session-Id": "made up"}, 404),
    ],
    ids=["oversized", "malformed", "rebound host", "other origin", "unknown session"],
)
def test_bad_requests_are_refused(box, body, headers, status):
    """With the status that says why; the next client is served."""

    async def post():
        async with serving(counter(), box) as url:
            answer = await asyncio.to_thread(raw, url, body, **headers)
            async with drive_mcp.http(url) as client:
                assert await call(client, "count", by=1) == ('{"n": 1}', False)
            return answer

    assert asyncio.run(post())[0] == status


@if_second_major
def test_without_state_the_protocol_without_sessions_is_served():
    """A client of 2026-07-28 gets a worker for each request, and it is closed after it."""

    async def pinned():
        executor = CannedExecutor({("author_of", "Tides"): "Mira Olsen"})
        async with serving(capital_spec(), executor) as url, drive_mcp.http(url, "2026-07-28") as client:
            for _ in range(2):
                assert await call(client, "author_of", x="Tides") == ("Mira Olsen", False)
            assert client.protocol_version == "2026-07-28"
            await until(lambda: executor.open == 0)
        assert executor.opened == 2

    asyncio.run(pinned())


@if_second_major
def test_with_state_the_versions_with_sessions_are_spoken(box):
    """A client that asks first falls back by itself; one that insists is told why not."""

    async def talk():
        async with serving(counter(), box) as url:
            async with drive_mcp.http(url) as client:
                assert client.protocol_version == "2025-11-25"
                assert await call(client, "count", by=2) == ('{"n": 2}', False)
                assert await call(client, "count", by=2) == ('{"n": 4}', False)
            async with drive_mcp.http(url, "2026-07-28") as client:
                with pytest.raises(Exception, match="has a state, which lives in a session"):
                    await call(client, "count", by=2)

    asyncio.run(talk())


@if_second_major
def test_over_stdio_both_protocols_keep_the_state(envs):
    """A process has one client, whichever version it speaks."""

    async def talk():
        async with drive_mcp.stdio(str(envs)) as client:
            version = client.protocol_version
            assert await call(client, "count", by=2) == ('{"n": 2}', False)
            assert await call(client, "count", by=2) == ('{"n": 4}', False)
        return version

    assert asyncio.run(talk()) == "2026-07-28"


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command_over_http(envs):
    """It says where it serves, at standard error; Ctrl-C ends it in order."""
    import signal

    with subprocess.Popen(
        [*drive_mcp.COMMAND, str(envs), "--id", SPECS[1].id[:6], "--transport", "http", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        line = server.stderr.readline()
        url = line.split(" at ")[1].split(" ")[0]

        async def look():
            async with drive_mcp.http(url) as client:
                return [tool.name for tool in (await client.list_tools()).tools]

        assert asyncio.run(look()) == [tool.name for tool in SPECS[1].tools]
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=20)
    assert (out, server.returncode) == ("", 0), err


def test_a_port_in_use(run, envs):
    """One line names the port and what to do."""
    with listen("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        code, out, err = run("serve", "mcp", envs, "--transport", "http", "--port", port)
    assert (code, out) == (3, "")
    assert f"port {port} of 127.0.0.1 is in use; give another with --port" in err
