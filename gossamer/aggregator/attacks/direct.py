"""Attacks that need nothing but the attacker's own delta and the model; float32 (d,) -> (d,).

* ``sign-flip``: the negative of the honest delta.
* ``gaussian``: noise of ``GAUSSIAN_SCALE`` times the honest delta's norm.
* ``shift-back``: ``cohort / attackers * (w_0 - w_t)``, so that the cohort's mean lands near the start again (Malinovsky
  et al., NeurIPS 2024).
* ``replay``: the device's own first delta, again and again: right once, stale ever after. It is signed anew for
  every round; replayed *messages* never count (they are for another round).
* ``nan``: one coordinate is not a number.
* ``oversized``: finite, but beyond the model's number range.
* ``examples``: the honest delta reversed, with a claim of a million times the examples.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.attacks.base import Attack, Context, Vector
from gossamer.errors import InputError

GAUSSIAN_SCALE = 10.0
OVERSIZED_VALUE = 1e6
"""Far outside the lattice's range of +-2048."""

LYING_FACTOR = 1_000_000


def flipped_labels(labels: NDArray[np.integer], classes: int) -> NDArray[np.integer]:
    """The labels (n,) of a ``label-flip`` trainer, class c taught as ``classes - 1 - c`` (Fang et al., 2020).

    Raises:
        InputError: a label that is not in 0..classes - 1.

    >>> flipped_labels(np.array([0, 1, 9]), 10).tolist()
    [9, 8, 0]
    """
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise InputError(f"expected labels of 0 to {classes - 1}, got {labels.min()} to {labels.max()}")
    return np.asarray(classes - 1 - labels).astype(labels.dtype)


def _gaussian(honest: Vector, context: Context) -> NDArray[np.floating]:
    noise = np.random.default_rng(context.seed).standard_normal(len(honest))
    norm = float(np.linalg.norm(honest.astype(np.float64)))
    return np.asarray(noise * (GAUSSIAN_SCALE * norm / math.sqrt(len(honest))))


def _shift_back(honest: Vector, context: Context) -> NDArray[np.floating]:
    del honest
    share = context.cohort / max(context.attackers, 1)
    return np.asarray(share * (context.w_0.astype(np.float64) - context.w_t.astype(np.float64)))


def _replay(honest: Vector, context: Context) -> NDArray[np.floating]:
    return honest if context.first is None else context.first


def _nan(honest: Vector, context: Context) -> NDArray[np.floating]:
    del context
    spoilt: Vector = np.array(honest)
    spoilt[len(spoilt) // 2] = np.nan
    return spoilt


def _oversized(honest: Vector, context: Context) -> NDArray[np.floating]:
    del context
    return np.asarray(np.where(honest < 0, -OVERSIZED_VALUE, OVERSIZED_VALUE))


DIRECT = (
    Attack("none", lambda honest, _: honest),
    Attack("sign-flip", lambda honest, _: -honest),
    Attack("gaussian", _gaussian),
    Attack("shift-back", _shift_back),
    Attack("replay", _replay),
    Attack("label-flip", lambda honest, _: honest, flips_labels=True),
    Attack("nan", _nan),
    Attack("oversized", _oversized),
    Attack("examples", lambda honest, _: -honest, examples_factor=LYING_FACTOR),
)
