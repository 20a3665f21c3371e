"""Section PLAN of a manifest: bytes, bounds, the grammar."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import IncompleteMessage, MalformedMessage
from gossamer.wire import limits
from gossamer.wire.plans import Plan, Plans, read_plans
from tests.wire import naive
from tests.wire.strategies import profiles, small
from tests.wire.test_cddl import obeys

TWO = Plans((Plan("pi-4", "", 0), Plan("pi-zero-2w", "rot1", 5)))
BYTES = bytes.fromhex("6470692d3460006a70692d7a65726f2d327764726f743105")

codecs = st.text("abcdefghij:.0123456789/", max_size=12)
plans = st.dictionaries(profiles, st.tuples(codecs, small), max_size=3).map(
    lambda found: Plans(tuple(Plan(name, codec, epochs) for name, (codec, epochs) in sorted(found.items())))
)


def test_golden():
    assert TWO.serialize() == BYTES
    assert [cbor2.loads(each) for each in naive.split(BYTES)] == ["pi-4", "", 0, "pi-zero-2w", "rot1", 5]
    assert Plans.parse(BYTES) == TWO == read_plans(BYTES)
    assert read_plans(None) == Plans.parse(b"") == Plans(())
    assert TWO.of("pi-4") == Plan("pi-4", "", 0)
    assert TWO.of("pi-5") is None


@given(plans)
def test_round_trip_and_grammar(found):
    data = found.serialize()
    assert Plans.parse(data) == found
    assert all(obeys("plan", Plans((plan,)).serialize()) for plan in found.plans)


@pytest.mark.parametrize("end", range(len(BYTES)))
def test_a_section_that_is_cut_is_malformed_or_says_less(end):
    try:
        found = Plans.parse(BYTES[:end])
    except MalformedMessage:
        return
    assert found.plans == TWO.plans[: len(found.plans)]
    assert found.serialize() == BYTES[:end]


MALFORMED = {
    "a name twice": "616160006161" + "6000",
    "descending": "6162600061616000",
    "a name with capitals": "61416000",
    "no name": "606000",
    "a codec that is not ASCII": "616162c3bc00",
    "epochs of 2^32": "6161601b0000000100000000",
    "epochs as text": "61616060",
    "nine plans": "".join(f"61{0x61 + n:02x}6000" for n in range(9)),
    "a name of 25": "7819" + "61" * 25 + "6000",
}


@pytest.mark.parametrize("data", [pytest.param(bytes.fromhex(text), id=why) for why, text in MALFORMED.items()])
def test_malformed(data):
    with pytest.raises(MalformedMessage):
        Plans.parse(data)


@given(st.binary(max_size=200))
def test_arbitrary_bytes(data):
    try:
        found = Plans.parse(data)
    except MalformedMessage:
        return
    except IncompleteMessage:
        pytest.fail("nothing more will come")
    assert found.serialize() == data


def test_what_cannot_be_parsed_cannot_be_built():
    many = tuple(Plan(f"p{n}", "", 0) for n in range(limits.MAX_PLANS + 1))
    long = tuple(Plan(f"a-class-of-devices-{n}", "topk:0.01/q4", 5) for n in range(4))
    for wrong in (many, long, TWO.plans[::-1], (Plan("a", "", 0), Plan("a", "", 1))):
        with pytest.raises(MalformedMessage):
            Plans(wrong)
