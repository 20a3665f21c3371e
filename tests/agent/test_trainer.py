"""The trainer protocol and the numpy trainer."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.agent.trainer import FitConfig, NumpyTrainer, Trainer
from gossamer.errors import InputError


class Line:
    """Logistic regression on one feature, two classes."""

    def init(self, seed):
        return [np.zeros((1, 2), np.float32), np.zeros(2, np.float32)]

    def predict(self, weights, x):
        return (x @ weights[0] + weights[1]).argmax(axis=1)

    def loss_and_gradients(self, weights, x, y):
        p = np.exp(x @ weights[0] + weights[1])
        p /= p.sum(axis=1, keepdims=True)
        rows = np.arange(len(y))
        loss = float(-np.log(p[rows, y]).mean())
        p[rows, y] -= 1
        p /= len(y)
        return loss, [x.T @ p, p.sum(axis=0)]


@pytest.fixture
def trainer() -> Trainer:
    x = np.linspace(-1, 1, 21, dtype=np.float32)[:, None]
    return NumpyTrainer(Line(), x, (x[:, 0] > 0).astype(np.int64))


def config(**changes):
    return FitConfig(**{"local_epochs": 3, "batch_size": 4, "learning_rate": 0.5, "seed": 7, "round": 2} | changes)


def test_a_fit_learns_and_says_how_much_data_it_saw(trainer):
    start = trainer.initial(0)
    result = trainer.fit(start, config(local_epochs=20))
    assert result.examples == 21
    assert result.loss < np.log(2)
    figures = trainer.evaluate(result.weights)
    assert figures["accuracy"] > 0.9
    assert figures["examples"] == 21
    assert all(type(value) is float for value in figures.values())


def test_a_repeated_fit_gives_the_same_bits_and_leaves_its_input_alone(trainer):
    start = trainer.initial(0)
    first, second = trainer.fit(start, config()), trainer.fit(start, config())
    assert [w.tobytes() for w in first.weights] == [w.tobytes() for w in second.weights]
    assert first.loss == second.loss
    assert all(not w.any() for w in start)


@pytest.mark.parametrize("change", [{"seed": 8}, {"round": 3}])
def test_seed_and_round_decide_the_order_of_batches(trainer, change):
    start = trainer.initial(0)
    assert not np.array_equal(trainer.fit(start, config()).weights[0], trainer.fit(start, config(**change)).weights[0])


def test_a_batch_larger_than_the_data_is_all_of_it(trainer):
    start = trainer.initial(0)
    one = trainer.fit(start, config(local_epochs=1, batch_size=1000))
    _, gradients = Line().loss_and_gradients(start, trainer.x, trainer.y)
    np.testing.assert_allclose(one.weights[0], -0.5 * gradients[0], atol=1e-6)


def test_held_out_data_is_what_is_judged(trainer):
    x = np.ones((4, 1), np.float32)
    judged = NumpyTrainer(Line(), trainer.x, trainer.y, (x, np.array([0, 0, 0, 1])))
    assert judged.evaluate(judged.initial(0)) == {"accuracy": 0.75, "examples": 4.0}


@pytest.mark.parametrize(
    ("field", "value"),
    [("local_epochs", 0), ("batch_size", 0), ("learning_rate", 0.0), ("learning_rate", float("nan")),
     ("learning_rate", float("inf")), ("seed", -1), ("round", -1)],
)  # fmt: skip
def test_a_config_that_means_nothing_is_refused_by_name(field, value):
    with pytest.raises(InputError, match=field):
        config(**{field: value})


def test_labels_must_match_examples():
    with pytest.raises(InputError, match="label"):
        NumpyTrainer(Line(), np.zeros((3, 1), np.float32), np.zeros(2, np.int64))
    with pytest.raises(InputError, match="at least one"):
        NumpyTrainer(Line(), np.zeros((0, 1), np.float32), np.zeros(0, np.int64))
