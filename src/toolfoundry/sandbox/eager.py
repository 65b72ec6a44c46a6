"""Asking before sleeping. To be woken up takes longer than most calls do, so whoever waits for a frame asks a few times
first, as long as that pays: where the other side shares the core, or computes for longer, asking only delays it.
"""

from __future__ import annotations

__all__ = ["ASK", "Eager"]

ASK = 40  # times, some 30 microseconds in all
_FIRST_PAUSE, _LAST_PAUSE = 4, 64


class Eager:
    """Says whether to ask this time. After asking in vain it says no for 4 waits, then for 8, and so on up to 64."""

    __slots__ = ("left", "pause")

    def __init__(self) -> None:
        self.left, self.pause = 0, _FIRST_PAUSE

    def times(self) -> int:
        """How many times to ask now."""
        if self.left:
            self.left -= 1
            return 0
        return ASK

    def learn(self, came: bool) -> None:
        """What came of asking."""
        if came:
            self.pause = _FIRST_PAUSE
        else:
            self.left, self.pause = self.pause, min(2 * self.pause, _LAST_PAUSE)
