"""From a name on the command line to something that makes a policy for each rollout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue

from toolfoundry.errors import InputError
from toolfoundry.policies import Policy
from toolfoundry.policies.openai import OpenAIPolicy
from toolfoundry.policies.scripted import SCRIPTED, make
from toolfoundry.seeds import derive_seed
from toolfoundry.types import EnvSpec

__all__ = ["Player", "choose"]


class Player(NamedTuple):
    """A policy for each rollout, with the name it has in records, its configuration (no keys) and what it used up."""

    name: str
    make: Callable[[EnvSpec, int], Policy]
    config: Mapping[str, JsonValue]
    usage: Callable[[], dict[str, JsonValue]]


def choose(name: str, *, seed: int = 0, **endpoint: Any) -> Player:
    """The named player. `endpoint` are the options of `OpenAIPolicy`, used for "openai" only.

    Raises InputError for a name that is none, or an endpoint without model or address.
    """
    if name in SCRIPTED:

        def scripted(spec: EnvSpec, sample: int) -> Policy:
            return make(name, spec, derive_seed(seed, sample))

        return Player(name, scripted, {}, dict)
    if name == "openai":
        return _openai(seed, **endpoint)
    raise InputError(f"option --policy: found {name!r}, expected openai or one of {', '.join(SCRIPTED)}")


def _openai(seed: int, *, model: str | None, base_url: str | None, **options: Any) -> Player:
    if model is None or base_url is None:
        missing = "--model" if model is None else "--base-url"
        raise InputError(f"option {missing}: found nothing, expected a value (--policy openai talks to an endpoint)")
    policy = OpenAIPolicy(model, base_url=base_url, seed=seed, **options)

    def sampled(_: EnvSpec, sample: int) -> Policy:
        return policy.sampled(sample)

    return Player(model, sampled, policy.config(), lambda: policy.usage().model_dump())
