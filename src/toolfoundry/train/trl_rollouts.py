"""What TRL asks for while it trains, answered by our own parts: token ids to learn from, and their rewards.

TRL gives the `prompt` column of the rows it wants completed, and takes back token ids (`rollout_func`); further
columns that are given back reach the reward function. So a row holds nothing but a key, and everything else is looked
up here:

    PrefixRollouts      number and key of a Prefix       one response each; scored by executing its calls
    EpisodeRollouts     id of an EnvSpec                 a whole episode each; scored as a trajectory

Ids are those that `Dialect.prompt` gives and the sampler sampled: no text is ever tokenised again. Every response has
a seed of its own, named by what it is for, so that a resumed run samples what the interrupted one would have.
"""
# pyright: basic

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolfoundry.chat import keeps_prefix
from toolfoundry.environment import Executor, opening
from toolfoundry.errors import FoundryError, InputError, MissingExtra
from toolfoundry.policies.sampling import Batcher, Request, Sampled, Sampler, TokenPolicy
from toolfoundry.reward import final_answer_right, grade_trajectory, score_trajectory
from toolfoundry.rollout import Job, run_rollouts
from toolfoundry.samples import Prefix, Sample, episode_samples
from toolfoundry.scoring import Response, Scored, score_responses
from toolfoundry.seeds import derive_seed
from toolfoundry.tokens import Dialect
from toolfoundry.train.config import TrainConfig
from toolfoundry.types import EnvSpec, Limits, Message, ToolCall, Trajectory

try:
    from trl.models.utils import unwrap_model_for_generation
except ImportError:
    raise MissingExtra("train", "training with TRL") from None

from toolfoundry.policies.transformers import TransformersSampler

__all__ = ["EpisodeRollouts", "PrefixRollouts", "episode_metrics", "require_kept_prefixes"]

_MALFORMED = -0.3  # this reward or less: nothing said, or what was said could not be read


class _Rollouts:
    """`rollout` samples a batch, `reward` scores it; TRL calls them in turn.

    `responses` counts those of this process, `causes` why some were not scored.
    """

    def __init__(self, config: TrainConfig, dialect: Dialect, executor: Executor, round_: int) -> None:
        self._config, self._dialect, self._executor, self._round = config, dialect, executor, round_
        self._limits = Limits(max_turns=config.max_turns)
        self.causes: Counter[str] = Counter()
        self.responses = 0

    def _seed(self, trainer: Any, key: str, place: int) -> int:
        """The seed of the response at that place of this process's batch."""
        step, process = trainer.state.global_step, trainer.accelerator.process_index
        return derive_seed("response", self._config.seed, self._round, step, process, place, key)

    @contextlib.contextmanager
    def _sampler(self, trainer: Any) -> Iterator[Sampler]:
        """The model as it is now: through vLLM, whose weights TRL keeps equal to it, or itself."""
        if trainer.use_vllm:
            yield _VllmSampler(trainer.vllm_generation)
        else:
            with unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model:
                yield TransformersSampler(model, self._dialect.codec.end_ids)

    def _count(self, errors: Sequence[str | None]) -> None:
        self.responses += len(errors)
        self.causes.update(error for error in errors if error is not None)


