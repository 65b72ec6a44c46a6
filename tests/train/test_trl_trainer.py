"""The trainer on a toy task: it learns, its advantages are ours, and nothing goes wrong in silence."""

import errno
import math
from types import SimpleNamespace

import pytest

pytest.importorskip("trl", reason="needs the extra train")

import torch
from safetensors import SafetensorError

from toolfoundry.advantages import response_advantages
from toolfoundry.errors import FoundryError, InputError, OutputError
from toolfoundry.train import trl_trainer
from toolfoundry.train.config import load_preset, preset_names
from toolfoundry.train.trl_backend import grpo_arguments, reinforce
from toolfoundry.train.trl_plan import batch_plan
from train.toy_model import toy_model
from train.trl_toy import KEYS, Letters, recorded, toy_config

ALGORITHMS = ["grpo", "dr-grpo", "reinforce++", "reinforce++-baseline"]


@pytest.fixture
def batches(monkeypatch):
    """The batches that the trainer made, before it shuffled them."""
    return recorded(monkeypatch)


def train(tmp_path, config, rollouts=None, steps=None, model=None, tokenizer=None):
    if model is None:
        model, tokenizer = toy_model()
    rollouts = rollouts or Letters(tokenizer)
    return reinforce(config, model, tokenizer, KEYS, rollouts, tmp_path, steps.append if steps is not None else None)


def test_the_toy_reward_rises(tmp_path):
    """20 steps of GRPO make a random model say letters more often; the policy that is saved is the one that learned."""
    steps = []
    model, tokenizer = toy_model()
    before = model.model.embed_tokens.weight.clone()
    stats = train(tmp_path, toy_config(), steps=steps, model=model, tokenizer=tokenizer)
    first, last = (sum(row["reward"] for row in rows) / 5 for rows in (steps[:5], steps[-5:]))
    assert last > first + 0.1
    assert [row["step"] for row in steps] == list(range(1, 21))
    assert (stats.steps, stats.updates, stats.responses, stats.unscored) == (20, 40, 640, {})
    assert all(math.isfinite(row["kl"]) and row["kl"] >= 0 for row in steps)
    assert steps[-1]["kl"] > steps[0]["kl"]
    assert not torch.equal(model.model.embed_tokens.weight, before)
    assert "forward" not in model.__dict__
    assert not model.training

    from transformers import AutoModelForCausalLM, AutoTokenizer

    saved = AutoModelForCausalLM.from_pretrained(stats.final)
    assert torch.equal(saved.model.embed_tokens.weight, model.model.embed_tokens.weight)
    assert AutoTokenizer.from_pretrained(stats.final).eos_token == "<|im_end|>"
    assert not [path for path in stats.final.iterdir() if path.suffix in (".pt", ".pth", ".bin", ".pkl")]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_advantages_are_those_of_the_plain_functions(tmp_path, batches, algorithm):
    """The batch that is trained on has, response by response, the advantages of `toolfoundry.advantages`; one that was
    not scored has no part in them, advantage 0, and no token in the loss."""
    model, tokenizer = toy_model()
    calls = iter(range(1000))
    rollouts = Letters(tokenizer, reward_of=lambda ids: None if next(calls) in (3, 8) else sum(ids) % 7 / 7)
    stats = train(tmp_path, toy_config(algorithm=algorithm, steps_per_round=1), rollouts, None, model, tokenizer)
    batch, rewards = batches[0], rollouts.rewards[0]
    lengths = batch["completion_mask"].sum(1).tolist()
    known = [index for index, reward in enumerate(rewards) if reward is not None]
    expected = response_advantages(
        [rewards[i] for i in known], [lengths[i] for i in known], [i // 8 for i in known], algorithm
    )
    found = batch["advantages"].tolist()
    assert [found[i] for i in known] == pytest.approx(expected, abs=1e-6)
    assert any(abs(value) > 0.1 for value in expected)
    assert found[3] == found[8] == 0
    assert batch["tool_mask"][3].sum() == batch["tool_mask"][8].sum() == 0
    assert batch["tool_mask"][4].sum() > 0
    assert stats.updates == 2


def test_sampler_and_trainer_agree_on_probabilities(tmp_path, batches):
    """What the sampler says that a token's log-probability was is what the trainer computes, also off temperature 1."""
    train(tmp_path, toy_config(steps_per_round=1, temperature=0.7))
    mask = batches[0]["completion_mask"].bool()
    difference = batches[0]["old_per_token_logps"] - batches[0]["sampling_per_token_logps"]
    assert difference[mask].abs().max() < 1e-4


def test_a_step_without_a_scored_response_stops(tmp_path):
    """Where nothing could be scored, nothing is trained: an error with the cause, and the weights as they were."""
    model, tokenizer = toy_model()
    before = model.model.embed_tokens.weight.clone()
    rollouts = Letters(tokenizer, reward_of=lambda ids: None)
    rollouts.causes["SandboxError: gone"] += 1
    with pytest.raises(FoundryError, match=r"none of 32 responses could be scored.*SandboxError: gone"):
        train(tmp_path, toy_config(), rollouts, None, model, tokenizer)
    assert torch.equal(model.model.embed_tokens.weight, before)


def test_a_loss_that_is_not_finite_stops(tmp_path):
    """An update that would put infinities into the weights is not made; the message says that training diverged."""
    model, tokenizer = toy_model()
    before = model.model.embed_tokens.weight.clone()
    rollouts = Letters(tokenizer, reward_of=lambda ids: 1.5e38 * (sum(ids) % 5 - 2))
    with pytest.raises(FoundryError, match="training has diverged"):
        train(tmp_path, toy_config(algorithm="dr-grpo"), rollouts, None, model, tokenizer)
    assert torch.equal(model.model.embed_tokens.weight, before)


def test_a_gradient_that_is_not_finite_stops():
    """The same for a gradient behind a finite loss, in whichever weight it is."""
    model = torch.nn.Linear(2, 2)
    callback, state = trl_trainer.FiniteGradients(), SimpleNamespace(global_step=6)
    callback.on_pre_optimizer_step(None, state, None, model=model)
    model.weight.grad, model.bias.grad = torch.ones(2, 2), torch.ones(2)
    callback.on_pre_optimizer_step(None, state, None, model=model)
    model.bias.grad[1] = torch.nan
    with pytest.raises(FoundryError, match="norm of the gradients is nan in update 7: training has diverged"):
        callback.on_pre_optimizer_step(None, state, None, model=model)


def test_an_adapter_is_trained_and_merged(tmp_path):
    """With LoRA the model that comes back is a plain one with other weights, ready for the next round."""
    model, tokenizer = toy_model()
    before = model.model.layers[0].mlp.up_proj.weight.clone()
    steps = []
    stats = train(tmp_path, toy_config(lora_rank=4, steps_per_round=2), None, steps, model, tokenizer)
    assert not torch.equal(model.model.layers[0].mlp.up_proj.weight, before)
    assert not [name for name, _ in model.named_parameters() if "lora" in name]
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert (stats.final / "model.safetensors").exists()
    assert not (stats.final / "adapter_model.safetensors").exists()
    assert not (tmp_path / "start").exists()
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-3)


