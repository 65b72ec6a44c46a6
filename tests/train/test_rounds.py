"""The driver of reinforcement learning, with a sampler that says what a test wants: who is played, what is learned
from, what is left out, and what is reported."""

import copy
import math
import random

import pytest

pytest.importorskip("torch", reason="needs the extra train")

import torch

from fakes import TABLE, CannedExecutor, CannedSession, assistant, call, capital_spec
from toolfoundry.advantages import by_group, response_advantages
from toolfoundry.chat import chat_format
from toolfoundry.errors import FoundryError, InputError, RecordError, SandboxError
from toolfoundry.policies.sampling import Sampled
from toolfoundry.policies.transformers import HFCodec, load_policy
from toolfoundry.reward import trajectory_value
from toolfoundry.samples import Sample
from toolfoundry.seeds import derive_seed
from toolfoundry.store import read
from toolfoundry.tokens import Dialect
from toolfoundry.train import rounds
from toolfoundry.train.config import ALGORITHMS, TrainConfig
from toolfoundry.train.play import Table
from toolfoundry.train.rounds import Learner, draw_environments, train_rounds, with_advantages
from toolfoundry.train.run_folder import RunFolder, State
from toolfoundry.train.tiny.model import Size, build_model
from toolfoundry.train.tiny.tokenizer import build_tokenizer
from toolfoundry.types import Message, Trajectory

HERMES = chat_format("hermes")
TOKENIZER = build_tokenizer()
CODEC = HFCodec(TOKENIZER, HERMES.end_tokens)
DIALECT = Dialect(HERMES, CODEC)
LEARNING = tuple(algorithm for algorithm in ALGORITHMS if algorithm != "sft")

AUTHOR = assistant("", call("author_of", "Tides"))
TOWN = assistant("", call("town_of", "Mira Olsen"))
VELDEN = assistant("<answer>Velden</answer>")
LOST = assistant("I do not know which town that could be.")


def spec(number=0):
    """Two hops with a prompt of a few tokens; the number stands in it."""
    return capital_spec(number, prompt=(Message(role="user", content=f"Which town? ({number})"),))


def gold(prompt):
    """What solves the task, by what the conversation shows."""
    said = prompt.rpartition("<tools>")[2]
    return VELDEN if "Velden" in said else TOWN if "Mira Olsen" in said else AUTHOR


def wavering(prompt, rng):
    """Right half of the time, lost otherwise."""
    return gold(prompt) if rng.random() < 0.5 else LOST


def sure(prompt, rng):
    """Always right."""
    return gold(prompt)


class Speaker:
    """A sampler that says what `say(prompt, generator)` gives, and claims log-probabilities of -1."""

    def __init__(self, say):
        self.say, self.asked = say, 0

    def sample(self, requests, *, max_tokens, temperature):
        self.asked += len(requests)
        spoken = []
        for request in requests:
            message = self.say(CODEC.decode(request.prompt_ids), random.Random(request.seed))
            ids = DIALECT.spell(message)[:max_tokens]
            spoken.append(Sampled(ids, [-1.0] * len(ids)))
        return spoken


class Failing(CannedExecutor):
    """Tools whose worker dies at calls that `dies` says."""

    def __init__(self, dies):
        super().__init__(TABLE)
        self.dies = dies

    def session(self, sources, *, state=None, seed=0):
        super().session(sources, state=state, seed=seed)
        return FailingSession(self)


class FailingSession(CannedSession):
    async def abatch(self, calls):
        if any(self.executor.dies(name) for name, _ in calls):
            raise SandboxError("the worker was killed")
        return await super().abatch(calls)


@pytest.fixture(scope="module")
def network():
    torch.set_num_threads(1)
    return build_model(TOKENIZER, Size(hidden=16, layers=1, heads=2))


@pytest.fixture
def learner(network):
    return Learner(copy.deepcopy(network), TOKENIZER, Table(Speaker(wavering), DIALECT, CannedExecutor(TABLE)))


