"""A local model as a policy: batched sampling with a KV cache, and what a checkpoint needs to be spoken to.

    policy = load_policy("runs/grpo/final", chat="hermes")
    sampler = TransformersSampler(policy.model, policy.codec.end_ids)
    sampled = sampler.sample([Request(ids, seed), ...], max_tokens=256, temperature=1.0)

Each distinct prompt is read once; its cache is shared by the requests that continue it, or copied where the
architecture does not let us (`toolfoundry.policies.shared_prompts`). Prompts are padded on the left; rows that have
ended leave the batch and the cache. A token is drawn by one uniform number of its request's own generator, so what is
sampled does not depend on the rest of the batch, except where rounding tips the scale: the same requests in the same
call give the same ids, on one machine with one number of threads.

Axes: D requests, P distinct prompts, L prompt tokens (padded), N live rows, T sampled tokens, V vocabulary.
"""
# pyright: basic

from __future__ import annotations

import gc
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from toolfoundry.chat import chat_format
from toolfoundry.errors import ContextFull, FoundryError, InputError, MissingExtra
from toolfoundry.policies.sampling import Request, Sampled

try:
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache
    from transformers.cache_utils import DynamicLayer
    from transformers.utils import logging

    from toolfoundry.policies.shared_prompts import RoomyLayer, can_share, shared_prompts
except ImportError:
    raise MissingExtra("train", "a local model") from None

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "TINY",
    "HFCodec",
    "LocalPolicy",
    "TransformersSampler",
    "checkpoint_folder",
    "cuda_devices",
    "load_codec",
    "load_policy",
    "out_of_memory",
]

TINY = "tiny"
"""The name of the warm start in the package."""
# Entries of the mask with which padded prompts are read (prompts times length squared): 650 MB with its float form.
_MAX_MASK = 2**27
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_HUB_FILES = ["*.json", "*.jinja", "*.txt", "*.model"]  # beside the weights; no pickle, no code


class HFCodec:
    """The codec of a tokenizer of transformers: no special tokens are added, none is left out, nothing is cleaned up.

    Args:
        tokenizer: one with the library's fast backend. It is copied: what is done to it later has no effect.
        end_tokens: those that end a turn in the chat format. The first must exist; others count where they do.
        name: of the model, for messages.
    Raises:
        InputError: the tokenizer has no fast backend, or not the token that closes a turn.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, end_tokens: Sequence[str], *, name: str = "") -> None:
        name = name or tokenizer.name_or_path or "tokenizer"
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise InputError(f"{name}: found {type(tokenizer).__name__}, expected a tokenizer with a tokenizer.json")
        # A copy, because calls of the original leave their truncation and padding set in it.
        self._backend = Tokenizer.from_str(backend.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()
        ids = [self._backend.token_to_id(token) for token in end_tokens]
        if not ids or ids[0] is None:
            found = f"its tokenizer ends texts with {tokenizer.eos_token!r} and has no {end_tokens[0]!r}"
            raise InputError(f"{name}: {found}, expected a model of a chat format that ends a turn with it")
        self.end_ids: tuple[int, ...] = tuple(found for found in ids if found is not None)

    def encode(self, text: str) -> list[int]:
        return self._backend.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self._backend.decode(list(ids), skip_special_tokens=False)


class LocalPolicy(NamedTuple):
    """A checkpoint, ready to sample and to be trained. `name` is what it was asked for as."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    codec: HFCodec


def load_policy(
    model: str, *, chat: str = "hermes", device: str | None = None, dtype: str | None = None
) -> LocalPolicy:
    """Loads a checkpoint, in eval mode. Only safetensors are read; code that comes with a model is never run.

    Args:
        model: a folder, a name on the Hugging Face hub, or `TINY`. The network is used only for a name on the hub
            that is not in the local cache.
        chat: the chat format in which it is spoken to; it says which token ends a turn.
        device: None is CUDA where there is one, else the CPU.
        dtype: float32, bfloat16 or float16; None is bfloat16 on CUDA, float32 on the CPU.
    Raises:
        InputError: the checkpoint is absent, incomplete, of an unknown architecture, or does not fit its tokenizer or
            the chat format; or the device is not there.
    """
    place = _device(device)
    kind = _dtype(dtype, place)
    folder = checkpoint_folder(model)
    tokenizer, codec = _tokenizer(model, folder, chat)
    network = _network(model, folder, kind)
    rows, largest = network.get_input_embeddings().num_embeddings, max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise InputError(
            f"{model}: the tokenizer has ids up to {largest}, found {rows} embeddings: they are of different models"
        )
    return LocalPolicy(model, network.to(place).eval(), tokenizer, codec)


