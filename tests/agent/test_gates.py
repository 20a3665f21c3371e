"""Gates: what is read, what is decided, what is said, and that nothing of it holds the agent up."""

from __future__ import annotations

import doctest
import json
import logging
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.agent import budget, failures, gates, probes
from gossamer.agent.commands import KEPT_BYTES, Command
from gossamer.agent.config import GateSettings, defaults
from gossamer.agent.failures import tellable
from gossamer.agent.gatekeeper import Gatekeeper
from gossamer.agent.gates import NOT_LOOKED, Readings, Refusal, one_line, unread, verdict
from gossamer.agent.goodput import RATE_FROM_BYTES
from gossamer.agent.ledger import AHEAD_BYTES
from gossamer.agent.probes import Roots
from gossamer.agent.purse import CONNECT_BYTES, CONNECT_TLS_BYTES, ENVELOPE_BYTES
from gossamer.agent.session import State
from gossamer.agent.thrift import LINGER_SECONDS
from gossamer.errors import ConfigError
from gossamer.wire.codes import Absence
from gossamer.wire.items import is_plain
from gossamer.wire.limits import MAX_PLANS_BYTES
from gossamer.wire.messages import Absent, Get, JobState, parse

from .device import Device, settings
from .server_side import JOB, ServerSide
from .test_session import exchange


def of(**changes: Any) -> GateSettings:
    base: dict[str, Any] = {
        "metered": "allow", "roaming": "allow", "battery_percent": 0, "charging_required": False,
        "temperature_celsius": 0, "load_percent": 0, "disk_free_bytes": 0, "command": [],
        "command_timeout_seconds": 5.0, "poll_seconds": 60.0, "unknown": "allow",
    }  # fmt: skip
    return GateSettings(**{**base, **changes})


# The decision ----------------------------------------------------------------------------------------------------

ALL = {
    "metered": "refuse", "roaming": "refuse", "battery_percent": 30, "charging_required": True,
    "temperature_celsius": 70, "load_percent": 150, "disk_free_bytes": 50_000_000, "command": ["x"],
}  # fmt: skip
GOOD = Readings("eth0", False, False, 30, True, 70.0, 150, 50_000_000, "")
BAD = {
    "metered": ("link", Readings(link="wwan0", metered=True), Absence.METERED, "link wwan0 is metered"),
    "roaming": ("link", Readings(link="ppp0", roaming=True), Absence.ROAMING, "link ppp0 is roaming"),
    "battery_percent": ("", Readings(battery_percent=12), Absence.BATTERY, "battery 12 %, wanted 30 %"),
    "charging_required": ("", Readings(on_power=False), Absence.CHARGING, "on battery, wanted external power"),
    "temperature_celsius": ("", Readings(temperature_celsius=71.2), Absence.TEMPERATURE,
                            "temperature 71 C, wanted 70 or less"),
    "load_percent": ("", Readings(load_percent=151), Absence.LOAD, "load 151 %, wanted 150 % or less"),
    "disk_free_bytes": ("", Readings(disk_free_bytes=49_999_999), Absence.DISK,
                        "disk 50.00 MB free, wanted 50.00 MB"),
    "command": ("", Readings(command="no sun"), Absence.COMMAND, "no sun"),
}  # fmt: skip


@pytest.mark.parametrize("key", BAD)
def test_each_gate_says_why(key: str) -> None:
    _, found, reason, detail = BAD[key]
    own = of(**{key: ALL[key]})
    assert verdict(own, found) == Refusal(reason, detail)
    assert verdict(own, GOOD) is None
    assert verdict(of(), found) is None, "a gate that is not set"
    assert verdict(own, Readings()) is None, "what cannot be read leaves it open"
    assert unread(own, Readings()) == [reason.label]
    closed = verdict(of(**{key: ALL[key]}, unknown="refuse"), Readings())
    assert closed is not None
    assert (closed.reason, closed.detail[: len(reason.label)]) == (reason, reason.label)


def test_all_gates_at_once() -> None:
    assert verdict(of(**ALL), GOOD) is None
    assert unread(of(**ALL), GOOD) == []
    assert len(unread(of(**ALL), Readings())) == len(BAD)
    assert not gates.is_set(of())
    assert all(gates.is_set(of(**{key: value})) for key, value in ALL.items())


@given(st.text(), st.integers(0, 100))
def test_any_line_becomes_one_that_can_be_said(text: str, most: int) -> None:
    line = one_line(text, most)
    assert is_plain(line)
    assert len(line.encode()) <= most
    Absent(1, 2, 9, one_line(text))


