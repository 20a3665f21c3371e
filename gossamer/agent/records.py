"""What the device's store holds, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StoredModel:
    """The shared model as this device holds it: ``lattice`` its ``SharedModel`` as bytes; ``layout`` CBOR."""

    job: int
    version: int
    digest: bytes
    lattice: bytes
    layout: bytes


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """An update on its way, and the residual that its fate leads to (None: it stays as it is).

    ``epochs``: what the device has learned about its local epochs; kept when the update is posted, whatever its fate.
    """

    object_id: bytes
    job: int
    round: int
    header: bytes
    body: bytes
    if_counted: bytes | None = None
    if_dropped: bytes | None = None
    epochs: str | None = None


@dataclass(frozen=True, slots=True)
class Partial:
    """A download that has begun: the serialised OFFER and the chunks that are here."""

    object_id: bytes
    offer: bytes
    chunks: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Marks:
    """High-water marks; -1: none yet.

    ``job, round, version``: of the newest manifest believed; one below is a replay. ``done_job, done_round``:
    the newest round that this device is through with, whatever came of it.
    """

    job: int = -1
    round: int = -1
    version: int = -1
    done_job: int = -1
    done_round: int = -1


@dataclass(frozen=True, slots=True)
class Ledger:
    """The byte account: month ("2026-11") -> way ("up", "down") -> cause -> bytes; and named counters."""

    months: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
