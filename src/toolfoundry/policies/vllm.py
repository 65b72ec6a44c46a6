"""vLLM as the sampler, in this process: the same protocol as `toolfoundry.policies.transformers`, on CUDA only.

    sampler, codec = load_vllm("Qwen/Qwen2.5-7B-Instruct", chat="hermes")
    sampled = sampler.sample([Request(ids, seed), ...], max_tokens=1024, temperature=1.0)

Prompts go in and completions come out as token ids. vLLM batches by itself and keeps the keys and values of prompts
that it has read, so requests with equal prompts share that work. Each request has its own seed, but its kernels round
differently from batch to batch: the same seed need not give the same ids again.

The interface used is that of vLLM 0.22 to 0.31.
"""
# pyright: basic

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toolfoundry.errors import ContextFull, FoundryError, InputError, MissingExtra
from toolfoundry.policies.sampling import Request, Sampled

if TYPE_CHECKING:
    from toolfoundry.policies.transformers import HFCodec

__all__ = ["VLLMSampler", "load_vllm"]


class VLLMSampler:
    """Completes prompts with a `vllm.LLM`, made with `logprobs_mode="processed_logprobs"` (as `load_vllm` does).

    `context`: tokens that a prompt and its completion may have together.

    Raises MissingExtra where vLLM is not installed, InputError for an engine that reports other log-probabilities.
    """

    def __init__(self, llm: Any, end_ids: Sequence[int]) -> None:
        self._llm, self._end_ids = llm, list(end_ids)
        self._sampling = _vllm().SamplingParams
        if (mode := llm.model_config.logprobs_mode) != "processed_logprobs":
            raise InputError(
                f"vllm: found an engine with logprobs_mode {mode!r}, expected 'processed_logprobs' (log-probabilities "
                "at the sampling temperature)"
            )
        self.context: int = llm.model_config.max_model_len

    def sample(self, requests: Sequence[Request], *, max_tokens: int, temperature: float) -> list[Sampled]:
        """The completions in the order of the requests; shorter than `max_tokens` where the context ends before.

        Raises ContextFull for a prompt that leaves no room, FoundryError where a log-probability is missing or NaN.
        """
        for request in requests:
            if not 0 < len(request.prompt_ids) < self.context:
                found = f"a prompt of {len(request.prompt_ids)} tokens"
                raise ContextFull(f"{found}, expected 1 to {self.context - 1} (the engine's context is {self.context})")
        if not requests:
            return []
        outputs = self._llm.generate(
            [{"prompt_token_ids": list(request.prompt_ids)} for request in requests],
            sampling_params=[
                self._sampling(
                    temperature=temperature,
                    max_tokens=min(max_tokens, self.context - len(request.prompt_ids)),
                    seed=request.seed,
                    stop_token_ids=self._end_ids,
                    logprobs=0,  # of the sampled token alone
                    detokenize=False,
                )
                for request in requests
            ],
            use_tqdm=False,
        )
        return [_sampled(output.outputs[0]) for output in outputs]


def load_vllm(model: str, *, chat: str = "hermes", dtype: str = "auto", **engine: Any) -> tuple[VLLMSampler, HFCodec]:
    """Starts an engine for a checkpoint (safetensors only, none of its code is run).

    Args:
        model: a folder, a name on the Hugging Face hub, or "tiny".
        chat: the chat format in which it is spoken to.
        dtype: as vLLM names it; "auto" is that of the checkpoint.
        engine: further arguments of `vllm.LLM`, such as `tensor_parallel_size` or `gpu_memory_utilization`.
    Raises:
        MissingExtra: vLLM is not installed. InputError: there is no CUDA device, or the checkpoint is not usable.
        FoundryError: the engine does not start.
    """
    vllm = _vllm()
    from toolfoundry.policies.transformers import checkpoint_folder, cuda_devices, load_codec

    if not cuda_devices():
        raise InputError("policy vllm: found no CUDA device, expected one (policy transformers runs on a CPU)")
    folder = checkpoint_folder(model)
    codec = load_codec(model, chat=chat)
    try:
        llm = vllm.LLM(
            str(folder),
            dtype=dtype,
            trust_remote_code=False,
            load_format="safetensors",
            enable_prefix_caching=True,
            logprobs_mode="processed_logprobs",
            **engine,
        )
    except Exception as failure:  # the engine's processes fail in many ways; what they wrote stands above this line
        raise FoundryError(f"{model}: vLLM does not start: {type(failure).__name__}: {failure}") from failure
    return VLLMSampler(llm, codec.end_ids), codec


def _vllm() -> Any:
    try:
        import vllm  # pyright: ignore[reportMissingImports] - needs CUDA to be installed
    except ImportError:
        raise MissingExtra("vllm", "the policy vllm") from None
    return vllm


def _sampled(output: Any) -> Sampled:
    ids = list(output.token_ids)
    if output.logprobs is None or len(output.logprobs) != len(ids):
        raise FoundryError(f"vllm: found no log-probabilities for {len(ids)} sampled tokens, expected one for each")
    logprobs = [at[token].logprob for token, at in zip(ids, output.logprobs, strict=True)]
    if any(math.isnan(value) for value in logprobs):
        raise FoundryError("the model gives NaN: its weights are broken, or training has diverged")
    return Sampled(ids, logprobs)
