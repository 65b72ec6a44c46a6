"""The report page: what it shows, what it leaves out, and that nothing which others wrote does anything in it."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.resources
import importlib.util
import re
import shutil
import subprocess
from base64 import b64encode
from html import unescape
from html.parser import HTMLParser

import orjson
import pytest

from fakes import TABLE, CannedExecutor, capital_spec
from toolfoundry.analyze import report as report_module
from toolfoundry.analyze.behaviour_summary import behave
from toolfoundry.analyze.conversation import conversation, draw_goals
from toolfoundry.analyze.report import choose, write_report
from toolfoundry.analyze.reward_parts import reward_parts
from toolfoundry.analyze.runs import read_runs
from toolfoundry.answers import infer
from toolfoundry.errors import InputError, MissingExtra
from toolfoundry.evaluate.attempts import Attempt
from toolfoundry.policies.scripted import make
from toolfoundry.rollout import Job, run_rollouts
from toolfoundry.store import RecordWriter
from toolfoundry.types import Fault, Goal, Message, ToolCall, ToolResult

pytest.importorskip("jinja2", reason="needs the extra report")
pytest.importorskip("matplotlib", reason="needs the extra plots")

HOSTILE = (
    "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
    "\"' onmouseover=document.title='taken' x=\"</div></details><base href=//evil.example>{{ 7 * 7 }}{% raw %}"
    "\u2028\u2029\x1b[2J\x1b]0;taken\x07\u202e\u2066\u200b\x00\ud800<!--<svg onload=document.title='taken'>"
)
FORBIDDEN = set("\u2028\u2029\x1b\x07\u202e\u2066\u200b\x00\ud800")
JSON_HOSTILE = HOSTILE.replace("\ud800", "")  # what can stand in JSON text


class Page(HTMLParser):
    """The elements of a page, the text in it, and what its scripts hold."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self.scripts, self._script = [], "", [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._script = tag == "script"
        if self._script:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._script = self._script and tag != "script"

    def handle_data(self, data):
        if self._script:
            self.scripts[-1] += data
        else:
            self.text += data

    def of(self, tag, **attributes):
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [a for t, a in self.elements if t == tag and all(a.get(n) == v for n, v in wanted.items())]


def specs(count=4, kind="multi_hop"):
    return [
        spec.replace(scenario=spec.scenario.model_copy(update={"kind": kind}))
        for spec in (capital_spec(number) for number in range(count))
    ]


def played(policies, chosen=None):
    """A trajectory of each environment, by the policy of its place."""
    chosen = chosen or specs(len(policies))

    async def play():
        found = []
        for name, spec in zip(policies, chosen, strict=True):
            jobs = run_rollouts([Job(spec)], lambda s, _, n=name: make(n, s), CannedExecutor(TABLE), name="policy")
            found += [trajectory async for trajectory in jobs]
        return found

    return asyncio.run(play())


def write(path, records):
    with RecordWriter(path, type(records[0])) as writer:
        for record in records:
            writer.write(record)
    return path


def page_of(tmp_path, *paths, **options):
    target = tmp_path / "page.html"
    shown = write_report(list(paths), target, **options)
    text = target.read_text(encoding="utf-8")
    return shown, Page(text), text


@pytest.fixture
def two(tmp_path):
    """The same environments before (one-hop, silent ...) and after (gold), and the file of the environments."""
    before = write(tmp_path / "before.jsonl", played(["one-hop", "one-hop", "silent", "gold"]))
    after = write(tmp_path / "after.jsonl", played(["gold"] * 4))
    return before, after, write(tmp_path / "envs.jsonl", specs())


# --- what it shows ---------------------------------------------------------------------------------------------------


