"""``gossamer fleet``: the devices and their keys."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import typer

from gossamer.cli.output import Json, emit, emit_one, note
from gossamer.errors import ConfigError
from gossamer.wire.topics import DEVICE_TEMPLATE, SHARED_TEMPLATE

app = typer.Typer(help="Make a fleet; enrol, revoke and list its devices.", no_args_is_help=True)

StateDirectory = Annotated[Path, typer.Option("--state", help="The server's state directory.", envvar="GOSSAMER_STATE")]
DEFAULT_STATE = Path("gossamer-state")


@app.command()
def init(
    fleet: Annotated[str, typer.Argument(help="Name of the fleet, 1 to 8 characters; it is part of every topic.")],
    state: StateDirectory = DEFAULT_STATE,
    host: Annotated[str, typer.Option(help="Broker, as devices and server reach it.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="8883 is customary with TLS.")] = 1883,
    tls: Annotated[bool, typer.Option(help="Reach the broker over TLS.")] = False,
    insecure: Annotated[bool, typer.Option(help="Allow plaintext to a host other than this machine.")] = False,
    accounts: Annotated[bool, typer.Option(help="Make broker accounts (password and ACL files).")] = True,
    shared_topic: Annotated[
        str, typer.Option(help="Template of the topics that all devices read; it has {kind}, and may have {fleet}.")
    ] = SHARED_TEMPLATE,
    device_topic: Annotated[
        str, typer.Option(help="Template of a device's topics: {kind} and {device}, perhaps {fleet} and {bucket}.")
    ] = DEVICE_TEMPLATE,
) -> None:
    """Make a fleet: its key, its store, the server's settings.

    A broker with names of its own keeps them: give both templates here, and every device is enrolled with them.

    Example: gossamer fleet init farm1 --state /srv/gossamer --host broker.example --port 8883 --tls

    Example: gossamer fleet init farm1 --shared-topic 'fl/{kind}' --device-topic 'things/{device}/fl/{kind}'
    """
    from gossamer.fleet.enrolment import BrokerAddress, init_fleet
    from gossamer.fleet.server_files import ServerFiles
    from gossamer.wire.topics import Topics

    files = ServerFiles(state)
    topics = Topics(fleet, shared=shared_topic, device=device_topic)
    init_fleet(files, fleet, BrokerAddress(host, port, tls, insecure), accounts=accounts, topics=topics)
    note(f"fleet {fleet} is in {state}; its key {files.key} is what every device trusts: back it up.")
    if accounts:
        note(f"Mosquitto: password_file {files.passwords.resolve()}  acl_file {files.rules.resolve()}")
    note(f"next: gossamer fleet enroll DEVICE --trainer package.module:factory --state {state}")


@app.command()
def enroll(
    device: Annotated[str, typer.Argument(help="Id of the device: letters, digits, . _ : @ -")],
    trainer: Annotated[str, typer.Option(help="Factory of its trainer, package.module:factory.")],
    state: StateDirectory = DEFAULT_STATE,
    option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the factory; repeatable.")] = None,
    state_dir: Annotated[str, typer.Option(help="Where the agent keeps its state.")] = "/var/lib/gossamer",
    host: Annotated[str | None, typer.Option(help="Broker as this device reaches it, if it differs.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the same.")] = None,
    as_json: Json = False,
) -> None:
    """Enrol a device: key pair, broker account, and one configuration file to carry to it.

    Example: gossamer fleet enroll pump-17 --trainer pumps.model:trainer --option data=/data/pump.npz
    """
    from gossamer.fleet.enrolment import BrokerAddress, DeviceSpec
    from gossamer.fleet.enrolment import enroll as enroll_device
    from gossamer.fleet.server_files import ServerFiles

    files = ServerFiles(state)
    broker = files.settings().broker
    address = BrokerAddress(host or broker.host, broker.port if port is None else port, broker.tls, broker.insecure)
    options = dict(parse_option(each) for each in option or [])
    path = enroll_device(files, DeviceSpec(device, trainer, options, state_dir), address)
    emit_one({"device": device, "configuration": str(path)}, as_json=as_json)
    note("It holds the device's private key: carry it over a channel you trust, then delete it here.")
    note(f"On the device: gossamer agent run --config {path.name}")
    if broker.username:
        note("Mosquitto reads its files again on SIGHUP: systemctl reload mosquitto")


@app.command()
def revoke(
    device: Annotated[str, typer.Argument(help="Id of the device.")],
    state: StateDirectory = DEFAULT_STATE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Believe nothing more from a device. What it sent before stays counted.

    Example: gossamer fleet revoke pump-17 --yes
    """
    from gossamer.fleet.enrolment import revoke as revoke_device
    from gossamer.fleet.server_files import ServerFiles

    if not yes and not typer.confirm(f"revoke {device}? It needs a new enrolment to come back."):
        raise typer.Exit(1)
    revoke_device(ServerFiles(state), device)
    note(f"{device} is revoked. Mosquitto forgets its account on SIGHUP: systemctl reload mosquitto")


@app.command("list")
def list_devices(state: StateDirectory = DEFAULT_STATE, as_json: Json = False) -> None:
    """List the devices: state, model version held, last contact.

    Example: gossamer fleet list --json
    """
    from gossamer.aggregator.store import Store, devices
    from gossamer.fleet.server_files import ServerFiles

    files = ServerFiles(state)
    files.settings()
    store = Store.open(files.store)
    try:
        with store.read() as db:
            found = devices.every(db)
    finally:
        store.close()
    rows = [
        {
            "device": device.id,
            "index": device.index,
            "bucket": device.bucket,
            "state": device.state.value,
            "online": device.online,
            "model_version": device.held_version,
            "last_contact": when(device.last_seen),
        }
        for device in found
    ]
    emit(rows, as_json=as_json, title="devices", empty="no devices yet: gossamer fleet enroll DEVICE")


def when(seconds: float) -> str | None:
    """Return seconds since the epoch as ISO 8601 in UTC; None for never."""
    if not seconds:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_option(text: str) -> tuple[str, str | int | float | bool]:
    """Return KEY=VALUE as a pair; numbers and true/false become such.

    Raises:
        ConfigError: no = in it, or a key that no factory can have as a parameter.
    """
    key, equals, value = text.partition("=")
    if not equals or not (key.isascii() and key.isidentifier()):
        raise ConfigError(f"--option {text!r}: expected KEY=VALUE, KEY a parameter of the factory")
    if value in ("true", "false"):
        return key, value == "true"
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            continue
    return key, value
