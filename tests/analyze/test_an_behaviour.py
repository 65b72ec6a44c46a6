"""What is said of how a policy fails: each kind from a small conversation, and what cannot be told is None."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strategies
from fakes import PARAMETERS, capital_spec
from toolfoundry.analyze.behaviour import KINDS, behaviour, failures, is_error, solvers
from toolfoundry.analyze.behaviour_summary import behave, changes, examples, markdown, summarise_behaviour
from toolfoundry.answers import infer
from toolfoundry.reward import grade_trajectory
from toolfoundry.types import (
    Completion,
    Fault,
    Goal,
    Message,
    Task,
    Tool,
    ToolCall,
    ToolResult,
    ToolSchema,
    Trajectory,
    Turn,
    Usage,
)

SPEC = capital_spec()
QUESTION = Message(role="user", content="Where does the author of Tides live?")
FOUND = {("author_of", "Tides"): "Mira Olsen", ("town_of", "Mira Olsen"): "Velden"}
OF_ENVIRONMENT = {"dependency_order", "wrong_tool", "wrong_argument", "wrong_value"}


def asks(*calls, content="", faults=(), results=None, tokens=None, notice=None):
    """A turn whose calls, (tool, x) or (tool, arguments), get what the tools of the specification would give."""
    made, given = [], []
    for place, (tool, argument) in enumerate(calls):
        arguments = argument if isinstance(argument, dict | str) and str(argument).startswith("{") else {"x": argument}
        text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
        made.append(ToolCall(id=f"c{place}", name=tool, arguments=text))
        found = FOUND.get((tool, arguments.get("x"))) if isinstance(arguments, dict) else None
        given.append(result(f"c{place}", tool, found))
    message = Message(role="assistant", content=content, tool_calls=tuple(made), faults=faults)
    usage = None if tokens is None else Usage(completion_tokens=tokens)
    chosen = tuple(given) if results is None else tuple(results)
    return Turn(completion=Completion(message=message, usage=usage), results=chosen, notice=notice)


def result(call_id, tool, found):
    if found is not None:
        return ToolResult(call_id=call_id, content=found)
    if tool not in ("author_of", "town_of", "distractor"):
        return ToolResult(call_id=call_id, error=f"unknown_tool: there is no tool {tool!r}")
    if tool == "distractor":
        return ToolResult(call_id=call_id, content="sunny")
    return ToolResult(call_id=call_id, error="raised: KeyError: nothing of that name")


def played(*turns, stop="answered", spec=SPEC, **fields):
    return Trajectory(task=spec.task, policy="p", prompt=(QUESTION,), turns=turns, stop=stop, **fields)


ANSWER = asks(content="<answer>Velden</answer>")
WRONG = asks(content="<answer>Oslo</answer>")
FIRST, SECOND = asks(("author_of", "Tides")), asks(("town_of", "Mira Olsen"))


def kinds(trajectory, spec=SPEC):
    found = failures(trajectory, spec)
    return [(one.kind, one.turn, one.call) for one in found.found]


TABLE = {
    "gold": ([FIRST, SECOND, ANSWER], []),
    "malformed call": ([asks(("", "{broken"), ("author_of", "Tides")), SECOND, ANSWER], [("malformed", 0, 0)]),
    "markup in the text": ([FIRST, SECOND, asks(content="<tool_call>{")], [("malformed", 2, None)]),
    "call in thinking": (
        [asks(faults=(Fault(kind="call_in_thinking"),)), FIRST, SECOND, ANSWER],
        [("malformed", 0, None)],
    ),
    "unknown tool": ([asks(("towns", "Tides")), FIRST, SECOND, ANSWER], [("unknown_tool", 0, 0)]),
    "distractor": ([asks(("distractor", "Tides"), ("author_of", "Tides")), SECOND, ANSWER], [("distractor", 0, 0)]),
    "same call in a turn": ([asks(*[("author_of", "Tides")] * 2), SECOND, ANSWER], [("redundant", 0, 1)]),
    "same call later": (
        [FIRST, asks(("author_of", "Tides"), ("town_of", "Mira Olsen")), ANSWER],
        [("redundant", 1, 0)],
    ),
    "goal solved before": ([FIRST, asks(("author_of", "Waves")), SECOND, ANSWER], [("redundant", 1, 0)]),
    "wrong value": ([asks(("author_of", "tide")), FIRST, SECOND, ANSWER], [("wrong_value", 0, 0)]),
    "wrong argument name": (
        [asks(("author_of", {"book": "Tides"})), FIRST, SECOND, ANSWER],
        [("wrong_argument", 0, 0)],
    ),
    "argument left out": ([asks(("author_of", "{}")), FIRST, SECOND, ANSWER], [("wrong_argument", 0, 0)]),
    "hop left out": ([asks(("town_of", "Tides")), FIRST, SECOND, ANSWER], [("wrong_tool", 0, 0)]),
    "guessed ahead": ([asks(("town_of", "Knut Hamsun")), FIRST, SECOND, ANSWER], [("dependency_order", 0, 0)]),
    "guessed beside": (
        [asks(("author_of", "Tides"), ("town_of", "Knut Hamsun")), SECOND, ANSWER],
        [("dependency_order", 0, 1)],
    ),
    "premature": ([FIRST, ANSWER], [("premature_answer", 1, None)]),
    "gave up": ([FIRST, asks()], [("gave_up", 1, None)]),
    "talked": ([FIRST, asks(content="I am sorry, I could not find the town of this author.")], [("gave_up", 1, None)]),
    "wrong answer": ([FIRST, SECOND, WRONG], [("wrong_answer", 2, None)]),
    "invented result": (
        [asks(faults=(Fault(kind="invented_result"),)), FIRST, SECOND, ANSWER],
        [("invented_result", 0, None)],
    ),
}


@pytest.mark.parametrize(("turns", "expected"), TABLE.values(), ids=TABLE)
def test_each_kind(turns, expected):
    """The failure, and the turn and call where it happened; nothing else."""
    assert kinds(played(*turns)) == expected


def test_limits():
    """A rollout that met a limit, and a call that was not executed, are cut off, whatever would follow."""
    assert kinds(played(FIRST, stop="max_turns")) == [("cut_off", 0, None)]
    refused = ToolResult(call_id="c0", error="limit: at most 0 calls were still to be executed in this turn")
    assert kinds(played(asks(("author_of", "Tides"), results=[refused]), FIRST, SECOND, ANSWER)) == [("cut_off", 0, 0)]
    assert kinds(played(stop="max_time")) == [("cut_off", 0, None)]


def test_a_tool_that_failed_is_no_wrong_value():
    """Time and memory say nothing about the arguments; neither does a gold call without its answer."""
    slow = ToolResult(call_id="c0", error="timeout: the tool took longer than 5 s")
    assert kinds(played(asks(("author_of", "tide"), results=[slow]), FIRST, SECOND, ANSWER)) == [("other", 0, 0)]
    empty = ToolResult(call_id="c0", content="")
    turns = [asks(("author_of", "Tides"), results=[empty]), ANSWER]
    assert kinds(played(*turns)) == [("other", 0, 0), ("premature_answer", 1, None)]


def test_values_of_the_documents_are_no_guesses():
    """A default or an enum that the tool's document names was seen, and so was what an earlier result said."""
    schema = {**PARAMETERS, "properties": {"x": {"type": "string", "enum": ["Harbour"]}}}
    tools = tuple(
        Tool(signature=ToolSchema(name=tool.name, description="", parameters=schema), source=tool.source)
        for tool in SPEC.tools
    )
    spec = capital_spec(tools=tools, gold_calls=None)
    assert kinds(played(asks(("town_of", "Harbour")), FIRST, SECOND, ANSWER, spec=spec), spec)[0][0] == "wrong_tool"
    assert (
        kinds(played(asks(("town_of", "Bergen")), FIRST, SECOND, ANSWER, spec=spec), spec)[0][0] == "dependency_order"
    )


