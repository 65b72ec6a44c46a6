"""verl's reward function: the reward of one response to a stored prefix, by executing its calls.

The state of the task stands in the row's `ground_truth`, a `Prefix` as JSON. As in the paper's release, the reward
comes from what the calls give; unlike there, they run in the sandbox. Episodes are scored by their agent loop and do
not come here.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import Any

from toolfoundry.chat import chat_format
from toolfoundry.errors import InputError
from toolfoundry.samples import Prefix
from toolfoundry.scoring import Response, score_responses
from toolfoundry.store import load_record
from toolfoundry.train.verl.process import Environments, Unscored, sandbox, settings_of
from toolfoundry.types import Limits, Message

__all__ = ["compute_score"]


async def compute_score(
    data_source: str,  # noqa: ARG001
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    *,
    settings: Any = None,
    **_: Any,
) -> dict[str, float]:
    """`score` and its parts (`calls`, `solved`, `malformed`).

    Args:
        data_source: which scenario the row belongs to; has no effect.
        solution_str: the response as text, without control tokens. It is read only where `extra_info` has no
            `message`, and then taken for finished: text alone does not show whether a limit cut it off.
        ground_truth: the `Prefix` as JSON.
        extra_info: the row's, with what the agent loop adds: `message`, the response as JSON.
        settings: the block `data.toolfoundry` of verl's configuration.

    Raises:
        Unscored: the tools could not be executed. InputError: the row is not that of a prefix.
    """
    run = settings_of(settings)
    info = extra_info or {}
    if not ground_truth:
        expected = "a prefix: episodes are scored by their agent loop (rollout.agent.agent_loop_config_path)"
        raise InputError(f"row {info.get('index')}: found an episode, expected {expected}")
    prefix = load_record(Prefix, ground_truth.encode())
    if (said := info.get("message")) is not None:
        message = load_record(Message, said.encode())
    else:
        calls = sum(len(earlier.tool_calls) for earlier in prefix.messages)
        message = chat_format(run.chat).parse(solution_str, finished=True, first_id=calls)
    spec = Environments.at(run.environments)[prefix.task.spec_id]
    limits = Limits(calls_per_turn=run.calls_per_turn)
    [scored] = await score_responses([Response(spec, prefix, message)], sandbox(), preset=run.reward, limits=limits)
    if scored.graded is None:
        raise Unscored(f"response to {prefix.key}: {scored.error}")
    reward = scored.graded.reward
    return {
        "score": reward.value,
        "calls": float(reward.calls),
        "solved": float(reward.solved),
        "malformed": float(reward.malformed),
    }
