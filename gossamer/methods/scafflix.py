"""Scafflix: personal models and personal step sizes. Yi, Condat and Richtarik, TMLR 2025; arXiv 2305.13170.

Every device mixes the shared model x with its own optimum x_i*, which never leaves it: it uses ``a x + (1 - a) x_i*``.
What is shared is trained for that use: ``min_x (1/n) sum f_i(a x + (1 - a) x_i*)``. With h_i ("control", the device's
own; their sum over the fleet stays 0) and step g_i = 1 / L_i::

    device  local iterations:  x_i <- x_i - (g_i / a) (grad f_i(a x_i + (1 - a) x_i*) - h_i)      from x_i = x
            sends x_i - x; remembers x_i as "pending"
    server  x <- (sum x_i / g_i) / (sum 1 / g_i)
    device  next round, first of all:  h_i <- h_i + (p a / g_i) (x - x_i)

A round is one communication; its number of local iterations everybody draws alike with chance p (`iterations`); theory
has p = 1 / sqrt(largest condition number). Every iteration is one gradient over all data of the device.

``scafflix:A/P/L`` takes L for every L_i: the server's step is the mean. With ``scafflix:A/P/L/HALVINGS`` a device
measures its own smoothness once and takes L / 2^k for it, k from 0 to HALVINGS: 1 / g_i then travels as a small whole
number in the update's header, of which the server knows the range, and no claim counts more than that.

What the device remembers is what the server decoded, so the sum of the h_i is right for any codec; but the theory is
for exact updates: half of the coordinates at random still converge, a quarter do not. Take ``fp32`` or ``q8``.
The server adds to its target, so that what rounding and compression leave out of one step is in the next.
A device whose update was not counted has nothing pending. One that missed whole rounds never saw the model that would
complete its last one and lets it be (a later model in its place makes the fleet diverge); an error then stays in the
sum of the h_i for good: hence ``everybody``, and no round may close without a device that is only slow.
Shapes: all float64 (d,); 4 rows of memory on the device, one at the server.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gossamer.errors import IncompleteMessage, InputError, PeerError
from gossamer.methods.base import Draft, Local, Memory, Method, Round, Sections, Vector, View
from gossamer.methods.iterations import checked_chance, iterations
from gossamer.wire.codes import UpdateSection
from gossamer.wire.items import Reader, encode

MAX_HALVINGS = 6
"""A device may weigh 64 times another and no more."""

NOTE = 8
"""A note is ``round that completes the pending one * NOTE + halvings``, in every coordinate of its row."""

NEVER = 0
"""Round 0 completes nothing."""

POWER_STEPS = 20
"""Gradients that measuring the smoothness costs, once."""

SMOOTHNESS_MARGIN = 1.25
"""A power iteration finds the largest curvature from below."""


class Scafflix(Method):
    """Spec ``scafflix:A/P/L`` or ``scafflix:A/P/L/HALVINGS``."""

    unbiased = True
    everybody = True
    equal = True
    punctual = True
    steps = True
    own = ("control", "pending", "optimum", "notes")

    def __init__(self, share: float, chance: float, smoothness: float, halvings: float = 0.0) -> None:
        if not 0.0 < share <= 1.0:
            raise InputError(f"scafflix needs a share of the common model above 0 and at most 1, got {share}")
        if not 0.0 < smoothness < math.inf:
            raise InputError(f"scafflix needs a finite smoothness above 0, got {smoothness}")
        if halvings not in range(MAX_HALVINGS + 1):
            raise InputError(f"scafflix takes 0 to {MAX_HALVINGS} halvings, got {halvings}")
        self.share, self.chance, self.smoothness = share, checked_chance(chance), smoothness
        self.halvings = int(halvings)
        self.spec = f"scafflix:{share!r}/{chance!r}/{smoothness!r}" + (f"/{self.halvings}" if halvings else "")

    def train(self, shared: Vector, own: Vector | None, local: Local, round_: Round) -> Draft:
        """See `Method`."""
        common, a, p = shared[0], self.share, self.chance
        control, pending, optimum, notes = self._first(local) if own is None else own
        pending_round, halvings = divmod(int(notes[0]), NOTE)
        step = 2.0**halvings / self.smoothness
        if pending_round == round_.number:
            control = control + p * a / step * (common - pending)
        x, loss = common, 0.0
        for _ in range(iterations(round_.seed, round_.number, p)):
            gradient, loss = local.gradient(a * x + (1.0 - a) * optimum)
            x = x - step / a * (gradient - control)

        def remember(pending: Vector, completes_in: int) -> Vector:
            return np.stack([control, pending, optimum, np.full_like(common, completes_in * NOTE + halvings)])

        return Draft(
            loss,
            vector=x - common,
            settled=lambda decoded: remember(common + decoded, round_.number + 1),
            dropped=remember(np.zeros_like(common), NEVER),
            sections={UpdateSection.WEIGHT: encode(1 << self.halvings - halvings)} if self.halvings else {},
        )

    def _first(self, local: Local) -> Vector:
        """Memory (4, d) before the first round."""
        optimum = local.optimum()
        halvings = 0
        if self.halvings:
            found = math.floor(math.log2(self.smoothness / (SMOOTHNESS_MARGIN * smoothness(local, optimum))))
            halvings = min(max(found, 0), self.halvings)
        zeros = np.zeros_like(optimum)
        return np.stack([zeros, zeros, optimum, zeros + NEVER * NOTE + halvings])

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
        exact = memory.get("exact", view.target[0]) + aggregate
        return (exact - view.target[0])[None], {"exact": exact}

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
