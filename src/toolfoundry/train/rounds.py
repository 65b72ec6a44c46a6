# pyright: basic
"""The driver of reinforcement learning: collect with the current policy, train on what was collected, repeat.

    every round:   the policy plays the round's environments once           (Ye et al. 2025, section 3; 3 rounds there)
        every step:   G responses to each of some prompts -> rewards -> advantages -> one policy-gradient step

Mode `prefix` is the paper's: the prompts are the prefixes of the round's rollouts, a response is one message, and its
reward that of its turn. Mode `episode`: the prompts are the environments, a response is a whole rollout, and its reward
the score of the trajectory (`turn_weight` adds the rewards of its turns, centred over the turns of the group).

Responses that could not be scored are left out and counted; groups whose rewards are all equal teach nothing and are
counted as `flat`. Everything is seeded by names, so that a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from toolfoundry.advantages import by_group, has_spread, response_advantages
from toolfoundry.errors import FoundryError, InputError
from toolfoundry.reward import grade_trajectory, score_trajectory, trajectory_value
from toolfoundry.samples import Prefix, Sample, episode_samples, prefixes
from toolfoundry.seeds import generator
from toolfoundry.selection import PassRates, Refill
from toolfoundry.store import RecordWriter, read
from toolfoundry.train.config import TrainConfig
from toolfoundry.train.loop import Optimizer, UpdateStats, improve
from toolfoundry.train.play import Answered, Clock, Table
from toolfoundry.train.run_folder import RunFolder, State
from toolfoundry.types import EnvSpec, Trajectory

__all__ = [
    "Learner",
    "OnStep",
    "Row",
    "draw_environments",
    "pad_id",
    "pass_rates",
    "round_prompts",
    "train_rounds",
]

Row = dict[str, JsonValue]
OnStep = Callable[[Row], None]


@dataclass
class Learner:
    """A model that is trained, its tokenizer, the table where it plays, and a frozen copy where KL is asked for."""

    model: Any
    tokenizer: Any
    table: Table
    reference: Any = None

    @property
    def pad(self) -> int:
        return pad_id(self.tokenizer)


def pad_id(tokenizer: Any) -> int:
    """The id that fills up a batch; any will do, since nothing is learned there."""
    return int(tokenizer.pad_token_id or 0)


@dataclass
class _Gathered:
    """What a step learns from, and what is reported of it."""

    samples: list[Sample] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    groups: int = 0
    flat: int = 0
    unscored: int = 0
    calls: int = 0
    solved: int = 0
    malformed: int = 0
    answers: list[bool] = field(default_factory=list)
    tokens: int = 0
    used: int = 0
    cause: str = ""


def train_rounds(
    learner: Learner,
    specs: Sequence[EnvSpec],
    config: TrainConfig,
    folder: RunFolder,
    *,
    on_step: OnStep | None = None,
) -> State:
    """Trains from where the folder stands until the rounds, or `max_steps`, are over. Returns where it ended.

    Raises:
        InputError: there is nothing to play. FoundryError: the training diverged, or nothing can be scored.
    """
    if not specs:
        raise InputError("environments: found none, expected at least one to train on")
    by_id = {spec.id: spec for spec in specs}
    updates = -(-config.prompts_per_step // (config.prompts_per_update or config.prompts_per_step))
    optimizer = Optimizer(learner.model, config, config.max_steps and config.max_steps * updates)
    state = State()
    if (found := folder.newest()) is not None:
        checkpoint, state = found
        folder.restore(checkpoint, optimizer)
    folder.cut_metrics(state.step)
    learner.model.train()
    while state.round < config.rounds and not _over(state, config):
        state = _round(learner, specs, by_id, config, folder, optimizer, state, on_step)
    folder.save(learner.model, learner.tokenizer, optimizer, state, config.keep_checkpoints)
    return state


def _over(state: State, config: TrainConfig) -> bool:
    return config.max_steps is not None and state.step >= config.max_steps


def _round(
    learner: Learner,
    specs: Sequence[EnvSpec],
    by_id: Mapping[str, EnvSpec],
    config: TrainConfig,
    folder: RunFolder,
    optimizer: Optimizer,
    state: State,
    on_step: OnStep | None,
) -> State:
    clock = Clock()
    chosen = draw_environments(specs, config, state)
    prompts: list[Any] = list(chosen)
    dropped = 0
    rates = state.pass_rates
    if config.mode == "prefix":
        prompts, dropped, after = round_prompts(learner.table, chosen, by_id, config, folder, state)
        rates = after.pass_rates  # for the next round: a resumed one draws by those that this one began with
    clock.lap("collect")
    least = max(1, config.prompts_per_step // 2) if len(prompts) >= config.prompts_per_step else 1
    most = config.steps_per_round or math.inf
    while len(prompts) - state.used >= least and state.round_steps < most and not _over(state, config):
        gathered = _gather(learner, prompts[state.used :], by_id, config, state, clock)
        stats = _learn(learner, gathered, optimizer, config, state)
        clock.lap("train")
        done = {"step": state.step + 1, "round_steps": state.round_steps + 1, "used": state.used + gathered.used}
        state = state.model_copy(update=done)
        row = _row(state, gathered, stats, optimizer, clock, dropped)
        folder.log(row)
        if on_step is not None:
            on_step(row)
        clock = Clock()
        if state.step % config.save_every == 0:
            folder.save(learner.model, learner.tokenizer, optimizer, state, config.keep_checkpoints)
            clock.lap("save")
    if _over(state, config):
        return state
    state = State(step=state.step, round=state.round + 1, pass_rates=rates)
    folder.save(learner.model, learner.tokenizer, optimizer, state, config.keep_checkpoints)
    return state


def draw_environments(specs: Sequence[EnvSpec], config: TrainConfig, state: State) -> list[EnvSpec]:
    """The environments of a round: all, or `round_environments` of an order that is shuffled each time through.

    With `pass_rate`, those that are worth playing go first (`PassRates.draw`).
    """
    count = config.round_environments or len(specs)
    if (rates := pass_rates(config, state)) is not None:
        by_id = {spec.id: spec for spec in specs}
        drawn = rates.draw(list(by_id), count, "environments", config.seed, state.round)
        return [by_id[spec_id] for spec_id in drawn]
    drawn_before = state.round * count
    chosen: list[EnvSpec] = []
    while len(chosen) < count:
        epoch, place = divmod(drawn_before + len(chosen), len(specs))
        order = list(range(len(specs)))
        generator("environments", config.seed, epoch).shuffle(order)
        chosen += [specs[index] for index in order[place : place + count - len(chosen)]]
    return chosen


def pass_rates(config: TrainConfig, state: State) -> PassRates | None:
    """What is known of the environments' scores; None where they are not asked for."""
    if config.pass_rate is None:
        return None
    return PassRates.from_state(state.pass_rates) if state.pass_rates else PassRates(config.pass_rate)


