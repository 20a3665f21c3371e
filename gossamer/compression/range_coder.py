"""Adaptive binary range coder, in integers only (Martin 1979; the 32-bit byte-wise form is LZMA's).

A message is one number in [0, 1). The coder holds an interval of it, ``low`` and ``range`` (32 bits); a
binary decision with probability p / 2^16 of a 1 keeps

    bit 1: [low, low + b)        bit 0: [low + b, low + range)        b = range * p >> 16

and whenever the range falls under 2^24 the top byte of ``low`` is final, but for a carry, which runs back
into the bytes that are out. The end costs at most one byte: the one number in the last interval with the
most zeros behind, whose zeros are implicit (at most `IMPLICIT_BYTES` of them, so that a short hostile
message cannot be read for ever).

The coding is one to one: `Decoder.finish` refuses every byte string but the one that `Encoder.finish`
makes for the same decisions, at no cost, because the decoder knows ``low`` as well.
"""

from __future__ import annotations

from gossamer.errors import MalformedBody

PROBABILITY_BITS = 16
"""Probabilities are integers in 1 .. 2^16 - 1, out of 2^16."""

COUNT_UNIT = 1024
"""One observation in an adaptive count, so that priors of less than one observation are integers too."""

MAX_TOTAL = 1 << 26
"""An `AdaptiveBit` halves its counts above this (65,536 observations): a bounded memory, 26-bit integers."""

RAW_BITS = 16
"""Most bits of one `Encoder.raw`: the range, at least 2^24, still splits evenly within 2^-8."""

IMPLICIT_BYTES = 8
"""Zeros left off the end of a message. A real message ends with more once in 2^64; then they are sent."""

_TOP = 1 << 24
_MASK = (1 << 32) - 1


def _final(low: int, width: int) -> int:
    """The distance from ``low`` to the number in [low, low + width) with the most zeros; width >= 2^24."""
    ahead = -low & _MASK
    return ahead if ahead < width else -low & (_TOP - 1)


class Encoder:
    """Decisions in, bytes out."""

    __slots__ = ("_low", "_out", "_range")

    def __init__(self) -> None:
        self._low = 0
        self._range = _MASK
        self._out = bytearray()

    def bit(self, probability: int, bit: int) -> None:
        """Code a decision: 0 < probability < 2^16 is that of a 1; costs -log2 of what came, to 2^-8 of it."""
        bound = self._range * probability >> PROBABILITY_BITS
        if bit:
            self._range = bound
        else:
            self._low += bound
            self._range -= bound
        if self._range < _TOP:
            self._shift()

    def raw(self, value: int, bits: int) -> None:
        """Code 0 <= value < 2^bits, all equally likely; 0 <= bits <= `RAW_BITS`."""
        self._range >>= bits
        self._low += value * self._range
        if self._range < _TOP:
            self._shift()

    def _shift(self) -> None:
        while self._range < _TOP:
            if self._low > _MASK:
                self._carry()
            self._out.append(self._low >> 24)
            self._low = self._low << 8 & _MASK
            self._range <<= 8

    def _carry(self) -> None:
        """The 33rd bit of ``low`` into the bytes that are out; the first is never reached by all of them."""
        at = len(self._out) - 1
        while self._out[at] == 0xFF:
            self._out[at] = 0
            at -= 1
        self._out[at] += 1
        self._low &= _MASK

    def finish(self) -> bytes:
        """The message: at most one byte and some 2^-8 above the information of the decisions."""
        shifted = len(self._out)
        self._low += _final(self._low, self._range)
        if self._low > _MASK:
            self._carry()
        self._out.append(self._low >> 24)
        kept = max(len(self._out.rstrip(b"\0")), shifted - IMPLICIT_BYTES)
        return bytes(self._out[:kept])


class Decoder:
    """Bytes in, decisions out: call what the encoder was called, with the same probabilities.

    Any bytes give decisions until they are used up; `MalformedBody` then, within `IMPLICIT_BYTES`, or from
    `finish`. A decision may cost next to nothing, so the caller bounds their number.
    """

    __slots__ = ("_at", "_code", "_data", "_range")

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = bytes(data)
        self._code = int.from_bytes(self._data[:4].ljust(4, b"\0"), "big")
        self._at = 4
        self._range = _MASK

    def bit(self, probability: int) -> int:
        """The next decision, 0 or 1; 0 < probability < 2^16 is that of a 1."""
        bound = self._range * probability >> PROBABILITY_BITS
        if self._code < bound:
            self._range = bound
            bit = 1
        else:
            self._code -= bound
            self._range -= bound
            bit = 0
        if self._range < _TOP:
            self._shift()
        return bit

    def raw(self, bits: int) -> int:
        """The next number below 2^bits; 0 <= bits <= `RAW_BITS`."""
        self._range >>= bits
        # The range need not be a multiple of 2^bits: no encoder goes where it ends.
        value = self._code // self._range
        if value >> bits:
            raise MalformedBody("a number in the body is out of its range")
        self._code -= value * self._range
        if self._range < _TOP:
            self._shift()
        return value

    def _shift(self) -> None:
        while self._range < _TOP:
            at = self._at
            if at - 3 > len(self._data) + IMPLICIT_BYTES:
                raise MalformedBody("the body ends before its last number")
            self._code = self._code << 8 | (self._data[at] if at < len(self._data) else 0)
            self._at = at + 1
            self._range <<= 8

    def finish(self) -> None:
        """Check that the data end here and are what an `Encoder` makes; raises `MalformedBody`."""
        shifted, data = self._at - 4, self._data
        window = int.from_bytes(data[shifted : self._at].ljust(4, b"\0"), "big")
        if len(data) > shifted + 1 or self._code != _final(window - self._code & _MASK, self._range):
            raise MalformedBody("expected the end of the body")
        if data and not data[-1] and len(data) != shifted - IMPLICIT_BYTES:
            raise MalformedBody("the body ends with zeros that go without saying")


class AdaptiveBit:
    """One context: how often 0 and 1 came so far, in `COUNT_UNIT` (Krichevsky and Trofimov 1981).

    The default is their estimator, half an observation of each.
    """

    __slots__ = ("ones", "zeros")

    def __init__(self, zeros: int = COUNT_UNIT // 2, ones: int = COUNT_UNIT // 2) -> None:
        self.zeros = zeros
        self.ones = ones

    def encode(self, encoder: Encoder, bit: int) -> None:
        """Code ``bit`` and learn from it."""
        encoder.bit(self.probability(), bit)
        self.count(bit)

    def decode(self, decoder: Decoder) -> int:
        """The inverse of `encode`."""
        bit = decoder.bit(self.probability())
        self.count(bit)
        return bit

    def probability(self) -> int:
        """Of a 1, in 1 .. 2^16 - 1."""
        p = (self.ones << PROBABILITY_BITS) // (self.zeros + self.ones)
        return min(max(p, 1), (1 << PROBABILITY_BITS) - 1)

    def count(self, bit: int) -> None:
        """One more observation; above `MAX_TOTAL` both counts are halved."""
        if bit:
            self.ones += COUNT_UNIT
        else:
            self.zeros += COUNT_UNIT
        if self.zeros + self.ones > MAX_TOTAL:
            self.zeros -= self.zeros >> 1
            self.ones -= self.ones >> 1
