"""The gallery draws what the environments say, and nothing that they could do."""

import re

import pytest

from fakes import capital_spec
from toolfoundry.demo import environments
from toolfoundry.gallery import draw_graph, one_of_each, render_gallery, render_one
from toolfoundry.store import RecordWriter
from toolfoundry.types import EnvSpec

pytest.importorskip("jinja2", reason="needs the extra report")


def test_one_of_each_scenario_and_the_first():
    """Four environments, in the order of the scenarios, whatever the order of the set; the first of each counts."""
    specs = environments()
    chosen = one_of_each(specs)
    assert [spec.scenario.kind for spec in chosen] == [
        "single_hop",
        "parallel_single_hop",
        "multi_hop",
        "parallel_multi_hop",
    ]
    assert all(spec == next(s for s in specs if s.scenario.kind == spec.scenario.kind) for spec in chosen)


def test_the_graph_has_a_box_for_each_goal_and_an_edge_for_each_need():
    """Boxes: goals and the final answer. Edges: needs, and those that the final answer follows from."""
    for spec in environments():
        drawing = draw_graph(spec)
        needs = sum(len(goal.needs or ()) for goal in spec.goals)
        needed = {need for goal in spec.goals for need in goal.needs or ()}
        assert drawing.count("<rect") == len(spec.goals) + 1
        assert needs + len([g for g in spec.goals if g.id not in needed]) <= drawing.count("<path")
        places = re.findall(r'<rect x="([\d.-]+)" y="([\d.]+)"', drawing)
        assert len(set(places)) == len(places), "no box lies on another"


def test_texts_of_others_stay_texts():
    """Markup and control characters in an environment are shown, in the drawing too."""
    spec = capital_spec(0)
    evil = '<script>alert("x")</script>\x1b[31m'
    goals = tuple(g.model_copy(update={"answer": g.answer.model_copy(update={"value": evil})}) for g in spec.goals)
    scenario = spec.scenario.model_copy(update={"question": evil})
    page = render_one(spec.replace(goals=goals, scenario=scenario))
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page


def test_a_page_of_a_set(run, tmp_path):
    """The command shows one environment of each scenario of a set and overwrites nothing unasked."""
    with RecordWriter(tmp_path / "envs.jsonl", EnvSpec) as writer:
        for spec in environments():
            writer.write(spec)
    page = tmp_path / "page.html"
    code, _, err = run("gallery", tmp_path / "envs.jsonl", "-o", page)
    assert (code, err.strip()) == (0, f"4 environments on {page}")
    assert page.read_text().count('class="env"') == 4
    assert "http" not in page.read_text().replace("http-equiv", "")
    assert run("gallery", tmp_path / "envs.jsonl", "-o", page)[0] == 6
    empty = tmp_path / "empty.jsonl"
    with RecordWriter(empty, EnvSpec):
        pass
    code, _, err = run("gallery", empty, "-o", page, "--force")
    assert code == 3
    assert "found no environment" in err


def test_each_profile_from_a_seed(run, tmp_path):
    """Without a set there are twelve, the same bytes each time."""
    for name in ("a.html", "b.html"):
        assert run("gallery", "-o", tmp_path / name)[0] == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert (tmp_path / "a.html").read_text().count('class="env"') == 12


def test_no_sections_is_a_page():
    """A page without environments has its head and nothing else."""
    assert "Gallery" in render_gallery([])
