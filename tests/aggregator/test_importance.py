"""Optimal client sampling: probabilities by hand and by search, unbiased sums, thresholds that find m senders."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gossamer.aggregator import importance
from gossamer.aggregator.importance import (
    MAX_CHANGE,
    aocs,
    factors,
    next_threshold,
    ocs,
    sampling_variance,
)
from gossamer.errors import InputError
from gossamer.wire.chance import bounds, chance, sends
from gossamer.wire.participation import Participation

Array = NDArray[np.float64]
SCHEDULE = Participation(4, 11, 32, 11)  # draws 3 of 32
M = 3
WIDE = (1e-9, 1.0)


def fleet() -> Array:
    """32 updates of 50 coordinates, norms over two orders of magnitude."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((32, 50)) * rng.lognormal(0, 1.5, 32)[:, None] / 32


UPDATES = fleet()
NORMS = np.linalg.norm(UPDATES, axis=1)
UNIFORM = np.full(32, M / 32)


@pytest.mark.parametrize("chances", [ocs, aocs])
@pytest.mark.parametrize(
    ("norms", "m", "expected"),
    [
        ([1, 2, 3, 4, 10], 2, [0.1, 0.2, 0.3, 0.4, 1]),
        ([1, 1, 1, 97], 2, [1 / 3, 1 / 3, 1 / 3, 1]),
        ([1, 2, 3], 3, [1, 1, 1]),
        ([1, 2], 5, [1, 1]),
        ([0, 0, 5], 2, [0, 0, 1]),
        ([0, 1, 1], 2, [0, 1, 1]),
        ([0, 0, 0, 0], 2, [0.5] * 4),
        ([7], 1, [1]),
    ],
)
def test_by_hand(chances: importance.Chances, norms: list[float], m: int, expected: list[float]) -> None:
    np.testing.assert_allclose(chances(norms, m), expected, rtol=1e-14)


def searched(u: Array, m: int) -> Array:
    """The optimum by its own condition, p = min(1, u / t) with sum m: t by bisection."""
    low, high = 1e-12 * u.max(), u.sum()
    for _ in range(300):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(1, u / middle).sum() > m else (low, middle)
    return np.minimum(1, u / high)


norm_lists = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e6)), min_size=1, max_size=12)


@pytest.mark.parametrize("chances", [ocs, aocs])
@given(norms=norm_lists, m=st.integers(1, 13))
@settings(max_examples=200, deadline=None)
def test_the_guards(chances: importance.Chances, norms: list[float], m: int) -> None:
    u = np.array(norms)
    p = chances(u, m)
    assert ((p >= 0) & (p <= 1)).all()
    assert (p[u > 0] > 0).all()
    assert p.sum() <= m + 1e-9


