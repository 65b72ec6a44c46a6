"""Single responses at stored prefixes are scored by executing their calls, as the rollout would have scored them."""

import asyncio

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fakes import TABLE, CannedExecutor, CannedSession, assistant, call, capital_spec, says
from tiny_sets import drafts, spec_of
from toolfoundry.answers import infer
from toolfoundry.errors import SandboxError
from toolfoundry.policies.scripted import make
from toolfoundry.rollout import run_rollout
from toolfoundry.samples import prefixes
from toolfoundry.scoring import Response, score_responses
from toolfoundry.types import EnvSpec, Goal, Limits, Provenance, Scenario, Tool, ToolSchema


class Recording(CannedExecutor):
    """Says in `batches` what each session was asked; in `seeds` what they were opened with."""

    def __init__(self, table):
        super().__init__(table)
        self.batches, self.seeds = [], []

    def session(self, sources, *, state=None, seed=0):
        self.seeds.append(seed)
        super().session(sources, state=state, seed=seed)
        return RecordingSession(self)


class RecordingSession(CannedSession):
    async def abatch(self, calls):
        self.executor.batches.append([(name, arguments["x"]) for name, arguments in calls])
        await asyncio.sleep(0)
        return await super().abatch(calls)


def gold_prefixes(spec, executor=None, sample=0):
    executor = executor or CannedExecutor(TABLE)
    return prefixes(asyncio.run(run_rollout(make("gold", spec, 0), spec, executor, sample=sample)))


def score(responses, executor, **options):
    return asyncio.run(score_responses(responses, executor, **options))


def test_a_response_is_graded_in_the_state_of_its_prefix():
    """The same call is worth 1 where its goal is open, 0 where it has had its credit; an answer waits for goals."""
    spec = capital_spec()
    start, middle, end = gold_prefixes(spec)
    author, town = assistant("", call("author_of", "Tides")), assistant("", call("town_of", "Mira Olsen"))
    velden = assistant("<answer>Velden</answer>")
    cases = [(start, author), (middle, author), (middle, town), (start, velden), (middle, velden), (end, velden)]
    found = score([Response(spec, *case) for case in cases], CannedExecutor(TABLE))
    # 1 call for the 1 ready goal; no credit twice; the second hop; then 1/(1+t) for t = 2, 1, 0
    assert [one.graded.reward.value for one in found] == [1, 0, 1, pytest.approx(1 / 3), 1 / 2, 1]
    assert found[2].graded.unsolved_ids == ()
    assert [result.content for result in found[0].results] == ["Mira Olsen"]


def test_the_preset_is_the_callers():
    """All at once: 2q/(p+1) with p = q = 2 is 4/3 for the release, for `frontier` 2q/(p + max(n, q)) = 4/4."""
    spec = capital_spec()
    both = assistant("", call("author_of", "Tides", id="c0"), call("town_of", "Mira Olsen", id="c1"))
    response = Response(spec, gold_prefixes(spec)[0], both)
    for preset, value in (("ftrl", 4 / 3), ("frontier", 1.0), ("ftrl-rate", 2.0)):
        [one] = score([response], CannedExecutor(TABLE), preset=preset)
        assert one.graded.reward.value == pytest.approx(value)


def test_responses_of_an_environment_share_one_batch():
    """One worker for an environment, equal calls once, all in one batch; sessions are closed; order is kept."""
    specs = [capital_spec(number) for number in (0, 1)]
    executor = Recording(TABLE)
    said = [("author_of", "Tides"), ("town_of", "Mira Olsen"), ("author_of", "Tides"), ("town_of", "Nobody")]
    responses = [Response(spec, gold_prefixes(spec)[0], assistant("", call(*one))) for one in said for spec in specs]
    responses.append(Response(specs[0], gold_prefixes(specs[0])[0], assistant("No call.")))
    found = score(responses, executor)
    distinct = [("author_of", "Tides"), ("town_of", "Mira Olsen"), ("town_of", "Nobody")]
    assert executor.batches == [distinct, distinct]
    assert (executor.opened, executor.open) == (2, 0)
    assert [one.results[0].content for one in found[:-1]] == ["Mira Olsen"] * 2 + ["Velden"] * 2 + [
        "Mira Olsen"
    ] * 2 + [""] * 2
    assert [one.results[0].call_id for one in found[:-1]] == ["c0"] * 8