def test_without_the_environment():
    """What only the environment tells is None; a call that solved nothing for such a reason is another one."""
    trajectory = played(asks(("author_of", "tide"), ("towns", "x"), ("distractor", "x")), FIRST, SECOND, ANSWER)
    found = failures(trajectory)
    assert found.untold == OF_ENVIRONMENT
    assert [one.kind for one in found.found] == ["other", "unknown_tool", "distractor"]
    assert found.times("wrong_value") is None
    assert found.times("malformed") == 0
    assert {kind for kind, count in behaviour(trajectory).failures.items() if count is None} == OF_ENVIRONMENT


def test_unknown_edges_and_goals():
    """Without edges nobody knows what was ready; without goals, what a call was for."""
    goals = tuple(goal.model_copy(update={"needs": None}) for goal in SPEC.goals)
    loose = capital_spec(goals=goals)
    found = failures(played(asks(("town_of", "Tides")), FIRST, SECOND, ANSWER, spec=loose), loose)
    assert found.untold == {"dependency_order", "wrong_tool"}
    assert [one.kind for one in found.found] == ["wrong_value"]
    task = Task(spec_id="x", kind=None, goals=(), answer=None, tagged=True)
    free = played(asks(("distractor", "x")), asks(("distractor", "x")), WRONG).model_copy(update={"task": task})
    found = failures(free)
    assert [one.kind for one in found.found] == ["redundant"]
    assert found.untold == OF_ENVIRONMENT | {"distractor", "other", "premature_answer", "wrong_answer"}
    known = free.model_copy(update={"task": task.model_copy(update={"answer": infer("Velden")})})
    assert [one.kind for one in failures(known).found] == ["redundant", "wrong_answer"]


