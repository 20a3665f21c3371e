"""Random coordinates from a shared seed."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.compression import codec, decode, open_body
from gossamer.compression.randk import drawn
from gossamer.errors import MalformedBody
from tests.compression import naive
from tests.compression.vectors import update


@pytest.mark.parametrize("d", [1, 5, 100, 3300, 70_000])
def test_against_naive(d: int) -> None:
    body = codec("randk:0.25/sign").encode(update(d), seed=4)
    assert decode(body, d).tolist() == pytest.approx(naive.randk_sign(body, d), rel=1e-6)


def test_no_index_bytes() -> None:
    assert len(codec("randk:0.01/fp16").encode(update(100_000), seed=0)) == 1 + 4 + 2 + 2 + 2 * 1000
    assert len(codec("randk:0.01/q4").encode(update(100_000), seed=0)) == 1 + 4 + 2 + 2 + 500
    assert len(codec("randk:0.01/sign").encode(update(100_000), seed=0)) == 1 + 4 + 2 + 2 + 125


def test_values_are_those_of_the_coordinates_scaled() -> None:
    x = np.arange(1, 1001, dtype=np.float32)
    y = decode(codec("randk:0.1/fp16").encode(x, seed=2), 1000)
    assert np.count_nonzero(y) == 100
    np.testing.assert_allclose(y[y != 0], 10 * x[y != 0], rtol=2**-11)


def test_error_is_d_over_k_minus_one() -> None:
    x = update(3300)
    errors = []
    for seed in range(200):
        y = decode(codec("randk:0.1/fp16").encode(x, seed=seed), 3300)
        errors.append(float(np.square(x - y).sum() / np.square(x).sum()))
    assert np.mean(errors) == pytest.approx(9, abs=5 * np.std(errors) / np.sqrt(200))


def test_every_coordinate_is_drawn_as_often() -> None:
    n, m, rounds = 200, 20, 4000
    counts = np.zeros(n)
    for seed in range(rounds):
        at = drawn(seed, 0, n, m)
        assert len(set(at.tolist())) == m
        counts[at] += 1
    assert abs(counts - rounds * m / n).max() < 5 * np.sqrt(rounds * m / n)
    assert drawn(1, 0, n, m).tolist() == drawn(1, 0, n, n)[:m].tolist()
    assert drawn(1, 0, n, m).tolist() != drawn(1, 1, n, m).tolist()


def test_small_shares_reach_every_stratum() -> None:
    d = 65536 * 3 + 1
    y = decode(codec("randk:0.00001/fp16").encode(np.ones(d, np.float32), seed=0), d)
    assert np.count_nonzero(y) == 4


def test_a_scale_that_would_overflow_is_refused() -> None:
    body = bytearray(codec("randk:0.1/fp16").encode(update(100), seed=0))
    body[6:8] = (int(np.float32(2.0**90).view(np.uint32)) >> 15).to_bytes(2, "little")
    with pytest.raises(MalformedBody, match="scale"):
        open_body(bytes(body), 100)
