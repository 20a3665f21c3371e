"""The fake link does what it says, else the tests upon it prove nothing."""

from tests.wire.fake_link import FakeLink


def filled() -> FakeLink:
    link = FakeLink()
    for token, data in enumerate((b"a", b"b", b"c"), 1):
        link.publish(data, token)
    return link


def arrivals(lane):
    found = []
    while (data := lane.pop()) is not None:
        found.append(data)
    return found


def test_without_faults_all_arrives_in_order_and_is_acknowledged():
    link = filled()
    assert [link.puback() for _ in range(4)] == [1, 2, 3, None]
    assert arrivals(link.up) == [b"a", b"b", b"c"]
    link.reply(b"x")
    assert arrivals(link.down) == [b"x"]


def test_drop_duplicate_reorder_corrupt():
    link = filled()
    link.up.drop(1)
    link.up.duplicate(0)
    link.up.reorder(0)
    link.up.corrupt(0, 1)
    assert arrivals(link.up) == [b"a"[:0] + bytes([b"c"[0] ^ 2]), b"a", b"a"]


def test_a_dropped_packet_is_acknowledged_all_the_same():
    link = filled()
    link.up.drop(0)
    assert link.puback() == 1


def test_a_cut_keeps_what_was_acknowledged_and_the_survivors():
    link = filled()
    link.puback()
    link.reply(b"x")
    link.cut(up_survivors=1)
    assert link.puback() is None
    assert arrivals(link.up) == [b"a", b"b"]
    assert arrivals(link.down) == []
    link.publish(b"d", 4)
    link.reply(b"y")
    assert len(link.up) == len(link.down) == 0
    link.connect()
    link.publish(b"d", 4)
    assert arrivals(link.up) == [b"d"]
