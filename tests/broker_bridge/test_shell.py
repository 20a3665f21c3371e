"""The asyncio shell: a broker that is slow to acknowledge, and one that refuses for a while."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from gossamer.broker import free_port
from gossamer.broker_bridge import shell
from gossamer.broker_bridge.actions import Publish
from gossamer.broker_bridge.bridge import Bridge
from gossamer.broker_bridge.settings import BridgeSettings
from gossamer.broker_bridge.shell import BridgeShell
from gossamer.errors import BrokerRefused
from gossamer.fleet.enrolment import BrokerAddress, init_fleet
from gossamer.fleet.server_files import ServerFiles
from gossamer.mqtt import MqttSettings
from gossamer.mqtt.account import ByteAccount
from gossamer.wire.messages import Get, Query, Status, parse
from tests.aggregator.fleets import Fleet
from tests.broker_bridge.desk import TOPICS
from tests.broker_bridge.test_server import run_clients, server
from tests.brokers import Listening, mosquitto

ACCEPTED = b"\x20\x02\x00\x00"
NOT_AUTHORIZED = b"\x20\x02\x00\x05"


class Link:
    """A connection whose broker acknowledges when the test says so."""

    is_connected = True

    def __init__(self) -> None:
        self.unacknowledged = 0
        self.published: list[tuple[str, bytes]] = []
        self.acknowledged: list[int] = []

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> int:
        self.unacknowledged += 1
        self.published.append((topic, payload))
        return len(self.published)

    def ack(self, token: int) -> None:
        self.acknowledged.append(token)

    def tick(self) -> None: ...

    def account(self) -> ByteAccount:
        return ByteAccount()

    def fileno(self) -> int:
        return -1


def make(path: Path) -> tuple[BridgeShell, Link, Fleet]:
    fleet = Fleet.make(path)
    fleet.step()
    settings = BridgeSettings(TOPICS, coalesce_seconds=0.0)
    made: Any = BridgeShell(Bridge(fleet.store, settings), MqttSettings("bridge"))
    made._link = link = Link()
    return made, link, fleet


def test_a_broker_that_does_not_acknowledge_holds_up_model_objects_and_nothing_else(tmp_path: Path) -> None:
    made, link, fleet = make(tmp_path / "s.db")
    topic = TOPICS.device_topic("u", "d1")
    wanted = fleet.manifest().ways[0].object_id

    async def main() -> None:
        link.unacknowledged = shell.MAX_UNACKNOWLEDGED
        made.message(topic, Get(wanted).serialize(), 1)
        made.message(topic, Query(b"12345678").serialize(), 2)
        made._turn()
        assert link.acknowledged == [1, 2]
        assert isinstance(parse(link.published[0][1]), Status)
        assert all(to != TOPICS.device_topic("a", "d1") for to, _ in link.published[1:])
        began = time.monotonic()
        await made._pause(asyncio.Event())  # the download is due, but not now, and now, and now
        assert time.monotonic() - began > 0.1
        link.unacknowledged = shell.MAX_UNACKNOWLEDGED_ANSWERS
        before = len(link.published)
        made.message(topic, Query(b"12345678").serialize(), 3)
        made._turn()
        assert (link.acknowledged, len(link.published)) == ([1, 2, 3], before)  # it asks again
        made._act([Publish("state", b"", retain=True)])
        assert link.published.pop() == ("state", b"")
        link.unacknowledged = 0
        made._turn()
        assert [to for to, _ in link.published[before:]] == [TOPICS.device_topic("a", "d1")]

    asyncio.run(main())


def test_a_job_with_next_to_nothing_unacknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Acknowledgements come by reading: that must never depend on them."""
    monkeypatch.setattr(shell, "MAX_UNACKNOWLEDGED", 1)
    fleet = Fleet.make(tmp_path / "s.db", rounds=1)

    async def main(broker: Listening) -> None:
        async with server(fleet.store, broker):
            await run_clients(fleet, broker)

    with mosquitto(tmp_path / "broker") as broker:
        asyncio.run(main(broker))


async def answering(made: BridgeShell, port: int, connacks: list[bytes]) -> None:
    """Run the shell against a broker that gives these answers, one a connection, until the last is given."""
    stop, left = asyncio.Event(), list(connacks)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(left.pop(0))
        await writer.drain()
        if not left:
            stop.set()
            await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        await asyncio.wait_for(made.run(stop), 10.0)
    assert not left


def test_a_refusal_after_the_first_connection_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "FIRST_BACKOFF_SECONDS", 0.05)
    fleet, port = Fleet.make(tmp_path / "s.db"), free_port()
    made = BridgeShell(Bridge(fleet.store, BridgeSettings(TOPICS)), MqttSettings("bridge", port=port))
    asyncio.run(answering(made, port, [ACCEPTED, NOT_AUTHORIZED, NOT_AUTHORIZED, ACCEPTED]))


def test_a_refusal_of_the_first_connection_is_the_end(tmp_path: Path) -> None:
    fleet, port = Fleet.make(tmp_path / "s.db"), free_port()
    made = BridgeShell(Bridge(fleet.store, BridgeSettings(TOPICS)), MqttSettings("bridge", port=port))
    with pytest.raises(BrokerRefused, match="Check username"):
        asyncio.run(answering(made, port, [NOT_AUTHORIZED, ACCEPTED]))


@pytest.mark.parametrize("host", ["::1", 'br"oker\\x', "a\nport = 1", "a\x7f"])
def test_any_host_name_comes_back_from_the_file_it_was_written_to(tmp_path: Path, host: str) -> None:
    files = ServerFiles(tmp_path / "fleet")
    init_fleet(files, "t", BrokerAddress(host, 8883, True, False), accounts=False)
    assert (files.settings({}).broker.host, files.settings({}).broker.port) == (host, 8883)