def test_prefixes_of_other_rollouts_have_other_seeds():
    """A tool that draws lots draws those of the rollout that the prefix comes from."""
    spec, executor = capital_spec(), Recording(TABLE)
    said = assistant("", call("author_of", "Tides"))
    responses = [Response(spec, gold_prefixes(spec, sample=sample)[0], said) for sample in (0, 1, 1)]
    score(responses, executor)
    played = Recording(TABLE)
    gold_prefixes(spec, played, sample=1)
    assert len(set(executor.seeds)) == len(executor.seeds) == 2
    assert executor.seeds[1] == played.seeds[0]


def test_at_most_so_many_workers_at_once():
    """`concurrency` bounds the open sessions, however many environments there are."""
    executor = Recording(TABLE)
    specs = [capital_spec(number) for number in range(6)]
    said = assistant("", call("author_of", "Tides"))
    score([Response(spec, gold_prefixes(spec)[0], said) for spec in specs], executor, concurrency=2)
    assert (executor.opened, executor.most, executor.open) == (6, 2, 0)


def test_calls_beyond_the_limit_of_a_turn_are_not_executed():
    """They count, and earn nothing, as in a rollout under the same limits."""
    spec = capital_spec()
    both = assistant("", call("distractor", "?", id="c0"), call("author_of", "Tides", id="c1"))
    [one] = score(
        [Response(spec, gold_prefixes(spec)[0], both)], CannedExecutor(TABLE), limits=Limits(calls_per_turn=1)
    )
    assert (one.graded.reward.calls, one.graded.reward.solved) == (2, 0)
    assert one.results[1].error.startswith("limit:")


class Broken(CannedExecutor):
    """An executor whose workers die for one environment."""

    def session(self, sources, *, state=None, seed=0):
        session = super().session(sources, state=state, seed=seed)
        if "dying" in sources:

            async def abatch(calls):
                raise SandboxError("the worker cannot be started")

            session.abatch = abatch
        return session


def test_what_cannot_be_executed_is_unscored():
    """Not 0: `graded` is None with the cause, for every response with calls to that environment, and only for these."""
    dying = Tool(signature=ToolSchema(name="dying", description="", parameters={"type": "object"}), source="")
    spec, broken = capital_spec(), capital_spec(1)
    broken = broken.replace(tools=(*broken.tools, dying))
    said, answer = assistant("", call("author_of", "Tides")), assistant("<answer>Velden</answer>")
    prefix = gold_prefixes(spec)[0]
    lost = gold_prefixes(broken)[0]
    executor = Broken(TABLE)
    responses = [Response(broken, lost, said), Response(spec, prefix, said), Response(broken, lost, said)]
    responses.append(Response(broken, lost, answer))
    found = score(responses, executor)
    assert [one.graded is None for one in found] == [True, False, True, False]
    assert found[0].error == found[2].error == "SandboxError: the worker cannot be started"
    assert executor.open == 0


def test_a_prefix_of_another_environment_is_refused():
    """Its goals would be graded against the wrong tools."""
    with pytest.raises(ValueError, match="found environment"):
        score([Response(capital_spec(1), gold_prefixes(capital_spec(0))[0], assistant("?"))], CannedExecutor(TABLE))


def test_nothing_to_score():
    """No responses, no scores."""
    assert score([], CannedExecutor(TABLE)) == []


said_to_capital = st.lists(
    st.sampled_from([("author_of", "Tides"), ("town_of", "Mira Olsen"), ("town_of", "Tides"), ("distractor", "Tides")]),
    max_size=3,
).map(lambda pairs: assistant("", *(call(*pair, id=f"c{i}") for i, pair in enumerate(pairs))))


@given(st.lists(said_to_capital, min_size=1, max_size=3), said_to_capital, st.sampled_from(["frontier", "ftrl"]))
@settings(max_examples=60, deadline=None)
def test_a_response_earns_what_it_would_have_earned_in_the_rollout(turns, last, preset):
    """Playing on and scoring at the stored prefix give the same reward and the same state."""
    spec = capital_spec()
    before, message = turns, last

    def play(*messages):
        return asyncio.run(
            run_rollout(says(*messages), spec, CannedExecutor(TABLE), Limits(max_turns=len(messages)), preset=preset)
        )

    whole = play(*before, message)
    assume(len(whole.turns) == len(turns) + 1)  # else the rollout ended before: there is no prefix for the last message
    prefix = prefixes(play(*before))[-1]
    [one] = score([Response(spec, prefix, message)], CannedExecutor(TABLE), preset=preset)
    assert one.graded.reward == whole.turns[-1].reward
    assert one.results == whole.turns[-1].results


