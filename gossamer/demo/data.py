"""The demo's data, one part per device: real smartwatch recordings, or handwritten digits.

``watch``: the recordings in seglearn's wheel (D. Burns et al. 2018, arXiv:1802.01489): 10 people, 7 shoulder
exercises, each with the left and the right arm; 3 axes of acceleration (g) and 3 of rotation (rad/s) at 50 Hz.
One person is one device, so the parts differ as people do. A window is 100 samples, two seconds.

* A window starts every 50 samples. Windows of the first 70 % of every recording are for training, windows of
  the rest are held out; no sample is in both.
* Axes are divided by fixed constants: nothing about one device's data reaches another.
* Fewer than 10 devices are the first people; with more, device i is person i mod 10, and the people's training
  windows are dealt in contiguous shares of each recording to their devices.

``digits``: scikit-learn's 8 x 8 digits; a fifth is held out and the rest dealt by Dirichlet(0.5) over classes.

Neither library is imported (0.5 to 1 s each): a device's child process starts with every fit.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gossamer.agent.trainer import Array
from gossamer.demo.watch_file import Recording, read_recordings
from gossamer.errors import ConfigError

PEOPLE = 10
WINDOW = 100
STRIDE = 50
TRAIN_SHARE = 0.7
# About one standard deviation of each kind of axis over typical use: 1 g, and 3 rad/s.
WATCH_SCALE = np.array([1, 1, 1, 3, 3, 3], dtype=np.float32)

DIRICHLET = 0.5
DIGITS_HELD_OUT = 0.2
DIGITS_SCALE = np.float32(16)  # a pixel counts 0 to 16 dark dots


@dataclass(frozen=True)
class Part:
    """Training and held-out examples of one device (or of all); x float32 (n, ...), y int64 (n,)."""

    x: Array
    y: Array
    x_held_out: Array
    y_held_out: Array


def load(data: str, devices: int, seed: int) -> list[Part]:
    """The parts of all devices. ``seed`` decides the deal of ``digits``; ``watch`` has no chance in it."""
    if devices < 1:
        raise ConfigError(f"devices must be at least 1, got {devices}")
    if data == "watch":
        return watch_parts(read_recordings(package_file("seglearn", "data/watch_dataset.npy")), devices)
    if data == "digits":
        return digits_parts(package_file("sklearn", "datasets/data/digits.csv.gz"), devices, seed)
    raise ConfigError(f"data must be 'watch' or 'digits', got {data!r}")


def pooled_held_out(parts: list[Part]) -> tuple[Array, Array]:
    """What the whole fleet's model is judged on: every held-out example once."""
    distinct = {id(part.x_held_out): part for part in parts}.values()
    return (
        np.concatenate([part.x_held_out for part in distinct]),
        np.concatenate([part.y_held_out for part in distinct]),
    )


def package_file(package: str, name: str) -> Path:
    """Path of a data file inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"the demo's data comes with {package}: install it with pip install 'gossamer[demo]'")
    return Path(spec.submodule_search_locations[0]) / name


def watch_parts(recordings: list[Recording], devices: int) -> list[Part]:
    """One part per device; see the module's text for who gets what."""
    parts = []
    for device in range(devices):
        person, share = device % PEOPLE, device // PEOPLE
        shares = (devices - person + PEOPLE - 1) // PEOPLE
        train: list[tuple[Array, int]] = []
        held_out: list[tuple[Array, int]] = []
        for recording in recordings:
            if recording.person != person:
                continue
            x = (recording.samples / WATCH_SCALE).astype(np.float32)
            cut = int(len(x) * TRAIN_SHARE)
            first, last = cut * share // shares, cut * (share + 1) // shares
            train += [(w, recording.exercise) for w in windows(x[first:last])]
            held_out += [(w, recording.exercise) for w in windows(x[cut:])]
        if not train:
            raise ConfigError(f"watch has no window for device {device} of {devices}: use fewer devices")
        parts.append(Part(*stack(train), *stack(held_out)))
    return parts


def windows(x: Array) -> Array:
    """(t, axes) -> (n, WINDOW, axes): every STRIDE samples, whole windows only."""
    if len(x) < WINDOW:
        return np.empty((0, WINDOW, x.shape[1]), dtype=x.dtype)
    return np.lib.stride_tricks.sliding_window_view(x, WINDOW, axis=0)[::STRIDE].transpose(0, 2, 1)


def stack(examples: list[tuple[Array, int]]) -> tuple[Array, Array]:
    """Pairs of an example and its label -> contiguous x and y."""
    return np.stack([x for x, _ in examples]), np.array([y for _, y in examples], dtype=np.int64)


def digits_parts(path: Path, devices: int, seed: int) -> list[Part]:
    """Dirichlet(0.5) over classes; every device holds at least one example, all share the held-out fifth."""
    table = np.loadtxt(path, delimiter=",", dtype=np.float32)
    rng = np.random.Generator(np.random.PCG64([seed, devices]))
    table = table[rng.permutation(len(table))]
    x, y = table[:, :-1] / DIGITS_SCALE, table[:, -1].astype(np.int64)
    cut = int(len(x) * DIGITS_HELD_OUT)
    if devices > len(x) - cut:
        raise ConfigError(f"digits has {len(x) - cut} training examples, too few for {devices} devices")
    owner = np.empty(len(x) - cut, dtype=np.int64)
    for label in range(10):
        mine = np.flatnonzero(y[cut:] == label)
        share = rng.dirichlet(np.full(devices, DIRICHLET))
        owner[mine] = np.searchsorted(np.cumsum(share)[:-1], np.linspace(0, 1, len(mine), endpoint=False))
    for device in range(devices):  # who came away empty takes one from the richest
        if not np.any(owner == device):
            owner[np.flatnonzero(owner == np.bincount(owner).argmax())[0]] = device
    held_out = (x[:cut], y[:cut])
    return [Part(x[cut:][owner == i], y[cut:][owner == i], *held_out) for i in range(devices)]
