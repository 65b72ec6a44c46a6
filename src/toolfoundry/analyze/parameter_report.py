"""The parameter changes in words: the sentences and rows that the terminal and the Markdown report both show."""

from __future__ import annotations

from collections.abc import Sequence

from toolfoundry.analyze.parameter_plots import TITLES
from toolfoundry.analyze.parameters import ALPHA, LOWEST, MIN_LAYERS, Change, ParameterChanges
from toolfoundry.untrusted import visible

__all__ = ["HEADER", "change_row", "claim_sentence", "largest_sentences", "module_rows", "to_markdown", "top_tensors"]

HEADER = ("relative change", "mean change", "share of change", "of parameters", "elements changed")
_PARTS = {"attention": "attention", "mlp": "MLP", "norms": "norms"}


def change_row(change: Change, elements: int) -> list[str]:
    """The cells under HEADER; `elements`: of the whole model. "–" where there is no number."""
    return [
        _percent(change.relative, 3),
        f"{change.mean_abs:.2e}",
        _percent(change.share, 1),
        _percent(change.elements / elements, 1),
        _percent(change.changed, 1),
    ]


def module_rows(changes: ParameterChanges) -> list[list[str]]:
    """A row for each module, and the last for all."""
    whole = changes.total.elements
    rows = [[TITLES[module], *change_row(change, whole)] for module, change in changes.modules.items()]
    return [*rows, ["all", *change_row(changes.total, whole)]]


def largest_sentences(changes: ParameterChanges) -> list[str]:
    """What changed most, named; one sentence where nothing did."""
    if not changes.total.share:
        return ["Nothing changed: all parameters are the same."]
    sentences: list[str] = []
    if changes.parts:
        part = max(changes.parts, key=lambda one: one.change.share or 0.0)
        share = _percent(part.change.share, 1)
        sentences.append(f"Largest share: layer {part.layer}, {_PARTS[part.part]} ({share} of the squared change).")
    cell = max(changes.cells, key=lambda one: one.change.relative or 0.0)
    where = TITLES[cell.module] + (" outside the layers" if cell.layer is None and cell.module == "norms" else "")
    where = where if cell.layer is None else f"layer {cell.layer}, {where}"
    sentences.append(f"Strongest for its size: {where} (relative change {_percent(cell.change.relative, 3)}).")
    return sentences


def claim_sentence(changes: ParameterChanges) -> str:
    """The paper's claim with its answer, or why there is none."""
    question = "Do the changes concentrate in the MLPs of the lowest layers (0-2)?"
    claim = changes.claim
    if claim is None:
        why = f"{changes.layers} layers" if changes.total.share else "nothing changed"
        return f"{question} No answer: {why}, and it takes MLPs above layer 2 to compare with."
    figures = (
        f"Mean relative change of these MLPs {_percent(claim.lowest, 3)}, of those above {_percent(claim.above, 3)}, "
        f"of the attention in layers 0-2 {_percent(claim.attention, 3)}. They have {_percent(claim.share, 1)} of the "
        f"squared change and {_percent(claim.elements, 1)} of the parameters."
    )
    if claim.p is None or claim.choices is None:
        return f"{question} Not tested: {changes.layers} layers, {MIN_LAYERS} are needed. {figures}"
    test = (
        f"Permutation test: p = {claim.p:.4f}, the share of all {claim.choices:,} choices of {LOWEST} layers whose "
        f"MLPs changed at least as much on average."
    )
    rule = f"(Yes: p < {ALPHA}, and the MLPs changed more than the attention beside them.)"
    return f"{question} {'YES' if claim.holds else 'NO'}. {figures} {test} {rule}"


def top_tensors(changes: ParameterChanges, count: int = 10) -> list[list[str]]:
    """The tensors with the largest shares of the squared change: name, then the cells under HEADER."""
    ranked = sorted(changes.tensors, key=lambda one: (-(one.change.share or 0.0), one.name))[:count]
    return [[visible(one.name, 80), *change_row(one.change, changes.total.elements)] for one in ranked]


def to_markdown(changes: ParameterChanges, before: str, after: str) -> str:
    """The report; the picture lies beside it."""
    about = f"{len(changes.tensors)} tensors, {changes.layers} layers, {changes.total.elements:,} parameters."
    lines = [
        "# Where the parameters changed",
        "",
        f"Before: {_code(before)}. After: {_code(after)}. {about}",
        "",
        *(f"- {sentence}" for sentence in largest_sentences(changes)),
        f"- {claim_sentence(changes)}",
        *(f"- {_plain(note)}" for note in changes.notes),
        "",
        "![heat map of the relative change, layer by module](parameters.svg)",
        "",
        "## By module",
        "",
        *_table(["", *HEADER], module_rows(changes)),
        "",
        "With d = after − before: relative change ‖d‖ / ‖before‖ (Frobenius norms); mean change: mean of |d|; "
        "share of change: of the model's ‖d‖²; of parameters: share of the model's elements.",
        "",
    ]
    if changes.layers:
        found = {(one.layer, one.part): one.change for one in changes.parts}
        rows = [
            [str(layer), *(cell for part in _PARTS for cell in _pair(found.get((layer, part))))]
            for layer in range(changes.layers)
        ]
        header = ["layer", *(f"{title}{what}" for title in _PARTS.values() for what in ("", ", share"))]
        lines += ["## By layer", "", "Relative change, and share of the squared change.", "", *_table(header, rows), ""]
    top = [[_code(row[0]), *row[1:]] for row in top_tensors(changes, 20)]
    lines += ["## Tensors with the most of the squared change", "", *_table(["tensor", *HEADER], top), ""]
    spectra = [one for one in changes.tensors if one.spectrum is not None]
    if spectra:
        spectra.sort(key=lambda one: (-(one.change.share or 0.0), one.name))
        rows = [
            [
                _code(visible(one.name, 80)),
                f"{one.spectrum.stable_rank:.1f}",
                f"{min(one.shape)}",
                _percent(one.spectrum.energy, 1),
                " ".join(f"{value:.3g}" for value in one.spectrum.values),
                "exact" if one.spectrum.exact else "randomised",
            ]
            for one in spectra[:40]
            if one.spectrum is not None
        ]
        header = ["tensor", "stable rank", "full rank", "share of ‖d‖² in these", "largest singular values", ""]
        more = (
            f"The first {len(rows)} of {len(spectra)} matrices; all are in parameters.json."
            if len(spectra) > 40
            else ""
        )
        lines += ["## Spectra of the changes", "", *([more, ""] if more else []), *_table(header, rows), ""]
    return "\n".join(lines)


def _pair(change: Change | None) -> tuple[str, str]:
    return ("–", "–") if change is None else (_percent(change.relative, 3), _percent(change.share, 1))


def _percent(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}%"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    right = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(row)} |" for row in (header, right, *rows)]


def _code(text: str) -> str:
    """Text of others as Markdown code, on one line."""
    return "`" + visible(text, 200).replace("`", "'").replace("|", "¦") + "`"


def _plain(text: str) -> str:
    """A sentence that may hold names of files and tensors, without effect as Markdown or HTML."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in visible(text, 500))
