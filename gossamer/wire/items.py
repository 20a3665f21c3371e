"""The strict subset of CBOR that the wire uses: unsigned integers, byte strings, text, short arrays of these.

Deterministic encoding (RFC 8949, 4.2.1) is demanded, not just produced: every value has one encoding, so a
message re-serialises to the bytes it came from and two implementations can compare bytes. A general decoder
would also accept tags, shared references, big numbers, floats, maps and indefinite lengths; none can occur
here, so none can surprise. The sequence of items follows RFC 8742.

Two answers are kept apart: :class:`~gossamer.errors.IncompleteMessage` (the bytes end too early,
everything so far is right) and :class:`~gossamer.errors.MalformedMessage` (no continuation can make it
right). A length beyond its bound is malformed as soon as it is read, before anything of that length is made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from gossamer.errors import IncompleteMessage, InputError, MalformedMessage
from gossamer.wire.limits import MAX_DEPTH, MAX_MESSAGE_BYTES, MAX_SEED, MAX_TRAILING_ITEMS, MAX_UINT

Item: TypeAlias = "int | bytes | str | Sequence[Item]"

UINT, NINT, BYTES, TEXT, ARRAY = range(5)
"""Major types of RFC 8949, 3.1. NINT is only ever skipped."""

_NAMES = {
    UINT: "an unsigned integer",
    NINT: "a negative integer",
    BYTES: "bytes",
    TEXT: "text",
    ARRAY: "an array",
}
_SKIPPED_MOST = {
    UINT: MAX_SEED,
    NINT: MAX_SEED,
    BYTES: MAX_MESSAGE_BYTES,
    TEXT: MAX_MESSAGE_BYTES,
    ARRAY: MAX_TRAILING_ITEMS,
}
_TRICKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = 24  # arguments below this sit in the initial byte
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}


def head(major: int, argument: int) -> bytes:
    """Return the shortest head of an item: 1, 2, 3, 5 or 9 bytes."""
    if not 0 <= argument <= MAX_SEED:
        raise InputError(f"CBOR carries integers of 0..2^64-1 here, got {argument}")
    if argument < _SHORT:
        return bytes([major << 5 | argument])
    width = next(w for w in (1, 2, 4, 8) if argument < 1 << 8 * w)
    return bytes([major << 5 | _SHORT + width.bit_length() - 1]) + argument.to_bytes(width, "big")


def encode(item: Item) -> bytes:
    """Return one item in deterministic CBOR.

    >>> encode([1, b"ab", "c", 500]).hex()
    '840142616261631901f4'
    """
    if isinstance(item, int):
        return head(UINT, int(item))
    if isinstance(item, bytes):
        return head(BYTES, len(item)) + item
    if isinstance(item, str):
        text = item.encode()
        return head(TEXT, len(text)) + text
    return head(ARRAY, len(item)) + b"".join(encode(part) for part in item)


def sequence(*items: Item) -> bytes:
    """Return the items one behind the other: an RFC 8742 sequence."""
    return b"".join(encode(item) for item in items)


class Reader:
    """Reads items of known kind and bounded size from the front of ``data``.

    Every method raises IncompleteMessage where the bytes end and MalformedMessage where they are wrong.

    Args:
        data: at most ``limit`` bytes, else MalformedMessage.
        limit: in bytes.
    """

    def __init__(self, data: bytes, limit: int = MAX_MESSAGE_BYTES) -> None:
        if len(data) > limit:
            raise MalformedMessage(f"a message has at most {limit} bytes, got {len(data)}")
        self._data = bytes(data)
        self._at = 0

    @property
    def at_end(self) -> bool:
        """Whether every byte was read."""
        return self._at == len(self._data)

    @property
    def consumed(self) -> bytes:
        """The bytes read so far."""
        return self._data[: self._at]

    def uint(self, name: str, most: int = MAX_UINT, least: int = 0) -> int:
        """Read an unsigned integer within [least, most]."""
        return self._argument(name, UINT, most, least)

    def bytes_(self, name: str, most: int, least: int = 0) -> bytes:
        """Read a byte string of ``least`` to ``most`` bytes."""
        return self._take(self._argument(name, BYTES, most, least))

    def text(self, name: str, most: int) -> str:
        """Read printable ASCII of at most ``most`` characters."""
        raw = self._take(self._argument(name, TEXT, most))
        return _ascii(name, raw)

    def utf8(self, name: str, most: int) -> str:
        """Read UTF-8 text of at most ``most`` bytes, without what could play tricks on a terminal or a log."""
        text = _utf8(self._take(self._argument(name, TEXT, most)))
        if not is_plain(text):
            raise MalformedMessage(f"{name}: expected text without control characters, got {text[:16]!r}")
        return text

    def array(self, name: str, most: int, least: int = 0) -> int:
        """Read the head of an array; returns its number of items, ``least`` to ``most``."""
        return self._argument(name, ARRAY, most, least)

    def peek_major(self) -> int:
        """Return the major type of the next item without reading it."""
        if self.at_end:
            raise IncompleteMessage("the message ends where an item was expected")
        return self._data[self._at] >> 5

    def skip_rest(self) -> None:
        """Skip what a later version may have added: items of this subset, well-formed, not too many."""
        budget = MAX_TRAILING_ITEMS
        while not self.at_end:
            budget = self._skip(budget, 0)

    def _skip(self, budget: int, depth: int) -> int:
        if budget <= 0:
            raise MalformedMessage(f"more than {MAX_TRAILING_ITEMS} items follow the known ones")
        major = self.peek_major()
        if major not in _NAMES:
            raise MalformedMessage(f"no map, tag, float or simple value is used here, got type {major}")
        argument = self._argument("trailing item", major, _SKIPPED_MOST[major])
        if major in (BYTES, TEXT):
            raw = self._take(argument)
            if major == TEXT:
                _utf8(raw)
        if major != ARRAY:
            return budget - 1
        if depth == MAX_DEPTH:
            raise MalformedMessage(f"arrays nest at most {MAX_DEPTH} deep")
        budget -= 1
        for _ in range(argument):
            budget = self._skip(budget, depth + 1)
        return budget

    def _argument(self, name: str, major: int, most: int, least: int = 0) -> int:
        if self.peek_major() != major:
            got = _NAMES.get(self.peek_major(), "an item of a kind not used here")
            raise MalformedMessage(f"{name}: expected {_NAMES[major]}, got {got}")
        short = self._data[self._at] & 31
        self._at += 1
        if short < _SHORT:
            return _within(name, short, most, least)
        width = _WIDTHS.get(short)
        if width is None:
            raise MalformedMessage(f"{name}: indefinite or reserved length {short}")
        argument = int.from_bytes(self._take(width), "big")
        if argument < (_SHORT if width == 1 else 1 << 4 * width):
            raise MalformedMessage(f"{name}: {argument} in {width} bytes is not its shortest form")
        return _within(name, argument, most, least)

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise IncompleteMessage(f"{end - len(self._data)} more bytes are needed")
        taken = self._data[self._at : end]
        self._at = end
        return taken


def _within(name: str, value: int, most: int, least: int) -> int:
    if not least <= value <= most:
        raise MalformedMessage(f"{name}: expected {least}..{most}, got {value}")
    return value


def _ascii(name: str, raw: bytes) -> str:
    if not all(32 <= byte < 127 for byte in raw):
        raise MalformedMessage(f"{name}: expected printable ASCII, got {raw[:16]!r}")
    return raw.decode("ascii")


def is_plain(text: str) -> bool:
    """Whether ``text`` has no control character, line or paragraph separator, or change of writing direction.

    >>> is_plain("battery 12 %"), is_plain("no\\x1b[2J"), is_plain("a\\nb")
    (True, False, False)
    """
    return not any(_TRICKS.fullmatch(character) for character in text)


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as wrong:
        raise MalformedMessage(f"text that is not UTF-8: {wrong.reason}") from wrong
