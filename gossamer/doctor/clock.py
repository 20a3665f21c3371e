"""Checks of the clock: certificates, windows and budgets go by it, and a board without a battery wakes in 1970."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

from gossamer.doctor.finding import Finding, fail, ok, skip, warn
from gossamer.fleet.words import moment

EARLIEST = 1_735_689_600.0
"""2025-01-01: this program was not there before it."""
AHEAD_SECONDS = 300.0
"""Evidence may be so much younger than the clock says: other machines' clocks differ by seconds."""
TIME_ERROR = 5
"""What adjtimex(2) returns while nobody disciplines the clock."""
_TIMEX_BYTES = 512
"""More than struct timex has on any machine; zeros ask for nothing to be changed."""

SET_CLOCK = "set it: timedatectl set-ntp true, or time from the modem or GPS by chrony; then start the agent again"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A time that was real: ``what`` happened at ``at`` (Unix seconds), so it cannot be earlier than that now."""

    what: str
    at: float


def clock(now: float, synchronised: bool | None, evidence: Sequence[Evidence]) -> list[Finding]:
    """Judge a clock by what is known besides. Pure; ``synchronised`` None: the system does not say."""
    if now < EARLIEST:
        return [fail("clock", f"it says {moment(now)}, before this program was written", SET_CLOCK)]
    for each in sorted(evidence, key=lambda one: -one.at)[:1]:
        if now < each.at - AHEAD_SECONDS:
            return [fail("clock", f"it says {moment(now)}, but {each.what} is of {moment(each.at)}", SET_CLOCK)]
    said = [ok("clock", f"it says {moment(now)}")]
    if synchronised is None:
        return [*said, skip("clock source", "this system does not say whether its clock is disciplined")]
    if not synchronised:
        mend = "timedatectl set-ntp true, or install chrony: a clock that drifts makes certificates fail one day"
        return [*said, warn("clock source", "nobody disciplines the clock (NTP, GPS)", mend)]
    return [*said, ok("clock source", "the clock is disciplined")]


def is_synchronised() -> bool | None:
    """Ask the kernel whether somebody disciplines its clock; None where it does not say."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != TIME_ERROR
