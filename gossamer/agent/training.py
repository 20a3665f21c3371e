"""Between the store and the training child: what goes in, and what its answers become."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gossamer.agent.actions import Train
from gossamer.agent.config import AgentSettings
from gossamer.agent.records import OutboxEntry, StoredModel
from gossamer.agent.runner import ChildSettings
from gossamer.agent.seeds import derive_seed
from gossamer.agent.store import AgentStore
from gossamer.errors import GossamerError, PeerError, TrainerFailed
from gossamer.wire.codes import Section
from gossamer.wire.header import MICRO, UpdateHeader, loss_to_micro, sign_update
from gossamer.wire.ids import object_id
from gossamer.wire.manifest import Manifest
from gossamer.wire.plans import Plan, Plans, read_plans
from gossamer.wire.transfer import chunk_bytes_for

SECRET_LABEL = b"gossamer device secret"
"""Before the key in what is hashed."""


def child_settings(settings: AgentSettings) -> ChildSettings:
    """What the child runs, and within which limits."""
    return ChildSettings(
        trainer=settings.trainer,
        options=settings.trainer_options,
        path=tuple(settings.trainer_path),
        timeout_seconds=settings.fit_timeout_seconds,
        memory_bytes=settings.fit_memory_bytes,
        threads=settings.fit_threads,
        nice=settings.fit_nice,
        arguments=tuple(settings.trainer_arguments),
    )


def fit_fields(
    settings: AgentSettings, store: AgentStore, order: Train, retries: int = 0, *, secret: bytes,
    body_within: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The fields of a "fit" request (see :func:`gossamer.agent.work.fit`).

    ``retries``: on the link, of late. ``secret``: of this device, see :func:`secret_of`. ``body_within``: the longest
    update that the budget allows, in bytes; None: any.
    """
    manifest = order.manifest
    plan = own_plan(settings, manifest)
    model = store.model()
    mine = model is not None and model.job == manifest.job
    seeds = (manifest.fit.seed, manifest.round, settings.device_index)
    return {
        "model": {"lattice": model.lattice, "layout": model.layout} if model is not None and mine else None,
        "object": None if order.way is None else {"kind": int(order.way.kind), "data": order.data},
        "expect": {"version": manifest.version, "digest": manifest.digest},
        "fit": {
            "local_epochs": plan.local_epochs,
            "batch_size": manifest.fit.batch_size,
            "learning_rate": manifest.fit.learning_rate_micro / MICRO,
            "seed": derive_seed("fit", *seeds),
            "round": manifest.round,
        },
        "job_seed": manifest.fit.seed,
        "cycle": 0 if manifest.section(Section.HISTORY) is None else manifest.participation.cohorts,
        "codec": plan.codec,
        "codecs": other_codecs(manifest, plan.codec),
        "body_within": body_within,
        "codec_seed": codec_seed(manifest, settings.device_index),
        "method": (manifest.section(Section.METHOD) or b"fedavg").decode("ascii", "replace"),
        "sections": [[number, data] for number, data in manifest.sections],
        "device_index": settings.device_index,
        "participation": list(manifest.participation.fields),
        "secret": secret,
        "codebooks": manifest.section(Section.CODEBOOKS),
        "memory": (manifest.section(Section.MEMORY) or b"ef14").decode("ascii", "replace"),
        "residual": store.residual(manifest.job),
        "devices": manifest.participation.devices,
        "cohorts": manifest.participation.cohorts,
        "choice": manifest.section(Section.CHOICE) is not None,
        "link": _link(settings, store) if manifest.section(Section.CHOICE) is not None else None,
        "epochs": _epochs(settings, store, order, retries) if manifest.section(Section.ADAPTIVE) is not None else None,
    }


