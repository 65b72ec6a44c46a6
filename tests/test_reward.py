"""The reward: a table of small turns with the arithmetic beside it, and properties."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import goal_sets, turns
from toolfoundry.answers import infer
from toolfoundry.reward import (
    final_answer_right,
    frontier,
    grade_trajectory,
    grade_turn,
    published_output,
    score_trajectory,
)
from toolfoundry.types import (
    Answer,
    Completion,
    Fault,
    Goal,
    Message,
    Task,
    ToolCall,
    ToolResult,
    Trajectory,
    Turn,
)


def goal(name, tool="look", answer="5,000", needs=(), echo_ok=False):
    return Goal(id=name, tool=tool, answer=infer(answer), needs=needs, echo_ok=echo_ok)


def turn(*calls, content="", faults=()):
    """A message and its results from (tool, arguments, content or error) triples."""
    made, results = [], []
    for index, (tool, arguments, outcome) in enumerate(calls):
        made.append(ToolCall(id=f"c{index}", name=tool, arguments=arguments))
        failed = outcome.startswith("!")
        results.append(
            ToolResult(call_id=f"c{index}", error=outcome[1:])
            if failed
            else ToolResult(call_id=f"c{index}", content=outcome)
        )
    return Message(role="assistant", content=content, tool_calls=tuple(made), faults=tuple(faults)), tuple(results)


def grade(goals, message, results, unsolved=None, preset="frontier", answer="42", **options):
    ids = [g.id for g in goals] if unsolved is None else unsolved
    return grade_turn(goals, ids, message, results, infer(answer) if answer else None, preset, **options)


CHAIN = (goal("a", answer="5,000"), goal("b", tool="next", answer="Oslo", needs=("a",)))
PARALLEL = (goal("a", answer="111"), goal("b", answer="222"), goal("c", answer="333"))
HIT_A = ("look", '{"x": 1}', "5000 people")
MISS = ("look", '{"x": 2}', "4000 people")

CALLS = [
    # one ready goal, one right call: 2*1/(1+1)
    (CHAIN, [HIT_A], 1.0, 1),
    # a useless call beside it: 2*1/(2+1)
    (CHAIN, [HIT_A, MISS], 2 / 3, 1),
    # nothing found: 0
    (CHAIN, [MISS], 0.0, 0),
    # an error result holds nothing, whatever it says
    (CHAIN, [("look", "{}", "!raised: ValueError: not 5000")], 0.0, 0),
    # a later goal guessed in the same turn counts as solved: 2*2/(2+max(1, 2))
    (CHAIN, [HIT_A, ("next", '{"y": 1}', "in Oslo")], 1.0, 2),
    # three ready goals, all at once: 2*3/(3+3)
    (PARALLEL, [("look", f'{{"x": {n}}}', str(n * 111)) for n in (1, 2, 3)], 1.0, 3),
    # three ready goals, one at a time: 2*1/(1+3); the paper's formula pays 1.0 for leaving two undone
    (PARALLEL, [("look", '{"x": 1}', "111")], 0.5, 1),
    # one dump of everything solves one goal only: 2*1/(1+3)
    (PARALLEL, [("look", "{}", "111, 222 and 333")], 0.5, 1),
    # the same call three times has its credit once: 2*1/(3+3)
    (PARALLEL, [("look", '{"x": 1, "y": 2}', "111 222"), ("look", '{"y": 2, "x": 1}', "111 222")] * 2, 2 / 7, 1),
    # the wrong tool
    (CHAIN, [("other", "{}", "5000")], 0.0, 0),
    # malformed beside good: it counts in p, 2*1/(2+1)
    (CHAIN, [HIT_A, ("look", "{broken", "!malformed_call: x")], 2 / 3, 1),
    (CHAIN, [HIT_A, ("look", "[1]", "!malformed_call: x")], 2 / 3, 1),
    # the answer stands in the call's own arguments
    (CHAIN, [("look", '{"guess": "5,000"}', "you said 5000")], 0.0, 0),
    # ... which is right for a maximum of given numbers
    ((goal("a", echo_ok=True),), [("look", '{"numbers": [4000, 5000]}', "5000")], 1.0, 1),
    # two goals share a candidate call; the matching finds the assignment that solves both
    (
        (goal("a", answer="111"), goal("b", answer="222")),
        [("look", '{"x":1}', "111 222"), ("look", '{"x":2}', "111")],
        1.0,
        2,
    ),
]


@pytest.mark.parametrize(("goals", "calls", "value", "solved"), CALLS)
def test_frontier_reward_of_calls(goals, calls, value, solved):
    """R = 2q / (p + max(n, q)) (changing this changes training)."""
    graded = grade(goals, *turn(*calls))
    assert graded.reward.value == pytest.approx(value)
    assert graded.reward.solved == solved
    assert len(graded.unsolved_ids) == len(goals) - solved


FINAL = [
    # nothing at all
    ("", (), [], ["a", "b"], -0.5),
    # markup that is no call, an invented result, a cut-off: -0.3
    ("", (), [("", "{broken", "!malformed_call: x")], ["a"], -0.3),
    ("text", (Fault(kind="invented_result"),), [], ["a"], -0.3),
    ("text", (Fault(kind="unfinished"),), [], [], -0.3),
    ("", (Fault(kind="call_in_thinking"),), [], ["a"], -0.3),
    # right answer: 1/(1+t)
    ("<answer>42</answer>", (), [], [], 1.0),
    ("<answer>42</answer>", (), [], ["a"], 0.5),
    ("42", (), [], ["a", "b"], 1 / 3),
    # wrong, also when all is solved (the release pays 0.5 for any text then)
    ("<answer>41</answer>", (), [], [], 0.0),
    # no tag and more than eight words: there is no answer
    ("after a long look at everything the answer is 42", (), [], [], 0.0),
]


@pytest.mark.parametrize(("content", "faults", "calls", "unsolved", "value"), FINAL)
def test_frontier_reward_without_calls(content, faults, calls, unsolved, value):
    """Empty -0.5, malformed -0.3, right 1/(1+t), anything else 0."""
    message, results = turn(*calls, content=content, faults=faults)
    assert grade(CHAIN, message, results, unsolved).reward.value == pytest.approx(value)


def test_a_call_is_credited_once_a_trajectory():
    """The second goal that one dump holds is not had by calling again."""
    goals = (goal("a", answer="111"), goal("b", answer="222"))
    message, results = turn(("look", "{}", "111 222"))
    first = grade(goals, message, results)
    second = grade(goals, message, results, first.unsolved_ids, credited=first.credited)
    assert (first.reward.solved, second.reward.solved) == (1, 0)


def test_unknown_edges_mean_one_ready_goal():
    """Imported sets: the paper's formula, until the prover has found the edges."""
    goals = tuple(Goal(id=n, tool="look", answer=infer("5"), needs=None) for n in "abc")
    assert frontier(goals, ["a", "b", "c"]) == 1
    assert frontier(goals, []) == 0
    assert frontier(PARALLEL, ["a", "b", "c"]) == 3
    assert frontier(PARALLEL, ["a", "b", "c"], calls_per_turn=2) == 2
    assert frontier(CHAIN, ["a", "b"]) == 1


