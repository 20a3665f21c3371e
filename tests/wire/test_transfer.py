"""The two machines, event by event: cuts, crashes, gaps, time, and every entry of the tables."""

import random
import re

import pytest

from gossamer.errors import InputError, Refused
from gossamer.wire import limits
from gossamer.wire.ids import object_id
from gossamer.wire.messages import Chunk, Code, Kind, Offer, Query, Reason, Receipt, Status, parse
from gossamer.wire.transfer import (
    Discard,
    Done,
    Keep,
    Need,
    Receiver,
    ReceiverState,
    Reject,
    Sender,
    SenderState,
    chunk_bytes_for,
    chunk_count,
    states,
)
from tests.wire.bridge_model import Bridge
from tests.wire.fake_link import FakeLink

BODY = bytes(range(100))
ID = object_id(BODY)


def upload(body=BODY, chunk_bytes=10, **settings):
    return Sender(object_id(body), Kind.UPDATE, body, b"signed", chunk_bytes, status_timeout=10, **settings)


def sent(outputs):
    """Shorthand: the chunk's index, or the name of the message."""
    return [o.message.index if isinstance(o.message, Chunk) else type(o.message).__name__ for o in outputs]


def missing(*indices, name=ID):
    return Status(name, Code.MISSING, indices)


# --- geometry


@pytest.mark.parametrize("size", [1, 3_999, 4_000, 4_001, 8_001, 123_456, limits.MAX_OBJECT_BYTES])
@pytest.mark.parametrize("limit", [2_048, 4_000, limits.MAX_CHUNK_BYTES])
def test_chunks_are_few_and_even(size, limit):
    even = chunk_bytes_for(size, limit)
    count = chunk_count(size, even)
    assert count == -(-size // limit)
    assert even <= limit
    assert chunk_bytes_for(size, even) == even
    assert 0 < size - (count - 1) * even <= even


@pytest.mark.parametrize(("size", "limit"), [(0, 1), (1, 0), (1, 16_385), (8_193, 1), ((1 << 24) + 1, 4_000)])
def test_impossible_geometry(size, limit):
    with pytest.raises(InputError):
        chunk_bytes_for(size, limit)


# --- the sender


def test_a_tiny_object_is_one_message():
    sender = upload(b"tiny")
    (only,) = sender.start(0)
    assert only.message == Offer(object_id(b"tiny"), Kind.UPDATE, 4, 4, b"signed", b"tiny")
    assert sender.puback(only.token, 1) == []
    assert not sender.done
    sender.status(Status(object_id(b"tiny"), Code.COUNTED), 2)
    assert sender.done
    assert sender.outcome is Code.COUNTED
    assert sender.next_deadline(2) is None


def test_the_window_and_the_order():
    sender = upload(window=3)
    first = sender.start(0)
    assert sent(first) == ["Offer", 0, 1, 2]
    assert sent(sender.puback(first[0].token, 1)) == []  # the offer is not a chunk
    assert sent(sender.puback(first[1].token, 1)) == [3]
    assert sent(sender.puback(first[1].token, 1)) == []  # the same again
    assert sent(sender.puback(first[3].token, 1)) == [4]
    assert sent(sender.puback(9_999, 1)) == []


def run(sender, steps=10_000):
    """Acknowledge everything at once; returns what was sent."""
    log, queue = [], sender.start(0)
    while queue:
        log += sent(queue[:1])
        queue = queue[1:] + sender.puback(queue[0].token, 0)
    return log


def test_all_goes_out_once_and_then_it_waits():
    sender = upload()
    assert run(sender) == ["Offer", *range(10)]
    assert sender.state is SenderState.WAITING


def test_gaps_are_filled_and_nothing_else():
    sender = upload()
    run(sender)
    assert sent(sender.status(missing(2, 7), 1)) == [2, 7]
    assert sent(sender.status(missing(2, 7), 1)) == []  # still in flight
    assert sent(sender.status(missing(99), 1)) == []
    assert sent(sender.status(missing(1, name=bytes(8)), 1)) == []


def test_a_gap_reported_while_sending_is_old_news():
    sender = upload(window=2)
    sender.start(0)
    assert sender.status(missing(0, 1), 0) == []


def test_silence_brings_a_question_with_growing_patience():
    sender = upload()
    run(sender)
    deadlines, now = [], 0.0
    for _ in range(6):
        assert sender.tick(sender.next_deadline(now) - 0.1) == []
        deadlines.append(sender.next_deadline(now) - now)
        now = sender.next_deadline(now)
        assert sent(sender.tick(now)) == ["Query"]
    assert deadlines == [10, 10, 20, 40, 80, 80]
    assert sender.unanswered == 6
    assert sent(sender.status(missing(3), now)) == [3]
    assert sender.unanswered == 0
    assert sender.next_deadline(now) == now + 10


def test_silence_while_sending_asks_too():
    sender = upload(window=2)
    sender.start(0)
    assert sent(sender.tick(10)) == ["Query"]
    assert sent(sender.status(missing(1, 2, 3), 11)) == [1, 2]


def test_after_a_cut_it_asks_and_sends_only_what_is_missing():
    sender = upload(window=4)
    first = sender.start(0)
    sender.puback(first[1].token, 0)
    sender.disconnected(1)
    assert sender.next_deadline(1) is None
    assert sender.puback(first[2].token, 2) == []
    assert sender.tick(100) == []
    assert sent(sender.connected(100)) == ["Query"]
    assert sent(sender.status(missing(3, 4, 5, 6, 7, 8, 9), 101)) == [3, 4, 5, 6]


def test_an_object_nobody_knows_is_offered_again():
    sender = upload(window=1)
    assert sent(sender.connected(0)) == ["Query"]  # not started in this life: it resumes
    assert sent(sender.status(missing(), 1)) == ["Offer", 0]


def test_a_tiny_object_is_offered_again_whatever_is_missing():
    sender = upload(b"tiny")
    sender.start(0, resumed=True)
    assert sent(sender.status(missing(0, name=object_id(b"tiny")), 1)) == ["Offer"]


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(c, c) for c in Code if c is not Code.MISSING] + [(r, r) for r in Reason] + [(250, Reason.UNSPECIFIED)],
)
@pytest.mark.parametrize("prepare", ["new", "sending", "waiting", "asking", "cut"])
def test_verdicts_end_it_at_any_time(code, outcome, prepare):
    sender = upload(window=2)
    if prepare != "new":
        sender.start(0, resumed=prepare == "asking")
    if prepare == "waiting":
        sender = upload()
        run(sender)
    if prepare == "cut":
        sender.disconnected(0)
    assert sender.status(Status(ID, code), 1) == []
    assert sender.outcome == outcome
    assert sender.done
    assert sender.connected(2) == sender.tick(1_000) == sender.status(missing(1), 2) == []
    sender.status(Status(ID, Code.CLOSED), 3)
    assert sender.outcome == outcome  # the first word counts