def _remember(state: State, config: TrainConfig, played: Sequence[Trajectory]) -> State:
    """The state with the scores of a round's rollouts in its pass rates, if they are asked for."""
    if (rates := pass_rates(config, state)) is None:
        return state
    for trajectory in played:
        rates.record(trajectory.task.spec_id, [trajectory_value(trajectory)])
    return state.model_copy(update={"pass_rates": rates.state()})


def round_prompts(
    table: Table,
    chosen: Sequence[EnvSpec],
    specs: Mapping[str, EnvSpec],
    config: TrainConfig,
    folder: RunFolder,
    state: State,
) -> tuple[list[Prefix], int, State]:
    """The prefixes of a round, shuffled; how many were left out as too long; and the state with the new pass rates.

    With `pass_rate`, environments that turned out to be outside the band give no prefixes in this round.
    Raises FoundryError where none is left.
    """
    played = _collect(table, chosen, config, folder, state)
    state = _remember(state, config, played)
    if (rates := pass_rates(config, state)) is not None:
        inside = [trajectory for trajectory in played if rates.inside(trajectory.task.spec_id)]
        played = inside or played  # a round in which nothing is left to learn is better trained on than stopped at
    collected = [prefix for trajectory in played for prefix in prefixes(trajectory)]
    most = min(config.max_prompt_tokens, getattr(table.sampler, "context", math.inf) - 1)
    fitting = [prefix for prefix in collected if len(table.prompt(prefix, specs).ids) <= most]
    if not fitting:
        cause = next((t.error for t in played if t.error), f"all over {most} tokens")
        raise FoundryError(f"round {state.round}: found {len(collected)} prompts of {len(played)} rollouts: {cause}")
    generator("prompts", config.seed, state.round).shuffle(fitting)
    return fitting, len(collected) - len(fitting), state


def _collect(
    table: Table, specs: Sequence[EnvSpec], config: TrainConfig, folder: RunFolder, state: State
) -> list[Trajectory]:
    """One rollout of each environment; kept in the run folder, so that a resumed round, and other processes, have the
    same."""
    path = folder.path / "rounds" / f"{state.round:03d}.jsonl"
    while not folder.main and not path.exists():
        time.sleep(0.2)  # the first process plays; if it fails, the launcher ends this one
    if path.exists():
        return list(read(path, Trajectory))
    played = table.episodes(
        specs, temperature=config.collect_temperature, seed=("collect", config.seed, state.round), name="policy"
    )
    draft = path.with_name(f".{path.name}")
    with RecordWriter(draft, Trajectory, "overwrite") as writer:
        for trajectory in played:
            writer.write(trajectory)
    draft.rename(path)
    return played


