"""`toolfoundry evaluate` as a user meets it: tables, endpoints that fail, interrupted runs, wrong files."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

import tau_library as library
from fake_openai_server import call as tool
from fake_openai_server import reply, serve, status
from fakes import capital_spec
from published_rows import ftrl_row
from toolfoundry.errors import InputError
from toolfoundry.evaluate.attempts import About, Attempt
from toolfoundry.evaluate.results import summarise_attempts
from toolfoundry.evaluate.suite import PAPER_COLUMNS, paper_row, source_of, suite
from toolfoundry.store import RecordWriter, read
from toolfoundry.types import EnvSpec, Scenario, Task, Trajectory

SOURCES = {
    "author_of": "def author_of(x):\n    return {'Tides': 'Mira Olsen', 'Dunes': 'Jon Bek'}.get(x, 'unknown book')\n",
    "town_of": "def town_of(x):\n    return {'Mira Olsen': 'Velden', 'Jon Bek': 'Arle'}.get(x, 'unknown person')\n",
    "distractor": "def distractor(x):\n    return len(x)\n",
}


def environments(path, count):
    """Runnable ones with gold calls, by turns of two kinds."""
    with RecordWriter(path, EnvSpec) as writer:
        for number in range(count):
            spec = capital_spec(number)
            tools = tuple(tool.model_copy(update={"source": SOURCES[tool.name]}) for tool in spec.tools)
            kind = ("multi_hop", "parallel_multi_hop")[number % 2]
            scenario = Scenario(question=spec.scenario.question, answer=spec.scenario.answer, kind=kind)
            writer.write(spec.replace(tools=tools, scenario=scenario))
    return path


@pytest.fixture
def envs(tmp_path):
    return environments(tmp_path / "envs.jsonl", 6)


def number_of(request):
    """Which environment a request is about."""
    return int(request.body["messages"][0]["content"].rpartition("(")[2].rstrip("?) "))


def model(request):
    """Gives up after the first hop where the number is even; plays both hops and answers where it is odd."""
    results = [message["content"] for message in request.body["messages"] if message["role"] == "tool"]
    if not results:
        return reply(None, tool("author_of", '{"x": "Tides"}'))
    if number_of(request) % 2 == 0:
        return reply("<answer>unknown</answer>")
    if len(results) == 1:
        return reply(None, tool("town_of", json.dumps({"x": results[0]})))
    return reply(f"<answer>{results[1]}</answer>")


def endpoint(base_url):
    return ["m", "--base-url", base_url, "--request-retries", "0", "--retries", "0"]


def table(folder, name="own", rule="fixed"):
    return json.loads((folder / "results.json").read_text())["benchmarks"][name][rule]


def means(row):
    return {name: cell["mean"] for name, cell in row["metrics"].items()}


# --- scores --------------------------------------------------------------------------------------------------------


def test_a_model_behind_an_endpoint_has_exactly_its_score(run, envs, tmp_path):
    """Three of six solved whole, three by half: P 1, R 3/4, F1 (2/3 + 1)/2 = 5/6, answers 1/2; by scenario too."""
    with serve(model) as base_url:
        code, out, err = run(
            "evaluate", *endpoint(base_url), "--benchmark", f"own={envs}", "-o", tmp_path / "r", "--json"
        )
    assert code == 0, err
    document = json.loads(out)
    assert document == json.loads((tmp_path / "r/results.json").read_text())
    assert document["model"] == "m"
    whole, multi, parallel = table(tmp_path / "r")["rows"]
    assert means(whole) == pytest.approx({"solve_p": 1.0, "solve_r": 0.75, "solve_f1": 5 / 6, "answer": 0.5})
    assert whole["metrics"]["answer"]["stderr"] == pytest.approx((0.5 * 0.5 / 5) ** 0.5)
    assert (whole["n"], whole["unscored"], multi["group"], parallel["group"]) == (
        6,
        0,
        "multi_hop",
        "parallel_multi_hop",
    )
    assert (means(multi)["answer"], means(parallel)["answer"]) == (0.0, 1.0)
    effort = table(tmp_path / "r")["effort"]
    assert (effort["turns"], effort["calls"]) == (3 * 2 + 3 * 3, 3 * 1 + 3 * 2)
    assert (effort["prompt_tokens"], effort["completion_tokens"], effort["cost"]) == (150, 75, None)
    paper = table(tmp_path / "r", rule="paper")
    assert means(paper["rows"][0]) == pytest.approx(
        {"solve_p": 1.0, "solve_r": 0.75, "solve_f1": 5 / 6, "answer": None}
    )
    config = json.loads((tmp_path / "r/evaluate.run.json").read_text())
    assert config["counts"]["requests"] == 15
    assert config["config"]["model"] | {"temperature": 0.0, "max_tokens": 8192} == config["config"]["model"]


def test_the_tables_say_what_they_are(run, envs, tmp_path):
    """On the terminal one rule, in Markdown both; n, errors, groups, cost."""
    with serve(model) as base_url:
        code, out, _ = run(
            *("evaluate", *endpoint(base_url), "--benchmark", f"own={envs}", "-o", tmp_path / "r"),
            *("--price-in", 2, "--price-out", 10, "--rule", "paper"),
        )
    assert code == 0
    assert "own test set, rule paper" in out
    assert "83.33±7.45" in out
    assert "cost 0.00105" in out
    page = (tmp_path / "r/results.md").read_text()
    assert "| all | 100.00±0.00 | 75.00±11.18 | 83.33±7.45 | 50.00±22.36 | 6 | 0 |" in page
    assert "own test set, rule paper" in page


def test_scripted_policies_play(run, envs, tmp_path):
    """By name; gold has 1 everywhere."""
    assert run("evaluate", "gold", "--benchmark", f"own={envs}", "-o", tmp_path / "gold")[0] == 0
    assert set(means(table(tmp_path / "gold")["rows"][0]).values()) == {1.0}
    assert run("evaluate", "--policy", "silent", "--benchmark", f"own={envs}", "-o", tmp_path / "silent")[0] == 0
    assert set(means(table(tmp_path / "silent")["rows"][0]).values()) == {0.0}


def test_several_samples_and_a_part(run, envs, tmp_path):
    """`--limit` takes the groups in turn; with samples there is pass^k, and sampling is warm."""
    with serve(model) as base_url:
        code, out, _ = run(
            *("evaluate", *endpoint(base_url), "--benchmark", f"own={envs}", "-o", tmp_path / "r"),
            *("--samples", 3, "--limit", 2),
        )
    assert code == 0
    result = table(tmp_path / "r")
    assert [(row["n"], row["items"]) for row in result["rows"]] == [(6, 2), (3, 1), (3, 1)]
    assert [cell["mean"] for cell in result["rows"][0]["passes"]["answer"]] == [0.5, 0.5, 0.5]
    assert "pass^3" in out
    config = json.loads((tmp_path / "r/evaluate.run.json").read_text())["config"]
    assert config["model"]["temperature"] == 1.0


def test_another_set_of_environments_under_its_own_name(run, envs, tmp_path):
    """Two own sets in one run, each with its file and table."""
    other = environments(tmp_path / "other.jsonl", 2)
    code, _, err = run(
        *("evaluate", "gold", "--benchmark", f"own={envs}", "--benchmark", f"own:mine={other}", "-o", tmp_path / "r")
    )
    assert code == 0, err
    assert [table(tmp_path / "r", name)["rows"][0]["n"] for name in ("own", "mine")] == [6, 2]
    assert {attempt.benchmark for attempt in read(tmp_path / "r/mine.jsonl", Attempt)} == {"mine"}


# --- failures ------------------------------------------------------------------------------------------------------


def test_an_endpoint_that_dies_half_way(run, tmp_path):
    """Exit code 5, what was done is kept; resumed, the table is that of a run without a break, byte for byte."""
    envs = environments(tmp_path / "envs.jsonl", 40)
    command = ["--benchmark", f"own={envs}", "--concurrency", 2]
    with serve(model) as base_url:
        assert run("evaluate", *endpoint(base_url), *command, "-o", tmp_path / "whole")[0] == 0
    asked = []

    def dying(request):
        asked.append(request)
        return model(request) if len(asked) <= 30 else status(503)

    with serve(dying) as base_url:
        code, _, err = run("evaluate", *endpoint(base_url), *command, "-o", tmp_path / "broken")
    assert code == 5
    assert re.search(r"1[01] attempts in a row failed \(EndpointError: model 'm'", err)  # two may end at the same time
    kept = [attempt for attempt in read(tmp_path / "broken/own.jsonl", Attempt) if attempt.scores]
    assert 10 <= len(kept) < 30
    assert not (tmp_path / "broken/results.json").exists()  # no table of a part that nobody chose
    again = []

    def healed(request):
        again.append(request)
        return model(request)

    with serve(healed) as base_url:
        code, _, err = run("evaluate", *endpoint(base_url), *command, "-o", tmp_path / "broken", "--resume")
    assert code == 0, err
    for name in ("results.json", "results.md"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    whole = {attempt.key: attempt for attempt in read(tmp_path / "whole/own.jsonl", Attempt)}
    resumed = {attempt.key: attempt for attempt in read(tmp_path / "broken/own.jsonl", Attempt)}
    assert resumed == whole
    assert all(resumed[attempt.key] == attempt for attempt in kept)
    assert len(again) == sum(len(whole[key].trajectory.turns) for key in whole.keys() - {a.key for a in kept})


def test_unscored_attempts_are_no_wrong_answers(run, envs, tmp_path):
    """Counted apart, with their cause; the table is written, the exit code says that it is not complete."""

    def flaky(request):
        return status(500) if number_of(request) == 1 else model(request)

    with serve(flaky) as base_url:
        code, out, err = run("evaluate", *endpoint(base_url), "--benchmark", f"own={envs}", "-o", tmp_path / "r")
    assert code == 5
    assert "1 of 6 attempts are unscored" in err
    row = table(tmp_path / "r")["rows"][0]
    assert (row["n"], row["unscored"], row["metrics"]["answer"]["n"]) == (6, 1, 5)
    assert row["metrics"]["answer"]["mean"] == pytest.approx(2 / 5)
    assert "16.7%" in out
    assert "unscored: EndpointError: model 'm'" in err
    [cause] = table(tmp_path / "r")["failures"]
    assert "500" in cause


def test_a_failure_that_passes_is_not_seen_in_the_scores(run, envs, tmp_path):
    """The attempt is made again; only the account says so."""
    failed = set()

    def stumbling(request):
        number = number_of(request)
        if number not in failed and len(request.body["messages"]) > 1:
            failed.add(number)
            return status(500)
        return model(request)

    with serve(stumbling) as base_url:
        code, _, err = run(
            *("evaluate", "m", "--base-url", base_url, "--request-retries", 0, "--retries", 1),
            *("--benchmark", f"own={envs}", "-o", tmp_path / "r"),
        )
    assert code == 0, err
    result = table(tmp_path / "r")
    assert (result["rows"][0]["unscored"], result["effort"]["again"]) == (0, 6)
    assert result["effort"]["prompt_tokens"] == 10 * (15 + 6)  # the first turn of each was paid for twice
    assert means(result["rows"][0])["answer"] == 0.5


def test_kill_nine_and_resume(tmp_path):
    """Killed and started again: each attempt is there once, and the table is that of a run without a break."""
    envs = environments(tmp_path / "envs.jsonl", 60)
    asked = []

    def slow(request):
        asked.append(request)
        return replace(model(request), delay_s=0.01)

    folder = tmp_path / "r"
    with serve(slow) as base_url:
        command = [sys.executable, "-m", "toolfoundry.cli", "evaluate", *endpoint(base_url)]
        command += ["--benchmark", f"own={envs}", "--concurrency", "4", "-o"]
        running = subprocess.Popen([*command, folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        played = folder / "own.jsonl"
        while running.poll() is None and (not played.exists() or played.read_bytes().count(b"\n") < 10):
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
        running.wait()
        written = played.read_bytes().count(b"\n") - 1
        assert 0 < written < 60
        with played.open("ab") as file:
            file.write(b'{"benchmark": "own", "gro')  # as if the kill had come in the middle of a write
        before = len(asked)
        subprocess.run([*command, folder, "--resume"], check=True, capture_output=True)
        assert len(asked) - before <= 3 * (60 - written)
        subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True)
    keys = [attempt.key for attempt in read(played, Attempt)]
    assert len(keys) == len(set(keys)) == 60
    assert (folder / "results.json").read_bytes() == (tmp_path / "whole/results.json").read_bytes()


# --- going on, scoring anew ----------------------------------------------------------------------------------------


def test_a_folder_with_a_run_is_not_touched(run, envs, tmp_path):
    """Without --resume or --force; --force replaces all of it."""
    other = environments(tmp_path / "other.jsonl", 1)
    assert run("evaluate", "gold", "--benchmark", f"own={envs}", "-o", tmp_path / "r")[0] == 0
    before = (tmp_path / "r/own.jsonl").read_bytes()
    code, _, err = run("evaluate", "spam", "--benchmark", f"own={envs}", "-o", tmp_path / "r")
    assert (code, "--resume goes on with it, --force replaces it" in err) == (6, True)
    assert (tmp_path / "r/own.jsonl").read_bytes() == before
    code, _, _ = run("evaluate", "spam", "--benchmark", f"own:mine={other}", "-o", tmp_path / "r", "--force")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == [
        "evaluate.run.json",
        "mine.jsonl",
        "results.json",
        "results.md",
    ]


def test_resume_goes_on_with_the_same_run_only(run, envs, tmp_path):
    """Another model, seed or file: refused, and nothing is changed; another benchmark and more samples may come."""
    folder = tmp_path / "r"
    assert run("evaluate", "spam", "--benchmark", f"own={envs}", "-o", folder, "--limit", 2)[0] == 0
    before = (folder / "own.jsonl").read_bytes()
    for options in (["gold"], ["spam", "--seed", 7]):
        code, _, err = run("evaluate", *options, "-o", folder, "--resume")
        assert (code, "--resume goes on with the same run only" in err) == (3, True)
    other = environments(tmp_path / "other.jsonl", 2)
    code, _, err = run("evaluate", "spam", "--benchmark", f"own={other}", "-o", folder, "--resume")
    assert (code, "was begun with sha256 of own" in err) == (3, True)
    assert (folder / "own.jsonl").read_bytes() == before
    assert (folder / "results.json").exists()
    code, _, err = run(
        *("evaluate", "spam", "--benchmark", f"own:mine={other}", "-o", folder, "--resume", "--samples", 2)
    )
    assert code == 0, err
    assert [table(folder, name)["rows"][0]["n"] for name in ("own", "mine")] == [12, 4]
    assert (folder / "own.jsonl").read_bytes().startswith(before)


def test_scoring_anew_needs_no_model(run, envs, tmp_path):
    """What is stored decides: scores that were tampered with come back, and so do the tables."""
    folder = tmp_path / "r"
    assert run("evaluate", "one-hop", "--benchmark", f"own={envs}", "-o", folder)[0] == 0
    results, played = (folder / "results.json").read_bytes(), folder / "own.jsonl"
    attempts = list(read(played, Attempt))
    with RecordWriter(played, Attempt, "overwrite") as writer:
        for index, attempt in enumerate(attempts):
            writer.write(attempt.model_copy(update={"scores": {}}) if index < 2 else attempt)
    other = environments(tmp_path / "other.jsonl", 2)
    code, _, err = run("evaluate", "-o", folder, "--rescore", "--benchmark", f"own={other}")
    assert (code, "was begun with sha256 of own" in err) == (3, True)
    code, _, err = run("evaluate", "-o", folder, "--rescore")
    assert code == 0, err
    assert "attempts with other scores than before: 2" in err
    assert list(read(played, Attempt)) == attempts
    assert (folder / "results.json").read_bytes() == results
    assert sorted(path.name for path in folder.iterdir()) == [
        "evaluate.run.json",
        "own.jsonl",
        "results.json",
        "results.md",
    ]


# --- wrong usage, wrong files --------------------------------------------------------------------------------------

WRONG = [
    (["gold"], 3, "found no benchmark, expected --suite paper --data FOLDER, or --benchmark NAME=PATH"),
    (["gold", "--benchmark", "own={missing}"], 3, "no.jsonl: found nothing, expected own. It comes from"),
    (["gold", "--benchmark", "{envs}"], 3, "option --benchmark: found"),
    (["gold", "--benchmark", "own:../x={envs}"], 3, "option --benchmark: found"),
    (["gold", "--benchmark", "toolhop:mine={envs}"], 3, "option --benchmark: found"),
    (["gold", "--benchmark", "own={trajectories}"], 3, "found 'trajectories', expected environments"),
    (["gold", "--benchmark", "rotbench={envs}"], 3, "envs.jsonl"),
    (["gold", "--benchmark", "toolhop={envs}"], 3, "envs.jsonl"),
    (["gold", "--benchmark", "tau-bench={envs}", "--user-model", "scripted"], 3, "envs.jsonl"),
    (["gold", "--benchmark", "tau-bench={envs}"], 3, "option --user-model: found nothing"),
    (["gold", "--suite", "paper"], 3, "option --data: found nothing"),
    (["gold", "--data", "{folder}"], 3, "option --data: found it without --suite"),
    (["gold", "--suite", "paper", "--data", "{missing}"], 3, "found no folder"),
    (["gold", "--suite", "paper", "--data", "{folder}"], 3, "test.jsonl: found nothing, expected own (toolhop"),
    (["gold", "--suite", "paper", "--data", "{folder}", "--allow-missing"], 3, "found none of ftrl/test.jsonl"),
    (["--benchmark", "own={envs}"], 3, "argument MODEL: found nothing"),
    (["nobody", "--policy", "nobody", "--benchmark", "own={envs}"], 3, "option --policy: found 'nobody'"),
    (["m", "--policy", "openai", "--benchmark", "own={envs}"], 3, "option --base-url: found nothing"),
    (["gold", "--benchmark", "own={envs}", "--price-in", "1"], 3, "--price-in, --price-out: found one of them"),
    (["gold", "--benchmark", "own={envs}", "--server-sampling"], 3, "option --server-sampling"),
    (["gold", "--benchmark", "own={envs}", "--force", "--resume"], 2, "give one of them"),
    (["--rescore"], 3, "found no benchmark"),
    (["--rescore", "--benchmark", "own={envs}"], 3, "own.jsonl: found nothing, expected the attempts"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG)
def test_errors_are_one_line_with_an_exit_code(run, envs, tmp_path, arguments, code, message):
    """Said before anything is played or written."""
    trajectories = tmp_path / "trajectories.jsonl"
    with RecordWriter(trajectories, Trajectory):
        pass
    places = {"envs": envs, "missing": tmp_path / "no.jsonl", "folder": tmp_path, "trajectories": trajectories}
    got, _, err = run("evaluate", *(argument.format(**places) for argument in arguments), "-o", tmp_path / "new")
    assert message in " ".join(err.replace("│", " ").split())
    assert got == code
    assert "Traceback" not in err
    assert not (tmp_path / "new").exists()


def test_a_model_is_needed_where_there_is_no_environment(run, tmp_path):
    """A scripted policy cannot play RoTBench; said before anything is written."""
    system = f"Use these tools:\n{json.dumps([{'name': 'tide', 'description': '', 'parameters': {}}])}"
    gold = 'Thought: so.\nAction: tide\nAction Input: {"harbour": "Velden"}'
    turns = [{"from": "system", "value": system}, {"from": "user", "value": "When?"}]
    row = {"id": "1", "scenario": "RS", "conversations": [*turns, {"from": "assistant", "value": [gold]}]}
    folder = tmp_path / "First_Turn"
    folder.mkdir()
    for level in ("clean", "slight", "medium", "heavy", "union"):
        (folder / f"{level}.json").write_text(json.dumps([row]))
    code, _, err = run("evaluate", "gold", "--benchmark", f"rotbench={folder}", "-o", tmp_path / "r")
    assert (code, "found policy 'gold', expected a model" in err) == (3, True)
    assert not (tmp_path / "r").exists()


def toolhop_file(path):
    """One question of ToolHop with its tool."""
    tools = {"What?": {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}}}
    row = {"id": 1, "question": "What?", "answer": "5", "tools": tools, "sub_task": {"What?": "5"}}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**row, "functions": ["def f():\n    return '5'"]}) + "\n")


def test_a_scripted_policy_plays_what_is_an_environment(run, tmp_path):
    """Of the paper's suite the own set and two modes of ToolHop; what is left out is said, and there is no Table 2."""
    (tmp_path / "ftrl").mkdir()
    (tmp_path / "ftrl/test.jsonl").write_text(ftrl_row() + "\n")
    toolhop_file(tmp_path / "toolhop/toolhop.jsonl")
    suite_of = ["--suite", "paper", "--data", tmp_path, "--allow-missing"]
    code, _, err = run("evaluate", "silent", *suite_of, "-o", tmp_path / "r")
    assert code == 0, err
    assert "left out, a scripted policy plays environments only: toolhop-direct" in err
    document = json.loads((tmp_path / "r/results.json").read_text())
    assert list(document["benchmarks"]) == ["own", "toolhop-mandatory", "toolhop-free"]
    assert document["table_2"] is None
    shutil.rmtree(tmp_path / "ftrl")
    assert run("evaluate", "silent", *suite_of, "-o", tmp_path / "s")[0] == 0
    toolhop = tmp_path / "toolhop/toolhop.jsonl"
    code, _, err = run("evaluate", "silent", "--benchmark", f"toolhop={toolhop}", "-o", tmp_path / "t")
    assert (code, "those of toolhop-mandatory and toolhop-free are" in err) == (3, True)


