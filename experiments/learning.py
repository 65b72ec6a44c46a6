"""Does the verifiable reward teach, and what does it cost? The main table.

    python experiments/learning.py [--seeds 0 1 2] [--rl-steps N] [--out experiments/out]

From one warm start a seed (imitation of demonstrations with bad habits), trained further in these ways, and measured on
new names and new relations:

    GRPO, REINFORCE++-baseline                   with the frontier reward
    SFT continued                                on the same demonstrations, with the CPU seconds that GRPO took
    shuffled rewards                             GRPO, with each step's rewards dealt out at random

and, beside it, an SFT on clean gold demonstrations with the compute of the warm start (clean SFT).
"""

# pyright: basic

from __future__ import annotations

from pathlib import Path

from lab import METRICS, SCENARIOS, Item, cpu_seconds, markdown, mean_of, opened, paired, say, shown, spread

from toolfoundry.train.tiny.demonstrations import CLEAN
from toolfoundry.train.tiny.warmstart import WARM_START

ARMS = {
    "GRPO": {"algorithm": "grpo"},
    "REINFORCE++-baseline": {"algorithm": "reinforce++-baseline"},
    "shuffled rewards": {"algorithm": "grpo", "shuffle_rewards": True},
}


def main() -> None:
    lab, seeds = opened(__doc__, rl_steps=600)
    results: dict[str, list[dict[str, list[Item]]]] = {}
    at_one: dict[str, list[dict[str, list[Item]]]] = {}
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
        run = lab.reinforce("GRPO", start, seed=seed, **ARMS["GRPO"])
        measure("GRPO", run / "final", spent := cpu_seconds(run))
        run = lab.reinforce("REINFORCE++-baseline", start, seed=seed, **ARMS["REINFORCE++-baseline"])
        measure("REINFORCE++-baseline", run / "final", cpu_seconds(run))
        longer = lab.warm_start(recipe, start=start, steps=max(1, round(recipe.steps * spent / began)))
        measure("SFT continued", longer, cpu_seconds(longer.parent))
        clean = lab.warm_start(recipe.model_copy(update={"habits": CLEAN}))
        measure("clean SFT", clean, cpu_seconds(clean.parent))
        run = lab.reinforce("shuffled-rewards", start, seed=seed, **ARMS["shuffled rewards"])
        measure("shuffled rewards", run / "final", cpu_seconds(run))
        say(f"seed {seed} is done")
    report(results, at_one, seconds)


def report(
    results: dict[str, list[dict[str, list[Item]]]],
    at_one: dict[str, list[dict[str, list[Item]]]],
    seconds: dict[str, list[float]],
) -> None:
    """The tables, as Markdown on standard output."""
    n = len(next(iter(results.values())))
    for title in next(iter(results.values()))[0]:
        print(f"\n### {title}: greedy, mean and range of {n} seeds\n")
        rows = []
        for name, measured in results.items():
            cells = [spread([mean_of(one[title], metric) for one in measured]) for metric in METRICS]
            hot = spread([mean_of(one[title], "solve_f1") for one in at_one[name]]) if title in at_one[name][0] else ""
            rows.append([name, f"{sum(seconds[name]) / n:.0f}", *cells, hot])
        print(markdown(["policy", "CPU s", "Solve-P", "Solve-R", "Solve-F1", "answer", "malformed", "F1 at T=1"], rows))
        print(f"\n#### {title}: paired differences from the warm start, 95% intervals\n")
        before = [one[title] for one in results["warm start"]]
        rows = []
        for name, measured in results.items():
            if name == "warm start":
                continue
            after = [one[title] for one in measured]
            rows.append([name, *(shown(paired(before, after, metric)) for metric in ("solve_f1", "solve_r", "answer"))])
        print(markdown(["policy", "Solve-F1", "Solve-R", "answer"], rows))
        print(f"\n#### {title}: by scenario, Solve-F1 and answer\n")
        rows = []
        for name, measured in results.items():
            cells = [
                f"{spread([mean_of(one[title], 'solve_f1', kind) for one in measured])} · "
                f"{spread([mean_of(one[title], 'answer', kind) for one in measured])}"
                for kind in SCENARIOS
            ]
            rows.append([name, *cells])
        print(markdown(["policy", *(kind.replace("_", " ") for kind in SCENARIOS)], rows))


if __name__ == "__main__":
    main()
