"""Parsing tool source: never an execution, never an exception but ValueError, from any number of threads."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from toolfoundry.sources import find_function, parse_source

SOURCE = "def f(x):\n" + "".join(f"    if x == {n}:\n        return [{n}, (x + {n}) * {n}]\n" for n in range(300))


def test_threads_may_parse_at_once():
    """CPython 3.11 mixes up the depths of syntax trees that two threads make at once; here they switch all the time."""
    interval = sys.getswitchinterval()
    gc.callbacks.append(callback := lambda *_: None)
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            trees = list(pool.map(parse_source, [SOURCE] * 40))
    finally:
        sys.setswitchinterval(interval)
        gc.callbacks.remove(callback)
    assert all(find_function(tree, "f") for tree in trees)


@pytest.mark.parametrize(
    "source", ["def f(:", "(" * 5000, "\x00", "x" * (1 << 21)], ids=["syntax", "deep", "nul", "long"]
)
def test_what_does_not_parse_is_a_value_error(source):
    """In words for a person."""
    with pytest.raises(ValueError):
        parse_source(source)


def test_the_last_definition_counts():
    """It is the one that a call would reach."""
    tree = parse_source("def f(): return 1\ndef f(x): return 2\n")
    assert len(find_function(tree, "f").args.args) == 1
    assert find_function(tree, "g") is None
