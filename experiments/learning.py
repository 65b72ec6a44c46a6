"""Does the verifiable reward teach, and what does it cost? The main table.

    python experiments/learning.py [--seeds 0 1 2] [--arms NAME ...] [--rl-steps N] [--out experiments/out]

From one warm start a seed (imitation of demonstrations with bad habits), trained further in these ways, and measured on
new names and new relations:

    GRPO, REINFORCE++-baseline                   with the frontier reward
    SFT continued                                on the same demonstrations, with the CPU seconds that GRPO took
    shuffled rewards                             GRPO, with each step's rewards dealt out at random

and, beside it, an SFT on clean gold demonstrations with the compute of the warm start (clean SFT).
"""

# pyright: basic

from __future__ import annotations

import argparse
from pathlib import Path

from lab import METRICS, SCENARIOS, Item, cpu_seconds, markdown, mean_of, opened, paired, say, shown, spread

from toolfoundry.train.tiny.demonstrations import CLEAN
from toolfoundry.train.tiny.warmstart import WARM_START

ARMS = {
    "GRPO": {"algorithm": "grpo"},
    "REINFORCE++-baseline": {"algorithm": "reinforce++-baseline"},
    "shuffled rewards": {"algorithm": "grpo", "shuffle_rewards": True},
}
IMITATION = ("SFT continued", "clean SFT")
Measured = list[dict[str, list[Item]]]  # of each seed, by test set


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--arms", nargs="*", choices=[*ARMS, *IMITATION], default=[*ARMS, *IMITATION])
    lab, seeds = opened(__doc__, parser, rl_steps=600)
    arms = parser.parse_args().arms
    results: dict[str, Measured] = {}
    at_one: dict[str, Measured] = {}
    seconds: dict[str, list[float]] = {}

    def measure(name: str, model: Path, cpu: float) -> None:
        results.setdefault(name, []).append(lab.measure(model, sets=lab.new_relations() | lab.new_words()))
        at_one.setdefault(name, []).append(lab.measure(model, temperature=1.0))
        seconds.setdefault(name, []).append(cpu)

    for seed in seeds:
        recipe = WARM_START.model_copy(update={"seed": seed})
        start = lab.warm_start(recipe)
        began = cpu_seconds(start.parent)
        measure("warm start", start, began)
        for name in [arm for arm in ARMS if arm in arms]:
            run = lab.reinforce(name, start, seed=seed, **ARMS[name])
            measure(name, run / "final", cpu_seconds(run))
        if "SFT continued" in arms:
            spent = cpu_seconds(lab.reinforce("GRPO", start, seed=seed, **ARMS["GRPO"]))
            longer = lab.warm_start(recipe, start=start, steps=max(1, round(recipe.steps * spent / began)))
            measure("SFT continued", longer, cpu_seconds(longer.parent))
        if "clean SFT" in arms:
            clean = lab.warm_start(recipe.model_copy(update={"habits": CLEAN}))
            measure("clean SFT", clean, cpu_seconds(clean.parent))
        say(f"seed {seed} is done")
    report(results, at_one, seconds)


def report(results: dict[str, Measured], at_one: dict[str, Measured], seconds: dict[str, list[float]]) -> None:
    """The tables, as Markdown on standard output."""
    starts, n = results["warm start"], len(results["warm start"])
    for title in starts[0]:
        print(f"\n### {title}: greedy, mean and range of {n} seeds\n")
        rows = []
        for name, measured in results.items():
            cells = [spread([mean_of(one[title], metric) for one in measured]) for metric in METRICS]
            hot = spread([mean_of(one[title], "solve_f1") for one in at_one[name]]) if title in at_one[name][0] else ""
            rows.append([name, *cells, hot, f"{sum(seconds[name]) / n:.0f}"])
        print(markdown(["policy", "Solve-P", "Solve-R", "Solve-F1", "answer", "malformed", "F1 at T=1", "CPU s"], rows))
    [title, *_] = starts[0]
    before = [one[title] for one in starts]
    after = {name: [one[title] for one in measured] for name, measured in results.items() if name != "warm start"}
    shown_metrics = ("solve_f1", "solve_r", "answer", "malformed")
    print(f"\n### {title}: paired differences from the warm start, 95% intervals\n")
    rows = [[name, *(shown(paired(before, items, m)) for m in shown_metrics)] for name, items in after.items()]
    print(markdown(["policy", "Solve-F1", "Solve-R", "answer", "malformed"], rows))
    print(f"\n### {title}: the same by scenario\n")
    rows = [
        [f"{name}, {word}", *(shown(paired(before, after[name], metric, kind)) for kind in SCENARIOS)]
        for name in ("GRPO", "REINFORCE++-baseline")
        if name in after
        for metric, word in (("solve_f1", "Solve-F1"), ("solve_r", "recall"), ("answer", "answers"))
    ]
    print(markdown(["policy", *(kind.replace("_", " ") for kind in SCENARIOS)], rows))
    for seed, items in enumerate(before):
        each = {name: paired([items], [after[name][seed]], "solve_f1") for name in after}
        print(f"\nstart {seed}, Solve-F1: " + "; ".join(f"{name} {shown(one)}" for name, one in each.items()))


if __name__ == "__main__":
    main()
