"""FedDyn reaches the optimum of devices that disagree, with many local steps, where FedAvg ends beside it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gossamer.methods import method
from tests.methods.world import Compress, World, exact, quadratics, rand_k, top_k

D, N = 20, 10


def errors(spec: str, rounds: int, every: int, **world: object) -> list[float]:
    """Relative distance to the optimum after every so many rounds, with 10 local steps."""
    fleet, best = quadratics(N, D, 10.0, local_steps=10)
    run = World(method(spec), fleet, **world)  # type: ignore[arg-type]
    return [float(np.linalg.norm(run.run(every) - best) / np.linalg.norm(best)) for _ in range(rounds // every)]


@pytest.mark.parametrize("cohort", [10, 3])
def test_it_is_exact_at_a_linear_rate_with_any_cohort(cohort: int) -> None:
    found = errors("feddyn:3", 500, 100, cohort=cohort)
    assert found[-1] < 1e-12
    for before, after in itertools.pairwise(found):
        assert after < max(before / 30, 1e-12)


def test_fedavg_ends_beside_the_optimum() -> None:
    assert errors("fedavg", 500, 500)[-1] > 1e-2


@pytest.mark.parametrize(("up", "spec"), [(rand_k(10), "feddyn:3"), (top_k(5), "feddyn:10")])
@pytest.mark.parametrize("down", [exact, top_k(10)])
def test_what_a_codec_leaves_unsent_comes_back(up: Compress, spec: str, down: Compress) -> None:
    """Biased and unbiased codecs up, none or a biased one down: exact, with no residual on the device."""
    assert errors(spec, 900, 900, cohort=3, up=up, down=down)[-1] < 1e-9


def test_the_servers_sum_is_that_of_the_devices() -> None:
    fleet, _ = quadratics(N, D, 10.0, local_steps=10)
    run = World(method("feddyn:3"), fleet, cohort=4, up=top_k(5))
    run.run(25)
    np.testing.assert_allclose(run.memory["linear"], sum(own[0] for own in run.own.values()), rtol=1e-10)


def test_by_hand() -> None:
    """One device, f = (w - 4)^2 / 2, one step of 0.5 from 0: y = 2; linear = -2; the server goes to 2 + 2 / 1."""
    fleet, _ = quadratics(1, 1, 1.0, local_steps=1)
    fleet[0].a, fleet[0].c, fleet[0].learning_rate = np.ones(1), np.full(1, 4.0), 0.5
    run = World(method("feddyn:1"), fleet)
    assert run.run(1).tolist() == [4.0]
    assert run.own[0].tolist() == [[-2.0]]
    # From 4 with linear -2: the step is 0.5 (0 + 2) down to 3; linear -1; the server goes to 3 + 1.
    assert run.run(1).tolist() == [4.0]
    assert run.own[0].tolist() == [[-1.0]]


def test_updates_that_are_lost_and_a_lattice_leave_it_where_the_lattice_ends() -> None:
    """A third never counts: linear terms stay as they were, and the sums agree all the same."""
    fleet, best = quadratics(N, D, 10.0, local_steps=10)
    run = World(method("feddyn:3"), fleet, cohort=5, up=top_k(5), down=top_k(10), lost=0.33, grid=2.0**-20)
    assert np.abs(run.run(900) - best).max() < 2.0**-18
    np.testing.assert_allclose(run.memory["linear"], sum(own[0] for own in run.own.values()), atol=1e-10)
