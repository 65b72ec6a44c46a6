"""From trajectories to what a trainer takes.

    prefixes(trajectory)                the paper's rows: one at the start, one after every turn with tool results
    episode_samples(trajectory, ...)    whole episodes as token ids, with a mask that is True where the policy sampled
    demonstration_samples(...)          the same for SFT: every turn of the assistant is a target

A prefix carries the state (what is unsolved, which calls have had their credit), so that one response to it can be
scored by executing its calls (`toolfoundry.scoring`), as in Ye et al. 2025 (arXiv:2508.08791), section 3: K tool turns
give K + 1 prefixes of one rollout.

Nothing here knows torch. Axes: T tokens of a sample, M masked tokens (sum of the mask), K turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from pydantic import model_validator

from toolfoundry.errors import RecordError
from toolfoundry.reward import grade_trajectory, trajectory_value
from toolfoundry.tokens import Dialect, Transcript
from toolfoundry.types import Message, Preset, Record, Task, ToolSchema, Trajectory

__all__ = ["Prefix", "Sample", "conversation", "demonstration_samples", "episode_samples", "fits", "prefixes"]


class Prefix(Record):
    """A conversation up to where the policy speaks next, and the state of the task there.

    key: `TRAJECTORY_KEY#TURN`. sample: of its trajectory; it seeds the environment. unsolved: ids of the goals that are
    open, in the order of the goals. credited: calls that have had their credit (`frontier`). solve_rate: share of the
    goals that are solved. said: the sampled ids of each turn so far (`Dialect.prompt` takes them), empty where they are
    not known.
    """

    artifact: ClassVar[str] = "prefixes"

    key: str
    task: Task
    sample: int = 0
    messages: tuple[Message, ...]
    unsolved: tuple[str, ...]
    credited: tuple[str, ...] = ()
    solve_rate: float
    said: tuple[tuple[int, ...], ...] = ()


class Sample(Record):
    """Token ids to learn from. `mask_T` is True exactly where the policy sampled the token (or, in a demonstration,
    where it is to be imitated).

    group: what the sample is compared with: the environment, or the prefix, that it answers. key: its trajectory; one
    that was split gives several samples with the same key. turns: for each masked token, the turn that it belongs to.
    logprobs, advantages: one for each masked token; empty where there are none. turn_rewards: one for each turn of the
    sample, the first of which is `turns[0]`; None: that turn was not scored. score: of the whole trajectory; None: not
    scored.
    """

    artifact: ClassVar[str] = "samples"

    key: str
    group: str
    token_ids: tuple[int, ...]
    mask: tuple[bool, ...]
    turns: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    advantages: tuple[float, ...] = ()
    turn_rewards: tuple[float | None, ...] = ()
    score: float | None = None

    @model_validator(mode="after")
    def _aligned(self) -> Sample:
        if len(self.mask) != len(self.token_ids):
            raise RecordError(
                field="mask", found=str(len(self.mask)), expected=f"one for each of {len(self.token_ids)} ids"
            )
        masked = sum(self.mask)
        for field in ("turns", "logprobs", "advantages"):
            if len(values := getattr(self, field)) not in (0, masked):
                raise RecordError(field=field, found=str(len(values)), expected=f"{masked}, one for each masked token")
        return self


def conversation(trajectory: Trajectory, turns: int | None = None) -> list[Message]:
    """The messages of the first `turns` turns (all if None) with all that they caused, the opening included."""
    messages = list(trajectory.prompt)
    for turn in trajectory.turns[:turns]:
        messages.append(turn.completion.message)
        messages += [Message(role="tool", content=r.text, call_id=r.call_id) for r in turn.results]
        if turn.notice is not None:
            messages.append(Message(role="user", content=turn.notice))
    return messages


def prefixes(trajectory: Trajectory, preset: Preset | None = None) -> list[Prefix]:
    """The prefixes of one rollout: its opening, and the conversation after each turn that had tool results.

    A rollout that failed gives those of the turns it had: what happened before the failure did happen. What counts as
    solved is said by `preset`, the reward that responses will be scored with (None: that of the rollout).
    """
    task = trajectory.task
    states = [((), tuple(goal.id for goal in task.goals))]
    states += [(tuple(sorted(g.credited)), g.unsolved_ids) for g in grade_trajectory(trajectory, preset)]
    said = [turn.completion.token_ids for turn in trajectory.turns]
    found: list[Prefix] = []
    for count in range(len(trajectory.turns) + 1):
        if (count and not trajectory.turns[count - 1].results) or not trajectory.prompt:
            continue
        credited, unsolved = states[count]
        found.append(
            Prefix(
                key=f"{trajectory.key}#{count}",
                task=task,
                sample=trajectory.sample,
                messages=tuple(conversation(trajectory, count)),
                unsolved=unsolved,
                credited=credited,
                solve_rate=1 - len(unsolved) / len(task.goals),
                said=tuple(said[:count]) if all(said[:count]) else (),
            )
        )
    return found


def episode_samples(trajectory: Trajectory, tools: Sequence[ToolSchema], dialect: Dialect) -> list[Sample]:
    """The samples of a whole episode: one for each stretch of turns over which the text only grew.

    Raises ValueError where the trajectory does not hold the sampled ids: they are never made up from the text.
    """
    said = [list(turn.completion.token_ids) for turn in trajectory.turns]
    if not all(said):
        raise ValueError(f"trajectory {trajectory.key}: has no token ids, expected those that the policy sampled")
    logprobs = [turn.completion.logprobs for turn in trajectory.turns]
    rewards = tuple(None if turn.reward is None else turn.reward.value for turn in trajectory.turns)
    score = trajectory_value(trajectory)
    samples: list[Sample] = []
    for ids, first, spans in _stretches(trajectory, tools, dialect, said):
        turns = range(first, first + len(spans))
        known = [logprobs[turn] for turn in turns]
        samples.append(
            Sample(
                key=trajectory.key,
                group=trajectory.task.spec_id,
                token_ids=tuple(ids),
                mask=_mask(len(ids), spans),
                turns=_turn_of_each(spans, first),
                logprobs=() if None in known else tuple(value for values in known for value in values or ()),
                turn_rewards=rewards[first : first + len(spans)],
                score=score,
            )
        )
    return samples


def demonstration_samples(trajectory: Trajectory, tools: Sequence[ToolSchema], dialect: Dialect) -> list[Sample]:
    """The samples that teach a model to speak as this trajectory does, whoever played it.

    Every turn is spelled from its message, its end included; what was sampled, if anything, is not looked at.
    """
    said = [dialect.spell(turn.completion.message) for turn in trajectory.turns]
    return [
        Sample(
            key=trajectory.key,
            group=trajectory.task.spec_id,
            token_ids=tuple(ids),
            mask=_mask(len(ids), spans),
            turns=_turn_of_each(spans, first),
        )
        for ids, first, spans in _stretches(trajectory, tools, dialect, said)
    ]


def fits(samples: Iterable[Sample], max_tokens: int) -> Iterator[Sample]:
    """The samples of at most `max_tokens` tokens; longer ones are left out, never cut."""
    return (sample for sample in samples if len(sample.token_ids) <= max_tokens)


def _stretches(
    trajectory: Trajectory, tools: Sequence[ToolSchema], dialect: Dialect, said: Sequence[Sequence[int]]
) -> Iterator[tuple[list[int], int, list[tuple[int, int]]]]:
    """(ids, first turn, span of each turn) of each unbroken stretch; each ends with a turn of the assistant."""
    ids: list[int] = []
    first = 0
    spans: list[tuple[int, int]] = []
    transcript = Transcript(dialect, tools)
    for turn, spoken in enumerate(said):
        prompt = transcript.prompt(conversation(trajectory, turn), said[:turn])
        if turn and prompt.first == turn:
            yield ids, first, spans
            first = turn
        ids = [*prompt.ids, *spoken]
        spans = [*prompt.spans, (len(prompt.ids), len(ids))]
    if spans:
        yield ids, first, spans


def _mask(length: int, spans: Sequence[tuple[int, int]]) -> tuple[bool, ...]:
    mask = [False] * length
    for start, end in spans:
        mask[start:end] = [True] * (end - start)
    return tuple(mask)


def _turn_of_each(spans: Sequence[tuple[int, int]], first: int) -> tuple[int, ...]:
    return tuple(turn for turn, (start, end) in enumerate(spans, start=first) for _ in range(end - start))
