"""Batched sampling of a local model: what is sampled, with which probability, and that the batch does not matter."""

import math
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="needs the extra train")

import torch
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import toolfoundry.policies.transformers as sampling_module
from toolfoundry.errors import ContextFull, FoundryError
from toolfoundry.policies.sampling import Request
from toolfoundry.policies.shared_prompts import can_share
from toolfoundry.policies.transformers import TransformersSampler
from toolfoundry.seeds import derive_seed, generator

VOCABULARY = 40
END = 39


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def network(dtype=torch.float64, *, heads=2, sharp=1.0, seed=0, **changes):
    """A small random Qwen3; `sharp` scales its logits."""
    torch.manual_seed(seed)
    fields = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 128,
        "tie_word_embeddings": False,
    }
    model = Qwen3ForCausalLM(Qwen3Config(**{**fields, **changes})).to(dtype).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(sharp * 20)
    return model


def prompts(count, *, low=3, high=30, name="prompts"):
    draw = generator(name, count)
    return [[draw.randrange(VOCABULARY - 1) for _ in range(draw.randint(low, high))] for _ in range(count)]


def requests(count, group=1, **options):
    return [
        Request(prompt, derive_seed("request", at, member))
        for at, prompt in enumerate(prompts(count, **options))
        for member in range(group)
    ]


def same(some, others):
    """Equal ids, and log-probabilities that differ by rounding (the norms of Qwen3 compute in float32)."""
    return [one.token_ids for one in some] == [one.token_ids for one in others] and all(
        one.logprobs == pytest.approx(other.logprobs, abs=1e-6) for one, other in zip(some, others, strict=True)
    )


def logprobs_of(model, prompt, ids, temperature=1.0):
    """By one plain forward pass over the whole text."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits / temperature, -1)[torch.arange(len(ids)), torch.tensor(ids)].tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_log_probabilities_are_those_of_a_plain_forward_pass(temperature):
    """Padding, sharing, cache and dropped rows leave no trace; greedy ones are given at temperature 1."""
    model = network()
    wanted = requests(5, group=3)
    sampled = TransformersSampler(model, [END]).sample(wanted, max_tokens=12, temperature=temperature)
    if temperature:
        assert {len(one.token_ids) for one in sampled} != {12}  # some ended, so that rows were dropped
    for request, one in zip(wanted, sampled, strict=True):
        expected = logprobs_of(model, request.prompt_ids, one.token_ids, temperature or 1.0)
        assert one.logprobs == pytest.approx(expected, abs=1e-6)


def test_what_is_sampled_does_not_depend_on_the_batch():
    """All at once, one by one, in parts and in another order: the same ids for the same request."""
    model = network()
    wanted = requests(6, group=4)
    whole = TransformersSampler(model, [END]).sample(wanted, max_tokens=20, temperature=1.0)
    single = TransformersSampler(model, [END])
    assert same([single.sample([one], max_tokens=20, temperature=1.0)[0] for one in wanted], whole)
    parts = TransformersSampler(model, [END], max_batch_tokens=120)
    assert same(parts.sample(wanted, max_tokens=20, temperature=1.0), whole)
    assert same(parts.sample(wanted[::-1], max_tokens=20, temperature=1.0)[::-1], whole)


def test_float32_samples_the_same_but_for_rounding():
    """In float32 a batch of its own gives the same ids nearly always, and log-probabilities within 1e-4."""
    model = network(torch.float32)
    wanted = requests(8, group=4)
    sampler = TransformersSampler(model, [END])
    whole = sampler.sample(wanted, max_tokens=20, temperature=1.0)
    alone = [sampler.sample([one], max_tokens=20, temperature=1.0)[0] for one in wanted]
    alike = [(a, b) for a, b in zip(whole, alone, strict=True) if a.token_ids == b.token_ids]
    assert len(alike) >= len(whole) - 2
    assert all(a.logprobs == pytest.approx(b.logprobs, abs=1e-4) for a, b in alike)


def test_greedy_is_what_generate_gives():
    """Temperature 0 takes the likeliest token, as the library's own generation does."""
    model = network()
    wanted = requests(4)
    sampled = TransformersSampler(model, [END]).sample(wanted, max_tokens=15, temperature=0.0)
    for request, one in zip(wanted, sampled, strict=True):
        ids = torch.tensor([list(request.prompt_ids)])
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=15,
            do_sample=False,
            eos_token_id=END,
            pad_token_id=0,
        )
        assert one.token_ids == expected[0, ids.shape[1] :].tolist()