def settings(**changes):
    fields = {
        "rounds": 1,
        "prompts_per_step": 4,
        "prompts_per_update": None,
        "group_size": 4,
        "max_prompt_tokens": 1000,
        "max_response_tokens": 64,
        "learning_rate": 1e-3,
        "kl_coefficient": 0.0,
        "entropy_coefficient": 0.0,
    }
    return TrainConfig(**{**fields, **changes})


def run(learner, specs, config, path, on_step=None, resume=False):
    """The metrics of a run and where it ended."""
    folder = RunFolder(path)
    folder.begin(config, {}, resume=resume, force=False)
    try:
        state = train_rounds(learner, specs, config, folder, on_step=on_step)
    finally:
        folder.close()
    rows = list(folder.rows())
    for row in rows:
        numbers = [value for value in row.values() if isinstance(value, float)]
        assert all(math.isfinite(value) for value in numbers), row
    return rows, state


@pytest.fixture
def learned_from(monkeypatch):
    """The samples of each step, as they are given to the update."""
    seen = []
    real = rounds.improve

    def improve(model, reference, optimizer, samples, config, pad):
        seen.append(samples)
        return real(model, reference, optimizer, samples, config, pad)

    monkeypatch.setattr(rounds, "improve", improve)
    return seen


# --- what a step learns from ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", LEARNING)
def test_a_step_on_prefixes(learner, tmp_path, learned_from, algorithm):
    """Groups of responses to the round's prefixes, with the tokens that were sampled under the mask, the rewards of
    their turns, and the advantages of the plain functions; the row says the same in means."""
    config = settings(algorithm=algorithm, prompts_per_step=5)
    specs = [spec(number) for number in range(4)]
    rows, state = run(learner, specs, config, tmp_path)
    [samples], [row] = learned_from, rows
    assert len(samples) == 20
    assert len({sample.group for sample in samples}) == 5
    for sample in samples:
        said = [token for token, chosen in zip(sample.token_ids, sample.mask, strict=True) if chosen]
        message = DIALECT.read(said)
        right = message != LOST and "Velden" in CODEC.decode(said)
        assert sample.score in ((1.0,) if message.tool_calls else (1.0, 0.5, 1 / 3) if right else (0.0,))
        assert sample.mask == (False,) * (len(sample.mask) - len(said)) + (True,) * len(said)
        assert sample.logprobs == (-1.0,) * len(said)
    scores, lengths = [s.score for s in samples], [sum(s.mask) for s in samples]
    expected = response_advantages(scores, lengths, [s.group for s in samples], algorithm)
    assert [s.advantages for s in samples] == [(a,) * n for a, n in zip(expected, lengths, strict=True)]
    assert row["reward"] == pytest.approx(sum(scores) / 20)
    assert row["tokens"] == pytest.approx(sum(lengths) / 20)
    assert (row["groups"], row["responses"], row["unscored"], row["malformed"]) == (5, 20, 0, 0)
    assert row["kl"] is None
    assert state == State(step=1, round=1)
    played = list(read(tmp_path / "rounds" / "000.jsonl", Trajectory))
    assert {trajectory.task.spec_id for trajectory in played} == {one.id for one in specs}


