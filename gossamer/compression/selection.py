"""Which coordinates a sparse codec sends: the largest of the whole model, or of each layer.

Layers differ in the size of their gradients, so one threshold for all can leave a layer unheard for long; a threshold
for each gives it its share, at the cost of some squared error. The share of a layer is in proportion to its size; small
arrays (biases) share a threshold with what follows them, so that every part is due one coordinate at least.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from gossamer.compression.arrays import Positions, Vector
from gossamer.compression.context import Context
from gossamer.compression.layout import Layout
from gossamer.errors import InputError, UnknownCodec


class _Erring(Protocol):
    def error(self, k: int) -> float:
        """As `sparse.ValueFormat.error`."""


def largest(x: Vector, k: int) -> Positions:
    """Ascending positions of the k largest non-zero magnitudes, int64 (<= k,); of equals the first ones."""
    magnitude = np.abs(x)
    if k < x.size:
        threshold = np.partition(magnitude, x.size - k)[x.size - k]
        above = magnitude > threshold
        # np.argpartition would choose among equals as it likes, and lattice values are often equal.
        equal = np.flatnonzero(magnitude == threshold)[: k - int(above.sum())]
        above[equal] = True
        magnitude = np.where(above, magnitude, np.float32(0))
    return np.flatnonzero(magnitude)


def largest_by_layer(x: Vector, k: int, layout: Layout | None) -> Positions:
    """As `largest`, with the k dealt out to the layers; without a layout the model is one layer.

    Raises `InputError` for the layout of another model.
    """
    if layout is None or x.size == 0:
        return largest(x, k)
    if layout.size != x.size:
        raise InputError(f"expected {layout.size} coordinates, got {x.size}")
    found = []
    for start, stop in pairwise(layer_cuts(layout, k)):
        # Rounding the running total keeps the sum at k.
        share = stop * k // x.size - start * k // x.size
        found.append(largest(x[start:stop], share) + start)
    return np.concatenate(found)


def layer_cuts(layout: Layout, k: int) -> list[int]:
    """Ascending offsets at which the layers of d > 0 coordinates begin and end; each is due one of the k or more."""
    d = layout.size
    cuts, at = [0], 0
    for _, shape in layout.entries:
        at += math.prod(shape)
        if (at - cuts[-1]) * k >= d:
            cuts.append(at)
    cuts[-1] = d  # what remained at the end joins the last layer; k >= 1, so there is one
    return cuts


@dataclass(frozen=True)
class Wanted:
    """``P`` or ``P@layer`` of a spec: how many coordinates, and whether each layer has a threshold of its own."""

    fraction: float
    by_layer: bool = False

    @classmethod
    def of(cls, spec: str) -> Wanted:
        """From ``name:P``, ``name:P@layer`` and the same with ``/FMT``; `UnknownCodec` unless 0 < P <= 1."""
        text, at, scope = spec.partition(":")[2].partition("/")[0].partition("@")
        try:
            fraction = float(text)
        except ValueError:
            fraction = 0.0
        if not 0 < fraction <= 1:
            raise UnknownCodec(f"expected a fraction above 0 and up to 1 in {spec!r}, got {text!r}")
        if at and scope != "layer":
            raise UnknownCodec(f"expected '@layer' or nothing after the fraction in {spec!r}, got {scope!r}")
        return cls(fraction, bool(at))

    def count(self, d: int) -> int:
        """k, the most coordinates sent of d; at least 1."""
        return min(d, max(1, int(self.fraction * d + 0.5)))

    def positions(self, x: Vector, context: Context) -> Positions:
        """Ascending positions of what to send, int64 (<= k,)."""
        k = self.count(x.size)
        return largest_by_layer(x, k, context.layout) if self.by_layer else largest(x, k)

    def error_bound(self, d: int, values: _Erring) -> float:
        """Bound of the normalised squared error with the chosen values in a format."""
        if not d:
            return 0.0
        # The k largest of d hold at least k / d of the squared norm; a layer due 1.99 coordinates may get only 1.
        held = self.count(d) / d * (0.5 if self.by_layer else 1.0)
        return 1 - held * (1 - values.error(self.count(d)))
