"""Uploads through the bridge: counted once, whatever the network and the power do."""

from pathlib import Path

import pytest

from gossamer.aggregator.engine import Progress
from gossamer.aggregator.store import Store, devices, inbox, uploads
from gossamer.broker_bridge.bridge import Bridge
from gossamer.errors import DiskFull, StoreBusy
from gossamer.wire.codes import Code, Reason
from gossamer.wire.messages import Chunk, Query, Receipt, Status
from tests.aggregator.fleets import closing
from tests.broker_bridge.desk import Desk, answers, name_of
from tests.crashes import Crash, FragileStore


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "s.db", cohorts=1)


def counted(desk: Desk, round_: int = 0) -> set[str]:
    with desk.fleet.store.read() as db:
        return set(inbox.senders(db, 1, round_))


def test_a_small_update_is_one_message_and_one_answer(desk: Desk) -> None:
    messages = desk.offer("d1")
    assert len(messages) == 1
    assert desk.send("d1", *messages) == [Status(name_of(messages), Code.COUNTED)]
    assert counted(desk) == {"d1"}
    assert desk.bridge.counted == 1


def test_chunks_in_any_order_with_duplicates(desk: Desk) -> None:
    offer, *chunks = desk.offer("d1", chunk_bytes=100)
    assert len(chunks) > 2
    for message in (offer, chunks[2], chunks[0], chunks[2], offer):
        desk.send("d1", message)
    assert counted(desk) == set()
    answer = desk.send("d1", *chunks)
    assert answer == [Status(name_of([offer]), Code.COUNTED)]
    assert counted(desk) == {"d1"}
    with desk.fleet.store.read() as db:
        assert uploads.get(db, "d1") is None


def test_a_lost_chunk_is_asked_for(desk: Desk) -> None:
    offer, *chunks = desk.offer("d1", chunk_bytes=100)
    answer = desk.send("d1", offer, chunks[0], *chunks[2:])
    assert answer == [Status(name_of([offer]), Code.MISSING, (1,))]
    assert desk.send("d1", chunks[1]) == [Status(name_of([offer]), Code.COUNTED)]


def test_a_query_says_how_it_stands(desk: Desk) -> None:
    offer, *chunks = desk.offer("d1", chunk_bytes=100)
    query = Query(name_of([offer]))
    unknown = Status(query.object_id, Code.MISSING)
    assert desk.send("d1", query) == [unknown]
    desk.send("d1", offer)
    assert desk.send("d1", query) == [unknown]  # nothing is here: all of it, please
    desk.send("d1", chunks[0])
    missing = tuple(range(1, len(chunks)))
    assert desk.send("d1", query) == [Status(query.object_id, Code.MISSING, missing)]
    desk.send("d1", *chunks)
    assert desk.send("d1", query) == [Status(query.object_id, Code.COUNTED)]
    for name in ("d0", "d2", "d3"):
        desk.fleet.put(name, 0)
    assert desk.fleet.step() is Progress.SEALED
    assert desk.send("d1", offer) == [Receipt(query.object_id, 1)]
    assert desk.send("d2", query) == [unknown]  # it was not this device's


def test_a_query_after_the_seal(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "s.db", cohorts=2)
    first = desk.fleet.cohort(0)
    uploads_ = {name: desk.offer(name, chunk_bytes=100) for name in first}
    for name, messages in uploads_.items():
        desk.send(name, *messages)
    assert desk.fleet.step() is Progress.SEALED
    for name, messages in uploads_.items():
        sealed = [Receipt(name_of(messages), 1)]
        assert desk.send(name, Query(name_of(messages))) == sealed
        assert desk.send(name, messages[1], messages[2]) == sealed


def test_the_same_body_in_two_rounds_counts_in_both(desk: Desk) -> None:
    """A model that has settled: every update is zero, and has the same name."""
    for round_ in range(2):
        for name in desk.fleet.names:
            same = desk.offer(name, round_, body=desk.fleet.body(name, 0))
            if round_ == 1:  # lost, and asked for after a reconnect: the round before is not what is meant
                assert desk.send(name, Query(name_of(same))) == [Status(name_of(same), Code.MISSING)]
            assert desk.send(name, *same) == [Status(name_of(same), Code.COUNTED)]
        assert counted(desk, round_) == set(desk.fleet.names)
        assert desk.fleet.step() is Progress.SEALED


def test_the_same_body_for_a_later_round_does_not_go_on_with_the_old_header(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "s.db", cohorts=1, closing=closing(quorum=3, max_lag=0))
    body = desk.fleet.body("d3", 0)
    desk.send("d3", *desk.offer("d3", 0, body=body, chunk_bytes=100)[:2])
    for name in ("d0", "d1", "d2"):
        desk.fleet.put(name, 0)
    desk.fleet.step()
    again = desk.offer("d3", 1, body=body, chunk_bytes=100)
    desk.send("d3", again[0])
    desk.restart()
    assert desk.send("d3", *again[1:]) == [Status(name_of(again), Code.COUNTED)]


