"""The doctor on a device: a site that is well, and each thing that can be wrong with it, for real."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gossamer.agent.config import load
from gossamer.doctor import device, runtime
from gossamer.doctor.broker import Heard, pump
from gossamer.doctor.finding import Finding, Level
from gossamer.fleet.enrolment import revoke
from gossamer.fleet.keys import fingerprint
from gossamer.mqtt import MqttLink

from .site import DEVICES, TRAINER, Site, by_name, failing


def look(config: Path, **options: bool) -> dict[str, Finding]:
    return by_name(device.examine(config, {}, time.time(), **options))


def at_the_broker(config: Path) -> dict[str, Finding]:
    """The steps towards the broker only: no trainer is made."""
    return by_name(device._broker(load(config, {}), time.time(), []))


def test_a_device_that_is_well(here: Site, tmp_path: Path) -> None:
    found = look(here.config(tmp_path / "a.toml"), train=True)
    assert not failing(found), [each for each in found.values() if each.mend]
    assert "question and answer with the server" in found["broker topics"].found
    assert "signed by the key this device trusts" in found["fleet key"].found
    assert found["cohort"].found == "round 0 is its turn"
    assert found["trainer"].found.startswith("tests.agent.tiny:Tiny gives 43 parameters")
    assert "an epoch over 5 examples, loss 0.5" in found["trainer fit"].found
    assert found["broker packet"].found == "no limit announced"
    assert all(each.mend for each in found.values() if each.level in (Level.WARN, Level.FAIL))


def test_looking_changes_nothing_at_the_server(here: Site, tmp_path: Path) -> None:
    from gossamer.aggregator.store import Store, devices, rejections

    at_the_broker(here.config(tmp_path / "a.toml"))
    store = Store.open(here.files.store)
    with store.read() as db:
        assert rejections.every(db) == []
        assert [(each.online, each.last_seen) for each in devices.every(db)] == [(False, 0.0)] * len(DEVICES)
    store.close()


def test_the_agent_beside_it_keeps_its_connection(here: Site, tmp_path: Path) -> None:
    config = here.config(tmp_path / "a.toml")
    heard = Heard()
    agent = MqttLink(load(config, {}).mqtt(), heard)
    agent.connect()
    at_the_broker(config)
    agent.subscribe(load(config, {}).wire_topics().shared_topic("m"))
    assert pump(agent, lambda: bool(heard.messages), 5.0), "its own connection still brings the manifest"
    agent.disconnect()


def test_its_key_has_the_fingerprint_that_the_server_enrolled(here: Site, tmp_path: Path) -> None:
    from gossamer.aggregator.store import Store, devices

    store = Store.open(here.files.store)
    with store.read() as db:
        enrolled = devices.get(db, "pump-1")
    store.close()
    assert enrolled is not None
    found = by_name(device.keys(load(here.config(tmp_path / "a.toml"), {})))
    assert found["key"].found.endswith(fingerprint(enrolled.public_key))


def test_a_wrong_password(here: Site, tmp_path: Path) -> None:
    other = here.files.device("pump-2").read_text().split('password = "')[1].split('"')[0]
    mine = here.files.device("pump-1").read_text().split('password = "')[1].split('"')[0]
    found = at_the_broker(here.config(tmp_path / "a.toml", "pump-1", (mine, other)))
    assert failing(found) == {"broker login"}
    assert "user 'pump-1' is refused: Not authorized" in found["broker login"].found
    assert "password" in found["broker login"].mend


def test_a_closed_port(here: Site, tmp_path: Path) -> None:
    from gossamer.broker import free_port

    port = (f"port = {here.broker.port}", f"port = {free_port()}")
    found = at_the_broker(here.config(tmp_path / "a.toml", "pump-1", port))
    assert failing(found) == {"broker port"}
    assert "Connection refused" in found["broker port"].found


def test_a_name_that_does_not_resolve(here: Site, tmp_path: Path) -> None:
    host = ('host = "127.0.0.1"', 'host = "broker.invalid"'), ("insecure = false", "insecure = true")
    found = at_the_broker(here.config(tmp_path / "a.toml", "pump-1", *host))
    assert failing(found) == {"broker address"}
    assert "broker.invalid does not resolve" in found["broker address"].found


def test_a_file_that_others_can_read(here: Site, tmp_path: Path) -> None:
    config = here.config(tmp_path / "a.toml")
    config.chmod(0o644)
    found = look(config)
    assert failing(found) == {"settings mode"}
    assert found["settings mode"].mend == f"chmod 600 {config}"


def test_a_configuration_that_cannot_be(here: Site, tmp_path: Path) -> None:
    found = look(here.config(tmp_path / "a.toml", "pump-1", ("device_index", "device_indx")))
    assert list(found) == ["settings mode", "settings"]
    assert "did you mean device_index?" in found["settings"].found


def test_a_key_that_is_none(here: Site, tmp_path: Path) -> None:
    key = here.files.device("pump-1").read_text().split('device_key = "')[1].split('"')[0]
    config = load(here.config(tmp_path / "a.toml", "pump-1", (key, key[:-2])), {})
    assert failing(by_name(device.keys(config))) == {"key"}


def test_another_fleets_key(here: Site, tmp_path: Path) -> None:
    key = here.files.device("pump-1").read_text().split('fleet_public_key = "')[1].split('"')[0]
    found = at_the_broker(here.config(tmp_path / "a.toml", "pump-1", (key, "11" * 32)))
    assert failing(found) == {"fleet key"}
    assert "not signed by fleet_public_key" in found["fleet key"].found


def trainer_of(config: Path, *, train: bool = False) -> dict[str, Finding]:
    return by_name(runtime.trainer(load(config, {}), train=train))


@pytest.mark.parametrize(
    ("old", "new", "words", "mend"),
    [
        (TRAINER, "nowhere_at_all:make", "no module named nowhere_at_all", "trainer_path"),
        (TRAINER, "tests.agent.tiny:nobody", "has no 'nobody'", "[trainer_options]"),
        (TRAINER, "tests.doctor.trainers:legacy", "No module named 'tflite_runtime'", "gossamer[tflite-legacy]"),
        ("[trainer_options]", "[trainer_options]\ncolour = 3", "colour", "[trainer_options]"),
    ],
)
def test_a_trainer_that_cannot_be_made(here: Site, tmp_path: Path, old: str, new: str, words: str, mend: str) -> None:
    found = trainer_of(here.config(tmp_path / "a.toml", "pump-1", (old, new)))
    assert failing(found) == {"trainer"}
    assert words in found["trainer"].found
    assert mend in found["trainer"].mend


@pytest.mark.parametrize(("mode", "words"), [("nan", "NaN"), ("oom", "out of memory")])
def test_a_trainer_that_cannot_train(here: Site, tmp_path: Path, mode: str, words: str) -> None:
    change = ("[trainer_options]", f'[trainer_options]\nmode = "{mode}"')
    found = trainer_of(here.config(tmp_path / "a.toml", "pump-1", change), train=True)
    assert failing(found) == {"trainer fit"}
    assert words in found["trainer fit"].found


def test_a_device_the_server_has_revoked(here: Site, tmp_path: Path) -> None:
    config = here.config(tmp_path / "a.toml", "pump-3")
    revoke(here.files, "pump-3")  # the broker has not read its files again
    found = at_the_broker(config)
    assert failing(found) == {"broker topics"}
    assert "revoked" in found["broker topics"].found
    assert "gossamer fleet enroll pump-3" in found["broker topics"].mend
