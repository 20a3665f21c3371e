"""The private mean: clip, add, noise, divide; (n, d) float32 -> (d,) float64.

``(sum over devices of trunc(clip(u_i)) + noise) / expected``, sum and noise in whole lattice units (2^-20).

Source: DP-FedAvg with fixed denominator (McMahan, Ramage, Talwar, Zhang, ICLR 2018), with Gaussian noise on the
lattice (:mod:`gaussian`) and, if wanted, correlated between rounds (:mod:`banded`).

**Sensitivity.** Every device has one vote of norm at most ``clip_norm``, whatever it claims of its examples. Updates of
one device in the same round, a late one beside the current one, are added first and clipped as one. A clipped vector is
rounded *towards zero*, coordinate by coordinate, so that it gets no longer; and it is clipped to
``clip_norm (1 - 2^-30)``, which is more than all float64 errors on the way for any model below 10^9 parameters. An
update that is rejected (not finite, malformed) is a zero vector: the round is released with noise all the same,
since a round without would tell. The divisor is the size that the cohort *should* have; the number that came, a
function of who was there, would move the whole sum.

**Noise is a function** of (secret, round, sum, earlier noise): a seal that is repeated after a crash gives the same
bytes, where new noise would let an observer average it out. A repetition over another sum, from a backup of the store,
gets new noise: the difference of two sums under the same noise would have none. Such a round has cost its devices
a second release, which no accountant can know of.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.privacy.banded import COEFFICIENT_BITS, next_noise
from gossamer.aggregator.privacy.gaussian import KEY_BYTES, rounded_gaussian
from gossamer.aggregator.privacy.plan import PrivacyPlan
from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.norms import norm_of
from gossamer.aggregator.rules.report import Report
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import Updates
from gossamer.compression.lattice import LATTICE_BITS
from gossamer.errors import ConfigError, InputError

UNITS = float(1 << LATTICE_BITS)
MARGIN = 1.0 - 2.0**-30
LABEL = b"gossamer private noise"
EARLIER = "noise"
"""Name of the memory of earlier noises, newest first; int64 (B - 1, d) little-endian."""

Units = NDArray[np.int64]
Noise = Callable[[Units], Units]
"""The clipped sum int64 (d,) -> what to add to it, both in lattice units."""


def clipped_sum(updates: Updates, norms: NDArray[np.float64], clip_norm: float) -> tuple[Units, NDArray[np.float64]]:
    """The sum of one clipped vector a device, int64 (d,) in lattice units, and the factor of every update (n,)."""
    radius = clip_norm * MARGIN
    groups = [tuple(rows) for _, rows in groupby(range(updates.n), key=lambda row: updates.items[row].index)]
    factors = np.ones(updates.n)
    for rows in groups:
        norm = float(norms[rows[0]]) if len(rows) == 1 else _norm_of_sum(updates, rows)
        factors[list(rows)] = 1.0 if norm <= radius else radius / norm
    total = np.zeros(updates.d, dtype=np.int64)
    for start, stop in updates.blocks():
        for rows in groups:
            part = _sum_of(updates, rows, start, stop) * factors[rows[0]]
            total[start:stop] += np.trunc(part * UNITS).astype(np.int64)
    return total, factors


def _sum_of(updates: Updates, rows: tuple[int, ...], start: int, stop: int) -> NDArray[np.float64]:
    total = updates.read(rows[0], start, stop).astype(np.float64)
    for row in rows[1:]:
        total += updates.read(row, start, stop)
    return total


def _norm_of_sum(updates: Updates, rows: tuple[int, ...]) -> float:
    return norm_of(lambda start, stop: _sum_of(updates, rows, start, stop), updates.d)


def private_mean(clip_norm: float, expected: int, noise: Noise, *, spec: str = "private-mean") -> Rule:
    """The rule of one round.

    Args:
        clip_norm: longest vote.
        expected: devices that the cohort should have.
        noise: what to add to the sum; :func:`private_rule` makes it from a plan.
        spec: of its state.

    >>> updates = Updates.dense(np.array([[3, 4], [0, 0.5]], dtype=np.float32))
    >>> silent = private_mean(1.0, expected=4, noise=np.zeros_like)
    >>> silent.apply(silent.init(2), updates)[0].round(3).tolist()
    [0.15, 0.325]
    """
    if expected < 1:
        raise InputError(f"expected a cohort of 1 device or more, got {expected}")

    def combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
        total, factors = clipped_sum(updates, norms, clip_norm)
        aggregate = (total + noise(total)).astype(np.float64) / (expected * UNITS)
        return Combined(aggregate, state, factors, clip_norm)

    return Rule(spec, minimum=0, combine=combine)


@dataclass(frozen=True, slots=True)
class PrivateRule:
    """Stands where a :class:`~gossamer.aggregator.rules.Rule` stands, for one round of one job."""

    plan: PrivacyPlan
    secret: bytes = field(repr=False)
    round: int
    expected: int
    minimum: int = 1

    @property
    def spec(self) -> str:
        """Of its state; the same in every round."""
        return self.plan.spec

    def init(self, d: int) -> State:
        """The memory before the first round, for d coordinates."""
        return State(self.spec, d)

    def restore(self, data: Mapping[str, object], d: int) -> State:
        """The memory from :meth:`State.to_dict`; raises InputError if it is another rule's or model's."""
        return State.from_dict(data, spec=self.spec, d=d)

    def apply(self, state: State, updates: Updates) -> tuple[NDArray[np.float64], State, Report]:
        """As :meth:`Rule.apply`. Only a round in which nobody sent anything, which everybody may know, has no noise."""
        earlier = self._earlier(state)
        if not updates.n:
            after = self._remembering(state, np.zeros(updates.d, dtype=np.int64), earlier)
            return np.zeros(updates.d), after, Report(self.spec, (), shortfall=f"{self.spec} needs 1 update, has 0")
        added: list[Units] = []

        def noise(total: Units) -> Units:
            added.append(self._noise(total, earlier))
            return added[0]

        rule = private_mean(self.plan.settings.clip_norm, self.expected, noise, spec=self.spec)
        aggregate, after, report = rule.apply(state, updates)
        return aggregate, self._remembering(after, added[0], earlier), report

    def _noise(self, total: Units, earlier: list[Units]) -> Units:
        digest = hashlib.sha256(total.astype("<i8").tobytes())
        for noise in earlier:
            digest.update(noise.astype("<i8").tobytes())
        message = b"\0".join((LABEL, self.spec.encode(), self.round.to_bytes(8, "big"), digest.digest()))
        key = hmac.new(self.secret, message, hashlib.sha256).digest()
        z = rounded_gaussian(key, noise_sigma(self.plan) << COEFFICIENT_BITS, len(total))
        return next_noise(z, earlier, self.plan.coefficients)

    def _earlier(self, state: State) -> list[Units]:
        """Noises of the rounds before, newest first; fewer than B - 1 in the first rounds."""
        stored = np.frombuffer(state.memory(EARLIER), dtype="<i8").astype(np.int64)
        return list(stored.reshape(-1, state.d))

    def _remembering(self, state: State, noise: Units, earlier: list[Units]) -> State:
        kept = [noise, *earlier][: len(self.plan.coefficients) - 1]
        return state.remember(**{EARLIER: b"".join(each.astype("<i8").tobytes() for each in kept)})


def private_rule(plan: PrivacyPlan, secret: bytes, round_: int, expected: int) -> PrivateRule:
    """The rule of a round.

    Args:
        plan: of the job.
        secret: 32 random bytes of this job that nobody but the server has. Not the job's seed, which is public:
            who knows the secret can take the noise out again.
        round_: its number.
        expected: devices of its cohort by the schedule, revoked ones included.

    Raises:
        ConfigError: a secret of another length, or a plan without noise.
    """
    if len(secret) != KEY_BYTES:
        raise ConfigError(f"the job's privacy secret: expected {KEY_BYTES} random bytes, got {len(secret)}")
    if plan.noise_multiplier <= 0.0:
        raise ConfigError("privacy.noise_multiplier = 0: expected a settled plan; make it with plan()")
    return PrivateRule(plan, secret, round_, expected)


def noise_sigma(plan: PrivacyPlan) -> int:
    """Standard deviation of the independent noise in a round's sum, in lattice units, rounded up."""
    return math.ceil(plan.noise_multiplier * plan.settings.clip_norm * UNITS)
