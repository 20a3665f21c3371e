"""COSE envelopes, update headers and manifests, against the judge and the stored signatures."""

import dataclasses
import hashlib

import cbor2
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.errors import BadSignature, InputError, MalformedMessage
from gossamer.wire import cose, header, limits, manifest
from gossamer.wire.codes import JobState, Kind
from gossamer.wire.header import UpdateHeader, sign_update, verify_update
from gossamer.wire.manifest import Fit, Manifest, Way, sign_manifest, verify_manifest, with_ways
from gossamer.wire.messages import Round
from gossamer.wire.participation import Participation
from tests.wire import naive, strategies

STORED = strategies.signatures()
KEY = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(STORED["secret"]))
PUBLIC = KEY.public_key()
BODY = bytes.fromhex(STORED["body"])
WHERE = (STORED["fleet"], STORED["device"])
UPDATE = bytes.fromhex(STORED["update"]["cose"])
SIGNED_MANIFEST = bytes.fromhex(STORED["manifest"]["cose"])


def stored_manifest() -> Manifest:
    f = STORED["manifest"]["fields"]
    return Manifest(
        f["job"],
        JobState(f["state"]),
        f["round"],
        f["version"],
        bytes.fromhex(f["digest"]),
        Participation(*f["participation"]),
        tuple(Way(v, bytes.fromhex(i), s, Kind(k)) for v, i, s, k in f["ways"]),
        f["codec"],
        Fit(*f["fit"]),
        f["deadline"],
        bytes.fromhex(f["key_id"]),
        tuple((number, bytes.fromhex(data)) for number, data in f["sections"]),
    )


def test_the_stored_update():
    stored = UpdateHeader(**STORED["update"]["fields"])
    assert stored.serialize().hex() == STORED["update"]["payload"]
    assert sign_update(KEY, stored, *WHERE, BODY) == UPDATE
    assert verify_update(PUBLIC, UPDATE, *WHERE, BODY) == stored


def test_the_stored_manifest():
    assert stored_manifest().serialize().hex() == STORED["manifest"]["payload"]
    assert sign_manifest(KEY, stored_manifest(), "farm1") == SIGNED_MANIFEST
    assert verify_manifest(PUBLIC, SIGNED_MANIFEST, "farm1") == stored_manifest()
    assert cose.key_id(PUBLIC) == stored_manifest().key_id
    assert len(Round(SIGNED_MANIFEST).serialize()) <= limits.MAX_ROUND_BYTES


def test_the_judge_accepts_our_signatures():
    digest = hashlib.sha256(BODY).digest()
    assert naive.verify(naive.PUBLIC, UPDATE, ["u", *WHERE, digest]).hex() == STORED["update"]["payload"]
    assert naive.verify(naive.PUBLIC, SIGNED_MANIFEST, ["m", "farm1"]).hex() == STORED["manifest"]["payload"]
    with pytest.raises(InvalidSignature):
        naive.verify(naive.PUBLIC, UPDATE, ["u", *WHERE, bytes(32)])


@given(st.binary(max_size=255), st.binary(max_size=60))
@settings(max_examples=30)
def test_envelopes_of_any_payload(payload, aad_item):
    aad = cbor2.dumps([aad_item])
    ours = cose.sign1(KEY, payload, aad)
    assert ours == naive.sign(naive.SECRET, payload, [aad_item])
    assert cose.verify1(PUBLIC, ours, aad) == payload
    assert len(ours) - len(payload) <= cose.ENVELOPE_BYTES


@pytest.mark.parametrize(
    ("fleet", "device", "body"),
    [("farm2", "pump-7", BODY), ("farm1", "pump-8", BODY), ("farm1", "pump-7", BODY + b"!")],
)
def test_an_update_is_of_one_fleet_device_and_body(fleet, device, body):
    with pytest.raises(BadSignature):
        verify_update(PUBLIC, UPDATE, fleet, device, body)


def test_another_key_another_purpose():
    with pytest.raises(BadSignature):
        verify_update(Ed25519PrivateKey.generate().public_key(), UPDATE, *WHERE, BODY)
    with pytest.raises(BadSignature):
        verify_manifest(PUBLIC, SIGNED_MANIFEST, "farm2")
    # A header signed by a device is no manifest, whatever its bytes.
    forged = cose.sign1(KEY, stored_manifest().serialize(), header.update_aad(*WHERE, BODY))
    with pytest.raises(BadSignature):
        verify_manifest(PUBLIC, forged, "farm1")


def test_every_flipped_byte_of_an_envelope_is_noticed():
    for at in range(len(UPDATE)):
        wrong = bytearray(UPDATE)
        wrong[at] ^= 1
        with pytest.raises((BadSignature, MalformedMessage)):
            verify_update(PUBLIC, bytes(wrong), *WHERE, BODY)


def test_every_prefix_of_an_envelope_is_malformed():
    # It came whole in a message, so waiting for more would wait for ever.
    for end in range(len(UPDATE)):
        with pytest.raises(MalformedMessage):
            verify_update(PUBLIC, UPDATE[:end], *WHERE, BODY)