def test_codes_of_later_versions_end_nothing():
    sender = upload()
    sender.start(0)
    sender.status(Status(ID, 9), 1)
    assert not sender.done


def test_a_receipt_ends_it_with_the_version():
    sender = upload()
    sender.start(0, resumed=True)
    sender.receipt(Receipt(bytes(8), 5), 1)
    assert not sender.done
    sender.receipt(Receipt(ID, 13), 1)
    assert (sender.outcome, sender.version) == (Code.COUNTED, 13)


def test_a_peer_cannot_make_it_send_for_ever():
    sender = upload()
    log = run(sender)
    for now in range(1_000):
        queue = sender.status(missing(*range(10)), now)
        while queue:
            log += sent(queue[:1])
            queue = queue[1:] + sender.puback(queue[0].token, now)
    assert sender.state is SenderState.SPENT
    assert sender.done
    assert sender.outcome is None
    assert len(log) == sender.sends == limits.SENDS_PER_CHUNK * 10 + limits.SPARE_SENDS
    sender.status(Status(ID, Code.COUNTED), 2_000)
    assert sender.outcome is Code.COUNTED


def test_settings_and_order_of_calls_are_checked():
    for build in (
        lambda: upload(window=0),
        lambda: upload(window=65),
        lambda: Sender(ID, Kind.UPDATE, BODY, status_timeout=0),
        lambda: Sender(ID, Kind.UPDATE, b""),
        lambda: Receiver(Offer(ID, Kind.DELTA, 1, 1, b"", b""), patience=0),
    ):
        with pytest.raises(InputError):
            build()
    sender = upload()
    sender.start(0)
    with pytest.raises(InputError):
        sender.start(0)
    with pytest.raises(InputError):
        sender.resend((1,), 0)


