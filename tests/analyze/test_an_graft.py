"""Grafts: the right tensors go over and come back, and the share of the gain that travels is counted right."""

import asyncio
import json

import pytest

pytest.importorskip("torch", reason="needs the extra train")

import torch

from fakes import TABLE, CannedExecutor, capital_spec
from tiny_sets import drafts, spec_of
from toolfoundry.analyze.graft import measure_grafts, paired, parse_part, swapped, travelled
from toolfoundry.analyze.graft_report import summary_sentences, to_markdown
from toolfoundry.errors import InputError
from toolfoundry.policies.scripted import make
from toolfoundry.rollout import Job, run_rollouts
from toolfoundry.store import RecordWriter
from toolfoundry.types import EnvSpec, Trajectory

torch.set_num_threads(1)


def small_model(seed, layers=6):
    """A Qwen3 decoder with tied weights, all of them random."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=20, hidden_size=8, intermediate_size=16, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=1, head_dim=4, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter.data)
    return model


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def from_trained(base, trained, part):
    """The names that differ from the base after a graft; checks that all of them are the trained model's."""
    was, other = state(base), state(trained)
    with swapped(base, trained, parse_part(part)):
        now, deprived = state(base), state(trained)
    names = {name for name in was if not torch.equal(now[name], was[name])}
    assert all(torch.equal(now[name], other[name]) for name in names)
    assert all(torch.equal(deprived[name], was[name] if name in names else other[name]) for name in was)
    assert all(torch.equal(tensor, was[name]) for name, tensor in state(base).items()), "not put back"
    return names


def test_everything_makes_the_trained_model():
    """All of it: every tensor is the trained model's, tied ones too, and the trained one is the base."""
    base, trained = small_model(1), small_model(2)
    assert from_trained(base, trained, "all") == set(base.state_dict())


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("mlp:lowest-third", {f"{n}.mlp" for n in (0, 1)}),
        ("mlp:middle-third", {f"{n}.mlp" for n in (2, 3)}),
        ("attention:highest-third", {f"{n}.self_attn" for n in (4, 5)}),
        ("mlp,attention:5", {"5.mlp", "5.self_attn"}),
        ("mlp:1-3", {"1.mlp", "2.mlp", "3.mlp"}),
        ("attention:all", {f"{n}.self_attn" for n in range(6)}),
    ],
)
def test_parts(part, expected):
    """Modules and layers as they are named, and nothing else."""
    names = from_trained(small_model(1), small_model(2), part)
    assert {".".join(name.split(".")[2:4]) for name in names} == expected
    assert not any("norm" in name for name in names)


def test_norms_embeddings_and_whole_layers():
    """Norms are those of the layers and the last; the head goes with the embeddings; `all:0` leaves both outside."""
    base, trained = small_model(1), small_model(2)
    assert len(from_trained(base, trained, "norms")) == 6 * 4 + 1
    assert from_trained(base, trained, "embeddings") == {"model.embed_tokens.weight", "lm_head.weight"}
    assert {name.split(".")[2] for name in from_trained(base, trained, "all:0")} == {"0"}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("heads", "found module 'heads', expected mlp, attention, norms, embeddings or all"),
        ("", "found module ''"),
        ("mlp:low", "found layers 'low'"),
        ("mlp:", "found layers ''"),
        ("mlp:1-", "found layers '1-'"),
        ("mlp:-1", "found layers '-1'"),
    ],
)
def test_parts_that_are_none(part, message):
    """What was found and what was expected."""
    with pytest.raises(InputError, match=message):
        parse_part(part)


def test_empty_parts_and_other_models():
    """A layer that the model does not have, layers of what has none, models of another size: nothing is played."""
    base = small_model(1)
    for part, other, message in (
        ("mlp:6-9", small_model(2), "found no such tensors in a model of 6 layers"),
        ("embeddings:0", small_model(2), "found no such tensors"),
        ("mlp", small_model(2, layers=5), "differ in 11 tensors"),
    ):
        with pytest.raises(InputError, match=message):
            measure_grafts(base, other, [parse_part(part)], lambda *_: pytest.fail("played"))


def test_models_come_back_after_a_failure():
    """What fails while a part is swapped leaves both models as they were."""
    base, trained = small_model(1), small_model(2)
    was = state(base)

    def fail():
        with swapped(base, trained, parse_part("mlp")):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert all(torch.equal(tensor, was[name]) for name, tensor in state(base).items())


# --- what travels --------------------------------------------------------------------------------------------------


def players(specs):
    """A player that is as good as its MLP of layer 0: gold where it is that of the trained model (seed 2)."""
    sign = small_model(2).model.layers[0].mlp.up_proj.weight.clone()
    played = []

    def play(model, name):
        good = torch.equal(model.model.layers[0].mlp.up_proj.weight, sign)
        played.append(name)

        async def gather():
            jobs = [Job(spec, 0) for spec in specs]
            policy = "gold" if good else "silent"
            executor = CannedExecutor(TABLE)
            found = [t async for t in run_rollouts(jobs, lambda spec, _: make(policy, spec), executor, name=name)]
            return sorted(found, key=lambda t: [spec.id for spec in specs].index(t.task.spec_id))

        return asyncio.run(gather())

    return play, played