# --- one step ------------------------------------------------------------------------------------------------------


def _gather(
    learner: Learner,
    prompts: Sequence[Any],
    specs: Mapping[str, EnvSpec],
    config: TrainConfig,
    state: State,
    clock: Clock,
) -> _Gathered:
    """The samples of a step: of the next prompts, and with `refill_groups` of further ones in place of flat groups."""
    gathered = _Gathered()
    wanted = min(config.prompts_per_step, len(prompts))
    most = min(4 * wanted, len(prompts)) if config.refill_groups else wanted
    fill = Refill(wanted, most)
    while part := prompts[gathered.used : gathered.used + (fill.to_draw() if config.refill_groups else wanted)]:
        gathered.used += len(part)
        seed = ("step", config.seed, state.step, gathered.used)
        if config.mode == "prefix":
            answered = learner.table.responses(
                part, specs, group_size=config.group_size, temperature=config.temperature, seed=seed, clock=clock
            )
            _take_responses(gathered, answered, fill, config)
        else:
            played = learner.table.episodes(
                part, samples=config.group_size, temperature=config.temperature, seed=seed, name="policy"
            )
            clock.lap("generate")
            _take_episodes(gathered, played, learner, specs, fill, config)
            clock.lap("reward")
        if not config.refill_groups:
            break
    return gathered


def _take_responses(gathered: _Gathered, answered: Sequence[Answered], fill: Refill, config: TrainConfig) -> None:
    for group in _grouped(answered, lambda one: one.prefix.key):
        scored = [one for one in group if one.scored.graded is not None]
        gathered.unscored += len(group) - len(scored)
        gathered.cause = next((one.scored.error or "" for one in group if one.scored.graded is None), gathered.cause)
        if len(scored) < min(2, len(group)):
            fill.add(group[0].prefix.key, [])
            continue
        rewards = [one.scored.graded.reward for one in scored if one.scored.graded is not None]
        kept = (
            _count(gathered, fill, group[0].prefix.key, [reward.value for reward in rewards])
            or not config.refill_groups
        )
        for one, reward in zip(scored, rewards, strict=True):
            prompt = one.prompt.ids
            sampled = one.sampled
            gathered.samples += (
                []
                if not kept
                else [
                    Sample.model_construct(  # made of parts that are right by construction, thousands a step
                        key=one.prefix.key,
                        group=one.prefix.key,
                        token_ids=(*prompt, *sampled.token_ids),
                        mask=(False,) * len(prompt) + (True,) * len(sampled.token_ids),
                        turns=(0,) * len(sampled.token_ids),
                        logprobs=tuple(sampled.logprobs),
                        advantages=(),
                        turn_rewards=(reward.value,),
                        score=reward.value,
                    )
                ]
            )
            gathered.tokens += len(sampled.token_ids)
            gathered.calls += reward.calls
            gathered.solved += reward.solved
            gathered.malformed += reward.value <= -0.3
            if reward.calls == 0 and one.prefix.task.answer is not None:
                gathered.answers.append(reward.value > 0)


def _take_episodes(
    gathered: _Gathered,
    played: Sequence[Trajectory],
    learner: Learner,
    specs: Mapping[str, EnvSpec],
    fill: Refill,
    config: TrainConfig,
) -> None:
    for group in _grouped(played, lambda trajectory: trajectory.task.spec_id):
        scores = [(trajectory, score) for trajectory in group if (score := score_trajectory(trajectory)) is not None]
        gathered.unscored += len(group) - len(scores)
        gathered.cause = next((t.error or "" for t in group if t.stop == "error"), gathered.cause)
        key = group[0].task.spec_id
        if len(scores) < min(2, len(group)):
            fill.add(key, [])
            continue
        kept = _count(gathered, fill, key, [score.value for _, score in scores]) or not config.refill_groups
        for trajectory, score in scores:
            tools = [tool.signature for tool in specs[trajectory.task.spec_id].tools]
            parts = episode_samples(trajectory, tools, learner.table.dialect)
            gathered.samples += [part.model_copy(update={"score": score.value}) for part in parts if kept]
            gathered.tokens += sum(len(part.logprobs) for part in parts)
            gathered.calls += score.strict.calls
            gathered.solved += score.strict.solved
            gathered.malformed += any(g.reward.value <= -0.3 for g in grade_trajectory(trajectory, "frontier"))
            if score.answer_right is not None:
                gathered.answers.append(score.answer_right)


