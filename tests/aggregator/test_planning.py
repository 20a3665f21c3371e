"""What a schedule means before there is a job, against enumeration and against the rules' own minimum."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

from gossamer.aggregator.planning import (
    BESIDE,
    NEEDS,
    CohortsAsked,
    automatic_rule,
    needs,
    plan_cohorts,
    privacy_cost,
    tolerance_of,
)
from gossamer.aggregator.privacy import PrivacySettings
from gossamer.aggregator.rules import rule
from gossamer.errors import ConfigError


def more_than(f: int, devices: int, cohort: int, attackers: int) -> Fraction:
    """The chance of more than f attackers, by looking at every cohort there is."""
    draws = list(itertools.combinations(range(devices), cohort))
    return Fraction(sum(sum(each < attackers for each in draw) > f for draw in draws), len(draws))


@pytest.mark.parametrize("failure", [0.5, 0.17, 0.16, 0.01, 1e-9])
def test_f_is_the_least_that_fails_rarely_enough(failure: float) -> None:
    found = plan_cohorts(CohortsAsked(devices=12, cohorts=3, fraction=0.25, failure=failure))
    assert (found.smallest, found.largest, found.attackers) == (4, 4, 3)
    assert found.cohort_failure == pytest.approx(float(more_than(found.f, 12, 4, 3)))
    assert found.cohort_failure <= failure
    assert found.f == 0 or more_than(found.f - 1, 12, 4, 3) > failure
    assert found.cycle_failure == pytest.approx(min(1.0, 3 * found.cohort_failure))


def test_cohorts_of_two_sizes_bear_what_the_larger_must() -> None:
    found = plan_cohorts(CohortsAsked(devices=14, cohorts=4, fraction=0.2, failure=0.01))
    assert (found.size, found.attackers) == ("3 to 4", 3)
    assert found.f == plan_cohorts(CohortsAsked(14, 4, 0.2, 0.01, participation="uniform")).f
    assert plan_cohorts(CohortsAsked(12, 3)).size == "4"


def test_the_whole_job_fails_with_any_of_its_draws() -> None:
    asked = {"devices": 20, "cohorts": 5, "fraction": 0.2, "failure": 0.05, "rounds": 30}
    reshuffled = plan_cohorts(CohortsAsked(**asked))
    assert reshuffled.job_failure == pytest.approx(30 * reshuffled.cohort_failure)
    fixed = plan_cohorts(CohortsAsked(**asked, participation="fixed"))
    assert fixed.job_failure == pytest.approx(5 * fixed.cohort_failure), "fixed groups are dealt once"
    assert plan_cohorts(CohortsAsked(20, 5, 0.2, 0.05)).job_failure is None


@pytest.mark.parametrize("participation", ["anytime", "importance"])
def test_where_devices_decide_f_is_what_attackers_choose(participation: str) -> None:
    found = plan_cohorts(CohortsAsked(100, 10, 0.05, 0.4, participation))
    assert (found.f, found.by_lot) == (5, False)
    assert plan_cohorts(CohortsAsked(100, 50, 0.05, 0.4, participation)).f == 2, "a cohort has no more than its size"


@pytest.mark.parametrize("f", [1, 2, 5])
def test_what_rules_need_is_what_they_insist_on(f: int) -> None:
    for name, (a, b) in NEEDS.items():
        spec = "+".join(f"{each}:{f}" for each in name.split("+"))
        if name in ("median", "geometric-median", "sign-majority"):
            continue  # they take any number of updates: the majority is up to the operator
        assert rule(spec).minimum == a * f + b, name


def test_a_rule_is_carried_by_the_smallest_cohort() -> None:
    found = {each.rule: each for each in needs(plan_cohorts(CohortsAsked(103, 10, 0.1, 0.01)))}
    assert set(found) == {*NEEDS, *BESIDE}
    f = plan_cohorts(CohortsAsked(103, 10, 0.1, 0.01)).f
    assert f == 4
    assert {name for name, each in found.items() if not each.carried} == {"krum", "multi-krum", "bulyan"}
    assert (found["krum"].needs, found["krum"].minimum, found["bulyan"].minimum) == ("2f+3", 11, 19)
    outvoted = {each.rule: each.carried for each in needs(plan_cohorts(CohortsAsked(20, 5, 0.5, 0.01)))}
    assert {name for name, carried in outvoted.items() if carried} == {"fltrust"}


def test_the_rule_that_auto_chooses() -> None:
    asked = CohortsAsked(20, 5, 0.2, 0.01)
    choice = automatic_rule(asked, plan_cohorts(asked), "rot1")
    assert choice.spec == "clipped-differences"
    assert choice.why
    nobody = CohortsAsked(20, 5)
    assert automatic_rule(nobody, plan_cohorts(nobody), "rot1").spec == "mean"
    with pytest.raises(ConfigError, match="codec"):
        automatic_rule(asked, plan_cohorts(asked), "foo")


def test_privacy_is_a_release_a_cycle() -> None:
    budget = PrivacySettings(8.0, 1e-5, 1.0)
    found = privacy_cost(budget, CohortsAsked(100, 5, rounds=200))
    assert (found.releases, found.noise_multiplier) == (40, 3.7962)
    assert privacy_cost(budget, CohortsAsked(100, 5, rounds=200, participation="anytime")).releases == 200
    with pytest.raises(ConfigError, match="expected --rounds too"):
        privacy_cost(budget, CohortsAsked(100, 5))


@pytest.mark.parametrize(
    "asked",
    [CohortsAsked(0, 1), CohortsAsked(4, 5), CohortsAsked(4, 0), CohortsAsked(4, 2, 1.5), CohortsAsked(4, 2, 0.1, 0.0),
     CohortsAsked(4, 2, participation="sometimes")],
    ids=str,
)  # fmt: skip
def test_schedules_that_cannot_be(asked: CohortsAsked) -> None:
    with pytest.raises(ConfigError, match=r"must be|expected|not known"):
        plan_cohorts(asked)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mean", "no attacker"), ("median", "less than half of a cohort"),
        ("trimmed-mean:2", "up to 2 attackers in a cohort of 5 updates"), ("krum", "up to 1 attacker in a cohort of 5"),
        ("bulyan:2", "up to 2 attackers in a cohort of 11"), ("norm-clip", "not where to"),
        ("clipped-differences", "minority of the fleet"), ("fltrust:3", "the trusted device is honest"),
        ("bucketing:2+krum:1", "buckets of 2"), ("nnm:1+median", "up to 1 attacker"),
    ],
)  # fmt: skip
def test_what_a_rule_bears_in_words(spec: str, words: str) -> None:
    assert words in tolerance_of(spec)
