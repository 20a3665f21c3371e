"""FedDyn: every device's objective is bent until all agree. Acar and others, ICLR 2021; arXiv 2111.04263, algorithm 1.

    device   y = local epochs on f_i(y) - <linear_i, y> + pull / 2 ||y - x||^2      from the shared x
             sends C(y - x);  linear_i -= pull C(y - x)                             once it is counted
    server   linear -= pull sum_cohort C(y - x) / n;   x += mean_cohort C(y - x) - linear / pull

``pull`` is the paper's alpha, ``linear_i`` its gradient of L_i, which it becomes at the optimum, and ``linear`` its h:
the mean of all ``linear_i``, those of absent devices too. Exact on unlike data for any number of local steps: where
nothing moves, every linear_i is the gradient of f_i, and their mean is zero.

The difference is sent as it is, without the device's memory: what a codec leaves unsent is missing in ``linear_i`` too
and comes back with the next difference. (A residual beside it would be added twice, and training diverges.) The server
sums what it was sent, so its rule should be the mean. A pull near the curvature converges fastest.

Shapes: linear_i float64 (1, d) on the device, the sum of them float64 (d,) on the server.
"""

from __future__ import annotations

import math

from gossamer.errors import InputError
from gossamer.methods.base import Draft, Local, Memory, Method, Round, Vector, View, moved, own_or_zeros, remembered


class FedDyn(Method):
    """Spec ``feddyn:PULL``."""

    own = ("linear",)
    equal = True
    averaged = True
    steps = True

    def __init__(self, pull: float) -> None:
        if not 0.0 < pull < math.inf:
            raise InputError(f"feddyn needs a finite pull above 0, got {pull}")
        self.spec = f"feddyn:{pull!r}"
        self.pull = pull

    def train(self, shared: Vector, own: Vector | None, local: Local, round_: Round) -> Draft:
        """See `Method`."""
        del round_
        linear = own_or_zeros(own, 1, local.d)
        fitted = local.fit(shared[0], correction=-linear[0], proximal=self.pull)

        def settled(decoded: Vector) -> Vector:
            after: Vector = linear - self.pull * decoded
            return after

        return Draft(
            fitted.loss, vector=fitted.weights - shared[0], settled=settled, dropped=linear, sections=fitted.sections
        )

    def step(self, memory: Memory, aggregate: Vector, view: View) -> tuple[Vector, Memory]:
        """See `Method`. The sum is kept, not the mean, so that a fleet may grow."""
        summed = remembered(memory, "linear", aggregate) - self.pull * view.counted * aggregate
        return moved(view, aggregate - summed / (view.devices * self.pull)), {"linear": summed}
