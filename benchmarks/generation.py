"""Tokens a second of batched sampling, against the library's own `generate`.

    python benchmarks/generation.py [--prompts 8] [--group 8] [--tokens 32] [--repeats 7] [--device cpu] [--hidden 128]

A random model of the Qwen3 class (0.74M parameters unless `--hidden` says more) completes prompts of 100 to 200 random
tokens, each several times; no completion ends early, so every way samples equally many tokens. `generate` gets what a
user would give it: the padded batch, in which each prompt stands once for each of its completions, and a cache that
grows or one that is reserved; it gives no log-probabilities. CPU seconds of this process with one thread (on CUDA:
seconds of the clock, synchronised). The ways take turns; reported are medians, ranges, and ratios within a turn.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from toolfoundry.policies.sampling import Request
from toolfoundry.policies.transformers import TransformersSampler
from toolfoundry.seeds import derive_seed, generator

VOCABULARY = 750


def network(hidden: int, device: str) -> Qwen3ForCausalLM:
    """A random decoder of 3 layers; beyond 128 it grows in depth too, as models do."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=max(3, hidden // 64),
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 32,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config).to(device, torch.bfloat16 if device != "cpu" else torch.float32).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description="tokens a second of batched sampling against generate")
    for name, value in {"prompts": 8, "group": 8, "tokens": 32, "repeats": 7, "hidden": 128}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model = network(chosen.hidden, chosen.device)
    draw = generator("generation")
    prompts = [[draw.randrange(VOCABULARY) for _ in range(draw.randint(100, 200))] for _ in range(chosen.prompts)]
    requests = [
        Request(prompt, derive_seed(at, member)) for at, prompt in enumerate(prompts) for member in range(chosen.group)
    ]
    never = VOCABULARY + 1
    longest = max(map(len, prompts))
    padded = torch.tensor([[0] * (longest - len(p)) + p for p in prompts for _ in range(chosen.group)])
    real = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts for _ in range(chosen.group)])
    padded, real = padded.to(chosen.device), real.to(chosen.device)
    sampler = TransformersSampler(model, [never])

    def plain(cache: str) -> int:
        config = GenerationConfig(
            max_new_tokens=chosen.tokens,
            do_sample=True,
            top_k=0,
            pad_token_id=0,
            eos_token_id=never,
            cache_implementation=cache,
            disable_compile=True,
        )
        made = model.generate(padded, attention_mask=real, generation_config=config)
        return (made.shape[1] - longest) * len(made)

    def ours() -> int:
        sampled = sampler.sample(requests, max_tokens=chosen.tokens, temperature=1.0)
        return sum(len(one.token_ids) for one in sampled)

    ways = {
        "ours": ours,
        "generate, cache grows": lambda: plain("dynamic"),
        "generate, cache reserved": lambda: plain("static"),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for name, way in ways.items():
        assert way() == len(requests) * chosen.tokens, name  # also warms up
    for _ in range(chosen.repeats):
        for name, way in ways.items():
            started = now(chosen.device)
            tokens = way()
            rates[name].append(tokens / (now(chosen.device) - started))

    parameters = sum(weight.numel() for weight in model.parameters())
    print(
        f"{parameters:,} parameters, {chosen.prompts} prompts of 100 to 200 tokens, {chosen.group} completions of each,"
    )
    print(f"{chosen.tokens} tokens a completion, {chosen.device}, one thread, torch {torch.__version__}\n")
    print("| way | tokens/s, median | range | ours / it, median | range |\n|---|---|---|---|---|")
    for name, found in rates.items():
        ratios = [a / b for a, b in zip(rates["ours"], found, strict=True)]
        print(
            f"| {name} | {statistics.median(found):,.0f} | {min(found):,.0f} – {max(found):,.0f} "
            f"| {statistics.median(ratios):.2f}x | {min(ratios):.2f} – {max(ratios):.2f} |"
        )


def now(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    sys.exit(main())
