"""Score histograms: size, range, what they keep, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import InputError, MalformedMessage, NonFiniteInput
from gossamer.objectives.histogram import MAX_SCORE, SECTION_BYTES, ClassScores, ScoreHistogram

EMPTY = bytes(32)
ONE = b"\x01" + bytes(31)

scores_and_labels = st.lists(
    st.tuples(st.floats(-100, 100, allow_nan=False), st.booleans()), min_size=1, max_size=40
)  # fmt: skip


def of(scores: list[float], positive: list[bool]) -> ScoreHistogram:
    return ScoreHistogram.of_scores(np.array(scores), np.array(positive))


def test_a_pair_fits_a_section() -> None:
    data = of([0.1, 0.9], [False, True]).serialize()
    assert len(data) == SECTION_BYTES == 75


def test_bytes_by_hand() -> None:
    # scores -0.5 and 1.5 in units of 1/64: -32 and 96; width 4 is too fine (bins -8 and 24), width 8 holds both
    data = of([-0.5, 1.5, 1.5], [True, False, False]).serialize()
    head = b"\x03\xff\xfc" + (256).to_bytes(4, "big") + (512).to_bytes(4, "big")
    assert data == head + ONE + bytes(16) + b"\x02" + bytes(15)


@given(scores_and_labels)
def test_it_comes_back_and_keeps_each_score_to_within_a_bin(pairs: list[tuple[float, bool]]) -> None:
    scores, labels = (np.array(each) for each in zip(*pairs, strict=True))
    it = of(scores, labels)
    assert ScoreHistogram.parse(it.serialize()) == it
    edges = (it.first + np.arange(33)) * it.width
    for positive in (True, False):
        own = np.clip(scores[labels == positive], -MAX_SCORE, MAX_SCORE - 1 / 64)
        assert it.examples(positive) == len(own)
        expected, _ = np.histogram(own, edges)
        over = expected > 31  # beyond that a byte is not exact
        assert (it.of_class(positive).counts[~over] == expected[~over]).all()


@given(scores_and_labels)
def test_bins_are_no_wider_than_the_scores_need(pairs: list[tuple[float, bool]]) -> None:
    scores, labels = (np.array(each) for each in zip(*pairs, strict=True))
    bounded = np.clip(scores, -MAX_SCORE, MAX_SCORE)
    assert of(scores, labels).width <= max(1 / 64, (bounded.max() - bounded.min() + 1 / 64) / 15.5)


def test_draws_have_the_shape_of_the_scores() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(1.0, 0.5, 300), rng.normal(0.0, 0.5, 3000)])
    positive = np.arange(3300) < 300
    it = ScoreHistogram.of_scores(scores, positive)
    for label in (True, False):
        drawn, own = it.sample(rng, (200, 1000), label), scores[positive == label]
        assert drawn.shape == (200, 1000)
        assert drawn.mean() == pytest.approx(own.mean(), abs=0.01)
        # twice width^2 / 12 more variance: once for the bin, once for the draw within it
        assert drawn.var() == pytest.approx(own.var() + it.width**2 / 6, rel=0.03)
        # what the loss reads of it: the mean hinge of an active score against it
        for active in (-0.5, 0.2, 1.0):
            hinge = np.maximum(0, 1 - active + own).mean()
            assert np.maximum(0, 1 - active + drawn).mean() == pytest.approx(hinge, rel=0.04)


def test_draws_repeat_with_the_seed_and_need_scores() -> None:
    it = of([0.25, 0.5], [False, False])
    one, two = (it.sample(np.random.default_rng(3), (5,), False) for _ in range(2))
    assert (one == two).all()
    with pytest.raises(InputError, match="no positive scores"):
        it.sample(np.random.default_rng(3), (5,), True)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_are_finite(bad: float) -> None:
    with pytest.raises(NonFiniteInput, match="lower the learning rate"):
        of([0.0, bad], [False, True])


def test_no_examples_make_no_histogram() -> None:
    with pytest.raises(InputError, match="at least one example"):
        of([], [])


@pytest.mark.parametrize(
    ("level", "first", "plus", "minus", "says"),
    [
        (8, 0, (1, ONE), (0, EMPTY), "level"),
        (0, 2048, (1, ONE), (0, EMPTY), "beyond"),
        (0, -2049, (1, ONE), (0, EMPTY), "beyond"),
        (7, 15, (1, bytes(1) + ONE[:31]), (0, EMPTY), "beyond"),
        (0, 0, (0, ONE), (1, ONE), "disagree"),
        (0, 0, (1, EMPTY), (1, ONE), "disagree"),
        (0, 0, (0, EMPTY), (0, EMPTY), "at least one example"),
        (0, 0, (1 << 32, ONE), (0, EMPTY), "4 bytes"),
        (0, 0, (1, ONE + b"\x00"), (0, EMPTY), "32 counts"),
    ],
)
def test_what_cannot_be_is_refused(level: int, first: int, plus, minus, says: str) -> None:
    with pytest.raises(MalformedMessage, match=says):
        ScoreHistogram(level, first, ClassScores(*plus), ClassScores(*minus))


@given(st.binary(min_size=0, max_size=80) | st.binary(min_size=75, max_size=75))
def test_any_bytes_are_a_histogram_or_malformed(data: bytes) -> None:
    try:
        it = ScoreHistogram.parse(data)
    except MalformedMessage:
        return
    assert it.serialize() == data
