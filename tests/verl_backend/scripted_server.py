"""What stands in for a GPU: a model folder with a byte tokenizer, and a server that says what a script tells it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from toolfoundry.chat import chat_format
from toolfoundry.policies.scripted import make
from toolfoundry.rollout import run_rollout
from toolfoundry.types import EnvSpec, Limits, Message, Trajectory
from train.toy_model import toy_tokenizer

_TEMPLATE = """\
{%- set thinks = FLAG -%}
{%- set first = messages[0] -%}
{%- set system = first.content if first.role == 'system' else
    ('' if thinks else 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.') -%}
{{- '<|im_start|>system\\n' + system + ('\\n\\n' if system else '') -}}
{{- '# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\n'
    'You are provided with function signatures within <tools></tools> XML tags:\\n<tools>' -}}
{%- for tool in tools -%}{{- '\\n' + (tool | tojson) -}}{%- endfor -%}
{{- '\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments within '
    '<tool_call></tool_call> XML tags:\\n<tool_call>\\n{"name": <function-name>, "arguments": <args-json-object>}\\n'
    '</tool_call><|im_end|>\\n' -}}
{%- for message in messages -%}
{%- if message.role != 'system' -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' + ('<think>\\n\\n</think>\\n\\n' if thinks and not enable_thinking else '') -}}
{%- endif -%}
"""


def save_model(folder: Path, chat: str) -> Any:
    """A model folder as verl reads it (configuration and tokenizer, no weights); gives the tokenizer.

    Its template writes openings as Qwen2.5's (`hermes`) or Qwen3's does.
    """
    from transformers import Qwen2Config, Qwen3Config

    tokenizer = toy_tokenizer()
    tokenizer.chat_template = _TEMPLATE.replace("FLAG", "true" if chat == "qwen3" else "false")
    tokenizer.save_pretrained(folder)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config, kind = (Qwen3Config, "Qwen3ForCausalLM") if chat == "qwen3" else (Qwen2Config, "Qwen2ForCausalLM")
    config(vocab_size=len(tokenizer), num_key_value_heads=1, architectures=[kind], **shape).save_pretrained(folder)
    return tokenizer


def played(name: str, spec: EnvSpec, sandbox: Any) -> Trajectory:
    """The rollout that a scripted policy plays in the core, without verl."""
    return asyncio.run(run_rollout(make(name, spec), spec, sandbox, Limits(), name=name))


class ScriptedServer:
    """In place of verl's client of its inference servers: the turns of given messages, whatever the prompt.

    Each conversation starts the script anew. `prompts`: the ids of every request, in order; `limits`: its max_tokens.
    """

    def __init__(self, tokenizer: Any, script: list[Message], *, chat: str = "hermes", logprobs: bool = False) -> None:
        self._tokenizer, self._chat, self._logprobs = tokenizer, chat_format(chat), logprobs
        self._script = script
        self._turn: dict[str, int] = {}
        self.prompts: list[list[int]] = []
        self.limits: list[int] = []
        self.said: list[list[int]] = []

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], **_: Any
    ) -> Any:
        from verl.workers.rollout.replica import TokenOutput

        turn = self._turn.get(request_id, 0)
        self._turn[request_id] = turn + 1
        text = self._chat.completion(self._script[turn], thinking=False)
        ids = self._tokenizer.encode(text, add_special_tokens=False)[: sampling_params["max_tokens"]]
        self.prompts.append(list(prompt_ids))
        self.limits.append(sampling_params["max_tokens"])
        self.said.append(ids)
        logprobs = [-float(len(self.said))] * len(ids) if self._logprobs else None
        steps = {"min_global_steps": 3, "max_global_steps": 3 + turn}
        return TokenOutput(token_ids=ids, log_probs=logprobs, stop_reason="completed", extra_fields=steps)
