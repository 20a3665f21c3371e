"""``project.toml``: what it may say."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from gossamer.errors import ConfigError
from gossamer.project import settings as module
from gossamer.project.settings import read_project, with_devices

GOOD = 'name = "pump station"\ntrainer = "trainer.py:trainer"\n'


def project(directory: Path, text: str = GOOD) -> module.Project:
    (directory / "project.toml").write_text(text)
    return read_project(directory, {})


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0


def test_defaults(tmp_path: Path) -> None:
    made = project(tmp_path)
    assert (made.fleet_name, made.settings.devices, made.settings.broker) == ("pumpstat", 4, "embedded")
    assert made.broker_address(1234).port == 1234
    assert with_devices(made, 7).settings.devices == 7
    assert with_devices(made, None) is made


@pytest.mark.parametrize(
    ("broker", "expected"),
    [("mqtt://localhost", ("localhost", 1883, False)), ("mqtts://b.example:8884/", ("b.example", 8884, True)),
     ("mqtts://b.example", ("b.example", 8883, True))],
)  # fmt: skip
def test_brokers(tmp_path: Path, broker: str, expected: tuple[str, int, bool]) -> None:
    address = project(tmp_path, f'{GOOD}broker = "{broker}"\n').broker_address(1)
    assert (address.host, address.port, address.tls) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('trainer = "a:b"', "name is missing"),
        ('name = "a"', "trainer is missing"),
        ('name = "!!"\ntrainer = "a:b"', "a name with a letter or a digit"),
        ('name = "a"\ntrainer = "a"', 'expected "package'),
        (f"{GOOD}devices = 0", "at least 1"),
        (f"{GOOD}devices = 51", "at most 50"),
        (f'{GOOD}broker = "http://x"', "expected 'embedded', mqtt://"),
        (f'{GOOD}broker = "mqtt://me:secret@x"', "without an account"),
        (f'{GOOD}broker = "mqtt://x:99999"', "expected 'embedded'"),
        (f"{GOOD}trainr = 1", "did you mean trainer"),
        (f'{GOOD}[agent]\ndevice_key = "00"', "device's own"),
        ("name =", "cannot be read as TOML"),
    ],
)
def test_what_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as told:
        project(tmp_path, text)
    assert "project.toml" in str(told.value)


def test_no_project(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gossamer init NAME"):
        read_project(tmp_path)
    with pytest.raises(ConfigError, match="--devices 0"):
        with_devices(project(tmp_path), 0)
