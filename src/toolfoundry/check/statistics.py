"""The shape of a set: how many tools, parameters, goals and words, by scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from toolfoundry.check.report import Statistics
from toolfoundry.types import EnvSpec

__all__ = ["Shape", "ShapeCounts", "shape_of"]


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


class ShapeCounts:
    """Shapes added up, for all and for each scenario; environments are not kept."""

    def __init__(self) -> None:
        self._counts: dict[str, _Counts] = {"all": _Counts()}

    def add(self, shape: Shape) -> None:
        self._counts["all"].add(shape)
        self._counts.setdefault(shape.scenario, _Counts()).add(shape)

    def results(self) -> Iterator[Statistics]:
        """One record for all, then one for each scenario present."""
        for scenario in ["all", *sorted(self._counts.keys() - {"all"})]:
            yield self._counts[scenario].result(scenario)


class _Counts:
    def __init__(self) -> None:
        self.environments = self.distractors = self.required = 0
        self.types: Counter[str] = Counter()
        self.tools: Counter[int] = Counter()
        self.goals: Counter[int] = Counter()
        self.parameters: Counter[int] = Counter()
        self.words: Counter[int] = Counter()

    def add(self, shape: Shape) -> None:
        self.environments += 1
        self.distractors += shape.distractors
        self.required += sum(shape.required)
        self.types += shape.types
        self.tools[len(shape.parameters)] += 1
        self.goals[shape.goals] += 1
        self.parameters.update(shape.parameters)
        self.words[shape.words] += 1

    def result(self, scenario: str) -> Statistics:
        return Statistics(
            scenario=scenario,
            environments=self.environments,
            tools=sum(self.tools.elements()),
            distractors=self.distractors,
            goals=sum(self.goals.elements()),
            parameters=sum(self.parameters.elements()),
            required=self.required,
            parameter_types=dict(self.types.most_common()),
            tools_per_environment=dict(sorted(self.tools.items())),
            goals_per_environment=dict(sorted(self.goals.items())),
            parameters_per_tool=dict(sorted(self.parameters.items())),
            question_words=dict(sorted(self.words.items())),
        )
