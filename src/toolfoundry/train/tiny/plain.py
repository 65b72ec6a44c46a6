# pyright: basic
"""Plain text for the tiny policy, to see whether learning to use tools costs what it knew before.

Two kinds, both over the names and words of the profile: sentences, of which every token is learnt ("The chief spouse of
Nyzanzavun is Beronzewar."), and a task that needs no tool: to repeat names, of which the reply is learnt.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from toolfoundry.build.authors.procedural.tiny import RELATIONS, UNFAMILIAR, entity_name
from toolfoundry.policies.sampling import Request, Sampler
from toolfoundry.samples import Sample
from toolfoundry.seeds import generator
from toolfoundry.tokens import Dialect
from toolfoundry.train.loop import collate, target_logits
from toolfoundry.types import Message

__all__ = ["plain_samples", "plain_scores"]

_NAMES = 96**4


def plain_samples(count: int, seed: int, dialect: Dialect) -> list[Sample]:
    """`count` samples, sentences and repetitions in turn."""
    rng = generator("plain", seed)
    relations = [relation for relation in RELATIONS if relation.noun not in UNFAMILIAR]
    samples: list[Sample] = []
    for number in range(count):
        key = f"plain/{seed}/{number}"
        if number % 2:
            prompt, reply = _repetition([entity_name(rng.randrange(_NAMES)) for _ in range(rng.randint(1, 3))], dialect)
            ids, mask = [*prompt, *reply], [False] * len(prompt) + [True] * len(reply)
        else:
            about, value = entity_name(rng.randrange(_NAMES)), entity_name(rng.randrange(_NAMES))
            text = f"The {rng.choice(relations).words} of {about} is {value}."
            ids = [dialect.codec.end_ids[0], *dialect.codec.encode(text)]
            mask = [False] + [True] * (len(ids) - 1)
        samples.append(Sample(key=key, group=key, token_ids=tuple(ids), mask=tuple(mask)))
    return samples


def _repetition(names: list[str], dialect: Dialect) -> tuple[list[int], list[int]]:
    """(prompt, reply) of the task without tools."""
    said = ", ".join(names)
    prompt = dialect.prompt([Message(role="user", content=f"Repeat {said}.")], []).ids
    return prompt, dialect.spell(Message(role="assistant", content=said))


def plain_scores(
    model: Any, sampler: Sampler, dialect: Dialect, *, count: int = 200, seed: int = 1
) -> dict[str, float]:
    """`loss`: mean over the tokens of unseen sentences, in nats. `exact`: share of unseen repetitions that are right,
    greedily."""
    samples = plain_samples(2 * count, seed, dialect)
    sentences, repetitions = samples[::2], samples[1::2]
    with torch.inference_mode():
        logits, targets = target_logits(model, collate(sentences, 0))
        loss = functional.cross_entropy(logits, targets).item()
    prompts = [sample.token_ids[: sample.mask.index(True)] for sample in repetitions]
    sampled = sampler.sample([Request(prompt, 0) for prompt in prompts], max_tokens=32, temperature=0.0)
    right = sum(
        tuple(one.token_ids) == sample.token_ids[len(prompt) :]
        for one, sample, prompt in zip(sampled, repetitions, prompts, strict=True)
    )
    return {"loss": loss, "exact": right / count}