# --- a download: nobody confirms


def download(**settings):
    return Sender(ID, Kind.SNAPSHOT, BODY, b"", 10, status_timeout=10, confirm=False, **settings)


def test_a_download_ends_when_the_broker_has_it():
    sender = download()
    assert run(sender) == ["Offer", *range(10)]
    assert sender.state is SenderState.DONE
    assert sender.outcome is None


def test_a_download_goes_on_after_a_cut_with_what_was_in_flight():
    sender = download(window=3)
    first = sender.start(0)
    sender.puback(first[0].token, 0)
    sender.puback(first[1].token, 0)
    sender.disconnected(1)
    assert sender.resend((1, 9), 1) == []  # queued already
    assert sent(sender.connected(2)) == [1, 2, 3]


def test_a_download_does_not_wait_for_a_broker_that_forgot():
    sender = download(window=5)
    sender.start(0)
    assert sent(sender.tick(10)) == [5, 6, 7, 8, 9]
    sender.tick(20)
    assert sender.done


def test_what_a_device_missed_is_sent_again():
    sender = download()
    assert sent(sender.resend((3,), 0))[0] == "Offer"  # never started: all of it
    sender = download()
    run(sender)
    assert sent(sender.resend((3, 4), 1)) == [3, 4]
    assert sent(sender.resend((4, 5), 1)) == [5]
    sender = download()
    run(sender)
    assert sent(sender.resend((), 1)) == ["Offer", 0, 1, 2, 3]
    assert sender.status(Status(ID, Code.COUNTED), 1) == []
    assert not sender.done


def test_a_download_is_not_resent_for_ever_in_one_go():
    sender = download(window=1)
    sender.start(0)
    now = 0.0
    for _ in range(500):
        now += 10
        sender.resend(tuple(range(10)), now)
        sender.tick(now)
    assert sender.state is SenderState.SPENT
    assert sender.resend((1,), now) == []


# --- the receiver


def offer(body=BODY, chunk_bytes=10, inline=False):
    return Offer(object_id(body), Kind.UPDATE, len(body), chunk_bytes, b"", body if inline else b"")


def chunk(index, body=BODY, chunk_bytes=10, name=None):
    data = body[index * chunk_bytes : (index + 1) * chunk_bytes]
    return Chunk(name or object_id(body), index, data)


def test_chunks_in_order():
    receiver = Receiver(offer())
    assert receiver.start(0) == []
    for index in range(9):
        assert receiver.chunk(chunk(index), 0) == [Keep(index, chunk(index).data)]
    assert receiver.chunk(chunk(9), 0) == [Keep(9, chunk(9).data), Done(BODY)]
    assert receiver.done
    assert receiver.missing == ()
    assert receiver.chunk(chunk(9), 0) == receiver.query(0) == receiver.tick(0) == receiver.offered(offer(), 0) == []


def test_an_object_inside_its_offer():
    assert Receiver(offer(b"tiny", 4, inline=True)).start(0) == [Done(b"tiny")]
    assert Receiver(offer(b"tiny", 4, inline=True)).tick(0) == [Done(b"tiny")]


def test_the_last_chunk_shows_the_gaps():
    receiver = Receiver(offer())
    for index in (0, 1, 3, 4, 6, 7, 8):
        receiver.chunk(chunk(index), 0)
    assert receiver.chunk(chunk(9), 0) == [Keep(9, chunk(9).data), Need((2, 5))]
    assert receiver.chunk(chunk(9), 0) == []  # a duplicate
    assert receiver.chunk(chunk(5), 0) == [Keep(5, chunk(5).data), Need((2,))]
    assert receiver.chunk(chunk(2), 0)[-1] == Done(BODY)


def test_it_goes_on_from_what_was_durable():
    durable = {index: chunk(index).data for index in range(0, 10, 2)}
    receiver = Receiver(offer(), durable | {3: b"short", 77: b"x"})
    assert receiver.query(0) == [Need((1, 3, 5, 7, 9))]
    whole = {index: chunk(index).data for index in range(10)}
    assert Receiver(offer(), whole).start(0) == [Done(BODY)]
    assert Receiver(offer(), whole).query(0) == [Done(BODY)]


