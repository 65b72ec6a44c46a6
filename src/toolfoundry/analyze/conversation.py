"""One trajectory as a page shows it: its sub-questions and how they hang together, and what each turn solved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from toolfoundry.analyze.behaviour import KINDS, FailureKind, failures, is_error, solvers
from toolfoundry.answers import spelling
from toolfoundry.evaluate.attempts import Attempt, Rule
from toolfoundry.page import Drawing
from toolfoundry.reward import Graded, arguments_of, grade_trajectory, trajectory_value
from toolfoundry.stats.shapes import layers
from toolfoundry.types import EnvSpec, Message, Trajectory

__all__ = ["Call", "Conversation", "Goal", "Turn", "conversation", "draw_goals", "question_of", "score_of"]

_MOST_DRAWN = 40  # goals; more are only listed


class Goal(NamedTuple):
    """One sub-question. `turn`: in which it was solved (from 1), None: never. needs: numbers of others (from 1); None:
    not known."""

    number: int
    question: str
    tool: str
    answer: str
    needs: list[int] | None
    turn: int | None


class Call(NamedTuple):
    """A call and what came back. solved: numbers of goals. failure: why it solved nothing, "" where it did or where it
    cannot be told."""

    name: str
    arguments: str
    result: str
    error: bool
    solved: list[int]
    failure: str


class Turn(NamedTuple):
    """One message of the policy and what it caused. failures: those of no single call. reward: by the preset
    `frontier`, None for a trajectory that is not scored."""

    number: int
    thinking: str
    content: str
    calls: list[Call]
    faults: list[str]
    failures: list[str]
    notice: str
    reward: float | None


class Conversation(NamedTuple):
    """One attempt. score: None is unscored. kinds: the kinds of failure that happened. dag: None where the edges are
    not known, or there is nothing to draw."""

    key: str
    group: str
    policy: str
    question: str
    score: float | None
    kinds: list[FailureKind]
    goals: list[Goal]
    dag: Drawing | None
    prompt: list[Message]
    turns: list[Turn]
    answer: str
    stop: str
    error: str

    @property
    def solved(self) -> int:
        return sum(goal.turn is not None for goal in self.goals)


def conversation(attempt: Attempt, spec: EnvSpec | None = None, rule: Rule = "fixed") -> Conversation:
    """The attempt as it is shown. The environment adds the text of sub-questions and all kinds of failure."""
    trajectory = attempt.trajectory
    graded = grade_trajectory(trajectory, "frontier")
    found = failures(trajectory, spec)
    by_call = {(one.turn, one.call): KINDS[one.kind].title for one in found.found} if found else {}
    goals = _goals(trajectory, spec, graded)
    numbers = {goal.id: number for number, goal in enumerate(trajectory.task.goals, start=1)}
    turns: list[Turn] = []
    for index, (turn, step) in enumerate(zip(trajectory.turns, graded, strict=True)):
        message = turn.completion.message
        solving = solvers(turn, step.solved_by)
        calls = [
            Call(
                name=call.name,
                arguments=_arguments(call.arguments, malformed=arguments_of(call) is None),
                result=result.text,
                error=is_error(result),
                solved=[numbers[goal] for goal in solving.get(place, ())],
                failure=by_call.get((index, place), ""),
            )
            for place, (call, result) in enumerate(zip(message.tool_calls, turn.results, strict=True))
        ]
        turns.append(
            Turn(
                number=index + 1,
                thinking=message.thinking,
                content=message.content,
                calls=calls,
                faults=[f"{fault.kind.replace('_', ' ')} {fault.detail}".strip() for fault in message.faults],
                failures=[KINDS[one.kind].title for one in (found.found if found else ()) if one[1:] == (index, None)],
                notice=turn.notice or "",
                reward=None if found is None else step.reward.value,
            )
        )
    answer = trajectory.task.answer
    return Conversation(
        key=attempt.key,
        group=attempt.group,
        policy=trajectory.policy,
        question=spec.scenario.question if spec is not None else question_of(trajectory),
        score=score_of(attempt, rule),
        kinds=list(dict.fromkeys(one.kind for one in found.found)) if found else [],
        goals=goals,
        dag=_dag(goals),
        prompt=list(trajectory.prompt),
        turns=turns,
        answer="" if answer is None else spelling(answer),
        stop=trajectory.stop,
        error=trajectory.error or "",
    )


def score_of(attempt: Attempt, rule: Rule = "fixed") -> float | None:
    """One number by which attempts are sorted: the score of an environment, else the mean of the metrics; None where
    the attempt is unscored."""
    if attempt.trajectory.stop == "error" or not (scores := attempt.scores.get(rule)):
        return None
    if attempt.trajectory.task.goals:
        return trajectory_value(attempt.trajectory)
    return sum(scores.values()) / len(scores)


def question_of(trajectory: Trajectory) -> str:
    """What the prompt asks, as far as that can be told from its last user message."""
    asked = next((message.content for message in reversed(trajectory.prompt) if message.role == "user"), "")
    return asked.rpartition("Question:")[2].strip()


def _arguments(text: str, *, malformed: bool) -> str:
    """Without the quotes and braces of JSON where it is flat; as it is where it could not be read."""
    if malformed:
        return text
    fields: dict[str, Any] = orjson.loads(text)
    return ", ".join(f"{name}={orjson.dumps(value).decode()}" for name, value in fields.items())


def _goals(trajectory: Trajectory, spec: EnvSpec | None, graded: Sequence[Graded]) -> list[Goal]:
    goals = trajectory.task.goals
    numbers = {goal.id: number for number, goal in enumerate(goals, start=1)}
    questions = {step.id: step.question for step in spec.scenario.steps} if spec is not None else {}
    turn_of = {goal_id: index for index, step in enumerate(graded, start=1) for goal_id, _ in step.solved_by}
    return [
        Goal(
            number=numbers[goal.id],
            question=questions.get(goal.id, ""),
            tool=goal.tool,
            answer=spelling(goal.answer),
            needs=None if goal.needs is None else [numbers[need] for need in goal.needs if need in numbers],
            turn=turn_of.get(goal.id),
        )
        for goal in goals
    ]


def _dag(goals: Sequence[Goal]) -> Drawing | None:
    if not 0 < len(goals) <= _MOST_DRAWN or any(goal.needs is None for goal in goals):
        return None
    edges = [(need - 1, goal.number - 1) for goal in goals for need in goal.needs or ()]
    return draw_goals(edges, [goal.turn for goal in goals])


def draw_goals(edges: Sequence[tuple[int, int]], turns: Sequence[int | None]) -> Drawing:
    """The sub-questions as SVG, from left to right: what is needed before what needs it; full where it was solved, with
    the turn below. Numbers only: nothing that others wrote gets into it."""
    columns = layers(len(turns), edges)
    wide, high, radius = 62, 42, 12
    width, height = wide * len(columns), high * max(map(len, columns))
    place: dict[int, tuple[float, float]] = {}
    for column, nodes in enumerate(columns):
        for row, node in enumerate(nodes):
            place[node] = (wide * (column + 0.5), height / 2 + high * (row - (len(nodes) - 1) / 2) - 4)
    lines = "".join(
        f'<path d="M{x + radius:g} {y:g}C{x + 30:g} {y:g} {u - 30:g} {v:g} {u - radius:g} {v:g}"/>'
        for (x, y), (u, v) in ((place[start], place[end]) for start, end in edges)
    )
    nodes = "".join(
        f'<g class="{"unsolved" if turns[node] is None else "solved"}"><circle cx="{x:g}" cy="{y:g}" r="{radius}"/>'
        f'<text x="{x:g}" y="{y + 4:g}">{node + 1}</text>'
        f'<text class="turn" x="{x:g}" y="{y + radius + 12:g}">{"" if turns[node] is None else f"turn {turns[node]}"}'
        "</text></g>"
        for node, (x, y) in place.items()
    )
    solved = sum(turn is not None for turn in turns)
    return Drawing(
        f'<svg class="dag" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{len(turns)} sub-questions, {solved} solved">'
        f'<g class="edges">{lines}</g>{nodes}</svg>'
    )
