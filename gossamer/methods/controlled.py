"""SCALLION and SCAFCOM: SCAFFOLD's control variates for the price of one compressed vector up.

Huang, Li and Li, "Stochastic Controlled Averaging for Federated Learning with Communication Compression", ICLR 2024;
arXiv 2308.08165, algorithms 2 and 3. In the paper's letters, for K local steps of rate lr:

    device   y = x; K times y -= lr (grad_i(y) - c_i + c);      q = (x - y) / (lr K) + c_i - c    its mean gradient
             SCALLION  m = U(alpha (q - c_i))                                                     U unbiased
             SCAFCOM   v_i = (1 - beta) v_i + beta q;  m = C(v_i - c_i)                           C biased
             c_i += m                                                                             once it is counted
    server   x -= eta (mean_cohort m + c);   c += sum_cohort m / n

c is the mean of all c_i, so it stands for the devices that are absent; where nothing moves, c_i is the gradient of f_i
and c is zero: exact on unlike data for any K and any cohort. The message shrinks to nothing, so does the codec's error.

Here everything is a *move*, -eta times the paper's gradient, in units of the model: ``control`` -eta c, ``own``
-eta c_i and -eta v_i, message -eta m. So the companion that travels beside the weights is of the size of a round's
move, which codecs and lattice are made for, and a sparse codec of both picks from both fairly. That a device sees a
control which lags behind the server's (codec_down) changes its local path only: it cancels in q.

ALPHA is about 1 / (1 + w), w the codec's variance (d/k - 1 for ``randk``); BETA smooths minibatch noise, 1 has none;
ETA is the server's step by a mean gradient, below 1 / L. v_i starts as the first q and moves whether counted or not.
The trainer should be plain SGD at the manifest's rate: the mean gradient is read from how far it went.

Shapes: control float64 (d,) a companion; own float64 (1, d) or (2, d); the sum of all own float64 (d,) on the server.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from gossamer.errors import InputError
from gossamer.methods.base import Draft, Local, Memory, Method, Round, Vector, View, moved, own_or_zeros, remembered


class Controlled(Method):
    """What the two have in common: all but what is compressed."""

    companions = ("control",)
    equal = True
    averaged = True
    steps = True

    def __init__(self, name: str, gain: float, rate: float) -> None:
        if not 0.0 < gain <= 1.0:
            raise InputError(f"{name} needs a first number above 0 and at most 1, got {gain}")
        if not 0.0 < rate < math.inf:
            raise InputError(f"{name} needs a finite server step above 0, got {rate}")
        self.spec = f"{name}:{gain!r}/{rate!r}"
        self.gain = gain
        self.rate = rate

    def train(self, shared: Vector, own: Vector | None, local: Local, round_: Round) -> Draft:
        """See `Method`."""
        before = own_or_zeros(own, len(self.own), local.d)
        weights, control = shared
        correction = (before[0] - control) / self.rate
        fitted = local.fit(weights, correction=correction)
        gone = (fitted.weights - weights) / (round_.learning_rate * fitted.steps)
        move = self.rate * (gone + correction)
        message, dropped = self._message(move, before, first=own is None)

        def settled(decoded: Vector) -> Vector:
            after: Vector = dropped.copy()
            after[0] += decoded
            return after

        return Draft(fitted.loss, vector=message, settled=settled, dropped=dropped, sections=fitted.sections)

    @abstractmethod
    def _message(self, move: Vector, own: Vector, *, first: bool) -> tuple[Vector, Vector]:
        """The vector (d,) to compress, and ``own`` as it stays if that is never counted."""

    def step(self, memory: Memory, aggregate: Vector, view: View) -> tuple[Vector, Memory]:
        """See `Method`. The sum is kept, not the control, so that a fleet may grow and no rounding adds up."""
        before = remembered(memory, "summed", aggregate)
        after = before + view.counted * aggregate
        control = after / view.devices
        return moved(view, aggregate + before / view.devices, control - view.target[1]), {"summed": after}


class Scallion(Controlled):
    """Spec ``scallion:ALPHA/ETA``, for unbiased codecs."""

    own = ("control",)
    unbiased = True

    def __init__(self, alpha: float, eta: float) -> None:
        super().__init__("scallion", alpha, eta)

    def _message(self, move: Vector, own: Vector, *, first: bool) -> tuple[Vector, Vector]:
        del first
        return self.gain * (move - own[0]), own


class Scafcom(Controlled):
    """Spec ``scafcom:BETA/ETA``, for any codec that is contractive."""

    own = ("control", "smoothed")

    def __init__(self, beta: float, eta: float) -> None:
        super().__init__("scafcom", beta, eta)

    def _message(self, move: Vector, own: Vector, *, first: bool) -> tuple[Vector, Vector]:
        smoothed = move if first else (1.0 - self.gain) * own[1] + self.gain * move
        return smoothed - own[0], np.stack([own[0], smoothed])
