"""The lattice and residuals on it."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gossamer.compression import codec
from gossamer.compression.lattice import digest, from_lattice, narrowed, to_lattice
from gossamer.compression.residual import compress
from gossamer.errors import InputError, LatticeOverflow, NonFiniteInput


@given(arrays(np.int32, st.integers(0, 20), elements=st.integers(-(2**24), 2**24)))
def test_exact_below_16(units: np.ndarray) -> None:
    assert np.array_equal(to_lattice(from_lattice(units)), units)


def test_rounding() -> None:
    unit = 2.0**-20
    assert to_lattice([unit, 0.5 * unit, 1.5 * unit, -0.5 * unit, 0.51 * unit]).tolist() == [1, 0, 2, 0, 1]
    assert to_lattice([2047.999999]).tolist() == [2147483647]
    assert from_lattice(np.array([2**31 - 1], np.int32)).tolist() == [2048.0]


@pytest.mark.parametrize("value", [2048.0, -2048.0, 1e30, -3e38])
def test_overflow(value: float) -> None:
    with pytest.raises(LatticeOverflow, match="learning rate"):
        to_lattice([0.0, value])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(value: float) -> None:
    with pytest.raises(NonFiniteInput):
        to_lattice([value])


def test_digest_is_sha256_of_little_endian() -> None:
    data = struct.pack("<3i", 1, -2, 3)
    assert digest(np.array([1, -2, 3], np.int32)) == hashlib.sha256(data).digest()[:16]
    assert digest(np.array([1, 9, -2, 9, 3], np.int32)[::2]) == digest(np.array([1, -2, 3], np.int32))


def test_narrowed() -> None:
    fine = np.array([2**31 - 1, -(2**31) + 1])
    assert narrowed(fine, "x").tolist() == fine.tolist()
    with pytest.raises(LatticeOverflow, match="the x left"):
        narrowed(np.array([2**31]), "x")


def test_an_update_beyond_the_lattice() -> None:
    most = np.full(3, 2**31 - 1, np.int32)
    with pytest.raises(LatticeOverflow, match="update"):
        compress(codec("sign"), most, most, seed=0)


def test_residual_of_another_model() -> None:
    with pytest.raises(InputError, match="residual of shape"):
        compress(codec("sign"), np.zeros(3, np.int32), np.zeros(4, np.int32), seed=0)
