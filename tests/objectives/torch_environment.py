"""An interpreter with torch: a virtual environment made once, kept in ``~/.cache/gossamer-tests`` (1 GB).

The project's own environment stays without it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.codec_peers.environment import TORCH, TORCH_INDEX

NUMPY = "numpy>=2,<3"
CACHE = Path.home() / ".cache" / "gossamer-tests"
INSTALL_SECONDS = 1500


def torch_python(cache: Path = CACHE) -> Path:
    """The interpreter of the environment, which is made if there is none with these packages."""
    name = hashlib.sha256("\n".join([sys.version, TORCH, NUMPY]).encode()).hexdigest()[:12]
    home = cache / f"torch-{name}"
    python = home / "bin" / "python"
    if (home / "complete").exists():
        return python
    venv.create(home, with_pip=True, clear=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    packages = [NUMPY, "--extra-index-url", TORCH_INDEX, TORCH]
    subprocess.run([*pip, *packages], check=True, timeout=INSTALL_SECONDS, env=environment)
    (home / "complete").write_text(f"{TORCH}\n")
    return python