def test_unscored_trajectories_have_no_failures():
    """An infrastructure failure is nobody's behaviour."""
    failed = played(FIRST, stop="error", error="the sandbox died")
    assert failures(failed, SPEC) is None
    assert behaviour(failed) is None
    found = behave([failed, played(FIRST, SECOND, ANSWER)], {SPEC.id: SPEC})
    group = summarise_behaviour("x", found).groups[0]
    assert (group.n, group.unscored) == (1, 1)


def test_the_environment_must_be_the_trajectorys():
    with pytest.raises(ValueError, match="expected"):
        failures(played(ANSWER), capital_spec(1))


# --- measures --------------------------------------------------------------------------------------------------------


def test_measures():
    """Calls per solved sub-question, turns, tokens, and calls in those turns that make any."""
    trajectory = played(
        asks(("author_of", "Tides"), ("distractor", "x"), ("distractor", "y"), tokens=30),
        asks(("town_of", "Mira Olsen"), tokens=10),
        asks(content="<answer>Velden</answer>", tokens=5),
    )
    measures = behaviour(trajectory, SPEC).measures
    assert measures["calls_per_solved"] == 2.0
    assert (measures["calls"], measures["turns"], measures["tokens"]) == (4, 3, 45)
    assert measures["calls_per_turn"] == 2.0
    assert measures["asked_together"] is None  # never two goals ready at once
    nothing = behaviour(played(asks()), SPEC).measures
    assert (nothing["calls_per_solved"], nothing["calls_per_turn"], nothing["tokens"]) == (None, None, None)