def test_a_restart_in_mid_upload_loses_nothing(desk: Desk) -> None:
    offer, *chunks = desk.offer("d1", chunk_bytes=100)
    desk.send("d1", offer, chunks[0])
    desk.restart()
    missing = tuple(range(1, len(chunks)))
    assert desk.send("d1", Query(name_of([offer]))) == [Status(name_of([offer]), Code.MISSING, missing)]
    for chunk in chunks[1:]:
        desk.restart()
        answer = desk.send("d1", chunk)
    assert answer == [Status(name_of([offer]), Code.COUNTED)]


def test_duplicates_and_replays_count_once(desk: Desk) -> None:
    messages = desk.offer("d1")
    for _ in range(3):
        assert desk.send("d1", *messages, *messages) == [Status(name_of(messages), Code.COUNTED)]
    other = desk.offer("d1", body=desk.fleet.body("d1", 1))
    assert desk.send("d1", *other) == [Status(name_of(other), Reason.REPLAYED)]
    assert desk.rejected() == {"replayed": 1}
    with desk.fleet.store.read() as db:
        assert len(inbox.counted(db, 1, 0)) == 1


def test_a_new_offer_replaces_the_old_one(desk: Desk) -> None:
    first = desk.offer("d1", chunk_bytes=100)
    second = desk.offer("d1", body=desk.fleet.body("d1", 1), chunk_bytes=100)
    desk.send("d1", *first[:3])
    desk.send("d1", *second[:2])
    assert desk.send("d1", first[3]) == [Status(name_of(first), Code.MISSING)]
    assert desk.send("d1", *second)[-1] == Status(name_of(second), Code.COUNTED)


def test_memory_of_uploads_is_bounded_and_the_disk_remembers(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "s.db", cohorts=1)
    desk.bridge._intake._cache_bytes = 1
    uploads_ = {name: desk.offer(name, chunk_bytes=100) for name in desk.fleet.names}
    for index in range(len(uploads_["d0"])):
        for name, messages in uploads_.items():
            answer = desk.send(name, messages[index])
            assert len(desk.bridge._intake._receivers) <= 1
    assert answer
    assert counted(desk) == set(desk.fleet.names)


class TestLate:
    def test_a_late_update_counts_in_the_open_round(self, tmp_path: Path) -> None:
        desk = Desk(tmp_path / "s.db", cohorts=1, closing=closing(quorum=3, max_lag=1))
        for name in ("d0", "d1", "d2"):
            desk.fleet.put(name, 0)
        assert desk.fleet.step() is Progress.SEALED
        late = desk.offer("d3", 0)
        assert desk.send("d3", *late) == [Status(name_of(late), Code.COUNTED)]
        for name in ("d0", "d1", "d2"):
            desk.fleet.put(name, 1)
        assert desk.fleet.step() is Progress.SEALED
        assert desk.send("d3", *late) == [Receipt(name_of(late), 2)]

    def test_too_late_is_closed_before_a_byte_is_sent(self, tmp_path: Path) -> None:
        desk = Desk(tmp_path / "s.db", cohorts=1, closing=closing(quorum=3, max_lag=0))
        for name in ("d0", "d1", "d2"):
            desk.fleet.put(name, 0)
        desk.fleet.step()
        late = desk.offer("d3", 0, chunk_bytes=100)
        assert desk.send("d3", late[0]) == [Status(name_of(late), Code.CLOSED)]

    def test_a_round_that_closes_in_mid_upload(self, tmp_path: Path) -> None:
        desk = Desk(tmp_path / "s.db", cohorts=1, closing=closing(quorum=3, max_lag=0))
        late = desk.offer("d3", 0, chunk_bytes=100)
        desk.send("d3", *late[:-1])
        for name in ("d0", "d1", "d2"):
            desk.fleet.put(name, 0)
        desk.fleet.step()
        assert desk.send("d3", late[-1]) == [Status(name_of(late), Code.CLOSED)]
        with desk.fleet.store.read() as db:
            assert uploads.get(db, "d3") is None

    def test_a_finished_job_takes_nothing(self, tmp_path: Path) -> None:
        desk = Desk(tmp_path / "s.db", cohorts=1, rounds=1, closing=closing(quorum=3))
        late = desk.offer("d3", 0)
        for name in ("d0", "d1", "d2"):
            desk.fleet.put(name, 0)
        desk.fleet.step()
        assert desk.send("d3", *late) == [Status(name_of(late), Code.CLOSED)]