def load_codec(model: str, *, chat: str = "hermes") -> HFCodec:
    """The codec of a checkpoint without its weights, which need not be there. Raises InputError as `load_policy`."""
    return _tokenizer(model, checkpoint_folder(model, weights=False), chat)[1]


def checkpoint_folder(model: str, *, weights: bool = True) -> Path:
    """Where the files of a model are; those of the hub are fetched if they are not cached.

    Raises InputError where there is no such model, or not all of it.
    """
    if model == TINY:
        return Path(str(resources.files("toolfoundry") / "train" / "tiny" / "checkpoint"))
    if (path := Path(model).expanduser()).is_dir():
        folder = path
    elif path.exists() or not _HUB_NAME.fullmatch(model):
        raise InputError(f"{model}: there is no such folder")
    else:
        folder = _fetched(model, weights)
    if problem := _incomplete(folder, weights):
        raise InputError(f"{model}: {problem}")
    return folder


def _tokenizer(model: str, folder: Path, chat: str) -> tuple[PreTrainedTokenizerBase, HFCodec]:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as failure:
        raise InputError(f"{model}: its tokenizer cannot be read: {_first_line(failure)}") from failure
    return tokenizer, HFCodec(tokenizer, chat_format(chat).end_tokens, name=model)


def _network(model: str, folder: Path, dtype: torch.dtype) -> Any:
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(folder, **options)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **options
        )
    except Exception as failure:
        raise InputError(f"{model}: cannot be loaded: {_first_line(failure)}") from failure
    finally:
        if bars:
            logging.enable_progress_bar()
    network, info = loaded
    # The library fills weights that the files lack with random numbers.
    if absent := sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]])):
        raise InputError(f"{model}: {len(absent)} weights are missing or of another shape, the first is {absent[0]}")
    return network


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device: found {name!r}, expected cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= cuda_devices():
        raise InputError(f"device: found {name!r}, but torch sees {cuda_devices()} CUDA devices here")
    return device


def cuda_devices() -> int:
    """How many CUDA devices torch sees."""
    return torch.cuda.device_count()


def _dtype(name: str | None, device: torch.device) -> torch.dtype:
    if name is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in ("float32", "bfloat16", "float16", "float64"):
        raise InputError(f"dtype: found {name!r}, expected float32, bfloat16 or float16")
    return getattr(torch, name)


def _fetched(model: str, weights: bool) -> Path:
    """The files of a model of the hub, from the cache if it has them all."""
    from huggingface_hub import snapshot_download

    wanted = [*_HUB_FILES, "*.safetensors"] if weights else _HUB_FILES
    try:
        cached = Path(snapshot_download(model, local_files_only=True, allow_patterns=wanted))
        if _incomplete(cached, weights) is None:
            return cached
    except (OSError, ValueError):
        pass  # not cached
    print(f"{model}: no folder of that name, fetching it from the Hugging Face hub", file=sys.stderr)
    try:
        return Path(snapshot_download(model, allow_patterns=wanted))
    except Exception as failure:  # whatever the network can do
        reason = f"{type(failure).__name__}: {_first_line(failure)}"
        raise InputError(f"{model}: there is no such folder, and the hub does not give it ({reason})") from failure


def _incomplete(folder: Path, weights: bool) -> str | None:
    """What is missing in a checkpoint's folder, or None."""
    if not weights:
        return None if (folder / "tokenizer.json").exists() else "found no tokenizer.json, expected a tokenizer"
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        return "found an adapter alone, expected a whole model (merge the adapter into its base first)"
    if not (folder / "config.json").exists():
        return "found no config.json, expected the folder of a checkpoint"
    if (folder / "model.safetensors").exists():
        return None
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return "found no model.safetensors, expected weights in that format (pickled ones are not read)"
    try:
        shards = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError):
        return f"{index.name} is malformed"
    missing = sorted(shard for shard in shards if not (folder / shard).exists())
    return f"found no {missing[0]}, which {index.name} names" if missing else None


def _first_line(failure: Exception) -> str:
    return next((line for line in str(failure).splitlines() if line.strip()), type(failure).__name__)[:300]


