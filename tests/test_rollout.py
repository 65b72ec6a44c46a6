"""Environment and loop: what each kind of completion causes, where a rollout ends, and that one failure stays one."""

import asyncio

import pytest
from hypothesis import given

from fakes import TABLE, CannedExecutor, assistant, call, capital_spec, says
from strategies import turns
from toolfoundry.environment import Environment, opening
from toolfoundry.errors import EndpointError
from toolfoundry.policies.scripted import CHEATS, SCRIPTED, gold_turns, make
from toolfoundry.reward import grade_trajectory, score_trajectory
from toolfoundry.rollout import Job, run_rollout, run_rollouts
from toolfoundry.types import Completion, Fault, Limits, Message, ToolCall, Trajectory, Usage


def play(policy, spec=None, limits=None, executor=None, **options):
    rollout = run_rollout(
        policy, spec or capital_spec(), executor or CannedExecutor(TABLE), limits or Limits(), **options
    )
    return asyncio.run(rollout)


def test_the_gold_policy_solves_in_two_hops():
    """Calls, results, rewards and stop reason of a perfect rollout."""
    trajectory = play(make("gold", capital_spec()), name="gold")
    assert [[c.name for c in turn.completion.message.tool_calls] for turn in trajectory.turns] == [
        ["author_of"],
        ["town_of"],
        [],
    ]
    assert [turn.reward.value for turn in trajectory.turns] == [1.0, 1.0, 1.0]
    assert (trajectory.stop, score_trajectory(trajectory).value) == ("answered", 1.0)
    assert Trajectory.model_validate_json(trajectory.model_dump_json()) == trajectory


def test_rewards_are_those_of_regrading():
    """The rollout's own rewards are what the stored messages and results give again."""
    trajectory = play(
        says(assistant("", call("author_of", "Tides"), call("town_of", "x", id="c1")), assistant("Velden"))
    )
    assert [turn.reward for turn in trajectory.turns] == [graded.reward for graded in grade_trajectory(trajectory)]


STEPS = [
    (call("nowhere", "x"), "unknown_tool: there is no tool 'nowhere'; the tools are author_of, distractor, town_of"),
    (ToolCall(id="c0", name="author_of", arguments="{broken"), "malformed_call: "),
    (ToolCall(id="c0", name="", arguments="{broken"), "malformed_call: "),
    (ToolCall(id="c0", name="author_of", arguments="[1]"), "malformed_call: "),
    (call("author_of", "Nothing"), "raised: KeyError: nothing of that name"),
]


@pytest.mark.parametrize(("made", "error"), STEPS)
def test_mistakes_come_back_as_results(made, error):
    """The model reads what was wrong, and the rollout goes on."""
    trajectory = play(says(assistant("", made), assistant("<answer>Velden</answer>")))
    assert trajectory.turns[0].results[0].error.startswith(error)
    assert trajectory.stop == "answered"


def test_calls_over_the_limit_are_not_executed():
    """They get a result that says so, and count as calls."""
    message = assistant("", *(call("author_of", "Tides", id=f"c{n}") for n in range(4)))
    trajectory = play(says(message, assistant("no")), limits=Limits(calls_per_turn=2))
    assert [result.error and result.error.partition(":")[0] for result in trajectory.turns[0].results] == [
        None,
        None,
        "limit",
        "limit",
    ]
    assert trajectory.turns[0].reward.calls == 4


def test_a_fault_that_can_be_put_right_is_told():
    """A call inside the thinking is not executed; the model is told, and the rollout goes on."""
    message = assistant("", faults=(Fault(kind="call_in_thinking"),))
    seen = []

    async def policy(conversation, tools):
        seen.append(conversation)
        return Completion(message=message if len(seen) == 1 else assistant("<answer>Velden</answer>"))

    trajectory = play(policy)
    assert trajectory.turns[0].notice
    assert seen[1][-1] == Message(role="user", content=trajectory.turns[0].notice)
    assert [turn.reward.value for turn in trajectory.turns] == [-0.3, 1 / 3]


def test_a_rollout_makes_no_more_calls_than_allowed():
    """Also within one turn."""
    message = assistant("", *(call("author_of", "Tides", id=f"c{n}") for n in range(5)))
    trajectory = play(says(message), limits=Limits(max_calls=3))
    assert [result.error is None for result in trajectory.turns[0].results] == [True, True, True, False, False]
    assert (trajectory.stop, len(trajectory.turns)) == ("max_calls", 1)


def test_slow_tools_are_cut_off_too():
    """The time of a rollout includes its tools."""

    class Slow(CannedExecutor):
        def session(self, sources, **options):
            session = super().session(sources)
            session.abatch = lambda calls: asyncio.sleep(5)
            return session

    trajectory = play(says(assistant("", call("author_of", "x"))), limits=Limits(max_time_s=0.1), executor=Slow(TABLE))
    assert trajectory.stop == "max_time"


STOPS = [
    (assistant("", call("author_of", "x")), Limits(max_turns=3), "max_turns", 3),
    (assistant("", call("author_of", "x")), Limits(max_calls=2), "max_calls", 2),
    (
        Completion(message=assistant("", call("author_of", "x")), usage=Usage(completion_tokens=60)),
        Limits(max_tokens=100),
        "max_tokens",
        2,
    ),
    (assistant("so", faults=(Fault(kind="unfinished"),)), Limits(), "length", 1),
    (assistant(""), Limits(), "answered", 1),
]


@pytest.mark.parametrize(("message", "limits", "stop", "count"), STOPS)
def test_where_a_rollout_ends(message, limits, stop, count):
    """Each limit has its own reason; a cut-off message without calls is `length`."""
    trajectory = play(says(message), limits=limits)
    assert (trajectory.stop, len(trajectory.turns)) == (stop, count)


