"""Local steps with compression both ways, in as many rounds as the theory's rate says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gossamer.errors import ConfigError
from gossamer.methods import method
from gossamer.methods.iterations import iterations
from tests.methods.world import Vector, World, exact, quadratics, rand_k

ACCURACY = 1e-10


class Absent(World):
    """Everybody is there in round 0, later four fifths of the fleet."""

    def members(self) -> list[int]:
        return [i for i in range(self.n) if not self.round or self.rng.random() < 0.8]


def problem(n: int, d: int, condition: float, kept: int, kind: type[World] = World, **more: float) -> World:
    fleet, _ = quadratics(n, d, condition)
    variance = d / kept - 1
    codec = exact if kept == d else rand_k(kept)
    return kind(method(f"bicolor:{condition}/1/{variance}/{variance}"), fleet, up=codec, down=codec, **more)  # type: ignore[arg-type]


def best(world: World) -> Vector:
    a, c = (np.array([getattr(each, name) for each in world.locals]) for name in "ac")
    return (a * c).sum(0) / a.sum(0)


def completed(world: World) -> tuple[Vector, Vector, Vector, Vector]:
    """Models and duals (n, d) of the devices after the server's last move, the server's dual and y's."""
    k = world.method.constants(world.n)
    own = np.array([world.own[i] for i in range(world.n)])
    down = (world.shared[0] - own[:, 3]) * k.ridge / k.dual
    last = (world.shared[0] - world.memory["shared"]) * k.ridge / k.dual
    server = world.memory["dual"] - 2 * k.dual * last
    return own[:, 0] + k.primal * down, own[:, 1] + k.dual * down, server, k.ridge * world.shared[0]


def rounds_to(world: World, most: int) -> int:
    """Rounds until the devices' models are as accurate as asked, in tens."""
    expected = best(world)
    while world.round < most:
        world.run(10)
        models = completed(world)[0]
        if math.sqrt(np.mean((models - expected) ** 2) / np.mean(expected**2)) < ACCURACY:
            return world.round
    raise AssertionError(f"not there in {most} rounds")


def balanced(world: World) -> None:
    _, duals, server, common = completed(world)
    assert np.abs(duals.mean(0) + server + common).max() * world.n < 1e-10


@pytest.mark.parametrize(
    ("shape", "seed", "fewest", "most"),
    [
        ((4, 8, 10.0, 4), 0, 560, 700),
        ((4, 8, 10.0, 4), 1, 560, 700),
        ((4, 8, 10.0, 4), 2, 560, 700),
        ((10, 20, 200.0, 10), 0, 2500, 3150),
        ((10, 20, 200.0, 20), 0, 850, 1050),
    ],
)
def test_it_takes_the_rounds_that_theory_says(
    shape: tuple[int, int, float, int], seed: int, fewest: int, most: int
) -> None:
    world = problem(*shape, seed=seed)
    assert fewest <= rounds_to(world, most) <= most
    balanced(world)
    expected = best(world)
    assert np.linalg.norm(world.shared[0] - expected) < 1e-8 * np.linalg.norm(expected)
    slopes = [f.a * (expected - f.c) - 2 / 3 * expected for f in world.locals]  # of the devices' shares
    np.testing.assert_allclose(completed(world)[1], slopes, atol=1e-6)


def test_every_round_is_that_of_the_plain_algorithm() -> None:
    """Written down with all sums over devices, duals of the server and y among them, as one machine would do it."""
    n, d, condition, kept, variance, start = 5, 8, 10.0, 4, 1.0, 2.0
    world = problem(n, d, condition, kept, start=start)
    a, c = (np.array([getattr(each, name) for each in world.locals]) for name in "ac")
    big, small = 3 + 2 * variance + 2 * variance / n, 1 + 4 * variance
    smooth, convex = condition - 2 / 3, 1 / 3
    step, chance, rho = 1 / smooth, min(1.0, math.sqrt(big * small * convex / smooth)), 1 / big
    eta = chance / (big * small) / step
    codec, rng = rand_k(kept), np.random.default_rng(0)
    x, xs, y = np.full((n, d), start), np.full(d, start), np.full(d, start)
    u, v = np.zeros((n, d)), n * convex * y
    us = -v
    for number in range(12):
        for _ in range(iterations(0, number, chance)):
            x = x - step * (a * (x - c) - 2 * convex * x - u)
            xs = xs - step / n * (n * convex * xs - us)
            y = y - step / n * (n * convex * y - v)
        up = np.array([codec(each - y, rng) for each in x])
        down = codec(xs - y, rng)
        x, u = x + rho * (down - (x - y)), u + eta * (down - up)
        xs, us = xs + rho * (up.mean(0) - 2 * (xs - y)), us + eta * (up.sum(0) - 2 * n * down)
        y, v = y + rho * down, v + eta * n * down
        world.run(1)
        models, duals, server, common = completed(world)
        for ours, plain in [(models, x), (duals, u), (server * n, us), (common * n, v), (world.memory["model"], xs)]:
            np.testing.assert_allclose(ours, plain, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("kind", "lost"), [(World, 0.1), (Absent, 0.0)])
def test_absent_devices_cost_speed_alone(kind: type[World], lost: float) -> None:
    world = problem(4, 8, 10.0, 4, kind, lost=lost)
    assert rounds_to(world, 1200) > 620
    balanced(world)


def test_rounding_of_the_model_does_not_add_up() -> None:
    world = problem(4, 8, 10.0, 4, grid=2.0**-12)
    for _ in range(4):
        world.run(200)
        balanced(world)
    assert np.abs(world.shared[0] - best(world)).max() < 20 * 2.0**-12


@pytest.mark.parametrize("numbers", ["1/1", "1/0", "inf/1", "9/1/-1", "9/1/0/inf", "9/1/nan", "1e12/1"])
def test_unusable_numbers_are_refused(numbers: str) -> None:
    with pytest.raises(ConfigError, match="bicolor"):
        method(f"bicolor:{numbers}")
