"""What a hostile device sends instead of its honest delta; float32 (d,) -> float32 (d,).

* ``none``: the honest delta.
* ``sign-flip``: its negative.
* ``gaussian``: noise of ``GAUSSIAN_SCALE`` times the honest delta's norm.
* ``alie``: "a little is enough", mean - z * deviation of the honest (Baruch et al., NeurIPS 2019).
* ``inner-product-2``, ``-10``: minus 2 or 10 times the mean of the honest (Xie et al., UAI 2019).
* ``shift-back``: ``cohort / attackers * (w_0 - w_t)``, so that the cohort's mean lands near the start again.
* ``nan``: one coordinate is not a number.
* ``oversized``: finite, but beyond the model's number range.
* ``examples``: the honest delta reversed, with a claim of a million times the examples.

For tests and the demo. An attack sees its ``Context`` and nothing else, so a run with attackers repeats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import ConfigError

Vector = NDArray[np.float32]

GAUSSIAN_SCALE = 10.0
OVERSIZED_VALUE = 1e6
"""Far outside the lattice's range of +-2048."""

LYING_FACTOR = 1_000_000


@dataclass(frozen=True, slots=True)
class Context:
    """What the attackers know.

    Args:
        w_0: the model at the start, float32 (d,).
        w_t: the shared model now, float32 (d,).
        cohort: C, devices in this round.
        attackers: B, how many of them are hostile, at least 1.
        seed: of (job seed, round, device); only ``gaussian`` uses it.
        peers: honest deltas the attackers know of, float32 (m, d). Empty: each knows only its own.
    """

    w_0: Vector
    w_t: Vector
    cohort: int
    attackers: int
    seed: int
    peers: tuple[Vector, ...] = ()


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack, called with (honest delta, context).

    ``examples_factor`` multiplies the number of examples that the device claims.
    """

    name: str
    craft: Callable[[Vector, Context], NDArray[np.floating]]
    examples_factor: int = 1

    def __call__(self, honest: Vector, context: Context) -> Vector:
        """The delta to send, float32 (d,)."""
        with np.errstate(all="ignore"):  # an attack may overflow; that is its affair
            return np.asarray(self.craft(honest, context), dtype=np.float32)


def attack(name: str) -> Attack:
    """The attack of that name; raises ConfigError for an unknown one."""
    if name not in ATTACKS:
        raise ConfigError(f"attack {name!r} is not known; choose one of: {', '.join(ATTACKS)}")
    return ATTACKS[name]


def _known(honest: Vector, context: Context) -> NDArray[np.float64]:
    """Honest deltas the attacker estimates from, float64 (m, d)."""
    return np.stack(context.peers or (honest,)).astype(np.float64)


def _gaussian(honest: Vector, context: Context) -> NDArray[np.floating]:
    noise = np.random.default_rng(context.seed).standard_normal(len(honest))
    norm = float(np.linalg.norm(honest.astype(np.float64)))
    return np.asarray(noise * (GAUSSIAN_SCALE * norm / math.sqrt(len(honest))))


def _alie(honest: Vector, context: Context) -> NDArray[np.floating]:
    known = _known(honest, context)
    # One delta has no deviation across devices: its own root mean square stands in.
    own_rms = math.sqrt(float(np.mean(known**2)))
    deviation = known.std(axis=0) if len(known) > 1 else np.full(len(honest), own_rms)
    return np.asarray(known.mean(axis=0) - alie_z(context.cohort, context.attackers) * deviation)


def alie_z(cohort: int, attackers: int) -> float:
    """The largest shift, in deviations, that a majority of the cohort still outdoes.

    z = Phi^-1((C - B - s) / (C - B)) with s = C // 2 + 1 - B supporters needed; 1.5 where the attackers are a
    majority and the formula ends (their value is then the median whatever z is).
    """
    honest = cohort - attackers
    needed = cohort // 2 + 1 - attackers
    if needed <= 0 or honest <= needed:
        return 1.5
    return _normal_quantile((honest - needed) / honest)


def _normal_quantile(p: float) -> float:
    low, high = -8.0, 8.0
    for _ in range(60):  # bisection: scipy is not a dependency
        middle = (low + high) / 2
        low, high = (middle, high) if 0.5 * math.erfc(-middle / math.sqrt(2)) < p else (low, middle)
    return (low + high) / 2


def _inner_product(factor: float) -> Callable[[Vector, Context], NDArray[np.floating]]:
    return lambda honest, context: np.asarray(-factor * _known(honest, context).mean(axis=0))


def _shift_back(honest: Vector, context: Context) -> NDArray[np.floating]:
    del honest
    share = context.cohort / max(context.attackers, 1)
    return np.asarray(share * (context.w_0.astype(np.float64) - context.w_t.astype(np.float64)))


def _nan(honest: Vector, context: Context) -> NDArray[np.floating]:
    del context
    spoilt: Vector = np.array(honest)
    spoilt[len(spoilt) // 2] = np.nan
    return spoilt


def _oversized(honest: Vector, context: Context) -> NDArray[np.floating]:
    del context
    return np.asarray(np.where(honest < 0, -OVERSIZED_VALUE, OVERSIZED_VALUE))


ATTACKS: dict[str, Attack] = {
    known.name: known
    for known in (
        Attack("none", lambda honest, _: honest),
        Attack("sign-flip", lambda honest, _: -honest),
        Attack("gaussian", _gaussian),
        Attack("alie", _alie),
        Attack("inner-product-2", _inner_product(2.0)),
        Attack("inner-product-10", _inner_product(10.0)),
        Attack("shift-back", _shift_back),
        Attack("nan", _nan),
        Attack("oversized", _oversized),
        Attack("examples", lambda honest, _: -honest, examples_factor=LYING_FACTOR),
    )
}
