"""`toolfoundry build --tools FILE` with functions, as a user meets it: files, proof, resuming, bad input."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolfoundry.build.draft import Reject
from toolfoundry.store import read
from toolfoundry.types import EnvSpec

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "tools" / "shop.py"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Twenty-four environments over the example, built by the command as a process of its own."""
    path = tmp_path_factory.mktemp("shop") / "e.jsonl"
    command = [sys.executable, "-m", "toolfoundry.cli", "build", "--tools", str(EXAMPLE), "-n", "24", "--measure", "0"]
    done = subprocess.run([*command, "--json", "-o", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "10 of 10 tools of" in done.stderr
    return path, json.loads(done.stdout)


def test_every_environment_is_proved(built):
    """All scenarios; gold is at 1 and above every cheat; distractors too are tools of the file."""
    path, _ = built
    specs = list(read(path, EnvSpec))
    assert len(specs) == 24
    assert {spec.scenario.kind for spec in specs} == {
        "single_hop",
        "parallel_single_hop",
        "multi_hop",
        "parallel_multi_hop",
    }
    for spec in specs:
        assert spec.proof is not None
        assert spec.proof.panel["gold"] == 1
        assert max(score for name, score in spec.proof.panel.items() if name != "gold") < 1
        assert spec.provenance.source == "build/own-tools"
    tools = {tool.name for spec in specs for tool in spec.tools}
    assert len(tools) == 10
    assert any(len(spec.tools) > len({goal.tool for goal in spec.goals}) for spec in specs)


def test_the_same_tool_asked_twice_is_one_tool(built):
    """Two steps of one tool: stage 3 has merged their documents, and says so."""
    specs = [spec for spec in read(built[0], EnvSpec) if len({goal.tool for goal in spec.goals}) < len(spec.goals)]
    assert specs
    for spec in specs:
        assert any(change.startswith("merge: ") for change in spec.provenance.changes)


def test_the_run_file_says_what_was_used(built):
    """File, content, usable tools, reasons; the report says it in a sentence."""
    path, report = built
    run = json.loads(path.with_name("e.run.json").read_text())
    tools = run["config"]["tools"]
    assert (tools["file"], tools["kind"], len(tools["usable"]), tools["unusable"]) == ("shop.py", "functions", 10, [])
    assert len(tools["sha256"]) == 64
    assert run["config"]["scaling"]["expand"] == 0
    assert report["notes"] == ["Tools: 10 of shop.py; 0 of it cannot be used."]


def test_the_audit_agrees(built, run):
    """What was built passes the audit of other people's sets."""
    code, out, _ = run("check", built[0], "--json")
    assert code == 0
    hits = {gate["gate"]["name"]: gate["hits"] for gate in json.loads(out)["gates"]}
    defects = [gate["gate"]["name"] for gate in json.loads(out)["gates"] if gate["gate"]["severity"] == "defect"]
    assert sum(hits[name] for name in defects) == 0


def test_killed_and_resumed_it_is_the_same_file(built, tmp_path):
    """Kill -9 in the middle, the same command with --resume, other --jobs: every byte is as without the kill."""
    path = tmp_path / "e.jsonl"
    command = [sys.executable, "-m", "toolfoundry.cli", "build", "--tools", str(EXAMPLE), "-n", "24", "--measure", "0"]
    command += ["-o", str(path), "--jobs", "3"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < 6):
        time.sleep(0.02)
    os.killpg(process.pid, 9)
    process.wait()
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == built[0].read_bytes()
    rejects = path.with_name("e.rejects.jsonl").read_bytes()
    assert rejects == built[0].with_name("e.rejects.jsonl").read_bytes()


def test_another_file_cannot_go_on_with_it(built, run, tmp_path):
    """The content of the file of tools is part of what a build is."""
    path = tmp_path / "e.jsonl"
    for name in ("e.jsonl", "e.rejects.jsonl", "e.run.json"):
        (tmp_path / name).write_bytes(built[0].with_name(name).read_bytes())
    other = tmp_path / "shop.py"
    other.write_text(EXAMPLE.read_text().replace("1450", "1455"))
    code, _, errors = run("build", "--tools", other, "-n", 24, "--resume", "-o", path)
    assert code == 3
    assert "was begun with another tools.sha256" in errors


SMALL = '''
def weigh(name: str) -> int:
    """Weigh a stone."""
    stones = {"basalt": 4127, "gneiss": 5338, "marble": 6219, "slate": 7443}
    if name not in stones:
        raise ValueError("there is no stone of that name")
    return stones[name]


def fetch(url: str) -> str:
    """Fetch a page."""
    import requests
    return requests.get(url).text
'''


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(SMALL)
    return path


def test_a_dry_run_shows_the_tools(run, small, tmp_path):
    """Tools with a call that works, reasons of those that cannot be used, what can be asked; nothing is written."""
    output = tmp_path / "e.jsonl"
    code, out, errors = run("build", "--tools", small, "--dry-run", "-o", output)
    assert code == 0
    assert "weigh" in out
    assert "questions can be put together" in out
    assert "not usable: fetch: Imports a module that tools cannot have: found requests" in errors
    assert "1 of 2 tools of" in errors
    code, out, _ = run("build", "--tools", small, "--dry-run", "--json", "-o", output)
    found = json.loads(out)
    assert found["tools"]["usable"] == ["weigh"]
    assert found["found"]["weigh"] == {"results": 4, "example": {"name": "basalt"}}
    assert found["questions"]["single_hop"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["small.py"]


def test_the_page_shows_what_comes_out(run, tmp_path):
    """The table of docs/own-tools.md is that of a dry run over the example; the page's Python example is whole."""
    page = (ROOT / "docs" / "own-tools.md").read_text()
    code, out, errors = run("build", "--tools", EXAMPLE, "--dry-run", "--json", "-o", tmp_path / "e.jsonl")
    assert code == 0
    for name, tool in json.loads(out)["found"].items():
        [row] = [line for line in page.splitlines() if line.startswith(f"│ {name} ")]
        assert row.split("│")[3].strip() == str(tool["results"]), name
    assert errors.strip().rpartition("can be used; ")[2] in page
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4


def test_few_tools_give_few_questions(run, small, tmp_path):
    """A build ends where nothing more can be asked; near-duplicates are told, since one tool has few patterns."""
    output = tmp_path / "e.jsonl"
    code, _, errors = run("build", "--tools", small, "-n", 50, "--measure", 0, "-o", output)
    assert code == 0
    accepted, rejects = list(read(output, EnvSpec)), list(read(output.with_name("e.rejects.jsonl"), Reject))
    assert 0 < len(accepted) < 50
    assert f"{len(accepted)} environments written" in errors
    assert {reject.stage for reject in rejects} <= {"set", "gate"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "found none, expected at least one tool"),
        ("x = 1\n", "found none, expected at least one tool"),
        ("def f(x):\n    return x\n", "found 1 that cannot be used, expected at least one tool"),
    ],
)
def test_nothing_that_can_be_used(run, tmp_path, text, expected):
    """Exit code 3, and no output."""
    path = tmp_path / "bad.py"
    path.write_text(text)
    code, _, errors = run("build", "--tools", path, "-o", tmp_path / "e.jsonl")
    assert code == 3
    assert expected in errors
    assert not (tmp_path / "e.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--split", "test"), "--tools has no use for --split"),
        (("--split", "dev", "--stop-after", "scale"), "--tools has no use for --split, --stop-after"),
        (("--questions", "q.txt"), "has no use for --questions"),
        (("--set", "scaling.expand=2"), "the tools of --tools stay as they are"),
        (("--author", "llm"), "--author llm needs --model"),
    ],
)
def test_options_that_do_not_fit(run, small, tmp_path, options, expected):
    """Each is named, before anything runs."""
    code, _, errors = run("build", "--tools", small, *options, "-o", tmp_path / "e.jsonl")
    assert code == 3
    assert expected in errors


def test_a_file_that_is_hostile(run, tmp_path):
    """Texts of a file are shown as they are, not as markup or escapes, and nothing of it runs in this process."""
    path = tmp_path / "bad.py"
    marker = tmp_path / "ran"
    path.write_text(
        f'open({str(marker)!r}, "w").write("x")\n'
        'class Evil: pass\n'
        'def f(x: int = "[bold]\\x1b[31m") -> int:\n    "[red]Doc\\u202e."\n    return x\n'
    )  # fmt: skip
    code, _, errors = run("build", "--tools", path, "--dry-run", "-o", tmp_path / "e.jsonl")
    assert code == 3
    assert "\x1b[31m" not in errors
    assert not marker.exists()


def test_the_output_is_not_the_file(run, small):
    """The file of tools cannot be overwritten by its own environments."""
    code, _, errors = run("build", "--tools", small, "--force", "-o", small)
    assert code == 6
    assert "is also the input" in errors
    assert small.read_text() == SMALL
