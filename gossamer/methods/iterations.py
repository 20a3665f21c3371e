"""How many local iterations lie between two communications: a coin that everybody tosses alike.

Methods of the ProxSkip family (Mishchenko and others, ICML 2022; arXiv 2202.09357) communicate after an iteration with
probability ``chance``. A round is one communication, so the iterations of a round, the communicating one included, are
geometric: ``P(k) = chance (1 - chance)^(k - 1)``, k >= 1. Devices and server toss with SHAKE-256 of the job's seed and
the round's number, in integers only, so that all machines count alike.
"""

from __future__ import annotations

import hashlib
import math

from gossamer.errors import InputError

LABEL = b"gossamer local iterations"
"""Before seed and round in what is hashed."""

MIN_CHANCE = 1e-4
"""Less would be ten thousand gradients a round."""

CUT = 40
"""A round has at most CUT / chance iterations; more would have come with probability e^-40."""


def checked_chance(chance: float) -> float:
    """Return the chance; raises InputError outside [MIN_CHANCE, 1]."""
    if not MIN_CHANCE <= chance <= 1.0:
        raise InputError(f"expected a chance to communicate between {MIN_CHANCE} and 1, got {chance}")
    return chance


def iterations(seed: int, number: int, chance: float) -> int:
    """Local iterations of round ``number`` (from 0) of the job with this seed, at least 1; ``chance`` as checked.

    >>> [iterations(7, number, 0.25) for number in range(8)]
    [3, 4, 2, 1, 3, 2, 2, 3]
    """
    most = math.ceil(CUT / chance)
    below = int(chance * (1 << 64))
    tosses = hashlib.shake_256(LABEL + seed.to_bytes(8, "big") + number.to_bytes(8, "big")).digest(8 * most)
    for k in range(most):
        if int.from_bytes(tosses[8 * k : 8 * k + 8], "big") < below:
            return k + 1
    return most
