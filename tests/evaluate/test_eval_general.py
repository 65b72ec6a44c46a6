"""General ability: figures out of the harness's samples, and a model's code that runs in the sandbox only.

The tests that start the harness run where lm_eval is installed.
"""

import asyncio
import importlib.util
import json
from pathlib import Path

import pytest

from toolfoundry.errors import EndpointError, InputError, MissingExtra
from toolfoundry.evaluate import general
from toolfoundry.evaluate.general import Model, Program, extract_code, run_programs

with_harness = pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="needs lm_eval (extra general)")


# --- code ----------------------------------------------------------------------------------------------------------

TESTS = "assert add(2, 3) == 5\nassert add(-1, 1) == 0"
PROGRAMS = {
    "def add(a, b):\n    return a + b": (True, None),
    "import math\ndef add(a, b):\n    return math.fsum([a, b])": (True, None),
    "def check():\n    return 'passed'\ndef add(a, b):\n    return 0": (False, "raised: AssertionError"),
    "def add(a, b)\n    return a + b": (False, "raised: SyntaxError"),
    "def plus(a, b):\n    return a + b": (False, "raised: NameError"),
    "import os\nos._exit(0)": (False, "killed"),
    "raise SystemExit(0)": (False, "raised: SystemExit"),
    "open('/tmp/toolfoundry-was-here', 'w')": (False, "raised:"),
    "import socket\nsocket.create_connection(('127.0.0.1', 9))": (False, "raised:"),
    "def add(a, b):\n    return [0] * 10**10": (False, "memory"),
}


def test_programs_are_judged_in_the_sandbox(sandbox):
    """Right ones pass; wrong, broken, hostile and greedy ones fail with their cause, and none takes others along."""
    verdicts = asyncio.run(run_programs([Program(code, TESTS) for code in PROGRAMS], sandbox))
    for (code, (passed, error)), verdict in zip(PROGRAMS.items(), verdicts, strict=True):
        assert verdict.passed is passed, (code, verdict)
        assert (verdict.error or "").startswith(error or ""), (code, verdict)
    assert not Path("/tmp/toolfoundry-was-here").exists()


def test_a_program_that_never_ends_is_stopped(sandbox, monkeypatch):
    """Its time is limited."""
    monkeypatch.setattr(general, "_CALL_S", 0.2)
    [verdict] = asyncio.run(run_programs([Program("while True: pass", TESTS)], sandbox))
    assert verdict.passed is False
    assert verdict.error.startswith("timeout")


def test_a_failing_sandbox_leaves_a_program_unscored(sandbox):
    """That is not the model's fault."""
    from toolfoundry.errors import SandboxError

    class Broken:
        limits = sandbox.limits

        def session(self, sources, **options):
            return self

        async def acall(self, name, arguments):
            raise SandboxError("gone")

        def close(self):
            pass

    [verdict] = asyncio.run(run_programs([Program("x = 1", "")], Broken()))
    assert (verdict.passed, verdict.error) == (None, "gone")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Sure:\n```python\nx = 1\n```\nor\n```\nx = 2\n```", "x = 1\n"),
        ("```py\nx = 1", "x = 1"),
        ("x = 1", "x = 1"),
        ("```\n```", ""),
    ],
)
def test_the_first_block_is_the_code(answer, code):
    """Closed or not; an answer without a block is code as a whole."""
    assert extract_code(answer) == code


HUMANEVAL = {
    "prompt": "from typing import List\n\ndef total(xs: List[int]) -> int:\n    '''The sum.'''\n",
    "entry_point": "total",
    "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n",
}
MBPP = {"text": "Double a number.", "test_list": ["assert double(2) == 4", "assert double(0) == 0"]}


def sample(doc, answer, place=0):
    return general._Sample("t", {"doc_id": place, "doc": doc, "resps": [[answer]], "filter": "none", "metrics": []})


def test_recorded_samples_of_code_tasks(sandbox):
    """HumanEval: whole functions and bodies, with the prompt's imports; MBPP: its list of tests."""
    answers = [
        (HUMANEVAL, "```python\ndef total(xs: List[int]) -> int:\n    return sum(xs)\n```", 1.0),
        (HUMANEVAL, "    return sum(xs)\n", 1.0),
        (HUMANEVAL, "```python\ndef total(xs):\n    return 3\n```", 0.0),
        (MBPP, "```python\ndef double(x):\n    return 2 * x\n```", 1.0),
        (MBPP, "I cannot.", 0.0),
    ]
    found = general._code_outcomes([sample(doc, text, i) for i, (doc, text, _) in enumerate(answers)], sandbox)
    assert [one.x for one in found] == [x for *_, x in answers]
    result = general._result("humaneval", general.SUITE["humaneval"], found)
    assert (result.overall.metrics["accuracy"].mean, result.overall.n, result.overall.unscored) == (0.6, 5, 0)
    with pytest.raises(InputError, match="expected HumanEval's or MBPP's"):
        general._code_outcomes([sample({"question": "?"}, "x")], sandbox)