def test_tokens_are_drawn_with_their_probabilities():
    """Over many seeds the first token follows the model's distribution (chi-square below its 99.9% point)."""
    model = network(sharp=0.5)
    [prompt] = prompts(1)
    drawn = 4000
    wanted = [Request(prompt, derive_seed("chi", at)) for at in range(drawn)]
    sampled = TransformersSampler(model, [END]).sample(wanted, max_tokens=1, temperature=0.8)
    counts = torch.bincount(torch.tensor([one.token_ids[0] for one in sampled]), minlength=VOCABULARY)
    with torch.no_grad():
        expected = drawn * torch.softmax(model(input_ids=torch.tensor([prompt])).logits[0, -1] / 0.8, -1)
    often = expected >= 5
    chi = float((((counts - expected) ** 2) / expected)[often].sum())
    free = int(often.sum())
    assert free > 5
    assert chi < free + 3.1 * math.sqrt(2 * free) + 5


def test_the_end_is_kept_and_nothing_follows_it():
    """A completion ends with the end of turn that came, or has all its tokens."""
    sampled = TransformersSampler(network(), [END, 7]).sample(requests(8, group=4), max_tokens=12, temperature=1.0)
    assert {one.token_ids[-1] for one in sampled if len(one.token_ids) < 12} == {END, 7}
    assert all(token not in (END, 7) for one in sampled for token in one.token_ids[:-1])
    assert all(len(one.token_ids) == len(one.logprobs) <= 12 for one in sampled)


def test_the_context_ends_a_completion():
    """A completion fills the context and no more; a prompt that fills it itself is refused by number."""
    model = network()
    [long] = prompts(1, low=120, high=120)
    sampler = TransformersSampler(model, [VOCABULARY])
    [cut, free] = sampler.sample([Request(long, 1), Request(long[:5], 2)], max_tokens=20, temperature=1.0)
    assert (len(cut.token_ids), len(free.token_ids)) == (8, 20)
    with pytest.raises(ContextFull, match="128 tokens, expected 1 to 127"):
        sampler.sample([Request(long + long[:8], 1)], max_tokens=20, temperature=1.0)


def test_a_model_that_gives_nan_is_an_error():
    """Broken weights are named, not sampled from."""
    model = network()
    with torch.no_grad():
        model.lm_head.weight[3, 3] = float("nan")
    for temperature in (0.0, 1.0):
        with pytest.raises(FoundryError, match="NaN"):
            TransformersSampler(model, [END]).sample(requests(2), max_tokens=4, temperature=temperature)


def test_training_mode_comes_back():
    """Sampling is done without dropout; modules are left in the mode in which they were."""
    model = network(attention_dropout=0.5)
    expected = TransformersSampler(model, [END]).sample(requests(3), max_tokens=8, temperature=1.0)
    model.train()
    model.model.layers[0].eval()
    assert TransformersSampler(model, [END]).sample(requests(3), max_tokens=8, temperature=1.0) == expected
    assert model.training
    assert not model.model.layers[0].training


def test_a_batch_that_does_not_fit_is_halved(capsys):
    """Out of memory: the rest goes on in smaller parts, with a notice; a single row that does not fit is an error."""
    model = network()
    wanted = requests(6, group=2)
    expected = TransformersSampler(model, [END]).sample(wanted, max_tokens=8, temperature=1.0)

    def forward(*, input_ids, **rest):
        if len(input_ids) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(input_ids=input_ids, **rest)

    whole, model.forward = model.forward, forward
    most = 3
    sampler = TransformersSampler(model, [END])
    assert same(sampler.sample(wanted, max_tokens=8, temperature=1.0), expected)
    notice = capsys.readouterr().err
    assert "out of memory with 12 completions at a time: going on with 6" in notice
    most = 0
    with pytest.raises(FoundryError, match="one completion of up to"):
        sampler.sample(wanted, max_tokens=8, temperature=1.0)


def test_other_attention_layouts():
    """Sliding windows keep the library's own cache, and give what a plain pass gives."""
    model = network(
        layer_types=["sliding_attention", "full_attention"],
        use_sliding_window=True,
        sliding_window=6,
        max_window_layers=0,
    )
    wanted = requests(4, group=2)
    sampled = TransformersSampler(model, [END]).sample(wanted, max_tokens=10, temperature=1.0)
    for request, one in zip(wanted, sampled, strict=True):
        assert one.logprobs == pytest.approx(logprobs_of(model, request.prompt_ids, one.token_ids), abs=1e-6)


FAMILIES = {
    "llama": (LlamaConfig, {}),
    "qwen2": (Qwen2Config, {}),
    "qwen3": (Qwen3Config, {"head_dim": 16}),
    "mistral": (MistralConfig, {"sliding_window": None}),
    "gemma3_text": (Gemma3TextConfig, {"head_dim": 16, "sliding_window": 5}),
}


