"""Checks of secrets and of the disk: who may read the keys, and whether what is written stays."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import time
from pathlib import Path

from gossamer.doctor.finding import Finding, fail, ok, warn

LEAST_FREE_BYTES = 32 << 20
"""Below this a store of a small model with its write-ahead log may not find room for a round."""
LITTLE_FREE_BYTES = 256 << 20
SLOW_FSYNC_SECONDS = 1.0
"""A fsync this long is a card that wears out, or one disk too busy for a round's few writes."""


def secret_mode(name: str, path: Path) -> Finding:
    """Whether a file with a secret is readable by its owner only."""
    try:
        status = path.stat()
    except OSError as error:
        return fail(name, f"{path}: {error.strerror}", f"put the file at {path}, or correct the path")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        who = "everybody" if mode & 0o007 else "its group"
        return fail(name, f"{path} has mode {mode:04o}: {who} can reach it", f"chmod 600 {path}")
    if not os.access(path, os.R_OK):
        mend = f"chown it to this account, or run as uid {status.st_uid}"
        return fail(name, f"{path} has mode {mode:04o} and this account cannot read it", mend)
    return ok(name, f"{path} has mode {mode:04o}")


def disk(name: str, directory: Path) -> list[Finding]:
    """Whether a state directory can be written durably, how fast, and how much room it has."""
    if directory.exists() and not directory.is_dir():
        return [fail(name, f"{directory} is no directory", "move that file away, or name another directory")]
    place = _existing(directory)
    if place is None or (place != directory and not os.access(place, os.W_OK)):
        mend = f"mkdir -p {directory}, owned by the account of the agent"
        return [fail(name, f"{directory} does not exist and cannot be made", mend)]
    findings = [_written(name, place)]
    try:
        room = os.statvfs(place)
    except OSError as error:
        return [*findings, fail(f"{name} space", f"{place}: {error.strerror}", f"look at the disk of {place}")]
    free = room.f_bavail * room.f_frsize
    nodes = "" if room.f_favail or not room.f_files else ", no inode"
    said = f"{free / 1e6:,.0f} MB free{nodes} at {place}"
    mend = f"free some space there (journalctl --vacuum-size=50M, old models), or move {directory}"
    if free < LEAST_FREE_BYTES or nodes:
        findings.append(fail(f"{name} space", said, mend))
    elif free < LITTLE_FREE_BYTES:
        findings.append(warn(f"{name} space", said, mend))
    else:
        findings.append(ok(f"{name} space", said))
    return findings


def _existing(directory: Path) -> Path | None:
    """The directory, or the closest one above it in which it would be made."""
    for each in (directory, *directory.absolute().parents):
        if each.is_dir():
            return each
    return None


def _written(name: str, place: Path) -> Finding:
    """Write a page, make it durable, take it away."""
    try:
        with tempfile.TemporaryFile(dir=place, prefix=".gossamer-doctor-") as file:
            file.write(os.urandom(4096))
            file.flush()
            begun = time.monotonic()
            os.fsync(file.fileno())
            took = time.monotonic() - begun
    except OSError as error:
        return fail(name, f"{place} cannot be written: {error.strerror}", _mend(error.errno, place))
    said = f"{place} is writable; 4 kB are durable after {took * 1000:.0f} ms"
    if took > SLOW_FSYNC_SECONDS:
        return warn(name, said, "a card that slow is worn out or shared: look at dmesg, replace it")
    return ok(name, said)


def _mend(code: int | None, place: Path) -> str:
    if code == errno.EROFS:
        return f"the file system of {place} is read-only: look at dmesg for its errors, then mount -o remount,rw"
    if code in (errno.ENOSPC, errno.EDQUOT):
        return f"free some space on the file system of {place}"
    return f"chown {place} to the account of the agent or server (with DynamicUser= systemd does it)"
