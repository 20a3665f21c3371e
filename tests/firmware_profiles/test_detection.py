"""Which profile a machine gets, from the files that its kernel shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gossamer.firmware_profiles import Profiles
from gossamer.firmware_profiles.detection import detect, read_machine

DEVICES = Profiles(Path("/none")).devices()
ROUTE = "Iface\tDestination\tGateway\n{}\t00000000\t0100A8C0\n"


def root(tmp_path: Path, model: str = "", interface: str = "") -> Path:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/net").mkdir()
    if model:
        (tmp_path / "proc/device-tree/model").write_text(model + "\0")
    if interface:
        (tmp_path / "proc/net/route").write_text(ROUTE.format(interface))
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU\nprocessor\t: 1\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal:         438060 kB\n")
    return tmp_path


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Raspberry Pi Zero 2 W Rev 1.0", "pi-zero-2w"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", "pi-3b-plus"),
        ("Raspberry Pi 4 Model B Rev 1.4", "pi-4"),
        ("Raspberry Pi Compute Module 4 Rev 1.0", "pi-4"),
        ("Raspberry Pi 5 Model B Rev 1.0", "pi-5"),
        ("NVIDIA Jetson Nano Developer Kit", "jetson-nano"),
        ("NVIDIA Jetson Orin Nano Developer Kit", "jetson-orin-nano"),
    ],
)
def test_boards(tmp_path: Path, model: str, name: str):
    machine = read_machine(root(tmp_path, model), "aarch64")
    found = detect(machine, DEVICES)
    assert found.device is not None
    assert found.device.name == name
    assert model in found.why
    assert (machine.cores, machine.memory_mib, machine.cpu) == (2, 427, "Some CPU")


def test_the_longest_text_decides(tmp_path: Path):
    board = next(each for each in DEVICES if each.name == "pi-4")
    lite = replace(board, name="lite", matches=("Raspberry Pi Compute Module 4 L",))
    machine = read_machine(root(tmp_path, "Raspberry Pi Compute Module 4 Lite Rev 1.1"), "aarch64")
    for order in ([*DEVICES, lite], [lite, *DEVICES]):
        assert detect(machine, order).device == lite


@pytest.mark.parametrize(
    ("machine", "name"), [("x86_64", "generic-x86"), ("armv7l", "generic-armv7"), ("aarch64", None), ("riscv64", None)]
)
def test_without_a_known_board(tmp_path: Path, machine: str, name: str | None):
    found = detect(read_machine(root(tmp_path), machine), DEVICES)
    assert (found.device.name if found.device else None) == name
    assert name or "write one of your own" in found.why


@pytest.mark.parametrize(
    ("interface", "link"), [("wlan0", "wifi"), ("eth0", "ethernet"), ("wwan0", "lte-m"), ("ppp0", "gprs"), ("tun3", "")]
)
def test_links(tmp_path: Path, interface: str, link: str):
    assert detect(read_machine(root(tmp_path, interface=interface), "x86_64"), DEVICES).link == link


def test_a_machine_that_says_nothing(tmp_path: Path):
    machine = read_machine(tmp_path, "mips")
    assert (machine.model, machine.memory_mib) == ("", 0)
    assert detect(machine, DEVICES).device is None
