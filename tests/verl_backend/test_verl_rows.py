"""verl loads the rows; its reward manager scores responses by our reward function."""

import asyncio

import pytest

pytest.importorskip("verl", reason="verl runs in its own virtual environment: make test-verl")

import numpy as np
import torch
from verl import DataProto
from verl.trainer.ppo.reward import load_reward_manager
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn, get_dataset_class

from toolfoundry.chat import chat_format
from toolfoundry.environment import opening
from toolfoundry.errors import InputError
from toolfoundry.samples import Prefix, prefixes
from toolfoundry.store import dump, load_record
from toolfoundry.train.verl import process
from toolfoundry.types import Message
from verl_backend.scripted_server import played


@pytest.fixture(scope="module")
def gold(specs, sandbox):
    return {spec_id: played("gold", spec, sandbox) for spec_id, spec in specs.items()}


def _dataset(config, tokenizer, files="train_files"):
    return get_dataset_class(config.data)(config.data[files], tokenizer, config.data)


def test_dataset_has_the_rows_and_collates(exported, model_folders, gold):
    """verl's loader gives every prefix of every rollout that is trained on, with its state, and puts rows together."""
    config = exported(mode="prefix", trajectories=gold.values())
    dataset = _dataset(config, model_folders["hermes"][1])
    rows = [dataset[index] for index in range(len(dataset))]
    trained = {row["extra_info"]["environment"] for row in rows}
    assert len(trained) == 15  # one of sixteen is held out
    assert {row["extra_info"]["key"] for row in rows} == {
        prefix.key for spec_id in trained for prefix in prefixes(gold[spec_id])
    }
    batch = collate_fn(rows[:3])
    assert list(batch["agent_name"]) == ["toolfoundry_prefix"] * 3
    assert batch["index"].tolist() == [0, 1, 2]
    held_out = _dataset(config, model_folders["hermes"][1], "val_files")
    assert trained.isdisjoint(row["extra_info"]["environment"] for row in held_out)


def test_prompts_are_measured_with_their_tools(exported, model_folders, specs):
    """A limit between a prompt's length with and without its tools leaves the row out; verl's own dataset keeps it."""
    tokenizer = model_folders["hermes"][1]
    lengths = {}
    for spec in specs.values():
        messages, tools = opening(spec)
        text = chat_format("hermes").render(messages, tools, generation=True, thinking=False)
        lengths[spec.id] = len(tokenizer.encode(text, add_special_tokens=False))
    limit = sorted(lengths.values())[7]
    config = exported(mode="episode", overrides=[f"data.max_prompt_length={limit}"])
    kept = [row["extra_info"]["environment"] for row in _dataset(config, tokenizer)]
    assert kept
    assert all(lengths[spec_id] <= limit for spec_id in kept)
    everything = [row["extra_info"]["environment"] for row in RLHFDataset(config.data.train_files, _plain(tokenizer),
                                                                          config.data)]  # fmt: skip
    assert len(everything) == 15
    assert sorted(kept) == sorted(spec_id for spec_id in everything if lengths[spec_id] <= limit)


def _plain(tokenizer):
    """The tokenizer with a template that takes no tools: verl's dataset gives none here."""
    import copy

    other = copy.deepcopy(tokenizer)
    other.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    return other


def test_nothing_fits(exported, model_folders):
    """A limit under which no prompt fits is told, not trained on."""
    config = exported(mode="episode", overrides=["data.max_prompt_length=10"])
    with pytest.raises(InputError, match="found none of 15 prompts"):
        _dataset(config, model_folders["hermes"][1])


def test_wrong_environments_are_told(exported, model_folders, tmp_path):
    """A file that is not there, is none of environments, or lacks a row's environment, is named."""
    tokenizer = model_folders["hermes"][1]
    other = tmp_path / "other.jsonl"
    other.write_text('{"toolfoundry": "trajectories", "schema_version": 1}\n')
    lacking = tmp_path / "lacking.jsonl"
    lacking.write_text('{"toolfoundry": "environments", "schema_version": 1}\n')
    for path, problem in (
        (tmp_path / "none.jsonl", "no such file on this node"),
        (other, "found trajectories, expected environments"),
        (lacking, "rows and environments do not match"),
    ):
        config = exported(mode="episode", overrides=[f"data.toolfoundry.environments='{path}'"])
        with pytest.raises(InputError, match=problem):
            _dataset(config, tokenizer)


def test_settings_that_do_not_fit_are_told(exported, model_folders):
    """A setting of ours that is misspelt or out of range stops the run with its name."""
    tokenizer = model_folders["hermes"][1]
    for override, problem in (("+data.toolfoundry.max_turn=3", "max_turn"), ("data.toolfoundry.reward=f1", "reward")):
        config = exported(mode="episode", overrides=[override])
        with pytest.raises(InputError, match=rf"data\.toolfoundry\.{problem}"):
            _dataset(config, tokenizer)