class PrefixRollouts(_Rollouts):
    """Single responses at stored prefixes, as in the paper."""

    def __init__(
        self,
        config: TrainConfig,
        dialect: Dialect,
        executor: Executor,
        prefixes: Sequence[Prefix],
        specs: Mapping[str, EnvSpec],
        round_: int,
    ) -> None:
        super().__init__(config, dialect, executor, round_)
        # An environment can be drawn twice in a round, and then its prefixes stand twice.
        self._prefixes = {f"{place} {prefix.key}": prefix for place, prefix in enumerate(prefixes)}
        self._specs = specs
        if unknown := sorted({prefix.task.spec_id for prefix in prefixes} - specs.keys()):
            raise InputError(f"specs: found no environment {unknown[0]}, expected those of all prefixes")

    @property
    def keys(self) -> list[str]:
        """What TRL gets as the prompts: one for each prefix, in their order."""
        return list(self._prefixes)

    def rollout(self, prompts: list[str], trainer: Any) -> dict[str, list[Any]]:
        """`rollout_func` of TRL: a response to each prompt."""
        ids = {key: self._prompt_ids(self._prefixes[key]) for key in dict.fromkeys(prompts)}
        requests = [Request(ids[key], self._seed(trainer, key, place)) for place, key in enumerate(prompts)]
        with self._sampler(trainer) as sampler:
            sampled = sampler.sample(
                requests, max_tokens=self._config.max_response_tokens, temperature=self._config.temperature
            )
        return {
            "prompt_ids": [list(request.prompt_ids) for request in requests],
            "completion_ids": [one.token_ids for one in sampled],
            "logprobs": [one.logprobs for one in sampled],
        }

    def reward(
        self,
        prompts: list[str],
        completion_ids: list[list[int]],
        log_metric: Any,
        **columns: Any,  # noqa: ARG002
    ) -> list[float | None]:
        """The reward of each response, None where its calls could not be executed."""
        responses = [
            Response(self._specs[prefix.task.spec_id], prefix, self._read(prefix, ids))
            for prefix, ids in zip((self._prefixes[key] for key in prompts), completion_ids, strict=True)
        ]
        scored = asyncio.run(
            score_responses(responses, self._executor, preset=self._config.reward, limits=self._limits)
        )
        for name, value in _response_metrics(responses, scored).items():
            log_metric(name, value)
        self._count([one.error for one in scored])
        return [None if one.graded is None else one.graded.reward.value for one in scored]

    def _prompt_ids(self, prefix: Prefix) -> list[int]:
        tools = opening(self._specs[prefix.task.spec_id]).tools
        ids = self._dialect.prompt(prefix.messages, tools, prefix.said).ids
        if len(ids) > self._config.max_prompt_tokens:
            found = f"prefix {prefix.key}: found {len(ids)} tokens"
            raise FoundryError(f"{found}, expected at most {self._config.max_prompt_tokens} (longer ones are left out)")
        return ids

    def _read(self, prefix: Prefix, ids: Sequence[int]) -> Message:
        return self._dialect.read(ids, first_id=sum(len(message.tool_calls) for message in prefix.messages))


class EpisodeRollouts(_Rollouts):
    """Whole episodes, in which only what the policy sampled is trained; tool results are masked."""

    def __init__(
        self, config: TrainConfig, dialect: Dialect, executor: Executor, specs: Sequence[EnvSpec], round_: int
    ) -> None:
        super().__init__(config, dialect, executor, round_)
        require_kept_prefixes(dialect)
        self.keys = [spec.id for spec in specs]
        """What TRL gets as the prompts: one for each environment, in their order; one can be drawn twice in a round."""
        self._specs = {spec.id: spec for spec in specs}
        self._played: list[Trajectory] = []
        self._split = 0

    def rollout(self, prompts: list[str], trainer: Any) -> dict[str, list[Any]]:
        """`rollout_func` of TRL: an episode in each environment that a prompt names."""
        seeds = [self._seed(trainer, spec_id, place) for place, spec_id in enumerate(prompts)]
        with self._sampler(trainer) as sampler:
            self._played = asyncio.run(self._play([self._specs[spec_id] for spec_id in prompts], seeds, sampler))
        self._split = 0
        rows = [self._row(trajectory) for trajectory in self._played]
        return {
            "prompt_ids": [prompt for prompt, _ in rows],
            "completion_ids": [list(sample.token_ids[len(prompt) :]) for prompt, sample in rows],
            "logprobs": [_padded(sample, len(prompt)) for prompt, sample in rows],
            "env_mask": [[int(said) for said in sample.mask[len(prompt) :]] for prompt, sample in rows],
        }

    def reward(self, prompts: list[str], log_metric: Any, **columns: Any) -> list[float | None]:  # noqa: ARG002
        """The score of each episode of the last rollout, None where it failed."""
        scores = [score_trajectory(trajectory) for trajectory in self._played]
        for name, value in episode_metrics(self._played).items():
            log_metric(name, value)
        log_metric("split", self._split / len(self._played))
        self._count([trajectory.error for trajectory in self._played])
        return [None if score is None else score.value for score in scores]

    async def _play(self, specs: Sequence[EnvSpec], seeds: Sequence[int], sampler: Sampler) -> list[Trajectory]:
        batcher = Batcher(
            sampler,
            max_tokens=self._config.max_response_tokens,
            temperature=self._config.temperature,
            max_batch=len(specs),
        )

        def policy(_: EnvSpec, place: int) -> TokenPolicy:
            return TokenPolicy(self._dialect, batcher, seed=seeds[place])

        jobs = [Job(spec, place) for place, spec in enumerate(specs)]
        found: dict[int, Trajectory] = {}
        async for trajectory in run_rollouts(
            jobs, policy, self._executor, self._limits, preset=self._config.reward, concurrency=len(jobs)
        ):
            found[trajectory.sample] = trajectory
        return [found[place] for place in range(len(jobs))]

    def _row(self, trajectory: Trajectory) -> tuple[list[int], Sample]:
        """The ids before the first sampled token, and the sample. A failed episode has one token, which is masked."""
        tools = opening(self._specs[trajectory.task.spec_id]).tools
        if trajectory.stop == "error" or not trajectory.turns:
            messages = opening(self._specs[trajectory.task.spec_id]).messages
            prompt = self._dialect.prompt(messages, tools).ids
            ids = (*prompt, self._dialect.codec.end_ids[0])
            return prompt, Sample(
                key=trajectory.key, group=trajectory.task.spec_id, token_ids=ids, mask=(False,) * len(ids)
            )
        # A notice is a question to the format: what was thought before it is dropped, and the rest is a new sample.
        *before, sample = episode_samples(trajectory, tools, self._dialect)
        self._split += bool(before)
        return list(sample.token_ids[: sample.mask.index(True)]), sample


