"""The arithmetic of a round, in the order in which it happens: a model object becomes a model, the model is
trained, the difference becomes an update. Runs in the training child; pure but for the user's trainer.

    base model (lattice) --way--> model --Trainer.fit--> weights --lattice--> delta + residual --codec--> body

Everything between two processes or two rounds is on the lattice (int32, little endian), so that
``sent + residual = trained`` holds to the bit.
"""

from __future__ import annotations

import importlib
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cbor2
import numpy as np

from gossamer.agent import choosing
from gossamer.agent.frames import pack_arrays
from gossamer.agent.trainer import FitConfig, FitResult, Trainer, Weights
from gossamer.compression import codec, lattice, ways
from gossamer.compression.codebooks import Codebooks
from gossamer.compression.layout import Layout
from gossamer.compression.memory import from_bytes, memory, to_bytes
from gossamer.compression.shared import SharedModel
from gossamer.errors import ConfigError, GossamerError, InputError, PeerError, TrainerFailed

KIND_DELTA = 1
KIND_SNAPSHOT = 2

Answer = dict[str, Any]


def serve(request: dict[str, Any]) -> Iterator[Answer]:
    """Answer one request of the agent; see the functions below for its fields."""
    trainer = make_trainer(request["trainer"], request["options"], request["path"])
    if request["op"] == "initial":
        yield {"type": "initial", "weights": pack_arrays(initial(trainer, request["seed"]))}
    elif request["op"] == "evaluate":
        yield {"type": "figures", "figures": evaluate(trainer, request["model"])}
    else:
        yield from fit(trainer, request)


def make_trainer(spec: str, options: dict[str, Any], path: list[str]) -> Trainer:
    """The user's trainer: ``factory(**options)`` of "package.module:factory".

    Raises :class:`ConfigError` when it cannot be found, :class:`TrainerFailed` when it is not a trainer.
    """
    sys.path[:0] = path
    module_name, _, attribute = spec.partition(":")
    try:
        module = importlib.import_module(module_name)
        factory = getattr(module, attribute)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"trainer {spec!r}: no module named {error.name}. Install it into this environment, or name its "
            "directory in trainer_path"
        ) from error
    except AttributeError as error:
        raise ConfigError(f"trainer {spec!r}: module {module_name} has no {attribute!r}") from error
    trainer = factory(**options)
    for method in ("initial", "fit", "evaluate"):
        if not callable(getattr(trainer, method, None)):
            raise TrainerFailed(
                f"{spec} returned {type(trainer).__name__} without a method {method!r}: expected a "
                "gossamer.agent.trainer.Trainer with initial, fit and evaluate"
            )
    return trainer  # type: ignore[no-any-return]


def initial(trainer: Trainer, seed: int) -> Weights:
    """The trainer's first weights, checked. Raises :class:`TrainerFailed`."""
    return _checked(trainer.initial(seed), None, "Trainer.initial")


def evaluate(trainer: Trainer, model: dict[str, Any]) -> dict[str, float]:
    """Figures of the stored model on the device's held-out data."""
    shared = SharedModel.from_bytes(model["lattice"], _layout(model["layout"]))
    figures = trainer.evaluate(shared.layout.unflatten(lattice.from_lattice(shared.weights)))
    if not isinstance(figures, dict):
        raise TrainerFailed(f"Trainer.evaluate: expected a dict of numbers, got {type(figures).__name__}")
    return {str(name): float(value) for name, value in figures.items()}


