"""Linear algebra that gives the same bits on every machine: float64 products of integers below 2^53.

A BLAS adds in an order of its own, which depends on processor, threads and version; LAPACK's eigenvectors differ
from machine to machine even in their leading digits. But float64 holds every integer up to 2^53 exactly. If the
factors of a product are integers, and the sum of the magnitudes of its terms stays below 2^53, every partial sum
is exact whatever the order, blocking or fused multiply-add: the result is *the* integer product. Everything
between two products is elementwise IEEE 754 (+, -, *, /, square root, rint, powers of two), which the standard
fixes to the bit. Only the sign of a zero may differ, and what leaves has it positive. Each function here states
why its sums stay below 2^53.

Orthonormal columns are integers too, of length about 2^`UNIT_BITS` instead of 1.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import numpy as np
import numpy.typing as npt

from gossamer.errors import InputError

Matrix = npt.NDArray[np.float64]
"""Integer-valued unless said otherwise."""

EXACT = 1 << 53
"""Every integer up to here is a float64."""

UNIT_BITS = 14
"""A unit vector's entries in units of 2^-14: orthogonal to about 1e-4, where four-bit levels need 1e-2."""

WORK_BITS = 20
"""Of a vector that is being orthogonalised: six bits below the unit's, so that rounding it does not tell."""

MAX_SIDE = 2048
"""Rows of a matrix: 2048 squares of 21 bits are 2^53, the limit of `gram_schmidt`."""

_UNIT = float(1 << UNIT_BITS)
_LEAST = 2.0**-18  # of a column's square: the rounding of 2,048 rows of Q leaves 2^-20 of a dependent one
_MOST = float(1 << (WORK_BITS + 1))
_PASSES = 4

Product = Callable[[Matrix], Matrix]
"""An operator applied to columns; integer columns of at most 2^14 in, columns of any finite size out."""


def exponent_for(x: Matrix, bits: int) -> int:
    """The e for which 2^(bits-1) <= max|x| 2^e < 2^bits; 0 if x is zero or empty."""
    largest = float(np.abs(x).max(initial=0.0))
    return bits - int(np.frexp(largest)[1]) if largest else 0


def p2(x: npt.ArrayLike, bits: int) -> Matrix:
    """Finite numbers -> integers of at most 2^bits: times a power of two (exact), rounded half to even."""
    array = np.asarray(x, dtype=np.float64)
    return np.rint(np.ldexp(array, exponent_for(array, bits)))


def gram_schmidt(count: int, *candidates: Matrix) -> Matrix:
    """Finite (m, c), (m, c'), ... -> integer columns (m, count), orthogonal, each of length about 2^14.

    They span the candidates, in order; those that depend on earlier ones are left out, as are all after the
    ``count``-th accepted. If the candidates run out, the remaining columns are zero.

    A column is projected against all accepted ones until a pass, the second or later, keeps at least half of its
    length (Kahan and Parlett's "twice is enough"): without that test copies of a column get through.

    Exactness, with m, count <= 2048 = 2^11. |q| <= 2^14 and |z| <= 2^20 elementwise, so Q^T z < 2^(11+14+20) =
    2^45. By Cauchy-Schwarz |c| <= |q| |z| / 2^14 <= 1.01 * 2^5.5 * 2^20 < 2^26, so Q c < 2^(11+14+26) = 2^51. What
    is left is at most 2^21, or the column is dropped, so its square is at most 2^(11+42) = 2^53.
    """
    m = candidates[0].shape[0]
    if m > MAX_SIDE or count > MAX_SIDE:
        raise InputError(f"expected at most {MAX_SIDE} rows and columns, got {m} and {count}")
    basis = np.zeros((count, m))  # by rows: the first k of them are contiguous
    accepted = 0
    for column in chain.from_iterable(block.T for block in candidates):
        if accepted == count:
            break
        rest = _projected(column, basis[:accepted])
        if rest is not None:
            basis[accepted] = np.rint(rest / np.sqrt(rest @ rest) * _UNIT)
            accepted += 1
    return np.ascontiguousarray(basis.T) + 0.0  # no -0: the sign of a sum's zero is the one thing order decides


def _projected(column: Matrix, accepted: Matrix) -> Matrix | None:
    """What of a column (m,) is orthogonal to the accepted (k, m), or None if nothing is."""
    rest = column
    for number in range(_PASSES):
        largest = float(np.abs(rest).max(initial=0.0))
        if largest == 0:
            return None
        rest = np.rint(np.ldexp(rest, WORK_BITS - int(np.frexp(largest)[1])))
        before = rest @ rest
        if len(accepted):
            weights = np.rint(accepted @ rest / _UNIT)
            rest = rest - np.rint(weights @ accepted / _UNIT)
            if float(np.abs(rest).max()) > _MOST:  # only if the accepted were not orthogonal
                return None
        after = rest @ rest
        if after < _LEAST * before:
            return None
        if number and 4.0 * after >= before:
            return rest
    return None


def iterate(product: Product, columns: Matrix, times: int, *fill: Matrix) -> Matrix:
    """Orthogonal iteration: ``times`` times columns (m, r) = `gram_schmidt` of product(columns).

    Converges to the leading eigenvectors of a positive semidefinite operator, largest eigenvalue first.
    Directions that the operator annihilates are taken from ``fill``, each (m, f). Exact if ``product`` is.
    """
    count = columns.shape[1]
    for _ in range(times):
        columns = gram_schmidt(count, product(columns), *fill)
    return columns


def gram(x: Matrix) -> Matrix:
    """X^T X of integers |x| <= 2^11: (m, n) -> (n, n). Below m 2^22, exact for m < 2^31."""
    return np.asarray(x.T @ x)


def by_diagonal(x: Matrix) -> npt.NDArray[np.intp]:
    """Positions (n,) of the diagonal of x (n, n), largest first, ties in order."""
    return np.argsort(-np.diag(x), kind="stable")
