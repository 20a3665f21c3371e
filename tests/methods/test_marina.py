"""Byz-VR-MARINA-PP under shift-back attackers who are now and then the majority of a cohort."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gossamer.errors import ConfigError
from gossamer.methods import Round, method
from gossamer.methods.base import View
from gossamer.methods.marina import batch_seed
from tests.methods.logistic import RIDGE, Logistic, table
from tests.methods.world import Vector, World, quadratics, rand_k

HONEST, DEVICES, COHORT, FULL = 15, 20, 4, 0.1
SMOOTHNESS = 0.25 + RIDGE
RATE = 0.5 / SMOOTHNESS


def median_of_means(vectors: list[Vector], rng: np.random.Generator) -> Vector:
    """Buckets of two, then the geometric median (smoothed Weiszfeld)."""
    shuffled = np.array(vectors)[rng.permutation(len(vectors))]
    buckets = np.array([shuffled[i : i + 2].mean(0) for i in range(0, len(shuffled), 2)])
    found = np.median(buckets, axis=0)
    for _ in range(8):
        weights = 1 / np.maximum(1e-6, np.linalg.norm(buckets - found, axis=1))
        found = weights @ buckets / weights.sum()
    return found


class ShiftBack(World):
    """Devices 15 to 19 send the model back to where it began as soon as they are more than the others."""

    majorities = 0

    def members(self) -> list[int]:
        if self.round == 0 or self.rng.random() < FULL:
            return list(range(self.n))
        return sorted(self.rng.choice(self.n, COHORT, replace=False).tolist())

    def tampered(self, members: list[int], sent: list[Vector]) -> list[Vector]:
        honest = [vector for i, vector in zip(members, sent, strict=True) if i < HONEST]
        bad = len(sent) - len(honest)
        if bad > len(honest):
            self.majorities += 1
            return honest + [self.shared[0] / self.method.rate - self.memory["gradient"]] * bad
        return honest + [np.mean(honest, axis=0)] * bad

    def aggregate(self, vectors: list[Vector]) -> Vector:
        return median_of_means(vectors, self.rng)


def attacked(reach: float, seed: int, **more: Any) -> ShiftBack:
    x, t = table()
    device = Logistic(x / np.linalg.norm(x, axis=1, keepdims=True), t)
    return ShiftBack(method(f"marina:{reach:.6g}/{RATE:.6g}"), [device] * DEVICES, seed=seed, **more)  # type: ignore[list-item]


def slope(world: World) -> float:
    return float(np.linalg.norm(world.locals[0].gradient(world.shared[0])[0]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clipped_differences_reach_the_optimum_under_attack(seed: int) -> None:
    world = attacked(2 * SMOOTHNESS, seed)
    world.run(1500)
    assert world.majorities > 30
    assert slope(world) < 1e-12


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_the_clipping_they_do_not(seed: int) -> None:
    world = attacked(1e300, seed)
    for _ in range(6):
        world.run(100)
        assert slope(world) > 1e-5


def test_compressed_differences_do_too() -> None:
    world = attacked(8 * SMOOTHNESS, 0, up=rand_k(16))
    world.run(700)
    assert slope(world) < 1e-6


def test_on_a_grid_it_ends_within_the_grid() -> None:
    world = attacked(2 * SMOOTHNESS, 0, grid=2.0**-20)
    world.run(400)
    assert slope(world) < 1e-5


def test_unlike_devices_without_attack() -> None:
    fleet, best = quadratics(8, 6, 10.0)

    class Coin(World):
        def members(self) -> list[int]:
            if self.round == 0 or self.rng.random() < 0.25:
                return list(range(self.n))
            return sorted(self.rng.choice(self.n, 4, replace=False).tolist())

    world = Coin(method("marina:80/0.02"), fleet)
    np.testing.assert_allclose(world.run(1500), best, atol=1e-9)


def test_the_minibatch_is_the_same_at_both_points_and_another_every_time() -> None:
    fleet, _ = quadratics(1, 6, 10.0, noise=1.0)
    chosen = method("marina:1/0.1")
    shared = np.stack([np.ones(6), np.full(6, 0.5)])
    where = Round(3, 7, 0, 9, 3, 0.1, full=False)
    draft = chosen.train(shared, None, fleet[0], where)
    assert not draft.exact
    np.testing.assert_allclose(draft.vector, fleet[0].a * 0.5, rtol=1e-12)
    others = [Round(4, 7, 0, 9, 3, 0.1), Round(3, 8, 0, 9, 3, 0.1), Round(3, 7, 1, 9, 3, 0.1)]
    assert len({batch_seed(each) for each in [where, *others]}) == 4


def test_full_rounds_are_exact_unclipped_and_the_first_is_one() -> None:
    fleet, _ = quadratics(1, 6, 10.0)
    chosen = method("marina:2/0.1")
    shared = np.stack([np.ones(6), np.full(6, 0.5)])
    for number, full, expected in [(0, False, None), (5, True, None), (5, False, 2 * np.sqrt(6) / 2)]:
        draft = chosen.train(shared, None, fleet[0], Round(number, 7, 0, 9, 3, 0.1, full=full))
        assert draft.exact is (expected is None)
        radius = chosen.clip({}, View(shared, shared, 9, 3, number, 3, full=full))
        assert radius == (None if expected is None else pytest.approx(expected))


def test_a_change_is_added_and_the_model_goes_downhill() -> None:
    shared = np.array([[1.0, 2.0], [0.5, 0.0]])
    view = View(shared, shared, 9, 3, 5, 3, full=False)
    moves, memory = method("marina:2/0.5").step({"gradient": np.array([4.0, 1.0])}, np.array([2.0, -3.0]), view)
    np.testing.assert_array_equal(memory["gradient"], [6.0, -2.0])
    np.testing.assert_array_equal(moves, [[-3.0, 1.0], [-3.5, 1.0]])


def test_changes_of_nothing_move_nothing() -> None:
    shared = np.zeros((2, 6))
    moves, memory = method("marina:2/0.1").step({}, np.ones(6), View(shared, shared, 9, 3, 5, 3, full=False))
    assert not moves.any()
    assert not memory


@pytest.mark.parametrize("numbers", ["0/1", "inf/1", "1/0", "1/inf", "1/nan"])
def test_unusable_numbers_are_refused(numbers: str) -> None:
    with pytest.raises(ConfigError, match="marina"):
        method(f"marina:{numbers}")
