"""What reaching a target costs, as far as that can be told beforehand: the model behind ``--codec auto``.

    bytes of a device = participations x ((1 + per_byte) (up + down) + envelope)
    participations    ~ epochs^-EPOCH_POWER x (1 / captured_up + 1 / captured_down) / 2
    captured          = odds / (1 + odds),  odds = ODDS x (gain x share / 1 %)^POWER        of a sparse codec

captured is the part of an update's energy that its message holds. A residual brings the rest later, and what waits is
(1 - captured) / captured of an update in the long run: so many rounds does it take longer. The same holds on the way
down. ``gain`` is how many times fewer coefficients ``hist`` needs than positions, from the size of the widest matrix.
What a federation needs at all (its data, its target) multiplies every row alike, so the choice does not depend on it.

Where the constants come from (batch 8, rate 0.1, fedavg, rounds to the benchmark's target; fitted in the logarithm with
one free factor for every federation and seed, error 9 % of the rounds in the root mean square; in sample):

    digits, seed 0 / 2   8 epochs, ternary 2 / 5 / 10 %: 22 12 9 / 17 11 9 rounds; 4 epochs: 22 19 13 / 19 14 11
    digits, seed 0       2 epochs, 2 / 5 %: 29 21; 16 epochs: 16 11; 4 epochs, 1 %: 32; 8 epochs, 20 %: 10
    watch-cnn, seed 0    4 epochs, ternary 2 / 5 %: 137 109
    not in the fit       digits, seed 1, 8 epochs, 5 %: 211 rounds, a plateau just below its target, which no factor
                         foretells; seed 0, 32 epochs, 10 %: 7 rounds, fewer than ``epoch_knee`` allows for
    hist                 energy captured at 0.1 / 1 %: .371 / .727 (ternary at 1 %: .285) on 784 x 128, and bytes of a
                         body, from the prototype of algorithms.md: not refitted to this implementation yet
"""

from __future__ import annotations

import math
from dataclasses import dataclass

HEAD_BYTES = 5
"""Of any sparse body: tag, scale, count."""


@dataclass(frozen=True, slots=True)
class Constants:
    """Everything that was fitted, to be refitted in one place."""

    epoch_power: float = 0.3
    """8 local epochs instead of 2 save a third of the rounds."""
    epoch_knee: int = 8
    """Epochs beyond this count as if ``late_epoch_power`` were theirs: drift eats what they learn."""
    late_epoch_power: float = 0.1
    odds: float = 0.4
    """Captured energy at 1 % of all positions, as odds."""
    power: float = 0.75
    most_of_ternary: float = 0.8
    """One magnitude for all hardly captures more."""
    hist_power: float = 0.65
    """The same for ``hist``."""
    hist_parameters_per_gain: float = 5400.0
    """Of the widest matrix: 784 x 128 gives 19, 600 x 64 gives 7."""
    hist_without_axes: float = 0.5
    """Of the gain, where no sensor axes are declared: an identity in the place of the smooth prior."""
    ternary_bits: float = 2.5
    """A position takes log2(1 / share) + this many bits: Golomb's 1.45, and the sign."""
    hist_bits: float = -0.6
    """A coefficient takes log2(1 / share) + this: its place is foreseen by the statistics."""
    merged_hist: float = 0.55
    """Part of the single messages that a catch-up within one cycle takes."""
    merged_ternary: float = 0.85


FITTED = Constants()

DENSE = {"rot1:ls": (1.02, 0.65), "rot4:ls": (4.04, 0.99)}
"""Bits a parameter and captured energy, measured on real updates (algorithms.md, section 1)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a model matters here: d, and its widest matrix."""

    parameters: int
    widest: int
    has_axes: bool


def gain(shape: Shape, constants: Constants = FITTED) -> float:
    """How many times fewer coefficients ``hist`` needs than ``ternary`` positions; 1 at least."""
    times = shape.widest / constants.hist_parameters_per_gain
    return max(1.0, times * (1.0 if shape.has_axes else constants.hist_without_axes))


def captured(method: str, share: float, shape: Shape, constants: Constants = FITTED) -> float:
    """Part of an update's energy, 0 to 1, in one message of ``method`` with that share of the coordinates."""
    if method in DENSE:
        return DENSE[method][1]
    odds: float
    if method == "hist":
        odds = constants.odds * (gain(shape, constants) * share / 0.01) ** constants.hist_power
        return odds / (1.0 + odds)
    odds = constants.odds * (share / 0.01) ** constants.power
    return min(odds / (1.0 + odds), constants.most_of_ternary)


def corrected(estimate: float, sent: float, residual_ratio: float, rounds: int) -> float:
    """An estimate of the captured part, given what the residual of a codec said to capture ``sent`` has become.

    A residual of ||e||^2 = ratio ||update||^2 that neither grows nor shrinks means 1 / (1 + ratio) was captured; the
    odds of all estimates are off by the same factor. The correction counts half after five rounds.
    """
    seen = 1.0 / (1.0 + max(residual_ratio, 1e-6))
    shift = (math.log(seen / (1 - seen)) - _logit(sent)) * rounds / (rounds + 5.0)
    return 1.0 / (1.0 + math.exp(-(_logit(estimate) + max(-3.0, min(3.0, shift)))))


def body_bytes(method: str, share: float, shape: Shape, constants: Constants = FITTED) -> float:
    """Expected length of a body; `auto` compares, the wire is billed for real ones."""
    if method in DENSE:
        return HEAD_BYTES + shape.parameters * DENSE[method][0] / 8
    extra = constants.hist_bits if method == "hist" else constants.ternary_bits
    bits = max(1.5, math.log2(1 / share) + extra)
    return HEAD_BYTES + shape.parameters * share * bits / 8


def epoch_factor(epochs: int, constants: Constants = FITTED) -> float:
    """Participations with so many local epochs, as a share of those with one."""
    early = min(epochs, constants.epoch_knee) ** -constants.epoch_power
    return float(early * max(1.0, epochs / constants.epoch_knee) ** -constants.late_epoch_power)


def caught_up(method: str, body: float, cohorts: int, constants: Constants = FITTED) -> float:
    """Bytes down at a participation: the steps of all cohorts since the last one, merged where that is shorter."""
    if cohorts == 1:
        return body
    return body * cohorts * (constants.merged_hist if method == "hist" else constants.merged_ternary)


def _logit(part: float) -> float:
    inside = min(max(part, 1e-4), 1 - 1e-4)
    return math.log(inside / (1 - inside))
