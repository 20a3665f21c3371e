"""Fed-alpha-NormEC: private by normalised differences instead of clipping, with error compensation.

Shulgin, Khirirat and Richtarik 2025 ("Smoothed normalization for efficient distributed private optimization", arXiv
2502.13482, and its federated version with partial participation). With v_i ("memory") the device's own, zeros at first,
s the noise, and M devices in the fleet::

    device  D = (x - x_i) / learning_rate - v_i                   x_i: x after local training; one step: the gradient
            n = D / (a + ||D||) + s N(0, I)                        sent through an unbiased codec
            v_i <- v_i + b n                                       with n as the server decodes it, if it is counted
    server  v <- v + (b / M) sum of the n                          whoever takes part
            x <- x - rate v

The memory takes up the vector that was *sent*, noise and compression included. Then v is the mean of the v_i to the
last bit, whoever was there; with the vector before the noise, v would walk at random. b / M, not b over those present:
that would be a bias as soon as the v_i differ. b at most a. One local step reaches the optimum exactly without noise;
several leave the bias that local steps have in every method without control variates.

Privacy. ``||D / (a + ||D||)|| < 1`` for every D, so whatever data and memory are, a device's part of a round changes by
less than 1 in norm if it stays away, by less than 2 if its data are replaced: the Gaussian mechanism with noise
multiplier s of every single update (s sqrt(present) for who sees only the sum of a round). The noise is added on the
device, before the codec: compression, the next state of the memory and all that the server does are functions of what
was released (post-processing). So the releases of a device, one for every round it takes part in, compose as those of
the adaptive Gaussian mechanism. Nothing is claimed for being sampled. Not covered: the reported loss and the number of
examples, which are sent as they are, and the last bits of noise in floating point (Mironov, CCS 2012).

The noise is drawn from a secret of the device: SHAKE-256, keyed by an HMAC of the round and of the vector it covers. A
round that is computed twice alike is one release; one that comes out differently gets other noise, so that the
difference of the two does not uncover the data (it counts as two).

Spec ``normec:B/A/RATE`` or ``normec:B/A/RATE/NOISE``; s = NOISE. Who takes part is the job's participation.
Shapes: float64 (d,); one row of memory on the device, the sum of all at the server.
"""

from __future__ import annotations

import hashlib
import hmac
import math

import numpy as np

from gossamer.errors import InputError
from gossamer.methods.base import Draft, Local, Memory, Method, Round, Vector, View, moved, own_or_zeros, remembered

LABEL = b"gossamer normec noise"
"""Before what is hashed, so that no other use of the secret draws the same."""

MIN_SECRET_BYTES = 16
"""A secret that can be guessed is no noise."""


class NormEC(Method):
    """Spec ``normec:B/A/RATE`` or ``normec:B/A/RATE/NOISE``."""

    unbiased = True
    equal = True
    averaged = True
    steps = True
    own = ("memory",)

    def __init__(self, beta: float, alpha: float, rate: float, noise: float = 0.0) -> None:
        if not 0.0 < beta <= alpha < math.inf:
            raise InputError(f"normec needs 0 < B <= A, got B {beta} and A {alpha}: above, its memory may oscillate")
        if not 0.0 < rate < math.inf:
            raise InputError(f"normec needs a finite rate above 0, got {rate}")
        if not 0.0 <= noise < math.inf:
            raise InputError(f"normec needs finite noise of at least 0, got {noise}")
        self.beta, self.alpha, self.rate, self.noise = beta, alpha, rate, noise
        self.spec = f"normec:{beta!r}/{alpha!r}/{rate!r}" + (f"/{noise!r}" if noise else "")

    def train(self, shared: Vector, own: Vector | None, local: Local, round_: Round) -> Draft:
        """See `Method`."""
        held = own_or_zeros(own, 1, local.d)
        fitted = local.fit(shared[0])
        difference = (shared[0] - fitted.weights) / round_.learning_rate - held[0]
        normalised = difference / (self.alpha + float(np.linalg.norm(difference)))
        sent = normalised
        if self.noise:
            sent = normalised + self.noise * gaussian(round_, normalised)
        return Draft(
            fitted.loss,
            vector=sent,
            settled=lambda decoded: held + self.beta * decoded,
            dropped=held,
            sections=fitted.sections,
        )

    def step(self, memory: Memory, aggregate: Vector, view: View) -> tuple[Vector, Memory]:
        """See `Method`. The sum is kept, not the mean, so that a fleet may grow."""
        summed = remembered(memory, "summed", aggregate) + self.beta * view.counted * aggregate
        return moved(view, -self.rate / view.devices * summed), {"summed": summed}


def gaussian(round_: Round, covers: Vector) -> Vector:
    """Standard normal noise (d,) that only this device can draw, for a release of ``covers`` (d,).

    Box and Muller's transform of a keyed stream of 64-bit words. Raises InputError without a secret.
    """
    if len(round_.secret) < MIN_SECRET_BYTES:
        raise InputError(
            f"expected a secret of at least {MIN_SECRET_BYTES} bytes to draw private noise from, got "
            f"{len(round_.secret)}: noise that others can draw hides nothing"
        )
    place = b"".join(each.to_bytes(8, "big") for each in (round_.seed, round_.number, round_.device))
    data = LABEL + place + np.ascontiguousarray(covers, dtype="<f8").tobytes()
    key = hmac.new(round_.secret, data, hashlib.sha256).digest()
    pairs = (len(covers) + 1) // 2
    words = np.frombuffer(hashlib.shake_256(key).digest(16 * pairs), dtype="<u8").reshape(2, pairs)
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53  # in (0, 1)
    radius, angle = np.sqrt(-2.0 * np.log(uniform[0])), 2.0 * math.pi * uniform[1]
    normal: Vector = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[: len(covers)]
    return normal
