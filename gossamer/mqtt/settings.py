"""What it takes to reach a broker."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from gossamer.errors import ConfigError

PROTOCOLS = ("3.1.1", "5")
#: Longest keepalive MQTT can carry (16 bits, seconds).
MAX_KEEPALIVE_SECONDS = 65_535


@dataclass(frozen=True)
class TlsSettings:
    """Files in PEM. ``ca_file`` None: the system's certificate authorities."""

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True)
class Will:
    """The message the broker publishes when the connection ends without a DISCONNECT."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


@dataclass(frozen=True)
class MqttSettings:
    """One broker as one client sees it. Durations are seconds.

    ``insecure`` permits plaintext to a host that is not the loopback; it never weakens TLS.
    ``retain`` False: no message is asked to be retained, wills included, for brokers that hang up on it.
    ``stall_seconds``: TCP data unacknowledged for so long ends the connection (TCP_USER_TIMEOUT).
    """

    client_id: str
    host: str = "127.0.0.1"
    port: int = 1883
    username: str | None = None
    password: str | None = None
    tls: TlsSettings | None = None
    insecure: bool = False
    keepalive_seconds: int = 1900
    protocol: str = "3.1.1"
    retain: bool = True
    clean: bool = True
    will: Will | None = None
    max_in_flight: int = 20
    connect_timeout_seconds: float = 10.0
    stall_seconds: float = 120.0

    @property
    def where(self) -> str:
        """``host:port`` for messages."""
        return f"{self.host}:{self.port}"

    def check(self) -> None:
        """Raise :class:`ConfigError` for settings that cannot work or are not safe."""
        if not self.host or not 0 < self.port < 65_536:
            raise ConfigError(f"broker {self.where!r}: expected a host name and a port from 1 to 65535")
        if self.protocol not in PROTOCOLS:
            raise ConfigError(f"MQTT protocol {self.protocol!r}: expected one of {', '.join(PROTOCOLS)}")
        if not 0 < self.keepalive_seconds <= MAX_KEEPALIVE_SECONDS:
            raise ConfigError(f"keepalive_seconds {self.keepalive_seconds}: expected 1 to {MAX_KEEPALIVE_SECONDS}")
        if not self.client_id:
            raise ConfigError("client_id is empty: a broker needs it to tell devices apart")
        if self.tls is None and not self.insecure and not is_loopback(self.host):
            raise ConfigError(
                f"broker {self.where} would be reached in plaintext: configure TLS (tls = true, ca_file = "
                "...), or set insecure = true if the network itself is private"
            )
        for name in ("ca_file", "certificate_file", "key_file"):
            path = getattr(self.tls, name, None)
            if path is not None and not Path(path).is_file():
                raise ConfigError(f"{name} {path}: no such file")


def is_loopback(host: str) -> bool:
    """True for names and addresses that never leave the machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
