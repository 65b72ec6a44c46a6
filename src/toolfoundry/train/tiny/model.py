# pyright: basic
"""The tiny policy's network: a Qwen3 decoder of transformers, made from a configuration, 0.7M parameters by default."""

from __future__ import annotations

import torch
from pydantic import Field
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from toolfoundry.types import Record

__all__ = ["SIZES", "Size", "build_model"]


class Size(Record):
    """The shape of the network. `hidden` is divided among the heads; the MLP is three times as wide."""

    hidden: int = Field(default=128, ge=16)
    layers: int = Field(default=3, ge=1)
    heads: int = Field(default=4, ge=1)


SIZES: dict[str, Size] = {
    "small": Size(hidden=96, layers=3),
    "base": Size(hidden=128, layers=3),
    "large": Size(hidden=192, layers=4, heads=6),
}


def build_model(tokenizer: PreTrainedTokenizerFast, size: Size, *, seed: int = 0) -> Qwen3ForCausalLM:
    """A network with random weights: float32, tied embeddings, the vocabulary padded to a multiple of 64."""
    end, pad = (tokenizer.get_vocab()[token] for token in ("<|im_end|>", "<|endoftext|>"))
    config = Qwen3Config(
        vocab_size=(len(tokenizer) + 63) // 64 * 64,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        head_dim=size.hidden // size.heads,
        intermediate_size=3 * size.hidden,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    config._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config).float()
    model.generation_config.eos_token_id = end
    model.generation_config.pad_token_id = pad
    return model
