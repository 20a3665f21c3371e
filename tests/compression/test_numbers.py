"""Scales, small fields, varints, integer vectors, draws: the pieces bodies are made of."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.compression import bits, draws, scales
from gossamer.compression.hadamard import rotate, unrotate
from gossamer.compression.integers import (
    decode_integers,
    decode_unsigned,
    encode_integers,
    encode_unsigned,
    unzigzag,
    zigzag,
)
from gossamer.compression.rotated import LEVELS
from gossamer.compression.varint import read_varint, write_varint
from gossamer.errors import MalformedBody
from tests.compression import naive

int32s = st.integers(-(2**31), 2**31 - 1)


@given(st.integers(0, 2**35 - 1), st.binary(max_size=4))
def test_varint(value: int, after: bytes) -> None:
    data = write_varint(value)
    assert read_varint(memoryview(data + after), 0) == (value, len(data))
    assert naive.varint(data, 0) == (value, len(data))
    for length in range(len(data)):
        with pytest.raises(MalformedBody):
            read_varint(memoryview(data[:length]), 0)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00", b"\xff\x00", b"\xff" * 5, b"\xff" * 100])
def test_varint_malformed(data: bytes) -> None:
    with pytest.raises(MalformedBody):
        read_varint(memoryview(data), 0)


@pytest.mark.parametrize("value", [-1, 2**35])
def test_varint_out_of_range(value: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= value"):
        write_varint(value)


@given(st.floats(1e-37, 2.0**90))
def test_scale_rounding(value: float) -> None:
    def decoded(code: np.ndarray) -> float:
        assert naive.scale(int(code[0])) == float(scales.from_bytes(scales.to_bytes(code))[0])
        return naive.scale(int(code[0]))

    exact = np.array([value])
    up = decoded(scales.round_up(exact))
    near = decoded(scales.round_nearest(exact))
    assert value <= up <= value * (1 + scales.RELATIVE_ERROR)
    assert abs(near - value) <= value * scales.RELATIVE_ERROR / 2
    rng = np.random.default_rng(0)
    drawn = scales.round_at_random(np.full(4000, value), rng)
    mean = scales.from_bytes(scales.to_bytes(drawn)).astype(np.float64).mean()
    # At random between two neighbours 2^-8 apart: 5 standard deviations.
    assert abs(mean / value - 1) < 5 * scales.RELATIVE_ERROR / 2 / np.sqrt(4000)


def test_zero_is_a_scale() -> None:
    zero = np.zeros(1)
    for codes in (
        scales.round_up(zero),
        scales.round_nearest(zero),
        scales.round_at_random(zero, np.random.default_rng(0)),
    ):
        assert scales.from_bytes(scales.to_bytes(codes)).tolist() == [0.0]


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 100])
def test_packed_rows(width: int, n: int) -> None:
    codes = np.random.default_rng(n).integers(0, 1 << width, (5, n)).astype(np.uint8)
    packed = bits.pack_rows(codes, width)
    assert packed.shape == (5, bits.packed_bytes(n, width))
    assert np.array_equal(bits.unpack_rows(packed, width, n), codes)
    for row, data in zip(codes, packed, strict=True):
        reader = naive.BitReader(data.tobytes())
        assert [reader.number(width) for _ in range(n)] == row.tolist()


@settings(max_examples=150, deadline=None)
@given(st.lists(int32s, max_size=40), st.integers(0, 31), st.integers(0, 1100))
def test_integers(values: list[int], shift: int, zeros: int) -> None:
    vector = np.array([v >> shift for v in values] + [0] * zeros + values[:3], np.int64).astype(np.int32)
    data = encode_integers(vector)
    assert np.array_equal(decode_integers(memoryview(data), len(vector)), vector)
    assert np.array_equal(unzigzag(zigzag(vector)), vector)
    if len(data) > 1:
        with pytest.raises(MalformedBody):
            decode_unsigned(memoryview(data[:-1]), len(vector))
    with pytest.raises(MalformedBody):
        decode_unsigned(memoryview(data + b"\0"), len(vector))


def test_integers_by_the_naive_reader() -> None:
    numbers = np.arange(2500, dtype=np.int64) ** 2 % 3001
    data = encode_unsigned(numbers)
    reader = naive.BitReader(data)
    blocks = [(reader.number(8), size) for size in (1024, 1024, 452)]
    low = []
    for b, size in blocks:
        low += [(reader.number(b), b) for _ in range(size)]
        reader.at = -(-reader.at // 8) * 8
    assert [reader.unary() << b | value for value, b in low] == numbers.tolist()


@pytest.mark.parametrize(("spread", "slack"), [(1e5, 1.01), (100.0, 1.015), (3.0, 1.06)])
def test_gaussian_integers_cost_what_entropy_says(spread: float, slack: float) -> None:
    values = np.rint(np.random.default_rng(0).standard_normal(20_000) * spread).astype(np.int32)
    entropy = np.log2(spread * np.sqrt(2 * np.pi * np.e)) * values.size / 8
    assert len(encode_integers(values)) < slack * entropy


def test_a_number_beyond_32_bits_is_refused() -> None:
    data = bytes([32]) + (5).to_bytes(4, "little") + b"\x02"  # 5 + (1 << 32)
    with pytest.raises(MalformedBody, match="2\\^32"):
        decode_unsigned(memoryview(data), 1)
    with pytest.raises(MalformedBody, match="parameters"):
        decode_unsigned(memoryview(b"\x21" + data[1:]), 1)


def test_draws_are_splitmix64() -> None:
    # The first outputs for seed 1234567, as the reference implementation's users quote them.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert draws.words(1234567, 0, 3).tolist() == expected
    assert draws.words(1234567, 2, 1).tolist() == expected[2:]
    column = draws.signs(9, first=3, rows=2, n=70)
    assert column.shape == (70, 2)
    assert np.array_equal(column[:, 1:], draws.signs(9, first=4, rows=1, n=70))
    assert set(np.unique(column)) == {-1.0, 1.0}
    many = draws.signs(5, first=0, rows=100, n=2048)
    assert abs(float(many.mean())) < 5 / np.sqrt(many.size)


@pytest.mark.parametrize("width", [2, 4])
def test_levels_are_the_best_for_a_gaussian(width: int) -> None:
    """Lloyd's iteration on a fine grid ends at the table."""
    grid = np.linspace(0, 8, 400_001)
    density = np.exp(-np.square(grid) / 2)
    levels = np.array(LEVELS[width])
    for _ in range(3):
        edges = np.searchsorted(grid, np.concatenate([[0], (levels[1:] + levels[:-1]) / 2, [8]]))
        sums = [(density[a:b] @ grid[a:b], density[a:b].sum()) for a, b in pairwise(edges)]
        levels = np.array([total / mass for total, mass in sums])
    np.testing.assert_allclose(levels, LEVELS[width], atol=2e-4)


@pytest.mark.parametrize("rows", [1, 3])
def test_rotations_leave_their_input_alone(rows: int) -> None:
    x = np.random.default_rng(rows).standard_normal((rows, 100)).astype(np.float32)
    before = x.copy()
    for turn in (rotate, unrotate):
        turn(x, 5, 0)
        np.testing.assert_array_equal(x, before)
