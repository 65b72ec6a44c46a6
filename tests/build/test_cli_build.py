"""`toolfoundry build` as a user meets it, with the tiny profile: files, resume after kill -9, drafts, errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolfoundry import __version__
from toolfoundry.build.authors.procedural.profile import FTRL, TINY
from toolfoundry.build.draft import STAGES, Draft, Reject
from toolfoundry.build.knobs import with_knobs
from toolfoundry.build.ledger import YIELDS
from toolfoundry.errors import InputError
from toolfoundry.store import read
from toolfoundry.types import EnvSpec

TINY_BUILD = ("build", "--profile", "tiny", "--jobs", "1")


# --- files -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Sixty environments, built by the command as a process of its own."""
    path = tmp_path_factory.mktemp("built") / "new" / "e.jsonl"
    command = [sys.executable, "-m", "toolfoundry.cli", *TINY_BUILD, "-n", "60", "--measure", "10", "-o", str(path)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    path.with_name("stdout.json").write_text(done.stdout)
    return path


def test_what_lies_in_the_folder(built):
    """Environments, rejects, run file and report; the keys of the run are gone."""
    names = {place.name for place in built.parent.iterdir()} - {"stdout.json"}
    assert names == {"e.jsonl", "e.rejects.jsonl", "e.run.json", "e.report.json"}
    assert len(list(read(built, EnvSpec))) == 60
    assert list(read(built.with_name("e.rejects.jsonl"), Reject)) == []


def test_the_run_file(built):
    """The whole configuration, the counts of each yield, seconds by stage, versions."""
    run = json.loads(built.with_name("e.run.json").read_text())
    assert run["config"]["profile"] == TINY.model_dump(mode="json")
    assert (run["config"]["seed"], run["config"]["split"], run["config"]["author"]) == (0, "train", "procedural")
    assert run["counts"]["finished"] is True
    assert [run["counts"][name] for name in YIELDS] == [60] * 5
    assert run["counts"]["rejects"] == {}
    assert {*STAGES, "gate"} <= run["counts"]["seconds_by_stage"].keys()
    assert run["packages"]["toolfoundry"]["version"] == __version__
    assert "build" in run["command"]


def test_the_report(built):
    """`--json` prints what the report file holds: yields, panel, both rates, statistics."""
    report = json.loads(built.with_name("e.report.json").read_text())
    assert json.loads(built.with_name("stdout.json").read_text()) == report
    assert report["yields"] == dict.fromkeys(YIELDS, 60)
    scores = {one["policy"]: one["score"]["mean"] for one in report["panel"]}
    assert scores["gold"] == 1.0
    assert max(score for name, score in scores.items() if name not in ("gold", "answer-only", "one-hop")) < 0.1
    [total, *_] = report["false_accepts"]
    assert (total["hits"], total["n"] > 50) == (0, True)
    assert report["statistics"]["name"] == "e.jsonl"


def test_the_audit_agrees(built, run):
    """What was built passes the audit of other people's sets, by another command; sixty are too few for a mean."""
    code, out, _ = run("check", built, "--json")
    assert code == 0
    gates = {
        gate["gate"]["name"]: gate["hits"] for gate in json.loads(out)["gates"] if gate["gate"]["severity"] == "defect"
    }
    assert {name for name, hits in gates.items() if hits} <= {"cheat-above-ceiling"}


# --- going on ----------------------------------------------------------------------------------------------------


def test_killed_and_resumed(built, tmp_path, run):
    """kill -9 in the middle, then --resume: the same bytes as a build that ran through; nothing is left behind."""
    path = tmp_path / "e.jsonl"
    options = [*TINY_BUILD, "-n", "150", "--measure", "0", "-o", str(path)]
    command = [sys.executable, "-m", "toolfoundry.cli", *options]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while running.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < 50):
        time.sleep(0.002)
    running.kill()
    running.wait()
    written = path.read_bytes().count(b"\n") - 1
    assert 0 < written < 150
    assert json.loads((tmp_path / "e.run.json").read_text())["counts"] == {"finished": False}
    code, _, err = run(*options, "--resume")
    assert code == 0, err
    assert "150 environments written" in err
    assert path.read_bytes().startswith(built.read_bytes())
    assert run(*TINY_BUILD, "-n", 150, "--measure", 0, "-o", tmp_path / "whole.jsonl")[0] == 0
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not [place for place in tmp_path.iterdir() if place.name.startswith(".")]
    notes = json.loads((tmp_path / "e.report.json").read_text())["notes"]
    assert "the last of several runs" in notes[0]


