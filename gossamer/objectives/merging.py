"""Histograms of many devices as one: integers only, so that no order of arrival shows.

Devices are not trusted. A device's class counts at most ``cap`` times the lower median of the devices that have the
class (the median of all would be 0 where most have no positives), however many examples it claims; its counts give
only the shape. Scores outside the middle device's range, widened by one range on each side, count at the edge: far
outliers would stretch the bins of everybody. A cohort in which liars are the majority can place its share where it
wants within that; the cap bounds the share again when cohorts are merged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gossamer.errors import InputError
from gossamer.objectives.histogram import GRID, Fine, ScoreHistogram

SIZE_CAP = 3
"""A class counts at most as that many middle devices; 1 where devices may lie."""

MASS_BITS = 60
"""All counts together stay below 2^60 in an int64."""


def merge(items: Sequence[ScoreHistogram], devices: Sequence[int], cap: int = SIZE_CAP) -> ScoreHistogram:
    """The histogram of all scores, with the mean class sizes of a device.

    Args:
        items: at least one.
        devices: how many devices each stands for; their sizes are means over these.
        cap: see above, at least 1.
    """
    if not items or len(items) != len(devices) or min(devices) < 1 or cap < 1:
        raise InputError("expected at least one histogram, a number of devices for each, and a cap of at least 1")
    total = sum(devices)
    fine, sizes = [], []
    for positive in (True, False):
        bounded = _bounded([item.of_class(positive).size for item in items], cap)
        masses = [size * count for size, count in zip(bounded, devices, strict=True)]
        fine.append(_sum(items, masses, positive))
        sizes.append(max(sum(masses) // total, min(sum(masses), 1)))
    low, high = _window(items)
    return ScoreHistogram.of_fine(_folded(fine[0], low, high), _folded(fine[1], low, high), sizes[0], sizes[1])


def lower_median(values: Sequence[int]) -> int:
    """A value that somebody sent: the middle one, or the lower of two."""
    return sorted(values)[(len(values) - 1) // 2]


def _bounded(sizes: Sequence[int], cap: int) -> list[int]:
    present = [size for size in sizes if size]
    bound = cap * lower_median(present) if present else 0
    return [min(size, bound) for size in sizes]


def _sum(items: Sequence[ScoreHistogram], masses: Sequence[int], positive: bool) -> Fine:
    """Each item's shape with its mass, on the fine grid."""
    out = np.zeros(GRID, np.int64)
    shift = MASS_BITS - sum(masses).bit_length()  # may be negative; the same whatever the order
    for item, mass in zip(items, masses, strict=True):
        counts = item.of_class(positive).counts.tolist()
        of_all = sum(counts)
        scaled = mass << shift if shift >= 0 else mass >> -shift
        for k, count in enumerate(counts):
            if count:
                start = ((item.first + k) << item.level) + GRID // 2
                out[start : start + (1 << item.level)] += (scaled * count // of_all) >> item.level
    return out


def _window(items: Sequence[ScoreHistogram]) -> tuple[int, int]:
    """First and last bin on the fine grid that scores may count in, as positions 0 .. GRID - 1."""
    ranges = [item.fine_range() for item in items]
    slack = lower_median([high - low for low, high in ranges])
    low = lower_median([low for low, _ in ranges]) - slack
    high = -lower_median([-high for _, high in ranges]) + slack
    return max(low + GRID // 2, 0), min(high + GRID // 2, GRID - 1)


def _folded(fine: Fine, low: int, high: int) -> Fine:
    """Counts outside [low, high] at its ends."""
    out = np.zeros_like(fine)
    out[low : high + 1] = fine[low : high + 1]
    out[low] += fine[:low].sum()
    out[high] += fine[high + 1 :].sum()
    return out
