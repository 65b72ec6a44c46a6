"""What is counted of a set of environments, ready to be compared with another set. Counts, no verdicts.

Shapes of questions are directed graphs of their steps without labels, told apart by a Weisfeiler-Lehman hash
(`shapes`): graphs that it cannot tell apart count as one, so the number of shapes is a lower bound.
"""

from __future__ import annotations

from collections.abc import Mapping

from toolfoundry.types import Record

__all__ = ["CHECKPOINTS", "Distinct", "ScenarioCounts", "SetStatistics", "ShapeCount", "mean"]

# After so many environments the distinct things are counted: sets of different sizes are compared at the same one.
CHECKPOINTS = (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)


def mean(histogram: Mapping[int, int]) -> float | None:
    """The mean of a histogram (value -> how often); None where it is empty."""
    count = sum(histogram.values())
    return sum(value * times for value, times in histogram.items()) / count if count else None


class Distinct(Record):
    """How many different things were met: in all, and among the first 100, 200, 500, ... environments."""

    total: int
    after: dict[int, int]

    @property
    def per_thousand(self) -> int | None:
        """Among the first 1,000 environments; None for a smaller set."""
        return self.after.get(1_000)


class ShapeCount(Record):
    """One unlabelled graph of steps: how many environments have it, and its edges in one of them.

    Nodes are 0, 1, ... in the order of the goals; an edge is (the step that is needed, the step that needs it).
    """

    nodes: int
    edges: tuple[tuple[int, int], ...]
    count: int


class ScenarioCounts(Record):
    """Counts over all environments ("all") or those of one scenario. Histograms are value -> how often."""

    scenario: str
    environments: int
    tools: dict[int, int]
    distractors: dict[int, int]
    goals: dict[int, int]
    words: dict[int, int]
    parameters: dict[int, int]
    required: dict[int, int]
    lines: dict[int, int]


class SetStatistics(Record):
    """One set. `scenarios` has "all" first, then each scenario that is present.

    types: JSON types of top-level parameters; keywords: top-level parameters in whose schema a keyword stands
    (`enum`, `default`, `format`, `pattern`, `nested` for properties of its own, `bounds` for limits of numbers).
    names: tool names without digits and version words; trigrams: runs of three words of a question (estimated to 0.1%);
    shapes: see the module; `shapes_unknown` environments could not be counted, since their edges are not known.
    """

    name: str
    scenarios: tuple[ScenarioCounts, ...]
    types: dict[str, int]
    keywords: dict[str, int]
    names: Distinct
    questions: Distinct
    trigrams: Distinct
    shapes: Distinct
    shapes_unknown: int
    common_shapes: tuple[ShapeCount, ...]

    @property
    def overall(self) -> ScenarioCounts:
        return self.scenarios[0]
