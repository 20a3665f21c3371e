"""What the device's own uploads say about its link: bytes per second, and the time of a round trip. Pure.

A *busy* time begins when a message is sent while none is on its way, and ends when the broker has acknowledged all.
Short ones show the round trip; long ones, less that, the rate. Both are smoothed: one bad minute is not the link.
"""

from __future__ import annotations

#: A busy time that moved less shows the round trip, not the rate.
RATE_FROM_BYTES = 2_000
#: Weight of a new value; the first one counts in full.
SMOOTHING = 0.25


class Goodput:
    """``bytes_per_second`` and ``rtt_seconds``, 0.0 for not known yet. Times are monotonic seconds."""

    def __init__(self, bytes_per_second: float = 0.0, rtt_seconds: float = 0.0) -> None:
        self.bytes_per_second = bytes_per_second
        self.rtt_seconds = rtt_seconds
        self._flying: dict[int, int] = {}
        self._began = 0.0
        self._moved = 0

    def sent(self, mid: int, count: int, now: float) -> None:
        """A message of ``count`` bytes went out under this number."""
        if not self._flying:
            self._began, self._moved = now, 0
        self._flying[mid] = count

    def acknowledged(self, mid: int, now: float) -> bool:
        """The broker has it; True: there is a new value."""
        count = self._flying.pop(mid, None)
        if count is None:
            return False
        self._moved += count
        if self._flying:
            return False
        took = max(now - self._began, 1e-3)
        if self._moved < RATE_FROM_BYTES:
            self.rtt_seconds = _smooth(self.rtt_seconds, took)
        else:  # a round trip that was measured on a worse day does not make the rate infinite
            self.bytes_per_second = _smooth(self.bytes_per_second, self._moved / max(took - self.rtt_seconds, took / 4))
        return True

    def disconnected(self) -> None:
        """What was on its way tells nothing."""
        self._flying.clear()


def _smooth(old: float, new: float) -> float:
    return new if old == 0.0 else old + SMOOTHING * (new - old)
