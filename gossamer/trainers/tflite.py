"""Training of a ``.tflite`` file on a device, with a runtime of a few megabytes.

    trainer = TFLiteTrainer("model.tflite", x, y, held_out=(x_test, y_test))

What the file must have: `gossamer.trainers.tflite_file`; how to make one: `gossamer.trainers.make_tflite`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.agent.trainer import Array, FitConfig, FitResult, MethodTerms, Weights
from gossamer.errors import InputError, TrainerFailed
from gossamer.trainers.common import (
    EVALUATE_BATCH,
    Metric,
    batches,
    check_loss,
    check_shapes,
    chosen,
    figures,
    fit_generator,
    uniform,
)
from gossamer.trainers.tflite_file import GetSet, ModelFile


@dataclass(frozen=True)
class Examples:
    """``y`` as the user gave it; ``x`` and ``targets`` as the file takes them."""

    x: Array
    y: Array
    targets: Array


class TFLiteTrainer:
    """Minibatch gradient descent by the file's own ``train``, on arrays in memory.

    ``x`` (n, ...) and ``y`` are the device's examples; ``y`` holds class numbers (n,), or targets of the shape that the
    file's ``y`` has. ``held_out`` is a pair of the same kind that no fit sees; without it `evaluate` uses the training
    data. ``metric(outputs, y)`` judges in the place of accuracy. ``order`` names the weights in the order in which they
    form the model (None: alphabetically), for a job that trainers of other kinds take part in, too.

    ``start`` is model version 0: "drawn" from the job's seed (matrices uniform by their inputs, vectors zero); "given",
    what a file of the get-set form holds; or the weights themselves, name -> array. The last two must be the same on
    every device, and are checked against the digest that the server has signed.

    A file whose batch is of a fixed size trains with that size only; a last batch is then filled from the epoch's first
    examples. Raises `ConfigError` for a missing file or runtime, `InputError` for what does not fit together.
    """

    adds_terms = True

    def __init__(
        self,
        model_file: str | Path,
        x: Array,
        y: Array,
        held_out: tuple[Array, Array] | None = None,
        *,
        metric: Metric | None = None,
        order: Sequence[str] | None = None,
        start: str | Mapping[str, Array] = "drawn",
        axes: Mapping[int, tuple[int, ...]] | None = None,
    ) -> None:
        self._file = ModelFile(Path(model_file))
        self._program = self._file.program(order)
        self.names = list(self._program.shapes)
        self.shapes = list(self._program.shapes.values())
        self.metric = metric
        self.axes = dict(axes or {})
        self._start = self._first(start)
        self.examples = self._encoded(x, y, "x and y")
        if held_out is not None and (not isinstance(held_out, (tuple, list)) or len(held_out) != 2):
            raise InputError(f"held_out: expected a pair (x, y), got {type(held_out).__name__}")
        self.held_out = self.examples if held_out is None else self._encoded(*held_out, "held_out")
        self._fixed = max(0, int(self._file.inputs["x"]["shape_signature"][0]))
        self._try_out()

    def initial(self, seed: int) -> Weights:
        """See `gossamer.agent.trainer.Trainer`."""
        if self._start is not None:
            return [np.array(w) for w in self._start]
        rng = np.random.Generator(np.random.PCG64(seed))
        return [
            np.zeros(shape, np.float32) if len(shape) == 1 else uniform(rng, shape, math.prod(shape[:-1]))
            for shape in self.shapes
        ]

    def fit(self, weights: Weights, config: FitConfig) -> FitResult:
        """See `gossamer.agent.trainer.Trainer`. Raises `TrainerFailed` at the first loss that is no number."""
        self._check(weights)
        if self._fixed not in (0, config.batch_size):
            raise TrainerFailed(
                f"{self._file.path} trains with batches of {self._fixed}, and the job asks for {config.batch_size}: "
                "set the job's batch_size, or make the file with an unknown batch size"
            )
        rng, terms = fit_generator(config), MethodTerms(weights, config)
        self._program.load(weights)
        loss, steps = 0.0, 0
        for epoch in range(config.local_epochs):
            order = rng.permutation(len(self.examples.x))
            losses, sizes = [], []
            for number, rows in enumerate(self._batches(order, config.batch_size)):
                losses.append(self._step(rows, config.learning_rate, terms))
                sizes.append(len(rows))
                check_loss(losses[-1], config, epoch, number)
            loss, steps = float(np.average(losses, weights=sizes)), steps + len(sizes)
        return FitResult(self._program.weights(), len(self.examples.x), loss, steps)

    def gradient(self, weights: Weights, config: FitConfig, batch: int | None) -> FitResult:
        """See `gossamer.agent.trainer.GradientTrainer`: what a step of length 1 takes away, which is the gradient."""
        self._check(weights)
        rows = chosen(len(self.examples.x), config, batch)
        total, losses, sizes = [np.zeros(shape) for shape in self.shapes], [], []
        for part in self._batches(rows, EVALUATE_BATCH):
            self._program.load(weights)
            losses.append(self._step(part, 1.0))
            sizes.append(len(part))
            for sum_, before, after in zip(total, weights, self._program.weights(), strict=True):
                sum_ += len(part) * (before.astype(np.float64) - after)
        mean = [(sum_ / sum(sizes)).astype(np.float32) for sum_ in total]
        return FitResult(mean, len(self.examples.x), float(np.average(losses, weights=sizes)))

    def evaluate(self, weights: Weights) -> dict[str, float]:
        """``accuracy`` and ``examples`` of the held-out examples, or what ``metric`` gives."""
        self._check(weights)
        x, y = self.held_out.x, self.held_out.y
        outputs = self._outputs(weights, x)
        if self.metric is not None:
            return figures(self.metric(outputs, y), len(x))
        return figures(np.mean(outputs.argmax(axis=1) == (y if y.ndim == 1 else y.argmax(axis=1))), len(x))

    def _step(self, rows: Array, learning_rate: float, terms: MethodTerms | None = None) -> float:
        program, added = self._program, None
        if terms is not None and terms.any:
            added = terms.added([np.zeros(shape, np.float32) for shape in self.shapes], program.weights())
        loss = program.step(self.examples.x[rows], self.examples.targets[rows], learning_rate)
        if added is not None:
            rate = np.float32(learning_rate)
            program.put([w - rate * term for w, term in zip(program.weights(), added, strict=True)])
        return loss

    def _batches(self, order: Array, size: int) -> Iterator[Array]:
        if self._fixed:
            size = self._fixed
            order = np.resize(order, -(-len(order) // size) * size)
        return batches(order, size)

    def _outputs(self, weights: Weights, x: Array) -> Array:
        self._program.load(weights)
        parts = [self._program.outputs(x[rows]) for rows in self._batches(np.arange(len(x)), EVALUATE_BATCH)]
        return np.concatenate(parts)[: len(x)]

    def _check(self, weights: Weights) -> None:
        check_shapes(weights, self.shapes, str(self._file.path))

    def _try_out(self) -> None:
        """Run everything once on one batch: what cannot work is told now, not in the first round."""
        rows = next(self._batches(np.arange(1), 1))
        self._program.load([np.zeros(shape, np.float32) for shape in self.shapes])
        self._step(rows, 0.0)
        self._program.outputs(self.examples.x[rows])

    def _first(self, start: Any) -> Weights | None:
        if isinstance(start, Mapping):
            if set(start) != set(self.names):
                raise InputError(f"start: expected the weights {', '.join(self.names)}, got {', '.join(start)}")
            arrays = [np.array(start[name], dtype=np.float32) for name in self.names]
            self._check(arrays)
            return arrays
        if start == "given" and isinstance(self._program, GetSet):
            return self._program.weights()
        if start == "given":
            raise InputError("start='given': a file of the stateless form holds no weights; give them, name -> array")
        if start != "drawn":
            raise InputError(f"start: expected 'drawn', 'given' or the weights by name, got {start!r:.100}")
        return None

    def _encoded(self, x: Array, y: Array, whose: str) -> Examples:
        """Check examples, and bring them to the types of the file."""
        x, y = np.asarray(x), np.asarray(y)
        for values in (x, y):
            if values.ndim == 0 or values.dtype.kind not in "biuf":
                got = f"{values.dtype} of shape {values.shape}"
                raise InputError(f"{whose}: expected arrays of real numbers, got {got}")
        if len(x) != len(y) or len(x) == 0:
            raise InputError(f"{whose}: expected a target for each example and at least one, got {len(x)} and {len(y)}")
        wants, targets = self._file.inputs, self._file.inputs["y"]
        inner = tuple(int(side) for side in wants["x"]["shape_signature"][1:])
        if x.shape[1:] != inner:
            raise InputError(f"{whose}: {self._file.path} takes examples of the shape {inner}, got {x.shape[1:]}")
        sides = tuple(int(side) for side in targets["shape_signature"][1:])
        given = _one_hot(y, sides[0], whose) if y.ndim == 1 and y.dtype.kind in "iub" and len(sides) == 1 else y
        if given.shape[1:] != sides:
            got = f"{given.shape[1:]} of {given.dtype}; class numbers are whole"
            raise InputError(f"{whose}: {self._file.path} takes targets of the shape {sides}, got {got}")
        if self.metric is None and y.dtype.kind not in "iub" and not _is_one_hot(y):
            raise InputError(f"{whose}: targets that are no classes need a metric(outputs, y) for evaluate")
        return Examples(_finite(x, wants["x"]["dtype"], whose), y, _finite(given, targets["dtype"], whose))


def _one_hot(labels: Array, classes: int, whose: str) -> Array:
    """(n,) class numbers -> (n, classes)."""
    numbers = labels.astype(np.int64)
    if numbers.min() < 0 or numbers.max() >= classes:
        raise InputError(f"{whose}: expected class numbers 0 to {classes - 1}, got {numbers.min()} to {numbers.max()}")
    return np.eye(classes, dtype=np.float32)[numbers]


def _finite(given: Array, dtype: Any, whose: str) -> Array:
    """``given`` in the file's type. NaN is refused now: a runtime may hide what it does to a loss (one clamps it)."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = given.astype(dtype)
    ok = np.isfinite(given) & np.isfinite(values)
    bad = ~ok.reshape(len(given), -1).all(axis=1)
    if bad.any():
        raise InputError(
            f"{whose}: NaN, infinity or more than {np.dtype(dtype)} holds in {np.count_nonzero(bad)} of {len(given)} "
            f"examples, first in number {int(bad.argmax())} (from 0): leave them out or fill them in"
        )
    return values


def _is_one_hot(y: Array) -> bool:
    return y.ndim == 2 and bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all())
