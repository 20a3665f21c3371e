"""What the session machine asks its shell to do. Executed in order; one that fails ends the session.

(A session that ends is built again from the store, as after a power cut: there is no other way to recover.)
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gossamer.wire.manifest import Manifest, Way


@dataclass(frozen=True, slots=True)
class Publish:
    """Send a message on the device's topic of ``kind`` ("u", "s"); report its PUBACK under ``token``."""

    kind: str
    payload: bytes
    token: int | None = None


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Listen to these kinds of topic."""

    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Stop listening to these kinds of topic."""

    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeepManifest:
    """Make the high-water mark durable."""

    job: int
    round: int
    version: int


@dataclass(frozen=True, slots=True)
class BeginPartial:
    """Make room for an object: ``offer`` is what a receiver needs to go on after a restart."""

    object_id: bytes
    offer: bytes


@dataclass(frozen=True, slots=True)
class KeepChunk:
    """Make a chunk durable, before anything that follows."""

    object_id: bytes
    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class DropPartial:
    """Forget the object that was being fetched."""


@dataclass(frozen=True, slots=True)
class Train:
    """Start the training child: apply ``way`` (with its ``data``), then fit for the manifest's round.

    Answered by ``model_ready`` (if the model changed) and then ``update_ready``; or by ``model_bad`` or
    ``training_failed``.
    """

    manifest: Manifest
    way: Way | None
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Settle:
    """The fate of the update in the outbox is known."""

    object_id: bytes
    counted: bool


@dataclass(frozen=True, slots=True)
class Skip:
    """Give a round up."""

    job: int
    round: int


@dataclass(frozen=True, slots=True)
class Count:
    """Add one to a counter of the ledger."""

    name: str


@dataclass(frozen=True, slots=True)
class Log:
    """One line for the operator; ``level`` as in :mod:`logging`."""

    level: int
    text: str


Link = Publish | Subscribe | Unsubscribe
Durable = KeepManifest | BeginPartial | KeepChunk | DropPartial | Settle | Skip
Action = Link | Durable | Train | Count | Log


def refuse(reason: str, detail: str) -> list[Action]:
    """What came is not believed: count it, and say why."""
    return [Count(f"refused.{reason}"), Log(logging.WARNING, f"refused ({reason}): {detail}")]


def info(text: str) -> Action:
    """A line that tells what is going on."""
    return Log(logging.INFO, text)
