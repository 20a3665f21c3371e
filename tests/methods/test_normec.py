"""Fed-alpha-NormEC at the optimum where clipping is not, and what its noise is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gossamer.errors import ConfigError, InputError
from gossamer.methods import Round, method
from gossamer.methods.normec import gaussian
from tests.methods.logistic import Logistic, table
from tests.methods.world import World, quadratics, rand_k

DEVICES = 20


class Coins(World):
    """A quarter of the fleet, by one coin a device."""

    def members(self) -> list[int]:
        return np.flatnonzero(self.rng.random(self.n) < 0.25).tolist()


def skewed() -> tuple[list[Logistic], Logistic]:
    """20 devices whose labels hardly mix, and all their data in one place."""
    x, t = table()
    order = np.argsort(t + 0.3 * np.random.default_rng(0).standard_normal(len(t)))
    rows = order[: len(t) // DEVICES * DEVICES].reshape(DEVICES, -1)
    x = x / np.sqrt(31)
    return [Logistic(x[each], t[each]) for each in rows], Logistic(x[rows.ravel()], t[rows.ravel()])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_converges_linearly_to_the_optimum_with_a_quarter_of_the_fleet(seed: int) -> None:
    fleet, whole = skewed()
    least = whole.loss(whole.optimum())
    world = Coins(method("normec:0.1/0.1/0.6"), fleet, seed=seed)
    gaps = [whole.loss(world.run(rounds)) - least for rounds in (500, 500, 1000)]
    assert 1.3e-6 <= gaps[0] <= 1.7e-6
    assert 1.35e-9 / 2 <= gaps[1] <= 1.35e-9 * 2
    assert abs(gaps[2]) < 1e-13


@pytest.mark.parametrize("up", [None, rand_k(4)])
def test_the_servers_memory_is_the_mean_of_the_devices_noise_and_all(up: object) -> None:
    fleet, _ = quadratics(8, 12, 10.0)
    world = World(method("normec:0.1/0.1/0.05/0.3"), fleet, cohort=3, lost=0.2, **({"up": up} if up else {}))
    world.run(200)
    mean = np.sum([own[0] for own in world.own.values()], axis=0) / world.n
    np.testing.assert_allclose(world.memory["summed"] / world.n, mean, rtol=1e-12, atol=1e-14)


def test_whatever_the_data_less_than_one_is_sent() -> None:
    fleet, _ = quadratics(1, 12, 10.0)
    chosen = method("normec:0.1/0.1/0.05")
    where = Round(0, 7, 0, 1, 1, fleet[0].learning_rate)
    for w in (0.0, 1.0, 1e3, 1e12):
        sent = chosen.train(np.full((1, 12), w), np.full((1, 12), -w), fleet[0], where).vector
        assert 0.9 < np.linalg.norm(sent) <= 1 + 1e-15


def test_the_local_rate_does_not_matter_with_one_step() -> None:
    fleet, _ = quadratics(1, 12, 10.0)
    sent = []
    for rate in (0.5, 0.125):
        fleet[0].learning_rate = rate
        sent.append(method("normec:1/1/1").train(np.zeros((1, 12)), None, fleet[0], Round(0, 7, 0, 1, 1, rate)).vector)
    np.testing.assert_allclose(sent[0], sent[1], rtol=1e-14)


def test_noise_is_standard_normal_and_scaled() -> None:
    where = Round(3, 7, 1, 9, 3, 0.1, secret=b"s" * 32)
    noise = gaussian(where, np.zeros(200_001))
    assert abs(noise.mean()) < 0.01
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert (noise**3).mean() == pytest.approx(0, abs=0.05)
    assert (noise**4).mean() == pytest.approx(3, abs=0.1)
    half = len(noise) // 2
    assert abs(np.corrcoef(noise[:half], noise[-half:])[0, 1]) < 0.01
    fleet, _ = quadratics(1, 2000, 10.0)
    shared = np.zeros((1, 2000))
    where = replace(where, learning_rate=fleet[0].learning_rate)
    clean = method("normec:0.1/0.1/0.6").train(shared, None, fleet[0], where).vector
    noisy = method("normec:0.1/0.1/0.6/0.25").train(shared, None, fleet[0], where).vector
    assert (noisy - clean).std() == pytest.approx(0.25, rel=0.05)


def test_noise_repeats_with_the_release_and_never_else() -> None:
    where = Round(3, 7, 1, 9, 3, 0.1, secret=b"s" * 32)
    covers = np.arange(6.0)
    noise = gaussian(where, covers)
    assert np.array_equal(noise, gaussian(where, covers.copy()))
    others = [
        gaussian(replace(where, number=4), covers), gaussian(replace(where, seed=8), covers),
        gaussian(replace(where, device=2), covers), gaussian(replace(where, secret=b"t" * 32), covers),
        gaussian(where, covers + 1e-9),
    ]  # fmt: skip
    assert all(np.abs(noise - other).min() > 1e-6 for other in others)


def test_what_a_round_shows_of_itself_is_not_the_secret() -> None:
    assert "ssss" not in repr(Round(3, 7, 1, 9, 3, 0.1, secret=b"s" * 32))


def test_noise_without_a_secret_is_refused() -> None:
    fleet, _ = quadratics(1, 12, 10.0)
    where = Round(0, 7, 0, 1, 1, 0.1, secret=b"short")
    with pytest.raises(InputError, match="secret"):
        method("normec:0.1/0.1/0.6/1").train(np.zeros((1, 12)), None, fleet[0], where)


@pytest.mark.parametrize("numbers", ["0/0.1/1", "0.2/0.1/1", "0.1/inf/1", "0.1/0.1/0", "0.1/0.1/1/-1", "0.1/0.1/1/inf"])
def test_unusable_numbers_are_refused(numbers: str) -> None:
    with pytest.raises(ConfigError, match="normec"):
        method(f"normec:{numbers}")
