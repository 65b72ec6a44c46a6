"""One brief through all stages with corrections, and a shard of them in shared workers."""

from __future__ import annotations

import asyncio
from typing import Any, get_args

import pytest

from hand_author import LIGHT, QUESTIONS, HandAuthor
from toolfoundry.answers import infer
from toolfoundry.build.author import Pending
from toolfoundry.build.construct import Outcome, Stopwatch, construct, construct_shard, prepare
from toolfoundry.build.draft import STAGES, Brief, Draft
from toolfoundry.check import check
from toolfoundry.check.workers import SharedWorkers
from toolfoundry.errors import SandboxError
from toolfoundry.types import EnvSpec, ScenarioKind


def brief(index: int, **fields: Any) -> Brief:
    return Brief(index=index, origin="towers", **fields)


def run(given: Any, author: HandAuthor, sandbox: Any, watch: Stopwatch | None = None):
    return asyncio.run(construct(given, author, LIGHT, sandbox, watch))


def broken(given: Any) -> Any:
    """One number of a table is wrong."""
    sources = {name: source.replace("(412,", "(999,") for name, source in given.sources.items()}
    return given.model_copy(update={"sources": sources})


def test_four_scenarios(sandbox):
    """Each is built, proved, and found without a defect by the audit of other people's sets."""
    outcomes = [run(brief(index), HandAuthor(attempts=1), sandbox) for index in range(4)]
    specs = [outcome.spec for outcome in outcomes if outcome.spec]
    assert [spec.scenario.kind for spec in specs] == list(get_args(ScenarioKind))
    assert [spec.scenario.question for spec in specs] == [question for question, *_ in QUESTIONS]
    report = check(specs, sandbox)
    hits = {gate.gate.name: gate.hits for gate in report.gates if gate.gate.severity == "defect" and gate.hits}
    # Four questions of one kind each are no set: single-hop questions can be echoed, and a mean over four is coarse.
    assert hits.keys() <= {"cheat-above-ceiling"}


def test_what_running_shows_goes_back_to_the_author(sandbox):
    """A wrong table, twice; then the right one. Nothing of the stages before is asked again."""
    author = HandAuthor({"deploy": lambda asked, given: broken(given) if asked < 2 else given})
    outcome = run(brief(0), author, sandbox)
    assert outcome.reject is None
    assert outcome.spec is not None
    assert outcome.spec.proof is not None
    told = author.asked["deploy"]
    assert len(told) == 3
    assert told[0] is None
    for feedback in told[1:]:
        assert "tower_count" in feedback.previous.sources
        assert feedback.complaints[0].reason == "gold-fails"
        assert "412" in feedback.complaints[0].detail
        assert "999" in feedback.complaints[0].detail
    assert [len(author.asked[stage]) for stage in ("decompose", "document", "integrate", "scale")] == [1, 1, 1, 1]


@pytest.mark.parametrize("attempts", [1, 2])
def test_tools_that_stay_wrong(attempts, sandbox):
    """Rejected at stage deploy, since they do not do what their documents say; with the number of times asked."""
    author = HandAuthor({"deploy": lambda asked, given: broken(given)}, attempts=attempts)
    outcome = run(brief(0), author, sandbox)
    assert outcome.spec is None
    reject = outcome.reject
    assert reject is not None
    assert (reject.stage, reject.reason, reject.asked, reject.author) == ("deploy", "gold-fails", attempts, "hand")
    assert reject.brief == brief(0)


@pytest.mark.parametrize(
    ("stage", "spoil", "reason"),
    [
        ("decompose", {"steps": ()}, "steps"),
        ("document", {"calls": ()}, "step-lost"),
        ("integrate", {"changes": ()}, "document-lost"),
        ("scale", {"documents": ()}, "unknown-tool"),
        ("deploy", {"sources": {}}, "source-missing"),
    ],
)
def test_a_reject_names_its_stage(stage, spoil, reason, sandbox):
    """From each of the five stages, with one brief and in a shard."""
    author = HandAuthor({stage: lambda asked, value: value.model_copy(update=spoil)}, attempts=1)
    one = run(brief(3), author, sandbox).reject
    [other] = asyncio.run(construct_shard([brief(3)], author, LIGHT, sandbox))
    assert one is not None
    assert (one.stage, one.reason) == (stage, reason)
    assert other.reject == one


def test_a_brief_with_a_question(sandbox):
    """What is asked for is built, or refused where the author says otherwise."""
    question = QUESTIONS[2][0]
    outcome = run(brief(0, question=question, answer=infer("Quellmarsh")), HandAuthor(), sandbox)
    assert outcome.spec is not None
    assert outcome.spec.scenario.question == question
    other = run(brief(0, question="Who built the tower of Hask?"), HandAuthor(attempts=1), sandbox)
    assert other.reject is not None
    assert other.reject.reason == "question-changed"


ALL_FOUR = LIGHT.model_copy(update={"distractors": 4})


