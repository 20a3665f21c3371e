"""Coefficient bodies: the reference's flag-by-flag coder judges the length; statistics; hostile bodies."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossamer.compression.level_counts import MAX_GROUPS, MAX_WEIGHT, MAX_WEIGHTING, PART, SLOTS
from gossamer.compression.levels import (
    MAX_LEVEL,
    LevelPrior,
    LevelStatistics,
    Scan,
    decode_levels,
    encode_levels,
)
from gossamer.compression.range_coder import MAX_TOTAL
from gossamer.errors import InputError, MalformedBody

from .effort import calls

Levels = npt.NDArray[np.int32]
Groups = npt.NDArray[np.int32]


def octaves(rows: int, columns: int) -> tuple[Groups, Groups]:
    """Groups and coarse groups of a rows x columns corner, as `hist` makes them."""
    row = np.log2(np.arange(rows) + 1).astype(np.int32)[:, None]
    column = np.log2(np.arange(columns) + 1).astype(np.int32)[None]
    return (row * 8 + column).reshape(-1), ((row + column) // 4).reshape(-1)


def message(rows: int, columns: int, count: int, seed: int) -> Levels:
    """About ``count`` nonzeros, quantised as `hist` does, of coefficients that fall towards the far corner."""
    rng = np.random.default_rng(seed)
    spread = ((np.arange(rows) + 1.0)[:, None] * (np.arange(columns) + 1.0)[None]).reshape(-1) ** -0.7 + 0.003
    u = spread * rng.standard_normal(rows * columns)
    step = float(np.partition(np.abs(u), u.size - count)[u.size - count]) / 0.62
    magnitude = np.minimum(15, np.floor(np.abs(u) / step + 0.38))
    return np.where(u < 0, -magnitude, magnitude).astype(np.int32)


def past(rows: int, columns: int, count: int, messages: int) -> LevelStatistics:
    groups, coarse = octaves(rows, columns)
    statistics = LevelStatistics.empty()
    for seed in range(messages):
        levels = message(rows, columns, count, 100 + seed)
        statistics = statistics.decayed_plus(LevelStatistics.of(levels, groups, coarse))
    return statistics


def reference_bits(levels: Levels, groups: Groups, coarse: Groups, prior: LevelPrior) -> float:
    """An adaptive binary coder with exact probabilities: a step for every flag, no runs."""
    flags, magnitudes = prior.flags.astype(float).copy(), prior.magnitudes.astype(float).copy()
    bits = 0.0

    def code(counts: npt.NDArray[np.float64], bit: bool) -> None:
        nonlocal bits
        bits -= math.log2(counts[int(bit)] / counts.sum())
        counts[int(bit)] += 1024

    for level, g, c in zip(np.abs(levels).tolist(), groups.tolist(), coarse.tolist(), strict=True):
        code(flags[g], level > 0)
        if level:
            for j in range(1, 15):
                code(magnitudes[c, j], level > j)
                if level <= j:
                    break
            bits += 1
    return bits


@st.composite
def cases(draw: st.DrawFn) -> tuple[Levels, Groups, Groups, LevelPrior]:
    d = draw(st.integers(0, 120))
    some = st.one_of(
        st.just(0), st.just(0), st.integers(-3, 3), st.integers(-40, 40), st.integers(-MAX_LEVEL, MAX_LEVEL)
    )
    levels = np.array(draw(st.lists(some, min_size=d, max_size=d)), dtype=np.int32)
    groups = np.array(draw(st.lists(st.integers(0, 9), min_size=d, max_size=d)), dtype=np.int32)
    coarse = groups // draw(st.integers(1, 4))
    statistics = LevelStatistics.empty()
    for shift in range(draw(st.integers(0, 2))):
        statistics = statistics.decayed_plus(LevelStatistics.of(np.roll(levels, shift), groups, coarse))
    prior = statistics.prior(groups, coarse, draw(st.integers(0, 500)), upward=draw(st.booleans()))
    return levels, groups, coarse, prior


@settings(max_examples=300, deadline=None)
@given(cases())
def test_round_trip(case: tuple[Levels, Groups, Groups, LevelPrior]) -> None:
    levels, groups, coarse, prior = case
    data = encode_levels(levels, groups, coarse, prior)
    decoded = decode_levels(memoryview(data), groups, coarse, prior)
    assert decoded.dtype == np.int16
    assert decoded.tolist() == levels.tolist()


@pytest.mark.parametrize("magnitude", [1, 14, 15, 16, 17, 18, 31, 32, MAX_LEVEL - 1, MAX_LEVEL])
def test_magnitudes(magnitude: int) -> None:
    levels = np.array([0, -magnitude, magnitude, 0, 1], dtype=np.int32)
    groups = np.zeros(5, dtype=np.int32)
    prior = LevelPrior.flat(1, 1, 5, 3)
    data = encode_levels(levels, groups, groups, prior)
    assert decode_levels(data, groups, groups, prior).tolist() == levels.tolist()


@pytest.mark.parametrize("shape", [(128, 128), (784, 128)])
@pytest.mark.parametrize("count", [200, 400, 2000])
@pytest.mark.parametrize("informed", [False, True])
@pytest.mark.parametrize("upward", [False, True])
def test_length_against_the_reference(shape: tuple[int, int], count: int, informed: bool, upward: bool) -> None:
    groups, coarse = octaves(*shape)
    levels = message(*shape, count, 1)
    statistics = past(*shape, 200, 6) if informed else LevelStatistics.empty()
    prior = statistics.prior(groups, coarse, count, upward=upward)
    data = encode_levels(levels, groups, coarse, prior)
    assert decode_levels(data, groups, coarse, prior).tolist() == levels.tolist()
    assert len(data) <= reference_bits(levels, groups, coarse, prior) / 8 * 1.005 + 2


def test_history_saves() -> None:
    groups, coarse = octaves(784, 128)
    levels = message(784, 128, 400, 1)
    flat = LevelStatistics.empty().prior(groups, coarse, 400, upward=False)
    informed = past(784, 128, 400, 6).prior(groups, coarse, 400, upward=False)
    assert len(encode_levels(levels, groups, coarse, informed)) < 0.9 * len(encode_levels(levels, groups, coarse, flat))


def test_golden() -> None:
    groups, coarse = octaves(16, 16)
    at = np.arange(256)
    levels = np.where(at % 11 == 3, (at * 37 % 29 - 14) // (1 + at // 32), 0)
    levels[0] = 700
    levels[2] = -15
    statistics = LevelStatistics.of(np.roll(levels, 1), groups, coarse)
    statistics = statistics.decayed_plus(LevelStatistics.of(np.roll(levels, 2), groups, coarse))
    prior = statistics.prior(groups, coarse, 20, upward=True)
    assert encode_levels(levels, groups, coarse, prior).hex() == (
        "ff4766409ecc77128758f21d271242a8b7d30d6c4d48c3c0146d518e85502a"
    )
    assert statistics.serialize().hex() == (
        "e0ccbf994cd036747e3e9ff66a1fa26adab87c2d4d3ce2c22a8761963c4340a5e78d32a94089fa6be788a6e688f91778"
    )


def test_scan_is_a_stable_sort() -> None:
    groups = np.array([3, 0, 3, 1, 0], dtype=np.int32)
    scan = Scan.of(groups, np.arange(5, dtype=np.int32))
    assert scan.order.tolist() == [1, 4, 3, 0, 2]
    assert scan.starts == [0, 2, 3, 3, 5]
    assert scan.coarse.tolist() == [1, 4, 3, 0, 2]


# -- what cannot be encoded --------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [[MAX_LEVEL + 1, 0], [0, -MAX_LEVEL - 1], [1], [[1, 2]]])
def test_levels_refused(levels: list[int]) -> None:
    groups = np.zeros(2, dtype=np.int32)
    with pytest.raises(InputError):
        encode_levels(np.array(levels), groups, groups, LevelPrior.flat(1, 1, 2, 1))


def test_prior_for_too_few_groups() -> None:
    groups = np.array([0, 1], dtype=np.int32)
    with pytest.raises(ValueError, match="every group"):
        encode_levels(groups, groups, groups, LevelPrior.flat(1, 2, 2, 1))
    with pytest.raises(ValueError, match="every group"):
        decode_levels(b"", groups, groups, LevelPrior.flat(2, 1, 2, 1))
    with pytest.raises(ValueError, match="one shape"):
        encode_levels(groups, groups, groups[:1], LevelPrior.flat(2, 2, 2, 1))


# -- hostile bodies ----------------------------------------------------------------------------------------------

HOSTILE = message(32, 32, 60, 4), *octaves(32, 32)


def only_malformed_or_canonical(data: bytes, prior: LevelPrior) -> None:
    _, groups, coarse = HOSTILE
    try:
        levels = decode_levels(data, groups, coarse, prior)
    except MalformedBody:
        return
    assert encode_levels(levels, groups, coarse, prior) == data


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.booleans())
@example(b"", True)
@example(b"\0", True)
@example(b"\xff" * 40, False)
def test_any_bytes(data: bytes, informed: bool) -> None:
    _, groups, coarse = HOSTILE
    statistics = past(32, 32, 60, 3) if informed else LevelStatistics.empty()
    only_malformed_or_canonical(data, statistics.prior(groups, coarse, 60, upward=False))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=3), st.integers(0, 60))
def test_mutated_bodies(changes: list[tuple[int, int]], cut: int) -> None:
    levels, groups, coarse = HOSTILE
    prior = past(32, 32, 60, 3).prior(groups, coarse, 60, upward=False)
    data = bytearray(encode_levels(levels, groups, coarse, prior))
    for at, value in changes:
        data[at % len(data)] = value
    only_malformed_or_canonical(bytes(data), prior)
    only_malformed_or_canonical(bytes(data[:cut]), prior)


@pytest.mark.parametrize("data", [b"", b"\0" * 50, b"\xff" * 50, b"\x01" * 50])
@pytest.mark.parametrize("dense", [False, True])
def test_a_short_body_takes_no_long_time(data: bytes, dense: bool) -> None:
    """Whatever the prior makes nearly free: a nonzero has a sign, and a body has so many bits."""
    d = 1_000_000
    groups = np.arange(d, dtype=np.int32) // 5000
    flags = np.tile(np.array([1, 1 << 30] if dense else [1 << 30, 1], dtype=np.int64), (200, 1))
    magnitudes = np.tile(np.array([1, MAX_TOTAL - 1], dtype=np.int64), (1, SLOTS, 1))
    coarse = np.zeros(d, dtype=np.int32)
    Scan.of(groups, coarse)

    def decode() -> None:
        with contextlib.suppress(MalformedBody):
            decode_levels(data, groups, coarse, LevelPrior(flags, magnitudes))

    assert calls(decode) < 200_000


@pytest.mark.parametrize("d", [1, 60, 71, 72, 73, 80, 200, 5000])
@pytest.mark.parametrize("sign", [-1, 1])
def test_nonzeros_that_cost_their_sign_only(d: int, sign: int) -> None:
    """The bound on nonzeros is above what a real body has, even where all else is free and ends in zeros."""
    groups = np.zeros(d, dtype=np.int32)
    magnitudes = np.tile(np.array([MAX_TOTAL - 1, 1], dtype=np.int64), (1, SLOTS, 1))
    prior = LevelPrior(np.array([[1, 1 << 30]]), magnitudes)
    levels = np.full(d, sign)
    data = encode_levels(levels, groups, groups, prior)
    assert d // 8 - 9 <= len(data) <= d // 8 + 3
    assert decode_levels(data, groups, groups, prior).tolist() == levels.tolist()


# -- statistics --------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(0, 4))
def test_statistics_at_rest(case: tuple[Levels, Groups, Groups, LevelPrior], messages: int) -> None:
    levels, groups, coarse, _ = case
    statistics = LevelStatistics.empty()
    for shift in range(messages):
        statistics = statistics.decayed_plus(LevelStatistics.of(np.roll(levels, shift), groups, coarse))
    data = statistics.serialize()
    again = LevelStatistics.parse(memoryview(data))
    assert again.weight == statistics.weight <= MAX_WEIGHT
    assert again.nonzeros.tolist() == statistics.nonzeros.tolist()
    assert again.magnitudes.tolist() == statistics.magnitudes.tolist()
    assert again.serialize() == data


def test_statistics_are_small() -> None:
    assert len(past(784, 128, 400, 12).serialize()) < 200


def test_statistics_by_hand() -> None:
    groups = np.array([0, 0, 0, 2, 2], dtype=np.int32)
    coarse = np.array([0, 0, 0, 1, 1], dtype=np.int32)
    one = LevelStatistics.of(np.array([0, 3, -1, 20, 0]), groups, coarse)
    assert one.weight == PART
    assert one.nonzeros.tolist() == [2 * PART, 0, PART]
    assert one.magnitudes.tolist() == [[PART, 0, PART, *[0] * 13], [*[0] * 15, PART]]
    counts = one.stopped_and_more()
    assert counts[0, 1:4].tolist() == [[PART, PART], [0, PART], [PART, 0]]
    assert counts[1, :3].tolist() == [[0, PART]] * 3  # slot 0: greater than 15
    two = one.decayed_plus(LevelStatistics.of(np.zeros(5), groups, coarse))
    assert two.weight == PART * 7 // 10 + PART
    assert two.nonzeros.tolist() == [2 * PART * 7 // 10, 0, PART * 7 // 10]


def test_prior_by_hand() -> None:
    groups = np.array([0, 0, 0, 0, 1, 1, 1, 1], dtype=np.int32)
    statistics = LevelStatistics.of(np.array([1, 0, 0, 2, 0, 0, 0, 0]), groups, groups)
    down = statistics.prior(groups, groups, 2, upward=False)
    # 2 observations at 2 of 8, and half of (2 zeros, 2 ones) and of (4, 0)
    assert down.flags.tolist() == [[1536 + 1024, 512 + 1024], [1536 + 2048, 512]]
    assert down.magnitudes[0, 1].tolist() == [1229 + 512, 819 + 512]
    up = statistics.prior(groups, groups, 4, upward=True)  # twice as many expected
    assert up.flags.tolist() == [[1024 + 307, 1024 + 614], [1024 + 614, 1024]]


def test_statistics_of_other_groups_are_cut_or_filled() -> None:
    few, many = np.zeros(4, dtype=np.int32), np.arange(4, dtype=np.int32)
    levels = np.array([1, 0, 2, 0])
    for statistics in (LevelStatistics.of(levels, few, few), LevelStatistics.of(levels, many, many)):
        assert statistics.prior(few, few, 2, upward=True).flags.shape == (1, 2)
        assert statistics.prior(many, many, 2, upward=True).flags.shape == (4, 2)
        assert (statistics.prior(many, many, 2, upward=True).flags > 0).all()
    both = LevelStatistics.of(levels, few, few).decayed_plus(LevelStatistics.of(levels, many, many))
    assert both.nonzeros.shape == (4,)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
@example(b"\xff" * 40)
def test_statistics_of_any_bytes(data: bytes) -> None:
    try:
        statistics = LevelStatistics.parse(data)
    except MalformedBody:
        return
    assert statistics.serialize() == data
    groups = np.arange(300, dtype=np.int32)
    prior = statistics.prior(groups, groups, 10, upward=False)
    levels = np.arange(300) % 3 - 1
    body = encode_levels(levels, groups, groups, prior)
    assert decode_levels(body, groups, groups, prior).tolist() == levels.tolist()


@pytest.mark.parametrize(
    "statistics",
    [
        LevelStatistics(MAX_WEIGHT + 1, np.zeros(1, dtype=np.int64), np.zeros((1, 16), dtype=np.int64)),
        LevelStatistics(1, np.zeros(MAX_GROUPS + 1, dtype=np.int64), np.zeros((1, 16), dtype=np.int64)),
        LevelStatistics(1, np.array([(1 << 28) + 1]), np.zeros((1, 16), dtype=np.int64)),
        LevelStatistics(1, np.zeros(1, dtype=np.int64), np.full((1, 16), 1 << 25)),
    ],
)
def test_statistics_beyond_limits(statistics: LevelStatistics) -> None:
    with pytest.raises(MalformedBody, match="expected"):
        LevelStatistics.parse(statistics.serialize())


def test_the_greatest_statistics_stay_within_limits() -> None:
    full = np.array([MAX_WEIGHT << 28])
    statistics = LevelStatistics(MAX_WEIGHT, full, np.concatenate([full, [0] * 15])[None])
    groups = np.zeros(4, dtype=np.int32)
    for upward in (False, True):
        prior = LevelStatistics.parse(statistics.serialize()).prior(groups, groups, 1 << 28, upward=upward)
        assert (prior.flags > 0).all()
        body = encode_levels(np.array([0, 1, -2, 0]), groups, groups, prior)
        assert decode_levels(body, groups, groups, prior).tolist() == [0, 1, -2, 0]


@pytest.mark.parametrize("weight", [(0, 1), (1, 0), (MAX_WEIGHTING + 1, 1)])
def test_weights_refused(weight: tuple[int, int]) -> None:
    flat = LevelPrior.flat(1, 1, 4, 1)
    with pytest.raises(ValueError, match="fractions"):
        LevelPrior.informed(flat, LevelStatistics.empty(), np.array([4]), weight)
