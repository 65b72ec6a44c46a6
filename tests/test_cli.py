"""The command line as a user meets it: results, artifacts, one-line errors, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import typer.main
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_openai_server import call as tool
from fake_openai_server import reply, serve
from fakes import capital_spec
from published_rows import ftrl_row
from toolfoundry.cli import main as cli
from toolfoundry.errors import RecordError
from toolfoundry.store import RecordWriter, read
from toolfoundry.types import EnvSpec, Trajectory

SOURCES = {
    "author_of": "def author_of(x):\n    return {'Tides': 'Mira Olsen', 'Dunes': 'Jon Bek'}.get(x, 'unknown book')\n",
    "town_of": "def town_of(x):\n    return {'Mira Olsen': 'Velden', 'Jon Bek': 'Arle'}.get(x, 'unknown person')\n",
    "distractor": "def distractor(x):\n    return len(x)\n",
}


@pytest.fixture
def envs(tmp_path):
    """Three runnable environments with gold calls."""
    path = tmp_path / "envs.jsonl"
    with RecordWriter(path, EnvSpec) as writer:
        for number in range(3):
            spec = capital_spec(number)
            tools = tuple(tool.model_copy(update={"source": SOURCES[tool.name]}) for tool in spec.tools)
            writer.write(spec.replace(tools=tools))
    return path


def test_import_and_export_are_inverse(run, tmp_path):
    """The bytes that came in go out."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text(ftrl_row() + "\n" + ftrl_row(answer="ü 5") + "\n")
    code, out, err = run("import", "ftrl", rows, "-o", tmp_path / "envs.jsonl.zst", "--json")
    assert (code, json.loads(out)["environments"]) == (0, 2)
    assert "2 environments (2 tools, 2 goals) written" in err
    assert run("export", "ftrl", tmp_path / "envs.jsonl.zst", "-o", tmp_path / "back.jsonl")[0] == 0
    assert (tmp_path / "back.jsonl").read_bytes() == rows.read_bytes()