def test_ready_goals_asked_together():
    """Two of three ready goals at once, then the third alone: that turn had no choice left."""
    goals = tuple(Goal(id=f"g{i}", tool="author_of", answer=infer(f"Name {i}")) for i in range(3))
    spec = capital_spec(goals=goals, gold_calls=None)
    results = [ToolResult(call_id=f"c{i}", content=f"Name {i}") for i in range(2)]
    first = asks(("author_of", "A"), ("author_of", "B"), results=results)
    second = asks(("author_of", "C"), results=[ToolResult(call_id="c0", content="Name 2")])
    measures = behaviour(played(first, second, ANSWER, spec=spec), spec).measures
    assert measures["asked_together"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("following", "expected"),
    [
        ([FIRST, SECOND, ANSWER], "corrected"),
        ([asks(("author_of", "tide"), ("author_of", "Tides")), SECOND, ANSWER], "repeated and corrected"),
        ([asks(("author_of", "tidal")), FIRST, SECOND, ANSWER], "repeated and corrected"),
        ([asks(("author_of", "tide")), FIRST, SECOND, ANSWER], "repeated and corrected"),
        ([ANSWER], "given_up"),
        ([], None),
    ],
)
def test_error_recovery(following, expected):
    """After a turn with an error: another call that works, the same or another error, no call; or it was cut off."""
    wrong = asks(("author_of", "tide"))
    stop = "answered" if following else "max_turns"
    measures = behaviour(played(wrong, *following, stop=stop), SPEC).measures
    shares = {name: measures[name] for name in ("corrected", "repeated", "given_up")}
    if expected is None:
        assert set(shares.values()) == {None}
    elif expected == "repeated and corrected":
        assert shares == {"corrected": 0.5, "repeated": 0.5, "given_up": 0.0}
    else:
        assert shares == {name: float(name == expected) for name in shares}


def test_an_error_beside_the_last_goal_needs_no_recovery():
    """All is solved: to answer then is no giving up."""
    last = asks(("town_of", "Mira Olsen"), ("town_of", "Mira"))
    assert behaviour(played(FIRST, last, ANSWER), SPEC).measures["given_up"] is None


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("Error: no such town", True),
        ('{"error": "no such town"}', True),
        ('{"town": "Velden"}', False),
        ("Velden", False),
        ("{not json", False),
        ("", False),
    ],
)
def test_errors_that_tools_return(content, error):
    """Tools in FTRL's style return their errors as content."""
    assert is_error(ToolResult(call_id="c", content=content)) is error


@settings(max_examples=150, deadline=None)
@given(
    goals=strategies.goal_sets(),
    turns=st.lists(strategies.turns(), max_size=4),
    stop=st.sampled_from(["answered", "max_turns"]),
)
def test_every_call_is_accounted_for(goals, turns, stop):
    """The calls that solved a goal and those with a failure are all calls, each once, whatever was said."""
    task = Task(spec_id="x", kind=None, goals=goals, answer=infer("5"), tagged=True)
    said = [Turn(completion=Completion(message=message), results=results) for message, results in turns]
    said.append(Turn(completion=Completion(message=Message(role="assistant", content="<answer>5</answer>"))))
    trajectory = Trajectory(task=task, policy="p", prompt=(QUESTION,), turns=tuple(said), stop=stop)
    found = [(one.turn, one.call) for one in failures(trajectory).found if one.call is not None]
    graded = grade_trajectory(trajectory, "frontier")
    solving = [
        (n, place) for n, (turn, g) in enumerate(zip(said, graded, strict=True)) for place in solvers(turn, g.solved_by)
    ]
    assert sum(
        len(ids) for turn, g in zip(said, graded, strict=True) for ids in solvers(turn, g.solved_by).values()
    ) == len(goals) - len(graded[-1].unsolved_ids)
    assert sorted(found + solving) == [(n, place) for n, turn in enumerate(said) for place in range(len(turn.results))]


# --- sets ------------------------------------------------------------------------------------------------------------


def many(*histories):
    """A trajectory of each history, each of an environment of its own."""
    specs = [
        spec.replace(scenario=spec.scenario.model_copy(update={"kind": "multi_hop"}))
        for spec in (capital_spec(number) for number in range(len(histories)))
    ]
    trajectories = [played(*turns, spec=spec) for spec, turns in zip(specs, histories, strict=True)]
    return behave(trajectories, {spec.id: spec for spec in specs})


