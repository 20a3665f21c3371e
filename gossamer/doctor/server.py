"""All checks of a server, in the order in which one depends on the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.doctor import broker, files, machine, runtime
from gossamer.doctor.clock import Evidence, clock, is_synchronised
from gossamer.doctor.finding import Finding, Level, fail, ok, skip, warn
from gossamer.errors import ConfigError, GossamerError
from gossamer.fleet.keys import fingerprint, load_key
from gossamer.fleet.server_files import ServerFiles, ServerSettings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from sqlalchemy.engine import Connection

UNIT = "gossamer-server"


def examine(state: Path, environment: Mapping[str, str], now: float) -> Iterator[Finding]:
    """Look at the server of a state directory."""
    files_ = ServerFiles(state)
    try:
        settings = files_.settings(environment)
    except ConfigError as error:
        yield fail("settings", str(error), "correct the file; gossamer config server shows every setting")
        return
    yield ok("settings", f"fleet {settings.fleet}, broker {settings.broker.host}:{settings.broker.port}")
    yield files.secret_mode("settings mode", files_.config)
    yield files.secret_mode("key mode", files_.key)
    key, found = _key(files_)
    yield found
    yield from files.disk("disk", state)
    yield runtime.packages(runtime.SERVER_PACKAGES)
    evidence: list[Evidence] = []
    yield from _store(files_, settings, key, evidence)
    yield carried(files_)
    yield from _broker(settings, now)
    yield machine.unit(UNIT)
    yield from clock(now, is_synchronised(), evidence)


def _key(files_: ServerFiles) -> tuple[Ed25519PrivateKey | None, Finding]:
    try:
        key = load_key(files_.key)
    except ConfigError as error:
        mend = "restore fleet.key from its backup: devices believe nothing that another key signs"
        return None, fail("fleet key", str(error), mend)
    return key, ok("fleet key", f"Ed25519, fingerprint {fingerprint(key.public_key().public_bytes_raw())}")


def _store(
    files_: ServerFiles, settings: ServerSettings, key: Ed25519PrivateKey | None, evidence: list[Evidence]
) -> Iterator[Finding]:  # fmt: skip
    """The store's schema and pages, who signed the newest manifest, and the broker accounts of the devices."""
    if not files_.store.exists():
        mend = "restore it from a backup, or make the fleet anew and enrol every device again"
        yield fail("store", f"no {files_.store}", mend)
        return
    from gossamer.aggregator.store import Store

    try:
        store = Store.open(files_.store)
    except GossamerError as error:
        yield fail("store", str(error), "run the version of Gossamer that wrote it, or restore a backup")
        return
    try:
        with store.read() as db:
            yield pages(db, files_.store)
            yield newest_manifest(db, settings.fleet, key)
            yield accounts(db, files_)
            evidence += times(db)
    except GossamerError as error:
        yield fail("store", str(error), "restore the store from a backup: bytes of it are not what was written")
    finally:
        store.close()


def pages(db: Connection, path: Path) -> Finding:
    """Whether the database's own check finds its pages in order."""
    from gossamer.aggregator.store import schema

    answer = db.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if answer != "ok":
        return fail("store", f"{path}: {answer}", "stop the server and restore the store from a backup")
    return ok("store", f"{path} is in order, schema {schema.SCHEMA_VERSION}, {path.stat().st_size / 1e6:.1f} MB")


def newest_manifest(db: Connection, fleet: str, key: Ed25519PrivateKey | None) -> Finding:
    """Whether the fleet key signed what devices are shown."""
    from gossamer.aggregator.store import jobs, rounds
    from gossamer.wire.manifest import verify_manifest
    from gossamer.wire.messages import Round, parse

    name = "manifest"
    job = jobs.current(db)
    latest = None if job is None else rounds.latest(db, job.job)
    if job is None or latest is None or latest.manifest is None or key is None:
        return skip(name, "no round yet" if key is not None else "not checked without the fleet key")
    try:
        message = parse(latest.manifest)
        verify_manifest(key.public_key(), message.cose if isinstance(message, Round) else b"", fleet)
    except GossamerError as error:
        mend = "put the fleet.key back with which devices were enrolled: they ignore what this one signs"
        return fail(name, f"round {latest.round} of {job.name} is not signed by fleet.key: {error}", mend)
    return ok(name, f"round {latest.round} of {job.name} ({job.state.value}) is signed by fleet.key")


def accounts(db: Connection, files_: ServerFiles) -> Finding:
    """Whether enrolled devices, and only they, have broker accounts."""
    from gossamer.aggregator.store import devices

    name = "accounts"
    every = devices.every(db)
    if not files_.passwords.exists():
        return skip(name, f"{len(every)} devices; their broker accounts are kept elsewhere")
    held = {line.partition(":")[0] for line in files_.passwords.read_text(encoding="utf-8").splitlines()}
    missing = [device.id for device in every if device.enrolled and device.id not in held]
    spare = [device.id for device in every if not device.enrolled and device.id in held]
    if missing:
        mend = f"gossamer fleet revoke {missing[0]} --yes, then enroll it again: its password is known to nobody"
        return fail(name, f"{len(missing)} enrolled devices have no broker account: {_some(missing)}", mend)
    if spare:
        mend = f"gossamer fleet revoke {spare[0]} --yes takes it away; then systemctl reload mosquitto"
        return fail(name, f"{len(spare)} revoked devices still have one: {_some(spare)}", mend)
    return ok(name, f"{sum(device.enrolled for device in every)} enrolled devices, each with a broker account")


def carried(files_: ServerFiles) -> Finding:
    """Whether private keys of devices still lie here."""
    left = sorted(path.stem for path in (files_.directory / "devices").glob("*.toml"))
    if left:
        mend = f"carry them to their devices, then delete them here: rm {files_.directory}/devices/NAME.toml"
        return warn("device keys", f"private keys of devices still lie here ({len(left)}): {_some(left)}", mend)
    return ok("device keys", "no private key of a device is left here")


def times(db: Connection) -> list[Evidence]:
    """The newest times of the store: whoever wrote them had a clock, and it was not later than now."""
    from gossamer.aggregator.store import devices, jobs, rounds

    job = jobs.current(db)
    latest = None if job is None else rounds.latest(db, job.job)
    found = [Evidence("the newest round in the store", latest.opened_at)] if latest else []
    seen = max((device.last_seen for device in devices.every(db)), default=0.0)
    return [*found, Evidence("the last contact in the store", seen)] if seen else found


def _broker(settings: ServerSettings, now: float) -> Iterator[Finding]:
    mqtt = settings.mqtt()
    for found in broker.reach(mqtt, now):
        yield found
        if found.level is Level.FAIL:
            return
    found, link = broker.log_in(mqtt, broker.Heard())
    yield found
    if link is None:
        return
    link.disconnect()
    topics = settings.topic_names()
    yield broker.subscriptions(mqtt, (topics.subscription("u"), topics.subscription("s")))
    yield broker.largest(mqtt, settings.bridge.chunk_bytes, "bridge.chunk_bytes")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
