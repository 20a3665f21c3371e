"""From what was measured to what is claimed: bytes of a Flower run of n rounds, and the records of the benchmark.

Flower moves the whole float32 model each way in every round, so its bytes per device and round do not depend on what
is learned, nor on how many other devices there are: a few rounds measured give the cost of any number of rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.flower_run import FlowerRound
from benchmarks.hosts import Traffic


@dataclass(frozen=True)
class FlowerCost:
    """IP bytes of one device: until round 1 was over (with start-up and the app's code), and of each round after."""

    first_up: float
    first_down: float
    round_up: float
    round_down: float
    rounds: int

    @classmethod
    def of(cls, measured: Sequence[FlowerRound]) -> FlowerCost:
        """From the counters after rounds 0, 1, ..., n (n at least 2)."""
        if len(measured) < 3:
            raise ValueError(f"a cost per round needs 2 rounds or more, got {len(measured) - 1}")
        first, last = measured[1], measured[-1]
        further = last.round - first.round
        return cls(first.up, first.down, (last.up - first.up) / further, (last.down - first.down) / further, last.round)

    def after(self, rounds: int) -> Traffic:
        """IP bytes of one device after so many rounds."""
        if rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {rounds}")
        return Traffic(
            round(self.first_up + (rounds - 1) * self.round_up), round(self.first_down + (rounds - 1) * self.round_down)
        )


def until_reached(accuracies: Sequence[float], reached: Callable[[Sequence[float]], bool]) -> list[float]:
    """The accuracies up to the first round at which ``reached`` says so of all so far; all of them if none does."""
    for rounds in range(1, len(accuracies) + 1):
        if reached(accuracies[:rounds]):
            return list(accuracies[:rounds])
    return list(accuracies)


@dataclass(frozen=True)
class Entry:
    """One system's way to the target: IP bytes of one device, mean over the devices.

    ``how`` says what of it was measured and what was computed; ``payload`` is None where nobody counted it.
    ``causes`` are the ledger's bytes by what they were.
    """

    system: str
    setting: str
    rounds: int
    reached: bool
    accuracy: float
    traffic: Traffic
    how: str
    payload: Traffic | None = None
    ledger_bytes: int | None = None
    causes: Mapping[str, int] = field(default_factory=dict)


def records(
    entries: Sequence[Entry], *, federation: str, seed: int, devices: int, target: float, tcp_timestamps: bool = True
) -> list[dict[str, Any]]:
    """Flat records; ``ratio`` is an entry's IP bytes over the first one's."""
    own = entries[0].traffic.total
    causes = entries[0].causes
    return [
        {
            "federation": federation,
            "seed": seed,
            "devices": devices,
            "target": target,
            "tcp_timestamps": tcp_timestamps,
            "system": entry.system,
            "setting": entry.setting,
            "reached": entry.reached,
            "accuracy": round(entry.accuracy, 4),
            "rounds": entry.rounds,
            "ip_up": entry.traffic.up,
            "ip_down": entry.traffic.down,
            "ip_bytes": entry.traffic.total,
            "ratio": round(entry.traffic.total / own, 1),
            "payload_up": entry.payload.up if entry.payload else None,
            "payload_down": entry.payload.down if entry.payload else None,
            "ledger_bytes": entry.ledger_bytes,
            "how": entry.how,
            **{f"ledger_{cause}": entry.causes.get(cause) for cause in causes},
        }
        for entry in entries
    ]
