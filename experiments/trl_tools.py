"""Which way of showing tools to TRL does a model learn better: one class for each set of tools, or one generic call?

    python experiments/trl_tools.py [--seeds 0 1 2] [--imitate 800] [--steps 20] [--tests 96] [--out FOLDER]

The packaged tiny policy has only ever seen the tools as they are. So that both ways start alike, it first imitates as
many gold episodes written in the way under test, and then plays with TRL's GRPOTrainer; measured in TRL's own loop, by
the episode score at temperature 1, on new names and new relations.
"""

# pyright: basic

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import torch

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

from datasets import disable_progress_bars
from trl import GRPOConfig, GRPOTrainer

from toolfoundry.chat import chat_format
from toolfoundry.environment import opening
from toolfoundry.policies.scripted import make
from toolfoundry.policies.transformers import load_policy
from toolfoundry.rollout import run_rollout
from toolfoundry.samples import Sample, episode_samples
from toolfoundry.sandbox import Sandbox
from toolfoundry.seeds import derive_seed, generator
from toolfoundry.store import RecordWriter
from toolfoundry.tokens import Dialect
from toolfoundry.train.config import load_preset
from toolfoundry.train.loop import Optimizer, imitate
from toolfoundry.train.tiny.warmstart import build_set
from toolfoundry.train.trl_environments import CALL_TOOL, environments_for_trl, read_calls
from toolfoundry.types import EnvSpec, Message, ToolCall, Trajectory

WAYS = ("family", "generic")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--imitate", type=int, default=800, help="steps of 16 gold episodes")
    parser.add_argument("--steps", type=int, default=20, help="of GRPO, 4 environments x 8 episodes each")
    parser.add_argument("--tests", type=int, default=96)
    parser.add_argument("--out", type=Path, default=Path("experiments/out/trl"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    disable_progress_bars()
    rows = [{"tools": way, "seed": seed, **learn(way, seed, options)} for seed in options.seeds for way in WAYS]
    (options.out / "rows.json").write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
    for way in WAYS:
        own = [row for row in rows if row["tools"] == way]
        for name in ("imitated", "trained", "tokens", "seconds"):
            values = [row[name] for row in own]
            print(f"{way:8} {name:9} {statistics.mean(values):8.3f}  {[round(value, 3) for value in values]}")


def learn(way: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Scores after imitation and after GRPO, prompt tokens of the first test environment, CPU seconds."""
    started = time.process_time()
    train = build_set(options.out / f"train-{seed}.jsonl", 400, seed, jobs=1)
    tests = build_set(options.out / f"test-{seed}.jsonl", options.tests, seed, "test", jobs=1)
    both = options.out / f"both-{seed}.jsonl"
    with RecordWriter(both, EnvSpec, mode="overwrite") as writer:
        for spec in (*train, *tests):
            writer.write(spec)
    policy = load_policy("tiny")
    form = chat_format("hermes")
    dialect = Dialect(form, policy.codec)
    torch.manual_seed(derive_seed("trl tools", seed))
    with Sandbox() as sandbox:
        ours = environments_for_trl(both, policy.tokenizer, sandbox, tools=way)
        prompts = {row["environment_id"]: row["prompt"] for row in ours.dataset}
        samples = [sample for spec in train for sample in shown(spec, way, prompts[spec.id], dialect, sandbox)]
        optimizer = Optimizer(
            policy.model, load_preset("tiny-sft", optimizer="adamw", learning_rate=1e-3), options.imitate
        )
        rng = generator("trl tools", "batches", seed)
        policy.model.train()
        for _ in range(options.imitate):
            imitate(policy.model, optimizer, rng.sample(samples, 16), policy.tokenizer.pad_token_id)
        read_calls(policy.tokenizer, "hermes")
        settings = GRPOConfig(
            str(options.out / "run"), max_steps=options.steps, num_generations=8, num_generations_eval=1,
            per_device_train_batch_size=32, per_device_eval_batch_size=options.tests, learning_rate=3e-4,
            lr_scheduler_type="constant", max_completion_length=300, max_tool_calling_iterations=8, seed=seed,
            save_strategy="no", report_to=[], use_cpu=True, bf16=False, disable_tqdm=True, logging_steps=5,
            gradient_checkpointing=False,
        )  # fmt: skip
        trainer = GRPOTrainer(
            policy.model, args=settings, processing_class=policy.tokenizer, reward_funcs=ours.reward,
            train_dataset=ours.dataset.select(range(len(train))), environment_factory=ours.factory,
            eval_dataset=ours.dataset.select(range(len(train), len(train) + len(tests))),
        )  # fmt: skip
        imitated = trainer.evaluate()["eval_reward"]
        trainer.train()
        trained = trainer.evaluate()["eval_reward"]
    messages, tools = spoken_to(tests[0], way, prompts[tests[0].id])
    tokens = len(dialect.prompt(messages, tools).ids)
    return {"imitated": imitated, "trained": trained, "tokens": tokens, "seconds": time.process_time() - started}


def spoken_to(spec: EnvSpec, way: str, prompt: list[dict[str, str]]) -> tuple[list[Message], Sequence[Any]]:
    """The first messages and the tools that the model sees."""
    messages = [Message(role=message["role"], content=message["content"]) for message in prompt]
    tools = sorted(opening(spec).tools, key=lambda tool: tool.name) if way == "family" else [CALL_TOOL]
    return messages, tools


def shown(spec: EnvSpec, way: str, prompt: list[dict[str, str]], dialect: Dialect, sandbox: Sandbox) -> list[Sample]:
    """The gold episode as token ids, written in the way under test."""
    played = asyncio.run(run_rollout(make("gold", spec), spec, sandbox))
    messages, tools = spoken_to(spec, way, prompt)
    turns = []
    for turn in played.turns:
        said = turn.completion.message
        if way == "generic":
            said = said.model_copy(update={"tool_calls": tuple(through(call) for call in said.tool_calls)})
        completion = turn.completion.model_copy(update={"message": said, "token_ids": tuple(dialect.spell(said))})
        turns.append(turn.model_copy(update={"completion": completion}))
    written: Trajectory = played.model_copy(update={"prompt": tuple(messages), "turns": tuple(turns)})
    return episode_samples(written, tools, dialect)


def through(call: ToolCall) -> ToolCall:
    """The same call, made with the generic tool."""
    inner = {"name": call.name, "arguments": orjson.loads(call.arguments)}
    return ToolCall(id=call.id, name=CALL_TOOL.name, arguments=orjson.dumps(inner).decode())


if __name__ == "__main__":
    main()
