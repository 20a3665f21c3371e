"""Bodies read by the naive second implementation say the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.compression import codec, decode
from gossamer.compression.hadamard import hadamard, rotate, unrotate
from gossamer.compression.rice import decode_positions, encode_positions, max_parts_bytes
from gossamer.compression.rotated import LEVELS
from tests.compression import naive
from tests.compression.vectors import update


@pytest.mark.parametrize("d", [1, 2, 100, 3300, 65536, 140_001])
@pytest.mark.parametrize("spec", ["ternary:0.02", "ternary:0.5"])
def test_ternary(spec: str, d: int) -> None:
    body = codec(spec).encode(update(d), seed=0)
    assert decode(body, d).tolist() == naive.ternary(body, d)


@pytest.mark.parametrize("d", [1, 1023, 1024, 1025, 3300])
def test_sign(d: int) -> None:
    body = codec("sign").encode(update(d), seed=0)
    assert decode(body, d).tolist() == naive.sign(body, d)


@pytest.mark.parametrize("d", [1, 127, 128, 129, 600])
@pytest.mark.parametrize(("spec", "width", "block"), [("q8", 8, 256), ("q4", 4, 128), ("q4s", 4, 128)])
def test_uniform(spec: str, width: int, block: int, d: int) -> None:
    body = codec(spec).encode(update(d), seed=0)
    np.testing.assert_allclose(decode(body, d), naive.uniform(body, d, width, block), rtol=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3, 64, 100, 700])
@pytest.mark.parametrize(("spec", "width"), [("rot1", 1), ("rot1:ls", 1), ("rot2", 2), ("rot4:ls", 4)])
def test_rotated(spec: str, width: int, d: int) -> None:
    body = codec(spec).encode(update(d), seed=9)
    judged = np.array(naive.rotated(body, d, list(LEVELS[width])))
    np.testing.assert_allclose(decode(body, d), judged, atol=1e-5 * np.abs(judged).max(initial=0))


@pytest.mark.parametrize("m", [1, 2, 8, 128])
def test_hadamard(m: int) -> None:
    matrix = np.array(naive.hadamard_matrix(m), np.float32)
    assert np.array_equal(hadamard(np.eye(m, dtype=np.float32)), matrix)
    columns = np.arange(3 * m, dtype=np.float32).reshape(m, 3)
    assert np.array_equal(hadamard(columns), matrix @ columns)


@pytest.mark.parametrize("n", [1, 2, 3, 31, 1000, 2048, 3300])
def test_rotation_keeps_lengths_and_has_an_inverse(n: int) -> None:
    rows = np.random.default_rng(n).standard_normal((3, n)).astype(np.float32)
    turned = rotate(rows, 77, 5)
    np.testing.assert_allclose(unrotate(turned, 77, 5), rows, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(rows, axis=1), rtol=1e-5)
    # A block is turned the same way whichever blocks are turned with it.
    assert np.array_equal(rotate(rows[1:2], 77, 6), turned[1:2])
    if n > 8:
        assert not np.array_equal(rotate(rows[:1], 78, 5), turned[:1])
        assert not np.array_equal(rotate(rows[:1], 77, 6), turned[:1])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_positions(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 400))
    chosen = sorted(data.draw(st.sets(st.integers(0, n - 1))))
    width = data.draw(st.integers(0, 16))
    codes = [data.draw(st.integers(0, (1 << width) - 1)) for _ in chosen]
    body = encode_positions(np.array(chosen, np.int64), n, np.array(codes, np.int64), width)
    assert naive.positions(body, n, width) == list(zip(chosen, codes, strict=True))
    found, values = decode_positions(memoryview(body), n, width)
    assert found.tolist() == chosen
    assert values.tolist() == codes
    assert len(body) <= max_parts_bytes(n, len(chosen), width, 1)


@pytest.mark.parametrize("fraction", [0.5, 0.05, 0.02, 0.01, 0.001])
def test_random_positions_cost_what_entropy_says(fraction: float) -> None:
    n = 65536
    chosen = np.flatnonzero(np.random.default_rng(1).random(n) < fraction)
    p = len(chosen) / n
    entropy = -n * (p * np.log2(p) + (1 - p) * np.log2(1 - p)) / 8
    size = len(encode_positions(chosen, n, chosen, 0))
    assert size < 1.035 * entropy + 3 or (fraction == 0.5 and size < 1.01 * n / 8 + 3)
