"""The peers' virtual environment: made once, kept in ``~/.cache/gossamer-benchmarks``.

Packages go in with ``--no-deps``: OpenFL and NVFlare want pandas, Flask, docker and the like, which their compression
never touches. What Flower's and torch's imports do touch is named here. 0.9 GB, nearly all of it torch, which Eden and
AdaQuant are written in; its CPU wheel comes from pytorch.org unless pip is configured to find it elsewhere.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

PEERS = ("openfl==1.9", "nvflare==2.9.0", "flwr==1.42.0")
TORCH = "torch==2.13.0+cpu"
IMPORTED = (
    "numpy==2.1.3", "typing_extensions", "grpcio>=1.70,<2", "protobuf>=5.28,<7", "cryptography>=50,<51", "cffi",
    "pycparser", "pycryptodome>=3.18,<4", "typer>=0.13,<0.21", "click>=8,<9", "rich>=14,<15", "iterators==0.0.2",
    "markdown-it-py", "mdurl", "pygments", "shellingham", "httpx>=0.28.1,<1", "httpcore", "h11", "anyio", "idna",
    "certifi",
)  # fmt: skip
"""What importing the peers' code needs. OpenFL 1.9 calls numpy in a way that numpy 2.4 has dropped."""
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
CACHE = Path.home() / ".cache" / "gossamer-benchmarks"
INSTALL_SECONDS = 1800


def peers_python(say: Callable[[str], object], cache: Path = CACHE) -> Path:
    """The interpreter of the environment, which is made if there is none with these packages."""
    packages = [*PEERS, TORCH, *IMPORTED]
    name = hashlib.sha256("\n".join([sys.version, *packages]).encode()).hexdigest()[:12]
    home = cache / f"peers-{name}"
    python = home / "bin" / "python"
    done = home / "complete"
    if done.exists():
        return python
    say(f"making an environment for the peers in {home} (0.9 GB), once: {', '.join(packages)}")
    venv.create(home, with_pip=True, clear=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, *PEERS, *IMPORTED], check=True, timeout=INSTALL_SECONDS)
    subprocess.run([*pip, "--extra-index-url", TORCH_INDEX, TORCH], check=True, timeout=INSTALL_SECONDS)
    done.write_text("\n".join(packages) + "\n")
    return python