def require_kept_prefixes(dialect: Dialect) -> None:
    """Raises InputError where the chat format rewrites earlier turns, so that an episode is not one sample."""
    conversation = [
        Message(role="user", content="q"),
        Message(role="assistant", thinking="t", tool_calls=(ToolCall(id="1", name="f", arguments="{}"),)),
        Message(role="tool", content="r", call_id="1"),
    ]
    if not keeps_prefix(dialect.chat, conversation, (), thinking=dialect.thinking):
        thinking = "with" if dialect.thinking else "without"
        raise InputError(
            f"mode: found episode with the chat format {dialect.chat.name} {thinking} thinking, which rewrites earlier "
            "turns, so that an episode is several samples and TRL takes one; expected mode prefix, or backend loop"
        )


class _VllmSampler:
    """TRL's vLLM engine. Its seeds are its own: what it samples is not repeated by a resumed run."""

    def __init__(self, generation: Any) -> None:
        self._generation = generation

    def sample(self, requests: Sequence[Request], *, max_tokens: int, temperature: float) -> list[Sampled]:  # noqa: ARG002
        """The completions; length and temperature are those that TRL configured the engine with, which are the same."""
        _, ids, logprobs, _ = self._generation.generate(
            prompts=[list(request.prompt_ids) for request in requests], images=None, num_generations=1
        )
        return [
            Sampled(list(ids_T), [float("nan") if value[0] is None else value[0] for value in logprobs_T])
            for ids_T, logprobs_T in zip(ids, logprobs, strict=True)
        ]


def _padded(sample: Sample, prompt: int) -> list[float]:
    """A log-probability for each token after the prompt: 0 where the policy did not sample it."""
    known = iter(sample.logprobs)
    return [next(known) if said else 0.0 for said in sample.mask[prompt:]]


def _response_metrics(responses: Sequence[Response], scored: Sequence[Scored]) -> dict[str, float]:
    """Over the scored responses. `answer`: share of right final answers among messages without calls."""
    known = [(r, s.graded.reward) for r, s in zip(responses, scored, strict=True) if s.graded is not None]
    if not known:
        return {}
    calls = sum(reward.calls for _, reward in known)
    final = [
        final_answer_right(r.message, r.prefix.task.answer, tagged=r.prefix.task.tagged)
        for r, _ in known
        if not r.message.tool_calls and r.prefix.task.answer is not None
    ]
    metrics = {"malformed": _mean([reward.value <= _MALFORMED for _, reward in known]), "calls": calls / len(known)}
    if calls:
        metrics["solve_p"] = sum(reward.solved for _, reward in known) / calls
    if final:
        metrics["answer"] = _mean(final)
    return metrics


def episode_metrics(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Means over the scored episodes, with the strict Solve metrics; `malformed`: share with a malformed turn."""
    known = [(one, score) for one in trajectories if (score := score_trajectory(one)) is not None]
    if not known:
        return {}
    scores = [score for _, score in known]
    malformed = [any(g.reward.value <= _MALFORMED for g in grade_trajectory(one, "frontier")) for one, _ in known]
    metrics = {
        "malformed": _mean(malformed),
        "calls": _mean([score.strict.calls for score in scores]),
        "turns": _mean([score.turns for score in scores]),
        "solve_p": _mean([score.strict.precision for score in scores]),
        "solve_r": _mean([score.strict.recall for score in scores]),
        "solve_f1": _mean([score.strict.f1 for score in scores]),
    }
    if right := [score.answer_right for score in scores if score.answer_right is not None]:
        metrics["answer"] = _mean(right)
    return metrics


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
