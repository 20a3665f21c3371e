"""Whole rounds over every broker, the real server and real agents: killed in mid-upload, and with nothing retained."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.agent.store import read_ledger
from gossamer.mqtt import MqttLink
from gossamer.wire.topics import Topics
from tests.brokers import BROKERS, Listening, mosquitto
from tests.lab import small_fleet
from tests.lab.relay import relay
from tests.test_mqtt import Recorder, pump

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

CHUNK = 256
#: 12,003 weights at 8 bits: some 47 chunks, of which half pass before the broker dies.
JOB = {"rounds": 2, "codec_up": "q8", "codec_down": "q8"}
OPTIONS = {"d": 12_000}
HOLD_AFTER = 9_000
every_kind = pytest.mark.parametrize("kind", [name for name in BROKERS if name != "mosquitto-tls"], indirect=True)


def make(path: Path, broker: Listening, name: str) -> small_fleet.SmallFleet:
    """The same job, under a name that nothing on the shared broker has."""
    topics = Topics(name)
    return small_fleet.make(path, broker, topics=topics, options=OPTIONS, agent={"chunk_bytes": CHUNK}, **JOB)


def run_to_the_end(fleet: small_fleet.SmallFleet) -> str:
    fleet.wait(fleet.finished)
    return fleet.digest()


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model of an undisturbed run."""
    path = tmp_path_factory.mktemp("undisturbed")
    with mosquitto(path / "broker") as broker:
        fleet = make(path, broker, "calm")
        with small_fleet.running(fleet):
            return run_to_the_end(fleet)


@every_kind
def test_the_broker_is_killed_in_mid_upload(tmp_path: Path, broker: Listening, expected: str) -> None:
    fleet = make(tmp_path, broker, "killed")
    slow, other = fleet.devices
    with relay(broker.port, HOLD_AFTER) as between:
        config = fleet.files.device(slow)
        config.write_text(config.read_text().replace(f"port = {broker.port}", f"port = {between.port}"))
        with small_fleet.running(fleet):
            fleet.wait(lambda: between.held.is_set() and (0, other) in counted(fleet))
            fleet.wait(lambda: fleet.chunks_on_disk(slow) > 0)
            there = fleet.chunks_on_disk(slow)
            assert (0, slow) not in counted(fleet)
            broker.kill()
            between.cut()
            broker.start()
            assert run_to_the_end(fleet) == expected
    assert counted(fleet) == [(round_, device) for round_ in range(2) for device in fleet.devices]
    assert fleet.rejected() == {}
    sent = read_ledger(tmp_path / f"agent-{slow}").counters["up_body_bytes"]
    bodies = read_ledger(tmp_path / f"agent-{slow}").counters["body_bytes_up"]
    print(f"{there} chunks were on disk; sent twice: {sent - bodies} of {bodies} bytes")
    assert sent - bodies < there * CHUNK, "it went on where it was"


@every_kind
def test_nothing_is_retained(tmp_path: Path, broker: Listening, expected: str) -> None:
    """A device that finds no manifest asks for it."""
    fleet = make(tmp_path, broker, "quiet")
    config = fleet.files.config
    config.write_text(config.read_text().replace("[broker]\n", "[broker]\nretain = false\n"))
    try:
        fleet.serve()
        fleet.wait(lambda: b"connected to" in fleet.log("server").read_bytes())
        late = MqttLink(broker.settings("late"), seen := Recorder())
        late.connect()
        late.subscribe("g1/quiet/+", "fence")
        late.publish("fence", b"end")
        pump(late, lambda: b"end" in seen.payloads(), 30.0)
        late.disconnect()
        for name in fleet.devices:
            fleet.agent(name)
        assert run_to_the_end(fleet) == expected
    finally:
        fleet.stop()
    assert not [event for event in seen.events if event[0] == "message" and event[1] == "g1/quiet/m"]


def counted(fleet: small_fleet.SmallFleet) -> list[tuple[int, str]]:
    return [(round_, device) for round_, device, _ in fleet.counted()]
