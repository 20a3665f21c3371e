"""The unit and the package in a Debian with systemd as PID 1, with a broker and a server outside of it.

One device goes through all of it, in the order of this file. Its trainer adds 1 to every weight in each round, so the
model of the last round says exactly once: a lost update makes it smaller, one counted twice larger.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy

from tests.brokers import mosquitto
from tests.lab.namespaces import REPOSITORY
from tests.lab.systemd_root import Container, container
from tests.system.demo_runs import children

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

UNIT = "gossamer-agent"
ROUNDS = 6
WEIGHTS = 200
FIT_SECONDS = 2.5
"""Time enough to see it training, and to freeze the broker meanwhile."""
WATCHDOG_SECONDS = 4
MAX_EXPOSURE = 20
CLI = [sys.executable, "-m", "gossamer.cli"]

TRAINER = """
import time
import numpy as np
from gossamer.agent.trainer import FitResult

class Counting:
    def __init__(self, pause):
        self.pause = pause

    def initial(self, seed):
        return [np.zeros(WEIGHTS, np.float32)]

    def fit(self, weights, config):
        time.sleep(self.pause)
        return FitResult([w + np.float32(1) for w in weights], examples=10, loss=0.5)

    def evaluate(self, weights):
        return {"accuracy": 1.0, "examples": 10}

def make(pause=0.0):
    return Counting(pause)
