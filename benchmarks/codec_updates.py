"""Real updates: what devices of a federation have to send in given rounds of a plain FedAvg run at fp32.

Every codec, and every peer, is measured on the same vectors, so the run that makes them is nobody's: all devices take
part in every round, nothing is compressed, and the server takes the mean weighted by examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.federations import federation
from gossamer.agent.seeds import derive_seed
from gossamer.agent.trainer import FitConfig, Trainer
from gossamer.compression.arrays import Lattice, Vector
from gossamer.compression.lattice import from_lattice, to_lattice
from gossamer.compression.layout import Layout

DEVICES = 10
"""Devices whose updates are measured, the first ones: ten of 101,770 parameters are a million."""


@dataclass(frozen=True, eq=False)
class FederationState:
    """A federation in round ``round`` (the first is 1).

    Args:
        federation: its name.
        round: in which the updates are made.
        layout: of the model.
        models: the shared models so far, int32 (d,) in lattice units: version 0 to ``round - 1``.
        updates: trained minus shared model of the first `DEVICES` devices, float32 (n, d).
    """

    federation: str
    round: int
    layout: Layout
    models: tuple[Lattice, ...]
    updates: Vector


@dataclass(frozen=True)
class Fit:
    """Local training of the run: plain FedAvg for MNIST, the demo's for the others."""

    local_epochs: int
    batch_size: int
    learning_rate: float


FITS = {"mnist": Fit(5, 32, 0.3), "watch": Fit(2, 16, 0.05), "digits": Fit(2, 16, 0.1)}


def states(name: str, rounds: Sequence[int], seed: int) -> Iterator[FederationState]:
    """A federation of `federations` in the given rounds, in ascending order; trains up to the last of them."""
    chosen = federation(name)
    trainers, _ = chosen.fleet(seed)
    first = trainers[0].initial(seed)
    layout = Layout.of(first, getattr(trainers[0], "axes", {}))
    models = [to_lattice(layout.flatten(first))]
    for number in range(1, max(rounds) + 1):
        updates, examples = _fits(trainers, FITS[chosen.data], layout, models[-1], (seed, number - 1))
        if number in rounds:
            yield FederationState(name, number, layout, tuple(models), np.stack(updates[:DEVICES]))
        step = np.average(np.stack(updates), axis=0, weights=examples)
        models.append(models[-1] + to_lattice(step))


def _fits(
    trainers: Sequence[Trainer], fit: Fit, layout: Layout, model: Lattice, seeds: tuple[int, int]
) -> tuple[list[Vector], list[int]]:
    """Updates float32 (d,) and example counts of all devices, from one model."""
    weights = layout.unflatten(from_lattice(model))
    updates, examples = [], []
    seed, round_ = seeds
    for index, trainer in enumerate(trainers):
        fit_seed = derive_seed("fit", seed, round_, index)
        result = trainer.fit(weights, FitConfig(fit.local_epochs, fit.batch_size, fit.learning_rate, fit_seed, round_))
        updates.append(from_lattice(to_lattice(layout.flatten(result.weights)).astype(np.int64) - model))
        examples.append(result.examples)
    return updates, examples