def test_checkpointed_activations_change_nothing(tmp_path):
    """Gradient checkpointing gives the same metrics, samples with the cache all the same, and is off afterwards."""
    plain, checkpointed = [], []
    train(tmp_path / "plain", toy_config(steps_per_round=3), steps=plain)
    model, tokenizer = toy_model()
    config = toy_config(steps_per_round=3, gradient_checkpointing=True)
    train(tmp_path / "checkpointed", config, None, checkpointed, model, tokenizer)
    for left, right in zip(plain, checkpointed, strict=True):
        assert left == pytest.approx(right, rel=1e-4, abs=1e-6)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    assert model.config.use_cache


def test_memory_that_does_not_suffice_is_a_message(tmp_path):
    """Out of memory says what to lower."""
    model, tokenizer = toy_model()

    def exhausted(ids):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(FoundryError, match=r"out of memory in update 1.*samples_per_device"):
        train(tmp_path, toy_config(), Letters(tokenizer, exhausted), None, model, tokenizer)


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device"),
        RuntimeError("[enforce fail] PytorchStreamWriter failed writing file"),
    ],
)
def test_a_full_disk_is_a_message(tmp_path, monkeypatch, failure):
    """A checkpoint that cannot be written ends the run with the folder's name, whoever of the libraries noticed."""
    model, tokenizer = toy_model()

    def full(*given, **named):
        raise failure

    monkeypatch.setattr(model, "save_pretrained", full)
    with pytest.raises(OutputError, match=r"cannot be written.*the last whole checkpoint is intact"):
        train(tmp_path, toy_config(steps_per_round=1, kl_coefficient=0.0), None, None, model, tokenizer)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vllm": True}, "vllm: found no CUDA device"),
        ({"bf16": True}, "bf16: found no CUDA device"),
        ({"optimizer": "muon"}, "found muon .* expected adamw"),
        ({"refill_groups": True}, "refill_groups"),
        ({"turn_weight": 0.5}, "turn_weight"),
        ({"dual_clip": 1.1}, r"expected more than 1 \+ clip"),
        ({"prompts_per_step": 16, "steps_per_round": None}, r"found 8, expected at least prompts_per_step \(16\)"),
        ({"samples_per_device": 5}, "samples_per_device: found 5"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="messages of a machine without CUDA")
