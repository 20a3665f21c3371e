"""Object ids: an object is named by what it contains."""

from __future__ import annotations

import hashlib

from gossamer.wire.limits import ID_BYTES

MANIFEST_ID = bytes(ID_BYTES)
"""Eight zero bytes: the id with which GET asks for the current manifest."""


def object_id(body: bytes) -> bytes:
    """Return the first 8 bytes of the SHA-256 of an object.

    A retry after a power cut has the same id and is therefore harmless.

    >>> object_id(b"abc").hex()
    'ba7816bf8f01cfea'
    """
    return hashlib.sha256(body).digest()[:ID_BYTES]
