"""Attention of several completions to one prompt, whose keys and values are held and read once for all of them.

    with shared_prompts(model, cache, prompt_mask, rows) as shared:     after the prompts were read into `cache`
        model(input_ids=..., past_key_values=shared, shared=shared)     one token of each row
        shared.reorder_cache(keep)

The scores over the prompt are one matrix product for each prompt and not one for each row; those over what was sampled
since are joined to them before the softmax, so this is the model's own attention but for rounding. Decoding from a copy
of the cache for each row spends half of its time in reading it (a model of 0.7M parameters, on a CPU).

Covered: architectures in MODEL_TYPES, whose attention hands on keyword arguments, with full attention in all layers.

Axes: P prompts, L prompt tokens (padded on the left), N rows, G rows of the largest group, H heads of keys and values,
R heads of queries for each of them, T tokens sampled so far, E entries of a head.
"""
# pyright: basic

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache, DynamicLayer

__all__ = ["MODEL_TYPES", "RoomyLayer", "SharedPrompts", "can_share", "shared_prompts"]

MODEL_TYPES = ("llama", "qwen2", "qwen3")
_NAME = "toolfoundry_shared_prompts"
_ROOM = 64  # tokens by which a layer grows: it is copied once for so many


def can_share(model: Any, cache: Any, group_sizes: Sequence[int]) -> bool:
    """Whether this model's attention can be replaced, and groups of these sizes (one for each prompt) gain by it.

    Groups are computed as if each had the size of the largest, so they must be of nearly equal size.
    """
    slots = len(group_sizes) * max(group_sizes)
    return (
        len(group_sizes) < sum(group_sizes)
        and slots <= 2 * sum(group_sizes)
        and model.config.model_type in MODEL_TYPES
        and all(type(layer) is DynamicLayer for layer in cache.layers)
    )


@contextmanager
def shared_prompts(model: Any, cache: Any, mask_PL: torch.Tensor, rows_N: torch.Tensor) -> Iterator[SharedPrompts]:
    """The cache of rows that continue prompts: `rows_N` says which prompt each row continues.

    Inside, the model attends in this way and in no other; it must get the result as `past_key_values` and `shared`.
    """
    before = model.config._attn_implementation
    model.config._attn_implementation = _NAME
    try:
        yield SharedPrompts(cache, mask_PL, rows_N)
    finally:
        model.config._attn_implementation = before


