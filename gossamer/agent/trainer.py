"""What trains on a device: the protocol every trainer follows, and one written in numpy.

A trainer sees weights as a list of arrays in a fixed order and shape (the model's layout) and nothing else
of Gossamer: no rounds, no codecs, no messages. It is made by a factory named in the agent's configuration and
runs in a child process that ends with the fit.

A fit repeated after a power cut must give the same bits, so a trainer may draw randomness only from
``FitConfig.seed`` and ``FitConfig.round``, and must not change the arrays it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gossamer.errors import InputError

Array = npt.NDArray[Any]
Weights = list[Array]


@dataclass(frozen=True)
class FitConfig:
    """What the signed manifest asks of one fit.

    ``learning_rate`` is of this round: a schedule over rounds is the server's business. ``seed`` belongs to
    this (job, round, device).

    ``correction`` (arrays like the weights, or None) and ``proximal`` are what some methods add to every gradient: a
    step is ``w -= learning_rate (gradient + correction + proximal (w - start))``. Only a trainer that says
    ``adds_terms = True`` is ever asked for them. ``sections`` are the manifest's named additions, for objectives that
    read them.
    """

    local_epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    round: int
    correction: Weights | None = None
    proximal: float = 0.0
    sections: Mapping[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no fit can mean, with the name of the field."""
        for name in ("local_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"FitConfig.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("seed", "round"):
            if getattr(self, name) < 0:
                raise InputError(f"FitConfig.{name} must not be negative, got {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"FitConfig.learning_rate must be positive and finite, got {self.learning_rate}")


@dataclass(frozen=True)
class FitResult:
    """Weights after the fit, number of local examples, mean training loss of the last local epoch.

    ``steps`` of the optimizer, for methods that count them; 0: as many as there are batches. ``sections`` are named
    additions to the update, at most 128 bytes each (`gossamer.wire.codes.UpdateSection`).
    """

    weights: Weights
    examples: int
    loss: float
    steps: int = 0
    sections: Mapping[int, bytes] = field(default_factory=dict)


class Trainer(Protocol):
    """Training on one device's own data.

    It may have an attribute ``axes``: for some arrays of the model, by position, the grid that their inputs form,
    as in ``{0: (28, 28)}`` for a first layer that reads pictures (`gossamer.compression.layout`). ``hist`` uses it.
    ``adds_terms = True`` says that ``fit`` heeds ``correction`` and ``proximal``; ``smoothness``, a number, is the
    Lipschitz constant of its gradient, for ``ef21-w``. With a method ``gradient`` it is a `GradientTrainer`.
    """

    def initial(self, seed: int) -> Weights:
        """The weights of model version 0: the same bits on every machine for the same seed."""
        ...

    def fit(self, weights: Weights, config: FitConfig) -> FitResult:
        """Train from ``weights``; deterministic in (weights, config)."""
        ...

    def evaluate(self, weights: Weights) -> dict[str, float]:
        """Figures on this device's held-out data, at least ``accuracy`` and ``examples``."""
        ...


class GradientTrainer(Trainer, Protocol):
    """A trainer that also tells its gradient, for methods that take steps of their own."""

    def gradient(self, weights: Weights, config: FitConfig, batch: int | None) -> FitResult:
        """The gradient at ``weights`` in the place of weights, and the mean loss there.

        ``batch`` None: over all examples; else over ``config.batch_size`` of them that the seed ``batch`` draws.
        """
        ...


class Model(Protocol):
    """What :class:`NumpyTrainer` needs of a model; all arrays float32, labels integer (n,)."""

    def init(self, seed: int) -> Weights:
        """First weights, from integer random bits alone."""
        ...

    def loss_and_gradients(self, weights: Weights, x: Array, y: Array) -> tuple[float, Weights]:
        """Mean loss of a batch, and its gradient with the shapes of ``weights``."""
        ...

    def predict(self, weights: Weights, x: Array) -> Array:
        """Class of each row of ``x``: (n,) integer."""
        ...


class NumpyTrainer:
    """Plain minibatch SGD over a :class:`Model` on arrays in memory.

    ``x`` (n, ...) float32 and ``y`` (n,) integer are the device's training data; ``held_out`` a pair of the
    same kind that no fit sees (without it, ``evaluate`` uses the training data). Every epoch is a fresh
    permutation; a last batch shorter than ``batch_size`` is used, not dropped.
    """

    adds_terms = True

    def __init__(self, model: Model, x: Array, y: Array, held_out: tuple[Array, Array] | None = None) -> None:
        if len(x) != len(y) or len(x) == 0:
            raise InputError(f"expected a label for each example and at least one, got {len(x)} and {len(y)}")
        self.model = model
        self.x, self.y = x, y
        self.held_out = (x, y) if held_out is None else held_out
        self.axes: dict[int, tuple[int, ...]] = getattr(model, "axes", {})

    def initial(self, seed: int) -> Weights:
        """See :class:`Trainer`."""
        return self.model.init(seed)

    def fit(self, weights: Weights, config: FitConfig) -> FitResult:
        """See :class:`Trainer`. Peak memory: the data, two models, and one batch's activations."""
        rng = np.random.Generator(np.random.PCG64([config.seed, config.round]))
        current = [np.array(w, dtype=np.float32) for w in weights]
        step = np.float32(config.learning_rate)
        terms = MethodTerms(weights, config)
        total, steps = 0.0, 0
        for _ in range(config.local_epochs):
            order = rng.permutation(len(self.x))
            total = 0.0
            for start in range(0, len(order), config.batch_size):
                batch = order[start : start + config.batch_size]
                loss, gradients = self.model.loss_and_gradients(current, self.x[batch], self.y[batch])
                total, steps = total + loss * len(batch), steps + 1
                for w, g in zip(current, terms.added(gradients, current), strict=True):
                    w -= step * g
        return FitResult(current, len(self.x), total / len(self.x), steps)

    def gradient(self, weights: Weights, config: FitConfig, batch: int | None) -> FitResult:
        """See :class:`GradientTrainer`."""
        chosen: Any = slice(None)
        if batch is not None:
            rng = np.random.Generator(np.random.PCG64(batch))
            chosen = rng.choice(len(self.x), min(config.batch_size, len(self.x)), replace=False)
        loss, gradients = self.model.loss_and_gradients(weights, self.x[chosen], self.y[chosen])
        return FitResult(gradients, len(self.x), loss)

    def evaluate(self, weights: Weights) -> dict[str, float]:
        """See :class:`Trainer`."""
        x, y = self.held_out
        hits = int(np.count_nonzero(self.model.predict(weights, x) == y))
        return {"accuracy": hits / len(y), "examples": float(len(y))}


class MethodTerms:
    """``FitConfig.correction`` and ``proximal``: what a method adds to the gradients of a fit from ``start``."""

    def __init__(self, start: Weights, config: FitConfig) -> None:
        self._start = start
        self._correction = config.correction
        self._proximal = np.float32(config.proximal)

    @property
    def any(self) -> bool:
        """Whether there is anything to add."""
        return self._correction is not None or bool(self._proximal)

    def added(self, gradients: Weights, weights: Weights) -> Weights:
        """Gradients with the terms at ``weights``."""
        if self._correction is not None:
            gradients = [g + c for g, c in zip(gradients, self._correction, strict=True)]
        if self._proximal:
            apart = zip(gradients, weights, self._start, strict=True)
            gradients = [g + self._proximal * (w - start) for g, w, start in apart]
        return gradients
