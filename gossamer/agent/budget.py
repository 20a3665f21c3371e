"""The month's bytes: what is spent, what is left, and what a participation takes. Pure.

The reserve is for what cannot be chosen: connections, pings, manifests, and saying why not. A participation is begun
only if it fits into what is left without it.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.agent.gates import Refusal, megabytes, one_line
from gossamer.wire.accounts import Account, month_number
from gossamer.wire.codes import Absence

MICRO = 1_000_000
FIRST_MONTH = "1970-01"


@dataclass(frozen=True, slots=True)
class Cost:
    """How bytes of bodies become bytes of IP: ``envelope_bytes`` a participation, ``per_byte_micro`` on each."""

    envelope_bytes: int
    per_byte_micro: int

    def of(self, *bodies: int) -> int:
        """IP bytes of a participation that moves these bodies, up and down."""
        return self.envelope_bytes + sum(bodies) * (MICRO + self.per_byte_micro) // MICRO

    def body_within(self, left: int) -> int:
        """The longest body for which :meth:`of` is at most ``left``; negative: not even an empty one."""
        room = left - self.envelope_bytes
        return room * MICRO // (MICRO + self.per_byte_micro) if room >= 0 else -1


@dataclass(frozen=True, slots=True)
class Funds:
    """A month's account. ``budget`` 0: no limit.

    ``body_bytes``: what an update of this job will take, as far as is known; 0: nothing is.
    """

    month: str
    spent: int
    budget: int = 0
    reserve_percent: int = 0
    body_bytes: int = 0

    @property
    def reserve(self) -> int:
        """Bytes of the budget that no participation may use."""
        return self.budget * self.reserve_percent // 100

    @property
    def left(self) -> int:
        """Bytes for participations; negative once the reserve is being used."""
        return self.budget - self.reserve - self.spent

    @property
    def exhausted(self) -> bool:
        """Whether even the reserve is spent."""
        return self.budget > 0 and self.spent >= self.budget

    def refusal(self, cost: int) -> Refusal | None:
        """Why a participation of so many bytes is too dear, or None."""
        if self.budget == 0 or cost <= self.left:
            return None
        spent = f"{megabytes(self.spent)} of {megabytes(self.budget)} spent"
        kept = f" ({megabytes(self.reserve)} reserved)" if self.spent < self.budget and self.reserve else ""
        return Refusal(Absence.BUDGET, one_line(f"{spent}{kept}; this round takes {megabytes(cost)}"))

    def account(self, profile: str) -> Account | None:
        """What the device says of it, or None where there is nothing to say."""
        if self.budget == 0 and not profile:
            return None
        return Account(month_number(self.month), max(0, self.spent), self.budget, profile)


def months(name: str) -> int:
    """A month "YYYY-MM" as a number, one more for each; also of years before 2020.

    >>> months("2027-01") - months("2026-11")
    2
    """
    year, month = name.split("-")
    return 12 * int(year) + int(month)


def mended(seen: str, clock: str, signed: str) -> str | None:
    """The month to carry the account to, because the largest ``seen`` was a clock's mistake; None: it was not.

    So it is where the clock and a time that the fleet has signed agree within a month, and ``seen`` is later than both
    by more than one. Nothing is refilled: what was spent is carried along.

    >>> mended("2099-01", "2026-12", "2026-11"), mended("2026-12", "2026-11", "2026-11")
    ('2026-12', None)
    >>> mended("2026-11", "1970-01", "2026-05")
    """
    if abs(months(clock) - months(signed)) > 1 or months(seen) - max(months(clock), months(signed)) <= 1:
        return None
    return clock


def month_of(seen: str, clock: str) -> str:
    """The month to account to: ``clock``'s, but never one before the largest ``seen``.

    A clock that starts in 1970 after each boot, or is set back, refills nothing. Months are "YYYY-MM", in which
    the later one is the larger.

    >>> month_of("2026-11", "1970-01"), month_of("2026-11", "2026-12")
    ('2026-11', '2026-12')
    """
    return max(seen, clock)
