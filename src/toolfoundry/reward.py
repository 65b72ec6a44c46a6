"""The reward: one pure function grades one turn, for sampling, training and evaluation alike.

Two presets. `ftrl` computes what the authors' release computes on the same input, greedy substring matching and
all (Ye et al. 2025, arXiv:2508.08791; four variants of the score for calls). `frontier`, the default, repairs it:

    R = 2q / (p + max(n, q))        p calls, q goals newly solved, n goals that were ready before the turn

which is the F1 of precision q/p and completeness q/max(n, q), in [0, 1]. It equals the paper's 2q/(p+1) exactly where
n = 1 and q <= 1; the paper's exceeds 1 for parallel goals and still pays 1.0 when ready work is left undone.

Turn rewards give credit to turns and are never summed. A trajectory is scored by `score_trajectory`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

import orjson
from pydantic import JsonValue

from toolfoundry.answers import equals, holds, published_match, spelling, stands_in, tagged_answer, values_in
from toolfoundry.chat.markup import MAX_DEPTH, deeper_than
from toolfoundry.types import (
    Answer,
    Goal,
    Limits,
    Message,
    Preset,
    Reward,
    Score,
    Solve,
    ToolCall,
    ToolResult,
    Trajectory,
)

__all__ = [
    "Graded",
    "arguments_of",
    "call_key",
    "final_answer",
    "final_answer_right",
    "frontier",
    "grade_trajectory",
    "grade_turn",
    "published_call_score",
    "published_final_score",
    "published_output",
    "score_trajectory",
    "trajectory_value",
]

_EMPTY, _MALFORMED = -0.5, -0.3
_MAX_ANSWER_WORDS, _MAX_LINE_WORDS, _MAX_GUESSES = 8, 30, 3
_MARKUP = ("<tool_call>", "</tool_call>", "<tool_response>")


class Graded(NamedTuple):
    """A turn's reward and the state after it: goals still unsolved (in the order of the goals), calls that have had
    their credit. `solved_by`: each goal that was newly solved, with the `call_key` that did it (`frontier` only)."""

    reward: Reward
    unsolved_ids: tuple[str, ...]
    credited: frozenset[str]
    solved_by: tuple[tuple[str, str], ...] = ()


def grade_turn(
    goals: Sequence[Goal],
    unsolved_ids: Collection[str],
    message: Message,
    results: Sequence[ToolResult],
    answer: Answer | None,
    preset: Preset = "frontier",
    *,
    credited: frozenset[str] = frozenset(),
    tagged: bool = True,
    calls_per_turn: int = Limits().calls_per_turn,
) -> Graded:
    """The reward of one turn, and what is unsolved after it.

    Args:
        goals: all goals of the task, in topological order.
        unsolved_ids: the goals that are unsolved before the turn.
        message: the policy's message.
        results: one result for each of the message's calls, in the same order.
        answer: the task's final answer, None where it has none.
        preset: which definition to use.
        credited: from the grading of the turn before; calls in it earn nothing again (`frontier` only).
        tagged: whether the prompt asks for the final answer in `<answer>` tags (`frontier` only).
        calls_per_turn: the limit under which the rollout runs; nobody can solve more goals than that in one turn.

    Raises:
        ValueError: results and calls do not belong together.
    """
    if [result.call_id for result in results] != [call.id for call in message.tool_calls]:
        raise ValueError("results must match the message's calls one to one, in order")
    open_goals = [goal for goal in goals if goal.id in unsolved_ids]
    if preset == "frontier":
        return _grade_frontier(open_goals, message, results, answer, credited, tagged, calls_per_turn)
    return _grade_published(open_goals, message, results, answer, preset, credited)


def frontier(
    goals: Sequence[Goal], unsolved_ids: Collection[str], calls_per_turn: int = Limits().calls_per_turn
) -> int:
    """How many unsolved goals are ready (all they need is solved); 1 where the edges are not known."""
    open_goals = [goal for goal in goals if goal.id in unsolved_ids]
    return _frontier(open_goals, calls_per_turn)


def _frontier(open_goals: Sequence[Goal], calls_per_turn: int) -> int:
    if any(goal.needs is None for goal in open_goals):
        return 1
    open_ids = {goal.id for goal in open_goals}
    return min(calls_per_turn, sum(1 for goal in open_goals if open_ids.isdisjoint(goal.needs or ())))


def arguments_of(call: ToolCall) -> dict[str, JsonValue] | None:
    """The call's arguments as an object, or None where the call is malformed: no name, no JSON object, or one that is
    nested deeper than 100 levels (`chat.explain` says which)."""
    if not call.name:
        return None
    try:
        value = orjson.loads(call.arguments)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None
    if not isinstance(value, dict) or deeper_than(MAX_DEPTH, value):
        return None
    return cast("dict[str, JsonValue]", value)


# --- frontier ------------------------------------------------------------------------------------------------------


def _grade_frontier(
    open_goals: Sequence[Goal],
    message: Message,
    results: Sequence[ToolResult],
    answer: Answer | None,
    credited: frozenset[str],
    tagged: bool,
    calls_per_turn: int,
) -> Graded:
    calls = len(message.tool_calls)
    parsed = [arguments_of(call) for call in message.tool_calls]
    malformed = sum(arguments is None for arguments in parsed)
    ready = _frontier(open_goals, calls_per_turn)
    unsolved = tuple(goal.id for goal in open_goals)
    if calls == malformed:  # no well-formed call
        if malformed or faulty(message):
            value = _MALFORMED
        elif not message.content.strip():
            value = _EMPTY
        elif answer is not None and final_answer_right(message, answer, tagged=tagged):
            value = 1 / (1 + len(open_goals))
        else:
            value = 0.0
        reward = Reward(value=value, calls=calls, frontier=ready, malformed=malformed)
        return Graded(reward, unsolved, credited)

    candidates = {
        key: _Candidate(call.name, arguments, result.content)
        for call, arguments, result in zip(message.tool_calls, parsed, results, strict=True)
        if arguments is not None and result.error is None and (key := call_key(call.name, arguments)) not in credited
    }
    matched = _match(open_goals, candidates)
    solved = len(matched)
    reward = Reward(
        value=2 * solved / (calls + max(ready, solved)),
        calls=calls,
        solved=solved,
        frontier=ready,
        malformed=malformed,
        echo_possible=sum(echo for _, echo in matched.values()),
    )
    still = tuple(goal_id for goal_id in unsolved if goal_id not in matched)
    solved_by = tuple((goal_id, edge.key) for goal_id, edge in sorted(matched.items()))
    return Graded(reward, still, credited | {key for key, _ in matched.values()}, solved_by)


class _Candidate(NamedTuple):
    tool: str
    arguments: dict[str, JsonValue]
    content: str


class _Edge(NamedTuple):
    key: str
    echo: bool


def call_key(name: str, arguments: Mapping[str, JsonValue]) -> str:
    """The same for calls that are equal in name and JSON arguments (1 and 1.0 are equal numbers)."""
    return name + orjson.dumps(_plain_numbers(dict(arguments)), option=orjson.OPT_SORT_KEYS).decode()


def _plain_numbers(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _plain_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _match(goals: Sequence[Goal], candidates: Mapping[str, _Candidate]) -> dict[str, _Edge]:
    """Goal id -> the call that solves it; one call solves one goal.

    Goals are taken in topological order and each is kept that can still be matched together with those kept
    (augmenting paths). Calls are tried in the order of their keys, so the order in the message does not matter.
    """
    edges = {goal.id: list(_edges(goal, candidates)) for goal in goals}
    owner: dict[str, str] = {}  # call key -> goal id
    chosen: dict[str, _Edge] = {}

    def place(goal_id: str, tried: set[str]) -> bool:
        for edge in edges[goal_id]:
            if edge.key in tried:
                continue
            tried.add(edge.key)
            if edge.key not in owner or place(owner[edge.key], tried):
                owner[edge.key] = goal_id
                chosen[goal_id] = edge
                return True
        return False

    for goal in goals:
        place(goal.id, set())
    return chosen


def _edges(goal: Goal, candidates: Mapping[str, _Candidate]) -> Iterator[_Edge]:
    """The calls that solve a goal by themselves, those beyond doubt first."""
    found: list[_Edge] = []
    for key, candidate in candidates.items():
        if candidate.tool != goal.tool or not holds(goal.answer, candidate.content):
            continue
        echo = goal.echo_ok is not True and stands_in(goal.answer, candidate.arguments)
        if not echo or goal.echo_ok is None:
            found.append(_Edge(key, echo))
    return iter(sorted(found, key=lambda edge: (edge.echo, edge.key)))


def faulty(message: Message) -> bool:
    """Whether a message without calls is wrong in form: a fault, or call markup that stands in its text."""
    return bool(message.faults) or any(markup in message.content for markup in _MARKUP)


def final_answer_right(message: Message, answer: Answer, *, tagged: bool) -> bool:
    """Whether a message without calls gives the final answer, compared as a typed value.

    With `tagged`, the last `<answer>` tag counts, else the whole message if it has at most 8 words, else nothing.
    Without (an imported prompt that asks for no tags), the answer must stand on token boundaries in the last line
    that is not empty, if that has at most 30 words, and at most three numbers (or dates), where the answer is one:
    a line of thirty numbers is no answer. A message with a fault or call markup in its text gives none.
    """
    given = final_answer(message, tagged=tagged)
    if given is None:
        return False
    return equals(answer, given) if tagged else holds(answer, given) and values_in(answer, given) <= _MAX_GUESSES


def final_answer(message: Message, *, tagged: bool) -> str | None:
    """The text that counts as a message's final answer, right or wrong; None where it gives none."""
    content = message.content.strip()
    if message.tool_calls or faulty(message) or not content:
        return None
    if tagged:
        given = tagged_answer(content)
        return content if given is None and len(content.split()) <= _MAX_ANSWER_WORDS else given
    last = content.rpartition("\n")[2].strip()
    return last if len(last.split()) <= _MAX_LINE_WORDS else None


