"""Each gate sees the fault it is for, and nothing else sees it: a sound environment, and a spoiled copy for each."""

from __future__ import annotations

import pytest

from check.audit_specs import GOALS, GOLD, QUESTION, SOUND, SPOILED, TOOLS, environment
from toolfoundry.answers import infer
from toolfoundry.check import GATES, QualityReport, check
from toolfoundry.types import EnvSpec

ALWAYS = {"baked-answer", "echo-published", "published-precision"}  # notes that the sound environment has, too
ACROSS = {"near-duplicate"}  # the copies are duplicates of each other


@pytest.fixture(scope="module")
def specs() -> dict[str, EnvSpec]:
    return SOUND | {title: make() for title, (make, _) in SPOILED.items()}


@pytest.fixture(scope="module")
def report(specs, sandbox) -> QualityReport:
    return check(specs.values(), sandbox)


def hits(report: QualityReport, spec: EnvSpec) -> set[str]:
    one = next(environment for environment in report.per_environment if environment.spec == spec.id)
    return {*one.defects, *one.notes} - ACROSS


@pytest.mark.parametrize("title", SPOILED)
def test_gates_see_what_is_spoiled_and_nothing_else(title, specs, report):
    """An environment with one fault is hit by the gates for that fault only."""
    assert hits(report, specs[title]) - ALWAYS == SPOILED[title][1]


def test_a_sound_environment_has_no_defect(specs, report):
    """Also where the tools work on a state."""
    assert hits(report, specs["sound"]) == ALWAYS
    assert hits(report, specs["sound, with a state"]) <= ALWAYS


def test_every_gate_is_seen_to_hit_or_is_tested_by_itself(report):
    """No gate is there that nothing has ever hit."""
    elsewhere = {"cheat-above-gold", "cheat-above-ceiling"}
    assert {gate.gate.name for gate in report.gates if not gate.hits} == elsewhere
    assert [gate.gate.name for gate in report.gates] == list(GATES)


def test_hits_and_findings_and_units_add_up(report):
    """Findings are one for each hit, shares are of what was judged, and nothing is passed by being left out."""
    for gate in report.gates:
        assert len(gate.findings) == gate.hits <= gate.applied
        assert all(finding.found and finding.expected for finding in gate.findings), gate.gate.name
        units = {"goal": report.goals, "tool": report.tools, "environment": report.environments}
        if gate.gate.unit in units:
            assert gate.applied + sum(gate.skipped.values()) == units[gate.gate.unit], gate.gate.name
    assert report.defects == sum(sum(one.defects.values()) for one in report.per_environment)


def test_without_gold_calls_gates_say_that_they_cannot_be_applied(sandbox):
    """An imported environment is not passed by gates that need what it lacks."""
    loose = tuple(goal.model_copy(update={"needs": None, "echo_ok": None}) for goal in GOALS)
    report = check([environment(goals=loose, gold_calls=None)], sandbox)
    for name in (
        "gold-fails",
        "carried-enum",
        "wrong-arguments-accepted",
        "parameter-without-effect",
        "cheat-above-gold",
    ):
        gate = report.gate(name)
        assert (gate.applied, gate.share) == (0, None)
        assert any("no gold calls" in reason for reason in gate.skipped)
    assert {summary.policy for summary in report.panel}.isdisjoint({"gold", "one-hop"})


def test_the_report_does_not_depend_on_the_order_of_work(specs, report, sandbox):
    """One environment at a time gives the same report as many, and JSON keeps it."""
    again = check(specs.values(), sandbox, concurrency=1)
    assert again == report
    assert QualityReport.model_validate_json(report.model_dump_json()) == report


def test_findings_can_be_limited_while_all_are_counted(sandbox):
    report = check([make() for make, _ in list(SPOILED.values())[:4]], sandbox, panel=False, max_findings=1)
    gate = report.gate("baked-answer")
    assert (len(gate.findings), gate.hits > 1) == (1, True)
    assert report.gate("published-precision").applied == 0  # the panel did not play
    assert [summary.policy for summary in report.panel] == ["gold"]


def test_the_first_of_two_near_duplicates_is_accepted(sandbox):
    """A question in other order and case, or other words over the same tools and goldens, is not new."""
    first = environment()
    shuffled = environment(
        "In 2021, who was MAYOR of Velmora -- and what has the one studied?",
        tools=tuple(tool for tool in TOOLS.values() if tool.name != "river_length"),
    )
    retold = environment("Tell me the subject of the mayor's studies, in Velmora, year 2021.")
    other = environment("What did she study?", tools=shuffled.tools, final=None, goals=GOALS[:1], gold_calls=GOLD[:1])
    report = check([first, shuffled, retold, other], sandbox, panel=False)
    found = report.gate("near-duplicate").findings
    assert [finding.spec for finding in found] == [shuffled.id, retold.id]
    assert all(first.id in finding.found for finding in found)


def test_cheats_that_earn_what_gold_earns_are_seen(sandbox):
    """A tool that answers whatever it is asked: spamming it with the final answer at hand is as good as solving."""
    source = 'def open_door(name="x"):\n    return {"to": "Quellmarsh Abbey" + name[:0]}\n'
    tool = TOOLS["river_length"].model_copy(
        update={
            "signature": TOOLS["river_length"].signature.model_copy(
                update={
                    "name": "open_door",
                    "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": []},
                }
            ),
            "source": source,
        }
    )
    goal = GOALS[0].model_copy(update={"id": "door", "tool": "open_door", "answer": infer("Quellmarsh Abbey")})
    gold = GOLD[0].model_copy(update={"id": "door", "name": "open_door", "arguments": "{}"})
    spec = environment("Where does it lead?", None, kind="single_hop", tools=(tool,), goals=(goal,), gold_calls=(gold,))
    report = check([spec], sandbox)
    assert "spam" in report.gate("cheat-above-gold").findings[0].found
    above = {finding.tool for finding in report.gate("cheat-above-ceiling").findings}
    assert {"spam", "repeat"} <= above <= {"spam", "repeat", "random", "echo"}
    assert report.defects > sum(sum(one.defects.values()) for one in report.per_environment)  # those of the set


def test_a_gold_call_that_cannot_be_read_is_a_finding(sandbox):
    """A gold call with arguments that are no JSON object is a failed gold call, not an error of ours."""
    broken = (GOLD[0].model_copy(update={"arguments": "[1"}), GOLD[1])
    report = check([environment(QUESTION, gold_calls=broken)], sandbox)
    assert report.gate("gold-fails").hits == 1
