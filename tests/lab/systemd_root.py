"""A Debian with systemd as PID 1, in a container on this machine: where the unit and the package run for real.

The root is made once by debootstrap, in about a minute, and kept in the user's cache. Each container is an overlay over
it and shares the host's network, so that it reaches a broker on 127.0.0.1. Needs root. Commands enter by the namespaces
of the container's PID 1: no D-Bus and no machined of the host is asked.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SUITE = "bookworm"
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "python3", "python3-numpy", "python3-cbor2", "python3-cryptography",
    "python3-cffi-backend",
)  # fmt: skip
"""debootstrap knows no virtual packages: the last one is what python3-cryptography's resolve to."""
VERSION = f"systemd-{SUITE}-1"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
NEEDED = ("debootstrap", "systemd-nspawn", "nsenter")
MAKE_SECONDS = 600
ATTEMPTS = 3
"""Of what fetches from a mirror: one hiccup is not a failure."""
BOOT_SECONDS = 60.0
REBOOT_CODE = 133
"""With which systemd-nspawn asks whoever keeps it to start it again."""


class ContainerUnavailable(Exception):
    """What is missing to boot a container, and how to get it."""


def systemd_root() -> Path:
    """The directory, made if it is not in the cache yet; raises `ContainerUnavailable`."""
    missing = [program for program in NEEDED if shutil.which(program, path=SEARCH) is None]
    if missing:
        raise ContainerUnavailable(f"a container needs {', '.join(missing)}: run scripts/need {' '.join(NEEDED[:2])}")
    if os.geteuid() != 0:
        raise ContainerUnavailable("a container with systemd needs root")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gossamer-tests"
    root = cache / VERSION
    if root.is_dir():
        return root
    cache.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{VERSION}-", dir=cache))
    try:
        _bootstrap(work)
        work.chmod(0o755)
        work.rename(root)  # whole or not at all
    except OSError:
        if not root.is_dir():  # else another run was faster
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return root


def _bootstrap(root: Path) -> None:
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root), MIRROR]
    said = ""
    for _ in range(ATTEMPTS):
        environment = {**os.environ, "PATH": SEARCH}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=MAKE_SECONDS, check=False
        )
        if done.returncode == 0:
            break
        said = (done.stderr or done.stdout)[-1500:]
    else:
        raise ContainerUnavailable(f"debootstrap failed {ATTEMPTS} times: {said}")
    for archive in root.glob("var/cache/apt/archives/*.deb"):
        archive.unlink()


@dataclass
class Container:
    """One machine. ``root`` is its file system as the host sees it, and as the host may change it."""

    root: Path
    name: str
    log: Path
    shown: dict[Path, str] = field(default_factory=dict)
    """Directories of the host that can be read in it, and where."""
    _nspawn: subprocess.Popen[bytes] | None = field(default=None)

    def boot(self) -> None:
        """Switch it on, and wait until systemd has started everything."""
        with self.log.open("ab") as log:
            self._nspawn = subprocess.Popen(
                ["systemd-nspawn", "-D", str(self.root), "--register=no", "--keep-unit", "-M", self.name,
                 "--console=pipe", "--resolv-conf=off", "-b",
                 *(f"--bind-ro={host}:{inside}" for host, inside in self.shown.items())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        end = time.monotonic() + BOOT_SECONDS
        while True:
            done = self.run("systemctl", "is-system-running", check=False)
            if done.stdout.strip() in ("running", "degraded"):
                return
            assert time.monotonic() < end, f"not up: {done.stdout}{done.stderr}\n{self.log.read_text()[-3000:]}"
            time.sleep(0.1)

    def reboot(self) -> None:
        """``systemctl reboot``, as an operator or unattended upgrades would."""
        assert self._nspawn is not None
        self.run("systemctl", "reboot", check=False)
        assert self._nspawn.wait(BOOT_SECONDS) == REBOOT_CODE, self.log.read_text()[-3000:]
        self.boot()

    def off(self) -> None:
        """Pull the plug: every process of it ends at once."""
        leader = self._leader()
        if leader is not None:
            os.kill(leader, signal.SIGKILL)
        if self._nspawn is not None:
            self._nspawn.wait(20)
            self._nspawn = None

    def run(self, *command: str, check: bool = True, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root. Its output is in an AssertionError if it fails, unless ``check`` is False."""
        leader = self._leader()
        if leader is None:
            return subprocess.CompletedProcess(command, 255, "", "it is off")
        enter = ["nsenter", "-t", str(leader), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "env", "-i"]
        enter += ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
        done = subprocess.run([*enter, *command], capture_output=True, text=True, timeout=seconds, check=False)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", unit, f"--property={name}", "--value").stdout.strip()

    def journal(self, unit: str) -> str:
        """What the unit has logged since the first boot."""
        return self.run("journalctl", "-u", unit, "--no-pager", "-o", "cat").stdout

    def _leader(self) -> int | None:
        """Its PID 1, as the host numbers it."""
        if self._nspawn is None or self._nspawn.poll() is not None:
            return None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        return None


@contextlib.contextmanager
def container(directory: Path) -> Iterator[Container]:
    """A machine of one's own, switched off; gone at the end. ``directory`` must not lie on an overlay."""
    lower = systemd_root()
    for name in ("upper", "work", "root"):
        (directory / name).mkdir(parents=True)
    root = directory / "root"
    options = f"lowerdir={lower},upperdir={directory / 'upper'},workdir={directory / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(root)], check=True)
    (root / "var/log/journal").mkdir(exist_ok=True)  # kept across boots
    machine = Container(root, f"gsm{secrets.token_hex(3)}", directory / "console.log")
    try:
        yield machine
    finally:
        machine.off()
        subprocess.run(["umount", "-l", str(root)], check=False)
        shutil.rmtree(directory / "upper", ignore_errors=True)
        shutil.rmtree(directory / "work", ignore_errors=True)
