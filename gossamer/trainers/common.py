"""What trainers over a framework share: the order of batches, first weights, and how a fit ends that diverged.

The order and the first weights are numpy's, never the framework's: PCG64 gives the same integers on every machine and
in every version, which no framework promises of its own generator. `gossamer.agent.trainer.NumpyTrainer` draws the
same order from the same (seed, round).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gossamer.agent.trainer import Array, FitConfig
from gossamer.errors import InputError, LayoutMismatch, TrainerFailed

EVALUATE_BATCH = 256
"""Examples at a time outside a fit: bounds the memory of activations."""

Metric = Callable[[Any, Any], Any]
"""(outputs, targets) of all held-out examples -> a number, which is called accuracy, or a dict of numbers."""


def fit_generator(config: FitConfig) -> np.random.Generator:
    """The generator of one fit's order of examples."""
    return np.random.Generator(np.random.PCG64([config.seed, config.round]))


def framework_seed(config: FitConfig) -> int:
    """Where the framework's own generators start in one fit: dropout, augmentation."""
    return int(np.random.Generator(np.random.PCG64([config.seed, config.round, 1])).integers(1 << 63))


def batches(order: Array, size: int, *, least: int = 1) -> Iterator[Array]:
    """Cut an epoch's order in batches of ``size``; a last one of fewer than ``least`` goes with the one before."""
    start, n = 0, len(order)
    while start < n:
        stop = start + size
        if n - stop < least:
            stop = n
        yield order[start:stop]
        start = stop


def chosen(n: int, config: FitConfig, batch: int | None) -> Array:
    """Rows of a gradient: all, or a batch of them that the seed ``batch`` draws."""
    if batch is None:
        return np.arange(n)
    rng = np.random.Generator(np.random.PCG64(batch))
    return np.asarray(rng.choice(n, min(config.batch_size, n), replace=False))


def uniform(rng: np.random.Generator, shape: Sequence[int], inputs: int) -> Array:
    """Uniform in +-sqrt(6 / inputs) (He et al. 2015, arXiv:1502.01852, for relu), float32.

    Integer random bits, multiplications and a square root: IEEE 754 fixes the result to the bit.
    """
    limit = np.sqrt(np.float32(6) / np.float32(max(1, inputs)))
    return np.asarray((rng.random(tuple(shape), dtype=np.float32) * np.float32(2) - np.float32(1)) * limit)


def check_shapes(weights: Sequence[Any], shapes: Sequence[tuple[int, ...]], whose: str) -> None:
    """Raise `LayoutMismatch` unless these are arrays for this model."""
    have = [tuple(np.shape(each)) for each in weights]
    if have != list(shapes):
        raise LayoutMismatch(f"expected weights of the shapes {list(shapes)} for {whose}, got {have}")


def check_loss(loss: float, config: FitConfig, epoch: int, step: int) -> None:
    """Raise `TrainerFailed` at the first loss that is no number; ``epoch`` and ``step`` count from 0."""
    if not math.isfinite(loss):
        raise TrainerFailed(
            f"the loss became {loss} in local epoch {epoch + 1} of {config.local_epochs}, step {step + 1}, with "
            f"learning rate {config.learning_rate:g}: lower the learning rate, or look for NaN in the data"
        )


def figures(found: Any, examples: int) -> dict[str, float]:
    """What a metric returned, as a trainer's figures. Raises `InputError`."""
    given = found if isinstance(found, Mapping) else {"accuracy": found}
    try:
        return {**{str(name): float(value) for name, value in given.items()}, "examples": float(examples)}
    except (TypeError, ValueError) as error:
        raise InputError(f"metric: expected a number or a dict of numbers, got {found!r:.100}: {error}") from error
