"""The supervisor: what dies is started again, what cannot run is not, and all end together."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gossamer.demo import supervisor as module
from gossamer.demo.supervisor import RESTART_SECONDS, ProcessFailed, Supervisor, last_lines


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "processes.json")
    yield made
    made.stop()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def start(supervisor: Supervisor, name: str, script: str) -> Path:
    log = supervisor.pid_file.with_name(f"{name}.log")
    supervisor.start(name, ["sh", "-c", script], log, os.environ)
    return log


def ended(supervisor: Supervisor, name: str) -> None:
    process = supervisor.processes[name].process
    until(lambda: process.poll() is not None)


def pids(supervisor: Supervisor) -> dict[str, int]:
    return json.loads(supervisor.pid_file.read_text())


def test_a_killed_process_is_started_again(supervisor: Supervisor) -> None:
    told: list[str] = []
    supervisor.on_restart = told.append
    start(supervisor, "one", "echo up; exec sleep 60")
    start(supervisor, "two", "exec sleep 60")
    before = pids(supervisor)
    assert set(before) == {"one", "two"}
    os.kill(before["one"], signal.SIGKILL)
    ended(supervisor, "one")
    supervisor.poll(100.0)
    supervisor.poll(100.0 + RESTART_SECONDS / 2)
    assert (supervisor.restarts, told, pids(supervisor)) == (0, [], before), "not at once"
    supervisor.poll(100.0 + RESTART_SECONDS * 2)
    after = pids(supervisor)
    assert (supervisor.restarts, told) == (1, ["one"])
    assert after["one"] != before["one"]
    assert after["two"] == before["two"]
    os.kill(after["one"], 0)
    supervisor.poll(200.0)
    assert supervisor.restarts == 1
    log = supervisor.processes["one"].log
    until(lambda: log.read_text() == "up\nup\n")


@pytest.mark.parametrize("code", [0, 1, 75])
def test_any_other_end_is_a_death(supervisor: Supervisor, code: int) -> None:
    start(supervisor, "one", f"exit {code}")
    ended(supervisor, "one")
    supervisor.poll(1.0)
    supervisor.poll(2.0)
    assert supervisor.restarts == 1


def test_what_its_configuration_ended_is_not_started_again(supervisor: Supervisor) -> None:
    log = start(supervisor, "bad", "echo zero; echo one; echo two >&2; echo '  port: no'; exit 2")
    ended(supervisor, "bad")
    with pytest.raises(ProcessFailed) as failed:
        supervisor.poll(1.0)
    assert str(failed.value) == f"bad cannot run: one / two / port: no (whole log: {log})"
    assert supervisor.restarts == 0


def test_stop_ends_all_and_kills_what_does_not_listen(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.3)
    start(supervisor, "polite", "exec sleep 60")
    log = start(supervisor, "deaf", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    until(lambda: log.exists() and "ready" in log.read_text())
    supervisor.stop()
    codes = {name: entry.process.returncode for name, entry in supervisor.processes.items()}
    assert codes == {"polite": -signal.SIGTERM, "deaf": -signal.SIGKILL}
    supervisor.stop()


def test_children_end_with_the_supervisor(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import os, sys; from pathlib import Path; from gossamer.demo.supervisor import Supervisor\n"
        "s = Supervisor(Path(sys.argv[1])); s.start('one', ['sleep', '60'], Path(sys.argv[1] + '.log'), os.environ)\n"
        "os.kill(os.getpid(), 9)"
    )
    file = tmp_path / "processes.json"
    subprocess.run([sys.executable, "-c", code, str(file)], timeout=30)
    status = Path(f"/proc/{json.loads(file.read_text())['one']}/stat")

    def gone() -> bool:
        try:
            return status.read_text().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            return True

    until(gone)


def test_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_lines(log) == "no output"
    log.touch()
    assert last_lines(log) == "no output"
    log.write_bytes(b"a\n b \nc\xff\nd\n\n")
    assert last_lines(log) == "b / c\N{REPLACEMENT CHARACTER} / d"
    assert last_lines(log, 1) == "d"
