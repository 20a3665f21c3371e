"""TFLite's own: both forms of a file, fixed batches, what is refused. Runs where a runtime is, either of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.agent.trainer import FitConfig
from gossamer.errors import ConfigError, InputError, LayoutMismatch, TrainerFailed
from gossamer.trainers.tflite import TFLiteTrainer
from tests.trainers.zoo import DATA, ORDER, SEED, make, part

RNG = np.random.Generator(np.random.PCG64(0))
X = RNG.standard_normal((40, 3)).astype(np.float32)
LINE = X @ np.array([[1.0], [-2.0], [0.5]], np.float32) + 0.25


def config(**changes: Any) -> FitConfig:
    return FitConfig(**{"local_epochs": 2, "batch_size": 16, "learning_rate": 0.1, "seed": 7, "round": 2, **changes})


def bits(weights: list[Any]) -> list[bytes]:
    return [w.tobytes() for w in weights]


def test_both_forms_of_a_file_are_one_trainer() -> None:
    one, other = make("tflite"), make("tflite-get-set")
    start = one.initial(SEED)
    assert bits(start) == bits(other.initial(SEED))
    assert bits(one.fit(start, config()).weights) == bits(other.fit(start, config()).weights)
    term = [np.full_like(w, 0.1) for w in start]
    with_terms = config(correction=term, proximal=0.5)
    assert bits(one.fit(start, with_terms).weights) == bits(other.fit(start, with_terms).weights)
    assert one.evaluate(start) == other.evaluate(start)


def test_nothing_of_a_fit_stays_in_the_file() -> None:
    trainer = make("tflite-get-set")
    start = trainer.initial(SEED)
    before = trainer.evaluate(start)
    trainer.fit(start, config(local_epochs=9))
    assert trainer.evaluate(start) == before


def test_weights_are_in_the_order_of_their_names_or_as_asked() -> None:
    own = part()
    plain = TFLiteTrainer(DATA / "digits.tflite", own.x, own.y)
    assert plain.names == sorted(ORDER)
    assert make("tflite").names == list(ORDER)
    with pytest.raises(InputError, match="order: expected the weights layer0_bias, layer0_weight"):
        TFLiteTrainer(DATA / "digits.tflite", own.x, own.y, order=ORDER[:-1])


def test_a_fixed_batch_is_filled_and_held_to() -> None:
    fixed, free = make("tflite-fixed"), make("tflite")
    start = free.initial(SEED)
    result = fixed.fit(start, config(local_epochs=1))
    assert (result.examples, result.steps) == (141, 9)
    filled = list(fixed._batches(np.arange(141), 16))
    assert [len(rows) for rows in filled] == [16] * 9
    assert list(filled[-1][-4:]) == [140, 0, 1, 2]
    assert fixed.evaluate(result.weights) == free.evaluate(result.weights)
    with pytest.raises(TrainerFailed, match="batches of 16, and the job asks for 32"):
        fixed.fit(start, config(batch_size=32))


def test_a_convolution_learns() -> None:
    """Three frequencies, told apart by a file of the maker's layers."""
    steps = np.arange(20)
    y = np.arange(90) % 3
    phase = RNG.uniform(0, 6, (90, 1))
    wave = np.sin(steps * (0.4 + 0.8 * y[:, None]) + phase)
    x = np.stack([wave, RNG.standard_normal((90, 20)) * 0.1], axis=2).astype(np.float32)
    trainer = TFLiteTrainer(DATA / "conv.tflite", x, y)
    start = trainer.initial(1)
    after = trainer.fit(start, config(local_epochs=60)).weights
    assert trainer.evaluate(after)["accuracy"] > 0.9 > trainer.evaluate(start)["accuracy"]


def test_a_regression_has_its_metric() -> None:
    with pytest.raises(InputError, match=r"need a metric\(outputs, y\)"):
        TFLiteTrainer(DATA / "line.tflite", X, LINE)
    trainer = TFLiteTrainer(DATA / "line.tflite", X, LINE, metric=lambda o, y: {"mae": np.abs(o - y).mean()})
    result = trainer.fit(trainer.initial(1), config(local_epochs=100))
    assert trainer.evaluate(result.weights)["mae"] < 0.01
    bias, weight = result.weights
    np.testing.assert_allclose(weight[:, 0], [1, -2, 0.5], atol=0.01)
    np.testing.assert_allclose(bias, [0.25], atol=0.01)


