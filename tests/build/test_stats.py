"""Sets side by side: counts that can be redone by hand, shapes, diversity, tables, and a page that runs nothing."""

from __future__ import annotations

import doctest
import importlib
import io
import itertools
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from check.audit_specs import GOALS, QUESTION, TEXT, environment, schema
from toolfoundry.answers import infer
from toolfoundry.errors import MissingExtra
from toolfoundry.formats.ftrl import read_ftrl
from toolfoundry.stats import (
    Distinct,
    Measurement,
    SetStatistics,
    base_name,
    compare_sets,
    measure,
    print_statistics,
    render_statistics,
)
from toolfoundry.stats.compare import common_checkpoint, sections
from toolfoundry.stats.measure import _Bitmap
from toolfoundry.stats.records import mean
from toolfoundry.stats.shapes import draw_shape, layers, shape_key
from toolfoundry.types import EnvSpec, Goal, Tool

measure_module = importlib.import_module("toolfoundry.stats.measure")  # the package has a function of that name
shapes_module = importlib.import_module("toolfoundry.stats.shapes")

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[bold red]x[/bold red][link=https://example.org]",
    "\x1b[2J\u202egnp.exe",
    "{{ 7 * 7 }}",
    "$x^2$",
)


def single(name: str, question: str, *, goals: int = 1) -> EnvSpec:
    """A single-hop environment with one tool of that name and parameters of several types."""
    properties = {
        "town": TEXT,
        "year": {"type": "integer", "minimum": 1, "default": 2020},
        "kinds": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
        "filter": {"type": "object", "properties": {"day": {"type": "string", "format": "date"}}},
        "both": {"type": ["string", "null"]},
        "free": {},
    }
    tool = Tool(signature=schema(name, ["town", "year"], **properties), source="def f():\n    return 1\n")
    answers = tuple(Goal(id=f"g{i}", tool=name, answer=infer(f"Quellmarsh {i}")) for i in range(goals))
    return environment(question=question, tools=(tool,), goals=answers, gold_calls=None, kind="single_hop")


def printed(sets: list[SetStatistics], width: int = 120) -> str:
    file = io.StringIO()
    print_statistics(sets, Console(file=file, width=width, force_terminal=True, color_system=None))
    return file.getvalue()


# --- counts --------------------------------------------------------------------------------------------------------


def test_counts_are_those_one_counts_by_hand():
    one = environment(question=QUESTION)  # three tools with two parameters each, two goals in a row, 11 words
    two = single("lookup_v2", "Who is mayor?")
    found = measure("set", [one, two])
    overall, first, second = found.scenarios
    assert [part.scenario for part in found.scenarios] == ["all", "single_hop", "multi_hop"]
    assert (overall.environments, first.environments, second.environments) == (2, 1, 1)
    assert overall.tools == {1: 1, 3: 1}
    assert second.distractors == {1: 1}
    assert second.goals == {2: 1}
    assert overall.words == {3: 1, len(QUESTION.split()): 1}
    assert overall.parameters == {2: 3, 6: 1}
    assert overall.required == {1: 3, 2: 1}
    assert first.lines == {2: 1}
    assert found.types == {"string": 5, "integer": 2, "any": 1, "array": 1, "boolean": 1, "object": 1, "several": 1}
    assert found.keywords == {"default": 4, "enum": 2, "bounds": 1, "nested": 1}
    assert found.shapes.total == 2
    assert [(shape.nodes, shape.edges, shape.count) for shape in found.common_shapes] in (
        [(1, (), 1), (2, ((0, 1),), 1)],
        [(2, ((0, 1),), 1), (1, (), 1)],
    )


def test_names_are_counted_without_digits_and_versions():
    names = ["town_lookup", "town_lookup_v2", "townLookup3", "TownLookup_version_2", "town_lookups"]
    found = measure("set", [single(name, f"Who is {name}?") for name in names])
    assert found.names.total == 2
    assert base_name("v2_3") == ""
    assert base_name("fetch_URL_of_v10_page") == "fetch_url_of_page"