def test_two_runs(tmp_path, two):
    """Scores with errors and paired changes, behaviour, parts of the reward, and every trajectory with its DAG."""
    before, after, envs = two
    shown, page, text = page_of(tmp_path, before, after, envs=envs)
    assert shown == (8, 0)
    words = re.sub(r"\s+", " ", page.text)
    assert "0.667 ±0.000" not in words
    assert "0.583" in words  # Solve-F1 before: 2/3, 2/3, 0, 1
    assert "1.000 ±0.000" in words
    assert "+0.417" in words
    assert "50.0% (2)" in words  # premature answers before
    assert "gave up" in words
    assert text.count('<svg class="dag"') == 8
    assert len(page.of("details", class_="talk")) == 8
    assert "solved 1" in words
    assert "multi hop" in words
    assert all("hidden" not in a for a in page.of("details"))  # without a script it is a list of all
    assert [a for a in page.of("div", id="controls") if "hidden" in a]
    chosen = [a["data-kinds"] for a in page.of("details", class_="talk", data_run="0")]
    assert sorted(chosen) == ["", "gave_up", "premature_answer", "premature_answer"]
    scores = [a["data-score"] for a in page.of("details", class_="talk", data_run="0")]
    assert scores == sorted(scores)
    links = {a["href"] for a in page.of("a")}
    assert links
    assert links <= {"#" + a["id"] for a in page.of("details", class_="talk")}


