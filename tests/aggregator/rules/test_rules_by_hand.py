"""Each rule on numbers small enough for paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gossamer.aggregator.rules import Dense, State, Update, Updates, rule
from gossamer.aggregator.rules.bucketing import permutation
from gossamer.aggregator.rules.norm_clip import NORMS_PER_ROUND, WINDOW
from gossamer.aggregator.rules.state import unpack


def updates(rows: list[list[float]], examples: list[int] | None = None, lags: list[int] | None = None) -> Updates:
    claimed, late = examples or [1] * len(rows), lags or [0] * len(rows)
    items = [
        Update(i, Dense(np.array(row, dtype=np.float32)), e, lag)
        for i, (row, e, lag) in enumerate(zip(rows, claimed, late, strict=True))
    ]
    return Updates.of(items, len(rows[0]))


def aggregate(spec: str, data: Updates) -> list[float]:
    chosen = rule(spec)
    return chosen.apply(chosen.init(data.d), data)[0].tolist()


def test_mean_weighs_examples_and_staleness() -> None:
    # weights 2, 4 / sqrt(1 + 3) = 2, 4: (2*1 + 2*2 + 4*4) / 8
    assert aggregate("mean", updates([[1.0], [2.0], [4.0]], [2, 4, 4], [0, 3, 0])) == [22 / 8]


def test_mean_bounds_a_claim_to_three_medians() -> None:
    # lower median of (10, 10, 10^6) is 10: weights 10, 10, 30
    assert aggregate("mean", updates([[0.0], [0.0], [5.0]], [10, 10, 1_000_000])) == [3.0]


def test_median_of_odd_and_even_cohorts_ignores_weights() -> None:
    assert aggregate("median", updates([[1, 9], [2, 8], [900, 7]], [1, 1, 3])) == [2.0, 8.0]
    assert aggregate("median", updates([[1.0], [2.0], [4.0], [900.0]])) == [3.0]


def test_trimmed_mean_drops_f_at_either_end() -> None:
    rows = [[5.0, 0.0], [1.0, 0.0], [3.0, 3.0], [-99.0, 6.0], [99.0, 90.0]]
    assert aggregate("trimmed-mean:1", updates(rows)) == [3.0, 3.0]
    assert aggregate("trimmed-mean:2", updates(rows)) == [3.0, 3.0]
    assert aggregate("trimmed-mean:0", updates(rows)) == [9 / 5, 99 / 5]


def test_norm_clip_clips_to_the_median_norm() -> None:
    # norms 5, 1, 50: the median is 5; (3,4) stays, (0,1) stays, (30,40) becomes (3,4)
    chosen = rule("norm-clip")
    result, state, report = chosen.apply(chosen.init(2), updates([[3, 4], [0, 1], [30, 40]]))
    np.testing.assert_allclose(result, [2.0, 3.0])
    assert report.radius == 5.0
    assert [v.factor for v in report.verdicts] == [1.0, 1.0, 0.1]
    assert [v.norm for v in report.verdicts] == [5.0, 1.0, 50.0]
    # A cohort of giants cannot lift the radius above what the fleet's median device sent.
    result, _, report = chosen.apply(state, updates([[100.0, 0.0], [0.0, 100.0], [100.0, 0.0]]))
    assert report.radius == 50.0  # pool 1, 5, 50 | 100, 100, 100: the lower middle


def test_norm_clip_forgets_old_rounds() -> None:
    chosen = rule("norm-clip")
    state = chosen.init(1)
    for k in range(WINDOW + 3):
        _, state, report = chosen.apply(state, updates([[100.0]] if k < 3 else [[1.0]]))
    assert report.radius == 1.0
    assert len(unpack(state.norms)) == WINDOW * NORMS_PER_ROUND
    assert set(unpack(state.norms)) == {1.0}


def test_clipped_differences_two_rounds() -> None:
    chosen = rule("clipped-differences:0.5")
    # Round 1: g = 0, norms 4, 4, 4, 400; the floor is m / sqrt(n) = 4 / 2, the radius half of it.
    rows = [[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [-400.0, 0.0]]
    g1, state, report = chosen.apply(chosen.init(2), updates(rows))
    assert report.radius == 1.0
    np.testing.assert_allclose(g1, [(1 + 1 - 1) / 4, 1 / 4])
    assert state.read_vector().tolist() == g1.tolist()
    # Round 2, one device at (0.25, 3.25): difference (0, 3); pool 4, 4, 4, 400 | 3.26: m is 4, n is 1: floor 4.
    g2, _, report = chosen.apply(state, updates([[0.25, 3.25]]))
    assert report.radius == pytest.approx(0.5 * math.hypot(0.25, 3.25))  # the lower middle of the pool is its norm
    np.testing.assert_allclose(g2, [0.25, 0.25 + 0.5 * math.hypot(0.25, 3.25)])


def test_clipped_differences_radius_follows_the_memory() -> None:
    """With ``|g|`` above the floor the radius is kappa ``|g|``, as printed."""
    chosen = rule("clipped-differences:0.25")
    memory = State(chosen.spec, 1, 9, vector=np.array([8.0]).tobytes())
    result, _, report = chosen.apply(memory, updates([[-1000.0], [9.0], [9.0], [9.0]]))
    assert report.radius == 2.0
    assert result.tolist() == [8.0 + (-2 + 1 + 1 + 1) / 4]


def test_a_wholly_byzantine_cohort_moves_clipped_differences_by_kappa_at_most() -> None:
    chosen = rule("clipped-differences:0.3")
    honest, state = np.array([3.0, 4.0], dtype=np.float32), chosen.init(2)
    for _ in range(30):
        _, state, _ = chosen.apply(state, Updates.dense(np.tile(honest, (4, 1))))
    before = state.read_vector()
    after, state, _ = chosen.apply(state, Updates.dense(np.tile(-100 * honest, (4, 1))))
    assert math.dist(before, after) == pytest.approx(0.3 * 5.0)
    recovered, _, _ = chosen.apply(state, Updates.dense(np.tile(honest, (4, 1))))
    assert math.dist(recovered, honest) < 0.6


def test_fields_of_the_report() -> None:
    chosen = rule("mean")
    _, _, report = chosen.apply(chosen.init(1), updates([[2.0], [3.0]], [4, 4], [0, 3]))
    assert [(v.index, v.lag, v.norm, v.factor, v.weight) for v in report.verdicts] == [
        (0, 0, 2.0, 1.0, 4.0),
        (1, 3, 3.0, 1.0, 2.0),
    ]


def test_krum_takes_the_update_in_the_thick_of_it() -> None:
    rows = [[0.0], [1.0], [1.5], [3.0], [50.0]]
    # n - f - 1 = 3 nearest others: 1 + 2.25 + 9, 1 + .25 + 4, .25 + 2.25 + 2.25, 2.25 + 4 + 9
    assert aggregate("krum:1", updates(rows)) == [1.5]
    assert aggregate("multi-krum:1/2", updates(rows)) == [1.25]
    assert aggregate("multi-krum:1", updates(rows)) == [5.5 / 4]


def test_bulyan_averages_what_is_near_the_median_of_what_krum_took() -> None:
    # Krum takes 2, 3, 4, 1, 0 of these one after the other; 7 - 4 = 3 values around their median 2.
    assert aggregate("bulyan:1", updates([[0.0], [1.0], [2.0], [3.0], [4.0], [40.0], [90.0]])) == [2.0]


def test_geometric_median_of_a_line_is_its_middle_and_of_three_steps_what_they_give() -> None:
    rows = [[1.0], [2.0], [4.0], [100.0], [3.0]]
    assert aggregate("geometric-median", updates(rows))[0] == pytest.approx(3.0, abs=0.01)
    # From 0: weights 1/1, 1/2, 1/4: (1 + 1 + 1) / (7/4)
    assert aggregate("geometric-median:1", updates([[1.0], [2.0], [4.0]]))[0] == pytest.approx(12 / 7)


def test_centered_clipping_starts_from_where_it_was() -> None:
    chosen = rule("centered-clipping:1.0")
    first, state, report = chosen.apply(chosen.init(2), updates([[3.0, 4.0], [0.0, 0.5], [0.0, -9.0]]))
    np.testing.assert_allclose(first, [0.6 / 3, (0.8 + 0.5 - 1.0) / 3], rtol=1e-6)
    assert report.radius == 1.0
    second, _, _ = chosen.apply(state, updates([[float(first[0]), float(first[1]) + 5.0]]))
    np.testing.assert_allclose(second, [first[0], first[1] + 1.0], rtol=1e-6)


def test_centered_clipping_takes_the_median_distance_for_a_radius() -> None:
    chosen = rule("centered-clipping")
    _, _, report = chosen.apply(chosen.init(1), updates([[1.0], [-2.0], [5.0], [70.0]]))
    assert report.radius == 2.0


def test_fltrust_scales_to_the_root_and_ignores_who_points_away() -> None:
    # Root (0, 2) is device 0; (3, 3) has cosine sqrt(1/2) and becomes (sqrt 2, sqrt 2); (0, 8) becomes (0, 2).
    rows = [[0.0, 2.0], [3.0, 3.0], [0.0, 8.0], [1.0, -5.0]]
    trust = math.sqrt(0.5)
    expected = [trust * math.sqrt(2) / (trust + 1), (trust * math.sqrt(2) + 2) / (trust + 1)]
    np.testing.assert_allclose(aggregate("fltrust:0", updates(rows)), expected)
    chosen = rule("fltrust:0")
    _, _, report = chosen.apply(chosen.init(2), updates(rows))
    np.testing.assert_allclose([v.factor for v in report.verdicts], [1.0, trust, 1.0, 0.0])


def test_fltrust_falls_back_on_the_root_and_does_nothing_without_it() -> None:
    assert aggregate("fltrust:0", updates([[0.0, 2.0], [1.0, -1.0]])) == [0.0, 2.0]
    chosen = rule("fltrust:7")
    state = chosen.init(2)
    result, after, report = chosen.apply(state, updates([[0.0, 2.0], [1.0, -1.0]]))
    assert not result.any()
    assert after == state
    assert report.shortfall == "fltrust:7 needs an update of device 7, the root of trust"
    assert all(v.accepted and v.norm > 0 for v in report.verdicts)


def test_mixing_replaces_each_by_its_neighbourhood() -> None:
    chosen = rule("nnm:2+mean")
    five = updates([[0.0], [1.0], [2.5], [9.0], [9.5]])
    assert chosen.minimum == 5
    # n - f = 3: means of 0 1 2.5 | 0 1 2.5 | 0 1 2.5 | 2.5 9 9.5 | 2.5 9 9.5
    assert chosen.apply(chosen.init(1), five)[0][0] == pytest.approx((3 * 3.5 / 3 + 2 * 7.0) / 5, rel=1e-6)


def test_buckets_are_dealt_by_round() -> None:
    rows = [[float(2**i)] for i in range(7)]
    chosen = rule("bucketing:2+trimmed-mean:1")
    found = set()
    for number in range(12):
        items = updates(rows).items
        forward = chosen.apply(chosen.init(1), Updates.of(items, 1, round=number))[0].tobytes()
        assert chosen.apply(chosen.init(1), Updates.of(items[::-1], 1, round=number))[0].tobytes() == forward
        found.add(forward)
    assert len(found) > 6


def test_a_bucket_weighs_as_much_as_another() -> None:
    order = permutation(5, 3).tolist()
    rows = [[0.0]] * 5
    rows[order[4]] = [6.0]  # alone in the last of three buckets
    chosen = rule("bucketing:2+mean")
    items = updates(rows).items
    assert chosen.apply(chosen.init(1), Updates.of(items, 1, round=3))[0].tolist() == [2.0]


@pytest.mark.parametrize(
    "spec", ["mean", "median", "krum:1", "sign-majority", "centered-clipping", "geometric-median:2"]
)
def test_large_but_usable_updates_only_cost_the_exact_pass(spec: str) -> None:
    """Squares that an unusable update might have are looked at, and then the result is as if they had not been."""
    rows = np.full((5, 3000), 100.0, dtype=np.float32)
    rows[1:, ::3] = np.arange(1, 5, dtype=np.float32)[:, None] * 10
    chosen = rule(spec)
    result, _, report = chosen.apply(chosen.init(3000), Updates.dense(rows))
    small, _, _ = chosen.apply(chosen.init(3000), Updates.dense(rows / 1024))
    assert not report.rejected
    np.testing.assert_array_equal(result, small * 1024)
    np.testing.assert_allclose([v.norm for v in report.verdicts], np.linalg.norm(rows, axis=1), rtol=1e-6)