@pytest.mark.parametrize("algorithm", LEARNING)
def test_a_step_on_episodes(learner, tmp_path, learned_from, algorithm):
    """Groups of whole episodes of an environment: every turn under the mask, the score of the trajectory."""
    config = settings(algorithm=algorithm, mode="episode", prompts_per_step=3)
    rows, _ = run(learner, [spec(number) for number in range(3)], config, tmp_path)
    [samples], [row] = learned_from, rows
    assert len({s.key for s in samples}) == len(samples) == 12
    assert {s.turns[-1] for s in samples} > {0, 2}  # some were lost at once, some saw it through
    for sample in samples:
        said = CODEC.decode([t for t, chosen in zip(sample.token_ids, sample.mask, strict=True) if chosen])
        turns = said.split("<|im_end|>")[:-1]
        assert len(turns) == sample.turns[-1] + 1
        complete = turns[-1] == VELDEN.content and len(turns) == 3
        assert (sample.score == 1.0) == complete
        assert "<tool_response>" not in said
    lengths = [sum(s.mask) for s in samples]
    expected = response_advantages([s.score for s in samples], lengths, [s.group for s in samples], algorithm)
    assert [s.advantages[0] for s in samples] == pytest.approx(expected)
    assert row["groups"] == 3
    assert row["reward"] == pytest.approx(sum(s.score for s in samples) / 12)
    assert not list((tmp_path / "rounds").iterdir())  # nothing was collected beforehand


def piece(key, group, score, tokens, turns=None, rewards=()):
    """A sample of so many masked tokens; for `with_advantages` nothing else matters."""
    ids = (1,) * (tokens + 1)
    fields = {"turns": turns or (0,) * tokens, "turn_rewards": rewards, "logprobs": (0.0,) * tokens}
    return Sample(key=key, group=group, token_ids=ids, mask=(False,) + (True,) * tokens, score=score, **fields)


def test_an_episode_in_pieces_counts_once():
    """The samples of a trajectory that was split have its one score: once in the group, and in whitening with the
    tokens of all of them."""
    samples = [
        piece("a/0", "a", 1.0, 2),
        piece("a/0", "a", 1.0, 3),
        piece("a/1", "a", 0.0, 4),
        piece("b/0", "b", 0.5, 1),
        piece("b/1", "b", 0.0, 6),
    ]
    for algorithm in LEARNING:
        found = with_advantages(samples, settings(algorithm=algorithm, mode="episode"))
        whole = response_advantages([1.0, 0.0, 0.5, 0.0], [5, 4, 1, 6], ["a", "a", "b", "b"], algorithm)
        assert [s.advantages[0] for s in found] == [whole[0], whole[0], *whole[1:]]
        assert [len(s.advantages) for s in found] == [2, 3, 4, 1, 6]
    # in mode prefix the same key is that of the prefix: each response counts
    each = with_advantages([piece("p", "p", score, 1) for score in (1.0, 0.0, 0.0)], settings(algorithm="dr-grpo"))
    assert [s.advantages[0] for s in each] == pytest.approx([2 / 3, -1 / 3, -1 / 3])


def test_turns_get_credit_beside_the_episode():
    """With `turn_weight` each token adds that weight times its turn's reward, centred and scaled over all turns of the
    group; a turn that was not scored adds nothing."""
    samples = [
        piece("a/0", "a", 1.0, 3, turns=(0, 0, 1), rewards=(1.0, 0.5)),
        piece("a/1", "a", 0.0, 2, turns=(0, 1), rewards=(0.0, None)),
    ]
    found = with_advantages(samples, settings(algorithm="dr-grpo", mode="episode", turn_weight=0.1))
    first, second, third = by_group([1.0, 0.5, 0.0], ["a"] * 3, scale=True)
    assert found[0].advantages == pytest.approx((0.5 + 0.1 * first, 0.5 + 0.1 * first, 0.5 + 0.1 * second))
    assert found[1].advantages == pytest.approx((-0.5 + 0.1 * third, -0.5))


def test_a_real_turn_weight_trains(learner, tmp_path, learned_from):
    """In a run, turns of one episode then have unlike advantages."""
    run(learner, [spec(0), spec(1)], settings(mode="episode", prompts_per_step=2, turn_weight=0.5), tmp_path)
    assert any(len(set(sample.advantages)) > 1 for sample in learned_from[0])


