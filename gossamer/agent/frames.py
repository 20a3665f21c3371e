"""What passes between agent and training child: CBOR items, each after its length (4 bytes, big-endian).

No pickle: an item holds numbers, text, bytes, lists and maps. An array is ``[dtype, shape, bytes]``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cbor2

from gossamer.errors import IncompleteMessage, MalformedMessage

if TYPE_CHECKING:
    from gossamer.agent.trainer import Array

#: The largest frame either side believes: a model of 16 million parameters four times over.
MAX_FRAME_BYTES = 1 << 28
MAX_DIMENSIONS = 16
_LENGTH = struct.Struct(">I")
_DTYPES = frozenset({"f2", "f4", "f8", "i4", "i8"})


def frame(item: Any) -> bytes:
    """One item with its length in front."""
    data = cbor2.dumps(item)
    if len(data) > MAX_FRAME_BYTES:
        raise MalformedMessage(f"a frame of {len(data)} bytes: the limit is {MAX_FRAME_BYTES}")
    return _LENGTH.pack(len(data)) + data


def take_frame(buffer: bytearray) -> Any:
    """Remove the first frame from ``buffer`` and return its item.

    Raises :class:`IncompleteMessage` (the buffer is as it was) or :class:`MalformedMessage`.
    """
    if len(buffer) < _LENGTH.size:
        raise IncompleteMessage("length of the frame")
    (length,) = _LENGTH.unpack_from(buffer)
    if length > MAX_FRAME_BYTES:
        raise MalformedMessage(f"a frame of {length} bytes: the limit is {MAX_FRAME_BYTES}")
    if len(buffer) < _LENGTH.size + length:
        raise IncompleteMessage("frame")
    data = bytes(buffer[_LENGTH.size : _LENGTH.size + length])
    del buffer[: _LENGTH.size + length]
    try:
        return cbor2.loads(data)
    except Exception as error:  # cbor2 raises what it likes; all of it means the same here
        raise MalformedMessage(f"a frame that is not CBOR: {error}") from error


def pack_arrays(arrays: Sequence[Array]) -> list[list[Any]]:
    """Arrays as plain items, little endian."""
    import numpy as np

    packed = []
    for each in arrays:
        array = np.ascontiguousarray(each).astype(each.dtype.newbyteorder("<"), copy=False)
        packed.append([f"{array.dtype.kind}{array.dtype.itemsize}", list(array.shape), array.tobytes()])
    return packed


def unpack_arrays(items: Any) -> list[Array]:
    """The inverse of :func:`pack_arrays`. Raises :class:`MalformedMessage`; never executes anything."""
    import numpy as np

    arrays = []
    try:
        for dtype, shape, data in items:
            if dtype not in _DTYPES or len(shape) > MAX_DIMENSIONS or any(n < 0 for n in shape):
                raise MalformedMessage(f"array of dtype {dtype!r} and shape {shape!r}")
            arrays.append(np.frombuffer(data, dtype="<" + dtype).reshape(shape).copy())
    except (TypeError, ValueError) as error:
        raise MalformedMessage(f"not a list of arrays: {error}") from error
    return arrays
