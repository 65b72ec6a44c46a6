"""Reading a tool's Python source without ever running it: the host parses, only the sandbox executes."""

from __future__ import annotations

import ast
import threading
import warnings

__all__ = ["MAX_SOURCE", "find_function", "parse_source"]

_ONE_AT_A_TIME = threading.Lock()
MAX_SOURCE = 1 << 20  # characters; what is longer is no tool


def parse_source(source: str) -> ast.Module:
    """The syntax tree. Raises ValueError, in words for a person, for anything that cannot be parsed.

    Source that is nested too deeply for the parser is an error like any other, and warnings about it (an invalid
    escape in a string) are the author's business, not the user's.
    """
    if len(source) > MAX_SOURCE:
        raise ValueError(f"{len(source)} characters, more than {MAX_SOURCE}")
    try:
        # One thread at a time: CPython 3.11 counts the depth of syntax trees for all threads together and gives a
        # SystemError when two are made at once, and filters of warnings are shared as well.
        with _ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"{error.msg} in line {error.lineno}") from None
    except (RecursionError, MemoryError):
        raise ValueError("nesting too deep to parse") from None


def find_function(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    """The last module-level function of that name: the one that a call would reach."""
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return found[-1] if found else None