def test_a_finished_build_is_not_done_again(built, tmp_path, run):
    path = tmp_path / "e.jsonl"
    path.write_bytes(built.read_bytes())
    code, _, err = run(*TINY_BUILD, "-n", 60, "--measure", 0, "-o", path, "--resume")
    assert (code, path.read_bytes()) == (0, built.read_bytes())
    assert "60 environments written" in err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--seed", "1"), "begun with another seed (0)"),
        (("--split", "dev"), "begun with another split (train)"),
        (("--set", "scaling.extend=2"), "begun with another profile.scaling.extend (1)"),
    ],
)
def test_another_build_is_not_gone_on_with(run, tmp_path, options, told):
    """Neither environments nor drafts of other options; nothing is changed."""
    for name, more in (("e.jsonl", ()), ("d.jsonl", ("--stop-after", "scale"))):
        path = tmp_path / name
        base = (*TINY_BUILD, "-n", 2, "--measure", 0, "-o", path, *more)
        assert run(*base)[0] == 0
        before = path.read_bytes()
        code, _, err = run(*base, *options, "--resume")
        assert code == 3
        assert told in err
        assert "--force starts it anew" in err
        assert path.read_bytes() == before


# --- drafts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_stage_by_stage(built, tmp_path, run, stage):
    """Stopped after any stage and gone on with from the drafts: the same environments as at once."""
    drafts, path = tmp_path / "d.jsonl", tmp_path / "e.jsonl"
    code, _, err = run(*TINY_BUILD, "-n", 20, "--stop-after", stage, "-o", drafts)
    assert code == 0, err
    found = list(read(drafts, Draft))
    assert [draft.brief.index for draft in found] == list(range(20))
    assert {draft.stage for draft in found} == {stage}
    assert run(*TINY_BUILD, "--drafts", drafts, "--measure", 0, "-o", path)[0] == 0
    assert len(list(read(path, EnvSpec))) == 20
    assert built.read_bytes().startswith(path.read_bytes())
    if stage == "document":
        later = tmp_path / "later.jsonl"
        assert run(*TINY_BUILD, "--drafts", drafts, "--stop-after", "deploy", "-o", later)[0] == 0
        assert {draft.stage for draft in read(later, Draft)} == {"deploy"}


def test_drafts_are_gone_on_with(tmp_path, run):
    """More of them, each once."""
    path = tmp_path / "d.jsonl"
    for count in (3, 5):
        assert run(*TINY_BUILD, "-n", count, "--stop-after", "scale", "-o", path, "--resume")[0] == 0
    assert [draft.brief.index for draft in read(path, Draft)] == list(range(5))


# --- refusing ----------------------------------------------------------------------------------------------------


def test_questions_of_a_benchmark_are_left_out(built, tmp_path, run):
    """They are rejects with the name of the file; as many environments as wanted are built all the same."""
    known = [spec.scenario.question for spec in read(built, EnvSpec)][:3]
    (tmp_path / "known.txt").write_text("\n".join(known))
    path = tmp_path / "e.jsonl"
    code, _, err = run(*TINY_BUILD, "-n", 10, "--measure", 0, "--exclude", tmp_path / "known.txt", "-o", path)
    assert code == 0
    assert "10 environments written" in err
    assert "3 rejects" in err
    assert not {spec.scenario.question for spec in read(path, EnvSpec)} & set(known)
    rejects = list(read(tmp_path / "e.rejects.jsonl", Reject))
    assert {(reject.stage, reject.reason) for reject in rejects} == {("set", "in-benchmark")}
    run_file = json.loads((tmp_path / "e.run.json").read_text())
    assert run_file["counts"]["rejects"] == {"set: in-benchmark": 3}
    assert run_file["config"]["exclude"] == [str(tmp_path / "known.txt")]


