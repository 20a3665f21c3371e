"""The agent's settings: a TOML file over the packaged ``defaults.toml``, the environment over both."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from gossamer.agent.gates import ALLOW, REFUSE
from gossamer.agent.windows import Window
from gossamer.agent.windows import parse as parse_windows
from gossamer.errors import ConfigError
from gossamer.mqtt.settings import MqttSettings, TlsSettings, Will
from gossamer.settings import build, read_toml
from gossamer.wire.accounts import PROFILE_FORM, is_profile
from gossamer.wire.limits import MAX_CHUNK_BYTES, MAX_WINDOW
from gossamer.wire.topics import Topics

DEFAULTS_FILE = Path(__file__).with_name("defaults.toml")
PUBLIC_KEY_BYTES = 32


@dataclass(frozen=True)
class BrokerSettings:
    """Table ``[broker]``; the comments are in ``defaults.toml``."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    password_file: Path | None
    client_id: str
    protocol: str
    retain: bool
    clean_session: bool
    tls: bool
    ca_file: Path | None
    certificate_file: Path | None
    certificate_key_file: Path | None
    insecure: bool
    keepalive_seconds: int
    connect_timeout_seconds: float
    stall_seconds: float
    max_in_flight: int

    def secret(self) -> str | None:
        """The password, from wherever it is. Raises :class:`ConfigError`."""
        if self.password_file is None:
            return self.password or None
        if self.password:
            raise ConfigError("broker: expected password or password_file, got both")
        try:
            return self.password_file.read_text(encoding="utf-8").strip("\r\n") or None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"broker.password_file: expected a file with the password in it: {error}") from error


@dataclass(frozen=True)
class LinkSettings:
    """Table ``[link]``: what is known of the way to the broker; ``bytes_per_second`` 0: nothing."""

    bytes_per_second: int
    metered: bool
    envelope_bytes: int
    per_byte_micro: int


@dataclass(frozen=True)
class BudgetSettings:
    """Table ``[budget]``; ``monthly_bytes`` 0: no limit."""

    monthly_bytes: int
    reserve_percent: int
    exhausted_contact_seconds: float


@dataclass(frozen=True)
class GateSettings:
    """Table ``[gates]``; 0, false, "allow" and [] leave a gate open."""

    metered: str
    roaming: str
    battery_percent: int
    charging_required: bool
    temperature_celsius: int
    load_percent: int
    disk_free_bytes: int
    command: list[str]
    command_timeout_seconds: float
    poll_seconds: float
    unknown: str


@dataclass(frozen=True)
class TopicSettings:
    """Table ``[topics]``."""

    shared: str
    device: str


@dataclass(frozen=True)
class AgentSettings:
    """All settings; the comments are in ``defaults.toml``."""

    fleet: str
    device_id: str
    device_index: int
    device_key: str = field(repr=False)
    key_file: Path | None
    fleet_public_key: str
    state_dir: Path
    trainer: str
    job: int
    profile: str
    available: list[str]
    chunk_bytes: int
    window_chunks: int
    status_timeout_seconds: float
    manifest_wait_seconds: float
    manifest_poll_seconds: float
    bridge_down_patience_seconds: float
    give_up_seconds: float
    backoff_first_seconds: float
    backoff_limit_seconds: float
    backoff_seed: int
    announce: bool
    tell_absences: bool
    trainer_path: list[Path]
    trainer_arguments: list[str]
    fit_timeout_seconds: float
    fit_memory_bytes: int
    fit_threads: int
    fit_nice: int
    fit_joules: float
    fit_watts: float
    ledger_interval_seconds: float
    disk_retry_seconds: float
    broker: BrokerSettings
    trainer_options: dict[str, Any]
    topics: TopicSettings
    link: LinkSettings
    budget: BudgetSettings
    gates: GateSettings

    def wire_topics(self) -> Topics:
        """The fleet's topics. Raises :class:`ConfigError`."""
        return Topics(self.fleet, shared=self.topics.shared, device=self.topics.device)

    def windows(self) -> tuple[Window, ...]:
        """The windows of availability. Raises :class:`ConfigError`."""
        return parse_windows(self.available)

    def mqtt(self, will: Will | None = None) -> MqttSettings:
        """What :class:`gossamer.mqtt.MqttLink` needs."""
        broker = self.broker
        tls = TlsSettings(broker.ca_file, broker.certificate_file, broker.certificate_key_file)
        return MqttSettings(
            client_id=broker.client_id or self.device_id,
            host=broker.host,
            port=broker.port,
            username=broker.username or None,
            password=broker.secret(),
            tls=tls if broker.tls else None,
            insecure=broker.insecure,
            keepalive_seconds=broker.keepalive_seconds,
            protocol=broker.protocol,
            retain=broker.retain,
            clean=broker.clean_session,
            will=will,
            max_in_flight=broker.max_in_flight,
            connect_timeout_seconds=broker.connect_timeout_seconds,
            stall_seconds=broker.stall_seconds,
        )