# --- the harness's samples -------------------------------------------------------------------------------------------


def test_each_item_counts_once_by_the_chosen_filter():
    """A task with two filters gives two records an item; one of them is the score."""
    records = [
        general._Sample("t", {"doc_id": i, "filter": name, "exact_match": x, "metrics": ["exact_match"]})
        for i in range(4)
        for name, x in (("strict", 0.0), ("flexible", float(i > 0)))
    ]
    ability = general.Ability("T", "t", "exact_match", "flexible")
    found = [general._outcome(one, ability) for one in general._chosen(records, ability)]
    cell = general._result("t", ability, found).overall.metrics["accuracy"]
    assert (cell.mean, cell.n) == (0.75, 4)
    assert cell.stderr == pytest.approx((0.75 * 0.25 / 3) ** 0.5)
    first = general.Ability("T", "t")
    assert [general._outcome(one, first).x for one in general._chosen(records, first)] == [0.0] * 4
    with pytest.raises(InputError, match="found no number 'acc'"):
        general._outcome(records[0], general.Ability("T", "t", "acc"))


def test_groups_of_groups_are_their_tasks():
    """MMLU is a group of groups."""
    members = {"mmlu": ["stem", "other"], "stem": ["algebra", "physics"], "other": ["law"]}
    assert general._leaves("mmlu", members) == ["algebra", "physics", "law"]
    assert general._leaves("gsm8k", members) == ["gsm8k"]


def test_without_the_harness_it_says_what_to_install(monkeypatch):
    """One line with the extra's name."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"toolfoundry\[general\]"):
        general.run(Model("m", "hf", {}), ["gsm8k"])


# --- with the harness ------------------------------------------------------------------------------------------------

SUMS = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_text: "{{{{q}}}}"
doc_to_target: "{{{{a}}}}"
generation_kwargs:
  until: ["\\n"]
  max_gen_toks: 4
metric_list:
  - metric: exact_match
"""


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """Two tasks of six sums, and a group of both."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = tmp_path / "tasks"
    folder.mkdir()
    data = folder / "sums.jsonl"
    data.write_text("".join(json.dumps({"q": f"What is {i} + {i}?", "a": str(2 * i)}) + "\n" for i in range(6)))
    for name in ("sums_one", "sums_two"):
        (folder / f"{name}.yaml").write_text(SUMS.format(name=name, data=data))
    (folder / "sums.yaml").write_text("group: sums\ntask:\n  - sums_one\n  - sums_two\n")
    return folder


@with_harness
@pytest.mark.filterwarnings("ignore")
def test_an_endpoint_is_asked_through_the_harness(tasks, monkeypatch):
    """A model that is right about small numbers: 3 of 6, by part and in all, over real requests."""
    pytest.importorskip("aiohttp", reason="the harness's client needs it")
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            number = int(body["messages"][-1]["content"].split()[2])
            answer = str(2 * number) if number < 3 else "no idea"
            reply = {"choices": [{"index": 0, "message": {"role": "assistant", "content": answer}}]}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(reply).encode())

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        model = general.endpoint("m", f"http://127.0.0.1:{server.server_port}/v1", concurrency=1)
        result = general.run(model, ["sums"], include=tasks)["sums"]
    finally:
        server.shutdown()
        server.server_close()
    assert [(row.group, row.n, row.metrics["accuracy"].mean) for row in result.rows] == [
        ("all", 12, 0.5),
        ("sums_one", 6, 0.5),
        ("sums_two", 6, 0.5),
    ]
    impatient = model._replace(arguments={**model.arguments, "max_retries": 1})
    with pytest.raises(EndpointError):
        general.run(impatient, ["sums_one"], include=tasks, limit=1)  # nobody listens any more


@with_harness
@pytest.mark.filterwarnings("ignore")
def test_the_command_evaluates_a_checkpoint(tasks, tmp_path, run):
    """The tiny policy, which knows nothing of sums: 0 of 4, in the shape of the other tables. Unknown tasks: exit 3."""
    pytest.importorskip("torch", reason="needs the extra train").set_num_threads(1)
    folder = tmp_path / "run"
    options = ["--include", tasks, "--plain", "--device", "cpu", "--batch", 2]
    code, _, err = run("general", "tiny", "-o", folder, "--tasks", "sums", "--limit", 2, *options)
    assert code == 0, err
    document = json.loads((folder / "results.json").read_text())
    result = document["benchmarks"]["sums"]["fixed"]
    assert result["rows"][0]["metrics"]["accuracy"] == {"mean": 0, "stderr": 0, "n": 4, "items": 4, "clusters": 4}
    assert document["settings"]["harness"]["lm_eval"]["version"]
    assert "sums" in (folder / "results.md").read_text()
    assert run("general", "tiny", "-o", folder, "--tasks", "sums", *options)[0] == 6
    code, _, err = run("general", "tiny", "-o", tmp_path / "other", "--tasks", "no_such_task", *options)
    assert code == 3
    assert "no_such_task" in err
