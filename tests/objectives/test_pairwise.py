"""Squared hinge over pairs: against a naive double loop, and what a fleet of unequal devices minimises."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.objectives import pairwise
from gossamer.objectives.local import PairwiseLocal
from tests.objectives.federation import RawPool


def naive(active: list[float], passive: np.ndarray, sign: int) -> tuple[float, list[float]]:
    """Loss and gradient by the active scores; ``sign`` +1 where they are the positives."""
    pairs = [(i, h, z) for i, h in enumerate(active) for z in passive[i]]
    loss, gradient = 0.0, [0.0] * len(active)
    for i, h, z in pairs:
        margin = max(0.0, 1.0 - sign * (h - z))
        loss += margin**2 / len(pairs)
        gradient[i] -= 2 * sign * margin / len(pairs)
    return loss, gradient


def test_values_and_coefficients_are_those_of_a_double_loop() -> None:
    rng = np.random.default_rng(0)
    active, passive = rng.normal(size=6), rng.normal(size=(6, 9))
    loss, gradient = naive(active.tolist(), passive, +1)
    assert pairwise.positive_value(active, passive) == pytest.approx(loss)
    np.testing.assert_allclose(pairwise.positive_coefficients(active, passive), gradient, rtol=1e-12)
    loss, gradient = naive(active.tolist(), passive, -1)
    assert pairwise.negative_value(active, passive) == pytest.approx(loss)
    np.testing.assert_allclose(pairwise.negative_coefficients(active, passive), gradient, rtol=1e-12)


def fleet() -> list[tuple[np.ndarray, np.ndarray]]:
    """Features and labels of devices of unlike size and rate; one has no positives, one hardly anything else."""
    rng = np.random.default_rng(4)
    out = []
    for n, rate in ((64, 0.25), (320, 0.05), (192, 0.0), (128, 0.8)):
        positive = np.arange(n) < round(n * rate)
        out.append((rng.normal(size=(n, 3)) + positive[:, None] * [1.0, 0.5, 0.0], positive))
    return out


def test_the_sum_of_an_epoch_over_unequal_devices_is_the_gradient_over_all_pairs() -> None:
    """At a fixed model: what devices push in one epoch, all updates alike, points down the fleet's loss."""
    devices, w = fleet(), np.array([0.3, -0.2, 0.1])
    x, y = (np.concatenate(each) for each in zip(*devices, strict=True))
    plus, minus = x[y], x[~y]
    loss_by = np.maximum(0, 1 - (plus @ w)[:, None] + minus @ w)
    down = 2 * (-loss_by.sum(1) @ plus + loss_by.sum(0) @ minus) / loss_by.size
    pool = RawPool()
    pool.turns[0] = [(a @ w, b) for a, b in devices]
    pushed = np.zeros(3)
    rng = np.random.default_rng(7)
    epochs, batch = 150, 32
    for a, b in devices:
        local = PairwiseLocal(b, pool)
        for _ in range(epochs):
            for rows in local.batches(rng, batch):
                pushed += local.step(a[rows] @ w, rows, 0.1, rng)[1] @ a[rows]
    steps = epochs * sum(len(b) for _, b in devices) / batch
    np.testing.assert_allclose(pushed / steps, down, rtol=0, atol=0.03 * np.linalg.norm(down))


def test_without_a_pool_a_device_pairs_its_own() -> None:
    positive = np.array([True, False, False])
    scores = np.array([0.5, 0.0, 1.0])
    loss, coefficients = PairwiseLocal(positive, None).step(scores, np.arange(3), 0.1, np.random.default_rng(0))
    # margins 1 - (0.5 - 0) = 0.5 and 1 - (0.5 - 1) = 1.5
    assert loss == pytest.approx((0.5**2 + 1.5**2) / 2)
    np.testing.assert_allclose(coefficients, [-2.0, 0.5, 1.5])


def test_one_class_and_no_pool_push_nothing() -> None:
    local = PairwiseLocal(np.zeros(4, bool), None)
    assert local.step(np.ones(4), np.arange(4), 0.1, np.random.default_rng(0)) == (0.0, pytest.approx(np.zeros(4)))


def test_one_class_meets_the_other_in_the_pool() -> None:
    pool = RawPool()
    pool.turns[0] = [(np.array([0.25, 0.75]), np.array([True, True])), (np.array([0.0, 0.0]), np.array([False, False]))]
    local = PairwiseLocal(np.zeros(2, bool), pool)
    assert local.weights == {True: 0.0, False: 2.0}
    _, coefficients = local.step(np.array([5.0, -5.0]), np.arange(2), 0.1, np.random.default_rng(0))
    assert coefficients[0] > 10
    assert coefficients[1] == 0


def test_batches_are_half_of_each_class_and_as_many_as_an_epoch_has() -> None:
    positive = np.arange(100) < 3
    batches = list(PairwiseLocal(positive, None).batches(np.random.default_rng(0), 32))
    assert len(batches) == 4
    assert all(len(rows) == 32 and positive[rows].sum() == 16 for rows in batches)
    (alone,) = PairwiseLocal(np.ones(5, bool), None).batches(np.random.default_rng(0), 10)
    assert len(alone) == 5
