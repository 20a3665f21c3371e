"""A fleet keeps the names its broker has: a round over each, Mosquitto letting everybody onto their own topics only."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.agent.config import load
from gossamer.broker import free_port
from gossamer.mqtt import MqttLink
from tests.brokers import Listening, mosquitto
from tests.lab import small_fleet
from tests.lab.namings import NAMINGS
from tests.test_mqtt import Recorder, pump

pytestmark = [pytest.mark.system, pytest.mark.timeout(200)]
#: Larger than a chunk: the model comes on the topic that all share, the updates in pieces.
OPTIONS = {"d": 12_000}


@pytest.mark.parametrize("naming", sorted(NAMINGS.keys() - {"default"}))
def test_a_round_with_accounts(tmp_path: Path, naming: str) -> None:
    topics, port = NAMINGS[naming], free_port()
    fleet = small_fleet.make(
        tmp_path, Listening(port), topics=topics, accounts=True, options=OPTIONS, rounds=2, cohorts=1, codec_up="q8",
        codec_down="q8", names=("pump-1", "urn:dev:mac:0024befffe804ff1"),
    )  # fmt: skip
    assert all(load(fleet.files.device(name), {}).wire_topics() == topics for name in fleet.devices)
    accounts = {"password_file": fleet.files.passwords, "acl_file": fleet.files.rules}
    with mosquitto(tmp_path / "broker", port=port, **accounts), small_fleet.running(fleet):
        fleet.wait(fleet.finished)
    assert [(round_, device) for round_, device, _ in fleet.counted()] == [
        (round_, device) for round_ in range(2) for device in fleet.devices
    ]
    assert fleet.rejected() == {}


def test_a_round_over_a_broker_that_refuses_retained_messages(tmp_path: Path) -> None:
    """Such a broker closes the connection of a client that asks for one to be retained."""
    with mosquitto(tmp_path / "broker", lines=("retain_available false",)) as broker:
        refused = MqttLink(broker.settings("x"), Recorder())
        refused.connect()
        refused.publish("g1/t/m", b"x", retain=True)
        pump(refused, lambda: not refused.is_connected)
        fleet = small_fleet.make(tmp_path, broker, options=OPTIONS, rounds=2, codec_up="q8", codec_down="q8")
        for config in (fleet.files.config, *map(fleet.files.device, fleet.devices)):
            config.write_text(config.read_text().replace("[broker]\n", "[broker]\nretain = false\n"))
        with small_fleet.running(fleet):
            fleet.wait(fleet.finished)
    assert len(fleet.counted()) == 4


def test_the_longest_naming_is_one_that_aws_takes() -> None:
    """8 levels and 256 bytes, whatever the device is called."""
    topics = NAMINGS["aws"]
    longest = [topics.device_topic("u", "d" * 64), topics.shared_topic("m")]
    assert {topic.count("/") for topic in longest} == {7}
    assert all(len(topic) <= 256 for topic in longest)
