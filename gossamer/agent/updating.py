"""How a device's round becomes an update: the method trains, the memory and the codec make bytes of what it sends.

    model -> Method.train -> trained weights --lattice--> delta + memory --codec--> body     (most methods)
                          -> vector ------------------------------------codec--> body     (methods with an own memory)

What the device remembers afterwards is decided here for both fates of the update, before it is sent: the method's own
vectors (float64) followed by the memory's state (int32), in one byte string.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gossamer.agent import choosing
from gossamer.agent.local import TrainerLocal, sections_from, smoothness_of
from gossamer.agent.trainer import FitConfig, Trainer
from gossamer.compression import codec, decode, lattice
from gossamer.compression.codebooks import Codebooks
from gossamer.compression.memory import Occasion, from_bytes, memory, to_bytes
from gossamer.compression.registry import LOSSLESS
from gossamer.compression.shared import SharedModel
from gossamer.errors import InputError, TrainerFailed
from gossamer.methods import Draft, Method, Round, method
from gossamer.methods.base import Vector
from gossamer.wire.chance import chance, chance_section, read_threshold, sends
from gossamer.wire.codes import Section, UpdateSection
from gossamer.wire.items import encode
from gossamer.wire.participation import Participation, ParticipationRule

Answer = dict[str, Any]
UNITS = float(1 << lattice.LATTICE_BITS)


def make_update(trainer: Trainer, model: SharedModel, request: dict[str, Any]) -> Answer:
    """Train from ``model`` and encode what the method sends. ``request``: the fields of `work.fit`."""
    chosen = method(request["method"])
    layout = model.layout.parted(1 + len(chosen.companions))
    shared = model.weights.astype(np.float64).reshape(-1, layout.size) / UNITS
    request = {**request, "smoothness": smoothness_of(trainer)}
    limits, state, config = None, None, _config(request)
    if request["epochs"] is not None:
        limits = choosing.bounds(request)
        state = choosing.epochs_state(request["epochs"]["state"], limits)
        config = replace(config, local_epochs=state.next(limits))
    local = TrainerLocal(trainer, layout, config)
    began = time.monotonic()
    try:
        own, rest = split_own(chosen, layout.size, request["residual"])
        draft = chosen.train(shared, own, local, _round(request))
        seconds = time.monotonic() - began
        made = _encode_within(chosen, draft, model, own, rest, request)
    except InputError as error:
        raise TrainerFailed(
            f"the update of round {request['fit']['round']} cannot be encoded: {error}. A smaller learning "
            "rate keeps weights in range; an unknown codec asks for a newer agent"
        ) from error
    if request.get("body_within") is not None and len(made["body"]) > request["body_within"]:
        return {"type": "too-long", "bytes": len(made["body"])}
    norm, sections = made.pop("norm"), {**draft.sections, **made.pop("sections")}
    drawn = _drawn(request, norm / UNITS)
    if drawn is None:
        return {"type": "abstain", "detail": f"an update of length {norm / UNITS:.3g} was not drawn this time"}
    return {
        "type": "update",
        **made,
        "examples": max(1, local.examples),
        "loss": draft.loss,
        "sections": [[int(number), data] for number, data in sorted({**sections, **drawn}.items())],
        "epochs": None if state is None or limits is None else choosing.after(
            state, norm, len(made["body"]) + request["epochs"]["other_bytes"], seconds,
            request["epochs"]["retries"], limits,
        ),
    }  # fmt: skip


def split_own(chosen: Method, d: int, stored: bytes | None) -> tuple[Vector | None, bytes | None]:
    """A method's own vectors, float64 (k, d), and the state of the memory, from what is stored.

    Raises `InputError` for bytes of another method or model.
    """
    if stored is None:
        return None, None
    width = 8 * len(chosen.own) * d
    if len(stored) < width:
        raise InputError(f"expected {width} bytes of what {chosen.spec} keeps, got {len(stored)}")
    own = np.frombuffer(stored[:width], dtype="<f8").reshape(-1, d) if width else None
    return own, stored[width:] or None


def _encode_within(
    chosen: Method, draft: Draft, model: SharedModel, own: Vector | None, rest: bytes | None, request: dict[str, Any]
) -> Answer:
    """In the device's codec, or the next cheaper one that brings the body within the budget; else in the shortest."""
    made = shortest = _encode(chosen, draft, model, own, rest, request)
    most = request.get("body_within")
    if most is None or len(made["body"]) <= most:
        return made
    for spec in choosing.cheaper(request, model, draft):
        made = _encode(chosen, draft, model, own, rest, {**request, "codec": spec, "link": None})
        if len(made["body"]) <= most:
            return made
        shortest = min(shortest, made, key=lambda each: len(each["body"]))
    return shortest


