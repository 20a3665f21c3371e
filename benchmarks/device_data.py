"""One file for each device of a benchmark's federation, and the trainer that an agent makes of it.

`benchmarks.federations` deals the whole data set to reach one device's part, 1 s; an agent makes its trainer anew
for every fit. Light imports: this module is loaded by every fit's child process.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.federations import model_for
from gossamer.agent.trainer import NumpyTrainer


def file_of(directory: Path, device: int) -> Path:
    """Where a device's data lie."""
    return directory / f"device-{device}.npz"


def write(directory: Path, trainers: Sequence[NumpyTrainer]) -> None:
    """Write the training data of every device; nobody's held-out data: agents are not asked to evaluate."""
    directory.mkdir(parents=True, exist_ok=True)
    for device, trainer in enumerate(trainers):
        np.savez(file_of(directory, device), x=trainer.x, y=trainer.y)


def trainer(federation: str, file: str) -> NumpyTrainer:
    """The factory in an agent's configuration: ``benchmarks.device_data:trainer``."""
    with np.load(file, allow_pickle=False) as part:
        return NumpyTrainer(model_for(federation), part["x"], part["y"])
