"""The demo's data, one part per device: real smartwatch recordings, or handwritten digits.

``watch``: the recordings in seglearn's wheel (D. Burns et al. 2018, arXiv:1802.01489): 10 people, 7 shoulder
exercises, each with the left and the right arm; 3 axes of acceleration and 3 of rotation at 50 Hz. One person
is one device, so the parts differ as people do. A window is 100 samples, two seconds.

* A window starts every 50 samples. Windows of the first 70 % of every recording are for training, windows of
  the rest are held out; no sample is in both.
* A device standardises each axis by mean and deviation of its own training samples: it needs nobody else's
  data, and the rest of its windows, held out or new, goes through the same two constants.
* Fewer than 10 devices are the first people. With more, device i is person i mod 10, and a person's training
  samples are dealt in contiguous shares of each recording to that person's devices.

``digits``: scikit-learn's 8 x 8 digits; a fifth is held out, the rest dealt by Dirichlet(0.5) over classes.

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


def pooled_held_out(data: str, parts: list[Part]) -> tuple[Array, Array]:
    """What the whole fleet's model is judged on: everybody's held-out examples, each once.

    A person with several devices is judged through the first one's constants.
    """
    distinct = parts[:1] if data == "digits" else parts[:PEOPLE]
    return (
        np.concatenate([part.x_held_out for part in distinct]),
        np.concatenate([part.y_held_out for part in distinct]),
    )


def package_file(package: str, name: str) -> Path:
    """Path of a data file inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"the demo's data comes with {package}: pip install 'gossamer[demo]'")
    return Path(spec.submodule_search_locations[0]) / name


def watch_parts(recordings: list[Recording], devices: int) -> list[Part]:
    """One part per device; see the module's text for who gets what."""
    return [watch_part(recordings, device, devices) for device in range(devices)]


def watch_part(recordings: list[Recording], device: int, devices: int) -> Part:
    """The part of one device, from nothing but its own person's recordings."""
    person, share = device % PEOPLE, device // PEOPLE
    shares = (devices - person + PEOPLE - 1) // PEOPLE
    own = [recording for recording in recordings if recording.person == person]
    train, held_out = [], []
    for recording in own:
        cut = int(len(recording.samples) * TRAIN_SHARE)
        train.append(recording.samples[cut * share // shares : cut * (share + 1) // shares])
        held_out.append(recording.samples[cut:])
    samples = np.concatenate(train)
    mean, deviation = samples.mean(axis=0), samples.std(axis=0)
    labels = [recording.exercise for recording in own]

    def examples(pieces: list[Array]) -> tuple[Array, Array]:
        cuts = [windows(((piece - mean) / deviation).astype(np.float32)) for piece in pieces]
        y = np.repeat(np.array(labels, dtype=np.int64), [len(cut) for cut in cuts])
        return np.concatenate(cuts), y

    part = Part(*examples(train), *examples(held_out))
    if len(part.y) == 0:
        raise ConfigError(f"watch has no whole window for device {device} of {devices}: use fewer devices")
    return part


def windows(x: Array) -> Array:
    """(t, axes) -> (n, WINDOW, axes): every STRIDE samples, whole windows only."""
    if len(x) < WINDOW:
        return np.empty((0, WINDOW, x.shape[1]), dtype=x.dtype)
    view = np.lib.stride_tricks.sliding_window_view(x, WINDOW, axis=0)
    return np.ascontiguousarray(view[::STRIDE].transpose(0, 2, 1))


def digits_parts(path: Path, devices: int, seed: int) -> list[Part]:
    """Dirichlet(0.5) over classes; every device has at least one example, all share the held-out fifth."""
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
