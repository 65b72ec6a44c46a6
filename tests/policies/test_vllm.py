"""vLLM behind the sampler: what it is asked, and what is made of its answers. A small fake stands in for it.

The fake takes what vLLM 0.31.0 takes (`LLM.generate`, `SamplingParams`), refuses all else, and answers in its shape.
"""

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("torch", reason="needs the extra train")

from fakes import capital_spec
from toolfoundry.errors import ContextFull, FoundryError, InputError, MissingExtra
from toolfoundry.policies.sampling import Request
from toolfoundry.policies.vllm import VLLMSampler, load_vllm
from toolfoundry.store import RecordWriter
from toolfoundry.types import EnvSpec
from train.toy_model import toy_model, toy_tokenizer


@dataclass(frozen=True)
class SamplingParams:
    """The fields that are used, with vLLM's names and defaults."""

    temperature: float = 1.0
    max_tokens: int | None = 16
    seed: int | None = None
    stop_token_ids: list[int] | None = None
    logprobs: int | None = None
    detokenize: bool = True


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class LLM:
    """Says the last token of the prompt and then the end, with log-probabilities that tell the seed."""

    model: str
    dtype: str = "auto"
    trust_remote_code: bool = True
    load_format: str = "auto"
    enable_prefix_caching: bool | None = None
    logprobs_mode: str = "raw_logprobs"
    tensor_parallel_size: int = 1
    asked: list = field(default_factory=list)
    spoil: float | None = None

    @property
    def model_config(self):
        return SimpleNamespace(max_model_len=20, logprobs_mode=self.logprobs_mode)

    def generate(self, prompts, sampling_params=None, *, use_tqdm=True):
        assert len(prompts) == len(sampling_params)
        self.asked += zip(prompts, sampling_params, strict=True)
        return [self._answer(p["prompt_token_ids"], s) for p, s in zip(prompts, sampling_params, strict=True)]

    def _answer(self, ids, params):
        said = [ids[-1], params.stop_token_ids[0]][: params.max_tokens]
        logprobs = [{token: Logprob(self.spoil or -params.seed / 10, rank=1)} for token in said]
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(said), logprobs=logprobs)])


@pytest.fixture
def vllm(monkeypatch):
    """The fake, where `import vllm` finds it."""
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    return module


def sampler(**options):
    return VLLMSampler(LLM("m", logprobs_mode="processed_logprobs", **options), [99, 98])


def test_requests_become_prompts_of_ids_with_a_seed_each(vllm):
    """Ids go in, one set of parameters a request; log-probabilities of the sampled tokens are asked for."""
    asking = sampler()
    asking.sample([Request([1, 2], 5), Request([1, 2], 6)], max_tokens=7, temperature=0.5)
    assert [prompt for prompt, _ in asking._llm.asked] == [{"prompt_token_ids": [1, 2]}] * 2
    expected = {"temperature": 0.5, "max_tokens": 7, "stop_token_ids": [99, 98], "logprobs": 0, "detokenize": False}
    assert [params for _, params in asking._llm.asked] == [SamplingParams(seed=seed, **expected) for seed in (5, 6)]


def test_answers_come_back_in_order_with_log_probabilities(vllm):
    """Ids with the end of turn, and the log-probability of each."""
    answers = sampler().sample([Request([1, 2], 5), Request([3], 6)], max_tokens=7, temperature=1.0)
    assert answers == [([2, 99], [-0.5, -0.5]), ([3, 99], [-0.6, -0.6])]
    assert sampler().sample([], max_tokens=7, temperature=1.0) == []


def test_the_context_bounds_a_completion(vllm):
    """A completion gets the room that is left; a prompt that leaves none is refused."""
    assert sampler().sample([Request([1] * 19, 1)], max_tokens=7, temperature=1.0)[0].token_ids == [1]
    with pytest.raises(ContextFull, match="a prompt of 20 tokens, expected 1 to 19"):
        sampler().sample([Request([1] * 20, 1)], max_tokens=7, temperature=1.0)


def test_nan_is_an_error(vllm):
    """A log-probability that is no number is not passed on."""
    with pytest.raises(FoundryError, match="NaN"):
        sampler(spoil=float("nan")).sample([Request([1], 1)], max_tokens=7, temperature=1.0)


def test_an_engine_with_other_log_probabilities_is_refused(vllm):
    """Those before the temperature are not those of what was sampled."""
    with pytest.raises(InputError, match="found an engine with logprobs_mode 'raw_logprobs'"):
        VLLMSampler(LLM("m"), [99])


def test_the_engine_is_started_without_code_or_pickle(vllm, tmp_path, monkeypatch):
    """Safetensors only, no code of the model, log-probabilities as sampled, prompts shared; other options pass."""
    model, tokenizer = toy_model()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    loaded, codec = load_vllm(str(tmp_path), tensor_parallel_size=2)
    engine = loaded._llm
    assert (engine.model, engine.load_format, engine.trust_remote_code) == (str(tmp_path), "safetensors", False)
    assert (engine.logprobs_mode, engine.enable_prefix_caching) == ("processed_logprobs", True)
    assert engine.tensor_parallel_size == 2
    assert codec.end_ids[0] == toy_tokenizer().convert_tokens_to_ids("<|im_end|>")
    with pytest.raises(FoundryError, match="vLLM does not start: TypeError"):
        load_vllm(str(tmp_path), no_such_option=1)


def test_what_is_missing_is_said_in_a_line(vllm, monkeypatch):
    """No CUDA device, or no vLLM at all."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(InputError, match="policy vllm: found no CUDA device"):
        load_vllm("some/model")
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtra, match=r"pip install 'toolfoundry\[vllm\]'"):
        load_vllm("some/model")


def test_the_command_names_what_vllm_needs(run, tmp_path):
    """`--policy vllm` without a device or the package is one line; a device of its own choice is refused."""
    envs = tmp_path / "envs.jsonl"
    with RecordWriter(envs, EnvSpec) as writer:
        writer.write(capital_spec())
    command = ("rollout", envs, "-o", tmp_path / "out.jsonl", "--policy", "vllm", "--model", "some/model")
    code, _, err = run(*command, "--device", "cpu")
    assert code == 3
    assert "option --device: found 'cpu', expected none" in err
    code, _, err = run(*command)
    assert code in (2, 3)
    assert "toolfoundry[vllm]" in err or "no CUDA device" in err


@pytest.mark.gpu
def test_the_real_engine_gives_the_log_probabilities_of_a_plain_pass(tmp_path):
    """With vLLM and CUDA: a toy checkpoint is sampled, and its log-probabilities are those of the model."""
    pytest.importorskip("vllm", reason="needs the extra vllm")
    import torch

    model, tokenizer = toy_model(hidden=128)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    real, codec = load_vllm(str(tmp_path), dtype="float32", gpu_memory_utilization=0.2, enforce_eager=True)
    prompt = codec.encode("The author of Tides is")
    wanted = [Request(prompt, seed) for seed in range(4)]
    for temperature in (1.0, 0.5, 0.0):
        for one in real.sample(wanted, max_tokens=12, temperature=temperature):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([[*prompt, *one.token_ids]])).logits[0, len(prompt) - 1 : -1]
            expected = torch.log_softmax(logits / (temperature or 1.0), -1)
            assert one.logprobs == pytest.approx([float(expected[t, i]) for t, i in enumerate(one.token_ids)], abs=0.02)
