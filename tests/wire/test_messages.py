"""Messages: golden vectors, round trips, prefixes, errors."""

import dataclasses

import pytest
from hypothesis import given

from gossamer.errors import IncompleteMessage, MalformedMessage
from gossamer.wire import limits
from gossamer.wire.accounts import month_name, month_number
from gossamer.wire.messages import (
    TYPES,
    Absence,
    Absent,
    Account,
    Birth,
    Chunk,
    Code,
    Get,
    Kind,
    Offer,
    Reason,
    Round,
    Status,
    Unknown,
    parse,
)
from tests.wire import naive, strategies
from tests.wire.strategies import from_json, to_json, vectors

ID = bytes(range(8))
VECTORS = vectors()
NAMES = [f"{name}: {case}" for name, case, _, _ in VECTORS]


def whole_without_account(name, fields):
    """The one proper prefix that is a message of its own; -1 if there is none."""
    if fields.get("account") is None:
        return -1
    return len(naive.encode(name, fields | {"account": None}))


@pytest.mark.parametrize(("name", "case", "fields", "data"), VECTORS, ids=NAMES)
class TestVectors:
    def test_parses_to_the_meaning(self, name, case, fields, data):
        assert parse(data) == from_json(name, fields)

    def test_serialises_to_the_bytes(self, name, case, fields, data):
        assert from_json(name, fields).serialize() == data

    def test_the_judge_agrees(self, name, case, fields, data):
        assert naive.encode(name, fields) == data
        assert naive.meaning(data) == (name, fields)

    def test_every_proper_prefix_is_incomplete(self, name, case, fields, data):
        for end in set(range(len(data))) - {whole_without_account(name, fields)}:
            with pytest.raises(IncompleteMessage):
                parse(data[:end])

    def test_items_behind_are_skipped(self, name, case, fields, data):
        if fields.get("account", "none is known") is None:
            return  # what follows would be it: `test_only_an_account_follows_where_one_may`
        for extra in ("00", "20", "40", "6161", "80", "830141008180", "1a00010000"):
            assert parse(data + bytes.fromhex(extra)) == from_json(name, fields)

    def test_a_cut_or_wrong_item_behind_is_noticed(self, name, case, fields, data):
        if fields.get("account", "none is known") is None:
            return
        with pytest.raises(IncompleteMessage):
            parse(data + b"\x19\x01")
        for extra in ("a0", "c000", "f6", "f90000", "5f", "1817", "6180", "8181818100", "9841", "3818" * 65):
            with pytest.raises(MalformedMessage):
                parse(data + bytes.fromhex(extra))


def test_there_are_vectors_of_every_type():
    assert {data[0] for _, _, _, data in VECTORS} == set(TYPES) == set(range(11))


@given(strategies.messages)
def test_round_trip_and_judge(message):
    data = message.serialize()
    assert parse(data) == message
    assert naive.encode(*to_json(message)) == data
    assert len(data) <= limits.MAX_MESSAGE_BYTES


@given(strategies.messages)
def test_prefixes(message):
    data = message.serialize()
    ends = {*range(min(len(data), 40)), *range(0, len(data), 37), len(data) - 1}
    for end in ends - {whole_without_account(*to_json(message))}:
        with pytest.raises(IncompleteMessage):
            parse(data[:end])


MALFORMED = {
    "a negative type": "20",
    "type as text": "6130",
    "type not in its shortest form": "1803" + "48" + ID.hex(),
    "a map": "a0",
    "a tag": "c003",
    "an indefinite string": "035f",
    "reserved length": "035c",
    "id too short": "0347",
    "id too long": "0349",
    "id of 2^32 bytes": "035affffffff",
    "id as text": "0368",
    "length not in its shortest form": "035808",
    "kind 3": "0048" + ID.hex() + "03",
    "size 0": "0048" + ID.hex() + "0000",
    "size beyond the largest object": "0048" + ID.hex() + "001a01000001",
    "size of 2^63": "0048" + ID.hex() + "001b8000000000000000",
    "chunk_bytes 0": "0048" + ID.hex() + "000100",
    "too many chunks": "0048" + ID.hex() + "001a01000000014040",
    "header of 321 bytes": "0048" + ID.hex() + "000101590141",
    "body of another length": "0048" + ID.hex() + "000203404161",
    "body larger than a chunk": "0048" + ID.hex() + "0002014042" + "6161",
    "chunk index 8192": "0148" + ID.hex() + "192000",
    "empty chunk": "0148" + ID.hex() + "0040",
    "chunk of 16385 bytes": "0148" + ID.hex() + "00594001",
    "chunk of 2^64 - 1 bytes": "0148" + ID.hex() + "005bffffffffffffffff",
    "code 256": "0248" + ID.hex() + "190100",
    "missing behind counted": "0248" + ID.hex() + "008100",
    "an array of 2^32 missing": "0248" + ID.hex() + "019affffffff",
    "an array of 2^64 missing": "0448" + ID.hex() + "9bffffffffffffffff",
    "missing descending": "0248" + ID.hex() + "01820201",
    "missing twice": "0248" + ID.hex() + "01820202",
    "missing nested": "0248" + ID.hex() + "018180",
    "array where the bitmap is shorter": "0248" + ID.hex() + "018400010203",
    "bitmap where the array is shorter": "0248" + ID.hex() + "01430000" + "01",
    "bitmap where they tie": "0248" + ID.hex() + "014101",
    "empty bitmap": "0448" + ID.hex() + "40",
    "bitmap with a zero byte behind": "0448" + ID.hex() + "421f00",
    "bitmap of 1025 bytes": "0448" + ID.hex() + "590401",
    "a manifest too long": "06590129",
    "state up 2": "090102",
    "a negative boot": "0820",
    "something else than an account": "07010200",
    "an account of three items": "07010283185200" + "60",
    "an account that says nothing": "07010284185205" + "0060",
    "a profile with a space": "07010284185205" + "0063612062",
    "a profile with capitals": "07010284185205" + "00624142",
    "a month of 2361 and more": "07010284191000" + "01016161",
    "a reason of 256": "0a010219010060",
    "a detail of 81 bytes": "0a0102047851" + "61" * 81,
    "a detail of wrong UTF-8": "0a01020462c328",
    "a detail with an escape": "0a01020462611b",
    "a detail with a line break": "0a01020462610a",
    "a detail that turns the writing around": "0a01020463e280ae",
    "a detail in bytes": "0a0102044161",
    "a float": "08f93c00",
    "true": "0900f5",
}


