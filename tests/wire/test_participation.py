"""Participation: every device once a cycle, the same on every machine, nobody favoured."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import partial
from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.errors import InputError
from gossamer.wire.participation import SHUFFLE_ROUNDS, Participation, ParticipationRule

RESHUFFLED, UNIFORM = ParticipationRule.RESHUFFLED, ParticipationRule.UNIFORM
FIXED, ANYTIME = ParticipationRule.FIXED, ParticipationRule.ANYTIME
IMPORTANCE, MARINA = ParticipationRule.IMPORTANCE, ParticipationRule.MARINA

# Written once; a change of these is a change of the protocol: every device would come in other rounds.
GOLDEN = [
    (Participation(RESHUFFLED, 7, 10, 2), 0, (1, 2, 3, 4, 8)),
    (Participation(RESHUFFLED, 7, 10, 2), 1, (0, 5, 6, 7, 9)),
    (Participation(RESHUFFLED, 7, 10, 2), 5, (2, 3, 4, 5, 8)),
    (Participation(RESHUFFLED, (1 << 64) - 1, 1000, 250), 1_000_003, (324, 409, 546, 603)),
    (Participation(UNIFORM, 7, 10, 3), 0, (0, 1, 5, 9)),
    (Participation(FIXED, 7, 10, 3), 0, (0, 3, 6, 9)),
    (Participation(FIXED, 7, 10, 3), 5, (2, 5, 8)),
    (Participation(ANYTIME, 7, 4, 2), 1, (0, 1, 2, 3)),
    (Participation(IMPORTANCE, 7, 4, 2), 1, (0, 1, 2, 3)),
    (Participation(MARINA, 7, 10, 5), 0, tuple(range(10))),
    (Participation(MARINA, 7, 10, 5), 2, (0, 3)),
    (Participation(MARINA, 7, 10, 5), 1, tuple(range(10))),
    (Participation(MARINA, (1 << 64) - 1, 1000, 250), 1_000_003, (79, 356, 391, 753)),
]

schedules = st.builds(
    lambda rule, seed, n, r: Participation(rule, seed, n, 1 + r % n),
    st.sampled_from(ParticipationRule),
    st.integers(0, (1 << 64) - 1),
    st.integers(1, 600),
    st.integers(0, 599),
)


@pytest.mark.parametrize(("schedule", "round_", "cohort"), GOLDEN)
def test_golden_cohorts(schedule: Participation, round_: int, cohort: tuple[int, ...]) -> None:
    assert schedule.cohort(round_) == cohort


def naive_positions(rule: int, seed: int, draw: int, n: int) -> list[int]:
    """Swap-or-not over the whole list, one hash per position and round: the judge."""
    key = hashlib.sha256(
        b"gossamer participation" + bytes([rule]) + seed.to_bytes(8, "big") + draw.to_bytes(8, "big")
    ).digest()
    where = list(range(n))
    for j in range(SHUFFLE_ROUNDS):
        pivot = int(hashlib.sha256(key + bytes([j])).hexdigest()[:16], 16) % n
        for index in range(n):
            mirror = (pivot - where[index]) % n
            top = max(where[index], mirror)
            block = hashlib.sha256(key + bytes([j]) + (top // 256).to_bytes(4, "big")).digest()
            if block[(top % 256) // 8] & (1 << (top % 8)):
                where[index] = mirror
    return where


@pytest.mark.parametrize(("n", "cohorts"), [(1, 1), (2, 2), (7, 3), (300, 7)])
@pytest.mark.parametrize("rule", list(ParticipationRule))
def test_agrees_with_a_naive_second_implementation(rule: ParticipationRule, n: int, cohorts: int) -> None:
    schedule = Participation(rule, 11, n, cohorts)
    for round_ in (0, cohorts, cohorts * 3 + cohorts // 2):
        assert schedule.cohort(round_) == tuple(i for i in range(n) if naive_member(rule, 11, round_, n, cohorts, i))


def naive_member(rule: int, seed: int, round_: int, n: int, cohorts: int, index: int) -> bool:
    turn, few = round_ % cohorts, (n + cohorts - 1) // cohorts
    if rule == RESHUFFLED:
        position = naive_positions(rule, seed, round_ // cohorts, n)[index]
        return turn * n // cohorts <= position < (turn + 1) * n // cohorts
    if rule == FIXED:
        return index in range(turn, n, cohorts)
    if rule == MARINA and round_ == 0:
        return True
    if rule == MARINA and naive_heads(seed, round_, cohorts):
        return True
    return rule in (ANYTIME, IMPORTANCE) or naive_positions(rule, seed, round_, n)[index] < few


def naive_heads(seed: int, round_: int, cohorts: int) -> bool:
    text = b"gossamer full round" + seed.to_bytes(8, "big") + round_.to_bytes(8, "big")
    return int(hashlib.sha256(text).hexdigest()[:16], 16) * cohorts < 1 << 64


@given(schedules, st.integers(0, 1 << 40))
@settings(max_examples=40, deadline=None)
def test_a_device_computes_its_own_membership(schedule: Participation, round_: int) -> None:
    cohort = schedule.cohort(round_)
    members = {index for index in range(schedule.devices) if schedule.is_member(round_, index)}
    assert members == set(cohort)
    assert list(cohort) == sorted(members)
    assert cohort


@given(schedules.filter(lambda s: s.rule in (RESHUFFLED, FIXED)), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_a_cycle_deals_the_whole_fleet_once(schedule: Participation, cycle: int) -> None:
    first = cycle * schedule.cohorts
    cohorts = [schedule.cohort(first + turn) for turn in range(schedule.cohorts)]
    assert sorted(index for cohort in cohorts for index in cohort) == list(range(schedule.devices))
    sizes = {len(cohort) for cohort in cohorts}
    assert max(sizes) - min(sizes) <= 1
    assert {schedule.cycle(first + turn) for turn in range(schedule.cohorts)} == {cycle}


def test_cycles_and_seeds_differ() -> None:
    a = Participation(RESHUFFLED, 1, 100, 4)
    b = Participation(RESHUFFLED, 2, 100, 4)
    u = Participation(UNIFORM, 1, 100, 4)
    seen = [a.cohort(0), a.cohort(4), a.cohort(8), b.cohort(0), u.cohort(0), u.cohort(1)]
    assert len(set(seen)) == len(seen)


def test_uniform_draws_the_announced_share() -> None:
    assert {len(Participation(UNIFORM, 3, 10, 4).cohort(r)) for r in range(20)} == {3}  # ceil(10 / 4)


def test_fixed_groups_come_back_and_outlive_growth() -> None:
    schedule = Participation(FIXED, 7, 100, 8)
    turns = [schedule.cohort(turn) for turn in range(8)]
    assert [schedule.cohort(turn) for turn in range(8, 16)] == turns
    assert [Participation(FIXED, 8, 100, 8).cohort(turn) for turn in range(8)] == turns  # no seed, no shuffle
    grown = Participation(FIXED, 7, 131, 8)
    assert all(set(group) <= set(grown.cohort(turn)) for turn, group in enumerate(turns))


@pytest.mark.parametrize("rule", [ANYTIME, IMPORTANCE])
def test_everybody_may_come_to_every_round(rule: ParticipationRule) -> None:
    schedule = Participation(rule, 7, 1 << 32, 1000)
    assert all(schedule.is_full(round_) and schedule.is_member(round_, (1 << 32) - 1) for round_ in range(50))
    assert schedule.cycle(1999) == 1
    assert schedule.drawn == 4_294_968  # ceil(2^32 / 1000)


def test_full_rounds_are_those_with_everybody_in() -> None:
    for rule in ParticipationRule:
        for cohorts in (1, 2, 5):
            schedule = Participation(rule, 3, 10, cohorts)
            for round_ in range(30):
                assert schedule.is_full(round_) == (len(schedule.cohort(round_)) == 10)


@pytest.mark.parametrize("cohorts", [2, 5, 20])
def test_marina_calls_everybody_once_in_so_many_rounds(cohorts: int) -> None:
    """Binomial(4000, 1 / cohorts), within 4 standard deviations; runs of full rounds as chance has it."""
    schedule = Participation(MARINA, 5, 40, cohorts)
    heads = [schedule.is_full(round_) for round_ in range(4000)]
    p = 1 / cohorts
    assert abs(sum(heads) - 4000 * p) < 4 * (4000 * p * (1 - p)) ** 0.5
    pairs = sum(a and b for a, b in pairwise(heads))
    assert abs(pairs - 4000 * p * p) < 4 * (4000 * p * p) ** 0.5 + 2
    assert heads != [Participation(MARINA, 6, 40, cohorts).is_full(round_) for round_ in range(4000)]


@pytest.mark.parametrize("rule", [UNIFORM, MARINA])
def test_draws_favour_nobody(rule: ParticipationRule) -> None:
    """Chi-square of how often each of 20 devices is drawn in 1,500 partial rounds (4 of 20 each)."""
    schedule = Participation(rule, 2, 20, 5)
    cohorts = [schedule.cohort(round_) for round_ in range(1500) if not schedule.is_full(round_)]
    assert {len(cohort) for cohort in cohorts} == {4}
    drawn = Counter(index for cohort in cohorts for index in cohort)
    expected = 4 * len(cohorts) / 20
    # Without replacement a count's variance is (1 - 1/5) of a Poisson's.
    chi_square = sum((drawn[index] - expected) ** 2 / expected for index in range(20)) / (1 - 1 / 5)
    assert 5 < chi_square < 19 + 4 * 38**0.5


@pytest.mark.parametrize("n", [2, 3, 4])
def test_every_permutation_is_as_likely(n: int) -> None:
    """Chi-square over all n! orders in 1,200 cycles (fixed seeds: the figures never change)."""
    orders: Counter[tuple[int, ...]] = Counter()
    for cycle in range(1200):
        schedule = Participation(RESHUFFLED, 5, n, n)
        orders[tuple(schedule.cohort(cycle * n + turn)[0] for turn in range(n))] += 1
    every = list(permutations(range(n)))
    expected = 1200 / len(every)
    chi_square = sum((orders[order] - expected) ** 2 / expected for order in every)
    assert chi_square < len(every) - 1 + 4 * (2 * (len(every) - 1)) ** 0.5


def test_pairs_meet_as_often_as_chance_has_it() -> None:
    """10 devices in cohorts of 5: two given devices share a cohort in 4/9 of cycles."""
    schedule = Participation(RESHUFFLED, 9, 10, 2)
    together: Counter[tuple[int, int]] = Counter()
    for cycle in range(1500):
        cohort = schedule.cohort(2 * cycle)
        other = schedule.cohort(2 * cycle + 1)
        together.update((a, b) for group in (cohort, other) for a in group for b in group if a < b)
    share = [together[a, b] / 1500 for a in range(10) for b in range(a + 1, 10)]
    assert all(abs(value - 4 / 9) < 0.055 for value in share)  # over 4 standard deviations


def test_one_device_of_a_huge_fleet() -> None:
    schedule = Participation(RESHUFFLED, 1, 1 << 32, 1000)
    assert sum(schedule.is_member(turn, 123_456_789) for turn in range(1000)) == 1


def test_outsiders_are_no_members() -> None:
    schedule = Participation(RESHUFFLED, 1, 4, 1)
    assert not schedule.is_member(0, 4)
    assert not schedule.is_member(0, -1)


def test_fields_rebuild_it() -> None:
    schedule = Participation(UNIFORM, 5, 9, 3)
    assert schedule.fields == (1, 5, 9, 3)
    assert Participation(*schedule.fields).cohort(7) == schedule.cohort(7)


@pytest.mark.parametrize(
    "fields", [(6, 0, 5, 1), (0, -1, 5, 1), (0, 1 << 64, 5, 1), (0, 0, 0, 1), (0, 0, 5, 0), (0, 0, 5, 6)]
)
def test_impossible_schedules_are_refused(fields: tuple[int, int, int, int]) -> None:
    with pytest.raises(InputError):
        Participation(*fields)


@pytest.mark.parametrize("round_", [-1, 1 << 64])
def test_impossible_rounds_are_refused(round_: int) -> None:
    for rule in ParticipationRule:
        schedule = Participation(rule, 1, 4, 2)
        for ask in (schedule.cohort, schedule.cycle, schedule.is_full, partial(schedule.is_member, index=0)):
            with pytest.raises(InputError):
                ask(round_)


def test_names() -> None:
    for rule in ParticipationRule:
        assert ParticipationRule.named(rule.name.lower()) is rule
    with pytest.raises(InputError, match="reshuffled, uniform, fixed, anytime, importance, marina"):
        ParticipationRule.named("roulette")
