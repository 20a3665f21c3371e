"""One run to a target accuracy: the fleet's own training, codecs and rule in one process (`gossamer.demo.simulate`).

**Reached** is the first round at which the mean test accuracy of the models made by it and the two rounds before
is at least the target. Payload is the mean of all devices up to and with that round: update bodies up, model deltas
(or snapshots, if shorter) down. Version 0 comes from the seed, and the model of the last round is fetched by nobody.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from benchmarks.federations import Federation, federation, smoothed
from benchmarks.training_settings import Training, training
from benchmarks.wire import measured
from gossamer.demo.simulate import Simulation
from gossamer.errors import GossamerError


@dataclass(frozen=True)
class Run:
    """What to run. ``target`` and ``rounds`` replace the federation's; ``payload_limit`` (bytes a device) ends it."""

    federation: str
    training: Training
    seed: int
    target: float
    payload_limit: float = float("inf")

    @classmethod
    def chosen(cls, name: str, codec: str, seed: int) -> Run:
        """With the settings of `federations.toml`."""
        return cls(name, training(name, codec), seed, federation(name).target)

    @property
    def key(self) -> tuple[object, ...]:
        """Two runs of equal keys give the same record, but for the seconds."""
        return (self.federation, self.seed, self.target, *self.training.to_record().values())

    @staticmethod
    def key_of(record: dict[str, Any]) -> tuple[object, ...]:
        """`key` of the run that made a record."""
        names = Training("", "", 1, 1, 1.0).to_record()
        known = {"codec_up": record["codec"], **record}
        return tuple(known.get(name) for name in ("federation", "seed", "target", *names))


@dataclass(frozen=True)
class Outcome:
    """A finished run: its record, and one flat record a round for the plot."""

    record: dict[str, Any]
    curve: list[dict[str, Any]]


def run(what: Run) -> Outcome:
    """Run to the target, the limit of rounds or of payload; a run that diverges ends not reached."""
    began = time.monotonic()
    where = federation(what.federation)
    trainers, judge = where.fleet(what.seed)
    simulation = Simulation(what.training.job(where, what.seed), trainers, plain=what.training.plain)
    accuracies: list[float] = []
    curve: list[dict[str, Any]] = []
    best, reached, failed = 0.0, False, ""
    points = simulation.rounds(judge)
    while not reached and len(accuracies) < what.training.rounds:
        try:
            point = next(points)
        except GossamerError as error:  # left the lattice: the learning rate was too large
            failed = str(error)
            break
        accuracies.append(point.accuracy)
        up, down = point.payload_up / where.devices, point.payload_down / where.devices
        curve.append(_point(what, where, len(accuracies), point.accuracy, up, down))
        best = max(best, smoothed(accuracies))
        reached = smoothed(accuracies) >= what.target
        if up + down > what.payload_limit:
            break
    record = _record(what, curve, reached=reached, best=best)
    return Outcome(record | {"failed": failed, "seconds": round(time.monotonic() - began, 1)}, curve)


def _point(what: Run, where: Federation, rounds: int, accuracy: float, up: float, down: float) -> dict[str, Any]:
    plain, tls = (e.wire_bytes(up + down, rounds / where.cohorts, where.cohorts) for e in measured())
    return {
        "federation": what.federation, "codec": what.training.codec, "seed": what.seed, "round": rounds,
        "accuracy": round(accuracy, 4), "payload_up": round(up), "payload_down": round(down),
        "wire_bytes": round(tls), "wire_bytes_plain": round(plain),
    }  # fmt: skip


def _record(what: Run, curve: list[dict[str, Any]], *, reached: bool, best: float) -> dict[str, Any]:
    last = curve[-1] if curve else {}
    return {
        "federation": what.federation, "codec": what.training.codec, "seed": what.seed, "target": what.target,
        "reached": reached, "rounds": len(curve), "accuracy": round(best, 4),
        **{key: last.get(key, 0) for key in ("payload_up", "payload_down", "wire_bytes", "wire_bytes_plain")},
        **what.training.to_record(),
    }  # fmt: skip
