"""verl's agent loops for our environments: every row has its own tools, in full, and they run in our sandbox.

    EpisodeLoop    plays a whole episode with our rollout, and scores it with our trajectory score
    PrefixLoop     samples one response to a stored prefix; `reward.py` scores it

verl gives the server that samples tokens and takes token ids, masks and a score; everything between is the core's:
the same rollout, the same grading, the same rule that sampled ids are kept and never made anew from text. A chat
format that rewrites earlier turns (Qwen3 without thinking) splits an episode into several samples with one score,
which only verl's V1 trainer takes (its default).

A rollout that failed through no fault of the policy raises `Unscored`: verl then goes on without that session.

Not covered: images and audio, expert routing replay (MoE), partial rollouts that are resumed after a weight update.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput

from toolfoundry.errors import ContextFull
from toolfoundry.reward import score_trajectory
from toolfoundry.rollout import run_rollout
from toolfoundry.samples import Prefix, Sample, episode_samples
from toolfoundry.store import dump, load_record
from toolfoundry.tokens import Dialect, Transcript
from toolfoundry.train.verl.process import Environments, Settings, Unscored, dialect_of, sandbox, settings_of
from toolfoundry.types import Completion, EnvSpec, Limits, Message, Preset, Score, ToolSchema, Trajectory

__all__ = ["EpisodeLoop", "PrefixLoop", "episode_value"]

_DIALECTS: dict[tuple[int, Settings], Dialect] = {}  # by tokenizer: the check of its template is done once


def episode_value(score: Score, preset: Preset) -> float:
    """The number that a whole episode is trained on.

    `frontier`: ½ strict Solve-F1 + ½ (final answer right). The others: Solve-F1 as the release counts it, without the
    final answer; the paper itself scores single turns, not episodes.
    """
    return score.value if preset == "frontier" else score.paper.f1


class _Loop(AgentLoopBase):
    """What both loops share. verl makes a new object for each rollout."""

    def __init__(self, *args: Any, tools: Any = None, **kwargs: Any) -> None:  # noqa: ARG002 (verl's, one list for all)
        super().__init__(*args, **kwargs)
        self.settings = settings_of(self.data_config.get("toolfoundry"))
        self.prompt_tokens: int = self.rollout_config.prompt_length
        self.response_tokens: int = self.rollout_config.response_length

    def environment(self, row: dict[str, Any]) -> EnvSpec:
        return Environments.at(self.settings.environments)[row["extra_info"]["environment"]]

    def dialect(self, spec: EnvSpec) -> Dialect:
        key = (id(self.tokenizer), self.settings)
        if key not in _DIALECTS:
            _DIALECTS[key] = dialect_of(self.tokenizer, self.settings, spec)
        return _DIALECTS[key]

    def policy(self, dialect: Dialect, sampling: dict[str, Any], row: dict[str, Any]) -> _ServerPolicy:
        return _ServerPolicy(
            self.server_manager,
            dialect,
            sampling,
            prompt_tokens=self.prompt_tokens,
            response_tokens=self.response_tokens,
            turn_tokens=self.settings.max_turn_tokens,
            priority=int(row.get("priority", 0)),
        )


class EpisodeLoop(_Loop):
    """A whole episode: its response is every turn of the policy, with the tool results between them masked out."""

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput | list[AgentLoopOutput]:
        started = time.monotonic()
        spec = self.environment(row)
        dialect = self.dialect(spec)
        policy = self.policy(dialect, sampling_params, row)
        limits = Limits(max_turns=self.settings.max_turns, calls_per_turn=self.settings.calls_per_turn)
        trajectory = await run_rollout(
            policy,
            spec,
            sandbox(),
            limits,
            name="verl",
            sample=int(row.get("session_id", 0)),
            preset=self.settings.reward,
        )
        score = score_trajectory(trajectory)
        if score is None or not trajectory.turns:
            raise Unscored(f"episode of {spec.id}: {trajectory.error or 'the prompt leaves no room for a response'}")
        metrics = AgentLoopMetrics(
            generate_sequences=policy.seconds, tool_calls=time.monotonic() - started - policy.seconds
        )
        extra = {**policy.extra, **_report(trajectory, score, self.settings.reward)}
        tools = [tool.signature for tool in spec.tools]
        outputs = [
            _output(sample, episode_value(score, self.settings.reward), len(trajectory.turns), metrics, extra)
            for sample in episode_samples(trajectory, tools, dialect)
        ]
        return outputs[0] if len(outputs) == 1 else outputs


class PrefixLoop(_Loop):
    """One response to a stored prefix, as the paper trains; the reward function executes and scores it."""

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        spec = self.environment(row)
        dialect = self.dialect(spec)
        prefix = load_record(Prefix, row["reward_model"]["ground_truth"].encode())
        policy = self.policy(dialect, sampling_params, row)
        completion = await policy(prefix.messages, [tool.signature for tool in spec.tools])
        return AgentLoopOutput(
            prompt_ids=policy.prompt_ids,
            response_ids=list(completion.token_ids),
            response_mask=[1] * len(completion.token_ids),
            response_logprobs=None if completion.logprobs is None else list(completion.logprobs),
            num_turns=len(prefix.messages) + 1,
            metrics=AgentLoopMetrics(generate_sequences=policy.seconds),
            extra_fields={
                **policy.extra,
                "message": dump(completion.message).decode(),
                "turn_scores": [],
                "tool_rewards": [],
            },
        )


class _ServerPolicy:
    """One conversation with verl's server. `extra`: what the server says of the weights that were sampled from."""

    def __init__(
        self,
        server: Any,
        dialect: Dialect,
        sampling: dict[str, Any],
        *,
        prompt_tokens: int,
        response_tokens: int,
        turn_tokens: int | None,
        priority: int,
    ) -> None:
        self._server, self._dialect, self._sampling, self._priority = server, dialect, sampling, priority
        self._prompt_tokens, self._response_tokens, self._turn_tokens = prompt_tokens, response_tokens, turn_tokens
        self._request_id = (
            uuid4().hex
        )  # names the conversation to the server, which keeps its cache; nothing depends on it
        self._transcript: Transcript | None = None
        self._said: list[list[int]] = []
        self.prompt_ids: list[int] = []
        self.seconds = 0.0
        self.extra: dict[str, Any] = {}

    async def __call__(self, messages: Sequence[Message], tools: Sequence[ToolSchema]) -> Completion:
        if self._transcript is None:
            self._transcript = Transcript(self._dialect, tools)
        ids = self._transcript.prompt(messages, self._said).ids
        if not self._said:
            if len(ids) > self._prompt_tokens:
                found = f"a prompt of {len(ids)} tokens"
                raise Unscored(f"{found}, expected at most data.max_prompt_length = {self._prompt_tokens}")
            self.prompt_ids = ids
        room = len(self.prompt_ids) + self._response_tokens - len(ids)
        if room < 1:
            raise ContextFull(f"the response has {self._response_tokens} tokens, and all are used")
        limit = room if self._turn_tokens is None else min(room, self._turn_tokens)
        started = time.monotonic()
        output = await self._server.generate(
            request_id=self._request_id,
            prompt_ids=ids,
            sampling_params={**self._sampling, "max_tokens": limit},
            priority=self._priority,
        )
        self.seconds += time.monotonic() - started
        if output.stop_reason == "aborted":
            raise Unscored("the server aborted the generation")
        if not output.token_ids:
            raise Unscored("the server gave no token")
        self._note(output.extra_fields)
        self._said.append(list(output.token_ids))
        calls = sum(len(message.tool_calls) for message in messages)
        return Completion(
            message=self._dialect.read(output.token_ids, first_id=calls),
            token_ids=tuple(output.token_ids),
            logprobs=None if output.log_probs is None else tuple(output.log_probs),
        )

    def _note(self, fields: dict[str, Any]) -> None:
        """Keeps what the server said first, but the latest version of the weights: the episode spans both."""
        latest = fields.get("max_global_steps")
        self.extra = {**fields, **self.extra, **({} if latest is None else {"max_global_steps": latest})}


