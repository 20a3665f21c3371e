"""What can be set about a bridge."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gossamer.errors import ConfigError
from gossamer.wire.limits import DEFAULT_CHUNK_BYTES, DEFAULT_WINDOW, MAX_CHUNK_BYTES, MAX_WINDOW
from gossamer.wire.topics import Topics

ALL_BUCKETS = "00-ff"
_RANGE = re.compile(r"([0-9a-f]{2})(?:-([0-9a-f]{2}))?")


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """One bridge worker.

    Args:
        topics: where the fleet talks.
        buckets: which devices are this worker's: ``00-ff`` is all, ``00-7f,c0`` some.
        chunk_bytes: largest piece of a model object sent at once.
        window: pieces on their way to the broker at once.
        coalesce_seconds: requests for one object within this time are answered together.
        partial_bytes: disk for uploads that are not complete, of all devices together.
        messages_per_second, message_burst: what one device may send before it is told QUOTA.
        poll_seconds: how often the store is looked at for a new round, when nobody tells.
    """

    topics: Topics
    buckets: str = ALL_BUCKETS
    chunk_bytes: int = DEFAULT_CHUNK_BYTES
    window: int = DEFAULT_WINDOW
    coalesce_seconds: float = 0.2
    partial_bytes: int = 1 << 30
    messages_per_second: float = 100.0
    message_burst: int = 2_000
    poll_seconds: float = 0.5

    def check(self) -> None:
        """Raises ConfigError, naming the key."""
        _expect(1 <= self.chunk_bytes <= MAX_CHUNK_BYTES, "chunk_bytes", f"1 to {MAX_CHUNK_BYTES}")
        _expect(1 <= self.window <= MAX_WINDOW, "window", f"1 to {MAX_WINDOW}")
        _expect(0.0 <= self.coalesce_seconds <= 60.0, "coalesce_seconds", "0 to 60")
        _expect(self.partial_bytes > 0, "partial_bytes", "more than 0")
        _expect(self.messages_per_second > 0.0, "messages_per_second", "more than 0")
        _expect(self.message_burst >= 1, "message_burst", "1 or more")
        _expect(0.0 < self.poll_seconds <= 60.0, "poll_seconds", "above 0, at most 60")
        buckets_of(self.buckets)

    def subscriptions(self) -> list[str]:
        """Return the topic filters of this worker: uploads and presence of its devices."""
        buckets = buckets_of(self.buckets)
        chosen: list[str | None] = [None] if len(buckets) == 256 else list(buckets)
        return [self.topics.subscription(kind, bucket) for kind in "us" for bucket in chosen]


def buckets_of(text: str) -> list[str]:
    """Return the buckets that ``00-7f,c0`` names, in order.

    >>> buckets_of("0e-10,ff")
    ['0e', '0f', '10', 'ff']
    """
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ConfigError(f"bridge.buckets = {text!r}: expected ranges of two hexadecimal digits, as 00-7f,c0")
        first, last = int(match[1], 16), int(match[2] or match[1], 16)
        if last < first:
            raise ConfigError(f"bridge.buckets = {text!r}: {part.strip()} ends before it begins")
        found.update(range(first, last + 1))
    return [f"{number:02x}" for number in sorted(found)]


def _expect(holds: bool, key: str, expected: str) -> None:
    if not holds:
        raise ConfigError(f"bridge.{key}: expected {expected}")
