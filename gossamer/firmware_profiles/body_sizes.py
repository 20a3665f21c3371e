"""How long a model's updates, deltas and snapshots are with a codec: lengths of real encoded bytes, from a seed.

The updates are those of :mod:`gossamer.firmware_profiles.updates`. A delta is what a device fetches that last took
part ``cohorts`` rounds ago: that many steps, encoded by the codec of the way down, and of all ways to send them the
shortest, as a server would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gossamer.compression.auto_costs import Shape, captured
from gossamer.compression.codecs import REGISTRY, codec
from gossamer.compression.hist import HIST
from gossamer.compression.layout import Layout
from gossamer.compression.registry import method_of
from gossamer.compression.shared import SharedModel
from gossamer.compression.ways import encode_delta, encode_snapshot
from gossamer.firmware_profiles.byte_model import Sizes
from gossamer.firmware_profiles.updates import UpdateMaker

ROUNDS_ENCODED = 24
"""Steps that a delta is made of at most: a longer way is shorter than this many by the snapshot, or priced by scale."""
CARRIED = 0.7
"""Part of each further step that points where the one before did: rounds are not independent."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Sizes of one codec, and the part of an update's energy (0 to 1) that its body holds."""

    codec: str
    codec_down: str
    sizes: Sizes
    captured: float
    captured_down: float

    @property
    def has_history(self) -> bool:
        """Whether the model keeps its past, for ``hist``."""
        return HIST.name in (method_of(self.codec), method_of(self.codec_down))


def encoded(maker: UpdateMaker, spec: str, spec_down: str, cohorts: int, shape: Shape) -> Encoded:
    """Encode an update and a delta over ``cohorts`` rounds of this model; raises `UnknownCodec`."""
    up = codec(spec)
    x = maker.update(0)
    start = maker.first_model
    if HIST.name not in (method_of(spec), method_of(spec_down)):
        start = SharedModel(maker.layout, start.weights)
    body = up.encode(x, seed=1, context=start.context(upward=True))
    delta, kept_down = _delta(maker, start, spec_down, cohorts)
    snapshot = len(encode_snapshot(start))
    sizes = Sizes(len(body), min(delta, snapshot), snapshot)
    kept = _kept(spec, x, REGISTRY.decode(body, x.size, start.context(upward=True)), shape)
    return Encoded(spec, spec_down, sizes, kept, _fitted(spec_down, shape) or kept_down)


def _delta(maker: UpdateMaker, start: SharedModel, spec: str, cohorts: int) -> tuple[int, float]:
    """Bytes of a way over ``cohorts`` steps, and the part of a step's energy that its body holds."""
    made, steps, model, move = codec(spec), [], start, maker.update(1)
    kept = 1.0
    for number in range(min(cohorts, ROUNDS_ENCODED)):
        if number:
            move = np.float32(CARRIED) * move + np.float32(1 - CARRIED**2) ** np.float32(0.5) * maker.update(1 + number)
        context = model.context(upward=False)
        body = made.encode(move, seed=number, context=context)
        if number == 0:
            kept = _energy_kept(move, REGISTRY.decode(body, move.size, context))
        steps.append(body)
        model = model.after(body)
    size = len(encode_delta(start, steps, model))
    return round(size * max(1.0, cohorts / ROUNDS_ENCODED)), kept


def _kept(spec: str, x: np.ndarray[tuple[int], np.dtype[np.float32]], decoded: object, shape: Shape) -> float:
    return _fitted(spec, shape) or _energy_kept(x, decoded)


def _fitted(spec: str, shape: Shape) -> float | None:
    """What real updates taught of sparse codecs (`auto_costs`): made ones have other tails than those."""
    method = method_of(spec)
    if method not in ("ternary", "hist"):
        return None
    share = float(spec.partition(":")[2])
    return captured(method, min(1.0, share if share < 1 else share / shape.parameters), shape)


def _energy_kept(x: np.ndarray[tuple[int], np.dtype[np.float32]], decoded: object) -> float:
    """1 - ||x - decoded||^2 / ||x||^2, at least a hundredth."""
    rest = x.astype(np.float64) - np.asarray(decoded, dtype=np.float64)
    power = float(np.square(x, dtype=np.float64).sum())
    return max(0.01, 1.0 - float(np.square(rest).sum()) / power) if power else 1.0


def shape_of(layout: Layout) -> Shape:
    """What `auto_costs` looks at."""
    from gossamer.compression.auto import JobFacts

    smooth = {name for name, _ in layout.axes}
    names = [name for name, _ in layout.entries]
    return JobFacts(
        tuple(shape for _, shape in layout.entries), frozenset(names.index(name) for name in smooth)
    ).shape
