"""COSE_Sign1 (RFC 9052) with Ed25519 and nothing else: the signatures of manifests and updates.

Algorithm and headers are fixed, so the framing is a constant and the parser has no choice to make: no
algorithm confusion, no header that is trusted before the signature. An envelope costs 74 bytes for a payload
of 24 to 255 bytes, 73 below. What both sides know already (fleet, device, the digest of the body) is
signed as external data and costs nothing.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gossamer.errors import BadSignature, IncompleteMessage, MalformedMessage
from gossamer.wire.items import Reader, encode
from gossamer.wire.limits import KEY_ID_BYTES, MAX_ROUND_BYTES

PROTECTED = bytes.fromhex("a10127")
"""{1: -8}: the algorithm is EdDSA."""

PREFIX = b"\x84" + encode(PROTECTED) + b"\xa0"
"""Array of four, protected header, empty unprotected header."""

SIGNATURE_BYTES = 64
ENVELOPE_BYTES = len(PREFIX) + 2 + 2 + SIGNATURE_BYTES
"""Bytes around a payload of 24 to 255 bytes: two heads of two bytes each."""


def sign1(key: Ed25519PrivateKey, payload: bytes, aad: bytes) -> bytes:
    """Return the untagged COSE_Sign1 of ``payload``; Ed25519 is deterministic, so are the bytes.

    Args:
        key: the signer's.
        payload: travels inside the envelope.
        aad: ``external_aad``, signed but not sent.
    """
    return PREFIX + encode(payload) + encode(key.sign(_to_be_signed(payload, aad)))


def verify1(public: Ed25519PublicKey, data: bytes, aad: bytes) -> bytes:
    """Return the payload of an envelope that ``public`` signed together with ``aad``.

    Raises:
        MalformedMessage: not such an envelope; a truncated one too, since it came whole in a message.
        BadSignature: an envelope that this key did not sign, or for other external data.
    """
    payload, signature = open_unverified(data)
    try:
        public.verify(signature, _to_be_signed(payload, aad))
    except InvalidSignature:
        raise BadSignature("the signature does not belong to the expected key and content") from None
    return payload


def key_id(public: Ed25519PublicKey) -> bytes:
    """Return the 4 bytes that name a key, a hint: the front of the SHA-256 of its 32 raw bytes."""
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(raw).digest()[:KEY_ID_BYTES]


def open_unverified(data: bytes) -> tuple[bytes, bytes]:
    """Return (payload, signature) without any check of the signature: for tools that show what travels.

    Raises:
        MalformedMessage: not a COSE_Sign1 of this form.
    """
    if not data.startswith(PREFIX):
        raise MalformedMessage(f"an envelope begins with {PREFIX.hex()}, got {data[: len(PREFIX)].hex()}")
    try:
        reader = Reader(data[len(PREFIX) :], MAX_ROUND_BYTES)
        payload = reader.bytes_("payload", MAX_ROUND_BYTES)
        signature = reader.bytes_("signature", SIGNATURE_BYTES, least=SIGNATURE_BYTES)
    except IncompleteMessage as short:
        raise MalformedMessage(f"the signed envelope is cut off: {short}") from short
    if not reader.at_end:
        raise MalformedMessage("bytes follow the signed envelope")
    return payload, signature


def _to_be_signed(payload: bytes, aad: bytes) -> bytes:
    """Sig_structure of RFC 9052, 4.4."""
    return encode(["Signature1", PROTECTED, aad, payload])
