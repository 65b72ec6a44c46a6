"""Two checkpoints side by side, a few rows of one tensor at a time: memory does not grow with the model.

    pair = open_pair(Path("before"), Path("after"))
    for name in pair.tensors:
        rows = pair.rows(name, 0, 1024)

A checkpoint is a folder with safetensors, in one file or in several with an index. The second may be a LoRA adapter:
what it changes is then computed from its factors, and nothing is merged. Files are opened anew for every piece, because
a mapped file counts as memory for as long as it is open. Pickled weights are not read.
"""
# pyright: basic

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from toolfoundry.errors import InputError, MissingExtra

__all__ = ["ATTENTION", "MLP", "MODULES", "Module", "Pair", "Place", "Rows", "Stored", "open_pair", "place_of"]

Module = Literal["q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "down", "norms", "embeddings", "head", "other"]

MODULES: tuple[Module, ...] = (
    *("q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "down"),
    *("norms", "embeddings", "head", "other"),
)
ATTENTION: tuple[Module, ...] = ("q", "k", "v", "qkv", "o")
MLP: tuple[Module, ...] = ("gate", "up", "gate_up", "down")

_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|blocks|block|h)\.(\d+)\.")
_OTHER_TOWER = re.compile(r"(?:^|\.)(?:visual|vision\w*|audio\w*|encoder)\.")
_LEAVES: dict[str, Module] = {
    **dict.fromkeys("q_proj wq query q_lin q_a_proj q_b_proj".split(), "q"),
    **dict.fromkeys("k_proj wk key k_lin".split(), "k"),
    **dict.fromkeys("v_proj wv value v_lin".split(), "v"),
    **dict.fromkeys("qkv qkv_proj query_key_value c_attn W_pack Wqkv in_proj_qkvz kv_b_proj".split(), "qkv"),
    "kv_a_proj_with_mqa": "qkv",
    **dict.fromkeys("o_proj wo".split(), "o"),
    **dict.fromkeys("gate_proj w1".split(), "gate"),
    **dict.fromkeys("up_proj w3 c_fc fc1 fc_in dense_h_to_4h".split(), "up"),
    **dict.fromkeys("gate_up_proj gate_and_up_proj".split(), "gate_up"),
    **dict.fromkeys("down_proj w2 fc2 fc_out dense_4h_to_h".split(), "down"),
    **dict.fromkeys(
        "embed_tokens wte wpe word_embeddings embed_in tok_embeddings embed_positions".split(), "embeddings"
    ),
    **dict.fromkeys("lm_head embed_out output".split(), "head"),
}
_OUTPUTS = {"c_proj", "out_proj", "dense", "proj"}  # of the attention or of the MLP: the name before says which
_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_EMBEDDINGS = ("model.embed_tokens.weight", "transformer.wte.weight", "gpt_neox.embed_in.weight", "embed_tokens.weight")
_HEAD = "lm_head.weight"
_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(?:\.weight)?")


class Place(NamedTuple):
    """What a tensor is, by its name. `layer`: None outside the decoder's layers."""

    layer: int | None
    module: Module


def place_of(name: str) -> Place:
    """Which layer and module a tensor belongs to, in the words of Llama, Qwen, GPT-2, GPT-NeoX, OPT and their kin.

    The router of a mixture of experts, and all towers that are not the text decoder's, are "other".
    """
    if _OTHER_TOWER.search(name):
        return Place(None, "other")
    found = _LAYER.search(name)
    layer = int(found[1]) if found else None
    leaf = re.sub(r"\.(weight|bias)$", "", name).rpartition(".")[2]
    if "norm" in leaf.lower() or re.fullmatch(r"ln(_.+|\d)?", leaf):
        return Place(layer, "norms")
    if leaf in _OUTPUTS and re.search(r"attn|attention", name):
        return Place(layer, "o")
    if leaf in _OUTPUTS and "mlp" in name:
        return Place(layer, "down")
    return Place(layer, _LEAVES.get(leaf, "other"))


class Stored(NamedTuple):
    """Where a tensor lies. `dtype` in the words of safetensors: F32, BF16, ..."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes_of_row(self) -> int:
        return _FLOATS[self.dtype] * math.prod(self.shape[1:])


class _LowRank(NamedTuple):
    """What an adapter adds to one weight: scale * B @ A, turned round where the weight is stored as [in, out]."""

    a: Stored
    b: Stored
    scale: float
    turned: bool


class Rows(NamedTuple):
    """Some rows of a tensor: as they were, and as they are, or, with `is_difference`, what was added to them."""

    before: Any
    after: Any
    is_difference: bool


class Pair(NamedTuple):
    """Two checkpoints with the same tensors.

    `tensors`: those of the first, in the order of its files. `after`: where each lies in the second; what an adapter
    does not touch is not there. `notes`: what a reader must know, in sentences.
    """

    tensors: Mapping[str, Stored]
    after: Mapping[str, Stored | _LowRank]
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Of the first checkpoint's tensors."""
        return sum(one.bytes_of_row * (one.shape[0] if one.shape else 1) for one in self.tensors.values())

    def rows(self, name: str, start: int, stop: int) -> Rows:
        """The rows from `start` to `stop` of a tensor, in the dtypes of the files; a scalar is one row."""
        before, after = self.tensors[name], self.after.get(name)
        was = _read(before, start, stop)
        if after is None:
            return Rows(was, was, False)
        if isinstance(after, Stored):
            return Rows(was, _read(after, start, stop), False)
        a, b = (_read(one, 0, one.shape[0]).float() for one in (after.a, after.b))
        left, right = (a.T, b.T) if after.turned else (b, a)
        return Rows(was, after.scale * (left[start:stop] @ right), True)


def open_pair(before: Path, after: Path) -> Pair:
    """The two checkpoints, checked to have the same tensors in the same shapes; no weights are read yet.

    Raises InputError where they differ, or a file is missing or broken. MissingExtra without the extra `train`.
    """
    first, notes = _tensors(before), list[str]()
    if (after / "adapter_config.json").exists() and not any((after / name).exists() for name in (_SINGLE, _INDEX)):
        return _with_adapter(before, first, after)
    second = _tensors(after)
    _tie(before, first, after, second, notes)
    first, second = (
        {name: one for name, one in tensors.items() if not name.endswith("rotary_emb.inv_freq")}
        for tensors in (first, second)
    )
    for here, there, mine, other in ((before, after, first, second), (after, before, second, first)):
        if only := [name for name in mine if name not in other]:
            raise InputError(f"{here} has {len(only)} tensors that {there} does not have: {_some(only)}")
    if unlike := [name for name, one in first.items() if one.shape != second[name].shape]:
        shown = [f"{name} ({list(first[name].shape)} and {list(second[name].shape)})" for name in unlike]
        raise InputError(f"{before} and {after}: {len(unlike)} tensors have other shapes: {_some(shown)}")
    if dtypes := [name for name, one in first.items() if one.dtype != second[name].dtype]:
        shown = f"{first[dtypes[0]].dtype} and {second[dtypes[0]].dtype}"
        notes.append(f"{len(dtypes)} tensors have another dtype after ({shown}): rounding counts as change.")
    return _only_floats(Pair(first, second, tuple(notes)))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _only_floats(pair: Pair) -> Pair:
    """Without tensors of integers, which are no parameters; a checkpoint that is quantised is refused."""
    left_out = [name for name, one in pair.tensors.items() if one.dtype not in _FLOATS]
    for name in left_out:
        if pair.tensors[name].dtype not in ("I64", "I32", "BOOL"):
            dtype = pair.tensors[name].dtype
            raise InputError(f"{pair.tensors[name].file}: {name} is {dtype}, expected {', '.join(_FLOATS)}")
    floats = {name: one for name, one in pair.tensors.items() if name not in left_out}
    if not floats:
        raise InputError("found no tensors of floating point numbers in the first checkpoint")
    for name in floats:
        after = pair.after.get(name)
        for one in (after.a, after.b) if isinstance(after, _LowRank) else (after,) if after else ():
            if one.dtype not in _FLOATS:
                raise InputError(f"{one.file}: {one.name} is {one.dtype}, expected {', '.join(_FLOATS)}")
    notes = (f"{len(left_out)} tensors of integers are left out: {_some(left_out)}.",) if left_out else ()
    return Pair(floats, pair.after, (*pair.notes, *notes))


# --- files ---------------------------------------------------------------------------------------------------------


def _safe_open(file: Path) -> Any:
    try:
        import torch  # noqa: F401 (safetensors fails late without it)
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise MissingExtra("train", "reading checkpoints") from None
    try:
        return safe_open(file, "pt")
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{file}: cannot be read as safetensors: {reason}") from None


def _read(one: Stored, start: int, stop: int) -> Any:
    """Rows of a tensor; the mapping of the file goes with what is returned."""
    with _safe_open(one.file) as opened:
        if not one.shape:
            return opened.get_tensor(one.name).reshape(1)
        return opened.get_slice(one.name)[start:stop]


def _weight_map(folder: Path) -> dict[str, str] | None:
    """Tensor -> file, by the index of a sharded checkpoint; None where there is no index."""
    index = folder / _INDEX
    if not index.exists():
        return None
    found = _json(index).get("weight_map")
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise InputError(f"{index}: is malformed, expected a weight_map from tensors to files")
    for name in sorted(set(found.values())):
        if Path(name).name != name:
            raise InputError(f"{index}: found file {name!r}, expected the name of one beside it")
        if not (folder / name).exists():
            raise InputError(f"{folder}: found no {name}, which {_INDEX} names")
    return found


def _tensors(folder: Path) -> dict[str, Stored]:
    """All tensors of a checkpoint in the order in which they lie in its files."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder, expected a checkpoint")
    if (single := folder / _SINGLE).exists():
        return _listed(single)
    if (places := _weight_map(folder)) is not None:
        found = {name: one for file in sorted(set(places.values())) for name, one in _listed(folder / file).items()}
        if absent := [name for name, file in places.items() if name not in found or found[name].file.name != file]:
            raise InputError(f"{folder}: {len(absent)} tensors are not where {_INDEX} says: {_some(absent)}")
        return found
    if (folder / "adapter_config.json").exists():
        raise InputError(f"{folder}: found an adapter, expected a whole model (only the second may be an adapter)")
    raise InputError(f"{folder}: found no {_SINGLE}, expected weights in that format")


def _listed(file: Path) -> dict[str, Stored]:
    with _safe_open(file) as opened:
        found: dict[str, Stored] = {}
        for name in opened.offset_keys():
            one = opened.get_slice(name)
            found[name] = Stored(file, name, tuple(one.get_shape()), one.get_dtype())
        return found


def _json(file: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise InputError(f"{file}: is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{file}: found {type(found).__name__}, expected an object")
    return found


# --- tied weights --------------------------------------------------------------------------------------------------


def _tie(before: Path, first: dict[str, Stored], after: Path, second: dict[str, Stored], notes: list[str]) -> None:
    """Makes the head comparable where it is the embedding's tensor in one checkpoint or both."""
    having = [tensors for tensors in (first, second) if _HEAD in tensors]
    if not having and any(name in first for name in _EMBEDDINGS):
        notes.append("The head has no tensor of its own (tied weights): its change is that of the embeddings.")
    if len(having) != 1:
        return
    tied, tied_folder, folder = (first, before, after) if having[0] is second else (second, after, before)
    if _json(folder / "config.json").get("tie_word_embeddings") is True:
        del having[0][_HEAD]
        notes.append(f"{folder} stores the embeddings again as {_HEAD} (tied weights): they are counted once.")
    elif _borrow_head(tied):
        notes.append(f"{tied_folder} has no {_HEAD}: its head is the embeddings' tensor (tied weights).")


def _borrow_head(tensors: dict[str, Stored]) -> bool:
    """Lets the head be the embedding, if there is one."""
    embedding = next((tensors[name] for name in _EMBEDDINGS if name in tensors), None)
    if embedding is not None:
        tensors[_HEAD] = embedding
    return embedding is not None


# --- adapters ------------------------------------------------------------------------------------------------------


def _with_adapter(before: Path, first: dict[str, Stored], folder: Path) -> Pair:
    """The pair of a model and the same with a LoRA adapter."""
    file = folder / "adapter_model.safetensors"
    if not file.exists():
        raise InputError(f"{folder}: found no {file.name}, expected the weights of the adapter in that format")
    config, place = _json(folder / "adapter_config.json"), folder / "adapter_config.json"
    if config.get("peft_type") != "LORA":
        raise InputError(f"{place}: peft_type: found {config.get('peft_type')!r}, expected 'LORA'")
    if config.get("use_dora"):
        raise InputError(f"{place}: use_dora: found true, expected plain LoRA (merge this one into its base first)")
    factors: dict[str, dict[str, Stored]] = {}
    after: dict[str, Stored | _LowRank] = {}
    for key, one in _listed(file).items():
        name = key.removeprefix("base_model.model.").replace(".base_layer.", ".")
        if found := _FACTOR.fullmatch(name):
            side = ("embedding " if found["embedding"] else "") + found["side"]
            factors.setdefault(found["module"], {})[side] = one
        else:
            after[name] = one
    notes = [f"{folder} is a LoRA adapter: what it adds is exact, as if it were merged without rounding."]
    wanted = {*after, *(f"{module}.weight" for module in factors)}
    if _HEAD in wanted and _HEAD not in first and _borrow_head(first):
        notes.append(f"{before} has no {_HEAD}: its head is the embeddings' tensor (tied weights).")
    if unknown := sorted(wanted - first.keys()):
        raise InputError(f"{file}: changes {len(unknown)} tensors that {before} does not have: {_some(unknown)}")
    for module, sides in factors.items():
        after[f"{module}.weight"] = _low_rank(file, module, sides, first[f"{module}.weight"], config)
    for name, one in after.items():
        if isinstance(one, Stored) and one.shape != first[name].shape:
            shapes = f"{list(one.shape)}, expected {list(first[name].shape)}"
            raise InputError(f"{file}: {name} has shape {shapes} as in {before}")
    return _only_floats(Pair(first, after, tuple(notes)))


def _low_rank(file: Path, module: str, sides: dict[str, Stored], weight: Stored, config: Mapping[str, Any]) -> _LowRank:
    embedding = "embedding A" in sides or "embedding B" in sides
    kind = "embedding " if embedding else ""
    if sides.keys() != {f"{kind}A", f"{kind}B"}:
        raise InputError(f"{file}: {module} has {', '.join(sorted(sides))}, expected the two factors A and B")
    a, b = sides[f"{kind}A"], sides[f"{kind}B"]
    turned = embedding or bool(config.get("fan_in_fan_out"))
    shape = (*b.shape[:1], *a.shape[1:])
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != b.shape[1] or weight.shape != shape[:: 1 - 2 * turned]:
        found = f"factors A {list(a.shape)} and B {list(b.shape)}"
        raise InputError(f"{file}: {module}: {found} do not make a weight of {list(weight.shape)}")
    rank = a.shape[0]
    patterns: Mapping[str, float] = config.get("alpha_pattern") or {}
    matching = (value for key, value in patterns.items() if re.fullmatch(rf"(.*\.)?({key})", module))
    alpha = next(matching, config.get("lora_alpha"))
    if not isinstance(alpha, int | float):
        raise InputError(f"{file.parent / 'adapter_config.json'}: lora_alpha: found {alpha!r}, expected a number")
    return _LowRank(a, b, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank), turned)
