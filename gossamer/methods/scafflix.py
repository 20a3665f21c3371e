"""Scafflix: personal models and personal step sizes. Yi, Condat and Richtarik 2023; arXiv 2305.13170.

Every device mixes the shared model x with its own optimum x_i*, which never leaves it: it uses ``a x + (1 - a) x_i*``.
What is shared is trained for that use: ``min_x (1/n) sum f_i(a x + (1 - a) x_i*)``. With h_i ("control", the device's
own; their sum over the fleet stays 0) and step g_i = 1 / L_i::

    device  local iterations:  x_i <- x_i - (g_i / a) (grad f_i(a x_i + (1 - a) x_i*) - h_i)      from x_i = x
            sends d_i = x_i - x
    server  x <- x + (sum d_i / g_i) / (sum 1 / g_i)
    device  next time, first of all:  h_i <- h_i + (p a / g_i) (change of x - d_i)

A round is one communication; its number of local iterations everybody draws alike with chance p (`iterations`); theory
has p = 1 / sqrt(largest condition number). Every iteration is one gradient over all data of the device.

``scafflix:A/P/L`` takes L for every L_i: the server's step is the mean. With ``scafflix:A/P/L/HALVINGS`` a device
measures its own smoothness once and takes L / 2^k for it, k from 0 to HALVINGS: 1 / g_i then travels as a small whole
number in the update's header, of which the server knows the range, and no claim counts more than that.

The sum of the h_i stays 0 because a device that stayed away, or whose update was not counted, has sent d_i = 0: the
server's sums are over the fleet, and h_i takes the change of x over all rounds since the device's last. So absent
devices cost speed and nothing else, if all steps are equal and all took part in round 0 (with different steps the
server knows only the weights of those present: hence ``everybody``). What the device remembers is d_i as the server
decoded it, and the server adds to its target, so that what rounding leaves out of one step is in the next. The theory
is for exact updates: half of the coordinates at random still converge, a quarter do not. Take ``fp32`` or ``q8``.
Shapes: all float64 (d,); 3 or 4 rows of memory on the device, one at the server.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gossamer.errors import IncompleteMessage, InputError, PeerError
from gossamer.methods.base import Draft, Local, Memory, Method, Round, Sections, Vector, View, moved
from gossamer.methods.iterations import checked_chance, iterations
from gossamer.wire.codes import UpdateSection
from gossamer.wire.items import Reader, encode

MAX_HALVINGS = 6
"""A device may weigh 64 times another and no more."""

POWER_STEPS = 20
"""Gradients that measuring the smoothness costs, once."""

SMOOTHNESS_MARGIN = 1.25
"""A power iteration finds the largest curvature from below."""


class Scafflix(Method):
    """Spec ``scafflix:A/P/L`` or ``scafflix:A/P/L/HALVINGS``."""

    unbiased = True
    everybody = True
    equal = True
    averaged = True
    steps = True
    own: tuple[str, ...] = ("control", "reached", "optimum")

    def __init__(self, share: float, chance: float, smoothness: float, halvings: float = 0.0) -> None:
        if not 0.0 < share <= 1.0:
            raise InputError(f"scafflix needs a share of the common model above 0 and at most 1, got {share}")
        if not 0.0 < smoothness < math.inf:
            raise InputError(f"scafflix needs a finite smoothness above 0, got {smoothness}")
        if halvings not in range(MAX_HALVINGS + 1):
            raise InputError(f"scafflix takes 0 to {MAX_HALVINGS} halvings, got {halvings}")
        self.share, self.chance, self.smoothness = share, checked_chance(chance), smoothness
        self.halvings = int(halvings)
        if self.halvings:
            self.own = (*self.own, "halvings")
        self.spec = f"scafflix:{share!r}/{chance!r}/{smoothness!r}" + (f"/{self.halvings}" if halvings else "")

    def train(self, shared: Vector, own: Vector | None, local: Local, round_: Round) -> Draft:
        """See `Method`."""
        common, a, p = shared[0], self.share, self.chance
        control, reached, optimum, *more = self._first(common, local) if own is None else own
        halvings = int(more[0][0]) if more else 0
        step = 2.0**halvings / self.smoothness
        control = control + p * a / step * (common - reached)
        x, loss = common, 0.0
        for _ in range(iterations(round_.seed, round_.number, p)):
            gradient, loss = local.gradient(a * x + (1.0 - a) * optimum)
            x = x - step / a * (gradient - control)

        def remember(sent: Vector) -> Vector:
            return np.stack([control, common + sent, optimum, *more])

        return Draft(
            loss,
            vector=x - common,
            settled=remember,
            dropped=remember(np.zeros_like(common)),
            sections={UpdateSection.WEIGHT: encode(1 << self.halvings - halvings)} if self.halvings else {},
        )

    def _first(self, common: Vector, local: Local) -> Vector:
        """Memory before the first round."""
        optimum = local.optimum()
        zeros = np.zeros_like(common)
        if not self.halvings:
            return np.stack([zeros, common, optimum])
        found = math.floor(math.log2(self.smoothness / (SMOOTHNESS_MARGIN * smoothness(local, optimum))))
        return np.stack([zeros, common, optimum, zeros + min(max(found, 0), self.halvings)])

    def factors(self, sections: Sequence[Sections]) -> Sequence[float]:
        """Weights 1 / g_i over their mean; a claim that cannot be read weighs least."""
        weights = [self._weight(each.get(UpdateSection.WEIGHT, b"")) for each in sections]
        return [weight * len(weights) / sum(weights) for weight in weights]

    def _weight(self, claim: bytes) -> int:
        try:
            return Reader(claim).uint("weight", 1 << self.halvings, 1)
        except (PeerError, IncompleteMessage):
            return 1

    def step(self, memory: Memory, aggregate: Vector, view: View) -> tuple[Vector, Memory]:
        """See `Method`. "exact" is the target before it was rounded."""
        exact = memory.get("exact", view.target[0]) + view.counted / view.devices * aggregate
        return moved(view, exact - view.target[0]), {"exact": exact}

    def model(self, shared: Vector, own: Vector | None) -> Vector:
        """The device's personal model; without a device the common one."""
        common: Vector = shared[0]
        return common if own is None else self.share * common + (1.0 - self.share) * own[2]


def smoothness(local: Local, at: Vector) -> float:
    """The largest curvature of the device's loss near ``at`` (d,), from differences of gradients; above 0."""
    here, _ = local.gradient(at)
    direction = np.random.default_rng(0).standard_normal(local.d)
    distance = 1e-3 * max(1.0, float(np.linalg.norm(at)))
    found = 0.0
    for _ in range(POWER_STEPS):
        direction = direction * (distance / float(np.linalg.norm(direction)))
        direction = local.gradient(at + direction)[0] - here
        found = float(np.linalg.norm(direction)) / distance
        if found == 0.0:
            raise InputError("the loss is flat around the device's optimum: scafflix has no use for it")
    return found
