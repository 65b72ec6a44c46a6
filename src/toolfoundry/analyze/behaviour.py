"""What a policy does: where a trajectory went wrong, and how it worked.

    failures(trajectory, spec)      each call that solved nothing has one kind of failure, and so has a bad end
    behaviour(trajectory, spec)     the same as counts, with calls, turns, tokens, parallelism and error recovery

Everything is read off the stored conversation; nothing is executed and no model is asked. Calls and goals are matched
by the reward's one `grade_turn` (preset `frontier`). Some kinds need more than a trajectory holds: the tools' schemas
(an environment), the edges between the goals, goals at all. What cannot be told is None, never 0.

Of the kinds of a call the first that applies is taken, in the order of `KINDS`: their counts and the calls that solved
a goal sum to all calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import orjson
from pydantic import JsonValue

from toolfoundry.answers import holds, infer, scalars
from toolfoundry.reward import Graded, arguments_of, call_key, final_answer, final_answer_right, grade_trajectory
from toolfoundry.types import EnvSpec, Goal, Record, ToolCall, ToolResult, Trajectory, Turn

__all__ = ["KINDS", "MEASURES", "Behaviour", "Failure", "FailureKind", "Failures", "Kind", "behaviour", "failures"]
__all__ += ["is_error", "solvers"]

FailureKind = Literal[
    "malformed",
    "cut_off",
    "unknown_tool",
    "distractor",
    "redundant",
    "dependency_order",
    "wrong_tool",
    "wrong_argument",
    "wrong_value",
    "other",
    "invented_result",
    "gave_up",
    "premature_answer",
    "wrong_answer",
]


class Kind(NamedTuple):
    """How a kind of failure is called, and what it means."""

    title: str
    about: str


KINDS: dict[FailureKind, Kind] = {
    "malformed": Kind("malformed", "call markup, or a call's arguments, that could not be read"),
    "cut_off": Kind("cut off by a limit", "the rollout, or a call of it, met a limit on turns, calls, tokens or time"),
    "unknown_tool": Kind("unknown tool", "a call to a tool that there is not"),
    "distractor": Kind("distractor taken", "a call to a tool that no goal needs"),
    "redundant": Kind("redundant call", "the same call again, or one to a tool all of whose goals were solved before"),
    "dependency_order": Kind(
        "dependency order", "what the goal needs was not solved yet, and a value of the call was never seen: a guess"
    ),
    "wrong_tool": Kind("wrong tool", "the tool of a goal whose turn had not come, asked with values from elsewhere"),
    "wrong_argument": Kind("wrong argument name", "a parameter that the tool has not, or a required one left out"),
    "wrong_value": Kind("wrong value", "the right tool at the right time, with an argument that gave another result"),
    "other": Kind(
        "other call", "solved nothing because the tool failed, or for a reason that only the environment tells"
    ),
    "invented_result": Kind("invented result", "the model wrote a tool's result itself"),
    "gave_up": Kind("gave up", "a last message without a call and without an answer"),
    "premature_answer": Kind("premature answer", "answered before all goals were solved"),
    "wrong_answer": Kind("wrong final answer", "all goals were solved, and yet the final answer is wrong"),
}

MEASURES: dict[str, str] = {
    "calls_per_solved": "calls per solved sub-question",
    "calls": "calls",
    "turns": "turns",
    "tokens": "tokens generated",
    "calls_per_turn": "calls per turn with calls",
    "asked_together": "ready sub-questions asked together",
    "corrected": "errors corrected in the next turn",
    "repeated": "errors repeated",
    "given_up": "errors given up after",
}
"""Of one trajectory each; the last three are shares of its turns with an error."""

_OF_ENVIRONMENT = frozenset[FailureKind]({"dependency_order", "wrong_tool", "wrong_argument", "wrong_value"})
_OF_EDGES = frozenset[FailureKind]({"dependency_order", "wrong_tool"})
_OF_GOALS = _OF_ENVIRONMENT | frozenset[FailureKind]({"distractor", "other", "premature_answer"})
_OF_ANSWER = frozenset[FailureKind]({"wrong_answer"})
_BROKEN = ("timeout", "memory", "output", "killed")  # kinds of errors that say nothing about the arguments


class Failure(NamedTuple):
    """One failure: in which turn, and at which of its calls (both from 0); None where it is not a call's."""

    kind: FailureKind
    turn: int
    call: int | None = None


