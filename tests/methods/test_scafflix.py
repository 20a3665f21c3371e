"""Scafflix reaches the optimum of its own objective, and devices their personal models, to the last bits of float64."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

import gossamer.methods.iterations as iterations_module
from gossamer.errors import ConfigError
from gossamer.methods import method
from gossamer.methods.iterations import iterations
from gossamer.methods.scafflix import smoothness
from gossamer.wire.codes import UpdateSection
from gossamer.wire.items import encode
from tests.methods.world import Quadratic, Vector, World, rand_k


def unlike(n: int = 6, d: int = 20) -> tuple[list[Quadratic], Vector]:
    """Devices whose largest curvatures are 100, 25 and 6.25, and the best common model.

    With x_i* = c_i a device's f_i(a x + (1 - a) c_i) is a^2 times f_i(x): the same minimiser for every a.
    """
    rng = np.random.default_rng(0)
    fleet = []
    for i in range(n):
        a = np.geomspace(1, 100 / 4 ** (i % 3), d) * rng.uniform(0.7, 1, d)
        a[0], a[-1] = 1, 100 / 4 ** (i % 3)
        fleet.append(Quadratic(a, 3 * rng.standard_normal(d), 0.01, 1))
    return fleet, sum(f.a * f.c for f in fleet) / sum(f.a for f in fleet)


def error(found: Vector, expected: Vector) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def controls(world: World) -> Vector:
    """(n, d), with the last round taken in; all steps equal."""
    step = world.method.chance * world.method.share * world.method.smoothness
    return np.array([own[0] + step * (world.shared[0] - own[1]) for own in world.own.values()])


def balanced(world: World) -> None:
    found = controls(world)
    assert np.abs(found.sum(0)).max() < 1e-14 * len(found) * np.abs(found).max()


@pytest.mark.parametrize(("spec", "rounds"), [("scafflix:0.5/0.1/100", 400), ("scafflix:0.3/0.1/100/6", 200)])
def test_it_reaches_the_optimum_and_everybody_his_own_mixture(spec: str, rounds: int) -> None:
    fleet, best = unlike()
    chosen = method(spec)
    world = World(chosen, fleet, start=2.0)
    world.run(rounds)
    assert error(world.shared[0], best) < 4e-14
    share = float(spec.split(":")[1].split("/")[0])
    for i, each in enumerate(fleet):
        personal = chosen.model(world.shared, world.own[i])
        assert error(personal, share * best + (1 - share) * each.c) < 4e-14
    if not chosen.halvings:
        balanced(world)


def test_personal_steps_are_measured_and_save_rounds() -> None:
    fleet, best = unlike()
    equal, personal = World(method("scafflix:0.5/0.1/100"), fleet), World(method("scafflix:0.5/0.1/100/6"), fleet)
    assert error(personal.run(100), 0.5 * best + 0.5 * fleet[0].c) < 1e-7
    assert error(equal.run(100), 0.5 * best + 0.5 * fleet[0].c) > 1e-6
    halvings = [int(own[3][0]) for own in personal.own.values()]
    assert halvings == [0, 1, 3, 0, 1, 3]


def test_what_one_device_claims_is_bounded() -> None:
    chosen = method("scafflix:0.5/0.1/100/2")
    claims = [{UpdateSection.WEIGHT: encode(claim)} for claim in (4, 2, 5, 1 << 40, "4")]
    assert chosen.factors([*claims, {}]) == pytest.approx(np.array([4, 2, 1, 1, 1, 1]) * 6 / 10)


class Absent(World):
    """Everybody is there in round 0, later half of the fleet by one coin a device."""

    def members(self) -> list[int]:
        return [i for i in range(self.n) if not self.round or self.rng.random() < 0.5]


@pytest.mark.parametrize("kind", [World, Absent])
def test_devices_that_stay_away_or_are_not_counted_cost_speed_alone(kind: type[World]) -> None:
    fleet, best = unlike()
    world = kind(method("scafflix:0.5/0.1/100"), fleet, lost=0.1)
    world.run(800)
    assert error(world.shared[0], best) < 4e-14
    balanced(world)


def test_half_of_the_coordinates_at_random_still_do() -> None:
    fleet, best = unlike()
    world = World(method("scafflix:0.5/0.1/100"), fleet, up=rand_k(10))
    world.run(1400)
    assert error(world.shared[0], best) < 4e-14
    balanced(world)


def test_rounding_of_the_model_does_not_add_up() -> None:
    """The sum of the controls stays within half a unit of the grid, times n p a / step, however many rounds."""
    fleet, best = unlike()
    unit = 2.0**-8
    world = World(method("scafflix:0.5/0.1/100"), fleet, grid=unit)
    for _ in range(8):
        world.run(50)
        assert np.abs(controls(world).sum(0)).max() <= 1.001 * (unit / 2) * len(fleet) * 0.1 * 0.5 * 100
    assert np.abs(world.shared[0] - best).max() < 10 * unit  # p x condition number


def test_smoothness_is_measured_wherever_the_trainer_stopped() -> None:
    fleet, _ = unlike()
    for each in fleet:
        assert smoothness(each, each.c + 1.0) == pytest.approx(each.a.max(), rel=0.2)


def test_iterations_are_geometric_and_bounded() -> None:
    drawn = np.array([iterations(3, number, 0.1) for number in range(5000)])
    assert drawn.min() == 1
    assert drawn.max() <= 400
    assert drawn.mean() == pytest.approx(10, rel=0.05)
    assert drawn.var() == pytest.approx(90, rel=0.1)
    assert [iterations(3, number, 1.0) for number in range(20)] == [1] * 20
    assert doctest.testmod(iterations_module).failed == 0


@pytest.mark.parametrize("numbers", ["0/0.1/1", "1.1/0.1/1", "0.5/0/1", "0.5/0.1/0", "0.5/0.1/1/7", "0.5/0.1/1/0.5"])
def test_unusable_numbers_are_refused(numbers: str) -> None:
    with pytest.raises(ConfigError, match="scafflix"):
        method(f"scafflix:{numbers}")
