"""From a name on the command line to something that makes a policy for each rollout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue

from toolfoundry.chat import chat_format
from toolfoundry.errors import InputError
from toolfoundry.policies import Policy
from toolfoundry.policies.openai import OpenAIPolicy
from toolfoundry.policies.sampling import Batcher, Sampler, TokenPolicy
from toolfoundry.policies.scripted import SCRIPTED, make
from toolfoundry.seeds import derive_seed
from toolfoundry.tokens import Codec, Dialect
from toolfoundry.types import EnvSpec

__all__ = ["LOCAL", "ModelOptions", "Player", "choose", "choose_local", "choose_player"]

LOCAL = ("transformers", "vllm")


class Player(NamedTuple):
    """A policy for each rollout, with the name it has in records, its configuration (no keys) and what it used up.

    `start` takes the id of what is played, the environment if it is one, and the number of the repetition. Scripted
    players raise InputError where there is no environment.
    """

    name: str
    start: Callable[[str, EnvSpec | None, int], Policy]
    config: Mapping[str, JsonValue]
    usage: Callable[[], dict[str, JsonValue]]

    def make(self, spec: EnvSpec, sample: int) -> Policy:
        """The policy for one rollout of an environment."""
        return self.start(spec.id, spec, sample)


class ModelOptions(NamedTuple):
    """How a model is reached and how it is sampled. A kind of player looks only at what concerns it.

    model: its name at the endpoint, or a checkpoint. chat, batch, device: of a checkpoint. base_url, api_key_env,
    parse_text, top_p, timeout_s, retries: of an endpoint. None is the server's own choice, for a checkpoint
    temperature 1, 1024 tokens of a completion, and no thinking.
    """

    model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    chat: str = "hermes"
    batch: int = 64
    device: str | None = None
    thinking: bool | None = None
    parse_text: bool = False
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    timeout_s: float = 300.0
    retries: int = 5


def choose_player(policy: str, options: ModelOptions, *, seed: int = 0, concurrency: int = 64) -> Player:
    """The player for a policy: a scripted one, "openai", or one of LOCAL. Raises what `choose`, `choose_local` do."""
    if policy in LOCAL:
        return choose_local(
            policy,
            model=options.model,
            chat=options.chat,
            thinking=bool(options.thinking),
            temperature=1.0 if options.temperature is None else options.temperature,
            max_tokens=options.max_tokens or 1024,
            batch=options.batch,
            device=options.device,
            seed=seed,
        )
    return choose(
        policy,
        seed=seed,
        base_url=options.base_url,
        model=options.model,
        api_key_env=options.api_key_env,
        thinking=options.thinking,
        parse_text=options.parse_text,
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        timeout_s=options.timeout_s,
        max_retries=options.retries,
        concurrency=concurrency,
    )


def choose(name: str, *, seed: int = 0, **endpoint: Any) -> Player:
    """The named player. `endpoint` are the options of `OpenAIPolicy`, used for "openai" only.

    Raises InputError for a name that is none, or an endpoint without model or address.
    """
    if name in SCRIPTED:

        def scripted(item: str, spec: EnvSpec | None, sample: int) -> Policy:
            if spec is None:
                raise InputError(f"{item}: found policy {name!r}, expected a model (this is no environment)")
            return make(name, spec, derive_seed(seed, sample))

        return Player(name, scripted, {}, dict)
    if name == "openai":
        return _openai(seed, **endpoint)
    names = ", ".join([*SCRIPTED, *LOCAL])
    raise InputError(f"option --policy: found {name!r}, expected openai or one of {names}")


def choose_local(
    name: str,
    *,
    model: str | None,
    chat: str = "hermes",
    thinking: bool = False,
    temperature: float = 1.0,
    max_tokens: int = 1024,
    batch: int = 64,
    device: str | None = None,
    seed: int = 0,
) -> Player:
    """A checkpoint that is sampled in this process, by the library of that name (one of LOCAL).

    Args:
        model: a folder, a name on the Hugging Face hub, or "tiny".
        max_tokens: of one completion.
        batch: completions sampled at a time. With the seed it decides what comes out, by the rounding.
        device: for `transformers`; None is CUDA where there is one.
    Raises:
        InputError: no model, or one that cannot be loaded. MissingExtra: the library is not installed.
    """
    if model is None:
        raise InputError(f"option --model: found nothing, expected a checkpoint (--policy {name} loads one)")
    sampler, codec = _load(name, model, chat, device)
    dialect = Dialect(chat_format(chat), codec, thinking)
    batcher = Batcher(sampler, max_tokens=max_tokens, temperature=temperature, max_batch=batch)

    def sampled(item: str, _: EnvSpec | None, sample: int) -> Policy:
        return TokenPolicy(dialect, batcher, seed=derive_seed("rollout", seed, item, sample))

    config: dict[str, JsonValue] = {
        "library": name,
        "model": model,
        "chat": chat,
        "thinking": thinking,
        "temperature": temperature,
        "max_tokens": max_tokens,
        "batch": batch,
        "device": device,
    }
    return Player(model, sampled, config, dict)


def _load(name: str, model: str, chat: str, device: str | None) -> tuple[Sampler, Codec]:
    if name == "vllm":
        from toolfoundry.policies.vllm import load_vllm

        if device is not None:
            raise InputError(f"option --device: found {device!r}, expected none (vLLM takes CUDA_VISIBLE_DEVICES)")
        return load_vllm(model, chat=chat)
    from toolfoundry.policies.transformers import TransformersSampler, load_policy

    policy = load_policy(model, chat=chat, device=device)
    return TransformersSampler(policy.model, policy.codec.end_ids), policy.codec


def _openai(seed: int, *, model: str | None, base_url: str | None, **options: Any) -> Player:
    if model is None or base_url is None:
        missing = "--model" if model is None else "--base-url"
        raise InputError(f"option {missing}: found nothing, expected a value (--policy openai talks to an endpoint)")
    policy = OpenAIPolicy(model, base_url=base_url, seed=seed, **options)

    def sampled(_: str, __: EnvSpec | None, sample: int) -> Policy:
        return policy.sampled(sample)

    return Player(model, sampled, policy.config(), lambda: policy.usage().model_dump())
