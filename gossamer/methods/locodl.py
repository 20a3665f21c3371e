"""LoCoDL: local steps and compressed updates, both of which accelerate. Condat, Maranjyan and Richtarik, ICLR 2025;
arXiv 2403.04348.

Minimises the mean of the devices' losses, each l-smooth and m-strongly convex (a ridge of m in the loss is enough).
Half of m moves from the losses to a term that everybody knows: f_i(x) = loss_i(x) - m |x|^2 / 4 and g(y) = m |y|^2 / 4,
so L = l - m / 2. With p the chance of `iterations`, W the variance of the codec, rho = 1 / (1 + W / n) and
s = p L / (1 + 2 W), a round is::

    all     iterations:  y <- y - (grad g(y) - v) / L                v = s S, S the companion "sum", both 0 at first
    device  iterations:  x_i <- x_i - (grad f_i(x_i) - u_i) / L      u_i ("dual") its own, 0 at first
            sends d_i = codec(x_i - y)
    server  D = sum of the d_i / (2 n);   y <- y + rho D;   S <- S + D
    device  next time:  x_i <- y + (1 - rho) (x_i - y before the server's step);   u_i <- u_i + s (change of S - d_i)

Linear convergence; the best p is sqrt((1 + W) (1 + W / n) m / (2 L)). Where that exceeds 1, the codec is too coarse for
the problem, and with cohorts it may diverge.

What is sent is the difference of the duals' changes: u_1 + .. + u_n + n v stays 0, up to what the rounding of S leaves
out of one step (and puts into the next). Because S travels, that holds whoever took part: a device that stayed away,
or whose update was not counted, has sent d_i = 0. So a cohort of the fleet will do. With R cohorts a device sends
codec(R (x_i - y)), which is right on average, and counts in W: ``W = R (1 + variance of the codec) - 1``. Only the
local steps of those absent are missing from the theory; it converges linearly all the same (tested). The fleet does
not grow under way: S would have to start anew.

Spec ``locodl:P/L/M/W`` with P = p, L = l, M = m. Every iteration is one gradient over all data of the device.
Shapes: all float64 (d,); 3 rows of memory on the device, one at the server, and a second vector on the way down.
"""

from __future__ import annotations

import math

import numpy as np

from gossamer.errors import InputError
from gossamer.methods.base import Draft, Local, Memory, Method, Round, Vector, View, moved
from gossamer.methods.iterations import checked_chance, iterations


class LoCoDL(Method):
    """Spec ``locodl:P/L/M/W``."""

    companions = ("sum",)
    unbiased = True
    equal = True
    averaged = True
    fixed_fleet = True
    steps = True
    own = ("ahead", "dual", "sum")

    def __init__(self, chance: float, smoothness: float, convexity: float, variance: float = 0.0) -> None:
        if not 0.0 < convexity < smoothness < math.inf:
            raise InputError(f"locodl needs 0 < M < L, got M {convexity} and L {smoothness}")
        if not 0.0 <= variance < math.inf:
            raise InputError(f"locodl needs a finite variance of the codec of at least 0, got {variance}")
        self.chance = checked_chance(chance)
        self.ridge = convexity / 2.0
        self.rate = 1.0 / (smoothness - self.ridge)
        self.variance = variance
        self.dual_step = chance / (self.rate * (1.0 + 2.0 * variance))
        self.spec = f"locodl:{chance!r}/{smoothness!r}/{convexity!r}/{variance!r}"

    def train(self, shared: Vector, own: Vector | None, local: Local, round_: Round) -> Draft:
        """See `Method`."""
        y, total = shared
        if own is None:
            x, dual = y, self.dual_step * total
        else:
            x = (1.0 - self.closeness(round_.devices)) * own[0] + y
            dual = own[1] + self.dual_step * (total - own[2])
        count, loss = iterations(round_.seed, round_.number, self.chance), 0.0
        for _ in range(count):
            gradient, loss = local.gradient(x)
            x = x - self.rate * (gradient - self.ridge * x - dual)
        y = self.common(y, total, count)

        def remember(sent: Vector) -> Vector:
            return np.stack([x - y, dual - self.dual_step * sent, total])

        return Draft(loss, vector=round_.cohorts * (x - y), settled=remember, dropped=remember(np.zeros_like(x)))

    def closeness(self, devices: int) -> float:
        """The share of the way to the fleet's mean that a device goes: 1 / (1 + W / n)."""
        return 1.0 / (1.0 + self.variance / devices)

    def common(self, y: Vector, total: Vector, count: int) -> Vector:
        """The common y (d,) after so many iterations, the same everywhere."""
        for _ in range(count):
            y = y - self.rate * (self.ridge * y - self.dual_step * total)
        return y

    def step(self, memory: Memory, aggregate: Vector, view: View) -> tuple[Vector, Memory]:
        """See `Method`. "sum" is the companion's target before it was rounded."""
        y, total = view.shared
        update = view.counted / (2.0 * view.devices) * aggregate
        exact = memory.get("sum", view.target[1]) + update
        y = self.common(y, total, iterations(view.seed, view.round, self.chance))
        y = y + self.closeness(view.devices) * update
        return moved(view, y - view.target[0], exact - view.target[1]), {"sum": exact}