def test_wrong_chat_format_is_told(exported, model_folders):
    """A model whose own template writes another prompt than ours is refused, with the place of the difference."""
    config = exported(mode="episode", chat="hermes")
    with pytest.raises(InputError, match=r"set data\.toolfoundry\.chat"):
        _dataset(config, model_folders["qwen3"][1])


def _item(row, tokenizer, text, extra=None):
    """A batch of one, as verl's agent loop worker gives it to the reward loop."""
    ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
    prompt = torch.tensor([[1, 2, 3]])
    mask = torch.ones(1, prompt.shape[1] + ids.shape[1], dtype=torch.int64)
    tensors = {"prompts": prompt, "responses": ids, "attention_mask": mask}
    others = {key: np.array([row[key]], dtype=object) for key in ("data_source", "reward_model", "extra_info")}
    if extra is not None:
        others["tool_extra_fields"] = np.array([extra], dtype=object)
    return DataProto.from_dict(tensors=tensors, non_tensors=others)


def _score(config, tokenizer, *items):
    async def run():
        manager = load_reward_manager(config, tokenizer)
        return [await manager.run_single(item) for item in items]

    return asyncio.run(run())


@pytest.mark.parametrize("reward", ["frontier", "ftrl"])
def test_reward_manager_gives_the_rewards_of_our_core(exported, model_folders, specs, sandbox, reward):
    """Every gold turn, said at its stored prefix, earns through verl's reward manager exactly what our rollout gave."""
    from toolfoundry.reward import grade_trajectory

    trajectories = {spec_id: played("gold", spec, sandbox) for spec_id, spec in specs.items()}
    tokenizer = model_folders["hermes"][1]
    config = exported(mode="prefix", reward=reward, trajectories=trajectories.values())
    rows = list(_dataset(config, tokenizer))
    items, expected = [], []
    for row in rows:
        trajectory, turn = trajectories[row["extra_info"]["environment"]], int(row["extra_info"]["key"].split("#")[1])
        text = chat_format("hermes").completion(trajectory.turns[turn].completion.message, thinking=False)
        items.append(_item(row, tokenizer, text))
        expected.append(grade_trajectory(trajectory, reward)[turn].reward)
    results = _score(config, tokenizer, *items)
    assert [result["reward_score"] for result in results] == [reward.value for reward in expected]
    assert [result["reward_extra_info"]["solved"] for result in results] == [reward.solved for reward in expected]
    assert max(reward.value for reward in expected) >= 1


def test_reward_of_bad_responses(exported, model_folders, specs):
    """Silence and malformed calls get the floor; a response that a limit cut off is known by its message."""
    tokenizer = model_folders["hermes"][1]
    config = exported(mode="prefix")
    row = _dataset(config, tokenizer)[0]
    cut = chat_format("hermes").parse("The answer is", finished=False)
    results = _score(
        config,
        tokenizer,
        _item(row, tokenizer, "<|im_end|>"),
        _item(row, tokenizer, "<tool_call>\nnonsense\n</tool_call><|im_end|>"),
        _item(row, tokenizer, "The answer is", extra={"message": dump(cut).decode()}),
    )
    assert [result["reward_score"] for result in results] == [-0.5, -0.3, -0.3]
    assert [result["reward_extra_info"]["malformed"] for result in results] == [0.0, 1.0, 0.0]


class _Broken:
    def session(self, sources, *, state=None, seed=0):
        raise process.FoundryError("no worker could be started")


def test_unscored_is_no_zero(exported, model_folders, specs, monkeypatch):
    """Where tools cannot be executed, the reward function raises with the cause: verl then drops the session."""
    from toolfoundry.train.verl import reward

    monkeypatch.setattr(reward, "sandbox", _Broken)
    tokenizer = model_folders["hermes"][1]
    config = exported(mode="prefix")
    row = _dataset(config, tokenizer)[0]
    spec = specs[row["extra_info"]["environment"]]
    call = Message(role="assistant", tool_calls=(spec.gold_calls or ())[:1])
    text = chat_format("hermes").completion(call, thinking=False)
    with pytest.raises(process.Unscored, match="no worker could be started"):
        _score(config, tokenizer, _item(row, tokenizer, text))


def test_episodes_do_not_come_to_the_reward_function(exported, model_folders):
    """A row without a prefix is refused with the way out, not scored."""
    tokenizer = model_folders["hermes"][1]
    config = exported(mode="episode")
    with pytest.raises(InputError, match="episodes are scored by their agent loop"):
        _score(config, tokenizer, _item(_dataset(config, tokenizer)[0], tokenizer, "text<|im_end|>"))


def test_ground_truth_is_a_prefix(exported, model_folders, gold):
    """What stands in a row's ground truth is our record, without sampled ids of whatever tokenizer."""
    config = exported(mode="prefix", trajectories=gold.values())
    for row in _dataset(config, model_folders["hermes"][1]):
        assert load_record(Prefix, row["reward_model"]["ground_truth"].encode()).said == ()
