"""verl's workers run our agent loops: the same rollouts and rewards as the core, in verl's own batches."""

import asyncio
import logging

import numpy as np
import pytest

pytest.importorskip("verl", reason="verl runs in its own virtual environment: make test-verl")

import torch
import verl.trainer.ppo.v1.agent_loop_tq as worker_module
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
from verl.trainer.ppo.reward import load_reward_manager
from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories
from verl.utils.dataset.rl_dataset import collate_fn, get_dataset_class

from toolfoundry.chat import chat_format
from toolfoundry.environment import opening
from toolfoundry.errors import FoundryError
from toolfoundry.reward import grade_trajectory, score_trajectory, trajectory_value
from toolfoundry.samples import conversation
from toolfoundry.train.verl import agent_loop
from toolfoundry.types import Message
from verl_backend.scripted_server import ScriptedServer, played


class Queue:
    """In place of TransferQueue: what the worker stores and says."""

    def __init__(self):
        self.samples, self.status = {}, {}

    def init(self, *_):
        """There is nothing to start."""

    async def async_kv_put(self, *, key, partition_id, tag):
        self.status[key] = tag["status"]

    async def async_kv_batch_put(self, *, keys, fields, tags, partition_id):
        for index, key in enumerate(keys):
            self.samples[key] = {name: fields[name][index] for name in fields.keys()}  # noqa: SIM118


@pytest.fixture
def queue(monkeypatch):
    queue = Queue()
    monkeypatch.setattr(worker_module, "tq", queue)
    return queue


def row_of(config, tokenizer, spec_id):
    """The row of an environment, from whichever file it is in."""
    for files in ("train_files", "val_files"):
        for row in get_dataset_class(config.data)(config.data[files], tokenizer, config.data):
            if row["extra_info"]["environment"] == spec_id:
                return row
    raise AssertionError(spec_id)


def play(config, row, server, handles=None, validate=False):
    """Runs one prompt's group as the worker of verl's V1 trainer does."""
    worker_class = worker_module.AgentLoopWorkerTQ.__ray_metadata__.modified_class

    async def run():
        worker = worker_class(config, server, reward_loop_worker_handles=handles)
        info = {"step": 1, "sample_index": 0, "rollout_n": 0, "validate": validate}
        prompt = {**row, "uid": "u", "global_steps": 1}
        await worker._run_prompt(prompt, {"temperature": 0.7, "top_p": 1.0, "logprobs": False}, info)

    asyncio.run(run())


def messages_of(trajectory):
    return [turn.completion.message for turn in trajectory.turns]


@pytest.mark.parametrize("policy", ["gold", "silent", "spam", "answer-only"])
def test_scores_are_those_of_our_core(exported, model_folders, specs, sandbox, queue, policy):
    """An episode has, in verl's batch, exactly the score that the same episode has in the core."""
    _, tokenizer = model_folders["hermes"]
    config = exported(mode="episode", overrides=["actor_rollout_ref.rollout.n=1"])
    for spec in list(specs.values())[:: 1 if policy == "gold" else 4]:
        core = played(policy, spec, sandbox)
        play(config, row_of(config, tokenizer, spec.id), ScriptedServer(tokenizer, messages_of(core)))
        [sample] = queue.samples.values()
        score = score_trajectory(core)
        assert score is not None
        assert sample["rm_scores"].sum().item() == pytest.approx(score.value, abs=1e-7)  # float32
        info = sample["extra_fields"]["reward_extra_info"]
        assert info["score"] == trajectory_value(core)
        assert (info["solve_p"], info["solve_r"], info["solve_f1"]) == (
            score.strict.precision,
            score.strict.recall,
            score.strict.f1,
        )
        assert info["answer"] == score.answer_right
        assert info["malformed"] == score.malformed
        assert sample["extra_fields"]["turn_scores"] == [graded.reward.value for graded in grade_trajectory(core)]
        assert info["score"] == {"gold": 1.0, "silent": 0.0}.get(policy, info["score"])
        queue.samples.clear()
    assert queue.status["u"] == "finished"