def test_time_is_up():
    """A policy that takes too long is cut off; what was done before is graded."""

    async def slow(conversation, tools):
        if any(message.role == "assistant" for message in conversation):
            await asyncio.sleep(5)
        return Completion(message=assistant("", call("author_of", "Tides")))

    trajectory = play(slow, limits=Limits(max_time_s=0.2))
    assert (trajectory.stop, len(trajectory.turns)) == ("max_time", 1)


@pytest.mark.parametrize("failure", [EndpointError("503 after 5 tries"), ValueError("a bug"), TimeoutError("its own")])
def test_an_infrastructure_failure_is_recorded_not_scored(failure):
    """With its cause, and with the turns before it."""
    trajectory = play(says(assistant("", call("author_of", "Tides")), failure))
    assert (trajectory.stop, len(trajectory.turns)) == ("error", 1)
    assert trajectory.error == f"{type(failure).__name__}: {failure}"
    assert score_trajectory(trajectory) is None


def test_the_worker_is_closed_whatever_happens():
    """Also after a failure, and none is opened for a rollout that makes no call."""
    executor = CannedExecutor(TABLE)
    play(says(assistant("", call("author_of", "Tides")), RuntimeError("x")), executor=executor)
    play(says(assistant("no calls")), executor=executor)
    assert (executor.open, executor.opened) == (0, 1)


def test_a_thousand_rollouts_at_once():
    """None is lost or doubled, one bad policy hurts nobody else."""
    executor = CannedExecutor(TABLE)
    specs = [capital_spec(number) for number in range(1000)]

    def maker(spec, sample):
        if spec is specs[7]:
            raise RuntimeError("cannot be made")
        return make("gold", spec)

    async def run():
        jobs = (Job(spec) for spec in specs)
        return [t async for t in run_rollouts(jobs, maker, executor, name="gold", concurrency=1000)]

    trajectories = asyncio.run(run())
    assert len({t.key for t in trajectories}) == len(trajectories) == 1000
    assert [t.error for t in trajectories if t.stop == "error"] == ["RuntimeError: cannot be made"]
    assert executor.open == 0


def test_concurrency_is_bounded():
    """At most so many rollouts hold a worker at a time."""
    executor = CannedExecutor(TABLE)

    async def run():
        jobs = [Job(capital_spec(number)) for number in range(40)]
        return [t async for t in run_rollouts(jobs, lambda spec, _: make("gold", spec), executor, concurrency=5)]

    assert len(asyncio.run(run())) == 40
    assert executor.most <= 5


def test_leaving_early_cancels_the_rest():
    """Nothing keeps running, and no worker stays open."""
    executor = CannedExecutor(TABLE)

    async def forever(conversation, tools):
        if conversation[0].content.count("(0)"):
            return Completion(message=assistant("done"))
        if len(conversation) > 1:
            await asyncio.sleep(3600)
        return Completion(message=assistant("", call("author_of", "Tides")))

    async def run():
        jobs = [Job(capital_spec(number)) for number in range(5)]
        rollouts = run_rollouts(jobs, lambda *_: forever, executor)
        async for _ in rollouts:
            break
        await rollouts.aclose()
        return len(asyncio.all_tasks())

    assert asyncio.run(run()) == 1
    assert executor.open == 0


@given(turns())
def test_every_call_gets_its_result(played):
    """Whatever a message holds: one result a call, in order, with its id."""
    message, _ = played

    async def step():
        with Environment(capital_spec(), CannedExecutor(TABLE)) as environment:
            return await environment.step(message)

    results = asyncio.run(step()).results
    assert [result.call_id for result in results] == [made.id for made in message.tool_calls]


def test_standard_prompt_and_own_prompt():
    """Ours asks for answer tags; an imported prompt is kept word for word."""
    assert "<answer>" in opening(capital_spec()).messages[0].content
    own = capital_spec(prompt=(Message(role="user", content="Just do it."),))
    assert opening(own).messages == own.prompt
    assert (capital_spec().task.tagged, own.task.tagged) == (True, False)


@pytest.mark.parametrize("name", SCRIPTED)
def test_scripted_policies_end_by_themselves(name):
    """Each answers within the limits, and plays the same with the same seed."""
    first, second = (play(make(name, capital_spec(), seed=3)) for _ in range(2))
    assert first == second
    assert first.stop == "answered"
    score = score_trajectory(first).value
    assert score == 1.0 if name == "gold" else score < 1.0
    assert (name in CHEATS) == (name != "gold")


def test_gold_turns_follow_the_edges():
    """Ready goals together; a call that solves nothing is a barrier; unknown edges go one at a time."""
    spec = capital_spec()
    assert [[c.id for c in turn] for turn in gold_turns(spec)] == [["g1"], ["g2"]]
    free = spec.replace(goals=tuple(goal.model_copy(update={"needs": ()}) for goal in spec.goals))
    assert [[c.id for c in turn] for turn in gold_turns(free)] == [["g1", "g2"]]
    unknown = spec.replace(goals=tuple(goal.model_copy(update={"needs": None}) for goal in spec.goals))
    assert [[c.id for c in turn] for turn in gold_turns(unknown)] == [["g1"], ["g2"]]
    barrier = free.replace(
        gold_calls=(call("author_of", "Tides", id="g1"), call("distractor", "y", id="a"), *free.gold_calls[1:])
    )
    assert [[c.id for c in turn] for turn in gold_turns(barrier)] == [["g1"], ["a"], ["g2"]]
