"""The upload of the outbox's one update, until its fate is known. Pure, like the session."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.agent import actions as do
from gossamer.agent.actions import Action
from gossamer.agent.records import OutboxEntry
from gossamer.wire.messages import Code, Kind, Receipt, Status
from gossamer.wire.transfer import Send, Sender

NEVER = float("inf")
MAX_REST_SECONDS = 3_600.0
"""The pause after the bridge said "over quota": its hour, not the day in which a manifest is polled for."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How to send: bytes of a chunk, chunks in the window, seconds.

    ``rest_seconds``: the pause after the bridge said "over quota", or when too much was sent again.
    """

    chunk_bytes: int
    window: int
    status_timeout: float
    rest_seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fate of an update: counted, or not and why."""

    counted: bool
    why: str


class Upload:
    """Sends one update. ``fresh``: never offered before, so it is offered without asking first."""

    def __init__(self, entry: OutboxEntry, terms: Terms, *, fresh: bool) -> None:
        self.entry = entry
        self._terms = terms
        self._fresh = fresh
        self._sender = self._new_sender()
        self._rest_until: float | None = None

    def connected(self, now: float) -> list[Action]:
        """There is a link to a bridge (again): go on with what is missing there."""
        if self._sender.done:
            self._sender = self._new_sender()
        self._rest_until = None
        fresh, self._fresh = self._fresh, False
        return self._sent(self._sender.start(now) if fresh else self._sender.connected(now), now)

    def disconnected(self, now: float) -> None:
        """The link is gone; what was in flight may be lost."""
        self._sender.disconnected(now)

    def puback(self, token: int, now: float) -> list[Action]:
        """The broker has a message of ours."""
        return self._sent(self._sender.puback(token, now), now)

    def tick(self, now: float) -> list[Action]:
        """Time has passed."""
        if self._rest_until is not None:
            return self.connected(now) if now >= self._rest_until else []
        return self._sent(self._sender.tick(now), now)

    def next_deadline(self, now: float) -> float:
        """When :meth:`tick` wants to be called."""
        deadline = self._sender.next_deadline(now) if self._rest_until is None else self._rest_until
        return NEVER if deadline is None else deadline

    def answer(self, message: Status | Receipt, now: float) -> tuple[list[Action], Verdict | None]:
        """The bridge's word: what to send next, or the end."""
        if message.object_id != self.entry.object_id:
            return [], None
        if isinstance(message, Receipt):
            self._sender.receipt(message, now)
            return [], Verdict(True, f"sealed in version {message.version}")
        sends = self._sent(self._sender.status(message, now), now)
        outcome = self._sender.outcome
        if outcome is None:
            return sends, None
        if outcome is Code.QUOTA:
            self._rest_until = now + self._terms.rest_seconds
            return [do.Count("refused.quota")], None
        counted = outcome in (Code.COUNTED, Code.ALREADY)
        return [], Verdict(counted, outcome.name.lower().replace("_", "-"))

    def _new_sender(self) -> Sender:
        entry, terms = self.entry, self._terms
        return Sender(
            entry.object_id, Kind.UPDATE, entry.body, entry.header, terms.chunk_bytes,
            window=terms.window, status_timeout=terms.status_timeout, confirm=True,
        )  # fmt: skip

    def _sent(self, sends: list[Send], now: float) -> list[Action]:
        if self._sender.done and self._sender.outcome is None:
            self._rest_until = now + self._terms.rest_seconds
        return [do.Publish("u", each.message.serialize(), each.token) for each in sends]