def test_mask_and_prompt(exported, model_folders, specs, queue, sandbox):
    """The prompt is the model's own template with the row's whole schemas; exactly what was sampled is trained."""
    _, tokenizer = model_folders["hermes"]
    config = exported(mode="episode", overrides=["actor_rollout_ref.rollout.n=1"])
    nested = 0
    for spec in list(specs.values())[:6]:
        server = ScriptedServer(tokenizer, messages_of(played("gold", spec, sandbox)), logprobs=True)
        play(config, row_of(config, tokenizer, spec.id), server)
        [sample] = queue.samples.values()
        queue.samples.clear()
        messages, tools = opening(spec)
        prompt = tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.content} for message in messages],
            tools=[tool.as_function() for tool in tools],
            add_generation_prompt=True,
            tokenize=False,
        )
        assert tokenizer.decode(sample["prompts"]) == prompt
        nested += '"default"' in prompt or '"items"' in prompt
        mask = sample["response_mask"].bool()
        assert sample["responses"][mask].tolist() == [token for ids in server.said for token in ids]
        assert sample["rollout_log_probs"][mask].tolist() == [
            -float(turn) for turn, ids in enumerate(server.said, start=1) for _ in ids
        ]
        assert not sample["rollout_log_probs"][~mask].any()
        whole = sample["prompts"].tolist() + sample["responses"].tolist()
        assert all(whole[: len(ids)] == ids for ids in server.prompts)
        assert sample["rm_scores"].nonzero().flatten().tolist() == [len(sample["responses"]) - 1]
        assert sample["extra_fields"]["min_global_steps"] == 3
        assert sample["extra_fields"]["max_global_steps"] == 3 + len(server.said) - 1
    assert nested  # keywords that verl's own schema model drops were shown


class _Breaks:
    """A sandbox of which the second session cannot be opened."""

    def __init__(self, sandbox):
        self.sandbox, self.opened = sandbox, 0

    def session(self, *args, **kwargs):
        self.opened += 1
        if self.opened == 2:
            raise FoundryError("no worker could be started")
        return self.sandbox.session(*args, **kwargs)


def test_unscored_episode_is_left_out(exported, model_folders, specs, queue, sandbox, monkeypatch, caplog):
    """Of a group of three, one breaks: verl has the other two, the cause in its log, and no score of 0."""
    _, tokenizer = model_folders["hermes"]
    config = exported(mode="episode", overrides=["actor_rollout_ref.rollout.n=3"])
    broken = _Breaks(sandbox)
    monkeypatch.setattr(agent_loop, "sandbox", lambda: broken)
    spec = next(iter(specs.values()))
    server = ScriptedServer(tokenizer, messages_of(played("gold", spec, sandbox)))
    with caplog.at_level(logging.ERROR):
        play(config, row_of(config, tokenizer, spec.id), server)
    assert len(queue.samples) == 2
    assert [sample["rm_scores"].sum().item() for sample in queue.samples.values()] == [1.0, 1.0]
    assert queue.status["u"] == "failure"
    [record] = [record for record in caplog.records if record.exc_info and record.name.startswith("verl")]
    assert f"episode of {spec.id}: FoundryError: no worker could be started" in str(record.exc_info[1])


def test_response_has_an_end(exported, model_folders, specs, queue, sandbox):
    """No response is longer than the limit: the last turn gets what is left, and an episode without room ends."""
    _, tokenizer = model_folders["hermes"]
    spec = next(spec for spec in specs.values() if spec.scenario.kind == "multi_hop")
    gold = messages_of(played("gold", spec, sandbox))
    whole = ScriptedServer(tokenizer, gold)
    config = exported(mode="episode", overrides=["actor_rollout_ref.rollout.n=1", "data.max_response_length=9000"])
    play(config, row_of(config, tokenizer, spec.id), whole)
    [sample] = queue.samples.values()
    full, base = len(sample["responses"]), len(sample["prompts"])
    assert whole.limits[0] == 1024  # one turn of the paper
    before_second = len(whole.prompts[1]) - base
    for limit in (full, full - 1, before_second + 1, before_second):
        queue.samples.clear()
        config = exported(
            mode="episode", overrides=["actor_rollout_ref.rollout.n=1", f"data.max_response_length={limit}"]
        )
        play(config, row_of(config, tokenizer, spec.id), ScriptedServer(tokenizer, gold))
        [sample] = queue.samples.values()
        assert len(sample["responses"]) <= limit
        assert sample["response_mask"][-1] == 1  # it ends with what the policy said
        assert (sample["extra_fields"]["stop"], sample["rm_scores"].sum().item() == 1.0) == (
            ("answered", True) if limit == full else ("length", False)
        )


