"""Where the parameters changed between two checkpoints: by tensor, by layer and module, and whether low MLPs stand out.

    changes = compare_checkpoints(open_pair(before, after))

For w before and d = after - before, over the elements of a tensor or of a group of tensors:

    relative   ||d|| / ||w||                      (Frobenius norms; None where w is all 0)
    mean_abs   mean of |d|
    share      ||d||^2 / ||d||^2 of the model     (None where nothing changed at all)
    changed    share of the elements with d != 0

Pieces of at most 32 MiB are read and summed by a few threads; the sums are added in the order of the pieces, so the
result does not depend on the threads. Sums are taken in float32 over blocks of 262,144 elements (float64 where the
tensors are), and in float64 from there on.
"""
# pyright: basic

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

from toolfoundry.analyze.checkpoints import ATTENTION, MLP, MODULES, Module, Pair, Place, Rows, place_of
from toolfoundry.errors import InputError
from toolfoundry.seeds import derive_seed
from toolfoundry.types import Record

__all__ = [
    "Cell",
    "Change",
    "LowMLP",
    "ParameterChanges",
    "Part",
    "Spectrum",
    "TensorChange",
    "compare_checkpoints",
    "low_mlp",
]

LOWEST = 3
"""The paper's lowest layers: 0 to 2 (Ye et al. 2025, arXiv:2508.08791, analysis of the parameters)."""
MIN_LAYERS = 12
"""Below this many layers no test is made."""
ALPHA = 0.05
TOP = 8
"""Singular values that a spectral summary has."""
_PARTS: dict[Literal["attention", "mlp", "norms"], tuple[Module, ...]] = {
    "attention": ATTENTION,
    "mlp": MLP,
    "norms": ("norms",),
}
_PIECE_BYTES = 2**25
_BLOCK = 2**18
_EXACT = 512
_POWER_STEPS = 4


class Change(Record):
    """How much some elements changed; the module's docstring has the formulas."""

    elements: int
    changed: float
    relative: float | None
    mean_abs: float
    share: float | None


class Spectrum(Record):
    """The singular values of the change of one matrix.

    `values`: the largest, falling. `stable_rank`: ||d||^2 / largest^2, 1 for a change of rank 1. `energy`: the share of
    ||d||^2 in the values shown. `exact`: False where they are those of a random subspace after power iterations, which
    bounds them from below.
    """

    values: tuple[float, ...]
    stable_rank: float
    energy: float
    exact: bool


class TensorChange(Record):
    """One tensor. `spectrum`: None where it was not asked for, nothing changed, or the tensor is no matrix."""

    name: str
    layer: int | None
    module: Module
    shape: tuple[int, ...]
    dtype: str
    change: Change
    spectrum: Spectrum | None = None


class Cell(Record):
    """The tensors of one module in one layer; `layer` None for those outside the layers."""

    layer: int | None
    module: Module
    change: Change


class Part(Record):
    """All of the attention, of the MLP, or of the norms of one layer."""

    layer: int
    part: Literal["attention", "mlp", "norms"]
    change: Change


class LowMLP(Record):
    """The paper's claim, that changes concentrate in the MLPs of the lowest layers, as figures.

    `lowest`, `above`: mean relative change of the MLPs of layers 0-2 and of the layers above; `attention`: of the
    attention in layers 0-2. `share`, `elements`: what those three MLPs have of the squared change and of the elements
    of the model. `p`: how often three layers chosen in any of `choices` ways have MLPs that changed at least as much;
    every choice is tried. `holds`: p is below 0.05 and the lowest MLPs changed more than their attention. Both are None
    for models of fewer than 12 layers.
    """

    lowest: float
    above: float
    attention: float | None
    share: float
    elements: float
    choices: int | None
    p: float | None
    holds: bool | None


class ParameterChanges(Record):
    """All of it. `layers`: of the model. `claim`: None where nothing changed, or there is no MLP above layer 2."""

    notes: tuple[str, ...]
    layers: int
    total: Change
    modules: dict[Module, Change]
    cells: tuple[Cell, ...]
    parts: tuple[Part, ...]
    tensors: tuple[TensorChange, ...]
    claim: LowMLP | None


class _Sums(NamedTuple):
    """What is added up: counts of elements and of changed ones, ||w||^2, ||d||^2, sum of |d|."""

    elements: int = 0
    changed: int = 0
    before: float = 0.0
    squared: float = 0.0
    absolute: float = 0.0

    def __add__(self, other: _Sums) -> _Sums:  # type: ignore[override] (sums, not a longer tuple)
        return _Sums(
            self.elements + other.elements,
            self.changed + other.changed,
            self.before + other.before,
            self.squared + other.squared,
            self.absolute + other.absolute,
        )

    def change(self, total: float) -> Change:
        """As figures; `total`: the squared change of the whole model."""
        count = self.elements or 1
        return Change(
            elements=self.elements,
            changed=self.changed / count,
            relative=math.sqrt(self.squared / self.before) if self.before else None,
            mean_abs=self.absolute / count,
            share=self.squared / total if total else None,
        )


