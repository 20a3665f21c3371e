"""Attacks do what their papers say, and repeat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gossamer.aggregator.attacks import (
    ADAPTABLE,
    ATTACKS,
    LYING_FACTOR,
    SCALES,
    Context,
    Defence,
    alie_z,
    attack,
    flipped_labels,
)
from gossamer.aggregator.rules import State, rule
from gossamer.aggregator.rules.state import pack
from gossamer.errors import ConfigError, InputError

HONEST = np.array([1.0, -2.0, 0.0, 4.0], dtype=np.float32)
PEERS = (HONEST, np.array([3.0, -2.0, 2.0, 0.0], dtype=np.float32))
W_0, W_T = np.zeros(4, dtype=np.float32), np.array([1.0, 2.0, 3.0, 4.0], dtype=np.float32)


def context(peers: tuple[np.ndarray, ...] = (), seed: int = 3) -> Context:
    return Context(W_0, W_T, cohort=5, attackers=2, seed=seed, peers=peers)


def vectors(*rows: list[float]) -> tuple[np.ndarray, ...]:
    return tuple(np.array(row, dtype=np.float32) for row in rows)


def defended(spec: str, peers: tuple[np.ndarray, ...], attackers: int, state: State | None = None) -> Context:
    """A round of ``peers`` and ``attackers`` under that rule."""
    chosen, d = rule(spec), len(peers[0])
    zeros = np.zeros(d, dtype=np.float32)
    defence = Defence(chosen, state or chosen.init(d))
    return Context(zeros, zeros, len(peers) + attackers, attackers, 3, peers, defence=defence)


@pytest.mark.parametrize("name", [*ATTACKS, *(f"adaptive:{name}" for name in ADAPTABLE)])
def test_every_attack_repeats_and_keeps_shape_and_input(name: str) -> None:
    honest = HONEST.copy()
    honest.setflags(write=False)
    known = replace(context(), defence=Defence(rule("median"), rule("median").init(4)))
    sent = attack(name)(honest, known)
    assert sent.shape == honest.shape
    assert sent.dtype == np.float32
    np.testing.assert_array_equal(sent, attack(name)(honest, known))
    assert attack(name).name == name


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("none", [1, -2, 0, 4]),
        ("label-flip", [1, -2, 0, 4]),  # what its trainer learned from wrong labels
        ("replay", [1, -2, 0, 4]),  # this is the first
        ("sign-flip", [-1, 2, 0, -4]),
        ("examples", [-1, 2, 0, -4]),
        ("inner-product-2", [-2, 4, 0, -8]),
        ("inner-product-10", [-10, 20, 0, -40]),
        ("shift-back", [-2.5, -5, -7.5, -10]),
        ("mimic", [1, -2, 0, 4]),
    ],
)
def test_by_hand(name: str, sent: list[float]) -> None:
    assert attack(name)(HONEST, context()).tolist() == sent


def test_shift_back_puts_the_mean_at_the_start() -> None:
    sent = attack("shift-back")(HONEST, context())
    mean = (2 * sent + 3 * np.zeros(4)) / 5
    np.testing.assert_allclose(W_T + mean, W_0)


def test_inner_product_uses_what_it_knows_of_the_honest() -> None:
    assert attack("inner-product-2")(HONEST, context(PEERS)).tolist() == [-4.0, 4.0, -2.0, -4.0]


def test_alie_hides_within_the_deviation() -> None:
    mean, deviation = np.array([2.0, -2.0, 1.0, 2.0]), np.array([1.0, 0.0, 1.0, 2.0])
    sent = attack("alie")(HONEST, context(PEERS))
    np.testing.assert_allclose(sent, mean - alie_z(5, 2) * deviation, rtol=1e-6)
    alone = attack("alie")(HONEST, context())
    np.testing.assert_allclose(alone, HONEST - alie_z(5, 2) * np.sqrt(21 / 4), rtol=1e-6)


def test_alie_z() -> None:
    # 50 devices, 24 attackers: 2 supporters of 26 needed, Phi^-1(24/26); the paper's example prints 1.43.
    assert alie_z(50, 24) == pytest.approx(1.4261, abs=1e-4)
    assert alie_z(4, 3) == 1.5


def test_gaussian_is_seeded_and_ten_times_as_long() -> None:
    honest = np.ones(10_000, dtype=np.float32)
    flat = Context(honest, honest, 5, 2, seed=1)
    sent = attack("gaussian")(honest, flat)
    assert np.linalg.norm(sent) == pytest.approx(1000.0, rel=0.03)
    other = attack("gaussian")(honest, Context(honest, honest, 5, 2, seed=2))
    assert not np.array_equal(sent, other)


def test_mimic_copies_who_lies_furthest_along_the_main_direction() -> None:
    # Mean (1, 1); the differences from it lie along the first axis but for the small ones of the last two.
    peers = vectors([-3, 1], [6, 1], [1, 1.5], [0, 0.5])
    assert attack("mimic")(HONEST[:2], context(peers)).tolist() == [6.0, 1.0]
    assert attack("mimic")(HONEST[:2], context(vectors([1, 0], [3, 0]))).tolist() == [3.0, 0.0]
    # Nothing moves along the longer axis: the direction is that of the variance, not of the mean.
    peers = vectors([1, 100], [2, 100], [4, 100])
    assert attack("mimic")(HONEST[:2], context(peers)).tolist() == [4.0, 100.0]


def test_min_max_goes_as_far_as_the_honest_differ() -> None:
    # Mean (4, 0), distances 2 and 2, diameter 2: |4 - gamma - 3| and |4 - gamma - 5| <= 2, so gamma = 1.
    np.testing.assert_allclose(attack("min-max")(HONEST[:2], context(vectors([3, 0], [5, 0]))), [3, 0])
    # Mean (4, 0), diameter 6: (4 - gamma)^2 for the point itself is beside: sqrt(36 - 9) = 27^0.5.
    sent = attack("min-max")(HONEST[:2], context(vectors([4, 3], [4, -3])))
    np.testing.assert_allclose(sent, [4 - np.sqrt(27), 0], rtol=1e-6)


def test_min_max_touches_its_bound_and_not_more() -> None:
    peers = tuple(np.random.default_rng(4).standard_normal((6, 40)).astype(np.float32) + 1)
    sent = attack("min-max")(peers[0], context(peers))
    diameter = max(np.linalg.norm(a - b) for a in peers for b in peers)
    assert max(np.linalg.norm(sent - peer) for peer in peers) == pytest.approx(diameter, rel=1e-5)
    assert np.dot(sent, np.mean(peers, axis=0)) < np.dot(np.mean(peers, axis=0), np.mean(peers, axis=0))


def test_min_max_alone_and_of_nothing() -> None:
    alone = attack("min-max")(HONEST, context())
    np.testing.assert_allclose(alone, HONEST * (1 - np.sqrt(2)), rtol=1e-6)
    assert attack("min-max")(np.zeros(4, dtype=np.float32), context()).tolist() == [0, 0, 0, 0]


def test_replay_sends_its_first_again() -> None:
    first = np.array([9.0, 8.0, 7.0, 6.0], dtype=np.float32)
    assert attack("replay")(HONEST, replace(context(), first=first)).tolist() == first.tolist()


def test_labels_flip_end_for_end() -> None:
    assert flipped_labels(np.array([0, 3, 6]), 7).tolist() == [6, 3, 0]
    assert flipped_labels(np.array([0], dtype=np.int64), 2).dtype == np.int64
    assert flipped_labels(np.zeros(0, dtype=np.int64), 2).tolist() == []
    for labels in ([7], [-1]):
        with pytest.raises(InputError, match="0 to 6"):
            flipped_labels(np.array(labels), 7)
    assert [name for name in ATTACKS if attack(name).flips_labels] == ["label-flip"]


def test_adaptive_goes_to_the_end_where_nothing_stops_it() -> None:
    # Honest mean (2); sign flip -2, direction -4. The mean takes all, so the largest scale: 2 - 16 * 4.
    sent = attack("adaptive:sign-flip")(HONEST[:1], defended("mean", vectors([1], [3]), 1))
    assert sent.tolist() == [2 - 4 * max(SCALES)]


def test_adaptive_hides_under_the_median() -> None:
    # Honest 0, 1, 8 with mean 3 and two attackers: the median of the five is at most as far as the smallest.
    # Beyond 0 it stays 0: of the equally good scales the one nearest to the published is sent.
    peers = vectors([0], [1], [8])
    sent = attack("adaptive:sign-flip")(HONEST[:1], defended("median", peers, 2))
    scores = {}
    for scale in SCALES:
        candidate = np.float32(3 - 6 * scale)
        scores[scale] = abs(float(np.median([0, 1, 8, candidate, candidate])) - 3)
    assert sent.tolist() == [3 - 6 * 1.0]
    assert scores[1.0] == max(scores.values()) == 3.0


def test_adaptive_finds_the_scale_a_trimmed_mean_lets_through() -> None:
    # Honest 0, 1, 2, 3, 10 (mean 3.2), one attacker, one trimmed at each end: 3.2 - 6.4 s is cut off whole once it is
    # below 0; the aggregate is the mean of what then remains, (0 + 1 + 2 + 3) / 4. Above 0 it counts itself.
    peers = vectors([0], [1], [2], [3], [10])
    sent = attack("adaptive:sign-flip")(HONEST[:1], defended("trimmed-mean:1", peers, 1))
    moved = {}
    for scale in SCALES:
        kept = sorted([0, 1, 2, 3, 10, 3.2 - 6.4 * scale])[1:-1]
        moved[scale] = abs(np.mean(kept) - 3.2)
    assert moved[1.0] == pytest.approx(1.7)
    assert sent.tolist() == pytest.approx([3.2 - 6.4])


def test_adaptive_counts_its_copies() -> None:
    # One trimmed at each end, but there are two of them: the second counts, as far out as it can.
    known = defended("trimmed-mean:1", vectors([0], [1], [2], [3]), 2)
    assert attack("adaptive:sign-flip")(HONEST[:1], known).tolist() == [1.5 - 3 * max(SCALES)]


def test_adaptive_knows_the_memory() -> None:
    # Two honest at 1, an attacker at 1 - 2 s. Without a memory the radius is .17 about 0: s = 1 is clipped already.
    # With a memory of -5 the radius is 1.5 about -5: only what lies below -6.5 pulls as far as it can.
    fresh = rule("clipped-differences:0.3").init(1)
    old = State(fresh.spec, 1, 3, vector=pack([-5.0]), norms=pack([1.0] * 32))
    sent = [
        attack("adaptive:sign-flip")(HONEST[:1], defended(fresh.spec, vectors([1], [1]), 1, state))[0]
        for state in (fresh, old)
    ]
    assert sent[0] == -1.0
    assert sent[1] == 1 - 2 * 4  # the first that lies below


def test_adaptive_stays_where_a_rule_sees_it() -> None:
    sent = attack("adaptive:gaussian")(HONEST[:1], defended("mean", vectors([1900], [1900]), 1))
    assert abs(sent[0]) <= 2000


def test_adaptive_does_as_published_where_no_scale_matters() -> None:
    # One usable update fewer than the rule needs: whatever is sent, nothing is aggregated.
    known = defended("trimmed-mean:2", vectors([1], [3]), 1)
    assert attack("adaptive:sign-flip")(HONEST[:1], known).tolist() == [-2.0]


def test_adaptive_must_know_the_rule() -> None:
    with pytest.raises(InputError, match="defence"):
        attack("adaptive:alie")(HONEST, context())


def test_what_no_rule_may_see() -> None:
    assert np.isnan(attack("nan")(HONEST, context())).sum() == 1
    assert (np.abs(attack("oversized")(HONEST, context())) > 2048).all()
    assert attack("examples").examples_factor == LYING_FACTOR


@pytest.mark.parametrize("name", ["politeness", "adaptive", "adaptive:", "adaptive:nan", "adaptive:none", "Alie", ""])
def test_unknown_attack(name: str) -> None:
    with pytest.raises(ConfigError, match="shift-back"):
        attack(name)
