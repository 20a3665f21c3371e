"""``hist:K``: a few coefficients in a basis that both ends draw from the shared model's own past.

A weight matrix goes on changing in the directions in which it has changed so far. In the basis of those directions
(`basis`), which costs no byte because both ends hold the model's versions, an update is large in one corner and
almost nothing elsewhere:

    u = U^T x V for every matrix           (D,) coefficients, D <= d
    t = the K-th largest |u|,  q = t / 0.62
    level = sign(u) floor(|u| / q + 0.38)  the dead zone: what is below 0.62 q becomes 0
    body = tag, q (2 bytes), count (1 byte), levels (`levels`: an adaptive range coder that knows past steps)
    decode = U (q level) V^T               exact integers up to one rounding on the lattice

K is a number of coefficients (``hist:400``) or a share of them (``hist:0.01``). It needs a context with a frame, on
both ends the same, and a residual: what lies outside the basis is never sent, but comes back in the next update.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gossamer.compression import scales
from gossamer.compression.arrays import MAX_COORDINATES, Vector
from gossamer.compression.codec import Body, Codec
from gossamer.compression.context import Context
from gossamer.compression.frame import Frame
from gossamer.compression.lattice import LATTICE_BITS, MAX_LATTICE, from_lattice, narrowed
from gossamer.compression.levels import decode_levels, encode_levels
from gossamer.compression.registry import Method
from gossamer.errors import InputError, LatticeOverflow, MalformedBody, UnknownCodec

TAG = 0x20
ZERO_BELOW = 0.62
"""Of a step: what is smaller becomes 0. Wider than the half of plain rounding, since a zero costs almost nothing."""
SINGLE_LIMIT = 15
"""The largest level of a message that sets the scale; what is beyond it goes into the residual."""
FIXED_LIMIT = 255
"""The same at a scale that the cycle's first step has set: later ones may be much larger."""
LEAST_SHARE = 64
"""The step is at least this part of the largest coefficient, so that a peak is sent within a few messages."""
BYTES_PER_LEVEL = 4
"""At most: the place among d, 15 flags of magnitude, a sign. As a rule it is less than one."""
COARSER = 32
"""Codes of a scale: an eighth of an octave."""
_COUNTS_PER_OCTAVE = 8
_HEAD_BYTES = scales.SCALE_BYTES + 1

Levels = npt.NDArray[np.integer]


def is_hist(body: bytes | memoryview) -> bool:
    """Whether a body is one of this codec."""
    return len(body) > 0 and body[0] == TAG


def write_levels(levels: Levels, scale_code: int, context: Context) -> bytes:
    """Levels (D,) at a scale -> body."""
    frame = _frame(context)
    code = _count_code(int(np.count_nonzero(levels)))
    prior = frame.prior(_count_of(code), upward=context.upward)
    coded = encode_levels(levels, *frame.groups, prior)
    return bytes([TAG]) + scale_code.to_bytes(scales.SCALE_BYTES, "little") + bytes([code]) + coded


def read_levels(body: bytes | memoryview, context: Context) -> tuple[npt.NDArray[np.int16], int]:
    """The inverse of `write_levels`; raises `MalformedBody`."""
    return _read(memoryview(body)[1:], _frame(context), upward=context.upward)


def _read(data: memoryview, frame: Frame, *, upward: bool) -> tuple[npt.NDArray[np.int16], int]:
    scale_code, count_code = _head(data)
    prior = frame.prior(_count_of(count_code), upward=upward)
    levels = decode_levels(data[_HEAD_BYTES:], *frame.groups, prior)
    if _count_code(int(np.count_nonzero(levels))) != count_code:
        raise MalformedBody(f"expected about {_count_of(count_code)} levels, got {np.count_nonzero(levels)}")
    if int(np.abs(levels.astype(np.int32)).max(initial=0)) > frame.basis.max_level:
        raise MalformedBody(f"expected levels up to {frame.basis.max_level} in this basis")
    return levels, scale_code


def _head(data: memoryview) -> tuple[int, int]:
    if len(data) < _HEAD_BYTES:
        raise MalformedBody("expected a scale and a count, but the body ends")
    scale_code = int.from_bytes(data[: scales.SCALE_BYTES], "little")
    scales.value(scale_code)
    return scale_code, data[scales.SCALE_BYTES]


def lattice_change(frame: Frame, levels: Levels, scale: float) -> npt.NDArray[np.int64]:
    """Levels (D,) at a scale -> the change int64 (d,) in lattice units; `MalformedBody` if it is beyond them."""
    try:
        change = frame.basis.inverse(levels, scale)
        narrowed(change, "update")
    except (LatticeOverflow, InputError) as error:
        raise MalformedBody(f"expected a change on the lattice: {error}") from error
    return change


def _count_code(count: int) -> int:
    """0 for none, else 1 + 8 log2(count) to the nearest below: integers only, so that both ends agree."""
    if count == 0:
        return 0
    octave = count.bit_length() - 1
    return 1 + _COUNTS_PER_OCTAVE * octave + ((count * _COUNTS_PER_OCTAVE >> octave) - _COUNTS_PER_OCTAVE)


