"""What the sandbox gives back, what its limits do, and that nothing of it is left."""

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from toolfoundry.errors import SandboxError
from toolfoundry.sandbox import ALLOWED_IMPORTS, Sandbox, SandboxLimits, self_test

ECHO = "def echo(value):\n    return value\n"
TOOLS = {
    "echo": ECHO,
    "loop": "def loop():\n    while True: pass\n",
    "loop_in_c": "def loop_in_c():\n    return sum(range(10 ** 14))\n",
    "stand_still": "import threading\ndef stand_still():\n    l = threading.Lock(); l.acquire(); l.acquire()\n",
    "die": "import os\ndef die():\n    os.kill(1, 0)\n",
    "big": "def big(n):\n    return 'x' * n\n",
    "hog": "def hog():\n    return len(bytearray(1 << 32))\n",
    "broken": "def broken(:\n",
}
SHOP = {
    "put": "def put(data, item, n):\n    data[item] = n\n    return sorted(data)\n",
    "spoil": "def spoil(data):\n    data.clear()\n    while True: pass\n",
    "crash": "import os\ndef crash(data):\n    data.clear()\n    os.kill(1, 0)\n",
    "fail": "def fail(data):\n    data['failed'] = 1\n    raise KeyError('no')\n",
    "ticket": "import uuid, time\ndef ticket(data):\n    return [str(uuid.uuid4()), time.time()]\n",
    "ruin": "def ruin(data):\n    data['x'] = {1, 2}\n",
}


def kinds(results):
    return [result.error.partition(":")[0] if result.error else result.content for result in results]


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "content"),
    [
        ("{'b': 1, 'a': [None, True, 1.5]}", '{"b": 1, "a": [null, true, 1.5]}'),
        ("['é', '中']", '["é", "中"]'),
        ("'text'", "text"),
        ("(1, 'a')", "(1, 'a')"),
        ("None", "None"),
        ("1.0", "1.0"),
        ("{1, 2}", "{1, 2}"),
        ("{'x': float('nan')}", '{"x": NaN}'),
        ("''", ""),
        ("b'x'", "b'x'"),
        ("__import__('collections').Counter(a=1)", "Counter({'a': 1})"),
        ("{'a': __import__('collections').OrderedDict(b=1)}", '{"a": {"b": 1}}'),
        ("(lambda: 0)", "<function f.<locals>.<lambda> at 0x0>"),
        ("[str(object())]", '["<object object at 0x0>"]'),
        ("'see the manual at 0x1F'", "see the manual at 0x1F"),
    ],
)
def test_result_convention(box, expression, content):
    """dict and list come back as JSON, str as it is, all else through str(), and without memory addresses."""
    result = box.call(f"def f():\n    return {expression}\n", "f", {})
    assert (result.content, result.error, result.call_id) == (content, None, "")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("raise ValueError('a: b: c')", "raised: ValueError: a: b: c"),
        ("raise ValueError", "raised: ValueError: "),
        ("raise KeyError('k')", "raised: KeyError: 'k'"),
        ("return missing", "raised: NameError: name 'missing' is not defined"),
        ("return {'a': {1}}", "raised: TypeError: Object of type set is not JSON serializable"),
        ("import sys; sys.exit('bye')", "raised: SystemExit: bye"),
        ("import requests", "raised: ModuleNotFoundError: No module named 'requests' in the sandbox"),
    ],
)
def test_raised_carries_the_exact_text(box, body, error):
    """An exception is `raised: Type: text`, from which str(exc) can be taken unchanged."""
    assert box.call(f"def f():\n    {body}\n", "f", {}).error == error


def test_wrong_calls_are_the_models_mistakes(box):
    """Unknown tools, wrong arguments and sources that do not compile are results, not exceptions."""
    with box.session(TOOLS) as session:
        assert session.call("nope", {}).error.startswith("unknown_tool: 'nope' is not one of the tools: echo, ")
        assert session.call("echo", {"x": 1}).error.startswith("raised: TypeError: echo() got an unexpected")
        assert session.call("broken", {}).error.startswith("raised: SyntaxError: ")
    assert box.call("x = 1", "f", {}).error == "raised: NameError: name 'f' is not defined"
    assert box.call("def f():\n    return '\\0'", "f", {}).content == "\0"
    assert box.call("\0", "f", {}).error.startswith("raised: ")
    assert box.call("def f():\n    return '\ud800'", "f", {}).error.startswith("raised: UnicodeEncodeError")


