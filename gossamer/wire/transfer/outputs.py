"""What the machines ask their shell to do."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.wire.codes import Reason
from gossamer.wire.missing import Missing
from gossamer.wire.transfer_messages import Chunk, Offer, Query


@dataclass(frozen=True, slots=True)
class Send:
    """Publish this message at QoS 1 and hand ``token`` back when the broker has acknowledged it."""

    message: Offer | Chunk | Query
    token: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Write this chunk to durable storage before the next output is acted on or acknowledged."""

    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Need:
    """Tell the sender what is missing, as STATUS (upload) or GET (download); empty: all, and the offer."""

    missing: Missing


@dataclass(frozen=True, slots=True)
class Done:
    """The object is here, whole, and its digest is the one its id promises. Comes once per machine."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Discard:
    """What was kept makes a wrong body (or another cut): delete every kept chunk; all come anew."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Give up on this object for good."""

    reason: Reason


ReceiverOutput = Keep | Need | Done | Discard | Reject
