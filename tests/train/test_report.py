"""The report of a training run: what it says, what it draws, and that nothing which others wrote runs in it."""

from __future__ import annotations

import importlib.util
import random
import re
from html.parser import HTMLParser

import orjson
import pytest

from fakes import TABLE, CannedExecutor, capital_spec
from toolfoundry import __version__
from toolfoundry.errors import InputError, MissingExtra
from toolfoundry.intervals import Difference
from toolfoundry.metrics import summarise
from toolfoundry.policies.scripted import make
from toolfoundry.store import RecordWriter
from toolfoundry.train.config import load_preset
from toolfoundry.train.curves import cpu_by_part, curves, first_and_last
from toolfoundry.train.report import changes, most_improved, said, write_report
from toolfoundry.types import Trajectory

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}\x1b[2J\u202e"
PNG = b"\x89PNG\r\n\x1a\n"


class Tags(HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {(name, value) for name, value in attrs}

    def handle_data(self, data):
        self.text += data


def row(step, round_=0, **values):
    """One step's metrics, as a run logs them."""
    return {
        "step": step,
        "round": round_,
        "reward": 0.5 + 0.01 * step,
        "solve_p": 0.5,
        "answer": None if step % 2 else 0.5,
        "flat_groups": 0.75,
        "malformed": 0.0,
        "kl": None,
        "entropy": 0.2,
        "tokens": 20.0,
        "unscored": 0,
        "cpu_s": {"prompt": 0.25, "generate": 0.5, "reward": 0.25, "train": 1.0, "save": 0.5},
        **values,
    }


@pytest.fixture(scope="module")
def played():
    """The same environments, played silently and by gold."""
    import asyncio

    from toolfoundry.rollout import Job, run_rollouts

    specs = [
        spec.replace(scenario=spec.scenario.model_copy(update={"kind": "multi_hop"}))
        for spec in (capital_spec(number) for number in range(4))
    ]
    tools = CannedExecutor(TABLE)

    async def play(name):
        jobs = [Job(spec) for spec in specs]
        found = [t async for t in run_rollouts(jobs, lambda spec, _: make(name, spec), tools, name="policy")]
        return sorted(found, key=lambda trajectory: trajectory.task.spec_id)

    return asyncio.run(play("silent")), asyncio.run(play("gold"))


def run_folder(path, rows, played=(), **config):
    """A run's folder, as training leaves it."""
    path.mkdir(exist_ok=True)
    described = load_preset("tiny", **config).model_dump(mode="json")
    about = {"version": __version__, "threads": 1, "packages": {"torch": {"version": "2", "licence": "BSD"}}}
    (path / "run.json").write_bytes(orjson.dumps({"toolfoundry": "training", "config": described, **about}))
    (path / "metrics.jsonl").write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in rows))
    for when, trajectories in zip(("before", "after"), played, strict=False):
        with RecordWriter(path / f"{when}.jsonl", Trajectory) as writer:
            for trajectory in trajectories:
                writer.write(trajectory)
        (path / f"{when}.json").write_bytes(summarise(trajectories)[0].model_dump_json().encode())
    return path


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_curves_have_the_metrics_that_were_measured():
    """A metric without a value has no curve, and a step without a value no point: None is not 0."""
    panels = {panel.title: panel for panel in curves([row(step) for step in range(1, 5)])}
    assert list(panels) == [
        *("Reward", "Solve-P", "Final answers right", "Flat groups", "Malformed", "Entropy", "Response length")
    ]
    assert (panels["Final answers right"].steps, panels["Final answers right"].values) == ([2, 4], [0.5, 0.5])
    assert "KL from the start" in {panel.title for panel in curves([row(1, kl=0.1)])}
    sft = [{"step": 10, "loss": 2.0, "token_accuracy": 0.5, "grad_norm": 1.0}]
    assert [panel.title for panel in curves(sft)] == ["Loss", "Tokens right", "Gradient norm"]
    assert curves([]) == []


def test_cpu_seconds_by_part():
    """Rendering prompts is part of generating; what is not known by name is not lost."""
    assert cpu_by_part([row(1), row(2)]) == {"generate": 1.5, "reward": 0.5, "train": 2.0, "other": 1.0}
    assert cpu_by_part([{"step": 1}]) == {}


