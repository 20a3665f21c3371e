"""What a job's privacy costs: settings and schedule -> noise, releases, epsilon.

**Unit**: the device, with all of its data. **Neighbours**: two runs of the same job in which one device's updates
are zero vectors in one (zero-out, the ``REPLACE_SPECIAL`` of dp-accounting; its numbers are those of add-or-remove).
The roster, the schedule, and who sent when, are public in both; replacing a device's data by other data counts
twice the sensitivity.

**Releases**: the most rounds in which any one device can count.

* ``fixed`` and ``reshuffled``: one in every cycle of R = ``cohorts`` rounds: ceil(rounds / R). The schedule is
  public, so that being drawn hides nothing: no amplification by subsampling.
* ``uniform`` and ``anytime``: every round, the worst that can happen.

A late update counts once, in a later round than its own, so lateness cannot add a release. It can put two updates of
one device into one aggregate; there they are added and clipped as one (:mod:`mechanism`), which keeps every aggregate
within the same sensitivity. Banded noise knows rounds by their distance, so there nothing may come late.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gossamer.aggregator.privacy.accountant import gaussian_epsilon, gaussian_noise
from gossamer.aggregator.privacy.banded import best_exponent, coefficients, sensitivity
from gossamer.aggregator.privacy.settings import MAX_NOISE, Mechanism, PrivacySettings
from gossamer.errors import ConfigError

ONCE_A_CYCLE = ("fixed", "reshuffled")
ANY_ROUND = ("uniform", "anytime")

SLACK = 1e-9
"""Relative: two ways of solving for the same epsilon differ by less."""


@dataclass(frozen=True, slots=True)
class PrivacyPlan:
    """What was asked for, with everything decided; make it with :func:`plan`.

    Args:
        settings: with the noise multiplier and the mechanism filled in.
        rounds: of the job.
        cohorts: R, rounds of a cycle.
        participation: the name of its rule.
        fleet: devices at the time of planning; 0: not known.
    """

    settings: PrivacySettings
    rounds: int
    cohorts: int
    participation: str
    fleet: int = 0

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the independent noise in a round's sum, in clip norms."""
        return self.settings.noise_multiplier

    @property
    def coefficients(self) -> tuple[int, ...]:
        """Of the banded matrix, in units of 2^-12; one for independent noise."""
        mechanism = Mechanism.parse(self.settings.mechanism)
        return coefficients(mechanism.bands, mechanism.exponent or 0.0)

    @property
    def releases(self) -> int:
        """The most rounds in which one device counts."""
        return self.releases_in(self.rounds)

    @property
    def epsilon(self) -> float:
        """What the whole job costs; at most ``settings.epsilon``."""
        return spent(self, self.rounds)

    @property
    def spec(self) -> str:
        """Names the rule of :func:`mechanism.private_rule`, and is part of what its noise is."""
        settings = self.settings
        return f"private-mean:{settings.clip_norm!r}/{settings.noise_multiplier!r}/{settings.mechanism}"

    def releases_in(self, rounds: int) -> int:
        """The most among the first so many rounds in which one device counts."""
        return -(-rounds // self.cohorts) if self.participation in ONCE_A_CYCLE else rounds

    def sensitivity_in(self, rounds: int) -> float:
        """How far one device moves all that is released in so many rounds, in clip norms."""
        matrix, releases = self.coefficients, self.releases_in(rounds)
        if len(matrix) == 1:
            return math.sqrt(releases)
        return sensitivity(matrix, releases, self.cohorts, reshuffled=self.participation == "reshuffled")


def plan(
    settings: PrivacySettings,
    *,
    rounds: int,
    cohorts: int,
    participation: str,
    fleet: int = 0,
    max_lag: int = 0,
    minimum_updates: int = 1,
) -> PrivacyPlan:
    """Decide noise and coefficients, once, when the job is created; ``plan.settings`` is what to keep.

    Planning what was kept gives the same plan.

    Args:
        settings: what was asked for.
        rounds: of the job.
        cohorts: of the job.
        participation: of the job.
        fleet: devices enrolled; 0: not known yet.
        max_lag: of the job's table ``[closing]``.
        minimum_updates: of the same table.

    Raises:
        ConfigError: the budget does not pay for the noise asked for, or the schedule does not fit; it says what
            to change. Or dp-accounting is missing.
    """
    settings.check()
    if participation not in ONCE_A_CYCLE + ANY_ROUND:
        known = ", ".join(ONCE_A_CYCLE + ANY_ROUND)
        raise ConfigError(f"participation = {participation!r}: expected one of {known} with the table [privacy]")
    if fleet and settings.delta * fleet >= 1.0:
        raise ConfigError(
            f"privacy.delta = {settings.delta!r}: expected less than 1 / devices = {1 / fleet:.2g}: a mechanism that "
            "publishes one device outright would satisfy it; lower it"
        )
    mechanism = Mechanism.parse(settings.mechanism)
    if mechanism.bands > 1:
        _check_bands(mechanism, cohorts, participation, max_lag, minimum_updates)
        if mechanism.exponent is None:
            found = best_exponent(mechanism.bands, rounds, cohorts, reshuffled=participation == "reshuffled")
            mechanism = replace(mechanism, exponent=found)
    settings = replace(settings, mechanism=mechanism.spec)
    planned = PrivacyPlan(settings, rounds, cohorts, participation, fleet)
    least = gaussian_noise(settings.epsilon, settings.delta, planned.sensitivity_in(rounds))
    if least * settings.clip_norm > MAX_NOISE:
        raise ConfigError(
            f"privacy.epsilon = {settings.epsilon!r} needs a noise multiplier of {least:.4g} for {rounds} rounds: more "
            "than any model survives; expected a larger epsilon, fewer rounds or more cohorts"
        )
    if settings.noise_multiplier == 0.0:
        return replace(planned, settings=replace(settings, noise_multiplier=least))
    if not _affordable(planned, rounds):
        raise ConfigError(
            f"privacy.noise_multiplier = {settings.noise_multiplier!r} spends epsilon {planned.epsilon:.4g} in "
            f"{rounds} rounds ({planned.releases} releases a device), the budget is {settings.epsilon!r}: expected a "
            f"noise multiplier of {least!r} or more (0 finds it), or at most {_rounds_paid(planned)} rounds, or a "
            "larger epsilon"
        )
    return planned


def spent(plan: PrivacyPlan, rounds_done: int) -> float:
    """Epsilon at ``delta`` of the first so many rounds, for the device that took part most often."""
    sensitivity = plan.sensitivity_in(rounds_done)
    return gaussian_epsilon(plan.noise_multiplier, sensitivity, plan.settings.delta)


def may_release(plan: PrivacyPlan, rounds_done: int) -> bool:
    """Whether one more round can be released after so many: within the plan and the budget."""
    return rounds_done < plan.rounds and _affordable(plan, rounds_done + 1)


def _affordable(plan: PrivacyPlan, rounds: int) -> bool:
    return spent(plan, rounds) <= plan.settings.epsilon * (1.0 + SLACK)


def _rounds_paid(plan: PrivacyPlan) -> int:
    """The most rounds within the budget; the plan as a whole is not."""
    low, high = 0, plan.rounds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _affordable(plan, middle) else (low, middle)
    return low


def _check_bands(mechanism: Mechanism, cohorts: int, participation: str, max_lag: int, minimum_updates: int) -> None:
    what = f"privacy.mechanism = {mechanism.spec!r}"
    if participation not in ONCE_A_CYCLE:
        raise ConfigError(f"{what}: expected participation 'fixed' or 'reshuffled', got {participation!r}")
    if mechanism.bands > cohorts:
        raise ConfigError(
            f"{what}: expected at most as many bands as the cycle has rounds, {cohorts}: lower it or raise cohorts"
        )
    if max_lag or minimum_updates > 1:
        raise ConfigError(
            f"{what}: expected every update to count in its own round, that is closing.max_lag = 0 and "
            f"closing.minimum_updates = 1 (got {max_lag} and {minimum_updates})"
        )
