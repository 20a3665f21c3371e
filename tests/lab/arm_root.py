"""An aarch64 Python with numpy on an x86 host: Debian's binaries in a directory, run under qemu's user mode.

The emulator looks into the directory for every absolute path it is asked for (``-L``), so there is no chroot, no
mount, no registered interpreter and no emulated installation: packages are unpacked, a wheel is unzipped. Made once,
in about 40 s, and kept in the user's cache. ``python -m tests.lab.arm_root SCRIPT ...`` runs a script in it.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.lab.namespaces import REPOSITORY

SUITE = "bookworm"
PYTHON = "3.11"  # the suite's
PACKAGES = "python3-minimal,libpython3-stdlib"
NUMPY = "2.2.6"
VERSION = f"aarch64-{SUITE}-numpy-{NUMPY}-1"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
NEEDED = ("qemu-aarch64-static", "debootstrap", "dpkg-deb", "tar")
MAKE_SECONDS = 400
ATTEMPTS = 3
"""Of what fetches from a mirror: one hiccup is not a failure."""


class ArmUnavailable(Exception):
    """What is missing to run aarch64 programs, and how to get it."""


def arm_root() -> Path:
    """The directory, made if it is not in the cache yet; raises `ArmUnavailable`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gossamer-tests"
    root = cache / VERSION
    if root.is_dir():
        return root
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [program for program in NEEDED if shutil.which(program, path=search) is None]
    if missing:
        raise ArmUnavailable(f"an aarch64 root needs {', '.join(missing)}: run scripts/need {' '.join(NEEDED[:2])}")
    if os.geteuid() != 0:
        raise ArmUnavailable(f"debootstrap works only as root: run this once as root, or copy the result to {root}")
    cache.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{VERSION}-", dir=cache))
    try:
        _make(work, search)
        work.chmod(0o755)
        work.rename(root)  # whole or not at all
    except OSError:
        if not root.is_dir():  # else another run was faster
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return root


def _make(root: Path, search: str) -> None:
    options = ["--arch=arm64", "--foreign", "--variant=minbase", f"--include={PACKAGES}"]
    _fetch(["debootstrap", *options, SUITE, str(root), MIRROR], search)
    for package in sorted(root.glob("var/cache/apt/archives/*.deb")):
        unpack = 'dpkg-deb --fsys-tarfile "$0" | tar -x -C "$1" --keep-directory-symlink'
        _run(["sh", "-c", unpack, str(package), str(root)], search)
        package.unlink()
    wheels = root / "wheels"
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in (28, 27, 17)]
    wheel = ["--no-deps", "--only-binary=:all:", *platforms, "--platform=manylinux2014_aarch64"]
    python = ["--python-version", PYTHON, "--implementation", "cp", f"numpy=={NUMPY}"]
    _fetch([sys.executable, "-m", "pip", "download", "-q", *wheel, *python, "-d", str(wheels)], search)
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


def arm_command(root: Path, arguments: list[str], **environment: str) -> list[str]:
    """``python ARGUMENTS`` on aarch64, the repository on its path."""
    settings = {"PYTHONHOME": f"{root}/usr", "PYTHONPATH": f"{root}/site:{REPOSITORY}", **environment}
    settings["PYTHONDONTWRITEBYTECODE"] = "1"
    assignments = [part for name, value in settings.items() for part in ("-E", f"{name}={value}")]
    return ["qemu-aarch64-static", "-L", str(root), *assignments, f"{root}/usr/bin/python{PYTHON}", *arguments]


if __name__ == "__main__":
    print(f"{platform.machine()} host", file=sys.stderr)
    sys.exit(subprocess.run(arm_command(arm_root(), sys.argv[1:]), check=False).returncode)
