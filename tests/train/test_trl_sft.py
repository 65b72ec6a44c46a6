"""SFT through TRL: exactly the masked tokens are learned."""

import asyncio

import pytest

pytest.importorskip("trl", reason="needs the extra train")

import torch

from fakes import TABLE, CannedExecutor, call, capital_spec, says
from toolfoundry.chat import chat_format
from toolfoundry.environment import opening
from toolfoundry.errors import FoundryError, InputError
from toolfoundry.policies.transformers import HFCodec
from toolfoundry.rollout import run_rollout
from toolfoundry.samples import Sample, demonstration_samples
from toolfoundry.tokens import Dialect
from toolfoundry.train.config import TrainConfig
from toolfoundry.train.trl_backend import last_checkpoint, train_sft
from toolfoundry.types import Message
from train.toy_model import toy_model, toy_tokenizer


def config(**changes):
    """Updates of 2 samples."""
    fields = {"algorithm": "sft", "prompts_per_step": 2, "prompts_per_update": None, "samples_per_device": 2}
    return TrainConfig(**{**fields, "learning_rate": 1e-2, "weight_decay": 0.0, **changes})


def samples(count=8, length=12):
    """Prompts of 4 tokens and answers of the rest, with a tool's words in the middle that are not to be learned."""
    mask = tuple(index >= 4 and index not in (7, 8) for index in range(length))
    return [
        Sample(key=str(n), group="g", token_ids=tuple((n * 7 + index * 3) % 250 for index in range(length)), mask=mask)
        for n in range(count)
    ]


def expected_loss(model, batch):
    """Cross-entropy over the masked tokens of all samples, computed plainly."""
    total, count = 0.0, 0
    for sample in batch:
        ids = torch.tensor([sample.token_ids])
        logprobs = torch.log_softmax(model(input_ids=ids).logits[0, :-1], -1)
        for place in range(1, len(sample.token_ids)):
            if sample.mask[place]:
                total -= logprobs[place - 1, sample.token_ids[place]].item()
                count += 1
    return total / count


@pytest.mark.parametrize("size", [1, 4])
def test_the_loss_is_that_of_the_masked_tokens(tmp_path, size):
    """The loss of an update is the mean over exactly the tokens whose mask is True, over all samples of the update,
    whether they are passed through at once or one by one; lengths may differ."""
    model, tokenizer = toy_model()
    batch = [*samples(2), *samples(1, 20), *samples(1, 9)]
    with torch.no_grad():
        wanted = expected_loss(model, batch)
    rows = []
    train_sft(config(prompts_per_step=4, samples_per_device=size), model, tokenizer, batch, tmp_path, rows.append)
    assert rows[0]["loss"] == pytest.approx(wanted, abs=1e-4)


def test_what_is_not_masked_is_not_learned(tmp_path):
    """After many passes the masked tokens are predicted, and those of prompt and tools still are not."""
    model, tokenizer = toy_model()
    batch = samples()
    rows = []
    stats = train_sft(config(epochs=15), model, tokenizer, batch, tmp_path, rows.append)
    assert (stats.steps, stats.updates) == (60, 60)
    assert rows[-1]["loss"] < 0.3 * rows[0]["loss"]
    with torch.no_grad():
        other = [
            sample.model_copy(update={"mask": tuple(index in (2, 3, 7, 8) for index in range(12))}) for sample in batch
        ]
        assert expected_loss(model, batch) < 2
        assert expected_loss(model, other) > 3 + expected_loss(model, batch)


def test_demonstrations_of_an_episode(tmp_path):
    """A gold trajectory becomes one sample, and can be imitated as it is."""
    tokenizer = toy_tokenizer()
    spoken = Dialect(chat_format("hermes"), HFCodec(tokenizer, chat_format("hermes").end_tokens))
    spec = capital_spec()
    said = [
        Message(role="assistant", tool_calls=(call("author_of", "Tides"),)),
        Message(role="assistant", content="<answer>Velden</answer>"),
    ]
    trajectory = asyncio.run(run_rollout(says(*said), spec, CannedExecutor(TABLE)))
    batch = demonstration_samples(trajectory, opening(spec).tools, spoken)
    model, _ = toy_model()
    rows = []
    train_sft(config(prompts_per_step=1, samples_per_device=1), model, tokenizer, batch, tmp_path, rows.append)
    with torch.no_grad():
        assert rows[0]["loss"] == pytest.approx(expected_loss(toy_model()[0], batch), abs=1e-4)


def test_resuming(tmp_path):
    """A run that had ended early goes on from its checkpoint with the samples that it had not yet seen."""
    batch = samples()
    whole = []
    model, tokenizer = toy_model()
    train_sft(config(save_every=2), model, tokenizer, batch, tmp_path / "whole", whole.append)

    class Stop(Exception):
        pass

    def stop(row):
        if row["step"] == 3:
            raise Stop

    again, _ = toy_model()
    with pytest.raises(Stop):
        train_sft(config(save_every=2), again, tokenizer, batch, tmp_path / "cut", stop)
    assert last_checkpoint(tmp_path / "cut") == tmp_path / "cut" / "checkpoint-2"
    rest = []
    again, _ = toy_model()
    stats = train_sft(config(save_every=2), again, tokenizer, batch, tmp_path / "cut", rest.append)
    assert stats.resumed_from == 2
    assert rest == whole[2:]


def test_nothing_to_learn(tmp_path):
    """Samples without a masked token, sizes that do not divide and a diverging run are errors."""
    model, tokenizer = toy_model()
    blank = [sample.model_copy(update={"mask": (False,) * 12}) for sample in samples(2)]
    with pytest.raises(InputError, match="found 2 without a token to learn"):
        train_sft(config(), model, tokenizer, blank, tmp_path)
    with pytest.raises(InputError, match="samples_per_device: found 3"):
        train_sft(config(samples_per_device=3), model, tokenizer, samples(), tmp_path)
    with torch.no_grad():
        model.model.norm.weight[0] = torch.inf
    with pytest.raises(FoundryError, match="training has diverged"):
        train_sft(config(), model, tokenizer, samples(), tmp_path)
