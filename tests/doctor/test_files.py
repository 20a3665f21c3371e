"""Modes of secrets, and disks that are full, read-only or not there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gossamer.doctor import files
from gossamer.doctor.finding import Level

from .site import by_name, failing


@pytest.mark.parametrize(
    ("mode", "level", "words"),
    [
        (0o600, Level.OK, "0600"), (0o400, Level.OK, "0400"),
        (0o640, Level.FAIL, "its group"), (0o644, Level.FAIL, "everybody"),
    ],
)  # fmt: skip
def test_who_may_read_a_key(tmp_path: Path, mode: int, level: Level, words: str) -> None:
    key = tmp_path / "fleet.key"
    key.write_text("secret")
    key.chmod(mode)
    found = files.secret_mode("key", key)
    assert (found.level, words in found.found) == (level, True), found


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    assert files.secret_mode("key", tmp_path / "none").level is Level.FAIL


def test_a_disk_that_is_well_is_left_as_it_was(tmp_path: Path) -> None:
    assert not failing(by_name(iter(files.disk("disk", tmp_path / "not" / "made" / "yet"))))
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    found = by_name(iter(files.disk("disk", tmp_path / "state")))
    assert failing(found) == {"disk"}
    assert "is no directory" in found["disk"].found


@contextmanager
def tmpfs(place: Path, *options: str) -> Iterator[Path]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "gossamer-test", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.system
def test_a_full_disk(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "small", "size=64k") as place:
        ballast = os.open(place / "ballast", os.O_WRONLY | os.O_CREAT)
        os.posix_fallocate(ballast, 0, os.statvfs(place).f_bavail * os.statvfs(place).f_frsize)
        os.close(ballast)
        found = by_name(iter(files.disk("disk", place)))
    assert failing(found) == {"disk", "disk space"}
    assert "No space left" in found["disk"].found
    assert "free some space" in found["disk"].mend


@pytest.mark.system
def test_a_read_only_disk_and_one_without_inodes(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "ro", "ro", "size=512m") as place:
        found = by_name(iter(files.disk("disk", place)))
    assert failing(found) == {"disk"}
    assert "remount,rw" in found["disk"].mend
    with tmpfs(tmp_path / "few", "nr_inodes=2", "size=512m") as place:
        (place / "last").write_text("")
        found = by_name(iter(files.disk("disk", place)))
    assert "no inode" in found["disk space"].found