@pytest.mark.parametrize("heads", [(2, 1), (4, 2), (2, 2)])
@pytest.mark.parametrize("family", FAMILIES)
def test_families_of_models(family, heads):
    """Prompts shared in memory or copied, grouped heads, groups that shrink: always what a plain pass gives."""
    kind, extra = FAMILIES[family]
    torch.manual_seed(3)
    config = kind(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        max_position_embeddings=128,
        **extra,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    attention = config._attn_implementation
    shared, copied = requests(4, group=5), requests(4)
    for wanted in (shared, copied, [*shared[:7], copied[2], *shared[11:14]]):
        sampled = TransformersSampler(model, [END, 5, 9, 11]).sample(wanted, max_tokens=14, temperature=1.0)
        for request, one in zip(wanted, sampled, strict=True):
            expected = logprobs_of(model, request.prompt_ids, one.token_ids)
            assert one.logprobs == pytest.approx(expected, abs=1e-5)
        assert config._attn_implementation == attention


def test_prompts_are_shared_where_the_family_is_known():
    """The table of families is not empty words: these share, others copy."""
    for family, (kind, _) in FAMILIES.items():
        config = kind(num_hidden_layers=1)
        model = SimpleNamespace(config=config)
        cache = DynamicCache(config=config)
        assert can_share(model, cache, [2, 2]) == (family in ("llama", "qwen2", "qwen3"))
        assert not can_share(model, cache, [1, 1, 1])  # nothing to share
        assert not can_share(model, cache, [9, 1, 1, 1])  # three small groups would cost as much as the large one


def test_the_models_own_attention_comes_back_after_a_failure():
    """A pass that fails leaves the model as it was."""
    model = network()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(FoundryError, match="NaN"):
        TransformersSampler(model, [END]).sample(requests(2, group=2), max_tokens=4, temperature=1.0)
    assert model.config._attn_implementation == "sdpa"


def test_longer_completions_than_the_room_of_a_cache():
    """The cache grows as often as it must, shared or copied."""
    model = network(max_position_embeddings=512)
    for group in (1, 3):
        wanted = requests(2, group=group)
        sampled = TransformersSampler(model, [VOCABULARY]).sample(wanted, max_tokens=150, temperature=1.0)
        for request, one in zip(wanted, sampled, strict=True):
            assert len(one.token_ids) == 150
            assert one.logprobs == pytest.approx(logprobs_of(model, request.prompt_ids, one.token_ids), abs=1e-6)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
def test_an_adapter_on_top():
    """A model with LoRA is sampled with it, prompts shared."""
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(network(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    wanted = requests(3, group=3)
    sampled = TransformersSampler(adapted, [END]).sample(wanted, max_tokens=8, temperature=1.0)
    adapted.eval()
    for request, one in zip(wanted, sampled, strict=True):
        assert one.logprobs == pytest.approx(logprobs_of(adapted, request.prompt_ids, one.token_ids), abs=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("group", [1, 8])
def test_on_a_gpu_in_bfloat16(group):
    """On CUDA: log-probabilities are those of a plain pass up to bfloat16's rounding, and come out the same again."""
    model = network(torch.bfloat16, heads=4).to("cuda")
    wanted = requests(6, group=group)
    sampler = TransformersSampler(model, [END])
    sampled = sampler.sample(wanted, max_tokens=20, temperature=1.0)
    for request, one in zip(wanted, sampled, strict=True):
        with torch.no_grad():
            ids = torch.tensor([[*request.prompt_ids, *one.token_ids]], device="cuda")
            logits = model(input_ids=ids).logits[0, len(request.prompt_ids) - 1 : -1].float()
        expected = torch.log_softmax(logits, -1)[range(len(one.token_ids)), one.token_ids].tolist()
        assert one.logprobs == pytest.approx(expected, abs=0.3)
    assert sampler.sample(wanted, max_tokens=20, temperature=1.0) == sampled


def test_the_mask_of_long_prompts_is_bounded(monkeypatch):
    """Reading padded prompts needs memory by the square of their length: few distinct ones are read at once."""
    model, sizes = network(), []

    def forward(*, input_ids, **rest):
        sizes.append(tuple(input_ids.shape))
        return whole(input_ids=input_ids, **rest)

    whole = model.forward
    wanted = requests(7, group=3, low=20, high=30)
    expected = TransformersSampler(model, [END]).sample(wanted, max_tokens=1, temperature=1.0)
    model.forward = forward
    monkeypatch.setattr(sampling_module, "_MAX_MASK", 2000)
    assert same(TransformersSampler(model, [END]).sample(wanted, max_tokens=1, temperature=1.0), expected)
    assert sum(rows for rows, _ in sizes) == 7
    assert len(sizes) > 2
    assert all(rows * length**2 <= 2000 for rows, length in sizes)


def test_nothing_asked_nothing_given():
    """No requests, no completions."""
    assert TransformersSampler(network(), [END]).sample([], max_tokens=4, temperature=1.0) == []