def test_one_mode_of_toolhop_is_no_table_2(run, tmp_path):
    """A model that is right in one completion: AC 1 in direct mode, under the mode's own name."""
    toolhop_file(tmp_path / "toolhop.jsonl")
    with serve(lambda _: reply("<answer>5</answer>")) as base_url:
        code, out, err = run(
            *("evaluate", *endpoint(base_url), "-o", tmp_path / "r"),
            *("--benchmark", f"toolhop-direct={tmp_path / 'toolhop.jsonl'}"),
        )
    assert code == 0, err
    assert "ToolHop, direct" in out
    assert means(table(tmp_path / "r", "toolhop-direct")["rows"][0])["answer"] == 1.0


def test_a_broken_benchmark_is_bad_input(run, tmp_path):
    """A tool of τ-bench that does not load ends the run with the file's name, not as a failing endpoint."""
    codes = {**library.CODES, "lend_book": "import requests\ndef lend_book(data, book_id, member_id): return ''"}
    folder = library.write(tmp_path, codes=codes)
    with serve(lambda _: reply("Hi.")) as base_url:
        code, _, err = run(
            *("evaluate", *endpoint(base_url), "-o", tmp_path / "r"),
            *("--benchmark", f"tau-bench={folder}", "--user-model", "scripted"),
        )
    assert code == 3
    assert "library/codes.json: field 'lend_book': does not load: raised: ModuleNotFoundError" in err