def _count(gathered: _Gathered, fill: Refill, key: str, rewards: list[float]) -> bool:
    """Whether the group has spread, and the step a place for it."""
    gathered.groups += 1
    gathered.flat += not has_spread(rewards)
    gathered.rewards += rewards
    return fill.add(key, rewards)


def _grouped(items: Sequence[Any], key: Callable[[Any], str]) -> Iterator[list[Any]]:
    groups: dict[str, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    yield from groups.values()


def _learn(
    learner: Learner, gathered: _Gathered, optimizer: Optimizer, config: TrainConfig, state: State
) -> UpdateStats:
    if not gathered.groups:
        raise FoundryError(f"not one response of this step could be scored: {gathered.cause or 'no groups were made'}")
    if not gathered.samples:  # all groups were flat and left out: nothing to learn in this step
        return UpdateStats(loss=0.0, kl=None, entropy=None, clipped=0.0, grad_norm=None, updates=0, trained=0)
    samples = gathered.samples
    if config.shuffle_rewards:
        scores = [sample.score for sample in samples]
        generator("shuffled", config.seed, state.step).shuffle(scores)
        samples = [s.model_copy(update={"score": score}) for s, score in zip(samples, scores, strict=True)]
    samples = with_advantages(samples, config)
    return improve(learner.model, learner.reference, optimizer, samples, config, learner.pad)


def with_advantages(samples: Sequence[Sample], config: TrainConfig) -> list[Sample]:
    """The samples with an advantage for each masked token.

    The samples of one trajectory share its score; it counts once in its group, and as often as it has tokens where
    whitening counts tokens.
    """
    assert config.algorithm != "sft"
    first: dict[tuple[str, str, int], int] = {}
    for index, sample in enumerate(samples):
        first.setdefault((sample.group, sample.key, 0 if config.mode == "episode" else index), index)
    owners = [first[s.group, s.key, 0 if config.mode == "episode" else i] for i, s in enumerate(samples)]
    lengths: dict[int, int] = {}
    for owner, sample in zip(owners, samples, strict=True):
        lengths[owner] = lengths.get(owner, 0) + sum(sample.mask)
    heads = sorted(lengths)
    values = response_advantages(
        [samples[head].score or 0.0 for head in heads],
        [lengths[head] for head in heads],
        [samples[head].group for head in heads],
        config.algorithm,
    )
    of_owner = dict(zip(heads, values, strict=True))
    advantages = [[of_owner[owner]] * sum(sample.mask) for owner, sample in zip(owners, samples, strict=True)]
    if config.mode == "episode" and config.turn_weight:
        flat = [
            (index, turn, reward)
            for index, sample in enumerate(samples)
            for turn, reward in zip(dict.fromkeys(sample.turns), sample.turn_rewards, strict=True)
            if reward is not None
        ]
        credits = by_group([r for _, _, r in flat], [samples[index].group for index, _, _ in flat], scale=True)
        of_turn = {(index, turn): credit for (index, turn, _), credit in zip(flat, credits, strict=True)}
        advantages = [
            [
                a + config.turn_weight * of_turn.get((index, turn), 0.0)
                for a, turn in zip(values_M, sample.turns, strict=True)
            ]
            for index, (values_M, sample) in enumerate(zip(advantages, samples, strict=True))
        ]
    return [
        sample.model_copy(update={"advantages": tuple(values_M)})
        for sample, values_M in zip(samples, advantages, strict=True)
    ]


def _row(
    state: State, gathered: _Gathered, stats: UpdateStats, optimizer: Optimizer, clock: Clock, dropped: int
) -> Row:
    """One line of the metrics. Times are CPU seconds of this process."""
    n = len(gathered.rewards)
    mean = math.fsum(gathered.rewards) / n
    return {
        "step": state.step,
        "round": state.round,
        "reward": mean,
        "reward_std": math.sqrt(math.fsum((r - mean) ** 2 for r in gathered.rewards) / n),
        "responses": n,
        "groups": gathered.groups,
        "flat_groups": gathered.flat / gathered.groups,
        "unscored": gathered.unscored,
        "malformed": gathered.malformed / n,
        "solve_p": gathered.solved / gathered.calls if gathered.calls else None,
        "answer": sum(gathered.answers) / len(gathered.answers) if gathered.answers else None,
        "tokens": gathered.tokens / n,
        "overlong": dropped,
        "loss": stats.loss,
        "kl": stats.kl,
        "entropy": stats.entropy,
        "clipped": stats.clipped,
        "grad_norm": stats.grad_norm,
        "updates": stats.updates,
        "trained": stats.trained,
        "learning_rate_factor": optimizer.factor(),
        "cpu_s": {name: round(seconds, 4) for name, seconds in clock.spent.items()},
        "time": round(time.time(), 3),
    }
