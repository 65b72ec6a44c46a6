"""What a set of proofs comes to: counts by status, whole call sequences, and why the rest has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import orjson

from toolfoundry.answers import spelling
from toolfoundry.types import EnvSpec, GoalProof, Record

__all__ = ["ProofSummary", "fair", "reason_against", "summarise"]


class ProofSummary(Record):
    """Counts over proved specifications.

    goals = proved + published_only + unsolvable + not_found. `published` are the goals for which a call meets the
    release's rule: nearly all that are proved, and published_only. `echo_ok` of the proved have the answer rightly in
    their arguments. `fair_goals` are proved with arguments that a model could know. Of the `tasks`, `sequences` have
    a gold call for every goal, and `fair_tasks` one in which every argument comes from the question, the schema or an
    earlier result; in `documented_tasks` of these some argument is an example that a parameter's description quotes.
    `unfair` says for each of the rest (by specification id) why not, and `reasons` counts these reasons by kind.
    """

    tasks: int
    goals: int
    proved: int
    published: int
    published_only: int
    unsolvable: int
    not_found: int
    echo_ok: int
    fair_goals: int
    sequences: int
    fair_tasks: int
    documented_tasks: int
    reasons: dict[str, int]
    unfair: dict[str, str]


def summarise(specs: Iterable[EnvSpec]) -> ProofSummary:
    """The summary of specifications that `prove` gave. Specifications without a proof are left out."""
    status, kinds, unfair = Counter[str](), Counter[str](), dict[str, str]()
    tasks = goals = published = sequences = documented = fair_goals = echo_ok = 0
    for spec in specs:
        if spec.proof is None:
            continue
        proofs = spec.proof.goals
        tasks, goals = tasks + 1, goals + len(proofs)
        status.update(proof.status for proof in proofs)
        published += sum(proof.published for proof in proofs)
        fair_goals += sum(proof.fair for proof in proofs)
        echo_ok += sum(goal.echo_ok is True for goal in spec.goals)
        sequences += all(proof.status == "proved" for proof in proofs)
        if (reason := reason_against(spec)) is not None:
            unfair[spec.id] = reason
            kinds[next(kind for proof in proofs if (kind := _kind(proof)))] += 1
        else:
            documented += any("document" in proof.sources.values() for proof in proofs)
    return ProofSummary(
        tasks=tasks,
        goals=goals,
        proved=status["proved"],
        published=published,
        published_only=status["published_only"],
        unsolvable=status["unsolvable"],
        not_found=status["not_found"],
        echo_ok=echo_ok,
        fair_goals=fair_goals,
        sequences=sequences,
        fair_tasks=tasks - len(unfair),
        documented_tasks=documented,
        reasons=dict(kinds.most_common()),
        unfair=unfair,
    )


def fair(spec: EnvSpec) -> bool:
    """Whether the whole task can be played with what a model could know."""
    return spec.proof is not None and reason_against(spec) is None


def reason_against(spec: EnvSpec) -> str | None:
    """Why a task has no whole fair call sequence, goal by goal; None if it has one."""
    assert spec.proof is not None
    goals = {goal.id: goal for goal in spec.goals}
    arguments = {call.id: orjson.loads(call.arguments) for call in spec.gold_calls or ()}
    reasons = list[str]()
    for proof in spec.proof.goals:
        goal = goals[proof.goal]
        about = f"{proof.goal} ({goal.tool} -> {spelling(goal.answer)!r})"
        if proof.status != "proved":
            reasons.append(f"{about}: {proof.status}, {proof.reason}")
        elif not proof.fair:
            secrets = [path for path, source in proof.sources.items() if source == "code"]
            told = ", ".join(f"{path} = {_at(arguments[proof.goal], path)!r}" for path in secrets)
            reasons.append(f"{about}: only the tool's source tells {told}")
    return "; ".join(reasons) or None


def _at(arguments: Any, path: str) -> Any:
    """The value at a dotted path; keys may have dots of their own."""
    if not path:
        return arguments
    items: Any = arguments.items() if hasattr(arguments, "items") else enumerate(arguments)
    for key, value in items:
        if path == str(key) or path.startswith(f"{key}."):
            return _at(value, path[len(str(key)) + 1 :])
    return None


def _kind(proof: GoalProof) -> str | None:
    if proof.status != "proved":
        return proof.status
    return None if proof.fair else "an argument that only the tool's source tells"
