"""What reaching a target costs, as far as that can be told beforehand: the model behind ``--codec auto``.

    bytes of a device = participations x ((1 + per_byte) (up + down) + envelope)
    participations    ~ epochs^-EPOCH_POWER x (1 + WAITING x wait)                     of fedavg
                        epochs^-EPOCH_POWER x (MOMENTUM + MOMENTUM_WAITING x wait)     of fedavgm:1.0/0.5
    wait              = the mean of (1 - captured) / captured up and down
    captured          = odds / (1 + odds),  odds = ODDS x (gain x share / 1 %)^POWER        of a sparse codec

captured is the part of an update's energy that its message holds. A residual brings the rest later, and what waits is
(1 - captured) / captured of an update in the long run: so much longer does it take. Server momentum saves rounds as
long as little waits; what comes late it overshoots. ``gain`` is how many times fewer coefficients ``hist`` needs than
positions, from the size of the widest matrix. What a federation needs at all (its data, its target, its learning rate)
multiplies every row alike, so the choice does not depend on it.

The captured energy of ternary at 1 % (.285), and of hist at 0.1 / 1 % (.371 / .727) on 784 x 128, was measured on real
updates. All else is fitted to the rounds of sweeps on the benchmarks' five federations, seeds 0 to 2, by
``python -m benchmarks.auto_fit FILES``, which prints the constants with their error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

HEAD_BYTES = 5
"""Of any sparse body: tag, scale, count."""


@dataclass(frozen=True, slots=True)
class Constants:
    """Everything that was fitted, to be refitted in one place."""

    epoch_power: float = 0.25
    """2 epochs where 1 was take 2^-this of the rounds."""
    epoch_knee: int = 8
    """Epochs beyond this count as if ``late_epoch_power`` were theirs: drift eats what they learn."""
    wide_epoch_knee: int = 4
    """The same for models of ``wide_parameters``, on thin evidence: 8 epochs instead of 4 saved 8 % with 102,000 and 20
    devices (three seeds), nothing in cohorts of 10 (one), and with 39,000 missed the target more often (one or two)."""
    wide_parameters: int = 20_000
    late_epoch_power: float = 0.03
    waiting: float = 0.34
    """Rounds that a wait of one update adds, of those without any."""
    momentum: float = 0.43
    """Rounds with a server momentum of 0.5 where nothing waits, of those of plain averaging."""
    momentum_waiting: float = 0.79
    """``waiting`` with that momentum."""
    odds: float = 0.4
    """Captured energy at 1 % of all positions, as odds."""
    power: float = 0.75
    most_of_ternary: float = 0.8
    """One magnitude for all hardly captures more."""
    hist_power: float = 0.65
    """The same for ``hist``."""
    hist_parameters_per_gain: float = 6100.0
    """Of the widest matrix: 784 x 128 gives 19, 600 x 64 gives 7, 64 x 128 gives 1.5."""
    least_gain: float = 1.9
    """However small the matrix: levels take what one magnitude for all leaves behind."""
    hist_without_axes: float = 0.5
    """Of the gain, where no sensor axes are declared: an identity in the place of the smooth prior."""
    ternary_bits: float = 2.43
    """A position takes log2(1 / share) + this many bits: Golomb's 1.45, and the sign."""
    hist_bits: float = 2.19
    """A coefficient takes log2(1 / share) + this where the basis gains nothing,"""
    hist_bits_gain: float = 0.78
    """and this less for every doubling of the gain: its place is foreseen by the statistics."""
    merged_hist: float = 0.55
    """Part of the single messages that a catch-up within one cycle takes."""
    merged_ternary: float = 0.85
    connection: float = 3989.0
    """Bytes of a connection over TLS (benchmarks/wire.py); who sleeps between its rounds opens one each time."""


FITTED = Constants()

DENSE = {"rot1:ls": (1.02, 0.65), "rot4:ls": (4.04, 0.99)}
"""Bits a parameter and captured energy, measured on real updates."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a model matters here: d, and its widest matrix."""

    parameters: int
    widest: int
    has_axes: bool


def gain(shape: Shape, constants: Constants = FITTED) -> float:
    """How many times fewer coefficients ``hist`` needs than ``ternary`` positions."""
    return max(constants.least_gain, _of_basis(shape, constants))


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
    extra = constants.ternary_bits
    if method == "hist":
        extra = constants.hist_bits - constants.hist_bits_gain * math.log2(max(1.0, _of_basis(shape, constants)))
    bits = max(1.5, math.log2(1 / share) + extra)
    return HEAD_BYTES + shape.parameters * share * bits / 8


def rounds_factor(wait: float, constants: Constants = FITTED, *, momentum: bool) -> float:
    """Participations when ``wait`` of an update waits in the residuals, as a share of plain averaging's without any."""
    if momentum:
        return constants.momentum + constants.momentum_waiting * wait
    return 1.0 + constants.waiting * wait


def waits(up: float, down: float) -> float:
    """What waits in the residuals of both ways in the long run, of an update, for captured parts of it."""
    return (1.0 / up + 1.0 / down) / 2.0 - 1.0


def epoch_factor(epochs: int, shape: Shape, constants: Constants = FITTED) -> float:
    """Participations with so many local epochs, as a share of those with one."""
    wide = shape.parameters >= constants.wide_parameters
    knee = constants.wide_epoch_knee if wide else constants.epoch_knee
    early = min(epochs, knee) ** -constants.epoch_power
    return float(early * max(1.0, epochs / knee) ** -constants.late_epoch_power)


def caught_up(method: str, body: float, cohorts: int, constants: Constants = FITTED) -> float:
    """Bytes down at a participation: the steps of all cohorts since the last one, merged where that is shorter."""
    if cohorts == 1:
        return body
    return body * cohorts * (constants.merged_hist if method == "hist" else constants.merged_ternary)


def _of_basis(shape: Shape, constants: Constants) -> float:
    """`gain` as the size of the widest matrix foretells it."""
    times = shape.widest / constants.hist_parameters_per_gain
    return times * (1.0 if shape.has_axes else constants.hist_without_axes)


def _logit(part: float) -> float:
    inside = min(max(part, 1e-4), 1 - 1e-4)
    return math.log(inside / (1 - inside))