def test_attempts_that_are_there_are_kept(run, envs, tmp_path):
    """Also where the run file is gone; the message names both ways on. A file in place of the folder is named."""
    assert run("evaluate", "silent", "--benchmark", f"own={envs}", "-o", tmp_path / "r")[0] == 0
    before = (tmp_path / "r/own.jsonl").read_bytes()
    (tmp_path / "r/evaluate.run.json").unlink()
    code, _, err = run("evaluate", "silent", "--benchmark", f"own={envs}", "-o", tmp_path / "r")
    assert (code, "own.jsonl exists; --resume goes on with it, --force replaces it" in err) == (6, True)
    assert (tmp_path / "r/own.jsonl").read_bytes() == before
    code, _, err = run("evaluate", "silent", "--benchmark", f"own={envs}", "-o", envs)
    assert (code, "found a file, expected a folder or nothing" in err) == (6, True)


def test_the_input_is_never_the_output(run, tmp_path):
    """A set that lies where the attempts are to be written is not lost."""
    (tmp_path / "r").mkdir()
    envs = environments(tmp_path / "r/own.jsonl", 2)
    before = envs.read_bytes()
    code, _, err = run("evaluate", "gold", "--benchmark", f"own={envs}", "-o", tmp_path / "r", "--force")
    assert (code, "is also the input" in err) == (6, True)
    assert envs.read_bytes() == before