@given(norms=norm_lists.map(np.array), m=st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_exact_is_the_optimum_and_no_approximation_beats_it(norms: Array, m: int) -> None:
    p = ocs(norms, m)
    if np.count_nonzero(norms) > m:
        np.testing.assert_allclose(p, searched(norms, m), rtol=1e-9)
    for other in (aocs(norms, m), np.full(len(norms), min(1.0, m / len(norms)))):
        assert sampling_variance(norms, p) <= sampling_variance(norms, other) + 1e-9 * np.square(norms).sum()


def test_variance_against_uniform() -> None:
    for p in (ocs(NORMS, M), aocs(NORMS, M)):
        assert p.sum() == pytest.approx(M)
        assert sampling_variance(NORMS, p) / sampling_variance(NORMS, UNIFORM) == pytest.approx(0.083, abs=5e-4)


@pytest.mark.parametrize("norms", [[], [-1.0, 2.0], [math.nan, 1.0], [math.inf, 1.0], [[1.0, 2.0]]])
def test_norms_that_are_none_are_refused(norms: list[float]) -> None:
    for chances in (ocs, aocs):
        with pytest.raises(InputError, match="norms"):
            chances(norms, 2)
    with pytest.raises(InputError, match="at least 1"):
        ocs([1.0], 0)


# The threshold form ----------------------------------------------------------------------------------------------


def device_chances(threshold: float | None) -> Array:
    return np.array([chance(norm, threshold, SCHEDULE) for norm in NORMS])


def test_from_everybody_the_threshold_is_the_optimum() -> None:
    """All arrive and no bounds are in the way: the devices decide as ``ocs`` would have them."""
    threshold = next_threshold(NORMS, np.ones(32), M, WIDE, before=None)
    assert threshold is not None
    np.testing.assert_allclose(np.minimum(1, NORMS / threshold), ocs(NORMS, M), rtol=1e-6)


def test_the_bounds_are_allowed_for() -> None:
    threshold = next_threshold(NORMS, np.ones(32), M, bounds(SCHEDULE), before=None)
    p = device_chances(threshold)
    assert (p.min(), p.max()) == bounds(SCHEDULE)
    assert p.sum() == pytest.approx(M, rel=1e-5)
    # The optimum is .083; at most four times uniform's rate costs some of it with so few devices.
    assert sampling_variance(NORMS, p) / sampling_variance(NORMS, UNIFORM) == pytest.approx(0.18, abs=0.01)


@pytest.mark.parametrize(("sigma", "bounded", "best"), [(1.0, 0.388, 0.329), (1.5, 0.251, 0.073)])
def test_what_the_bounds_cost_and_bring(sigma: float, bounded: float, best: float) -> None:
    """1,000 devices, 20 senders: the figures of ``gossamer/wire/chance.py``; then a tenth of them attacks."""
    rng = np.random.default_rng(0)
    u = np.linalg.norm(rng.standard_normal((1000, 50)) * rng.lognormal(0, sigma, 1000)[:, None], axis=1)
    schedule = Participation(4, 1, 1000, 50)
    attacked = np.where(np.arange(1000) < 100, 1e6, u)
    uniform = sampling_variance(u, np.full(1000, 0.02))
    assert sampling_variance(u, ocs(u, 20)) / uniform == pytest.approx(best, abs=1e-3)
    for norms in (u, attacked):
        threshold = next_threshold(norms, np.ones(1000), 20, bounds(schedule), before=None)
        p = np.array([chance(norm, threshold, schedule) for norm in norms])
        assert p.sum() == pytest.approx(20, rel=1e-4)
        if norms is u:
            assert sampling_variance(u, p) / uniform == pytest.approx(bounded, abs=1e-3)
    assert p[100:].sum() / 18 == pytest.approx(0.67, abs=0.01)
    assert np.maximum(ocs(attacked, 20), bounds(schedule)[0])[100:].sum() / 18 == pytest.approx(0.1, abs=0.01)


def rounds(threshold: float | None, count: int, first: int = 0) -> tuple[list[Array], Array]:
    p = device_chances(threshold)
    sent = [
        np.array([i for i in range(32) if sends(p[i], SCHEDULE, first + round_, i)], dtype=int)
        for round_ in range(count)
    ]
    return sent, p


@pytest.mark.parametrize("threshold", [0.05, 0.5, None])
def test_the_sum_is_right_on_average_whatever_the_threshold(threshold: float | None) -> None:
    """Real coins of 4,000 rounds; the error of the mean within 4 standard deviations of what theory says."""
    count = 4000
    sent, p = rounds(threshold, count)
    estimates = np.array([factors(p[who], 32) @ UPDATES[who] for who in sent])
    mean = UPDATES.mean(0)
    variance = sampling_variance(NORMS, p) / 32**2
    assert np.linalg.norm(estimates.mean(0) - mean) < 2 * math.sqrt(variance / count)
    assert np.square(estimates - mean).sum(1).mean() == pytest.approx(variance, rel=0.2)
    weights = np.mean([factors(p[who], 32).sum() for who in sent])
    assert weights == pytest.approx(1.0, abs=0.1)


def test_variance_of_what_devices_do_alone_against_a_uniform_draw() -> None:
    threshold = next_threshold(NORMS, np.ones(32), M, bounds(SCHEDULE), before=None)
    spread = {}
    for name, limit in (("threshold", threshold), ("uniform", None)):
        sent, p = rounds(limit, 3000)
        errors = [factors(p[who], 32) @ UPDATES[who] - UPDATES.mean(0) for who in sent]
        spread[name] = float(np.square(errors).sum(1).mean())
        assert np.mean([len(who) for who in sent]) == pytest.approx(M, abs=0.15)
    assert spread["threshold"] / spread["uniform"] == pytest.approx(0.18, abs=0.04)


@pytest.mark.parametrize("start", [None, 1e-6, 1e6])
def test_the_threshold_finds_as_many_senders_as_wanted(start: float | None) -> None:
    threshold, counts = start, []
    for round_ in range(600):
        sent, p = rounds(threshold, 1, round_)
        counts.append(len(sent[0]))
        after = next_threshold(NORMS[sent[0]], p[sent[0]], M, bounds(SCHEDULE), before=threshold)
        if threshold is not None and after is not None:
            assert abs(math.log(after / threshold)) <= math.log(MAX_CHANGE) + 1e-6
        threshold = after
    assert 2 < np.mean(counts[100:]) < 4.5


def test_few_who_send_huge_updates_do_not_silence_the_others() -> None:
    """3 of 32 attackers, a million times the norm, m = 3: by the optimum they alone would be sampled."""
    attacked = NORMS.copy()
    attacked[:3] = 1e6
    assert ocs(attacked, M)[3:].sum() < 1e-3
    threshold = next_threshold(attacked, np.ones(32), M, bounds(SCHEDULE), before=None)
    honest = device_chances(threshold)[3:].sum()
    assert honest == pytest.approx(M - 3 * bounds(SCHEDULE)[1], rel=1e-4)
    assert honest > 0.6 * M * 29 / 32
    before = next_threshold(NORMS, np.ones(32), M, bounds(SCHEDULE), before=0.1)
    after = next_threshold(attacked, np.ones(32), M, bounds(SCHEDULE), before=before)
    assert before is not None
    assert after is not None
    assert after <= MAX_CHANGE * before * (1 + 1e-6)


def test_silence_lowers_the_threshold() -> None:
    assert next_threshold([], [], M, (0.01, 1.0), before=None) is None
    assert next_threshold([], [], M, (0.01, 1.0), before=1.0) == 1 / MAX_CHANGE
    assert next_threshold([0.0, 0.0], [0.5, 0.5], M, (0.01, 1.0), before=1.0) == 1 / MAX_CHANGE
    assert next_threshold([], [], M, (0.01, 1.0), before=2.0**-100) == 2.0**-100


def test_fewer_than_wanted_all_send() -> None:
    threshold = next_threshold([1.0, 2.0], [1.0, 1.0], 5, (0.01, 1.0), before=None)
    assert threshold == pytest.approx(1.0)


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(importance).failed == 0