@dataclass(frozen=True)
class Script:
    """A trainer that a program brings along; ``path`` and ``arguments`` as `trainer_path`, `trainer_arguments`."""

    trainer: str
    path: tuple[Path, ...] = ()
    arguments: tuple[str, ...] = ()


_AT_MOST: dict[str, float] = {
    "chunk_bytes": MAX_CHUNK_BYTES, "window_chunks": MAX_WINDOW, "fit_nice": 19, "fit_threads": 1024,
    "budget.reserve_percent": 100, "gates.battery_percent": 100, "gates.command_timeout_seconds": 60,
}  # fmt: skip
#: Smallest value of a number; what is not listed may be anything its type allows.
_AT_LEAST: dict[str, float] = {
    "device_index": 0, "job": -1, "chunk_bytes": 64, "window_chunks": 1, "status_timeout_seconds": 0.05,
    "manifest_wait_seconds": 0, "manifest_poll_seconds": 0.05, "bridge_down_patience_seconds": 0,
    "give_up_seconds": 0, "backoff_first_seconds": 0.01, "backoff_limit_seconds": 0.01,
    "fit_timeout_seconds": 0.1, "fit_memory_bytes": 0, "fit_threads": 1, "fit_nice": 0,
    "fit_joules": 0, "fit_watts": 0.001, "link.bytes_per_second": 0, "link.envelope_bytes": 0, "link.per_byte_micro": 0,
    "ledger_interval_seconds": 1, "disk_retry_seconds": 0.05, "broker.connect_timeout_seconds": 0.1,
    "broker.stall_seconds": 1,
    "broker.max_in_flight": 1, "budget.monthly_bytes": 0, "budget.reserve_percent": 0,
    "budget.exhausted_contact_seconds": 1, "gates.battery_percent": 0,
    "gates.temperature_celsius": 0, "gates.load_percent": 0, "gates.disk_free_bytes": 0,
    "gates.command_timeout_seconds": 0.1, "gates.poll_seconds": 0.05,
}  # fmt: skip


def load(path: Path, environment: Mapping[str, str] = os.environ) -> AgentSettings:
    """Read a configuration file.

    Raises :class:`ConfigError` that names the key and what was expected; for an unknown key, the closest one.
    """
    given = read_toml(path, "`gossamer fleet enroll` makes one")
    try:
        settings = parse(given, path.resolve().parent, environment)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return settings


def with_script(settings: AgentSettings, script: Script | None) -> AgentSettings:
    """The same settings with a program's own trainer. Raises :class:`ConfigError` for one that cannot be named."""
    if script is None:
        return settings
    check_trainer(script.trainer)
    path = [*script.path, *settings.trainer_path]
    return replace(settings, trainer=script.trainer, trainer_path=path, trainer_arguments=list(script.arguments))


def check_trainer(spec: str) -> None:
    """Raise :class:`ConfigError` unless ``spec`` has the form of a factory's name."""
    module, _, factory = spec.partition(":")
    if not module or not factory.isidentifier():
        raise ConfigError(f'trainer {spec!r}: expected "package.module:factory" or "script.py:factory"')


def parse(given: Mapping[str, Any], base: Path, environment: Mapping[str, str]) -> AgentSettings:
    """Settings from a parsed file whose relative paths start at ``base``. Raises :class:`ConfigError`."""
    settings = build(AgentSettings, given, defaults(), base, environment, at_least=_AT_LEAST, at_most=_AT_MOST)
    settings.wire_topics().device_topic("u", settings.device_id)  # checks fleet, device id and templates
    try:
        raw = bytes.fromhex(settings.fleet_public_key)
    except ValueError:
        raw = b""
    if len(raw) != PUBLIC_KEY_BYTES:
        raise ConfigError(
            f"fleet_public_key: expected {2 * PUBLIC_KEY_BYTES} hexadecimal digits, got {settings.fleet_public_key!r}"
        )
    check_trainer(settings.trainer)
    if (settings.key_file is None) == (settings.device_key == ""):
        raise ConfigError("expected either device_key or key_file; `gossamer fleet enroll` sets the first")
    if settings.key_file is not None and not settings.key_file.is_file():
        raise ConfigError(f"key_file {settings.key_file}: no such file; `gossamer fleet enroll` makes a key")
    if settings.profile and not is_profile(settings.profile):
        raise ConfigError(f"profile: expected {PROFILE_FORM}, such as pi-zero-2w, got {settings.profile!r}")
    for name in ("metered", "roaming", "unknown"):
        if (word := getattr(settings.gates, name)) not in (ALLOW, REFUSE):
            raise ConfigError(f'gates.{name}: expected "allow" or "refuse", got {word!r}')
    settings.mqtt().check()
    settings.windows()
    return settings


@cache
def defaults() -> dict[str, Any]:
    """The packaged defaults, as parsed."""
    return read_toml(DEFAULTS_FILE, "the package is damaged; install it again")