class TestTroubleOfTheStore:
    def test_killed_at_any_statement_it_counts_once_and_keeps_its_word(self, tmp_path: Path) -> None:
        origin = Desk(tmp_path / "origin.db", cohorts=1)
        messages = origin.offer("d1", chunk_bytes=100)
        origin.fleet.store.close()
        at = crashes = 0
        while True:
            at += 2  # every second one: 40 points, and as many restarts
            path = tmp_path / f"{at}.db"
            path.write_bytes((tmp_path / "origin.db").read_bytes())
            desk = Desk.__new__(Desk)
            desk.__dict__.update(origin.__dict__)
            desk.fleet.store = FragileStore.fragile(path, at)
            said = []
            try:
                desk.restart()
                for message in messages:
                    said += desk.send("d1", message)
            except Crash:
                crashes += 1
            finished = not desk.fleet.store.points >= at
            desk.fleet.store.close()
            desk.fleet.store = Store.open(path)
            desk.restart()
            if Status(name_of(messages), Code.COUNTED) in said:
                assert counted(desk) == {"d1"}
            # The device does what its machine does: it asks, and sends what is missing.
            asked = desk.send("d1", Query(name_of(messages)))
            if asked != [Status(name_of(messages), Code.COUNTED)]:
                assert desk.send("d1", *messages)[-1] == Status(name_of(messages), Code.COUNTED)
            with desk.fleet.store.read() as db:
                assert len(inbox.counted(db, 1, 0)) == 1
            desk.fleet.store.close()
            if finished:
                break
        assert crashes > 10

    @pytest.mark.parametrize("trouble", [StoreBusy, DiskFull])
    def test_nothing_is_acknowledged_and_the_next_try_works(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, trouble: type[Exception]
    ) -> None:
        messages = desk.offer("d1", chunk_bytes=100)
        desk.send("d1", *messages[:2])

        def fail(*args: object, **more: object) -> None:
            raise trouble("no")

        with monkeypatch.context() as patch:
            patch.setattr(inbox, "add", fail)
            with pytest.raises(trouble):
                desk.send("d1", *messages[2:])
        assert desk.send("d1", *messages[2:]) == [Status(name_of(messages), Code.COUNTED)]

    def test_the_disk_for_partial_uploads_is_bounded(self, tmp_path: Path) -> None:
        desk = Desk(tmp_path / "s.db", cohorts=1, bridge={"partial_bytes": 500})
        first = desk.offer("d1", chunk_bytes=100)
        second = desk.offer("d2", chunk_bytes=100)
        assert desk.send("d1", first[0]) == []
        assert desk.send("d1", first[0]) == []  # its own does not count against it
        assert desk.send("d2", second[0], second[1]) == [
            Status(name_of(second), Code.QUOTA),
            Status(name_of(second), Code.MISSING),
        ]
        desk.send("d1", *first)
        assert desk.send("d2", *second) == [Status(name_of(second), Code.COUNTED)]

    def test_what_nobody_goes_on_with_expires(self, desk: Desk) -> None:
        desk.send("d1", *desk.offer("d1", chunk_bytes=100)[:2])
        desk.fleet.now += uploads.EXPIRY_SECONDS + 1.0
        desk.tick(4_000.0)
        with desk.fleet.store.read() as db:
            assert uploads.get(db, "d1") is None


def test_without_a_job_an_update_is_for_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "a.db")
    messages = desk.offer("d1")
    store = Store.open(tmp_path / "b.db")
    with store.write() as db:
        from tests.aggregator.fleets import key_of

        devices.enroll(db, "d1", key_of("d1").public_key().public_bytes_raw())
    desk.fleet.store = store
    desk.bridge = Bridge(store, desk.settings)
    assert desk.send("d1", *messages) == [Status(name_of(messages), Reason.WRONG_JOB)]
    assert desk.bridge.connected(0.0)[1:] == []
    store.close()


def test_one_turn_shares_one_transaction(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from gossamer.broker_bridge.actions import Incoming
    from tests.broker_bridge.desk import TOPICS

    writes = []
    original = Store.write

    def counting(self: Store) -> object:
        writes.append(1)
        return original(self)

    monkeypatch.setattr(Store, "write", counting)
    batch = []
    for token, name in enumerate(desk.fleet.names):
        for message in desk.offer(name):
            batch.append(Incoming(TOPICS.device_topic("u", name), message.serialize(), token))
    actions = desk.bridge.messages(batch, now=1.0, monotonic=1.0)
    assert len(writes) == 1
    assert all(answers(actions, name) for name in desk.fleet.names)


def test_stray_chunks_are_answered_once_a_turn(desk: Desk) -> None:
    strays = [Chunk(b"nobodys!", n, b"x") for n in range(3)]
    assert desk.send("d1", *strays) == [Status(b"nobodys!", Code.MISSING)]
