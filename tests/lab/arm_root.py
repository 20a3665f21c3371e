"""ARM Pythons with what the agent needs, on an x86 host: Debian's binaries in a directory, run under qemu's user mode.

The emulator looks into the directory for every absolute path it is asked for (``-L``), so there is no chroot, no
mount, no registered interpreter and no emulated installation: packages are unpacked, wheels are unzipped. aarch64 has
PyPI's wheels, as a device with pip has them; armhf, for which there are none of numpy, has the distribution's
packages, as a device with apt has them, and paho, which is pure. Made once, in one to two minutes, and kept in the
user's cache.
``python -m tests.lab.arm_root aarch64 SCRIPT ...`` runs a script.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab.namespaces import REPOSITORY

SUITE = "bookworm"
PYTHON = "3.11"  # the suite's
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
NEEDED = ("debootstrap", "dpkg-deb", "tar")
MAKE_SECONDS = 400
ATTEMPTS = 3
"""Of what fetches from a mirror: one hiccup is not a failure."""


@dataclass(frozen=True)
class Root:
    """One architecture: Debian's name for it, the emulator, packages to unpack, wheels to unzip."""

    name: str
    debian: str
    emulator: str
    packages: tuple[str, ...]
    wheels: tuple[str, ...]
    platforms: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    number: int = 1

    @property
    def directory(self) -> str:
        """Name in the cache: another one for other contents."""
        return f"{self.name}-{SUITE}-{'-'.join(self.wheels).replace('==', '-')}-{self.number}"


_STDLIB = ("python3-minimal", "libpython3-stdlib")
ROOTS = {
    "aarch64": Root(
        "aarch64", "arm64", "qemu-aarch64-static", _STDLIB,
        ("numpy==2.2.6", "cbor2==5.9.0", "cryptography==44.0.3", "cffi==2.0.0", "paho-mqtt==2.1.0"),
        ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
    ),
    "armhf": Root(
        "armhf", "armhf", "qemu-arm-static",
        (*_STDLIB, "python3-numpy", "python3-cbor2", "python3-cryptography", "python3-cffi-backend"),
        ("paho-mqtt==2.1.0",),
        # Debian selects BLAS by links that its maintainer scripts make.
        libraries=("usr/lib/arm-linux-gnueabihf/blas", "usr/lib/arm-linux-gnueabihf/lapack"),
    ),
}  # fmt: skip


class ArmUnavailable(Exception):
    """What is missing to run ARM programs, and how to get it."""


def arm_root(name: str = "aarch64") -> Path:
    """The directory, made if it is not in the cache yet; raises `ArmUnavailable`."""
    wanted = ROOTS[name]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gossamer-tests"
    root = cache / wanted.directory
    if root.is_dir():
        return root
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    needed = (wanted.emulator, *NEEDED)
    missing = [program for program in needed if shutil.which(program, path=search) is None]
    if missing:
        raise ArmUnavailable(f"the {name} root needs {', '.join(missing)}: run scripts/need {' '.join(needed[:2])}")
    if os.geteuid() != 0:
        raise ArmUnavailable(f"debootstrap works only as root: run this once as root, or copy the result to {root}")
    cache.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=cache))
    try:
        _make(wanted, work, search)
        work.chmod(0o755)
        work.rename(root)  # whole or not at all
    except OSError:
        if not root.is_dir():  # else another run was faster
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return root


def _make(wanted: Root, root: Path, search: str) -> None:
    include = f"--include={','.join(wanted.packages)}"
    options = [f"--arch={wanted.debian}", "--foreign", "--variant=minbase", include]
    _fetch(["debootstrap", *options, SUITE, str(root), MIRROR], search)
    for package in sorted(root.glob("var/cache/apt/archives/*.deb")):
        unpack = 'dpkg-deb --fsys-tarfile "$0" | tar -x -C "$1" --keep-directory-symlink'
        _run(["sh", "-c", unpack, str(package), str(root)], search)
        package.unlink()
    wheels = root / "wheels"
    platforms = [f"--platform={each}" for each in wanted.platforms]
    options = ["--no-deps", "--only-binary=:all:", *platforms, "--python-version", PYTHON, "--implementation", "cp"]
    _fetch([sys.executable, "-m", "pip", "download", "-q", *options, *wanted.wheels, "-d", str(wheels)], search)
    for path in wheels.glob("*.whl"):
        zipfile.ZipFile(path).extractall(root / "site")


def _fetch(command: list[str], search: str) -> None:
    for left in reversed(range(ATTEMPTS)):
        try:
            _run(command, search)
            return
        except ArmUnavailable:
            if left == 0:
                raise


def _run(command: list[str], search: str) -> None:
    environment = {**os.environ, "PATH": search}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=MAKE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ArmUnavailable(f"{command[0]} did not end within {MAKE_SECONDS} s: is {MIRROR} slow?") from error
    if done.returncode:
        raise ArmUnavailable(f"{' '.join(command[:4])} failed: {(done.stderr or done.stdout)[-1500:]}")


def arm_command(root: Path, arguments: list[str], name: str = "aarch64", **environment: str) -> list[str]:
    """``python ARGUMENTS`` on that architecture, the repository on its path."""
    wanted = ROOTS[name]
    packages = f"{root}/usr/lib/python3/dist-packages"
    settings = {"PYTHONHOME": f"{root}/usr", "PYTHONPATH": f"{root}/site:{packages}:{REPOSITORY}", **environment}
    settings["PYTHONDONTWRITEBYTECODE"] = "1"
    if wanted.libraries:
        settings["LD_LIBRARY_PATH"] = ":".join(f"{root}/{each}" for each in wanted.libraries)
    assignments = [part for name, value in settings.items() for part in ("-E", f"{name}={value}")]
    return [wanted.emulator, "-L", str(root), *assignments, f"{root}/usr/bin/python{PYTHON}", *arguments]


def arm_python(root: Path, name: str, script: Path) -> Path:
    """Write a program that is this Python to whoever starts it, and to itself: its children are of its kind.

    A program under emulation that starts ``sys.executable`` asks the host's kernel, which runs no ARM binary. So that
    name is a script of the host, which starts the emulator again; Python takes it from ``argv[0]``.
    """
    emulator, *rest = arm_command(root, [], name)
    script.write_text(f'#!/bin/sh\nexec {emulator} -0 "$0" {shlex.join(rest)} "$@"\n')
    script.chmod(0o755)
    return script


if __name__ == "__main__":
    print(f"{platform.machine()} host", file=sys.stderr)
    chosen = sys.argv[1]
    sys.exit(subprocess.run(arm_command(arm_root(chosen), sys.argv[2:], chosen), check=False).returncode)