class Failures(NamedTuple):
    """What went wrong, in the order of the turns, and the kinds that could not be told."""

    found: tuple[Failure, ...]
    untold: frozenset[FailureKind]

    def times(self, kind: FailureKind) -> int | None:
        """How often it happened; None: cannot be told."""
        return None if kind in self.untold else sum(failure.kind == kind for failure in self.found)


class Behaviour(Record):
    """One trajectory's failures as counts, and its measures; None: cannot be told, or there is nothing to measure.

    calls_per_solved: None where nothing was solved. tokens: of all completions, None where they were not counted.
    asked_together: over the turns with calls before which two or more goals were ready, the share of these goals whose
    tool was called in that turn. corrected, repeated, given_up: of the turns with an error that left goals unsolved and
    were not the last one because of a limit.
    """

    key: str
    spec_id: str
    sample: int
    scenario: str
    failures: dict[FailureKind, int | None]
    measures: dict[str, float | None]


def failures(trajectory: Trajectory, spec: EnvSpec | None = None) -> Failures | None:
    """What went wrong in a trajectory; None where it is unscored: an infrastructure failure ended it.

    Raises ValueError where the environment is not the trajectory's.
    """
    _check(trajectory, spec)
    return None if trajectory.stop == "error" else _failures(trajectory, spec, grade_trajectory(trajectory, "frontier"))


def _check(trajectory: Trajectory, spec: EnvSpec | None) -> None:
    if spec is not None and spec.id != trajectory.task.spec_id:
        wanted = trajectory.task.spec_id
        raise ValueError(f"trajectory {trajectory.key}: found environment {spec.id}, expected {wanted}")


def _failures(trajectory: Trajectory, spec: EnvSpec | None, graded: Sequence[Graded]) -> Failures:
    task = trajectory.task
    found = [*_of_calls(trajectory, spec, graded), *_of_messages(trajectory), *_of_the_end(trajectory, graded)]
    edges_known = all(goal.needs is not None for goal in task.goals)
    untold: set[FailureKind] = {
        *(() if task.goals else _OF_GOALS),
        *(() if spec is not None else _OF_ENVIRONMENT),
        *(() if edges_known else _OF_EDGES),
        *(() if task.answer is not None else _OF_ANSWER),
    }
    found.sort(key=lambda failure: (failure.turn, -1 if failure.call is None else failure.call))
    return Failures(tuple(found), frozenset(untold))


def solvers(turn: Turn, solved_by: Sequence[tuple[str, str]]) -> dict[int, list[str]]:
    """The place of each call that solved something in a turn, with the goals it solved; of equal calls the first."""
    keys: dict[str, int] = {}
    for place, call in enumerate(turn.completion.message.tool_calls):
        if (arguments := arguments_of(call)) is not None:
            keys.setdefault(call_key(call.name, arguments), place)
    found: dict[int, list[str]] = {}
    for goal_id, key in solved_by:
        found.setdefault(keys[key], []).append(goal_id)
    return found


def is_error(result: ToolResult) -> bool:
    """Whether a result is an error: one of ours, or one that the tool returned as its content, as tools in the style of
    FTRL do ("Error: ...", or an object with the key `error`)."""
    if result.error is not None:
        return True
    text = result.content.lstrip()
    if text[:5].lower() == "error":
        return True
    if not text.startswith("{"):
        return False
    try:
        value: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and any(key in value for key in ("error", "Error"))


# --- calls ---------------------------------------------------------------------------------------------------------


def _of_calls(trajectory: Trajectory, spec: EnvSpec | None, graded: Sequence[Graded]) -> Iterator[Failure]:
    goals = trajectory.task.goals
    unsolved = {goal.id for goal in goals}
    made: set[str] = set()
    said = [message.content for message in trajectory.prompt]  # what the model has seen so far
    if spec is not None:
        said += [orjson.dumps(tool.signature.model_dump(mode="json")).decode() for tool in spec.tools]
    for number, (turn, step) in enumerate(zip(trajectory.turns, graded, strict=True)):
        scene = _Scene(goals, frozenset(unsolved), spec, "\n".join(said), frozenset(made))
        solving = solvers(turn, step.solved_by)
        in_turn: set[str] = set()
        for place, (call, result) in enumerate(zip(turn.completion.message.tool_calls, turn.results, strict=True)):
            arguments = arguments_of(call)
            key = None if arguments is None else call_key(call.name, arguments)
            again = key in made or key in in_turn
            if key is not None:
                in_turn.add(key)
            if place not in solving and (kind := scene.failure(call, arguments, result, again)) is not None:
                yield Failure(kind, number, place)
        made |= in_turn
        unsolved = set(step.unsolved_ids)
        said += [result.text for result in turn.results] + [turn.notice or ""]


