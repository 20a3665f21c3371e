"""The saddle point: closed forms, finite differences, and ascent to the known optimum."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.errors import InputError, MalformedMessage, NonFiniteInput
from gossamer.objectives import auc_minimax
from gossamer.objectives.auc_minimax import MAX_SCALAR, Dual
from tests.objectives.problems import FEATURES, problem, squared_auc_optimum


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(0)
    positive = rng.random(1000) < 0.1
    return rng.standard_normal(1000) + 0.7 * positive, positive.astype(float), float(positive.mean())


def test_at_the_saddle_it_is_the_squared_loss_over_pairs(sample) -> None:
    h, positive, p = sample
    plus, minus = h[positive > 0], h[positive == 0]
    saddle = Dual(plus.mean(), minus.mean(), minus.mean() - plus.mean())
    over_pairs = ((1 - plus[:, None] + minus) ** 2).mean()
    value = auc_minimax.value(h, positive, p, saddle)
    assert p * (1 - p) * value == pytest.approx(p * (1 - p) * (over_pairs - 1), abs=1e-10)
    assert auc_minimax.gradients(h, positive, p, saddle) == pytest.approx((0, 0, 0), abs=1e-12)
    for step in (0.1, -0.1):  # a minimum in the centres, a maximum in the dual variable
        a, b, al = saddle.positive_centre, saddle.negative_centre, saddle.dual
        assert auc_minimax.value(h, positive, p, Dual(a + step, b, al)) > value
        assert auc_minimax.value(h, positive, p, Dual(a, b + step, al)) > value
        assert auc_minimax.value(h, positive, p, Dual(a, b, al + step)) < value


def test_value_is_the_printed_formula_over_p_times_one_minus_p(sample) -> None:
    h, positive, p = sample
    a, b, al = 0.3, -0.2, -0.4
    terms = [
        (1 - p) * (s - a) ** 2 - 2 * (1 + al) * (1 - p) * s if y else p * (s - b) ** 2 + 2 * (1 + al) * p * s
        for s, y in zip(h, positive, strict=True)
    ]
    printed = sum(terms) / len(terms) - p * (1 - p) * al**2
    assert auc_minimax.value(h, positive, p, Dual(a, b, al)) == pytest.approx(printed / (p * (1 - p)), rel=1e-12)


def test_gradients_are_those_of_value(sample) -> None:
    h, positive, p = (each[:7] if isinstance(each, np.ndarray) else each for each in sample)
    positive = np.array([1.0, 0, 0, 1, 0, 0, 1])
    at, e = np.array([0.3, -0.2, -0.4]), 1e-6

    def value(scores, scalars):
        return auc_minimax.value(scores, positive, p, Dual(*scalars))

    by_score = [(value(h + e * row, at) - value(h - e * row, at)) / (2 * e) for row in np.eye(7)]
    by_scalar = [(value(h, at + e * row) - value(h, at - e * row)) / (2 * e) for row in np.eye(3)]
    np.testing.assert_allclose(auc_minimax.coefficients(h, positive, p, Dual(*at)), by_score, rtol=1e-6)
    np.testing.assert_allclose(auc_minimax.gradients(h, positive, p, Dual(*at)), by_scalar, rtol=1e-6)


def test_float32_scores_stay_float32(sample) -> None:
    h, positive, p = sample
    found = auc_minimax.coefficients(h.astype(np.float32), positive.astype(np.float32), p, Dual(0.5, 0.0, -0.5))
    assert found.dtype == np.float32


def ascend(steps: int, learning_rate: float = 0.02, move=auc_minimax.step):
    """Full-batch descent and ascent from zero on the pooled data of seed 0."""
    data = problem(0)
    x, positive = data.pooled
    share, labels = data.share, positive.astype(float)
    w, dual = np.zeros(FEATURES), Dual()
    for _ in range(steps):
        h = x @ w
        gradient = auc_minimax.gradients(h, labels, share, dual)
        w = w - learning_rate * (auc_minimax.coefficients(h, labels, share, dual) @ x)
        dual = move(dual, gradient, learning_rate)
        if abs(dual.dual) > 1e6:
            break
    return w, dual, squared_auc_optimum(x, positive), (x, positive)


def test_descent_and_ascent_reach_the_optimum_of_the_pooled_data() -> None:
    w, dual, optimum, (x, positive) = ascend(10_000)
    assert np.linalg.norm(w - optimum) < 1e-10 * np.linalg.norm(optimum)
    assert dual.positive_centre == pytest.approx(0.492450, abs=1e-5)
    assert dual.negative_centre == pytest.approx(-0.001307, abs=1e-5)
    assert dual.dual == pytest.approx(-0.493757, abs=1e-5)
    assert dual.positive_centre == pytest.approx(float((x[positive] @ optimum).mean()), abs=1e-9)
    assert dual.dual == pytest.approx(dual.negative_centre - dual.positive_centre, abs=1e-9)


def test_descent_in_the_dual_variable_diverges() -> None:
    def wrong(at: Dual, gradient, learning_rate: float) -> Dual:
        return auc_minimax.step(at, (gradient[0], gradient[1], -gradient[2]), learning_rate)

    _, dual, _, _ = ascend(300, move=wrong)
    assert abs(dual.dual) > 1e6


def test_the_section() -> None:
    it = Dual(0.5, -0.25, -0.75)
    assert it.serialize() == b"\x00\x00\x00\x3f\x00\x00\x80\xbe\x00\x00\x40\xbf"
    assert Dual.parse(it.serialize()) == it
    assert Dual.parse(Dual(float("inf"), -1e300, 0.0).serialize()) == Dual(MAX_SCALAR, -MAX_SCALAR, 0.0)
    with pytest.raises(NonFiniteInput, match="lower the learning rate"):
        Dual(0.0, float("nan"), 0.0).serialize()


@pytest.mark.parametrize(
    "data", [b"", bytes(11), bytes(13), b"\x00\x00\xc0\x7f" + bytes(8), bytes(8) + b"\x00\x00\x80\x7f",
             bytes(4) + np.array([1025], "<f4").tobytes() + bytes(4)],
)  # fmt: skip
def test_what_is_no_section_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Dual.parse(data)


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_of_positives_lies_between_0_and_1(p: float) -> None:
    with pytest.raises(InputError, match="share of positives"):
        auc_minimax.value(np.zeros(2), np.zeros(2), p, Dual())