def test_prompt_over_length_is_left_out(exported, model_folders, specs, queue, sandbox, caplog):
    """Where verl did not filter, a prompt over the limit gives no sample, with the limit's name in the log."""
    _, tokenizer = model_folders["hermes"]
    overrides = ["actor_rollout_ref.rollout.n=1", "data.filter_overlong_prompts=false", "data.max_prompt_length=50"]
    config = exported(mode="episode", overrides=overrides)
    spec = next(iter(specs.values()))
    with caplog.at_level(logging.ERROR):
        play(config, row_of(config, tokenizer, spec.id), ScriptedServer(tokenizer, []))
    assert queue.samples == {}
    assert queue.status["u"] == "failure"
    causes = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert any("expected at most data.max_prompt_length = 50" in cause for cause in causes)


@pytest.mark.parametrize("policy", ["gold", "silent"])
def test_split_episodes_share_score_and_advantage(exported, model_folders, specs, queue, sandbox, policy):
    """Qwen3 without thinking rewrites earlier turns: each turn is a sample, all with the episode's score; and verl's
    V1 trainer gives all of them the advantage of their episode."""
    _, tokenizer = model_folders["qwen3"]
    config = exported(chat="qwen3", mode="episode", overrides=["actor_rollout_ref.rollout.n=2"])
    spec = next(spec for spec in specs.values() if spec.scenario.kind == "multi_hop")
    core = played(policy, spec, sandbox)
    server = ScriptedServer(tokenizer, messages_of(core), chat="qwen3")
    play(config, row_of(config, tokenizer, spec.id), server)
    assert len(queue.samples) == 2 * len(core.turns)
    assert (len(core.turns) > 2) is (policy == "gold")
    for sample in queue.samples.values():
        assert sample["rm_scores"].sum().item() == trajectory_value(core)
        assert sample["response_mask"].all()
    trained = sorted(sample["responses"].tolist() for sample in queue.samples.values())
    assert trained == sorted(server.said)


def test_advantages_of_a_split_group(exported, model_folders, specs, queue, sandbox):
    """A right and a silent episode of one group: every sample of the right one gets the same positive advantage."""
    _, tokenizer = model_folders["qwen3"]
    config = exported(chat="qwen3", mode="episode", overrides=["actor_rollout_ref.rollout.n=1"])
    spec = next(spec for spec in specs.values() if spec.scenario.kind == "multi_hop")
    samples = {}
    for session, policy in enumerate(("gold", "silent")):
        server = ScriptedServer(tokenizer, messages_of(played(policy, spec, sandbox)), chat="qwen3")
        play(config, row_of(config, tokenizer, spec.id), server)
        samples |= {f"u_{session}_{key.rsplit('_', 1)[1]}": value for key, value in queue.samples.items()}
        queue.samples.clear()
    pad = torch.nn.utils.rnn.pad_sequence
    data = DataProto.from_dict(
        tensors={
            "response_mask": pad([value["response_mask"] for value in samples.values()], batch_first=True),
            "token_level_rewards": pad([value["rm_scores"] for value in samples.values()], batch_first=True),
        },
        non_tensors={"uid": np.array(["u"] * len(samples), dtype=object)},
    )
    found = compute_advantage_for_multi_trajectories(data, list(samples), "grpo", config=config.algorithm)
    for key, advantages, mask in zip(samples, found.batch["advantages"], data.batch["response_mask"], strict=True):
        right = key.startswith("u_0")
        expected = (1 if right else -1) * 0.5 / (0.5 * 2**0.5 + 1e-6)
        assert advantages[mask.bool()].tolist() == pytest.approx([expected] * int(mask.sum()), abs=1e-5)


