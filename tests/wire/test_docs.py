"""docs/protocol.md and docs/asyncapi.yaml say what the code does."""

import dataclasses
import doctest
import re
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossamer.wire import accounts, cose, header, ids, items, limits, missing, topics
from gossamer.wire.codes import FIRST_REASON, Code, Kind, Reason
from gossamer.wire.manifest import Fit, Manifest, Way, sign_manifest
from gossamer.wire.messages import (
    TYPES,
    Absence,
    Absent,
    Account,
    Birth,
    Chunk,
    Death,
    Get,
    JobState,
    Offer,
    Query,
    Receipt,
    Round,
    State,
    Status,
    UpdateHeader,
)
from gossamer.wire.participation import Participation
from gossamer.wire.transfer import geometry

DOCS = Path(__file__).parent.parent.parent / "docs"
PROTOCOL = (DOCS / "protocol.md").read_text()
ASYNCAPI = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
ID = bytes(8)


def table(heading: str) -> list[list[str]]:
    """The rows, without the heading, of the table whose first row begins with ``| heading |``."""
    lines = PROTOCOL.split(f"\n| {heading}", 1)[1].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_messages():
    rows = {row[0]: row for row in table("message |")}
    assert {name: int(row[1]) for name, row in rows.items()} == {
        cls.__name__.upper(): number for number, cls in TYPES.items()
    }
    for cls in TYPES.values():
        fields = [field.name for field in dataclasses.fields(cls)]
        assert rows[cls.__name__.upper()][2] == ", ".join(fields)


def signed_header() -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    return header.sign_update(key, UpdateHeader(1, 17, 12, 640, 123_456), "farm1", "pump-7", b"body")


def round_bytes(ways: int) -> int:
    manifest = Manifest(
        1,
        JobState.OPEN,
        17,
        12,
        bytes(16),
        Participation(0, 7, 10, 5),
        tuple(Way(8 + i, ID, 420, Kind.DELTA) for i in range(ways)),
        "ternary:0.0025",
        Fit(2, 32, 50_000, 7),
        1_790_000_000,
        bytes(4),
    )
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    return len(Round(sign_manifest(key, manifest, "farm1")).serialize())


def length(message) -> int:
    return len(message.serialize())


def test_byte_costs():
    cost = {row[0]: [int(n) for n in re.findall(r"\d+", row[3])] for row in table("message |")}
    inline = Offer(ID, Kind.UPDATE, 300, 300, signed_header(), bytes(300))
    chunked = Offer(ID, Kind.UPDATE, 12_700, 3_175, signed_header(), b"")
    model = Offer(ID, Kind.DELTA, 12_700, 3_175, b"", b"")
    assert cost["OFFER"] == [length(inline) - 300, length(chunked), length(model)]
    assert cost["CHUNK"][::2] == [length(Chunk(ID, i, bytes(4_000))) - 4_000 for i in (0, 24, 256)]
    assert cost["STATUS"] == [length(Status(ID, 0)), length(Status(ID, 24)), 23]
    assert length(Status(ID, 23)) == 12
    assert length(Status(ID, Code.MISSING, (7,))) == 13
    assert cost["QUERY"] == [length(Query(ID))]
    assert cost["GET"] == [length(Get(ID))]
    assert cost["RECEIPT"] == [length(Receipt(ID, 13))]
    assert cost["ROUND"] == [round_bytes(0), round_bytes(1) - round_bytes(0)]
    account = Account(82, 1_930_000, 2_000_000, "pi-zero-2w")
    assert cost["BIRTH"][:2] == [length(Birth(9, 300)), length(Birth(9, 300, account))]
    assert cost["ABSENT"][0] == length(Absent(3, 17, Absence.BATTERY, "battery 12 %, wanted 30 %"))
    assert cost["DEATH"] == [length(Death(9))]
    assert cost["STATE"] == [length(State(4, 1))]
    assert len(signed_header()) == 84
    assert "five integers, 10 bytes as a rule, 84 signed" in PROTOCOL


def test_the_example_of_a_round():
    rows = {row[0]: [int(n) if n else 0 for n in row[1:]] for row in table("| up | down |")}
    assert rows["BIRTH"] == [length(Birth(9, 300)), 0]
    assert rows["ROUND with three ways"] == [0, round_bytes(3)]
    delta = Offer(ID, Kind.DELTA, 420, 420, b"", bytes(420))
    assert rows["GET, OFFER with the delta"] == [length(Get(ID)), length(delta)]
    update = Offer(ID, Kind.UPDATE, 300, 300, signed_header(), bytes(300))
    assert rows["OFFER with the update"] == [length(update), 0]
    assert rows["STATUS"] == [0, length(Status(ID, 0))]


def test_codes_and_reasons():
    assert {row[1]: int(row[0]) for row in table("code | name |")} == {c.name.lower(): c for c in Code}
    assert {row[1]: int(row[0]) for row in table("code | reason |")} == {r.label: r for r in Reason}
    assert {row[1]: int(row[0]) for row in table("reason | name |")} == {a.label: a for a in Absence}
    assert f"From {FIRST_REASON} on the object is rejected" in PROTOCOL


def test_limits():
    for name, value, _ in table("name | value |"):
        assert getattr(limits, name) == int(value.replace(",", "")), name


def test_topics():
    rows = {row[0].strip("`"): row for row in table("kind | way |")}
    assert set(rows) == {*topics.DEVICE_KINDS, *topics.SHARED_KINDS}
    assert topics.Topics("farm1").device_topic("u", "pump-7") in PROTOCOL
    assert "fields" not in rows


def test_asyncapi_has_the_same_channels():
    rows = {row[0].strip("`"): row for row in table("kind | way |")}
    names = {cls.__name__.upper() for cls in TYPES.values()}
    assert set(ASYNCAPI["components"]["messages"]) == names
    assert set(ASYNCAPI["channels"]) == set(rows)
    for kind, channel in ASYNCAPI["channels"].items():
        template = topics.DEVICE_TEMPLATE if kind in topics.DEVICE_KINDS else topics.SHARED_TEMPLATE
        assert channel["address"] == template.replace("{kind}", kind)
        assert set(channel["parameters"]) == set(re.findall(r"\{(\w+)\}", channel["address"]))
        assert set(channel["messages"]) == set(re.findall(r"\b[A-Z]{3,}\b", rows[kind][3]))
    retained = {
        operation["channel"]["$ref"].rsplit("/", 1)[1]: operation["bindings"]["mqtt"]["retain"]
        for operation in ASYNCAPI["operations"].values()
    }
    assert retained == {kind: row[2].startswith("yes") for kind, row in rows.items()}


def test_asyncapi_references_lead_somewhere():
    def walk(node):
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for child in node.values():
                yield from walk(child)
        elif isinstance(node, list):
            for child in node:
                yield from walk(child)

    for reference in walk(ASYNCAPI):
        if reference.startswith("#/"):
            node = ASYNCAPI
            for key in reference[2:].split("/"):
                node = node[key]
        else:
            assert (DOCS / reference).is_file()


@pytest.mark.parametrize("module", [accounts, cose, header, ids, items, missing, topics, geometry])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0
