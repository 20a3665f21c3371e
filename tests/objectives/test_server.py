"""The server's half: merged in any order, bounded against liars, kept through CBOR."""

from __future__ import annotations

import cbor2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import InputError
from gossamer.objectives.auc_minimax import MAX_SCALAR, Dual
from gossamer.objectives.histogram import BINS, ClassScores, ScoreHistogram
from gossamer.objectives.merging import merge
from gossamer.objectives.server import MAX_TURNS, ScorePool, combine_dual, dual_from_dict, dual_to_dict
from gossamer.objectives.small_floats import encode_counts

DUALS = [Dual(0.5, 0.0, -0.5).serialize(), Dual(0.25, 0.125, -0.25).serialize(), Dual(1.5, -0.125, -1.5).serialize()]


def device(seed: int, positives: int = 20, negatives: int = 180, shift: float = 0.0) -> ScoreHistogram:
    rng = np.random.default_rng(seed)
    labels = np.arange(positives + negatives) < positives
    return ScoreHistogram.of_scores(rng.normal(0.0, 0.5, len(labels)) + 0.7 * labels + shift, labels)


def claimed(size: int, place: float, level: int = 4) -> ScoreHistogram:
    """A liar: ``size`` positives and negatives, all at one score."""
    width = 2.0**level / 64
    counts = np.zeros(BINS, np.int64)
    counts[0] = 500_000
    of_class = ClassScores(size * 256, encode_counts(counts))
    return ScoreHistogram(level, int(place // width), of_class, of_class)


def mass_above(it: ScoreHistogram, score: float, positive: bool) -> float:
    """Share of a class at or above a score that is an edge of its bins."""
    counts = it.of_class(positive).counts
    return float(counts[(it.first + np.arange(BINS)) * it.width >= score].sum() / counts.sum())


def test_the_mean_of_a_cohort_goes_on() -> None:
    assert combine_dual(Dual(), DUALS) == (Dual(0.75, 0.0, -0.75), ())
    assert combine_dual(Dual(), DUALS, [2, 1, 1]) == (Dual(0.6875, 0.0, -0.6875), ())


def test_the_middle_of_a_cohort_holds_against_a_liar() -> None:
    lie = Dual(MAX_SCALAR, MAX_SCALAR, MAX_SCALAR).serialize()
    combined, _ = combine_dual(Dual(), [*DUALS, lie, lie], robust=True)
    assert combined == Dual(1.5, 0.125, -0.25)
    assert combine_dual(Dual(), [*DUALS, lie])[0].dual > 200  # which a mean does not


def test_damaged_scalars_are_named_and_nothing_usable_changes_nothing() -> None:
    nan = b"\x00\x00\xc0\x7f" * 3
    assert combine_dual(Dual(), [nan, *DUALS, b""]) == (Dual(0.75, 0.0, -0.75), (0, 4))
    last = Dual(1.0, 2.0, 3.0)
    assert combine_dual(last, [nan]) == (last, (0,))
    assert combine_dual(last, []) == (last, ())


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0, 1.0], [1.0, float("nan"), 1.0], [1.0, float("inf"), 1.0]])
def test_weights_are_positive_and_one_each(weights: list[float]) -> None:
    with pytest.raises(InputError, match="positive weight"):
        combine_dual(Dual(), DUALS, weights)


@given(st.permutations(range(6)), st.booleans())
def test_no_order_of_arrival_shows(order: list[int], robust: bool) -> None:
    rng = np.random.default_rng(5)
    duals = [Dual(*rng.normal(size=3)).serialize() for _ in range(6)]
    shares = rng.uniform(1, 2, 6).tolist()
    histograms = [device(i, positives=3 * i, shift=0.3 * i).serialize() for i in range(6)]
    assert combine_dual(Dual(), [duals[i] for i in order], [shares[i] for i in order], robust=robust) == combine_dual(
        Dual(), duals, shares, robust=robust
    )
    assert ScorePool().absorb(0, [histograms[i] for i in order]) == ScorePool().absorb(0, histograms)
    turns = ScorePool()
    for i in order:
        turns, _ = turns.absorb(i, [histograms[i]])
    assert turns.section() == merge([device(i, 3 * i, shift=0.3 * i) for i in range(6)], [1] * 6).serialize()


def test_merged_is_the_histogram_of_all_scores() -> None:
    rng = np.random.default_rng(1)
    scores = [rng.normal(0, spread, 200) for spread in (0.2, 0.5, 1.0)]
    labels = [np.arange(200) < count for count in (5, 20, 10)]
    merged = merge([ScoreHistogram.of_scores(s, y) for s, y in zip(scores, labels, strict=True)], [1, 1, 1], cap=9)
    whole = ScoreHistogram.of_scores(np.concatenate(scores), np.concatenate(labels))
    assert merged.level == whole.level  # the widest device's bins hold everybody
    assert merged.examples(True) == pytest.approx(35 / 3, abs=1 / 256)
    assert merged.examples(False) == pytest.approx(565 / 3, abs=1 / 256)
    for positive in (True, False):
        one, other = (it.of_class(positive).counts / it.of_class(positive).counts.sum() for it in (merged, whole))
        # narrower devices' bins lie within the wide ones, so only the bytes' rounding is left
        np.testing.assert_allclose(np.cumsum(one), np.cumsum(other), atol=0.03)


