"""A job's first entry in the store, and its model as it is kept there."""

from __future__ import annotations

import json
import time

from sqlalchemy.engine import Connection

from gossamer.aggregator.beside import longest
from gossamer.aggregator.job_checks import AUTO
from gossamer.aggregator.job_settings import (
    MAX_LAG,
    MICRO,
    ClosingSettings,
    FitSettings,
    JobSettings,
    LinkSettings,
)
from gossamer.aggregator.manifests import check_room
from gossamer.aggregator.store import Store, jobs, models, states
from gossamer.compression import codec
from gossamer.compression.integers import BLOCK
from gossamer.compression.layout import Layout
from gossamer.compression.memory import memory
from gossamer.compression.shared import SharedModel
from gossamer.errors import ConfigError, InputError, MalformedBody, StoreError
from gossamer.methods import method
from gossamer.wire.limits import MAX_OBJECT_BYTES

__all__ = [
    "AUTO",
    "MAX_LAG",
    "MICRO",
    "ClosingSettings",
    "FitSettings",
    "JobSettings",
    "LinkSettings",
    "check_model",
    "create_job",
    "largest_snapshot_bytes",
    "layout_from_json",
    "layout_to_json",
    "model_at",
]

#: Bits of a parameter in a snapshot at worst: Golomb-Rice with parameter 32, and the 1 that ends its unary part.
SNAPSHOT_BITS = 33


def create_job(
    store: Store, settings: JobSettings, initial: models.Lattice, layout: Layout, *, now: float | None = None
) -> jobs.JobRow:
    """Enter a job with its version 0 (int32 (d,), lattice units); the same job a second time changes nothing.

    Raises:
        ConfigError: name or number belong to a job with other settings; ``initial`` is not of ``layout``, or
            the model is too large for the wire.
    """
    settings.check()
    if AUTO in (settings.codec_up, settings.rule) or (settings.privacy and not settings.privacy.noise_multiplier):
        raise ConfigError(f"job {settings.name}: something is still {AUTO!r} or unplanned; decide it first (automatic)")
    layout.parted(1 + len(method(settings.method).companions))  # a model without them is none of this job's
    if initial.shape != (layout.size,):
        raise ConfigError(f"job {settings.name}: layout of {layout.size} values, initial model {initial.shape}")
    check_model(settings, layout.size)
    now = time.time() if now is None else now
    with store.write() as db:
        present = jobs.get(db, settings.job)
        if present is not None and JobSettings.from_json(present.settings) == settings:
            return present
        row = jobs.add(
            db,
            job=settings.job,
            name=settings.name,
            settings=settings.to_json(),
            layout=layout_to_json(layout),
            now=now,
        )
        first = SharedModel.first(layout, initial, settings.cycle)
        models.add(db, row.job, 0, digest=first.digest, state=first.to_bytes(), step=None, now=now)
        states.put(db, row.job, states.StoredState(0, models.to_blob(initial), b""))
    return row


def model_at(db: Connection, job: jobs.JobRow, version: int) -> SharedModel:
    """Return a version that is kept whole.

    Raises:
        StoreError: it is not there, or damaged.
    """
    data = models.state(db, job.job, version)
    if data is None:
        raise StoreError(f"model version {version} of job {job.job} is missing; restore the store from a backup")
    try:
        return SharedModel.from_bytes(data, layout_from_json(job.layout))
    except (InputError, MalformedBody) as error:
        raise StoreError(f"model version {version} of job {job.job} is damaged: {error}; restore a backup") from error


def largest_snapshot_bytes(parameters: int) -> int:
    """Return a bound on the bytes of a snapshot of so many parameters: kind, block parameters, values."""
    values = -(-parameters * SNAPSHOT_BITS // 8) + 1  # low bits and unary part each end at a byte
    return 1 + -(-parameters // BLOCK) + values


def check_model(settings: JobSettings, parameters: int) -> None:
    """Refuse now what would only show once devices have trained.

    Raises:
        ConfigError: the devices' memory cannot work with the codec at this size, or the model is too large.
    """
    try:
        rows = 1 + len(method(settings.method).companions)
        for spec in (settings.codec_up, *settings.planned_codecs):
            memory(settings.memory).check(codec(spec), parameters // rows)
    except InputError as error:
        raise ConfigError(f"job {settings.name}: memory = {settings.memory!r}: {error}") from error
    _check_snapshot(settings.name, parameters)
    check_room(settings, longest(settings), largest_snapshot_bytes(parameters))


def _check_snapshot(name: str, parameters: int) -> None:
    """Refuse now a model that would, some rounds on, have no way for a device that was away."""
    worst = largest_snapshot_bytes(parameters)
    if worst > MAX_OBJECT_BYTES:
        raise ConfigError(
            f"job {name}: a model of {parameters} parameters has snapshots of up to {worst} bytes; expected at most "
            f"{MAX_OBJECT_BYTES} (about {MAX_OBJECT_BYTES * 8 // SNAPSHOT_BITS} parameters): use a smaller model"
        )


def layout_to_json(layout: Layout) -> str:
    """Return the layout as JSON (`Layout.to_lists`)."""
    return json.dumps(layout.to_lists())


def layout_from_json(text: str) -> Layout:
    """The inverse of :func:`layout_to_json`."""
    return Layout.from_lists(json.loads(text))
