"""The policy under training plays: the same again from the same seeds, every response scored or unscored for a reason,
and with the log-probabilities that the trainer finds."""

import copy
import random

import pytest

pytest.importorskip("torch", reason="needs the extra train")

import torch

from fakes import TABLE, CannedExecutor, assistant, call, capital_spec
from toolfoundry.chat import chat_format
from toolfoundry.policies.sampling import Sampled
from toolfoundry.policies.transformers import HFCodec, TransformersSampler
from toolfoundry.reward import score_trajectory
from toolfoundry.samples import Sample, episode_samples, prefixes
from toolfoundry.tokens import Dialect
from toolfoundry.train.loop import collate, target_logits, token_logprobs
from toolfoundry.train.play import Clock, Table
from toolfoundry.train.tiny.model import Size, build_model
from toolfoundry.train.tiny.tokenizer import build_tokenizer
from toolfoundry.types import EnvSpec, Goal, Limits, Message, Provenance, Scenario, Tool, ToolSchema

HERMES = chat_format("hermes")
TOKENIZER = build_tokenizer()
CODEC = HFCodec(TOKENIZER, HERMES.end_tokens)
DIALECT = Dialect(HERMES, CODEC)
SPECS = [capital_spec(n, prompt=(Message(role="user", content=f"Which town? ({n})"),)) for n in range(3)]
BY_ID = {spec.id: spec for spec in SPECS}

AUTHOR, TOWN = assistant("", call("author_of", "Tides")), assistant("", call("town_of", "Mira Olsen"))
VELDEN = assistant("<answer>Velden</answer>")


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    model = build_model(TOKENIZER, Size(hidden=32, layers=2, heads=2)).eval()
    with torch.no_grad():  # sharper than at random, so that temperatures differ
        model.model.norm.weight *= 8
    return model


class Gold:
    """Solves the task; the log-probabilities are its own affair."""

    def sample(self, requests, *, max_tokens, temperature):
        spoken = []
        for request in requests:
            said = CODEC.decode(request.prompt_ids).rpartition("<tools>")[2]
            ids = DIALECT.spell(VELDEN if "Velden" in said else TOWN if "Mira Olsen" in said else AUTHOR)
            spoken.append(Sampled(ids, [-1.0] * len(ids)))
        return spoken


class Opened:
    """Says the gold calls first and then lets the model speak: conversations of several turns, the last one sampled."""

    def __init__(self, sampler, model):
        self.sampler, self.gold, self.model = sampler, Gold(), model

    def sample(self, requests, *, max_tokens, temperature):
        free = self.sampler.sample(requests, max_tokens=max_tokens, temperature=temperature)
        gold = self.gold.sample(requests, max_tokens=max_tokens, temperature=temperature)
        spoken = []
        for request, own, known in zip(requests, free, gold, strict=True):
            if "Velden" in CODEC.decode(request.prompt_ids).rpartition("<tools>")[2]:
                spoken.append(own)
                continue
            ids = torch.tensor([[*request.prompt_ids, *known.token_ids]])
            logits = self.model(ids).logits[0, len(request.prompt_ids) - 1 : -1] / temperature
            logprobs = torch.log_softmax(logits, -1).gather(1, torch.tensor(known.token_ids)[:, None])[:, 0]
            spoken.append(Sampled(known.token_ids, logprobs.tolist()))
        return spoken


