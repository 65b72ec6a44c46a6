"""Our loop computes the loss that its docstring states, and what it leaves out for speed changes nothing."""

import copy
import math
import random

import pytest

pytest.importorskip("torch", reason="needs the extra train")

import torch
from safetensors.torch import load_file, save_file

from toolfoundry.errors import FoundryError
from toolfoundry.samples import Sample
from toolfoundry.train import loop
from toolfoundry.train.config import TrainConfig
from toolfoundry.train.loop import Optimizer, collate, imitate, improve, shuffled_batches, target_logits
from train.toy_model import toy_model

PAD = 0


@pytest.fixture(scope="module")
def network():
    """A random network of the Qwen3 class, which no test changes."""
    return toy_model(hidden=16, layers=1)[0]


@pytest.fixture
def model(network):
    return copy.deepcopy(network)


class Gradients:
    """In place of an optimizer: keeps the gradients of each update and leaves the weights as they are."""

    def __init__(self, model):
        self.model, self.found, self.steps = model, [], 0

    def step(self):
        self.found.append({name: p.grad.clone() for name, p in self.model.named_parameters()})
        self.model.zero_grad()
        self.steps += 1
        return 1.0


def settings(**changes):
    fields = {"kl_coefficient": 0.0, "entropy_coefficient": 0.0, "prompts_per_update": None, "weight_decay": 0.0}
    return TrainConfig(**{**fields, **changes})


def samples_of(model, count=6, seed=0, temperature=1.0):
    """Samples of unlike lengths in groups of two with one prompt, some with two masked spans; stored log-probabilities
    are near those of the model, so that ratios lie on both sides of the clip."""
    rng = random.Random(seed)
    samples = []
    for index in range(count):
        spans = [(3, 3 + rng.randrange(1, 6)), (12, 12 + rng.randrange(1, 9))][: 1 + index % 2]
        length = spans[-1][1] + (2 if index == 1 else 0)
        mask = [any(start <= at < end for start, end in spans) for at in range(length)]
        ids = [7, 8, 9 + index // 2] + [rng.randrange(1, 256) for _ in range(length - 3)]
        logprobs = torch.log_softmax(model(torch.tensor([ids])).logits[0].float() / temperature, -1)
        known = [logprobs[at - 1, ids[at]].item() for at in range(length) if mask[at]]
        samples.append(
            Sample(
                key=str(index),
                group=str(index // 2),
                token_ids=ids,
                mask=mask,
                logprobs=[value + rng.uniform(-0.6, 0.6) for value in known],
                advantages=[rng.choice([-2.0, -0.5, 0.7, 1.5])] * len(known),
            )
        )
    return samples


def objective(model, reference, samples, config):
    """The loss, sample by sample and token by token, as a value that can be differentiated; and the clipped tokens."""
    total, clipped = 0, 0
    tokens = sum(len(sample.advantages) for sample in samples)
    for sample in samples:
        ids = torch.tensor([sample.token_ids])
        logits = model(ids).logits[0].float() / config.temperature
        places = [at for at, chosen in enumerate(sample.mask) if chosen]
        share = 1 / (len(places) * len(samples)) if config.loss_mean == "sequence" else 1 / tokens
        for at, old, advantage in zip(places, sample.logprobs, sample.advantages, strict=True):
            logprobs = torch.log_softmax(logits[at - 1], -1)
            new = logprobs[sample.token_ids[at]]
            ratio = (new - old).exp()
            bounded = torch.tensor(min(max(ratio.item(), 1 - config.clip), 1 + config.clip) * advantage)
            gain = min(ratio * advantage, bounded, key=lambda value: value.item())
            if advantage < 0 and config.dual_clip is not None:
                gain = max(gain, torch.tensor(config.dual_clip * advantage), key=lambda value: value.item())
            loss = -gain
            clipped += abs(ratio.item() - 1) > config.clip
            if config.kl_coefficient:
                with torch.no_grad():
                    ref = torch.log_softmax(reference(ids).logits[0, at - 1].float() / config.temperature, -1)
                gap = ref[sample.token_ids[at]] - new
                loss = loss + config.kl_coefficient * (gap.exp() - gap - 1)
            loss = loss - config.entropy_coefficient * -(logprobs.exp() * logprobs).sum()
            total = total + share * loss
    return total, clipped


def assert_same_gradients(one, other, atol=1e-6):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=atol, rtol=1e-4, msg=name)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss_mean": "sequence"},
        {"loss_mean": "token", "dual_clip": None},
        {"loss_mean": "sequence", "dual_clip": 1.05, "clip": 0.1},
        {"loss_mean": "token", "kl_coefficient": 0.5, "entropy_coefficient": 0.05},
        {"loss_mean": "sequence", "kl_coefficient": 0.1, "entropy_coefficient": 0.01, "temperature": 0.7},
    ],
    ids=lambda changes: " ".join(f"{name}={value}" for name, value in changes.items()),
)
def test_loss_and_gradient_are_those_of_the_formula(model, changes):
    """PPO's clip, the dual clip, k3, entropy and both means, recomputed token by token: changing this changes
    training."""
    config = settings(**changes)
    reference = toy_model(hidden=16, layers=1, seed=1)[0] if config.kl_coefficient else None
    samples = samples_of(model, temperature=config.temperature)
    expected, clipped = objective(model, reference, samples, config)
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    taken = Gradients(model)
    stats = improve(model, reference, taken, samples, config, PAD)
    assert stats.loss == pytest.approx(expected.item(), abs=1e-5)
    assert stats.clipped == pytest.approx(clipped / sum(len(s.advantages) for s in samples))
    assert stats.clipped > 0.2
    assert_same_gradients(taken.found[0], gradients)


