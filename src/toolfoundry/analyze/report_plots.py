# pyright: basic
"""The plots of a report: scores by group, failures by kind, and the parts of the reward over the rounds of a training.

Colours mean runs, as in `stats.plots`; the page has the legend, so that no name of a run gets into a drawing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from toolfoundry.analyze.behaviour import KINDS, FailureKind
from toolfoundry.analyze.behaviour_summary import BehaviourSummary
from toolfoundry.analyze.reward_parts import RewardParts
from toolfoundry.console import SCENARIOS
from toolfoundry.evaluate.results import Result
from toolfoundry.page import Drawing
from toolfoundry.reward import grade_trajectory
from toolfoundry.stats.plots import COLOURS, as_svg, new_axes
from toolfoundry.types import Trajectory

__all__ = ["draw_failures", "draw_parts", "draw_progress", "draw_scores"]

_TALL = 2.9  # inches: plots that stand side by side
_PARTS = {"reward": "reward", "precision": "precision", "completeness": "completeness", "right": "right answer"}


def draw_scores(results: Mapping[int, Result]) -> dict[str, Drawing]:
    """Title -> bars by group, with standard errors; runs (by number) of one benchmark. Unscored groups have no bar."""
    first = next(iter(results.values()))
    groups = list(dict.fromkeys(row.group for result in results.values() for row in result.rows))
    drawings: dict[str, Drawing] = {}
    for metric, title in first.metrics.items():
        figure, axes = new_axes()
        figure.set_size_inches(4.6, 2.1)
        thick = 0.84 / len(results)
        for place, (number, result) in enumerate(results.items()):
            rows = {row.group: row.metrics.get(metric) for row in result.rows}
            for x, group in enumerate(groups):
                cell = rows.get(group)
                if cell is not None and cell.mean is not None:
                    at = x - 0.42 + thick * (place + 0.5)
                    axes.bar(at, cell.mean, 0.94 * thick, color=COLOURS[number % len(COLOURS)])
                    axes.errorbar(at, cell.mean, cell.stderr or 0, color="#010203", linewidth=0.9, alpha=0.7)
        axes.set_xticks(range(len(groups)), [_label(group) for group in groups])
        axes.set_ylim(0, 1.04)
        axes.grid(axis="y")
        drawings[title] = as_svg(figure, f"{first.benchmark} {metric}")
    return drawings


def _label(group: str) -> str:
    """Groups are names of scenarios, modes or domains: what else stands in one does not get into a drawing."""
    return SCENARIOS.get(group) or re.sub(r"[^\w -]", "?", group.replace("_", " "))[:14]


def draw_failures(summaries: Mapping[int, BehaviourSummary]) -> Drawing | None:
    """The share of trajectories with each kind of failure that happened in some run; None where none did."""
    shown: list[FailureKind] = [
        kind for kind in KINDS if any(summary.groups[0].failures[kind].count for summary in summaries.values())
    ]
    if not shown:
        return None
    figure, axes = new_axes()
    figure.set_size_inches(4.6, _TALL)
    thick = 0.8 / len(summaries)
    for place, (number, summary) in enumerate(summaries.items()):
        for y, kind in enumerate(shown):
            if (mean := summary.groups[0].failures[kind].share.mean) is not None:
                at = y - 0.4 + thick * (place + 0.5)
                axes.barh(at, 100 * mean, 0.92 * thick, color=COLOURS[number % len(COLOURS)])
    axes.set_yticks(range(len(shown)), [KINDS[kind].title for kind in shown])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("% of trajectories")
    axes.grid(axis="x")
    return as_svg(figure, "failures")


def draw_progress(runs: Mapping[int, Sequence[Trajectory]]) -> Drawing | None:
    """The mean share of a trajectory's sub-questions that are solved after so many turns; None where there are none."""
    figure, axes = new_axes()
    figure.set_size_inches(4.6, _TALL)
    longest = 0
    for number, trajectories in runs.items():
        solved: list[list[int]] = []
        goals: list[int] = []
        for trajectory in trajectories:
            if trajectory.stop != "error" and trajectory.task.goals:
                goals.append(len(trajectory.task.goals))
                steps = grade_trajectory(trajectory, "frontier")
                solved.append([0, *(goals[-1] - len(step.unsolved_ids) for step in steps)])
        if not goals:
            continue
        last = max(map(len, solved)) - 1
        longest = max(longest, last)
        shares = [
            sum(one[min(turn, len(one) - 1)] / of for one, of in zip(solved, goals, strict=True)) / len(goals)
            for turn in range(last + 1)
        ]
        axes.plot(
            range(last + 1), shares, color=COLOURS[number % len(COLOURS)], linewidth=1.8, marker="o", markersize=3.5
        )
    if not longest:
        return None
    axes.set_ylim(0, 1.02)
    axes.set_xlim(0, longest + 0.15)
    axes.set_xlabel("turns")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="both")
    return as_svg(figure, "progress")


def draw_parts(rounds: Sequence[tuple[int, RewardParts]]) -> Drawing:
    """The parts of the reward of what a training run collected, by round."""
    figure, axes = new_axes()
    for colour, (name, title) in zip(COLOURS, _PARTS.items(), strict=False):
        points = [(number, parts.values[name]) for number, parts in rounds if parts.values[name] is not None]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        axes.plot(xs, ys, color=colour, linewidth=1.6, marker="o", markersize=2.5, label=title)
    figure.legend(
        fontsize=9.5,
        frameon=False,
        ncols=4,
        labelcolor="linecolor",
        handlelength=0.8,
        columnspacing=1.2,
        loc="outside upper left",
    )
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("round")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="both")
    return as_svg(figure, "reward parts")
