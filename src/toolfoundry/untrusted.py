"""Showing text that somebody else wrote: a tool, a question, a model.

Control characters, terminal escapes, text-direction overrides, invisible and unassigned characters come out as
escapes that can be read (`\\x1b`, `\\u202e`), so what is shown is what is there. Markup is not touched: escaping HTML
or rich's brackets is the business of whoever writes HTML or rich.
"""

from __future__ import annotations

import unicodedata

__all__ = ["visible"]

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and symbols that are drawn as nothing
_MAX_MARKS = 2  # accents on one letter; more are a way of painting over the lines above


def visible(text: str, max_chars: int = 200) -> str:
    """The text on one line, with everything invisible made visible, cut to `max_chars` characters ("…" at the cut).

    >>> visible("a\\x1b[31mb\\u202e"), visible("four words of text", 10)
    ('a\\\\x1b[31mb\\\\u202e', 'four word…')
    """
    shown: list[str] = []
    marks = size = 0
    for char in text:
        category = unicodedata.category(char)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if category in _HIDDEN or char in _BLANK or marks > _MAX_MARKS or (marks and not shown):
            piece = _SHORT.get(char) or _escape(ord(char))
        else:
            piece = " " if category == "Zs" else char
        size += len(piece)
        if size > max_chars:
            kept = "".join(shown)
            return (kept if len(kept) < max_chars else kept[: max_chars - 1]) + "…"
        shown.append(piece)
    return "".join(shown)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
