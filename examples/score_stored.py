"""Scores a file of trajectories by both conventions, without a model or a tool: python examples/score_stored.py FILE"""

import sys
from pathlib import Path

from toolfoundry.metrics import summarise
from toolfoundry.reward import score_trajectory
from toolfoundry.store import read
from toolfoundry.types import Trajectory


def main(path: Path) -> None:
    trajectories = list(read(path, Trajectory))
    for trajectory in trajectories[:5]:
        score = score_trajectory(trajectory)
        if score is None:
            print(trajectory.key, "unscored:", trajectory.error)
        else:
            print(trajectory.key, f"strict F1 {score.strict.f1:.2f}, as published {score.paper.f1:.2f}")
    for summary in summarise(trajectories):
        for group in summary.groups:
            f1 = group.metrics["solve_f1"]  # mean and standard error, None where there is nothing to average
            print(summary.policy, group.scenario, f1.mean, f1.stderr, f"n={f1.n}", f"unscored={group.unscored}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