class SharedPrompts(Cache):
    """Keys and values of what each row has sampled, beside those of the prompts."""

    def __init__(self, cache: Any, mask_PL: torch.Tensor, rows_N: torch.Tensor) -> None:
        super().__init__(layers=[_SampledLayer(layer.keys, layer.values) for layer in cache.layers])
        dtype = cache.layers[0].keys.dtype
        hidden = torch.zeros(mask_PL.shape, dtype=dtype, device=mask_PL.device)
        self.bias_P11L = hidden.masked_fill(~mask_PL, torch.finfo(dtype).min)[:, None, None]
        self._rows_N = rows_N
        self._place()

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keeps the rows that are named."""
        super().reorder_cache(beam_idx)  # pyright: ignore[reportArgumentType] - any index tensor will do
        self._rows_N = self._rows_N[beam_idx]
        self._place()

    def _place(self) -> None:
        """Gives each row its slot among the G of its prompt; slots without a row are computed in vain."""
        self._let_go()
        prompts = self._rows_N.tolist()
        sizes: Counter[int] = Counter()
        members: list[int] = []  # the place of each row among those of its prompt
        for prompt in prompts:
            members.append(sizes[prompt])
            sizes[prompt] += 1
        self.groups = max(members) + 1
        slots = [prompt * self.groups + member for prompt, member in zip(prompts, members, strict=True)]
        self.slots_N = torch.tensor(slots, device=self._rows_N.device)
        # Full groups in order need no moving about.
        self.full = slots == list(range(len(self.bias_P11L) * self.groups))

    def _let_go(self) -> None:
        """Drops the prompts that no row continues any more, once they are half of all."""
        held = self._rows_N.unique()
        if 2 * len(held) > len(self.bias_P11L):
            return
        self.bias_P11L = self.bias_P11L[held]
        layers: list[Any] = self.layers
        for layer in layers:
            layer.prompt_keys, layer.prompt_values = layer.prompt_keys[held], layer.prompt_values[held]
        self._rows_N = torch.searchsorted(held, self._rows_N)


class RoomyLayer(DynamicLayer):
    """Keys and values with room for tokens to come, so that a step copies one column and not all of them."""

    keys: torch.Tensor
    values: torch.Tensor

    def update(self, key_states, value_states, *args, **kwargs):  # noqa: ARG002 - the layer's protocol
        if not self.is_initialized:
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
            self._keep(key_states, value_states, key_states.shape[2])
            return key_states, value_states
        start = self.keys.shape[2]
        end = start + key_states.shape[2]
        keys, values = self._store
        if end > keys.shape[2]:
            keys, values = (_widened(tensor[:, :, :start], end + _ROOM) for tensor in (keys, values))
        keys[:, :, start:end] = key_states
        values[:, :, start:end] = value_states
        self._keep(keys, values, end)
        return self.keys, self.values

    def reorder_cache(self, beam_idx) -> None:
        """Keeps the rows that are named, as often as they are."""
        if not self.is_initialized:
            return
        keys, values = (tensor.index_select(0, beam_idx) for tensor in self._store)
        self._keep(keys, values, self.keys.shape[2])

    def _keep(self, keys, values, length: int) -> None:
        self._store = keys, values
        self.keys, self.values = keys[:, :, :length], values[:, :, :length]


def _widened(tensor: torch.Tensor, length: int) -> torch.Tensor:
    rows, heads, old, size = tensor.shape
    wide = tensor.new_empty(rows, heads, length, size)
    wide[:, :, :old] = tensor
    return wide


class _SampledLayer(RoomyLayer):
    """Holds what was sampled; `update` gives no more than that, and the prompts stand beside it."""

    def __init__(self, prompt_keys_PHLE: torch.Tensor, prompt_values_PHLE: torch.Tensor) -> None:
        super().__init__()
        self.prompt_keys, self.prompt_values = prompt_keys_PHLE, prompt_values_PHLE


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 - none is made for an attention of this name
    scaling: float | None = None,
    *,
    shared: SharedPrompts,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    layer = shared.layers[module.layer_idx]
    rows, heads, _one, size = query.shape
    prompts, kv_heads, length, _size = layer.prompt_keys.shape
    ratio, groups = heads // kv_heads, shared.groups
    query_NHRE = query.reshape(rows, kv_heads, ratio, size) * (size**-0.5 if scaling is None else scaling)

    def by_prompt(rows_NHRX: torch.Tensor) -> torch.Tensor:
        """(P, H, G * R, X): the rows in their slots."""
        if not shared.full:
            slots = rows_NHRX.new_zeros(prompts * groups, *rows_NHRX.shape[1:])
            rows_NHRX = slots.index_copy_(0, shared.slots_N, rows_NHRX)
        return rows_NHRX.view(prompts, groups, kv_heads, ratio, -1).transpose(1, 2).flatten(2, 3)

    def by_row(prompts_PHGRX: torch.Tensor) -> torch.Tensor:
        """(N, H, R, X): back again."""
        slots = prompts_PHGRX.view(prompts, kv_heads, groups, ratio, -1).transpose(1, 2).flatten(0, 1)
        return slots if shared.full else slots.index_select(0, shared.slots_N)

    over_prompt = by_row(by_prompt(query_NHRE) @ layer.prompt_keys.transpose(2, 3) + shared.bias_P11L)
    over_sampled = query_NHRE @ key.transpose(2, 3)
    weights = torch.cat([over_prompt, over_sampled], -1)
    weights = torch.softmax(weights, -1, dtype=torch.promote_types(weights.dtype, torch.float32)).to(query.dtype)
    mixed_NHRE = by_row(by_prompt(weights[..., :length]) @ layer.prompt_values) + weights[..., length:] @ value
    return mixed_NHRE.reshape(rows, 1, heads, size), None


AttentionInterface.register(_NAME, _attend)