@pytest.mark.parametrize(
    "envelope",
    [
        pytest.param(lambda e: cbor2.dumps(cbor2.CBORTag(18, cbor2.loads(e))), id="tagged"),
        pytest.param(lambda e: e.replace(b"\x43\xa1\x01\x27", b"\x43\xa1\x01\x26"), id="another algorithm"),
        pytest.param(lambda e: e.replace(b"\x43\xa1\x01\x27", b"\x40"), id="no algorithm"),
        pytest.param(lambda e: e.replace(b"\x27\xa0", b"\x27\xa1\x04\x41\x01"), id="an unprotected header"),
        pytest.param(lambda e: e + b"\x00", id="bytes behind"),
        pytest.param(lambda e: b"", id="nothing"),
    ],
)
def test_other_envelopes_are_malformed(envelope):
    with pytest.raises(MalformedMessage):
        verify_update(PUBLIC, envelope(UPDATE), *WHERE, BODY)


@given(strategies.headers)
def test_headers_round_trip(original):
    payload = original.serialize()
    assert UpdateHeader.parse(payload) == original
    assert UpdateHeader.parse(payload + b"\x05") == original
    plain = dataclasses.replace(original, sections=())
    for end in range(len(payload)):
        if original.sections and end == len(plain.serialize()):
            assert UpdateHeader.parse(payload[:end]) == plain  # the signature is what forbids it
            continue
        with pytest.raises(MalformedMessage):
            UpdateHeader.parse(payload[:end])


@pytest.mark.parametrize(
    "sections",
    [
        ((0, b""),),
        ((2, b""), (1, b"")),
        ((1, b""), (1, b"")),
        ((1, bytes(limits.MAX_UPDATE_SECTION_BYTES + 1)),),
        tuple((n, b"") for n in range(1, limits.MAX_UPDATE_SECTIONS + 2)),
        ((1, bytes(128)), (2, bytes(128))),
    ],
)
def test_sections_of_an_update_that_cannot_be(sections):
    with pytest.raises(MalformedMessage):
        UpdateHeader(1, 2, 3, 4, 5, sections)


def test_the_longest_header_fits():
    widest = UpdateHeader(*[limits.MAX_UINT] * 3, limits.MAX_INT32, limits.MAX_INT32)
    assert len(widest.serialize()) == 37
    assert len(sign_update(KEY, widest, *WHERE, BODY)) == 111 <= limits.MAX_HEADER_BYTES
    assert len(sign_update(KEY, UpdateHeader(0, 0, 0, 0, 0), *WHERE, BODY)) == 78
    with pytest.raises(MalformedMessage):
        UpdateHeader(0, 0, 0, limits.MAX_INT32 + 1, 0)


@given(st.floats())
def test_losses_always_fit(loss):
    assert 0 <= header.loss_to_micro(loss) <= limits.MAX_INT32


@given(strategies.manifests)
def test_manifests_round_trip(original):
    payload = original.serialize()
    assert Manifest.parse(payload) == original
    assert Manifest.parse(payload + b"\x80") == original
    for end in range(len(payload)):
        with pytest.raises(MalformedMessage):
            Manifest.parse(payload[:end])


def test_manifests_that_cannot_be():
    good = stored_manifest()
    for wrong in (
        {"job": -1},
        {"digest": bytes(15)},
        {"codec": "x" * 49},
        {"codec": "ternär"},
        {"key_id": b""},
        {"fit": Fit(-1, 1, 1, 1)},
        {"fit": Fit(1, 1, 1, 1 << 64)},
        {"ways": (Way(0, bytes(7), 1, Kind.DELTA),)},
        {"ways": (Way(0, bytes(8), 0, Kind.DELTA),)},
        {"ways": (Way(0, bytes(8), 1, Kind.UPDATE),)},
        {"ways": (Way(0, bytes(8), 1, Kind.DELTA),) * 13},
    ):
        with pytest.raises(MalformedMessage):
            dataclasses.replace(good, **wrong)


def test_a_schedule_nobody_knows_is_malformed():
    strange = stored_manifest().serialize().replace(naive.cbor2.dumps(naive.MANIFEST[5]), b"\x84\x09\x01\x0a\x05")
    with pytest.raises(MalformedMessage, match="participation"):
        Manifest.parse(strange)
    with pytest.raises(InputError):
        Participation(9, 1, 10, 5)


def test_ways_are_kept_while_they_fit():
    ways = [Way(v, bytes(8), 5000, Kind.DELTA) for v in range(300, 330)]
    kept = with_ways(stored_manifest(), ways)
    assert kept.ways == tuple(ways[: len(kept.ways)])
    assert 4 <= len(kept.ways) <= limits.MAX_WAYS
    assert len(Round(sign_manifest(KEY, kept, "farm1")).serialize()) <= limits.MAX_ROUND_BYTES
    assert len(kept.serialize()) <= manifest.MAX_MANIFEST_BYTES
