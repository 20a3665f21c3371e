"""Cyclic cohorts: where the objectives end, with what really leaves the devices."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.objectives import metrics, pairwise
from tests.objectives.federation import Federation, pairwise_with_raw_scores
from tests.objectives.problems import Problem, problem, squared_auc_optimum


def hinge_optimum(data: Problem) -> float:
    """The least pairwise loss of the pooled data, by Newton's method: exact once the active pairs stay the same."""
    x, y = data.pooled
    plus, minus = x[y], x[~y]
    w = np.zeros(x.shape[1])
    for _ in range(10):
        margin = 1 - (plus @ w)[:, None] + minus @ w
        on = (margin > 0).astype(float)
        push = margin * on
        gradient = push.sum(0) @ minus - push.sum(1) @ plus
        across = plus.T @ on @ minus
        w -= np.linalg.solve((plus.T * on.sum(1)) @ plus + (minus.T * on.sum(0)) @ minus - across - across.T, gradient)
    assert np.linalg.norm(gradient) < 1e-9 * margin.size
    return pairwise.pairwise_loss(plus @ w, minus @ w)


def test_minimax_reaches_the_optimum_of_the_pooled_data_in_cyclic_order() -> None:
    data = problem(0)
    x, positive = data.pooled
    optimum = squared_auc_optimum(x, positive)
    job = Federation(data, f"auc-minimax:{data.share!r}", batch=200).run(300, learning_rate=0.02)
    weights, bias = job.weights
    assert np.linalg.norm(weights - optimum) < 0.02 * np.linalg.norm(optimum)
    plus, minus = float((x[positive] @ optimum).mean()), float((x[~positive] @ optimum).mean())
    # the objective does not know where scores are centred: the model's bias moves both centres, and nothing else
    assert job.dual.positive_centre - bias[0] == pytest.approx(plus, abs=0.01)
    assert job.dual.negative_centre - bias[0] == pytest.approx(minus, abs=0.01)
    assert job.dual.dual == pytest.approx(minus - plus, abs=0.01)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_histograms_do_what_raw_scores_do(seed: int) -> None:
    data = problem(seed)
    (x, positive), (test_x, test_positive) = data.pooled, data.test
    job = Federation(data, "pairwise", seed=seed).run(60, learning_rate=0.03)
    raw, sent = pairwise_with_raw_scores(data, 60, 0.03, seed), job.weights[0]
    auc_raw, auc_sent = (metrics.auc(test_x @ w, test_positive) for w in (raw, sent))
    assert abs(auc_raw - auc_sent) < 0.005
    # AUC forgives much: the loss that is minimised does not
    optimum = hinge_optimum(data)
    for w in (raw, sent):
        scores = x @ w
        assert optimum < pairwise.pairwise_loss(scores[positive], scores[~positive]) < 1.03 * optimum


def test_all_scores_of_a_round_fit_75_bytes() -> None:
    job = Federation(problem(0), "pairwise").run(4, learning_rate=0.03)
    section = job.pool.section()
    assert section is not None
    assert len(section) <= 80
    assert [turn for turn, _, _ in job.pool.turns] == [0, 1, 2]