def test_no_escape_reaches_the_terminal(run, envs, tmp_path):
    """A server's words are text, on the terminal and in Markdown."""
    bad = "\x1b[2J[bold]x[/bold] | <script>"
    with serve(lambda request: status(500, {"error": {"message": bad}})) as base_url:
        code, out, err = run("evaluate", *endpoint(base_url), "--benchmark", f"own={envs}", "-o", tmp_path / "r")
    assert code == 5
    assert "\x1b" not in out + err
    page = (tmp_path / "r/results.md").read_text()
    assert "\x1b" not in page
    assert " | <script>" not in page


# --- the paper's suite ---------------------------------------------------------------------------------------------


def test_sources_are_named_by_kind(tmp_path):
    """A label of one's own for sets of environments."""
    assert source_of("own=a=b.jsonl")[:2] == ("own", "own")
    assert source_of("own:held-out.v2=x.jsonl")[:2] == ("own", "held-out.v2")
    for wrong in ("own", "own=", "own:=x", "own:.x=y", "own:toolhop=x", "nobody=x", "rotbench:a=x", "own:a/b=x"):
        with pytest.raises(InputError, match="option --benchmark"):
            source_of(wrong)


def test_the_suite_is_what_the_folder_holds(tmp_path):
    """A missing one is an error that says where to get it; with --allow-missing it is left out."""
    (tmp_path / "ftrl").mkdir()
    (tmp_path / "ftrl/test.jsonl").touch()
    with pytest.raises(
        InputError, match=r"toolhop.jsonl: found nothing, expected toolhop \(tau-bench, rotbench missing"
    ):
        suite(tmp_path)
    assert [source.name for source in suite(tmp_path, allow_missing=True)] == ["own"]


