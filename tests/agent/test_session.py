"""The session machine against a simple server side, without a network."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossamer.agent.plan import Held
from gossamer.agent.session import KILLS_FORGIVEN, TRANSITIONS, State, Trigger
from gossamer.wire import messages as msg

from .device import Device
from .server_side import DEVICE, DEVICE_KEY, FLEET, JOB, ServerSide
from .tiny import Tiny


@pytest.fixture
def server() -> ServerSide:
    return ServerSide()


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path)
    device.connect()
    return device


def exchange(device: Device, server: ServerSide, limit: int = 200) -> None:
    """Pass messages until nobody has any."""
    for _ in range(limit):
        payloads = device.take()
        if not payloads:
            return
        for payload in payloads:
            for kind, answer in server.handle(payload):
                if kind != "c" or "c" in device.topics:
                    device.receive(kind, answer)
    raise AssertionError("they never stop talking")


def play_round(device: Device, server: ServerSide) -> None:
    device.receive("m", server.manifest())
    exchange(device, server)


def test_first_round_costs_no_download(device: Device, server: ServerSide) -> None:
    assert device.topics == {"m", "h", "a"}
    play_round(device, server)
    assert list(server.counted) == [0]
    assert server.gets == []
    assert device.session.state is State.RESTING
    assert device.store is not None
    assert device.store.outbox() is None
    assert device.store.residual(JOB) is not None


def test_a_large_object_comes_on_the_shared_topic_and_it_listens_only_meanwhile(tmp_path: Path) -> None:
    server = ServerSide(d=4000, chunk_bytes=4000)
    device = Device(tmp_path, trainer=Tiny(4000), chunk_bytes=4000)
    device.connect()
    for _ in range(6):
        server.advance()
    device.receive("m", server.manifest())
    assert "c" in device.topics
    device.disconnect()
    device.connect()
    assert "c" in device.topics
    exchange(device, server)
    assert list(server.counted) == [6]
    assert "c" not in device.topics


def test_later_rounds_fetch_a_delta(device: Device, server: ServerSide) -> None:
    play_round(device, server)
    for _ in range(3):
        server.advance()
        device.receive("m", server.manifest())
        assert "c" not in device.topics  # small ones come on the device's own topic
        exchange(device, server)
    assert list(server.counted) == [0, 1, 2, 3]
    kinds = [server.objects[each][1] for each in server.gets]
    assert set(kinds) == {msg.Kind.DELTA}
    assert device.session.held is not None
    assert device.session.held.version == 3


def test_a_device_that_slept_takes_the_snapshot(device: Device, server: ServerSide) -> None:
    for _ in range(6):
        server.advance()
    play_round(device, server)
    assert [server.objects[each][1] for each in server.gets] == [msg.Kind.SNAPSHOT]
    assert list(server.counted) == [6]


def test_another_initial_model_is_replaced_by_the_snapshot(tmp_path: Path) -> None:
    server = ServerSide()
    server.advance()
    device = Device(tmp_path, trainer=Tiny(40, "other-initial"))
    device.connect()
    play_round(device, server)
    assert device.counts == ["refused.bad-model"]
    assert [server.objects[each][1] for each in server.gets][-1] == msg.Kind.SNAPSHOT
    assert list(server.counted) == [1]


def test_not_in_the_cohort_means_not_a_byte(tmp_path: Path) -> None:
    server = ServerSide(devices=2, cohorts=2)
    device = Device(tmp_path)
    device.connect()
    device.take()
    for _ in range(6):
        play_round(device, server)
        server.advance()
    assert len(server.counted) == 3  # once a cycle


def test_a_round_is_done_once(device: Device, server: ServerSide) -> None:
    play_round(device, server)
    before = len(device.trained)
    device.boot()
    device.connect()
    play_round(device, server)
    assert len(device.trained) == before
    assert device.session.state is State.RESTING


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": Ed25519PrivateKey.from_private_bytes(bytes(32))}, "bad-signature"),
        ({"key": DEVICE_KEY}, "bad-signature"),
        ({"fleet": "other"}, "bad-signature"),
        ({"round": 1}, "replayed"),
        ({"version": 1}, "replayed"),
        ({"job": JOB - 1}, "replayed"),
    ],
)
def test_a_wrong_manifest_is_counted_and_changes_nothing(
    device: Device, server: ServerSide, changes: dict[str, object], reason: str
) -> None:
    server.advance()
    server.advance()
    play_round(device, server)
    before = (device.session.state, device.session.manifest, device.session.marks)
    device.receive("m", server.manifest(**changes))
    assert device.counts == [f"refused.{reason}"]
    assert (device.session.state, device.session.manifest, device.session.marks) == before
    assert device.take() == []


def test_a_replay_is_refused_after_a_restart(device: Device, server: ServerSide) -> None:
    old = server.manifest()
    server.advance()
    play_round(device, server)
    device.boot()
    device.connect()
    device.receive("m", old)
    assert device.counts == ["refused.replayed"]


def test_only_the_configured_job(tmp_path: Path, server: ServerSide) -> None:
    device = Device(tmp_path, job=3)
    device.connect()
    play_round(device, server)
    assert device.counts == ["refused.wrong-job"]
    assert server.counted == {}


def test_a_new_job_starts_from_its_own_first_model(device: Device, server: ServerSide) -> None:
    play_round(device, server)
    other = ServerSide(job=JOB + 1, d=20)
    device.trainer = Tiny(20)
    play_round(device, other)
    assert list(other.counted) == [0]
    assert device.session.held is not None
    assert device.session.held.job == JOB + 1


def test_a_model_of_the_job_before_is_not_held(device: Device, server: ServerSide) -> None:
    device.hold_training = []
    play_round(device, server)
    other = ServerSide(job=JOB + 1)
    device.receive("m", other.manifest())  # while the child still works for the old job
    (order,) = device.hold_training
    device.hold_training = None
    manifest = order.manifest
    device.run(device.session.model_ready(Held(manifest.job, manifest.version, manifest.digest)))
    assert device.session.held is None
    device.train(order)
    exchange(device, server)
    exchange(device, other)
    assert device.session.held is not None
    assert device.session.held.job == JOB + 1


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\x06", b"\x06\x44abcd", b"\x00" * 50, b"\x18\x63\x01"])
@pytest.mark.parametrize("kind", ["m", "a", "c", "h"])
def test_rubbish_is_ignored(device: Device, kind: str, payload: bytes) -> None:
    device.take()
    device.receive(kind, payload)
    assert device.session.state is State.WAITING
    assert device.take() == []


def test_a_paused_or_finished_job_asks_nothing(device: Device, server: ServerSide) -> None:
    for state in (msg.JobState.PAUSED, msg.JobState.FINISHED):
        server.state = state
        play_round(device, server)
    assert server.counted == {}
    server.state = msg.JobState.OPEN
    play_round(device, server)
    assert list(server.counted) == [0]


def test_a_failed_fit_costs_one_round(tmp_path: Path, server: ServerSide) -> None:
    device = Device(tmp_path, trainer=Tiny(40, "nan"))
    device.connect()
    play_round(device, server)
    assert device.session.state is State.RESTING
    assert [line.level for line in device.log] == [logging.ERROR]
    device.trainer.mode = "good"
    device.boot()
    device.connect()
    play_round(device, server)
    assert server.counted == {}  # not tried again
    server.advance()
    play_round(device, server)
    assert list(server.counted) == [1]


def test_closed_folds_back(device: Device, server: ServerSide) -> None:
    device.receive("m", server.manifest())
    for payload in device.take():
        message = msg.parse(payload)
        if isinstance(message, msg.Offer):
            device.receive("a", msg.Status(message.object_id, msg.Code.CLOSED).serialize())
    assert device.session.state is State.RESTING
    assert "folded back" in device.log[-1].text


def test_quota_is_tried_again_later(device: Device, server: ServerSide) -> None:
    device.receive("m", server.manifest())
    (offer,) = [m for m in map(msg.parse, device.take()) if isinstance(m, msg.Offer)]
    device.receive("a", msg.Status(offer.object_id, msg.Code.QUOTA).serialize())
    assert device.session.state is State.SENDING
    device.wait(599)
    assert device.take() == []
    device.wait(2)
    exchange(device, server)
    assert list(server.counted) == [0]


def test_without_retained_messages_it_asks(device: Device, server: ServerSide) -> None:
    device.take()
    assert device.session.next_deadline(device.now) == device.now + 5
    device.wait(5)
    exchange(device, server)
    assert list(server.counted) == [0]
    assert server.gets == [msg.MANIFEST_ID]
    assert device.session.next_deadline(device.now) == device.now + 600


def test_it_asks_less_and_less_often_when_nobody_answers(device: Device) -> None:
    device.take()
    asked = 0
    for _ in range(24):
        device.wait(300)
        asked += len(device.take())
    assert 10 <= asked <= 20


def test_no_bulk_while_the_bridge_is_away(device: Device, server: ServerSide) -> None:
    device.take()
    device.receive("h", msg.State(4, 0).serialize())
    device.receive("m", server.manifest())
    assert device.session.state is State.SENDING
    assert device.take() == []
    device.receive("h", msg.State(3, 1).serialize())  # stale
    assert device.take() == []
    device.receive("h", msg.State(5, 1).serialize())
    exchange(device, server)
    assert list(server.counted) == [0]


def test_a_stale_word_about_the_bridge_is_outlived(device: Device, server: ServerSide) -> None:
    device.take()
    device.receive("h", msg.State(4, 0).serialize())
    device.receive("m", server.manifest())
    assert device.take() == []
    device.wait(301)
    exchange(device, server)
    assert list(server.counted) == [0]


def test_an_upload_is_resumed_after_a_restart(device: Device, server: ServerSide) -> None:
    server.codec = "fp32"
    device.receive("m", server.manifest())
    sent = device.take()[:3]
    assert isinstance(msg.parse(sent[0]), msg.Offer)
    for payload in sent:
        server.handle(payload)
    device.boot()
    device.connect()
    (query,) = device.take()
    assert isinstance(msg.parse(query), msg.Query)
    (answer,) = server.handle(query)
    assert msg.parse(answer[1]).missing[0] == 2  # type: ignore[union-attr]
    device.receive(*answer)
    exchange(device, server)
    assert list(server.counted) == [0]


def test_a_download_is_resumed_after_a_restart(device: Device, server: ServerSide) -> None:
    for _ in range(6):
        server.advance()
    device.receive("m", server.manifest())
    (get,) = device.take()
    for kind, payload in server.handle(get)[:2]:  # the offer and one chunk
        device.receive(kind, payload)
    device.boot()
    device.connect()
    device.receive("m", server.manifest())
    (get,) = device.take()
    message = msg.parse(get)
    assert isinstance(message, msg.Get)
    assert message.missing
    assert 0 not in message.missing
    for kind, payload in server.handle(get):
        device.receive(kind, payload)
    exchange(device, server)
    assert list(server.counted) == [6]


def test_the_round_moves_on_during_a_download(device: Device, server: ServerSide) -> None:
    for _ in range(6):
        server.advance()
    device.receive("m", server.manifest())
    device.take()
    server.advance()
    play_round(device, server)
    assert list(server.counted) == [7]


def test_the_round_moves_on_during_the_fit(device: Device, server: ServerSide) -> None:
    device.hold_training = []
    play_round(device, server)
    server.advance()
    play_round(device, server)
    order, device.hold_training = device.hold_training[0], None
    device.train(order)
    exchange(device, server)
    assert list(server.counted) == [0, 1]  # late is not lost, and the new round follows


def test_no_way_is_reported(device: Device, server: ServerSide) -> None:
    server.advance()
    server.ways = ()
    play_round(device, server)
    assert device.session.state is State.RESTING
    assert "no way" in device.log[-1].text


def test_an_offer_that_is_not_the_manifests_is_ignored(device: Device, server: ServerSide) -> None:
    for _ in range(6):
        server.advance()
    device.receive("m", server.manifest())
    (get,) = device.take()
    (way,) = [w for w in server.ways if w.kind == msg.Kind.SNAPSHOT]
    device.receive("a", msg.Offer(way.object_id, msg.Kind.SNAPSHOT, way.size + 1, 64, b"", b"").serialize())
    device.receive("a", msg.Offer(bytes(range(8)), msg.Kind.SNAPSHOT, way.size, 64, b"", b"").serialize())
    assert device.counts == ["refused.wrong-offer"]
    for kind, payload in server.handle(get):
        device.receive(kind, payload)
    exchange(device, server)
    assert list(server.counted) == [6]


def test_a_silent_server_is_asked_again(device: Device, server: ServerSide) -> None:
    server.advance()
    device.receive("m", server.manifest())
    device.take()
    gets = 0
    for _ in range(200):
        device.wait(1)
        gets += len(device.take())
    assert 3 <= gets <= 6


def test_messages_of_other_objects_and_kinds_are_ignored(device: Device, server: ServerSide) -> None:
    device.receive("m", server.manifest())
    device.take()
    device.receive("a", msg.Status(bytes(range(8)), msg.Code.COUNTED).serialize())
    device.receive("m", msg.Status(bytes(range(8)), msg.Code.COUNTED).serialize())
    device.receive("h", server.manifest())
    device.receive("a", msg.Birth(1, 2).serialize())
    assert device.session.state is State.SENDING


def test_birth_and_names(device: Device) -> None:
    births = [payload for kind, payload in device.out if kind == "s"]
    assert births == [msg.Birth(1, 0).serialize()]
    assert (device.settings.fleet, device.settings.device_id) == (FLEET, DEVICE)


def test_the_table_is_complete() -> None:
    reachable = {State.WAITING, *TRANSITIONS.values()}
    assert reachable == set(State)
    assert {trigger for _, trigger in TRANSITIONS} == set(Trigger)
    assert {state for state, _ in TRANSITIONS} == set(State)


@pytest.mark.parametrize(("kills", "counted"), [(KILLS_FORGIVEN, [0]), (KILLS_FORGIVEN + 1, [])])
def test_a_killed_child_trains_again_a_bounded_number_of_times(
    device: Device, server: ServerSide, kills: int, counted: list[int]
) -> None:
    device.hold_training = []
    device.receive("m", server.manifest())
    for _ in range(kills):
        assert device.hold_training.pop()
        device.run(device.session.training_failed("ended by SIGKILL", device.now, killed=True))
    orders, device.hold_training = device.hold_training, None
    for order in orders:
        device.train(order)
    exchange(device, server)
    assert list(server.counted) == counted
    server.advance()
    play_round(device, server)
    assert list(server.counted) == [*counted, 1], "the next round begins with a clean slate"
