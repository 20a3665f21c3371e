"""What a device decides for itself, where the manifest lets it: its codec, by its link, and its local epochs.

Runs in the training child, which knows the model.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from gossamer.compression import codec
from gossamer.compression.adaptive import Bounds, Epochs, Participation
from gossamer.compression.auto import DEVICE_CODECS, Choice, JobFacts, LinkFacts, Progress, for_device
from gossamer.compression.memory import State
from gossamer.compression.shared import SharedModel
from gossamer.errors import InputError, StoreError
from gossamer.methods import Draft, method


def own_codec(given: str, model: SharedModel, request: dict[str, Any], state: State | None, delta: Any) -> str:
    """The codec of this device for an update ``delta`` (d,) on top of its memory ``state``.

    ``request`` has ``link`` (metered, bytes_per_second, envelope_bytes; None: nothing is known of it), ``devices``,
    ``cohorts`` and the round. Where the manifest's codec is not one that `auto` chooses, it stays.
    """
    link, name, share = request["link"], *_method_and_share(given, model)
    if link is None or name not in ("ternary", "hist"):
        return given
    shapes = tuple(shape for _, shape in model.layout.entries)
    places = {array: i for i, (array, _) in enumerate(model.layout.entries)}
    smooth = frozenset(places[array] for array, sides in model.layout.axes if any(side > 1 for side in sides))
    facts = JobFacts(shapes, smooth, request["devices"], request["cohorts"])
    choice = Choice(given, given, 1, 1, "the manifest's", facts, name, share)
    facts_of_link = LinkFacts(
        link["envelope_bytes"], link["per_byte_micro"] / 1e6, link["bytes_per_second"], link["metered"]
    )
    waiting = state if request["memory"] == "ef14" else None  # other memories hold what was sent
    own = for_device(choice, facts_of_link, _progress(request["fit"]["round"], waiting, delta))
    return given if own.method == "hist" and model.frame is None else own.codec_up


def cheaper(request: dict[str, Any], model: SharedModel, draft: Draft) -> list[str]:
    """Codecs that this update may be in besides its own and are cheaper, from the longest bodies to the shortest.

    Those that the manifest names, and where it leaves the choice to devices those that `auto` knows.
    """
    if draft.trained is None and draft.exact:
        return []  # of a method that needs it as it is
    named = set(request.get("codecs", ()))
    if request.get("choice"):
        named |= set(DEVICE_CODECS)
    d = model.layout.parted(1 + len(method(request["method"]).companions)).size
    length = {spec: codec(spec).max_bytes(d) for spec in named | {request["codec"]}}
    fit = [spec for spec in named if model.frame is not None or not spec.startswith("hist")]
    cheap = [spec for spec in fit if length[spec] < length[request["codec"]]]
    return sorted(cheap, key=lambda spec: (-length[spec], spec))


def _method_and_share(spec: str, model: SharedModel) -> tuple[str, float]:
    name, _, text = spec.partition(":")
    try:
        value = float(text)
    except ValueError:
        return spec, 1.0
    return name, value / model.layout.size if name == "hist" and value >= 1 else value


def _progress(round_: int, state: State | None, delta: Any) -> Progress:
    """Rounds so far, and the energy of what waits over that of an update."""
    if state is None:
        return Progress()
    update = float(np.square(np.asarray(delta, dtype=np.float64)).sum())
    waiting = float(np.square(state[-1].astype(np.float64)).sum())
    return Progress(round_, waiting / update) if update else Progress()


def bounds(request: dict[str, Any]) -> Bounds:
    """What a fit may take, from the request's ``epochs`` and the manifest's upper bound."""
    given = request["epochs"]
    joules = given["joules"] or float("inf")
    return Bounds(request["fit"]["local_epochs"], given["deadline_seconds"], joules, given["watts"])


def epochs_state(text: str | None, limits: Bounds) -> Epochs:
    """The state as it was stored, or the first: half of the upper bound."""
    if text is None:
        return Epochs.start(limits, max(1, limits.limit // 2))
    try:
        return Epochs(**json.loads(text))
    except (TypeError, ValueError, InputError) as error:
        raise StoreError(f"the stored state of the local epochs cannot be read: {error}") from error


def after(state: Epochs, norm: float, wire_bytes: int, seconds: float, retries: int, limits: Bounds) -> str:
    """The state after a participation, as it is stored."""
    return json.dumps(asdict(state.after(Participation(norm, wire_bytes, seconds, retries), limits)))
