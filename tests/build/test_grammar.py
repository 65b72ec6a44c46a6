from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from statistics import mean

import pytest

from toolfoundry.answers import holds, spelling
from toolfoundry.build.authors.procedural.catalogue import facts, kinds
from toolfoundry.build.authors.procedural.catalogue.computing import computed
from toolfoundry.build.authors.procedural.names import PATTERNS, class_of, name_class
from toolfoundry.build.authors.procedural.plan import Plan
from toolfoundry.build.authors.procedural.profile import FTRL, HARD, Profile, Span, Split
from toolfoundry.build.authors.procedural.scenarios import make_plan
from toolfoundry.build.draft import Step
from toolfoundry.computations import follow
from toolfoundry.symbolic import references
from toolfoundry.types import ScenarioKind

N = 2400


@cache
def plans(name: str = "ftrl") -> list[Plan]:
    return [
        make_plan({"ftrl": FTRL, "hard": HARD}[name], 9, "train", index)
        for index in range(N if name == "ftrl" else 300)
    ]


def kind_of(steps: tuple[Step, ...]) -> ScenarioKind:
    roots = sum(not step.needs for step in steps)
    if roots == len(steps):
        return "single_hop" if roots == 1 else "parallel_single_hop"
    return "multi_hop" if roots == 1 else "parallel_multi_hop"


def by_kind(name: str = "ftrl") -> dict[ScenarioKind, list[Plan]]:
    found: dict[ScenarioKind, list[Plan]] = {}
    for plan in plans(name):
        found.setdefault(kind_of(plan.decomposition.steps), []).append(plan)
    return found


@pytest.mark.parametrize("profile", [FTRL, HARD], ids=lambda profile: profile.name)
def test_shares_goals_and_words_are_those_of_the_profile(profile: Profile):
    total = len(plans(profile.name))
    for kind, found in by_kind(profile.name).items():
        share = profile.shares[kind] / sum(profile.shares.values())
        assert abs(len(found) / total - share) < 0.07
        sizes = [len(plan.decomposition.steps) for plan in found]
        span = profile.goals[kind]
        assert span.low <= min(sizes) <= max(sizes) <= span.high
        words = mean(len(plan.decomposition.question.split()) for plan in found)
        tolerance = 0.1 if profile is FTRL else 0.15  # fewer plans, so a wider margin
        assert mean(sizes) == pytest.approx(span.mean, rel=tolerance)
        assert words == pytest.approx(profile.words[kind], rel=tolerance), kind


def test_all_questions_are_distinct():
    questions = [plan.decomposition.question for plan in plans()]
    assert len(set(questions)) == len(questions)


def test_no_answer_stands_in_the_question_or_in_its_own_sub_question():
    for plan in plans()[:800]:
        scenario = plan.decomposition
        for step in scenario.steps:
            assert not holds(step.answer, scenario.question), scenario.question
            assert not holds(step.answer, step.question), step.question
        assert not holds(scenario.answer, scenario.question), scenario.question


def test_sub_answers_differ_and_the_final_answer_follows_from_them():
    for plan in plans():
        scenario = plan.decomposition
        answers = {step.id: step.answer for step in scenario.steps}
        assert follow(scenario.final, answers) == scenario.answer
        given = [str(look.answer.value).lower() for look in plan.lookups if look.function.group != "computation"]
        assert len(set(given)) == len(given)


def test_a_later_step_names_its_parents_only_by_reference():
    """Its needs are exactly what its look-up refers to, and none of its parents' names or roots stands in it."""
    for plan in plans()[:800]:
        seen: list[str] = []
        for step, look in zip(plan.decomposition.steps, plan.lookups, strict=True):
            assert look.step == step.id
            assert look.answer == step.answer
            assert set(references(dict(look.arguments))) == set(step.needs)
            assert step.question.endswith("?")
            if step.needs:
                assert not [name for name in seen if name in step.question], step.question
            seen += [
                value for value in look.arguments.values() if isinstance(value, str) and name_class(value) is not None
            ]


def test_questions_have_no_loose_ends():
    for plan in plans():
        for text in (plan.decomposition.question, *(step.question for step in plan.decomposition.steps)):
            bare = text.replace("{s", "")
            assert "{}" not in text
            assert "{q}" not in text
            assert "  " not in text
            assert "the the " not in text
            assert " ?" not in text
            assert bare[0].isupper() or bare[0].isdigit()
        assert "{" not in plan.decomposition.question
        assert plan.decomposition.question[-1] in ".?"


def test_aggregated_answers_are_no_ties():
    for plan in plans():
        scenario = plan.decomposition
        if scenario.final.operation == "difference":
            assert isinstance(scenario.answer.value, int | float)
            assert abs(scenario.answer.value) > 0
        if scenario.final.operation.startswith(("name_with", "rank")):
            answers = {step.id: step.answer.value for step in scenario.steps}
            column = scenario.final.arguments.get("values") or scenario.final.arguments["dates"]
            values = [answers[step] for step in references(column)]
            assert len(set(map(str, values))) == len(values)


