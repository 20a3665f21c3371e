"""FedAvg and FedProx on quadratics whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.errors import ConfigError
from gossamer.methods import method
from tests.methods.world import World, quadratics


def test_fedavg_with_one_step_is_gradient_descent() -> None:
    fleet, best = quadratics(5, 8, 10.0)
    np.testing.assert_allclose(World(method("fedavg"), fleet).run(2000), best, rtol=1e-12)


def test_fedprox_ends_where_its_own_equation_says() -> None:
    """With infinitely many local steps a device lands at (a c + pull w) / (a + pull); the mean of those is w."""
    fleet, best = quadratics(5, 8, 10.0, local_steps=400)
    pull = 2.0
    found = World(method(f"fedprox:{pull}"), fleet).run(60)
    shares = [f.a / (f.a + pull) for f in fleet]
    expected = sum(s * f.c for s, f in zip(shares, fleet, strict=True)) / sum(shares)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert np.linalg.norm(found - best) < np.linalg.norm(World(method("fedavg"), fleet).run(60) - best)


@pytest.mark.parametrize("spec", ["", "sgd", "fedprox", "fedprox:0", "fedprox:nan", "fedprox:1/2", "fedavg:1"])
def test_unusable_specs_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="method"):
        method(spec)
