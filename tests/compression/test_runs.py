"""Runs of flags: exact probabilities judge the tables, and the flag-by-flag ideal the length."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossamer.compression import runs
from gossamer.compression.range_coder import COUNT_UNIT, Decoder, Encoder
from gossamer.compression.runs import decode_flags, encode_flags
from gossamer.errors import MalformedBody

from .effort import calls

counts = st.one_of(st.integers(1, 3000), st.integers(1, 1 << 30), st.integers(1, runs.MAX_COUNT))
Group = tuple[list[int], int, int, int]


def encoded(groups: list[Group]) -> bytes:
    encoder = Encoder()
    for positions, size, zeros, ones in groups:
        encode_flags(encoder, positions, size, zeros, ones)
    return encoder.finish()


def decoded(data: bytes, shapes: list[tuple[int, int, int]], most: int = 1 << 28) -> list[list[int]]:
    decoder = Decoder(data)
    out = [decode_flags(decoder, size, zeros, ones, most) for size, zeros, ones in shapes]
    decoder.finish()
    return out


def ideal_bits(group: Group) -> float:
    """Of coding flag by flag with probability ones / (zeros + ones), counting; in any order it is the same."""
    positions, size, zeros, ones = group
    a, b, k = zeros / COUNT_UNIT, ones / COUNT_UNIT, len(positions)
    some = math.lgamma(a + size - k) - math.lgamma(a) + math.lgamma(b + k) - math.lgamma(b)
    return (math.lgamma(a + b + size) - math.lgamma(a + b) - some) / math.log(2)


def test_ideal_is_flag_by_flag() -> None:
    zeros, ones, product = Fraction(3, 2), Fraction(1, 4), Fraction(1)
    for flag in (0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0):
        product *= (ones if flag else zeros) / (zeros + ones)
        zeros, ones = (zeros, ones + 1) if flag else (zeros + 1, ones)
    assert ideal_bits(([1, 5, 6], 11, 1536, 256)) == pytest.approx(-math.log2(product))


@st.composite
def groups(draw: st.DrawFn) -> list[Group]:
    out = []
    for _ in range(draw(st.integers(0, 4))):
        size = draw(st.integers(0, 400))
        flags = draw(st.sets(st.integers(0, size - 1), max_size=40)) if size else set()
        if draw(st.booleans()) and size:
            flags = set(range(size)) - flags
        out.append((sorted(flags), size, draw(counts), draw(counts)))
    return out


@settings(max_examples=300, deadline=None)
@given(groups())
@example([([0], 1, 1, 1), ([], 1, 1, runs.MAX_COUNT), ([0], 1, runs.MAX_COUNT, 1)])
@example([([], 1 << 28, 512, 512), ([(1 << 28) - 1], 1 << 28, 2040, 8), ([0], 1 << 28, runs.MAX_COUNT, 1)])
@example([([131072, 262143], 262144, 1 << 40, 1024)])  # an offset of more than 16 plain bits
def test_round_trip(case: list[Group]) -> None:
    data = encoded(case)
    assert decoded(data, [group[1:] for group in case]) == [group[0] for group in case]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.lists(st.tuples(st.integers(0, 3000), counts, counts), max_size=5))
def test_a_body_that_decodes_is_the_only_one(data: bytes, shapes: list[tuple[int, int, int]]) -> None:
    try:
        found = decoded(data, shapes)
    except MalformedBody:
        return
    assert all(0 <= p < size for positions, (size, _, _) in zip(found, shapes, strict=True) for p in positions)
    assert encoded([(positions, *shape) for positions, shape in zip(found, shapes, strict=True)]) == data


@pytest.mark.parametrize("ones", [1, 8, 512, 1024, 5000, 100_000])
@pytest.mark.parametrize("times", [2, 3, 10, 77, 1000, 1 << 20])
def test_probability_of_a_run_is_the_product(ones: int, times: int) -> None:
    zeros = ones * times
    run = runs._Run(zeros, ones)
    product = Fraction(1)
    for i in range(min(300, run.length(300))):
        product *= Fraction(zeros + i * COUNT_UNIT, zeros + ones + i * COUNT_UNIT)
        if i + 1 in (1, 2, 3, 4, 16, 77, 256, 300):
            slack = 0.006 if zeros > 8 else 0.04  # counts of 1/1024 or two are rounded to halves of that
            assert run.none_in(i + 1) / 2**30 == pytest.approx(float(product), rel=slack, abs=2e-9)


def test_probabilities_fall_with_length() -> None:
    for zeros, ones in ((512, 512), (2047, 1), (1 << 30, 50_000), (1 << 48, 1 << 40)):
        run = runs._Run(zeros, ones)
        survived = [run.none_in(n) for n in [*range(1, 3000), *(1 << b for b in range(12, 29))]]
        assert survived == sorted(survived, reverse=True)


def test_tables() -> None:
    assert [abs(x - math.log2(1 + i / 1024) * 2**24) < 0.51 for i, x in enumerate(runs._LOG)] == [True] * 1025
    assert [abs(x - 2 ** (-i / 1024) * 2**30) < 0.51 for i, x in enumerate(runs._POWER)] == [True] * 1025
    for x in (1, 3, 1023, 1 << 20, (1 << 31) - 1, (1 << 31) + 12345, (1 << 59) - 1):
        assert (runs._log2(x) - runs._log2(1)) / 2**24 == pytest.approx(math.log2(x), abs=4e-7)
    for y in (0, 1, 99_999, (1 << 24) - 1, 1 << 24, 5 << 23):
        assert runs._power(y) / 2**30 == pytest.approx(2 ** (-y / 2**24), rel=3e-7)


@pytest.mark.parametrize("share", [0.0005, 0.001, 0.004, 0.01, 0.03, 0.1, 0.2, 0.4])
@pytest.mark.parametrize("parts", [1, 8, 64])
@pytest.mark.parametrize("prior", ["even", "flat", "informed"])
def test_length_is_within_one_percent_of_ideal(share: float, parts: int, prior: str) -> None:
    rng = np.random.default_rng(int(share * 1e4) + parts)
    few = max(1, int(2048 * share))
    zeros, ones = {"even": (512, 512), "flat": (2048 - few, few), "informed": (50 << 10, int(share * (50 << 10)))}[
        prior
    ]
    n = 100_000 if share < 0.05 else 16_000
    size = n // parts
    case = [(np.flatnonzero(rng.random(size) < share).tolist(), size, zeros, ones) for _ in range(parts)]
    ideal = sum(map(ideal_bits, case)) / 8
    assert len(encoded(case)) <= ideal * 1.01 + 2


def test_golden() -> None:
    case: list[Group] = [([3, 4, 900, 4000], 5000, 2040, 8), ([], 300, 2040, 8), ([0, 2, 3], 8, 512, 512)]
    case.append(([70_000, 99_999], 100_000, 1 << 34, 900))
    assert encoded(case).hex() == "f2aec101dce36d5e7bd8b7fd7dfe"


def test_no_step_for_every_flag() -> None:
    positions = np.sort(np.random.default_rng(3).choice(100_000, 400, replace=False)).tolist()
    data = encoded([(positions, 100_000, 2040, 8)])
    assert calls(lambda: encoded([(positions, 100_000, 2040, 8)])) < 60_000  # 100,000 flags, 400 ones
    assert calls(lambda: decoded(data, [(100_000, 2040, 8)])) < 60_000  # 100,000 flags, 400 ones


def test_more_flags_than_allowed() -> None:
    data = encoded([(list(range(100)), 100, 512, 512)])
    with pytest.raises(MalformedBody, match="at most 99"):
        decoded(data, [(100, 512, 512)], most=99)
    sparse = encoded([([5, 10, 2000], 5000, 2040, 8)])
    with pytest.raises(MalformedBody, match="at most 2"):
        decoded(sparse, [(5000, 2040, 8)], most=2)


@pytest.mark.parametrize("shape", [(-1, 1, 1), (runs.MAX_SIZE + 1, 1, 1), (5, 0, 1), (5, 1, 0), (5, 1 << 49, 1)])
def test_limits(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        decoded(b"", [shape])
    with pytest.raises(ValueError, match="expected a size"):
        encoded([([], *shape)])
