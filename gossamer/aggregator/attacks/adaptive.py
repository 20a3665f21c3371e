"""Attackers that know the rule: ``adaptive:NAME`` tries its own attack on it first; (m, d) -> (d,).

    sent = mean + s (NAME(mean) - mean),   s = the one of ``SCALES`` for which
    | Rule(honest peers and B copies of sent) - mean |   is largest

``mean`` is that of the honest deltas known. The rule is the real one with the memory it will have in this round, so a
clipping radius, a median or a vote is met exactly where it gives most. What attackers do not foresee: the codec's
rounding, and rounds to come. (The idea of optimising against the rule: Fang et al., USENIX Security 2020; Shejwalkar
and Houmansadr, NDSS 2021.)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.attacks.base import Attack, Context, Defence, Vector, known
from gossamer.aggregator.rules import Dense, Update, Updates
from gossamer.errors import InputError

PREFIX = "adaptive:"

SCALES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Of the distance between the attack and the honest mean; 16 is beyond every clipping radius there is."""

TIE = 1e-6
"""Gains that differ by less, relatively, are equal: of those scales the one nearest to the published is sent."""

LIMIT = 2000.0
"""Sent coordinates are cut here, just inside the lattice: beyond +-2048 no rule would see the update at all."""


def adaptive(base: Attack) -> Attack:
    """``adaptive:NAME`` of the attack NAME; its context must have a ``defence``."""

    def craft(honest: Vector, context: Context) -> NDArray[np.floating]:
        if context.defence is None:
            raise InputError(f"{PREFIX}{base.name} must know the rule: give Context a defence")
        mean = known(honest, context).mean(axis=0)
        direction = base(mean.astype(np.float32), context).astype(np.float64) - mean
        candidates = {scale: _cut(mean + scale * direction) for scale in SCALES}
        gains = {scale: moved(honest, sent, context, context.defence) for scale, sent in candidates.items()}
        enough = max(gains.values()) * (1 - TIE)
        return candidates[min((s for s in SCALES if gains[s] >= enough), key=lambda s: abs(math.log2(s)))]

    return Attack(f"{PREFIX}{base.name}", craft)


def _cut(vector: NDArray[np.float64]) -> Vector:
    return np.clip(vector, -LIMIT, LIMIT).astype(np.float32)


def moved(honest: Vector, sent: Vector, context: Context, defence: Defence) -> float:
    """How far from the honest mean the rule's result is when every attacker of the round sends ``sent``.

    An attacker that knows its own delta only takes it for that of every honest device of the cohort.
    """
    peers = context.peers or (honest,) * max(1, context.cohort - context.attackers)
    indices = defence.peers or tuple(range(len(peers)))
    hostile = defence.attackers or tuple(max(indices) + 1 + k for k in range(context.attackers))
    items = [Update(index, Dense(delta), round=defence.round) for index, delta in zip(indices, peers, strict=True)]
    items += [Update(index, Dense(sent), round=defence.round) for index in hostile]
    updates = Updates.of(items, len(sent), fleet=defence.fleet, round=defence.round)
    aggregate, _, _ = defence.rule.apply(defence.state, updates)
    return float(np.linalg.norm(aggregate - known(honest, context).mean(axis=0)))
