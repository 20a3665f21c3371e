"""How many local epochs a device should train: more while they bring more per byte, fewer when they do not.

A further epoch costs no byte, so the update's norm per wire byte first grows with the epochs. It stops growing when a
device has learned what its own data says, and then goes on only by drifting away from the others. Nobody can tell a
device beforehand where that is; this climbs there, one participation at a time:

    climbing    epochs + 1 while the gain (norm / wire bytes) rises by `WORTHWHILE`, else one back and settle
    settled     stays; looks again one epoch up after `LOOK_AGAIN` participations, since later rounds differ
    whatever    more than `MAX_RETRIES` retries on the link: half the epochs, and climb anew: a round that may be lost
                must not be an expensive one

    next epochs = clip(wanted, 1, min(limit, fits into the deadline, fits into the energy left))

``limit`` is the manifest's ``local_epochs``: the upper bound that the server has set, from which no device departs
upwards. Each device runs its own machine from what it sees itself; nothing of it is on the wire. Norms of one
participation are noisy and shrink as the job converges, so a gain is held against a smoothed one at the epochs before,
not against the best ever seen.

Pure: state and event in, state out. The machine does not look at the loss and does not touch the learning rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gossamer.errors import InputError

WORTHWHILE = 0.05
"""Share by which the gain must rise for another epoch: below it an epoch's energy buys next to nothing."""
SMOOTHING = 0.5
"""Weight of the newest gain: two participations back count a quarter."""
LOOK_AGAIN = 8
"""Participations for which it stays settled: in a job of 40, a handful of looks."""
MAX_RETRIES = 1
"""Of one participation: a second means the link loses whole attempts, not packets."""
DEADLINE_SHARE = 0.5
"""Of a round's deadline that training may take; the rest is for the link."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a device may spend. Seconds and joules; infinite where nobody counts them."""

    limit: int
    deadline_seconds: float = math.inf
    joules: float = math.inf
    """For this participation, from the battery's budget."""
    watts: float = 1.0
    """Drawn while training, about: one core of a small board."""

    def __post_init__(self) -> None:
        """Raise `InputError` for a limit below 1 or numbers that are not positive."""
        if self.limit < 1:
            raise InputError(f"expected a limit of at least 1 local epoch, got {self.limit}")
        if not (self.deadline_seconds > 0 and self.joules >= 0 and self.watts > 0):
            raise InputError(f"expected a positive deadline and power, and energy of 0 or more, got {self}")

    def most(self, epoch_seconds: float) -> int:
        """Epochs that fit; 1 at least, since a device that trains not at all should not take part."""
        if epoch_seconds <= 0:
            return self.limit
        seconds = min(self.deadline_seconds * DEADLINE_SHARE, self.joules / self.watts)
        return max(1, int(min(float(self.limit), seconds / epoch_seconds)))


@dataclass(frozen=True, slots=True)
class Participation:
    """What a round was like: the norm of the update as trained, bytes both ways with their envelope, seconds."""

    norm: float
    wire_bytes: int
    fit_seconds: float
    retries: int = 0
    """Connections that broke and were made again."""

    def __post_init__(self) -> None:
        """Raise `InputError` for anything that cannot have been."""
        finite = math.isfinite(self.norm) and math.isfinite(self.fit_seconds)
        if not (finite and self.norm >= 0 and self.fit_seconds >= 0 and self.wire_bytes > 0 and self.retries >= 0):
            raise InputError(f"expected a finite norm and seconds, and bytes above 0, got {self}")


@dataclass(frozen=True, slots=True)
class Epochs:
    """The machine's state: the next local epochs, and what it knows. Eight numbers; store them with the residual."""

    wanted: int = 1
    settled_for: int = -1
    """Participations since it settled; negative while it climbs."""
    before: float = 0.0
    """Smoothed gain with one epoch fewer; 0 if not known."""
    gain: float = 0.0
    """Smoothed gain with ``wanted`` epochs; 0 if not known."""
    epoch_seconds: float = 0.0

    @classmethod
    def start(cls, bounds: Bounds, wanted: int = 1) -> Epochs:
        """Before the first participation; ``wanted`` from where to climb, such as half of the limit."""
        return cls(max(1, min(wanted, bounds.limit)))

    def next(self, bounds: Bounds) -> int:
        """Local epochs of the coming fit, 1 to ``bounds.limit``."""
        return min(self.wanted, bounds.most(self.epoch_seconds))

    def after(self, event: Participation, bounds: Bounds) -> Epochs:
        """The state after a participation that trained `next` epochs."""
        trained = self.next(bounds)
        timed = replace(self, epoch_seconds=_smoothed(self.epoch_seconds, event.fit_seconds / trained))
        if event.retries > MAX_RETRIES:
            return Epochs(max(1, trained // 2), epoch_seconds=timed.epoch_seconds)
        if trained != self.wanted:  # bounded from outside: nothing was learned of what is wanted
            return replace(timed, wanted=trained, settled_for=0, before=0.0, gain=0.0)
        gain = _smoothed(self.gain, event.norm / event.wire_bytes)
        if self.settled_for >= 0:
            return timed._rested(gain, bounds)
        return timed._climbed(gain, bounds)

    def _climbed(self, gain: float, bounds: Bounds) -> Epochs:
        if self.before and gain < self.before * (1 + WORTHWHILE):
            return replace(self, wanted=max(1, self.wanted - 1), settled_for=0, gain=self.before, before=0.0)
        if self.wanted >= bounds.most(self.epoch_seconds):
            return replace(self, settled_for=0, gain=gain, before=0.0)
        return replace(self, wanted=self.wanted + 1, before=gain, gain=0.0)

    def _rested(self, gain: float, bounds: Bounds) -> Epochs:
        if self.settled_for + 1 < LOOK_AGAIN or self.wanted >= bounds.most(self.epoch_seconds):
            return replace(self, settled_for=min(self.settled_for + 1, LOOK_AGAIN), gain=gain)
        return replace(self, wanted=self.wanted + 1, settled_for=-1, before=gain, gain=0.0)


def _smoothed(old: float, new: float) -> float:
    return new if old == 0 else (1 - SMOOTHING) * old + SMOOTHING * new