def test_first_and_last():
    """Means over the first and the last fifth; nothing to compare in less than two steps."""
    rows = [row(step, reward=float(step)) for step in range(1, 11)]
    assert first_and_last(rows, "reward") == (1.5, 9.5)
    assert first_and_last(rows[:1], "reward") is None
    assert first_and_last(rows, "kl") is None


def test_changes_are_paired(played):
    """The change of each metric over the same environments: silent scored 0, gold 1, and an answer was given."""
    silent, gold = played
    before, after = summarise(silent)[0], summarise(gold)[0]
    table = changes(before, after, silent, gold)
    assert [line.scenario for line in table] == ["all", "multi hop"]
    names = ["solve_p", "solve_r", "solve_f1", "answer", "malformed", "score"]
    cells = dict(zip(names, table[0].cells, strict=True))
    assert cells["solve_f1"].difference == Difference(mean=1.0, low=1.0, high=1.0, n=4)
    assert cells["malformed"].difference == Difference(mean=0.0, low=0.0, high=0.0, n=4)
    assert (cells["score"].before.mean, cells["score"].after.mean) == (0.0, 1.0)
    mixed = changes(None, after, [*silent[:2], *gold[2:]], gold)[0].cells[2].difference
    assert mixed.mean == 0.5
    assert mixed.low == pytest.approx(0.5 - 3.182446 * (1 / 3) ** 0.5 / 2)  # 0, 0, 1, 1: variance 1/3 over n - 1; t(3)
    assert changes(None, None) == []
    alone = changes(before, None)
    assert (alone[0].cells[0].after, alone[0].cells[0].difference) == (None, None)


def test_unscored_rollouts_are_in_no_change(played):
    """A rollout that failed has no score: its environment is left out, not counted as 0."""
    silent, gold = played
    failed = [silent[0].model_copy(update={"stop": "error", "error": "the sandbox died"}), *silent[1:]]
    table = changes(summarise(failed)[0], summarise(gold)[0], failed, gold)
    assert table[0].cells[2].difference.n == 3


def test_the_shown_environment(played):
    """That whose score rose most; among equals the first id, whatever the order of the files."""
    silent, gold = played
    shuffled = list(gold)
    random.Random(1).shuffle(shuffled)
    pair = most_improved(silent, shuffled)
    assert (pair.was, pair.now) == (0.0, 1.0)
    assert pair.after.task.spec_id == min(t.task.spec_id for t in gold)
    assert pair.before.task.spec_id == pair.after.task.spec_id
    one = max(t.task.spec_id for t in gold)
    assert most_improved([t for t in silent if t.task.spec_id == one], gold).after.task.spec_id == one
    assert most_improved([], gold) is None


