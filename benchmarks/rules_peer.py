"""ByzFL's virtual environment: made once, kept in ``~/.cache/gossamer-benchmarks``.

Packages go in with ``--no-deps``: ByzFL's federation wants torchvision and plotting, its aggregators import torch,
numpy and scipy. torch must be there although the numpy path never computes with it; its CPU wheel comes from
pytorch.org unless pip is configured to find it elsewhere.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from benchmarks.codec_peers.environment import CACHE, INSTALL_SECONDS, TORCH, TORCH_INDEX

BYZFL = "byzfl==0.0.11"
IMPORTED = (
    "numpy==2.4.6", "scipy==1.17.1", "threadpoolctl==3.8.0", "typing_extensions", "filelock", "sympy==1.14.0",
    "mpmath==1.3.0", "networkx", "jinja2", "markupsafe", "fsspec", "setuptools<82",
)  # fmt: skip


def rules_python(say: Callable[[str], object], cache: Path = CACHE) -> Path:
    """The interpreter of the environment, which is made if there is none with these packages."""
    packages = [BYZFL, TORCH, *IMPORTED]
    name = hashlib.sha256("\n".join([sys.version, *packages]).encode()).hexdigest()[:12]
    home = cache / f"rules-{name}"
    python, done = home / "bin" / "python", home / "complete"
    if done.exists():
        return python
    say(f"making an environment for ByzFL in {home} (0.9 GB), once: {', '.join(packages)}")
    venv.create(home, with_pip=True, clear=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, BYZFL, *IMPORTED], check=True, timeout=INSTALL_SECONDS)
    subprocess.run([*pip, "--extra-index-url", TORCH_INDEX, TORCH], check=True, timeout=INSTALL_SECONDS)
    done.write_text("\n".join(packages) + "\n")
    # The package's own __init__ imports its federation; only the aggregators are wanted.
    package = next(home.glob("lib/python*/site-packages/byzfl/__init__.py"))
    package.write_text('"""Only the aggregators: see benchmarks/rules_peer.py."""\n')
    return python