# --- as published --------------------------------------------------------------------------------------------------


def _grade_published(
    open_goals: Sequence[Goal],
    message: Message,
    results: Sequence[ToolResult],
    answer: Answer | None,
    preset: Preset,
    credited: frozenset[str],
) -> Graded:
    pairs = list(zip(message.tool_calls, results, strict=True))
    well_formed = [(call, result) for call, result in pairs if arguments_of(call) is not None]
    malformed = len(pairs) - len(well_formed)
    remaining = list(open_goals)
    for call, result in well_formed:
        output = published_output(call.name, result)
        hit = next((g for g in remaining if g.tool == call.name and published_match(spelling(g.answer), output)), None)
        if hit is not None:
            remaining.remove(hit)
    solved = len(open_goals) - len(remaining)
    if well_formed:
        value = published_call_score(len(well_formed), solved, preset)
    elif malformed:
        value = _MALFORMED
    else:
        golden = None if answer is None else spelling(answer)
        text = (message.thinking + "\n" + message.content).strip()
        value = published_final_score(text, golden, len(open_goals), all_solved=not open_goals)
    reward = Reward(value=value, calls=len(pairs), solved=solved, frontier=min(1, len(open_goals)), malformed=malformed)
    return Graded(reward, tuple(goal.id for goal in remaining), credited)