def trainer_logprobs(model, samples, temperature):
    with torch.no_grad():
        logits, targets = target_logits(model, collate(samples, 0))
        return token_logprobs(logits, targets, temperature)[0]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_responses_have_the_trainers_log_probabilities(model, temperature):
    """At any temperature the ratio of the first update is 1 within 1e-4, for prefixes of every length, in groups."""
    gold = Table(Gold(), DIALECT, CannedExecutor(TABLE)).episodes(SPECS, temperature=1.0, seed=("g",))
    starts = [prefix for trajectory in gold for prefix in prefixes(trajectory)]
    assert {len(prefix.messages) for prefix in starts} == {1, 3, 5}
    sampler = TransformersSampler(model, CODEC.end_ids)
    table = Table(sampler, DIALECT, CannedExecutor(TABLE), max_tokens=12)
    answered = table.responses(starts, BY_ID, group_size=4, temperature=temperature, seed=("s", 1))
    samples = [
        Sample(
            key=one.prefix.key,
            group=one.prefix.key,
            token_ids=(*one.prompt.ids, *one.sampled.token_ids),
            mask=(False,) * len(one.prompt.ids) + (True,) * len(one.sampled.token_ids),
        )
        for one in answered
    ]
    sampled = torch.tensor([value for one in answered for value in one.sampled.logprobs])
    ratio = torch.exp(trainer_logprobs(model, samples, temperature) - sampled)
    assert len(ratio) > 200
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-4, rtol=0)
    other = torch.exp(trainer_logprobs(model, samples, 1.7 - temperature) - sampled)
    assert (other - 1).abs().max() > 0.1  # so the temperature matters here


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_episodes_have_the_trainers_log_probabilities(model, temperature):
    """The same for whole episodes of several turns, in which tool results stand between what was sampled."""
    sampler = Opened(TransformersSampler(model, CODEC.end_ids), model)
    table = Table(sampler, DIALECT, CannedExecutor(TABLE), max_tokens=12)
    played = table.episodes(SPECS, samples=3, temperature=temperature, seed=("e", 1))
    assert all(len(trajectory.turns) >= 3 for trajectory in played)
    samples = []
    for trajectory in played:
        tools = [tool.signature for tool in BY_ID[trajectory.task.spec_id].tools]
        samples += episode_samples(trajectory, tools, DIALECT)
    assert len(samples) == len(played)
    sampled = torch.tensor([value for sample in samples for value in sample.logprobs])
    ratio = torch.exp(trainer_logprobs(model, samples, temperature) - sampled)
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-4, rtol=0)


def test_sampling_leaves_the_model_as_it_is(model):
    """Mode and weights are those of before: the trainer's model is played with, not a copy."""
    trained = copy.deepcopy(model).train()
    before = copy.deepcopy(trained.state_dict())
    table = Table(TransformersSampler(trained, CODEC.end_ids), DIALECT, CannedExecutor(TABLE), max_tokens=4)
    table.episodes(SPECS, temperature=1.0, seed=("e",))
    assert trained.training
    for name, weight in trained.state_dict().items():
        assert torch.equal(weight, before[name])


def test_episodes_in_the_order_of_the_environments(model):
    """So many trajectories of each, in order; the same for the same seed, others for another, one at a time too."""
    table = Table(TransformersSampler(model, CODEC.end_ids), DIALECT, CannedExecutor(TABLE), max_tokens=8)
    played = table.episodes(SPECS, samples=2, temperature=1.0, seed=("e", 1), name="mine")
    assert [t.key for t in played] == [f"{spec.id}/mine/{n}" for spec in SPECS for n in range(2)]
    assert table.episodes(SPECS, samples=2, temperature=1.0, seed=("e", 1), name="mine") == played
    other = table.episodes(SPECS, samples=2, temperature=1.0, seed=("e", 2), name="mine")
    assert all(a.turns != b.turns for a, b in zip(played, other, strict=True))
    assert len({t.turns[0].completion.token_ids for t in played}) == 6


def test_responses_in_groups(model):
    """Group after group, each to its own prefix, no two alike at temperature 1, and all alike when greedy."""
    gold = Table(Gold(), DIALECT, CannedExecutor(TABLE)).episodes(SPECS, temperature=1.0, seed=("g",))
    starts = [prefixes(trajectory)[0] for trajectory in gold]
    table = Table(TransformersSampler(model, CODEC.end_ids), DIALECT, CannedExecutor(TABLE), max_tokens=8)
    options = {"group_size": 3, "seed": ("s", 1)}
    answered = table.responses(starts, BY_ID, temperature=1.0, **options)
    assert [one.prefix.key for one in answered] == [prefix.key for prefix in starts for _ in range(3)]
    assert len({tuple(one.sampled.token_ids) for one in answered}) == 9
    assert table.responses(starts, BY_ID, temperature=1.0, **options) == answered
    greedy = table.responses(starts, BY_ID, temperature=0.0, **options)
    assert len({tuple(one.sampled.token_ids) for one in greedy}) <= 3


