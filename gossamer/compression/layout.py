"""The order in which a model's arrays lie in one flat vector of d coordinates."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from gossamer.compression.arrays import MAX_COORDINATES, Vector
from gossamer.errors import LayoutMismatch, NonFiniteInput

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Layout:
    """Names and shapes of a model's arrays, in the order the trainer gives them.

    >>> layout = Layout((("kernel", (2, 3)), ("bias", (3,))))
    >>> layout.size
    9
    """

    entries: tuple[tuple[str, tuple[int, ...]], ...]
    axes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """For arrays whose inputs are sensors in a grid: its sides, as in ``("0", (28, 28))``. Neighbours along a side
    are expected to read alike; along one written negative, as in ``(100, -6)`` for 100 samples of 6 channels, not."""

    def __post_init__(self) -> None:
        """Raise `LayoutMismatch` for repeated names, negative dimensions, wrong axes, models beyond the limit."""
        names = [name for name, _ in self.entries]
        if len(set(names)) != len(names):
            raise LayoutMismatch(f"expected every array to have its own name, got {names}")
        if any(side < 0 for _, shape in self.entries for side in shape):
            raise LayoutMismatch(f"expected dimensions of 0 or more, got {self.entries}")
        if self.size > MAX_COORDINATES:
            raise LayoutMismatch(f"expected at most {MAX_COORDINATES} coordinates in a model, got {self.size}")
        shapes = dict(self.entries)
        for name, sides in self.axes:
            rows = math.prod(shapes.get(name, ())[:-1])
            if len(shapes.get(name, ())) < 2 or abs(math.prod(sides)) != rows:
                raise LayoutMismatch(f"expected axes of {name!r} that hold its {rows} inputs, got {sides}")

    @classmethod
    def of(cls, arrays: Sequence[Array], axes: Mapping[int, tuple[int, ...]] | None = None) -> Layout:
        """The layout of ``arrays``, named by their position; ``axes`` by position too."""
        named = tuple((str(i), tuple(sides)) for i, sides in sorted((axes or {}).items()))
        return cls(tuple((str(i), tuple(np.shape(a))) for i, a in enumerate(arrays)), named)

    def joined(self, companions: Sequence[str]) -> Layout:
        """The layout of a model with companions: this one, and for each of them the same arrays once more."""
        more = ((f"{name}/{array}", shape) for name in companions for array, shape in self.entries)
        return Layout((*self.entries, *more), self.axes)

    def parted(self, rows: int) -> Layout:
        """The layout of the model alone, of one that has ``rows - 1`` companions: the inverse of `joined`."""
        if rows < 1 or len(self.entries) % rows:
            raise LayoutMismatch(f"expected a model with {rows - 1} companions, got {len(self.entries)} arrays")
        return Layout(self.entries[: len(self.entries) // rows], self.axes)

    def to_lists(self) -> list[Any]:
        """As JSON and CBOR hold it: ``[[name, shape], ...]``, or with axes ``[[those], [[name, sides], ...]]``."""
        entries, axes = ([[name, list(sides)] for name, sides in each] for each in (self.entries, self.axes))
        return [entries, axes] if axes else entries

    @classmethod
    def from_lists(cls, lists: list[Any]) -> Layout:
        """The inverse of `to_lists`; TypeError or ValueError for anything else, `LayoutMismatch` for no layout."""
        with_axes = bool(lists) and not isinstance(lists[0][0], str)
        both = lists if with_axes else [lists, []]
        entries, axes = (tuple((str(name), tuple(int(n) for n in sides)) for name, sides in each) for each in both)
        return cls(entries, axes)

    @cached_property
    def size(self) -> int:
        """d, the number of coordinates."""
        return sum(math.prod(shape) for _, shape in self.entries)

    def flatten(self, arrays: Sequence[Array]) -> Vector:
        """Arrays of this layout -> float32 (d,).

        Raises `LayoutMismatch` for a wrong number, shape or type of arrays, `NonFiniteInput` for NaN
        or infinity (also a float64 that float32 cannot hold).
        """
        if len(arrays) != len(self.entries):
            raise LayoutMismatch(f"expected {len(self.entries)} arrays, got {len(arrays)}")
        vector = np.empty(self.size, dtype=np.float32)
        at = 0
        for (name, shape), given in zip(self.entries, arrays, strict=True):
            array = np.asarray(given)
            if array.dtype.kind not in "fiu":
                raise LayoutMismatch(f"expected numbers in array {name!r}, got dtype {array.dtype}")
            if array.shape != shape:
                raise LayoutMismatch(f"expected shape {shape} for array {name!r}, got {array.shape}")
            with np.errstate(over="ignore"):
                vector[at : at + array.size] = array.reshape(-1)
            if not np.isfinite(vector[at : at + array.size]).all():
                raise NonFiniteInput(
                    f"array {name!r} holds NaN or infinity; training may have diverged: lower the learning rate"
                )
            at += array.size
        return vector

    def unflatten(self, vector: npt.ArrayLike) -> list[npt.NDArray[np.float32]]:
        """float32 (d,) -> new arrays of this layout; raises `LayoutMismatch` for another length."""
        flat = np.asarray(vector, dtype=np.float32)
        if flat.shape != (self.size,):
            raise LayoutMismatch(f"expected a vector of shape ({self.size},), got {flat.shape}")
        arrays = []
        at = 0
        for _, shape in self.entries:
            size = math.prod(shape)
            arrays.append(flat[at : at + size].reshape(shape).copy())
            at += size
        return arrays

    def digest(self) -> bytes:
        """16 bytes that differ whenever a name, a shape or the order differs."""
        # repr of a tuple of strings and ints quotes every name, so two layouts never read the same.
        text = repr(tuple((str(name), tuple(int(n) for n in shape)) for name, shape in self.entries))
        if self.axes:
            text += repr(tuple((str(name), tuple(int(n) for n in sides)) for name, sides in self.axes))
        return hashlib.sha256(b"gossamer layout 1\n" + text.encode()).digest()[:16]
