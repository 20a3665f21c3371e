"""What is known of the bridge, from its retained state. Never relied on: patience ends."""

from __future__ import annotations

from gossamer.wire.messages import State

NEVER = float("inf")


class BridgeState:
    """Whether to send. Unknown counts as up; ``patience`` is in seconds."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._boot = -1
        self._down_since: float | None = None

    @property
    def up(self) -> bool:
        """False while the bridge is said to be away."""
        return self._down_since is None

    @property
    def deadline(self) -> float:
        """When patience ends."""
        return NEVER if self._down_since is None else self._down_since + self._patience

    def forget(self) -> None:
        """A new connection: what was said on the last one may be old."""
        self._down_since = None

    def heard(self, state: State, now: float) -> bool:
        """Take note; True when the bridge is back, or is another one than before: ask it how things stand."""
        if state.boot < self._boot:
            return False  # the will of a connection that was replaced long ago
        another, self._boot = state.boot > self._boot >= 0, state.boot
        if not state.up:
            if self._down_since is None:
                self._down_since = now
            return False
        back, self._down_since = self._down_since is not None, None
        return back or another

    def impatient(self, now: float) -> bool:
        """True once when patience has ended: the state may be stale, so try the bridge all the same."""
        if now < self.deadline:
            return False
        self._down_since = None
        return True
