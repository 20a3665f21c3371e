"""What a demo run measured: one frozen record, the same for the table, the plot and ``--json``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

SCHEMA_VERSION = 1
SLOW_LINK_BITS_PER_SECOND = 40_000
"""The slow link the table compares with: GPRS, or NB-IoT on a middling day."""


@dataclass(frozen=True, slots=True)
class Point:
    """The state after one round: accuracies in 0..1, payload bytes summed over all devices, up and down."""

    round: int
    accuracy: float
    payload_bytes: int
    accuracy_fp32: float | None = None
    fp32_payload_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of a run. Bytes are sums over all devices; the field names are the keys of the JSON file."""

    data: str
    seed: int
    devices: int
    cohorts: int
    rounds: int
    codec: str
    codec_down: str
    rule: str
    attackers: int
    attack: str
    broker: str
    parameters: int
    test_windows: int
    accuracy: float
    accuracy_fp32: float
    payload_bytes_up: int
    payload_bytes_down: int
    fp32_payload_bytes: int
    fp32_rounds: int
    ip_bytes: int
    ip_bytes_by_cause: dict[str, int]
    updates: int
    rejected: int
    rejected_by_reason: dict[str, int]
    restarts: int
    model_digest: str
    seconds: float
    curve: tuple[Point, ...] = field(repr=False, default=())
    schema: int = SCHEMA_VERSION

    @property
    def payload_bytes(self) -> int:
        """Payload up and down, bytes."""
        return self.payload_bytes_up + self.payload_bytes_down

    @property
    def factor(self) -> float:
        """How many times more payload the fp32 run needed to the same accuracy."""
        return self.fp32_payload_bytes / max(1, self.payload_bytes)

    def seconds_on_slow_link(self, count: int) -> float:
        """Seconds that ``count`` bytes take one device at 40 kbit/s, the load shared evenly."""
        return count * 8 / SLOW_LINK_BITS_PER_SECOND / self.devices

    def to_json(self) -> str:
        """Return the record as the documented JSON object (docs/demo.md)."""
        document = asdict(self)
        document["factor"] = round(self.factor, 2)
        document["seconds_at_40_kbit"] = round(self.seconds_on_slow_link(self.ip_bytes), 1)
        document["seconds_at_40_kbit_fp32"] = round(self.seconds_on_slow_link(self.fp32_payload_bytes), 1)
        return json.dumps(document, indent=2) + "\n"

    def write(self, path: Path) -> None:
        """Write the JSON file whole or not at all."""
        partial = path.with_name(path.name + ".partial")
        partial.write_text(self.to_json())
        partial.replace(path)