def compare_checkpoints(
    pair: Pair, *, spectral: bool = False, seed: int = 0, on_bytes: Callable[[int], None] = lambda _: None
) -> ParameterChanges:
    """What changed from the first to the second.

    Args:
        spectral: also the largest singular values of each matrix's change. Large ones are read five times more.
        seed: of the random subspace of large matrices.
        on_bytes: called with the bytes of the first checkpoint that have been compared.
    Raises:
        InputError: a tensor holds NaN or infinities.
    """
    places = {name: place_of(name) for name in pair.tensors}
    sums = _sum_all(pair, on_bytes)
    total = sum((one.squared for one in sums.values()), 0.0)
    tensors: list[TensorChange] = []
    for name, one in pair.tensors.items():
        spectrum = None
        if spectral and len(one.shape) == 2 and sums[name].squared:
            spectrum = _spectrum(pair, name, sums[name].squared, seed)
        change = sums[name].change(total)
        layer, module = places[name]
        dtype, shape = one.dtype, one.shape
        tensors.append(
            TensorChange(
                name=name, layer=layer, module=module, shape=shape, dtype=dtype, change=change, spectrum=spectrum
            )
        )
    by_place: dict[Place, _Sums] = {}
    for name, place in places.items():
        by_place[place] = by_place.get(place, _Sums()) + sums[name]
    by_module: dict[Module, _Sums] = {
        module: _add(s for p, s in by_place.items() if p.module == module) for module in MODULES
    }
    modules: dict[Module, Change] = {m: one.change(total) for m, one in by_module.items() if one.elements}
    layers = 1 + max((place.layer for place in by_place if place.layer is not None), default=-1)
    ordered = sorted(by_place, key=lambda p: (p.layer is None, p.layer or 0, MODULES.index(p.module)))
    return ParameterChanges(
        notes=pair.notes,
        layers=layers,
        total=_add(sums.values()).change(total),
        modules=modules,
        cells=tuple(Cell(layer=p.layer, module=p.module, change=by_place[p].change(total)) for p in ordered),
        parts=tuple(
            Part(layer=layer, part=part, change=one.change(total))
            for layer in range(layers)
            for part, members in _PARTS.items()
            if (one := _add(s for p, s in by_place.items() if p.layer == layer and p.module in members)).elements
        ),
        tensors=tuple(tensors),
        claim=_claim(by_place, layers),
    )


def _add(sums: Iterable[_Sums]) -> _Sums:
    total = _Sums()
    for one in sums:
        total = total + one
    return total


# --- sums ----------------------------------------------------------------------------------------------------------


def _sum_all(pair: Pair, on_bytes: Callable[[int], None]) -> dict[str, _Sums]:
    """The sums of every tensor."""
    sums = dict.fromkeys(pair.tensors, _Sums())
    with _one_thread_each(), ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        pieces = [(name, start, stop) for name in pair.tensors for start, stop in _pieces(pair, name)]
        done = pool.map(lambda piece: _sum_rows(pair.rows(*piece)), pieces)
        try:
            for (name, start, stop), piece in zip(pieces, done, strict=True):
                if not math.isfinite(piece.before + piece.squared):
                    raise InputError(f"{name}: holds NaN or infinities before or after, expected finite numbers")
                sums[name] = sums[name] + piece
                on_bytes((stop - start) * pair.tensors[name].bytes_of_row)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return sums


