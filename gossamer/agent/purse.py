"""Holds the month's account against the budget: the shell around `gossamer.agent.budget`.

Before bytes are sent they are charged, durably; what is received is charged as soon as it was read. So a kill at any
moment leaves the account at or above what has passed, but for what arrived and was not read yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from gossamer.agent.budget import Funds, mended, month_of
from gossamer.agent.config import AgentSettings
from gossamer.agent.ledger import LedgerWriter, clock_month
from gossamer.agent.store import AgentStore

#: What a connection takes before its bytes can be seen: TCP and MQTT alone, and with a TLS handshake of two
#: certificates. Charged when it is made; the true figure takes its place with the next write of the ledger.
CONNECT_BYTES = 600
CONNECT_TLS_BYTES = 4_000
#: Around a message of ours and its acknowledgement: topic, MQTT, TLS, TCP and IP.
ENVELOPE_BYTES = 200


#: Unix seconds from here on are no time that ``time.gmtime`` need know: the year 9999.
_NO_TIME = 253_370_764_800


class Purse:
    """Of one store. Without a budget it charges nothing ahead; without a profile, too, it has nothing to say."""

    def __init__(
        self, settings: AgentSettings, store: AgentStore, ledger: LedgerWriter, clock: Callable[[], float] = time.time
    ) -> None:
        self._limit = settings.budget
        self._tls = settings.broker.tls
        self.is_asked = settings.budget.monthly_bytes > 0 or settings.profile != ""
        """Whether :meth:`funds` is of any use."""
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._known: tuple[str, int] | None = None
        self._spent = 0
        self._month = store.latest_month()
        if not ledger.is_ahead:  # else it is this process's own: the disk was full for a while
            store.settle_ahead(self._month_now())

    def signed(self, unix_seconds: int) -> None:
        """The fleet has signed this time, of a manifest's deadline: what a clock got wrong by more is mended."""
        if self._limit.monthly_bytes and 0 < unix_seconds < _NO_TIME:
            month = mended(self._month_now(), clock_month(self._clock()), clock_month(unix_seconds))
            if month is not None:
                self._ledger.write(self._store)
                self._store.carry_account(month)
                self._month, self._known = month, None

    def funds(self, job: int | None) -> Funds:
        """The account as of now; ``job``: whose update is to be reckoned with."""
        if self._limit.monthly_bytes:
            self._ledger.cover(self._store)
        known = (self._month_now(), self._ledger.writes)
        if known != self._known:
            self._known, self._spent = known, self._store.spent(known[0])
        body = 0 if job is None else self._store.body_bytes(job)
        limit = self._limit
        spent = self._spent + self._ledger.unwritten
        return Funds(known[0], spent, limit.monthly_bytes, limit.reserve_percent, body)

    def connecting(self) -> None:
        """A connection is about to be made."""
        self._charge(CONNECT_TLS_BYTES if self._tls else CONNECT_BYTES)

    def sending(self, payload: bytes) -> None:
        """A message is about to be sent."""
        self._charge(len(payload) + ENVELOPE_BYTES)

    def _charge(self, count: int) -> None:
        if self._limit.monthly_bytes:
            self._ledger.cover(self._store, count)

    def _month_now(self) -> str:
        month = month_of(self._month, clock_month(self._clock()))
        if month != self._month:
            self._store.keep_month(month)
            self._month = month
        return month