# What is read ----------------------------------------------------------------------------------------------------


def tree(root: Path, files: dict[str, str]) -> Roots:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Roots(root / "sys", root / "proc")


SUPPLY = "sys/class/power_supply"


@pytest.mark.parametrize(
    ("files", "percent", "power"),
    [
        ({}, None, None),
        ({"BAT0/type": "Battery\n", "BAT0/capacity": "12\n", "BAT0/status": "Discharging\n"}, 12, False),
        ({"BAT0/type": "Battery\n", "BAT0/capacity": "100\n", "BAT0/status": "Full\n"}, 100, True),
        ({"BAT0/type": "Battery", "BAT0/capacity": "40", "BAT1/type": "Battery", "BAT1/capacity": "61"}, 50, None),
        ({"BAT0/type": "Battery", "BAT0/capacity": "-1", "BAT0/status": "Unknown"}, None, None),
        ({"BAT0/type": "Battery", "BAT0/capacity": "full", "AC/type": "Mains", "AC/online": "0"}, None, False),
        ({"AC/type": "Mains\n", "AC/online": "1\n"}, None, True),
        ({"usb/type": "USB_PD", "usb/online": "1", "BAT0/type": "Battery", "BAT0/status": "Discharging"}, None, True),
        ({"mouse/type": "Battery", "mouse/scope": "Device", "mouse/capacity": "3", "mouse/status": "Full"}, None, None),
        ({"BAT0/capacity": "12"}, None, None),
        ({"BAT0/type": "Battery", "BAT0/capacity": "9" * 400, "BAT0/status": "\u00e9"}, None, None),
        ({"AC/type": "Mains", "AC/online": "maybe"}, None, None),
    ],
)
def test_power(tmp_path: Path, files: dict[str, str], percent: int | None, power: bool | None) -> None:
    roots = tree(tmp_path, {f"{SUPPLY}/{name}": text for name, text in files.items()})
    assert (probes.battery_percent(roots), probes.on_power(roots)) == (percent, power)


def test_a_battery_that_is_pulled_while_it_is_read(tmp_path: Path) -> None:
    roots = tree(tmp_path, {f"{SUPPLY}/BAT0/type": "Battery"})
    (tmp_path / SUPPLY / "BAT0/capacity").symlink_to("gone")
    (tmp_path / SUPPLY / "BAT1").symlink_to("../../devices/gone")
    (tmp_path / SUPPLY / "BAT0/status").mkdir()
    assert (probes.battery_percent(roots), probes.on_power(roots)) == (None, None)