@pytest.mark.parametrize("value", [None, True, 2**70, -1.5, float("inf"), "é\ud800", [[]], {"a": {"b": [1, "x"]}}, ""])
def test_arguments_arrive_unchanged(box, value):
    """Arguments are passed exactly, also where fast JSON parsers differ: big numbers, infinities, lone surrogates."""
    assert box.call("def f(v):\n    return ascii(v)", "f", {"v": value}).content == ascii(value)


def test_names_of_the_module_work(box):
    """A tool may use constants, helpers, classes and imports of its own, also dataclasses with annotations as text."""
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nimport math\nRATE = 2\n"
        "@dataclass\nclass P:\n    x: float\n    y: float = RATE\n"
        "def helper(p): return math.hypot(p.x, p.y)\ndef f(x): return helper(P(x)) if x else repr(P(0))\n"
        "if __name__ == '__main__': raise SystemExit\n"
    )
    assert box.call(source, "f", {"x": 0}).content == "P(x=0, y=2)"
    assert box.call(source, "helper", {}).error.startswith("raised: TypeError")


def test_every_allowed_import_imports(box):
    """`ALLOWED_IMPORTS` says the truth, and what is not in it fails at once and clearly."""
    source = "def f(names):\n    for name in names: __import__(name)\n    return 'ok'"
    assert box.call(source, "f", {"names": sorted(ALLOWED_IMPORTS)}).content == "ok"
    assert {"json", "numpy"} & ALLOWED_IMPORTS == {"json"}
    zones = "import zoneinfo, datetime as d\ndef f(z): return str(d.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo(z)))"
    assert box.call(zones, "f", {"z": "Europe/Paris"}).content == "2024-07-01 00:00:00+02:00"
    assert box.call(zones, "f", {"z": "No/Where"}).error.startswith("raised: ZoneInfoNotFoundError")


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["loop", "loop_in_c", "stand_still"])
def test_a_hang_ends_in_time(box, name):
    """Loops of Python, loops of C and standing still all end as `timeout`, soon after the limit."""
    with box.session(TOOLS) as session:
        session.call("echo", {"value": 1})
        began = time.monotonic()
        assert session.call(name, {}).error == "timeout: the call took longer than 0.1 s"
        assert time.monotonic() - began < 1.1  # the limit of wall time is the longest; the benchmark measures
        assert session.call("echo", {"value": 1}).content == "1"


def test_limits_are_those_of_the_session(box):
    """A session has its own limits: output, memory, recursion, error text, time."""
    limits = SandboxLimits(call_s=1, output_bytes=2000, memory_bytes=1 << 23, recursion=100, error_chars=64)
    deep = "def deep(n):\n    return n and deep(n - 1)\n"
    fail = "def fail():\n    raise ValueError('x' * 999)\n"
    some = "def some():\n    return len(bytearray(1 << 25))\n"
    calls = [("big", {"n": 2000}), ("big", {"n": 2001}), ("some", {}), ("deep", {"n": 50}), ("deep", {"n": 200})]
    with box.session(TOOLS | {"deep": deep, "fail": fail, "some": some}, limits=limits) as session:
        results = session.batch([*calls, ("fail", {})])
    assert kinds(results[1:]) == ["output", "memory", "0", "raised", "raised"]
    assert len(results[0].content) == 2000
    assert results[5].error == "raised: ValueError: " + "x" * 64
    with box.session(TOOLS) as session:
        assert len(session.call("big", {"n": 65536}).content) == 65536


@pytest.mark.parametrize("wrong", [{"call_s": 0}, {"call_s": float("nan")}, {"output_bytes": 1}, {"epochs": 1}])
def test_wrong_limits_are_refused(wrong):
    """Limits are validated where they are given."""
    with pytest.raises(ValidationError):
        SandboxLimits(**wrong)
    with pytest.raises(ValueError, match="max_workers"):
        Sandbox(max_workers=0)


def test_only_the_guilty_call_is_charged(box):
    """When a batch is killed, its other calls are answered as if the guilty one had not been there."""
    calls = [("echo", {"value": i}) for i in range(40)]
    calls[7], calls[20], calls[21], calls[39] = ("die", {}), ("loop_in_c", {}), ("hog", {}), ("die", {})
    with box.session(TOOLS) as session:
        expected = [str(i) for i in range(40)]
        expected[7], expected[20], expected[21], expected[39] = "killed", "timeout", "memory", "killed"
        assert kinds(session.batch(calls)) == expected


