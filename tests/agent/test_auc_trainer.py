"""The trainer of score models: the trainer's promises, with what goes down and up beside the model."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.agent.auc_trainer import AucTrainer, LinearScore
from gossamer.agent.trainer import FitConfig, Trainer
from gossamer.errors import InputError
from gossamer.objectives.auc_minimax import Dual
from gossamer.objectives.histogram import ScoreHistogram
from gossamer.objectives.sections import (
    MANIFEST_DUAL,
    MANIFEST_OBJECTIVE,
    MANIFEST_SCORES,
    UPDATE_DUAL,
    UPDATE_SCORES,
)  # fmt: skip

OBJECTIVES = ["auc-minimax:0.25", "pairwise", "cross-entropy"]


class TinyMLP:
    """Four hidden units; ``backward`` by hand."""

    def init(self, seed):
        rng = np.random.default_rng(seed)
        return [rng.normal(size=shape).astype(np.float32) for shape in ((2, 4), (4,))]

    def scores(self, weights, x):
        return np.maximum(x @ weights[0], 0) @ weights[1]

    def backward(self, weights, x, coefficients):
        hidden = np.maximum(x @ weights[0], 0)
        inner = np.outer(coefficients, weights[1]) * (hidden > 0)
        return [x.T @ inner, coefficients @ hidden]


def data(n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    positive = np.arange(n) % 4 == 0
    return (rng.normal(size=(n, 2)) + 1.5 * positive[:, None]).astype(np.float32), positive


def config(**changes) -> FitConfig:
    return FitConfig(
        **{"local_epochs": 3, "batch_size": 16, "learning_rate": 0.05, "seed": 7, "round": 2, "sections": {}} | changes
    )


@pytest.mark.parametrize("model", [LinearScore(2), TinyMLP()], ids=["linear", "mlp"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_fit_learns(model, objective: str) -> None:
    trainer: Trainer = AucTrainer(model, *data(), objective=objective)
    start = trainer.initial(1)
    result = trainer.fit(start, config(local_epochs=20))
    assert result.examples == 80
    assert 0 <= result.loss < trainer.fit(start, config(local_epochs=1)).loss
    figures = trainer.evaluate(result.weights)
    assert figures["auc"] > 0.9
    assert figures["accuracy"] > 0.8
    assert figures["examples"] == 80
    assert all(type(value) is float for value in figures.values())
    assert all(w.dtype == np.float32 for w in result.weights)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_repeated_fit_gives_the_same_bits_and_leaves_its_input_alone(objective: str) -> None:
    trainer = AucTrainer(LinearScore(2), *data(), objective=objective)
    start = trainer.initial(0)
    first, second, other = (trainer.fit(start, config(seed=seed)) for seed in (7, 7, 8))
    assert [w.tobytes() for w in first.weights] == [w.tobytes() for w in second.weights]
    assert (first.loss, first.sections) == (second.loss, second.sections)
    assert [w.tobytes() for w in first.weights] != [w.tobytes() for w in other.weights]
    assert all(not w.any() for w in start)


def test_the_scalars_start_from_the_rounds_and_go_up() -> None:
    trainer = AucTrainer(LinearScore(2), *data(), objective="auc-minimax:0.25")
    still = config(local_epochs=1, learning_rate=1e-9)
    start = Dual(0.5, -0.25, -0.75)
    moved = trainer.fit(trainer.initial(0), config(sections={MANIFEST_DUAL: start.serialize()}))
    kept = trainer.fit(trainer.initial(0), FitConfig(**vars(still) | {"sections": {MANIFEST_DUAL: start.serialize()}}))
    assert set(moved.sections) == {UPDATE_DUAL}
    assert Dual.parse(kept.sections[UPDATE_DUAL]).dual == pytest.approx(-0.75, abs=1e-6)
    assert abs(Dual.parse(moved.sections[UPDATE_DUAL]).dual + 0.75) > 0.01
    assert trainer.fit(trainer.initial(0), config()).sections != moved.sections


def test_a_histogram_goes_up_and_the_pool_steers() -> None:
    x, positive = data()
    trainer = AucTrainer(LinearScore(2), x, positive, objective="pairwise")
    alone = trainer.fit(trainer.initial(0), config())
    sent = ScoreHistogram.parse(alone.sections[UPDATE_SCORES])
    assert sent == ScoreHistogram.of_scores(trainer.model.scores(alone.weights, x), positive)
    pooled = trainer.fit(trainer.initial(0), config(sections={MANIFEST_SCORES: sent.serialize()}))
    assert [w.tobytes() for w in pooled.weights] != [w.tobytes() for w in alone.weights]


def test_the_manifest_names_the_objective() -> None:
    trainer = AucTrainer(LinearScore(2), *data())
    start = trainer.initial(0)
    assert trainer.fit(start, config()).sections == {}
    assert set(trainer.fit(start, config(sections={MANIFEST_OBJECTIVE: b"pairwise"})).sections) == {UPDATE_SCORES}
    assert set(trainer.fit(start, config(sections={MANIFEST_OBJECTIVE: b"auc-minimax:0.25"})).sections) == {UPDATE_DUAL}
    assert trainer.fit(start, config(sections={MANIFEST_OBJECTIVE: b"fedprox:0.1"})).sections == {}


def test_gradients_of_the_linear_score() -> None:
    x, coefficients = np.float32([[1, 2], [3, -1]]), np.float32([0.5, 2])
    by_weights, by_bias = LinearScore(2).backward([], x, coefficients)
    assert by_weights.tolist() == [6.5, -1.0]
    assert by_bias.tolist() == [2.5]


def test_devices_of_one_class_fit_and_are_judged_without_auc() -> None:
    x, _ = data()
    for objective in OBJECTIVES:
        trainer = AucTrainer(LinearScore(2), x, np.zeros(80, bool), objective=objective)
        result = trainer.fit(trainer.initial(0), config())
        assert np.isfinite(result.weights[0]).all()
        assert set(trainer.evaluate(result.weights)) == {"accuracy", "examples"}


def test_held_out_data_are_what_is_judged() -> None:
    x, positive = data()
    trainer = AucTrainer(LinearScore(2), x, positive, held_out=(x[:20], ~positive[:20]))
    result = trainer.fit(trainer.initial(0), config(local_epochs=20))
    figures = trainer.evaluate(result.weights)
    assert figures["auc"] < 0.2
    assert figures["examples"] == 20


@pytest.mark.parametrize("labels", [np.zeros(3), np.full(80, 2), np.zeros((80, 1)), np.full(80, -1)])
def test_labels_are_0_and_1_one_each(labels: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected"):
        AucTrainer(LinearScore(2), data()[0], labels)


def test_an_unknown_objective_is_refused_before_any_fit() -> None:
    with pytest.raises(InputError, match="not known"):
        AucTrainer(LinearScore(2), *data(), objective="auc")
