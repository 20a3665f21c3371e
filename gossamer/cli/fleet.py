"""``gossamer fleet``: the devices and their keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossamer.cli import fleet_look
from gossamer.cli.completion import device_names, device_profiles
from gossamer.cli.output import Json, emit, emit_one, note
from gossamer.cli.reading import DEFAULT_STATE, StateDirectory, when
from gossamer.errors import ConfigError
from gossamer.wire.topics import DEVICE_TEMPLATE, SHARED_TEMPLATE

if TYPE_CHECKING:
    from gossamer.fleet.enrolment import BrokerAddress, DeviceSpec

__all__ = ["DEFAULT_STATE", "StateDirectory", "app", "parse_option", "when"]

app = typer.Typer(help="Make a fleet; enrol, revoke, list and question its devices.", no_args_is_help=True)


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
    as_json: Json = False,
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
    if as_json:
        told = {"fleet": fleet, "state": str(state), "key": str(files.key), "store": str(files.store)}
        files_of_broker = {"password_file": str(files.passwords.resolve()), "acl_file": str(files.rules.resolve())}
        emit_one(told | (files_of_broker if accounts else {}), as_json=True)
    note(f"fleet {fleet} is in {state}; its key {files.key} is what every device trusts: back it up.")
    if accounts:
        note(f"Mosquitto: password_file {files.passwords.resolve()}  acl_file {files.rules.resolve()}")
    note(f"next: gossamer fleet enroll DEVICE --trainer package.module:factory --state {state}")


@app.command()
def enroll(
    device: Annotated[str | None, typer.Argument(help="Id of the device: letters, digits, . _ : @ -")] = None,
    trainer: Annotated[str, typer.Option(help="Factory of its trainer, package.module:factory.")] = "",
    state: StateDirectory = DEFAULT_STATE,
    option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the factory; repeatable.")] = None,
    state_dir: Annotated[str, typer.Option(help="Where the agent keeps its state.")] = "/var/lib/gossamer",
    host: Annotated[str | None, typer.Option(help="Broker as this device reaches it, if it differs.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the same.")] = None,
    profile: Annotated[
        str, typer.Option(help="Its device profile, for the plan of its class.", autocompletion=device_profiles)
    ] = "",
    budget: Annotated[str, typer.Option(help="Bytes it may spend, such as 2MB/month.")] = "",
    many: Annotated[
        Path | None, typer.Option("--from", help="A CSV of devices, one a line; its columns go before the options.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show, change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Enrol a device: key pair, broker account, and one configuration file to carry to it.

    With --from, as many devices as the file has lines, all checked before the first is made. Its first line names the
    columns: device, and any of trainer, profile, budget, state_dir, host, port, option.KEY.

    Example: gossamer fleet enroll pump-17 --trainer pumps.model:trainer --option data=/data/pump.npz
    """
    from gossamer.fleet import enrolment
    from gossamer.fleet.batch import Defaults, read_batch
    from gossamer.fleet.server_files import ServerFiles

    if (device is None) == (many is None):
        raise ConfigError("expected either the id of a device, or --from FILE with many")
    files = ServerFiles(state)
    broker = files.settings().broker
    options = dict(parse_option(each) for each in option or [])
    address = enrolment.BrokerAddress(
        host or broker.host, broker.port if port is None else port, broker.tls, broker.insecure
    )
    defaults = Defaults(trainer, options, state_dir, profile, budget, address)
    wanted = [defaults.spec(device)] if device is not None else read_batch(many or Path(), defaults, parse_option)
    enrolment.check(files, wanted)
    rows = [{"device": spec.name, "configuration": str(files.device(spec.name))} for spec, _ in wanted]
    _strange_classes({spec.profile for spec, _ in wanted if spec.profile})
    if not dry_run:
        _make(files, wanted)
    if many is None and not dry_run:
        emit_one(rows[0], as_json=as_json)
    else:
        emit([{**row, "enrolled": not dry_run} for row in rows], as_json=as_json)
    if not dry_run:
        _what_next(rows, accounts=bool(broker.username))


def _strange_classes(profiles: set[str]) -> None:
    """Say which are no profiles known here: a class may have any name, and a slip of the pen never gets a plan."""
    import difflib

    from gossamer.firmware_profiles import DeviceProfile, Profiles

    known = Profiles.default().names(DeviceProfile.KIND)
    for name in sorted(profiles.difference(known)):
        close = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        note(f"no profile {name} is known here: such a device heeds [plans.{name}] of a job and no other{hint}")


def _make(files: Any, wanted: list[tuple[DeviceSpec, BrokerAddress]]) -> None:
    """Make them, saying how far it is where that takes long."""
    from gossamer.fleet import enrolment

    for number, (spec, where) in enumerate(wanted, 1):
        enrolment.enroll(files, spec, where)
        if number % 100 == 0:
            note(f"{number} of {len(wanted)} enrolled")


def _what_next(rows: list[dict[str, str]], *, accounts: bool) -> None:
    one = len(rows) == 1
    note(
        f"{'It holds the device' if one else 'Each holds its device'}'s private key: carry it over a channel you "
        "trust, then delete it here."
    )
    name = Path(rows[0]["configuration"]).name if one else "FILE"
    note(f"On the device: gossamer agent run --config {name}")
    if accounts:
        note("Mosquitto reads its files again on SIGHUP: systemctl reload mosquitto")


@app.command()
def revoke(
    device: Annotated[str, typer.Argument(help="Id of the device.", autocompletion=device_names)],
    state: StateDirectory = DEFAULT_STATE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Believe nothing more from a device. What it sent before stays counted.

    Example: gossamer fleet revoke pump-17 --yes
    """
    from gossamer.cli.reading import reading
    from gossamer.fleet.enrolment import revoke as revoke_device
    from gossamer.fleet.server_files import ServerFiles

    files = ServerFiles(state)
    with reading(state) as db:
        found = fleet_look.named(db, device)
    told: dict[str, Any] = {"device": device, "was": found.state.value, "last_contact": when(found.last_seen)}
    told["broker_account"] = "removed" if files.passwords.exists() else "kept elsewhere"
    if not dry_run:
        if not yes and not typer.confirm(f"revoke {device}? It needs a new enrolment to come back."):
            raise typer.Exit(1)
        revoke_device(files, device)
        note(f"{device} is revoked. Mosquitto forgets its account on SIGHUP: systemctl reload mosquitto")
    if dry_run or as_json:
        emit_one({**told, "revoked": not dry_run}, as_json=as_json)


app.command("list")(fleet_look.list_devices)
app.command("show")(fleet_look.show_device)
app.command("why")(fleet_look.why_not)


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
