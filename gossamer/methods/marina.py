"""Byz-VR-MARINA-PP: few honest devices in a round, and still no harm. Malinovsky, Gorbunov, Horvath and Richtarik,
NeurIPS 2024; arXiv 2311.14127, algorithm 1.

The server keeps an estimate g of the gradient. Now and then everybody is asked, and the robust rule makes a new g; in
between a small cohort says how the gradient has *changed*, and no device can claim a larger change than the step can
have made::

    device  asked with everybody: sends grad f_i(x), over all its data, uncompressed
            else: sends codec(grad f_i(x) - grad f_i(x - "step")), both over the same minibatch
    server  with everybody: g <- rule(what was sent)
            else: g <- g + rule(each clipped to the radius A ||"step"||)
            x <- x - RATE g;   "step" <- -RATE g        the step travels beside the model ("step", companion)

So a cohort with a majority of attackers moves g by A ||step|| at most, which vanishes where g does: it converges to the
optimum with shift-back attackers whose majority occurs every few rounds, and without the clipping it does not. A is one
to eight times the smoothness of the losses, times d / k for a codec that keeps k of d coordinates at random. The rule
must tolerate the attackers of the whole fleet: it is the only defence of the full rounds.

Participation ``marina`` tosses the coin; round 0 counts as full, whoever is asked. The way down must lose nothing but
the lattice's rounding (``fp32``), else x - "step" is not where the devices were before. A late update would be the
change of another step: not counted.

Spec ``marina:A/RATE``. Shapes: all float64 (d,); nothing is kept on the device, one row at the server.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from gossamer.errors import InputError
from gossamer.methods.base import Draft, Local, Memory, Method, Round, Vector, View, moved

LABEL = b"gossamer marina minibatch"
"""Before what is hashed into a minibatch's seed."""


class Marina(Method):
    """Spec ``marina:A/RATE``."""

    companions = ("step",)
    unbiased = True
    equal = True
    punctual = True
    lossless = True
    lossless_down = True
    steps = True

    def __init__(self, reach: float, rate: float) -> None:
        if not 0.0 < reach < math.inf:
            raise InputError(f"marina needs a finite clipping constant above 0, got {reach}")
        if not 0.0 < rate < math.inf:
            raise InputError(f"marina needs a finite rate above 0, got {rate}")
        self.reach, self.rate = reach, rate
        self.spec = f"marina:{reach!r}/{rate!r}"

    def train(self, shared: Vector, own: Vector | None, local: Local, round_: Round) -> Draft:
        """See `Method`."""
        del own
        at, step = shared
        if full(round_.full, round_.number):
            gradient, loss = local.gradient(at)
            return Draft(loss, vector=gradient, exact=True)
        seed = batch_seed(round_)
        gradient, loss = local.gradient(at, batch=seed)
        before, _ = local.gradient(at - step, batch=seed)
        return Draft(loss, vector=gradient - before)

    def clip(self, memory: Memory, view: View) -> float | None:
        """See `Method`: as much as the gradient can have changed since the last step."""
        del memory
        return None if full(view.full, view.round) else self.reach * float(np.linalg.norm(view.shared[1]))

    def step(self, memory: Memory, aggregate: Vector, view: View) -> tuple[Vector, Memory]:
        """See `Method`. Without a first full round there is nothing to add changes to: nothing moves."""
        if full(view.full, view.round):
            gradient = aggregate
        elif "gradient" in memory:
            gradient = memory["gradient"] + aggregate
        else:
            return np.zeros_like(view.target), memory
        move = -self.rate * gradient
        return moved(view, move, move - view.target[1]), {"gradient": gradient}


def full(asked: bool, number: int) -> bool:
    """Whether gradients are sent in the round, not their changes."""
    return asked or number == 0


def batch_seed(round_: Round) -> int:
    """The seed, below 2^32, of this device's minibatch in this round."""
    place = b"".join(each.to_bytes(8, "big") for each in (round_.seed, round_.number, round_.device))
    return int.from_bytes(hashlib.sha256(LABEL + place).digest()[:4], "big")