def test_a_wrong_body_is_thrown_away_and_in_the_end_rejected():
    receiver = Receiver(offer(b"abcd", 2))
    wrong = Chunk(object_id(b"abcd"), 1, b"xx")
    for bad in range(limits.MAX_BAD_BODIES):
        assert receiver.chunk(chunk(0, b"abcd", 2), 0)[0] == Keep(0, b"ab")
        outputs = receiver.chunk(wrong, 0)
        if bad < limits.MAX_BAD_BODIES - 1:
            assert outputs == [Keep(1, b"xx"), Discard(), Need((0, 1))]
    assert outputs == [Keep(1, b"xx"), Discard(), Reject(Reason.WRONG_OBJECT)]
    assert receiver.state is ReceiverState.REJECTED
    assert receiver.chunk(wrong, 0) == []


def test_a_wrong_body_inside_an_offer():
    lie = Offer(object_id(b"abcd"), Kind.UPDATE, 4, 4, b"", b"abcx")
    assert Receiver(lie).start(0) == [Discard(), Need((0,))]


@pytest.mark.parametrize("wrong", [Chunk(ID, 10, b"x" * 10), Chunk(ID, 0, b"x" * 9), Chunk(ID, 9, b"x" * 11)])
def test_a_chunk_that_does_not_fit_is_refused_and_casts_doubt_on_the_offer(wrong):
    receiver = Receiver(offer())
    with pytest.raises(Refused) as refusal:
        receiver.chunk(wrong, 0)
    assert refusal.value.reason == "malformed"
    assert receiver.query(0) == [Need(())]
    assert receiver.query(0) == [Need(tuple(range(10)))]


def test_chunks_of_other_objects_are_ignored():
    receiver = Receiver(offer())
    assert receiver.chunk(chunk(0, name=bytes(8)), 0) == []
    assert receiver.offered(offer(b"other"), 0) == []


def test_the_same_offer_again_tells_what_is_missing():
    receiver = Receiver(offer())
    assert receiver.offered(offer(), 0) == []  # nothing here yet: the chunks follow by themselves
    receiver.chunk(chunk(0), 0)
    assert receiver.offered(offer(), 0) == [Need(tuple(range(1, 10)))]


def test_another_cut_starts_from_nothing():
    receiver = Receiver(offer())
    receiver.chunk(chunk(0), 0)
    assert receiver.offered(offer(chunk_bytes=50), 0) == [Discard()]
    receiver.chunk(chunk(0, chunk_bytes=50), 0)
    assert receiver.chunk(chunk(1, chunk_bytes=50), 0)[-1] == Done(BODY)
    receiver = Receiver(offer())
    receiver.chunk(chunk(0), 0)
    assert receiver.offered(offer(chunk_bytes=100, inline=True), 0) == [Discard(), Done(BODY)]


def test_a_patient_receiver_speaks_first():
    receiver = Receiver(offer(), patience=10)
    receiver.start(0)
    assert receiver.next_deadline(0) == 10
    assert receiver.tick(9) == []
    assert receiver.tick(10) == [Need(tuple(range(10)))]
    assert receiver.next_deadline(10) == 30
    receiver.chunk(chunk(0), 25)
    assert receiver.next_deadline(25) == 35
    assert Receiver(offer()).next_deadline(0) is None


# --- both, over the link


def step(sender, link, bridge, acknowledge_first, log=None):
    def puback():
        token = link.puback()
        return [] if token is None else sender.puback(token, 0)

    def arrive():
        data = link.up.pop()
        for reply in bridge.take(data, 0) if data is not None else []:
            link.reply(reply.serialize())
        data = link.down.pop()
        return [] if data is None else sender.status(parse(data), 0)

    for event in (puback, arrive) if acknowledge_first else (arrive, puback):
        publish(link, event(), log)


def publish(link, sends, log=None):
    for send in sends:
        link.publish(send.message.serialize(), send.token)
        if log is not None and isinstance(send.message, Chunk):
            log.append(send.message.index)