WRONG = {
    "no output": (("build",), 2, "--output"),
    "a profile that is not there": (("build", "--profile", "huge", "-o", "{out}"), 2, "huge"),
    "none wanted": ((*TINY_BUILD, "-n", "0", "-o", "{out}"), 2, "Error"),
    "questions without a model": (("build", "--questions", "{text}", "-o", "{out}"), 3, "no use for --questions"),
    "a dry run without a model": ((*TINY_BUILD, "--dry-run", "-o", "{out}"), 3, "no use for --dry-run"),
    "a split for a model": (
        ("build", "--author", "llm", "--model", "m", "--topics", "{text}", "--split", "dev", "-o", "{out}"),
        3,
        "no use for --split",
    ),
    "nothing of that name to hold out": ((*TINY_BUILD, "--hold-out", "names", "-o", "{out}"), 3, "--hold-out names"),
    "a span upside down": ((*TINY_BUILD, "--set", "tools.multi_hop=9..4:5", "-o", "{out}"), 3, "LOW..HIGH:MEAN"),
    "no key": (
        ("build", "--author", "llm", "--model", "m", "--topics", "{text}", "--api-key-env", "NO_SUCH", "-o", "{out}"),
        3,
        "NO_SUCH",
    ),
    "a budget without prices": (
        ("build", "--author", "llm", "--model", "m", "--topics", "{text}", "--budget", "1", "-o", "{out}"),
        3,
        "--budget needs",
    ),
    "a model without questions": (
        ("build", "--author", "llm", "--model", "m", "-o", "{out}"),
        3,
        "--questions, --topics",
    ),
    "no model": (("build", "--author", "llm", "--topics", "{text}", "-o", "{out}"), 3, "--model"),
    "no benchmark": ((*TINY_BUILD, "--exclude", "{none}", "-o", "{out}"), 3, "cannot be read"),
    "no drafts": ((*TINY_BUILD, "--drafts", "{none}", "-o", "{out}"), 3, "none.jsonl"),
    "drafts that are none": ((*TINY_BUILD, "--drafts", "{text}", "-o", "{out}"), 3, "header line"),
    "the output is the input": ((*TINY_BUILD, "--drafts", "{text}", "-o", "{text}"), 6, "is also the input"),
    "an output that exists": ((*TINY_BUILD, "-n", "1", "-o", "{text}"), 6, "exists; --force"),
    "no folder": ((*TINY_BUILD, "-n", "1", "-o", "{text}/e.jsonl"), 6, "cannot be written"),
    "force and resume": ((*TINY_BUILD, "--force", "--resume", "-o", "{out}"), 2, "Error"),
    "no knob": ((*TINY_BUILD, "--set", "tool=3", "-o", "{out}"), 3, "there is no 'tool'"),
    "a knob out of bounds": ((*TINY_BUILD, "--set", "scaling.expand=9", "-o", "{out}"), 3, "scaling.expand"),
    "wordings held out of one": ((*TINY_BUILD, "--hold-out", "wordings", "-o", "{out}"), 3, "wording"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_done(name, tmp_path, run):
    """Exit code and one line that names what was found; no file is written or changed."""
    arguments, expected, told = WRONG[name]
    text = tmp_path / "text.txt"
    text.write_text("Towers\n")
    places = {"out": tmp_path / "e.jsonl", "text": text, "none": tmp_path / "none.jsonl"}
    code, out, err = run(*(argument.format(**places) for argument in arguments))
    assert code == expected, err
    assert told in err
    assert out == ""
    assert "Traceback" not in err
    if expected != 2:
        assert len(err.strip().splitlines()) == 1
        assert err.strip().startswith("error: ")
    assert [place.name for place in tmp_path.iterdir()] == ["text.txt"]
    assert text.read_text() == "Towers\n"


def test_drafts_of_another_seed(tmp_path, run):
    """Only who began them can go on; the options that fit are named."""
    drafts = tmp_path / "d.jsonl"
    assert run(*TINY_BUILD, "-n", 2, "--seed", 5, "--stop-after", "document", "-o", drafts)[0] == 0
    code, _, err = run(*TINY_BUILD, "--drafts", drafts, "-o", tmp_path / "e.jsonl")
    assert code == 3
    assert not (tmp_path / "e.jsonl").exists()
    assert "drafts of procedural/tiny/5/train, but these options say procedural/tiny/0/train" in err


def test_no_extra_and_no_network(tmp_path):
    """A procedural build imports no package of an extra, and connects to nothing."""
    code = (
        "import socket, sys\n"
        "socket.socket.connect = socket.getaddrinfo = None  # whoever calls them fails\n"
        "from toolfoundry.cli.main import main\n"
        "try:\n    main()\nfinally:\n"
        "    names = ('numpy', 'torch', 'openai', 'httpx', 'matplotlib', 'jinja2', 'zstandard')\n"
        "    print([name for name in names if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, *TINY_BUILD, "-n", "3", "--json", "-o", str(tmp_path / "e.jsonl")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONWARNINGS": "error"}
    )
    assert done.stdout.splitlines()[-1] == "[]"


# --- knobs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("scaling.expand=0", ("scaling", "expand"), 0),
        ("scaling.near=0.25", ("scaling", "near"), 0.25),
        ("scaling.distractors=4", ("scaling", "distractors"), 4),
        ("tools.multi_hop=4..20:9", ("tools", "multi_hop"), {"low": 4, "high": 20, "mean": 9.0}),
        ("goals.multi_hop=2..5", ("goals", "multi_hop"), {"low": 2, "high": 5, "mean": 3.5}),
        ("shares.single_hop=0", ("shares", "single_hop"), 0.0),
        ('hold_out=["relations"]', ("hold_out",), ("relations",)),
        ("name=mine", ("name",), "mine"),
        ("parameters.mean=5.5", ("parameters", "mean"), 5.5),
    ],
)
def test_a_quantity_of_the_profile(setting, path, value):
    """Numbers, spans with and without a mean, JSON, text; all else stays as it was."""
    changed, before = with_knobs(FTRL, [setting]).model_dump(), FTRL.model_dump()
    place, old = changed, before
    for name in path[:-1]:
        place, old = place[name], old[name]
    assert place[path[-1]] == value
    del place[path[-1]], old[path[-1]]
    assert changed == before


