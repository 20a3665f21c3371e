"""Mostly-zero flags through the range coder, without a step for every flag.

In one context the chance of a 1 is ones / (zeros + ones), counted from a prior and from all flags so far
(Krichevsky and Trofimov 1981). Coded flag by flag, n zeros in a row then have the probability

    S(n) = prod_{i < n} (zeros + i) / (zeros + ones + i)
         = zeros / (zeros + ones) * G(zeros + n) G(zeros + ones + 1) / (G(zeros + 1) G(zeros + ones + n))

with G the gamma function, and G(x + a) / G(x) is (x + (a - 1) / 2)^a to a relative error of order
a^3 / 24 x^2. So the way to the next 1 is coded in a few decisions that together cost what the many would:

1. "none among the next m flags", m a power of two near zeros / ones (or to the end): probability S(m)
   of a yes, after which the count of zeros is m higher, and again;
2. where among the m: in the first part h or not, probability (1 - S(h)) / (1 - S(m)), and so on by halves
   (Golomb 1966 is the case of all these equal to 1/2);
3. as plain bits once halves differ by less than 1/32: that costs less than 0.002 bits.

Any m gives the same length; it only sets the number of steps, about 7 for a 1. S comes from tables of
log2 and 2^-x with interpolation in integers: the same on every machine.
"""

from __future__ import annotations

from gossamer.compression.range_coder import COUNT_UNIT, RAW_BITS, Decoder, Encoder
from gossamer.errors import MalformedBody

DENSE = 2
"""With fewer zeros than this for a 1, flags are coded singly: a step of 1 flag is cheaper than a run of 2."""

MAX_SIZE = 1 << 28
"""Flags of one context, as many as a model has coordinates."""

MAX_COUNT = 1 << 48
"""Of a prior count, in `COUNT_UNIT`: above any sum of messages, and S stays exact."""

_UNIT_BITS = 10
_CELLS = 1024
_LOG_BITS = 24
_ONE_BITS = 30
_ONE = 1 << _ONE_BITS
_EVEN = 16
"""Plain bits when both halves' probabilities are within 1 / (4 * 16) of 1/2."""


