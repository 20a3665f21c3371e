"""The device's half of importance sampling: chances, coins that everybody can check, sections of the wire."""

from __future__ import annotations

import doctest
import hashlib
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import InputError, MalformedMessage
from gossamer.wire import chance as chance_module
from gossamer.wire import participation
from gossamer.wire.chance import (
    LEAST_SHARE,
    MOST_SHARE,
    bounds,
    chance,
    chance_section,
    coin,
    entitled,
    read_chance,
    read_threshold,
    sends,
    threshold_section,
)
from gossamer.wire.participation import Participation, ParticipationRule

SCHEDULE = Participation(ParticipationRule.IMPORTANCE, 7, 100, 20)

# Written once: other coins, other senders.
GOLDEN = [
    (Participation(4, 7, 100, 20), 0, 0),
    (Participation(4, 7, 100, 20), 1, 0),
    (Participation(4, (1 << 64) - 1, 1 << 32, 1000), (1 << 64) - 1, (1 << 32) - 1),
]
COINS = [0xD351BD3232BBE97A, 0x07FC93CA0CAFA79A, 0x3A9F261B1851EE6B]


@pytest.mark.parametrize(("given_", "expected"), list(zip(GOLDEN, COINS, strict=True)))
def test_golden_coins(given_: tuple[Participation, int, int], expected: int) -> None:
    assert coin(*given_) == expected


def test_coins_against_a_naive_second_implementation() -> None:
    for round_ in range(5):
        for index in (0, 3, 99):
            data = b"gossamer chance" + struct.pack(">QQQ", 7, round_, index)
            assert coin(SCHEDULE, round_, index) == int(hashlib.sha256(data).hexdigest()[:16], 16)


def test_the_chance_follows_the_norm() -> None:
    least, most = bounds(SCHEDULE)
    assert (least, most) == (pytest.approx(LEAST_SHARE * 5 / 100), pytest.approx(MOST_SHARE * 5 / 100))
    assert chance(1.0, 8.0, SCHEDULE) == 0.125
    assert chance(8.0, 8.0, SCHEDULE) == chance(1e9, 8.0, SCHEDULE) == most
    assert chance(0.0, 8.0, SCHEDULE) == chance(0.01, 8.0, SCHEDULE) == least
    assert bounds(Participation(4, 7, 3, 1)) == (pytest.approx(0.1), 1.0)
    assert chance(3.0, None, SCHEDULE) == pytest.approx(5 / 100)  # the first round is a uniform draw
    assert chance(0.0, None, Participation(4, 7, 3, 1)) == 1.0


@pytest.mark.parametrize("norm", [-1.0, math.nan, math.inf])
def test_a_norm_that_is_none_is_refused(norm: float) -> None:
    with pytest.raises(InputError, match="norm"):
        chance(norm, 1.0, SCHEDULE)


@given(st.floats(0, 1e12), st.floats(2.0**-100, 2.0**100), st.integers(1, 1 << 32), st.integers(1, 1 << 32))
def test_a_chance_travels_unchanged_and_never_reaches_nought(
    norm: float, threshold: float, devices: int, cohorts: int
) -> None:
    schedule = Participation(4, 1, devices, min(cohorts, devices))
    for limit in (threshold, None):
        p = chance(norm, limit, schedule)
        assert bounds(schedule)[0] <= p <= bounds(schedule)[1] <= 1.0
        assert read_chance(chance_section(p)) == p
        assert 1 / p <= 1.001 * devices / (LEAST_SHARE * schedule.drawn)
    assert entitled(p, schedule, 0, 0) == sends(p, schedule, 0, 0)


@pytest.mark.parametrize("p", [0.02, 0.3, 0.9])
def test_coins_say_yes_as_often_as_they_should(p: float) -> None:
    """40 devices x 500 rounds, and pairs of devices and of rounds: within 4 standard deviations."""
    yes = [[sends(p, SCHEDULE, round_, index) for index in range(40)] for round_ in range(500)]
    total = sum(map(sum, yes))
    assert abs(total - 20_000 * p) < 4 * (20_000 * p * (1 - p)) ** 0.5
    beside = sum(row[i] and row[i + 1] for row in yes for i in range(0, 40, 2))
    after = sum(yes[r][i] and yes[r + 1][i] for r in range(0, 500, 2) for i in range(40))
    for count in (beside, after):
        assert abs(count - 10_000 * p * p) < 4 * (10_000 * p * p * (1 - p * p)) ** 0.5


def test_the_ends() -> None:
    assert all(sends(1.0, SCHEDULE, round_, 3) for round_ in range(200))
    assert not any(sends(2.0**-64, SCHEDULE, round_, 3) for round_ in range(200))


def test_a_claim_that_the_coin_denies_is_not_entitled() -> None:
    drawn = [round_ for round_ in range(4000) if sends(0.19, SCHEDULE, round_, 5)]
    assert all(entitled(0.19, SCHEDULE, round_, 5) for round_ in drawn)
    assert len(drawn) / 4000 == pytest.approx(0.19, abs=0.03)
    claimed = [round_ for round_ in drawn if entitled(0.02, SCHEDULE, round_, 5)]
    assert len(claimed) / 4000 == pytest.approx(0.02, abs=0.01)  # a lie of 1/50 is believed in 1/50 of all rounds
    least, most = bounds(SCHEDULE)
    for beyond in (0.99 * least, 1.01 * most, 1.0):
        assert not any(entitled(beyond, SCHEDULE, round_, 5) for round_ in range(4000))


def test_sections() -> None:
    assert threshold_section(1.0) == bytes.fromhex("3f800000")
    assert chance_section(0.25) == bytes.fromhex("3e800000")
    assert read_threshold(threshold_section(3.5)) == 3.5


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 2.0**101, 2.0**-101])
def test_thresholds_out_of_range_are_refused_both_ways(value: float) -> None:
    with pytest.raises(InputError):
        threshold_section(value)
    with pytest.raises(MalformedMessage):
        read_threshold(struct.pack(">f", value))


@pytest.mark.parametrize("value", [0.0, -0.5, 1.0000001192092896, math.nan, math.inf])
def test_chances_out_of_range_are_refused_both_ways(value: float) -> None:
    with pytest.raises(InputError):
        chance_section(value)
    with pytest.raises(MalformedMessage):
        read_chance(struct.pack(">f", value))


@pytest.mark.parametrize("section", [b"", b"\x3f", b"\x3f\x80\x00", b"\x3f\x80\x00\x00\x00"])
def test_sections_of_a_wrong_length_are_malformed(section: bytes) -> None:
    for read in (read_threshold, read_chance):
        with pytest.raises(MalformedMessage, match="4 bytes"):
            read(section)


@pytest.mark.parametrize("module", [chance_module, participation])
def test_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