def test_the_policy_of_the_page(tmp_path, two):
    """One script, ours, allowed by its hash; no network, no handler, nothing that is loaded; markup is never built."""
    _, page, text = page_of(tmp_path, *two[:2])
    ours = importlib.resources.files("toolfoundry.analyze").joinpath("report.js").read_text()
    assert page.scripts == [ours]
    for name in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function("):
        assert name not in ours
    [policy] = [a["content"] for a in page.of("meta", http_equiv="Content-Security-Policy")]
    digest = b64encode(hashlib.sha256(ours.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline';")
    assert "http://" not in text.replace("http-equiv", "")
    assert "https://" not in text


def test_without_the_environments(tmp_path, two):
    """What only they tell is a dash, and the page says how to give them."""
    _, page, _ = page_of(tmp_path, two[0])
    assert "--envs" in page.text
    row = re.search(r"wrong value.*?(–|\d)", page.text, re.DOTALL)
    assert row is not None
    assert row[1] == "–"
    assert "Where does the author of Tides live (0)?" in page.text  # from the prompt


def test_unscored_attempts(tmp_path):
    """They are counted, told with their cause, can be filtered, and are in no mean."""
    good, bad = played(["gold", "gold"])
    failed = bad.model_copy(update={"stop": "error", "error": "EndpointError: 503", "turns": ()})
    _, page, _ = page_of(tmp_path, write(tmp_path / "one.jsonl", [good, failed]))
    words = re.sub(r"\s+", " ", page.text)
    assert "1 unscored" in words
    assert "EndpointError: 503" in words
    assert [a["data-score"] for a in page.of("details", class_="talk")] == ["none", "1.000000"]


def test_attempts_of_an_evaluation(tmp_path):
    """A folder of evaluate: a table for each benchmark with its own metrics; without goals there is no DAG."""
    folder = tmp_path / "run"
    folder.mkdir()
    trajectory = played(["gold"])[0]
    dialogue = trajectory.model_copy(
        update={"task": trajectory.task.model_copy(update={"goals": (), "kind": None}), "turns": trajectory.turns[-1:]}
    )
    scores = {"fixed": {"pass_1": 1.0}, "paper": {"pass_1": 0.0}}
    attempts = [Attempt(benchmark="tau-bench", group="retail", cluster="1", trajectory=dialogue, scores=scores)]
    write(folder / "tau.jsonl", attempts)
    own = [
        Attempt(
            benchmark="own", group="multi_hop", cluster="1", trajectory=trajectory, scores={"fixed": {"solve_p": 1.0}}
        )
    ]
    write(folder / "own.jsonl", own)
    (folder / "results.json").write_text("{}")
    assert [(run.name, run.benchmark) for run in read_runs([folder])] == [("own", "own"), ("tau", "tau-bench")]
    _, page, text = page_of(tmp_path, folder)
    assert "Scores: tau-bench" in page.text
    assert "Pass^1" in page.text
    assert "retail" in page.text
    assert text.count('<svg class="dag"') == 1
    _, page, _ = page_of(tmp_path, folder, rule="paper")
    assert "by the paper's rules" in page.text


def training_run(path, rounds=2):
    """A run's folder, as training leaves it where nothing was held out."""
    from toolfoundry.train.config import load_preset

    (path / "rounds").mkdir(parents=True)
    config = load_preset("tiny").model_dump(mode="json")
    (path / "run.json").write_bytes(orjson.dumps({"toolfoundry": "training", "config": config, "version": "x"}))
    rows = [{"step": step, "round": step // 2, "reward": 0.5, "solve_p": 0.5} for step in range(1, 5)]
    (path / "metrics.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    for number in range(rounds):
        write(path / "rounds" / f"{number:03d}.jsonl", played(["one-hop" if number == 0 else "gold"] * 2))
    return path


def test_a_training_run(tmp_path):
    """Its curves, its configuration, the parts of the reward by round, and what the first and last round collected."""
    _, page, _ = page_of(tmp_path, training_run(tmp_path / "run"))
    words = re.sub(r"\s+", " ", page.text)
    assert "Training: run" in words
    assert "What the rewards were made of" in words
    assert "round 000" in words
    assert "round 001" in words
    assert "learning_rate" in words
    bare = training_run(tmp_path / "bare", rounds=0)
    shown, page, _ = page_of(tmp_path, bare)
    assert shown == (0, 0)
    assert "Training: bare" in page.text
    assert not page.of("details", class_="talk")


def test_names_tell_runs_apart(tmp_path, two):
    """Two files of one name are numbered; those of folders carry the folder's."""
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(two[0], other / "before.jsonl")
    assert [run.name for run in read_runs([two[0], other / "before.jsonl"])] == ["before", "before (2)"]
    assert [run.name for run in read_runs([two[0], training_run(tmp_path / "run")])][1:] == [
        "run round 000",
        "run round 001",
    ]


# --- which trajectories ----------------------------------------------------------------------------------------------


def test_worst_best_and_random(tmp_path):
    """Of each run as many: the worst and the best for sure, the same again for the same seed, and the rest counted."""
    policies = ["silent"] * 2 + ["one-hop"] * 16 + ["gold"] * 2
    runs = read_runs([write(tmp_path / name, played(policies)) for name in ("a.jsonl", "b.jsonl")])
    seen = [behave(run.trajectories) for run in runs]
    chosen = choose(runs, seen, 16, seed=1)
    assert [one.run for one in chosen] == [0] * 8 + [1] * 8
    for number in (0, 1):
        keys = {one.attempt.trajectory.task.spec_id for one in chosen if one.run == number}
        assert len(keys) == 8
        ends = [t.task.spec_id for t in runs[number].trajectories[:2] + runs[number].trajectories[-2:]]
        assert set(ends) <= keys
    assert chosen == choose(runs, seen, 16, seed=1)
    assert chosen != choose(runs, seen, 16, seed=2)
    assert len(choose(runs, seen, 1000, seed=1)) == 40
    assert choose(runs, seen, 0, seed=1) == []
    shown, page, _ = page_of(tmp_path, tmp_path / "a.jsonl", trajectories=5)
    assert shown == (5, 15)
    assert "15 are left out" in re.sub(r"\s+", " ", page.text)


def test_the_page_stays_small(tmp_path, two, monkeypatch):
    """Texts are cut shorter, then trajectories left out; both are said."""
    long = played(["gold"] * 4)
    turn = long[0].turns[0]
    results = tuple(one.model_copy(update={"content": "<&>" * 40_000}) for one in turn.results)
    long = [t.model_copy(update={"turns": (turn.model_copy(update={"results": results}), *t.turns[1:])}) for t in long]
    path = write(tmp_path / "long.jsonl", long)
    shown, page, text = page_of(tmp_path, path)
    assert shown == (4, 0)
    assert "cut at 4,000 characters" in page.text
    fixed = len(text.encode()) - 4 * 4000 * 13 // 3
    monkeypatch.setattr(report_module, "MAX_BYTES", fixed + 30_000)
    shown, page, text = page_of(tmp_path, path)
    assert shown == (4, 0)
    assert "cut at 1,000 characters" in page.text
    assert len(text.encode()) <= fixed + 30_000
    monkeypatch.setattr(report_module, "MAX_BYTES", 1)
    assert page_of(tmp_path, path)[0] == (0, 4)


# --- conversations ---------------------------------------------------------------------------------------------------


def test_a_conversation():
    """What each call solved, what each sub-question needs and when it was solved, and the text of the environment."""
    spec = specs(1)[0]
    trajectory = played(["gold"], [spec])[0]
    shown = conversation(
        Attempt(benchmark="own", group="x", cluster="x", trajectory=trajectory, scores={"fixed": {"a": 1}}), spec
    )
    assert [(goal.number, goal.needs, goal.turn) for goal in shown.goals] == [(1, [], 1), (2, [1], 2)]
    assert [[call.solved for call in turn.calls] for turn in shown.turns] == [[[1]], [[2]], []]
    assert shown.turns[0].calls[0].arguments == 'x="Tides"'
    assert (shown.score, shown.solved, shown.kinds, shown.question) == (1.0, 2, [], spec.scenario.question)


def test_the_drawing_of_sub_questions():
    """A circle for each, an edge for each need; full where it was solved. Numbers only."""
    drawing = draw_goals([(0, 2), (1, 2)], [1, None, 3])
    assert drawing.count("<circle") == 3
    assert drawing.count("<path") == 2
    assert drawing.count('class="solved"') == 2
    assert "turn 3" in drawing
    assert "3 sub-questions, 2 solved" in drawing


def test_reward_parts():
    """Precision and completeness of turns with calls; how turns without calls end; failed rollouts are left out."""
    good, silent = played(["gold", "silent"])
    parts = reward_parts([good, silent, silent.model_copy(update={"stop": "error"})])
    assert parts.turns == 4
    values = parts.values
    assert (values["precision"], values["completeness"], values["calling"]) == (1.0, 1.0, 0.5)
    assert (values["right"], values["empty"], values["malformed"], values["nothing"]) == (0.5, 0.5, 0.0, 0.0)
    assert values["reward"] == pytest.approx((1 + 1 + 1 - 0.5) / 4)
    assert set(reward_parts([]).values.values()) == {None}


# --- what others wrote -----------------------------------------------------------------------------------------------


def poisoned():
    """An attempt with a hostile text in every field that can hold one, and its environment."""
    base = capital_spec()
    goals = (
        Goal(id=JSON_HOSTILE, tool=base.goals[0].tool, answer=infer(JSON_HOSTILE)),
        Goal(id="g2", tool=base.goals[1].tool, answer=infer("Velden"), needs=(JSON_HOSTILE,)),
    )
    scenario = base.scenario.model_copy(update={"question": JSON_HOSTILE, "answer": infer(JSON_HOSTILE)})
    spec = base.replace(goals=goals, scenario=scenario, gold_calls=None)
    trajectory = played(["spam"], [spec])[0]
    call = ToolCall(id="c", name=JSON_HOSTILE, arguments=orjson.dumps({JSON_HOSTILE: JSON_HOSTILE}).decode())
    broken = ToolCall(id="d", name="", arguments=JSON_HOSTILE)
    faults = (Fault(kind="unfinished", detail=JSON_HOSTILE),)
    message = Message(
        role="assistant", content=JSON_HOSTILE, thinking=JSON_HOSTILE, tool_calls=(call, broken), faults=faults
    )
    results = (ToolResult(call_id="c", content=JSON_HOSTILE), ToolResult(call_id="d", error="raised: " + JSON_HOSTILE))
    turn = trajectory.turns[0]
    completion = turn.completion.model_copy(update={"message": message})
    turn = turn.model_copy(update={"completion": completion, "results": results, "notice": JSON_HOSTILE})
    task = trajectory.task.model_copy(
        update={"goals": (goals[0].model_copy(update={"tool": JSON_HOSTILE}), *goals[1:])}
    )
    said = tuple(Message(role=role, content=JSON_HOSTILE) for role in ("system", "user"))
    update = {"task": task, "turns": (turn, turn), "prompt": said, "policy": JSON_HOSTILE}
    trajectory = trajectory.model_copy(update=update)
    failed = trajectory.model_copy(update={"stop": "error", "error": JSON_HOSTILE, "sample": 1})
    scores = {"fixed": {JSON_HOSTILE: 0.5, "solve_p": 1.0}}
    common = {
        "benchmark": JSON_HOSTILE,
        "group": JSON_HOSTILE,
        "cluster": JSON_HOSTILE,
        "facts": {JSON_HOSTILE: JSON_HOSTILE},
    }
    good = Attempt(**common, trajectory=trajectory, scores=scores)
    return [good, Attempt(**common, trajectory=failed)], spec


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory):
    """A page of hostile runs: attempts, another run of them, and a training run."""
    tmp_path = tmp_path_factory.mktemp("hostile")
    attempts, spec = poisoned()
    name = JSON_HOSTILE.replace("/", "").replace("\x00", "")[:80]
    first, second = write(tmp_path / f"{name}.jsonl", attempts), write(tmp_path / "b.jsonl", attempts)
    run = training_run(tmp_path / name)
    described = orjson.loads((run / "run.json").read_bytes())
    described |= {"command": [JSON_HOSTILE], "files": {JSON_HOSTILE: JSON_HOSTILE}, "version": JSON_HOSTILE}
    described |= {"packages": {JSON_HOSTILE: {"version": JSON_HOSTILE, "licence": JSON_HOSTILE}}}
    described["config"] |= {"model": JSON_HOSTILE, JSON_HOSTILE: JSON_HOSTILE}
    (run / "run.json").write_bytes(orjson.dumps(described))
    envs = write(tmp_path / "envs.jsonl", [spec])
    target = tmp_path / "page.html"
    write_report([first, second, run], target, envs=envs)
    return target


def test_nothing_hostile_gets_through(hostile_page):
    """Every tag and attribute is ours, the one script is ours, and no control or invisible character is on the page."""
    text = hostile_page.read_text(encoding="utf-8")
    page = Page(text)
    ours = importlib.resources.files("toolfoundry.analyze").joinpath("report.js").read_text()
    assert page.scripts == [ours]
    assert not {tag for tag, _ in page.elements} & {
        "img",
        "base",
        "iframe",
        "object",
        "embed",
        "link",
        "form",
        "foreignobject",
    }
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("src", "srcdoc", "action")}
    links = {attributes["href"] for _, attributes in page.elements if "href" in attributes}
    assert all(re.fullmatch(r"#\w+", link) for link in links)
    assert not FORBIDDEN & set(text)
    assert page.text.count("onerror=") > 30
    assert "{{ 7 * 7 }}" in page.text
    assert "</script><script>" in page.text
    depth = {
        tag: text.count(f"<{tag}") - text.count(f"</{tag}>") for tag in ("details", "div", "table", "section", "svg")
    }
    assert set(depth.values()) == {0}


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def rendered(page, fragment=""):
    """The document as a browser has it after the scripts ran."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]
    command = [CHROMIUM, *options, page.resolve().as_uri() + fragment]
    done = subprocess.run(command, capture_output=True, timeout=100, check=True)
    return done.stdout.decode()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser(hostile_page):
    """The hostile page keeps its title and its one script; ours runs: the filter is there, a link opens its place."""
    text = rendered(hostile_page, "#t2")
    page = Page(text)
    title = unescape(re.search(r"<title>(.*?)</title>", text, re.DOTALL)[1])
    assert title != "taken"
    assert len(page.scripts) == 1
    assert not page.of("img")
    [controls] = page.of("div", id="controls")
    assert "hidden" not in controls
    talks = page.of("details", class_="talk")
    assert f"{len(talks)} of {len(talks)}" in page.text
    assert ["open" in talk for talk in talks[:3]] == [False, True, False]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_filter_in_a_browser(tmp_path, two):
    """Choices narrow the list together, the count says how many are left, and a link to one that is hidden shows it."""
    _, _, text = page_of(tmp_path, two[0], two[1])
    driver = """<script>
      const set = (name, value) => { const one = document.querySelector("[name=" + name + "]"); one.value = value;
        one.dispatchEvent(new Event("input", {bubbles: true})); };
      const counts = () => document.getElementById("count").textContent;
      const seen = [];
      for (const [name, value] of [["run", "0"], ["score", "part"], ["text", "nowhere"], ["text", "TIDES"],
          ["kind", "gave_up"], ["kind", "premature_answer"], ["group", "0"], ["score", "unscored"]]) {
        set(name, value); seen.push(name + " " + counts()); }
      location.hash = "#t4";
      setTimeout(() => { seen.push("link " + counts() + " " + document.getElementById("t4").open);
        document.title = seen.join("; "); }, 500);
    </script></body>"""
    policy = re.search(r"<meta http-equiv[^>]*>", text)
    assert policy is not None
    driven = tmp_path / "driven.html"
    driven.write_text(text.replace(policy[0], "").replace("</body>", driver), encoding="utf-8")
    title = re.search(r"<title>(.*?)</title>", rendered(driven), re.DOTALL)
    assert title is not None
    assert title[1].split("; ") == [
        *("run 4 of 8", "score 2 of 8", "text 0 of 8", "text 2 of 8"),
        *("kind 0 of 8", "kind 2 of 8", "group 2 of 8", "score 0 of 8"),
        "link 8 of 8 true",
    ]


# --- wrong input -----------------------------------------------------------------------------------------------------


def test_what_holds_no_runs(tmp_path, two):
    """One line that names the file, what was found and what was expected; nothing is written."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jsonl").write_text("hello\n")
    for path in (tmp_path / "empty", tmp_path / "text.jsonl", tmp_path / "missing.jsonl", two[2]):
        with pytest.raises(InputError, match=re.escape(str(path))):
            write_report([path], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_without_extras(tmp_path, two, monkeypatch):
    """Without matplotlib the page says which extra draws the plots; without jinja2 there is none."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    _, page, text = page_of(tmp_path, *two[:2], training_run(tmp_path / "run"))
    assert "toolfoundry[plots]" in page.text
    assert not re.search(r"<svg(?! class=\"dag\")", text)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"toolfoundry\[report\]"):
        write_report([two[0]], tmp_path / "other.html")


def test_on_the_command_line(run, tmp_path, two):
    """Both commands, their files, and their exit codes."""
    before, after, envs = two
    target = tmp_path / "page.html"
    code, _, err = run("report", before, after, "--envs", envs, "-o", target, "--trajectories", 2)
    assert (code, "2 trajectories, 6 left out" in err) == (0, True)
    assert run("report", before, "-o", target)[0] == 6
    assert run("report", before, "-o", before, "--force")[0] == 6
    code, _, err = run("report", before, "-o", tmp_path, "--force")
    assert (code, "found a folder, expected a name for the page" in err) == (6, True)
    assert run("report", tmp_path / "missing", "-o", target, "--force")[0] == 3
    assert target.exists()
    code, out, _ = run("analyze", "behaviour", before, after, "--envs", envs, "--json")
    found = orjson.loads(out)
    assert [one["name"] for one in found["runs"]] == ["before", "after"]
    change = next(c for c in found["changes"] if (c["scenario"], c["figure"]) == ("all", "premature_answer"))
    assert (change["difference"], change["pairs"]) == (-0.5, 4)
    code, out, err = run("analyze", "behaviour", before, "-o", tmp_path / "b.md")
    assert code == 0
    assert "--envs" in err
    assert "premature answer" in out
    assert (tmp_path / "b.md").read_text().startswith("# Behaviour")
    assert run("analyze", "behaviour", before, "-o", tmp_path / "b.md")[0] == 6
    strangers = write(tmp_path / "strangers.jsonl", played(["gold"], [capital_spec(99)]))
    code, _, err = run("analyze", "behaviour", before, strangers)
    assert (code, "no scored environment in common" in err) == (3, True)