def test_the_dual_clip_bounds_what_a_bad_token_costs(model):
    """With a negative advantage and a ratio far above, the loss is dual_clip times the advantage, and has no
    gradient."""
    [sample] = samples_of(model, 1)
    unlikely = sample.model_copy(
        update={
            "logprobs": tuple(value - 5 for value in sample.logprobs),
            "advantages": tuple(-1.0 for _ in sample.advantages),
        }
    )
    taken = Gradients(model)
    stats = improve(model, None, taken, [unlikely], settings(dual_clip=3.0), PAD)
    assert stats.loss == pytest.approx(3.0)
    assert not any(gradient.any() for gradient in taken.found[0].values())


def test_on_policy_the_ratio_is_one(model):
    """With the model's own log-probabilities the gradient is REINFORCE's: advantage times the score."""
    samples = samples_of(model, 4)
    own = []
    for sample in samples:
        logits, targets = target_logits(model, collate([sample], PAD))
        values = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
        own.append(sample.model_copy(update={"logprobs": tuple(values.tolist())}))
    tokens = sum(len(sample.advantages) for sample in own)
    taken = Gradients(model)
    assert improve(model, None, taken, own, settings(loss_mean="token"), PAD).clipped == 0
    for sample in own:
        logits, targets = target_logits(model, collate([sample], PAD))
        values = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
        (-(values * torch.tensor(sample.advantages)).sum() / tokens).backward()
    assert_same_gradients(taken.found[0], {name: p.grad for name, p in model.named_parameters()})


def test_chunks_add_up(model, monkeypatch):
    """A part that is cut into chunks for memory has the gradient of the whole."""
    samples = samples_of(model)
    taken = Gradients(model)
    config = settings(kl_coefficient=0.1, entropy_coefficient=0.01)
    reference = toy_model(hidden=16, layers=1, seed=1)[0]
    whole = improve(model, reference, taken, samples, config, PAD)
    monkeypatch.setattr(loop, "_CHUNK", 1)
    pieces = improve(model, reference, taken, samples, config, PAD)
    assert_same_gradients(*taken.found)
    assert pieces == pytest.approx(whole, abs=1e-6)


def test_a_shared_prompt_changes_nothing(model, monkeypatch):
    """Samples with one prompt stand in one row, up to its limit; each has the logits that it has alone."""
    samples = samples_of(model)
    alone = torch.cat([target_logits(model, collate([sample], PAD))[0] for sample in samples])
    for limit, rows in ((2048, 3), (0, 6)):
        monkeypatch.setattr(loop, "_ROW", limit)
        batch = collate(samples, PAD)
        assert len(batch.ids) == rows
        together, targets = target_logits(model, batch)
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
        wanted = [t for s in samples for t, chosen in zip(s.token_ids, s.mask, strict=True) if chosen]
        assert targets.tolist() == wanted
    deaf = collate(samples[:2], PAD)  # if the second saw the first, its logits would be others
    other = samples[0].model_copy(update={"token_ids": (*samples[0].token_ids[:3], 5, *samples[0].token_ids[4:])})
    changed = collate([other, samples[1]], PAD)
    own = slice(sum(samples[0].mask), None)
    torch.testing.assert_close(target_logits(model, deaf)[0][own], target_logits(model, changed)[0][own])


