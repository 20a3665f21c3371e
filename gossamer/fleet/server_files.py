"""What lives in a server's state directory, and the settings in its ``server.toml``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gossamer import settings
from gossamer.broker_bridge.settings import BridgeSettings
from gossamer.errors import ConfigError
from gossamer.mqtt import MqttSettings, TlsSettings
from gossamer.wire.topics import Topics, check_fleet

DEFAULTS_FILE = Path(__file__).with_name("server_defaults.toml")


@dataclass(frozen=True)
class BrokerSettings:
    """Table ``[broker]``; the comments are in ``server_defaults.toml``."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    client_id: str
    protocol: str
    retain: bool
    tls: bool
    ca_file: Path | None
    certificate_file: Path | None
    certificate_key_file: Path | None
    insecure: bool
    keepalive_seconds: int


@dataclass(frozen=True)
class BridgeTable:
    """Table ``[bridge]``."""

    buckets: str
    chunk_bytes: int
    coalesce_seconds: float


@dataclass(frozen=True)
class TopicTable:
    """Table ``[topics]``."""

    shared: str
    device: str


@dataclass(frozen=True)
class PageTable:
    """Table ``[page]``."""

    enabled: bool
    host: str
    port: int
    token: str = field(repr=False)
    token_file: Path | None
    hosts: list[str]


@dataclass(frozen=True)
class ServerSettings:
    """All settings of a server."""

    fleet: str
    broker: BrokerSettings
    bridge: BridgeTable
    topics: TopicTable
    page: PageTable

    def mqtt(self) -> MqttSettings:
        """What the bridge needs to reach the broker."""
        broker = self.broker
        tls = TlsSettings(broker.ca_file, broker.certificate_file, broker.certificate_key_file)
        return MqttSettings(
            client_id=broker.client_id or f"gossamer-{self.fleet}",
            host=broker.host,
            port=broker.port,
            username=broker.username or None,
            password=broker.password or None,
            tls=tls if broker.tls else None,
            insecure=broker.insecure,
            keepalive_seconds=broker.keepalive_seconds,
            protocol=broker.protocol,
            retain=broker.retain,
        )

    def bridge_settings(self) -> BridgeSettings:
        """What a bridge worker is told."""
        table = self.bridge
        return BridgeSettings(
            self.topic_names(), table.buckets, table.chunk_bytes, coalesce_seconds=table.coalesce_seconds
        )

    def topic_names(self) -> Topics:
        """The fleet's topics."""
        return Topics(self.fleet, shared=self.topics.shared, device=self.topics.device)


@dataclass(frozen=True)
class ServerFiles:
    """Paths inside a server's state directory."""

    directory: Path

    @property
    def config(self) -> Path:
        """The settings that differ from the defaults."""
        return self.directory / "server.toml"

    @property
    def key(self) -> Path:
        """The fleet's private key."""
        return self.directory / "fleet.key"

    @property
    def store(self) -> Path:
        """The SQLite store."""
        return self.directory / "store.db"

    @property
    def passwords(self) -> Path:
        """Mosquitto's password file."""
        return self.directory / "mosquitto" / "passwords"

    @property
    def rules(self) -> Path:
        """Mosquitto's ACL file."""
        return self.directory / "mosquitto" / "acl"

    def device(self, name: str) -> Path:
        """The configuration file made for a device."""
        return self.directory / "devices" / f"{name}.toml"

    def settings(self, environment: Mapping[str, str] = os.environ) -> ServerSettings:
        """Read ``server.toml``.

        Raises:
            ConfigError: names the file, the key, what was expected and what came.
        """
        given = settings.read_toml(self.config, f"`gossamer fleet init NAME --state {self.directory}` makes one")
        try:
            found = settings.build(
                ServerSettings, given, defaults(), self.directory.resolve(), environment,
                at_least={"bridge.chunk_bytes": 64, "bridge.coalesce_seconds": 0, "page.port": 0},
                at_most={"page.port": 65535},
            )  # fmt: skip
            check_fleet(found.fleet)
            found.mqtt().check()
            found.bridge_settings().check()
        except ConfigError as error:
            raise ConfigError(f"{self.config}: {error}") from error
        return found


def defaults() -> dict[str, object]:
    """The packaged defaults, as parsed."""
    return settings.read_toml(DEFAULTS_FILE, "the package is damaged; install it again")
