"""The table ``[privacy]`` of a job, and what else of a job it rules out.

::

    [privacy]
    epsilon = 8.0            # the budget of the whole job
    delta = 1e-5             # below 1 / devices
    clip_norm = 1.0          # longest update that counts in full
    mechanism = "banded:5"   # or "gaussian"

Central differential privacy hides what a device's data did to the models that are published. Whatever else is
published of its updates would not be covered; so a job that does so is refused (:func:`check_job`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gossamer.aggregator.privacy.banded import EXPONENT_STEPS, MAX_BANDS
from gossamer.errors import ConfigError

MIN_CLIP_NORM = 1e-3
"""A thousand lattice units: below, rounding towards zero would eat the updates."""

MAX_CLIP_NORM = 1024.0
"""Squares of clipped vectors and sums of a fleet of them fit in int64."""

MAX_NOISE = 65536.0
"""Of ``noise_multiplier * clip_norm``: what the noise sampler and the recursion of banded noise have room for. The
model itself ends at 2048."""


@dataclass(frozen=True, slots=True)
class Mechanism:
    """``gaussian`` is one band; ``exponent`` None: to be found when the job is planned."""

    bands: int = 1
    exponent: float | None = None

    @classmethod
    def parse(cls, spec: str) -> Mechanism:
        """``gaussian``, ``banded:B`` or ``banded:B/exponent``; raises ConfigError for anything else.

        >>> Mechanism.parse("banded:5/0.75")
        Mechanism(bands=5, exponent=0.75)
        """
        if spec == "gaussian":
            return cls()
        name, _, text = spec.partition(":")
        number, slash, exponent = text.partition("/")
        try:
            found = cls(int(number), float(exponent) if slash else None)
        except ValueError:
            name = ""
        if name != "banded" or not 2 <= found.bands <= MAX_BANDS:
            raise _wrong("mechanism", spec, f"gaussian, or banded:B with B in 2..{MAX_BANDS}")
        steps = 0.0 if found.exponent is None else found.exponent * EXPONENT_STEPS
        if not (0.0 <= steps <= EXPONENT_STEPS and steps.is_integer()):
            raise _wrong("mechanism", spec, f"an exponent of 0 to 1 in steps of 1/{EXPONENT_STEPS}, or none")
        return found

    @property
    def spec(self) -> str:
        """The canonical spec string."""
        if self.bands == 1:
            return "gaussian"
        return f"banded:{self.bands}" + ("" if self.exponent is None else f"/{self.exponent!r}")


@dataclass(frozen=True, slots=True)
class PrivacySettings:
    """What an operator asks for.

    Args:
        epsilon: budget of the whole job.
        delta: chance at which the promise may fail; below 1 / devices.
        clip_norm: Euclidean norm that longer updates are shortened to.
        noise_multiplier: standard deviation of the noise in the sum of a round, in clip norms; 0: the least that
            the budget pays for, found when the job is planned.
        mechanism: ``gaussian``: independent noise every round; ``banded:B``: see :mod:`banded`.
    """

    epsilon: float
    delta: float
    clip_norm: float
    noise_multiplier: float = 0.0
    mechanism: str = "gaussian"

    def check(self) -> None:
        """Raises ConfigError, naming the key and what it expects."""
        _expect(0.0 < self.epsilon <= 1000.0, "epsilon", self.epsilon, "above 0, at most 1000 (8 is already weak)")
        _expect(1e-30 <= self.delta < 0.1, "delta", self.delta, "1e-30 to 0.1, below 1 / devices")
        clip_fits = MIN_CLIP_NORM <= self.clip_norm <= MAX_CLIP_NORM
        _expect(clip_fits, "clip_norm", self.clip_norm, f"{MIN_CLIP_NORM} to {MAX_CLIP_NORM:g}")
        finite = 0.0 <= self.noise_multiplier < math.inf
        _expect(finite, "noise_multiplier", self.noise_multiplier, "0 (from the budget) or more")
        fits = self.noise_multiplier * self.clip_norm <= MAX_NOISE
        _expect(fits, "noise_multiplier", self.noise_multiplier, f"at most {MAX_NOISE:g} / clip_norm")
        Mechanism.parse(self.mechanism)


def check_job(
    *, rule: str, participation: str, summed_memory: bool, learned_codebooks: bool, published_statistics: bool
) -> None:
    """Refuse a job that would publish more of its updates than the noisy sums, or not form them.

    Args:
        rule: the job's; it must be ``mean``, in whose place :func:`mechanism.private_rule` stands.
        participation: the name of its rule.
        summed_memory: devices send differences to what they sent before.
        learned_codebooks: tables fitted to updates travel in the manifest.
        published_statistics: scores, dual variables, thresholds or memories of devices travel in the manifest.

    Raises:
        ConfigError: naming the setting.
    """
    _allow(rule == "mean", f"rule = {rule!r}", "rule 'mean': no other has a known sensitivity")
    known = participation not in ("importance", "marina")
    _allow(known, f"participation = {participation!r}", "one that the data do not decide: 'fixed' or 'reshuffled'")
    _allow(not summed_memory, "memory", "a memory whose updates can be clipped one by one, such as 'ef14'")
    _allow(not learned_codebooks, "codec_up", "a codec without tables that are fitted to updates and published")
    what = "what the manifest tells of devices' scores, losses or norms"
    _allow(not published_statistics, what, "an objective and method that publish the model alone")


def _expect(holds: bool, key: str, value: object, expected: str) -> None:
    if not holds:
        raise _wrong(key, value, expected)


def _wrong(key: str, value: object, expected: str) -> ConfigError:
    return ConfigError(f"privacy.{key} = {value!r}: expected {expected}")


def _allow(holds: bool, what: str, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{what} does not go with the table [privacy]: expected {expected}")
