"""What one connection needs: order, acknowledgement, retained messages, wills, sizes, taking over, coming back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from gossamer.errors import BrokerRefused, BrokerUnreachable
from gossamer.mqtt import MqttLink, Will
from gossamer.wire.limits import DEFAULT_CHUNK_BYTES, MAX_CHUNK_BYTES, MAX_MESSAGE_BYTES
from gossamer.wire.topics import Topics
from tests.brokers import EVERY_BROKER, Listening
from tests.test_mqtt import Recorder, pump

pytestmark = pytest.mark.parametrize("kind", EVERY_BROKER, indirect=True)

_numbers = itertools.count()
SECONDS = 20.0
#: NATS and RabbitMQ translate topics into names of their own, in which a dot divides levels.
DOTS_DIVIDE = ("nats", "rabbitmq")
#: amqtt sometimes publishes the will after a goodbye too, and leaves the older connection of a client open. Neither
#: costs more than a device that is shown as offline for a moment: whether it is there its next message says.
WILL_AFTER_GOODBYE = KEEPS_OLDER = ("embedded",)

Join = Callable[..., tuple[MqttLink, Recorder]]


@pytest.fixture
def base() -> str:
    """A level that no other test's topics have."""
    return f"conf{next(_numbers)}"


@pytest.fixture
def join(broker: Listening, base: str) -> Iterator[Join]:
    """Connects a client and subscribes it, and waits until it is."""
    links: list[MqttLink] = []

    def connect(name: str, *filters: str, manual_ack: bool = False, **settings: Any) -> tuple[MqttLink, Recorder]:
        seen = Recorder()
        links.append(MqttLink(broker.settings(f"{base}-{name}", **settings), seen, manual_ack=manual_ack))
        links[-1].connect()
        if filters:
            subscribed(links[-1], *filters)
        return links[-1], seen

    yield connect
    for link in links:
        link.disconnect()


def subscribed(link: MqttLink, *filters: str) -> None:
    """Subscribe, and wait for the answer: SUBACK is what comes next."""
    before = link.account().down["subscribe"]
    link.subscribe(*filters)
    pump(link, lambda: link.account().down["subscribe"] > before, SECONDS)


def payloads(seen: Recorder, base: str) -> list[bytes]:
    """What came on this test's topics: amqtt sends retained messages of others to a filter with a wildcard."""
    return [event[2] for event in seen.events if event[0] == "message" and event[1].startswith(f"{base}/")]


def acknowledged(link: MqttLink) -> None:
    """Wait until the broker has everything."""
    pump(link, lambda: not link.unacknowledged and not link.wants_write(), SECONDS)


def test_there_and_back_in_order(join: Join, base: str) -> None:
    link, seen = join("a", f"{base}/u/+/+")
    sent = [bytes([n]) * 100 for n in range(60)]
    mids = [link.publish(f"{base}/u/9a/d", payload) for payload in sent]
    pump(link, lambda: len(payloads(seen, base)) == len(sent) and not link.unacknowledged, SECONDS)
    assert payloads(seen, base) == sent
    assert sorted(event[1] for event in seen.events if event[0] == "puback") == sorted(mids)
    link.unsubscribe(f"{base}/u/+/+")
    acknowledged(link)


@pytest.mark.parametrize("size", [0, 1, DEFAULT_CHUNK_BYTES, MAX_CHUNK_BYTES, MAX_MESSAGE_BYTES])
def test_messages_of_every_size_the_wire_has(join: Join, base: str, size: int) -> None:
    link, seen = join("a", f"{base}/a")
    payload = bytes(n % 251 for n in range(size))
    link.publish(f"{base}/a", payload)
    link.publish(f"{base}/a", b"end")
    pump(link, lambda: b"end" in payloads(seen, base), SECONDS)
    assert payloads(seen, base) == [payload, b"end"]


def test_the_last_retained_message_comes_to_who_subscribes_later(join: Join, base: str) -> None:
    bridge, _ = join("bridge")
    for payload in (b"round 1", b"round 2"):
        bridge.publish(f"{base}/m", payload, retain=True)
    acknowledged(bridge)
    for device, seen in (join("a", f"{base}/m"), join("b", f"{base}/m")):
        pump(device, lambda seen=seen: payloads(seen, base), SECONDS)
        assert set(payloads(seen, base)) == {b"round 2"}  # amqtt sends it to every client that subscribes, again


