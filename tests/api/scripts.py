"""Scripts as people write them, started by tests with this interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: 200 MB at the top, as an import of torch leaves; a class of its own; an option, read where scripts read them.
HEAVY = """
import argparse
import numpy as np
from gossamer import Agent
from gossamer.agent.trainer import FitResult

ballast = np.ones(25_000_000)
parser = argparse.ArgumentParser()
parser.add_argument("--shift", type=float, default=0.0)
options = parser.parse_args()


class Drift:
    def __init__(self, d):
        self.d = d

    def initial(self, seed):
        rng = np.random.default_rng(seed)
        return [rng.standard_normal((self.d // 2, 2)).astype(np.float32), np.zeros(3, np.float32)]

    def fit(self, weights, config):
        return FitResult([w + np.float32(options.shift) for w in weights], 5, 0.5)

    def evaluate(self, weights):
        return {"accuracy": 1.0, "examples": 5.0}


def trainer(d):
    return Drift(d)


if __name__ == "__main__":
    print("before", flush=False)
    Agent("agent.toml", trainer).run()
    print("never")
"""


def write(directory: Path, text: str, name: str = "train.py") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def python(
    *arguments: str | Path, cwd: Path, interpreter: str | Path = sys.executable, **environment: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(interpreter), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "", **environment},
    )  # fmt: skip


def answer(*arguments: str | Path, cwd: Path, **environment: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    process = python(*arguments, cwd=cwd, **environment)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err
