"""Our environments in TRL's own loop: TRL renders, dispatches and gathers; tools, results and rewards are ours."""

import asyncio
import math
import re
import warnings
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the extra train")

import torch

from conformance.drive_trl import scripted_trainer
from fakes import capital_spec
from toolfoundry.demo import environments
from toolfoundry.environment import opening
from toolfoundry.errors import FoundryError, InputError, SandboxError
from toolfoundry.policies.scripted import make, script
from toolfoundry.reward import score_trajectory
from toolfoundry.rollout import run_rollout
from toolfoundry.store import RecordWriter
from toolfoundry.train.trl_environments import CALL_TOOL, environments_for_trl, read_calls
from toolfoundry.types import EnvSpec, Message, Tool, ToolCall, ToolSchema
from train.toy_model import toy_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:You are using 'environment_factory'", "ignore:`is_gradient_check")

SPECS = [environments()[index] for index in (0, 1, 3, 4)]  # of every scenario, one with a state


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def envs(tmp_path):
    return write(tmp_path / "envs.jsonl", SPECS)


def write(path, specs):
    with RecordWriter(path, EnvSpec) as writer:
        for spec in specs:
            writer.write(spec)
    return path


def core(spec, name, sandbox):
    return score_trajectory(asyncio.run(run_rollout(make(name, spec), spec, sandbox)))


def played(trainer, rows=None):
    """TRL's rewards of a batch in which every row is played twice."""
    rows = list(trainer.ours.dataset) if rows is None else rows
    batch = trainer._generate_and_score_completions([row for row in rows for _ in range(2)])
    return trainer.rewards[:, 0].tolist(), batch


def through_call_tool(message):
    calls = tuple(
        ToolCall(id=call.id, name="call_tool", arguments=f'{{"name": "{call.name}", "arguments": {call.arguments}}}')
        for call in message.tool_calls
    )
    return message.model_copy(update={"tool_calls": calls})


@pytest.mark.parametrize("tools", ["family", "generic"])
@pytest.mark.parametrize("policy", ["gold", "silent", "spam", "one-hop", "answer-only"])
def test_rewards_are_those_of_our_core(envs, tmp_path, sandbox, policy, tools):
    """Each episode has in TRL the score that it has in our own rollout, with either way of showing tools."""
    scripts = {spec.id: script(policy, spec) for spec in SPECS}
    if tools == "generic":
        scripts = {key: [through_call_tool(message) for message in said] for key, said in scripts.items()}
    trainer = scripted_trainer(envs, sandbox, scripts, tmp_path / "run", tools=tools)
    rewards, batch = played(trainer)
    expected = [core(spec, policy, sandbox).value for spec in SPECS for _ in range(2)]
    assert rewards == pytest.approx(expected, abs=1e-6)  # TRL keeps float32
    assert expected == {"gold": [1.0] * 8, "silent": [0.0] * 8, "answer-only": [0.5] * 8}.get(policy, expected)
    if policy == "gold":  # what the policy said is trained, what the tools said is not
        assert 0 < (batch["tool_mask"] * batch["completion_mask"]).sum() < batch["completion_mask"].sum()
        assert trainer._metrics["train"]["solve_f1"] == [1.0]
        assert trainer._metrics["train"]["unscored"] == [0]


def test_schemas_reach_the_prompt_whole(tmp_path, sandbox):
    """Objects in objects, enums, bounds and defaults stand in TRL's prompt as in ours. From a method TRL would make a
    schema without them: that is why its tools are schemas that can be called."""
    from transformers.utils import get_json_schema

    where = {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Velden", "Nor"]}, "floor": {"type": "integer"}},
        "required": ["city"],
    }
    bounded = {"type": "integer", "minimum": 1, "maximum": 9, "default": 3, "description": "How many."}
    either = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "number"}}]}
    properties = {"where": where, "count": bounded, "either": either}
    parameters = {"type": "object", "properties": properties, "required": ["where"], "additionalProperties": False}
    signature = ToolSchema(name="author_of", description="Author.", parameters=parameters)
    plain = capital_spec()
    tool = Tool(signature=signature, source="def author_of(where, count=3, either=None): ...")
    spec = plain.replace(tools=(tool, *plain.tools[1:]), gold_calls=None)
    envs = write(tmp_path / "envs.jsonl", [spec])
    trainer = scripted_trainer(envs, sandbox, {}, tmp_path / "run")
    row = trainer.ours.dataset[0]
    trainer._batch_environments = [row["environment"]]
    [ids], _, _ = trainer._tokenize_prompts([row["prompt"]])
    from toolfoundry.chat import chat_format

    messages, tools = opening(spec)
    by_name = sorted(tools, key=lambda tool: tool.name)  # TRL's order
    expected = chat_format("hermes").render(messages, by_name, generation=True, thinking=False)
    assert trainer._tokenizer.decode(ids) == expected
    assert '"maximum": 9' in expected
    assert '"enum": ["Velden", "Nor"]' in expected

    def author_of(where: dict, count: int = 3, either: str | list[float] | None = None) -> str:
        """Author.

        Args:
            where: A place.
            count: How many.
            either: A name or numbers.
        """

    derived = get_json_schema(author_of)["function"]["parameters"]["properties"]
    assert derived["where"] == {"type": "object", "description": "A place."}
    assert derived["count"] == {"type": "integer", "description": "How many."}


def test_one_class_for_each_set_of_tools(tmp_path, sandbox):
    """Environments with the same tools share a class whatever the order of the tools; other tools, another class."""
    one = capital_spec()
    same = capital_spec(1, tools=tuple(reversed(one.tools)))
    other = capital_spec(2, tools=(*one.tools, one.tools[0].model_copy(update={"signature": CALL_TOOL})))
    envs = write(tmp_path / "envs.jsonl", [one, same, other])
    ours = environments_for_trl(envs, toy_tokenizer(), sandbox)
    assert ours.dataset["environment"] == ["Family0", "Family0", "Family1"]
    assert list(ours.factory) == ["Family0", "Family1"]
    with pytest.raises(InputError, match="found 2 different sets of tools, expected at most 1"):
        environments_for_trl(envs, toy_tokenizer(), sandbox, max_families=1)
    generic = environments_for_trl(envs, toy_tokenizer(), sandbox, tools="generic", max_families=1)
    assert "environment" not in generic.dataset.column_names
    assert '{"type": "function", "function": {"name": "town_of",' in generic.dataset[0]["prompt"][0]["content"]


def test_nothing_that_grades_is_in_the_dataset(envs, sandbox):
    """A row holds the prompt, the id and the class: no answers, no gold calls, no sources."""
    ours = environments_for_trl(envs, toy_tokenizer(), sandbox)
    assert ours.dataset.column_names == ["prompt", "environment_id", "environment"]
    for row, spec in zip(ours.dataset, SPECS, strict=True):
        assert row["prompt"] == [{"role": m.role, "content": m.content} for m in opening(spec).messages]


@pytest.mark.parametrize("name", ["reset", "get_reward", "_hidden"])
def test_names_that_trl_keeps_for_itself(tmp_path, sandbox, name):
    """A tool that TRL would not take for one is an error that names it; the generic way takes it."""
    plain = capital_spec()
    tool = plain.tools[2]
    renamed = tool.model_copy(update={"signature": tool.signature.model_copy(update={"name": name})})
    spec = plain.replace(tools=(*plain.tools[:2], renamed))
    envs = write(tmp_path / "envs.jsonl", [spec])
    with pytest.raises(InputError, match=f"environment {spec.id}: found a tool named '{name}', expected a name that"):
        environments_for_trl(envs, toy_tokenizer(), sandbox)
    assert len(environments_for_trl(envs, toy_tokenizer(), sandbox, tools="generic").dataset) == 1


def test_empty_file(tmp_path, sandbox):
    """There is nothing to train on."""
    with pytest.raises(InputError, match="has no environments"):
        environments_for_trl(write(tmp_path / "envs.jsonl", []), toy_tokenizer(), sandbox)


def with_bad_call(spec):
    """The gold play, whose first message has a call more that cannot be read."""
    first, *rest = script("gold", spec)
    bad = ToolCall(id="bad", name="", arguments='{"name": "look')
    return [first.model_copy(update={"tool_calls": (*first.tool_calls, bad)}), *rest]


def test_an_unreadable_call_beside_good_ones(envs, tmp_path, sandbox):
    """Read as we do, the good calls are executed, the bad one has a reply, and the reward is the core's: only
    precision is lost. As TRL reads it the message is text, and nothing is executed; its calls count all the same."""
    spec = SPECS[0]
    said = with_bad_call(spec)

    async def policy(messages, tools):
        from toolfoundry.types import Completion

        return Completion(message=said[sum(message.role == "assistant" for message in messages)])

    expected = score_trajectory(asyncio.run(run_rollout(policy, spec, sandbox)))
    trainer = scripted_trainer(envs, sandbox, {spec.id: said}, tmp_path / "run")
    seen = []
    plain = trainer.reward_funcs[0]
    trainer.reward_funcs[0] = lambda completions, **rest: [
        seen.append(completions[0]),
        *plain(completions=completions, **rest),
    ][1:]
    rewards, _ = played(trainer, [trainer.ours.dataset[0]])
    assert rewards == pytest.approx([expected.value] * 2)
    assert 0.5 < expected.value < 1
    replies = [message["content"] for message in seen[0] if message["role"] == "tool"]
    assert "malformed_call: this call could not be read" in replies[2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = scripted_trainer(envs, sandbox, {spec.id: said}, tmp_path / "run", reader=False)
    rewards, _ = played(alone, [alone.ours.dataset[0]])
    assert rewards == [0, 0]
    assert alone._metrics["train"]["calls"] == [3]


def test_calls_that_trl_refuses(envs, tmp_path, sandbox):
    """An unknown tool and arguments that are no object count as calls, as in the core."""
    spec = SPECS[0]
    first, *rest = script("gold", spec)
    wrong = (
        ToolCall(id="a", name="no_such", arguments="{}"),
        ToolCall(id="b", name=spec.tools[0].name, arguments="[1]"),
    )
    said = [first.model_copy(update={"tool_calls": (*wrong, *first.tool_calls)}), *rest]
    for reader in (True, False):
        trainer = scripted_trainer(envs, sandbox, {spec.id: said}, tmp_path / "run", reader=reader)
        rewards, _ = played(trainer, [trainer.ours.dataset[0]])
        assert rewards == pytest.approx([0.5 * 4 / (4 + 2) + 0.5] * 2)  # 2 solved by 4 calls, and the right answer


@pytest.mark.parametrize("reader", [True, False])
@pytest.mark.parametrize("value", ["1" * 40, '"\\ud800"', "1e999", "[" * 200 + "]" * 200])
def test_values_that_are_hard_to_write(envs, tmp_path, sandbox, value, reader):
    """Numbers without end, half a character, deep nesting: a call like any other that earns nothing; nothing breaks."""
    spec = SPECS[0]
    first, *rest = script("gold", spec)
    odd = ToolCall(id="odd", name=spec.tools[0].name, arguments=f'{{"apiary": {value}}}')
    said = [first.model_copy(update={"tool_calls": (*first.tool_calls, odd)}), *rest]
    trainer = scripted_trainer(envs, sandbox, {spec.id: said}, tmp_path / "run", reader=reader)
    rewards, _ = played(trainer, [trainer.ours.dataset[0]])
    assert rewards == pytest.approx([0.5 * 4 / (3 + 2) + 0.5] * 2)


def test_a_turn_has_at_most_sixteen_calls(envs, tmp_path, sandbox):
    """TRL executes any number; what stands behind the sixteenth call of a message earns nothing, as in the core."""
    spec = SPECS[0]
    first, *rest = script("gold", spec)
    empty = tuple(ToolCall(id=f"e{i}", name=spec.tools[0].name, arguments="{}") for i in range(16))
    said = [first.model_copy(update={"tool_calls": (*empty, *first.tool_calls)}), *rest]
    trainer = scripted_trainer(envs, sandbox, {spec.id: said}, tmp_path / "run")
    rewards, _ = played(trainer, [trainer.ours.dataset[0]])
    assert rewards == [0.5, 0.5]


def test_an_answer_that_was_cut_off(envs, tmp_path, sandbox):
    """What meets the token limit is not finished, so its answer does not count."""
    spec = SPECS[0]
    said = [Message(role="assistant", content=script("answer-only", spec)[0].content + " " + "so " * 50)]
    trainer = scripted_trainer(envs, sandbox, {spec.id: said}, tmp_path / "run")
    assert played(trainer, [trainer.ours.dataset[0]])[0] == [0.5, 0.5]
    cut = scripted_trainer(envs, sandbox, {spec.id: said}, tmp_path / "run", cut=60)
    assert played(cut, [cut.ours.dataset[0]])[0] == [0, 0]


class _Breaks:
    """A sandbox in which the session of one number cannot be opened; None: none can."""

    def __init__(self, sandbox, number):
        self._sandbox, self._number, self._opened = sandbox, number, 0

    def session(self, *args, **rest):
        self._opened += 1
        if self._number in (None, self._opened):
            raise SandboxError("no worker")
        return self._sandbox.session(*args, **rest)


def test_what_cannot_be_scored_is_no_zero(envs, tmp_path, sandbox):
    """TRL gets None: the episode has advantage 0 and no part in the mean of its group."""
    spec = SPECS[0]
    scripts = {spec.id: script("gold", spec)}
    trainer = scripted_trainer(
        envs, _Breaks(sandbox, 2), scripts, tmp_path / "run", num_generations=3, per_device_train_batch_size=3
    )
    row = trainer.ours.dataset[0]
    batch = trainer._generate_and_score_completions([row] * 3)
    rewards = trainer.rewards[:, 0].tolist()
    assert rewards[0] == rewards[2] == 1
    assert math.isnan(rewards[1])
    assert batch["advantages"].tolist() == [0, 0, 0]  # with a zero for the second they would be 0.58, -1.15, 0.58
    assert trainer.ours.causes == {"SandboxError: no worker": 1}
    assert trainer._metrics["train"]["unscored"] == [1]
    assert trainer._metrics["train"]["reward"] == [1.0]


def test_nothing_scored_stops_the_run(envs, tmp_path, sandbox):
    """Where no episode of a batch can be scored the run stops with the cause; TRL would go on and learn nothing."""
    spec = SPECS[0]
    trainer = scripted_trainer(envs, _Breaks(sandbox, None), {spec.id: script("gold", spec)}, tmp_path / "run")
    with pytest.raises(FoundryError, match="none of 2 episodes could be scored: SandboxError: no worker"):
        played(trainer, [trainer.ours.dataset[0]])


def test_slots_are_reset(envs, tmp_path, sandbox):
    """TRL uses an environment's object again: a silent episode after a gold one has nothing of it."""
    spec = SPECS[3]
    scripts = {spec.id: script("gold", spec)}
    trainer = scripted_trainer(envs, sandbox, scripts, tmp_path / "run")
    row = trainer.ours.dataset[3]
    assert played(trainer, [row])[0] == [1, 1]
    scripts[spec.id] = script("silent", spec)
    assert played(trainer, [row])[0] == [0, 0]
    scripts[spec.id] = script("gold", spec)
    assert played(trainer, [row])[0] == [1, 1]
    assert sum(len(pool) for pool in trainer._environment_pool.values()) == len(trainer._environment_pool) + 1


def test_reader_keeps_thinking_and_faults():
    """What our chat format finds in a completion is there for the reward: thinking, faults, calls."""
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = None
    read_calls(tokenizer, "qwen3")
    text = '<think>\nhm\n</think>\n\nI look.\n<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call><|im_end|>'
    message = tokenizer.parse_response(tokenizer.encode(text, add_special_tokens=False), prefix=[])
    assert message == {
        "role": "assistant",
        "content": "I look.",
        "reasoning_content": "hm",
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}],
    }
    assert "<tool_response>" in tokenizer.chat_template
    cut = tokenizer.parse_response(tokenizer.encode("Well", add_special_tokens=False), prefix=[])
    assert [fault["kind"] for fault in cut["faults"]] == ["unfinished"]
    with pytest.raises(InputError, match="chat format: found 'llama'"):
        read_calls(tokenizer, "llama")


def test_example_of_the_page_trains(tmp_path, monkeypatch, run):
    """The program on the page trains the packaged policy for some steps in TRL's own trainer, tools included."""
    page = Path(__file__).parents[2] / "docs" / "trl-environments.md"
    code = re.search(r"```python\n(.*?)```", page.read_text(), re.DOTALL)[1]
    assert len(code.splitlines()) <= 30
    monkeypatch.chdir(tmp_path)
    command = re.search(r"^toolfoundry (build .*)$", page.read_text(), re.MULTILINE)[1]
    assert run(*command.split())[0] == 0
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, names)  # our own documentation, not a tool
    history = [row for row in names["trainer"].state.log_history if "reward" in row]
    assert len(history) == 3
    assert all(0 <= row["reward"] <= 1 and row["unscored"] == 0 for row in history)
    assert any(row["grad_norm"] > 0 for row in history)
    assert any(row["tools/call_frequency"] > 0 and row["solve_f1"] > 0 for row in history)
