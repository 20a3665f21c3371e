"""Rounded Gaussian noise: its distribution cell by cell, its bits, its table."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from gossamer.aggregator.privacy import gaussian
from gossamer.aggregator.privacy.gaussian import CHUNK, LEVELS, MAX_SIGMA, Bits, rounded_gaussian
from gossamer.errors import InputError

KEY = bytes(range(32))
DRAWS = 400_000


def cell(value: float, sigma: int) -> float:
    """P(round(N(0, sigma^2)) = value), or of all above value - 1/2 if that is the end."""
    below, above = ((value + side) / (sigma * math.sqrt(2.0)) for side in (-0.5, 0.5))
    return 0.5 * (math.erfc(below) - math.erfc(above))


@pytest.mark.parametrize("sigma", [1, 2, 3, 5])
def test_every_integer_has_its_share_of_the_gaussian(sigma: int):
    drawn = rounded_gaussian(KEY, sigma, DRAWS)
    values, counts = np.unique(drawn, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert max(found) - min(found) > 7 * sigma
    for value in range(min(found), max(found) + 1):
        expected = DRAWS * cell(value, sigma)
        assert abs(found.get(value, 0) - expected) <= 5.0 * math.sqrt(expected) + 1.0, value


@pytest.mark.parametrize("sigma", [1000, 4 << 20, MAX_SIGMA - 1, MAX_SIGMA])
def test_moments_and_quantiles(sigma: int):
    x = rounded_gaussian(KEY, sigma, DRAWS) / sigma
    assert abs(x.mean()) < 5.0 / math.sqrt(DRAWS)
    assert abs((x**2).mean() - 1.0) < 5.0 * math.sqrt(2.0 / DRAWS)
    assert abs((x**4).mean() - 3.0) < 5.0 * math.sqrt(96.0 / DRAWS)
    for level in np.arange(-35, 36) / 10:
        share = 0.5 * math.erfc(-level / math.sqrt(2.0))
        assert abs((x < level).mean() - share) < 5.0 * math.sqrt(share * (1.0 - share) / DRAWS) + 1e-3 / sigma, level


def test_neighbours_and_chunks_are_independent():
    x = rounded_gaussian(KEY, 1 << 30, 4 * CHUNK) / float(1 << 30)
    for lag in (1, 2, CHUNK):
        assert abs((x[lag:] * x[:-lag]).mean()) < 5.0 / math.sqrt(len(x) - lag), lag


def test_low_bits_are_uniform():
    """What a float64 Gaussian cannot say of itself: no value of the low bits is preferred."""
    low = rounded_gaussian(KEY, 1 << 40, DRAWS) & 255
    counts = np.bincount(low, minlength=256)
    expected = DRAWS / 256
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_squared - 255) < 5.0 * math.sqrt(2 * 255)


def test_the_same_key_gives_the_same_noise():
    """Pinned: who repeats a seal with another version of anything must find the same bytes."""
    assert rounded_gaussian(bytes(32), 4 << 20, 4).tolist() == PINNED
    long = rounded_gaussian(KEY, 1000, CHUNK + 5)
    assert (long == rounded_gaussian(KEY, 1000, CHUNK + 5)).all()
    other = rounded_gaussian(bytes(31) + b"\1", 1000, 100)
    assert (other != long[:100]).sum() > 90


PINNED = [-3506910, 4035747, -2925204, -6678383]


def test_the_table_is_that_of_the_discrete_half_gaussian():
    mass = [math.exp(-k * k / 2) for k in range(20)]
    shares = [Fraction(high - low, 1 << 128) for low, high in zip([0, *LEVELS], LEVELS, strict=False)]
    for k, share in enumerate(shares):
        assert float(share) == pytest.approx(mass[k] / sum(mass), rel=1e-12), k
    assert float(Fraction((1 << 128) - LEVELS[11], 1 << 128)) < 2.0**-86


class Scripted(Bits):
    """Words as they are told."""

    def __init__(self, *words: int) -> None:
        object.__setattr__(self, "left", list(words))

    def words(self, n: int) -> np.ndarray:
        taken, self.left[:] = self.left[:n], self.left[n:]
        return np.array(taken, dtype=np.uint64)


@pytest.mark.parametrize("level", range(len(LEVELS)))
def test_where_a_word_does_not_decide_the_next_one_does(level: int):
    threshold = LEVELS[level]
    first, second = threshold >> 64, threshold & ((1 << 64) - 1)
    assert gaussian._level(Scripted(first, second), 1).tolist() == [level + 1]
    assert gaussian._level(Scripted(first, second - 1), 1).tolist() == [level]


def test_uniform_integers_are_below_their_bound():
    bound = (1 << 61) + 12345
    drawn = Bits.of(KEY, 0).below(bound, 20_000)
    assert drawn.min() >= 0
    assert drawn.max() < bound
    assert abs(drawn.mean() / bound - 0.5) < 5.0 / math.sqrt(12 * 20_000)
    assert Scripted(*(4 * (bound + 1), 4 * 7, 4 * bound, 4 * (bound - 1))).below(bound, 2).tolist() == [bound - 1, 7]


def test_what_cannot_be_is_refused():
    for key, sigma in ((KEY[1:], 5), (KEY, -1), (KEY, MAX_SIGMA + 1)):
        with pytest.raises(InputError, match="2\\^48"):
            rounded_gaussian(key, sigma, 3)
    assert rounded_gaussian(KEY, 0, 3).tolist() == [0, 0, 0]
    assert rounded_gaussian(KEY, 7, 0).shape == (0,)
