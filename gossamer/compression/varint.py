"""Unsigned integers in as few bytes as they need (LEB128): 7 bits a byte, least significant first."""

from __future__ import annotations

from gossamer.errors import MalformedBody

MAX_VARINT_BYTES = 5
"""35 bits: more than any count, length or lattice value of this package."""


def write_varint(value: int) -> bytes:
    """0 <= value < 2^35 -> 1 to 5 bytes.

    >>> write_varint(300).hex()
    'ac02'
    """
    if not 0 <= value < 1 << (7 * MAX_VARINT_BYTES):
        raise ValueError(f"expected 0 <= value < 2^35, got {value}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """-> (value, index after it); `MalformedBody` if it is cut off, too long or not the shortest form."""
    value = 0
    for count in range(MAX_VARINT_BYTES):
        if at + count >= len(data):
            raise MalformedBody(f"expected a number at byte {at}, but the body ends")
        byte = data[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if byte == 0 and count > 0:
                raise MalformedBody(f"the number at byte {at} is longer than it needs to be")
            return value, at + count + 1
    raise MalformedBody(f"the number at byte {at} is longer than {MAX_VARINT_BYTES} bytes")
