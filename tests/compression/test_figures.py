"""The figures that the documentation states: bits a coordinate and error on Gaussian vectors."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.compression import codec, decode
from gossamer.compression.selection import largest
from tests.compression.test_contract import squared_error
from tests.compression.vectors import update


@pytest.mark.parametrize(
    ("spec", "bits", "low", "high"),
    [
        ("sign", 1.016, 0.355, 0.375),
        ("rot1", 1.009, 0.55, 0.595),
        ("rot1:ls", 1.009, 0.355, 0.372),
        ("rot2", 2.009, 0.128, 0.139),
        ("rot2:ls", 2.009, 0.113, 0.122),
        ("rot4", 4.009, 0.0090, 0.0102),
        ("q8", 8.07, 0.0, 0.0002),
        ("q4", 4.13, 0.008, 0.016),
        ("q4s", 4.13, 0.016, 0.032),
    ],
)
def test_bits_and_error(spec: str, bits: float, low: float, high: float) -> None:
    d = 100_000
    x = np.random.default_rng(0).standard_normal(d).astype(np.float32)
    body = codec(spec).encode(x, seed=1)
    assert 8 * len(body) / d <= bits
    assert low <= squared_error(x, decode(body, d)) <= high


@pytest.mark.parametrize("spec", ["rot1", "rot1:ls", "rot4"])
def test_rotation_makes_any_vector_gaussian(spec: str) -> None:
    """Heavy tails, sparse, tails that are no power of two: the error is that of a Gaussian vector."""
    sparse = np.zeros(3300, np.float32)
    sparse[::97] = update(3300)[1::97] + np.float32(1e-3)
    for x in (update(3300), update(2048), sparse, np.full(1500, 0.1, np.float32)):
        error = np.mean([squared_error(x, decode(codec(spec).encode(x, seed=s), x.size)) for s in range(20)])
        expected = {"rot1": 0.571, "rot1:ls": 0.363, "rot4": 0.0096}[spec]
        assert abs(error / expected - 1) < 0.08


@pytest.mark.parametrize(("spec", "size"), [("ternary:0.02", 74), ("rot1:ls", 418), ("sign", 422)])
def test_tiny_bodies(spec: str, size: int) -> None:
    """A model of 3,300 parameters; 66 positions of it cost 58 bytes by entropy, and 8.25 bytes of signs."""
    assert len(codec(spec).encode(update(3300), seed=0)) <= size


def test_nothing_to_say_costs_nothing() -> None:
    assert len(codec("ternary:0.02").encode(np.zeros(3300), seed=0)) == 4


def test_equal_magnitudes_are_taken_in_order() -> None:
    x = np.array([1, -2, 0, 1, -1, 2, 1], np.float32)
    assert largest(x, 4).tolist() == [0, 1, 3, 5]
    assert largest(x, 7).tolist() == [0, 1, 3, 4, 5, 6]  # a zero is never sent
    assert largest(x[:0], 0).tolist() == []


def test_zeros_get_signs_that_cancel() -> None:
    """A naive sign pushes every exact zero the same way on every device."""
    x = np.zeros(2000, np.float32)
    x[:1000] = 1.0
    total = sum(decode(codec("sign").encode(x, seed=s), 2000)[1000:].astype(np.float64) for s in range(200))
    assert abs(float(np.mean(total))) < 1.0  # 200 x 0.5 if they agreed
    assert float(np.abs(total).mean()) < 10.0


def test_seeds_matter_where_they_should() -> None:
    x = update(500)
    assert codec("rot1").encode(x, seed=1) != codec("rot1").encode(x, seed=2)
    assert codec("q4s").encode(x, seed=1) != codec("q4s").encode(x, seed=2)
    assert codec("ternary:0.1").encode(x, seed=1) == codec("ternary:0.1").encode(x, seed=2)


@pytest.mark.parametrize(("spec", "bits", "least"), [("rot1", 1.01, 12698), ("rot2", 2.02, 2298), ("rot4", 4.02, 2200)])
def test_bits_of_rotations(spec: str, bits: float, least: int) -> None:
    """max_bytes is exact for codecs of blocks; from some d on it never leaves the bound again."""
    this = codec(spec)
    assert all(8 * this.max_bytes(d) <= bits * d for d in range(least, 30_000))
    assert all(8 * this.max_bytes(d) <= bits * d for d in range(100_000, 1_000_000, 991))
    assert 8 * this.max_bytes(least - 1) > bits * (least - 1)


@pytest.mark.parametrize("n", [1000, 2047])
@pytest.mark.parametrize("spec", ["rot1", "rot2"])
def test_energy_does_not_stay_in_its_half(spec: str, n: int) -> None:
    """Two windows of m that hardly overlap: without dealing the halves' lengths were drawn together by 14 %."""
    x = np.zeros(n, np.float32)
    x[: n // 3 : 40] = 1.0
    count = 1200
    decoded = [decode(codec(spec).encode(x, seed=s), n) for s in range(count)]
    mean = np.mean(decoded, axis=0, dtype=np.float64)
    single = np.mean([squared_error(x, y) for y in decoded])
    assert squared_error(x, mean) < 1.5 * single / count