def test_the_row_of_table_2():
    """Avg is the plain mean of the eight columns, and only where all are there; its error combines the benchmarks'."""
    metrics = {"own": ["solve_p", "solve_r", "solve_f1"], "toolhop": ["answer"]}
    metrics |= {"tau-bench": ["pass_1"], "rotbench": ["ts", "pi", "cf"]}
    results = {}
    for kind, names in metrics.items():
        about = About(kind, kind, {name: name for name in names}, "items", tuple(names))
        attempts = []
        for index in range(2):
            task = Task(spec_id=f"i{index}", kind=None, goals=(), answer=None, tagged=False)
            trajectory = Trajectory(task=task, policy="p", prompt=(), turns=(), stop="answered")
            scores = {"paper": {name: float(index) for name in names}}
            attempts.append(
                Attempt(benchmark=kind, group="g", cluster=f"i{index}", trajectory=trajectory, scores=scores)
            )
        results[kind] = summarise_attempts(about, attempts, "paper")
    row = paper_row(results)
    assert list(row) == [*(column.title for column in PAPER_COLUMNS), "Avg"]
    assert {cell.mean for cell in row.values()} == {0.5}
    assert row["Avg"].stderr == pytest.approx((0.5**2 * (9 + 1 + 1 + 9)) ** 0.5 / 8)
    del results["tau-bench"]
    part = paper_row(results)
    assert (part["τ Pass^1"], part["Avg"]) == (None, None)
    assert part["RoT CF"].mean == 0.5


