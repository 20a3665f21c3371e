"""Writes a project: whole or not at all, and never over what is there."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gossamer.errors import ConfigError
from gossamer.project.settings import FILE, MAX_DEVICES, fleet_name

TEMPLATES = Path(__file__).with_name("templates")
TRAINERS = ("numpy", "torch", "tflite")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
#: Modules that a project's own files would hide, were the directory called like them.
_RESERVED = ("gossamer", "fleet", "trainer", "sensors")

#: File of the project -> template. ``{kind}`` is the trainer's.
_FILES = {
    FILE: "project.toml",
    "trainer.py": "trainer_{kind}.py.txt",
    "sensors.py": "sensors.py.txt",
    "README.md": "README.md.txt",
    "gossamer-agent.service": "gossamer-agent.service",
    ".gitignore": "gitignore.txt",
}
_BINARY = {"tflite": {"model.tflite": "sensors.tflite"}}


@dataclass(frozen=True)
class Asked:
    """What to make. ``force``: in a directory that has other files; none of them is overwritten."""

    name: str
    trainer: str = "numpy"
    devices: int = 4
    force: bool = False

    def check(self) -> None:
        """Raise ConfigError, naming what was expected."""
        if not _NAME.fullmatch(self.name) or self.name.lower() in _RESERVED:
            raise ConfigError(
                f"NAME {self.name!r}: expected 1 to 40 letters, digits, - or _, a letter or digit first, and none of "
                f"{', '.join(_RESERVED)}"
            )
        fleet_name(self.name)
        if self.trainer not in TRAINERS:
            raise ConfigError(f"--trainer {self.trainer}: expected one of {', '.join(TRAINERS)}")
        if not 1 <= self.devices <= MAX_DEVICES:
            raise ConfigError(f"--devices {self.devices}: expected 1 to {MAX_DEVICES}")


def contents(asked: Asked) -> dict[str, bytes]:
    """File name -> content."""
    words = {
        "name": asked.name, "toml_name": json.dumps(asked.name), "kind": asked.trainer, "devices": str(asked.devices),
        "cohorts": str(2 if asked.devices >= 4 else 1),
        "comma_extra": "" if asked.trainer == "numpy" else f",{asked.trainer}",
        "install": "gossamer" if asked.trainer == "numpy" else f"'gossamer[{asked.trainer}]'",
    }  # fmt: skip
    found = {}
    for file, template in _FILES.items():
        source = TEMPLATES / template.format(kind=asked.trainer)
        if source.exists():
            text = source.read_text(encoding="utf-8")
            found[file] = (text if file.endswith(".service") else filled(text, words)).encode()
    for file, template in _BINARY.get(asked.trainer, {}).items():
        found[file] = (TEMPLATES / template).read_bytes()
    return found


def filled(text: str, words: dict[str, str]) -> str:
    """Put ``words`` in the place of ``@word@``; other at-signs stay."""
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def make_project(parent: Path, asked: Asked, *, dry_run: bool = False) -> list[Path]:
    """Make ``parent / name``; returns its files. Written beside it first, then moved there.

    Raises:
        ConfigError: the name is taken, or with ``force`` one of the files is there already.
    """
    asked.check()
    target = parent / asked.name
    files = contents(asked)
    occupied = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if occupied and not (asked.force and target.is_dir()):
        raise ConfigError(
            f"{target} exists and is not empty; choose another name, or --force to put the project beside what is "
            "there (no file is ever overwritten)"
        )
    clashing = sorted(file for file in files if (target / file).exists())
    if clashing:
        raise ConfigError(f"{target} has {', '.join(clashing)} already: move them away first, nothing is overwritten")
    if not dry_run:
        _write(target, files)
    return [target / file for file in files]


def _write(target: Path, files: dict[str, bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for file, data in files.items():
            (beside / file).write_bytes(data)
        if not target.exists():
            beside.chmod(0o755)
            beside.rename(target)
            return
        for file in files:  # into a directory that is there: a link fails where a file has appeared meanwhile
            (target / file).hardlink_to(beside / file)
    except FileExistsError as error:
        raise ConfigError(f"{error.filename2} has appeared meanwhile; nothing is overwritten") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