class _Scene(NamedTuple):
    """How things stand before a turn."""

    goals: Sequence[Goal]
    unsolved: frozenset[str]
    spec: EnvSpec | None
    seen: str
    made: frozenset[str]

    def failure(
        self, call: ToolCall, arguments: Mapping[str, JsonValue] | None, result: ToolResult, again: bool
    ) -> FailureKind | None:
        """Why a call solved nothing. None: the task has no goals, and nothing is wrong with the call as such."""
        error = (result.error or "").partition(":")[0]
        if arguments is None:
            return "malformed"
        if error == "limit":
            return "cut_off"
        if error == "unknown_tool" or (self.spec is not None and self._schema(call.name) is None):
            return "unknown_tool"
        of_tool = [goal for goal in self.goals if goal.tool == call.name]
        if self.goals and not of_tool:
            return "distractor"
        open_goals = [goal for goal in of_tool if goal.id in self.unsolved]
        if again or (of_tool and not open_goals):
            return "redundant"
        if not self.goals:
            return None
        if self.spec is None or error in _BROKEN:
            return "other"
        gold = {gold.id: arguments_of(gold) for gold in self.spec.gold_calls or ()}
        if any(gold.get(goal.id) == arguments for goal in open_goals):
            return "other"
        if not any(self._ready(goal) for goal in open_goals):
            guessed = any(not self._all_seen(_differing(arguments, gold.get(goal.id))) for goal in open_goals)
            return "dependency_order" if guessed else "wrong_tool"
        schema = self._schema(call.name) or {}
        return "wrong_value" if _names_fit(arguments, schema) else "wrong_argument"

    def _schema(self, tool: str) -> dict[str, Any] | None:
        tools = self.spec.tools if self.spec is not None else ()
        return next((one.signature.parameters for one in tools if one.name == tool), None)

    def _ready(self, goal: Goal) -> bool:
        """Unknown edges hold nothing back."""
        return self.unsolved.isdisjoint(goal.needs or ())

    def _all_seen(self, values: Iterable[JsonValue]) -> bool:
        leaves = [leaf for value in values for leaf in scalars(value)]
        texts = [str(leaf) for leaf in leaves if isinstance(leaf, str | int | float) and not isinstance(leaf, bool)]
        return all(holds(infer(text), self.seen) for text in texts if text.strip())


def _differing(arguments: Mapping[str, JsonValue], gold: Mapping[str, JsonValue] | None) -> list[JsonValue]:
    """The values that matter: where a gold call is known, those of its parameters that have another value in it."""
    return [value for name, value in arguments.items() if gold is None or (name in gold and gold[name] != value)]


def _names_fit(arguments: Mapping[str, JsonValue], schema: Mapping[str, Any]) -> bool:
    known: Mapping[str, Any] = schema.get("properties") or {}
    extra = [] if schema.get("additionalProperties") else [name for name in arguments if name not in known]
    return not extra and all(name in arguments for name in schema.get("required") or ())


# --- messages and the end -------------------------------------------------------------------------------------------


def _of_messages(trajectory: Trajectory) -> Iterator[Failure]:
    for number, turn in enumerate(trajectory.turns):
        message = turn.completion.message
        kinds = {fault.kind for fault in message.faults}
        text = "" if message.tool_calls else message.content  # beside calls that were read, text is only text
        if "call_in_thinking" in kinds or "<tool_call>" in text or "</tool_call>" in text:
            yield Failure("malformed", number)
        if "invented_result" in kinds or "<tool_response>" in text:
            yield Failure("invented_result", number)