def test_a_possible_echo_counts_and_is_flagged():
    """Where no gold call says what is right."""
    goals = (goal("a", echo_ok=None),)
    graded = grade(goals, *turn(("look", '{"guess": 5000}', "5000")))
    assert (graded.reward.value, graded.reward.echo_possible) == (1.0, 1)
    both = grade(goals, *turn(("look", '{"guess": 5000}', "5000"), ("look", '{"x": 1}', "5000")))
    assert both.reward.echo_possible == 0


@pytest.mark.parametrize(
    ("preset", "value"), [("ftrl", 2 * 2 / 4), ("ftrl-pr", 4 / 3), ("ftrl-rate", 2.0), ("ftrl-precision", 2 / 3)]
)
def test_published_variants(preset, value):
    """2q/(p+1), q²/p, q, q/p for p = 3, q = 2 (changing this breaks comparison with the paper)."""
    calls = [("look", '{"x":1}', "1110"), ("look", '{"x":2}', "2220"), ("look", "{}", "nothing")]
    assert grade(PARALLEL, *turn(*calls), preset=preset).reward.value == pytest.approx(value)


@pytest.mark.parametrize(
    ("content", "unsolved", "value"),
    [
        ("", ["a"], -0.5),
        ("see <tool_call>", ["a"], -0.3),
        ("it is 1420", ["a"], 0.5),
        ("so be it", [], 0.5),
        ("no", ["a"], 0),
    ],
)
def test_published_final_turn(content, unsolved, value):
    """As released: "42" is found in "1420", and any text pays 0.5 once all is solved."""
    message, results = turn(content=content)
    assert grade(CHAIN, message, results, unsolved, preset="ftrl").reward.value == value


