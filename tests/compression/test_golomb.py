"""Golomb-coded positions: round trips against a bit-by-bit decoder, lengths against log2 C(n, k), hostile bodies."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossamer.compression import golomb
from gossamer.compression.golomb import decode_positions, encode_positions, golomb_bits, max_parts_bytes
from gossamer.errors import MalformedBody
from tests.compression import naive

from .effort import calls


def naive_positions(data: bytes, n: int, width: int) -> tuple[list[int], list[int]]:
    """A bit at a time."""
    head, at = naive.varint(data, 0)
    count, choice = divmod(head, 4)
    if not count:
        return [], []
    stream = [byte >> i & 1 for byte in data[at:] for i in range(8)]
    m = max(1, math.ceil(Fraction(177 * n - 217 * count, 256 * count))) * (16, 11, 7, 4)[choice] // 16 or 1
    b = math.ceil(math.log2(m)) if m > 1 else 0

    def take(bits: int) -> int:
        return sum(stream.pop(0) << i for i in range(bits))

    upper = [take(b - 1) if b else 0 for _ in range(count)]
    codes = [take(width) for _ in range(count)]
    remainders = [r if not b or r < 2**b - m else 2 * r + take(1) - (2**b - m) for r in upper]
    positions, last = [], -1
    for r in remainders:
        quotient = 0
        while not stream.pop(0):
            quotient += 1
        last += quotient * m + r + 1
        positions.append(last)
    assert len(stream) < 8
    assert not any(stream)
    return positions, codes


sets = st.integers(1, 3000).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), max_size=200)))


@settings(max_examples=300, deadline=None)
@given(sets, st.integers(0, 8))
@example((1, {0}), 1)
@example((10, set(range(10))), 1)
@example((1 << 28, {0, (1 << 28) - 1}), 4)
@example((100, {97, 98, 99}), 0)
def test_round_trip_and_judge(case: tuple[int, set[int]], width: int) -> None:
    n, chosen = case
    positions = np.array(sorted(chosen), dtype=np.int64)
    codes = positions * 37 % (1 << width)
    data = encode_positions(positions, n, codes, width)
    decoded, further = decode_positions(memoryview(data), n, width)
    assert decoded.tolist() == positions.tolist()
    assert further.tolist() == codes.tolist()
    assert naive_positions(data, n, width) == (positions.tolist(), codes.tolist())
    assert len(data) <= max_parts_bytes(n, len(positions), width, 1)


@pytest.mark.parametrize("count", [1, 7, 100, 655, 1000, 3000, 10_000, 24_000, 30_000, 65_536])
def test_parameter_is_gallager_and_van_voorhis(count: int) -> None:
    q, best = 1 - count / 65_536, 1
    while q**best + q ** (best + 1) > 1:
        best += 1
    assert golomb._parameter(65_536, count, 0) == pytest.approx(best, rel=0.003, abs=1)


@pytest.mark.parametrize("n", [3300, 10_000, 65_536])
@pytest.mark.parametrize("share", [0.01, 0.03, 0.06, 0.1, 0.3, 0.5])
def test_length_is_within_1_5_percent_of_the_number_of_sets(n: int, share: float) -> None:
    rng = np.random.default_rng(2)
    count = round(n * share)
    ideal = (math.lgamma(n + 1) - math.lgamma(count + 1) - math.lgamma(n - count + 1)) / math.log(2)
    bits = []
    for _ in range(20):
        gaps = np.diff(np.sort(rng.choice(n, count, replace=False)), prepend=-1) - 1
        bits.append(min(golomb_bits(gaps, golomb._parameter(n, count, c)) for c in range(4)))
    assert np.mean(bits) <= 1.015 * ideal


@pytest.mark.parametrize("n", [3300, 65_536])
@pytest.mark.parametrize("count", [1, 2, 33, 1000, 3000])
def test_no_spread_exceeds_the_bound(n: int, count: int) -> None:
    codes = np.zeros(count, dtype=np.uint8)
    for positions in (np.arange(count), np.arange(n - count, n), np.arange(count) * (n // count)):
        assert len(encode_positions(positions, n, codes, 1)) <= max_parts_bytes(n, count, 1, 1)


def test_clustered_positions_take_less() -> None:
    spread, cluster = np.arange(0, 65_536, 128), np.arange(512) * 4
    codes = np.zeros(512, dtype=np.uint8)
    lengths = [len(encode_positions(p, 65_536, codes, 0)) for p in (spread, cluster)]
    assert lengths[1] < 0.85 * lengths[0]


def test_golden() -> None:
    positions = np.array([3, 4, 100, 777, 998])
    assert encode_positions(positions, 1000, np.array([1, 0, 1, 1, 0]), 1).hex() == "15031048605b4002"
    assert encode_positions(np.arange(0, 60, 3), 61, np.zeros(20), 0).hex() == "514992244992244902"
    assert encode_positions(np.zeros(0, dtype=np.int64), 61, np.zeros(0), 0) == b"\0"


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 2000), st.integers(0, 4))
@example(b"\0\0", 5, 0)
@example(b"\x01", 5, 0)
@example(b"\xff\xff\xff\xff\x7f", 1 << 28, 0)
def test_any_bytes(data: bytes, n: int, width: int) -> None:
    try:
        positions, codes = decode_positions(memoryview(data), n, width)
    except MalformedBody:
        return
    assert (np.diff(positions, prepend=-1) > 0).all()
    assert len(positions) == len(codes)
    assert not len(positions) or (positions[-1] < n and codes.max() < 1 << width)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 200), st.integers(0, 255), st.integers(0, 60))
def test_mutated_bodies(at: int, value: int, cut: int) -> None:
    positions = np.arange(0, 900, 17)
    data = bytearray(encode_positions(positions, 1000, positions & 1, 1))
    data[at % len(data)] = value
    test_any_bytes.hypothesis.inner_test(bytes(data), 1000, 1)  # type: ignore[attr-defined]
    test_any_bytes.hypothesis.inner_test(bytes(data[:cut]), 1000, 1)  # type: ignore[attr-defined]


def test_no_step_for_every_position() -> None:
    positions = np.sort(np.random.default_rng(0).choice(1_000_000, 10_000, replace=False))
    codes = np.zeros(10_000, dtype=np.uint8)
    data = encode_positions(positions, 1_000_000, codes, 1)
    assert calls(lambda: encode_positions(positions, 1_000_000, codes, 1)) < 500
    assert calls(lambda: decode_positions(memoryview(data), 1_000_000, 1)) < 500
