"""Each table's own functions, and above all what bounds it."""

import numpy as np
import pytest
import sqlalchemy as sa

from gossamer.aggregator.store import (
    Store,
    devices,
    inbox,
    jobs,
    models,
    objects,
    rejections,
    rounds,
    schema,
    states,
    uploads,
)
from gossamer.aggregator.store.jobs import JobState
from gossamer.errors import ConfigError
from gossamer.wire.limits import MAX_DEVICE_CHARS

KEY = bytes(range(32))


def rows(store: Store, table: sa.Table) -> int:
    with store.read() as db:
        return int(db.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


class TestDevices:
    def test_indexes_count_up_and_are_never_used_twice(self, store: Store) -> None:
        with store.write() as db:
            first = devices.enroll(db, "meter-1", KEY)
            second = devices.enroll(db, "meter-2", KEY)
            devices.revoke(db, "meter-2")
            third = devices.enroll(db, "meter-3", KEY)
            assert [d.index for d in (first, second, third)] == [0, 1, 2]
            assert devices.count(db) == 3
            assert [d.id for d in devices.every(db, indexes=[0, 2])] == ["meter-1", "meter-3"]
        assert first.bucket == "f8"

    def test_enrolling_again_under_the_same_key_changes_nothing(self, store: Store) -> None:
        with store.write() as db:
            assert devices.enroll(db, "m", KEY) == devices.enroll(db, "m", KEY)

    def test_another_key_needs_a_revocation_first_and_keeps_the_index(self, store: Store) -> None:
        with store.write() as db:
            devices.enroll(db, "a", KEY)
            devices.enroll(db, "m", KEY)
            with pytest.raises(ConfigError, match="another key; revoke it first"):
                devices.enroll(db, "m", KEY[::-1])
            devices.revoke(db, "m")
            revoked = devices.get(db, "m")
            assert revoked is not None
            assert not revoked.enrolled
            again = devices.enroll(db, "m", KEY[::-1])
            assert (again.index, again.public_key, again.enrolled) == (1, KEY[::-1], True)

    @pytest.mark.parametrize("bad", ["", "a/b", "a+", "#", "x" * (MAX_DEVICE_CHARS + 1), "nul\0", "-x", "a b"])
    def test_ids_that_no_topic_can_carry(self, store: Store, bad: str) -> None:
        with store.write() as db, pytest.raises(ConfigError, match="1 to 64 letters"):
            devices.enroll(db, bad, KEY)

    def test_a_key_of_the_wrong_size(self, store: Store) -> None:
        with store.write() as db, pytest.raises(ConfigError, match="32 bytes, this one 31"):
            devices.enroll(db, "m", KEY[:31])

    def test_revoking_nobody(self, store: Store) -> None:
        with store.write() as db, pytest.raises(ConfigError, match="no device ghost"):
            devices.revoke(db, "ghost")

    def test_a_stale_death_never_overrides_a_newer_birth(self, store: Store) -> None:
        with store.write() as db:
            devices.enroll(db, "m", KEY)
            assert devices.born(db, "m", boot=5, job=1, version=3, now=10.0)
            assert not devices.died(db, "m", boot=4, now=11.0)
            assert not devices.born(db, "m", boot=4, job=1, version=1, now=12.0)
            found = devices.get(db, "m")
            assert found is not None
            assert (found.online, found.boot, found.held_version, found.last_seen) == (True, 5, 3, 10.0)
            assert devices.died(db, "m", boot=5, now=13.0)
            devices.holds(db, "m", job=1, version=4, now=14.0)
            found = devices.get(db, "m")
            assert found is not None
            assert (found.online, found.held_version) == (False, 4)


class TestJobs:
    def add(self, store: Store, number: int, name: str) -> None:
        with store.write() as db:
            jobs.add(db, job=number, name=name, settings="{}", layout="[]", now=1.0)

    def test_jobs_queue_by_number(self, store: Store) -> None:
        with store.read() as db:
            assert jobs.current(db) is None
        self.add(store, 2, "second")
        self.add(store, 1, "first")
        for expected in (1, 2, 2):
            with store.write() as db:
                current = jobs.current(db)
                assert current is not None
                assert current.job == expected
                jobs.advance(db, expected, version=9, state=JobState.FINISHED)

    def test_a_paused_job_keeps_its_place(self, store: Store) -> None:
        self.add(store, 1, "first")
        self.add(store, 2, "second")
        with store.write() as db:
            jobs.set_state(db, 1, JobState.PAUSED)
            current = jobs.current(db)
            assert current is not None
            assert (current.job, current.state) == (1, JobState.PAUSED)

    def test_names_and_numbers_are_taken_once(self, store: Store) -> None:
        self.add(store, 1, "first")
        with pytest.raises(ConfigError, match="taken"):
            self.add(store, 1, "other")
        with pytest.raises(ConfigError, match="taken"):
            self.add(store, 2, "first")
        with pytest.raises(ConfigError, match="1 to 64"):
            self.add(store, 3, "x" * 65)

    def test_locking_returns_the_row(self, store: Store) -> None:
        self.add(store, 1, "first")
        with store.write() as db:
            for exclusive in (False, True):
                locked = jobs.lock(db, 1, exclusive=exclusive)
                assert locked is not None
                assert locked.name == "first"
            assert jobs.lock(db, 7, exclusive=True) is None


class TestModels:
    def add(self, store: Store, version: int) -> None:
        vector = np.full(3, version, dtype=np.int32)
        step = None if version == 0 else b"step%d" % version
        with store.write() as db:
            models.add(
                db, 1, version, digest=b"d%d" % version, state=models.to_blob(vector), step=step, latest=2, now=1.0
            )

    def test_blobs_are_little_endian(self) -> None:
        assert models.to_blob(np.array([1, -2], dtype=">i4")) == b"\1\0\0\0\xfe\xff\xff\xff"
        assert models.from_blob(b"\1\0\0\0\xfe\xff\xff\xff").tolist() == [1, -2]

    def test_history_is_bounded(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(models, "STEPS_KEPT", 4)
        for version in range(10):
            self.add(store, version)
        with store.read() as db:
            kept = [v for v in range(10) if models.state(db, 1, v) is not None]
            assert kept == [0, 8, 9]
            assert models.steps(db, 1, after=5, upto=9) == [b"step6", b"step7", b"step8", b"step9"]
            assert models.steps(db, 1, after=4, upto=9) is None
            assert models.steps(db, 1, after=9, upto=9) == []
            row = models.get(db, 1, 3)
            assert row is not None
            assert row.digest == b"d3"
            assert models.get(db, 1, 10) is None


class TestRounds:
    def test_a_life(self, store: Store) -> None:
        with store.write() as db:
            assert rounds.latest(db, 1) is None
            rounds.open_round(db, 1, 0, version=0, devices=10, manifest=b"m0", now=5.0)
            rounds.waited(db, 1, 0, 2.5)
            rounds.set_state(db, 1, 0, rounds.RoundState.SEALING)
            found = rounds.latest(db, 1)
            assert found is not None
            assert (found.state, found.waited_seconds) == (rounds.RoundState.SEALING, 2.5)
            rounds.seal(db, 1, 0, report="{}", now=9.0)
            rounds.open_round(db, 1, 1, version=1, devices=10, manifest=b"m1", now=9.0)
            rounds.set_manifest(db, 1, 1, b"m1b")
            assert [(r.round, r.state.value, r.manifest) for r in rounds.every(db, 1)] == [
                (0, "sealed", b"m0"),
                (1, "open", b"m1b"),
            ]
            assert rounds.get(db, 1, 2) is None


def update(round_: int = 0, device: str = "m", counted_in: int | None = None) -> inbox.NewUpdate:
    where = round_ if counted_in is None else counted_in
    name = b"%d-%s" % (round_, device.encode())
    return inbox.NewUpdate(1, round_, device, name, where, round_, b"body", b"header", 10, 500_000)


class TestInbox:
    def test_bodies_go_and_receipts_stay(self, store: Store) -> None:
        with store.write() as db:
            for name in ("a", "b", "late"):
                devices.enroll(db, name, KEY)
            inbox.add(db, update(0, "a"), now=1.0)
            inbox.add(db, update(0, "b"), now=1.0)
            inbox.add(db, update(0, "late", counted_in=1), now=1.0)
            assert inbox.arrived(db, 1, 0) == (2, 2)
            assert inbox.arrived(db, 1, 1) == (0, 1)
            devices.revoke(db, "b")
            assert inbox.arrived(db, 1, 0) == (1, 2)
            assert inbox.senders(db, 1, 0) == {"a", "b"}
            assert inbox.counted(db, 1, 1) == [inbox.CountedUpdate("late", 2, 0, 0, 10, 500_000, b"header", 4)]
            inbox.seal(db, 1, 0, version=1)
            assert inbox.body(db, 1, 0, "a") is None
            assert inbox.body(db, 1, 0, "late") == b"body"
            receipt = inbox.receipt_of_object(db, "a", b"0-a")
            assert receipt is not None
            assert (receipt.sealed_in, receipt.counted_in) == (1, 0)
            assert inbox.receipt(db, 1, 0, "nobody") is None
            assert inbox.receipt_of_object(db, "b", b"0-a") is None

    def test_the_same_device_and_round_cannot_be_there_twice(self, store: Store) -> None:
        from gossamer.errors import StoreBusy

        with store.write() as db:
            inbox.add(db, update(), now=1.0)
        with pytest.raises(StoreBusy), store.write() as db:
            inbox.add(db, update(), now=2.0)
        assert rows(store, schema.inbox) == 1

    def test_receipts_are_bounded_per_device(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inbox, "RECEIPT_ROUNDS", 3)
        with store.write() as db:
            inbox.add(db, update(0, "rare"), now=1.0)
            for round_ in range(20):
                inbox.add(db, update(round_, "busy"), now=1.0)
                inbox.seal(db, 1, round_, version=round_ + 1)
            assert inbox.receipt(db, 1, 0, "rare") is not None  # it may still ask
            assert inbox.receipt(db, 1, 0, "busy") is None
            assert inbox.receipt(db, 1, 16, "busy") is not None
        assert rows(store, schema.inbox) == 1 + 4


class TestUploads:
    def offer(self, device: str = "m", name: bytes = b"object-1", size: int = 100) -> uploads.Upload:
        return uploads.Upload(device, name, 0, size, 40, b"header")

    def test_one_at_a_time_per_device(self, store: Store) -> None:
        with store.write() as db:
            uploads.begin(db, self.offer(), now=1.0)
            for index in (0, 2, 2):
                uploads.keep(db, "m", index, b"%d" % index, now=1.0)
            assert uploads.have(db, "m") == {0: b"0", 2: b"2"}
            uploads.begin(db, self.offer(name=b"object-2", size=50), now=2.0)
            assert uploads.have(db, "m") == {}
            assert uploads.get(db, "m") == self.offer(name=b"object-2", size=50)
            uploads.begin(db, self.offer("n", size=7), now=2.0)
            assert uploads.total_bytes(db) == 57
            assert uploads.total_bytes(db, besides="m") == 7
            uploads.drop(db, "m")
            assert uploads.get(db, "m") is None
            assert uploads.total_bytes(db) == 7

    def test_what_nobody_touches_expires(self, store: Store) -> None:
        with store.write() as db:
            uploads.begin(db, self.offer("old"), now=1.0)
            uploads.begin(db, self.offer("alive"), now=1.0)
            uploads.keep(db, "alive", 0, b"x", now=uploads.EXPIRY_SECONDS)
            assert uploads.expire(db, now=uploads.EXPIRY_SECONDS + 2.0) == 1
            assert uploads.get(db, "old") is None
            assert uploads.get(db, "alive") is not None


class TestRejections:
    def test_counted_per_reason_and_device(self, store: Store) -> None:
        with store.write() as db:
            for _ in range(3):
                rejections.add(db, "malformed", "m", "why" * 100, now=1.0, known=True)
            rejections.add(db, "malformed", "n", "why", now=2.0, known=True, count=4)
            rejections.add(db, "unknown-device", "ghost-1", "who", now=3.0, known=False)
            rejections.add(db, "unknown-device", "ghost-2", "who", now=4.0, known=False)
            assert rejections.totals(db) == {"malformed": 7, "unknown-device": 2}
            found = {(r.reason, r.device): r for r in rejections.every(db)}
        assert found["malformed", "m"].count == 3
        assert len(found["malformed", "m"].detail) == 200
        assert found["unknown-device", "*"].last_device == "ghost-2"

    def test_rows_are_bounded(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rejections, "MAX_ROWS", 5)
        with store.write() as db:
            for n in range(20):
                rejections.add(db, "malformed", f"d{n}", "", now=1.0, known=True)
            assert rejections.totals(db) == {"malformed": 20}
        assert rows(store, schema.rejections) == 6


class TestObjectsAndStates:
    def test_objects_live_as_long_as_manifests_name_them(self, store: Store) -> None:
        old, new = objects.StoredObject(b"old", 1, b"1"), objects.StoredObject(b"new", 2, b"22")
        with store.write() as db:
            objects.put(db, 1, old, round_=0)
            objects.put(db, 1, new, round_=0)
            objects.put(db, 1, new, round_=9)
            objects.prune(db, 1, round_=9)
            assert objects.get(db, b"old") is None
            assert objects.get(db, b"new") == new
        assert rows(store, schema.objects) == 1

    def test_engine_state_is_replaced(self, store: Store) -> None:
        with store.write() as db:
            assert states.get(db, 1) is None
            for n in range(3):
                states.put(db, 1, states.StoredState(n, b"t%d" % n, b"s"))
            assert states.get(db, 1) == states.StoredState(2, b"t2", b"s")
