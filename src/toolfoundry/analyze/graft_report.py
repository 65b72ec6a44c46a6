"""The grafts in words and rows, for the terminal and for Markdown."""

from __future__ import annotations

from toolfoundry.analyze.graft import Grafts, Travelled
from toolfoundry.intervals import Difference
from toolfoundry.untrusted import visible

__all__ = ["METRIC_TITLES", "graft_rows", "header", "summary_sentences", "to_markdown"]

METRIC_TITLES = {"solve_f1": "Solve-F1", "answer": "Final answer"}


def header() -> list[str]:
    """The columns of `graft_rows`."""
    return ["part", "of parameters", "base + part", "brings", "of the gain", "trained − part", "costs", "of the gain"]


def graft_rows(grafts: Grafts, metric: str) -> list[list[str]]:
    """A row for each part: the two grafted models' means, and what the part brings and costs, of the whole gain."""
    return [
        [
            one.part,
            f"{one.parameters:.1%}",
            _number(one.in_base[metric].mean),
            _interval(one.brings[metric].difference),
            _share(one.brings[metric]),
            _number(one.in_trained[metric].mean),
            _interval(one.costs[metric].difference),
            _share(one.costs[metric]),
        ]
        for one in grafts.grafts
    ]


def summary_sentences(grafts: Grafts) -> list[str]:
    """The gain as a whole, what travels with each part, and what could not be scored."""
    sentences: list[str] = []
    for metric, title in METRIC_TITLES.items():
        was, now = _number(grafts.base[metric].mean), _number(grafts.trained[metric].mean)
        gain = grafts.gain[metric]
        untold = gain.low is None or gain.high is None or gain.low <= 0 <= gain.high
        rest = " The gain is not told from 0, so shares of it are not given." if untold else ""
        sentences.append(f"{title}: base {was}, trained {now}, gain {_interval(gain)} (n = {gain.n}).{rest}")
    told = [one for one in grafts.grafts if one.brings["solve_f1"].share is not None]
    for one in sorted(told, key=lambda one: -(one.brings["solve_f1"].share or 0)):
        brings, costs = (_share(found["solve_f1"]) for found in (one.brings, one.costs))
        sentences.append(
            f"{one.part} ({one.parameters:.1%} of the parameters): put into the base it brings {brings} of the gain "
            f"in Solve-F1; taken out of the trained model it costs {costs}."
        )
    sentences += [f"{count} unscored of {visible(name, 80)}." for name, count in grafts.unscored.items()]
    return sentences


def to_markdown(grafts: Grafts, base: str, trained: str, envs: str) -> str:
    """The report."""
    lines = [
        "# Which part carries the gain",
        "",
        f"Base: {_code(base)}. Trained: {_code(trained)}. {grafts.environments} environments of {_code(envs)}, greedy.",
        "",
        *(f"- {sentence}" for sentence in summary_sentences(grafts)),
    ]
    for metric, title in METRIC_TITLES.items():
        columns = header()
        table = [columns, ["---", *["---:"] * (len(columns) - 1)], *graft_rows(grafts, metric)]
        lines += ["", f"## {title}", "", *(f"| {' | '.join(row)} |" for row in table)]
    lines += [
        "",
        "base + part: the base model with the part of the trained one. trained − part: the trained model with that "
        "part of the base. Differences with 95% intervals, paired over the environments; shares of the gain with "
        "those of 2,000 resamples of the environments.",
        "",
    ]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval(one: Difference) -> str:
    if one.mean is None or one.low is None or one.high is None:
        return "–"
    return f"{one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"


def _share(one: Travelled) -> str:
    if one.share is None or one.low is None or one.high is None:
        return "–"
    return f"{one.share:.0%} [{one.low:.0%}, {one.high:.0%}]"


def _code(text: str) -> str:
    return "`" + visible(text, 200).replace("`", "'") + "`"
