"""SCALLION and SCAFCOM are exact with cohorts, local steps and compression, where averaging stalls."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from gossamer.methods import method
from gossamer.methods.base import Fitted
from tests.methods.world import Compress, Quadratic, World, exact, quadratics, rand_k, top_k

D, N, STEPS = 20, 10, 5
Vector = NDArray[np.float64]


@dataclass
class Noisy(Quadratic):
    """Minibatches: every local step's gradient is off by ``noise`` times a normal vector."""

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def fit(self, start: Vector, *, correction: Vector | None = None, proximal: float = 0.0) -> Fitted:
        w = start.copy()
        for _ in range(self.local_steps):
            gradient = self.a * (w - self.c) + self.noise * self.rng.standard_normal(self.d)
            w = w - self.learning_rate * (gradient + (0.0 if correction is None else correction))
        return Fitted(w, 0.0, self.local_steps)


def errors(spec: str, rounds: int, every: int, *, noise: float = 0.0, **world: object) -> list[float]:
    """Relative distance to the optimum after every so many rounds."""
    fleet, best = quadratics(N, D, 10.0, local_steps=STEPS, noise=noise)
    fleet = [Noisy(f.a, f.c, f.learning_rate, STEPS, noise) for f in fleet]
    run = World(method(spec), list(fleet), **world)  # type: ignore[arg-type]
    return [float(np.linalg.norm(run.run(every) - best) / np.linalg.norm(best)) for _ in range(rounds // every)]


CASES = [
    ("scallion:1/0.1", exact),
    ("scallion:0.5/0.1", rand_k(10)),
    ("scafcom:1/0.1", top_k(5)),
    ("scafcom:0.5/0.05", top_k(5)),
]


@pytest.mark.parametrize(("spec", "up"), CASES)
@pytest.mark.parametrize("cohort", [10, 3])
def test_exact_at_a_linear_rate(spec: str, up: Compress, cohort: int) -> None:
    found = errors(spec, 800, 100, up=up, cohort=cohort)
    assert found[-1] < 1e-9
    for before, after in itertools.pairwise(found):
        assert after < max(before / 5, 1e-12)


@pytest.mark.parametrize(("spec", "up"), CASES[1:3])
def test_exact_with_a_sparse_codec_down_as_well(spec: str, up: Compress) -> None:
    """One codec for weights and control together, a quarter of their coordinates."""
    assert errors(spec, 800, 800, up=up, cohort=3, down=top_k(10))[-1] < 1e-9


@pytest.mark.parametrize("up", [exact, rand_k(10), top_k(5)])
def test_averaging_stalls(up: Compress) -> None:
    assert min(errors("fedavg", 800, 100, up=up, cohort=3)) > 5e-2


def floor(spec: str, **world: object) -> float:
    """Mean distance to the optimum at the end, with noise."""
    return float(np.mean(errors(spec, 1200, 10, noise=10.0, **world)[60:]))  # type: ignore[arg-type]


def test_smoothing_gets_closer_where_gradients_are_noisy_and_the_codec_picks_few() -> None:
    assert floor("scafcom:0.1/0.02", up=top_k(1)) < 0.65 * floor("scafcom:1/0.02", up=top_k(1))


@pytest.mark.parametrize(("spec", "up"), [("scafcom:0.1/0.02", top_k(5)), ("scallion:0.5/0.02", rand_k(10))])
def test_noise_leaves_a_neighbourhood_where_averaging_is_nowhere_near(spec: str, up: Compress) -> None:
    assert floor(spec, up=up, cohort=5) < 0.3 * floor("fedavg", up=up, cohort=5)


@pytest.mark.parametrize("spec", ["scallion:0.5/0.1", "scafcom:0.5/0.1"])
def test_the_control_is_the_mean_of_all_devices(spec: str) -> None:
    fleet, _ = quadratics(N, D, 10.0, local_steps=STEPS)
    run = World(method(spec), fleet, cohort=3, up=rand_k(10))
    run.run(20)
    mean = sum(own[0] for own in run.own.values()) / N
    np.testing.assert_allclose(run.target[1], mean, rtol=1e-9)


def test_a_controls_size_is_that_of_a_move() -> None:
    """Where devices agree, the first control is the first move times ALPHA: -ETA times the mean gradient."""
    fleet, _ = quadratics(3, D, 10.0, local_steps=1)
    run = World(method("scallion:1/0.05"), fleet)
    gradient = np.mean([f.a * (0.0 - f.c) for f in fleet], axis=0)
    weights = run.run(1)
    np.testing.assert_allclose(weights, -0.05 * gradient, rtol=1e-12)
    np.testing.assert_allclose(run.shared[1], -0.05 * gradient, rtol=1e-12)


@pytest.mark.parametrize(("spec", "up"), [("scallion:0.5/0.1", rand_k(10)), ("scafcom:0.5/0.05", top_k(5))])
def test_updates_that_are_lost_and_a_lattice_leave_it_where_the_lattice_ends(spec: str, up: Compress) -> None:
    """A third never counts; the control is on the lattice, its sum is not, so that nothing adds up over the rounds."""
    fleet, best = quadratics(N, D, 10.0, local_steps=STEPS)
    run = World(method(spec), fleet, cohort=5, up=up, down=top_k(20), lost=0.33, grid=2.0**-20)
    assert np.abs(run.run(1500) - best).max() < 2.0**-17
    mean = sum(own[0] for own in run.own.values()) / N
    assert np.abs(run.target[1] - mean).max() <= 2.0**-21 * 1.01