# --- in the sandbox -------------------------------------------------------------------------------------------------

COUNTER = """
import random

def draw(data=None):
    data["n"] = data["n"] + 1
    return f"ticket {data['n']} of {random.randrange(10**9)}"
"""


def lottery(initial) -> EnvSpec:
    tool = Tool(
        signature=ToolSchema(name="draw", description="A ticket.", parameters={"type": "object", "properties": {}}),
        source=COUNTER,
    )
    return EnvSpec.create(
        scenario=Scenario(question="What is the third ticket?", answer=infer("103")),
        tools=(tool,),
        goals=(Goal(id="g1", tool="draw", answer=infer(str(initial + 3))),),
        state={"n": initial},
        provenance=Provenance(source="test"),
    )


DRAW = assistant("", call("draw", "?", id="c0").model_copy(update={"arguments": "{}"}))


def test_a_prefix_with_state_is_played_again(sandbox):
    """Each response finds the state as its prefix left it, chance included, and no other response's doing."""
    spec = lottery(100)
    policy = says(DRAW, DRAW, DRAW, assistant("<answer>103</answer>"))
    rollout = asyncio.run(run_rollout(policy, spec, sandbox, sample=5))
    tickets = [turn.results[0].content for turn in rollout.turns[:3]]
    found = score([Response(spec, prefix, DRAW) for prefix in prefixes(rollout) for _ in range(2)], sandbox)
    assert [one.error for one in found] == [None] * 8
    assert [one.results[0].content for one in found[:6]] == [ticket for ticket in tickets for _ in range(2)]
    assert [one.graded.reward.solved for one in found] == [0, 0, 0, 0, 1, 1, 0, 0]


def test_equal_messages_at_a_prefix_are_scored_once():
    """Also where tools have a state: one replay, the same score for each; at another prefix it is another response."""
    spec, executor = capital_spec(state={"a": 1}), Recording(TABLE)
    start, middle, _ = gold_prefixes(spec)
    said = assistant("", call("author_of", "Tides"))
    found = score([Response(spec, start, said), Response(spec, middle, said), Response(spec, start, said)], executor)
    assert executor.opened == 2
    assert [one.graded.reward.value for one in found] == [1, 0, 1]


def test_a_prefix_that_cannot_be_played_again_is_unscored(sandbox):
    """Where the calls now give something else than the prefix shows, the response would be graded in another world."""
    rollout = asyncio.run(run_rollout(says(DRAW, assistant("?")), lottery(100), sandbox))
    prefix = prefixes(rollout)[1]
    other = lottery(200)
    prefix = prefix.model_copy(update={"task": other.task})
    [lost, fine] = score([Response(other, prefix, DRAW), Response(other, prefix, assistant("?"))], sandbox)
    assert lost.graded is None
    assert "gave other results than it shows" in lost.error
    assert fine.graded is not None  # without calls the state does not matter


def test_a_call_that_ends_its_worker_does_not_take_the_others_along(sandbox):
    """It is the model's failure: an error as result, reward 0; the other responses of the batch are scored as ever."""
    spec = capital_spec()
    endless = 'def author_of(x):\n    while x == "hang":\n        pass\n    return "Mira Olsen"\n'
    tools = [tool.model_copy(update={"source": endless}) if tool.name == "author_of" else tool for tool in spec.tools]
    spec = spec.replace(tools=tuple(tools))
    prefix = prefixes(asyncio.run(run_rollout(says(assistant("?")), spec, sandbox)))[0]
    messages = [assistant("", call("author_of", x)) for x in ("Tides", "hang", "Waves")]
    found = score([Response(spec, prefix, message) for message in messages], sandbox)
    assert [one.graded.reward.value for one in found] == [1, 0, 1]
    assert found[1].results[0].error.startswith("timeout")


def test_gold_responses_earn_one_in_the_sandbox(sandbox):
    """At every gold prefix of built environments, the gold turn earns 1; twice the same."""
    responses = []
    for draft in drafts(8):
        spec = spec_of(draft)
        rollout = asyncio.run(run_rollout(make("gold", spec, 0), spec, sandbox))
        for prefix, turn in zip(prefixes(rollout), rollout.turns, strict=True):
            responses.append(Response(spec, prefix, turn.completion.message))
    found = score(responses, sandbox)
    assert {one.graded.reward.value for one in found} == {1.0}
    assert score(responses, sandbox) == found