def test_a_bad_row_costs_itself_only(run, tmp_path):
    """One line with file, line, field, found, expected; what was read before is written; --skip-bad goes on."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text(ftrl_row() + "\n" + ftrl_row(codes="{}") + "\n" + ftrl_row(answer="6") + "\n")
    code, _, err = run("import", "ftrl", rows, "-o", tmp_path / "envs.jsonl")
    assert code == 3
    assert err.strip() == f"error: {rows}:2: field 'codes.f': found nothing, expected Python source"
    assert len(list(read(tmp_path / "envs.jsonl", EnvSpec))) == 1
    code, _, err = run("import", "ftrl", rows, "-o", tmp_path / "envs.jsonl", "--skip-bad", "--force")
    assert code == 0
    assert "skipped: " in err
    assert "bad records skipped: 1" in err
    assert len(list(read(tmp_path / "envs.jsonl", EnvSpec))) == 2


def test_no_escape_reaches_the_terminal(run, tmp_path):
    """Names in bad input may hold terminal escapes and markup; they are shown as text."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text(ftrl_row(unsolved_set=json.dumps({"\x1b[2J[bold]x[/bold]": ["5"]})) + "\n")
    code, _, err = run("import", "ftrl", rows, "-o", tmp_path / "envs.jsonl")
    assert code == 3
    assert "\x1b" not in err
    assert "\\x1b[2J[bold]x[/bold]" in err


def test_rollout_and_score(run, envs, tmp_path):
    """The gold policy scores 1 in both conventions, the run is described beside its records."""
    played = tmp_path / "gold.jsonl"
    code, out, err = run("rollout", envs, "--policy", "gold", "-o", played, "--samples", 2, "--json")
    assert code == 0
    assert "6 trajectories written" in err
    overall = json.loads(out)[0]["groups"][0]
    assert (overall["n"], overall["unscored"]) == (6, 0)
    assert {
        name: overall["metrics"][name]["mean"] for name in ("score", "solve_f1", "paper_solve_f1", "answer")
    } == dict.fromkeys(("score", "solve_f1", "paper_solve_f1", "answer"), 1.0)
    run_file = json.loads((tmp_path / "gold.run.json").read_text())
    assert run_file["config"]["policy"] == "gold"
    assert run_file["counts"]["trajectories"] == 6
    code, out, _ = run("score", played, "--reward", "ftrl", "--json")
    assert json.loads(out)["turn_rewards"]["policies"]["gold"]["mean"] == 1.0
    code, out, _ = run("score", played)
    assert "Solve-F1" in out


def test_resume_plays_only_what_is_missing(run, envs, tmp_path):
    """Nothing lost, nothing twice; a finished file stays as it is."""
    played = tmp_path / "spam.jsonl"
    assert run("rollout", envs, "--policy", "spam", "-o", played)[0] == 0
    whole = played.read_bytes()
    played.write_bytes(whole[: len(whole) * 2 // 3])
    assert run("rollout", envs, "--policy", "spam", "-o", played, "--resume")[0] == 0
    keys = [trajectory.key for trajectory in read(played, Trajectory)]
    assert len(keys) == len(set(keys)) == 3
    before = played.read_bytes()
    assert run("rollout", envs, "--policy", "spam", "-o", played, "--resume")[0] == 0
    assert played.read_bytes() == before


def test_resume_goes_on_with_the_same_run_only(run, envs, tmp_path):
    """Another seed, another reward, other environments: refused, and nothing is changed."""
    played, proved = tmp_path / "spam.jsonl", tmp_path / "proved.jsonl"
    assert run("rollout", envs, "--policy", "spam", "-o", played, "--limit", 2)[0] == 0
    before = played.read_bytes()
    for option in (["--seed", 7], ["--reward", "ftrl"], ["--max-turns", 3]):
        code, _, err = run("rollout", envs, "--policy", "spam", "-o", played, "--resume", *option)
        assert (code, "--resume goes on with the same run only" in err) == (3, True)
    code, _, err = run("prove", envs, "-o", proved)
    assert code == 0, err
    other = tmp_path / "other.jsonl"
    with RecordWriter(other, EnvSpec) as writer:
        writer.write(capital_spec(99))
    code, _, err = run("prove", other, "-o", proved, "--resume")
    assert (code, "does not begin with the environments of" in err) == (3, True)
    assert played.read_bytes() == before


def test_an_environment_given_twice_is_played_once(run, envs, tmp_path):
    """And said."""
    lines = envs.read_bytes().splitlines(keepends=True)
    envs.write_bytes(b"".join([*lines, *lines[1:]]))
    code, _, err = run("rollout", envs, "--policy", "spam", "-o", tmp_path / "spam.jsonl")
    assert (code, "left out: 3" in err) == (0, True)
    assert len(list(read(tmp_path / "spam.jsonl", Trajectory))) == 3


def test_an_interrupt_is_said(envs, tmp_path):
    """Exit code 130, one line, and the file is whole."""
    with serve(lambda request: replace(model(request), delay_s=0.2)) as base_url:
        command = [sys.executable, "-m", "toolfoundry.cli", "rollout", envs, *OPENAI, base_url, "--samples", "50"]
        command += ["-o", tmp_path / "m.jsonl", "--concurrency", "2"]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not (tmp_path / "m.jsonl").exists() or (tmp_path / "m.jsonl").read_bytes().count(b"\n") < 3:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert list(read(tmp_path / "m.jsonl", Trajectory))


def test_gold_needs_gold_calls(run, tmp_path):
    """Said at once, before anything is written."""
    path = tmp_path / "envs.jsonl"
    with RecordWriter(path, EnvSpec) as writer:
        writer.write(capital_spec(gold_calls=None))
    code, _, err = run("rollout", path, "--policy", "gold", "-o", tmp_path / "gold.jsonl")
    assert code == 3
    assert "has no gold calls to play; `toolfoundry prove` finds them" in err
    assert not (tmp_path / "gold.jsonl").exists()


WRONG = [
    (["rollout", "{missing}", "-o", "{new}"], 3, "cannot be opened: No such file or directory"),
    (
        ["rollout", "{envs}", "--policy", "nobody", "-o", "{new}"],
        3,
        "option --policy: found 'nobody', expected openai or one of gold",
    ),
    (["rollout", "{envs}", "--policy", "openai", "-o", "{new}"], 3, "option --model: found nothing"),
    (["rollout", "{envs}", "-o", "{old}"], 6, "exists; --force replaces it"),
    (["rollout", "{envs}", "-o", "{envs}", "--force"], 6, "is also the input"),
    (["repair", "{envs}", "-o", "{envs}", "--force"], 6, "is also the input"),
    (["export", "ftrl", "{envs}", "-o", "{envs}", "--force"], 6, "is also the input"),
    (["import", "ftrl", "{old}", "-o", "{old}", "--force"], 6, "is also the input"),
    (["import", "toml", "{folder}", "-o", "{new}"], 3, "no environment in the input"),
    (["rollout", "{envs}", "-o", "{envs}/x.jsonl"], 6, "cannot be written"),
    (["score", "{envs}"], 3, "an artifact of 'environments'"),
    (["export", "ftrl", "{envs}", "-o", "{folder}/nowhere/x"], 6, "No such file or directory"),
    (["rollout", "{envs}", "-o", "{new}", "--force", "--resume"], 2, "give one of them"),
    (["rollout", "{envs}"], 2, "Missing option"),
    (["check", "{envs}", "--html", "{folder}/nowhere/x.html"], 6, "there is no folder"),
    (["nonsense"], 2, "No such command"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG)
def test_errors_are_one_line_with_an_exit_code(run, envs, tmp_path, arguments, code, message):
    """No traceback; the message says what is wrong and what to do."""
    (tmp_path / "old.jsonl").write_text("kept")
    places = {
        "envs": envs,
        "old": tmp_path / "old.jsonl",
        "missing": tmp_path / "no.jsonl",
        "new": tmp_path / "new.jsonl",
        "folder": tmp_path,
    }
    got, _, err = run(*(argument.format(**places) for argument in arguments))
    assert got == code
    assert message in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err
    assert (tmp_path / "old.jsonl").read_text() == "kept"
    assert len(list(read(envs, EnvSpec))) == 3


def test_debug_shows_the_traceback(envs, tmp_path):
    """On demand only."""
    command = [sys.executable, "-m", "toolfoundry.cli", "--debug", "score", str(envs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_every_command_has_help_with_an_example(run):
    """`--help` names an example to copy."""
    group = typer.main.get_command(cli.app)
    leaves = [(name,) for name, command in group.commands.items() if not hasattr(command, "commands")]
    leaves += [
        (name, inner)
        for name, command in group.commands.items()
        if hasattr(command, "commands")
        for inner in command.commands
    ]
    assert len(leaves) >= 10
    for path in leaves:
        code, out, _ = run(*path, "--help")
        assert code == 0
        assert "Example" in out, path


def test_check_repair_and_prove(run, envs, tmp_path):
    """Report as table, JSON and page; repaired and proved sets are artifacts; --strict fails on a defect."""
    code, out, _ = run("check", envs, "--html", tmp_path / "report.html", "--json")
    assert code == 0
    report = json.loads(out)
    assert report["environments"] == 3
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    defects = sum(gate["hits"] for gate in report["gates"] if gate["gate"]["severity"] == "defect")
    assert run("check", envs, "--strict", "--no-panel")[0] == (1 if defects else 0)
    code, out, _ = run("repair", envs, "-o", tmp_path / "repaired.jsonl", "--json")
    assert (code, json.loads(out)["environments"]) == (0, 3)
    code, out, _ = run("prove", tmp_path / "repaired.jsonl", "-o", tmp_path / "proved.jsonl", "--json")
    assert (code, json.loads(out)["proved"], json.loads(out)["sequences"]) == (0, 6, 3)
    before = (tmp_path / "proved.jsonl").read_bytes()
    assert run("prove", tmp_path / "repaired.jsonl", "-o", tmp_path / "proved.jsonl", "--resume")[0] == 0
    assert (tmp_path / "proved.jsonl").read_bytes() == before


def test_version(run):
    """Without a command."""
    assert run("--version")[:2] == (0, f"toolfoundry {cli.__version__}\n")


def test_schema_is_json(run):
    """The published format."""
    assert json.loads(run("schema", "trajectories")[1])["title"].startswith("ToolFoundry trajectories")
    assert json.loads(run("schema")[1])["properties"]["goals"]["type"] == "array"


def test_the_core_imports_nothing_heavy():
    """A fresh interpreter that imports the core has none of the extras' packages."""
    core = "cli rollout sandbox check prove repair chat compat.ftrl formats.ftrl formats.toml policies.openai".split()
    heavy = "torch transformers trl vllm ray datasets numpy openai httpx matplotlib jinja2 zstandard".split()
    imports = "; ".join(f"import toolfoundry.{name}" for name in core)
    code = f"{imports}; import sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert done.stdout.strip() == "[]"


@given(st.binary(max_size=300))
@settings(max_examples=40, deadline=None)
def test_no_file_makes_the_reader_crash(tmp_path_factory, data):
    """Any bytes after a good header: RecordError or records, nothing else."""
    path = tmp_path_factory.mktemp("fuzz") / "envs.jsonl"
    path.write_bytes(b'{"toolfoundry": "environments", "schema_version": 1}\n' + data)
    problems = []
    assert list(read(path, EnvSpec, skip_bad=True, on_bad=problems.append)) == []
    assert all(isinstance(problem, RecordError) for problem in problems)


# --- a model over HTTP ---------------------------------------------------------------------------------------------


def model(request):
    """Plays the two hops, by what the conversation has come to."""
    results = [message["content"] for message in request.body["messages"] if message["role"] == "tool"]
    if not results:
        return reply(None, tool("author_of", '{"x": "Tides"}'))
    if len(results) == 1:
        return reply(None, tool("town_of", json.dumps({"x": results[0]})))
    return reply(f"<answer>{results[1]}</answer>")


OPENAI = ["--policy", "openai", "--model", "tiny", "--base-url"]


def test_a_model_behind_an_endpoint(run, envs, tmp_path):
    """The whole path over a real HTTP server: calls, results, answer, score, usage."""
    with serve(model) as base_url:
        code, out, err = run(
            "rollout", envs, *OPENAI, base_url, "-o", tmp_path / "m.jsonl", "--json", "--temperature", 0.7
        )
    assert code == 0, err
    assert json.loads(out)[0]["groups"][0]["metrics"]["score"]["mean"] == 1.0
    run_file = json.loads((tmp_path / "m.run.json").read_text())
    assert run_file["counts"] | {"requests": 9, "trajectories": 3} == run_file["counts"]
    assert run_file["config"]["temperature"] == 0.7


def test_an_endpoint_that_is_not_there(run, envs, tmp_path, monkeypatch):
    """One line, its own exit code; the failed rollouts are on record, unscored, and done again on --resume."""
    played = tmp_path / "m.jsonl"
    code, _, err = run("rollout", envs, *OPENAI, "http://127.0.0.1:9/v1", "-o", played, "--retries", 0)
    assert code == 5
    assert (
        "error: every rollout failed: EndpointError: model 'tiny' at http://127.0.0.1:9/v1: the connection broke" in err
    )
    assert [trajectory.stop for trajectory in read(played, Trajectory)] == ["error"] * 3
    with serve(model) as base_url:
        assert run("rollout", envs, *OPENAI, base_url, "-o", played, "--resume")[0] == 0
    assert [trajectory.stop for trajectory in read(played, Trajectory)] == ["answered"] * 3


def test_kill_nine_and_resume(envs, tmp_path):
    """Killed at any moment and started again: every rollout is there once, and those on disk are not paid for twice."""
    played = tmp_path / "m.jsonl"
    asked = []

    def slow(request):
        asked.append(request)
        answer = model(request)
        return replace(answer, delay_s=0.02)

    with serve(slow) as base_url:
        command = [sys.executable, "-m", "toolfoundry.cli", "rollout", envs, *OPENAI, base_url, "-o", played]
        command += ["--samples", "40", "--concurrency", "4", "--resume"]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while running.poll() is None and (not played.exists() or played.read_bytes().count(b"\n") < 20):
            time.sleep(0.01)
        running.kill()
        running.wait()
        written = max(0, played.read_bytes().count(b"\n") - 1)
        assert 0 < written < 120
        before = len(asked)
        subprocess.run(command, check=True, capture_output=True)
    keys = [trajectory.key for trajectory in read(played, Trajectory)]
    assert len(keys) == len(set(keys)) == 120
    assert len(asked) - before <= 3 * (120 - written)