def test_published_error_texts():
    """What the release would have shown the model, since goldens are looked for in it."""
    raised = ToolResult(call_id="", error="raised: TypeError: f() missing 1: 'x'")
    assert published_output("f", raised) == "an error occured when call f: f() missing 1: 'x'"
    unknown = ToolResult(call_id="", error="unknown_tool: there is no tool 'g'")
    assert published_output("g", unknown) == "an error occured when call g: 'g'"


def test_results_must_belong_to_the_calls():
    """A mix-up would silently grade the wrong thing."""
    message, results = turn(HIT_A, MISS)
    with pytest.raises(ValueError, match="one to one"):
        grade(CHAIN, message, results[::-1])


@pytest.mark.parametrize(
    ("content", "tagged", "right"),
    [
        ("It took a while.\n<answer>Oslo</answer>", True, True),
        ("<answer>Oslo</answer> or <answer>Rome</answer>", True, False),
        ("The answer is Oslo", True, False),
        ("Oslo", True, True),
        ("The capital is Oslo.\n\n", False, True),
        ("Oslo\nor maybe Rome", False, False),
        ("word " * 30 + "Oslo", False, False),
        ("<tool_response>Oslo</tool_response><answer>Oslo</answer>", True, False),
    ],
)
def test_final_answer(content, tagged, right):
    """With tags the tag alone counts; without, the last line on token boundaries."""
    assert final_answer_right(Message(role="assistant", content=content), infer("Oslo"), tagged=tagged) is right


def test_a_line_of_guesses_is_no_answer():
    """Without tags a line may name three numbers, as "5 + 7 = 12" does, but not thirty."""
    said = Message(role="assistant", content="So 5 + 7 = 12.")
    guesses = Message(role="assistant", content="0 1 2 3 4 5 6 7 8 9 10 11 12")
    assert final_answer_right(said, infer("12"), tagged=False)
    assert not final_answer_right(guesses, infer("12"), tagged=False)


def test_a_faulty_last_message_gives_no_answer():
    """Its turn earns -0.3, and its trajectory nothing for it."""
    message, results = turn(content="<answer>42</answer>", faults=(Fault(kind="unfinished"),))
    assert grade(CHAIN, message, results).reward.value == -0.3
    assert score_trajectory(trajectory((message, results))).answer_right is False


def test_markup_in_the_text_is_markup():
    """A server that leaves the call in the text does not turn it into an answer."""
    message, results = turn(content='<tool_call>{"name": "look"')
    assert grade(CHAIN, message, results).reward.value == -0.3


def test_equal_json_numbers_make_equal_calls():
    """1 and 1.0 are the same argument."""
    goals = (goal("a", answer="111"), goal("b", answer="222"))
    calls = [("look", '{"x": 1}', "111 222"), ("look", '{"x": 1.0}', "111 222")]
    assert grade(goals, *turn(*calls)).reward.solved == 1


@pytest.mark.parametrize("depth", [99, 100, 300, 1020])
def test_deep_arguments_are_malformed_not_fatal(depth):
    """A model cannot make a rollout unscored by nesting: beyond 100 levels a call counts as malformed."""
    message, results = turn(("look", '{"x": ' + "[" * depth + "]" * depth + "}", "5000"))
    assert grade(CHAIN, message, results).reward.malformed == (depth > 99)


def trajectory(*played, goals=CHAIN, stop="answered", answer="42"):
    turns_made = tuple(Turn(completion=Completion(message=message), results=results) for message, results in played)
    task = Task(spec_id="x", kind="multi_hop", goals=goals, answer=infer(answer) if answer else None, tagged=True)
    return Trajectory(task=task, policy="p", prompt=(), turns=turns_made, stop=stop)


def test_the_gold_trajectory_scores_one():
    """½ F1 + ½ answer."""
    score = score_trajectory(trajectory(turn(HIT_A), turn(("next", "{}", "Oslo")), turn(content="<answer>42</answer>")))
    assert (score.value, score.strict.f1, score.paper.f1, score.answer_right) == (1.0, 1.0, 1.0, True)


