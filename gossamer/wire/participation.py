"""Which devices take part in a round: a pure function of four integers that the manifest carries.

No roster goes on the air. A device knows its index and reads ``[rule, seed, devices, cohorts]`` from the
signed manifest; with these it computes alone whether round k is its round.

* ``reshuffled`` (default): each cycle of R = ``cohorts`` rounds takes a fresh permutation of the fleet and
  deals it into R cohorts in turn, so that every device takes part exactly once a cycle. Cohort sizes differ
  by one at most. Source: random reshuffling with cyclic participation (RR-CLI).
* ``uniform``: every round draws ceil(devices / cohorts) devices afresh, without replacement.
* ``fixed``: the same groups in the same order every cycle. Device i is in turn i mod R: dealt in strides, not
  in runs, so that a device keeps its group when the fleet grows, and devices enrolled one after the other (one
  site, one customer) are spread over all groups. Source: CyCP (Cho and others, ICML 2023).
* ``anytime``: every device in every round, as its own availability windows allow. With a quorum of K it is the
  asynchronous buffer: a round seals at its first K updates, later ones count in the next with a staleness
  weight. Source: FedBuff (Nguyen and others, AISTATS 2022).
* ``importance``: every device may take part, and decides alone from a threshold in the manifest and the norm of
  its own update (:mod:`gossamer.wire.chance`); about ceil(devices / cohorts) do. Source: optimal client
  sampling (Chen, Horvath, Richtarik, TMLR 2022).
* ``marina``: a coin a round. With probability 1 / R everybody takes part (:meth:`Participation.is_full`),
  otherwise ceil(devices / cohorts) devices drawn as ``uniform`` does. Source: Byz-VR-MARINA-PP (Malinovsky,
  Gorbunov, Horvath, Richtarik, NeurIPS 2024).

The permutation is the *swap-or-not* shuffle (Hoang, Morris, Rogaway, CRYPTO 2012) keyed by SHA-256: round j
pairs position x with K_j - x (mod n) and swaps the pair if a hash bit of the pair says so. It acts on any n
without padding, in both directions, and on one index alone: a device of a million pays ``2 * SHUFFLE_ROUNDS``
hashes and no memory, where Fisher-Yates would build the whole list. Integers and SHA-256 only, so that every
device and every version of numpy sees the same fleet; vectors in ``tests/wire/test_participation.py`` pin it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

from gossamer.errors import InputError

SHUFFLE_ROUNDS = 64
"""A single position is uniform to 2^-64 after this many; pairs are as good for any fleet (tested)."""

MAX_DEVICES = 1 << 32
"""Positions are hashed as blocks of 256 in a 4-byte counter; no fleet comes near."""

MAX_UINT64 = (1 << 64) - 1

COIN_LABEL = b"gossamer full round"
"""Before seed and round in the hash that is the coin of ``marina``."""


class ParticipationRule(IntEnum):
    """The number that travels in the manifest."""

    RESHUFFLED = 0
    UNIFORM = 1
    FIXED = 2
    ANYTIME = 3
    IMPORTANCE = 4
    MARINA = 5

    @classmethod
    def named(cls, name: str) -> ParticipationRule:
        """A rule by its name in lower case, such as ``reshuffled``; raises InputError for any other."""
        for rule in cls:
            if rule.name.lower() == name:
                return rule
        known = ", ".join(rule.name.lower() for rule in cls)
        raise InputError(f"participation {name!r} is not known; choose one of: {known}")


@dataclass(frozen=True, slots=True)
class Participation:
    """The schedule of a job. Rounds and device indices count from 0.

    Args:
        rule: a :class:`ParticipationRule` or its number.
        seed: 0 to 2^64 - 1.
        devices: size n of the fleet; indices run from 0 to n - 1.
        cohorts: R, rounds in a cycle (``reshuffled``, ``fixed``) or the inverse of the sampled fraction
            (``uniform``, ``importance``, ``marina``); ``anytime`` only counts its cycles with it.

    Raises:
        InputError: an unknown rule, or numbers out of range (``cohorts`` above ``devices`` would leave
            rounds without anybody).
    """

    rule: int
    seed: int
    devices: int
    cohorts: int

    def __post_init__(self) -> None:
        if self.rule not in tuple(ParticipationRule):
            raise InputError(f"participation rule {self.rule} is not known here; update this software")
        if not 0 <= self.seed <= MAX_UINT64:
            raise InputError(f"participation seed must be in 0..2^64-1, got {self.seed}")
        if not 1 <= self.devices <= MAX_DEVICES:
            raise InputError(f"devices must be in 1..{MAX_DEVICES}, got {self.devices}")
        if not 1 <= self.cohorts <= self.devices:
            raise InputError(f"cohorts must be in 1..devices ({self.devices}), got {self.cohorts}")

    @property
    def fields(self) -> tuple[int, int, int, int]:
        """What the manifest carries; ``Participation(*fields)`` gives the same schedule."""
        return (int(self.rule), self.seed, self.devices, self.cohorts)

    def cycle(self, round_: int) -> int:
        """The cycle that round belongs to: round // R for every rule."""
        _check_round(round_)
        return round_ // self.cohorts

    @property
    def drawn(self) -> int:
        """ceil(devices / cohorts): a draw of ``uniform`` and ``marina``, and what ``importance`` aims at."""
        return -(-self.devices // self.cohorts)

    def is_full(self, round_: int) -> bool:
        """Whether the whole fleet is asked in that round; with ``marina`` in the first, then the round's coin decides.

        >>> [r for r in range(20) if Participation(ParticipationRule.MARINA, 7, 10, 5).is_full(r)]
        [0, 1, 4, 13, 19]
        """
        _check_round(round_)
        if self.rule in (ParticipationRule.ANYTIME, ParticipationRule.IMPORTANCE) or self.cohorts == 1:
            return True
        if self.rule != ParticipationRule.MARINA:
            return False
        if round_ == 0:
            return True  # what everybody else adds changes to must not be a cohort's word
        coin = hashlib.sha256(COIN_LABEL + self.seed.to_bytes(8, "big") + round_.to_bytes(8, "big")).digest()
        return int.from_bytes(coin[:8], "big") * self.cohorts <= MAX_UINT64

    def cohort(self, round_: int) -> tuple[int, ...]:
        """Device indices of that round in ascending order; never empty."""
        if self.is_full(round_):
            return tuple(range(self.devices))
        if self.rule == ParticipationRule.FIXED:
            return tuple(range(round_ % self.cohorts, self.devices, self.cohorts))
        start, stop, shuffle = self._deal(round_)
        return tuple(sorted(shuffle.index_at(position) for position in range(start, stop)))

    def is_member(self, round_: int, index: int) -> bool:
        """Whether the device takes part: as ``index in cohort(round_)``, at the price of one index."""
        full = self.is_full(round_)
        if not 0 <= index < self.devices:
            return False
        if full or self.rule == ParticipationRule.FIXED:
            return full or index % self.cohorts == round_ % self.cohorts
        start, stop, shuffle = self._deal(round_)
        return start <= shuffle.position_of(index) < stop

    def _deal(self, round_: int) -> tuple[int, int, _Shuffle]:
        """Positions [start, stop) of a shuffled fleet are the cohort."""
        if self.rule in (ParticipationRule.UNIFORM, ParticipationRule.MARINA):
            return 0, self.drawn, _Shuffle(self.rule, self.seed, round_, self.devices)
        cycle, turn = divmod(round_, self.cohorts)
        start = turn * self.devices // self.cohorts
        stop = (turn + 1) * self.devices // self.cohorts
        return start, stop, _Shuffle(self.rule, self.seed, cycle, self.devices)


def _check_round(round_: int) -> None:
    if not 0 <= round_ <= MAX_UINT64:
        raise InputError(f"round must be in 0..2^64-1, got {round_}")


class _Shuffle:
    """One keyed permutation of 0..n-1, evaluated an index at a time in either direction."""

    def __init__(self, rule: int, seed: int, draw: int, n: int) -> None:
        label = b"gossamer participation" + bytes([rule])
        key = hashlib.sha256(label + seed.to_bytes(8, "big") + draw.to_bytes(8, "big")).digest()
        self._n = n
        self._keys = [key + bytes([j]) for j in range(SHUFFLE_ROUNDS)]
        # 64 bits modulo n: the bias is below n / 2^64.
        self._pivots = [int.from_bytes(hashlib.sha256(k).digest()[:8], "big") % n for k in self._keys]
        self._bits: dict[tuple[int, int], bytes] = {}

    def position_of(self, index: int) -> int:
        x = index
        for j in range(SHUFFLE_ROUNDS):
            x = self._swap(j, x)
        return x

    def index_at(self, position: int) -> int:
        x = position
        for j in reversed(range(SHUFFLE_ROUNDS)):  # each swap is its own inverse
            x = self._swap(j, x)
        return x

    def _swap(self, j: int, x: int) -> int:
        partner = (self._pivots[j] - x) % self._n
        high = max(x, partner)  # both ends of the pair must read the same bit
        block = (j, high >> 8)
        bits = self._bits.get(block)
        if bits is None:
            bits = hashlib.sha256(self._keys[j] + (high >> 8).to_bytes(4, "big")).digest()
            self._bits[block] = bits
        return partner if bits[(high & 255) >> 3] >> (high & 7) & 1 else x
