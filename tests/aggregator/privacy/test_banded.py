"""Banded noise: sensitivity by brute force, the recursion as a function of C x + z, and what it gains."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.optimize import minimize

from gossamer.aggregator.privacy import PrivacySettings, plan, private_rule
from gossamer.aggregator.privacy.banded import (
    ONE,
    best_exponent,
    coefficients,
    next_noise,
    prefix_errors,
    relative_error,
    sensitivity,
)
from gossamer.aggregator.rules import Updates

SECRET = bytes(range(32))


def matrix(c: tuple[int, ...], rounds: int, *, rows: int = 0) -> np.ndarray:
    """C as a dense matrix; with more ``rows`` than rounds, columns are not cut off at the end."""
    dense = np.zeros((rows or rounds, rounds))
    for t in range(rounds):
        for j, value in enumerate(c):
            if t + j < len(dense):
                dense[t + j, t] = value / ONE
    return dense


def schedules(cycle: int, cycles: int, *, reshuffled: bool) -> list[list[int]]:
    """All rounds that a device may take part in."""
    places = product(range(cycle), repeat=cycles) if reshuffled else ((p,) * cycles for p in range(cycle))
    return [[k * cycle + place for k, place in enumerate(each)] for each in places]


@pytest.mark.parametrize("reshuffled", [False, True])
@pytest.mark.parametrize(
    ("bands", "cycle", "cycles"), [(1, 2, 3), (2, 2, 5), (2, 3, 4), (3, 3, 4), (4, 4, 4), (3, 5, 3)]
)
def test_sensitivity_is_that_of_the_worst_schedule(bands: int, cycle: int, cycles: int, reshuffled: bool):
    for exponent in (0.25, 0.5, 0.75, 1.0):
        c = coefficients(bands, exponent)
        full = matrix(c, cycle * cycles, rows=cycle * cycles + bands)
        found = [
            np.linalg.norm(full[:, rounds].sum(axis=1)) for rounds in schedules(cycle, cycles, reshuffled=reshuffled)
        ]
        assert sensitivity(c, cycles, cycle, reshuffled=reshuffled) == pytest.approx(max(found), rel=1e-11)


@pytest.mark.parametrize("reshuffled", [False, True])
def test_no_choice_of_vectors_moves_more(reshuffled: bool):
    """Unit vectors of any direction, and directions found by ascent, in every schedule."""
    rng, c, cycle, cycles = np.random.default_rng(0), coefficients(3, 0.75), 3, 3
    full = matrix(c, 9, rows=12)
    limit, worst = sensitivity(c, cycles, cycle, reshuffled=reshuffled), 0.0
    for rounds in schedules(cycle, cycles, reshuffled=reshuffled):
        vectors = rng.standard_normal((cycles, 4))
        for _ in range(20):
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            moved = full[:, rounds] @ vectors
            worst = max(worst, float(np.linalg.norm(moved)))
            vectors = full[:, rounds].T @ moved
    assert 0.999 * limit < worst <= limit


def test_columns_of_fixed_groups_do_not_touch():
    c = coefficients(5, 0.75)
    norm = math.sqrt(sum(x * x for x in c)) / ONE
    assert sensitivity(c, 40, 5, reshuffled=False) == pytest.approx(math.sqrt(40) * norm)
    assert sensitivity(c, 40, 5, reshuffled=True) > 1.05 * math.sqrt(40) * norm
    assert sensitivity(c, 1, 5, reshuffled=True) == pytest.approx(norm)
    assert sensitivity(c, 0, 5, reshuffled=True) == 0.0


def test_what_is_released_is_a_function_of_the_private_vector_alone():
    """x(t) + n(t), as it is computed, against a second implementation that sees only y = C x + z."""
    rng, c, d = np.random.default_rng(1), coefficients(4, 0.625), 50
    x = rng.integers(-(10**6), 10**6, (30, d))
    z = rng.integers(-(10**10), 10**10, (30, d))
    noises: list[np.ndarray] = []
    released: list[np.ndarray] = []
    for t in range(30):
        noises.insert(0, next_noise(z[t], noises, c))
        y = z[t] + sum(c[j] * x[t - j] for j in range(min(4, t + 1)))
        left = y - sum(c[j] * released[t - j] for j in range(1, min(4, t + 1)))
        released.append(np.floor_divide(left + ONE // 2, ONE))
        assert (x[t] + noises[0] == released[t]).all()


def test_noise_solves_the_banded_system():
    rng, c = np.random.default_rng(2), coefficients(5, 0.75)
    z = rng.integers(-(10**12), 10**12, (60, 20))
    noises: list[np.ndarray] = []
    for row in z:
        noises.insert(0, next_noise(row, noises, c))
    solved = np.linalg.solve(matrix(c, 60), z / ONE)
    assert np.abs(np.array(noises[::-1]) - solved).max() < 10.0  # lattice units, of 2.4e8


def test_prefix_errors_are_those_of_the_dense_matrix():
    for c in (coefficients(1, 0.0), coefficients(3, 0.5), coefficients(10, 0.875)):
        noise = np.tril(np.ones((40, 40))) @ np.linalg.inv(matrix(c, 40))
        assert prefix_errors(c, 40) == pytest.approx(np.linalg.norm(noise, axis=1))
    assert prefix_errors(coefficients(1, 0.0), 4) == pytest.approx(np.sqrt([1, 2, 3, 4]))


@pytest.mark.parametrize(("participation", "gain"), [("fixed", 0.56), ("reshuffled", 0.70)])
def test_the_model_is_less_noisy_at_the_same_epsilon(participation: str, gain: float):
    """Measured through the rule, against the formula and against independent noise."""
    settings, rounds, d = {"epsilon": 4.0, "delta": 1e-5, "clip_norm": 1.0}, 60, 3000
    measured, planned = [], []
    for mechanism in ("gaussian", "banded:5"):
        made = plan(
            PrivacySettings(**settings, mechanism=mechanism), rounds=rounds, cohorts=5, participation=participation
        )
        planned.append(made)
        state, model, squares = private_rule(made, SECRET, 0, 1).init(d), np.zeros(d), []
        silent = Updates.dense(np.zeros((1, d), dtype=np.float32))
        for round_ in range(rounds):
            aggregate, state, _ = private_rule(made, SECRET, round_, 1).apply(state, silent)
            model += aggregate
            squares.append(float((model**2).mean()))
        expected = made.noise_multiplier * prefix_errors(made.coefficients, rounds)
        assert np.sqrt(squares) == pytest.approx(expected, rel=5 / math.sqrt(2 * d))
        measured.append(math.sqrt(np.mean(squares)))
    assert planned[0].epsilon == pytest.approx(planned[1].epsilon, rel=1e-3)
    ratio = measured[1] / measured[0]
    assert ratio < gain
    reshuffled = participation == "reshuffled"
    assert ratio == pytest.approx(relative_error(planned[1].coefficients, rounds, 5, reshuffled=reshuffled), rel=0.05)


def test_the_planned_noise_pays_for_the_worst_schedule():
    """Epsilon from the dense matrix, the worst schedule and the sigma used, by the equation itself."""
    made = plan(PrivacySettings(3.0, 1e-5, 1.0, mechanism="banded:3"), rounds=12, cohorts=3, participation="reshuffled")
    full = matrix(made.coefficients, 12, rows=15)
    worst = max(np.linalg.norm(full[:, rounds].sum(axis=1)) for rounds in schedules(3, 4, reshuffled=True))
    s = made.noise_multiplier / float(worst)
    tail = [0.5 * math.erfc(-(side / (2 * s) - 3.0 * s) / math.sqrt(2.0)) for side in (1.0, -1.0)]
    assert tail[0] - math.exp(3.0) * tail[1] == pytest.approx(1e-5, rel=1e-3)


@pytest.mark.parametrize(("reshuffled", "share"), [(False, 1.005), (True, 1.03)])
def test_coefficients_are_near_the_best_banded_toeplitz_matrix(reshuffled: bool, share: float):
    rounds, cycle, bands = 60, 5, 3
    exponent = best_exponent(bands, rounds, cycle, reshuffled=reshuffled)
    ours = relative_error(coefficients(bands, exponent), rounds, cycle, reshuffled=reshuffled)

    def cost(free: np.ndarray) -> float:
        c = (ONE, *(round(x * ONE) for x in free.tolist()))
        return relative_error(c, rounds, cycle, reshuffled=reshuffled)

    best = minimize(cost, [0.6, 0.4], method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-6}).fun
    assert best * (1 - 1e-6) <= ours <= share * best


def test_coefficients_never_increase():
    for exponent in (0.0, 0.25, 0.5, 1.0):
        c = coefficients(64, exponent)
        assert c[0] == ONE
        assert list(c) == sorted(c, reverse=True)
        assert min(c) >= 0
    assert coefficients(4, 1.0) == (ONE,) * 4  # C^-1 is then the difference of neighbours