def _encode(
    chosen: Method, draft: Draft, model: SharedModel, own: Vector | None, rest: bytes | None, request: dict[str, Any]
) -> Answer:
    books = request["codebooks"]
    context = replace(model.context(upward=True), codebooks=Codebooks.parse(books) if books else None)
    if draft.trained is None:
        assert draft.vector is not None  # noqa: S101 - one of the two (Draft)
        encoder = codec(LOSSLESS if draft.exact else request["codec"])
        body = encoder.encode(draft.vector.astype(np.float32), seed=request["codec_seed"], context=context)
        decoded = decode(body, draft.vector.size, context).astype(np.float64)
        counted, dropped = _own_after(chosen, draft, own, decoded)
        norm = float(np.linalg.norm(draft.vector)) * UNITS
        return {"body": body, "if_counted": counted, "if_dropped": dropped, "norm": norm, "sections": {}}
    delta = lattice.to_lattice(draft.trained).astype(np.int64) - model.weights[: draft.trained.size]
    remembers = memory(request["memory"])
    before = None if rest is None else from_bytes(rest, remembers, delta.size)
    encoder = codec(choosing.own_codec(request["codec"], model, request, before, delta))
    occasion = Occasion(request["fit"]["round"], request["cohorts"], request["smoothness"])
    seed = request["codec_seed"]
    update = remembers.compress(encoder, delta, before, seed=seed, context=context, occasion=occasion)
    counted, dropped = _own_after(chosen, draft, own, update.sent / UNITS)
    kept = remembers.keeps(encoder)
    return {
        "body": update.body,
        "if_counted": _joined(counted, to_bytes(update.if_counted) if kept else None),
        "if_dropped": _joined(dropped, to_bytes(update.if_dropped) if kept else None),
        "norm": float(np.linalg.norm(delta)),
        "sections": {} if update.weight is None else {UpdateSection.WEIGHT: encode(update.weight)},
    }


def _drawn(request: dict[str, Any], norm: float) -> dict[int, bytes] | None:
    """Under importance sampling: what the update says of its chance, or None: the coin says not to send it."""
    schedule = Participation(*request["participation"])
    if schedule.rule != ParticipationRule.IMPORTANCE:
        return {}
    threshold = sections_from(request["sections"]).get(Section.THRESHOLD)
    p = chance(norm, None if threshold is None else read_threshold(threshold), schedule)
    if not sends(p, schedule, request["fit"]["round"], request["device_index"]):
        return None
    return {UpdateSection.CHANCE: chance_section(p)}


def _own_after(
    chosen: Method, draft: Draft, own: Vector | None, decoded: npt.NDArray[np.float64]
) -> tuple[bytes | None, bytes | None]:
    """The method's own vectors for both fates of the update, as bytes; None: there are none."""
    if not chosen.own:
        return None, None
    zeros = np.zeros((len(chosen.own), decoded.size))
    counted = draft.settled(decoded)
    kept = own if draft.dropped is None else draft.dropped
    return _own_bytes(zeros if counted is None else counted), _own_bytes(zeros if kept is None else kept)


def _own_bytes(own: Vector) -> bytes:
    if not np.isfinite(own).all():
        raise TrainerFailed("what the method keeps on this device is no longer finite: lower the learning rate")
    return np.ascontiguousarray(own, dtype="<f8").tobytes()


def _joined(own: bytes | None, rest: bytes | None) -> bytes | None:
    return rest if own is None else own + (rest or b"")


def _config(request: dict[str, Any]) -> FitConfig:
    return FitConfig(**request["fit"], sections=sections_from(request["sections"]))


def _round(request: dict[str, Any]) -> Round:
    schedule = Participation(*request["participation"])
    return Round(
        number=request["fit"]["round"],
        seed=request["job_seed"],
        device=request["device_index"],
        devices=request["devices"],
        cohorts=request["cohorts"],
        learning_rate=request["fit"]["learning_rate"],
        sections=sections_from(request["sections"]),
        secret=request["secret"],
        full=schedule.is_full(request["fit"]["round"]),
    )