def test_temperature_is_that_of_the_hottest_zone_that_makes_sense(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone"
    roots = tree(tmp_path, {f"{zone}0/temp": "48312\n", f"{zone}1/temp": "-127000", f"{zone}2/temp": "999999999"})
    assert probes.temperature_celsius(roots) == pytest.approx(48.312)
    tree(tmp_path, {f"{zone}3/temp": "51000", f"{zone}4/temp": "", "sys/class/thermal/cooling_device0/temp": "90000"})
    assert probes.temperature_celsius(roots) == 51.0
    assert probes.temperature_celsius(Roots(tmp_path / "none", tmp_path)) is None


def test_load_and_disk(tmp_path: Path) -> None:
    roots = tree(tmp_path, {"proc/loadavg": "3.10 1.00 0.50 2/123 4567\n"})
    assert probes.load_percent(roots, 2) == 155
    for nonsense in ("", "much", "inf 1 2", "nan"):
        (tmp_path / "proc/loadavg").write_text(nonsense)
        assert probes.load_percent(roots, 2) is None
    free = probes.disk_free_bytes(tmp_path)
    assert free is not None
    assert 0 < free <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    assert probes.disk_free_bytes(tmp_path / "none") is None


HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
WWAN = "wwan0\t00000000\t0100000A\t0003\t0\t0\t700\t00000000\t0\t0\t0\n"
WLAN = "wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
NET = "wlan0\t0000A8C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0\n"
DOWN = "eth0\t00000000\t0100A8C0\t0002\t0\t0\t100\t00000000\t0\t0\t0\n"
SIX = "0" * 32 + " 00 " + "0" * 32 + " 00 " + "fe80" + "0" * 28 + " 00000400 00000001 00000000 00000003     eth1\n"
LO = "0" * 32 + " 00 " + "0" * 32 + " 00 " + "0" * 32 + " ffffffff 00000001 00000000 00200200       lo\n"


@pytest.mark.parametrize(
    ("route", "six", "link"),
    [
        (HEAD + WWAN + WLAN + NET, "", "wlan0"),
        (HEAD + WWAN + DOWN, SIX, "wwan0"),
        (HEAD + NET, SIX + LO, "eth1"),
        (HEAD, LO, None),
        ("", "", None),
        ("what\nis this\n\x00\n", "not a route\n", None),
    ],
)
def test_the_link_in_use(tmp_path: Path, route: str, six: str, link: str | None) -> None:
    roots = tree(tmp_path, {"proc/net/route": route, "proc/net/ipv6_route": six})
    assert probes.link_in_use(roots) == link


@pytest.mark.parametrize(
    ("kind", "uevent", "mobile"),
    [
        ("1\n", "DEVTYPE=wlan\nINTERFACE=x0\n", False),
        ("1\n", "DEVTYPE=wwan\nINTERFACE=x0\n", True),
        ("512\n", "INTERFACE=x0\n", True),
        ("519\n", "", True),
    ],
)
def test_whether_a_link_is_a_modem_s(tmp_path: Path, kind: str, uevent: str, mobile: bool) -> None:
    roots = tree(tmp_path, {"sys/class/net/x0/type": kind, "sys/class/net/x0/uevent": uevent})
    assert probes.is_mobile(roots, "x0") is mobile
    assert probes.is_mobile(roots, "x1") is None


def test_what_the_tools_print() -> None:
    metered = probes.metered_by_networkmanager
    assert [metered(f"GENERAL.METERED:{word}\n") for word in ("yes", "yes (guessed)", "no", "no (guessed)")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert [metered(text) for text in ("GENERAL.METERED:unknown\n", "", "Error: no such device")] == [None] * 3

    def roaming(state: object) -> bool | None:
        return probes.roaming_by_modemmanager(json.dumps({"modem": {"3gpp": {"registration-state": state}}}))

    assert [roaming(s) for s in ("home", "roaming", "roaming-sms-only", "searching", "--", 7)] == [
        False, True, True, None, None, None,
    ]  # fmt: skip
    for nonsense in ("", "null", "[]", "{}", '{"modem": 1}', "[" * 50_000):
        assert probes.roaming_by_modemmanager(nonsense) is None


def test_this_machine_s_own_files_are_read_without_a_complaint(tmp_path: Path) -> None:
    roots = Roots()
    assert probes.load_percent(roots, os.cpu_count() or 1) == round(
        100 * float(Path("/proc/loadavg").read_text().split()[0]) / (os.cpu_count() or 1)
    )
    link = probes.link_in_use(roots)
    assert link is None or (Path("/sys/class/net") / link).exists()
    assert link is None or probes.is_mobile(roots, link) in (True, False)
    percent, celsius = probes.battery_percent(roots), probes.temperature_celsius(roots)
    assert percent is None or 0 <= percent <= 100
    assert celsius is None or -60 <= celsius <= 200
    assert probes.on_power(roots) in (True, False, None)


# Commands and the gatekeeper -------------------------------------------------------------------------------------


def ended(command: Command, seconds: float = 20.0) -> Any:
    limit = time.monotonic() + seconds
    while (found := command.look(time.monotonic())) is None and time.monotonic() < limit:
        time.sleep(0.01)
    return found


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_command_s_code_and_words(tmp_path: Path) -> None:
    found = ended(Command([script(tmp_path / "no", "echo no sun; echo and more; exit 3")], time.monotonic() + 20))
    assert (found.code, found.printed) == (3, "no sun\nand more\n")
    found = ended(Command([str(tmp_path / "none")], time.monotonic() + 20))
    assert found.code is None
    much = ended(Command([script(tmp_path / "much", "head -c 300000 /dev/zero")], time.monotonic() + 20))
    assert (much.code, len(much.printed)) == (0, KEPT_BYTES)


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    hang = script(tmp_path / "hang", f"sleep 600 & echo $! > {tmp_path}/pid; wait")
    command = Command([hang], deadline=50.0)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert command.look(49.0) is None
        time.sleep(0.01)
    found = command.look(50.0)
    assert found is not None
    assert found.code is None
    child = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{child}/stat")
    limit = time.monotonic() + 20
    while state.exists() and state.read_text().split()[2] != "Z" and time.monotonic() < limit:
        time.sleep(0.01)
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_command_that_never_stops_writing_does_not_hold_a_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command(["true"], deadline=50.0)
    monkeypatch.setattr(os, "read", lambda _descriptor, size: b"x" * size)
    while command.look(49.0) is None:
        time.sleep(0.01)


class Watch:
    """A gatekeeper with a log, files of its own and tools of its own."""

    def __init__(self, directory: Path, files: dict[str, str] | None = None, **changes: Any) -> None:
        self.lines: list[tuple[int, str]] = []
        self.directory = directory
        self.now = 100.0
        roots = tree(directory, files or {})
        self.keeper = Gatekeeper(
            of(**changes), (), directory, lambda level, text: self.lines.append((level, text)), roots=roots,
            find=lambda name: str(directory / name) if (directory / name).exists() else None,
        )  # fmt: skip

    def look(self, seconds: float = 60.0) -> Refusal | None:
        """Let time pass until a whole look has ended."""
        self.now += seconds
        self.keeper.turn(self.now, 0.0)
        while self.keeper._looking:
            time.sleep(0.01)
            self.keeper.turn(self.now, 0.0)
        return self.keeper.refusal


def test_nothing_is_looked_at_where_no_gate_is_set(tmp_path: Path) -> None:
    keeper = Watch(tmp_path).keeper
    assert (keeper.refusal, keeper.next_deadline(0.0)) == (None, float("inf"))


def test_a_look_every_poll_and_the_verdict_holds_between(tmp_path: Path) -> None:
    battery = {f"{SUPPLY}/BAT0/type": "Battery", f"{SUPPLY}/BAT0/capacity": "12"}
    watch = Watch(tmp_path, battery, battery_percent=30)
    assert watch.keeper.refusal == NOT_LOOKED
    assert watch.look() == Refusal(Absence.BATTERY, "battery 12 %, wanted 30 %")
    (tmp_path / SUPPLY / "BAT0/capacity").write_text("31")
    assert watch.look(59.0) is not None
    assert watch.keeper.next_deadline(watch.now) == watch.now + 1.0
    assert watch.look(1.0) is None
    (tmp_path / SUPPLY / "BAT0/capacity").unlink()
    assert watch.look() is None
    assert watch.look() is None
    warnings = [text for level, text in watch.lines if level == logging.WARNING]
    assert warnings == ["gates that cannot be read stay open: battery (gates.unknown)"], "said once"


def test_the_site_s_command(tmp_path: Path) -> None:
    command = script(tmp_path / "sun", f"cat {tmp_path}/line; exit $(cat {tmp_path}/code)")
    (tmp_path / "line").write_text("no sun\x1b[2J until 6\n")
    (tmp_path / "code").write_text("1")
    watch = Watch(tmp_path, command=[command])
    assert watch.look() == Refusal(Absence.COMMAND, "no sun [2J until 6")
    (tmp_path / "line").write_text("")
    assert watch.look() == Refusal(Absence.COMMAND, "sun ended with code 1")
    (tmp_path / "code").write_text("0")
    assert watch.look() is None


def test_a_command_that_hangs_holds_nobody_up_and_has_said_nothing(tmp_path: Path) -> None:
    watch = Watch(tmp_path, command=["sleep", "600"], command_timeout_seconds=30.0, unknown="refuse")
    began = time.monotonic()
    watch.keeper.turn(100.0, 0.0)
    watch.keeper.turn(129.0, 0.0)
    assert watch.keeper.refusal == NOT_LOOKED
    watch.keeper.turn(130.0, 0.0)
    assert time.monotonic() - began < 15.0, "it was not waited for"
    found = watch.keeper.refusal
    assert found is not None
    assert (found.reason, found.detail) == (Absence.COMMAND, "command cannot be read; wanted its exit code 0")
    watch.keeper.close()


MODEM = {"proc/net/route": HEAD + WWAN, "sys/class/net/wwan0/type": "519\n", "sys/class/net/wwan0/uevent": ""}
WIFI = {"proc/net/route": HEAD + WLAN, "sys/class/net/wlan0/type": "1\n", "sys/class/net/wlan0/uevent": ""}


def test_a_modem_is_metered_and_networkmanager_knows_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    modem = Watch(tmp_path, MODEM, metered="refuse")
    assert modem.look() == Refusal(Absence.METERED, "link wwan0 is metered")
    script(tmp_path / "nmcli", f'echo "$@" > {tmp_path}/asked; echo "GENERAL.METERED:no"')
    assert modem.look() is None
    assert (tmp_path / "asked").read_text() == "-t -f GENERAL.METERED device show wwan0\n"
    wifi = Watch(tmp_path, WIFI, metered="refuse")
    script(tmp_path / "nmcli", 'echo "GENERAL.METERED:yes (guessed)"')
    assert wifi.look() == Refusal(Absence.METERED, "link wlan0 is metered")
    script(tmp_path / "nmcli", "exit 8")
    assert wifi.look() is None


def test_roaming_matters_on_a_modem_s_link_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    answer = json.dumps({"modem": {"3gpp": {"registration-state": "roaming"}}})
    modem = Watch(tmp_path, MODEM, roaming="refuse", unknown="refuse")
    assert modem.look() == Refusal(Absence.ROAMING, "roaming cannot be read; wanted the home network")
    script(tmp_path / "mmcli", f"test \"$*\" = '-m any -J' && echo '{answer}'")
    assert modem.look() == Refusal(Absence.ROAMING, "link wwan0 is roaming")
    script(tmp_path / "mmcli", f"echo '{answer.replace('roaming', 'home')}'")
    assert modem.look() is None
    script(tmp_path / "mmcli", f"echo '{answer}'")
    assert Watch(tmp_path, WIFI, roaming="refuse", unknown="refuse").look() is None


# The session -----------------------------------------------------------------------------------------------------

LOW = Refusal(Absence.BATTERY, "battery 12 %, wanted 30 %")
HOT = Refusal(Absence.TEMPERATURE, "temperature 81 C, wanted 70 or less")


@pytest.fixture
def server() -> ServerSide:
    return ServerSide()


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path)
    device.connect()
    return device


def gate(device: Device, refusal: Refusal | None) -> None:
    device.run(device.session.available(refusal, device.now))


def absences(payloads: list[bytes]) -> list[Absent]:
    return [message for message in map(parse, payloads) if isinstance(message, Absent)]


def test_each_reason_of_a_round_is_said_once(device: Device, server: ServerSide) -> None:
    device.take()
    gate(device, LOW)
    device.receive("m", server.manifest())
    assert absences(device.take()) == [Absent(JOB, 0, Absence.BATTERY, LOW.detail)]
    assert [line.text for line in device.log] == ["round 0: not now (battery): battery 12 %, wanted 30 %"]
    gate(device, Refusal(Absence.BATTERY, "battery 11 %, wanted 30 %"))
    device.receive("m", server.manifest(deadline=1))  # the same round, signed anew
    assert device.take() == []
    gate(device, HOT)
    assert absences(device.take()) == [Absent(JOB, 0, Absence.TEMPERATURE, HOT.detail)]
    gate(device, LOW)
    assert device.take() == []
    server.advance()
    device.receive("m", server.manifest())
    assert [each.round for each in absences(device.take())] == [1]
    gate(device, None)
    exchange(device, server)
    assert list(server.counted) == [1]


def test_what_could_not_be_said_is_said_with_the_next_connection(device: Device, server: ServerSide) -> None:
    device.take()
    gate(device, LOW)
    device.receive("m", server.manifest())
    assert absences([payload for kind, payload in device.out if kind == "u"])
    device.disconnect()  # before the broker acknowledged it
    gate(device, HOT)
    assert device.out == []
    device.connect()
    assert [each.reason for each in absences(device.take())] == [Absence.TEMPERATURE], "the last reason, once"
    device.disconnect()
    device.connect()
    assert absences(device.take()) == []


def test_an_acknowledgement_of_an_older_one_settles_nothing(device: Device, server: ServerSide) -> None:
    device.take()
    gate(device, LOW)
    device.receive("m", server.manifest())
    (token,) = device.tokens
    device.tokens.clear()
    gate(device, HOT)
    device.run(device.session.puback(token, device.now))
    device.disconnect()
    device.connect()
    assert [each.reason for each in absences(device.take())] == [Absence.TEMPERATURE]


def test_before_the_first_look_nothing_begins_and_nothing_is_said(device: Device, server: ServerSide) -> None:
    device.take()
    gate(device, NOT_LOOKED)
    device.receive("m", server.manifest())
    assert (device.take(), device.log, device.session.state) == ([], [], State.RESTING)
    gate(device, LOW)
    assert len(absences(device.take())) == 1
    gate(device, None)
    exchange(device, server)
    assert list(server.counted) == [0]


def test_a_device_that_is_not_asked_says_nothing(device: Device, server: ServerSide) -> None:
    device.take()
    gate(device, LOW)
    server.state = JobState.PAUSED
    device.receive("m", server.manifest())
    assert absences(device.take()) == []


def test_it_can_be_told_not_to_tell(tmp_path: Path, server: ServerSide) -> None:
    device = Device(tmp_path, tell_absences=False)
    device.connect()
    device.take()
    gate(device, LOW)
    device.receive("m", server.manifest())
    assert device.take() == []
    assert len(device.log) == 1


def test_a_failed_fit_and_an_update_not_drawn_are_said_too(device: Device, server: ServerSide) -> None:
    device.hold_training = []
    device.receive("m", server.manifest())
    device.take()
    device.run(device.session.training_failed("KeyError: 'Jane Doe' (trainer.py:7)", device.now))
    assert absences(device.take()) == [Absent(JOB, 0, Absence.TRAINING, "KeyError; the log has more")]
    assert any("Jane Doe" in line.text for line in device.log)
    server.advance()
    device.receive("m", server.manifest())
    for payload in device.take():
        for kind, answer in server.handle(payload) if isinstance(parse(payload), Get) else []:
            device.receive(kind, answer)
    assert device.session.state is State.TRAINING
    device.run(device.session.abstained("an update of length 0.1 was not drawn this time", device.now))
    assert absences(device.take()) == [Absent(JOB, 1, Absence.ABSTAINED, "")]


SAID = {
    "the fit took longer than fit_timeout_seconds = 3600 and was ended: ask for fewer": "fit_timeout_seconds = 3600",
    "the training process was ended by SIGKILL (out of memory?): row Jane Doe": "SIGKILL (out of memory?)",
    "the training process ended with exit code 3: Jane Doe": "exit code 3",
    "out of memory; see fit_memory_bytes": "out of memory",
    "the loss became nan in local epoch 1 of 5, step 3, with learning rate 0.1": "epoch 1 of 5, step 3",
    "Trainer.fit: weights[0] has NaN or infinity: lower the learning rate": "weights[0] has NaN or infinity",
    "Trainer.fit: expected a finite loss, got nan: training diverged": "expected a finite loss, got nan",
    "the loss became Jane in local epoch 1": "the fit failed",
    "my.module.BadRow: Jane": "the fit failed",
    "Jane Doe Error: no": "the fit failed",
    "SensorError: Jane": "SensorError",
    "": "the fit failed",
}


@pytest.mark.parametrize("detail", SAID)
def test_what_is_told_of_a_failure_quotes_no_data(detail: str) -> None:
    said = tellable(detail)
    assert SAID[detail] in said
    assert "Jane" not in said
    assert one_line(said) == said


def test_settings_of_gates(tmp_path: Path) -> None:
    own = settings(tmp_path, gates={"battery_percent": 30, "metered": "refuse", "command": ["a", "b"]}).gates
    assert (own.battery_percent, own.metered, own.command, own.poll_seconds) == (30, "refuse", ["a", "b"], 60.0)
    for wrong, words in (
        ({"metered": "never"}, 'gates.metered: expected "allow" or "refuse"'),
        ({"battery_percent": 101}, "gates.battery_percent = 101: expected at most 100"),
        ({"batery_percent": 1}, "did you mean gates.battery_percent"),
        ({"command": "x"}, "gates.command: expected a list of texts"),
    ):
        with pytest.raises(ConfigError, match=words):
            settings(tmp_path, gates=wrong)
    with pytest.raises(ConfigError, match="profile: expected"):
        settings(tmp_path, profile="Pi Zero")


@pytest.mark.parametrize("module", [budget, failures, gates, probes])
def test_examples_in_docstrings(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def test_the_page_names_every_setting_and_the_figures_of_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "gates-and-budget.md").read_text()
    tables = defaults()
    for key in (*tables["gates"], *tables["budget"]):
        assert f"`{key}" in page, key
    figures = (AHEAD_BYTES, CONNECT_TLS_BYTES, RATE_FROM_BYTES)
    assert all(f"{number:,}" in page for number in figures)
    assert f"a message with {ENVELOPE_BYTES} bytes" in page
    assert f"connection with {CONNECT_BYTES}, with TLS" in " ".join(page.split())
    assert f"{MAX_PLANS_BYTES} bytes in all" in " ".join(page.split())
    assert f"for at least {LINGER_SECONDS:.0f} s" in " ".join(page.split())