def test_shuffled_rewards_are_the_same_rewards_elsewhere(learner, tmp_path, learned_from):
    """The control deals the step's rewards out anew: the same numbers, to other responses."""
    for shuffle in (False, True):
        config = settings(shuffle_rewards=shuffle, steps_per_round=1)
        run(learner, [spec(n) for n in range(4)], config, tmp_path / str(shuffle))
    true, shuffled = learned_from
    assert [s.token_ids for s in true] == [s.token_ids for s in shuffled]
    assert sorted(s.score for s in true) == sorted(s.score for s in shuffled)
    assert [s.score for s in true] != [s.score for s in shuffled]


def test_divergence_and_entropy_are_reported(learner, tmp_path):
    """With a reference the divergence is 0 at the first step and grows; the entropy of a random network is nearly that
    of the uniform distribution."""
    learner.reference = copy.deepcopy(learner.model).eval()
    config = settings(kl_coefficient=0.01, entropy_coefficient=0.001, rounds=2, learning_rate=0.01)
    rows, _ = run(learner, [spec(n) for n in range(4)], config, tmp_path)
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-9)
    assert rows[-1]["kl"] > 1e-6
    assert rows[0]["entropy"] == pytest.approx(math.log(learner.model.config.vocab_size), rel=0.01)


# --- what is left out ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["prefix", "episode"])
@pytest.mark.parametrize("refill", [False, True])
def test_flat_groups_alone_teach_nothing(learner, tmp_path, mode, refill):
    """Where all groups have equal rewards nothing is updated, the row says so, and nothing is NaN."""
    learner.table.sampler = Speaker(sure)
    before = copy.deepcopy(learner.model.state_dict())
    rows, _ = run(learner, [spec(n) for n in range(4)], settings(mode=mode, refill_groups=refill), tmp_path)
    for row in rows:
        assert (row["flat_groups"], row["updates"], row["loss"], row["reward"]) == (1.0, 0, 0.0, 1.0)
    for name, weight in learner.model.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_flat_groups_are_refilled(learner, tmp_path, learned_from):
    """With `refill_groups` further prompts are drawn until the step has its number of groups with spread, at most four
    times as many; only they are learned from, and all that were sampled are reported."""

    def half_sure(prompt, rng):
        return gold(prompt) if int(prompt.split("(")[-1].split(")")[0]) % 2 else wavering(prompt, rng)

    learner.table.sampler = Speaker(half_sure)
    config = settings(mode="episode", group_size=8, refill_groups=True)
    rows, state = run(learner, [spec(n) for n in range(20)], config, tmp_path)
    assert len({sample.group for sample in learned_from[0]}) == 4 < rows[0]["groups"]
    assert 0 < rows[0]["flat_groups"] < 1
    for row, samples in zip(rows, learned_from, strict=True):
        for group in {s.group for s in samples}:
            assert len({s.score for s in samples if s.group == group}) > 1
        assert row["groups"] <= 16
        assert row["responses"] == 8 * row["groups"]
        assert len(samples) <= 8 * round(row["groups"] * (1 - row["flat_groups"]))
    assert state.round == 1
    assert sum(row["groups"] for row in rows) <= 20


def test_overlong_prompts_are_left_out_and_counted(learner, tmp_path, learned_from):
    """A prompt over the limit is not cut, not sampled, and stands in the row."""
    learner.table.sampler = Speaker(sure)
    table = learner.table
    by_id = {one.id: one for one in (spec(0), spec(1))}
    lengths = []
    for trajectory in table.episodes(list(by_id.values()), temperature=1.0, seed=("x",)):
        lengths += [len(table.prompt(prefix, by_id).ids) for prefix in rounds.prefixes(trajectory)]
    assert len(lengths) == 6
    limit = sorted(lengths)[1]
    rows, _ = run(learner, list(by_id.values()), settings(max_prompt_tokens=limit), tmp_path / "some")
    assert rows[0]["overlong"] == 4
    assert rows[0]["groups"] == 2
    with pytest.raises(FoundryError, match=r"round 0: found 6 prompts of 2 rollouts: all over 10 tokens"):
        run(learner, list(by_id.values()), settings(max_prompt_tokens=10), tmp_path / "none")


