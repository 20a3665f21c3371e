"""The demo's trainers, made inside an agent's child process for every fit: imports and data must load fast.

A trainer is named in an agent's configuration as ``gossamer.demo.federation:trainer`` with options such as
``data = "watch"``, ``device = 3``, ``devices = 10``.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from gossamer.agent.trainer import Array, Model, NumpyTrainer
from gossamer.demo.data import Part, load, pooled_held_out
from gossamer.demo.models import MLP, WatchCNN
from gossamer.errors import ConfigError

# Part of a cached file's name: raise it when data.py deals or scales differently.
CACHE_FORMAT = 1


def model_for(data: str) -> Model:
    """The model that goes with a data set: 3,316 parameters for ``watch``, 2,410 for ``digits``."""
    if data == "watch":
        return WatchCNN()
    if data == "digits":
        return MLP(hidden=32)
    raise ConfigError(f"data must be 'watch' or 'digits', got {data!r}")


def trainer(data: str = "watch", device: int = 0, devices: int = 10, seed: int = 0, cache: str = "") -> NumpyTrainer:
    """The trainer of one device of the fleet.

    ``cache`` is a directory that keeps each device's windows as an ``.npz`` of numbers, which spares every
    fit the 0.1 s of cutting them from the recordings anew; empty for none.
    """
    if not 0 <= device < devices:
        raise ConfigError(f"device must be 0 to {devices - 1} (devices is {devices}), got {device}")
    directory = Path(cache) if cache else None
    part = part_of(data, device, devices, seed, directory)
    return NumpyTrainer(model_for(data), part.x, part.y, (part.x_held_out, part.y_held_out))


def fleet(data: str, devices: int, seed: int, *, honest: int | None = None) -> tuple[list[NumpyTrainer], NumpyTrainer]:
    """All devices' trainers, and one whose ``evaluate`` is over everyone's held-out examples pooled.

    ``honest``: only the first so many devices are judged; the model owes nothing to those that lie.
    """
    parts = load(data, devices, seed)
    model = model_for(data)
    own = [NumpyTrainer(model, part.x, part.y, (part.x_held_out, part.y_held_out)) for part in parts]
    return own, NumpyTrainer(model, parts[0].x, parts[0].y, pooled_held_out(data, parts[:honest]))


def part_of(data: str, device: int, devices: int, seed: int, directory: Path | None) -> Part:
    """One device's part from the cache, put there if it is not yet; without a directory, made anew."""
    if directory is None:
        return load(data, devices, seed)[device]
    path = directory / f"{data}-{CACHE_FORMAT}-seed{seed}-{device}of{devices}.npz"
    names = ("x", "y", "x_held_out", "y_held_out")
    if path.exists():
        with np.load(path, allow_pickle=False) as stored:
            return Part(*(stored[name] for name in names))
    part = load(data, devices, seed)[device]
    write_npz(path, {name: getattr(part, name) for name in names})
    return part


def write_npz(path: Path, arrays: dict[str, Array]) -> None:
    """Write so that a reader sees the whole file or none, whoever is killed meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
