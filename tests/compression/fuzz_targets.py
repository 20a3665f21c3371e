"""What the fuzz run feeds: valid bodies of every codec, and of everything made of bodies, with what reads them.

A target is a codec (an example of the registry, so a new one is here as soon as it is registered), ``prefix`` (the
beginning of a body of any codec), or a ``delta`` or ``snapshot`` of a model, plain or with history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gossamer.compression import NOTHING, REGISTRY, Context, codec, open_body
from gossamer.compression.codebooks import Codebooks
from gossamer.compression.hist import SealedHistBody
from gossamer.compression.layout import Layout
from gossamer.compression.objects import apply_delta, decode_snapshot, encode_delta, encode_snapshot
from gossamer.compression.prefix import decode_prefix
from gossamer.compression.residual import compress
from gossamer.compression.shared import SharedModel
from gossamer.compression.ways import apply_delta as apply_way
from gossamer.compression.ways import decode_snapshot as decode_way_snapshot
from gossamer.compression.ways import encode_delta as encode_way
from gossamer.compression.ways import encode_snapshot as encode_way_snapshot
from gossamer.errors import MalformedBody
from tests.compression.vectors import special, update

SPECS = [spec for method in REGISTRY.methods for spec in method.examples]
SIZES = (1, 20, 300, 2100, 5000)
LAYOUT = Layout((("w1", (24, 16)), ("b1", (16,)), ("w2", (16, 5)), ("b2", (5,))))
"""For what needs a model with a past: small enough for a hundred bodies a second."""
CYCLE = 3
LATTICE_TOP = 1024.0
"""Half of what a weight can be."""

Read = Callable[[bytes], bool]
"""True if the bytes were read, False if they were refused; raises for everything else."""


@dataclass(frozen=True)
class Seeds:
    """Valid bodies and what reads them."""

    bodies: tuple[bytes, ...]
    read: Read


class NotFinite(AssertionError):
    """A decoded vector of the wrong shape or type, or with NaN or infinity in it."""


def reader(d: int, context: Context) -> Read:
    """Open, read whole, and read a range again: it must be the same numbers."""

    def read(data: bytes) -> bool:
        try:
            body = open_body(data, d, context)
        except MalformedBody:
            return False
        if isinstance(body, SealedHistBody):
            return False  # nobody gave it a context, and it says so
        y = body.read(0, d)  # what opens can be read
        check_vector(y, d)
        start, stop = d // 3, d - d // 4
        if not np.array_equal(body.read(start, stop), y[start:stop]):
            raise NotFinite(f"read({start}, {stop}) differs from that part of the whole")
        return True

    return read


def check_vector(y: np.ndarray, d: int) -> None:
    """Raise `NotFinite` unless float32 (d,) and finite."""
    if y.shape != (d,) or y.dtype != np.float32 or not np.isfinite(y).all():
        raise NotFinite(f"expected {d} finite float32, got {y.dtype} {y.shape}")


def refusing(function: Callable[[bytes], object]) -> Read:
    """A function that raises `MalformedBody` as a `Read`."""

    def read(data: bytes) -> bool:
        try:
            function(data)
        except MalformedBody:
            return False
        return True

    return read


@lru_cache(maxsize=1)
def history() -> tuple[SharedModel, list[SharedModel], list[bytes]]:
    """Version 0, models after 1, 2, ... rounds, and the steps that led there: two cycles and a piece."""
    rng = np.random.default_rng(5)
    weights = (rng.standard_normal(LAYOUT.size) * 2**17).astype(np.int32)
    models, steps = [SharedModel.first(LAYOUT, weights, CYCLE)], []
    for seed in range(2 * CYCLE + 2):
        context = models[-1].context(upward=False)
        x = (rng.standard_normal(LAYOUT.size) * 1e-2).astype(np.float32)
        steps.append(codec("hist:40").encode(x, seed=seed, context=context))
        models.append(models[-1].after(steps[-1]))
    return models[0], models[1:], steps


def context_of(spec: str) -> tuple[Context, tuple[int, ...]]:
    """The context that a codec needs, and the sizes it then has."""
    if spec.startswith("hist"):
        return history()[1][-1].context(upward=True), (LAYOUT.size,)
    return NOTHING, SIZES


def bodies_of(spec: str, d: int, context: Context) -> tuple[bytes, ...]:
    """Valid bodies of d coordinates: real updates and the vectors on which codecs break."""
    this = codec(spec)
    inputs = [update(d, seed) for seed in range(3)] + list(special(d).values())
    if context.frame is not None:  # a step of the shared model, so on its lattice
        inputs = [x for x in inputs if np.abs(x).max() < LATTICE_TOP]
    return tuple(this.encode(x, seed=seed, context=context) for seed, x in enumerate(inputs))


def codec_seeds(spec: str) -> Iterator[Seeds]:
    """Seeds of one codec, one for each size."""
    context, sizes = context_of(spec)
    for d in sizes:
        yield Seeds(bodies_of(spec, d, context), reader(d, context))
    if spec.startswith("nf4"):  # with a table for each layer, as a manifest announces them
        context = Context(layout=LAYOUT, codebooks=Codebooks.initial(LAYOUT))
        yield Seeds(bodies_of(spec, LAYOUT.size, context), reader(LAYOUT.size, context))


def prefix_seeds() -> Iterator[Seeds]:
    """Bodies of all codecs, read by their beginning."""
    for spec in SPECS:
        context, sizes = context_of(spec)
        d = sizes[-2] if len(sizes) > 1 else sizes[0]

        def read(data: bytes, d: int = d, context: Context = context) -> None:
            check_vector(decode_prefix(data, d, context)[0], d)

        yield Seeds(bodies_of(spec, d, context), refusing(read))


def plain_deltas() -> list[tuple[np.ndarray, bytes]]:
    """Models and deltas of every kind."""
    w = np.arange(-300, 300, dtype=np.int32) * 997
    step = compress(codec("ternary:0.05"), (w // 7).astype(np.int32), np.zeros_like(w), seed=0)
    sparse = np.where(np.arange(600) % 9 == 0, w, 0).astype(np.int32)
    few = np.where(np.arange(600) % 9 == 0, np.arange(600) % 4 * 500, 0).astype(np.int32)
    return [
        (w, encode_delta([step.body], step.sent)),
        (w, encode_delta([], w)),
        (w, encode_delta([], sparse)),
        (w, encode_delta([], few)),
        (w, encode_delta([step.body, step.body], 2 * step.sent)),
    ]


def delta_seeds() -> Iterator[Seeds]:
    """Deltas, plain and through cycles."""
    deltas = plain_deltas()
    w = deltas[0][0]
    yield Seeds(tuple(data for _, data in deltas), refusing(lambda data: apply_delta(w, data)))
    first, models, steps = history()
    everything = [first, *models]
    for early in (0, 1, CYCLE):
        ways = [
            encode_way(everything[early], steps[early:late], everything[late]) for late in range(early + 1, early + 5)
        ]
        model = everything[early]
        yield Seeds(tuple(ways), refusing(lambda data, model=model: apply_way(model, data).digest))


def snapshot_seeds() -> Iterator[Seeds]:
    """Snapshots, plain and with history."""
    w = plain_deltas()[0][0]
    yield Seeds((encode_snapshot(w), encode_snapshot(w * 0)), refusing(lambda data: decode_snapshot(data, w.size)))
    first, models, _ = history()
    made = tuple(encode_way_snapshot(model) for model in models)
    yield Seeds(made, refusing(lambda data: decode_way_snapshot(data, first).digest))


OBJECTS: dict[str, Callable[[], Iterator[Seeds]]] = {
    "prefix": prefix_seeds,
    "delta": delta_seeds,
    "snapshot": snapshot_seeds,
}
TARGETS = [*SPECS, *OBJECTS]


@lru_cache(maxsize=4)
def seeds_of(target: str) -> tuple[Seeds, ...]:
    """All seeds of a target, in a fixed order."""
    return tuple(OBJECTS[target]() if target in OBJECTS else codec_seeds(target))
