"""Payload -> IP bytes of a device, with the envelope that `benchmarks.envelope` measured on the real wire.

Over a connection that stays open, the device's interface counted, after r rounds with b bytes of bodies::

    connection + r * round_ + b * (1 + per_byte)

Two numbers of rounds and two sizes of body give the three constants. ``round_`` holds manifests, signatures, status,
MQTT and TCP/IP headers; ``per_byte`` is what each byte of a larger body adds, in chunks of 4,000 bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parent / "results" / "envelope.json"


@dataclass(frozen=True)
class Envelope:
    """Bytes of a connection (opening and goodbye), of a round, and the overhead of a body's byte."""

    connection: float
    round_: float
    per_byte: float

    def wire_bytes(self, payload: float, participations: float, cohorts: int) -> float:
        """IP bytes of a device. With several cohorts it sleeps in between: each participation connects anew."""
        connections = participations if cohorts > 1 else 1
        return self.connection * connections + self.round_ * participations + payload * (1 + self.per_byte)

    @classmethod
    def fitted(cls, records: Sequence[Mapping[str, Any]], *, tls: bool) -> Envelope:
        """From the records of `benchmarks.envelope`: at least two numbers of rounds and two codecs.

        Least bodies -> ``connection`` and ``round_``, which leaves the overhead of bodies as the slope between codecs.
        """
        rows = sorted((r for r in records if r["tls"] == tls), key=lambda r: (r["rounds"], r["bodies"]))
        few, many = rows[0]["rounds"], rows[-1]["rounds"]
        small, large = _step(rows, few, many, 0), _step(rows, few, many, -1)
        per_byte = (large[0] - small[0]) / (large[1] - small[1]) - 1
        round_ = small[0] - small[1] * (1 + per_byte)
        connection = rows[0]["interface_bytes"] - few * round_ - rows[0]["bodies"] * (1 + per_byte)
        return cls(connection, round_, per_byte)


def _step(rows: Sequence[Mapping[str, Any]], few: int, many: int, which: int) -> tuple[float, float]:
    """Interface bytes and bodies of one further round, for the smallest (0) or largest (-1) bodies."""
    first = [r for r in rows if r["rounds"] == few][which]
    last = [r for r in rows if r["rounds"] == many][which]
    rounds = many - few
    return (last["interface_bytes"] - first["interface_bytes"]) / rounds, (last["bodies"] - first["bodies"]) / rounds


def measured(path: Path = MEASURED) -> tuple[Envelope, Envelope]:
    """The envelope plain and over TLS."""
    records = json.loads(path.read_text())
    return Envelope.fitted(records, tls=False), Envelope.fitted(records, tls=True)
