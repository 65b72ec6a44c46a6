"""Demonstrations: clean ones are gold play, and each habit spoils exactly what it says."""

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra train")

from toolfoundry.build.authors.procedural.profile import TINY
from toolfoundry.build.ledger import Ledger
from toolfoundry.build.pipeline import Recipe, build_on_cores
from toolfoundry.metrics import summarise
from toolfoundry.store import read
from toolfoundry.train.tiny.demonstrations import CLEAN, Habits, demonstrate, script
from toolfoundry.types import EnvSpec


@pytest.fixture(scope="module")
def specs(tmp_path_factory) -> list[EnvSpec]:
    path: Path = tmp_path_factory.mktemp("tiny") / "envs.jsonl"
    recipe = Recipe(profile=TINY, seed=11)
    with Ledger(path, "new", origin=recipe.origin) as ledger:
        build_on_cores(recipe, recipe.briefs(), ledger, count=40, jobs=1)
    return list(read(path, EnvSpec))


def means(specs, habits, sandbox, **options):
    played = asyncio.run(demonstrate(specs, habits, sandbox, **options))
    assert [t.task.spec_id for t in played] == [spec.id for spec in specs]
    return {name: metric.mean for name, metric in summarise(played)[0].overall.metrics.items()}


def test_clean_demonstrations_are_perfect(specs, sandbox):
    """Without a habit every demonstration scores 1."""
    assert means(specs, CLEAN, sandbox)["score"] == 1.0


def test_redundant_calls_cost_precision_alone(specs, sandbox):
    """Repeated calls leave recall and answers as they are."""
    found = means(specs, Habits(redundant=1.0), sandbox)
    assert found["solve_p"] < 0.7
    assert found["solve_r"] == 1.0
    assert found["answer"] == 1.0


def test_curt_answers_lack_all_parts_but_the_first(specs, sandbox):
    """The calls stay gold; answers with one part stay right."""
    several = [spec for spec in specs if "parallel" in (spec.scenario.kind or "")]
    found = means(several, Habits(curt=1.0), sandbox)
    assert found["answer"] == 0.0
    assert found["solve_f1"] == 1.0
    single = [spec for spec in specs if spec not in several]
    assert means(single, Habits(curt=1.0), sandbox)["answer"] == 1.0


def test_hasty_demonstrators_leave_goals_open(specs, sandbox):
    """Where there is more than one goal, the last turn of calls is left out, and the answer is a guess."""
    several = [spec for spec in specs if len(spec.goals) > 1]
    found = means(several, Habits(hasty=1.0), sandbox)
    assert found["solve_p"] == 1.0
    assert found["solve_r"] < 1.0
    assert found["answer"] < 0.5


def test_serial_demonstrators_take_more_turns(specs, sandbox):
    """Calls one by one: the same calls, more turns."""
    serial, clean = means(specs, Habits(serial=1.0), sandbox), means(specs, CLEAN, sandbox)
    assert serial["calls"] == clean["calls"]
    assert serial["turns"] > clean["turns"]
    assert serial["score"] == 1.0


def test_a_demonstration_depends_on_its_seed_alone(specs):
    """The same seed gives the same script, another seed another."""
    habits = Habits(redundant=0.5, curt=0.5)
    first = [script(spec, habits, seed=1) for spec in specs]
    assert first == [script(spec, habits, seed=1) for spec in specs]
    assert first != [script(spec, habits, seed=2) for spec in specs]


def test_thinking_stands_before_the_calls(specs):
    """With thinking, each turn begins with a plan of its calls in words."""
    for message in script(specs[0], CLEAN, thinking=True)[:-1]:
        assert message.thinking
        assert message.tool_calls[0].name.replace("_", " ") in message.thinking