def test_questions_are_different_by_their_words():
    questions = ["Who is mayor of Velm?", "who is mayor of velm", "Who is the mayor of Velm?"]
    found = measure("set", [single("lookup", question) for question in questions])
    assert found.questions.total == 2
    # who is mayor, is mayor of, mayor of velm; who is the, is the mayor, the mayor of
    assert found.trigrams.total == 6


def test_the_first_hundred_are_counted_apart():
    """At 100 and 200 environments it is noted how many different names there were."""
    measurement = Measurement("set")
    for index in range(250):
        measurement.add(single(f"tool_{chr(97 + index // 10)}", f"Is it {index}?"))
    found = measurement.result()
    assert found.names.after == {100: 10, 200: 20}
    assert found.names.total == 25
    assert found.questions.after == {100: 100, 200: 200}
    assert found.names.per_thousand is None
    assert Distinct(total=9, after={1000: 7}).per_thousand == 7


def test_a_set_without_edges_has_no_shapes():
    loose = environment(goals=tuple(goal.model_copy(update={"needs": None}) for goal in GOALS))
    found = measure("set", [loose, environment()])
    assert found.shapes_unknown == 1
    assert found.shapes.total == 1
    (row,) = [row for row in sections([found])[-1].rows if row.label.startswith("shapes")]
    assert row.cells == ("–",)


def test_the_estimate_of_many_different_texts_is_close():
    bitmap = _Bitmap()
    for number in range(60_000):
        bitmap.add(str(number % 50_000))
    assert bitmap.result().total == pytest.approx(50_000, rel=0.002)


@pytest.mark.parametrize("module", [measure_module, shapes_module], ids=lambda module: module.__name__)
def test_docstring_examples(module):
    """Examples in docstrings give what they show."""
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_statistics_survive_json():
    found = measure("set", [environment(), single("lookup", "Who?")])
    assert SetStatistics.model_validate_json(found.model_dump_json()) == found


def test_the_published_set_has_its_known_means(ftrl_rows: Path):
    """Close to the means of all 200 rows (30 of 50 rows a scenario are at hand)."""
    found = measure("FTRL", read_ftrl(ftrl_rows))
    assert found.overall.environments == 120
    assert mean(found.overall.parameters) == pytest.approx(7.14, abs=0.1)
    assert mean(found.overall.lines) == pytest.approx(43, abs=1)
    parameters = sum(found.types.values())
    assert found.types["string"] / parameters == pytest.approx(8888 / 13215, abs=0.01)
    assert found.keywords["default"] / parameters == pytest.approx(3934 / 13215, abs=0.01)


# --- shapes --------------------------------------------------------------------------------------------------------


def test_shapes_of_up_to_five_steps_are_all_told_apart():
    """The number of unlabelled acyclic graphs with n nodes is 1, 2, 6, 31, 302 (OEIS A003087)."""
    for nodes, expected in enumerate((1, 2, 6, 31, 302), start=1):
        pairs = list(itertools.combinations(range(nodes), 2))
        keys = {
            shape_key(nodes, [pair for place, pair in enumerate(pairs) if bits >> place & 1])
            for bits in range(1 << len(pairs))
        }
        assert len(keys) == expected


def test_a_shape_does_not_depend_on_the_names_of_its_nodes():
    edges = [(0, 2), (1, 2), (2, 3), (1, 4)]
    for order in itertools.permutations(range(5)):
        assert shape_key(5, [(order[a], order[b]) for a, b in edges]) == shape_key(5, edges)


def test_a_drawing_has_a_dot_for_each_step_and_a_line_for_each_need():
    drawing = draw_shape(5, [(0, 2), (1, 2), (2, 3), (1, 4)])
    assert drawing.count("<circle") == 5
    assert drawing.count("<path") == 4
    assert layers(5, [(0, 2), (1, 2), (2, 3), (1, 4)]) == [[0, 1], [2, 4], [3]]
    assert "<circle" not in draw_shape(0, [])


