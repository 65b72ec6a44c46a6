"""The presets of the release say what its six scripts say."""

import pytest

from toolfoundry.errors import InputError, RecordError
from toolfoundry.train.config import TrainConfig, load_preset, preset_names
from toolfoundry.train.trl_plan import batch_plan

# Scripts/*.sh of the release, and the defaults of its verl (ppo_trainer.yaml) that no script overrides. One row each:
# algorithm, model, chat format, thinking, max_response_length.
SCRIPTS = {
    "ftrl-grpo-qwen2.5": ("grpo", "Qwen/Qwen2.5-7B-Instruct", "hermes", False, 1024),
    "ftrl-grpo-qwen3": ("grpo", "Qwen/Qwen3-8B", "qwen3", False, 1024),
    "ftrl-grpo-qwen3-thinking": ("grpo", "Qwen/Qwen3-8B", "qwen3", True, 8192),
    "ftrl-reinforce++-qwen2.5": ("reinforce++", "Qwen/Qwen2.5-7B-Instruct", "hermes", False, 1024),
    "ftrl-reinforce++-qwen3": ("reinforce++", "Qwen/Qwen3-8B", "qwen3", False, 1024),
    "ftrl-reinforce++-qwen3-thinking": ("reinforce++", "Qwen/Qwen3-8B", "qwen3", True, 8192),
}
COMMON = {
    "mode": "prefix",  # single responses to stored prefixes: no environment inside the rollout
    "reward": "ftrl",  # compute_solve_f1
    "rounds": 3,  # one script run each
    "collect_temperature": 1.0,
    "max_turns": 20,
    "prompts_per_step": 512,  # data.train_batch_size
    "group_size": 16,  # rollout.n
    "prompts_per_update": 32,  # actor.ppo_mini_batch_size, in prompts
    "max_prompt_tokens": 16384,  # data.max_prompt_length, filter_overlong
    "learning_rate": 1e-6,  # actor.optim.lr
    "schedule": "constant",
    "warmup_steps": 0,
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "grad_clip": 1.0,
    "temperature": 0.7,  # rollout.temperature, not overridden
    "clip": 0.2,  # clip_ratio
    "dual_clip": 3.0,  # clip_ratio_c
    "kl_coefficient": 0.001,  # kl_loss_coef, low_var_kl
    "entropy_coefficient": 0.001,  # entropy_coeff
    "loss_mean": "sequence",  # loss_agg_mode seq-mean-token-mean
    "bf16": True,
    "gradient_checkpointing": True,
    "vllm": True,
    "lora_rank": None,
    "refill_groups": False,
    "pass_rate": None,
    "backend": "trl",
}


def test_the_six_are_there():
    """No script without a preset, no preset of that name without a script."""
    assert {name for name in preset_names() if name.startswith("ftrl-")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_preset_has_the_numbers_of_its_script(name):
    """Each field has the value of the release's script, or of the default behind it."""
    algorithm, model, chat, thinking, response = SCRIPTS[name]
    found = load_preset(name).model_dump()
    expected = {
        "algorithm": algorithm,
        "model": model,
        "chat": chat,
        "thinking": thinking,
        "max_response_tokens": response,
        **COMMON,
    }
    assert {field: found[field] for field in expected} == expected


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_a_preset_divides_over_the_devices_of_one_machine(name, processes):
    """On 1, 2, 4 or 8 devices a step is 16 updates of 512 sequences, as in the release."""
    config = load_preset(name)
    plan = batch_plan(config, processes)
    assert plan.updates_per_step == 16
    assert plan.passes_per_update * plan.samples_per_device * processes == 32 * 16
    assert plan.samples_per_device == config.samples_per_device


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_can_be_overridden(name):
    """Whatever is in the package is valid, and an option of the command line replaces a field of it."""
    assert load_preset(name, seed=7).seed == 7
    assert load_preset(name, max_steps=None).max_steps is None


def test_a_preset_file_of_ones_own(tmp_path):
    """A path is read like a preset; what is wrong in it is named with the file and the field."""
    mine = tmp_path / "mine.toml"
    mine.write_text('algorithm = "reinforce++"\ngroup_size = 1\n')
    assert load_preset(str(mine)) == TrainConfig(algorithm="reinforce++", group_size=1)
    mine.write_text("learning_rat = 1\n")
    with pytest.raises(RecordError, match=r"mine.toml: field 'learning_rat'"):
        load_preset(str(mine))
    mine.write_text("learning_rate = \n")
    with pytest.raises(InputError, match=r"mine.toml: malformed TOML"):
        load_preset(str(mine))
    with pytest.raises(InputError, match="there is no such preset file"):
        load_preset(str(tmp_path / "absent.toml"))
    with pytest.raises(InputError, match=r"expected a .toml file or one of .*ftrl-grpo-qwen3"):
        load_preset("ftrl-ppo")
