"""Sets side by side: the rows that the terminal and the page show, with one cell for each set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from toolfoundry.stats.measure import measure
from toolfoundry.stats.records import CHECKPOINTS, Distinct, ScenarioCounts, SetStatistics, mean
from toolfoundry.types import EnvSpec

__all__ = ["MEANS", "Row", "Section", "common_checkpoint", "compare_sets", "sections"]

MEANS = {
    "tools": "Tools per question",
    "distractors": "Distractors per question",
    "goals": "Sub-answers per question",
    "words": "Words per question",
    "parameters": "Parameters per tool",
    "required": "Required parameters per tool",
    "lines": "Source lines per tool",
}
_DIVERSITY = {
    "names": "tool names, without digits and version words",
    "questions": "questions",
    "trigrams": "runs of three words",
    "shapes": "shapes of questions, as unlabelled graphs",
}


class Row(NamedTuple):
    """A quantity with its value in each set, as shown ("–" where it is not known) and as a number.

    `sized`: it grows with the set, so that sets of different sizes cannot be compared by it.
    """

    label: str
    cells: tuple[str, ...]
    values: tuple[float | None, ...]
    sized: bool = False

    @property
    def ratio(self) -> float | None:
        """The first set's value over the second's, where there are two sets that both have one other than 0."""
        if self.sized or len(self.values) != 2 or not all(self.values):
            return None
        one, other = self.values
        return None if one is None or other is None else one / other


class Section(NamedTuple):
    """A heading, what there is to know about its rows ("" if nothing), and the rows."""

    title: str
    note: str
    rows: list[Row]


def compare_sets(sets: Mapping[str, Iterable[EnvSpec]]) -> list[SetStatistics]:
    """The statistics of each set, in the order given. Each is read once, one after the other."""
    return [measure(name, specs) for name, specs in sets.items()]


def sections(sets: Sequence[SetStatistics]) -> list[Section]:
    """Everything that is compared, as rows; sizes first, diversity last, and no section without rows."""
    means = [_means(sets, name, title) for name, title in MEANS.items()]
    return [section for section in (_sizes(sets), *means, *_schemas(sets), _diversity(sets)) if section.rows]


def common_checkpoint(sets: Sequence[SetStatistics]) -> int | None:
    """The largest checkpoint that every set has reached; None where one has fewer than 100 environments."""
    reached = [point for point in CHECKPOINTS if all(point in one.names.after for one in sets)]
    return max(reached, default=None)


def _row(label: str, values: Iterable[float | None], form: str = "{:,.2f}", *, sized: bool = False) -> Row:
    found = tuple(values)
    return Row(label, tuple("–" if value is None else form.format(value) for value in found), found, sized)


def _sizes(sets: Sequence[SetStatistics]) -> Section:
    rows = [
        _row("environments", (one.overall.environments for one in sets), "{:,}", sized=True),
        _row("tools", (sum(one.overall.parameters.values()) for one in sets), "{:,}", sized=True),
        _row("parameters", (sum(one.types.values()) for one in sets), "{:,}", sized=True),
    ]
    rows += [
        _row(f"{_plain(kind)}, % of environments", (_share(one, kind) for one in sets), "{:.1f}")
        for kind in _kinds(sets)[1:]
    ]
    return Section("Size", "", rows)


def _share(one: SetStatistics, kind: str) -> float | None:
    return 100 * _of(one, kind).environments / one.overall.environments if one.overall.environments else None


def _means(sets: Sequence[SetStatistics], name: str, title: str) -> Section:
    rows: list[Row] = []
    for kind in _kinds(sets):
        histograms: list[dict[int, int]] = [getattr(_of(one, kind), name) for one in sets]
        row = _row(_plain(kind), (mean(histogram) for histogram in histograms))
        spans = [f" ({min(counts)}–{max(counts)})" if counts else "" for counts in histograms]
        rows.append(row._replace(cells=tuple(cell + span for cell, span in zip(row.cells, spans, strict=True))))
    return Section(title, "mean (least–most)", rows)


def _schemas(sets: Sequence[SetStatistics]) -> list[Section]:
    parameters = [sum(one.types.values()) for one in sets]

    def shares(counts: Sequence[dict[str, int]]) -> list[Row]:
        names = sorted(
            {name for one in counts for name in one}, key=lambda n: (-sum(one.get(n, 0) for one in counts), n)
        )
        return [
            _row(
                name,
                (
                    100 * one.get(name, 0) / total if total else None
                    for one, total in zip(counts, parameters, strict=True)
                ),
                "{:.1f}",
            )
            for name in names
        ]

    return [
        Section("JSON types", "% of parameters", shares([one.types for one in sets])),
        Section("Schema keywords", "per 100 parameters", shares([one.keywords for one in sets])),
    ]


def _diversity(sets: Sequence[SetStatistics]) -> Section:
    rows: list[Row] = []
    common = common_checkpoint(sets)
    for name, title in _DIVERSITY.items():
        found: list[Distinct | None] = [_known(one, name) for one in sets]
        rows.append(_row(title, (one.total if one else None for one in found), "{:,}", sized=True))
        points = [1_000] if common in (None, 1_000) else [common, 1_000] if common < 1_000 else [1_000, common]
        for point in points:
            values = [one.after.get(point) if one else None for one in found]
            if any(values) and values != list(rows[-1].values):
                rows.append(_row(f"  among the first {point:,} environments", values, "{:,}"))
    return Section("Diversity", "different ones", rows)


def _known(one: SetStatistics, name: str) -> Distinct | None:
    """None for the shapes of a set whose edges are not known."""
    return None if name == "shapes" and one.shapes_unknown else getattr(one, name)


def _kinds(sets: Sequence[SetStatistics]) -> list[str]:
    return list(dict.fromkeys(part.scenario for one in sets for part in one.scenarios))


def _of(one: SetStatistics, kind: str) -> ScenarioCounts:
    found = next((part for part in one.scenarios if part.scenario == kind), None)
    empty: dict[str, dict[int, int]] = {name: {} for name in MEANS}
    return found or ScenarioCounts(scenario=kind, environments=0, **empty)


def _plain(kind: str) -> str:
    return kind.replace("_", " ")
