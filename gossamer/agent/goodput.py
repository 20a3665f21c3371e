"""What the device's own uploads say about its link: bytes per second, and the time of a round trip. Pure.

A *busy* time begins when a message is sent while none is on its way, and ends when the broker has acknowledged all.
While a window of messages is on its way, acknowledgements come at the pace at which the link carries them: what is
acknowledged after the first one, over the time that it took. (What was lost and sent again may be acknowledged in one
go: so no more than twice the average of the whole busy time counts.) Short busy times show the round trip.
"""

from __future__ import annotations

#: A busy time that moved less shows the round trip, not the rate.
RATE_FROM_BYTES = 2_000
#: Weight of a new rate; the first one counts in full. One bad minute is not the link.
SMOOTHING = 0.25
#: Other traffic only ever makes a round trip longer: the shortest is it. Forgotten at this pace, for links change.
RTT_GROWTH = 1.1
_SHORTEST_SECONDS = 1e-3


class Goodput:
    """``bytes_per_second`` and ``rtt_seconds``, 0.0 for not known yet. Times are monotonic seconds."""

    def __init__(self, bytes_per_second: float = 0.0, rtt_seconds: float = 0.0) -> None:
        self.bytes_per_second = bytes_per_second
        self.rtt_seconds = rtt_seconds
        self._flying: dict[int, int] = {}
        self._began = self._first_at = 0.0
        self._moved = self._first = 0

    def sent(self, mid: int, count: int, now: float) -> None:
        """A message of ``count`` bytes went out under this number."""
        if not self._flying:
            self._began, self._moved, self._first = now, 0, 0
        self._flying[mid] = count

    def acknowledged(self, mid: int, now: float) -> bool:
        """The broker has it; True: there is a new value."""
        count = self._flying.pop(mid, None)
        if count is None:
            return False
        if not self._moved:
            self._first, self._first_at = count, now
        self._moved += count
        if self._flying:
            return False
        took = max(now - self._began, _SHORTEST_SECONDS)
        if self._moved < RATE_FROM_BYTES:
            self.rtt_seconds = min(took, self.rtt_seconds * RTT_GROWTH) if self.rtt_seconds else took
        else:
            rate = self._rate(now, took)
            old = self.bytes_per_second
            self.bytes_per_second = old + SMOOTHING * (rate - old) if old else rate
        return True

    def disconnected(self) -> None:
        """What was on its way tells nothing."""
        self._flying.clear()

    def _rate(self, now: float, took: float) -> float:
        average, later = self._moved / took, self._moved - self._first
        if later < RATE_FROM_BYTES:
            return average
        return min(later / max(now - self._first_at, _SHORTEST_SECONDS), 2 * average)