def test_the_whole_suite_over_http(run, ftrl_rows, tmp_path):
    """One command, four benchmarks, one row: a model that always gives the same answer, on a few items of each."""
    data = ftrl_rows.parents[1]
    with serve(lambda request: reply("I do not know. ###STOP###")) as base_url:
        code, out, err = run(
            *("evaluate", *endpoint(base_url), "--suite", "paper", "--data", data, "--limit", 6, "-o", tmp_path / "r"),
            *("--user-model", "scripted"),
        )
    assert code == 0, err
    assert "Table 2 of the paper" in out
    document = json.loads((tmp_path / "r/results.json").read_text())
    assert list(document["benchmarks"]) == ["own", "toolhop", "tau-bench", "rotbench"]
    for results in document["benchmarks"].values():
        assert results["fixed"]["rows"][0]["n"] == 6
        assert results["fixed"]["rows"][0]["unscored"] == 0
    row = document["table_2"]["paper"]
    assert row["Solve-P"]["mean"] == 1.0  # the release's precision of a model that calls nothing
    assert document["table_2"]["fixed"]["Solve-P"]["mean"] == 0.0
    eight = [cell["mean"] for title, cell in row.items() if title != "Avg"]
    assert row["Avg"]["mean"] == pytest.approx(sum(eight) / 8)
    before = (tmp_path / "r/results.json").read_bytes()
    code, _, err = run("evaluate", "-o", tmp_path / "r", "--rescore")
    assert code == 0, err
    assert "attempts with other scores than before: 0" in err
    assert (tmp_path / "r/results.json").read_bytes() == before


def test_the_command_imports_nothing_heavy():
    """A fresh interpreter that imports it has none of the extras' packages."""
    heavy = "torch transformers trl datasets numpy openai httpx matplotlib jinja2".split()
    code = f"import toolfoundry.cli.evaluate, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "[]"
