"""The doctor on a server: one that is well, and each thing that can be wrong with it."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from gossamer.aggregator.store import Store, devices
from gossamer.doctor import server
from gossamer.doctor.finding import Finding, Level
from gossamer.fleet.keys import make_key
from gossamer.fleet.server_files import ServerFiles
from tests.aggregator.fleets import key_of

from .site import Site, by_name, failing, made


@pytest.fixture
def files(tmp_path: Path) -> ServerFiles:
    """A server that nobody runs, and whose broker is not there."""
    return made(tmp_path / "state", 1)


def look(files: ServerFiles) -> dict[str, Finding]:
    return by_name(server.examine(files.directory, {}, time.time()))


def test_a_server_that_is_well(here: Site) -> None:
    found = look(here.files)
    assert not failing(found), found
    assert found["manifest"].found == "round 0 of tiny (open) is signed by fleet.key"
    assert found["accounts"].found.endswith("enrolled devices, each with a broker account")
    assert found["device keys"].level is Level.WARN
    assert "granted: g1/farm1/u/+/+" in found["broker subscribe"].found


def test_a_fleet_key_of_another_fleet(here: Site, tmp_path: Path) -> None:
    whole = here.files.key.read_bytes()
    here.files.key.unlink()
    try:
        make_key(here.files.key)
        found = look(here.files)
    finally:
        here.files.key.write_bytes(whole)
    assert failing(found) == {"manifest"}
    assert "put the fleet.key back" in found["manifest"].mend


def test_a_key_that_is_gone_or_that_all_can_read(files: ServerFiles) -> None:
    files.key.chmod(0o644)
    assert failing(look(files)) == {"key mode", "broker port"}
    files.key.unlink()
    assert failing(look(files)) == {"key mode", "fleet key", "broker port"}


def test_accounts_that_are_missing_or_left_over(files: ServerFiles) -> None:
    store = Store.open(files.store)
    with store.write() as db:
        devices.enroll(db, "ghost", key_of("ghost").public_key().public_bytes_raw())
    found = look(files)["accounts"]
    assert (found.level, found.found) == (Level.FAIL, "1 enrolled devices have no broker account: ghost")
    with store.write() as db:
        devices.revoke(db, "ghost")
        devices.revoke(db, "pump-2")
    store.close()
    found = look(files)["accounts"]
    assert (found.level, found.found) == (Level.FAIL, "1 revoked devices still have one: pump-2")


def test_a_store_of_another_version_or_damaged_or_gone(files: ServerFiles) -> None:
    with sqlite3.connect(files.store) as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    db.close()
    found = look(files)["store"]
    assert (found.level, "schema version 99" in found.found) == (Level.FAIL, True)
    data = bytearray(files.store.read_bytes())
    data[4096 * 3 : 4096 * 9] = bytes(4096 * 6)
    files.store.write_bytes(data)
    assert look(files)["store"].level is Level.FAIL
    for each in files.directory.glob("store.db*"):
        each.unlink()
    assert "restore it" in look(files)["store"].mend
    assert not files.store.exists(), "looking makes nothing"


def test_a_clock_behind_its_own_store(files: ServerFiles) -> None:
    store = Store.open(files.store)
    with store.write() as db:
        devices.born(db, "pump-1", boot=1, job=1, version=0, now=time.time() + 86_400)
    store.close()
    found = look(files)
    assert found["clock"].level is Level.FAIL
    assert "the last contact in the store" in found["clock"].found


def test_no_server_there(tmp_path: Path) -> None:
    found = look(ServerFiles(tmp_path))
    assert list(found) == ["settings"]
    assert "gossamer fleet init" in found["settings"].found