def test_what_cannot_be_done_here_is_said_before_anything_is_written(tmp_path, changes, message):
    """A configuration that this machine or this backend cannot carry out is an error of one line, and no file."""
    with pytest.raises(InputError, match=message):
        train(tmp_path / "run", toy_config(**changes))
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    """Ids that the model has no embedding for are found before training."""
    model, tokenizer = toy_model()
    tokenizer.add_tokens(["one more"])
    with pytest.raises(InputError, match="found ids up to 265, expected less than 265"):
        train(tmp_path, toy_config(), None, None, model, tokenizer)


def test_weights_are_trained_in_float32(tmp_path):
    """Weights that were loaded in bfloat16, which would swallow small updates, are trained and saved in float32."""
    model, tokenizer = toy_model()
    train(tmp_path, toy_config(steps_per_round=1, learning_rate=1e-6), None, None, model.bfloat16(), tokenizer)
    before, _ = toy_model()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    gap = model.model.embed_tokens.weight - before.model.embed_tokens.weight.bfloat16().float()
    assert 0 < gap.abs().max() < 1e-5


# --- the guard -----------------------------------------------------------------------------------------------------


def test_the_installed_trl_is_the_one_this_was_built_for():
    """Fails, with the name of the hook and what changed, when TRL is upgraded past what was tested: then read TRL's
    `grpo_trainer.py`, run these tests, and widen SUPPORTED."""
    trl_trainer.check_trl()


def test_another_version_of_trl_is_named():
    """An older or newer minor version is refused with both versions."""
    for version in ("1.15.3", "1.17.0", "2.0"):
        with pytest.raises(FoundryError, match=rf"trl: found {version}, expected >=1.16,<1.17"):
            trl_trainer.check_trl(version=version)
    trl_trainer.check_trl(version="1.16.4")


def test_a_changed_hook_is_named():
    """A hook that is gone, or takes something else, is named with what was found and expected."""

    class Moved(trl_trainer.GRPOTrainer):
        def _calculate_rewards(self, inputs, completions):
            return None

    with pytest.raises(FoundryError, match=r"_calculate_rewards: found \['self', 'inputs', 'completions'\], expected"):
        trl_trainer.check_trl(Moved)

    class Gone:
        pass

    with pytest.raises(FoundryError, match="_calculate_rewards: found no such method"):
        trl_trainer.check_trl(Gone)


@pytest.mark.parametrize(
    ("hook", "result", "message"),
    [
        ("_calculate_rewards", lambda out: out[:5], r"_calculate_rewards gave the shape \(5, 1\), expected \(32, 1\)"),
        ("_generate_and_score_completions", lambda out: {"advantages": out["advantages"]}, "gave no completion_ids"),
        (
            "_generate_and_score_completions",
            lambda out: {**out, "advantages": out["advantages"][:, None]},
            r"advantages of the shape \(32, 1\), expected \(32,\)",
        ),
    ],
)
def test_a_changed_result_is_named(tmp_path, monkeypatch, hook, result, message):
    """A hook that gives something of another shape stops the run with its name, instead of training on it."""
    original = getattr(trl_trainer.GRPOTrainer, hook)
    monkeypatch.setattr(trl_trainer, "HOOKS", {})
    monkeypatch.setattr(trl_trainer.GRPOTrainer, hook, lambda self, *given: result(original(self, *given)))
    with pytest.raises(FoundryError, match=message):
        train(tmp_path, toy_config())


@pytest.mark.parametrize("name", [name for name in preset_names() if name.startswith("ftrl-")])
def test_a_preset_of_the_release_reaches_trl(tmp_path, name):
    """What TRL is told for the release's configurations, on 8 devices: the sizes, the loss and its terms."""
    config = load_preset(name)
    found = grpo_arguments(config, tmp_path, batch_plan(config, 8), 22)
    told = {
        "learning_rate": 1e-6,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": 0,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "num_generations": 16,
        "max_steps": 22 * 16,
        "num_iterations": 1,
        "temperature": 0.7,
        "top_p": 1.0,
        "top_k": 0,
        "epsilon": 0.2,
        "delta": 3.0,
        "beta": 0.001,
        "use_bias_correction_kl": False,
        "entropy_coef": 0.001,
        "loss_type": "grpo",
        "importance_sampling_level": "token",
        "mask_truncated_completions": False,
        "scale_rewards": "none",
        "max_completion_length": config.max_response_tokens,
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_max_model_length": 16384 + config.max_response_tokens,
        "bf16": True,
        "save_steps": 5 * 16,
        "shuffle_dataset": False,
        "logging_nan_inf_filter": False,
    }
    assert {field: getattr(found, field) for field in told} == told
    assert found.steps_per_generation == 16 * found.gradient_accumulation_steps
    assert found.per_device_train_batch_size * found.gradient_accumulation_steps * 8 == 512
    assert found.gradient_checkpointing