def _log_table() -> list[int]:
    """log2(1 + i / 1024) in 2^-24, i = 0 .. 1024, from ln(1 + 1/n) = 2 atanh(1 / (2n + 1))."""
    sums = [0]
    for i in range(_CELLS):
        n = 2 * (_CELLS + i) + 1
        sums.append(sums[-1] + (1 << 80) // n + (1 << 80) // (3 * n**3) + (1 << 80) // (5 * n**5))
    return [((s << _LOG_BITS) + sums[-1] // 2) // sums[-1] for s in sums]


def _power_table() -> list[int]:
    """2^(-i / 1024) in 2^-30, i = 0 .. 1024, by multiplication in 2^-80 from square roots."""
    root = 1 << 79
    for _ in range(10):
        root = _square_root(root << 80)
    powers = [1 << 80]
    for _ in range(_CELLS):
        powers.append(powers[-1] * root >> 80)
    return [(p + (1 << 49)) >> 50 for p in powers]


def _square_root(n: int) -> int:
    x = 1 << -(-n.bit_length() // 2)
    while (y := (x + n // x) >> 1) < x:
        x = y
    return x


_LOG = _log_table()
_POWER = _power_table()


def _log2(x: int) -> int:
    """X >= 1 -> log2(x) in 2^-24, but for a constant."""
    shift = x.bit_length() - 31
    y = x >> shift if shift > 0 else x << -shift
    cell = (y >> 20) - _CELLS
    low = _LOG[cell]
    return (shift << _LOG_BITS) + low + ((_LOG[cell + 1] - low) * (y & 0xFFFFF) >> 20)


def _power(y: int) -> int:
    """Y >= 0 in 2^-24 -> 2^-y in 2^-30."""
    cell = y >> 14 & (_CELLS - 1)
    high = _POWER[cell]
    return (high - ((high - _POWER[cell + 1]) * (y & 0x3FFF) >> 14)) >> (y >> _LOG_BITS)


class _Run:
    """The counts of a context at the start of a run, and what follows from them."""

    __slots__ = ("_first", "_log", "_start", "ones", "zeros")

    def __init__(self, zeros: int, ones: int) -> None:
        self.zeros = zeros
        self.ones = ones
        self._first = zeros * _ONE // (zeros + ones)
        self._start = zeros + ((ones - COUNT_UNIT) >> 1)
        self._log = _log2(self._start + COUNT_UNIT)

    def none_in(self, n: int) -> int:
        """S(n) in 2^-30, 1 .. 2^30 - 1; n >= 1."""
        survived = self._first
        if n > 1:
            ratio = _log2(self._start + (n << _UNIT_BITS)) - self._log
            survived = survived * _power(self.ones * ratio >> _UNIT_BITS) >> _ONE_BITS
        return min(max(survived, 1), _ONE - 1)

    def length(self, left: int) -> int:
        """M of the first step, 1 .. left: a power of two with S(m) near 1/2, or all that are left."""
        if self.ones >= COUNT_UNIT:
            bits = (self.zeros // self.ones).bit_length() - 1
        else:
            bits = (self.zeros >> _UNIT_BITS).bit_length() + COUNT_UNIT // self.ones
        return min(1 << min(max(bits, 0), 28), left)

    def even(self, at: int, m: int) -> bool:
        """Whether m flags from ``at`` on are a power of two and all as likely to hold the next 1."""
        even = (m >> 1) * (self.ones + COUNT_UNIT) * _EVEN < self.zeros + (at << _UNIT_BITS)
        return m & (m - 1) == 0 and (even or m == 1)


def _half(m: int) -> int:
    """The greatest power of two below m."""
    return 1 << ((m - 1).bit_length() - 1)


def _clip(probability: int) -> int:
    return min(max(probability, 1), 0xFFFF)


def _check(size: int, zeros: int, ones: int) -> None:
    if not (0 <= size <= MAX_SIZE and 0 < zeros <= MAX_COUNT and 0 < ones <= MAX_COUNT):
        raise ValueError(f"expected a size up to 2^28 and counts in 1 .. 2^48, got {size}, {zeros}, {ones}")


def encode_flags(encoder: Encoder, positions: list[int], size: int, zeros: int, ones: int) -> None:
    """Code which of ``size`` flags are 1: ``positions``, ascending, 0 <= position < size.

    ``zeros`` and ``ones`` are the prior counts in `COUNT_UNIT`, both positive.
    """
    _check(size, zeros, ones)
    at = 0
    for position in [*positions, size]:
        while at < size:
            gap = position - at
            if zeros < DENSE * ones:
                encoder.bit(_clip((zeros << 16) // (zeros + ones)), gap > 0)
                at += 1
                if gap == 0:
                    ones += COUNT_UNIT
                    break
                zeros += COUNT_UNIT
                continue
            run = _Run(zeros, ones)
            m = run.length(size - at)
            none = run.none_in(m)
            encoder.bit(_clip(none >> 14), gap >= m)
            if gap < m:
                if m > 1:
                    _encode_offset(encoder, run, gap, m, none)
                zeros += gap << _UNIT_BITS
                ones += COUNT_UNIT
                at = position + 1
                break
            zeros += m << _UNIT_BITS
            at += m


def _encode_offset(encoder: Encoder, run: _Run, offset: int, m: int, after: int) -> None:
    """Code 0 <= offset < m where S(m) = after."""
    at, before = 0, _ONE
    while not run.even(at, m):
        h = _half(m)
        middle = run.none_in(at + h)
        first = offset < at + h
        encoder.bit(_clip((before - middle << 16) // max(before - after, 1)), first)
        if first:
            m, after = h, middle
        else:
            at, m, before = at + h, m - h, middle
    value, bits = offset - at, m.bit_length() - 1
    if bits > RAW_BITS:
        bits -= RAW_BITS
        encoder.raw(value >> bits, RAW_BITS)
        value &= (1 << bits) - 1
    encoder.raw(value, bits)


def decode_flags(decoder: Decoder, size: int, zeros: int, ones: int, most: int) -> list[int]:
    """The inverse of `encode_flags`: -> positions, ascending.

    Raises `MalformedBody` for more than ``most`` of them: they bound the time, with the number of calls.
    """
    _check(size, zeros, ones)
    positions: list[int] = []
    at = 0
    while at < size:
        if zeros < DENSE * ones:
            if decoder.bit(_clip((zeros << 16) // (zeros + ones))):
                zeros += COUNT_UNIT
            else:
                ones += COUNT_UNIT
                positions.append(at)
                if len(positions) > most:
                    raise MalformedBody(f"expected at most {most} flags that are set")
            at += 1
            continue
        run = _Run(zeros, ones)
        m = run.length(size - at)
        none = run.none_in(m)
        if decoder.bit(_clip(none >> 14)):
            zeros += m << _UNIT_BITS
            at += m
            continue
        offset = _decode_offset(decoder, run, m, none) if m > 1 else 0
        zeros += offset << _UNIT_BITS
        ones += COUNT_UNIT
        positions.append(at + offset)
        if len(positions) > most:
            raise MalformedBody(f"expected at most {most} flags that are set")
        at += offset + 1
    return positions


def _decode_offset(decoder: Decoder, run: _Run, m: int, after: int) -> int:
    at, before = 0, _ONE
    while not run.even(at, m):
        h = _half(m)
        middle = run.none_in(at + h)
        if decoder.bit(_clip((before - middle << 16) // max(before - after, 1))):
            m, after = h, middle
        else:
            at, m, before = at + h, m - h, middle
    bits = m.bit_length() - 1
    if bits > RAW_BITS:
        high = decoder.raw(RAW_BITS)
        return at + (high << (bits - RAW_BITS) | decoder.raw(bits - RAW_BITS))
    return at + decoder.raw(bits)