def test_batches_of_any_size(box):
    """No calls give no results; hundreds come back in order, also when the results are large."""
    with box.session(TOOLS) as session:
        assert session.batch([]) == []
        assert [r.content for r in session.batch([("echo", {"value": i}) for i in range(700)])] == [
            *map(str, range(700))
        ]
        assert {len(r.content) for r in session.batch([("big", {"n": 60000})] * 100)} == {60000}
        assert session.call("echo", {"value": "x" * 3_000_000}).error.startswith("output: ")


def test_workers_are_recycled(box):
    """Without state a worker is replaced after so many calls, or when it has grown; callers do not notice."""
    source = {
        "f": "import json\ndef f(n=0):\n    json.x = getattr(json, 'x', 0) + 1\n    return [json.x, len('x' * n)]"
    }
    with box.session(source, limits=SandboxLimits(calls_per_worker=3)) as session:
        assert [json.loads(session.call("f", {}).content)[0] for _ in range(7)] == [1, 2, 3, 1, 2, 3, 1]
    with box.session(source, limits=SandboxLimits(growth_bytes=1 << 22)) as session:
        session.batch([("f", {})] * 2)
        assert json.loads(session.batch([("f", {"n": 1 << 24})] * 2)[1].content)[0] == 4
        assert json.loads(session.call("f", {}).content)[0] == 1


# --- repeatable -------------------------------------------------------------------------------------------------------

CHANCE = """
import datetime, os, random, secrets, time, uuid
def f():
    values = [random.random(), random.Random().random(), random.SystemRandom().random(), secrets.token_hex(4)]
    values += [uuid.uuid1(), uuid.uuid4(), os.urandom(4), time.time(), time.monotonic_ns(), time.ctime(), os.getpid()]
    values += [datetime.datetime.now(), datetime.datetime.now(datetime.UTC), datetime.date.today(), time.strftime("%c")]
    return [str(v) for v in values] + list({"a", "b", "c", "d"}) + [hash("x"), repr(datetime.datetime(2020, 1, 1))]
"""


def test_two_sandboxes_give_the_same(box):
    """Clock, chance and hash order are the same in any sandbox, any session and any call; the seed changes them."""
    first = box.call(CHANCE, "f", {}).content
    with Sandbox() as other, other.session({"f": CHANCE}) as session, other.session({"f": CHANCE}, seed=1) as seeded:
        assert {first} == {session.call("f", {}).content, *(r.content for r in session.batch([("f", {})] * 3))}
        assert seeded.call("f", {}).content != first
    for known in ("2026-01-01", "Thu Jan  1 00:00:00 2026", "datetime.datetime(2020, 1, 1, 0, 0)"):
        assert known in first


def test_the_clock_starts_at_the_epoch_and_advances():
    """Reading the clock moves it a little, sleeping moves it by what was asked, at once."""
    source = """
import time, datetime
def f():
    a, b = time.time(), time.perf_counter()
    time.sleep(3600)
    now = datetime.datetime.now()
    return [a < time.time(), round(time.perf_counter() - b), now.isoformat()[:16], type(now).__name__]
"""
    limits = SandboxLimits(epoch="2030-02-03T04:05:00+00:00")
    with Sandbox(limits) as box:
        began = time.monotonic()
        assert json.loads(box.call(source, "f", {}).content) == [True, 3600, "2030-02-03T05:05", "datetime"]
        assert time.monotonic() - began < 1


# --- state ------------------------------------------------------------------------------------------------------------


def test_state_is_kept_changed_and_read(box):
    """Tools of one session work on one state; another session, and the value that was passed in, do not see it."""
    start = {"a": 1, "none": None, "big": 2**70}
    with box.session(SHOP, state=start) as one, box.session(SHOP, state=start) as two, one.twin(seed=3) as three:
        assert one.call("put", {"item": "b", "n": 2}).content == '["a", "b", "big", "none"]'
        assert kinds([one.call("fail", {})]) == ["raised"]
        assert one.state() == {**start, "b": 2, "failed": 1}
        assert two.state() == three.state() == start == {"a": 1, "none": None, "big": 2**70}
        assert one.call("put", {"data": {}, "item": 1, "n": 1}).error.startswith("raised: TypeError")
    with box.session(TOOLS) as session:
        assert session.state() is None
    with box.session(SHOP, state={}) as session:
        assert session.state() == {}


def test_state_survives_what_kills_a_worker(box):
    """After `timeout` or `killed` the state is as it was before that call; clock and chance run on as without it."""
    calls = [("put", {"item": "b", "n": 2}), ("ticket", {}), ("put", {"item": "c", "n": 3}), ("ticket", {})]
    with box.session(SHOP, state={"a": 1}) as session:
        undisturbed = session.batch(calls)
    with box.session(SHOP, state={"a": 1}) as session:
        results = session.batch([calls[0], ("spoil", {}), calls[1], ("crash", {}), *calls[2:]])
        assert kinds([results[1], results[3]]) == ["timeout", "killed"]
        assert [results[0], results[2], *results[4:]] == undisturbed
        assert session.state() == {"a": 1, "b": 2, "c": 3}
    assert undisturbed[1] != undisturbed[3]


