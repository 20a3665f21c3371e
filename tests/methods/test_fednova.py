"""FedNova with devices of unequal step counts: its fixed point, and that it is the optimum as steps get small."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from gossamer.methods import method
from gossamer.methods.base import Round
from gossamer.methods.fednova import MAX_FACTOR, MAX_STEPS, read_steps, write_steps
from gossamer.wire.codes import UpdateSection
from tests.methods.world import Quadratic, World, quadratics

STEPS = (1, 3, 10, 30)
Vector = NDArray[np.float64]


def unequal(learning_rate: float) -> tuple[list[Quadratic], Vector]:
    fleet, best = quadratics(len(STEPS), 8, 3.0, learning_rate=learning_rate)
    for device, steps in zip(fleet, STEPS, strict=True):
        device.local_steps = steps
    return fleet, best


def distance(spec: str, learning_rate: float) -> float:
    """Relative, from where the method ends to the optimum."""
    fleet, best = unequal(learning_rate)
    return float(np.linalg.norm(World(method(spec), fleet).run(round(1 / learning_rate)) - best) / np.linalg.norm(best))


@pytest.mark.parametrize("spec", ["fednova", "fednova:7"])
def test_it_ends_where_the_mean_step_of_every_device_balances(spec: str) -> None:
    """s steps from w towards c leave (1 - rate a)^s of the way; FedNova's fixed point weighs the rest of it by 1/s."""
    fleet, _ = unequal(0.05)
    shares = [(1 - (1 - 0.05 * f.a) ** f.local_steps) / f.local_steps for f in fleet]
    expected = sum(s * f.c for s, f in zip(shares, fleet, strict=True)) / sum(shares)
    np.testing.assert_allclose(World(method(spec), fleet).run(400), expected, rtol=1e-11)


def test_the_fixed_point_is_the_optimum_in_the_limit_and_fedavgs_is_not() -> None:
    rates = (0.01, 0.005, 0.0025)
    nova = [distance("fednova:10", rate) for rate in rates]
    average = [distance("fedavg", rate) for rate in rates]
    assert nova[0] < 0.15
    for coarse, fine in itertools.pairwise(nova):  # first order in the rate
        assert 1.8 < coarse / fine < 2.2
    assert min(average) > 0.5
    assert average[2] > 0.9 * average[0]


def test_factors_follow_the_median_or_the_spec() -> None:
    sections = [{UpdateSection.STEPS: write_steps(steps)} for steps in (4, 100, 10)]
    assert method("fednova").factors(sections) == [2.5, 0.1, 1.0]
    assert method("fednova:100").factors(sections) == [16.0, 1.0, 10.0]
    assert method("fednova").factors([{}, {}]) == [1.0, 1.0]
    assert method("fednova").factors([]) == []


def test_a_lie_moves_nobody_else_and_is_bounded() -> None:
    honest = [{UpdateSection.STEPS: write_steps(10)}] * 4
    for claim in (1, MAX_STEPS):
        factors = method("fednova").factors([*honest, {UpdateSection.STEPS: write_steps(claim)}])
        assert list(factors[:4]) == [1.0] * 4
        assert 0 < factors[4] <= MAX_FACTOR


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x1a\xff\xff\xff\xff", b"\x19\x01", b"\x01\x01", b"\x21", b"a" * 99])
def test_what_cannot_be_read_says_nothing(data: bytes) -> None:
    assert read_steps({UpdateSection.STEPS: data}) is None
    assert method("fednova").factors([{UpdateSection.STEPS: data}]) == [1.0]


@pytest.mark.parametrize("steps", [1, 23, 24, 70_000, MAX_STEPS])
def test_steps_travel(steps: int) -> None:
    assert read_steps({UpdateSection.STEPS: write_steps(steps)}) == steps


def test_a_device_says_how_many_steps_it_took() -> None:
    fleet, _ = unequal(0.05)
    for device, steps in zip(fleet, STEPS, strict=True):
        draft = method("fednova").train(np.zeros((1, 8)), None, device, Round(0, 0, 0, 4, 1, 0.05))
        assert read_steps(draft.sections) == steps
