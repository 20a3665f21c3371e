"""Seeds: one number of the job decides all randomness of all devices and rounds."""

from __future__ import annotations

import hashlib

#: Seeds are 63-bit: they fit a signed 64-bit integer of any language a trainer may be written in.
_SEED_MASK = (1 << 63) - 1


def derive_seed(purpose: str, job_seed: int, round_: int, device_index: int) -> int:
    """The seed of one use of randomness: the same on every machine and after every crash.

    ``purpose`` ("fit", "codec") keeps uses apart. First 8 bytes of SHA-256 over the four, 63 bits of them.

    >>> derive_seed("fit", 1, 0, 0) == derive_seed("fit", 1, 0, 0) != derive_seed("codec", 1, 0, 0)
    True
    """
    text = f"gossamer seed:{purpose}:{job_seed}:{round_}:{device_index}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") & _SEED_MASK