def test_samples_without_advantage_count_in_the_mean_alone(model):
    """They are not passed through the network, and the gradient is as if they were."""
    samples = samples_of(model)
    samples[2] = samples[2].model_copy(update={"advantages": (0.0,) * len(samples[2].advantages)})
    taken = Gradients(model)
    for mean in ("sequence", "token"):
        config = settings(loss_mean=mean)
        stats = improve(model, None, taken, samples, config, PAD)
        assert (stats.trained, stats.updates) == (5, 1)
        expected, _ = objective(model, None, samples, config)
        expected.backward()
        assert_same_gradients(taken.found.pop(), {name: p.grad for name, p in model.named_parameters()})
        model.zero_grad()


def test_padding_has_no_part_in_it(model):
    """Which id fills up a batch, and how much of it, changes neither logits nor gradients."""
    samples = samples_of(model)
    taken = Gradients(model)
    for pad in (0, 77):
        improve(model, None, taken, samples, settings(), pad)
    assert_same_gradients(*taken.found, atol=0)
    together, _ = target_logits(model, collate(samples, PAD))
    alone = torch.cat([target_logits(model, collate([sample], PAD))[0] for sample in samples])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_nothing_to_learn_leaves_the_weights_alone(model, optimizer):
    """When all advantages are zero there is no update, not even a decay of weights, and the loss is 0, not NaN."""
    before = copy.deepcopy(model.state_dict())
    config = settings(optimizer=optimizer, learning_rate=0.1, weight_decay=0.1)
    flat = [s.model_copy(update={"advantages": (0.0,) * len(s.advantages)}) for s in samples_of(model)]
    taken = Optimizer(model, config, None)
    stats = improve(model, None, taken, flat, config, PAD)
    assert (stats.loss, stats.updates, stats.trained, stats.grad_norm, stats.entropy) == (0.0, 0, 0, None, None)
    assert taken.steps == 0
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_groups_stay_together_in_an_update(model):
    """`prompts_per_update` counts groups: of three groups, two make the first update and one the second."""
    samples = samples_of(model)
    taken = Gradients(model)
    stats = improve(model, None, taken, samples, settings(prompts_per_update=2), PAD)
    assert stats.updates == 2
    for gradients, part in zip(taken.found, (samples[:4], samples[4:]), strict=True):
        expected, _ = objective(model, None, part, settings())
        expected.backward()
        assert_same_gradients(gradients, {name: p.grad for name, p in model.named_parameters()})
        model.zero_grad()


# --- imitation -----------------------------------------------------------------------------------------------------


def test_imitation_is_cross_entropy_of_the_masked_tokens(model):
    """Loss and gradient over all targets of the batch, and the share of them that is the likeliest token."""
    samples = samples_of(model)
    taken = Gradients(model)
    loss, right, _ = imitate(model, taken, samples, PAD)
    values, hits = [], []
    for sample in samples:
        logits = model(torch.tensor([sample.token_ids])).logits[0]
        for at, chosen in enumerate(sample.mask):
            if chosen:
                values.append(torch.log_softmax(logits[at - 1], -1)[sample.token_ids[at]])
                hits.append(logits[at - 1].argmax().item() == sample.token_ids[at])
    expected = -torch.stack(values).mean()
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    assert right == pytest.approx(sum(hits) / len(hits))
    assert_same_gradients(taken.found[0], {name: p.grad for name, p in model.named_parameters()})


def test_every_sample_once_an_epoch(model):
    """Batches of like length, an epoch without repetition, another order in the next, the same for the same seed."""
    samples = samples_of(model, 7)

    def batches(seed):
        return [[s.key for s in batch] for batch, _ in zip(shuffled_batches(samples, 3, seed), range(6), strict=False)]

    first, second = ([key for batch in part for key in batch] for part in (batches(5)[:3], batches(5)[3:]))
    assert sorted(first) == sorted(second) == [str(n) for n in range(7)]
    assert first != second
    assert batches(5) == batches(5) != batches(6)