def _report(trajectory: Trajectory, score: Score, preset: Preset) -> dict[str, Any]:
    """What verl shows beside the score. Not named `acc`: verl counts a session that is missing as `acc` 0."""
    solve = score.strict if preset == "frontier" else score.paper
    info = {
        "score": episode_value(score, preset),
        "solve_p": solve.precision,
        "solve_r": solve.recall,
        "solve_f1": solve.f1,
        "answer": None if score.answer_right is None else float(score.answer_right),
        "malformed": float(score.malformed),
        "calls": float(solve.calls),
        "turns": float(score.turns),
    }
    return {
        "reward_extra_info": info,
        "turn_scores": [turn.reward.value for turn in trajectory.turns if turn.reward is not None],
        "tool_rewards": [],
        "stop": trajectory.stop,
    }


def _output(
    sample: Sample, value: float, turns: int, metrics: AgentLoopMetrics, extra: dict[str, Any]
) -> AgentLoopOutput:
    """A sample as verl takes it: the prompt ends where the policy first spoke."""
    start = sample.mask.index(True)
    logprobs: list[float] | None = None
    if sample.logprobs:
        known = iter(sample.logprobs)
        logprobs = [next(known) if sampled else 0.0 for sampled in sample.mask[start:]]
    return AgentLoopOutput(
        prompt_ids=list(sample.token_ids[:start]),
        response_ids=list(sample.token_ids[start:]),
        response_mask=[int(sampled) for sampled in sample.mask[start:]],
        response_logprobs=logprobs,
        reward_score=value,
        num_turns=2 * turns,
        metrics=metrics,
        extra_fields=dict(extra),
    )
