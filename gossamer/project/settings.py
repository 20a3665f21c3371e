"""``project.toml``: what a project trains, with which trainer, on how many devices of this machine."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gossamer.agent.config import check_trainer
from gossamer.errors import ConfigError
from gossamer.fleet.enrolment import BrokerAddress
from gossamer.settings import build, read_toml
from gossamer.wire.limits import MAX_FLEET_CHARS

FILE = "project.toml"
EMBEDDED = "embedded"
MAX_DEVICES = 50
"""Processes on one machine beside each other."""

_IDENTITY = {
    "fleet", "device_id", "device_index", "device_key", "key_file", "fleet_public_key", "state_dir", "trainer",
    "trainer_options", "trainer_path",
}  # fmt: skip
"""What ``[agent]`` cannot say for all devices."""

_DEFAULTS: dict[str, Any] = {"devices": 4, "broker": EMBEDDED, "trainer_options": {}, "agent": {}, "job": {}}


@dataclass(frozen=True)
class ProjectSettings:
    """All keys. ``agent``: any setting of the devices' agents; ``job``: any key of a job but its name and number."""

    name: str
    trainer: str
    devices: int
    broker: str
    trainer_options: dict[str, Any]
    agent: dict[str, Any]
    job: dict[str, Any]


@dataclass(frozen=True)
class Project:
    """A directory with its settings."""

    directory: Path
    settings: ProjectSettings

    @property
    def fleet(self) -> Path:
        """State of the server on this machine, and the devices' configurations."""
        return self.directory / "fleet"

    @property
    def logs(self) -> Path:
        """One log for each process."""
        return self.fleet / "logs"

    @property
    def fleet_name(self) -> str:
        """Part of every topic, so short: the first letters and digits of the project's name."""
        return fleet_name(self.settings.name)

    def device(self, index: int) -> str:
        """The id of a local device."""
        return f"local-{index:02d}"

    def agent_state(self, index: int) -> Path:
        """State directory of a local device."""
        return self.fleet / "agents" / self.device(index)

    def broker_address(self, embedded_port: int) -> BrokerAddress:
        """Where devices and server meet. Raises ConfigError for a broker that is no URL."""
        if self.settings.broker == EMBEDDED:
            return BrokerAddress("127.0.0.1", embedded_port, tls=False, insecure=False)
        return parse_broker(self.settings.broker)


def read_project(directory: Path, environment: Mapping[str, str] = os.environ) -> Project:
    """Read a project. Raises :class:`ConfigError` that names file, key and what was expected."""
    file = directory / FILE
    given = read_toml(file, "`gossamer init NAME` makes a project, and `gossamer train` runs inside it")
    try:
        settings = build(ProjectSettings, given, _DEFAULTS, directory, environment, at_least={"devices": 1},
                         at_most={"devices": MAX_DEVICES})  # fmt: skip
        check_trainer(settings.trainer)
        taken = sorted(_IDENTITY & set(settings.agent))
        if taken:
            raise ConfigError(f"[agent] {taken[0]}: not here; it is each device's own, or has another place")
        fleet_name(settings.name)
        project = Project(directory.resolve(), settings)
        project.broker_address(1883)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    return project


def with_devices(project: Project, devices: int | None) -> Project:
    """The same with another number of local devices, if one was asked for."""
    if devices is None:
        return project
    if not 1 <= devices <= MAX_DEVICES:
        raise ConfigError(f"--devices {devices}: expected 1 to {MAX_DEVICES}")
    return dataclasses.replace(project, settings=dataclasses.replace(project.settings, devices=devices))


def fleet_name(name: str) -> str:
    """The name of a project's fleet. Raises ConfigError for a name without letter or digit.

    >>> fleet_name("pump station 7")
    'pumpstat'
    """
    kept = "".join(each for each in name.lower() if each.isascii() and each.isalnum())[:MAX_FLEET_CHARS]
    if not kept:
        raise ConfigError(f"name {name!r}: expected a name with a letter or a digit in it")
    return kept


def parse_broker(url: str) -> BrokerAddress:
    """``mqtt://HOST:PORT`` or ``mqtts://HOST:PORT``. Raises ConfigError."""
    expected = f"broker {url!r}: expected {EMBEDDED!r}, mqtt://HOST:PORT or mqtts://HOST:PORT"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{expected} ({error})") from error
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/"):
        raise ConfigError(expected)
    if parts.username or parts.password:
        raise ConfigError(f"{expected}, without an account: a fleet with accounts is `gossamer fleet init`'s")
    tls = parts.scheme == "mqtts"
    return BrokerAddress(parts.hostname, port or (8883 if tls else 1883), tls, insecure=False)