def own_plan(settings: AgentSettings, manifest: Manifest) -> Plan:
    """Codec and local epochs of this device: what the manifest has for its class, else what it has for all.

    A plan may ask for fewer local epochs than the manifest, never for more: those are what deadline and learning rate
    were chosen for. Raises :class:`TrainerFailed` for plans that cannot be read.
    """
    plan = _plans(manifest).of(settings.profile) if settings.profile else None
    if plan is None:
        return Plan("all", manifest.codec, manifest.fit.local_epochs)
    epochs = min(plan.local_epochs or manifest.fit.local_epochs, manifest.fit.local_epochs)
    return Plan(plan.profile, plan.codec or manifest.codec, epochs)


def other_codecs(manifest: Manifest, own: str) -> list[str]:
    """Codecs that the bridge takes an update of this round in, besides ``own`` and those of a free choice."""
    return sorted({manifest.codec, *(plan.codec for plan in _plans(manifest).plans if plan.codec)} - {own})


def _plans(manifest: Manifest) -> Plans:
    try:
        return read_plans(manifest.section(Section.PLAN))
    except PeerError as error:
        raise TrainerFailed(f"the manifest's plans cannot be read, which asks for a newer agent: {error}") from error


def secret_of(key: Ed25519PrivateKey) -> bytes:
    """32 bytes that only this device can know, for noise that nobody else may repeat; always the same."""
    raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())  # private_bytes_raw() is of version 40
    return hashlib.sha256(SECRET_LABEL + raw).digest()


def codec_seed(manifest: Manifest, device: int) -> int:
    """The seed of an update's codec: each device's own, or one for all where votes are to be counted packed."""
    if manifest.section(Section.ROTATION) is not None:
        return derive_seed("rotation", manifest.fit.seed, manifest.round, 0)
    return derive_seed("codec", manifest.fit.seed, manifest.round, device)


def _link(settings: AgentSettings, store: AgentStore) -> dict[str, Any] | None:
    """What the device knows of its link, or None: then it sends what the manifest asks for.

    The rate is the operator's, or the one measured on the device's own uploads.
    """
    link = settings.link
    rate = link.bytes_per_second or store.link()[0]
    if rate == 0:
        return None
    return {
        "metered": link.metered,
        "bytes_per_second": rate,
        "envelope_bytes": link.envelope_bytes,
        "per_byte_micro": link.per_byte_micro,
    }


def _epochs(settings: AgentSettings, store: AgentStore, order: Train, retries: int) -> dict[str, Any]:
    """The state of the local epochs, and what bounds them."""
    return {
        "state": store.epochs(order.manifest.job),
        "joules": settings.fit_joules,
        "watts": settings.fit_watts,
        "deadline_seconds": settings.fit_timeout_seconds,
        "other_bytes": settings.link.envelope_bytes + (len(order.data) if order.data is not None else 0),
        "retries": retries,
    }


def model_of(manifest: Manifest, answer: dict[str, Any]) -> StoredModel:
    """The model that the child has made, as it is stored."""
    return StoredModel(manifest.job, manifest.version, manifest.digest, answer["lattice"], answer["layout"])


def entry_of(settings: AgentSettings, key: Any, manifest: Manifest, answer: dict[str, Any]) -> OutboxEntry:
    """The update that the child has made, signed; ``key`` is the device's Ed25519 private key.

    Raises :class:`TrainerFailed` for one that could never be sent.
    """
    body = answer["body"]
    try:
        chunk_bytes_for(len(body), settings.chunk_bytes)
        header = UpdateHeader(
            manifest.job, manifest.round, manifest.version, answer["examples"], loss_to_micro(answer["loss"]),
            tuple((number, data) for number, data in answer["sections"]),
        )  # fmt: skip
        signed = sign_update(key, header, settings.fleet, settings.device_id, body)
    except GossamerError as error:
        raise TrainerFailed(f"the update cannot be sent: {error}") from error
    return OutboxEntry(
        object_id(body),
        manifest.job,
        manifest.round,
        signed,
        body,
        answer["if_counted"],
        answer["if_dropped"],
        answer["epochs"],
    )
