"""What a codec is, and what it gives: the interface all of them share.

A body is a tag byte, which names the method, a few bytes of parameters, and parts that decode
independently of each other. It says nothing of d: the model layout does. Where a method has parameters
that only the encoder needs (``P`` of ``ternary:P``), they are not on the wire, so a body knows its
*method*, not the full spec.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy.typing as npt

from gossamer.compression.arrays import Vector, checked_vector
from gossamer.compression.context import NOTHING, Context
from gossamer.errors import InputError


class Codec(ABC):
    """Vector -> body. Immutable; the same (x, seed) gives the same bytes."""

    spec: str
    """The string that names this codec with its parameters, as in ``ternary:0.02``."""
    method: str
    """What a body says of itself, as in ``ternary``: equal to `Body.spec` of every body it makes."""
    unbiased: bool
    """The expectation of decode over seeds is x."""

    @property
    def uses_residual(self) -> bool:
        """Whether what it leaves unsent must be kept and added to the next update."""
        return not self.unbiased

    def encode(self, x: npt.ArrayLike, *, seed: int, context: Context = NOTHING) -> bytes:
        """float32 (d,) -> body of at most ``max_bytes(d)``, to be opened with the same ``context``.

        Raises `NonFiniteInput` for NaN, infinity or magnitudes above 2^64, `InputError` for a wrong shape or
        a context that lacks what this codec needs.
        """
        return self._encode(checked_vector(x), seed % (1 << 64), context)

    @abstractmethod
    def _encode(self, x: Vector, seed: int, context: Context, /) -> bytes:
        """`encode` for a checked vector; 0 <= seed < 2^64."""

    @abstractmethod
    def max_bytes(self, d: int) -> int:
        """No body of d coordinates is longer."""

    @abstractmethod
    def error_bound(self, d: int, /) -> float:
        """Bound of ||x - decode||^2 / ||x||^2 for every x of normal magnitude and every seed.

        A worst case, often reached by no real update. Below 1 the codec is contractive.
        """


class Body(ABC):
    """A body that was checked whole when it was opened: reading it cannot fail."""

    spec: str
    """Its method, as in `Codec.method`."""
    d: int

    def read(self, start: int, stop: int) -> Vector:
        """Coordinates start to stop, float32 (stop - start,), finite; decodes only the parts they lie in."""
        if not 0 <= start <= stop <= self.d:
            raise InputError(f"expected 0 <= start <= stop <= {self.d}, got {start} and {stop}")
        return self._read(start, stop)

    @abstractmethod
    def _read(self, start: int, stop: int) -> Vector:
        """`read` for a checked range."""
