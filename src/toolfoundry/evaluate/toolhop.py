"""ToolHop (Ye et al. 2025, arXiv:2501.02506): multi-hop questions in three modes, scored by the final answer.

    direct       no tools, one completion
    mandatory    tools, and the prompt asks for one at every step; 9 turns
    free         tools, to be used or not; 9 turns

Every question is an item in each mode; the modes are the groups, and the three items of a question one cluster.

`answer` (AC), by `paper` as FTRL's release computes it: the conversation's last message is the assistant's and says
something, and the golden answer is contained in it, or in the tool message right before it. Contained is the release's
substring rule, and the message is all that was generated, thinking and unreadable calls included. By `fixed` the final
answer itself is compared. It differs in this:

    typed           values are compared, not substrings: "4" is not in "324", "s" not in the tag <answer>
    stated          only what the last message gives as its answer counts (the last <answer> tag, or the whole of a
                    message of at most 8 words), not what else stands in it
    own words       the tool message before it never counts
    no thinking     thinking is no answer
    complete        a message that hit its token limit, or has call markup or an invented tool result in it, gives none

`invocation` is 1 - the share of calls in error: those that could not be read or executed, that raised, or whose result
only reports an error (both rules alike; the release does not compute it). Attempts without calls have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from toolfoundry.answers import published_match, spelling
from toolfoundry.environment import Executor
from toolfoundry.errors import InputError
from toolfoundry.evaluate.attempts import About, Attempt, Item
from toolfoundry.evaluate.single import ask_once
from toolfoundry.formats.toolhop import MODES, Mode, read_toolhop, toolhop_prompt
from toolfoundry.policies import Policy
from toolfoundry.prove.judge import reports_error
from toolfoundry.reward import arguments_of, final_answer_right, published_output
from toolfoundry.rollout import run_rollout
from toolfoundry.types import EnvSpec, Limits, Message, Trajectory, Turn

__all__ = ["ABOUT", "LIMITS", "ToolHop", "load"]

LIMITS = Limits(max_turns=9)

ABOUT = About(
    name="toolhop",
    title="ToolHop",
    metrics={"answer": "AC", "invocation": "calls without error"},
    average="groups",
    paper_metrics=("answer",),
)


class ToolHop(NamedTuple):
    """The benchmark. `specs`: by mode, each question with the prompt of that mode, in file order."""

    specs: dict[Mode, Sequence[EnvSpec]]
    about: About = ABOUT

    def items(self) -> Sequence[Item]:
        return [
            Item(id=spec.id, group=mode, cluster=_row(spec), spec=None if mode == "direct" else spec)
            for mode, specs in self.specs.items()
            for spec in specs
        ]

    async def play(self, item: Item, policy: Policy, executor: Executor, *, name: str, sample: int) -> Attempt:
        if item.spec is not None:
            spec = item.spec
            trajectory = await run_rollout(policy, spec, executor, LIMITS, name=name, sample=sample)
        else:
            spec = next(spec for spec in self.specs["direct"] if spec.id == item.id)
            task = spec.task.model_copy(update={"goals": ()})
            trajectory = await ask_once(policy, spec.prompt, task, name=name, sample=sample)
        attempt = Attempt(
            benchmark=self.about.name,
            group=item.group,
            cluster=item.cluster,
            trajectory=trajectory,
            facts={"row": _row(spec)},
        )
        return self.score(attempt)

    def score(self, attempt: Attempt) -> Attempt:
        trajectory = attempt.trajectory
        if trajectory.stop == "error":
            return attempt.model_copy(update={"scores": {}})
        calls = _without_error(trajectory)
        both = {} if calls is None else {"invocation": calls}
        paper = {"answer": float(_right_as_published(trajectory, direct=attempt.group == "direct"))} | both
        fixed = {"answer": float(_right(trajectory))} | both
        return attempt.model_copy(update={"scores": {"paper": paper, "fixed": fixed}})


def load(path: Path, *, mode: Mode | None = None) -> ToolHop:
    """ToolHop's rows in a JSON array or JSONL. `mode` None is all three; one of them is the benchmark `toolhop-MODE`.

    A row that stands in the file twice is one question, as in the release. Raises InputError for a file without rows,
    RecordError for one that cannot be read.
    """
    rows = {spec.id: spec for spec in read_toolhop(path)}
    if not rows:
        raise InputError(f"{path}: has no ToolHop rows")
    if mode is None:
        return ToolHop({mode: [_in_mode(spec, mode) for spec in rows.values()] for mode in MODES})
    about = ABOUT._replace(name=f"toolhop-{mode}", title=f"ToolHop, {mode}", average="items")
    return ToolHop({mode: [_in_mode(spec, mode) for spec in rows.values()]}, about)


def _in_mode(spec: EnvSpec, mode: Mode) -> EnvSpec:
    return spec.replace(prompt=toolhop_prompt(spec.scenario.question, mode))


def _row(spec: EnvSpec) -> str:
    """The row's own id, or its place in the file: the same in every mode."""
    return str(spec.provenance.labels.get("id", spec.provenance.location))


# --- scores --------------------------------------------------------------------------------------------------------


def _right(trajectory: Trajectory) -> bool:
    answer = trajectory.task.answer
    if answer is None or not trajectory.turns:
        return False
    return final_answer_right(trajectory.turns[-1].completion.message, answer, tagged=True)


def _right_as_published(trajectory: Trajectory, *, direct: bool) -> bool:
    """The release's rule. There a conversation ends with the first message that has no readable call, which it reads
    as plain text; without tools it ends with its first."""
    if trajectory.task.answer is None:
        return False
    golden = spelling(trajectory.task.answer)
    before = ""  # the last tool message
    for turn in trajectory.turns:
        outputs = _outputs(turn)
        if direct or not outputs:
            text = _generated(turn.completion.message)
            return bool(text) and (published_match(golden, text) or (bool(before) and published_match(golden, before)))
        before = outputs[-1]
    return False


def _outputs(turn: Turn) -> list[str]:
    """The tool messages of the release: it drops what it cannot read."""
    calls = zip(turn.completion.message.tool_calls, turn.results, strict=True)
    return [published_output(call.name, result) for call, result in calls if arguments_of(call) is not None]


def _generated(message: Message) -> str:
    """All that was generated, apart from readable calls."""
    unread = [call.arguments for call in message.tool_calls if arguments_of(call) is None]
    return "\n".join([message.thinking, message.content, *unread]).strip()


def _without_error(trajectory: Trajectory) -> float | None:
    """The share of calls without error; None without calls."""
    results = [result for turn in trajectory.turns for result in turn.results]
    if not results:
        return None
    return sum(result.error is None and not reports_error(result.content) for result in results) / len(results)