def test_a_silent_policy_is_not_precise():
    """The paper's Solve-P is 1 without any call; the strict one is 0."""
    score = score_trajectory(trajectory(turn(content="")))
    assert (score.value, score.paper.precision, score.strict.precision, score.strict.f1) == (0.0, 1.0, 0.0, 0.0)


def test_metrics_are_counted_over_the_trajectory():
    """P = 3 calls, Q = 1 of N = 2: F1 = 2/5; a malformed call counts in the strict P only."""
    score = score_trajectory(
        trajectory(turn(MISS, ("", "{broken", "!malformed_call: x")), turn(HIT_A), turn(content="41"))
    )
    assert (score.strict.precision, score.strict.recall, score.strict.f1) == pytest.approx((1 / 3, 1 / 2, 2 / 5))
    assert (score.paper.calls, score.paper.f1) == (2, pytest.approx(2 / 4))
    assert (score.answer_right, score.malformed, score.value) == (False, 1, pytest.approx(0.2))


def test_an_infrastructure_failure_is_not_scored():
    """None, never a silent 0."""
    assert score_trajectory(trajectory(turn(HIT_A), stop="error")) is None


def test_without_a_final_answer_the_score_is_f1():
    """Some tasks (a database to be changed) have none."""
    score = score_trajectory(trajectory(turn(HIT_A), answer=None))
    assert (score.answer_right, score.value) == (None, pytest.approx(2 / 3))


# --- properties ----------------------------------------------------------------------------------------------------


@given(goal_sets(), turns())
def test_frontier_reward_is_bounded(goals, played):
    """In [-0.5, 1], and what is solved was unsolved."""
    graded = grade(goals, *played)
    assert -0.5 <= graded.reward.value <= 1.0
    assert set(graded.unsolved_ids) <= {g.id for g in goals}
    assert len(goals) - len(graded.unsolved_ids) == graded.reward.solved


@given(goal_sets(), turns(), st.randoms(use_true_random=False))
def test_the_order_of_calls_does_not_matter(goals, played, random):
    """For stateless tools: same reward, same goals solved, same credit."""
    message, results = played
    order = list(range(len(results)))
    random.shuffle(order)
    shuffled = message.model_copy(update={"tool_calls": tuple(message.tool_calls[i] for i in order)})
    assert grade(goals, shuffled, tuple(results[i] for i in order)) == grade(goals, message, results)


@given(goal_sets(), st.lists(turns(), max_size=4), st.sampled_from(["frontier", "ftrl"]))
@settings(max_examples=60)
def test_unsolved_never_grows(goals, played, preset):
    """And nothing is solved twice over a trajectory."""
    before = {g.id for g in goals}
    graded = grade_trajectory(trajectory(*played, goals=goals), preset)
    for step in graded:
        assert set(step.unsolved_ids) <= before
        before = set(step.unsolved_ids)
    assert sum(step.reward.solved for step in graded) == len(goals) - len(before)


@given(goal_sets(), turns())
def test_equal_to_the_paper_where_claimed(goals, played):
    """With n = 1 and q <= 1 the frontier reward of calls is the paper's 2q/(p+1) for the same p and q."""
    reward = grade(goals, *played).reward
    if reward.frontier == 1 and reward.solved <= 1 and reward.calls > reward.malformed:
        assert reward.value == pytest.approx(2 * reward.solved / (reward.calls + 1))


@given(st.integers(1, 16), st.integers(1, 16))
def test_the_paper_formula_leaves_the_bounds(calls, ready):
    """Where it does not equal ours: all-right parallel calls earn more than 1 in the paper, exactly 1 here."""
    answers = [Answer(type="number", value=1000 + n) for n in range(calls)]
    goals = tuple(Goal(id=f"g{n}", tool="look", answer=a) for n, a in enumerate(answers))
    message, results = turn(*[("look", f'{{"x": {n}}}', str(1000 + n)) for n in range(calls)])
    assert grade(goals, message, results).reward.value == pytest.approx(1.0)
    assert grade(goals, message, results, preset="ftrl").reward.value == pytest.approx(2 * calls / (calls + 1))
