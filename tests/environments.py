"""Interpreters with what the project's own environment stays without: torch, and both TFLite runtimes.

A virtual environment each, made once and kept in ``~/.cache/gossamer-tests``: whole or not at all, since it is made
under another name and renamed. Run programs in it with `run_in`; Gossamer itself comes from the repository.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.codec_peers.environment import TORCH, TORCH_INDEX

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gossamer-tests"
INSTALL_SECONDS = 1500

AGENT = ("paho-mqtt>=2.0", "cbor2>=5.4,<7", "cryptography>=40")
DATA = ("scikit-learn>=1.3",)
TESTS = ("pytest>=8,<10", "sqlalchemy>=2.0", "typer>=0.12", "rich>=13")
DATA_ONLY = ("seglearn==1.2.5",)
"""For the file in its wheel: installed without what it depends on."""

ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "torch": (TORCH, "numpy>=2,<3", *AGENT, *DATA, *TESTS),
    "tflite": ("ai-edge-litert>=1.3", "numpy>=2,<3", *AGENT, *DATA, *TESTS),
    "tflite-legacy": ("tflite-runtime>=2.14", "numpy<2", *AGENT, *DATA, *TESTS),
    "tflite-make": ("tensorflow-cpu==2.21.0",),
}
"""Name of the project's extra -> packages. 1.2 GB for torch and for tflite-make each, 0.4 GB for the others."""


def python_of(name: str, cache: Path = CACHE) -> Path:
    """The interpreter of an environment, which is made if there is none with these packages."""
    packages = ENVIRONMENTS[name]
    digest = hashlib.sha256("\n".join([sys.version, *packages, *DATA_ONLY]).encode()).hexdigest()[:12]
    home = cache / f"{name}-{digest}"
    if not home.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f"{home.name}-", dir=cache))
        try:
            _make(work, packages)
            work.chmod(0o755)
            work.rename(home)
        except OSError:
            if not home.is_dir():  # else another run was faster
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return home / "bin" / "python"


def _make(home: Path, packages: Sequence[str]) -> None:
    venv.create(home, with_pip=True)
    pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    index = ["--extra-index-url", TORCH_INDEX] if TORCH in packages else []
    more = [["--no-deps", *DATA_ONLY]] if DATA[0] in packages else []
    for arguments in [[*index, *packages], *more]:
        subprocess.run([*pip, *arguments], check=True, timeout=INSTALL_SECONDS, env=environment)


def environment_variables(**more: str) -> dict[str, str]:
    """Variables under which an environment's interpreter finds Gossamer and the tests, with one thread each."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **threads, "PYTHONPATH": str(ROOT), **more}


def run_in(
    name: str, *arguments: str | Path, timeout: float = 300, check: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the interpreter of an environment on ``arguments``; with ``check``, fail with what it printed."""
    command: list[Any] = [python_of(name), *arguments]
    done = subprocess.run(
        command, env=environment_variables(**variables), capture_output=True, text=True, timeout=timeout, check=False
    )
    assert not check or done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done


if __name__ == "__main__":
    for each in sys.argv[1:] or ENVIRONMENTS:
        print(python_of(each))