@pytest.mark.parametrize("acknowledge_first", [True, False])
@pytest.mark.parametrize("window", [1, 4])
@pytest.mark.parametrize("chunks", [1, 2, 10])
def test_after_a_cut_anywhere_only_chunks_in_flight_are_sent_again(chunks, window, acknowledge_first):
    body = BODY[: 10 * chunks]
    for moment in range(25):
        for survivors in range(window + 1):
            link, bridge, published = FakeLink(), Bridge(), []
            sender = upload(body, window=window)
            publish(link, sender.start(0), published)
            in_flight = 0
            for at in range(200):
                if at == moment:
                    in_flight = sum(index >= 0 for index in sender._in_flight.values())
                    link.cut(survivors)
                    sender.disconnected(0)
                    while len(link.up):  # what the broker has arrives while the device is away
                        bridge.take(link.up.pop(), 0)
                    link.connect()
                    publish(link, sender.connected(0), published)
                step(sender, link, bridge, acknowledge_first, published)
            assert sender.outcome in (Code.COUNTED, Code.ALREADY)
            assert bridge.delivered == [body]
            assert len(published) <= (chunks if chunks > 1 else 0) + in_flight


@pytest.mark.parametrize("steps", range(5))
@pytest.mark.parametrize("moment", range(0, 12, 2))
def test_a_receiver_killed_at_any_step_goes_on_from_its_disk(moment, steps):
    link, bridge = FakeLink(), Bridge()
    sender = upload(window=4)
    publish(link, sender.start(0))
    now = 0.0
    for at in range(60):
        if at == moment:
            bridge.steps_to_crash = steps
        step(sender, link, bridge, acknowledge_first=True)
        if at == 40 and not sender.done:
            now = sender.next_deadline(now)
            publish(link, sender.tick(now))
    assert sender.outcome in (Code.COUNTED, Code.ALREADY)
    assert bridge.delivered == [BODY]
    assert sender.sends <= 12


def test_a_sender_killed_at_any_step_asks_first():
    for moment in range(14):
        link, bridge = FakeLink(), Bridge()
        sender = upload(window=4)
        publish(link, sender.start(0))
        sends = 0
        for at in range(60):
            if at == moment:
                sends = sender.sends
                link.cut(2)
                link.connect()
                sender = upload(window=4)
                publish(link, sender.start(0, resumed=True))
            step(sender, link, bridge, acknowledge_first=False)
        assert sender.outcome in (Code.COUNTED, Code.ALREADY)
        assert bridge.delivered == [BODY]
        assert sends + sender.sends <= 2 + 10 + 4


@pytest.mark.parametrize("seed", range(8))
def test_a_broadcast_reaches_every_device_in_spite_of_losses(seed):
    rng = random.Random(seed)
    body = rng.randbytes(300)
    sender = Sender(object_id(body), Kind.SNAPSHOT, body, chunk_bytes=10, confirm=False, status_timeout=10)
    receivers = [Receiver(offer(body, 10), patience=20) for _ in range(3)]
    bodies = [[] for _ in receivers]
    now, queue, heard = 0.0, sender.start(0), 0
    for receiver in receivers:
        receiver.start(0)
    while not all(receiver.done for receiver in receivers):
        assert now < 1_000
        while queue:
            send, queue = queue[0], queue[1:]
            queue += sender.puback(send.token, now)
            for receiver, got in zip(receivers, bodies, strict=True):
                if isinstance(send.message, Chunk) and rng.random() > 0.2:
                    heard += 1
                    outputs = receiver.chunk(send.message, now)
                    got += [o.body for o in outputs if isinstance(o, Done)]
                    for need in (o for o in outputs if isinstance(o, Need)):
                        queue += sender.resend(need.missing, now)
        now += 5
        for receiver in receivers:
            for need in receiver.tick(now):
                queue += sender.resend(need.missing, now)
    assert bodies == [[body]] * 3
    assert heard < 30 * 3 * 3


# --- the tables


def test_every_state_is_reached_and_the_drawing_names_all_of_it():
    assert set(states.SENDER.values()) == set(SenderState) - {SenderState.NEW}
    assert {event for _, event in states.SENDER} == set(states.SenderEvent)
    assert set(states.RECEIVER.values()) == set(ReceiverState)
    for member in (*SenderState, *states.SenderEvent, *ReceiverState, *states.ReceiverEvent):
        assert re.search(rf"\b{member.name}\b", states.__doc__), member


def test_every_live_state_listens_to_a_verdict():
    for state in set(SenderState) - {SenderState.DONE}:
        assert states.SENDER[state, states.SenderEvent.VERDICT] is SenderState.DONE


def test_a_query_is_all_that_is_repeated_in_silence():
    sender = upload()
    run(sender)
    now = 0.0
    for _ in range(50):
        now = sender.next_deadline(now)
        assert [type(s.message) for s in sender.tick(now)] == [Query]
    assert now > 50 * 70
