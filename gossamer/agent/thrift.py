"""When even the reserve is spent: hang up, and connect only now and then to say so. Pure.

A connection that stays costs pings and the rounds' manifests; one a day costs its handshake and an ABSENT. Silence
would cost nothing, and look like a device that is lost.
"""

from __future__ import annotations

NEVER = float("inf")

LINGER_SECONDS = 20.0
"""A contact lasts so long at least: for the manifest to arrive, also where the broker does not retain it."""


class Thrift:
    """Decides about the connection; times are monotonic seconds."""

    def __init__(self, contact_seconds: float) -> None:
        self._contact_seconds = contact_seconds
        self._since: float | None = None
        self._saving = False

    def connected(self, now: float) -> None:
        """A contact begins."""
        self._since = now

    def next_contact(self, now: float, *, exhausted: bool, idle: bool) -> float | None:
        """When to connect next, the connection to be ended until then; None: it may stay as it is.

        Args:
            now: monotonic seconds.
            exhausted: even the reserve is spent.
            idle: nothing is under way, and nothing is left to be said.
        """
        if not exhausted:
            saving, self._saving = self._saving, False
            return now if saving and self._since is None else None
        if self._since is None or not idle or now < self._since + LINGER_SECONDS:
            return None
        self._since, self._saving = None, True
        return now + self._contact_seconds

    def next_deadline(self, now: float) -> float:
        """When a contact has lasted long enough; infinity: it has, or there is none."""
        end = NEVER if self._since is None else self._since + LINGER_SECONDS
        return end if end > now else NEVER
