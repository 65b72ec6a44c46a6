"""The shape of a set: how many tools, parameters, goals and words, by scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

from toolfoundry.check.report import Statistics
from toolfoundry.types import EnvSpec

__all__ = ["Shape", "shape_of", "statistics_of"]


_TYPES = frozenset({"string", "integer", "number", "boolean", "array", "object", "null", "any"})


class Shape(NamedTuple):
    """One environment in numbers; `parameters` and `required` have one entry for each tool."""

    scenario: str
    distractors: int
    goals: int
    parameters: tuple[int, ...]
    required: tuple[int, ...]
    types: Counter[str]
    words: int


def shape_of(spec: EnvSpec) -> Shape:
    parameters: list[int] = []
    required: list[int] = []
    types: Counter[str] = Counter()
    for tool in spec.tools:
        found = tool.signature.parameters.get("properties")
        properties = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        needed = tool.signature.parameters.get("required")
        parameters.append(len(properties))
        required.append(len(needed) if isinstance(needed, list) else 0)
        types.update(_kind(schema) for schema in properties.values())
    owners = {goal.tool for goal in spec.goals}
    return Shape(
        spec.scenario.kind or "unknown",
        len(spec.tools) - len(owners),
        len(spec.goals),
        tuple(parameters),
        tuple(required),
        types,
        len(spec.scenario.question.split()),
    )


def _kind(schema: object) -> str:
    if not isinstance(schema, dict):
        return "any"
    fields = cast("dict[str, Any]", schema)
    if "enum" in fields:
        return "enum"
    kind: Any = fields.get("type", "any")
    return "several" if isinstance(kind, list) else kind if isinstance(kind, str) and kind in _TYPES else "other"


def statistics_of(shapes: Sequence[Shape]) -> Iterator[Statistics]:
    """One record for all, then one for each scenario present."""
    yield _statistics("all", shapes)
    for scenario in sorted({shape.scenario for shape in shapes}):
        yield _statistics(scenario, [shape for shape in shapes if shape.scenario == scenario])


def _statistics(scenario: str, shapes: Sequence[Shape]) -> Statistics:
    return Statistics(
        scenario=scenario,
        environments=len(shapes),
        tools=sum(len(shape.parameters) for shape in shapes),
        distractors=sum(shape.distractors for shape in shapes),
        goals=sum(shape.goals for shape in shapes),
        parameters=sum(sum(shape.parameters) for shape in shapes),
        required=sum(sum(shape.required) for shape in shapes),
        parameter_types=dict(sum((shape.types for shape in shapes), Counter[str]()).most_common()),
        tools_per_environment=_histogram(len(shape.parameters) for shape in shapes),
        goals_per_environment=_histogram(shape.goals for shape in shapes),
        parameters_per_tool=_histogram(n for shape in shapes for n in shape.parameters),
        question_words=_histogram(shape.words for shape in shapes),
    )


def _histogram(values: Iterator[int]) -> dict[int, int]:
    return dict(sorted(Counter(values).items()))
