"""The strict CBOR subset, the lists of missing chunks and the ids."""

import hashlib

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import IncompleteMessage, InputError, MalformedMessage
from gossamer.wire import limits
from gossamer.wire.ids import object_id
from gossamer.wire.items import BYTES, Reader, encode, head, sequence
from gossamer.wire.missing import canonical, encode_missing, read_missing
from tests.wire import naive, strategies

items = st.recursive(
    st.one_of(st.integers(0, limits.MAX_SEED), st.binary(max_size=300), st.text(max_size=30)),
    lambda parts: st.lists(parts, max_size=5),
    max_leaves=10,
)


@given(items)
def test_encoding_is_canonical_cbor(item):
    assert encode(item) == cbor2.dumps(item, canonical=True)


@pytest.mark.parametrize("number", [0, 23, 24, 255, 256, 65_535, 65_536, (1 << 32) - 1, 1 << 32, (1 << 64) - 1])
def test_integers_at_the_edges(number):
    data = encode(number)
    assert data == cbor2.dumps(number)
    assert Reader(data).uint("n", limits.MAX_SEED) == number
    for end in range(len(data)):
        with pytest.raises(IncompleteMessage):
            Reader(data[:end]).uint("n", limits.MAX_SEED)


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_integers_that_do_not_travel(number):
    with pytest.raises(InputError):
        encode(number)


@pytest.mark.parametrize("data", ["1817", "1900ff", "1a0000ffff", "1b00000000ffffffff", "1c", "1f", "20", "f4"])
def test_every_longer_form_is_malformed(data):
    with pytest.raises(MalformedMessage):
        Reader(bytes.fromhex(data)).uint("n", limits.MAX_SEED)


def test_bounds_are_checked_before_the_bytes_are_there():
    with pytest.raises(MalformedMessage, match=r"expected 0\.\.10"):
        Reader(head(BYTES, 11)).bytes_("x", 10)
    with pytest.raises(IncompleteMessage):
        Reader(head(BYTES, 10)).bytes_("x", 10)
    with pytest.raises(MalformedMessage, match="at most 3 bytes"):
        Reader(b"1234", 3)


def test_text_is_printable_ascii():
    assert Reader(encode("q8")).text("codec", 10) == "q8"
    for wrong in ("ä", "a\x00", "a\n"):
        with pytest.raises(MalformedMessage):
            Reader(encode(wrong)).text("codec", 10)


def test_the_reader_knows_where_it_is():
    reader = Reader(sequence(1, b"ab", 3))
    reader.uint("n")
    assert reader.consumed == b"\x01"
    assert not reader.at_end
    reader.skip_rest()
    assert reader.at_end


@given(strategies.missing)
def test_missing_round_trip(missing):
    data = encode_missing(missing)
    assert read_missing(Reader(data)) == missing
    assert data == cbor2.dumps(naive.missing_item(list(missing)))
    for end in range(len(data)):
        with pytest.raises(IncompleteMessage):
            read_missing(Reader(data[:end]))


def test_all_chunks_missing_costs_a_kibibyte():
    everything = tuple(range(limits.MAX_CHUNKS))
    assert len(encode_missing(everything)) == 1024 + 3
    assert read_missing(Reader(encode_missing(everything))) == everything


def test_canonical_lists():
    assert canonical([3, 1, 3]) == (1, 3)


def test_an_object_is_named_by_its_bytes():
    assert object_id(b"x") == hashlib.sha256(b"x").digest()[:8]