def fit(trainer: Trainer, request: dict[str, Any]) -> Iterator[Answer]:
    """Bring the model to the version of the round, train, encode.

    Fields: ``model`` {lattice, layout} or None; ``object`` {kind, data} or None; ``expect`` {version,
    digest}; ``cycle`` rounds over which the model keeps its history, 0 for a plain model;
    ``fit`` {local_epochs, batch_size, learning_rate, seed, round}; ``job_seed``; ``codec``, ``codec_seed``;
    ``codebooks`` as announced or None; ``memory``; ``residual`` bytes or None; ``link``, ``devices``, ``cohorts``
    and ``epochs`` as `choosing` wants them. Answers "model" if it differs from the one given, then "update"; or
    "bad-model" when the object does not lead to the digest.
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
        model = first_model(trainer, request["job_seed"], request["cycle"])
    else:
        model = SharedModel.from_bytes(stored["lattice"], _layout(stored["layout"]))
    if way is not None and way["kind"] == KIND_SNAPSHOT:
        model = ways.decode_snapshot(way["data"], model)
    elif way is not None:
        model = ways.apply_delta(model, way["data"])
    return model, stored is None or way is not None


def first_model(trainer: Trainer, seed: int, cycle: int) -> SharedModel:
    """Version 0 of a job with this seed; with history over cycles of so many rounds, if that is not 0."""
    weights = initial(trainer, seed)
    layout = Layout.of(weights, getattr(trainer, "axes", {}))
    return SharedModel.first(layout, lattice.to_lattice(layout.flatten(weights)), cycle)


def make_update(trainer: Trainer, model: SharedModel, request: dict[str, Any]) -> Answer:
    """Train from ``model`` and encode the difference together with the residual."""
    layout, base = model.layout, model.weights
    weights = layout.unflatten(lattice.from_lattice(base))
    limits, state, config = None, None, FitConfig(**request["fit"])
    if request["epochs"] is not None:
        limits = choosing.bounds(request)
        state = choosing.epochs_state(request["epochs"]["state"], limits)
        config = replace(config, local_epochs=state.next(limits))
    began = time.monotonic()
    result = check_result(trainer.fit(weights, config), layout)
    seconds = time.monotonic() - began
    try:
        trained = lattice.to_lattice(layout.flatten(result.weights))
        method, stored = memory(request["memory"]), request["residual"]
        before = None if stored is None else from_bytes(stored, method, layout.size)
        delta = trained.astype(np.int64) - base  # may leave int32; compress says so
        encoder = codec(choosing.own_codec(request["codec"], model, request, before, delta))
        books = request["codebooks"]
        context = replace(model.context(upward=True), codebooks=Codebooks.parse(books) if books else None)
        update = method.compress(encoder, delta, before, seed=request["codec_seed"], context=context)
        kept = method.summed or encoder.uses_residual
    except InputError as error:
        raise TrainerFailed(
            f"the update of round {request['fit']['round']} cannot be encoded: {error}. A smaller learning "
            "rate keeps weights in range; an unknown codec asks for a newer agent"
        ) from error
    return {
        "type": "update",
        "body": update.body,
        "if_counted": to_bytes(update.if_counted) if kept else None,
        "if_dropped": to_bytes(update.if_dropped) if kept else None,
        "examples": int(result.examples),
        "loss": float(result.loss),
        "epochs": None if state is None or limits is None else choosing.after(
            state, float(np.linalg.norm(delta)), len(update.body) + request["epochs"]["other_bytes"], seconds,
            request["epochs"]["retries"], limits,
        ),
    }  # fmt: skip


def check_result(result: Any, layout: Layout) -> FitResult:
    """What ``Trainer.fit`` returned, or :class:`TrainerFailed` that says what was expected and what came."""
    if not isinstance(result, FitResult):
        raise TrainerFailed(
            "Trainer.fit: expected a gossamer.agent.trainer.FitResult(weights, examples, loss), got "
            f"{type(result).__name__}"
        )
    weights = _checked(result.weights, [shape for _, shape in layout.entries], "Trainer.fit")
    examples, loss = result.examples, result.loss
    if isinstance(examples, bool) or not isinstance(examples, (int, np.integer)) or examples < 1:
        raise TrainerFailed(f"Trainer.fit: expected examples to count the data, at least 1, got {examples!r}")
    if not isinstance(loss, (int, float, np.floating)) or not math.isfinite(loss):
        raise TrainerFailed(
            f"Trainer.fit: expected a finite loss, got {loss!r}: training diverged; lower the learning rate"
        )
    return FitResult(weights, int(examples), float(loss))


def _checked(weights: Any, shapes: list[tuple[int, ...]] | None, who: str) -> Weights:
    if not isinstance(weights, (list, tuple)) or not weights:
        raise TrainerFailed(f"{who}: expected weights as a list of arrays, got {type(weights).__name__}")
    for number, each in enumerate(weights):
        if not isinstance(each, np.ndarray) or each.dtype.kind != "f":
            came = f"an array of {each.dtype}" if isinstance(each, np.ndarray) else type(each).__name__
            raise TrainerFailed(f"{who}: expected weights[{number}] to be a float array, got {came}")
        if not np.isfinite(each).all():
            raise TrainerFailed(
                f"{who}: weights[{number}] has NaN or infinity: lower the learning rate or check the data"
            )
    have = [each.shape for each in weights]
    if shapes is not None and have != shapes:
        raise TrainerFailed(
            f"{who}: expected weights of the shapes {shapes}, got {have}: return them in the order and "
            "shapes of Trainer.initial"
        )
    return [np.asarray(each, dtype=np.float32) for each in weights]


def _layout(data: bytes) -> Layout:
    try:
        return Layout.from_lists(cbor2.loads(data))
    except (TypeError, ValueError, cbor2.CBORDecodeError) as error:
        raise GossamerError(f"the stored layout cannot be read: {error}") from error


def _layout_bytes(layout: Layout) -> bytes:
    return cbor2.dumps(layout.to_lists())
