"""Local steps with unbiased compression both ways, in the manner of BiCoLoR (Condat, Maranjyan and Richtarik 2026;
arXiv 2601.12400). Our derivation from what its abstract states: the constants are not the authors'.

Minimises the mean of the devices' losses, each l-smooth and m-strongly convex. Two thirds of m move from the losses to
terms that all know: f_i(x) = loss_i(x) - m |x|^2 / 3; the server is one more client, with m |x|^2 / 6 for every device;
y, the same everywhere and never sent, carries as much. With L = l - 2 m / 3, c = m / 3, n devices, and variances W of
the codec up and V of the one down::

    A = 3 + 2 V + 2 W / n;   B = 1 + 2 W + 2 V;   p = min(1, sqrt(A B c / L));   rho = 1 / A;   s = p L / (A B)

    all     iterations:  y <- y - (c / L) (y - w)                          w the shared vector, all equal at first
    device  iterations:  x_i <- x_i - (grad f_i(x_i) - u_i) / L            u_i ("dual") its own, 0 at first
            sends d_i = codec(x_i - y)
    server  iterations:  x_s <- x_s - (c x_s - u_s) / L                    u_s = -c w at first
            moves w by (s / c) d_s, d_s = codec(x_s - y)                    the way down
            x_s <- x_s + rho (mean d_i - 2 (x_s - y));   u_s <- u_s + s (mean d_i - 2 d_s)
    device  x_i <- x_i + rho (d_s - (x_i - y));   u_i <- u_i + s (d_s - d_i)
    all     y <- y + rho d_s

c w is the dual of y, so w itself tends to the optimum and is the model; at first it swings wider than y. The duals'
mean, u_s and c w add up to 0, because everybody takes d_s from what w *did*, lattice and all. A client's primal step
has its exact difference, its dual step the compressed one.

Linear convergence, factor max((1 - c / L)^2, 1 - p^2 / (A B)) an iteration: errors of the two ways add. Worth it for
condition numbers far above (1 + W) (1 + V) only; elsewhere two-way EF21 is as good. An update that does not count
stands for d_i = 0; a device that misses rounds has a y of its own for a while: it tends to the others'. The
fleet does not grow under way: the duals' mean would no longer add up.

Spec ``bicolor:L/M/W/V`` with L = l, M = m. The job's codec_down must be unbiased and have variance V.
Shapes: all float64 (d,); 4 rows of memory on the device, 4 at the server.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gossamer.errors import InputError
from gossamer.methods.base import Draft, Local, Memory, Method, Round, Vector, View, moved
from gossamer.methods.iterations import MIN_CHANCE, iterations


@dataclass(frozen=True, slots=True)
class Constants:
    """What follows from the spec for a fleet of n: p, 1 / L, c, rho, s."""

    chance: float
    rate: float
    ridge: float
    primal: float
    dual: float

    def common(self, y: Vector, w: Vector, count: int) -> Vector:
        """Return y (d,) after so many iterations; the same bits everywhere."""
        for _ in range(count):
            y = y - self.rate * self.ridge * (y - w)
        return y


class BiCoLoR(Method):
    """Spec ``bicolor:L/M/W/V``."""

    unbiased = True
    unbiased_down = True
    everybody = True
    equal = True
    averaged = True
    fixed_fleet = True
    steps = True
    own = ("model", "dual", "common", "shared")

    def __init__(self, smoothness: float, convexity: float, up: float = 0.0, down: float = 0.0) -> None:
        if not 0.0 < convexity < smoothness < math.inf:
            raise InputError(f"bicolor needs 0 < M < L, got M {convexity} and L {smoothness}")
        if not (0.0 <= up < math.inf and 0.0 <= down < math.inf):
            raise InputError(f"bicolor needs finite variances of the codecs of at least 0, got {up} and {down}")
        self.smoothness, self.convexity, self.up, self.down = smoothness, convexity, up, down
        if self.constants(1 << 32).chance < MIN_CHANCE:
            raise InputError(f"bicolor would communicate with a chance below {MIN_CHANCE}: raise M")
        self.spec = f"bicolor:{smoothness!r}/{convexity!r}/{up!r}/{down!r}"

    def constants(self, devices: int) -> Constants:
        """For a fleet of so many."""
        a = 3.0 + 2.0 * self.down + 2.0 * self.up / devices
        b = 1.0 + 2.0 * self.up + 2.0 * self.down
        ridge = self.convexity / 3.0
        smooth = self.smoothness - 2.0 * ridge
        chance = min(1.0, math.sqrt(a * b * ridge / smooth))
        return Constants(chance, 1.0 / smooth, ridge, 1.0 / a, chance * smooth / (a * b))

    def train(self, shared: Vector, own: Vector | None, local: Local, round_: Round) -> Draft:
        """See `Method`."""
        k, w = self.constants(round_.devices), shared[0]
        x, dual, y, before = np.stack([w, np.zeros_like(w), w, w]) if own is None else own
        down = (w - before) * (k.ridge / k.dual)
        x, dual, y = x + k.primal * down, dual + k.dual * down, y + k.primal * down
        count, loss = iterations(round_.seed, round_.number, k.chance), 0.0
        for _ in range(count):
            gradient, loss = local.gradient(x)
            x = x - k.rate * (gradient - 2.0 * k.ridge * x - dual)
        y = k.common(y, w, count)

        def remember(sent: Vector) -> Vector:
            return np.stack([x - k.primal * (x - y), dual - k.dual * sent, y, w])

        return Draft(loss, vector=x - y, settled=remember, dropped=remember(np.zeros_like(w)))

    def step(self, memory: Memory, aggregate: Vector, view: View) -> tuple[Vector, Memory]:
        """See `Method`. What is remembered lacks d_s, which the next round reads from the shared vector."""
        k, w = self.constants(view.devices), view.shared[0]
        x, dual, y = memory.get("model", w), memory.get("dual", -k.ridge * w), memory.get("common", w)
        down = (w - memory.get("shared", w)) * (k.ridge / k.dual)
        dual, y = dual - 2.0 * k.dual * down, y + k.primal * down
        count = iterations(view.seed, view.round, k.chance)
        for _ in range(count):
            x = x - k.rate * (k.ridge * x - dual)
        y = k.common(y, w, count)
        mean = view.counted / view.devices * aggregate
        after = {
            "model": x + k.primal * (mean - 2.0 * (x - y)),
            "dual": dual + k.dual * mean,
            "common": y,
            "shared": w,
        }
        return moved(view, w - view.target[0] + k.dual / k.ridge * (x - y)), after