def published_call_score(calls: int, solved: int, preset: Preset) -> float:
    """The release's score of a message with calls: R = 2q/(p+1) (section 2.1), or one of its three alternatives."""
    match preset:
        case "ftrl-pr":
            return solved * solved / calls
        case "ftrl-rate":
            return float(solved)
        case "ftrl-precision":
            return solved / calls
        case _:
            return 2 * solved / (calls + 1)


def published_final_score(text: str, golden: str | None, unsolved: int, *, all_solved: bool) -> float:
    """The release's score of a message without calls (`golden` None: there is none to compare with)."""
    if not text:
        return _EMPTY
    if any(markup in text for markup in ("<tool_call>", "</tool_call>", "<tool_parsed_response>")):
        return _MALFORMED
    if golden is not None and _plain(golden) in _plain(text):
        return 1 / (1 + unsolved)
    return 0.5 if all_solved else 0.0


def _plain(text: str) -> str:
    return text.lower().replace(",", "").strip()


def published_output(name: str, result: ToolResult) -> str:
    """The text that the release would have put into the tool message."""
    if result.error is None:
        return result.content
    kind, _, detail = result.error.partition(": ")
    if kind == "unknown_tool":
        detail = repr(name)  # str() of the KeyError that the release meets
    elif kind == "raised":
        detail = detail.partition(": ")[2]
    return f"an error occured when call {name}: {detail}"


