"""What feeds the watchdog: the agent's own progress, told from being busy, offline or slow."""

from __future__ import annotations

import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer.agent import progress, runner, storage
from gossamer.agent.config import defaults, load
from gossamer.agent.progress import PATIENCE_SECONDS, Progress, Vitals
from gossamer.agent.service import Agent
from gossamer.agent.session import Session
from gossamer.mqtt import link

from .test_service import Bridge, bridge, configuration, listening, start, stop  # noqa: F401 - fixtures

ROOT = Path(__file__).parents[2]
WELL = Vitals(due=float("inf"), training=False, child=False)


def judge(seconds: float, vitals: Vitals, step: float = 1.0) -> str:
    """The last verdict of turns over so many seconds, all with the same vitals (``due`` counts from the start)."""
    judged, verdict, now = Progress(10.0, 1000.0), "", 1000.0
    while now <= 1000.0 + seconds:
        verdict = judged.turned(Vitals(1000.0 + vitals.due, vitals.training, vitals.child), now)
        now += step
    return verdict


@pytest.mark.parametrize(
    "vitals",
    [WELL, Vitals(86_400.0, False, False), Vitals(3600.0, True, True)],
    ids=["offline or resting for ever", "next manifest in a day", "a long fit"],
)
def test_waiting_is_no_hang(vitals: Vitals) -> None:
    assert judge(3000.0, vitals) == ""


def test_a_deadline_that_nobody_handles_is_a_hang() -> None:
    assert judge(PATIENCE_SECONDS - 1, Vitals(0.0, False, False)) == ""
    assert "overdue" in judge(PATIENCE_SECONDS + 1, Vitals(0.0, False, False))
    assert "overdue" in judge(PATIENCE_SECONDS + 12, Vitals(10.0, True, True))  # a child past its time is one


def test_training_without_a_child_is_a_hang() -> None:
    assert "not there" in judge(PATIENCE_SECONDS + 1, Vitals(float("inf"), True, False))


def test_what_was_late_once_is_forgotten() -> None:
    judged = Progress(10.0, 0.0)
    for second in range(int(10 * PATIENCE_SECONDS)):
        late = second % int(PATIENCE_SECONDS)  # every half minute all is well for a moment
        assert judged.turned(Vitals(second - late + 0.5, False, False), float(second)) == ""


def test_a_step_may_block_for_its_time_and_no_longer() -> None:
    judged = Progress(120.0, 0.0)
    judged.turned(WELL, 50.0)
    assert judged.may_block(50.0 + 120.0 + PATIENCE_SECONDS - 1)
    assert not judged.may_block(50.0 + 120.0 + PATIENCE_SECONDS)


class Manager:
    """The service manager's end of sd_notify(3), with a watchdog of two seconds."""

    def __init__(self, directory: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(directory / "notify"))
        self.environment = {"NOTIFY_SOCKET": str(directory / "notify"), "WATCHDOG_USEC": "2000000"}

    def heard(self, seconds: float) -> list[bytes]:
        """What comes within so many seconds."""
        end = time.monotonic() + seconds
        messages: list[bytes] = []
        while select.select([self.socket], [], [], max(0.0, end - time.monotonic()))[0]:
            messages.append(self.socket.recv(200))
        return messages


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.socket.close()


def test_a_broker_that_does_not_answer_does_not_starve_the_watchdog(tmp_path: Path, manager: Manager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = start(configuration(tmp_path, silent.getsockname()[1]), **manager.environment)
        with silent.accept()[0]:  # and no word more: one attempt to connect takes ten seconds
            while_connecting = [manager.heard(1.0) for _ in range(3)]
        stop(process)
    assert all(b"WATCHDOG=1" in each for each in while_connecting)


def test_a_stuck_session_does_not_feed_it(
    tmp_path: Path, bridge: Bridge, manager: Manager, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    """The session is online and does nothing at its deadlines any more; the loop goes on turning."""
    for name, value in manager.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(Session, "tick", lambda _self, _now: time.sleep(0.01) or [])
    lines: list[str] = []
    settings = load(configuration(tmp_path, bridge.link.settings.port), {})
    agent = Agent(settings, lambda _, text: lines.append(text))
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        # Its messages are read all the time: a full queue would block the agent's thread.
        bridge.serve(lambda: not manager.heard(0.0) and any("watchdog is not fed" in line for line in lines))
        assert b"WATCHDOG=1" not in manager.heard(0.5)
    finally:
        agent.stop()
        thread.join(10)
    assert len([line for line in lines if "watchdog is not fed" in line]) == 1


def test_an_agent_ended_by_the_watchdog_says_where_it_hung(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = start(configuration(tmp_path, silent.getsockname()[1]))
        silent.accept()[0].close()
        process.send_signal(signal.SIGABRT)
        _, log = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGABRT
    assert "most recent call first" in log
    assert "service.py" in log


def test_the_unit_leaves_room_for_the_longest_steps() -> None:
    unit = (ROOT / "deploy" / "gossamer-agent.service").read_text()
    (seconds,) = re.findall(r"^WatchdogSec=(\d+)$", unit, re.MULTILINE)
    connect = defaults()["broker"]["connect_timeout_seconds"]
    steps = connect + link._FLUSH_SECONDS + runner._FAREWELL_SECONDS + storage._BUSY_SECONDS
    slow_card = 60.0
    assert int(seconds) / 2 > steps + slow_card  # it wakes after half of the time at the latest


def test_a_child_hears_nothing_of_the_service_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    environment = runner._environment(runner.ChildSettings("a:b", {}))
    assert not {"NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY"} & environment.keys()
    assert "PATH" in environment


def test_judging_loads_nothing() -> None:
    code = "import sys; before = set(sys.modules); import gossamer.agent.progress; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"paho", "numpy", "cryptography"} & {name.split(".")[0] for name in loaded}
