"""Arbitrary and mutated bytes: two errors and no other, and what is accepted the judge reads alike."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import example, given
from hypothesis import strategies as st

from gossamer.errors import BadSignature, IncompleteMessage, MalformedMessage
from gossamer.wire import cose
from gossamer.wire.header import UpdateHeader
from gossamer.wire.manifest import Manifest
from gossamer.wire.messages import Unknown, parse
from tests.wire import naive, strategies

PUBLIC = Ed25519PublicKey.from_public_bytes(naive.PUBLIC)


@st.composite
def mutated(draw, source):
    """Bytes of something right with up to four edits: flip, insert, delete, cut, append."""
    data = bytearray(draw(source))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        edit = draw(st.sampled_from(["set", "insert", "delete", "cut", "append"]))
        if edit == "set" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif edit == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=9))
        elif edit == "delete":
            del data[at : at + draw(st.integers(1, 9))]
        elif edit == "cut":
            del data[at:]
        else:
            data += draw(st.binary(max_size=4))
    return bytes(data)


def examine(data: bytes) -> None:
    try:
        message = parse(data)
    except (IncompleteMessage, MalformedMessage):
        return
    message.check()
    again = message.serialize()
    assert data.startswith(again)
    if not isinstance(message, Unknown):
        assert naive.meaning(data) == strategies.to_json(message)
        assert naive.encode(*naive.meaning(data)) == again


@given(st.binary(max_size=64))
@example(b"\x9b" + b"\xff" * 8)
@example(b"\x81" * 64)
@example(b"\x0a" + b"\x84" * 60)
def test_arbitrary_bytes(data):
    examine(data)


@given(st.integers(0, 10).flatmap(lambda t: st.binary(max_size=40).map(lambda b: bytes([t]) + b)))
def test_arbitrary_bytes_behind_a_type(data):
    examine(data)


@given(mutated(strategies.messages.map(lambda m: m.serialize())))
def test_mutated_messages(data):
    examine(data)


@pytest.mark.parametrize("parser", [UpdateHeader.parse, Manifest.parse])
@given(data=st.one_of(st.binary(max_size=320), mutated(strategies.manifests.map(lambda m: m.serialize()))))
def test_payloads_are_whole_or_malformed(parser, data):
    try:
        payload = parser(data)
    except MalformedMessage:
        return
    assert data.startswith(payload.serialize())


@given(mutated(st.just(bytes.fromhex(strategies.signatures()["manifest"]["cose"]))))
def test_mutated_envelopes(data):
    aad = bytes.fromhex("82616d656661726d31")
    try:
        cose.verify1(PUBLIC, data, aad)
    except (MalformedMessage, BadSignature):
        return
    assert data == bytes.fromhex(strategies.signatures()["manifest"]["cose"])