def test_prompts_beyond_the_context_are_left_out_too(learner, tmp_path):
    """Where the model's context is shorter than `max_prompt_tokens`, it is the limit."""
    learner.table.sampler = Speaker(sure)
    learner.table.sampler.context = 300
    specs = [spec(0), spec(1)]
    by_id = {one.id: one for one in specs}
    rows, _ = run(learner, specs, settings(max_prompt_tokens=10_000), tmp_path)
    played = list(read(tmp_path / "rounds" / "000.jsonl", Trajectory))
    lengths = [len(learner.table.prompt(p, by_id).ids) for t in played for p in rounds.prefixes(t)]
    assert rows[0]["overlong"] == sum(length > 299 for length in lengths) > 0
    assert rows[0]["groups"] == sum(length <= 299 for length in lengths) > 0


def test_what_could_not_be_scored_is_left_out_and_counted(learner, tmp_path, learned_from):
    """When a tool's worker dies, the responses that called it have no reward: they are not learned from, and the row
    counts them; the others of their group are compared with each other."""

    def some_to_town(prompt, rng):
        roll = rng.random()
        return AUTHOR if roll < 0.4 else LOST if roll < 0.7 else TOWN

    learner.table.sampler = Speaker(some_to_town)
    learner.table.executor = Failing(lambda name: name == "town_of")
    rows, _ = run(learner, [spec(n) for n in range(4)], settings(group_size=8), tmp_path)
    assert rows[0]["unscored"] > 0
    assert len(learned_from[0]) == rows[0]["responses"] > 0
    assert rows[0]["responses"] + rows[0]["unscored"] <= 8 * 4  # one that is alone in its group cannot be compared
    for sample in learned_from[0]:
        said = CODEC.decode([t for t, chosen in zip(sample.token_ids, sample.mask, strict=True) if chosen])
        assert "town_of" not in said


def test_episodes_that_broke_are_left_out_and_counted(learner, tmp_path, learned_from):
    """The same for whole episodes."""
    learner.table.executor = Failing(lambda name: name == "town_of")
    config = settings(mode="episode", group_size=8, prompts_per_step=2)
    rows, _ = run(learner, [spec(0), spec(1)], config, tmp_path)
    assert rows[0]["unscored"] > 0
    assert rows[0]["responses"] + rows[0]["unscored"] == 16
    assert len(learned_from[0]) == rows[0]["responses"]


@pytest.mark.parametrize("mode", ["prefix", "episode"])
@pytest.mark.parametrize("refill", [False, True])
def test_nothing_scored_is_an_error_with_its_cause(learner, tmp_path, mode, refill):
    """A run whose tools all die stops, and says of what; it does not go on with rewards of zero."""
    learner.table.sampler = Speaker(sure)
    learner.table.executor = Failing(lambda name: True)
    config = settings(mode=mode, refill_groups=refill)
    with pytest.raises(FoundryError, match=r"not one response of this step could be scored: .*the worker was killed"):
        run(learner, [spec(n) for n in range(4)], config, tmp_path)


def test_a_sampler_that_breaks_is_named(learner, tmp_path):
    """What the model raises while collecting is the cause that is shown."""

    def broken(prompt, rng):
        raise FoundryError("the model gives NaN: its weights are broken, or training has diverged")

    learner.table.sampler = Speaker(broken)
    with pytest.raises(FoundryError, match="the model gives NaN"):
        run(learner, [spec(0)], settings(), tmp_path)


def test_no_environments(learner, tmp_path):
    """Nothing to train on is said at once."""
    with pytest.raises(InputError, match="environments: found none"):
        run(learner, [], settings(), tmp_path)


# --- rounds --------------------------------------------------------------------------------------------------------


