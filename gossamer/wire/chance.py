"""Importance sampling on the device: a threshold, a norm and a coin decide alone whether an update is sent.

    p    = min(most, max(least, norm / threshold))    rounded to float32; without a threshold: drawn / devices
    send if coin < p                                  coin = SHA-256 of (seed, round, index), in [0, 1)
    an update that arrives stands for 1 / p devices   (Horvitz and Thompson)

With the right threshold p is the optimum of Chen, Horvath, Richtarik, "Optimal client sampling", TMLR 2022; the
threshold comes in the manifest, computed from the round before, so that there is no extra round trip.

``least`` and ``most`` are a tenth and four times the uniform rate drawn / devices. The first bounds what an update
can weigh: ten of a uniform draw. The second clips norms before they count: a device sends at most four times as
often as in a uniform draw, however large its norm is or is said to be, so that attackers of less than a quarter of
the fleet cannot take all of a round. Of 1,000 devices with 20 senders and log-normal norms (sigma 1, 1.5) the
variance is .39 and .25 of uniform's, .33 and .07 without ``most``; then a tenth of attackers leaves the others .1
of their share instead of .67.

The coin is public. A device that claims a smaller p than it has, to weigh more, is believed only in the rounds
in which its coin lies below the claim (:func:`entitled`), and no p out of [least, most] is believed at all.

A coin that says no even to ``most`` is known before the fit: such a device rests, and does not fetch the model either.
An update whose coin says no is dropped, not kept for later: one that were also added to the next would count
twice, for 1 / p already makes up for it.
"""

from __future__ import annotations

import hashlib
import math
import struct

from gossamer.errors import InputError, MalformedMessage
from gossamer.wire.participation import Participation

LEAST_SHARE = 0.1
"""Of the uniform rate: what a device with a tiny norm sends with all the same; the threshold allows for it."""

MOST_SHARE = 4.0
"""Times the uniform rate: what a device with a huge norm sends with."""

COIN_LABEL = b"gossamer chance"
FLOAT32 = struct.Struct(">f")
MIN_THRESHOLD, MAX_THRESHOLD = 2.0**-100, 2.0**100
"""Far beyond any norm of a model on the lattice, far within float32."""


def bounds(schedule: Participation) -> tuple[float, float]:
    """The smallest and the largest p of this schedule, each a float32.

    >>> [round(p, 6) for p in bounds(Participation(4, 7, 100, 20))]
    [0.005, 0.2]
    """
    rate = schedule.drawn / schedule.devices
    return _float32(LEAST_SHARE * rate), _float32(min(1.0, MOST_SHARE * rate))


def chance(norm: float, threshold: float | None, schedule: Participation) -> float:
    """Probability with which a device sends an update of this norm: a float32 within :func:`bounds`.

    Raises:
        InputError: the norm is negative or not finite.

    >>> [round(chance(norm, 2.0, Participation(4, 7, 100, 20)), 6) for norm in (0.0, 0.2, 5.0)]
    [0.005, 0.1, 0.2]
    """
    if not 0.0 <= norm < math.inf:
        raise InputError(f"the norm of an update must be finite and not negative, got {norm}")
    if threshold is None:
        return _float32(schedule.drawn / schedule.devices)
    least, most = bounds(schedule)
    return _float32(min(most, max(least, norm / threshold)))


def coin(schedule: Participation, round_: int, index: int) -> int:
    """The coin of a device in a round: 0 to 2^64 - 1."""
    numbers = schedule.seed.to_bytes(8, "big") + round_.to_bytes(8, "big") + index.to_bytes(8, "big")
    return int.from_bytes(hashlib.sha256(COIN_LABEL + numbers).digest()[:8], "big")


def sends(chance: float, schedule: Participation, round_: int, index: int) -> bool:
    """Whether the coin says yes. The product is exact: device and server come to the same answer.

    >>> schedule = Participation(4, 7, 100, 20)
    >>> [index for index in range(100) if sends(0.05, schedule, 0, index)]
    [23, 63, 70, 79, 91]
    """
    return coin(schedule, round_, index) < int(chance * 2.0**64)


def entitled(chance: float, schedule: Participation, round_: int, index: int) -> bool:
    """Whether an update with this claim may count: the claim is within bounds, and the coin said yes to it."""
    least, most = bounds(schedule)
    return least <= chance <= most and sends(chance, schedule, round_, index)


def threshold_section(threshold: float) -> bytes:
    """The manifest's section: float32. Raises InputError unless it is within what a reader accepts.

    >>> read_threshold(threshold_section(0.25))
    0.25
    """
    if not MIN_THRESHOLD <= threshold <= MAX_THRESHOLD:
        raise InputError(f"a threshold must be in [2^-100, 2^100], got {threshold}")
    return FLOAT32.pack(threshold)


def read_threshold(section: bytes) -> float:
    """The inverse. Raises MalformedMessage."""
    return _read(section, "threshold", MIN_THRESHOLD, MAX_THRESHOLD)


def chance_section(chance: float) -> bytes:
    """The update's section: float32. Raises InputError unless it is within what a reader accepts.

    >>> read_chance(chance_section(0.5))
    0.5
    """
    if not MIN_THRESHOLD <= chance <= 1.0:
        raise InputError(f"a chance must be above 0 and at most 1, got {chance}")
    return FLOAT32.pack(chance)


def read_chance(section: bytes) -> float:
    """The inverse. Raises MalformedMessage."""
    return _read(section, "chance", MIN_THRESHOLD, 1.0)


def _read(section: bytes, what: str, least: float, most: float) -> float:
    if len(section) != FLOAT32.size:
        raise MalformedMessage(f"the section {what} has {FLOAT32.size} bytes, this has {len(section)}")
    value = float(FLOAT32.unpack(section)[0])
    if not least <= value <= most:
        raise MalformedMessage(f"the section {what} must be in [{least:g}, {most:g}], got {value}")
    return value


def _float32(value: float) -> float:
    return float(FLOAT32.unpack(FLOAT32.pack(value))[0])