def test_said(played):
    """Calls with their results and rewards; a turn that was not scored has none."""
    turns = said(played[1][0])
    assert [len(turn.calls) for turn in turns] == [1, 1, 0]
    assert [turn.reward for turn in turns] == [1.0, 1.0, 1.0]
    assert not turns[0].calls[0].failed
    assert turns[0].calls[0].result
    unscored = played[1][0].model_copy(
        update={"turns": tuple(t.model_copy(update={"reward": None}) for t in played[1][0].turns)}
    )
    assert {turn.reward for turn in said(unscored)} == {None}


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_of_a_run(tmp_path, played):
    """Curves, the table, both trajectories, configuration and versions; a PNG. No script, nothing loaded."""
    pytest.importorskip("matplotlib", reason="needs the extra plots")
    rows = [row(step, round_=step // 4) for step in range(1, 13)]
    target = write_report(run_folder(tmp_path / "run", rows, played))
    assert target == tmp_path / "run" / "report.html"
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(PNG)
    text = target.read_text(encoding="utf-8")
    found = Tags(text)
    assert text.count("<svg") == 8
    assert not found.tags & {"script", "img", "link", "iframe", "object"}
    assert not {value for name, value in found.attributes if name in ("src", "href") and not value.startswith("#")}
    shown = re.sub(r"\s+", " ", found.text)
    assert "Training run: grpo" in shown
    assert "12 steps in 4 rounds, 30 CPU seconds" in shown
    assert "0.00 → 1.00" in shown
    assert "1.000 ±0.000" in shown
    assert "+1.00 [+1.00, +1.00]" in shown
    assert "before: score 0.00" in shown
    assert "reward 1.00" in shown
    assert "learning_rate" in shown
    assert "reward not scored" not in shown


def test_nothing_rose(tmp_path, played):
    """The page does not speak of a rise where there was none."""
    run = run_folder(tmp_path / "run", [], [played[1], played[0]])
    text = write_report(run).read_text(encoding="utf-8")
    assert "no score rose" in text
    assert "rose most" not in text


def test_what_others_wrote_stays_text(tmp_path, played):
    """Markup, template code and escapes in messages, calls, results and settings come out as they are."""
    pytest.importorskip("matplotlib", reason="needs the extra plots")

    def poisoned(trajectory):
        turns = []
        for turn in trajectory.turns:
            message = turn.completion.message
            calls = tuple(
                call.model_copy(update={"name": HOSTILE, "arguments": HOSTILE}) for call in message.tool_calls
            )
            message = message.model_copy(update={"content": HOSTILE, "thinking": HOSTILE, "tool_calls": calls})
            results = tuple(result.model_copy(update={"content": HOSTILE}) for result in turn.results)
            completion = turn.completion.model_copy(update={"message": message})
            turns.append(turn.model_copy(update={"completion": completion, "results": results, "notice": HOSTILE}))
        prompt = tuple(message.model_copy(update={"content": HOSTILE}) for message in trajectory.prompt)
        return trajectory.model_copy(update={"turns": tuple(turns), "prompt": prompt})

    hostile = [[poisoned(trajectory) for trajectory in part] for part in played]
    run = run_folder(tmp_path / "run", [row(1), row(2, **{"cpu_s": {HOSTILE: 1.0}})], hostile, model=HOSTILE)
    text = write_report(run).read_text(encoding="utf-8")
    found = Tags(text)
    assert "<script>alert(1)</script>" in found.text
    assert "{{ 7 * 7 }}" in found.text
    assert "49" not in re.findall(r">\s*49\s*<", text)
    assert not found.tags & {"script", "img"}
    assert not {"\x1b", "\u202e"} & set(text)


def test_a_run_without_evaluation(tmp_path):
    """SFT, interrupted, nothing held out: curves of the loss, no table, a half line at the end of the metrics."""
    pytest.importorskip("matplotlib", reason="needs the extra plots")
    rows = [{"step": 10 * i, "loss": 3.0 / i, "token_accuracy": 0.5, "cpu_s": {"train": 1.0}} for i in range(1, 4)]
    run = run_folder(tmp_path / "run", rows, algorithm="sft")
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step":40,"lo')
    shown = Tags(write_report(run).read_text(encoding="utf-8")).text
    assert "3.00 → 1.00" in shown
    assert "30 steps" in re.sub(r"\s+", " ", shown)
    assert "Held-out" not in shown
    assert (run / "curves.png").exists()


def test_a_run_without_steps(tmp_path):
    """Begun and killed before the first step: the page says so, and there is no empty picture."""
    run = run_folder(tmp_path / "run", [])
    assert "No step has been logged." in write_report(run).read_text(encoding="utf-8")
    assert sorted(path.name for path in run.iterdir()) == ["metrics.jsonl", "report.html", "run.json"]


def test_without_plots(tmp_path, played, monkeypatch):
    """Without matplotlib the page is written, and says in one line which extra draws the curves."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    run = run_folder(tmp_path / "run", [row(1), row(2)], played)
    text = write_report(run).read_text(encoding="utf-8")
    assert "pip install" in Tags(text).text
    assert "toolfoundry[plots]" in Tags(text).text
    assert "<svg" not in text
    assert not (run / "curves.png").exists()


def test_without_jinja(tmp_path, monkeypatch):
    """The page itself needs the extra `report`."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"toolfoundry\[report\]"):
        write_report(run_folder(tmp_path / "run", [row(1)]))


@pytest.mark.parametrize("content", [None, b"[]", b"{", b"{}"])
def test_a_folder_that_is_no_run(tmp_path, content):
    """One line that names the file."""
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=r"run\.json"):
        write_report(tmp_path)


def test_a_broken_summary(tmp_path):
    """One line that names the file."""
    run = run_folder(tmp_path / "run", [row(1)])
    (run / "after.json").write_bytes(b'{"policy": 1}')
    with pytest.raises(InputError, match=r"after\.json"):
        write_report(run)