def test_several_settings():
    """The last of two for the same quantity holds."""
    profile = with_knobs(TINY, ["scaling.extend=2", "scaling.near=1", "scaling.extend=3"])
    assert (profile.scaling.extend, profile.scaling.near) == (3, 1.0)
    assert with_knobs(TINY, []) == TINY


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("scaling.expand", ["scaling.expand", "NAME=VALUE"]),
        ("expand=1", ["'expand'", "scaling"]),
        ("scaling.more=1", ["'more'", "generalize, expand, retype, extend"]),
        ("name.first=1", ["'name'", "with fields"]),
        ("tools.hops=1..2", ["'hops'", "multi_hop"]),
        ("scaling.expand=4", ["scaling.expand", "4", "less than or equal to 3"]),
        ("tools.multi_hop=many", ["tools.multi_hop", "many", "LOW..HIGH:MEAN"]),
        ("tools.multi_hop=4..6:9", ["tools.multi_hop", "LOW..HIGH:MEAN"]),
        ("shares.multi_hop=-1", ["shares.multi_hop", "-1"]),
        ("shares={}", ["shares", "at least one scenario"]),
        ("goals={}", ["goals.single_hop", "each scenario"]),
        ('hold_out=["names"]', ["hold_out", "names"]),
    ],
)
def test_settings_that_make_no_sense(setting, told):
    """What was found, and what there is."""
    with pytest.raises(InputError) as caught:
        with_knobs(TINY, [setting])
    for text in told:
        assert text in str(caught.value)


def test_what_a_build_with_a_model_may_change(tmp_path, run):
    """How replies are fetched and paid for may change between runs; what they say may not, and the field is named."""
    (tmp_path / "q.txt").write_text("Which tower stands in Velmora?\n")
    command = ("build", "--author", "llm", "--model", "m", "--questions", str(tmp_path / "q.txt"))
    command += ("--batch-dir", str(tmp_path / "waves"), "-o", str(tmp_path / "e.jsonl"))
    local = ("--base-url", "http://127.0.0.1:1/v1")
    assert run(*command, *local)[0] == 0
    prices = ("--price-in", "1", "--price-out", "2", "--budget", "3", "--concurrency", "2")
    assert run(*command, "--resume", "--base-url", "http://127.0.0.1:2/v1", *prices)[0] == 0
    code, _, err = run(*command, *local, "--resume", "--temperature", "0")
    assert (code, "begun with another llm.temperature (0.7)" in " ".join(err.split())) == (3, True)


def test_a_draft_can_be_looked_at(run, tmp_path):
    """By its index in the run, as JSON; another index is an error that names the file."""
    drafts = tmp_path / "drafts.jsonl"
    assert run("build", "--profile", "tiny", "-n", 3, "--stop-after", "document", "-o", drafts)[0] == 0
    code, out, _ = run("inspect", drafts, "2")
    assert code == 0
    assert json.loads(out)["brief"]["index"] == 2
    code, _, err = run("inspect", drafts, "9")
    assert (code, "drafts.jsonl: there is no draft '9'" in err) == (3, True)
