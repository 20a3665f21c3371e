"""RR-CLI over our own schedule and server step: reshuffled cycles with a longer outer step beat uniform draws.

Two strongly convex problems, 20 devices in cohorts of 4, one shuffled local pass, equal rounds; the gap to the
optimum, mean over the last 10 of 100 cycles. Set-up and expected ratios (quadratic 48, logistic 280): a separate
implementation of RR-CLI, five seeds each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

from gossamer.aggregator.server_step import Turn, server_step
from gossamer.wire.participation import Participation, ParticipationRule

Array = NDArray[np.float64]
DEVICES, COHORTS, CYCLES = 20, 5, 100


@dataclass(frozen=True)
class Problem:
    """``gradient(x (C, d), devices (C,), samples (C,)) -> (C, d)``; ``gap(x)`` of the mean over everything."""

    samples: int
    d: int
    gradient: Callable[[Array, Array, Array], Array]
    gap: Callable[[Array], float]


def quadratic() -> Problem:
    """Least squares whose devices want different weights."""
    rng, n, d, ridge = np.random.default_rng(0), 8, 10, 0.1
    centres = 3 * rng.standard_normal((DEVICES, 1, d))
    a = rng.standard_normal((DEVICES, n, d))
    a[..., 0] *= 3
    y = np.einsum("mnd,mnd->mn", a, centres + rng.standard_normal((DEVICES, n, d)))
    flat = a.reshape(-1, d)
    best = np.linalg.solve(flat.T @ flat / len(flat) + ridge * np.eye(d), flat.T @ y.ravel() / len(flat))

    def loss(x: Array) -> float:
        return float(0.5 * np.mean((a @ x - y) ** 2) + 0.5 * ridge * x @ x)

    def gradient(x: Array, devices: Array, samples: Array) -> Array:
        rows = a[devices, samples]
        return rows * ((rows * x).sum(-1) - y[devices, samples])[:, None] + ridge * x

    return Problem(n, d, gradient, lambda x: loss(x) - loss(best))


def logistic() -> Problem:
    """Breast cancer, dealt to the devices in the order of its first feature."""
    features, target = load_breast_cancer(return_X_y=True)
    x = np.c_[(features - features.mean(0)) / features.std(0), np.ones(len(features))]
    n, ridge, rng = 25, 0.01, np.random.default_rng(0)
    taken = rng.permutation(len(x))[: DEVICES * n]
    order = taken[np.argsort(x[taken, 0] + 0.3 * rng.standard_normal(len(taken)))]
    z, sign = x[order] / np.sqrt(31), 2.0 * target[order] - 1.0
    rows, signs = z.reshape(DEVICES, n, -1), sign.reshape(DEVICES, n)

    def loss(w: Array) -> float:
        return float(np.mean(np.logaddexp(0.0, -sign * (z @ w))) + 0.5 * ridge * w @ w)

    best = np.zeros(31)
    for _ in range(30):  # Newton
        p = 1 / (1 + np.exp(sign * (z @ best)))
        hessian = (z * (p * (1 - p))[:, None]).T @ z / len(z) + ridge * np.eye(31)
        best -= np.linalg.solve(hessian, -(sign * p) @ z / len(z) + ridge * best)

    def gradient(w: Array, devices: Array, samples: Array) -> Array:
        row, s = rows[devices, samples], signs[devices, samples]
        return -(s / (1 + np.exp(s * (row * w).sum(-1))))[:, None] * row + ridge * w

    return Problem(n, 31, gradient, lambda w: loss(w) - loss(best))


def mean_gap(problem: Problem, rule: ParticipationRule, spec: str, step: float, seed: int) -> float:
    """The job: cohorts from the schedule, one shuffled pass each, the mean of their deltas to the server step."""
    schedule = Participation(rule, seed, DEVICES, COHORTS)
    optimizer, rng, x, gaps = server_step(spec), np.random.default_rng(seed), np.zeros(problem.d), []
    state = optimizer.init(problem.d)
    for round_ in range(CYCLES * COHORTS):
        cohort = np.array(schedule.cohort(round_))
        order = np.array([rng.permutation(problem.samples) for _ in cohort])
        local = np.repeat(x[None], len(cohort), 0)
        for sample in order.T:
            local -= step * problem.gradient(local, cohort, sample)
        move, state = optimizer.apply(state, (local - x).mean(0), Turn(round_, COHORTS))
        x = x + move
        if (round_ + 1) % COHORTS == 0:
            gaps.append(problem.gap(x))
    return float(np.mean(gaps[-10:]))


@pytest.mark.parametrize(
    ("make", "step", "rate", "factor"), [(quadratic, 0.0005, 1.0, 10.0), (logistic, 0.008, 2.0, 50.0)]
)
def test_amplified_reshuffling_beats_uniform_draws(
    make: Callable[[], Problem], step: float, rate: float, factor: float
) -> None:
    problem, seeds = make(), (0, 1, 2)
    uniform = [mean_gap(problem, ParticipationRule.UNIFORM, f"fedavg:{rate}", step, seed) for seed in seeds]
    cycles = [
        mean_gap(problem, ParticipationRule.RESHUFFLED, f"fedavg:{rate}+amplify:2", step, seed) for seed in seeds
    ]
    assert min(cycles) > 0  # the optimum is one
    assert np.mean(uniform) > factor * np.mean(cycles)
