"""Every framework that is installed here plays the recorded episodes: its rewards are those of our core.

`make conformance` runs the same table in the virtual environment of each framework.
"""

import math
import warnings

import pytest

from conformance import matrix
from conformance.cases import FILE, WAYS, load, record
from conformance.frameworks import FRAMEWORKS
from conformance.run import played
from toolfoundry.frameworks import TESTED, UntestedVersion, warn_untested
from toolfoundry.store import dump

SLOW = ("verifiers",)  # starts several processes for each episode


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "framework",
    [pytest.param(f, id=f.name, marks=[pytest.mark.slow] if f.name in SLOW else []) for f in FRAMEWORKS],
)
def test_rewards_are_those_of_our_core(framework):
    """Gold is the maximum, silence the floor, and everything between exactly what the core gives."""
    version = framework.version()
    if version is None:
        pytest.skip(f"{framework.title} is not installed here: make conformance")
    pytest.importorskip("torch", reason="needs the extra train") if framework.name == "trl" else None
    found = played(framework)
    wrong = {case.id: (found[case.id], case.score) for case in load() if not framework.conforms(case, found[case.id])}
    assert wrong == {}


def test_recorded_episodes_are_what_the_core_plays_today():
    """The file is what its generator writes; gold has 1, silence 0, and what is in between differs by way."""
    cases = record()
    assert b"".join(dump(case) + b"\n" for case in cases) == FILE.read_bytes()
    by_way = {way.name: [case.score for case in cases if case.id.endswith(f"/{way.name}")] for way in WAYS}
    assert by_way["gold"] == [1, 1]
    assert by_way["silent"] == [0, 0]
    assert by_way["answer-only"] == [0.5, 0.5]
    assert all(0 < score < 0.5 for score in by_way["redundant"])
    assert all(0.5 < score < 1 for score in by_way["malformed"])


def test_table_of_tested_versions_is_that_of_the_results():
    """What the package warns about is what was played, and the pages say the same."""
    assert matrix.versions() == TESTED
    assert matrix.PAGE.read_text() == matrix.page()
    assert matrix.README.read_text() == matrix.readme()
    assert matrix.BEGIN in matrix.readme()


@pytest.mark.parametrize("found", [0.9, None, math.nan, "Error: no", 1])
def test_what_does_not_conform(found):
    """Another reward, none, NaN, or an error in its place is a failure of the framework's line."""
    gold = load()[0]
    trl = next(framework for framework in FRAMEWORKS if framework.name == "trl")
    assert not trl.conforms(gold, found)
    assert trl.conforms(gold, 1.0)
    mcp = next(framework for framework in FRAMEWORKS if framework.distribution == "mcp")
    assert mcp.conforms(gold, [list(texts) for texts in gold.results])
    assert not mcp.conforms(gold, [])


def test_an_untested_version_warns_once_and_names_both():
    """A version that was tested is silent, as is a framework that is absent; another one warns."""
    with pytest.warns(UntestedVersion, match=r"trl 2\.0\.1 is installed; this adapter was tested with 1\.16\.0"):
        warn_untested("trl", "2.0.1")
    with pytest.warns(UntestedVersion, match=r"mcp 3\.0 is installed; .* tested with 1\.30\.0 and 2\.3\.0"):
        warn_untested("mcp", "3.0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_untested("trl", "1.16.0")
        warn_untested("verl", None) if not matrix.FRAMEWORKS[2].version() else None
    with pytest.raises(KeyError):
        warn_untested("numpy")
