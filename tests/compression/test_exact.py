"""Exact linear algebra: right, and the same to the bit whoever adds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gossamer.compression.exact import MAX_SIDE, by_diagonal, exponent_for, gram, gram_schmidt, iterate, p2
from gossamer.errors import InputError

UNIT = 2.0**14
SHAPES = st.tuples(st.integers(1, 24), st.integers(1, 24))
FINITE = st.floats(-1e100, 1e100)


def orthogonality(q: np.ndarray) -> float:
    """The largest entry of |Q^T Q - I|; zero columns count as unit vectors."""
    found = q.T @ q / UNIT**2
    zero = ~q.any(axis=0)
    found[zero, zero] = 1
    return float(np.abs(found - np.eye(q.shape[1])).max(initial=0))


def naive_gram_schmidt(z: np.ndarray) -> np.ndarray:
    """Modified Gram-Schmidt in rational numbers, no roundings: only directions count, lengths are 1 at the end."""
    columns: list[list[Fraction]] = []
    for column in z.T.tolist():
        rest = [Fraction(value) for value in column]
        for q in columns:
            weight = sum(a * b for a, b in zip(q, rest, strict=True)) / sum(a * a for a in q)
            rest = [b - weight * a for a, b in zip(q, rest, strict=True)]
        if any(rest):
            columns.append(rest)
    q = np.array(columns, dtype=float).T.reshape(z.shape[0], -1)
    return q / np.sqrt((q * q).sum(axis=0))


@given(hnp.arrays(np.float64, SHAPES, elements=FINITE), st.integers(1, 30))
def test_p2(x: np.ndarray, bits: int) -> None:
    whole = p2(x, bits)
    assert np.array_equal(whole, np.rint(whole))
    assert np.abs(whole).max() <= 2**bits
    error = np.abs(np.ldexp(whole, -exponent_for(x, bits)) - x).max()
    assert error <= np.abs(x).max() * 2.0**-bits
    if x.any():
        assert np.abs(whole).max() >= 2 ** (bits - 1)


def test_p2_of_nothing() -> None:
    assert p2(np.zeros((0, 3)), 11).shape == (0, 3)
    assert not p2(np.zeros(3), 11).any()
    assert p2(np.array([2.0**-149]), 11).tolist() == [1024.0]
    assert p2(np.array([0.5, 1.5, 2.5, 4.0]), 3).tolist() == [0.0, 2.0, 2.0, 4.0], "ties to even"


@settings(deadline=None)
@given(hnp.arrays(np.int64, SHAPES, elements=st.integers(-(2**20), 2**20)), st.integers(1, 24))
def test_columns_are_orthonormal_whatever_comes(z: np.ndarray, count: int) -> None:
    q = gram_schmidt(count, z.astype(float))
    assert q.shape == (len(z), count)
    assert np.array_equal(q, np.rint(q))
    assert np.abs(q).max() <= UNIT
    assert orthogonality(q) < 2e-3


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(1, 3)), elements=st.integers(-9, 9)))
def test_columns_span_what_rational_arithmetic_says(z: np.ndarray) -> None:
    expected = naive_gram_schmidt(z)
    q = gram_schmidt(z.shape[1], z.astype(float))
    q = q[:, q.any(axis=0)] / UNIT
    assert q.shape == expected.shape
    assert np.allclose(q, expected, atol=2e-3)


def test_copies_of_a_column_do_not_get_through() -> None:
    rng = np.random.default_rng(0)
    low = rng.standard_normal((64, 3)) @ rng.standard_normal((3, 64))
    q = gram_schmidt(64, low, low * 7, low[:, ::-1])
    assert np.count_nonzero(q.any(axis=0)) == 3


def test_unit_vectors_complete_any_basis() -> None:
    rng = np.random.default_rng(1)
    q = gram_schmidt(100, rng.standard_normal((100, 40)) @ rng.standard_normal((40, 60)), np.eye(100))
    assert q.any(axis=0).all()
    assert orthogonality(q) < 5e-4
    assert np.abs((q * q).sum(axis=1) / UNIT**2 - 1).max() < 3e-3, "rows are unit vectors too"


def test_later_candidates_are_not_looked_at_once_it_is_full() -> None:
    assert np.array_equal(gram_schmidt(2, np.eye(4), np.full((4, 1), np.nan)), np.eye(4)[:, :2] * UNIT)


def test_too_large() -> None:
    with pytest.raises(InputError, match="at most 2048"):
        gram_schmidt(1, np.zeros((MAX_SIDE + 1, 1)))
    with pytest.raises(InputError, match="at most 2048"):
        gram_schmidt(MAX_SIDE + 1, np.zeros((1, 1)))


def test_the_largest_sums_are_exact() -> None:
    """The worst case of the proof: every entry as large as can be, 2048 of them, against Python's integers."""
    rng = np.random.default_rng(2)
    z = rng.integers(0, 2, (MAX_SIDE, 6)) * 2**21 - 2**20
    q = gram_schmidt(6, z.astype(float))
    exact_dots = q.astype(np.int64).T.astype(object) @ z.astype(object)
    assert np.array_equal(q.T @ z, exact_dots.astype(float))
    assert orthogonality(q) < 3e-3, "all entries of q are rounded alike here: 362 for 362.04"


def test_iteration_finds_leading_eigenvectors_in_order() -> None:
    rng = np.random.default_rng(3)
    true = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    operator = p2(true @ np.diag(0.5 ** np.arange(40)) @ true.T, 24)
    q = iterate(lambda v: operator @ v, np.eye(40) * UNIT, 8, np.eye(40))
    assert orthogonality(q) < 3e-4
    assert np.abs((q[:, :8] * true[:, :8]).sum(axis=0) / UNIT).min() > 0.999


def test_iteration_refills_what_the_operator_annihilates() -> None:
    q = iterate(np.zeros_like, np.eye(5) * UNIT, 2, np.eye(5)[:, ::-1])
    assert np.array_equal(q, np.eye(5)[:, ::-1] * UNIT)


def test_gram_and_its_order() -> None:
    x = np.array([[1.0, 2.0, -2.0], [0.0, 3.0, -3.0]])
    assert gram(x).tolist() == [[1, 2, -2], [2, 13, -13], [-2, -13, 13]]
    assert by_diagonal(gram(x)).tolist() == [1, 2, 0]