def test_every_prompt_of_a_round_is_used_once(learner, tmp_path, learned_from):
    """Steps of full size, and a last one where at least half of it is left."""
    learner.table.sampler = Speaker(sure)  # 3 prefixes an environment
    for environments, sizes in ((4, [4, 4, 4]), (5, [4, 4, 4, 3]), (7, [4, 4, 4, 4, 4]), (1, [3])):
        specs = [spec(n) for n in range(environments)]
        rows, state = run(learner, specs, settings(), tmp_path / str(environments))
        assert [row["groups"] for row in rows] == sizes
        assert state == State(step=len(sizes), round=1)


def test_one_prompt_a_step(learner, tmp_path):
    """The smallest step there is ends when the prompts do."""
    learner.table.sampler = Speaker(sure)
    rows, _ = run(learner, [spec(0)], settings(prompts_per_step=1), tmp_path)
    assert [row["groups"] for row in rows] == [1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"rounds": 2}, [(0, 1), (0, 2), (0, 3), (1, 4), (1, 5), (1, 6)]),
        ({"rounds": 3, "steps_per_round": 1}, [(0, 1), (1, 2), (2, 3)]),
        ({"rounds": 2, "max_steps": 4}, [(0, 1), (0, 2), (0, 3), (1, 4)]),
        ({"rounds": 3, "mode": "episode"}, [(0, 1), (1, 2), (2, 3)]),
    ],
    ids=str,
)
def test_rounds_and_limits(learner, tmp_path, changes, steps):
    """A run ends after its rounds, or at `max_steps`; a round after its prompts, or at `steps_per_round`."""
    learner.table.sampler = Speaker(sure)
    rows, state = run(learner, [spec(n) for n in range(4)], settings(**changes), tmp_path)
    assert [(row["round"], row["step"]) for row in rows] == steps
    assert state.step == len(steps)


def test_environments_are_drawn_evenly():
    """With `round_environments` every environment comes once before any comes twice, in another order each time."""
    specs = [spec(n) for n in range(6)]
    config = settings(round_environments=4)
    drawn = [one.id for round_ in range(3) for one in draw_environments(specs, config, State(round=round_))]
    assert len(drawn) == 12
    assert sorted(drawn[:6]) == sorted(drawn[6:]) == sorted(one.id for one in specs)
    assert drawn[:6] != drawn[6:]
    assert len(draw_environments(specs[:3], settings(round_environments=7), State())) == 7


def test_environments_outside_the_pass_rate_are_not_trained_on(learner, tmp_path):
    """What was always solved gives no prompts; in the next round the others are played first."""

    def some_solved(prompt, rng):
        if int(prompt.rpartition("Which town? (")[2].split(")")[0]) < 4:
            return gold(prompt)
        return AUTHOR if rng.random() < 0.6 and "Mira Olsen" not in prompt.rpartition("<tools>")[2] else LOST

    learner.table.sampler = Speaker(some_solved)
    specs = [spec(n) for n in range(8)]
    hard = {one.id for one in specs[4:]}
    config = settings(rounds=3, pass_rate=(0.0, 0.99), round_environments=6, prompts_per_step=2, max_prompt_tokens=2000)
    rows, state = run(learner, specs, config, tmp_path)
    played = [list(read(tmp_path / "rounds" / f"{n:03d}.jsonl", Trajectory)) for n in range(3)]
    known = {}
    for round_, trajectories in enumerate(played):
        for trajectory in trajectories:
            known.setdefault(trajectory.task.spec_id, []).append(trajectory_value(trajectory))
        inside = {i for i, scores in known.items() if 0 < sum(scores[-4:]) / len(scores[-4:]) < 0.99}
        assert inside <= hard
        trained = sum(row["groups"] for row in rows if row["round"] == round_)
        prompts = sum(len(rounds.prefixes(t)) for t in trajectories if t.task.spec_id in inside)
        assert trained == prompts
    assert dict(state.pass_rates["scores"]) == {i: scores[-4:] for i, scores in known.items()}


