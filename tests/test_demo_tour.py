"""`toolfoundry demo`: the newcomer's first command, what it leaves behind, and when it must not end well."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from toolfoundry.demo import training
from toolfoundry.errors import FoundryError
from toolfoundry.intervals import Difference
from toolfoundry.train.report import Call, Said

TOUR = [
    "environments.jsonl",
    "environments.rejects.jsonl",
    "report.html",
    "trajectories.jsonl",
    "trajectories.run.json",
]
ROSE = Difference(mean=0.2, low=0.1, high=0.3, n=200)


def judge(**changed):
    training._judge(**{"missing": [], "unscored": 0, "reward": (0.5, 0.7), "solve_f1": ROSE, **changed})


def test_demo_without_training(run, tmp_path, monkeypatch):
    """Without the extra `train`: one line says what to install, and all the rest works."""
    monkeypatch.setattr(training, "_NEEDED", ("a_package_that_nobody_has",))
    code, out, err = run("demo", "-o", tmp_path / "demo")
    assert code == 0, err
    assert "gold is at 1.000" in out
    assert "pip install 'toolfoundry[train]'" in out
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == TOUR


@pytest.mark.slow
def test_demo(run, tmp_path):
    """The whole of it, from a seed to a policy that has learned."""
    pytest.importorskip("torch", reason="needs the extra train")
    code, out, err = run("demo", "-o", tmp_path / "demo")
    assert code == 0, err
    assert "after: score" in out
    assert (tmp_path / "demo" / "training" / "curves.png").exists()


def test_the_training_chapter(tmp_path, monkeypatch):
    """Environments, both tables, figures of the steps, two trajectories, all files; and what is judged of it."""
    torch = pytest.importorskip("torch", reason="needs the extra train")
    from toolfoundry.train.tiny.model import SIZES, build_model
    from toolfoundry.train.tiny.tokenizer import build_tokenizer

    torch.set_num_threads(1)
    tokenizer = build_tokenizer()
    build_model(tokenizer, next(iter(SIZES.values())), seed=0).save_pretrained(tmp_path / "start")
    tokenizer.save_pretrained(tmp_path / "start")
    judged = {}
    monkeypatch.setattr(training, "MODEL", str(tmp_path / "start"))
    monkeypatch.setattr(training, "_judge", lambda **found: judged.update(found))
    monkeypatch.setattr("toolfoundry.train.tiny.warmstart.os.cpu_count", lambda: 1)
    for name, value in {"_STEPS": 2, "_TRAIN": 4, "_HELD_OUT": 3}.items():
        monkeypatch.setattr(training, name, value)
    shown = io.StringIO()
    folder = tmp_path / "demo"
    folder.mkdir()
    training.train_chapter(folder, Console(file=shown, width=100))
    assert "4 environments to train on" in shown.getvalue()
    assert "3 environments held out" in shown.getvalue()
    assert "step 2 · reward" in shown.getvalue()
    assert "before: score" in shown.getvalue()
    assert (judged["missing"], judged["unscored"]) == ([], 0)
    assert judged["solve_f1"].n == 3
    assert len(judged["reward"]) == 2
    assert {"report.html", "curves.png", "final"} <= {path.name for path in (folder / "training").iterdir()}
    assert {"train.jsonl", "held-out.jsonl"} <= {path.name for path in folder.iterdir()}


def test_a_training_that_worked():
    """All there, all scored, the reward rose, Solve-F1 did not fall: by chance alone it may be a little less."""
    judge()
    judge(solve_f1=Difference(mean=-0.01, low=-0.03, high=0.01, n=200))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"missing": ["curves.png", "report.html"]}, r"left no curves\.png, report\.html"),
        ({"unscored": 3}, "3 responses or rollouts"),
        ({"reward": (0.5, 0.5)}, r"did not rise: found 0\.500, then 0\.500"),
        ({"reward": None}, "did not rise: found nothing"),
        ({"solve_f1": Difference(mean=-0.2, low=-0.3, high=-0.1, n=200)}, r"fell: found -0\.200"),
        ({"solve_f1": Difference(mean=0.5, low=None, high=None, n=1)}, "fell"),
        ({"solve_f1": None}, "fell: found nothing"),
    ],
)
def test_a_training_that_did_not_work(changed, message):
    """Each of the things that the demo promises is looked at: exit code 0 means that all of them hold."""
    with pytest.raises(FoundryError, match=message):
        judge(**changed)


def test_what_a_model_said_is_shown_as_text():
    """Markup and escapes of a model in the side-by-side table."""
    console = Console(file=io.StringIO(), width=200)
    call = Call("[red]tool[/red]", "\x1b[2J{}", "[link=x]result", True)
    console.print(training._turn(Said("", "[bold]hi[/bold]", [call], [], "", None)))
    text = console.file.getvalue()
    assert "[red]tool[/red] \\x1b[2J{}" in text
    assert "[link=x]result" in text
    assert "[bold]hi[/bold]" in text
    assert "reward not scored" in text
