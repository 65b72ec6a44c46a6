"""What is worth training on: groups whose rewards differ, and environments that are neither too easy nor too hard.

A group of responses that all earn the same has advantage 0 throughout: it costs sampling and teaches nothing.

Groups. *Dynamic sampling* (DAPO, Yu et al. 2025, arXiv:2503.14476, section 3.2) leaves such groups out and samples
further prompts in their place until the batch is full. Departures: a reward here is no 0 or 1, so a group counts as
flat where its rewards are equal, not where all are right or all are wrong; and the number of prompts drawn is bounded.

    fill = Refill(wanted=32, most=128)
    while (n := fill.to_draw()):
        for prompt in draw(n): fill.add(prompt_key, rewards)      # [] where the whole group is unscored
    fill.kept

Environments. `PassRates` remembers what each has scored lately and draws those whose mean lies strictly inside a band,
with some of the others, longest unplayed first: a policy that changes may have grown into them, or lost them. It is
related to the prioritised sampling of Kimi k1.5 (arXiv:2501.12599), which draws in proportion to 1 - success rate and
so prefers what is never solved; a band does not.

Plain values, no torch; the same draws for the same seed and history.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from toolfoundry.advantages import has_spread
from toolfoundry.errors import InputError
from toolfoundry.seeds import generator

__all__ = ["PassRates", "Refill"]


class Refill:
    """The prompts of one step under dynamic sampling.

    Args:
        wanted: groups with spread that the step is to have.
        most: groups that are sampled for it at most; then the step has fewer.
    """

    def __init__(self, wanted: int, most: int) -> None:
        if not 1 <= wanted <= most:
            raise ValueError(f"found wanted {wanted}, most {most}; expected 1 <= wanted <= most")
        self.wanted, self.most = wanted, most
        self.kept: list[str] = []
        self.flat = 0
        """Groups that teach nothing: equal rewards, or all unscored."""
        self.spare = 0
        """Groups with spread that came when the step was full."""

    @property
    def sampled(self) -> int:
        return len(self.kept) + self.flat + self.spare

    def to_draw(self) -> int:
        """How many prompts to sample next, so that about as many groups as are missing will have spread; 0: enough."""
        missing = self.wanted - len(self.kept)
        share = max(len(self.kept), 1) / max(self.sampled, 1)  # of the groups so far, those with spread
        return max(0, min(math.ceil(missing / share), self.most - self.sampled))

    def add(self, key: str, rewards_G: Sequence[float]) -> bool:
        """Takes note of a sampled group; says whether it is to be trained on. Unscored members are left out before."""
        if not has_spread(rewards_G):
            self.flat += 1
        elif len(self.kept) == self.wanted:
            self.spare += 1
        else:
            self.kept.append(key)
            return True
        return False


class PassRates:
    """The last scores of each environment, and draws by them.

    Args:
        band: an environment is worth playing while the mean of its last scores lies strictly between these two.
        recent: how many of its last scores are remembered.
        revisit: share of each draw that goes to environments outside the band.
    """

    def __init__(self, band: tuple[float, float] = (0.0, 1.0), *, recent: int = 4, revisit: float = 0.1) -> None:
        if not (0 <= band[0] < band[1] <= 1 and recent >= 1 and 0 <= revisit <= 1):
            raise ValueError(
                f"found band {band}, recent {recent}, revisit {revisit}; "
                "expected 0 <= low < high <= 1, recent >= 1, 0 <= revisit <= 1"
            )
        self.band, self.recent, self.revisit = band, recent, revisit
        self._scores: dict[str, list[float]] = {}  # in the order in which they were last played

    def record(self, spec_id: str, scores: Iterable[float | None]) -> None:
        """Takes note of an environment's scores, each in [0, 1]; unscored ones (None) say nothing about it."""
        known = [score for score in scores if score is not None]
        if known:
            self._scores[spec_id] = (self._scores.pop(spec_id, []) + known)[-self.recent :]

    def mean(self, spec_id: str) -> float | None:
        """The mean of its last scores; None: never scored."""
        scores = self._scores.get(spec_id)
        return math.fsum(scores) / len(scores) if scores else None

    def inside(self, spec_id: str) -> bool:
        """Whether it lies inside the band, or nothing is known of it yet."""
        mean = self.mean(spec_id)
        return mean is None or self.band[0] < mean < self.band[1]

    def draw(self, spec_ids: Sequence[str], n: int, *seed: str | int) -> list[str]:
        """`n` of the environments, none twice, in a random order; all of them if there are not more.

        Those inside the band come first; `revisit` of the places, and those that are left, go to the others, longest
        unplayed first.
        """
        random = generator("pass-rates", *seed)
        inside = [spec_id for spec_id in dict.fromkeys(spec_ids) if self.inside(spec_id)]
        outside = set(spec_ids).difference(inside)
        unplayed = [spec_id for spec_id in self._scores if spec_id in outside]
        n = min(n, len(inside) + len(unplayed))
        again = max(n - len(inside), min(int(n * self.revisit), len(unplayed)))
        drawn = random.sample(inside, n - again) + unplayed[:again]
        random.shuffle(drawn)
        return drawn

    def state(self) -> dict[str, JsonValue]:
        """All that it remembers, as JSON; the order of the scores belongs to it."""
        return {
            "band": list(self.band),
            "recent": self.recent,
            "revisit": self.revisit,
            "scores": [[spec_id, list(scores)] for spec_id, scores in self._scores.items()],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> PassRates:
        """The one whose `state` this is. Raises InputError for anything else."""
        try:
            rates = cls(tuple(state["band"]), recent=state["recent"], revisit=state["revisit"])
            for spec_id, scores in state["scores"]:
                rates.record(str(spec_id), map(float, scores))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"pass rates: found {error!r}, expected what `PassRates.state` gave") from None
        return rates
