"""Prints the digests of ``hist`` for fixed inputs, ``name digest`` a line: the same on every machine, or it fails.

Needs numpy and the package's compression only, so that it also runs in the bare root of another architecture.
Inputs are from an integer generator: no library of mathematics has a say in them.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from gossamer.compression import codec
from gossamer.compression.basis import Basis
from gossamer.compression.lattice import from_lattice
from gossamer.compression.layout import Layout
from gossamer.compression.shared import SharedModel

LAYOUTS = {
    "mlp": Layout((("0", (784, 128)), ("1", (128,)), ("2", (128, 10)), ("3", (10,))), (("0", (28, 28)),)),
    "conv": Layout(
        (("c1", (5, 6, 24)), ("b1", (24,)), ("c2", (5, 24, 19)), ("b2", (19,)), ("d", (38, 7)), ("b", (7,))),
        (("c1", (5, -6)),),
    ),
    "tiny": Layout((("0", (3, 2)), ("1", (2,)), ("2", (2, 2)), ("scale", ()), ("norm", (4,)))),
}
_MOVES = 12  # the model has gone this many rank-one steps from version 0


def integers(count: int, seed: int, bits: int) -> npt.NDArray[np.int64]:
    """(count,) in -2^(bits-1) .. 2^(bits-1) - 1: the upper bits of a 64-bit mix (splitmix64)."""
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed << 32)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(64 - bits)).astype(np.int64) - (1 << (bits - 1))


def versions(layout: Layout) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Version 0 of a model, and a later one: its matrices have moved by a low rank, everything by some noise."""
    initial = integers(layout.size, 1, 17)
    parts = []
    for number, (_, shape) in enumerate(layout.entries):
        n = shape[-1] if shape else 1
        m = int(np.prod(shape[:-1], dtype=np.int64))
        part = integers(m * n, 100 + number, 8).reshape(m, n)
        for move in range(_MOVES if m > 1 else 0):
            left, right = (integers(side, 1000 * (move + 1) + number + side, 6) for side in (m, n))
            part += np.outer(left, right) // (move + 1)
        parts.append(part.reshape(-1))
    return initial.astype(np.int32), (initial + np.concatenate(parts)).astype(np.int32)


def digest(*arrays: npt.NDArray[np.generic]) -> str:
    """SHA-256 over the arrays as little-endian int64 or float64."""
    kinds = {"i": "<i8", "f": "<f8"}
    return hashlib.sha256(b"".join(np.ascontiguousarray(a, kinds[a.dtype.kind]).tobytes() for a in arrays)).hexdigest()


def journey(layout: Layout) -> tuple[list[bytes], SharedModel]:
    """Bodies of five steps and of an update from each version, with cycles of two rounds, and where they lead."""
    initial, later = versions(layout)
    model = SharedModel.first(layout, initial, 2)
    bodies = []
    for number in range(5):
        wanted = from_lattice(later.astype(np.int64) - model.weights + integers(layout.size, 50 + number, 9))
        for upward, spec in ((True, "hist:0.01"), (False, "hist:0.05")):
            bodies.append(codec(spec).encode(wanted, seed=0, context=model.context(upward=upward)))
        model = model.after(bodies[-1])
    return bodies, model


def digests() -> dict[str, str]:
    """Digest of the bases, coefficients, decoded changes, bodies and models of every layout."""
    found = {}
    for name, layout in LAYOUTS.items():
        initial, later = versions(layout)
        basis, still = Basis.of(layout, initial, later), Basis.of(layout, initial, initial)
        pairs = (*basis.pairs, *still.pairs)
        sides = [side for pair in pairs for side in (pair.rows, pair.columns) if side is not None]
        change = integers(layout.size, 2, 12).astype(np.float32) / np.float32(1 << 20)
        coefficients = basis.forward(change)
        levels = (integers(basis.size, 3, 9) >> 4).astype(np.int32)
        found[f"{name}-basis"] = digest(*sides)
        found[f"{name}-coefficients"] = digest(coefficients, still.forward(change))
        bodies, model = journey(layout)
        found[f"{name}-bodies"] = hashlib.sha256(b"".join(bodies)).hexdigest()
        found[f"{name}-model"] = hashlib.sha256(model.to_bytes()).hexdigest()
        found[f"{name}-decoded"] = digest(basis.inverse(levels, 0.0078125 / 3), basis.groups, basis.coarse)
    return found


if __name__ == "__main__":
    for line in digests().items():
        print(*line)