def test_a_tool_of_a_pool_that_does_not_fit_is_left_out(sandbox):
    """It is not the author's work: nothing is sent back, and no attempt is used up."""

    def answering(asked: int, value: Any) -> Any:
        sources = {**value.sources, "bell_weight": "def bell_weight(bell):\n    return {'weight': 412, 'of': bell}\n"}
        return value.model_copy(update={"sources": sources})

    author = HandAuthor({"distractors": answering}, attempts=1)
    outcome = asyncio.run(construct(brief(0), author, ALL_FOUR, sandbox))
    assert outcome.spec is not None, outcome.reject
    names = {tool.name for tool in outcome.spec.tools}
    assert names == {"tower_count", "tower_keeper", "town_market", "harbour_depth"}
    assert not [change for change in outcome.spec.provenance.changes if "bell_weight" in change]
    assert set(author.asked["deploy"]) == {None}


def test_a_tool_of_ones_own_that_does_not_fit_is_a_fault(sandbox):
    """The same fault in a distractor that the author wrote goes back to it."""

    def answering(asked: int, value: Any) -> Any:
        source = "def tower_keeper(tower):\n    return {'keeper': 412, 'of': tower}\n"
        return value if asked else value.model_copy(update={"sources": {**value.sources, "tower_keeper": source}})

    author = HandAuthor({"deploy": answering}, attempts=2)
    outcome = asyncio.run(construct(brief(0), author, ALL_FOUR, sandbox))
    assert outcome.spec is not None
    assert len(outcome.spec.tools) == 5
    first, second = author.asked["deploy"]
    assert first is None
    assert ("distractor-answers", "tower_keeper") in {(one.reason, one.tool) for one in second.complaints}


# --- drafts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_a_draft_of_any_stage_is_taken_up(stage, sandbox):
    """Written to JSON and back, it becomes the environment that the brief becomes; no earlier stage is asked again."""
    draft = asyncio.run(prepare(brief(3), HandAuthor(), LIGHT, until=stage))
    assert draft.stage == stage
    again = Draft.model_validate_json(draft.model_dump_json())
    assert again == draft
    author = HandAuthor()
    direct = run(brief(3), HandAuthor(), sandbox)
    taken = run(again, author, sandbox)
    assert direct.spec is not None
    assert taken.spec is not None
    assert taken.spec == direct.spec
    assert not author.asked.keys() & set(STAGES[: STAGES.index(stage) + 1]) - {"deploy"}


def test_nothing_is_left_to_do():
    """A draft that is at the stage already is given back as it is."""
    draft = asyncio.run(prepare(brief(0), HandAuthor(), LIGHT, until="integrate"))
    author = HandAuthor()
    assert asyncio.run(prepare(draft, author, LIGHT, until="document")) is draft
    assert author.asked == {}


def test_an_answer_that_comes_later(sandbox):
    """`Pending` goes through: the item is neither built nor rejected."""

    def later(asked: int, value: Any) -> Any:
        raise Pending

    with pytest.raises(Pending):
        run(brief(0), HandAuthor({"scale": later}), sandbox)


def test_time_is_given_to_stages(sandbox):
    watch = Stopwatch()
    run(brief(0), HandAuthor(), sandbox, watch)
    assert set(watch.seconds) == {*STAGES, "gate"}
    assert all(seconds >= 0 for seconds in watch.seconds.values())


# --- shards ------------------------------------------------------------------------------------------------------


def _without_probes(outcome: Outcome) -> Outcome:
    """In a shard fewer calls are made twice."""
    spec = outcome.spec
    if spec is None or spec.proof is None:
        return outcome
    return outcome._replace(spec=spec.model_copy(update={"proof": spec.proof.model_copy(update={"probes": {}})}))


def test_a_shard_gives_what_each_gives_alone(sandbox):
    """Sound ones and rejects, in the order of the briefs, whatever is beside them."""
    briefs = [brief(index) for index in (3, 0, 2, 1, 0)]
    spoilt = {"deploy": lambda asked, given: broken(given)}
    author = HandAuthor(spoilt, attempts=1)
    together = asyncio.run(construct_shard(briefs, author, LIGHT, sandbox))
    alone = [run(one, HandAuthor(spoilt, attempts=1), sandbox) for one in briefs]
    assert [_without_probes(outcome) for outcome in together] == [_without_probes(outcome) for outcome in alone]
    assert [bool(outcome.spec) for outcome in together] == [False, False, True, True, False]
    assert asyncio.run(construct_shard([], author, LIGHT, sandbox)) == []


def test_when_shared_workers_fail(sandbox, monkeypatch):
    """Environments whose shared workers broke down are judged in workers of their own."""

    def of(self: SharedWorkers, index: int) -> Any:
        raise SandboxError("the worker is gone")

    briefs = [brief(0), brief(3)]
    before = asyncio.run(construct_shard(briefs, HandAuthor(), LIGHT, sandbox))
    monkeypatch.setattr(SharedWorkers, "of", of)
    assert asyncio.run(construct_shard(briefs, HandAuthor(), LIGHT, sandbox)) == before
    assert all(isinstance(outcome.spec, EnvSpec) for outcome in before)
