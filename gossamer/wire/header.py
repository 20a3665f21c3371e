"""The header of an update: five integers and named additions, signed by the device together with the body.

The signature is a COSE_Sign1 over the header; the fleet, the device and the SHA-256 of the body are external
data: the bridge knows all three (from the topic and the body itself), so they are proved without being sent.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gossamer.errors import IncompleteMessage, MalformedMessage
from gossamer.wire import cose
from gossamer.wire.items import ARRAY, Reader, encode, sequence
from gossamer.wire.limits import (
    MAX_HEADER_BYTES,
    MAX_INT32,
    MAX_UINT,
    MAX_UPDATE_SECTION_BYTES,
    MAX_UPDATE_SECTIONS,
)
from gossamer.wire.sections import Sections, read_sections

MICRO = 1_000_000
"""Units in one: losses and learning rates travel as millionths."""


@dataclass(frozen=True, slots=True)
class UpdateHeader:
    """What the server must know about an update besides its body.

    Args:
        job, round: what the update is for; ``round`` is the manifest's.
        base_version: the model version the device trained from.
        examples: number of training examples, the weight in the mean.
        loss_micro: training loss in millionths, capped (:func:`loss_to_micro`).
        sections: number (:class:`gossamer.wire.codes.UpdateSection`) and bytes of named additions, ascending.
    """

    job: int
    round: int
    base_version: int
    examples: int
    loss_micro: int
    sections: Sections = ()

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise MalformedMessage unless every field is in range."""
        for name, most in _FIELDS:
            if not 0 <= getattr(self, name) <= most:
                raise MalformedMessage(f"{name}: expected 0..{most}, got {getattr(self, name)}")
        if self.sections:
            payload = self.serialize()
            if len(payload) > MAX_HEADER_BYTES - cose.ENVELOPE_BYTES:
                raise MalformedMessage(f"an update header has at most {MAX_HEADER_BYTES} bytes signed; send less")
            try:
                read_sections(Reader(encode(_items(self.sections))), MAX_UPDATE_SECTIONS, MAX_UPDATE_SECTION_BYTES)
            except IncompleteMessage as wrong:
                raise MalformedMessage(f"sections of an update: {wrong}") from wrong

    def section(self, number: int) -> bytes | None:
        """Return the bytes of a named addition, or None."""
        return dict(self.sections).get(number)

    def serialize(self) -> bytes:
        """Return the payload of the signature: 5 to 37 bytes, 10 as a rule, and the sections if there are any."""
        fields = sequence(*(getattr(self, name) for name, _ in _FIELDS))
        return fields + encode(_items(self.sections)) if self.sections else fields

    @classmethod
    def parse(cls, payload: bytes) -> UpdateHeader:
        """Read a payload; trailing items are ignored. MalformedMessage also when it is cut off."""
        try:
            reader = Reader(payload, MAX_HEADER_BYTES)
            fields = [reader.uint(name, most) for name, most in _FIELDS]
            sections: Sections = ()
            if not reader.at_end and reader.peek_major() == ARRAY:
                sections = read_sections(reader, MAX_UPDATE_SECTIONS, MAX_UPDATE_SECTION_BYTES)
            reader.skip_rest()
            header = cls(fields[0], fields[1], fields[2], fields[3], fields[4], sections)
        except IncompleteMessage as short:
            raise MalformedMessage(f"the update header is cut off: {short}") from short
        return header


_FIELDS = (
    ("job", MAX_UINT),
    ("round", MAX_UINT),
    ("base_version", MAX_UINT),
    ("examples", MAX_INT32),
    ("loss_micro", MAX_INT32),
)


def _items(sections: Sections) -> list[list[int | bytes]]:
    return [[number, data] for number, data in sections]


def loss_to_micro(loss: float) -> int:
    """Return a loss in millionths; negative counts as 0, what is no number or too large as the cap.

    >>> loss_to_micro(0.25), loss_to_micro(-1.0), loss_to_micro(float("nan"))
    (250000, 0, 4294967295)
    """
    if math.isnan(loss):
        return MAX_INT32
    return round(min(max(loss * MICRO, 0.0), float(MAX_INT32)))


def update_aad(fleet: str, device: str, body: bytes) -> bytes:
    """Return the external data of an update's signature: CBOR ``["u", fleet, device, sha256(body)]``."""
    return encode(["u", fleet, device, hashlib.sha256(body).digest()])


def sign_update(key: Ed25519PrivateKey, header: UpdateHeader, fleet: str, device: str, body: bytes) -> bytes:
    """Return the ``header`` item of an OFFER: 79 to 111 bytes, and the sections."""
    return cose.sign1(key, header.serialize(), update_aad(fleet, device, body))


def verify_update(public: Ed25519PublicKey, data: bytes, fleet: str, device: str, body: bytes) -> UpdateHeader:
    """Return the header that the owner of ``public`` signed for exactly this fleet, device and body.

    Raises:
        BadSignature, MalformedMessage: as :func:`gossamer.wire.cose.verify1`.
    """
    return UpdateHeader.parse(cose.verify1(public, data, update_aad(fleet, device, body)))