def _pieces(pair: Pair, name: str) -> list[tuple[int, int]]:
    one = pair.tensors[name]
    rows = one.shape[0] if one.shape else 1
    step = max(1, _PIECE_BYTES // max(1, one.bytes_of_row))
    return [(start, min(rows, start + step)) for start in range(0, rows, step)]


@contextlib.contextmanager
def _one_thread_each() -> Generator[None]:
    """Torch's own threads are for larger blocks than ours, and would only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _sum_rows(rows: Rows) -> _Sums:
    """The sums over a piece, block after block, so that what is computed stays in the processor's cache."""
    import numpy
    import torch

    before, after = rows.before.reshape(-1), rows.after.reshape(-1)
    kind = torch.float64 if torch.float64 in (before.dtype, after.dtype) else torch.float32
    w, d = torch.empty(_BLOCK, dtype=kind), torch.empty(_BLOCK, dtype=kind)
    changed = elements = 0
    was = squared = absolute = 0.0
    for start in range(0, before.numel(), _BLOCK):
        size = min(_BLOCK, before.numel() - start)
        w, d = w[:size], d[:size]
        w.copy_(before[start : start + size])
        d.copy_(after[start : start + size])
        if not rows.is_difference:
            d.sub_(w)
        elements += size
        was += torch.dot(w, w).item()
        squared += torch.dot(d, d).item()
        changed += int(numpy.count_nonzero(d.numpy()))  # many times as fast as torch's
        absolute += d.abs_().sum().item()
    return _Sums(elements, changed, was, squared, absolute)


# --- spectrum ------------------------------------------------------------------------------------------------------


def _spectrum(pair: Pair, name: str, squared: float, seed: int) -> Spectrum:
    """The largest singular values of a change, from pieces of it.

    Large matrices: subspace iteration on d'd from a random start (Halko, Martinsson, Tropp 2011, algorithm 4.4), then
    the singular values of d on that subspace.
    """
    import torch

    rows, columns = pair.tensors[name].shape
    if exact := min(rows, columns) <= _EXACT and rows * columns * 4 <= 2 * _PIECE_BYTES:
        whole = torch.cat(list(_differences(pair, name)))
        values = torch.linalg.svdvals(whole)[:TOP].tolist()
    else:
        width = min(TOP + 8, rows, columns)
        generator = torch.Generator().manual_seed(derive_seed("spectrum", seed, name))
        basis = torch.linalg.qr(torch.randn(columns, width, generator=generator)).Q
        for _ in range(_POWER_STEPS):
            turned = torch.zeros(columns, width)
            for piece in _differences(pair, name):
                turned += piece.T @ (piece @ basis)
            basis = torch.linalg.qr(turned).Q
        gram = torch.zeros(width, width, dtype=torch.float64)
        for piece in _differences(pair, name):
            image = (piece @ basis).double()
            gram += image.T @ image
        values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().flip(0)[:TOP].tolist()
    energy = min(1.0, sum(value**2 for value in values) / squared)
    return Spectrum(values=tuple(values), stable_rank=squared / values[0] ** 2, energy=energy, exact=exact)


def _differences(pair: Pair, name: str) -> Generator[Any]:
    """The change of a matrix in float32, piece after piece."""
    for start, stop in _pieces(pair, name):
        rows = pair.rows(name, start, stop)
        yield rows.after.float() if rows.is_difference else rows.after.float() - rows.before.float()


# --- the claim -----------------------------------------------------------------------------------------------------


def _claim(sums: Mapping[Place, _Sums], layers: int) -> LowMLP | None:
    whole = _add(sums.values())
    mlps = [_add(s for p, s in sums.items() if p.layer == layer and p.module in MLP) for layer in range(layers)]
    attentions = [
        _add(s for p, s in sums.items() if p.layer == layer and p.module in ATTENTION) for layer in range(layers)
    ]
    relative = [_relative(one) for one in mlps]
    if layers <= LOWEST or not whole.squared or None in relative:
        return None
    known = [r for r in relative if r is not None]
    low = [r for one in attentions[:LOWEST] if (r := _relative(one)) is not None]
    return low_mlp(
        known,
        attention=sum(low) / len(low) if low else None,
        share=_add(mlps[:LOWEST]).squared / whole.squared,
        elements=_add(mlps[:LOWEST]).elements / whole.elements,
    )


def _relative(one: _Sums) -> float | None:
    return math.sqrt(one.squared / one.before) if one.before else None


def low_mlp(relative: Sequence[float], *, attention: float | None, share: float, elements: float) -> LowMLP:
    """The claim from the relative change of each layer's MLP, of more than three layers, lowest first.

    The test permutes the layers: under chance, the MLPs of layers 0-2 are any three of the model's. Statistic: the mean
    relative change of the three minus that of all others, which orders the choices as the sum of the three does. All
    choices are tried (220 for 12 layers, 3,276 for 28), so there is no seed.
    """
    lowest = sum(relative[:LOWEST]) / LOWEST
    above = sum(relative[LOWEST:]) / (len(relative) - LOWEST)
    choices = p = holds = None
    if len(relative) >= MIN_LAYERS:
        choices = math.comb(len(relative), LOWEST)
        least = sum(relative[:LOWEST]) * (1 - 1e-12)  # equal sums in another order count as equal
        p = sum(sum(three) >= least for three in itertools.combinations(relative, LOWEST)) / choices
        holds = p < ALPHA and (attention is None or lowest > attention)
    return LowMLP(
        lowest=lowest,
        above=above,
        attention=attention,
        share=share,
        elements=elements,
        choices=choices,
        p=p,
        holds=holds,
    )
