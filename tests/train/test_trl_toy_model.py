"""The toy model of the tests of training is what they take it for."""

import pytest

pytest.importorskip("torch", reason="needs the extra train")

import torch

from train.toy_model import CONTROL, MARKUP, toy_model


def test_any_text_comes_back_and_control_tokens_are_single_ids():
    """The toy tokenizer is lossless, and each control token and piece of markup is one id."""
    _, tokenizer = toy_model()
    text = "<|im_start|>user\nÜber 3 × 4?\x00 日本<|im_end|>\n<tool_call>\n{}\n</tool_call>  \r\n\t"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    for token in CONTROL + MARKUP:
        assert len(tokenizer(token, add_special_tokens=False)["input_ids"]) == 1
    assert tokenizer.eos_token == "<|im_end|>"
    assert len(tokenizer) == 265


def test_same_seed_same_model():
    """A seed gives one model; another gives another."""

    def weights(seed):
        return toy_model(seed=seed)[0].model.embed_tokens.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
