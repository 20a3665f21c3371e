"""The basis of ``hist``: the directions in which a model's matrices have changed, as both ends compute them.

Both ends hold the model at version 0 and at version t. The change H = W_t - W_0 of a weight matrix spans the
directions in which it will go on changing: the eigenvectors of H H^T (rows, U) and of H^T H (columns, V), with
priors for what H does not show yet. Coefficients of a change X are U^T X V, few and large in one corner.

    H: 11-bit integers; |H|^2 the sum of their squares
    V (n, n): eigenvectors of H^T H / |H|^2 + 0.3 B0 / tr B0, with B0 = W_next W_next^T: an output that the next
              layer does not look at does not change. Classes centred if the next layer is the last; of the last, V = I
    U (m, r): eigenvectors of H H^T + 0.02 |H|^2 P / tr P, P a prior for the rows, see `priors`; begins as H V
    a bias:   1 x n, with its matrix's V
    any other vector, and a matrix beyond the limits: as it is

Everything is a product of integers below 2^53, so the basis, the coefficients and what they decode to are the same
bits on every machine: see `exact`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gossamer.compression.arrays import Lattice
from gossamer.compression.exact import (
    EXACT,
    UNIT_BITS,
    Matrix,
    by_diagonal,
    exponent_for,
    gram,
    gram_schmidt,
    iterate,
    p2,
)
from gossamer.compression.lattice import LATTICE_BITS
from gossamer.compression.layout import Layout
from gossamer.compression.plan import Place, context_groups, places_of
from gossamer.compression.priors import Prior, chained_prior, identity_prior, smooth_prior
from gossamer.errors import InputError, LatticeOverflow

CHANGE_BITS = 11
"""Of H and of the next layer's weights: finer than the noise of a round."""
NEXT_WEIGHT = 0.3
"""Weight of what the next layer looks at, beside the matrix's own changes."""
PRIOR_WEIGHT = 0.02
"""Weight of the rows' prior: decides only where H is silent."""
COLUMN_ROUNDS, ROW_ROUNDS = 6, 2
"""Rounds of orthogonal iteration: columns begin at unit vectors, rows already at H V."""

_PRODUCT_BITS = 2 * UNIT_BITS  # U^T X V of integer U and V is larger than the coefficients by this
_SUM_BITS = 24  # of the columns' operator and of a change to be transformed
_INNER_BITS = 28  # of U^T X on the way


@dataclass(frozen=True, eq=False)
class Pair:
    """U (m, r) and V (n, n) of one matrix, integers of at most 2^14; None is the identity."""

    rows: Matrix | None
    columns: Matrix | None

    def forward(self, x: Matrix) -> Matrix:
        """X (m, n) -> U^T X V (r, n), the same bits everywhere.

        U^T X: m 2^(14+24) <= 2^49 for m <= 2^11. Times V, with n <= 2^10: n 2^(28+14) <= 2^52.
        """
        for side, bits in ((self.rows, _SUM_BITS), (self.columns, _INNER_BITS)):
            if side is not None:
                scale = exponent_for(x, bits)
                whole = p2(x, bits)
                x = np.ldexp(side.T @ whole if side is self.rows else whole @ side, -scale - UNIT_BITS)
        return x

    @cached_property
    def max_level(self) -> int:
        """Levels up to here decode exactly: U L < |U| L and (U L) V^T < |U| |V| L, |.| the largest row sum."""
        gain = 1
        for side in (self.rows, self.columns):
            gain *= 1 if side is None else max(1, int(np.abs(side).sum(axis=1).max(initial=0.0)))
        return (EXACT - 1) // gain

    def inverse(self, levels: Matrix) -> tuple[Matrix, int]:
        """Levels (r, n) -> (integers Y (m, n), e): U L V^T = Y 2^-e, exactly."""
        y, bits = levels, 0
        if self.rows is not None:
            y, bits = self.rows @ y, bits + UNIT_BITS
        if self.columns is not None:
            y, bits = y @ self.columns.T, bits + UNIT_BITS
        return y, bits