def test_a_response_is_read_and_scored_as_in_a_rollout(model):
    """The message is that of the sampled ids, its calls numbered on from the prefix, the reward that of the turn."""
    table = Table(Gold(), DIALECT, CannedExecutor(TABLE))
    [played] = table.episodes(SPECS[:1], temperature=1.0, seed=("g",))
    answered = table.responses(prefixes(played), BY_ID, group_size=1, temperature=1.0, seed=("s",))
    assert [one.message for one in answered] == [turn.completion.message for turn in played.turns]
    assert [one.scored.graded.reward for one in answered] == [turn.reward for turn in played.turns]
    assert [one.prompt.ids for one in answered] == [table.prompt(prefix, BY_ID).ids for prefix in prefixes(played)]
    assert [c.id for one in answered for c in one.message.tool_calls] == ["call_0", "call_1"]
    assert score_trajectory(played).value == 1.0


def test_limits_reach_the_rollout(model):
    """`max_turns` and `max_tokens` are those of the table."""
    table = Table(Gold(), DIALECT, CannedExecutor(TABLE), limits=Limits(max_turns=1))
    [played] = table.episodes(SPECS[:1], temperature=1.0, seed=("g",))
    assert (len(played.turns), played.stop) == (1, "max_turns")
    short = Table(TransformersSampler(model, CODEC.end_ids), DIALECT, CannedExecutor(TABLE), max_tokens=3)
    lengths = {len(t.turns[0].completion.token_ids) for t in short.episodes(SPECS, temperature=1.0, seed=("g",))}
    assert max(lengths) <= 3


def dying_spec(source):
    """An environment whose only tool is `source`."""
    schema = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
    return EnvSpec.create(
        scenario=Scenario(question="Who wrote Tides?", answer=capital_spec().goals[0].answer),
        tools=(Tool(signature=ToolSchema(name="author_of", description="", parameters=schema), source=source),),
        goals=(Goal(id="g1", tool="author_of", answer=capital_spec().goals[0].answer),),
        gold_calls=(call("author_of", "Tides", id="g1"),),
        provenance=Provenance(source="test"),
    )


@pytest.mark.parametrize(
    "body",
    ["while True:\n        pass", "return author_of(x)", "return 'x' * 10**10", "import os\n    os._exit(1)"],
    ids=["hangs", "recurses", "eats memory", "exits"],
)
def test_tools_that_die_do_not_take_the_step_along(sandbox, body):
    """Whatever a tool does to its worker, the response that called it reads an error and solves nothing; the response
    beside it, which called a sound tool, has its reward."""
    bad, good = (
        dying_spec(f"def author_of(x):\n    {body}\n"),
        dying_spec("def author_of(x):\n    return 'Mira Olsen'\n"),
    )
    by_id = {bad.id: bad, good.id: good}
    table = Table(Gold(), DIALECT, sandbox, limits=Limits(max_turns=1))
    starts = [prefixes(t)[0] for t in table.episodes([bad, good], temperature=1.0, seed=("g",))]
    first, second = table.responses(starts, by_id, group_size=1, temperature=1.0, seed=("s",))
    assert second.scored.graded.reward.value == 1.0
    assert first.scored.graded.reward.solved == 0
    assert first.scored.results[0].error


def test_the_clock_counts_what_it_is_told():
    """Laps add up by name, and time is CPU time of this process."""
    clock = Clock()
    random.Random(0).randbytes(20_000_000)
    clock.lap("busy")
    clock.lap("idle")
    clock.lap("busy")
    assert clock.spent["busy"] > clock.spent["idle"] >= 0
    assert list(clock.spent) == ["busy", "idle"]