def test_a_state_that_cannot_be_rebuilt_is_the_tools_doing(box):
    """Calls that do not repeat themselves when played again are answered `killed`: no tool makes a rollout unscored."""
    sources = {"ok": "def ok(data):\n    return 'fine'\n", "die": "import os\ndef die(data):\n    os._exit(1)\n"}
    with box.session(sources, state={}) as session:
        assert session.call("ok", {}).content == "fine"
        session.answered = [("die", {})]  # as if it had given an answer the first time
        session.drop()
        for _ in range(2):
            assert session.call("ok", {}).error.startswith("killed: the state was lost")


def test_state_that_is_no_json_is_our_error(box):
    """A tool that makes the state unreadable is found out when the state is read, not before."""
    with box.session(SHOP, state={}) as session:
        assert session.call("ruin", {}).error is None
        with pytest.raises(SandboxError, match="no longer JSON"):
            session.state()
    with box.session(
        {"grow": "def grow(data):\n    data['x'] = 'x' * 5000"}, state={}, limits=SandboxLimits(state_bytes=2048)
    ) as session:
        session.call("grow", {})
        with pytest.raises(SandboxError, match="beyond 2048 bytes"):
            session.state()


def test_megabytes_of_state_are_loaded_once(box):
    """Sessions with the same sources and state share a template, which parses both once."""
    state = {"rows": [{"id": i, "text": "x" * 100} for i in range(10_000)]}
    source = {"count": "def count(data):\n    return len(data['rows'])"}
    with box.session(source, state=state) as first:
        assert first.call("count", {}).content == "10000"
        with first.twin() as second, box.session(source, state=state) as third:
            assert second.call("count", {}).content == third.call("count", {}).content == "10000"
            assert second.template is third.template is first.template


# --- many at once -----------------------------------------------------------------------------------------------------


def test_a_thousand_sessions_share_few_workers():
    """More sessions than places: calls wait, idle workers are taken, states are rebuilt, and all is answered."""

    async def rollout(box, i):
        async with box.session(SHOP, state={"i": i}) as session:
            await session.acall("put", {"item": "x", "n": i})
            await asyncio.sleep(0)
            await session.abatch([("put", {"item": "y", "n": 1})])
            return await session.astate()

    async def main():
        async with Sandbox(max_workers=8) as box:
            return await asyncio.gather(*(rollout(box, i) for i in range(40)))

    assert asyncio.run(main()) == [{"i": i, "x": i, "y": 1} for i in range(40)]


def test_threads_share_a_session_and_a_sandbox(box):
    """Calls from several threads are answered each with its own result."""
    results = {}
    with box.session(TOOLS) as shared:

        def work(i):
            own = [box.call(ECHO, "echo", {"value": [i, k]}).content for k in range(20)]
            results[i] = own + [shared.call("echo", {"value": [i, k]}).content for k in range(20)]

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {i: [f"[{i}, {k}]" for k in range(20)] * 2 for i in range(8)}


def test_cancelling_leaves_the_session_usable(box):
    """A cancelled call is as if it had not been made; those that wait for a turn go on."""

    async def main():
        async with box.session(SHOP, state={"a": 1}, limits=SandboxLimits(call_s=30)) as session:
            await session.acall("put", {"item": "b", "n": 2})
            hang = asyncio.create_task(session.acall("spoil", {}))
            waits = asyncio.create_task(session.acall("put", {"item": "c", "n": 3}))
            gives_up = asyncio.create_task(session.acall("put", {"item": "d", "n": 4}))
            await asyncio.sleep(0.05)
            gives_up.cancel()
            hang.cancel()
            assert (await waits).error is None
            assert [(await asyncio.gather(t, return_exceptions=True))[0].__class__ for t in (hang, gives_up)] == [
                asyncio.CancelledError
            ] * 2
            return await session.astate()

    assert asyncio.run(main()) == {"a": 1, "b": 2, "c": 3}


def test_async_calls_do_not_block_the_loop(box):
    """While a tool computes, the event loop runs other things."""

    async def main():
        hang = asyncio.create_task(box.acall(TOOLS["loop"], "loop", {}))
        turns = 0
        while not hang.done():
            await asyncio.sleep(0.005)
            turns += 1
        return turns, (await hang).error

    turns, error = asyncio.run(main())
    assert turns >= 3
    assert error.startswith("timeout")


