"""The arithmetic of a round, in the order in which it happens: a model object becomes a model, the model is
trained, the difference becomes an update. Runs in the training child; pure but for the user's trainer.

    base model (lattice) --way--> model --Trainer.fit--> weights --lattice--> delta + residual --codec--> body

Everything between two processes or two rounds is on the lattice (int32, little endian), so that
``sent + residual = trained`` holds to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cbor2
import numpy as np

from gossamer.agent.checks import checked_weights
from gossamer.agent.factory import load_factory
from gossamer.agent.frames import pack_arrays
from gossamer.agent.trainer import Trainer, Weights
from gossamer.agent.updating import make_update, split_own
from gossamer.compression import lattice, ways
from gossamer.compression.layout import Layout
from gossamer.compression.shared import SharedModel
from gossamer.errors import GossamerError, PeerError, TrainerFailed
from gossamer.methods import method

KIND_DELTA = 1
KIND_SNAPSHOT = 2

Answer = dict[str, Any]


def serve(request: dict[str, Any]) -> Iterator[Answer]:
    """Answer one request of the agent; see the functions below for its fields."""
    trainer = make_trainer(request["trainer"], request["options"], request["path"], request["arguments"])
    if request["op"] == "initial":
        yield {"type": "initial", "weights": pack_arrays(initial(trainer, request["seed"]))}
    elif request["op"] == "evaluate":
        yield {"type": "figures", "figures": evaluate(trainer, request["model"])}
    else:
        yield from fit(trainer, request)


def make_trainer(
    spec: str, options: dict[str, Any], path: list[str], arguments: Sequence[str] | None = None
) -> Trainer:  # fmt: skip
    """The user's trainer: ``factory(**options)`` of "package.module:factory" or "script.py:factory".

    ``arguments``: see :func:`gossamer.agent.factory.load_factory`.
    Raises :class:`ConfigError` when it cannot be found, :class:`TrainerFailed` when it is not a trainer.
    """
    factory = load_factory(spec, path, arguments)
    trainer = factory(**options)
    for needed in ("initial", "fit", "evaluate"):
        if not callable(getattr(trainer, needed, None)):
            raise TrainerFailed(
                f"{spec} returned {type(trainer).__name__} without a method {needed!r}: expected a "
                "gossamer.agent.trainer.Trainer with initial, fit and evaluate"
            )
    return trainer  # type: ignore[no-any-return]


def initial(trainer: Trainer, seed: int) -> Weights:
    """The trainer's first weights, checked. Raises :class:`TrainerFailed`."""
    return checked_weights(trainer.initial(seed), None, "Trainer.initial")


def evaluate(trainer: Trainer, model: dict[str, Any]) -> dict[str, float]:
    """Figures of the stored model on the device's held-out data."""
    shared = SharedModel.from_bytes(model["lattice"], _layout(model["layout"]))
    figures = trainer.evaluate(weights_of(shared, model.get("method", "fedavg"), model.get("own")))
    if not isinstance(figures, dict):
        raise TrainerFailed(f"Trainer.evaluate: expected a dict of numbers, got {type(figures).__name__}")
    return {str(name): float(value) for name, value in figures.items()}


def weights_of(shared: SharedModel, spec: str, stored: bytes | None = None) -> Weights:
    """The weights to judge or to use, of a shared model with or without companions; ``stored``: what a device keeps."""
    chosen = method(spec)
    layout = shared.layout.parted(1 + len(chosen.companions))
    rows = shared.weights.astype(np.float64).reshape(-1, layout.size) / float(1 << lattice.LATTICE_BITS)
    own, _ = split_own(chosen, layout.size, stored)
    return layout.unflatten(chosen.model(rows, own))


def fit(trainer: Trainer, request: dict[str, Any]) -> Iterator[Answer]:
    """Bring the model to the version of the round, train, encode.

    Fields: ``model`` {lattice, layout} or None; ``object`` {kind, data} or None; ``expect`` {version,
    digest}; ``cycle`` rounds over which the model keeps its history, 0 for a plain model;
    ``fit`` {local_epochs, batch_size, learning_rate, seed, round}; ``job_seed``; ``codec``, ``codec_seed``;
    ``codecs`` that would do as well, and whether the ``choice`` is free (both may be left out); ``body_within`` bytes,
    if a budget says so;
    ``codebooks`` as announced or None; ``method``; ``memory``; ``residual`` bytes or None (what method and memory
    keep); ``sections`` and ``participation`` of the manifest; ``device_index``; ``secret`` (`training.secret_of`);
    ``link``, ``devices``, ``cohorts`` and ``epochs`` as `choosing` wants them. Answers "model" if it differs from the
    one given, then "update", or "abstain" where the schedule leaves it to the device and it does not send, or
    "too-long" where no codec brings it within the budget; or "bad-model" when the object does not lead to the digest.
    """
    expect = request["expect"]
    try:
        model, changed = current_model(trainer, request)
    except PeerError as error:
        yield {"type": "bad-model", "detail": str(error)}
        return
    if model.digest != expect["digest"]:
        detail = f"version {expect['version']} has another digest than the manifest says"
        yield {"type": "bad-model", "detail": detail}
        return
    if changed:
        yield {"type": "model", "lattice": model.to_bytes(), "layout": _layout_bytes(model.layout)}
    yield make_update(trainer, model, request)


def current_model(trainer: Trainer, request: dict[str, Any]) -> tuple[SharedModel, bool]:
    """The model of the round, and whether it differs from the one given. Raises :class:`PeerError`."""
    stored, way = request["model"], request["object"]
    if stored is None or (way is not None and way["kind"] == KIND_SNAPSHOT):
        model = first_model(trainer, request["job_seed"], request["cycle"], request["method"])
    else:
        model = SharedModel.from_bytes(stored["lattice"], _layout(stored["layout"]))
    if way is not None and way["kind"] == KIND_SNAPSHOT:
        model = ways.decode_snapshot(way["data"], model)
    elif way is not None:
        model = ways.apply_delta(model, way["data"])
    return model, stored is None or way is not None


def first_model(trainer: Trainer, seed: int, cycle: int, spec: str = "fedavg") -> SharedModel:
    """Version 0 of a job with this seed; with history over cycles of so many rounds, if that is not 0.

    ``spec``: the job's method, whose companions start as zeros.
    """
    weights = initial(trainer, seed)
    layout = Layout.of(weights, getattr(trainer, "axes", {}))
    companions = method(spec).companions
    units = lattice.to_lattice(layout.flatten(weights))
    return SharedModel.first(layout.joined(companions), np.pad(units, (0, layout.size * len(companions))), cycle)


def _layout(data: bytes) -> Layout:
    try:
        return Layout.from_lists(cbor2.loads(data))
    except (TypeError, ValueError, cbor2.CBORDecodeError) as error:
        raise GossamerError(f"the stored layout cannot be read: {error}") from error


def _layout_bytes(layout: Layout) -> bytes:
    return cbor2.dumps(layout.to_lists())
