"""The configuration that is exported is one that verl 0.9.1 takes, with the settings of the paper."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verl", reason="verl runs in its own virtual environment: make test-verl")

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from verl import __version__
from verl.tools.schemas import OpenAIFunctionParametersSchema
from verl.trainer.ppo import core_algos
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import omega_conf_to_dataclass, validate_config

from toolfoundry.advantages import response_advantages
from toolfoundry.train.verl.export import ESTIMATORS, VERSION, lost_schema

OURS = {"data.folder", "data.toolfoundry", "reward.custom_reward_function.reward_kwargs"}


def _paths(value: Any, path: str = "") -> list[str]:
    if not isinstance(value, dict) or path in OURS:
        return [path]
    return [found for key, inner in value.items() for found in _paths(inner, f"{path}.{key}".lstrip("."))]


def test_version():
    """verl is the version that the export says it is for."""
    assert __version__ == VERSION


@pytest.mark.parametrize("mode", ["prefix", "episode"])
def test_every_setting_is_one_that_verl_has(exported, mode, tmp_path):
    """A misspelt or outgrown setting would have no effect: verl's own configuration has every path that ours sets."""
    exported(mode=mode)
    import verl.trainer

    own = OmegaConf.to_container(OmegaConf.load(tmp_path / "run" / "config.yaml"))
    assert isinstance(own, dict)
    paths = _paths({k: v for k, v in own.items() if k not in ("hydra", "defaults")})
    with initialize_config_dir(str(Path(verl.trainer.__path__[0]) / "config"), version_base=None):
        theirs = OmegaConf.to_container(compose("ppo_trainer"), resolve=False)
    known = set(_paths(theirs))
    unknown = [path for path in paths if path not in known and path not in OURS]
    assert unknown == []
    assert len(paths) > 50


@pytest.mark.parametrize("algorithm", ESTIMATORS)
def test_verl_validates_the_run(exported, algorithm):
    """verl's own checks pass, the estimator is one of its enumeration, and the paper's settings arrive."""
    config = exported(algorithm=algorithm)
    validate_config(config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))
    assert core_algos.AdvantageEstimator(config.algorithm.adv_estimator).value == ESTIMATORS[algorithm]
    assert core_algos.get_adv_estimator_fn(config.algorithm.adv_estimator) is not None
    assert need_reference_policy(config)
    assert not need_critic(config)
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    assert (actor.optim.lr, actor.kl_loss_coef, actor.kl_loss_type, actor.entropy_coeff) == (
        1e-6,
        0.001,
        "low_var_kl",
        0.001,
    )
    assert (actor.clip_ratio, actor.clip_ratio_c, actor.loss_agg_mode) == (0.2, 3.0, "seq-mean-token-mean")
    rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    assert (rollout.n, rollout.temperature, rollout.prompt_length, rollout.response_length) == (16, 0.7, 16384, 1024)
    assert rollout.max_model_len == rollout.prompt_length + rollout.response_length


@pytest.mark.parametrize("algorithm", ESTIMATORS)
def test_verls_advantages_are_ours(exported, algorithm):
    """For the same rewards verl's estimators give what `toolfoundry.advantages` gives, also with a group of three."""
    config = exported(algorithm=algorithm)
    rewards, lengths, groups = [1.0, 0.5, 0.0, 0.25, 2 / 3, -0.3, 1.0], [3, 5, 2, 4, 1, 5, 2], list("aaaabbb")
    width = max(lengths)
    mask = torch.tensor([[1.0] * length + [0.0] * (width - length) for length in lengths])
    scores = torch.zeros_like(mask)
    for row, (reward, length) in enumerate(zip(rewards, lengths, strict=True)):
        scores[row, length - 1] = reward
    estimate = core_algos.get_adv_estimator_fn(config.algorithm.adv_estimator)
    theirs, _ = estimate(token_level_rewards=scores, response_mask=mask, index=groups, config=config.algorithm)
    ours = response_advantages(rewards, lengths, groups, algorithm)
    for row, length in enumerate(lengths):
        assert theirs[row, :length].tolist() == pytest.approx([ours[row]] * length, abs=1e-5)


CRAFTED = {
    "any_of": {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}},
    "constant": {"type": "object", "properties": {"a": {"const": 1}}},
    "no_type": {"properties": {}},
    "no_properties": {"type": "object"},
    "two_types": {"type": "object", "properties": {"a": {"type": ["string", "null"], "default": None}}},
    "boolean_schema": {"type": "object", "properties": {"a": True}},
    "closed": {"type": "object", "properties": {"a": {"type": "array", "items": {}}}, "additionalProperties": False},
}


def test_what_is_lost_is_what_verls_model_loses(specs):
    """Dropped keywords and rejections are those of verl's own class, for real tools and for crafted schemas."""
    schemas = [tool.signature.parameters for spec in specs.values() for tool in spec.tools] + list(CRAFTED.values())
    seen_dropped = seen_rejected = 0
    for schema in schemas:
        lost = lost_schema(schema)
        try:
            kept = OpenAIFunctionParametersSchema.model_validate(schema).model_dump(exclude_unset=True)
        except ValueError:
            assert lost.rejected is not None, schema
            seen_rejected += 1
            continue
        assert lost.rejected is None, schema
        gone = [key for key in schema if key not in kept]
        gone += [f"{name}.{key}" for name, inner in schema["properties"].items() for key in inner
                 if key not in kept["properties"][name]]  # fmt: skip
        assert sorted(lost.dropped) == sorted(gone)
        seen_dropped += bool(gone)
    assert seen_dropped > 10
    assert seen_rejected == 5
