"""How an object is cut into chunks of nearly equal size."""

from __future__ import annotations

from gossamer.errors import InputError
from gossamer.wire.limits import DEFAULT_CHUNK_BYTES, MAX_CHUNK_BYTES, MAX_CHUNKS, MAX_OBJECT_BYTES


def chunk_bytes_for(size: int, limit: int = DEFAULT_CHUNK_BYTES) -> int:
    """Return the chunk size: ceil(L / ceil(L / limit)), in bytes.

    As few chunks as the limit allows, then all as small as that number allows: a last chunk of three bytes
    would cost as many headers as a full one. Applied to its own result it returns it.

    >>> chunk_bytes_for(4001), chunk_bytes_for(300), chunk_bytes_for(9000)
    (2001, 300, 3000)

    Raises:
        InputError: an object or limit outside what the wire allows.
    """
    if not 1 <= size <= MAX_OBJECT_BYTES:
        raise InputError(f"an object has 1..{MAX_OBJECT_BYTES} bytes, got {size}")
    if not 1 <= limit <= MAX_CHUNK_BYTES:
        raise InputError(f"chunk_bytes: expected 1..{MAX_CHUNK_BYTES}, got {limit}")
    count = chunk_count(size, limit)
    if count > MAX_CHUNKS:
        raise InputError(f"{size} bytes in chunks of {limit} are {count} chunks, {MAX_CHUNKS} at most; raise it")
    return -(-size // count)


def chunk_count(size: int, chunk_bytes: int) -> int:
    """Return the number of chunks."""
    return -(-size // chunk_bytes)


def chunk_length(size: int, chunk_bytes: int, index: int) -> int:
    """Return the length of chunk ``index`` in bytes; only the last differs from ``chunk_bytes``."""
    return min(chunk_bytes, size - index * chunk_bytes)