class TransformersSampler:
    """Completes prompts with a causal language model, where it is and in its dtype.

    The model is used as it is at each call, so a trainer may go on changing it. `context`: tokens that a prompt and
    its completion may have together.

    Args:
        model: any causal language model of transformers.
        end_ids: the tokens that end a completion; the one that came is its last id.
        max_batch_tokens: most tokens (rows times their longest length, completions included) that are held at once;
            more requests are sampled in several parts. Where memory does not suffice it is lowered, with a notice.
    """

    def __init__(self, model: PreTrainedModel, end_ids: Sequence[int], *, max_batch_tokens: int = 131_072) -> None:
        if not end_ids:
            raise ValueError("end_ids: found none, expected at least one")
        self._model = model
        self._end_ids = list(end_ids)
        self._max_batch_tokens = max_batch_tokens
        self.context: int = model.config.get_text_config().max_position_embeddings

    def sample(self, requests: Sequence[Request], *, max_tokens: int, temperature: float) -> list[Sampled]:
        """The completions in the order of the requests; shorter than `max_tokens` where the context ends before.

        Log-probabilities are those of the distribution that was sampled from; for temperature 0 (greedy decoding,
        seeds have no effect) those at temperature 1.

        Raises:
            ContextFull: a prompt leaves no room for a token. FoundryError: the model gives NaN, or has not enough
            memory for a single request.
        """
        for request in requests:
            if not 0 < len(request.prompt_ids) < self.context:
                found = f"a prompt of {len(request.prompt_ids)} tokens"
                raise ContextFull(f"{found}, expected 1 to {self.context - 1} (the model's context is {self.context})")
        # Like lengths together, and an order that depends on nothing but the requests.
        order = sorted(
            range(len(requests)),
            key=lambda at: (-len(requests[at].prompt_ids), list(requests[at].prompt_ids), requests[at].seed),
        )
        results: dict[int, Sampled] = {}
        training = [module for module in self._model.modules() if module.training]
        self._model.eval()
        try:
            while order:
                longest = len(requests[order[0]].prompt_ids) + max_tokens
                part = order[: self._fitting([requests[at] for at in order], longest)]
                sampled = self._attempt([requests[at] for at in part], max_tokens, temperature)
                if sampled is None:
                    self._lower(len(part), longest)
                    continue
                results.update(zip(part, sampled, strict=True))
                order = order[len(part) :]
        finally:
            for module in training:
                module.training = True
        return [results[at] for at in range(len(requests))]

    def _fitting(self, requests: list[Request], longest: int) -> int:
        """How many of the first requests are sampled at once; their prompts are in falling order of length."""
        most = max(1, self._max_batch_tokens // longest)
        prompts = max(1, _MAX_MASK // len(requests[0].prompt_ids) ** 2)
        seen: set[tuple[int, ...]] = set()
        for count, request in enumerate(requests[:most]):
            seen.add(tuple(request.prompt_ids))
            if len(seen) > prompts:
                return count
        return min(most, len(requests))

    def _attempt(self, requests: list[Request], max_tokens: int, temperature: float) -> list[Sampled] | None:
        """The completions of one batch, or None where memory did not suffice."""
        try:
            with torch.inference_mode():
                return self._generate(requests, max_tokens, temperature)
        except MemoryError:
            return None
        except RuntimeError as failure:
            if not out_of_memory(failure):
                raise
            return None

    def _lower(self, rows: int, longest: int) -> None:
        """Halves the batch; here the frames that held the tensors of the failed one are gone."""
        if rows == 1:
            raise FoundryError(
                f"out of memory: one completion of up to {longest} tokens does not fit on {self._model.device}; "
                "use a smaller model, fewer tokens or a shorter prompt"
            )
        self._max_batch_tokens = rows // 2 * longest
        gc.collect()
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()
        print(f"out of memory with {rows} completions at a time: going on with {rows // 2}", file=sys.stderr)

    def _generate(self, requests: list[Request], max_tokens: int, temperature: float) -> list[Sampled]:
        model, device = self._model, self._model.device
        groups = Counter(tuple(request.prompt_ids) for request in requests)
        prompts = list(groups)
        place = {prompt: at for at, prompt in enumerate(prompts)}
        count, longest = len(requests), max(map(len, prompts))
        room_D = [min(max_tokens, self.context - len(request.prompt_ids)) for request in requests]
        steps = max(room_D)

        ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
        padding = torch.tensor([longest - len(prompt) for prompt in prompts], device=device)
        mask = torch.arange(longest, device=device) >= padding[:, None]
        positions = (torch.arange(longest, device=device) - padding[:, None]).clamp(min=0)
        padded = bool((padding > 0).any())
        cache: Any = DynamicCache(config=model.config)
        share = can_share(model, cache, list(groups.values()))
        if not share:
            cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
        logits = model(
            input_ids=ids,
            attention_mask=mask if padded else None,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]

        rows = torch.tensor([place[tuple(request.prompt_ids)] for request in requests], device=device)
        logits, position = logits[rows], positions[rows, -1:]
        uniform = _uniforms(requests, steps).to(device) if temperature else None
        ends = torch.tensor(self._end_ids, device=device)
        room = torch.tensor(room_D, device=device)
        token_ids = torch.zeros(count, steps, dtype=torch.long, device=device)
        logprobs = torch.zeros(count, steps, dtype=torch.float64, device=device)
        lengths = torch.zeros(count, dtype=torch.long, device=device)

        live = torch.arange(count, device=device)  # which request each row of the batch is
        with shared_prompts(model, cache, mask, rows) if share else nullcontext(cache) as cache:
            extra: dict[str, Any] = {"shared": cache} if share else {}
            if not share and count > len(prompts):
                cache.reorder_cache(rows)
            mask = torch.cat([mask[rows], mask.new_ones(count, steps)], dim=1) if padded and not share else None
            for step in range(steps):
                drawn, logprob = _draw(logits, temperature, None if uniform is None else uniform[live, step])
                token_ids[live, step] = drawn
                logprobs[live, step] = logprob.double()
                lengths[live] = step + 1
                going = ~torch.isin(drawn, ends) & (room[live] > step + 1)
                left = int(going.sum())
                if left == 0:
                    break
                if left < len(live):
                    keep = going.nonzero()[:, 0]
                    live, drawn, position = live[keep], drawn[keep], position[keep]
                    mask = None if mask is None else mask[keep]
                    cache.reorder_cache(keep)
                position = position + 1
                logits = model(
                    input_ids=drawn[:, None],
                    attention_mask=None if mask is None else mask[:, : longest + step + 1],
                    position_ids=position,
                    past_key_values=cache,
                    use_cache=True,
                    **extra,
                ).logits[:, -1]
        if bool(torch.isnan(logprobs).any()):
            raise FoundryError("the model gives NaN: its weights are broken, or training has diverged")
        return [
            Sampled(ids_T[:length], logprobs_T[:length])
            for ids_T, logprobs_T, length in zip(token_ids.tolist(), logprobs.tolist(), lengths.tolist(), strict=True)
        ]


def _draw(
    logits_NV: torch.Tensor, temperature: float, uniform_N: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row, and its log-probability. `uniform_N` is None for greedy decoding."""
    logits_NV = logits_NV if logits_NV.dtype == torch.float64 else logits_NV.float()
    if uniform_N is None:
        drawn_N = logits_NV.argmax(-1)
        return drawn_N, torch.log_softmax(logits_NV, -1).gather(1, drawn_N[:, None])[:, 0]
    logprobs_NV = torch.log_softmax(logits_NV if temperature == 1 else logits_NV / temperature, -1)
    below_NV = logprobs_NV.exp().cumsum(-1)
    # Scaled by what the sum came to, a uniform number below 1 always lies below the last entry.
    at_N1 = uniform_N.to(below_NV.dtype)[:, None] * below_NV[:, -1:]
    drawn_N1 = torch.searchsorted(below_NV, at_N1, right=True).clamp_(max=below_NV.shape[-1] - 1)
    return drawn_N1[:, 0], logprobs_NV.gather(1, drawn_N1)[:, 0]


def _uniforms(requests: Sequence[Request], steps: int) -> torch.Tensor:
    """(D, T) numbers in [0, 1) of 24 bits, exact in float32; the first T do not depend on how many are drawn."""
    drawn = [
        torch.frombuffer(bytearray(random.Random(r.seed).randbytes(4 * steps)), dtype=torch.int32) for r in requests
    ]
    return (torch.stack(drawn) & 0xFFFFFF).to(torch.float32) * 2.0**-24


def out_of_memory(failure: RuntimeError) -> bool:
    """Whether torch could not get the memory that it asked for, on whatever device."""
    return isinstance(failure, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(failure)
