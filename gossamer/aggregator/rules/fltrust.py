"""FLTrust; (n, d) float32 -> (d,) float64.

``sum t_i u_i |u_0| / |u_i| / sum t_i``, ``t_i = max(0, cos(u_i, u_0))``, u_0 the root's update

Cao, Fang, Liu, Gong, "FLTrust: Byzantine-robust federated learning via trust bootstrapping", NDSS 2021. The root of
trust is a device, ``fltrust:INDEX``, which trains on a small clean data set. It scores the others and is not averaged
itself; if nobody agrees with it, its own update is the aggregate. A round without it changes nothing (``shortfall``):
make it part of every cohort. A device's late update counts like another's, also the root's; its newest is the root.

No state. Tolerates any number of attackers as long as the root's data look like the fleet's. ``factor`` in the report
is t_i. Costs two passes; sums are float64 in a fixed order, the same on every machine.

>>> from gossamer.aggregator.rules import Updates, rule
>>> fltrust = rule("fltrust:0")
>>> rows = np.array([[0, 2], [0, 8], [9, 0], [0, -70]], dtype=np.float32)
>>> fltrust.apply(fltrust.init(2), Updates.dense(rows))[0].tolist()
[0.0, 2.0]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.mean import ordered_sum, weighted_mean
from gossamer.aggregator.rules.norms import exact_products
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import Updates
from gossamer.errors import InputError


def fltrust(index: int) -> Rule:
    """Spec ``fltrust:index``, the device index of the root of trust, >= 0."""
    if index < 0:
        raise InputError(f"fltrust needs the index of the trusted device, got {index}")

    def combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
        own = [row for row, item in enumerate(updates.items) if item.index == index]
        if not own:
            lack = f"an update of device {index}, the root of trust"
            return Combined(np.zeros(0), state, np.ones(updates.n), shortfall=lack)
        root = max(own, key=lambda row: updates.items[row].round)
        trust = _trust(exact_products(updates, root), norms, root)
        factors = trust.copy()
        factors[root] = 1.0
        if not trust.any():
            trust[root] = 1.0
        scales = np.where(norms > 0.0, norms[root] / np.where(norms > 0.0, norms, 1.0), 0.0)
        aggregate = weighted_mean(updates, trust * scales, total=ordered_sum(trust))
        return Combined(aggregate, state, factors)

    return Rule(f"fltrust:{index}", minimum=1, combine=combine)


def _trust(products: NDArray[np.float64], norms: NDArray[np.float64], root: int) -> NDArray[np.float64]:
    """Cosines with the root, none below 0 and none for the root itself, float64 (n,)."""
    lengths = norms * norms[root]
    cosine = np.where(lengths > 0.0, products / np.where(lengths > 0.0, lengths, 1.0), 0.0)
    trust = np.clip(cosine, 0.0, 1.0)
    trust[root] = 0.0
    return trust
