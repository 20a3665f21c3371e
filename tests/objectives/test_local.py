"""The device's half: which objective, from which sections, and the logistic loss beside them."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.errors import InputError, MalformedMessage
from gossamer.objectives import auc_minimax, sections
from gossamer.objectives.auc_minimax import Dual
from gossamer.objectives.histogram import ScoreHistogram
from gossamer.objectives.local import CrossEntropyLocal, MinimaxLocal, PairwiseLocal, begin, parse_spec
from gossamer.wire import codes

LABELS = np.array([True, False, False, True])
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "spec", ["", "auc", "auc-minimax", "auc-minimax:", "auc-minimax:0", "auc-minimax:1", "auc-minimax:nan",
             "auc-minimax:x", "pairwise:3", "cross-entropy:1", "fedprox:0.1"],
)  # fmt: skip
def test_what_is_no_objective_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match="expected"):
        parse_spec(spec)


def test_an_objective_starts_from_the_sections_of_its_round() -> None:
    dual = Dual(0.5, -0.25, -0.75)
    minimax = begin("auc-minimax:0.25", LABELS, {sections.MANIFEST_DUAL: dual.serialize()})
    assert isinstance(minimax, MinimaxLocal)
    assert (minimax.dual, minimax.p) == (dual, 0.25)
    pool = ScoreHistogram.of_scores(np.array([0.5, 0.0, 0.0, 0.0]), np.arange(4) < 1)
    pairwise = begin("pairwise", LABELS, {sections.MANIFEST_SCORES: pool.serialize()})
    assert isinstance(pairwise, PairwiseLocal)
    assert pairwise.pool == pool
    assert pairwise.weights == {True: 2.0, False: pytest.approx(2 / 3)}
    assert isinstance(begin("cross-entropy", LABELS, {}), CrossEntropyLocal)


def test_a_damaged_section_is_no_start() -> None:
    with pytest.raises(MalformedMessage):
        begin("auc-minimax:0.25", LABELS, {sections.MANIFEST_DUAL: b"?"})
    with pytest.raises(MalformedMessage):
        begin("pairwise", LABELS, {sections.MANIFEST_SCORES: b"?"})


def test_minimax_takes_all_gradients_before_it_moves() -> None:
    scores, start = np.array([0.5, 0.25, -0.5, 1.0]), Dual(0.5, -0.25, -0.75)
    local = MinimaxLocal(LABELS, 0.25, start)
    loss, coefficients = local.step(scores, np.arange(4), 0.125, RNG)
    batch = scores, LABELS.astype(float), 0.25, start
    assert coefficients.tolist() == auc_minimax.coefficients(*batch).tolist()
    assert local.dual == auc_minimax.step(start, auc_minimax.gradients(*batch), 0.125)
    assert loss == max(auc_minimax.value(*batch) + 1, 0)
    assert Dual.parse(local.sections(scores)[sections.UPDATE_DUAL]).dual == pytest.approx(local.dual.dual)


def test_the_logistic_loss_and_its_gradient() -> None:
    scores, local, e = np.array([0.3, -2.0, 1.0, 0.1]), CrossEntropyLocal(LABELS), 1e-6
    _, coefficients = local.step(scores, np.arange(4), 0.1, RNG)

    def loss(scores: np.ndarray) -> float:
        return local.step(scores, np.arange(4), 0.1, RNG)[0]

    numeric = [(loss(scores + e * row) - loss(scores - e * row)) / (2 * e) for row in np.eye(4)]
    np.testing.assert_allclose(coefficients, numeric, rtol=1e-6)


def test_the_logistic_loss_takes_any_score() -> None:
    loss, coefficients = CrossEntropyLocal(LABELS).step(np.float32([1e5, 1e5, -1e5, -1e5]), np.arange(4), 0.1, RNG)
    assert loss == pytest.approx(5e4)
    assert coefficients.tolist() == [0, 0.25, 0, -0.25]


def test_numbers_of_sections_are_the_wires() -> None:
    down, up = codes.Section, codes.UpdateSection
    assert (sections.MANIFEST_OBJECTIVE, sections.MANIFEST_DUAL, sections.MANIFEST_SCORES) == (
        down.OBJECTIVE,
        down.DUAL,
        down.SCORES,
    )
    assert (sections.UPDATE_DUAL, sections.UPDATE_SCORES) == (up.DUAL, up.SCORES)
