"""Ways between model versions: the objects that bring a device's shared model to another version, exactly.

    plain model     `objects`: 0x00 snapshot, 0x01 / 0x02 merged delta, 0x80.. chain of steps
    with history    0x03 delta: varint(parts), one or two for each cycle it passes through:
                         varint(rounds), varint(length) unless it is the last, then
                         0x04 + one `hist` body that sums the rounds' levels, or a delta of a plain model
                    0x05 snapshot: the statistics, the model at the start of the present cycle (`integers`),
                         and the parts from there

All of a delta's candidates are made and the shortest is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gossamer.compression import hist, objects
from gossamer.compression.integers import decode_integers, encode_integers
from gossamer.compression.shared import MAX_CYCLE, SharedModel
from gossamer.compression.varint import read_varint, write_varint
from gossamer.errors import InputError, MalformedBody

PARTS = 0x03
SUMMED = 0x04
SNAPSHOT = 0x05

MAX_PARTS = 64
"""Cycles that a delta passes through: beyond that a snapshot is shorter."""


def encode_snapshot(model: SharedModel) -> bytes:
    """A whole model version -> bytes."""
    frame = model.frame
    if frame is None:
        return objects.encode_snapshot(model.weights)
    statistics = frame.statistics.serialize()
    start = encode_integers(frame.start)
    head = [write_varint(len(statistics)), statistics, write_varint(len(start)), start]
    beginning = SharedModel(model.layout, frame.start, frame)
    way = b"" if model.steps == 0 else _parts_to(beginning, model)
    return b"".join([bytes([SNAPSHOT]), *head, way])


def decode_snapshot(data: bytes, first: SharedModel) -> SharedModel:
    """-> the model of a snapshot; ``first`` is version 0, which every device has. Raises `MalformedBody`."""
    if first.frame is None:
        return SharedModel(first.layout, objects.decode_snapshot(data, first.weights.size))
    if not data or data[0] != SNAPSHOT:
        raise MalformedBody("expected a snapshot of a model with history")
    view = memoryview(data)
    size, at = read_varint(view, 1)
    statistics = view[at : at + size]
    size, at = read_varint(view, at + size)
    start = decode_integers(view[at : at + size], first.weights.size)
    frame = first.frame.resumed(start, statistics)
    model = SharedModel(first.layout, start, frame)
    rest = view[at + size :]
    return _apply_parts(model, rest) if len(rest) else model


def encode_delta(early: SharedModel, steps: Sequence[bytes], late: SharedModel) -> bytes:
    """The shortest delta that the bodies ``steps`` allow; ``steps`` lead from ``early`` to ``late``, one a round.

    For a plain model they may also be empty: not all there. Raises `InputError` if they do not lead there.
    """
    if early.frame is None or late.frame is None:
        change = (late.weights.astype(np.int64) - early.weights).astype(np.int32)
        return objects.encode_delta(steps, change)
    parts: list[tuple[int, bytes]] = []
    at, left = early, list(steps)
    while left and at.frame is not None:
        count = min(len(left), at.frame.rounds - at.steps)
        end = at
        for body in left[:count]:
            end = end.after(body)
        parts.append((count, _shortest(at, left[:count], end)))
        at, left = end, left[count:]
    if at.digest != late.digest or not 1 <= len(parts) <= MAX_PARTS:
        raise InputError(f"expected {len(steps)} steps that lead to the model, got others")
    return bytes([PARTS]) + _joined(parts)


def apply_delta(model: SharedModel, data: bytes) -> SharedModel:
    """A model and a delta -> the new model; raises `MalformedBody`."""
    if model.frame is None:
        return SharedModel(model.layout, objects.apply_delta(model.weights, data))
    if not data or data[0] != PARTS:
        raise MalformedBody("expected a delta of a model with history")
    return _apply_parts(model, memoryview(data)[1:])


def _joined(parts: Sequence[tuple[int, bytes]]) -> bytes:
    pieces = [write_varint(len(parts))]
    for number, (rounds, data) in enumerate(parts, start=1):
        pieces += [write_varint(rounds), write_varint(len(data)) if number < len(parts) else b"", data]
    return b"".join(pieces)


def _apply_parts(model: SharedModel, view: memoryview) -> SharedModel:
    parts, at = read_varint(view, 0)
    if not 1 <= parts <= MAX_PARTS:
        raise MalformedBody(f"expected 1 to {MAX_PARTS} parts, got {parts}")
    for number in range(1, parts + 1):
        rounds, at = read_varint(view, at)
        end = len(view)
        if number < parts:
            length, at = read_varint(view, at)
            end = at + length
        if end > len(view):
            raise MalformedBody(f"expected a part that ends at byte {end}, but the delta ends at {len(view)}")
        model = _apply(model, rounds, view[at:end])
        at = end
    return model


def _apply(model: SharedModel, rounds: int, data: memoryview) -> SharedModel:
    """Pass through ``rounds`` rounds of one cycle."""
    if not 1 <= rounds <= MAX_CYCLE or len(data) == 0:
        raise MalformedBody(f"expected a part of at least one round, got {rounds} in {len(data)} bytes")
    if data[0] == SUMMED:
        return model.after(data[1:], rounds)
    if data[0] >= objects.CHAIN:
        bodies = objects.split_chain(data)
        if len(bodies) != rounds:
            raise MalformedBody(f"expected {rounds} steps, got {len(bodies)}")
        for body in bodies:
            model = model.after(body)
        return model
    plain = objects.apply_delta(model.weights, bytes(data))
    return model.moved(plain.astype(np.int64) - model.weights, rounds)


def _shortest(early: SharedModel, steps: list[bytes], late: SharedModel) -> bytes:
    """One part: the steps of one cycle, summed or in a row."""
    candidates = []
    if len(steps) <= objects.MAX_CHAIN:
        candidates.append(objects.chain(steps))
    if all(hist.is_hist(body) for body in steps):
        summed = _summed(early, steps, late)
        candidates += [bytes([SUMMED]) + summed] if summed else []
    elif not any(hist.is_hist(body) for body in steps):
        change = late.weights.astype(np.int64) - early.weights
        candidates.append(objects.encode_delta([], change.astype(np.int32)))
    return min(candidates, key=len)


def _summed(early: SharedModel, steps: list[bytes], late: SharedModel) -> bytes | None:
    """One body for steps of one cycle; None if their levels' sum is beyond what a body or the basis can hold."""
    if len(steps) == 1:
        return steps[0]
    context = early.context(upward=False)
    read = [hist.read_levels(body, context) for body in steps]
    total = sum((levels.astype(np.int32) for levels, _ in read), np.int32(0))
    code = next((code for levels, code in read if levels.any()), 0)
    try:
        body = hist.write_levels(total, code, context)
        reached = early.after(body, len(steps))
    except (InputError, MalformedBody):
        return None
    # Steps that cancel out leave a scale behind, which their sum does not set.
    return body if reached.digest == late.digest else None


def _parts_to(beginning: SharedModel, model: SharedModel) -> bytes:
    """Parts from the start of a cycle to a model within it, whose single steps are not at hand."""
    parts: list[tuple[int, bytes]] = []
    at, left = beginning, model.steps
    if model.levels is not None and model.scale_code is not None:
        body = hist.write_levels(model.levels, model.scale_code, beginning.context(upward=False))
        reached = beginning.after(body, 1)
        same = np.array_equal(reached.weights, model.weights)
        count = left if same else 1
        parts.append((count, bytes([SUMMED]) + body))
        at, left = reached, left - count
    if left:
        change = model.weights.astype(np.int64) - at.weights
        parts.append((left, objects.encode_delta([], change.astype(np.int32))))
    return _joined(parts)
