"""The audit of FTRL's published rows finds what is known of the full set, in proportion."""

from __future__ import annotations

import pytest

from toolfoundry.check import QualityReport, check
from toolfoundry.formats.ftrl import read_ftrl

# What was measured on all 200 rows by other means: hits and of how many. Where 120 rows are at hand, the share of each
# must be near: within 40 % of it, or within a handful of units where there are few.
KNOWN = {
    "answer-in-question": (29, 200),
    "weak-golden": (106, 820),
    "placeholder-answers-published": (50, 820),
    "dead-parameter": (1207, 1852),
    "mismatch-required": (30, 1852),
    "mismatch-optional": (65, 1852),
    "mismatch-unknown": (1, 1852),
    "hidden-names": (16, 1852),
    "top-level-effects": (36, 1852),
    "clock-or-randomness": (7, 1852),
    "dangerous-call": (2, 1852),
    "baked-answer": (780, 820),
    "shared-name": (272, 1109),
}


@pytest.fixture(scope="module")
def report(ftrl_rows, sandbox) -> QualityReport:
    return check(read_ftrl(ftrl_rows), sandbox)


@pytest.mark.parametrize("gate", KNOWN)
def test_known_defects_are_found_in_proportion(gate, report):
    found = report.gate(gate)
    hits, of = KNOWN[gate]
    expected = hits / of * found.applied
    spread = 0.5 if gate == "shared-name" else 0.4  # fewer environments share fewer names
    assert abs(found.hits - expected) <= max(5, spread * expected), (found.hits, expected)


def test_final_answers_known_to_be_wrong_are_found(report):
    """Two-number questions whose answer is no sum, difference, product or ratio of the two; and few others."""
    gate = report.gate("final-inconsistent")
    assert {finding.found for finding in gate.findings} & {"54", "6", "35"}
    assert gate.hits <= 0.06 * gate.applied


def test_published_precision_and_ceilings(report):
    """Silence has Solve-P 1 as published and 0 strictly; spam is where it was measured: P 2.31, R 3.79, F1 2.80 %."""
    by_name = {summary.policy: summary.overall.metrics for summary in report.panel}
    assert by_name["silent"]["paper_solve_p"].mean == 1.0
    assert by_name["silent"]["solve_p"].mean == 0.0
    assert report.gate("published-precision").hits == report.environments
    assert by_name["spam"]["paper_solve_f1"].mean == pytest.approx(0.028, abs=0.01)
    assert report.gate("cheat-above-ceiling").hits == 0
    assert all(summary.overall.unscored == 0 for summary in report.panel)