def test_the_part_that_carries_the_gain_is_told_from_one_that_does_not():
    """The skill sits in one MLP: with it all of the gain travels and without it all is lost, with any other none."""
    specs = [capital_spec(number) for number in range(6)]
    play, played = players(specs)
    parts = [parse_part(text) for text in ("mlp:0", "attention", "mlp:1-5")]
    grafts = measure_grafts(small_model(1), small_model(2), parts, play)
    assert (grafts.base["solve_f1"].mean, grafts.trained["solve_f1"].mean) == (0.0, 1.0)
    carrying, *others = grafts.grafts
    assert (carrying.in_base["solve_f1"].mean, carrying.in_trained["solve_f1"].mean) == (1.0, 0.0)
    assert (carrying.brings["solve_f1"].share, carrying.costs["solve_f1"].share) == (1.0, 1.0)
    for other in others:
        assert (other.brings["solve_f1"].share, other.costs["solve_f1"].share) == (0.0, 0.0)
        assert (other.in_base["solve_f1"].mean, other.in_trained["solve_f1"].mean) == (0.0, 1.0)
    assert played == [
        "base",
        "trained",
        *(f"{a} {p.text}" for p in parts for a in ("base with trained", "trained with base")),
    ]
    assert carrying.parameters == pytest.approx(3 * 8 * 16 / sum(p.numel() for p in small_model(1).parameters()))
    assert "mlp:0" in summary_sentences(grafts)[2]
    assert "| mlp:0 |" in to_markdown(grafts, "b", "a", "envs")


def test_paired_differences():
    """By hand: gaps .5, .5, 0, 1 (mean .5, deviation .408, standard error .204, t(3) = 3.182); others are left out."""
    found = paired([0.0, 0.5, 1.0, 0.0, None, 0.3], [0.5, 1.0, 1.0, 1.0, 1.0, None])
    assert (found.mean, found.n) == (0.5, 4)
    assert (found.low, found.high) == pytest.approx((0.5 - 3.182446 * 0.204124, 0.5 + 3.182446 * 0.204124), abs=1e-5)
    alone = paired([None, 1.0], [1.0, 1.5])
    assert (alone.mean, alone.low, alone.high, alone.n) == (0.5, None, None, 1)
    assert paired([None], [1.0]).mean is None


def test_shares_of_the_gain():
    """Half of each gap travels: one half, whatever is drawn. A gain that may be 0 has no shares."""
    base, trained = [0.0, 0.2, 0.4, 0.1] * 5, [0.8, 0.6, 1.0, 0.9] * 5
    grafted = [(b + t) / 2 for b, t in zip(base, trained, strict=True)]
    found = travelled(base, grafted, base, trained)
    assert (found.share, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    noisy = travelled(base, [0.8, 0.2, 0.4, 0.1] * 5, base, trained)
    assert noisy.low < noisy.share < noisy.high
    assert noisy == travelled(base, [0.8, 0.2, 0.4, 0.1] * 5, base, trained)
    even = travelled([0.0, 1.0] * 5, [0.5, 0.5] * 5, [0.0, 1.0] * 5, [1.0, 0.0] * 5)
    assert (even.share, even.low, even.high, even.difference.mean) == (None, None, None, 0.0)


def test_the_command(tmp_path, run):
    """The package's policy against one with other MLPs: `all` travels wholly, the files are there, in either form."""
    from toolfoundry.policies.transformers import load_policy

    policy = load_policy("tiny")
    with torch.no_grad():
        for layer in policy.model.model.layers:
            layer.mlp.down_proj.weight.mul_(0)
    policy.model.save_pretrained(tmp_path / "broken")
    policy.tokenizer.save_pretrained(tmp_path / "broken")
    with RecordWriter(tmp_path / "envs.jsonl", EnvSpec) as writer:
        for draft in drafts(4):
            writer.write(spec_of(draft))
    arguments = [tmp_path / "broken", "tiny", "--envs", tmp_path / "envs.jsonl", "--max-turns", "3"]
    arguments += ["--max-tokens", "48", "-o", tmp_path / "out"]
    code, out, err = run("analyze", "graft", *arguments, "--part", "all", "--part", "mlp:lowest-third", "--json")
    assert code == 0, err
    document = json.loads(out)
    whole, third = document["grafts"]
    assert whole["in_base"] == document["trained"]
    assert whole["in_trained"] == document["base"]
    assert (whole["parameters"], third["part"]) == (1.0, "mlp:lowest-third")
    assert (document["environments"], document["toolfoundry"]) == (4, "grafts")
    assert json.loads((tmp_path / "out" / "grafts.json").read_text()) == document
    assert "# Which part carries the gain" in (tmp_path / "out" / "grafts.md").read_text()
    from toolfoundry.store import read

    names = [next(read(path, Trajectory)).policy for path in sorted((tmp_path / "out").glob("*.jsonl"))]
    assert names == [
        "base with trained all", "base with trained mlp:lowest-third", "base",
        "trained with base all", "trained with base mlp:lowest-third", "trained",
    ]  # fmt: skip
    code, _, err = run("analyze", "graft", *arguments, "--part", "mlp")
    assert (code, "--force" in err) == (6, True)
    code, _, err = run("analyze", "graft", *arguments, "--part", "brain", "--force")
    assert (code, "found module 'brain'" in err) == (3, True)
