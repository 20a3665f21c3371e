"""What a hostile device sends instead of its honest delta; float32 (d,) -> float32 (d,). Pure.

* ``none``: the honest delta.
* ``sign-flip``, ``gaussian``, ``shift-back``, ``replay``, ``nan``, ``oversized``, ``examples``: :mod:`direct`.
* ``alie``, ``inner-product-2``, ``inner-product-10``, ``mimic``, ``min-max``: from what is known of the honest
  (:mod:`statistics`).
* ``label-flip``: an honest delta of a trainer that was taught wrong labels (:func:`flipped_labels`).
* ``adaptive:NAME``: NAME, scaled to what moves the rule's own result furthest (:mod:`adaptive`).

For tests, the demo and benchmarks. An attack sees its :class:`Context` and nothing else, so a run with attackers
repeats.

>>> import numpy as np
>>> from gossamer.aggregator.attacks import Context, attack
>>> w = np.zeros(2, dtype=np.float32)
>>> context = Context(w_0=w, w_t=w, cohort=4, attackers=1, seed=0)
>>> attack("inner-product-2")(np.array([1, -3], dtype=np.float32), context).tolist()
[-2.0, 6.0]
"""

from __future__ import annotations

from gossamer.aggregator.attacks.adaptive import SCALES
from gossamer.aggregator.attacks.base import Attack, Context, Defence
from gossamer.aggregator.attacks.direct import GAUSSIAN_SCALE, LYING_FACTOR, OVERSIZED_VALUE, flipped_labels
from gossamer.aggregator.attacks.registry import ADAPTABLE, ATTACKS, attack
from gossamer.aggregator.attacks.statistics import alie_z

__all__ = [
    "ADAPTABLE",
    "ATTACKS",
    "GAUSSIAN_SCALE",
    "LYING_FACTOR",
    "OVERSIZED_VALUE",
    "SCALES",
    "Attack",
    "Context",
    "Defence",
    "alie_z",
    "attack",
    "flipped_labels",
]
