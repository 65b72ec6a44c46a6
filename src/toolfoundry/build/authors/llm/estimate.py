"""What a build would cost, before anything is sent.

The prompts are known, the replies are not: how long those are, and how often a stage has to be asked, is assumed. The
assumptions are what the recorded constructions of the test suite came to (27 questions, 129 requests; tokens from
bytes, three to a token, which is on the careful side for English and code). A brief that brings its own steps is
counted with them, any other with the mean of the published test set, 4.1 sub-questions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from toolfoundry.build.authors.llm.cache import Prices
from toolfoundry.build.authors.llm.prompting import asking, system_text
from toolfoundry.build.authors.llm.requests import estimated_tokens
from toolfoundry.build.draft import STAGES, Brief, Stage
from toolfoundry.build.questions import decomposition_from
from toolfoundry.types import Record

__all__ = ["Assumptions", "Estimate", "StageEstimate", "estimate"]


class Assumptions(Record):
    """What is assumed of an item. requests: how often each stage asks; data and reply: tokens for each step of an item.

    Integration asks only where documents overlap, hence less than once an item.
    """

    steps: float = 4.1
    requests: dict[Stage, float] = {
        "decompose": 1.22,
        "document": 1.16,
        "integrate": 0.35,
        "scale": 1.13,
        "deploy": 1.5,
    }
    data: dict[Stage, float] = {"decompose": 34, "document": 73, "integrate": 183, "scale": 183, "deploy": 269}
    reply: dict[Stage, float] = {"decompose": 85, "document": 171, "integrate": 118, "scale": 383, "deploy": 400}


class StageEstimate(NamedTuple):
    """Expected requests and tokens of one stage over all items; cost is None without prices."""

    stage: Stage
    requests: float
    prompt_tokens: float
    completion_tokens: float
    cost: float | None


class Estimate(NamedTuple):
    """Expected requests and tokens of a build."""

    items: int
    stages: tuple[StageEstimate, ...]

    @property
    def total(self) -> StageEstimate:
        """All stages together, under the name of the last."""
        costs = [stage.cost for stage in self.stages if stage.cost is not None]
        return StageEstimate(
            "deploy",
            sum(stage.requests for stage in self.stages),
            sum(stage.prompt_tokens for stage in self.stages),
            sum(stage.completion_tokens for stage in self.stages),
            sum(costs) if costs else None,
        )

    def __str__(self) -> str:
        """A table for a person."""
        lines = [
            f"{self.items:,} items",
            f"{'stage':<10}{'requests':>12}{'prompt tokens':>16}{'reply tokens':>16}{'cost':>12}",
        ]
        for name, row in [*((stage.stage, stage) for stage in self.stages), ("all", self.total)]:
            cost = "" if row.cost is None else f"{row.cost:,.2f}"
            numbers = f"{row.requests:>12,.0f}{row.prompt_tokens:>16,.0f}{row.completion_tokens:>16,.0f}"
            lines.append(f"{name:<10}{numbers}{cost:>12}")
        return "\n".join(lines)


def estimate(briefs: Iterable[Brief], prices: Prices | None = None, assumptions: Assumptions | None = None) -> Estimate:
    """What these briefs are expected to take, stage by stage, if every item goes through all of them."""
    assumed, prices = assumptions or Assumptions(), prices or Prices()
    frame = estimated_tokens([asking({})])
    sums: dict[Stage, list[float]] = {stage: [0.0, 0.0, 0.0] for stage in STAGES}
    items = 0
    for brief in briefs:
        items += 1
        steps = len(brief.steps) or assumed.steps
        given = bool(brief.steps) and decomposition_from(brief) is not None
        for stage in STAGES:
            if stage == "decompose" and given:
                continue
            asked = assumed.requests[stage]
            reply = assumed.reply[stage] * steps
            prompt = estimated_tokens([system_text(stage)]) + frame + assumed.data[stage] * steps
            again = max(0.0, asked - 1)  # a correction is sent with everything that was said before
            row = sums[stage]
            row[0] += asked
            row[1] += asked * prompt + again * reply
            row[2] += asked * reply
    stages = tuple(
        StageEstimate(stage, asked, prompt, reply, prices.cost(round(prompt), round(reply)) if prices.known else None)
        for stage, (asked, prompt, reply) in sums.items()
    )
    return Estimate(items, stages)