GOLD = [FIRST, SECOND, ANSWER]
DOUBLE = [asks(*[("author_of", "Tides")] * 3), SECOND, ANSWER]
EARLY = [asks(("author_of", "Tides"), ("author_of", "Tides")), WRONG]


def test_shares_and_times():
    """The share of trajectories that show a failure, with its standard error, and how often it happened in all."""
    found = summarise_behaviour("x", many(DOUBLE, EARLY, GOLD, GOLD))
    assert [group.scenario for group in found.groups] == ["all", "multi_hop"]
    redundant = found.groups[0].failures["redundant"]
    assert (redundant.share.mean, redundant.count) == (0.5, 3)
    assert redundant.share.stderr == pytest.approx((1 / 3 / 4) ** 0.5)  # 1, 1, 0, 0: variance 1/3 over n - 1
    assert found.groups[0].failures["premature_answer"].share.mean == 0.25
    assert found.groups[1].measures["calls"].mean == 2.5


def test_examples_are_the_purest():
    """A trajectory that shows nothing else comes before one that does; a kind that never happened has none."""
    behaviours = many(EARLY, [asks(*[("author_of", "Tides")] * 2), SECOND, ANSWER], GOLD).behaviours
    shown = examples(behaviours)
    assert shown["redundant"] == (behaviours[1].key, behaviours[0].key)
    assert shown["premature_answer"] == (behaviours[0].key,)
    assert set(shown) == {"redundant", "premature_answer"}
    assert examples(behaviours, 1)["redundant"] == (behaviours[1].key,)


def test_changes_are_paired():
    """Over the same environments: what both times is known, with an interval; a gain that all share is sure too."""
    before, after = many(DOUBLE, EARLY, GOLD, DOUBLE), many(GOLD, GOLD, GOLD, GOLD)
    found = {(one.scenario, one.figure): one for one in changes(before, after)}
    redundant = found["all", "redundant"]
    assert (redundant.before, redundant.after, redundant.difference, redundant.pairs) == (0.75, 0.0, -0.75, 4)
    half = 3.182446 * (0.25 / 4) ** 0.5  # t of 3 degrees of freedom; 1, 1, 0, 1: variance 1/4
    assert redundant.low == pytest.approx(max(-1, -0.75 - half), abs=1e-6)
    assert redundant.high == pytest.approx(-0.75 + half, abs=1e-6)
    assert not redundant.sure
    assert found["multi_hop", "premature_answer"].difference == -0.25
    alike = changes(many(*[DOUBLE] * 8), many(*[GOLD] * 8))
    sure = {one.figure: one for one in alike if one.scenario == "all"}
    assert sure["redundant"].sure
    assert sure["redundant"].low is None
    assert not sure["malformed"].sure
    assert ("all", "corrected") not in found  # there was no error to recover from


def test_markdown_of_two_runs():
    """A table for each run, and one for each scenario of what changed, under a heading that says so."""
    before, after = many(*[DOUBLE] * 8), many(*[GOLD] * 8)
    runs = [summarise_behaviour("a", before), summarise_behaviour("b", after)]
    text = markdown(runs, changes(before, after))
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        *("# Behaviour", "## `a`", "## `b`", "## Change: all", "## Change: multi hop"),
    ]
    change = text[text.index("## Change: all") :]
    assert "| redundant call | 1.000 | 0.000 | **-1.000** | 8 |" in change
    assert "malformed" not in change


def test_markdown_escapes_names():
    """A name with a pipe, a backtick or an escape does not break the table."""
    text = markdown([summarise_behaviour("a|b`\x1b[31m", many(EARLY))])
    assert "`a/b'\\x1b[31m`" in text
    for about in KINDS.values():
        assert f"| {about.title} |" in text
