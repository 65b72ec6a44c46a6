"""The report shows hostile text as text: no markup, script, escape or invisible character gets through."""

from __future__ import annotations

import io
import re
import sys
from html import unescape
from html.parser import HTMLParser

import pytest
from rich.console import Console

from check.audit_specs import SPOILED, TEXT, environment, schema
from toolfoundry.answers import infer
from toolfoundry.check import QualityReport, check, print_report, render_html
from toolfoundry.errors import MissingExtra
from toolfoundry.types import EnvSpec, Goal, Provenance, Tool

SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    SCRIPT,
    '"><img src=x onerror=alert(1)>',
    "</td></table></details><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "\x1b[2J\x1b[31mred\x1b]8;;https://example.org\x07link",
    "\u202egnp.exe\u2066",
    "[bold red]rich[/bold red][link=https://example.org]",
    "\ud800 lone",
    "a\nb\r\nc\u2028d\x00e",
    "javascript:alert(1)",
    "x" * 5000,
)


def hostile(text: str) -> EnvSpec:
    """An environment with a text wherever one can stand, and with that text in its results."""
    name = f"tool{text}"
    source = f"def other():\n    return 1\n# {text!a}\n"
    answering = f"def reader(text='x'):\n    return {{'entry': 'Quellmarsh', 'said': {text!a}}}\n"
    return environment(
        question=f"What is it? {text} Quellmarsh",
        final=f"Quellmarsh {text[:20]}",
        tools=(
            Tool(signature=schema(name, ["a"], a={**TEXT, "description": text, "default": 3}), source=source),
            Tool(signature=schema("reader", [], text=TEXT), source=answering),
        ),
        goals=(Goal(id=f"goal{text}"[:40], tool="reader", answer=infer("Quellmarsh"), needs=None, echo_ok=None),),
        gold_calls=None,
        provenance=Provenance(source="test", location=text),
    )


@pytest.fixture(scope="module")
def report(sandbox) -> QualityReport:
    encodable = [text for text in HOSTILE if "\ud800" not in text]
    return check([hostile(text) for text in encodable], sandbox)


def with_text(report: QualityReport, text: str) -> QualityReport:
    """The report with a text in every place that is not ours, also what no file could hold."""
    gates = tuple(
        gate.model_copy(
            update={
                "findings": tuple(
                    finding.model_copy(
                        update={"spec": text, "tool": text, "goal": text, "found": text, "expected": text}
                    )
                    for finding in gate.findings
                ),
                "skipped": {text: 1},
            }
        )
        for gate in report.gates
    )
    rows = tuple(
        one.model_copy(update={"spec": text, "question": text, "location": text}) for one in report.per_environment
    )
    return report.model_copy(update={"gates": gates, "per_environment": rows, "probes": {text: 1}})


class Page(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def parse(html: str) -> Page:
    page = Page()
    page.feed(html)
    return page


ALLOWED = set(
    "html head meta title style body main header h1 h2 h3 p div b span section table thead tbody tr th td a code i "
    "figure figcaption details summary input footer script br".split()
)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text_on_the_page(text, report):
    """Only elements and attributes of the template's own, one script, and nothing that a reader cannot see."""
    html = render_html(with_text(report, text))
    page = parse(html)
    assert {tag for tag, _ in page.tags} <= ALLOWED
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert set(attributes) & {"src", "srcdoc", "action", "formaction"} == set()
        if tag == "a":
            assert re.fullmatch(r"#[a-z-]+", attributes["href"] or "")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)
    assert "49" not in "".join(page.text) or "7 * 7" not in text


def test_an_audit_of_hostile_environments_ends_as_a_page(report):
    """From the environment's own texts to the page, the words are there and their markup is not."""
    html = render_html(report)
    assert SCRIPT not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "\\x1b[2J" in html
    assert "\\u202e" in html
    assert "{{ 7 * 7 }}" in html


def test_the_page_forbids_everything_but_its_own_script(report):
    """The policy names the script by its hash: with any other script text nothing would run."""
    import base64
    import hashlib

    html = render_html(report)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    assert policy
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in unescape(policy[1])
    assert "default-src 'none'" in unescape(policy[1])
    page = parse(html)
    styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    told = [value or "" for _, attributes in page.tags for name, value in attributes.items() if name != "title"]
    assert not [text for text in [*styles, *told] if re.search(r"https?:|@import|url\(", text)]


def test_the_page_is_the_same_for_the_same_report(report):
    assert render_html(report) == render_html(QualityReport.model_validate_json(report.model_dump_json()))


def test_an_empty_and_a_clean_report_have_a_page(sandbox):
    empty = check([], sandbox)
    assert "No defect in 0 environments" in render_html(empty)
    clean = check([environment()], sandbox)
    assert clean.defects == 0
    assert "No defect in 1 environments" in render_html(clean)


def printed(report: QualityReport, width: int = 100) -> str:
    file = io.StringIO()
    print_report(report, Console(file=file, width=width, force_terminal=True, color_system=None))
    return file.getvalue()


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text_in_a_terminal(text, report):
    """No escape sequence but those of the styles, no markup that rich would follow, nothing invisible."""
    shown = printed(with_text(report, text))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", plain)
    assert "\x1b[2J" not in shown
    assert "\x1b]8" not in shown
    if text.startswith("[bold red]"):
        assert "[bold red]rich" in plain


def test_the_terminal_names_what_was_hit_and_what_was_not_applied(sandbox):
    shown = printed(check([SPOILED["the question holds the final answer"][0]()], sandbox), width=160)
    assert "answer-in-question" in shown
    assert "The final answer stands in the question" in shown
    assert re.search(r"Passed:.*gold-fails", shown, re.DOTALL)
    assert re.search(r"not applied: carried-enum.*the goal needs no other", shown)


def test_without_the_extra_one_line_names_it(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"toolfoundry\[report\]"):
        render_html(report)