# --- trajectories --------------------------------------------------------------------------------------------------


def score_trajectory(trajectory: Trajectory) -> Score | None:
    """The scores of one rollout, or None where an infrastructure failure ended it: that is not the policy's doing."""
    if trajectory.stop == "error":
        return None
    strict = _solve(trajectory, "frontier")
    paper = _solve(trajectory, "ftrl")
    right = _answer_right(trajectory)
    return Score(
        value=_value(strict.solve.f1, right),
        strict=strict.solve,
        paper=paper.solve,
        answer_right=right,
        turns=len(trajectory.turns),
        malformed=strict.malformed,
        echo_possible=strict.echo_possible,
    )


def trajectory_value(trajectory: Trajectory) -> float | None:
    """`Score.value` alone: ½ strict F1 + ½ (final answer right); None as for `score_trajectory`."""
    if trajectory.stop == "error":
        return None
    return _value(_solve(trajectory, "frontier").solve.f1, _answer_right(trajectory))


def _value(strict_f1: float, right: bool | None) -> float:
    return strict_f1 if right is None else 0.5 * strict_f1 + 0.5 * right


def _answer_right(trajectory: Trajectory) -> bool | None:
    """Whether the last message gives the final answer; None where there is none to give."""
    task = trajectory.task
    if task.answer is None:
        return None
    last = trajectory.turns[-1].completion.message if trajectory.turns else None
    return last is not None and final_answer_right(last, task.answer, tagged=task.tagged)


class _Solved(NamedTuple):
    solve: Solve
    malformed: int
    echo_possible: int


def _solve(trajectory: Trajectory, preset: Preset) -> _Solved:
    rewards = [graded.reward for graded in grade_trajectory(trajectory, preset)]
    goals = len(trajectory.task.goals)
    solved = sum(reward.solved for reward in rewards)
    malformed = sum(reward.malformed for reward in rewards)
    calls = sum(reward.calls for reward in rewards)
    if preset != "frontier":  # the release drops what it cannot parse, and calls a silent policy precise
        calls -= malformed
    silent = 0.0 if preset == "frontier" else 1.0
    solve = Solve(
        precision=solved / calls if calls else silent,
        recall=solved / goals,
        f1=2 * solved / (calls + goals),
        calls=calls,
        solved=solved,
        goals=goals,
    )
    return _Solved(solve, malformed, sum(reward.echo_possible for reward in rewards))


def grade_trajectory(trajectory: Trajectory, preset: Preset | None = None) -> list[Graded]:
    """The grading of every turn, from the stored messages and results alone: any preset, without tools or model."""
    task = trajectory.task
    unsolved: tuple[str, ...] = tuple(goal.id for goal in task.goals)
    credited: frozenset[str] = frozenset()
    graded: list[Graded] = []
    for turn in trajectory.turns:
        step = grade_turn(
            task.goals,
            unsolved,
            turn.completion.message,
            turn.results,
            task.answer,
            preset or trajectory.preset,
            credited=credited,
            tagged=task.tagged,
            calls_per_turn=trajectory.calls_per_turn,
        )
        graded.append(step)
        unsolved, credited = step.unsolved_ids, step.credited
    return graded
