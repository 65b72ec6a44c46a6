"""A whole run with TRL: rounds with the run's own step numbers, gone on with where it stopped."""

import pytest

pytest.importorskip("trl", reason="needs the extra train")

from toolfoundry.build.authors.procedural.profile import TINY
from toolfoundry.build.ledger import Ledger
from toolfoundry.build.pipeline import Recipe, build_on_cores
from toolfoundry.errors import InputError
from toolfoundry.store import read
from toolfoundry.train.config import load_preset
from toolfoundry.train.report import read_metrics
from toolfoundry.train.run import train
from toolfoundry.types import EnvSpec

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries


@pytest.fixture(scope="module")
def specs(tmp_path_factory) -> list[EnvSpec]:
    path = tmp_path_factory.mktemp("tiny") / "envs.jsonl"
    recipe = Recipe(profile=TINY, seed=21)
    with Ledger(path, "new", origin=recipe.origin) as ledger:
        build_on_cores(recipe, recipe.briefs(), ledger, count=3, jobs=1)
    return list(read(path, EnvSpec))


def settings(**changes):
    small = {
        "backend": "trl",
        "schedule": "constant",
        "warmup_steps": 0,
        "max_steps": 2,
        "steps_per_round": 1,
        "prompts_per_step": 2,
        "prompts_per_update": 2,
        "group_size": 4,
        "samples_per_device": 8,
        "max_response_tokens": 24,
    }
    return load_preset("tiny", **{**small, **changes})


def test_rounds_are_numbered_through_and_gone_on_with(specs, tmp_path):
    """Two rounds of a step each; resumed with more steps, the rounds that are over stay, and the next one follows."""
    folder = tmp_path / "run"
    train(settings(), specs, folder)
    first = list(read_metrics(folder / "metrics.jsonl"))
    assert all(row["cpu_s"]["step"] > 0 and row["time"] > 0 for row in first)
    assert [(row["step"], row["round"]) for row in first] == [(1, 0), (2, 1)]
    outcome = train(settings(max_steps=3), specs, folder, resume=True)
    rows = list(read_metrics(folder / "metrics.jsonl"))
    assert [(row["step"], row["round"]) for row in rows] == [(1, 0), (2, 1), (3, 2)]
    assert rows[:2] == first
    assert outcome.steps == 3
    assert (outcome.final / "model.safetensors").exists()


def test_what_trl_does_not_have_is_refused_before_anything_is_written(specs, tmp_path):
    """A schedule of our loop with TRL's trainer: the message says what to set, and there is no folder."""
    with pytest.raises(InputError, match="--set schedule=constant"):
        train(settings(schedule="trapezoid"), specs, tmp_path / "run")
    assert not (tmp_path / "run").exists()
