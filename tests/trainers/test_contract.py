"""What every trainer promises, whatever it is written in. Here numpy's; `test_environments` runs it for the rest."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from gossamer.agent.trainer import FitConfig, FitResult
from gossamer.compression.layout import Layout
from gossamer.errors import LayoutMismatch
from tests.trainers.zoo import KINDS, SEED, make

kinds = pytest.mark.parametrize("kind", KINDS[os.environ.get("GOSSAMER_TRAINERS", "")])


def config(**changes: Any) -> FitConfig:
    return FitConfig(**{"local_epochs": 2, "batch_size": 16, "learning_rate": 0.1, "seed": 7, "round": 2, **changes})


def bits(weights: list[Any]) -> list[bytes]:
    return [w.tobytes() for w in weights]


@kinds
def test_the_first_weights_are_the_seeds_alone(kind: str) -> None:
    one, other = make(kind), make(kind)
    assert bits(one.initial(SEED)) == bits(other.initial(SEED)) == bits(one.initial(SEED))
    assert bits(one.initial(SEED)) != bits(one.initial(SEED + 1))
    assert {w.dtype for w in one.initial(SEED)} == {np.dtype(np.float32)}
    one.fit(one.initial(SEED), config())
    assert bits(one.initial(SEED)) == bits(other.initial(SEED))


@kinds
def test_a_fit_is_its_seed_and_round_and_leaves_its_weights_alone(kind: str) -> None:
    trainer = make(kind)
    start = trainer.initial(SEED)
    kept = bits(start)
    np.random.seed(1)
    first = trainer.fit(start, config())
    trainer.evaluate(first.weights)
    np.random.seed(2)
    again, elsewhere = trainer.fit(start, config()), make(kind).fit(start, config())
    assert bits(first.weights) == bits(again.weights) == bits(elsewhere.weights) != kept
    assert first.loss == again.loss == elsewhere.loss
    assert bits(start) == kept
    for change in ({"seed": 8}, {"round": 3}):
        assert bits(trainer.fit(start, config(**change)).weights) != bits(first.weights)


@kinds
def test_a_fit_learns_and_says_how_much_data_it_saw(kind: str) -> None:
    trainer = make(kind)
    start = trainer.initial(SEED)
    rate = 0.01 if kind == "torch-adam" else 0.1
    result: FitResult = trainer.fit(start, config(local_epochs=20, learning_rate=rate))
    assert result.examples == 141
    assert result.steps == 20 * 9
    assert result.loss < 1.0 < trainer.fit(start, config(learning_rate=1e-6)).loss
    before, after = trainer.evaluate(start), trainer.evaluate(result.weights)
    assert after["accuracy"] > before["accuracy"] + 0.1
    assert after["examples"] == 359
    assert all(type(value) is float for value in after.values())
    assert trainer.evaluate(result.weights) == after


@kinds
def test_weights_fit_the_layout_of_the_first(kind: str) -> None:
    trainer = make(kind)
    start = trainer.initial(SEED)
    layout = Layout.of(start, trainer.axes)
    after = trainer.fit(layout.unflatten(layout.flatten(start)), config()).weights
    assert Layout.of(after) == layout


@kinds
def test_terms_are_heeded_or_not_offered(kind: str) -> None:
    trainer = make(kind)
    start = trainer.initial(SEED)
    if not getattr(trainer, "adds_terms", False):
        assert kind in ("torch-adam", "torch-shared")
        return
    one = config(local_epochs=1, batch_size=16 if kind == "tflite-fixed" else 141)
    plain = trainer.fit(start, one).weights
    if kind != "tflite-fixed":  # one step: the term is the whole difference
        term = [np.full_like(w, 0.5) for w in start]
        moved = trainer.fit(start, config(local_epochs=1, batch_size=141, correction=term)).weights
        for a, b in zip(plain, moved, strict=True):
            np.testing.assert_allclose(a - b, np.full_like(a, 0.05), atol=1e-6)
    near = trainer.fit(start, config(local_epochs=5, proximal=5.0)).weights
    far = trainer.fit(start, config(local_epochs=5)).weights
    distance = [sum(float(np.abs(w - s).sum()) for w, s in zip(each, start, strict=True)) for each in (near, far)]
    assert distance[0] < 0.6 * distance[1]


@kinds
def test_the_gradient_is_what_a_step_takes(kind: str) -> None:
    trainer = make(kind)
    if not getattr(trainer, "adds_terms", False) or kind in ("torch-local", "tflite-fixed"):
        return  # no plain step of all examples, or dropout in it
    start = trainer.initial(SEED)
    gradient = trainer.gradient(start, config(), None)
    stepped = trainer.fit(start, config(local_epochs=1, batch_size=141)).weights
    if kind != "torch-frozen":
        for s, a, g in zip(start, stepped, gradient.weights, strict=True):
            np.testing.assert_allclose(s - a, np.float32(0.1) * g, atol=2e-6)
    drawn = [bits(trainer.gradient(start, config(), number).weights) for number in (5, 5, 6)]
    assert drawn[0] == drawn[1] != drawn[2]


@kinds
@pytest.mark.parametrize("change", ["fewer", "other shape"])
def test_weights_of_another_model_are_refused(kind: str, change: str) -> None:
    if kind == "numpy":
        return  # the model it is given may take any
    trainer = make(kind)
    start = trainer.initial(SEED)
    wrong = start[:-1] if change == "fewer" else [*start[:-1], np.zeros(11, np.float32)]
    for asked in (lambda: trainer.fit(wrong, config()), lambda: trainer.evaluate(wrong)):
        with pytest.raises(LayoutMismatch, match="expected weights of the shapes"):
            asked()


@kinds
def test_the_same_network_is_the_same_model(kind: str) -> None:
    """Whatever it is written in: the same first bits, and a fit that differs in rounding alone."""
    if kind not in ("torch", "tflite", "tflite-get-set"):
        return
    trainer, numpys = make(kind), make("numpy")
    assert bits(trainer.initial(SEED)) == bits(numpys.initial(SEED))
    ours, theirs = (each.fit(numpys.initial(SEED), config()) for each in (trainer, numpys))
    assert ours.steps == theirs.steps
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