def test_a_will_is_published_unless_there_was_a_goodbye(join: Join, base: str, kind: str) -> None:
    watcher, watched = join("watcher", f"{base}/s/+")
    for number, ending in enumerate((MqttLink.abort, MqttLink.disconnect, MqttLink.abort)):
        will = Will(f"{base}/s/d", b"gone %d" % number)
        link, _ = join(f"d{number}", will=will)
        ending(link, *(("cut",) if ending is MqttLink.abort else ()))
    expected = {b"gone 0", b"gone 2"}
    pump(watcher, lambda: expected <= set(payloads(watched, base)), SECONDS)
    more = [b"gone 1"] if kind in WILL_AFTER_GOODBYE else []
    assert sorted(payloads(watched, base)) in (sorted(expected), sorted([*expected, *more]))


def test_one_who_acknowledges_late_gets_everything_once(join: Join, base: str) -> None:
    """As the bridge does: it acknowledges after its own commit, in batches."""
    bridge, seen = join("bridge", f"{base}/u/+/+", manual_ack=True, clean=False)
    device, _ = join("device")
    sent = [b"%d" % n for n in range(150)]
    for payload in sent:
        device.publish(f"{base}/u/01/d", payload)
    acknowledged(device)
    done = 0

    def commit() -> bool:
        nonlocal done
        messages = [event for event in seen.events if event[0] == "message"]
        for event in messages[done:]:
            bridge.ack(event[3])
        done = len(messages)
        return len(payloads(seen, base)) >= len(sent)

    pump(bridge, commit, SECONDS)
    assert payloads(seen, base) == sent


def test_subscribing_again_to_a_kept_session_doubles_nothing(join: Join, base: str) -> None:
    link, seen = join("bridge", f"{base}/u/+/+", manual_ack=True, clean=False)
    link.abort("cut")
    link.connect()
    subscribed(link, f"{base}/u/+/+")
    for payload in (b"one", b"end"):
        link.publish(f"{base}/u/01/d", payload)
    pump(link, lambda: b"end" in payloads(seen, base), SECONDS)
    assert payloads(seen, base) == [b"one", b"end"]


def test_the_newer_connection_of_a_client_takes_over(join: Join, base: str, kind: str) -> None:
    """A device that lost its link without a word comes back long before the broker has noticed."""
    older, seen = join("d", f"{base}/a")
    newer, heard = join("d", f"{base}/a")
    if kind not in KEEPS_OLDER:
        pump(older, lambda: not older.is_connected, SECONDS)
        assert seen.names()[-1] == "disconnected"
    newer.publish(f"{base}/a", b"still there")
    pump(newer, lambda: payloads(heard, base), SECONDS)
    assert payloads(heard, base) == [b"still there"]


@pytest.mark.parametrize("device", ["pump-17", "urn:dev:mac:0024befffe804ff1", "a_b@c", "a.b"])
def test_names_of_devices_come_as_they_are(join: Join, base: str, kind: str, device: str) -> None:
    topics = Topics("f", f"{base}/{{kind}}", f"{base}/{{kind}}/{{bucket}}/{{device}}")
    bridge, seen = join("bridge", topics.subscription("u"))
    link, _ = join("d")
    link.publish(topics.device_topic("u", device), b"hello")
    pump(link, lambda: not link.is_connected or not link.unacknowledged, SECONDS)
    if "." in device and kind in DOTS_DIVIDE:
        assert not payloads(seen, base) or topics.parse(seen.events[-1][1]) is None
        return
    pump(bridge, lambda: payloads(seen, base), SECONDS)
    parts = topics.parse(seen.events[-1][1])
    assert parts is not None
    assert parts.device == device


def test_a_version_of_mqtt_that_it_does_not_speak_is_refused_in_words(broker: Listening, base: str) -> None:
    link = MqttLink(replace(broker.settings(f"{base}-5"), protocol="5", connect_timeout_seconds=5.0), Recorder())
    try:
        link.connect()
    except (BrokerRefused, BrokerUnreachable) as error:
        assert str(broker.port) in str(error)  # noqa: PT017 - both endings are right
    else:
        link.disconnect()


def test_it_is_killed_and_started_again(join: Join, broker: Listening, base: str) -> None:
    link, seen = join("d", f"{base}/a")
    broker.kill()
    pump(link, lambda: not link.is_connected, SECONDS)
    assert seen.names()[-1] == "disconnected"
    with pytest.raises(BrokerUnreachable):
        link.publish(f"{base}/a", b"lost")
    broker.start()
    link.connect()
    subscribed(link, f"{base}/a")
    link.publish(f"{base}/a", b"after")
    pump(link, lambda: payloads(seen, base), SECONDS)
    assert payloads(seen, base) == [b"after"]
