"""Loading a checkpoint: what comes back, and that everything wrong with one is said in a line."""

import json

import pytest

pytest.importorskip("torch", reason="needs the extra train")

import torch

from toolfoundry.chat import markup
from toolfoundry.errors import InputError
from toolfoundry.policies.sampling import Request
from toolfoundry.policies.transformers import HFCodec, TransformersSampler, load_policy
from train.toy_model import toy_model, toy_tokenizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint of the toy model."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model, tokenizer = toy_model()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of the checkpoint, to be spoilt."""
    copy = tmp_path / "checkpoint"
    copy.mkdir()
    for file in saved.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A request to the hub fails the test."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")


TEXT = "<|im_start|>user\nWie heißt 東京 \x00 in 2010?<|im_end|>\n<tool_call>\n{}\n</tool_call>  \r\n"


def test_a_checkpoint_comes_back_whole(saved):
    """Model, tokenizer and codec of a folder; the model is in eval mode, in float32 on the CPU."""
    policy = load_policy(str(saved), device="cpu")
    model, _ = toy_model()
    assert policy.name == str(saved)
    assert not policy.model.training
    assert {weight.dtype for weight in policy.model.parameters()} == {torch.float32}
    for name, weight in model.state_dict().items():
        assert torch.equal(policy.model.state_dict()[name], weight), name
    assert policy.codec.decode(policy.codec.encode(TEXT)) == TEXT
    [sampled] = TransformersSampler(policy.model, policy.codec.end_ids).sample(
        [Request(policy.codec.encode("Hello"), 1)], max_tokens=3, temperature=0.0
    )
    assert len(sampled.token_ids) <= 3


def test_the_dtype_can_be_chosen(saved):
    """bfloat16 on the CPU where it is asked for; a word that is none is refused."""
    weights = load_policy(str(saved), device="cpu", dtype="bfloat16").model.parameters()
    assert {weight.dtype for weight in weights} == {torch.bfloat16}
    with pytest.raises(InputError, match="dtype: found 'int3'"):
        load_policy(str(saved), dtype="int3")


def test_the_codec_is_not_touched_by_other_uses_of_the_tokenizer():
    """Truncation and padding that a call of the tokenizer leaves behind do not reach the codec."""
    tokenizer = toy_tokenizer()
    codec = HFCodec(tokenizer, markup.END_TOKENS)
    tokenizer([TEXT], truncation=True, max_length=4, padding="max_length")
    assert len(codec.encode(TEXT)) > 20
    assert codec.decode(codec.encode(TEXT)) == TEXT
    assert codec.end_ids == tuple(tokenizer.convert_tokens_to_ids(list(markup.END_TOKENS)))


def test_a_tokenizer_without_the_end_of_turn_is_refused():
    """The message names the model, what its tokenizer has, and what the format needs."""
    with pytest.raises(
        InputError, match=r"some/model: its tokenizer ends texts with '<\|im_end\|>' and has no '<\|eot"
    ):
        HFCodec(toy_tokenizer(), ["<|eot_id|>"], name="some/model")


def spoil(folder, problem):
    if problem == "no config":
        (folder / "config.json").unlink()
    elif problem == "no weights":
        (folder / "model.safetensors").unlink()
    elif problem == "pickled weights":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    elif problem == "broken weights":
        (folder / "model.safetensors").write_bytes(b"nothing of the kind")
    elif problem == "cut weights":
        weights = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    elif problem == "lost shard":
        (folder / "model.safetensors").unlink()
        index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    elif problem == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif problem == "adapter":
        (folder / "config.json").unlink()
        (folder / "adapter_config.json").write_text("{}")
    else:
        changes = {
            "more layers": {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3},
            "other shape": {"intermediate_size": 8},
            "unknown kind": {"model_type": "of-its-own"},
            "code": {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}},
        }[problem]
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("no config", "found no config.json"),
        ("no weights", "found no model.safetensors"),
        ("pickled weights", "pickled ones are not read"),
        ("broken weights", "cannot be loaded"),
        ("cut weights", "cannot be loaded"),
        ("lost shard", "found no model-00002-of-00002.safetensors, which model.safetensors.index.json names"),
        ("no tokenizer", "tokenizer"),
        ("adapter", "merge the adapter"),
        ("more layers", "weights are missing or of another shape, the first is model.layers.2"),
        ("other shape", "cannot be loaded|of another shape"),
        ("unknown kind", "cannot be loaded.*of-its-own"),
        ("code", "cannot be loaded|tokenizer cannot be read"),
    ],
)
def test_a_checkpoint_that_is_spoilt(folder, problem, message):
    """One line says which checkpoint, and what is wrong with it; nothing is filled in or fetched."""
    spoil(folder, problem)
    with pytest.raises(InputError, match=message) as raised:
        load_policy(str(folder), device="cpu")
    assert str(raised.value).startswith(f"{folder}: ")
    assert "\n" not in str(raised.value)


def test_a_tokenizer_of_another_model(folder):
    """Ids beyond the embedding are found before they are used."""
    tokenizer = toy_tokenizer()
    tokenizer.add_tokens([f"word{number}" for number in range(200)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(InputError, match=r"the tokenizer has ids up to 464, found [0-9]+ embeddings"):
        load_policy(str(folder), device="cpu")


@pytest.mark.parametrize("name", ["./no-such-folder", "/no/such/folder", "runs/grpo/final"])
def test_a_folder_that_is_not_there(name):
    """What cannot be a name on the hub is a folder, and the network is left alone."""
    with pytest.raises(InputError, match=r"there is no such folder$"):
        load_policy(name)


def test_a_name_that_the_hub_does_not_give(capsys, monkeypatch, tmp_path):
    """A name that may be one on the hub is looked for there, which is said; failing that is one line."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match="nobody/nothing: there is no such folder, and the hub does not give it"
    ) as raised:
        load_policy("nobody/nothing")
    assert "\n" not in str(raised.value)
    assert "fetching it from the Hugging Face hub" in capsys.readouterr().err


def test_a_device_that_is_not_there(saved):
    """A CUDA device beyond those present, or no device at all, is refused before anything is loaded."""
    with pytest.raises(InputError, match="device: found 'cuda:77', but torch sees"):
        load_policy(str(saved), device="cuda:77")
    with pytest.raises(InputError, match="device: found 'abacus', expected"):
        load_policy(str(saved), device="abacus")
