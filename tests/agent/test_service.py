"""The whole agent as a process against a real broker, with the simple server side behind it."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gossamer.agent.config import load
from gossamer.agent.journal import Systemd, make_log
from gossamer.agent.service import Agent
from gossamer.agent.store import AgentStore, read_ledger
from gossamer.broker import free_port
from gossamer.errors import DiskFull
from gossamer.mqtt import MqttLink
from gossamer.wire import messages as msg
from gossamer.wire.topics import Topics
from tests.brokers import Listening, mosquitto

from .device import Device, key_file
from .server_side import DEVICE, FLEET, FLEET_KEY, JOB, ServerSide
from .test_session import play_round

ROOT = Path(__file__).parents[2]
TOPICS = Topics(FLEET)
MAX_IDLE_MIB = 45


class Bridge:
    """Carries messages between the broker and a :class:`ServerSide`."""

    def __init__(self, listening: Listening, server: ServerSide) -> None:
        self.server = server
        self.births: list[bytes] = []
        self.link = MqttLink(listening.settings("bridge"), self)
        self.reconnect()

    def reconnect(self) -> None:
        self.link.connect()
        self.link.subscribe(TOPICS.subscription("u"), TOPICS.subscription("s"))

    def connected(self, session_present: bool) -> None: ...

    def puback(self, mid: int) -> None: ...

    def disconnected(self, reason: str) -> None: ...

    def message(self, topic: str, payload: bytes, token: int) -> None:
        parts = TOPICS.parse(topic)
        assert parts is not None
        if parts.kind == "s":
            self.births.append(payload)
            return
        for kind, answer in self.server.handle(payload):
            self.link.publish(TOPICS.device_topic("a", DEVICE) if kind == "a" else TOPICS.shared_topic(kind), answer)

    def announce(self) -> None:
        self.link.publish(TOPICS.shared_topic("m"), self.server.manifest(), retain=True)

    def serve(self, until: Any, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, "nothing happened in time"
            writable = [self.link.fileno()] if self.link.wants_write() else []
            readable, writable, _ = select.select([self.link.fileno()], writable, [], 0.05)
            if writable:
                self.link.on_writable()
            if readable:
                self.link.on_readable()
            self.link.tick()


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Listening]:
    with mosquitto(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def bridge(listening: Listening) -> Iterator[Bridge]:
    bridge = Bridge(listening, ServerSide())
    yield bridge
    bridge.link.disconnect()


def configuration(directory: Path, port: int, **changes: Any) -> Path:
    keys = {
        "fleet": FLEET, "device_id": DEVICE, "device_index": 0, "key_file": str(key_file(directory)),
        "fleet_public_key": FLEET_KEY.public_key().public_bytes_raw().hex(), "state_dir": "state",
        "trainer": "tests.agent.tiny:make", "chunk_bytes": 64, "status_timeout_seconds": 1.0,
        "manifest_wait_seconds": 0.5, "manifest_poll_seconds": 2.0, "backoff_first_seconds": 0.1,
        "backoff_limit_seconds": 0.3, "fit_nice": 0, **changes,
    }  # fmt: skip
    lines = [f"{key} = {_toml(value)}" for key, value in keys.items()]
    lines += ["[broker]", f"port = {port}", "[trainer_options]", "d = 40"]
    path = directory / "agent.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def start(config: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gossamer.agent", "--config", str(config)],
        stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **environment},
    )  # fmt: skip


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
    process.send_signal(number)
    began = time.monotonic()
    _, log = process.communicate(timeout=10)
    assert time.monotonic() - began < 2.0
    return log


def test_rounds_over_a_real_broker(tmp_path: Path, bridge: Bridge, listening: Listening) -> None:
    server = bridge.server
    bridge.announce()
    process = start(configuration(tmp_path, listening.port))
    try:
        for _ in range(3):
            bridge.serve(lambda: server.round in server.counted)
            server.advance()
            bridge.announce()
        bridge.serve(lambda: server.round in server.counted)
        bridge.serve(lambda: bridge.births[0][:1] == b"\x07")
    finally:
        log = stop(process)
    assert process.returncode == 0, log
    assert list(server.counted) == [0, 1, 2, 3]
    bridge.serve(lambda: msg.Death(1).serialize() in bridge.births)
    ledger = read_ledger(tmp_path / "state")
    (month,) = ledger.months.values()
    assert month["up"]["payload"] > sum(len(body) for body in server.counted.values())
    assert month["up"]["tcp"] > 0
    assert ledger.counters["body_bytes_up"] == sum(len(body) for body in server.counted.values())
    assert ledger.counters["rounds_counted"] >= 3


def test_killed_at_random_it_still_gets_every_round_counted(
    tmp_path: Path, bridge: Bridge, listening: Listening
) -> None:
    server = bridge.server
    bridge.announce()
    config = configuration(tmp_path, listening.port)
    undisturbed = undisturbed_bodies(4)
    for pause in (0.15, 0.35, 0.45, 0.6, 0.25, 0.5):
        process = start(config)
        end = time.monotonic() + pause
        bridge.serve(lambda end=end: time.monotonic() > end)
        process.kill()
        process.communicate()
        if server.round in server.counted and server.round < 3:
            server.advance()
            bridge.announce()
    process = start(config)
    bridge.serve(lambda: listens_to_signals(process.pid))
    while server.round < 3 or 3 not in server.counted:
        bridge.serve(lambda: server.round in server.counted)
        if server.round < 3:
            server.advance()
            bridge.announce()
    log = stop(process)
    assert process.returncode == 0, log
    assert list(server.counted.values()) == undisturbed


def listens_to_signals(pid: int) -> bool:
    (caught,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def undisturbed_bodies(rounds: int) -> list[bytes]:
    """The bodies of a run without a crash: everything in-process."""
    with tempfile.TemporaryDirectory() as directory:
        device, server = Device(Path(directory), trainer_options={"d": 40}), ServerSide()
        device.connect()
        for number in range(rounds):
            if number:
                server.advance()
            play_round(device, server)
        assert device.store is not None
        device.store.close()
    return list(server.counted.values())


def test_the_broker_dies_and_comes_back(tmp_path: Path, bridge: Bridge, listening: Listening) -> None:
    server = bridge.server
    bridge.announce()
    process = start(configuration(tmp_path, listening.port))
    try:
        bridge.serve(lambda: 0 in server.counted)
        listening.kill()
        time.sleep(0.5)
        listening.start()
        bridge.link.abort("the broker died")
        bridge.reconnect()
        server.advance()
        # nothing retained any more: the agent has to ask
        bridge.serve(lambda: 1 in server.counted)
    finally:
        log = stop(process)
    assert "connecting again" in log


def test_idle_and_connected_it_is_small(tmp_path: Path, bridge: Bridge, listening: Listening) -> None:
    bridge.announce()
    process = start(configuration(tmp_path, listening.port))
    try:
        bridge.serve(lambda: 0 in bridge.server.counted)  # after a round, not before the first
        time.sleep(0.5)
        status = Path(f"/proc/{process.pid}/status").read_text()
        rss = int(status.split("VmRSS:")[1].split()[0]) / 1024
        threads = int(status.split("Threads:")[1].split()[0])
        print(f"idle RSS {rss:.1f} MiB")
    finally:
        stop(process)
    assert rss <= MAX_IDLE_MIB
    assert threads == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_time_during_a_fit(tmp_path: Path, bridge: Bridge, listening: Listening, number: int) -> None:
    bridge.announce()
    config = configuration(tmp_path, listening.port)
    config.write_text(config.read_text() + "pause = 60.0\n")
    process = start(config)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    bridge.serve(lambda: children.read_text().strip())
    child = int(children.read_text().split()[0])
    stop(process, number)
    assert process.returncode == 0
    assert not Path(f"/proc/{child}").exists()
    store = AgentStore(tmp_path / "state", FLEET, DEVICE)
    assert store.outbox() is None
    assert store.marks().done_round == -1  # not lost: it is fitted again
    store.close()


def test_an_agent_ends_without_leaving_descriptors(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    agent = Agent(load(configuration(tmp_path, 1883), {}), lambda _level, _text: None)
    agent.stop()
    agent.run()
    agent.stop()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_it_ends_in_time_while_connecting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = start(configuration(tmp_path, silent.getsockname()[1]))
        end = time.monotonic() + 60
        while not listens_to_signals(process.pid) and time.monotonic() < end:
            time.sleep(0.05)
        with silent.accept()[0]:  # it is connecting
            stop(process)
        assert process.returncode == 0


def test_a_wrong_address_is_told_at_first(tmp_path: Path) -> None:
    process = start(configuration(tmp_path, free_port(), give_up_seconds=0.5))
    _, log = process.communicate(timeout=20)
    assert process.returncode == 75
    assert "Check host and port" in log


def test_a_device_that_was_there_before_waits_for_ever(tmp_path: Path) -> None:
    store = AgentStore(tmp_path / "state", FLEET, DEVICE)
    store.keep_manifest(JOB, 0, 0)
    store.close()
    process = start(configuration(tmp_path, free_port(), give_up_seconds=0.1))
    time.sleep(1.5)
    assert process.poll() is None
    stop(process)


def test_wrong_credentials(tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text("")
    with mosquitto(tmp_path / "broker", password_file=tmp_path / "passwords") as broker:
        process = start(configuration(tmp_path, broker.port))
        _, log = process.communicate(timeout=20)
    assert process.returncode == 77
    assert "Check username, password" in log


def test_under_a_service_manager_a_refusal_is_waited_out(tmp_path: Path) -> None:
    """``give_up_seconds = 0``, as the unit sets it: nobody is there to read an exit code."""
    (tmp_path / "passwords").write_text("")
    with mosquitto(tmp_path / "broker", password_file=tmp_path / "passwords") as broker:
        process = start(configuration(tmp_path, broker.port), GOSSAMER_GIVE_UP_SECONDS="0")
        assert process.stderr is not None
        line = process.stderr.readline()
        stop(process)
    assert process.returncode == 0
    assert "trying again in" in line


def test_a_trainer_that_does_not_exist(tmp_path: Path, bridge: Bridge, listening: Listening) -> None:
    bridge.announce()
    process = start(configuration(tmp_path, listening.port, trainer="absent:make"))
    bridge.serve(lambda: process.poll() is not None)
    _, log = process.communicate()
    assert process.returncode == 2
    assert "no module named absent" in log


def test_a_full_disk_is_waited_out(
    tmp_path: Path, bridge: Bridge, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge.announce()
    lines: list[str] = []
    agent = Agent(
        load(configuration(tmp_path, listening.port, disk_retry_seconds=0.3), {}), lambda _, text: lines.append(text)
    )
    failures = ["keep_manifest", "keep_model", "post", "settle"]
    for name in failures:
        fail_once(monkeypatch, name)
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        bridge.serve(lambda: any("update counted" in line for line in lines))
    finally:
        agent.stop()
        thread.join(10)
    assert len([line for line in lines if "no space" in line]) == len(failures)
    assert read_ledger(tmp_path / "state").counters["rounds_counted"] == 1
    assert bridge.server.counted == {0: undisturbed_bodies(1)[0]}


def fail_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    real, failed = getattr(AgentStore, name), []

    def method(self: AgentStore, *arguments: Any, **keywords: Any) -> Any:
        if not failed:
            failed.append(name)
            raise DiskFull("no space left")
        return real(self, *arguments, **keywords)

    monkeypatch.setattr(AgentStore, name, method)


@pytest.mark.parametrize("break_it", ["missing", "not a key"])
def test_a_key_that_is_none(tmp_path: Path, break_it: str) -> None:
    config = configuration(tmp_path, 1883)
    (tmp_path / "device.key").unlink()
    if break_it == "not a key":
        (tmp_path / "device.key").write_text("hello")
    process = start(config)
    _, log = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "device.key" in log


def test_a_damaged_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "agent.db").write_bytes(b"\x55" * 8192)
    process = start(configuration(tmp_path, 1883))
    _, log = process.communicate(timeout=20)
    assert process.returncode == 74
    assert "move it away" in log


def test_what_importing_loads() -> None:
    """Pins the size of the agent: it must not even load numpy."""
    code = "import sys, gossamer.agent, gossamer.agent.service; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    forbidden = {
        "numpy", "torch", "tensorflow", "tflite_runtime", "ai_edge_litert", "sqlalchemy", "typer", "rich", "click",
        "fastapi", "starlette", "flask", "aiohttp", "asyncio", "pydantic", "zstandard", "multiprocessing",
    }  # fmt: skip
    assert not forbidden & {name.split(".")[0] for name in loaded}


def test_sd_notify(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        systemd = Systemd({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "4000000"})
        assert systemd.watchdog_seconds == 2.0
        systemd.ready()
        systemd.status("resting")
        systemd.status("resting")
        systemd.alive()
        assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"STATUS=resting", b"WATCHDOG=1"]
    Systemd({}).ready()


def test_lines_for_the_journal(capsys: pytest.CaptureFixture[str]) -> None:
    make_log({"JOURNAL_STREAM": "8:1"})(40, "bad\nthing")
    make_log({})(20, "good")
    first, second = capsys.readouterr().err.splitlines()
    assert first == "<3>bad thing"
    assert second.endswith("Z info: good")