def _count_of(code: int) -> int:
    """The smallest count with this code, 0 for 0."""
    octave, eighth = divmod(code - 1, _COUNTS_PER_OCTAVE)
    return -(-(_COUNTS_PER_OCTAVE + eighth << octave) // _COUNTS_PER_OCTAVE) if code else 0


def _frame(context: Context) -> Frame:
    if context.frame is None:
        raise InputError("hist needs the shared model's history: use it in a job, through a model with history")
    return context.frame


def _quantised(u: npt.NDArray[np.float64], step: float, limit: int = SINGLE_LIMIT) -> npt.NDArray[np.int32]:
    magnitude = np.minimum(np.floor(np.abs(u) / step + (1.0 - ZERO_BELOW)), limit)
    return np.where(u < 0, -magnitude, magnitude).astype(np.int32)


def _scale_for(u: npt.NDArray[np.float64], count: int) -> int:
    """The code of the smallest step that leaves at most ``count`` levels, or nearly."""
    magnitude = np.abs(u)
    kth = float(np.partition(magnitude, u.size - count)[u.size - count])
    largest = float(magnitude.max())
    # With fewer than ``count`` coefficients at all, the scale is that of the largest; none is finer than the lattice.
    least = largest / (LEAST_SHARE if kth else SINGLE_LIMIT)
    code = int(scales.round_nearest(np.array([max(kth / ZERO_BELOW, least, 2.0**-LATTICE_BITS)]))[0])
    while np.count_nonzero(magnitude / scales.value(code) + (1.0 - ZERO_BELOW) >= 1.0) > count:
        code += 1  # of equal magnitudes either all go or none
    return code


@dataclass(frozen=True)
class HistCodec(Codec):
    """See the module."""

    spec: str
    wanted: float
    method: str = "hist"
    unbiased: bool = False

    def _count(self, size: int) -> int:
        count = self.wanted if self.wanted >= 1 else self.wanted * size
        return max(1, min(size, int(count + 0.5)))

    def _encode(self, x: Vector, _seed: int, context: Context) -> bytes:
        frame = _frame(context)
        if x.size != frame.layout.size:
            raise InputError(f"expected {frame.layout.size} values, as the model has, got {x.size}")
        if x.size and float(np.abs(x).max()) >= MAX_LATTICE:
            raise LatticeOverflow(
                f"expected magnitudes below {MAX_LATTICE:g} for hist, got {float(np.abs(x).max()):.6g}; "
                "training may have diverged: lower the learning rate"
            )
        size = frame.size
        if size == 0 or not x.any():
            code = 0 if context.scale_code is None else context.scale_code
            return write_levels(np.zeros(size, dtype=np.int32), code, context)
        u = frame.basis.forward(x)
        if context.scale_code is not None:  # fixed by the cycle's first step: as many levels as that gives
            levels = _quantised(u, scales.value(context.scale_code), FIXED_LIMIT)
            return write_levels(levels, context.scale_code, context)
        code = _scale_for(u, self._count(size))
        while len(body := write_levels(_quantised(u, scales.value(code)), code, context)) > self.max_bytes(x.size):
            code += COARSER  # levels where no message has had any, dear to code: send fewer of them
        return body

    def max_bytes(self, d: int) -> int:
        # Five times what a level takes as a rule; `_encode` sees to it.
        return 1 + _HEAD_BYTES + BYTES_PER_LEVEL * self._count(d) + 60

    def error_bound(self, _d: int) -> float:
        return 1.01  # what lies outside the basis stays; within it no level is worse than none


class HistBody(Body):
    """Levels, checked; the vector is made when it is read."""

    def __init__(self, data: memoryview, d: int, frame: Frame, *, upward: bool) -> None:
        self.spec = "hist"
        self.d = d
        if d != frame.layout.size:
            raise MalformedBody(f"expected {frame.layout.size} values, as the model has, got {d}")
        self._frame = frame
        self._levels, code = _read(data, frame, upward=upward)
        self._scale = scales.value(code)
        lattice_change(frame, self._levels, self._scale)  # what opens can be read

    def _read(self, start: int, stop: int) -> Vector:
        return from_lattice(lattice_change(self._frame, self._levels, self._scale))[start:stop]


class SealedHistBody(Body):
    """A body whose frame is not at hand: its head is checked, and it cannot be read."""

    def __init__(self, data: memoryview, d: int) -> None:
        self.spec = "hist"
        self.d = d
        _head(data)

    def _read(self, _start: int, _stop: int) -> Vector:
        raise MalformedBody("hist needs the shared model's history to be read: only a job has it")


def _open(data: memoryview, d: int, context: Context) -> Body:
    if context.frame is None:
        return SealedHistBody(data, d)
    return HistBody(data, d, context.frame, upward=context.upward)


def _build(spec: str) -> HistCodec:
    text = spec.partition(":")[2]
    try:
        wanted = float(text)
    except ValueError:
        wanted = 0.0
    if not (0 < wanted < 1 or (wanted.is_integer() and wanted <= MAX_COORDINATES)):
        raise UnknownCodec(f"expected hist:K, K coefficients or a share below 1, got {spec!r}")
    return HistCodec(spec, wanted)


HIST = Method("hist", TAG, _build, _open, ("hist:400", "hist:0.01"))
