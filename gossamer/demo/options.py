"""What a user may ask of a demo run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from gossamer.errors import ConfigError

EMBEDDED = "embedded"
DEVICE_NAME = "device-{:02d}"
MAX_DEVICES = 100
"""Processes on one machine; amqtt and the memory of a laptop do not carry more."""

LYING_METHODS = ("fedavg", "fednova", "normec")
"""Methods that ask a trainer for nothing but fits, which is where the demo's attackers lie."""


@dataclass(frozen=True)
class DemoOptions:
    """One run. ``broker`` is ``embedded`` or a URL, mqtt://HOST:PORT or mqtts://HOST:PORT.

    ``rule`` may be "auto", which fears as many attackers as there are. ``server_step``: empty for the tuned one.
    ``epsilon``: privacy budget of the run, 0 for none.
    """

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
    broker: str = EMBEDDED
    ca_file: str = ""
    method: str = "fedavg"
    participation: str = "reshuffled"
    server_step: str = ""
    epsilon: float = 0.0

    def check(self) -> None:
        """Raises ConfigError, naming the option and what it expects."""
        _expect(2 <= self.devices <= MAX_DEVICES, "--devices", self.devices, f"2 to {MAX_DEVICES}")
        _expect(1 <= self.cohorts <= self.devices, "--cohorts", self.cohorts, "1 to the number of devices")
        _expect(self.rounds >= 1, "--rounds", self.rounds, "1 or more")
        _expect(0 <= self.attackers < self.devices, "--attackers", self.attackers, "fewer than devices")
        _expect(self.seed >= 0, "--seed", self.seed, "0 or more")
        _expect(self.epsilon >= 0, "--epsilon", self.epsilon, "above 0, or none")
        lies = not self.attackers or self.method.partition(":")[0] in LYING_METHODS
        _expect(lies, "--attackers with --method", self.method, f"one of {', '.join(LYING_METHODS)}")
        self.broker_address(0)

    @property
    def attacker_indexes(self) -> tuple[int, ...]:
        """Which devices lie: the last ones."""
        return tuple(range(self.devices - self.attackers, self.devices))

    @property
    def honest(self) -> int:
        """How many devices do not lie: the first ones."""
        return self.devices - self.attackers

    def broker_address(self, embedded_port: int) -> tuple[str, int, bool]:
        """Return (host, port, tls). Raises ConfigError for a URL that is none."""
        if self.broker == EMBEDDED:
            return "127.0.0.1", embedded_port, False
        expected = f"--broker {self.broker!r}: expected mqtt://HOST:PORT, mqtts://HOST:PORT or embedded"
        try:
            url = urlsplit(self.broker)
            port = url.port
        except ValueError as error:
            raise ConfigError(f"{expected} ({error})") from error
        if url.scheme not in ("mqtt", "mqtts") or not url.hostname or url.path not in ("", "/"):
            raise ConfigError(expected)
        if url.username or url.password:
            raise ConfigError(f"{expected}, without an account: the demo's devices connect anonymously")
        tls = url.scheme == "mqtts"
        return str(url.hostname), port or (8883 if tls else 1883), tls

    def to_mapping(self) -> dict[str, Any]:
        """Return the options as a JSON object: a directory remembers what runs in it."""
        return asdict(self)


def device_name(index: int) -> str:
    """Return the id of a device of the demo."""
    return DEVICE_NAME.format(index)


def _expect(holds: bool, option: str, value: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{option} {value}: expected {expected}")
