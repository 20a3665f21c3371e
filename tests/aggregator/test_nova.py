"""FedNova's factors: the formula, the optimum they restore, and what a lie about steps gains."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.aggregator import nova
from gossamer.aggregator.nova import bounded_steps, momentum_steps, normalisation, proximal_steps
from gossamer.errors import InputError


@given(st.lists(st.tuples(st.integers(4, 40), st.floats(0.1, 10.0)), min_size=1, max_size=9))
def test_the_formula(devices: list[tuple[int, float]]) -> None:
    """One term at a time, with claims within the bound: sum p_i f_i u_i = t_eff sum p_i u_i / t_i."""
    steps, weights = [t for t, _ in devices], [w for _, w in devices]
    total = sum(weights)
    effective = sum(w / total * t for t, w in devices)
    found = normalisation(steps, weights)
    assert found.steps == pytest.approx(effective, rel=1e-12)
    updates = np.cos(np.arange(len(steps)))
    ours = sum(w / total * f * u for w, f, u in zip(weights, found.factors, updates, strict=True))
    theirs = effective * sum(w / total * u / t for w, u, t in zip(weights, updates, steps, strict=True))
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def test_equal_steps_change_nothing() -> None:
    assert normalisation([7, 7, 7], [1.0, 5.0, 2.0]).factors.tolist() == [1.0, 1.0, 1.0]


# Objective inconsistency: f_i = a_i (x - c_i)^2 / 2, weights p, t_i plain gradient steps ---------------------------

CENTRES, CURVATURES, WEIGHTS, STEPS = np.array([0.0, 10.0]), np.array([1.0, 2.0]), np.array([0.5, 0.5]), [4, 20]


def fixed_point(rate: float, normalised: bool, steps: list[int], effective: list[float] | None = None) -> float:
    """Where rounds of local training end."""
    factors = normalisation(effective or steps, WEIGHTS).factors if normalised else np.ones(2)
    x = 0.0
    for _ in range(int(40 / rate / min(steps))):
        deltas = []
        for centre, curvature, count in zip(CENTRES, CURVATURES, steps, strict=True):
            local = x
            for _ in range(count):
                local -= rate * curvature * (local - centre)
            deltas.append(local - x)
        x += float(np.dot(WEIGHTS * factors, deltas))
    return x


def optimum(weights: np.ndarray) -> float:
    return float((weights * CURVATURES * CENTRES).sum() / (weights * CURVATURES).sum())


def test_the_optimum_is_the_right_one_again() -> None:
    """FedAvg ends at the optimum weighted by steps, 9.09; FedNova at 6.67, up to the drift of order of the rate."""
    wanted, inconsistent = optimum(WEIGHTS), optimum(WEIGHTS * STEPS)
    assert (wanted, inconsistent) == (pytest.approx(20 / 3), pytest.approx(200 / 22))
    errors = [abs(fixed_point(rate, True, STEPS) - wanted) for rate in (0.004, 0.002, 0.001)]
    assert errors[2] < 0.04
    assert errors[0] / errors[1] == pytest.approx(2.0, abs=0.15)  # it vanishes with the rate
    assert errors[1] / errors[2] == pytest.approx(2.0, abs=0.15)
    assert abs(fixed_point(0.001, False, STEPS) - wanted) > 2.3  # and this does not
    assert fixed_point(0.001, False, STEPS) == pytest.approx(inconsistent, abs=0.05)


def test_with_equal_curvature_it_is_exact_at_any_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drift of a (x - c)^2 / 2 is that of a proximal term of the same pull: effective steps take it out."""
    monkeypatch.setattr("tests.aggregator.test_nova.CURVATURES", np.array([2.0, 2.0]))
    rate = 0.05
    effective = [proximal_steps(count, rate * 2.0) for count in STEPS]
    assert fixed_point(rate, True, STEPS, effective) == pytest.approx(5.0, abs=1e-12)
    assert abs(fixed_point(rate, True, STEPS) - 5.0) > 0.5
    assert abs(fixed_point(rate, False, STEPS) - 5.0) > 0.5


# Effective steps -------------------------------------------------------------------------------------------------


@given(st.integers(1, 30), st.floats(0.0, 0.95))
def test_effective_steps_are_what_a_constant_gradient_moves(steps: int, damping: float) -> None:
    velocity, moved = 0.0, 0.0
    for _ in range(steps):
        velocity = damping * velocity + 1.0
        moved += velocity
    assert momentum_steps(steps, damping) == pytest.approx(moved, rel=1e-9)
    pulled = 0.0
    for _ in range(steps):
        pulled += 1.0 - damping * pulled
    assert proximal_steps(steps, damping) == pytest.approx(pulled, rel=1e-6)


@pytest.mark.parametrize("wrong", [-0.1, 1.0, math.nan])
def test_what_is_no_damping(wrong: float) -> None:
    for effective in (momentum_steps, proximal_steps):
        with pytest.raises(InputError):
            effective(3, wrong)


# Lies ------------------------------------------------------------------------------------------------------------

honest = st.lists(st.integers(5, 20), min_size=4, max_size=9)
lies = st.one_of(st.integers(-10, 10**12), st.floats())


@given(honest, lies)
def test_a_lie_is_bounded(steps: list[int], lie: float) -> None:
    n = len(steps) + 1
    before = normalisation(steps, np.ones(n - 1)).factors
    found = normalisation([*steps, lie], np.ones(n))
    assert np.isfinite(found.factors).all()
    assert (found.factors > 0).all()
    # The others' steps get longer by the liar's own share of the bound at most, and shorter by its share.
    longer = found.factors[:-1] / before
    assert longer.max() < 1 + 40 * nova.BOUND / (5 * n)
    assert longer.min() > 1 - 1 / n - 1e-12
    # To itself it cannot give more than the bound, beside what others get.
    assert found.factors[-1] <= nova.BOUND * found.steps / sorted([*steps, 1])[(n - 1) // 2] + 1e-9


def test_who_claims_more_only_shrinks_itself() -> None:
    claims = [10, 10, 10, 10]
    for lie in (10, 100, 10**9):
        factors = normalisation([*claims, lie], np.ones(5)).factors
        weight = factors[-1] / factors.sum()
        assert weight <= 1 / 5
    assert factors[0] == pytest.approx(1 + (nova.BOUND - 1) / 5)


def test_a_bound_of_one_is_plain_averaging() -> None:
    assert normalisation([3, 500, 7], [1.0, 2.0, 3.0], bound=1.0).factors.tolist() == [1.0, 1.0, 1.0]


def test_claims_that_are_none_count_as_one_step() -> None:
    assert bounded_steps([0, -5, math.nan, 1, 1]).tolist() == [1.0] * 5
    assert bounded_steps([math.inf, 1, 1]).tolist() == [10.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("steps", "weights"), [([], []), ([1], [0.0]), ([1], [1.0, 1.0]), ([1], [-1.0]), ([1], [math.nan])]
)
def test_what_is_refused(steps: list[int], weights: list[float]) -> None:
    with pytest.raises(InputError, match="weights"):
        normalisation(steps, weights)
    with pytest.raises(InputError, match="bound"):
        normalisation([1], [1.0], bound=0.5)


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(nova).failed == 0