def _of_the_end(trajectory: Trajectory, graded: Sequence[Graded]) -> Iterator[Failure]:
    last = len(trajectory.turns) - 1
    task = trajectory.task
    if trajectory.stop != "answered":
        yield Failure("cut_off", max(0, last))
        return
    message = trajectory.turns[last].completion.message
    if final_answer(message, tagged=task.tagged) is None:
        if not any(failure.turn == last for failure in _of_messages(trajectory)):
            yield Failure("gave_up", last)
    elif graded[last].unsolved_ids:
        yield Failure("premature_answer", last)
    elif task.answer is not None and not final_answer_right(message, task.answer, tagged=task.tagged):
        yield Failure("wrong_answer", last)


# --- how it worked --------------------------------------------------------------------------------------------------


def behaviour(trajectory: Trajectory, spec: EnvSpec | None = None) -> Behaviour | None:
    """Counts and measures of a trajectory; None where it is unscored. Raises ValueError as `failures` does."""
    _check(trajectory, spec)
    if trajectory.stop == "error":
        return None
    turns, goals = trajectory.turns, trajectory.task.goals
    graded = grade_trajectory(trajectory, "frontier")
    found = _failures(trajectory, spec, graded)
    calls = sum(len(turn.results) for turn in turns)
    solved = sum(len(one.solved_by) for one in graded)
    acting = sum(bool(turn.results) for turn in turns)
    recovered = _recoveries(trajectory, graded)
    measures: dict[str, float | None] = {
        "calls_per_solved": calls / solved if solved else None,
        "calls": float(calls),
        "turns": float(len(turns)),
        "tokens": _tokens(trajectory),
        "calls_per_turn": calls / acting if acting else None,
        "asked_together": _asked_together(trajectory, graded) if goals else None,
        **{name: recovered.count(name) / len(recovered) if recovered else None for name in get_args(_Recovery)},
    }
    return Behaviour(
        key=trajectory.key,
        spec_id=trajectory.task.spec_id,
        sample=trajectory.sample,
        scenario=trajectory.task.kind or "unknown",
        failures={kind: found.times(kind) for kind in KINDS},
        measures=measures,
    )


_Recovery = Literal["corrected", "repeated", "given_up"]


def _recoveries(trajectory: Trajectory, graded: Sequence[Graded]) -> list[_Recovery]:
    """What followed each turn with an error, where goals were still unsolved.

    repeated: a call that had failed was made again as it was, or every call failed again; given_up: no call;
    corrected: anything else. A turn that a limit made the last one is left out.
    """
    found: list[_Recovery] = []
    turns = trajectory.turns
    for number, turn in enumerate(turns):
        failed = {_said(call) for call, result in _pairs(turn) if is_error(result)}
        if not failed or (trajectory.task.goals and not graded[number].unsolved_ids) or number + 1 == len(turns):
            continue
        following = list(_pairs(turns[number + 1]))
        if not following:
            found.append("given_up")
        elif all(is_error(result) for _, result in following) or any(_said(call) in failed for call, _ in following):
            found.append("repeated")
        else:
            found.append("corrected")
    return found


def _pairs(turn: Turn) -> Iterator[tuple[ToolCall, ToolResult]]:
    return zip(turn.completion.message.tool_calls, turn.results, strict=True)


def _said(call: ToolCall) -> str:
    arguments = arguments_of(call)
    return f"{call.name} {call.arguments}" if arguments is None else call_key(call.name, arguments)


def _asked_together(trajectory: Trajectory, graded: Sequence[Graded]) -> float | None:
    goals = trajectory.task.goals
    if any(goal.needs is None for goal in goals):
        return None
    unsolved = {goal.id for goal in goals}
    asked = ready = 0
    for turn, step in zip(trajectory.turns, graded, strict=True):
        tools = [goal.tool for goal in goals if goal.id in unsolved and unsolved.isdisjoint(goal.needs or ())]
        called = [call.name for call in turn.completion.message.tool_calls]
        if called and len(tools) > 1:
            ready += len(tools)
            asked += sum(min(tools.count(tool), called.count(tool)) for tool in set(tools))
        unsolved = set(step.unsolved_ids)
    return asked / ready if ready else None


def _tokens(trajectory: Trajectory) -> float | None:
    counts = [_completion_tokens(turn) for turn in trajectory.turns]
    known = [count for count in counts if count is not None]
    return float(sum(known)) if known and len(known) == len(counts) else None


def _completion_tokens(turn: Turn) -> int | None:
    completion = turn.completion
    if completion.token_ids:
        return len(completion.token_ids)
    return None if completion.usage is None else completion.usage.completion_tokens
