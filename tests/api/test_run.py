"""``Agent(...).run()`` in a script: the process becomes an agent without what the script has loaded."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gossamer import Agent
from gossamer.api import replacing
from gossamer.api.reference import package_root
from gossamer.compression import decode, lattice
from gossamer.errors import ConfigError, GossamerError, InputError
from tests.agent.server_side import ServerSide
from tests.agent.test_service import MAX_IDLE_MIB, Bridge, configuration, stop
from tests.agent.tiny import make
from tests.brokers import Listening, mosquitto
from tests.environments import python_of

from .scripts import HEAVY, answer, python, write


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def bridge(listening: Listening) -> Iterator[Bridge]:
    bridge = Bridge(listening, ServerSide(codec="fp32"))
    bridge.announce()
    yield bridge
    bridge.link.disconnect()


def test_the_script_becomes_a_small_agent(tmp_path: Path, bridge: Bridge, listening: Listening) -> None:
    configuration(tmp_path, listening.port, trainer="not.this:one")
    write(tmp_path, HEAVY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        process = python("train.py", "--shift", "0.25", cwd=tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert manager.recv(100) == b"READY=1"
    bridge.serve(lambda: 0 in bridge.server.counted)
    time.sleep(0.3)
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
    assert int(status.split("VmRSS:")[1].split()[0]) / 1024 <= MAX_IDLE_MIB
    assert "gossamer.agent" in line  # the same process id, another program
    process.send_signal(signal.SIGTERM)
    out, log = process.communicate(timeout=10)
    assert process.returncode == 0, log
    assert out == "before\n"  # flushed, and nothing after run()
    # The trainer was the script's own, told by the script's own arguments.
    update = decode(bridge.server.counted[0], bridge.server.layout.size)
    assert np.allclose(update, 0.25, atol=2.0 ** -(lattice.LATTICE_BITS - 1))


@pytest.mark.system
@pytest.mark.timeout(600)  # the environment may have to be made
def test_what_a_torch_script_has_imported_leaves_the_memory(
    tmp_path: Path, bridge: Bridge, listening: Listening
) -> None:
    configuration(tmp_path, listening.port)
    tell = "    print(open('/proc/self/status').read().split('VmRSS:')[1].split()[0], flush=True)\n    Agent("
    write(tmp_path, HEAVY.replace("import numpy as np", "import numpy as np\nimport torch").replace("    Agent(", tell))
    process = python("train.py", cwd=tmp_path, interpreter=python_of("torch"))
    bridge.serve(lambda: 0 in bridge.server.counted, 60.0)
    time.sleep(0.3)
    status = Path(f"/proc/{process.pid}/status").read_text()
    process.send_signal(signal.SIGTERM)
    out, log = process.communicate(timeout=10)
    assert process.returncode == 0, log
    before, after = int(out.split()[-1]), int(status.split("VmRSS:")[1].split()[0])
    print(f"RSS of the script {before / 1024:.0f} MiB, of the idle agent {after / 1024:.1f} MiB")
    assert before > 300 * 1024
    assert after <= MAX_IDLE_MIB * 1024


def test_without_its_guard_it_says_so(tmp_path: Path, bridge: Bridge, listening: Listening) -> None:
    configuration(tmp_path, listening.port)
    write(tmp_path, HEAVY.replace('if __name__ == "__main__":', "if True:"))
    process = python("train.py", cwd=tmp_path)
    bridge.serve(lambda: process.poll() is not None)
    _, log = process.communicate()
    assert process.returncode == 2
    assert 'put Agent(...).run() under `if __name__ == "__main__":`' in log
    assert "Traceback" not in log


def test_a_configuration_that_cannot_work_is_one_line_and_its_exit_code(tmp_path: Path) -> None:
    write(tmp_path, HEAVY)
    code, _, err = answer("train.py", cwd=tmp_path)
    assert code == 2
    assert "no configuration file" in err
    assert len(err.splitlines()) == 1


def test_who_would_be_missed_is_asked(tmp_path: Path) -> None:
    pump = "import threading, time\n    threading.Thread(target=time.sleep, args=(1,), name='pump').start()"
    write(tmp_path, HEAVY.replace("    Agent(", f"    {pump}\n    Agent("))
    code, _, err = answer("train.py", cwd=tmp_path)
    assert code == 1
    assert "the threads pump would end with it" in err
    code, _, err = answer("-i", "train.py", cwd=tmp_path, PYTHONSTARTUP="")
    assert "and with it your session" in err


@pytest.mark.system
def test_a_blocked_signal_ends_it_all_the_same(tmp_path: Path, bridge: Bridge, listening: Listening) -> None:
    configuration(tmp_path, listening.port)
    blocking = "    import signal\n    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n    Agent("
    write(tmp_path, HEAVY.replace("    Agent(", blocking))
    process = python("train.py", cwd=tmp_path)
    bridge.serve(lambda: 0 in bridge.server.counted)
    stop(process)
    assert process.returncode == 0


def test_the_command_line_keeps_interpreter_and_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = replacing.command(tmp_path / "a.toml", None)
    assert line[0] == sys.executable
    assert line[-4:] == ["-m", "gossamer.agent", "--config", str(tmp_path / "a.toml")]
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(InputError, match="in_process=True"):
        replacing.command(tmp_path / "a.toml", None)


@pytest.mark.system
def test_a_package_found_by_the_path_alone_is_found_again(tmp_path: Path) -> None:
    """No PYTHONPATH, a working directory of its own: the script's own sys.path led to the package."""
    root = str(package_root())
    write(tmp_path, f"import sys\nsys.path.insert(0, {root!r})\n{HEAVY}")
    code, _, err = answer("train.py", cwd=tmp_path, PYTHONPATH="")
    assert (code, "no configuration file" in err) == (2, True), err


# -- beside an application ---------------------------------------------------------------------------------


def test_in_a_thread_it_takes_part_and_leaves_signals_alone(
    tmp_path: Path, bridge: Bridge, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    agent = Agent(configuration(tmp_path, listening.port), make)
    agent.start()
    try:
        with pytest.raises(InputError, match="runs already"):
            agent.start()
        bridge.serve(lambda: 0 in bridge.server.counted)
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    finally:
        agent.stop()
    assert not agent.is_running
    bridge.server.advance()
    bridge.announce()
    with agent:  # once more, from its store
        bridge.serve(lambda: 1 in bridge.server.counted)


def test_in_process_it_ends_with_a_signal_and_gives_the_handlers_back(
    tmp_path: Path, bridge: Bridge, listening: Listening
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    agent = Agent(configuration(tmp_path, listening.port))
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    agent.run(in_process=True)
    assert signal.getsignal(signal.SIGTERM) is before


def test_why_it_ended_reaches_the_application(tmp_path: Path, listening: Listening, bridge: Bridge) -> None:
    agent = Agent(configuration(tmp_path, listening.port, trainer="absent:make"))
    agent.start()
    bridge.serve(lambda: not agent.is_running)
    assert isinstance(agent.error, ConfigError)
    with pytest.raises(GossamerError, match="no module named absent"):
        agent.stop()
    agent.stop()  # told once
    with pytest.raises(ConfigError, match="no configuration file"):
        Agent(tmp_path / "absent.toml").start()
