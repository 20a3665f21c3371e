"""One byte a count: exact where it says so, close elsewhere, ordered throughout."""

from __future__ import annotations

import numpy as np

from gossamer.objectives.small_floats import LARGEST, VALUES, decode_counts, encode_counts


def test_values_ascend_and_codes_come_back() -> None:
    assert VALUES[0] == 0
    assert VALUES[255] == LARGEST == 507_904
    assert (np.diff(VALUES) > 0).all()
    assert encode_counts(VALUES) == bytes(range(256))


def test_small_counts_are_exact_and_large_ones_near() -> None:
    counts = np.arange(LARGEST + 1)
    decoded = decode_counts(encode_counts(counts))
    assert (decoded[:32] == counts[:32]).all()
    assert (np.abs(decoded - counts) * 33 <= counts).all()


def test_more_than_fits_is_scaled_and_the_rare_stay() -> None:
    decoded = decode_counts(encode_counts(np.array([1, LARGEST + 1, 4 * LARGEST, 0])))
    assert decoded[0] == 1
    assert decoded[3] == 0
    assert abs(decoded[2] / decoded[1] - 4) < 0.25
