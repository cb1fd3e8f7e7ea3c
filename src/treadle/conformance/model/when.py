"""When a call happened: an instant if the clock stands still, else a window.

Whether something is over is then known, or open; where it is open the model accepts both.
"""

from __future__ import annotations

from msgspec import Struct

from treadle.conformance.model.disagreement import Refuted


class When(Struct, frozen=True, gc=False):
    """The broker's time was between `low` and `high` while it did what was asked."""

    low: int
    high: int
    doubts: list[int] = []
    """Instants that were too close to tell."""

    @property
    def fuzz(self) -> int:
        """Return how far an instant that was written then may be from `low`."""
        return self.high - self.low

    def reached(self, instant: int, fuzz: int = 0) -> bool | None:
        """Tell whether an instant had come; None if it is too close to tell."""
        if instant + fuzz <= self.low:
            return True
        if instant - fuzz > self.high:
            return False
        self.doubts.append(instant)
        return None

    def narrowed(self, now: object, slack_ms: int) -> When:
        """Return the window around the instant that an answer names, which must lie inside."""
        if not isinstance(now, int) or not self.low <= now <= self.high:
            raise Refuted(
                f"now={now!r}",
                f"{self.low} <= now <= {self.high}",
                "Instants are broker time in ms",
            )
        if self.low == self.high:
            return self
        return When(now, min(now + slack_ms, self.high), self.doubts)