# --- nothing is left --------------------------------------------------------------------------------------------------


def descriptors():
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_no_descriptor_and_no_process_is_left():
    """After close, the process has the descriptors and children that it had before."""
    before = descriptors()
    with Sandbox(SandboxLimits(call_s=0.05)) as box:
        group = box._zygote.process.pid
        for i in range(5):
            with box.session(TOOLS | {"n": f"def n(): return {i}"}) as session:
                session.batch([("n", {}), ("die", {}), ("loop_in_c", {}), ("echo", {"value": 1})])
        box.call(ECHO, "echo", {"value": 1})
        left_open = box.session(TOOLS)
        left_open.call("echo", {"value": 1})
        during = len(descriptors())
        for _ in range(20):
            with box.session(TOOLS) as session:
                session.call("die", {})
        assert len(descriptors()) == during
    assert descriptors() == before
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
    with pytest.raises(SandboxError, match="closed"):
        left_open.call("echo", {"value": 1})


def test_a_closed_session_refuses(box):
    """A closed session, and one closed while its call runs in another thread, raise SandboxError."""
    session = box.session(TOOLS, limits=SandboxLimits(call_s=30))
    caught = []

    def hang():
        try:
            session.call("loop", {})
        except SandboxError as error:
            caught.append(str(error))

    thread = threading.Thread(target=hang)
    thread.start()
    while session.worker is None:
        time.sleep(0.001)
    session.close()
    thread.join(5)
    assert caught == ["the session is closed"]
    with pytest.raises(SandboxError, match="the session is closed"):
        session.call("echo", {"value": 1})


def test_the_first_process_is_replaced_once():
    """When something kills the zygote, it is started again; a second time within a minute is an error that says so."""
    with Sandbox() as box, box.session(SHOP, state={"a": 1}) as session:
        session.call("put", {"item": "b", "n": 2})
        box._zygote.process.kill()
        time.sleep(0.05)
        session.drop()
        assert session.call("put", {"item": "c", "n": 3}).content == '["a", "b", "c"]'
        box._zygote.process.kill()
        time.sleep(0.05)
        with pytest.raises(SandboxError, match="died twice within a minute"):
            box.call(ECHO, "echo", {"value": 1})


def test_a_killed_worker_is_replaced(box):
    """A worker or template killed from outside is replaced without an error for the caller."""
    with box.session(SHOP, state={"a": 1}) as session:
        session.call("put", {"item": "b", "n": 2})
        os.kill(session.worker.pid, signal.SIGKILL)
        assert session.call("put", {"item": "c", "n": 3}).content == '["a", "b", "c"]'


def _use_in_fork(box, queue):
    try:
        queue.put(box.call(ECHO, "echo", {"value": 1}).content)
    except SandboxError as error:
        queue.put(str(error))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_does_not_share_the_sockets(box):
    """A forked process gets a clear error instead of the parent's results."""
    box.call(ECHO, "echo", {"value": 1})
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_use_in_fork, args=(box, queue))
    child.start()
    assert "create a new Sandbox here" in queue.get()
    child.join()
    assert box.call(ECHO, "echo", {"value": 2}).content == "2"


def test_interrupting_the_host_ends_everything():
    """Ctrl-C, and even SIGKILL of the host, leave no process of the sandbox."""
    program = (
        "import sys\nfrom toolfoundry.sandbox import *\nwith Sandbox(SandboxLimits(call_s=60)) as box:\n"
        "    print(box._zygote.process.pid, flush=True)\n"
        "    box.call('def f():\\n    while True: pass', 'f', {})\n"
    )
    for sent in (signal.SIGINT, signal.SIGKILL):
        host = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        with host:
            group = int(host.stdout.readline())
            time.sleep(0.1)
            host.send_signal(sent)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                break
            time.sleep(0.01)
        else:
            pytest.fail(f"processes are left after {sent!r}")


def test_self_test_reports():
    """`self_test` says what holds on this machine, in a record."""
    report = self_test()
    assert report.walls["seccomp"] == 1
    assert "done" not in report.trials.values()
    assert report.trials["compute_forever_in_c"] == "timeout"
    assert report.trials["take_all_memory"] == "memory"


def test_importing_the_package_starts_nothing():
    """Importing is light, and safe anywhere: no process, no heavy module."""
    program = "import sys, toolfoundry.sandbox; print({'torch', 'numpy', 'openai', 'httpx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
