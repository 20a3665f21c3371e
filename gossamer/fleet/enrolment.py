"""A new fleet, a new device, a device that is no longer trusted: files, accounts and store, in an order that
leaves nothing half-done when power fails in between (repeating the command finishes it).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossamer.agent.config import parse
from gossamer.aggregator.store import Store, devices
from gossamer.errors import ConfigError
from gossamer.fleet import mosquitto
from gossamer.fleet.keys import load_key, make_key, public_hex
from gossamer.fleet.server_files import ServerFiles
from gossamer.mqtt import MqttSettings, TlsSettings
from gossamer.settings import parse_toml
from gossamer.wire.topics import Topics, check_device, check_fleet

AGENT_STATE_DIRECTORY = "/var/lib/gossamer"


@dataclass(frozen=True)
class BrokerAddress:
    """How devices reach the broker; it may have another name for them than for the server."""

    host: str
    port: int
    tls: bool
    insecure: bool


@dataclass(frozen=True)
class DeviceSpec:
    """What differs from device to device.

    ``trainer_options`` are passed to the trainer's factory; ``profile`` names a device profile (empty: none), and
    ``monthly_bytes`` is its budget (0: none).
    """

    name: str
    trainer: str
    trainer_options: dict[str, str | int | float | bool]
    state_dir: str = AGENT_STATE_DIRECTORY
    profile: str = ""
    monthly_bytes: int = 0


def init_fleet(
    files: ServerFiles, fleet: str, broker: BrokerAddress, *, accounts: bool, topics: Topics | None = None
) -> None:
    """Make a state directory: key, store, settings and, with ``accounts``, the server's broker account.

    ``topics``: the fleet's naming, where it is not the default; what is enrolled later gets it too.

    Raises:
        ConfigError: an unusable name, or the directory belongs to a fleet already.
    """
    check_fleet(fleet)
    topics = Topics(fleet) if topics is None else topics
    if files.config.exists():
        raise ConfigError(f"{files.directory} holds a fleet already; see {files.config}")
    MqttSettings(  # an address that cannot work is refused before anything is made
        fleet, broker.host, broker.port, tls=TlsSettings() if broker.tls else None, insecure=broker.insecure
    ).check()
    files.directory.mkdir(parents=True, exist_ok=True)
    if not files.key.exists():
        make_key(files.key)
    Store.open(files.store).close()
    password = mosquitto.new_password() if accounts else ""
    lines = [f'fleet = "{fleet}"', "", "[broker]", f"host = {_toml(broker.host)}", f"port = {broker.port}"]
    lines += [f"tls = {_toml(broker.tls)}", f"insecure = {_toml(broker.insecure)}"]
    if accounts:
        lines += [f'username = "{mosquitto.SERVER_ACCOUNT}"', f'password = "{password}"']
    text = "\n".join(lines) + "\n"
    if topics != Topics(fleet):
        text += topic_table(topics.shared, topics.device)
    if accounts:
        mosquitto.set_password(files.passwords, mosquitto.SERVER_ACCOUNT, password)
        mosquitto.set_rules(files.rules, mosquitto.SERVER_ACCOUNT, mosquitto.server_rules(topics))
    # Last: a directory with server.toml holds a whole fleet, one without may be begun again.
    mosquitto.write_private(files.config, text)


def check(files: ServerFiles, wanted: Sequence[tuple[DeviceSpec, BrokerAddress]]) -> None:
    """Refuse now what :func:`enroll` would refuse for any of these, before the first is made.

    Raises:
        ConfigError: the first device that cannot be enrolled, and why.
    """
    settings = files.settings()
    seen: set[str] = set()
    store = Store.open(files.store)
    try:
        with store.read() as db:
            present = {device.id: device for device in devices.every(db)}
    finally:
        store.close()
    key = Ed25519PrivateKey.generate()
    for spec, broker in wanted:
        check_device(spec.name)
        if spec.name in seen:
            raise ConfigError(f"device {spec.name} is named twice: each needs an id of its own")
        seen.add(spec.name)
        _refuse_enrolled(present.get(spec.name))
        text = agent_config(settings.fleet, spec, 0, key, public_hex(key), broker, "")
        text += topic_table(settings.topics.shared, settings.topics.device)
        try:
            _check_agent(text, files.device(spec.name))
        except ConfigError as error:
            raise error if len(wanted) == 1 else ConfigError(f"device {spec.name}: {error}") from error


def _refuse_enrolled(present: devices.Device | None) -> None:
    if present is not None and present.enrolled:
        raise ConfigError(
            f"device {present.id} is enrolled already (index {present.index}); "
            f"`gossamer fleet revoke {present.id}` first if it needs a new key"
        )


def enroll(files: ServerFiles, spec: DeviceSpec, broker: BrokerAddress | None = None) -> Path:
    """Enrol a device and write the one file it needs; returns that file's path.

    The file holds the device's private key and its broker password: carry it over a channel you trust and
    delete it here.

    Raises:
        ConfigError: an unusable id or setting, or the device is enrolled already (revoke it first).
    """
    check_device(spec.name)
    if spec.name == mosquitto.SERVER_ACCOUNT:
        raise ConfigError(f"device {spec.name}: that is the name of the server's own account; choose another")
    settings = files.settings()
    topics = settings.topic_names()
    target = files.device(spec.name)
    store = Store.open(files.store)
    try:
        with store.read() as db:
            _refuse_enrolled(devices.get(db, spec.name))
        key = Ed25519PrivateKey.generate()
        with store.write() as db:
            device = devices.enroll(db, spec.name, key.public_key().public_bytes_raw())
            fleet_key = public_hex(load_key(files.key))
            if broker is None:
                broker = BrokerAddress(
                    settings.broker.host, settings.broker.port, settings.broker.tls, settings.broker.insecure
                )
            password = mosquitto.new_password() if settings.broker.username else ""
            text = agent_config(settings.fleet, spec, device.index, key, fleet_key, broker, password)
            text += topic_table(settings.topics.shared, settings.topics.device)
            _check_agent(text, target)
            if password:
                account = mosquitto.account_of(spec.name)
                mosquitto.set_password(files.passwords, account, password)
                mosquitto.set_rules(files.rules, account, mosquitto.device_rules(topics, spec.name))
            # The device's row is committed last: before that, repeating the command starts over.
            mosquitto.write_private(target, text)
    finally:
        store.close()
    return target


def revoke(files: ServerFiles, name: str) -> None:
    """Believe nothing more from a device: in the store at once, at the broker after its next reload.

    Raises:
        ConfigError: no such device, or no fleet in this directory.
    """
    files.settings()
    store = Store.open(files.store)
    try:
        with store.write() as db:
            devices.revoke(db, name)
    finally:
        store.close()
    if files.passwords.exists():
        mosquitto.set_password(files.passwords, mosquitto.account_of(name), None)
        mosquitto.set_rules(files.rules, mosquitto.account_of(name), [])


def agent_config(
    fleet: str,
    spec: DeviceSpec,
    index: int,
    key: Ed25519PrivateKey,
    fleet_key: str,
    broker: BrokerAddress,
    password: str,
) -> str:
    """Return the agent's configuration file as TOML text."""
    options = "".join(f"{name} = {_toml(value)}\n" for name, value in spec.trainer_options.items())
    account = f'username = "{mosquitto.account_of(spec.name)}"\npassword = "{password}"\n' if password else ""
    profile = f"profile = {_toml(spec.profile)}\n" if spec.profile else ""
    budget = f"\n[budget]\nmonthly_bytes = {spec.monthly_bytes}\n" if spec.monthly_bytes else ""
    return (
        f"# {spec.name} of fleet {fleet}. Contains the device's private key: keep it readable by the agent only.\n"
        f'fleet = "{fleet}"\n'
        f'device_id = "{spec.name}"\n'
        f"device_index = {index}\n"
        f'device_key = "{key.private_bytes_raw().hex()}"\n'
        f'fleet_public_key = "{fleet_key}"\n'
        f"state_dir = {_toml(spec.state_dir)}\n"
        f"trainer = {_toml(spec.trainer)}\n{profile}"
        f"\n[broker]\nhost = {_toml(broker.host)}\nport = {broker.port}\n"
        f"tls = {_toml(broker.tls)}\ninsecure = {_toml(broker.insecure)}\n{account}{budget}"
        f"\n[trainer_options]\n{options}"
    )


def _check_agent(text: str, target: Path) -> None:
    """Refuse here what the agent would refuse there, when somebody has carried the file to it."""
    try:
        parse(parse_toml(text), target.parent, {})
    except ConfigError as error:
        raise ConfigError(f"the device's configuration would not work: {error}") from error


def topic_table(shared: str, device: str) -> str:
    """Return the ``[topics]`` table."""
    return f"\n[topics]\nshared = {_toml(shared)}\ndevice = {_toml(device)}\n"


def _toml(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    # JSON escapes what TOML wants escaped, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
