"""Layouts."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.compression.layout import Layout
from gossamer.errors import LayoutMismatch, NonFiniteInput

ARRAYS = [np.arange(6.0).reshape(2, 3), np.array([7.0, 8.0]), np.array(9.0), np.zeros((0, 4))]
LAYOUT = Layout((("kernel", (2, 3)), ("bias", (2,)), ("scale", ()), ("empty", (0, 4))))


def test_there_and_back() -> None:
    vector = LAYOUT.flatten(ARRAYS)
    assert vector.dtype == np.float32
    assert vector.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    assert LAYOUT.size == 9
    for before, after in zip(ARRAYS, LAYOUT.unflatten(vector), strict=True):
        assert after.dtype == np.float32
        assert np.array_equal(before, after)


def test_unflattened_arrays_are_new() -> None:
    vector = LAYOUT.flatten(ARRAYS)
    LAYOUT.unflatten(vector)[0][:] = 5
    assert vector[0] == 0


def test_of_arrays() -> None:
    layout = Layout.of(ARRAYS)
    assert layout.entries == (("0", (2, 3)), ("1", (2,)), ("2", ()), ("3", (0, 4)))
    assert Layout.of([]).flatten([]).shape == (0,)


@pytest.mark.parametrize(
    "arrays",
    [
        ARRAYS[:3],
        [*ARRAYS, np.zeros(1)],
        [ARRAYS[0].T, *ARRAYS[1:]],
        [np.full((2, 3), "x"), *ARRAYS[1:]],
        [np.array([[None] * 3] * 2), *ARRAYS[1:]],
    ],
)
def test_other_arrays(arrays: list[np.ndarray]) -> None:
    with pytest.raises(LayoutMismatch, match="expected"):
        LAYOUT.flatten(arrays)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_not_finite(bad: float) -> None:
    kernel = ARRAYS[0].copy()
    kernel[1, 1] = bad
    with pytest.raises(NonFiniteInput, match="kernel"):
        LAYOUT.flatten([kernel, *ARRAYS[1:]])


@pytest.mark.parametrize("shape", [(8,), (10,), (9, 1)])
def test_other_vectors(shape: tuple[int, ...]) -> None:
    with pytest.raises(LayoutMismatch, match="expected a vector"):
        LAYOUT.unflatten(np.zeros(shape))


@pytest.mark.parametrize(
    "entries",
    [(("a", (1,)), ("a", (2,))), (("a", (-1,)),), (("a", (2**20, 2**20)),)],
)
def test_impossible_layouts(entries: tuple[tuple[str, tuple[int, ...]], ...]) -> None:
    with pytest.raises(LayoutMismatch, match="expected"):
        Layout(entries)


def test_digest() -> None:
    digests = {
        layout.digest()
        for layout in (
            LAYOUT,
            Layout(LAYOUT.entries[::-1]),
            Layout((("kernel", (3, 2)), *LAYOUT.entries[1:])),
            Layout((("Kernel", (2, 3)), *LAYOUT.entries[1:])),
            Layout(LAYOUT.entries[:3]),
            Layout(()),
        )
    }
    assert len(digests) == 6
    assert LAYOUT.digest() == Layout(LAYOUT.entries).digest()
    assert LAYOUT.digest().hex() == "b47fe0f2975992ae0c61bf90990e006f"
