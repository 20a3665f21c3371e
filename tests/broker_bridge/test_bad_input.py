"""What bad input gets: a named reason, a count, and nothing else changed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossamer.aggregator.store import devices, inbox, rejections, schema
from gossamer.broker_bridge.actions import Ack, Publish
from gossamer.broker_bridge.bridge import _Batch
from gossamer.compression import codec
from gossamer.errors import StoreBusy
from gossamer.wire.codes import Code, Kind, Reason
from gossamer.wire.header import UpdateHeader, sign_update
from gossamer.wire.ids import object_id
from gossamer.wire.messages import Birth, Chunk, Get, Message, Offer, Query, Round, Status
from tests.aggregator.fleets import D, key_of
from tests.broker_bridge.desk import TOPICS, Desk, answers, name_of, upload


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "s.db", cohorts=2, codec_up="fp32")


def contents(desk: Desk) -> list[object]:
    """Everything that a refused message must not change."""
    tables = [t for t in schema.metadata.sorted_tables if t.name != "rejections"]
    with desk.fleet.store.read() as db:
        return [db.execute(table.select()).all() for table in tables]


def member(desk: Desk) -> str:
    return desk.fleet.cohort(0)[0]


def stranger(desk: Desk) -> str:
    return desk.fleet.cohort(1)[0]


def fp32(values: np.ndarray) -> bytes:
    tag = codec("fp32").encode(np.zeros(1), seed=0)[:1]
    return tag + values.astype("<f4").tobytes()


def wrong_object(desk: Desk) -> list[Message]:
    offer = desk.offer(member(desk))[0]
    assert isinstance(offer, Offer)
    return [Offer(b"\0" * 7 + b"\1", offer.kind, offer.size, offer.chunk_bytes, offer.header, offer.body)]


def signed_by(desk: Desk, key: Ed25519PrivateKey, fleet: str = "t", device: str | None = None) -> list[Message]:
    name = member(desk)
    body = desk.fleet.body(name, 0)
    header = sign_update(key, UpdateHeader(1, 0, 0, 10, 1), fleet, device or name, body)
    return upload(body, header, 4000)


def body_of(make: Callable[[], bytes]) -> Callable[[Desk], list[Message]]:
    return lambda desk: desk.offer(member(desk), body=make(), chunk_bytes=16_000)


def model_object(desk: Desk) -> list[Message]:
    return [Offer(object_id(b"x"), Kind.SNAPSHOT, 1, 1, b"", b"x")]


TABLE: dict[str, tuple[Reason, Callable[[Desk], list[Message]]]] = {
    "another fleet": (Reason.BAD_SIGNATURE, lambda desk: signed_by(desk, key_of(member(desk)), fleet="u")),
    "another device's key": (Reason.BAD_SIGNATURE, lambda desk: signed_by(desk, key_of("mallory"))),
    "signed for another device": (
        Reason.BAD_SIGNATURE,
        lambda desk: signed_by(desk, key_of(member(desk)), device="d9"),
    ),
    "no signature": (Reason.MALFORMED, lambda desk: upload(b"body", b"", 4000)),
    "a header that is none": (Reason.MALFORMED, lambda desk: upload(b"body", b"\x84\x43\xa1\x01\x27", 4000)),
    "not an update": (Reason.MALFORMED, model_object),
    "another body than its id": (Reason.WRONG_OBJECT, wrong_object),
    "too large": (Reason.TOO_LARGE, body_of(lambda: fp32(np.zeros(D + 9)))),
    "too large, in chunks": (
        Reason.TOO_LARGE,
        lambda desk: desk.offer(member(desk), body=bytes(99_999), chunk_bytes=5000)[:1],
    ),
    "of another model": (Reason.WRONG_LAYOUT, body_of(lambda: fp32(np.zeros(D - 1)))),
    "truncated": (Reason.WRONG_LAYOUT, body_of(lambda: fp32(np.zeros(D))[:-1])),
    "NaN": (Reason.NON_FINITE, body_of(lambda: fp32(np.full(D, np.nan)))),
    "infinite": (Reason.NON_FINITE, body_of(lambda: fp32(np.full(D, -np.inf)))),
    "oversized": (Reason.TOO_LARGE, body_of(lambda: fp32(np.where(np.arange(D) == D - 1, 2049.0, 0.0)))),
    "another codec": (Reason.UNKNOWN_CODEC, body_of(lambda: codec("sign").encode(np.ones(D), seed=0))),
    "no codec": (Reason.UNKNOWN_CODEC, body_of(lambda: b"\xff\xff")),
    "another job": (Reason.WRONG_JOB, lambda desk: desk.offer(member(desk), job=7)),
    "a job of absurd number": (Reason.WRONG_JOB, lambda desk: desk.offer(member(desk), job=2**63 - 1)),
    "a round to come": (Reason.FUTURE_ROUND, lambda desk: desk.offer(member(desk), 1)),
    "a round of absurd number": (Reason.FUTURE_ROUND, lambda desk: desk.offer(member(desk), round=2**63 - 1)),
    "another base version": (Reason.MALFORMED, lambda desk: desk.offer(member(desk), base_version=3)),
}


@pytest.mark.parametrize("case", TABLE)
def test_refused_with_its_reason_and_nothing_changed(desk: Desk, case: str) -> None:
    reason, make = TABLE[case]
    before = contents(desk)
    messages = make(desk)
    answer = desk.send(member(desk), *messages)
    assert answer[-1] == Status(name_of(messages), reason)
    assert desk.rejected().get(reason.label, 0) == 1
    assert contents(desk) == before


def test_chunks_that_make_another_body_are_given_up_after_a_few_times(desk: Desk) -> None:
    name = member(desk)
    offer, *chunks = desk.offer(name, chunk_bytes=400)
    wrong = [Chunk(c.object_id, c.index, c.data[::-1]) for c in chunks if isinstance(c, Chunk)]
    again = Status(name_of([offer]), Code.MISSING, (0, 1, 2, 3)[: len(chunks)])
    assert desk.send(name, offer, *wrong) == [again]
    assert desk.send(name, *wrong) == [again]
    desk.restart()
    for _ in range(2):
        assert desk.send(name, *wrong) == [again]
    assert desk.send(name, *wrong) == [Status(name_of([offer]), Reason.WRONG_OBJECT)]
    assert desk.rejected() == {"wrong-object": 1}
    assert desk.send(name, offer, *chunks) == [Status(name_of([offer]), Code.COUNTED)]


def test_not_in_the_cohort(desk: Desk) -> None:
    messages = desk.offer(stranger(desk))
    assert desk.send(stranger(desk), *messages) == [Status(name_of(messages), Reason.NOT_IN_COHORT)]
    assert desk.rejected() == {"not-in-cohort": 1}


def test_an_unknown_device_is_refused(desk: Desk) -> None:
    before = contents(desk)
    messages = desk.offer(member(desk))
    assert desk.send("mallory", *messages) == [Status(name_of(messages), Reason.UNKNOWN_DEVICE)]
    for n in range(100):
        desk.send(f"mallory-{n}", *messages, Get(bytes(8)), Birth(1, 1))
    assert contents(desk) == before
    with desk.fleet.store.read() as db:
        found = rejections.every(db)
    assert [(r.reason, r.device, r.count, r.last_device) for r in found] == [("unknown-device", "*", 301, "mallory-99")]


def test_answers_to_strangers_are_few(desk: Desk) -> None:
    messages = desk.offer(member(desk))
    said = [desk.send(f"mallory-{n}", *messages) for n in range(100)]
    assert sum(map(len, said)) == 10


def test_a_revoked_device_is_refused_and_its_updates_stay(desk: Desk) -> None:
    name = member(desk)
    messages = desk.offer(name)
    desk.send(name, *messages)
    with desk.fleet.store.write() as db:
        devices.revoke(db, name)
    assert desk.send(name, *messages) == [Status(name_of(messages), Reason.REVOKED)]
    with desk.fleet.store.read() as db:
        assert len(inbox.counted(db, 1, 0)) == 1


@pytest.mark.parametrize(
    "topic",
    ["g1/t/u/00/d1", "g1/t/u/d1", "g1/other/u/5e/d1", "$SYS/broker", "", "x" * 5000, "g1/t/u/00/\u00e9"],
)
def test_topics_that_are_not_ours(desk: Desk, topic: str) -> None:
    before = contents(desk)
    assert [type(a) for a in desk.raw(topic, Query(b"12345678").serialize())] == [Ack]
    assert desk.rejected() == {"malformed": 1}
    assert contents(desk) == before


@pytest.mark.parametrize(("kind", "message"), [("u", Birth(1, 1)), ("s", Query(b"12345678")), ("u", Round(b"x"))])
def test_messages_on_the_wrong_topic(desk: Desk, kind: str, message: Message) -> None:
    before = contents(desk)
    assert desk.send(member(desk), message, kind=kind) == []
    assert desk.rejected() == {"malformed": 1}
    assert contents(desk) == before


def test_a_message_of_a_later_version_is_ignored(desk: Desk) -> None:
    assert [type(a) for a in desk.raw(TOPICS.device_topic("u", "d1"), b"\x18\x63\x01")] == [Ack]
    assert desk.rejected() == {}


def test_a_chunk_that_does_not_fit_ends_the_upload(desk: Desk) -> None:
    name = member(desk)
    messages = desk.offer(name, chunk_bytes=100)
    bad = Chunk(name_of(messages), 2, b"short")
    assert desk.send(name, messages[0], bad) == [Status(name_of(messages), Reason.MALFORMED)]
    assert desk.send(name, *messages)[-1] == Status(name_of(messages), Code.COUNTED)


def test_garbage_of_every_kind_never_stops_the_queue(desk: Desk) -> None:
    chance = random.Random(4)
    name = member(desk)
    topic = TOPICS.device_topic("u", name)
    good = [m.serialize() for m in desk.offer(name, chunk_bytes=400)]
    for _ in range(600):
        data = bytearray(chance.choice([*good, Query(b"12345678").serialize(), Get(bytes(8)).serialize()]))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        del data[chance.randrange(len(data) + 1) if chance.random() < 0.3 else len(data) :]
        actions = desk.raw(chance.choice([topic, TOPICS.device_topic("s", name)]), bytes(data))
        assert isinstance(actions[0], Ack)
    assert "internal" not in desk.rejected()
    messages = desk.offer(name)
    assert desk.send(name, *messages)[-1] == Status(name_of(messages), Code.COUNTED)


def test_a_fault_of_ours_drops_one_message_and_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    name = member(desk)
    messages = desk.offer(name)
    calls = []

    def fail(*args: object, **more: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(devices, "holds", fail)
        assert desk.send(name, *messages) == []
    assert desk.rejected() == {"internal": 1}
    with desk.fleet.store.read() as db:
        assert inbox.counted(db, 1, 0) == []  # nothing half done
    assert desk.send(name, *messages) == [Status(name_of(messages), Code.COUNTED)]


class TestFlood:
    def test_one_device_is_stopped_and_others_are_served(self, tmp_path: Path) -> None:
        limits = {"messages_per_second": 10.0, "message_burst": 50}
        desk = Desk(tmp_path / "s.db", cohorts=1, bridge=limits)
        flood = [Query(bytes([1 + n % 200]) * 8) for n in range(200)]
        said = desk.send("d1", *flood)
        assert len(said) == 50 + 1
        assert said[-1] == Status(bytes([51]) * 8, Code.QUOTA)
        assert desk.rejected() == {"quota": 150}
        messages = desk.offer("d2")
        assert desk.send("d2", *messages) == [Status(name_of(messages), Code.COUNTED)]
        assert desk.send("d1", Query(b"12345678")) == []  # said within this second
        desk.monotonic += 2.0
        assert desk.send("d1", Query(b"12345678")) == [Status(b"12345678", Code.MISSING)]

    def test_a_small_request_for_a_large_object_costs_what_the_object_does(self, tmp_path: Path) -> None:
        limits = {"messages_per_second": 0.1, "message_burst": 10, "chunk_bytes": 10}
        desk = Desk(tmp_path / "s.db", cohorts=1, bridge=limits)
        name = desk.fleet.manifest().ways[0].object_id
        desk.send("d1", Get(name))
        assert desk.send("d1", Get(name)) == [Status(name, Code.QUOTA)]

    def test_chunks_that_it_does_not_have_cost_all_of_it(self, tmp_path: Path) -> None:
        limits = {"messages_per_second": 0.1, "message_burst": 10, "chunk_bytes": 10}
        desk = Desk(tmp_path / "s.db", cohorts=1, bridge=limits)
        name = desk.fleet.manifest().ways[0].object_id
        desk.send("d1", Get(name, (8000,)))
        assert desk.send("d1", Get(name, (1,))) == [Status(name, Code.QUOTA)]

    def test_a_locked_store_costs_the_devices_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        desk = Desk(tmp_path / "s.db", cohorts=1, bridge={"messages_per_second": 0.1, "message_burst": 10})
        name = desk.fleet.manifest().ways[0].object_id
        turn = [Query(bytes([n]) * 8) for n in range(1, 9)] + [Get(name)]

        def locked(*args: object, **more: object) -> None:
            raise StoreBusy("locked")

        with monkeypatch.context() as patch:
            patch.setattr(_Batch, "write_rejections", locked)
            for _ in range(20):
                with pytest.raises(StoreBusy):
                    desk.send("d1", *turn)
        assert Status(name, Code.QUOTA) not in desk.send("d1", *turn)
        assert desk.rejected() == {}


def test_answers_go_to_the_device_and_nobody_else(desk: Desk) -> None:
    name = member(desk)
    actions = desk.raw(TOPICS.device_topic("u", name), desk.offer(name)[0].serialize())
    published = [a for a in actions if isinstance(a, Publish)]
    assert [p.topic for p in published] == [TOPICS.device_topic("a", name)]
    assert answers(actions, name)
