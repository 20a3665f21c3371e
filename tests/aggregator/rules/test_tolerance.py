"""f against counting all cohorts, and against exact fractions where logarithms are used."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest

from gossamer.aggregator.rules import tolerance
from gossamer.aggregator.rules.tolerance import attackers_of, chance, choose_f, tail
from gossamer.errors import InputError


@pytest.mark.parametrize(("fleet", "cohort", "attackers"), [(8, 3, 2), (9, 4, 4), (7, 7, 3), (6, 5, 5), (5, 2, 0)])
def test_chances_are_those_of_counting_every_cohort(fleet: int, cohort: int, attackers: int) -> None:
    counts = [sum(i < attackers for i in chosen) for chosen in itertools.combinations(range(fleet), cohort)]
    for k in range(cohort + 1):
        expected = Fraction(counts.count(k), len(counts))
        assert chance(k, cohort, fleet, attackers, exact=True) == expected
        assert chance(k, cohort, fleet, attackers) == pytest.approx(float(expected), rel=1e-12)
        assert tail(k, cohort, fleet, attackers) == pytest.approx(sum(c > k for c in counts) / len(counts), rel=1e-12)


@pytest.mark.parametrize("failure", [0.5, 0.1, 0.01, 1e-4])
@pytest.mark.parametrize(("fleet", "cohort", "fraction"), [(12, 5, 0.25), (10, 4, 0.3), (9, 9, 0.4), (11, 3, 0.0)])
def test_f_is_the_smallest_that_does(fleet: int, cohort: int, fraction: float, failure: float) -> None:
    attackers = attackers_of(fleet, fraction)
    counts = [sum(i < attackers for i in chosen) for chosen in itertools.combinations(range(fleet), cohort)]
    expected = next(f for f in itertools.count() if Fraction(sum(c > f for c in counts), len(counts)) <= failure)
    found = choose_f(cohort, fleet, fraction, failure)
    assert (found.f, found.attackers) == (expected, attackers)
    assert found.cohort_failure == pytest.approx(sum(c > expected for c in counts) / len(counts))


def test_logarithms_decide_as_fractions_do(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [(c, 1500, fraction, p) for c in (5, 40, 300) for fraction in (0.05, 0.31) for p in (1e-2, 1e-6, 1e-12)]
    exact = [choose_f(*question) for question in questions]
    monkeypatch.setattr(tolerance, "EXACT_FLEET", 0)
    for question, expected in zip(questions, exact, strict=True):
        found = choose_f(*question)
        assert found.f == expected.f
        assert found.cohort_failure == pytest.approx(expected.cohort_failure, rel=1e-9)


def test_a_fleet_of_a_million() -> None:
    found = choose_f(1000, 1_000_000, 0.1, 1e-6)
    # The tail of a normal of the same variance lies close.
    deviation = math.sqrt(1000 * 0.1 * 0.9 * (1 - 1000 / 1_000_000))
    assert abs(found.f - (100 + 4.75 * deviation)) < 0.05 * found.f
    assert tail(found.f, 1000, 1_000_000, 100_000) <= 1e-6 < tail(found.f - 1, 1000, 1_000_000, 100_000)


def test_a_cycle_has_as_many_chances_to_fail_as_cohorts() -> None:
    one, cycle = choose_f(10, 100, 0.1, 0.01), choose_f(10, 100, 0.1, 0.01, cohorts=10)
    assert cycle.f > one.f
    assert cycle.cohort_failure <= 0.001
    assert cycle.cycle_failure == pytest.approx(10 * cycle.cohort_failure)


def test_the_published_setting_has_no_rule_that_looks_at_one_cohort() -> None:
    """20 devices, 4 attackers, cohorts of 4: more than one attacker in 785 of 4,845 cohorts."""
    assert tail(1, 4, 20, 4) == pytest.approx((6 * 120 + 4 * 16 + 1) / 4845)
    assert not choose_f(4, 20, 0.2, 0.01).tolerated_by(4)


def test_certain_answers() -> None:
    assert choose_f(5, 5, 0.4, 1e-9).f == 2  # the cohort is the fleet
    assert choose_f(5, 50, 0.0, 1e-9).f == 0
    assert choose_f(5, 50, 1.0, 1e-9).f == 5


@pytest.mark.parametrize(
    "question",
    [(0, 5, 0.1, 0.1), (6, 5, 0.1, 0.1), (2, 5, 1.1, 0.1), (2, 5, -0.1, 0.1), (2, 5, 0.1, 0.0), (2, 5, 0.1, 1)],
)
def test_numbers_out_of_range_are_refused(question: tuple[int, int, float, float]) -> None:
    with pytest.raises(InputError, match=r"expected|must be"):
        choose_f(*question)