# --- the optimizer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_saved_optimizer_goes_on_exactly(model, tmp_path, optimizer):
    """Three steps, a file, a new optimizer, two more steps: the weights of five steps, to the last bit."""
    config = settings(
        optimizer=optimizer, learning_rate=0.01, warmup_steps=4, schedule="trapezoid", weight_decay=0.05, max_steps=6
    )
    samples = samples_of(model)
    taken = Optimizer(model, config, 6)
    assert len(taken.parts) == (2 if optimizer == "muon" else 1)
    for _ in range(3):
        imitate(model, taken, samples, PAD)
    save_file(taken.tensors(), tmp_path / "optimizer.safetensors")
    other = copy.deepcopy(model)
    resumed = Optimizer(other, config, 6)
    resumed.load(load_file(tmp_path / "optimizer.safetensors"))
    assert resumed.steps == 3
    for _ in range(2):
        assert imitate(model, taken, samples, PAD) == imitate(other, resumed, samples, PAD)
    for (name, weight), copied in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(weight, copied), name


def test_the_state_of_another_model_is_refused(model):
    """Other shapes, more parameters, or no state at all: said when it is loaded, not at the next step."""
    config = settings()
    wide = toy_model(hidden=32, layers=1)[0]
    deep = toy_model(hidden=16, layers=2)[0]
    for other, problem in ((wide, "has shape"), (deep, "index out of range|has shape")):
        taken = Optimizer(other, config, None)
        imitate(other, taken, samples_of(other), PAD)
        with pytest.raises((ValueError, IndexError), match=problem):
            Optimizer(model, config, None).load(taken.tensors())
    with pytest.raises(ValueError, match="has no 'steps'"):
        Optimizer(model, config, None).load({})


def test_muon_takes_the_inner_matrices(model):
    """Embeddings and norms are AdamW's, every other matrix is Muon's, and no parameter is left out."""
    muon, adamw = Optimizer(model, settings(optimizer="muon"), None).parts
    names = {id(p): name for name, p in model.named_parameters()}
    inner = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    rest = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert inner | rest == set(names.values())
    assert not inner & rest
    assert all("proj" in name for name in inner)
    assert rest == {name for name in names.values() if "norm" in name or "embed" in name}


def test_the_learning_rate_rises_holds_and_falls(model):
    """Warm-up of three steps; then constant to the middle; then down to a fiftieth, also beyond the end."""
    taken = Optimizer(model, settings(warmup_steps=3, schedule="trapezoid", learning_rate=0.1), 10)
    factors = []
    for step in [*range(11), 50]:
        taken.steps = step
        factors.append(taken.factor())
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.02, 0.02])
    constant = Optimizer(model, settings(), None)
    constant.steps = 1000
    assert constant.factor() == 1.0
    taken.steps = 8
    imitate(model, taken, samples_of(model), PAD)
    assert taken.parts[0].param_groups[0]["lr"] == pytest.approx(0.04)


def test_gradients_are_clipped_to_their_norm(model):
    """What is reported is the norm before; a step is not larger than the clip allows."""
    config = settings(grad_clip=1e-4)
    before = copy.deepcopy(model)
    *_, norm = imitate(model, torch_sgd(model, config), samples_of(model), PAD)
    assert norm > 0.01
    moved = math.sqrt(
        sum(((a - b) ** 2).sum().item() for a, b in zip(model.parameters(), before.parameters(), strict=True))
    )
    assert moved == pytest.approx(1e-4, rel=0.02)


def torch_sgd(model, config):
    """The optimizer with plain descent inside, whose steps are as long as the gradient."""
    taken = Optimizer(model, config, None)
    taken.parts = [torch.optim.SGD(model.parameters(), lr=1.0)]
    taken._rates = [1.0]
    return taken


# --- divergence ----------------------------------------------------------------------------------------------------


def test_a_weight_that_is_not_a_number_ends_the_training(model):
    """The message names the step and says what to do; the optimizer has not touched anything."""
    samples = samples_of(model)
    with torch.no_grad():
        model.model.norm.weight[0] = math.nan
    before = copy.deepcopy(model.state_dict())
    taken = Optimizer(model, settings(), None)
    with pytest.raises(FoundryError, match=r"training diverged at step 0: the loss is nan; the last checkpoint"):
        improve(model, None, taken, samples, settings(), PAD)
    model.zero_grad()
    with pytest.raises(FoundryError, match=r"training diverged at step 0: the gradient is nan.*lower learning_rate"):
        imitate(model, taken, samples, PAD)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight.nan_to_num(9), before[name].nan_to_num(9)), name
