"""What a device says of its bytes: the optional last item of BIRTH and ABSENT, ``[month, spent, budget, profile]``.

Left out where neither a budget nor a profile is set, so that a fleet that has no use for it pays no byte. A device
says it; nobody signs it; nothing but a table for people is made of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gossamer.errors import MalformedMessage
from gossamer.wire.checked import Checked, check_uint, need
from gossamer.wire.items import Item, Reader
from gossamer.wire.limits import MAX_MONTH, MAX_PROFILE_CHARS

FIRST_YEAR = 2020
"""Months are counted from January of this year: two bytes until 2041. A clock that was never set shows as month 0."""

_PROFILE = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{MAX_PROFILE_CHARS - 1}}}")


@dataclass(frozen=True, slots=True)
class Account(Checked):
    """A device's bytes.

    Args:
        month: since January 2020, by the device's clock (:func:`month_name`).
        spent: bytes of IP traffic in that month.
        budget: bytes a month; 0: none is set.
        profile: the device's class; empty: none is set.
    """

    month: int
    spent: int
    budget: int
    profile: str

    def check(self) -> None:
        """Raise MalformedMessage unless the fields are in range and say something."""
        check_uint("month", self.month, MAX_MONTH)
        check_uint("spent", self.spent)
        check_uint("budget", self.budget)
        need(not self.profile or is_profile(self.profile), f"profile: expected {PROFILE_FORM}, got {self.profile!r}")
        need(self.budget > 0 or self.profile != "", "an account names a budget or a profile, else it is left out")

    @property
    def items(self) -> Item:
        """The item on the wire."""
        return [self.month, self.spent, self.budget, self.profile]

    @classmethod
    def read(cls, reader: Reader) -> Account | None:
        """Read the item, or return None at the end of the message."""
        if reader.at_end:
            return None
        reader.array("account", 4, least=4)
        return cls(
            reader.uint("month", MAX_MONTH),
            reader.uint("spent"),
            reader.uint("budget"),
            reader.text("profile", MAX_PROFILE_CHARS),
        )


PROFILE_FORM = f"1 to {MAX_PROFILE_CHARS} of a-z, 0-9, . _ -, a letter or digit first"
"""What the name of a profile is, for messages to people."""


def is_profile(name: str) -> bool:
    """Whether ``name`` can be a profile's: :data:`PROFILE_FORM`."""
    return _PROFILE.fullmatch(name) is not None


def month_name(month: int) -> str:
    """A month as people write it.

    >>> month_name(82)
    '2026-11'
    """
    return f"{FIRST_YEAR + month // 12:04d}-{month % 12 + 1:02d}"


def month_number(name: str) -> int:
    """The inverse of :func:`month_name`; what lies before January 2020 is 0. Raises MalformedMessage.

    >>> month_number("2026-11"), month_number("1970-01")
    (82, 0)
    """
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", name):
        raise MalformedMessage(f"a month: expected YYYY-MM, got {name!r}")
    year, month = name.split("-")
    return min(MAX_MONTH, max(0, 12 * (int(year) - FIRST_YEAR) + int(month) - 1))
