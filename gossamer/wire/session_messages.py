"""The messages about who is there and what is going on: ROUND, BIRTH, DEATH, STATE, ABSENT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gossamer.wire.accounts import Account
from gossamer.wire.checked import Checked, check_uint, need
from gossamer.wire.codes import Absence
from gossamer.wire.items import Reader, encode, is_plain, sequence
from gossamer.wire.limits import MAX_CODE, MAX_DETAIL_BYTES, MAX_ROUND_BYTES


@dataclass(frozen=True, slots=True)
class Round(Checked):
    """The signed manifest: a COSE_Sign1 whose payload is :class:`Manifest`."""

    TYPE: ClassVar[int] = 6
    cose: bytes

    def check(self) -> None:
        """Raise MalformedMessage if the whole message is longer than a manifest may be."""
        need(len(self.cose) <= MAX_ROUND_BYTES - 4, f"a ROUND has at most {MAX_ROUND_BYTES} bytes")

    def serialize(self) -> bytes:
        """Return the bytes on the wire."""
        return sequence(self.TYPE, self.cose)

    @classmethod
    def read(cls, reader: Reader) -> Round:
        """Read the fields behind the type."""
        return cls(reader.bytes_("cose", MAX_ROUND_BYTES - 4))


@dataclass(frozen=True, slots=True)
class Birth(Checked):
    """A device is there.

    Args:
        boot: counts its connections, so that a stale DEATH never overrides a newer BIRTH.
        version: of the model it holds.
        account: what it has spent, where it has a budget or a profile.
    """

    TYPE: ClassVar[int] = 7
    boot: int
    version: int
    account: Account | None = None

    def check(self) -> None:
        """Raise MalformedMessage unless the fields are in range."""
        check_uint("boot", self.boot)
        check_uint("version", self.version)

    def serialize(self) -> bytes:
        """Return the bytes on the wire."""
        return sequence(self.TYPE, self.boot, self.version) + _last(self.account)

    @classmethod
    def read(cls, reader: Reader) -> Birth:
        """Read the fields behind the type."""
        return cls(reader.uint("boot"), reader.uint("version"), Account.read(reader))


@dataclass(frozen=True, slots=True)
class Death(Checked):
    """The connection of a device with this boot counter is gone; sent by the broker as its will."""

    TYPE: ClassVar[int] = 8
    boot: int

    def check(self) -> None:
        """Raise MalformedMessage unless the counter is in range."""
        check_uint("boot", self.boot)

    def serialize(self) -> bytes:
        """Return the bytes on the wire."""
        return sequence(self.TYPE, self.boot)

    @classmethod
    def read(cls, reader: Reader) -> Death:
        """Read the fields behind the type."""
        return cls(reader.uint("boot"))


@dataclass(frozen=True, slots=True)
class State(Checked):
    """The bridge is there (``up`` 1) or gone (0, its will): devices send no bulk while it is away."""

    TYPE: ClassVar[int] = 9
    boot: int
    up: int

    def check(self) -> None:
        """Raise MalformedMessage unless the fields are in range."""
        check_uint("boot", self.boot)
        check_uint("up", self.up, 1)

    def serialize(self) -> bytes:
        """Return the bytes on the wire."""
        return sequence(self.TYPE, self.boot, int(self.up))

    @classmethod
    def read(cls, reader: Reader) -> State:
        """Read the fields behind the type."""
        return cls(reader.uint("boot"), reader.uint("up", 1))


@dataclass(frozen=True, slots=True)
class Absent(Checked):
    """A device does not take part in a round that asks for it, and says why.

    Args:
        job, round: which.
        reason: a number of :class:`~gossamer.wire.codes.Absence`, or one of a later version.
        detail: one line for people, at most MAX_DETAIL_BYTES in UTF-8: "battery 12 %, wanted 30 %".
        account: what it has spent, where it has a budget or a profile.
    """

    TYPE: ClassVar[int] = 10
    job: int
    round: int
    reason: int
    detail: str
    account: Account | None = None

    @property
    def absence(self) -> Absence:
        """The reason, OTHER for one that this version does not know."""
        return Absence(self.reason) if self.reason in set(Absence) else Absence.OTHER

    def check(self) -> None:
        """Raise MalformedMessage unless the fields are in range."""
        check_uint("job", self.job)
        check_uint("round", self.round)
        check_uint("reason", self.reason, MAX_CODE)
        need(is_plain(self.detail), "detail: expected text without control characters")
        size = len(self.detail.encode())
        need(size <= MAX_DETAIL_BYTES, f"detail: expected at most {MAX_DETAIL_BYTES} bytes of UTF-8, got {size}")

    def serialize(self) -> bytes:
        """Return the bytes on the wire."""
        return sequence(self.TYPE, self.job, self.round, int(self.reason), self.detail) + _last(self.account)

    @classmethod
    def read(cls, reader: Reader) -> Absent:
        """Read the fields behind the type."""
        return cls(
            reader.uint("job"),
            reader.uint("round"),
            reader.uint("reason", MAX_CODE),
            reader.utf8("detail", MAX_DETAIL_BYTES),
            Account.read(reader),
        )


def _last(account: Account | None) -> bytes:
    return b"" if account is None else encode(account.items)