def test_targets_may_be_numbers_or_one_hot() -> None:
    own = part()
    numbers, one_hot = (TFLiteTrainer(DATA / "digits.tflite", own.x, y) for y in (own.y, np.eye(10)[own.y]))
    start = numbers.initial(1)
    assert bits(numbers.fit(start, config()).weights) == bits(one_hot.fit(start, config()).weights)
    assert numbers.evaluate(start) == one_hot.evaluate(start)


def test_a_start_may_be_given() -> None:
    own = part()
    drawn = TFLiteTrainer(DATA / "digits.tflite", own.x, own.y)
    named = dict(zip(drawn.names, drawn.initial(9), strict=True))
    assert bits(TFLiteTrainer(DATA / "digits.tflite", own.x, own.y, start=named).initial(1)) == bits(drawn.initial(9))
    kept = TFLiteTrainer(DATA / "digits-get-set.tflite", own.x, own.y, start="given")
    assert not any(w.any() for w in kept.initial(1)), "the maker's variables are zero"
    with pytest.raises(InputError, match="holds no weights"):
        TFLiteTrainer(DATA / "digits.tflite", own.x, own.y, start="given")
    with pytest.raises(InputError, match="start: expected the weights"):
        TFLiteTrainer(DATA / "digits.tflite", own.x, own.y, start={"w": named[ORDER[0]]})
    with pytest.raises(InputError, match="expected 'drawn', 'given'"):
        TFLiteTrainer(DATA / "digits.tflite", own.x, own.y, start="random")
    with pytest.raises(LayoutMismatch, match="expected weights of the shapes"):
        TFLiteTrainer(DATA / "digits.tflite", own.x, own.y, start={**named, ORDER[0]: np.zeros((3, 3))})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("flex", r"operations that the small runtimes do not have \(Flex\w+\).*TFLITE_BUILTINS"),
        ("nameless", "'train' has no output 'new_w'; the weights are w: .*make_tflite"),
        ("unsigned", "has no signature 'train'.*make_tflite"),
    ],
)
def test_files_that_cannot_be_trained(name: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        TFLiteTrainer(DATA / f"{name}.tflite", X, np.eye(2, dtype=np.float32)[np.arange(40) % 2])


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        TFLiteTrainer(tmp_path / "absent.tflite", X, LINE)
    (tmp_path / "junk.tflite").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match=r"junk\.tflite cannot be loaded"):
        TFLiteTrainer(tmp_path / "junk.tflite", X, LINE)


@pytest.mark.parametrize(
    ("x", "y", "text"),
    [
        (X, np.zeros(40, np.int64), r"takes examples of the shape \(64,\), got \(3,\)"),
        (np.zeros((4, 64)), np.zeros(3, np.int64), "a target for each example and at least one, got 4 and 3"),
        (np.zeros((0, 64)), np.zeros(0, np.int64), "at least one"),
        (np.zeros((2, 64)), np.array([0, 10]), "class numbers 0 to 9, got 0 to 10"),
        (np.zeros((2, 64)), np.zeros((2, 3)), r"targets of the shape \(10,\), got \(3,\)"),
        (np.zeros((2, 64)), np.zeros(2), r"got \(\) of float64; class numbers are whole"),
        (np.full((2, 64), 1e300), np.zeros(2, np.int64), "more than float32 holds in 2 of 2 examples"),
        (np.zeros((2, 64), complex), np.zeros(2, np.int64), "expected arrays of real numbers, got complex128"),
        (np.zeros((2, 64)), np.array(["a", "b"]), "expected arrays of real numbers, got <U1"),
        (3, np.zeros(2, np.int64), r"expected arrays of real numbers, got int64 of shape \(\)"),
    ],
)
def test_examples_that_do_not_fit(x: Any, y: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        TFLiteTrainer(DATA / "digits.tflite", x, y)


def test_what_is_held_out_is_a_pair() -> None:
    with pytest.raises(InputError, match=r"held_out: expected a pair \(x, y\), got ndarray"):
        TFLiteTrainer(DATA / "digits.tflite", np.zeros((2, 64)), np.zeros(2, np.int64), np.zeros((2, 64)))  # type: ignore[arg-type]


def test_a_diverging_fit_says_where() -> None:
    trainer = TFLiteTrainer(DATA / "line.tflite", X, LINE, metric=lambda o, y: 0.0)
    with pytest.raises(TrainerFailed, match=r"the loss became (nan|inf) in local epoch \d+ of 9, step \d"):
        trainer.fit(trainer.initial(1), config(local_epochs=9, learning_rate=1e20))
