"""Which rule a round is aggregated by: the job's, or for a private job the private mean of that round."""

from __future__ import annotations

from gossamer.aggregator.cohort import cohort
from gossamer.aggregator.job_settings import JobSettings
from gossamer.aggregator.privacy import PrivacyPlan, PrivateRule, may_release, plan, private_rule
from gossamer.aggregator.rules import Rule, rule
from gossamer.errors import ConfigError

AnyRule = Rule | PrivateRule


def rule_of_job(settings: JobSettings) -> AnyRule:
    """The rule as far as its memory goes, to begin or to restore one. It must not aggregate anything."""
    if settings.privacy is None:
        return rule(settings.rule)
    return PrivateRule(plan_of(settings), b"", 0, 1)


def rule_of_round(settings: JobSettings, secret: bytes, round_: int, devices: int) -> AnyRule:
    """The rule that aggregates a round.

    Args:
        settings: of the job.
        secret: 32 bytes of the job that only the server has; a private job's noise follows from them.
        round_: its number.
        devices: in the fleet.

    Raises:
        ConfigError: the privacy budget does not pay for this round, or a private job lacks its secret.
    """
    if settings.privacy is None:
        return rule(settings.rule)
    planned = plan_of(settings)
    if not may_release(planned, round_):
        raise ConfigError(
            f"job {settings.name}: round {round_} would spend more than the budget of epsilon "
            f"{settings.privacy.epsilon!r}; nothing more is released: begin a new job with a budget of its own"
        )
    return private_rule(planned, secret, round_, expected_updates(settings, round_, devices))


def expected_updates(settings: JobSettings, round_: int, devices: int) -> int:
    """What a private sum is divided by: known to everybody beforehand, whoever comes."""
    if settings.participation == "anytime":
        return settings.closing.quorum
    return len(cohort(settings, devices, round_))


def plan_of(settings: JobSettings) -> PrivacyPlan:
    """What a private job's budget buys: decided when the job was created, the same ever after. Raises ConfigError."""
    if settings.privacy is None:
        raise ConfigError(f"job {settings.name} has no table [privacy]")
    closing = settings.closing
    return plan(
        settings.privacy, rounds=settings.rounds, cohorts=settings.cohorts, participation=settings.participation,
        max_lag=closing.max_lag, minimum_updates=closing.minimum_updates,
    )  # fmt: skip
