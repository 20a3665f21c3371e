"""What releases cost: Gaussian noise -> (epsilon, delta), and back.

Gaussian noise of standard deviation ``noise_multiplier * clip_norm``, used in k releases that each change by at
most ``clip_norm`` when one device's updates are taken out, is one Gaussian mechanism of noise multiplier
``noise_multiplier / sqrt(k)`` (the privacy losses are Gaussian and add: Dong, Roth, Su, "Gaussian differential
privacy", JRSS-B 2022, corollary 3.3, adaptive choice included). Its epsilon at a given delta is the root of

    delta = Phi(1/(2s) - epsilon s) - exp(epsilon) Phi(-1/(2s) - epsilon s),     s = noise_multiplier / sqrt(k)

(Balle, Wang, ICML 2018), which dp-accounting solves. Its accountant of privacy loss distributions finds the same
value to seven digits, in seconds instead of a millisecond; its Rényi accountant finds one that is 6 to 8 % too
large, because the way from Rényi to (epsilon, delta) is not tight. Nothing here knows of sampling: a public
schedule amplifies nothing.

At 40 releases and delta 1e-5, epsilon 8 costs a noise multiplier of 3.80 and epsilon 2 one of 12.61. With
amplification, which a cyclic schedule does not have, it would seem to be 1.89 and 5.8.

dp-accounting is imported at the first question, never before.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

from gossamer.errors import ConfigError

PACKAGE = "dp_accounting"

ROUNDED_UP = 10_000
"""Noise multipliers found here are rounded up to this fraction, so that another release of a solver, which may
differ in the last bits, finds the same one."""


def epsilon(noise_multiplier: float, releases: int, delta: float) -> float:
    """Epsilon at ``delta`` of so many releases; infinite without noise, 0 without releases.

    Raises:
        ConfigError: dp-accounting is missing, or a number that cannot be.
    """
    _expect(releases >= 0, f"0 releases or more, got {releases}")
    return gaussian_epsilon(noise_multiplier, math.sqrt(releases), delta)


def noise_multiplier(epsilon: float, delta: float, releases: int) -> float:
    """The least noise multiplier, rounded up to 1 / ROUNDED_UP, that pays so many releases with (epsilon, delta).

    Raises:
        ConfigError: dp-accounting is missing, or a number that cannot be.
    """
    _expect(releases >= 0, f"0 releases or more, got {releases}")
    return gaussian_noise(epsilon, delta, math.sqrt(releases))


def gaussian_epsilon(noise: float, sensitivity: float, delta: float) -> float:
    """Epsilon at ``delta`` of one vector with N(0, noise^2 I) added, which one device changes by ``sensitivity``."""
    _expect(0.0 < delta < 1.0, f"a delta in (0, 1), got {delta}")
    _expect(noise >= 0.0 and sensitivity >= 0.0, f"noise and sensitivity of 0 or more, got {noise}, {sensitivity}")
    if sensitivity == 0.0:
        return 0.0
    return float(_solver().get_epsilon_gaussian(noise / sensitivity, delta)) if noise else math.inf


def gaussian_noise(epsilon: float, delta: float, sensitivity: float) -> float:
    """The inverse of :func:`gaussian_epsilon`, rounded up as :func:`noise_multiplier`."""
    _expect(0.0 < epsilon < math.inf, f"an epsilon above 0, got {epsilon}")
    _expect(0.0 < delta < 1.0, f"a delta in (0, 1), got {delta}")
    if sensitivity == 0.0:
        return 0.0
    least = sensitivity * float(_solver().get_sigma_gaussian(epsilon, delta))
    return math.ceil(least * ROUNDED_UP + 1e-6) / ROUNDED_UP


def _solver() -> Any:
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError as error:
        raise ConfigError(
            "[privacy]: expected the package dp-accounting 0.6 or later, found none: install it with "
            "`pip install 'gossamer[privacy]'`, or leave the table [privacy] out"
        ) from error
    if not hasattr(package, "get_sigma_gaussian"):
        raise ConfigError("[privacy]: expected dp-accounting 0.6 or later, found an older one: upgrade it")
    return package


def _expect(holds: bool, expected: str) -> None:
    if not holds:
        raise ConfigError(f"[privacy]: expected {expected}")