class _Handle:
    """In place of the reward loop's remote worker: verl's reward manager in this process."""

    def __init__(self, config, tokenizer):
        self._make = lambda: load_reward_manager(config, tokenizer)
        self.compute_score = self

    async def remote(self, data):
        return await self._make().run_single(data)


def test_prefix_responses_are_scored_by_the_reward_loop(exported, model_folders, specs, queue, sandbox):
    """Loop and reward function together: each gold turn, sampled at its stored prefix, has the core's turn reward."""
    _, tokenizer = model_folders["hermes"]
    spec = next(spec for spec in specs.values() if spec.scenario.kind == "parallel_multi_hop")
    core = played("gold", spec, sandbox)
    config = exported(mode="prefix", trajectories=[core], overrides=["actor_rollout_ref.rollout.n=2"])
    rows = []
    for files in ("train_files", "val_files"):
        rows += get_dataset_class(config.data)(config.data[files], tokenizer, config.data)
    rows = sorted(
        (row for row in rows if row["extra_info"]["environment"] == spec.id), key=lambda row: row["extra_info"]["key"]
    )
    assert len(rows) == len(core.turns) > 2
    for row, turn, graded in zip(rows, core.turns, grade_trajectory(core), strict=True):
        server = ScriptedServer(tokenizer, [turn.completion.message])
        play(config, row, server, handles=[_Handle(config, tokenizer)])
        assert len(queue.samples) == 2
        for sample in queue.samples.values():
            assert sample["rm_scores"].sum().item() == pytest.approx(graded.reward.value, abs=1e-7)
            assert sample["response_mask"].all()
            assert sample["responses"].tolist() == server.said[0]
        text = chat_format("hermes").render(
            conversation(core, rows.index(row)), opening(spec).tools, generation=True, thinking=False
        )
        assert tokenizer.decode(server.prompts[0]) == text
        queue.samples.clear()


def test_cut_off_response_is_malformed(exported, model_folders, specs, queue):
    """A response that meets its limit has no end of turn: the reward function knows it from the loop, and says -0.3."""
    _, tokenizer = model_folders["hermes"]
    overrides = ["actor_rollout_ref.rollout.n=1", "data.max_response_length=8"]
    config = exported(mode="prefix", overrides=overrides)
    row = row_of(config, tokenizer, next(iter(specs)))
    server = ScriptedServer(tokenizer, [Message(role="assistant", content="A long answer that is cut off.")])
    play(config, row, server, handles=[_Handle(config, tokenizer)])
    [sample] = queue.samples.values()
    assert len(sample["responses"]) == 8
    assert sample["rm_scores"].sum().item() == pytest.approx(-0.3)


def test_legacy_worker_takes_episodes_too(exported, model_folders, specs, sandbox):
    """The worker of verl's older trainer pads the same samples; an episode that is not split works there."""
    _, tokenizer = model_folders["hermes"]
    config = exported(mode="episode")
    spec = next(iter(specs.values()))
    row = row_of(config, tokenizer, spec.id)
    batch = collate_fn([row, row])
    data = DataProto.from_single_dict(batch)
    script = messages_of(played("gold", spec, sandbox))

    async def run():
        return await AgentLoopWorker(config, ScriptedServer(tokenizer, script)).generate_sequences(data)

    out = asyncio.run(run())
    assert out.batch["rm_scores"].sum(dim=1).tolist() == [1.0, 1.0]
    assert out.batch["responses"].shape == (2, config.data.max_response_length)
    said = "".join(chat_format("hermes").completion(message, thinking=False) for message in script)
    for responses, mask in zip(out.batch["responses"], out.batch["response_mask"], strict=True):
        assert tokenizer.decode(responses[mask.bool()]) == said