# --- side by side --------------------------------------------------------------------------------------------------


def test_two_sets_are_compared_by_a_ratio_where_it_means_something():
    """Means have one, sizes and totals have none."""
    small, large = environment(), [single("lookup", "Who?"), single("other", "Who is it?")]
    sets = compare_sets({"small": [small], "large": large})
    rows = {(section.title, row.label): row for section in sections(sets) for row in section.rows}
    assert rows["Tools per question", "all"].ratio == 3.0
    assert rows["Tools per question", "all"].cells == ("3.00 (3–3)", "1.00 (1–1)")
    assert rows["Tools per question", "single hop"].cells == ("–", "1.00 (1–1)")
    assert rows["Tools per question", "single hop"].ratio is None
    assert rows["Size", "environments"].ratio is None
    assert rows["Diversity", "questions"].ratio is None
    assert common_checkpoint(sets) is None
    assert "ratio" in printed(sets)
    assert "ratio" not in printed(sets[:1])


def test_sets_of_different_sizes_are_compared_at_the_same_number():
    one = measure("one", (single("lookup", f"Is it {index}?") for index in range(120)))
    other = measure("other", (single("lookup", f"Is it {index % 60}?") for index in range(230)))
    assert common_checkpoint([one, other]) == 100
    rows = sections([one, other])[-1].rows
    start = next(place for place, row in enumerate(rows) if row.label == "questions")
    assert rows[start].cells == ("120", "60")
    assert rows[start + 1].label.strip() == "among the first 100 environments"
    assert rows[start + 1].cells == ("100", "60")


def test_an_empty_set_has_a_table_and_a_page():
    empty = measure("nothing", [])
    assert "nothing" in printed([empty])
    assert "nothing" in render_statistics([empty])


# --- hostile texts -------------------------------------------------------------------------------------------------


def hostile(text: str) -> SetStatistics:
    """A set with that text for a name, in a question, a tool's name, a type and a scenario's place."""
    properties = {"a": {"type": text}, "b": {"type": "string", "description": text}}
    tool = Tool(signature=schema(f"tool{text}", ["a"], **properties), source="def f(): pass\n")
    goal = Goal(id="g", tool=tool.name, answer=infer("Quellmarsh"))
    return measure(text, [environment(question=text, tools=(tool,), goals=(goal,), gold_calls=None), environment()])


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(text):
    """No markup of others in the terminal or on the page, and nothing on the page that runs or is loaded."""
    found = hostile(text)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", printed([found, found]))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
    if text.startswith("[bold"):
        assert "[bold red]x" in shown
    html = render_statistics([found, found])
    assert text not in html or text in ("$x^2$", "{{ 7 * 7 }}", HOSTILE[2])
    page = Page()
    page.feed(html)
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "object", "embed", "form", "foreignobject"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "action")]
        assert tag not in ("a", "link")
        assert re.fullmatch(r"#\w+", attributes.get("href") or "#x")
    assert not re.search(r"https?:|@import|url\((?!#)", re.sub(r">[^<]*<", "><", html))


def test_the_page_is_the_same_for_the_same_numbers():
    found = measure("set", [environment(), single("lookup", "Who?")])
    html = render_statistics([found])
    assert html == render_statistics([SetStatistics.model_validate_json(found.model_dump_json())])
    assert "currentColor" in html
    assert "#010203" not in html


@pytest.mark.parametrize(("package", "extra"), [("jinja2", "report"), ("matplotlib", "plots")])
def test_without_an_extra_one_line_names_it(package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"toolfoundry\[{extra}\]"):
        render_statistics([measure("set", [])])


def test_the_table_needs_no_extra(monkeypatch):
    for package in ("jinja2", "matplotlib", "numpy"):
        monkeypatch.setitem(sys.modules, package, None)
    assert "environments" in printed([measure("set", [environment()])])
