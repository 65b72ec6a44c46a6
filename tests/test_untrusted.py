"""Text of others is shown as what it is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolfoundry.untrusted import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\tand\r", "two\\nlines\\tand\\r"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("abc\u202edcba\u202c", "abc\\u202edcba\\u202c"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("lone \ud800", "lone \\ud800"),
        ("\x9b31m C1", "\\x9b31m C1"),
        ("Fårup, Zürich, 東京, Đặng", "Fårup, Zürich, 東京, Đặng"),
        ("a\u00a0b", "a b"),
        ("z\u0301\u0301\u0301\u0301", "z\u0301\u0301\\u0301\\u0301"),
        ("\u3164", "\\u3164"),
        ("<b>&amp;</b> [red]", "<b>&amp;</b> [red]"),  # markup is the business of whoever writes markup
    ],
)
def test_what_cannot_be_seen_is_made_visible(text, shown):
    assert visible(text) == shown


def test_long_text_is_cut_with_a_mark():
    assert visible("x" * 300) == "x" * 199 + "…"
    assert visible("12345", 5) == "12345"
    assert visible("\n" * 10, 5) == "\\n\\n…"


@given(st.text(st.characters(exclude_categories=()), max_size=300), st.integers(1, 250))
def test_nothing_gets_through(text, max_chars):
    """Whatever the text, what is shown is short, printable, on one line, and can be encoded."""
    shown = visible(text, max_chars)
    assert len(shown) <= max_chars
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for char in shown)
    assert shown.encode().decode() == shown
