"""Every message obeys the published grammar, and what the grammar forbids does not parse."""

from pathlib import Path
from typing import Any

import cbor2
import pycddl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gossamer.wire
from gossamer.errors import MalformedMessage
from gossamer.wire import limits
from gossamer.wire.header import UpdateHeader
from gossamer.wire.items import ARRAY, head, sequence
from gossamer.wire.messages import parse
from tests.wire import naive, strategies

GRAMMAR = (Path(gossamer.wire.__file__).parent / "gossamer.cddl").read_text()
# One schema per rule: pycddl 0.6 takes some wrong arrays if the root is a choice of arrays.
PAYLOADS = ["manifest", "plan", "plain-header", "wide-header", "envelope", "update-aad"]
WITH_ACCOUNT = {"birth", "absent"}
RULES = [
    *(name.lower() for name in naive.MESSAGES if name.lower() not in WITH_ACCOUNT),
    *(f"{form}-{name}" for name in WITH_ACCOUNT for form in ("plain", "full")),
    *PAYLOADS,
]
SCHEMAS = {rule: pycddl.Schema(f"root = {rule}\n{GRAMMAR}") for rule in RULES}


def rule_of(name: str, fields: dict[str, Any]) -> str:
    """The rule for a message; pycddl 0.6 takes no optional array at the end, so the grammar has two for some."""
    if name.lower() not in WITH_ACCOUNT:
        return name.lower()
    return f"{'plain' if fields['account'] is None else 'full'}-{name.lower()}"


def obeys(rule: str, data: bytes) -> bool:
    """Whether the items of the sequence, given the head of an array, match the rule."""
    try:
        SCHEMAS[rule].validate_cbor(head(ARRAY, len(naive.split(data))) + data)
    except pycddl.ValidationError:
        return False
    return True


@pytest.mark.parametrize(("name", "case", "fields", "data"), strategies.vectors())
def test_vectors(name, case, fields, data):
    assert obeys(rule_of(name, fields), data)


@given(strategies.messages)
def test_messages(message):
    assert obeys(rule_of(*strategies.to_json(message)), message.serialize())


@given(strategies.manifests)
def test_manifests(manifest):
    assert obeys("manifest", manifest.serialize())


@given(strategies.headers)
def test_headers(header):
    assert obeys("wide-header" if header.sections else "plain-header", header.serialize())


def test_envelope_and_external_data():
    stored = strategies.signatures()
    SCHEMAS["envelope"].validate_cbor(bytes.fromhex(stored["update"]["cose"]))
    SCHEMAS["update-aad"].validate_cbor(cbor2.dumps(["u", "farm1", "pump-7", bytes(32)]))


ID = bytes(8)
AT_THE_BOUND = {
    "offer": [0, ID, 2, limits.MAX_OBJECT_BYTES, limits.MAX_CHUNK_BYTES, bytes(limits.MAX_HEADER_BYTES), b""],
    "chunk": [1, ID, limits.MAX_CHUNKS - 1, bytes(limits.MAX_CHUNK_BYTES)],
    "status": [2, ID, limits.MAX_CODE, []],
    "get": [4, ID, b"\xff" * limits.MAX_MISSING_BYTES],
    "round": [6, bytes(limits.MAX_ROUND_BYTES - 4)],
    "plain-birth": [7, limits.MAX_UINT, limits.MAX_UINT],
    "full-birth": [7, limits.MAX_UINT, limits.MAX_UINT, [limits.MAX_MONTH, limits.MAX_UINT, limits.MAX_UINT, "p" * 24]],
    "state": [9, 0, 1],
    "plain-absent": [10, limits.MAX_UINT, limits.MAX_UINT, limits.MAX_CODE, "d" * 80],
    "full-absent": [10, limits.MAX_UINT, limits.MAX_UINT, limits.MAX_CODE, "\u00fc" * 40, [0, 0, 1, ""]],
}
BEYOND = {
    "offer": [
        [0, ID, 3, 1, 1, b"", b""],
        [0, ID, 0, 0, 1, b"", b""],
        [0, ID, 0, limits.MAX_OBJECT_BYTES + 1, limits.MAX_CHUNK_BYTES, b"", b""],
        [0, ID, 0, 1, limits.MAX_CHUNK_BYTES + 1, b"", b""],
        [0, ID, 0, 1, 1, bytes(limits.MAX_HEADER_BYTES + 1), b""],
    ],
    "chunk": [
        [1, ID, limits.MAX_CHUNKS, b"x"],
        [1, ID, 0, b""],
        [1, ID, 0, bytes(limits.MAX_CHUNK_BYTES + 1)],
    ],
    "status": [[2, ID, limits.MAX_CODE + 1, []], [2, bytes(9), 0, []]],
    "get": [[4, ID, b"\xff" * (limits.MAX_MISSING_BYTES + 1)], [4, ID, [limits.MAX_CHUNKS]], [4, ID, b""]],
    "round": [[6, bytes(limits.MAX_ROUND_BYTES - 3)]],
    "plain-birth": [[7, limits.MAX_UINT + 1, 0], [7, 0]],
    "full-birth": [
        [7, 0, 0, [limits.MAX_MONTH + 1, 0, 0, "p"]],
        [7, 0, 0, [0, 0, 0, "p" * 25]],
        [7, 0, 0, [0, 0, "p"]],
    ],
    "state": [[9, 0, 2]],
    "plain-absent": [[10, 0, 0, limits.MAX_CODE + 1, ""], [10, 0, 0, 4, "d" * 81], [10, 0, 0, 4]],
    "full-absent": [
        [10, 0, 0, limits.MAX_CODE + 1, "", [0, 0, 1, ""]],
        [10, 0, 0, 4, "\u00fc" * 41, [0, 0, 1, ""]],
    ],
}


@pytest.mark.parametrize("rule", AT_THE_BOUND)
def test_the_grammar_has_the_limits_of_the_code(rule):
    data = b"".join(map(cbor2.dumps, AT_THE_BOUND[rule]))
    assert obeys(rule, data)
    assert parse(data).serialize() == data
    for wrong in BEYOND[rule]:
        data = b"".join(map(cbor2.dumps, wrong))
        assert not obeys(rule, data)
        if len(wrong) == len(AT_THE_BOUND[rule]):
            with pytest.raises(MalformedMessage):
                parse(data)


@given(st.lists(st.integers(0, limits.MAX_SEED), min_size=5, max_size=5))
def test_header_and_grammar_agree(numbers):
    data = sequence(*numbers)
    try:
        UpdateHeader.parse(data)
    except MalformedMessage:
        assert not obeys("plain-header", data)
    else:
        assert obeys("plain-header", data)
