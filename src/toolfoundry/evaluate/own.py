"""The benchmark over environments: FTRL's own test set, or any set that `toolfoundry build` makes.

An item is an environment, played as a rollout is (20 turns), and its group is its kind of scenario. Scores by rule:

    paper    Solve-P, Solve-R and Solve-F1 as FTRL's `evaluation_self.py` counts them: an answer counts where its text
             stands in the result without regard to case, commas or boundaries, also in an error; calls that cannot be
             read are not counted; Solve-P is 1 where no call was made. There is no score for the final answer.
    fixed    the same three with typed answers, every call counted, Solve-P 0 without a call, no answer that the call
             itself has brought along, and `answer`: whether the final answer is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from toolfoundry.environment import Executor
from toolfoundry.errors import InputError, RecordError
from toolfoundry.evaluate.attempts import About, Attempt, Item, Rule
from toolfoundry.formats.ftrl import read_ftrl
from toolfoundry.policies import Policy
from toolfoundry.reward import score_trajectory
from toolfoundry.rollout import run_rollout
from toolfoundry.store import artifact_of, read
from toolfoundry.types import EnvSpec, Limits, ScenarioKind

__all__ = ["Own", "load"]

_METRICS = {"solve_p": "Solve-P", "solve_r": "Solve-R", "solve_f1": "Solve-F1", "answer": "answer"}


class Own(NamedTuple):
    """A set of environments as a benchmark. `repeated`: lines of its file that hold an environment a second time."""

    about: About
    specs: Sequence[EnvSpec]
    limits: Limits
    repeated: int = 0

    def items(self) -> Sequence[Item]:
        order = [*get_args(ScenarioKind), None]
        return [
            Item(id=spec.id, group=spec.scenario.kind or "unknown", cluster=spec.id, spec=spec)
            for spec in sorted(self.specs, key=lambda spec: order.index(spec.scenario.kind))
        ]

    async def play(self, item: Item, policy: Policy, executor: Executor, *, name: str, sample: int) -> Attempt:
        assert item.spec is not None
        trajectory = await run_rollout(policy, item.spec, executor, self.limits, name=name, sample=sample)
        attempt = Attempt(benchmark=self.about.name, group=item.group, cluster=item.cluster, trajectory=trajectory)
        return self.score(attempt)

    def score(self, attempt: Attempt) -> Attempt:
        score = score_trajectory(attempt.trajectory)
        if score is None:
            return attempt.model_copy(update={"scores": {}})
        paper = {"solve_p": score.paper.precision, "solve_r": score.paper.recall, "solve_f1": score.paper.f1}
        fixed = {"solve_p": score.strict.precision, "solve_r": score.strict.recall, "solve_f1": score.strict.f1}
        if score.answer_right is not None:
            fixed["answer"] = float(score.answer_right)
        scores: dict[Rule, dict[str, float]] = {"paper": paper, "fixed": fixed}
        facts = {**attempt.facts, "echo_possible": score.echo_possible}
        return attempt.model_copy(update={"scores": scores, "facts": facts})


def load(path: Path, *, name: str = "own", limits: Limits = Limits()) -> Own:
    """The environments in one of our files, or in a JSONL file of FTRL rows.

    Raises InputError for a file that is neither, or empty; RecordError for a line that cannot be read.
    """
    artifact = artifact_of(path)
    if artifact == EnvSpec.artifact:
        specs = list(read(path, EnvSpec))
    elif artifact is None:
        specs = _rows(path)
    else:
        raise InputError(f"{path}: found {artifact!r}, expected environments (or FTRL's published rows)")
    if not specs:
        raise InputError(f"{path}: has no environments")
    different = list({spec.id: spec for spec in specs}.values())
    about = About(
        name=name,
        title="own test set" if name == "own" else name,
        metrics=_METRICS,
        average="items",
        paper_metrics=("solve_p", "solve_r", "solve_f1"),
    )
    return Own(about, different, limits, repeated=len(specs) - len(different))


def _rows(path: Path) -> list[EnvSpec]:
    try:
        return list(read_ftrl(path))
    except RecordError as error:
        if error.line == 1:  # then it is likely to be something else altogether
            expected = f"environments (`toolfoundry build`, `import`) or FTRL's published rows; as such a row: {error}"
            raise InputError(f"{path}: expected {expected}") from None
        raise
