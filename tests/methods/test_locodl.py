"""LoCoDL at the optimum with 4 of 40 coordinates on the way up: condition 50, error 3e-14."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from gossamer.errors import ConfigError
from gossamer.methods import method
from tests.methods.world import Compress, World, exact, quadratics, rand_k, top_k

N, D, CONDITION = 10, 40, 50.0


def world(kept: int, cohort: int = N, seed: int = 0, down: Compress = exact, **more: float) -> tuple[World, np.ndarray]:
    """At the theory's chance to communicate."""
    fleet, best = quadratics(N, D, CONDITION)
    variance = N / cohort * D / kept - 1
    chance = math.sqrt((1 + variance) * (1 + variance / N) / (2 * CONDITION - 1))
    chosen = method(f"locodl:{chance:.4f}/{CONDITION}/1/{variance}")
    up = exact if kept == D else rand_k(kept)
    return World(chosen, fleet, up=up, down=down, cohort=cohort, seed=seed, **more), best  # type: ignore[arg-type]


def error(run: World, best: np.ndarray) -> float:
    return float(np.linalg.norm(run.shared[0] - best) / np.linalg.norm(best))


def imbalance(run: World) -> float:
    """Of the duals, over their size; a device that has not been there yet counts as one that sent zeros."""
    total, step = run.shared[1], run.method.dual_step
    duals = [own[1] + step * (total - own[2]) for own in run.own.values()]
    duals += [step * total] * (run.n - len(duals))
    return float(np.abs(np.sum(duals, axis=0) + run.n * step * total).max() / np.abs(duals).max())


def test_it_converges_linearly_to_the_last_bits() -> None:
    run, best = world(4)
    errors = []
    for _ in range(4):
        run.run(300)
        errors.append(error(run, best))
    assert all(after < before / 40 for before, after in pairwise(errors))
    run.run(600)
    assert error(run, best) < 3e-14
    assert imbalance(run) < 1e-12
    total, step = run.shared[1], run.method.dual_step
    for each, own in zip(run.locals, (run.own[i] for i in range(N)), strict=True):
        slope = each.a * (best - each.c) - run.method.ridge * best  # of the device's share at the optimum
        np.testing.assert_allclose(own[1] + step * (total - own[2]), slope, atol=1e-11)


@pytest.mark.parametrize(("kept", "cohort", "rounds"), [(40, 2, 1200), (20, 5, 800), (40, 1, 1800)])
def test_a_cohort_of_the_fleet_will_do(kept: int, cohort: int, rounds: int) -> None:
    run, best = world(kept, cohort)
    run.run(rounds)
    assert error(run, best) < 1e-11
    assert imbalance(run) < 1e-12


def test_updates_that_never_count_and_a_compressed_way_down_do_no_harm() -> None:
    run, best = world(20, down=top_k(20), lost=0.1)
    run.run(800)
    assert error(run, best) < 3e-14
    assert imbalance(run) < 1e-11


def test_rounding_of_the_model_does_not_add_up() -> None:
    unit = 2.0**-12
    run, best = world(20, grid=unit)
    for _ in range(5):
        run.run(60)
        total, step = run.shared[1], run.method.dual_step
        duals = np.sum([own[1] + step * (total - own[2]) for own in run.own.values()], axis=0) + N * step * total
        assert np.abs(duals).max() <= 1.001 * unit / 2 * 2 * N * step
    assert np.abs(run.shared[0] - best).max() < 10 * unit


@pytest.mark.parametrize("numbers", ["0/50/1/9", "0.5/1/1/9", "0.5/50/0/9", "0.5/inf/1/9", "0.5/5/1/-1", "0.5/5/1/inf"])
def test_unusable_numbers_are_refused(numbers: str) -> None:
    with pytest.raises(ConfigError, match="locodl"):
        method(f"locodl:{numbers}")