@pytest.mark.parametrize("data", [pytest.param(bytes.fromhex(h), id=why) for why, h in MALFORMED.items()])
def test_malformed(data):
    with pytest.raises(MalformedMessage):
        parse(data)


def test_too_long_whatever_it_is():
    with pytest.raises(MalformedMessage, match="at most"):
        parse(bytes(limits.MAX_MESSAGE_BYTES + 1))


def test_nothing_is_incomplete():
    with pytest.raises(IncompleteMessage):
        parse(b"")


def test_the_longest_message_is_within_the_limit():
    size = limits.MAX_CHUNK_BYTES
    offer = Offer(ID, Kind.UPDATE, size, size, bytes(limits.MAX_HEADER_BYTES), bytes(size))
    assert parse(offer.serialize()) == offer


def test_unknown_types_are_kept_as_they_came():
    data = bytes.fromhex("0b82016161")
    message = parse(data)
    assert message == Unknown(11, data)
    assert message.serialize() == data
    message.check()
    with pytest.raises(MalformedMessage):
        Unknown(3, b"\x03").check()


def test_a_wrong_message_cannot_be_built():
    for build in (
        lambda: Chunk(ID, -1, b"x"),
        lambda: Chunk(ID[:7], 0, b"x"),
        lambda: Status(ID, Code.COUNTED, (1,)),
        lambda: Get(ID, (2, 1)),
        lambda: Get(ID, (-1,)),
        lambda: Round(bytes(297)),
        lambda: Offer(ID, 7, 1, 1, b"", b""),
        lambda: Absent(1, 2, Absence.LOAD, "x" * 81),
        lambda: Absent(1, 2, Absence.LOAD, "\ud800"),
        lambda: Absent(1, 2, Absence.LOAD, "two\nlines"),
        lambda: Account(82, 1, 0, ""),
        lambda: Account(82, 1, 1, "No Such"),
    ):
        with pytest.raises(MalformedMessage):
            build()


def test_messages_are_values():
    chunk = Chunk(ID, 0, b"x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        chunk.index = 1
    assert not hasattr(chunk, "__dict__")
    assert len({chunk, Chunk(ID, 0, b"x")}) == 1


def test_framing_costs_what_the_documents_say():
    def framing(index, length):
        return len(Chunk(ID, index, bytes(length)).serialize()) - length

    assert framing(0, 23) == 12
    assert framing(0, 4000) == 14
    assert framing(24, 4000) == 15
    assert framing(256, 4000) == 16


def test_reasons():
    assert Status(ID, 17).reason is Reason.BAD_SIGNATURE
    assert Status(ID, 200).reason is Reason.UNSPECIFIED
    assert Status(ID, Code.CLOSED).reason is None
    assert Reason.named("bad-signature") is Reason.named("BAD_SIGNATURE") is Reason.BAD_SIGNATURE
    assert Reason.NOT_IN_COHORT.label == "not-in-cohort"
    with pytest.raises(ValueError, match="bad-signature"):
        Reason.named("bad hair day")


def test_only_an_account_follows_where_one_may():
    plain = Birth(1, 2).serialize()
    account = Account(82, 1_930_000, 2_000_000, "pi-zero-2w")
    whole = Birth(1, 2, account).serialize()
    assert whole.startswith(plain)
    assert parse(whole) == Birth(1, 2, account)
    assert parse(whole + b"\x00\x80") == Birth(1, 2, account)
    for later in (b"\x00", b"\x80", b"\x61a"):
        with pytest.raises(MalformedMessage):
            parse(plain + later)


def test_absences():
    assert Absent(1, 2, 4, "").absence is Absence.BATTERY
    assert Absent(1, 2, 200, "").absence is Absence.OTHER
    assert [each.label for each in Absence][:3] == ["other", "window", "metered"]
    assert [int(each) for each in Absence] == list(range(13))


def test_months():
    assert [month_name(number) for number in (0, 11, 12, 82)] == ["2020-01", "2020-12", "2021-01", "2026-11"]
    assert [month_number(month_name(number)) for number in range(0, 4096, 97)] == list(range(0, 4096, 97))
    assert month_number("1970-01") == 0
    for wrong in ("2026-13", "2026-1", "26-01", "2026-00", "2026-11-27"):
        with pytest.raises(MalformedMessage):
            month_number(wrong)