def test_pass_rates_belong_to_prefixes():
    """In mode episode they would do nothing: said when the configuration is made."""
    with pytest.raises(ValueError, match="pass_rate") as caught:
        settings(mode="episode", pass_rate=(0.1, 0.9))
    assert isinstance(caught.value.errors()[0]["ctx"]["error"], RecordError)


# --- going on ------------------------------------------------------------------------------------------------------

TIMES = ("time", "cpu_s")


class Killed(Exception):
    pass


INTERRUPTED = {
    "pass_rate": {"pass_rate": (0.1, 0.99), "round_environments": 5},
    "episode": {"mode": "episode", "steps_per_round": 2, "rounds": 3},
    "refill": {"refill_groups": True, "steps_per_round": 3},
}


@pytest.fixture(scope="module")
def uninterrupted(network, tmp_path_factory):
    """By name in `INTERRUPTED`: the configuration, and the metrics, state and model of a run of it."""
    found = {}
    for name, changes in INTERRUPTED.items():
        config = settings(**{"rounds": 2, "save_every": 2, "prompts_per_step": 2, **changes})
        table = Table(Speaker(wavering), DIALECT, CannedExecutor(TABLE))
        learner = Learner(copy.deepcopy(network), TOKENIZER, table)
        found[name] = (config, *run(learner, SEVEN, config, tmp_path_factory.mktemp("whole") / "run"), learner.model)
    return found


SEVEN = [spec(n) for n in range(7)]


@pytest.mark.parametrize("killed_at", [1, 3, 4, 5])
@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_interrupted_run_goes_on_exactly(network, uninterrupted, tmp_path, name, killed_at):
    """Whatever step it was interrupted at, in the middle of a round or at its end, a run that is gone on with has the
    metrics, the state and the weights of one that was not interrupted."""
    config, rows, state, model = uninterrupted[name]
    assert len(rows) > killed_at

    def kill(row):
        if row["step"] == killed_at:
            raise Killed

    table = Table(Speaker(wavering), DIALECT, CannedExecutor(TABLE))
    with pytest.raises(Killed):
        run(Learner(copy.deepcopy(network), TOKENIZER, table), SEVEN, config, tmp_path, kill)
    found = RunFolder(tmp_path).newest()
    resumed = copy.deepcopy(network)
    if found is not None:
        resumed.load_state_dict(load_policy(str(found[0])).model.state_dict())
    again, end = run(Learner(resumed, TOKENIZER, table), SEVEN, config, tmp_path, resume=True)
    bare = [[{k: v for k, v in row.items() if k not in TIMES} for row in part] for part in (rows, again)]
    assert bare[0] == bare[1]
    assert end == state
    for key, weight in model.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[key]), key


def test_the_schedule_is_one_of_updates(learner, tmp_path):
    """A trapezoid over 4 steps of 2 updates each begins to fall after 4 updates and ends at the last."""
    config = settings(max_steps=4, rounds=9, mode="episode", prompts_per_update=2, schedule="trapezoid")
    rows, _ = run(learner, [spec(n) for n in range(4)], config, tmp_path)
    assert [row["updates"] for row in rows] == [2, 2, 2, 2]
    assert [row["learning_rate_factor"] for row in rows] == pytest.approx([1.0, 1.0, 0.5, 0.02])


def test_seeds_make_the_difference(learner, tmp_path):
    """Another seed, other responses."""
    specs = [spec(n) for n in range(4)]
    one, _ = run(copy.deepcopy(learner), specs, settings(seed=derive_seed("a")), tmp_path / "a")
    other, _ = run(copy.deepcopy(learner), specs, settings(seed=derive_seed("b")), tmp_path / "b")
    assert [row["reward"] for row in one] != [row["reward"] for row in other]
