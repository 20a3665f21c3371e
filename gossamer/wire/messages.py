"""The eleven messages. Each is a CBOR sequence: its type, then its fields in fixed order. All are mandatory but the
account at the end of BIRTH and ABSENT.

=========  ==  =====================================================================
OFFER       0  object_id, kind, size, chunk_bytes, header, body
CHUNK       1  object_id, index, data
STATUS      2  object_id, code, missing
QUERY       3  object_id
GET         4  object_id, missing
RECEIPT     5  object_id, version
ROUND       6  cose
BIRTH       7  boot, version, account
DEATH       8  boot
STATE       9  boot, up
ABSENT     10  job, round, reason, detail, account
=========  ==  =====================================================================

A message that breaks its own rules cannot be built: the constructor calls :meth:`check`, which raises
:class:`~gossamer.errors.MalformedMessage`. Source of the format: RFC 8742, RFC 8949; grammar in
``gossamer.cddl``, meaning in ``docs/protocol.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.errors import MalformedMessage
from gossamer.wire.accounts import Account
from gossamer.wire.codes import Absence, Code, JobState, Kind, Reason
from gossamer.wire.header import UpdateHeader
from gossamer.wire.ids import MANIFEST_ID, object_id
from gossamer.wire.items import Reader
from gossamer.wire.manifest import Fit, Manifest, Way
from gossamer.wire.missing import Missing
from gossamer.wire.session_messages import Absent, Birth, Death, Round, State
from gossamer.wire.transfer_messages import Chunk, Get, Offer, Query, Receipt, Status

__all__ = [
    "MANIFEST_ID",
    "Absence",
    "Absent",
    "Account",
    "Birth",
    "Chunk",
    "Code",
    "Death",
    "Fit",
    "Get",
    "JobState",
    "Kind",
    "Manifest",
    "Message",
    "Missing",
    "Offer",
    "Query",
    "Reason",
    "Receipt",
    "Round",
    "State",
    "Status",
    "Unknown",
    "UpdateHeader",
    "Way",
    "object_id",
    "parse",
]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message of a later version: of a type not known here, well-formed, to be ignored."""

    type: int
    data: bytes

    def check(self) -> None:
        """Raise MalformedMessage if the type is one that is known."""
        if self.type in TYPES:
            raise MalformedMessage(f"message type {self.type} is known")

    def serialize(self) -> bytes:
        """Return the bytes as they came."""
        return self.data


Message = Offer | Chunk | Status | Query | Get | Receipt | Round | Birth | Death | State | Absent | Unknown

_CLASSES = (Offer, Chunk, Status, Query, Get, Receipt, Round, Birth, Death, State, Absent)
TYPES = {cls.TYPE: cls for cls in _CLASSES}
"""Message type on the wire -> class."""


def parse(data: bytes) -> Message:
    """Read one message.

    Items behind the known ones are skipped, and a type that is not known gives :class:`Unknown`, so that a
    later version can add both.

    Raises:
        IncompleteMessage: ``data`` is a proper prefix of a message.
        MalformedMessage: nothing that follows could make it one, or it is too long.
    """
    reader = Reader(data)
    kind = reader.uint("message type")
    known = TYPES.get(kind)
    message: Message = known.read(reader) if known else Unknown(kind, bytes(data))
    reader.skip_rest()
    return message
