"""Settings: the packaged defaults, the file over them, the environment over both, and what is refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from gossamer.agent.config import AgentSettings, BrokerSettings, TopicSettings, defaults, load, parse
from gossamer.agent.service import device_key
from gossamer.errors import ConfigError

from .device import key_file

REQUIRED = {"fleet", "device_id", "device_index", "fleet_public_key", "state_dir", "trainer"}


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    key_file(tmp_path)
    return {
        "fleet": "farm1", "device_id": "pump-17", "device_index": 17, "key_file": "device.key",
        "fleet_public_key": "9f" * 32, "state_dir": "state", "trainer": "mine:make",
    }  # fmt: skip


def test_every_setting_has_its_default_or_is_required() -> None:
    known = {each.name for each in fields(AgentSettings)}
    assert set(defaults()) | REQUIRED == known
    assert not set(defaults()) & REQUIRED
    assert set(defaults()["broker"]) == {each.name for each in fields(BrokerSettings)}
    assert set(defaults()["topics"]) == {each.name for each in fields(TopicSettings)}


def test_every_number_carries_its_unit() -> None:
    free = {"port", "job", "backoff_seed", "fit_threads", "fit_nice", "max_in_flight", "window_chunks"}
    for table in (defaults(), defaults()["broker"]):
        for key, value in table.items():
            if type(value) in (int, float) and key not in free:
                assert key.endswith(("_seconds", "_bytes", "_joules", "_watts", "_per_second", "_micro")), key


def test_the_file_over_the_defaults(tmp_path: Path, given: dict[str, Any]) -> None:
    file = tmp_path / "agent.toml"
    lines = [f"{key} = {value!r}" for key, value in given.items()]
    file.write_text("\n".join([*lines, "manifest_wait_seconds = 2", "[broker]", "host = '127.0.0.2'"]))
    settings = load(file, {})
    assert settings.state_dir == tmp_path / "state"
    assert settings.manifest_wait_seconds == 2.0
    assert (settings.broker.host, settings.broker.port) == ("127.0.0.2", 1883)
    mqtt = settings.mqtt()
    assert (mqtt.client_id, mqtt.username, mqtt.tls) == ("pump-17", None, None)


def test_the_environment_over_the_file(tmp_path: Path, given: dict[str, Any]) -> None:
    environment = {
        "GOSSAMER_BROKER_PASSWORD": "secret", "GOSSAMER_BROKER_PORT": "1999", "GOSSAMER_ANNOUNCE": "false",
        "GOSSAMER_STATE_DIR": "/var/lib/x", "GOSSAMER_STATUS_TIMEOUT_SECONDS": "7", "GOSSAMER_OTHER": "ignored",
    }  # fmt: skip
    settings = parse(given, tmp_path, environment)
    assert settings.broker.password == "secret"
    assert settings.broker.port == 1999
    assert settings.announce is False
    assert settings.state_dir == Path("/var/lib/x")
    assert settings.status_timeout_seconds == 7.0
    assert "secret" not in repr(settings)
    with pytest.raises(ConfigError, match=r"broker.port \(from GOSSAMER_BROKER_PORT\): expected a whole number"):
        parse(given, tmp_path, {"GOSSAMER_BROKER_PORT": "many"})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"chunk_byte": 1}, "unknown key chunk_byte; did you mean chunk_bytes?"),
        ({"zzz": 1}, "unknown key zzz; known keys"),
        ({"broker": {"hots": "x"}}, "unknown key broker.hots; did you mean broker.host?"),
        ({"broker": 3}, r"expected a table \[broker\]"),
        ({"device_index": -1}, "expected at least 0"),
        ({"device_index": "1"}, "device_index: expected a whole number"),
        ({"device_index": True}, "expected a whole number"),
        ({"chunk_bytes": 100_000}, "expected at most 16384"),
        ({"announce": 1}, "announce: expected true or false"),
        ({"trainer": "mine"}, "package.module:factory"),
        ({"trainer_path": "dir"}, "a list of paths"),
        ({"fleet": "far too long"}, "fleet"),
        ({"device_id": "a/b"}, "device"),
        ({"fleet_public_key": "xyz"}, "64 hexadecimal digits"),
        ({"key_file": "absent"}, "absent: no such file"),
        ({"broker": {"host": "broker.example.org"}}, "plaintext"),
        ({"broker": {"protocol": "3"}}, "3.1.1"),
        ({"topics": {"shared": "x"}}, "topic"),
    ],
)
def test_what_is_refused(tmp_path: Path, given: dict[str, Any], changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse({**given, **changes}, tmp_path, {})


@pytest.mark.parametrize("key", sorted(REQUIRED))
def test_what_is_missing_is_named(tmp_path: Path, given: dict[str, Any], key: str) -> None:
    del given[key]
    with pytest.raises(ConfigError, match=f"{key} is missing"):
        parse(given, tmp_path, {})


def test_the_key_is_in_the_file_or_beside_it(tmp_path: Path, given: dict[str, Any]) -> None:
    del given["key_file"]
    with pytest.raises(ConfigError, match="either device_key or key_file"):
        parse(given, tmp_path, {})
    given["device_key"] = "11" * 32
    assert "11" * 32 not in repr(parse(given, tmp_path, {}))


@pytest.mark.parametrize("text", ["s3cret\n", "s3cret", "s3cret\r\n"])
def test_the_password_is_in_a_file_of_its_own(tmp_path: Path, given: dict[str, Any], text: str) -> None:
    (tmp_path / "broker.password").write_text(text)
    given["broker"] = {"username": "pump-17", "password_file": "broker.password"}
    settings = parse(given, tmp_path, {})
    assert settings.mqtt().password == "s3cret"
    assert "s3cret" not in repr(settings)
    with pytest.raises(ConfigError, match="got both"):
        parse({**given, "broker": {**given["broker"], "password": "x"}}, tmp_path, {})
    (tmp_path / "broker.password").unlink()
    with pytest.raises(ConfigError, match=r"broker.password_file: expected a file"):
        parse(given, tmp_path, {})


def test_a_password_file_without_a_password_is_none(tmp_path: Path, given: dict[str, Any]) -> None:
    (tmp_path / "broker.password").write_text("\n")  # what the unit loads where there is no such file
    given["broker"] = {"password_file": "broker.password"}
    assert parse(given, tmp_path, {}).mqtt().password is None


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_key_file_holds_the_digits_or_pem(tmp_path: Path, given: dict[str, Any], end: str) -> None:
    pem = device_key(parse(given, tmp_path, {}))
    raw = pem.private_bytes_raw()
    (tmp_path / "device.key").write_text(raw.hex() + end)
    assert device_key(parse(given, tmp_path, {})).private_bytes_raw() == raw
    (tmp_path / "device.key").write_text("x" * 64)
    with pytest.raises(ConfigError, match="64 hexadecimal digits, or"):
        device_key(parse(given, tmp_path, {}))


def test_tls_files_are_relative_to_the_file(tmp_path: Path, given: dict[str, Any]) -> None:
    (tmp_path / "ca.pem").write_text("")
    given["broker"] = {"host": "broker.example.org", "tls": True, "ca_file": "ca.pem"}
    tls = parse(given, tmp_path, {}).mqtt().tls
    assert tls is not None
    assert tls.ca_file == tmp_path / "ca.pem"


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        load(tmp_path / "absent.toml", {})
    (tmp_path / "bad.toml").write_text("fleet = ")
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        load(tmp_path / "bad.toml", {})
