"""Manifests and model objects on their way down."""

from pathlib import Path

import pytest

from gossamer.aggregator.store import devices
from gossamer.aggregator.store.objects import StoredObject
from gossamer.broker_bridge import downloads
from gossamer.broker_bridge.actions import Publish
from gossamer.broker_bridge.downloads import Downloads
from gossamer.broker_bridge.settings import BridgeSettings
from gossamer.compression.lattice import digest
from gossamer.compression.objects import decode_snapshot
from gossamer.errors import StoreBusy
from gossamer.wire.codes import Kind
from gossamer.wire.ids import object_id
from gossamer.wire.messages import MANIFEST_ID, Birth, Chunk, Death, Get, Offer, Round, State, parse
from gossamer.wire.transfer import Done, Keep, Receiver
from tests.aggregator.fleets import D
from tests.broker_bridge.desk import TOPICS, Desk

SHARED = TOPICS.shared_topic("c")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "s.db", cohorts=1, bridge={"chunk_bytes": 50})


def received(published: list[Publish]) -> bytes:
    """What a device makes of the messages."""
    first, *rest = [parse(p.payload) for p in published]
    assert isinstance(first, Offer)
    receiver = Receiver(first)
    outputs = receiver.start(0.0)
    for message in rest:
        assert isinstance(message, Chunk)
        outputs += receiver.chunk(message, 0.0)
    done = [o for o in outputs if isinstance(o, Done)]
    assert len(done) == 1
    assert all(isinstance(o, (Done, Keep)) for o in outputs)
    return done[0].body


class TestManifest:
    def test_published_once_retained_and_again_after_a_reconnect(self, desk: Desk) -> None:
        first = desk.bridge.connected(0.0)
        assert [(p.topic, p.retain) for p in first] == [("g1/t/h", True), ("g1/t/m", True)]
        assert parse(first[0].payload) == State(1, 1)
        assert isinstance(parse(first[1].payload), Round)
        assert len(first[1].payload) <= 300
        assert desk.bridge.refresh() == []
        desk.bridge.disconnected(1.0)
        assert len(desk.bridge.connected(2.0)) == 2

    def test_a_new_round_is_a_new_manifest(self, desk: Desk) -> None:
        desk.bridge.connected(0.0)
        for name in desk.fleet.names:
            desk.send(name, *desk.offer(name, chunk_bytes=4000))
        desk.fleet.step()
        (published,) = desk.bridge.refresh()
        assert (published.topic, published.retain) == ("g1/t/m", True)
        assert desk.bridge.refresh() == []

    def test_asked_for_it_comes_to_the_device(self, desk: Desk) -> None:
        for wanted in (MANIFEST_ID, b"unknown!"):
            (answer,) = desk.send("d1", Get(wanted))
            assert isinstance(answer, Round)

    def test_boots_are_counted_so_that_an_old_will_is_known_as_such(self, desk: Desk) -> None:
        assert parse(desk.bridge.presence(up=False).payload) == State(1, 0)
        desk.restart()
        assert parse(desk.bridge.presence(up=True).payload) == State(2, 1)