""".replace("WEIGHTS", str(WEIGHTS))

JOB = f"""
name = "counting"
rounds = {ROUNDS}
codec_up = "fp32"
codec_down = "fp32"
"""

#: In the place of a virtual environment: the test's own packages, with the Python of the container.
SERVER = """#!/bin/sh
PYTHONPATH=/opt/gossamer/source:/opt/gossamer/packages PYTHONDONTWRITEBYTECODE=1 exec python3 -m gossamer.cli "$@"
"""

HASTE = f"[Service]\nWatchdogSec={WATCHDOG_SECONDS}\nRestartSec=1\nTimeoutAbortSec=5\n"


def gossamer(directory: Path, *words: str) -> str:
    ended = subprocess.run([*CLI, *words], cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, f"{words}: {ended.stderr}"
    return ended.stdout


@dataclass
class Site:
    """Broker and server, and the device's machine."""

    directory: Path
    device: Container
    broker: int
    server: subprocess.Popen[bytes]

    @contextlib.contextmanager
    def frozen(self, pid: int) -> Iterator[None]:
        """Stop a process for a while: it keeps its connections and says nothing."""
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def version(self) -> int:
        """Model version of the job."""
        address = f"file:{self.directory / 'state' / 'store.db'}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as db:
            return int(db.execute("SELECT version FROM jobs").fetchone()[0])

    def status(self) -> str:
        return self.device.show(UNIT, "StatusText")

    def restarts(self) -> int:
        """How often systemd has started it again since somebody has started it."""
        return int(self.device.show(UNIT, "NRestarts"))

    def until(self, what: str, holds: Callable[[], bool], seconds: float = 90.0) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, (
                f"{what}: not in {seconds:g} s; {self.status()!r}, version {self.version()}\n"
                f"{self.device.journal(UNIT)[-3000:]}\n{(self.directory / 'server.log').read_text()[-1500:]}"
            )
            time.sleep(0.05)

    @contextlib.contextmanager
    def unfinished_upload(self) -> Iterator[int]:
        """Freeze the broker while a fit runs, and wait for its update.

        The kernel takes the first bytes of it for the broker, which get there when it thaws; no acknowledgement comes,
        so of its 13 chunks no more than the window of 4 has left.
        """
        self.until("training", lambda: self.status().startswith("training"))
        with self.frozen(self.broker):
            self.until("sending", lambda: self.status().startswith("sending"))
            time.sleep(0.5)
            yield self.version()


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two revisions for this machine, and one for each of the others."""
    out = tmp_path_factory.mktemp("packages")
    build(out)
    build(out, "--arch", "amd64", "--revision", "2")
    return out


def build(out: Path, *options: str) -> str:
    command = [sys.executable, str(REPOSITORY / "deploy/deb/build.py"), "--out", str(out), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    (directory / "counting.py").write_text(TRAINER)
    (directory / "job.toml").write_text(JOB)
    state = directory / "state"
    with contextlib.ExitStack() as stack:
        machine = stack.enter_context(container(tmp_path_factory.mktemp("machine") / "one"))
        # The accounts exist before the broker starts; it listens on a port that is known only then.
        gossamer(directory, "fleet", "init", "farm1", "--state", "state")
        options = ("--trainer", "counting:make", "--option", f"pause={FIT_SECONDS}", "--state", "state")
        gossamer(directory, "fleet", "enroll", "pump-17", *options)
        gossamer(directory, "job", "create", "job.toml", "--trainer", "counting:make", "--state", "state")
        passwords, rules = state / "mosquitto" / "passwords", state / "mosquitto" / "acl"
        before = set(children(os.getpid()))
        broker = stack.enter_context(mosquitto(directory / "broker", password_file=passwords, acl_file=rules))
        (broker_pid,) = set(children(os.getpid())) - before
        for file in (state / "server.toml", state / "devices" / "pump-17.toml"):
            file.write_text(file.read_text().replace("port = 1883", f"port = {broker.port}"))
        log = stack.enter_context((directory / "server.log").open("wb"))
        serve = [*CLI, "serve", "--state", "state", "--no-page"]
        server = subprocess.Popen(serve, cwd=directory, stdout=log, stderr=log)
        stack.callback(server.wait)
        stack.callback(server.kill)
        packages = Path(sqlalchemy.__file__).parents[1]
        machine.shown = {REPOSITORY: "/opt/gossamer/source", packages: "/opt/gossamer/packages"}
        machine.boot()
        yield Site(directory, machine, broker_pid, server)


def configure(site: Site) -> None:
    """What docs/service.md says: the file, its two secrets in files of their own, the trainer."""
    text = (site.directory / "state/devices/pump-17.toml").read_text()
    place = site.device.root / "etc/gossamer"
    for key, file in (("device_key", "device.key"), ("password", "broker.password")):
        found = re.search(rf'^{key} = "(.*)"$', text, re.MULTILINE)
        assert found
        name = {"device_key": "key_file", "password": "password_file"}[key]
        text = text.replace(found[0], f'{name} = "{file}"')
        (place / file).write_text(found[1] + "\n")
        (place / file).chmod(0o600)
    keys = "chunk_bytes = 64\nstatus_timeout_seconds = 2.0\nbackoff_limit_seconds = 1.0\ndisk_retry_seconds = 1.0\n"
    keys += 'trainer_path = ["/opt/pump"]\n'
    text = text.replace("[broker]\n", "[broker]\nconnect_timeout_seconds = 2.0\n")
    (place / "agent.toml").write_text(keys + text)
    (place / "agent.toml").chmod(0o600)
    (site.device.root / "opt/pump").mkdir()
    (site.device.root / "opt/pump/counting.py").write_text(TRAINER)


def test_a_package_is_the_same_bytes_each_time(packages: Path, tmp_path: Path) -> None:
    build(tmp_path, "--arch", "armhf")
    (built,) = tmp_path.glob("*.deb")
    assert built.read_bytes() == (packages / built.name).read_bytes()


def test_a_package_for_each_machine(packages: Path) -> None:
    contents = set()
    for architecture in ("amd64", "arm64", "armhf"):
        (package,) = packages.glob(f"*-1_{architecture}.deb")
        field = subprocess.check_output(["dpkg-deb", "-f", str(package), "Architecture", "Depends"], text=True)
        assert f"Architecture: {architecture}\n" in field
        assert "python3-numpy" in field
        assert "paho" not in field  # Debian 12 has 1.6: ours comes along
        listed = subprocess.check_output(["dpkg-deb", "-c", str(package)], text=True)
        assert " ./usr/lib/gossamer/paho/mqtt/client.py" in listed
        assert not re.search(r"\.(pyc|so)$|gossamer/(cli|aggregator|demo)/", listed, re.MULTILINE)
        assert not re.search(r"^\S+ (?!root/root)", listed, re.MULTILINE)
        contents.add(listed)
    assert len(contents) == 1


def test_it_installs_and_waits_for_its_configuration(site: Site, packages: Path) -> None:
    shutil.copy(next(packages.glob("*-1_amd64.deb")), site.device.root / "root/one.deb")
    site.device.run("dpkg", "-i", "/root/one.deb")
    assert site.device.run("systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"
    assert site.device.show(UNIT, "ActiveState") == "inactive"
    assert site.device.show(UNIT, "ConditionResult") == "no"
    assert list(site.device.root.glob("usr/lib/gossamer/gossamer/agent/__pycache__/*.pyc"))


def test_the_units_have_no_fault_and_little_exposure(site: Site) -> None:
    server = site.device.root / "opt/gossamer/bin/gossamer"
    server.parent.mkdir(parents=True)
    server.write_text(SERVER)
    server.chmod(0o755)
    shutil.copy(REPOSITORY / "deploy/gossamer-server.service", site.device.root / "etc/systemd/system")
    for path in (f"/usr/lib/systemd/system/{UNIT}.service", "/etc/systemd/system/gossamer-server.service"):
        verified = site.device.run("systemd-analyze", "verify", "--man=no", path)
        assert verified.stderr == "", path  # a key that it does not know leaves the exit code at 0
        analyzed = site.device.run("systemd-analyze", "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", path)
        (exposure,) = re.findall(r"Overall exposure level .*: ([0-9.]+) ", analyzed.stdout)
        assert f"**{exposure}**" in (REPOSITORY / "docs/service.md").read_text()


def test_ready_and_a_round(site: Site) -> None:
    configure(site)
    drop_in = site.device.root / f"etc/systemd/system/{UNIT}.service.d/test.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(HASTE)
    site.device.run("systemctl", "daemon-reload")
    site.device.run("systemctl", "start", UNIT)  # Type=notify: this returns when the agent has said that it is ready
    assert site.device.show(UNIT, "ActiveState") == "active"
    site.until("a round", lambda: site.version() >= 1)
    examined = site.device.run("gossamer-doctor", check=False)
    assert examined.returncode == 0, examined.stderr  # nothing fails
    os.kill(site.server.pid, signal.SIGSTOP)  # no further round for now


def test_what_the_service_may(site: Site) -> None:
    pid = site.device.show(UNIT, "MainPID")
    status = site.device.run("cat", f"/proc/{pid}/status").stdout
    uid = int(re.findall(r"^Uid:\s+(\d+)", status, re.MULTILINE)[0])
    assert 61184 <= uid <= 65519  # a transient user
    assert "CapEff:\t0000000000000000" in status
    assert "Seccomp:\t2" in status
    memory = int(site.device.show(UNIT, "MemoryMax"))
    print(f"MemoryMax {memory} bytes; {re.findall(r'VmRSS:.*', status)[0]}")
    assert memory > 0
    state = site.device.root / "var/lib/private/gossamer"
    assert {path.name for path in state.iterdir()} >= {"agent.db"}
    assert (state / "agent.db").stat().st_uid == uid
    enter = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    assert site.device.run(*enter, "cat", "/etc/gossamer/device.key", check=False).returncode != 0
    # What the agent itself sees: its own credentials, and no way to write elsewhere.
    mounts = site.device.run("cat", f"/proc/{pid}/mounts").stdout
    assert re.search(rf"/run/credentials/{UNIT}.service ", mounts)
    assert re.search(r"^\S+ / \S+ ro\b", mounts, re.MULTILINE)


def test_a_hang_is_restarted(site: Site) -> None:
    before, restarts = site.device.show(UNIT, "MainPID"), site.restarts()
    site.device.run("systemctl", "kill", "--signal=STOP", "--kill-who=main", UNIT)
    site.until("a restart", lambda: site.restarts() == restarts + 1)
    site.until("ready again", lambda: site.device.show(UNIT, "ActiveState") == "active")
    assert site.device.show(UNIT, "MainPID") not in (before, "0")
    journal = site.device.journal(UNIT)
    assert "Watchdog timeout" in journal
    assert "most recent call first" in journal  # where it hung


def test_silence_on_the_link_is_no_hang(site: Site) -> None:
    site.until("online", lambda: site.status().endswith("online"))
    restarts = site.restarts()
    with site.frozen(site.broker):
        time.sleep(1.5 * WATCHDOG_SECONDS)
    assert site.restarts() == restarts


def test_killed_in_the_middle_of_an_upload(site: Site) -> None:
    os.kill(site.server.pid, signal.SIGCONT)
    restarts = site.restarts()
    with site.unfinished_upload() as version:
        site.device.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", UNIT)
        site.until("a restart", lambda: site.restarts() == restarts + 1)
        site.until("sending again", lambda: site.status().startswith("sending"))
        assert site.version() == version
    site.until("the round is sealed", lambda: site.version() > version)
    assert len(re.findall(f"round {version}: training from", site.device.journal(UNIT))) == 1


def test_a_reboot_in_the_middle_of_an_upload(site: Site) -> None:
    with site.unfinished_upload() as version:
        site.device.reboot()
        site.until("started at boot", lambda: site.device.show(UNIT, "ActiveState") == "active")
        site.until("sending again", lambda: site.status().startswith("sending"))
        assert site.version() == version
    site.until("the round is sealed", lambda: site.version() > version)
    assert len(re.findall(f"round {version}: training from", site.device.journal(UNIT))) == 1


def test_each_update_was_counted_once(site: Site) -> None:
    site.until("the last round", lambda: site.version() == ROUNDS)
    gossamer(site.directory, "job", "export", "counting", "model.npz", "--state", "state")
    with np.load(site.directory / "model.npz", allow_pickle=False) as model:
        (weights,) = (model[name] for name in model.files)
    assert weights.shape == (WEIGHTS,)
    assert set(weights.tolist()) == {float(ROUNDS)}


def test_it_ends_cleanly(site: Site) -> None:
    site.until("resting", lambda: site.status().startswith(("waiting", "resting")))
    site.device.run("systemctl", "stop", UNIT)
    assert site.device.show(UNIT, "Result") == "success"
    assert site.device.show(UNIT, "ExecMainStatus") == "0"
    assert site.device.show(UNIT, "ExecMainCode") == "1"  # exited, not killed


def test_a_wrong_setting_is_told_once(site: Site) -> None:
    file = site.device.root / "etc/gossamer/agent.toml"
    right = file.read_text()
    file.write_text("chunk_byte = 64\n" + right)
    assert site.device.run("systemctl", "start", UNIT, check=False).returncode != 0
    assert site.device.show(UNIT, "ActiveState") == "failed"
    assert site.device.show(UNIT, "ExecMainStatus") == "2"
    assert "did you mean chunk_bytes?" in site.device.journal(UNIT)
    file.write_text(right)
    site.device.run("systemctl", "start", UNIT)


def test_an_upgrade_keeps_the_state(site: Site, packages: Path) -> None:
    before = site.device.show(UNIT, "MainPID")
    shutil.copy(next(packages.glob("*-2_amd64.deb")), site.device.root / "root/two.deb")
    site.device.run("dpkg", "-i", "/root/two.deb")
    assert site.device.show(UNIT, "ActiveState") == "active"
    assert site.device.show(UNIT, "MainPID") != before
    site.until(f"version {ROUNDS} held", lambda: f"version {ROUNDS}" in site.status())


def test_a_full_disk_is_waited_out(site: Site) -> None:
    """From the beginning: not even the store can be made."""
    place = "/var/lib/private/gossamer"
    site.device.run("systemctl", "stop", UNIT)
    site.device.run("mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", place)
    site.device.run("dd", "if=/dev/zero", f"of={place}/filler", "bs=4k", check=False)
    site.device.run("systemctl", "start", UNIT)
    site.until("told", lambda: site.status() == "disk full")
    time.sleep(1.5 * WATCHDOG_SECONDS)
    assert site.device.show(UNIT, "ActiveState") == "active"
    assert site.restarts() == 0
    site.device.run("rm", f"{place}/filler")
    site.until("the model is fetched anew", lambda: f"version {ROUNDS}, online" in site.status())
    site.device.run("systemctl", "stop", UNIT)
    site.device.run("umount", place)


def test_removal_keeps_what_purge_takes(site: Site) -> None:
    root = site.device.root
    site.device.run("dpkg", "--remove", UNIT)
    assert site.device.show(UNIT, "ActiveState") == "inactive"
    assert (root / "etc/gossamer/device.key").exists()
    assert (root / "var/lib/private/gossamer/agent.db").exists()
    assert not (root / "usr/lib/gossamer").exists()
    site.device.run("dpkg", "--purge", UNIT)
    for gone in ("etc/gossamer", "var/lib/private/gossamer", "var/lib/gossamer"):
        assert not os.path.lexists(root / gone), gone
    assert not list(root.glob(f"etc/systemd/system/*.wants/{UNIT}.service"))


def test_the_servers_unit_serves(site: Site) -> None:
    """The same fleet, now by the unit: it goes on where the server outside has ended."""
    site.server.terminate()
    assert site.server.wait(20) == 0
    root = site.device.root
    site.device.run("useradd", "--system", "--home-dir", "/var/lib/gossamer-server", "gossamer")
    shutil.copytree(site.directory / "state", root / "var/lib/gossamer-server")
    site.device.run("systemctl", "start", "gossamer-server")
    site.until("connected", lambda: "connected to 127.0.0.1" in site.device.journal("gossamer-server"), 30.0)
    pid = site.device.show("gossamer-server", "MainPID")
    assert "CapEff:\t0000000000000000" in site.device.run("cat", f"/proc/{pid}/status").stdout
    site.device.run("systemctl", "stop", "gossamer-server")
    assert site.device.show("gossamer-server", "Result") == "success"
    assert site.device.show("gossamer-server", "ExecMainStatus") == "0"
