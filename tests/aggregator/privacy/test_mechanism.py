"""The private mean: what one device can move, what its noise is, and that a repeated seal repeats it."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest

from gossamer.aggregator.privacy import PrivacyPlan, PrivacySettings, plan, private_rule
from gossamer.aggregator.privacy.mechanism import clipped_sum, noise_sigma, private_mean
from gossamer.aggregator.privacy.settings import MAX_CLIP_NORM, MIN_CLIP_NORM
from gossamer.aggregator.rules import Dense, Update, Updates
from gossamer.errors import ConfigError, InputError

SECRET = bytes(range(32))
CLIP = 0.75
UNIT = 1 << 20


def planned(mechanism: str = "gaussian", noise: float = 2.0, clip: float = CLIP) -> PrivacyPlan:
    return PrivacyPlan(PrivacySettings(8.0, 1e-5, clip, noise, mechanism), 40, 5, "fixed")


def of(*items: tuple[int, int, np.ndarray], block: int = 0) -> Updates:
    """(device, round, vector) each."""
    made = [Update(i, Dense(np.asarray(v, dtype=np.float32)), round=r) for i, r, v in items]
    return Updates.of(made, len(items[0][2]), block_coordinates=block)


def norms_of(updates: Updates) -> np.ndarray:
    return np.array(
        [math.sqrt(sum(float(x) ** 2 for x in updates.read(row, 0, updates.d))) for row in range(updates.n)]
    )


def clipped(updates: Updates, clip: float = CLIP) -> np.ndarray:
    return clipped_sum(updates, norms_of(updates), clip)[0]


def squared(units: np.ndarray) -> int:
    return sum(int(x) ** 2 for x in units.tolist())  # exact


def hard_vectors(d: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Where rounding might make a vector longer than the clip norm."""
    towards_even = np.full(d, (UNIT * CLIP / math.sqrt(d) // 1 + 0.9999) / UNIT)
    gaussian = [rng.standard_normal(d) * 10.0**k for k in (-6, -1, 0, 2)]
    just = [g / np.linalg.norm(g) * CLIP * (1.0 + k * 2.0**-24) for g in gaussian for k in (-2, -1, 0, 1, 2)]
    single = np.eye(d)[0] * CLIP
    half_units = np.full(d, 0.5 / UNIT)
    return [np.zeros(d), np.full(d, 2047.9), np.full(d, -2047.9), towards_even, half_units, single, *gaussian, *just]


@pytest.mark.parametrize("d", [1, 3, 1000, 5000])
def test_no_device_is_longer_than_the_clip_norm_whatever_it_sends(d: int):
    limit = (CLIP * UNIT) ** 2
    for vector in hard_vectors(d, np.random.default_rng(d)):
        assert squared(clipped(of((0, 0, vector)))) <= limit


@pytest.mark.parametrize("clip", [MIN_CLIP_NORM, 1.0, 999.9995, MAX_CLIP_NORM])
def test_nor_at_the_ends_of_the_range_of_clip_norms(clip: float):
    """At the largest, one part in 2^30 is a lattice unit."""
    limit = Fraction(clip) ** 2 * UNIT**2
    for vector in ([2047.9], [-2047.9], [3.0, 4.0], [clip], [clip * (1.0 + 2.0**-23)], [0.6 * clip, 0.8 * clip]):
        sent = of((0, 0, np.array(vector)))
        assert squared(clipped(sent, clip)) <= limit


@pytest.mark.parametrize("late", [1, 2, 4])
def test_a_device_that_comes_twice_into_one_sum_has_one_vote(late: int):
    rng = np.random.default_rng(late)
    others = [(k, 9, rng.standard_normal(50)) for k in (0, 2, 3)]
    same = rng.standard_normal(50)
    for vector in (same, 1e3 * same, 1e-4 * same):
        mine = [(1, 9 - lag, vector) for lag in range(late + 1)]
        with_it, without = clipped(of(*others, *mine)), clipped(of(*others))
        assert 0 < squared(with_it - without) <= (CLIP * UNIT) ** 2
    opposite = [(1, 8, same), (1, 9, -same)]
    assert (clipped(of(*others, *opposite)) == clipped(of(*others))).all()


def test_short_updates_count_in_full_and_all_alike():
    vectors = [np.array([0.25, -0.125]), np.array([0.5, 0.25])]
    made = [
        Update(k, Dense(v.astype(np.float32)), examples=10**k, lag=3 * k, round=9 - k) for k, v in enumerate(vectors)
    ]
    updates = Updates.of(made, 2)
    total, factors = clipped_sum(updates, norms_of(updates), CLIP)
    assert total.tolist() == [UNIT * 3 // 4, UNIT // 8]
    assert factors.tolist() == [1.0, 1.0]


def test_long_updates_keep_their_direction():
    total, factors = clipped_sum(of((0, 0, np.array([30.0, -40.0]))), np.array([50.0]), CLIP)
    assert total / UNIT == pytest.approx([0.45, -0.6], abs=2e-6)
    assert abs(total[0]) <= 0.45 * UNIT
    assert factors[0] == pytest.approx(CLIP / 50.0)


def test_the_divisor_is_the_expected_cohort_not_who_came():
    rule = private_mean(CLIP, expected=8, noise=np.zeros_like)
    one, two = of((0, 0, np.array([0.5]))), of((0, 0, np.array([0.5])), (1, 0, np.array([0.5])))
    assert rule.apply(rule.init(1), one)[0].tolist() == [0.5 / 8]
    assert rule.apply(rule.init(1), two)[0].tolist() == [1.0 / 8]
    with pytest.raises(InputError, match="cohort"):
        private_mean(CLIP, expected=0, noise=np.zeros_like)


def test_noise_has_the_planned_deviation_and_no_drift():
    made, d = planned(), 200_000
    rule = private_rule(made, SECRET, 3, expected=10)
    aggregate, _, _ = rule.apply(rule.init(d), of((0, 3, np.zeros(d))))
    deviation = made.noise_multiplier * CLIP / 10
    assert abs(aggregate.mean()) < 5 * deviation / math.sqrt(d)
    assert abs(aggregate.std() / deviation - 1.0) < 5 / math.sqrt(2 * d)


def test_the_noise_satisfies_the_definition():
    """sum over integers of (P(z) - e^epsilon P(z - shift))+ <= delta, with the shift of one device and the planned
    sigma; a tenth less of sigma would not."""
    shift = math.floor(0.001 * UNIT)
    for epsilon in (0.5, 2.0, 8.0):
        settings = PrivacySettings(epsilon, 1e-5, 0.001)
        sigma = noise_sigma(plan(settings, rounds=1, cohorts=1, participation="fixed"))
        assert hockey_stick(sigma, shift, epsilon) <= 1e-5
        assert hockey_stick(0.9 * sigma, shift, epsilon) > 1e-5


def hockey_stick(sigma: float, shift: int, epsilon: float) -> float:
    span = int(12 * sigma) + shift
    ends = (np.arange(-span, span + 1) + 0.5) / (sigma * math.sqrt(2.0))
    tail = np.array([math.erfc(x) / 2.0 for x in ends.tolist()])
    cell = tail[:-1] - tail[1:]
    return float(np.maximum(cell[:-shift] - math.exp(epsilon) * cell[shift:], 0.0).sum())


@pytest.mark.parametrize("mechanism", ["gaussian", "banded:3/0.5"])
def test_a_repeated_seal_has_the_same_bits(mechanism: str):
    made, rng = planned(mechanism), np.random.default_rng(0)
    vectors = rng.standard_normal((4, 5000))
    first = private_rule(made, SECRET, 0, 4)
    _, state, _ = first.apply(first.init(5000), of((0, 0, vectors[0])))
    again = private_rule(made, SECRET, 1, 4)  # as after a restart: from the stored state
    restored = again.restore(state.to_dict(), 5000)
    results = set()
    for order in permutations(range(1, 4)):
        for block in (0, 1, 2048):
            updates = of(*((k, 1, vectors[k]) for k in order), block=block)
            aggregate, after, _ = again.apply(restored, updates)
            results.add((aggregate.tobytes(), after))
    assert len(results) == 1


def test_noise_is_another_one_for_another_round_secret_sum_or_plan():
    """The same noise on two sums would tell their difference."""
    zeros, ones = of((0, 0, np.zeros(100))), of((0, 0, np.full(100, 1e-3)))
    base = noise_of(planned(), SECRET, 0, zeros)
    for made, secret, round_, updates in (
        (planned(), SECRET, 1, zeros),
        (planned(), bytes(32), 0, zeros),
        (planned(), SECRET, 0, ones),
        (planned(noise=2.5), SECRET, 0, zeros),
        (planned(clip=CLIP / 2), SECRET, 0, zeros),
    ):
        other = noise_of(made, secret, round_, updates)
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.5
    assert (noise_of(planned(), SECRET, 0, zeros) == base).all()


def test_banded_noise_is_another_one_after_another_past():
    made, d = planned("banded:2/0.5"), 400
    zeros = of((0, 0, np.zeros(d)))
    rule = private_rule(made, SECRET, 1, 1)
    pasts = [rule.init(d).remember(noise=np.full(d, value, dtype="<i8").tobytes()) for value in (0, 1000)]
    one, other = (rule.apply(past, zeros)[0] for past in pasts)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.5


def noise_of(made: PrivacyPlan, secret: bytes, round_: int, updates: Updates) -> np.ndarray:
    rule = private_rule(made, secret, round_, 1)
    return rule.apply(rule.init(updates.d), updates)[0] - clipped(updates) / UNIT


@pytest.mark.parametrize("bad", [math.nan, math.inf, 3000.0])
def test_a_rejected_update_is_a_zero_vector_under_noise(bad: float):
    """Were the round skipped, everybody would see that the one device of the cohort sent nonsense."""
    rule = private_rule(planned(), SECRET, 0, 1)
    rejected, _, report = rule.apply(rule.init(50), of((0, 0, np.full(50, bad))))
    silent, _, _ = rule.apply(rule.init(50), of((0, 0, np.zeros(50))))
    assert len(report.rejected) == 1
    assert not report.shortfall
    assert (rejected == silent).all()
    assert rejected.std() > 0.5


def test_a_round_without_anybody_releases_nothing():
    rule = private_rule(planned("banded:3/0.5"), SECRET, 0, 1)
    nobody = Updates.of([], 4)
    _, state, _ = rule.apply(rule.init(4), of((0, 0, np.zeros(4))))
    aggregate, after, report = rule.apply(state, nobody)
    assert aggregate.tolist() == [0.0] * 4
    assert report.shortfall
    assert rule.minimum == 1
    assert after.memory("noise") == bytes(32) + state.memory("noise")[:32]


def test_the_memory_is_bounded_and_newest_first():
    made = planned("banded:3/0.5")
    state = private_rule(made, SECRET, 0, 1).init(4)
    seen: list[bytes] = []
    for round_ in range(5):
        aggregate, state, _ = private_rule(made, SECRET, round_, 1).apply(state, of((0, 0, np.zeros(4))))
        seen.insert(0, np.rint(aggregate * UNIT).astype("<i8").tobytes())
        assert state.memory("noise") == b"".join(seen[:2])
    assert state.rounds == 5
    with pytest.raises(InputError, match="begin with init"):
        private_rule(planned(), SECRET, 0, 1).restore(state.to_dict(), 4)


def test_independent_noise_remembers_nothing():
    rule = private_rule(planned(), SECRET, 0, 1)
    _, state, _ = rule.apply(rule.init(4), of((0, 0, np.zeros(4))))
    assert state.named == ()


def test_a_secret_and_a_settled_plan_are_needed():
    with pytest.raises(ConfigError, match="32 random bytes"):
        private_rule(planned(), SECRET[1:], 0, 1)
    with pytest.raises(ConfigError, match="plan"):
        private_rule(planned(noise=0.0), SECRET, 0, 1)


def test_what_a_rule_shows_of_itself_is_not_the_secret() -> None:
    made = plan(PrivacySettings(8.0, 1e-5, 1.0), rounds=4, cohorts=2, participation="fixed")
    assert "ssss" not in repr(private_rule(made, b"s" * 32, 0, 4))
