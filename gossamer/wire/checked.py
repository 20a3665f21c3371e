"""What all messages share: they check themselves when they are built."""

from __future__ import annotations

from gossamer.errors import MalformedMessage
from gossamer.wire.items import Reader
from gossamer.wire.limits import ID_BYTES, MAX_UINT


def need(right: bool, expected: str) -> None:
    """Raise MalformedMessage with ``expected`` unless ``right``."""
    if not right:
        raise MalformedMessage(expected)


def check_id(value: bytes) -> None:
    """Raise MalformedMessage unless ``value`` has the length of an object id."""
    need(len(value) == ID_BYTES, f"an object id has {ID_BYTES} bytes, got {len(value)}")


def check_uint(name: str, value: int, most: int = MAX_UINT) -> None:
    """Raise MalformedMessage unless ``value`` is within 0..most."""
    need(0 <= value <= most, f"{name}: expected 0..{most}, got {value}")


def read_id(reader: Reader) -> bytes:
    """Read an object id."""
    return reader.bytes_("object id", ID_BYTES, least=ID_BYTES)


class Checked:
    """Calls ``check`` when a message is built, so that none exists that would not parse."""

    __slots__ = ()

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise MalformedMessage unless a reader would accept this message."""
        raise NotImplementedError
