"""Epsilon and noise against the equation itself, other accountants, and numbers known beforehand."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from dp_accounting import GaussianDpEvent, NeighboringRelation, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from gossamer.aggregator.privacy import accountant
from gossamer.errors import ConfigError

DELTA = 1e-5
ADD_OR_REMOVE = NeighboringRelation.ADD_OR_REMOVE_ONE


def phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def delta_of(s: float, epsilon: float) -> float:
    """The analytic Gaussian mechanism (Balle, Wang 2018, theorem 8)."""
    return phi(0.5 / s - epsilon * s) - math.exp(epsilon) * phi(-0.5 / s - epsilon * s)


@pytest.mark.parametrize("releases", [1, 7, 40, 200])
@pytest.mark.parametrize("epsilon", [0.1, 2.0, 8.0])
def test_agrees_with_the_analytic_gaussian_mechanism(epsilon: float, releases: int):
    noise = accountant.noise_multiplier(epsilon, DELTA, releases)
    s = noise / math.sqrt(releases)
    assert delta_of(s, epsilon) <= DELTA
    assert delta_of(s - 3e-4 / math.sqrt(releases), epsilon) > DELTA  # and not more than it needs
    assert delta_of(s, accountant.epsilon(noise, releases, DELTA)) == pytest.approx(DELTA, rel=1e-7)


def test_known_numbers_of_200_rounds_with_5_to_a_cycle():
    """40 releases. An accounting by sampling would say 1.89 and 5.8; one release a round 8.49 and 28.2."""
    assert accountant.noise_multiplier(8.0, DELTA, 40) == pytest.approx(3.80, abs=5e-3)
    assert accountant.noise_multiplier(2.0, DELTA, 40) == pytest.approx(12.6, abs=5e-2)


def test_agrees_with_the_accountants_by_composition():
    """Privacy loss distributions find the same, Rényi divergences something larger."""
    event = SelfComposedDpEvent(GaussianDpEvent(12.61), 40)
    tight = PLDAccountant(ADD_OR_REMOVE, value_discretization_interval=1e-3).compose(event)
    ours = accountant.epsilon(12.61, 40, DELTA)
    assert tight.get_epsilon(DELTA) == pytest.approx(ours, rel=2e-4)
    loose = RdpAccountant(neighboring_relation=ADD_OR_REMOVE).compose(event).get_epsilon(DELTA)
    assert 1.02 * ours < loose < 1.15 * ours


def test_replacing_a_device_is_twice_the_sensitivity():
    relation = NeighboringRelation.REPLACE_ONE
    replacing = PLDAccountant(relation, value_discretization_interval=1e-3)
    replacing.compose(SelfComposedDpEvent(GaussianDpEvent(12.61), 40))
    ours = accountant.gaussian_epsilon(12.61, 2.0 * math.sqrt(40), DELTA)
    assert replacing.get_epsilon(DELTA) == pytest.approx(ours, rel=2e-4)


def test_ends_of_the_range():
    assert accountant.epsilon(0.0, 1, DELTA) == math.inf
    assert accountant.epsilon(1.0, 0, DELTA) == 0.0
    assert accountant.noise_multiplier(1.0, DELTA, 0) == 0.0
    assert accountant.epsilon(1e9, 1, DELTA) == 0.0


@pytest.mark.parametrize("delta", [0.0, 1.0, -1.0, math.nan])
def test_impossible_numbers_are_refused(delta: float):
    with pytest.raises(ConfigError, match="delta"):
        accountant.epsilon(1.0, 1, delta)
    with pytest.raises(ConfigError, match="delta"):
        accountant.noise_multiplier(1.0, delta, 1)
    with pytest.raises(ConfigError, match="epsilon"):
        accountant.noise_multiplier(0.0, DELTA, 1)
    with pytest.raises(ConfigError, match="releases"):
        accountant.epsilon(1.0, -1, DELTA)


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(accountant, "PACKAGE", "dp_accounting_is_not_here")
    with pytest.raises(ConfigError, match=r"gossamer\[privacy\]"):
        accountant.epsilon(1.0, 1, DELTA)
    monkeypatch.setattr(accountant, "PACKAGE", "math")
    with pytest.raises(ConfigError, match=r"0\.6 or later"):
        accountant.epsilon(1.0, 1, DELTA)


def test_nothing_is_imported_before_it_is_used():
    code = (
        "import sys, gossamer.aggregator.privacy as p\n"
        "s = p.PrivacySettings(8.0, 1e-5, 1.0, 4.0, 'banded:5/0.5')\n"
        "s.check()\n"
        "assert not {'dp_accounting', 'scipy', 'absl'} & set(sys.modules)\n"
        "p.plan(s, rounds=10, cohorts=5, participation='fixed')\n"
        "assert 'dp_accounting' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
