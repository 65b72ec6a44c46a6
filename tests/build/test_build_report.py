"""The report of a build: rates with their intervals, the funnel, and pages and tables in which texts stay texts."""

from __future__ import annotations

import io
import re
import sys
from html.parser import HTMLParser

import pytest
from rich.console import Console

from check.audit_specs import environment
from toolfoundry.build.html import render_build_html, require_extra
from toolfoundry.build.report import BuildReport, PanelScore, Rate, RejectExample, Rejects, StageTime
from toolfoundry.build.terminal import print_build_report
from toolfoundry.errors import MissingExtra
from toolfoundry.metrics import Metric
from toolfoundry.stats import measure

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[bold red]x[/bold red][link=https://example.org]",
    "\x1b[2J\u202egnp.exe\u2028",
    "{{ 7 * 7 }}{% raw %}",
    "x" * 5000,
)


def rate(hits: int, n: int, name: str = "wrong calls accepted") -> Rate:
    return Rate(name=name, meaning="all kinds together", hits=hits, n=n)


def report(text: str = "found 1, expected 2", **fields: object) -> BuildReport:
    """A small report with a text wherever one of others can stand."""
    values: dict[str, object] = {
        "version": "0",
        "config": {
            "author": "procedural",
            "seed": 7,
            "questions": text,
            "budget": None,
            "profile": {"name": "tiny", "hold_out": []},
        },
        "yields": {"proposed": 40, "valid": 30, "executable": 30, "proved": 24, "accepted": 20},
        "rejects": (
            Rejects(
                stage="gate",
                reason="gold-fails",
                count=6,
                examples=(RejectExample(index=3, detail=text, question=text),),
            ),
            Rejects(stage="set", reason="near-duplicate", count=4),
        ),
        "times": (
            StageTime(stage="decompose", seconds=1.0, items=40),
            StageTime(stage="gate", seconds=3.0, items=30),
            StageTime(stage="write", seconds=0.0, items=0),
        ),
        "wall_s": 8.0,
        "processes": 2,
        "statistics": measure(text, [environment()]),
        "panel": (
            PanelScore(policy="gold", score=Metric(mean=1.0, stderr=0.0, n=20)),
            PanelScore(policy="spam", score=Metric(mean=None, stderr=None, n=0)),
        ),
        "false_accepts": (rate(1, 4000),),
        "false_rejects": (rate(0, 0, "right calls refused"),),
        "notes": (text,),
    }
    return BuildReport.model_validate({**values, **fields})


def printed(one: BuildReport, width: int = 120) -> str:
    file = io.StringIO()
    print_build_report(one, Console(file=file, width=width, force_terminal=True, color_system=None))
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())


def test_the_interval_is_wilsons():
    """Worked by hand with z = 1.96: 1 of 10 gives 1.8% to 40.4%, none of 100 gives 0 to 3.7%."""
    low, high = rate(1, 10).interval or (0, 0)
    assert (low, high) == (pytest.approx(0.0179, abs=1e-4), pytest.approx(0.4042, abs=1e-4))
    assert rate(0, 100).interval == (pytest.approx(0.0, abs=1e-12), pytest.approx(0.0370, abs=1e-4))
    assert rate(100, 100).interval == (pytest.approx(0.9630, abs=1e-4), pytest.approx(1.0))
    assert rate(0, 0).interval is None
    assert rate(0, 0).share is None


def test_the_funnel_says_what_each_stage_kept():
    shown = printed(report())
    assert re.search(r"valid +30 +75.0% +75.0%", shown)
    assert re.search(r"proved +24 +80.0% +60.0%", shown)
    assert re.search(r"accepted +20 +83.3% +50.0%", shown)
    assert "2.5 environments/s with 2 processes" in shown


def test_rejects_times_and_rates_are_listed():
    shown = printed(report())
    assert re.search(r"gate +gold-fails +6 +#3: found 1, expected 2", shown)
    assert re.search(r"gate +3.0 +30 +100.00 +75.0%", shown)
    assert re.search(r"write +0.0 +0 +– +0.0%", shown)
    assert re.search(r"wrong calls accepted +1 +4,000 +0.03% +0.00% to 0.14%", shown)
    assert re.search(r"right calls refused +0 +0 +–", shown)
    assert re.search(r"spam +0 +– *\n", shown)


def test_solve_f1_has_a_column_where_it_was_kept():
    kept = (PanelScore(policy="gold", score=Metric(mean=1, stderr=0, n=2), solve_f1=Metric(mean=0.5, stderr=0, n=2)),)
    assert re.search(r"gold +2 +1.000 +0.500", printed(report(panel=kept)))
    assert "Solve-F1" in render_build_html(report(panel=kept))
    assert "Solve-F1" not in printed(report()) + render_build_html(report())


def test_an_unfinished_build_has_a_report():
    """Nothing proposed, nothing timed, nothing measured."""
    nothing = report(
        yields={}, rejects=(), times=(), panel=(), false_accepts=(), false_rejects=(), wall_s=None, processes=None,
        statistics=measure("nothing", []), notes=(), config={},
    )  # fmt: skip
    assert nothing.accepted == 0
    assert nothing.per_second is None
    assert "Yields" in printed(nothing)
    assert "Nothing was rejected" in render_build_html(nothing)


def test_the_record_survives_json():
    one = report()
    assert BuildReport.model_validate_json(one.model_dump_json()) == one
    assert render_build_html(BuildReport.model_validate_json(one.model_dump_json())) == render_build_html(one)


def test_what_was_not_given_is_not_listed_among_the_options():
    html = render_build_html(report())
    assert "<code>seed</code>" in html
    assert "<code>profile.name</code>" in html
    assert "budget" not in html


def test_without_the_extra_one_line_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"toolfoundry\[report\]"):
        require_extra()


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


ALLOWED = set(
    "html head meta title style body main header h1 h2 h3 p div b i br span section table thead tbody tr th td code "
    "figure figcaption details summary footer svg g path circle".split()
)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(text):
    """Only elements of the template's own, no script, nothing that is loaded, nothing that a reader cannot see."""
    one = report(text)
    gates = tuple(part.model_copy(update={"stage": text, "reason": text}) for part in one.rejects)
    times = tuple(part.model_copy(update={"stage": text}) for part in one.times)
    panel = tuple(part.model_copy(update={"policy": text}) for part in one.panel)
    one = one.model_copy(
        update={"rejects": gates, "times": times, "panel": panel, "false_accepts": (rate(1, 9, text),)}
    )
    html = render_build_html(one)
    page = Page()
    page.feed(html)
    assert {tag for tag, _ in page.tags} <= ALLOWED
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "href", "action")]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e]", html)
    assert "x" * 700 not in html
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    shown = printed(one)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e]", shown)
    if text.startswith("[bold"):
        assert "[bold red]x" in shown
    if text.startswith("{{"):
        assert "{{ 7 * 7 }}" in html