@dataclass(frozen=True, eq=False)
class Basis:
    """A basis of the changes of a whole model. Coefficients: matrix by matrix, each (r, n) row by row."""

    places: tuple[Place, ...]
    pairs: tuple[Pair, ...]

    @classmethod
    def of(cls, layout: Layout, initial: Lattice, shared: Lattice) -> Basis:
        """The basis of a model that went from ``initial`` to ``shared``, both int32 (d,) in lattice units.

        A function of nothing else, to the bit. Raises `InputError` for vectors of another length.
        """
        for vector in (initial, shared):
            if vector.shape != (layout.size,):
                raise InputError(f"expected vectors of shape ({layout.size},), got {vector.shape}")
        places = places_of(layout)
        change = shared.astype(np.float64) - initial
        pairs: list[Pair] = []
        moved: dict[int, Matrix] = {}  # the columns' operator of each matrix, which the next one's rows lean on
        for number, place in enumerate(places):
            if place.kind == "bias":
                pairs.append(Pair(None, pairs[number - 1].columns))
            elif place.kind == "matrix":
                h = p2(place.cut(change), CHANGE_BITS)
                energy = float((h * h).sum())
                ahead = None if place.after is None else _looked_at(place, places[place.after], shared)
                moved[number] = _columns_operator(h, energy, ahead)
                columns = None if place.last else _columns(moved[number])
                before = None if place.before is None else moved[place.before]
                pairs.append(Pair(_rows(h, energy, columns, _prior(place, before), place.rank), columns))
            else:
                pairs.append(Pair(None, None))
        return cls(places, tuple(pairs))

    @property
    def size(self) -> int:
        """D, the number of coefficients; at most d."""
        return sum(place.rank * place.columns for place in self.places)

    @property
    def groups(self) -> npt.NDArray[np.int32]:
        """For every coefficient (D,) its context: one for each (matrix, octave of row, octave of column); read-only."""
        return context_groups(self.places)[0]

    @property
    def coarse(self) -> npt.NDArray[np.int32]:
        """As `groups`, but at most four for each matrix: for what is seen too seldom to learn more; read-only."""
        return context_groups(self.places)[1]

    @cached_property
    def max_level(self) -> int:
        """The largest level that `inverse` takes: 2,000 and more for 784 x 128."""
        return min((pair.max_level for pair in self.pairs), default=EXACT - 1)

    def forward(self, x: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """A finite change (d,) -> its coefficients float64 (D,), the same bits everywhere.

        Floats are weights, integers are lattice units; coefficients are in units of weights either way.
        """
        whole = np.asarray(x, dtype=np.float64)
        if whole.shape != (sum(place.rows * place.columns for place in self.places),):
            raise InputError(f"expected a change of the whole model, got shape {whole.shape}")
        if np.issubdtype(x.dtype, np.integer):
            whole = np.ldexp(whole, -LATTICE_BITS)
        parts = [
            pair.forward(place.cut(whole)).reshape(-1) for place, pair in zip(self.places, self.pairs, strict=True)
        ]
        return np.concatenate([np.zeros(0), *parts]) + 0.0  # no -0, see `exact`

    def inverse(self, levels: npt.NDArray[np.integer], scale: float) -> npt.NDArray[np.int64]:
        """Integer levels (D,) times ``scale``, a coefficient, -> the change int64 (d,) in lattice units.

        Exact but for one multiplication and one rounding to the lattice. Raises `InputError` for another shape or
        levels beyond `max_level`, `LatticeOverflow` for results of 2^53 and more.
        """
        if levels.shape != (self.size,):
            raise InputError(f"expected levels of shape ({self.size},), got {levels.shape}")
        largest = max(-int(levels.min(initial=0)), int(levels.max(initial=0)))
        if largest > self.max_level:
            raise InputError(f"expected levels up to {self.max_level}, got {largest}")
        parts, at = [np.zeros(0)], 0
        for place, pair in zip(self.places, self.pairs, strict=True):
            size = place.rank * place.columns
            part = levels[at : at + size].reshape(place.rank, place.columns).astype(np.float64)
            whole, bits = pair.inverse(part)
            with np.errstate(over="ignore", invalid="ignore"):  # found below
                parts.append(np.rint(whole * np.ldexp(np.float64(scale), LATTICE_BITS - bits)).reshape(-1))
            at += size
        change = np.concatenate(parts)
        if not (np.abs(change) < EXACT).all():  # NaN too
            raise LatticeOverflow(f"expected a change on the lattice, got levels up to {largest} times {scale}")
        return change.astype(np.int64)


def _looked_at(place: Place, after: Place, shared: Lattice) -> Matrix:
    """B0 (n, n) = W_next W_next^T, summed over positions: below rows 2^(11+11) times the classes."""
    weights = p2(after.cut(shared), CHANGE_BITS)
    if after.last:  # what all classes get alike changes nothing
        weights = p2(weights * after.columns - weights.sum(axis=1, keepdims=True), CHANGE_BITS)
    by_output = weights.reshape(-1, place.columns, after.columns).transpose(0, 2, 1)
    return gram(by_output.reshape(-1, place.columns))


def _columns_operator(h: Matrix, energy: float, ahead: Matrix | None) -> Matrix:
    """B (n, n), integers of at most 2^24 + n. Elementwise from two Gram matrices, so symmetric to the bit."""
    n = h.shape[1]
    b = gram(h) / energy if energy else np.zeros((n, n))
    trace = 0.0 if ahead is None else float(np.trace(ahead))
    if ahead is not None and trace:
        b = b + NEXT_WEIGHT * (ahead / trace)
    # The diagonal's n..1 makes equals unequal: which of them comes first must not be chance.
    return p2(b, _SUM_BITS) + np.diag(np.arange(n, 0.0, -1.0))


def _columns(operator: Matrix) -> Matrix:
    """V (n, n). A product with at most 2^14: n (2^24 + n) 2^14 < 2^49 for n <= 2^10."""
    n = len(operator)
    start = p2(np.eye(n), UNIT_BITS)[:, by_diagonal(operator)]
    return iterate(lambda v: np.asarray(operator @ v), start, COLUMN_ROUNDS, np.eye(n))


def _prior(place: Place, before: Matrix | None) -> Prior:
    if place.grid:
        return smooth_prior(place.grid, place.rank)
    if before is not None:
        return chained_prior(before, place.rows // len(before))
    return identity_prior(place.rows)


def _rows(h: Matrix, energy: float, columns: Matrix | None, prior: Prior, rank: int) -> Matrix:
    """U (m, rank). H^T U: m 2^(11+14) <= 2^36, rounded to 20 bits; H times that: n 2^(11+20) <= 2^41."""
    weight = float(np.rint(PRIOR_WEIGHT * energy)) if energy else 1.0

    def product(u: Matrix) -> Matrix:
        across = h.T @ u
        back = np.ldexp(h @ p2(across, 20), -exponent_for(across, 20))
        return back + prior.product(u) * (weight / prior.trace)

    fill = (prior.columns, np.eye(len(h)))
    first = gram_schmidt(rank, h if columns is None else h @ columns, *fill)
    return iterate(product, first, ROW_ROUNDS, *fill)