class TestObjects:
    def test_one_device_gets_it_on_its_own_topic(self, desk: Desk) -> None:
        manifest = desk.fleet.manifest()
        assert desk.send("d1", Get(manifest.ways[0].object_id)) == []
        assert desk.tick(0.1) == []
        published = desk.settle(desk.tick(0.2))
        assert {p.topic for p in published} == {TOPICS.device_topic("a", "d1")}
        assert digest(decode_snapshot(received(published), D)) == manifest.digest
        assert desk.tick(99.0) == []

    def test_a_small_one_goes_to_each_of_many_devices(self, desk: Desk) -> None:
        manifest = desk.fleet.manifest()
        for name in desk.fleet.names:
            desk.send(name, Get(manifest.ways[0].object_id))
        published = desk.settle(desk.tick())
        for name in desk.fleet.names:
            own = [p for p in published if p.topic == TOPICS.device_topic("a", name)]
            assert digest(decode_snapshot(received(own), D)) == manifest.digest

    def test_many_devices_get_a_large_one_once_on_the_shared_topic(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(downloads, "BROADCAST_FROM_BYTES", 100)
        manifest = desk.fleet.manifest()
        for name in desk.fleet.names:
            desk.send(name, Get(manifest.ways[0].object_id))
        published = desk.settle(desk.tick())
        assert {p.topic for p in published} == {SHARED}
        assert digest(decode_snapshot(received(published), D)) == manifest.digest

    def test_no_more_than_a_window_is_on_its_way(self, desk: Desk) -> None:
        desk.send("d1", Get(desk.fleet.manifest().ways[0].object_id))
        assert len(desk.tick()) == 1 + 4  # the offer and four chunks

    def test_who_comes_while_it_is_sent_waits_for_the_next_turn(self, desk: Desk) -> None:
        name = desk.fleet.manifest().ways[0].object_id
        desk.send("d1", Get(name))
        begun = desk.tick()
        desk.send("d2", Get(name))
        assert desk.tick() == []
        desk.settle(begun)
        again = desk.settle(desk.tick())
        assert {p.topic for p in again} == {TOPICS.device_topic("a", "d2")}
        received(again)

    def test_only_what_is_missing_is_sent_again(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(downloads, "BROADCAST_FROM_BYTES", 100)
        name = desk.fleet.manifest().ways[0].object_id
        desk.send("d1", Get(name))
        desk.settle(desk.tick())
        desk.send("d1", Get(name, (1, 3)))
        desk.send("d2", Get(name, (3,)))
        again = [parse(p.payload) for p in desk.settle(desk.tick())]
        assert [m.index for m in again if isinstance(m, Chunk)] == [1, 3]
        assert len(again) == 2

    @pytest.mark.parametrize("in_memory", [False, True])
    @pytest.mark.parametrize("missing", [(8000,), (1, 8000)])
    def test_who_knows_another_cut_of_it_gets_the_offer_and_all(
        self, desk: Desk, in_memory: bool, missing: tuple[int, ...]
    ) -> None:
        name = desk.fleet.manifest().ways[0].object_id
        if in_memory:
            desk.send("d2", Get(name))
            desk.settle(desk.tick())
        desk.send("d1", Get(name, missing))
        received(desk.settle(desk.tick()))
        assert desk.bridge.next_deadline(desk.monotonic) is None
        desk.send("d2", Get(name))
        received(desk.settle(desk.tick()))

    def test_a_cut_goes_on_where_it_was(self, desk: Desk) -> None:
        desk.send("d1", Get(desk.fleet.manifest().ways[0].object_id))
        begun = desk.tick()
        acknowledged = begun[:2]
        rest = [p for tagged in acknowledged if tagged.tag for p in desk.bridge.puback(tagged.tag, desk.monotonic)]
        desk.bridge.disconnected(desk.monotonic)
        assert desk.tick(100.0) == []
        resumed = desk.settle(desk.bridge.connected(desk.monotonic)[2:])
        received([*begun[:2], *rest, *resumed])

    def test_an_object_that_is_gone_is_not_an_error(self, desk: Desk) -> None:
        desk.bridge._downloads.get("d1", b"vanished", (), 0.0)
        assert desk.tick() == []


class TestBounds:
    def machine(self) -> Downloads:
        bodies = {object_id(b"%d" % n): b"%d" % n for n in range(50)}

        def fetch(name: bytes) -> StoredObject | None:
            return StoredObject(name, Kind.DELTA, bodies[name]) if name in bodies else None

        return Downloads(BridgeSettings(TOPICS, coalesce_seconds=0.0), fetch)

    def test_objects_in_memory(self) -> None:
        machine = self.machine()
        for n in range(50):
            machine.get("d1", object_id(b"%d" % n), (), 0.0)
        found = machine.tick(0.0)
        assert len(machine._sending) == downloads.MAX_OBJECTS
        while found:
            found = [p for each in found if each.tag for p in machine.puback(each.tag, 1.0)] + machine.tick(1.0)
        assert len(machine._sending) <= downloads.MAX_OBJECTS
        assert not machine._waiting
        assert machine.next_deadline(1.0) is None

    def test_waiting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(downloads, "MAX_WAITING_OBJECTS", 3)
        monkeypatch.setattr(downloads, "MAX_WAITING_DEVICES", 5)
        machine = self.machine()
        for n in range(20):
            machine.get(f"d{n}", object_id(b"1"), (), 0.0)
            machine.get("d1", object_id(b"%d" % n), (), 0.0)
        assert len(machine._waiting) == 3
        assert len(machine._waiting[object_id(b"1")].devices) == 5
        assert machine.next_deadline(0.0) == 0.0


class TestPages:
    """A small object for many devices: some at a time."""

    NAME = object_id(b"small")

    def machine(self, monkeypatch: pytest.MonkeyPatch, turn: int = 3) -> Downloads:
        monkeypatch.setattr(downloads, "DEVICES_A_TURN", turn)
        settings = BridgeSettings(TOPICS, coalesce_seconds=0.0)
        return Downloads(settings, lambda name: StoredObject(name, Kind.DELTA, b"small"))

    def test_the_rest_waits_until_every_copy_is_acknowledged(self, monkeypatch: pytest.MonkeyPatch) -> None:
        machine = self.machine(monkeypatch)
        for n in range(7):
            machine.get(f"d{n}", self.NAME, (), 0.0)
        pages = []
        while page := machine.tick(1.0):
            pages.append([p.topic for p in page])
            assert machine.tick(1.0) == []
            assert (machine.next_deadline(1.0) or 0.0) > 1.0  # the rest waits, and not by asking again and again
            for published in page:
                assert published.tag is not None
                assert machine.tick(1.0) == []
                assert machine.puback(published.tag, 1.0) == []
        assert [len(page) for page in pages] == [3, 3, 1]
        assert [topic for page in pages for topic in page] == [TOPICS.device_topic("a", f"d{n}") for n in range(7)]
        assert machine.next_deadline(1.0) is None

    def test_a_cut_in_the_middle_of_the_copies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        machine = self.machine(monkeypatch)
        for n in range(4):
            machine.get(f"d{n}", self.NAME, (), 0.0)
        first = machine.tick(0.0)
        assert first[0].tag is not None
        machine.puback(first[0].tag, 0.0)
        machine.disconnected(0.0)
        again = machine.connected(1.0)
        assert [p.topic for p in again] == [p.topic for p in first]
        for published in again:
            assert published.tag is not None
            machine.puback(published.tag, 1.0)
        assert [p.topic for p in machine.tick(1.0)] == [TOPICS.device_topic("a", "d3")]

    def test_who_found_no_room_is_served_when_it_asks_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        machine = self.machine(monkeypatch)
        monkeypatch.setattr(downloads, "MAX_WAITING_DEVICES", 5)
        served: set[str] = set()
        asking = {f"d{n}" for n in range(20)}
        for _ in range(10):
            for device in sorted(asking):  # always the same ones first: they cannot keep the others out
                machine.get(device, self.NAME, (), 0.0)
            page = machine.tick(1.0)
            assert len(page) <= 3
            for published in page:
                assert published.tag is not None
                machine.puback(published.tag, 1.0)
                served.add(published.topic)
                asking.discard(published.topic.rsplit("/", 1)[1])
        assert len(served) == 20


def test_a_busy_store_forgets_no_request(desk: Desk) -> None:
    first, second = object_id(b"1"), object_id(b"2")
    busy = {second}

    def fetch(name: bytes) -> StoredObject:
        if name in busy:
            raise StoreBusy("locked")
        return StoredObject(name, Kind.DELTA, b"1" if name == first else b"2")

    machine = Downloads(BridgeSettings(TOPICS, coalesce_seconds=0.0), fetch)
    machine.get("d1", first, (), 0.0)
    machine.get("d1", second, (), 0.0)
    assert len(machine.tick(0.0)) == 1  # what was begun goes out
    with pytest.raises(StoreBusy):
        machine.tick(0.0)
    busy.clear()
    assert len(machine.tick(0.0)) == 1


def test_presence_is_noted_for_the_choice_of_ways(desk: Desk) -> None:
    desk.send("d1", Birth(3, 0), kind="s")
    desk.send("d2", Birth(3, 2**63 - 1), kind="s")
    desk.send("d3", Birth(3, 0), Death(3), kind="s")
    with desk.fleet.store.read() as db:
        found = {d.id: d for d in devices.every(db)}
    assert [found[n].online for n in ("d0", "d1", "d2", "d3")] == [False, True, True, False]
    assert found["d2"].held_version == 0  # no such version: not believed
    assert found["d1"].held_job == 1