def test_turns_weigh_by_their_devices_and_the_last_of_each_stays() -> None:
    pool = ScorePool()
    pool, _ = pool.absorb(0, [device(0, positives=10).serialize()] * 3)
    pool, _ = pool.absorb(1, [device(1, positives=30).serialize()])
    assert pool.pooled().examples(True) == 15.0  # of four devices, not of two turns
    pool, _ = pool.absorb(0, [device(2, positives=20).serialize()] * 2)
    assert pool.pooled().examples(True) == pytest.approx(70 / 3, abs=1 / 256)
    assert [(turn, devices) for turn, devices, _ in pool.turns] == [(0, 2), (1, 1)]


def test_a_claim_of_a_million_counts_as_three_middle_devices() -> None:
    honest = [device(i) for i in range(4)]
    merged = merge([*honest, claimed(1_000_000, 0.0)], [1] * 5)
    assert merged.examples(True) == pytest.approx((4 * 20 + 3 * 20) / 5)
    assert merged.examples(False) == pytest.approx((4 * 180 + 3 * 180) / 5)
    assert merge([*honest, claimed(1_000_000, 0.0)], [1] * 5, cap=1).examples(True) == 20


def test_where_hardly_any_device_has_positives_they_count() -> None:
    merged = merge([device(0, positives=9), *(device(i, positives=0) for i in range(1, 8))], [1] * 8)
    assert merged.examples(True) == pytest.approx(9 / 8)


def test_a_turn_of_liars_is_bounded_when_turns_are_merged() -> None:
    pool = ScorePool()
    for turn in range(4):
        pool, _ = pool.absorb(turn, [device(4 * turn + i).serialize() for i in range(4)])
    pool, _ = pool.absorb(4, [claimed(1_000_000, 0.5).serialize()] * 4)
    assert pool.pooled().examples(True) == pytest.approx((4 * 20 + 60) / 5)


@pytest.mark.parametrize("place", [31.0, -31.0])
def test_outliers_count_at_the_edge_and_leave_the_bins_narrow(place: float) -> None:
    honest = [device(i) for i in range(4)]
    clean = merge(honest, [1] * 4)
    merged = merge([*honest, claimed(100, place)], [1] * 5)
    assert merged.level <= clean.level + 1
    assert (merged.first + BINS) * merged.width < 8
    assert merged.first * merged.width > -8
    # counted, 100 of 820, though not where it said
    beyond = mass_above(merged, 4.0, False) if place > 0 else 1 - mass_above(merged, -4.0, False)
    assert beyond == pytest.approx(100 / 820, abs=0.01)


def test_a_cohort_that_sent_nothing_usable_changes_nothing() -> None:
    pool, refused = ScorePool().absorb(0, [b"x", b""])
    assert (pool, refused) == (ScorePool(), (0, 1))
    assert pool.section() is None
    again, refused = pool.absorb(0, [b"x", device(0).serialize()])
    assert refused == (0,)
    assert again.section() == merge([device(0)], [1]).serialize()


def test_a_long_cycle_shares_turns() -> None:
    pool, _ = ScorePool().absorb(MAX_TURNS + 7, [device(0).serialize()])
    assert pool.turns[0][0] == 7


def test_state_goes_through_cbor() -> None:
    pool = ScorePool()
    for turn in (3, 0, 1):
        pool, _ = pool.absorb(turn, [device(turn).serialize(), device(turn + 9).serialize()])
    assert ScorePool.from_dict(cbor2.loads(cbor2.dumps(pool.to_dict()))) == pool
    dual = Dual(0.5, -0.25, -0.75)
    assert dual_from_dict(cbor2.loads(cbor2.dumps(dual_to_dict(dual)))) == dual


@pytest.mark.parametrize(
    "data",
    [{}, {"objective": "pairwise", "turns": b"x"}, {"objective": "pairwise", "turns": bytes(83)}, {"turns": b""}],
)
def test_other_state_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(InputError, match="begin with"):
        ScorePool.from_dict(data)
    with pytest.raises(InputError, match="begin with"):
        dual_from_dict(data)


@pytest.mark.parametrize("scalars", [b"", b"\x00\x00\xc0\x7f" * 3])
def test_damaged_scalars_in_a_store_are_refused(scalars: bytes) -> None:
    with pytest.raises(InputError, match="damaged"):
        dual_from_dict({"objective": "auc-minimax", "scalars": scalars})


@pytest.mark.parametrize(("items", "devices", "cap"), [([], [], 3), ([1], [], 3), ([1], [0], 3), ([1], [1], 0)])
def test_merging_needs_something(items: list[int], devices: list[int], cap: int) -> None:
    with pytest.raises(InputError, match="at least one histogram"):
        merge([device(i) for i in items], devices, cap)
