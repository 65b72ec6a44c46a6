"""The measured rates: a tool that takes wrong arguments is counted, and so is one that refuses right ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hand_author import LIGHT, HandAuthor
from toolfoundry.build.acceptance import Acceptance, measure_acceptance
from toolfoundry.build.construct import prepare
from toolfoundry.build.deploy import to_spec
from toolfoundry.build.draft import Brief
from toolfoundry.demo import environments
from toolfoundry.types import EnvSpec

KEY = "20 or more possible answers"
FEW = "fewer than 20 possible answers"


def spec_of(index: int = 3, replaced: dict[str, str] | None = None, described: str = "") -> EnvSpec:
    """An environment by hand, with texts of its sources replaced and something added to each description."""
    brief = Brief(index=index, origin="towers")
    spec = to_spec(asyncio.run(prepare(brief, HandAuthor(), LIGHT, until="deploy")))
    tools: list[Any] = []
    for tool in spec.tools:
        source = tool.source
        for old, new in (replaced or {}).items():
            source = source.replace(old, new)
        signature = tool.signature.model_copy(update={"description": tool.signature.description + described})
        tools.append(tool.model_copy(update={"source": source, "signature": signature}))
    return spec.replace(tools=tuple(tools))


def rates(measured: Acceptance) -> dict[str, tuple[int, int]]:
    """Name of the rate -> how many hits among how many probes."""
    return {rate.name: (rate.hits, rate.n) for rate in (*measured.false_accepts, *measured.false_rejects)}


def test_sound_tools(sandbox):
    """No wrong call accepted, no right one refused; each kind of probe is counted, the totals are their sums."""
    measured = measure_acceptance([spec_of(index) for index in range(4)], sandbox)
    found = rates(measured)
    assert all(hits == 0 for hits, _ in found.values()), found
    for kind in ("plausible", "misspelt", "unknowing", "order", "defaults"):
        assert found[f"{kind} ({KEY})"][1] > 0, found
    for side in (measured.false_accepts, measured.false_rejects):
        assert side[0].n == sum(rate.n for rate in side[1:])
    assert measured.false_accepts[0].name == f"wrong calls accepted: {KEY}"
    assert measured.false_rejects[0].name == f"right calls refused: {KEY}"


LOOKED_UP = "if tower not in table:"
TABLE = "    table = {"

# What the tools do wrong -> the texts replaced, and the kinds of probes that find it out.
TOLERANT = {
    "answers anybody": (
        {LOOKED_UP: "tower = 'Grey Finger'\n    if False:"},
        {"plausible", "misspelt", "unknowing"},
    ),
    "answers almost the name": (
        {LOOKED_UP: f"tower = next((t for t in table if t[:6] == tower[:6]), tower)\n    {LOOKED_UP}"},
        {"misspelt"},
    ),
    "answers who does not know": (
        {LOOKED_UP: f"tower = tower or 'Grey Finger'\n    {LOOKED_UP}"},
        {"unknowing"},
    ),
}


@pytest.mark.parametrize("name", TOLERANT)
def test_wrong_calls_that_are_accepted(name, sandbox):
    """Found by the right kind of probe, and by no other."""
    replaced, kinds = TOLERANT[name]
    found = rates(measure_acceptance([spec_of(0, replaced)], sandbox))
    hit = {name.partition(" (")[0] for name, (hits, _) in found.items() if hits and name.endswith(f"({KEY})")}
    assert hit == kinds
    assert found[f"wrong calls accepted: {KEY}"][0] > 0
    assert found[f"right calls refused: {KEY}"][0] == 0


STRICT = {
    "looks at a default": ({TABLE: f"    remark = remark is not False\n{TABLE}"}, set()),
    "refuses a default": (
        {"remark=False": "remark=None", TABLE: f"    if remark is False:\n        return {{'error': 'x'}}\n{TABLE}"},
        {"defaults"},
    ),
}


@pytest.mark.parametrize("name", STRICT)
def test_right_calls_that_are_refused(name, sandbox):
    """A default that is said is the same call; one that only looks at it is not counted."""
    replaced, kinds = STRICT[name]
    found = rates(measure_acceptance([spec_of(3, replaced)], sandbox))
    hit = {name.partition(" (")[0] for name, (hits, _) in found.items() if hits and name.endswith(f"({KEY})")}
    assert hit == kinds


@pytest.mark.parametrize(
    ("replaced", "hits"),
    [({}, True), ({"if tower not in table:": "tower = tower.title()\n    if tower not in table:"}, False)],
)
def test_capitals_count_where_the_document_allows_them(replaced, hits, sandbox):
    """A description that says that case does not matter is taken at its word."""
    kind = f"capitals ({KEY})"
    assert kind not in rates(measure_acceptance([spec_of(0)], sandbox))
    found = rates(measure_acceptance([spec_of(0, replaced, " Case does not matter.")], sandbox))
    assert found[kind] == (2 if hits else 0, 2)


def test_few_possible_answers_are_counted_apart(sandbox):
    """A number below twenty may be another call's right answer."""
    replaced = {"(412,": "(12,", "(57": "(58"}
    spec = spec_of(0, replaced)
    twelve = spec.goals[0].answer.model_copy(update={"value": 12})
    goals = (spec.goals[0].model_copy(update={"answer": twelve}),)
    found = rates(measure_acceptance([spec.replace(goals=goals)], sandbox))
    assert found[f"wrong calls accepted: {FEW}"][1] > 0
    assert not [name for name in found if KEY in name]


def test_nothing_to_measure(sandbox):
    """Environments without gold calls, or with a state, are passed over; progress is told for each."""
    told: list[int] = []
    stateful = next(spec for spec in environments() if spec.state is not None)
    without = spec_of(0).replace(gold_calls=None)
    assert measure_acceptance([stateful, without], sandbox, told.append) == Acceptance((), ())
    assert told == [1, 1]


def test_the_same_every_time(sandbox):
    specs = [spec_of(index) for index in range(4)]
    assert measure_acceptance(specs, sandbox) == measure_acceptance(specs, sandbox)