def shape(steps: tuple[Step, ...]) -> tuple[str, ...]:
    """Colours of the nodes after refinement over both directions: equal for isomorphic graphs."""
    colours = {step.id: "" for step in steps}
    for _ in range(len(steps)):
        after = {s.id: sorted(colours[o.id] for o in steps if s.id in o.needs) for s in steps}
        fresh = {s.id: repr((sorted(colours[need] for need in s.needs), after[s.id])) for s in steps}
        ranks = {text: str(rank) for rank, text in enumerate(sorted(set(fresh.values())))}
        colours = {name: f"{ranks[text]}" for name, text in fresh.items()}
    edges = sorted(f"{colours[need]}>{colours[s.id]}" for s in steps for need in s.needs)
    return (*sorted(colours.values()), *edges)


def test_graphs_have_many_shapes():
    shapes = Counter(shape(plan.decomposition.steps) for plan in plans())
    assert len(shapes) >= 60
    joins = sum(any(len(step.needs) > 1 for step in plan.decomposition.steps) for plan in plans())
    assert joins > 0.06 * len(plans())


def test_most_functions_are_asked_for():
    used = {look.function.id for plan in plans() for look in plan.lookups}
    assert len(used) > 330


def test_the_final_answer_is_mostly_the_last_one_in_chains_and_worked_out_in_parallel():
    found = by_kind()
    operations = {kind: Counter(plan.decomposition.final.operation for plan in some) for kind, some in found.items()}
    assert set(operations["single_hop"]) == {"answer"}
    assert operations["multi_hop"]["answer"] >= 0.85 * len(found["multi_hop"])
    for kind in ("parallel_single_hop", "parallel_multi_hop"):
        left = len(found[kind]) - operations[kind]["answer"] - operations[kind]["list"]
        assert left / len(found[kind]) == pytest.approx(FTRL.aggregate, abs=0.08)
    assert operations["parallel_single_hop"]["answer"] == 0


def test_names_come_from_the_class_of_seed_and_split():
    for split in ("train", "dev", "test"):
        for index in range(60):
            plan = make_plan(FTRL, 12, split, index)
            names = [name for kind in PATTERNS for name in plan.world.known(kind)]
            assert {name_class(name) for name in names} <= {class_of(12, split)}


def test_held_out_relations_and_wordings_are_not_shared_between_splits():
    profile = FTRL.model_copy(update={"hold_out": ("relations", "wordings")})
    used: dict[Split, set[str]] = {"train": set(), "dev": set(), "test": set()}
    for split, functions in used.items():
        for index in range(120):
            plan = make_plan(profile, 4, split, index)
            functions |= {look.function.id for look in plan.lookups if look.function.group != "computation"}
    assert not used["train"] & used["dev"] | used["train"] & used["test"] | used["dev"] & used["test"]
    assert all(len(functions) > 40 for functions in used.values())


def test_the_same_arguments_give_the_same_bytes_in_another_process():
    code = (
        "from toolfoundry.build.authors.procedural.profile import HARD\n"
        "from toolfoundry.build.authors.procedural.scenarios import make_plan\n"
        "for i in range(25):\n"
        "    p = make_plan(HARD, 31, 'dev', i)\n"
        "    print(p.decomposition.model_dump_json(), [(k.function.id, dict(k.arguments)) for k in p.lookups])\n"
        "    print(p.world.entities('town', 3), p.seed)\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True)
        for seed in ("0", "1")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout) > 10_000


def test_another_seed_or_index_is_another_question():
    questions = {make_plan(FTRL, seed, "train", index).decomposition.question for seed in (1, 2) for index in range(50)}
    assert len(questions) == 100


PAGE = Path(__file__).parents[2] / "docs" / "world.md"


def test_the_questions_on_the_page_are_those_of_the_set():
    """If this fails, the sets of a seed have changed: a new version, and new examples."""
    examples = re.findall(r"^- `(\d+)` \((\d+) steps?, (\w+)\) (.*) → (.*)$", PAGE.read_text(), re.MULTILINE)
    assert len(examples) == 12
    for index, steps, operation, question, answer in examples:
        scenario = make_plan(FTRL, 0, "train", int(index)).decomposition
        found = (str(len(scenario.steps)), scenario.final.operation, scenario.question, spelling(scenario.answer))
        assert found == (steps, operation, question, answer)


def test_the_table_on_the_page_is_the_catalogue():
    page = PAGE.read_text()
    for kind in kinds().values():
        groups = [fact.function.group for fact in facts().values() if fact.function.subject == kind.name]
        counts = " | ".join(str(groups.count(group)) for group in ("relation", "attribute", "event"))
        assert f"| {kind.name} | {kind.domain} | {counts} |" in page
    assert f"{len(kinds())} types of things" in page
    assert f"{len(facts())} facts" in page
    assert f"{len(computed())} computations" in page


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("single_hop", (1,)),
        ("parallel_single_hop", (2, 6)),
        ("multi_hop", (2, 3, 7, 18)),
        ("parallel_multi_hop", (3, 4, 9, 24)),
    ],
)
def test_every_size_and_knob_gives_scenarios(kind: ScenarioKind, sizes: tuple[int, ...]):
    for size in sizes:
        for share, hold_out in ((0.0, ()), (1.0, ()), (0.5, ("relations",))):
            profile = FTRL.model_copy(
                update={
                    "shares": {kind: 1.0},
                    "goals": FTRL.goals | {kind: Span(low=size, high=size, mean=size)},
                    "aggregate": share,
                    "merged": share,
                    "hold_out": hold_out,
                }
            )
            for index in range(6):
                steps = make_plan(profile, 1, "test", index).decomposition.steps
                assert (len(steps), kind_of(steps)) == (size, kind)
