"""The server over real brokers: a small fleet of clients, a job from its first to its last round."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gossamer.aggregator.store import Store, rounds
from gossamer.broker_bridge.server import serve
from gossamer.broker_bridge.settings import BridgeSettings
from gossamer.compression.lattice import digest
from gossamer.compression.objects import apply_delta, decode_snapshot
from gossamer.errors import BrokerUnreachable, DiskFull
from gossamer.mqtt import MqttLink, MqttSettings
from gossamer.wire.codes import Code, JobState, Kind
from gossamer.wire.ids import object_id
from gossamer.wire.manifest import Manifest, verify_manifest
from gossamer.wire.messages import Birth, Chunk, Get, Offer, Receipt, Round, State, Status, parse
from gossamer.wire.transfer import Done, Keep, Need, Receiver, Send, Sender
from tests.aggregator.fleets import FLEET_KEY, Fleet
from tests.broker_bridge.desk import TOPICS
from tests.brokers import BROKERS, FAST_BROKERS, Listening, mosquitto

TIMEOUT = 30.0


class Client:
    """A device of the fewest lines: it follows manifests, fetches the model, sends its update."""

    def __init__(self, fleet: Fleet, name: str, mqtt: MqttSettings) -> None:
        self.fleet, self.name, self.link = fleet, name, MqttLink(mqtt, self)
        self.sender: Sender | None = None
        self.receiver: Receiver | None = None
        self.manifest: Manifest | None = None
        self.model: object = None
        self.digest = b""
        self.outcomes: list[Code | None] = []
        self.tokens: dict[int, int] = {}

    def run(self, until: float) -> None:
        """Blocking: until the job is finished."""
        while not self.finished and time.monotonic() < until:
            if not self.link.is_connected:
                with contextlib.suppress(BrokerUnreachable):
                    self.link.connect()
                time.sleep(0.02)
                continue
            self.link.on_readable()
            self.link.on_writable()
            self.link.tick()
            self.tick()
            time.sleep(0.002)
        self.link.disconnect()

    @property
    def finished(self) -> bool:
        done = self.manifest is not None and self.manifest.state is JobState.FINISHED
        return done and self.manifest is not None and self.digest == self.manifest.digest

    def connected(self, session_present: bool) -> None:
        self.link.subscribe(*(TOPICS.shared_topic(k) for k in "mch"), TOPICS.device_topic("a", self.name))
        self.link.publish(TOPICS.device_topic("s", self.name), Birth(1, 0).serialize())
        if self.sender is not None:
            self.send(self.sender.connected(time.monotonic()))

    def disconnected(self, reason: str) -> None:
        if self.sender is not None:
            self.sender.disconnected(time.monotonic())

    def puback(self, mid: int) -> None:
        if self.sender is not None and mid in self.tokens:
            self.send(self.sender.puback(self.tokens.pop(mid), time.monotonic()))

    def message(self, topic: str, payload: bytes, token: int) -> None:
        message, now = parse(payload), time.monotonic()
        if isinstance(message, Round):
            self.manifest = verify_manifest(FLEET_KEY.public_key(), message.cose, "t")
            self.follow()
        elif isinstance(message, (Offer, Chunk)) and self.manifest is not None:
            if isinstance(message, Offer):
                self.receiver = Receiver(message, patience=2.0)
                self.take(self.receiver.start(now))
            elif self.receiver is not None:
                self.take(self.receiver.chunk(message, now))
        elif isinstance(message, Status) and self.sender is not None:
            self.send(self.sender.status(message, now))
        elif isinstance(message, Receipt) and self.sender is not None:
            self.send(self.sender.receipt(message, now))

    def take(self, outputs: list[object]) -> None:
        for output in outputs:
            if isinstance(output, Need) and self.receiver is not None:
                self.up(Get(self.receiver.offer.object_id, output.missing).serialize())
            elif isinstance(output, Done) and self.receiver is not None and self.manifest is not None:
                ways = {way.object_id: way for way in self.manifest.ways}
                way = ways.get(self.receiver.offer.object_id)
                if way is not None:
                    delta = way.kind is Kind.DELTA
                    self.model = apply_delta(self.model, output.body) if delta else decode_snapshot(output.body, 300)  # type: ignore[arg-type]
                    self.digest = digest(self.model)  # type: ignore[arg-type]
                    self.train()
            else:
                assert isinstance(output, (Keep, Done))

    def follow(self) -> None:
        assert self.manifest is not None
        if self.digest == self.manifest.digest:
            self.train()
        elif self.manifest.state is JobState.FINISHED or self.name in self.fleet.cohort(self.manifest.round):
            snapshot = next(way for way in self.manifest.ways if way.kind is Kind.SNAPSHOT)
            self.up(Get(snapshot.object_id).serialize())

    def train(self) -> None:
        assert self.manifest is not None
        round_ = self.manifest.round
        if self.manifest.state is JobState.FINISHED or self.name not in self.fleet.cohort(round_):
            return
        body = self.fleet.body(self.name, round_)
        if self.sender is not None and self.sender.offer.object_id == object_id(body):
            return
        header = self.fleet.header(self.name, round_, body)
        self.sender = Sender(object_id(body), Kind.UPDATE, body, header, 60, status_timeout=1.0)
        self.send(self.sender.start(time.monotonic()))

    def tick(self) -> None:
        now = time.monotonic()
        if self.sender is not None:
            self.send(self.sender.tick(now))
            if self.sender.done and (not self.outcomes or self.outcomes[-1] is not self.sender):
                self.outcomes.append(self.sender)  # type: ignore[arg-type]
        if self.receiver is not None:
            self.take(self.receiver.tick(now))  # type: ignore[arg-type]

    def send(self, sends: list[Send]) -> None:
        for each in sends:
            mid = self.up(each.message.serialize())
            if mid:
                self.tokens[mid] = each.token

    def up(self, payload: bytes) -> int:
        try:
            return self.link.publish(TOPICS.device_topic("u", self.name), payload)
        except BrokerUnreachable:
            return 0


@contextlib.asynccontextmanager
async def server(store: Store, broker: Listening, *, key: bool = True, bridge: bool = True) -> AsyncIterator[None]:
    stop = asyncio.Event()
    settings = BridgeSettings(TOPICS, chunk_bytes=100, coalesce_seconds=0.05, poll_seconds=0.05)
    task = asyncio.ensure_future(
        serve(
            store,
            stop,
            key=FLEET_KEY if key else None,
            mqtt=broker.settings("bridge", clean=False) if bridge else None,
            bridge=settings,
            poll_seconds=0.05,
        )
    )
    try:
        yield
    finally:
        began = time.monotonic()
        stop.set()
        await task
        assert time.monotonic() - began < 2.0


async def run_clients(fleet: Fleet, broker: Listening) -> list[Client]:
    clients = [Client(fleet, name, broker.settings(name)) for name in fleet.names]
    until = time.monotonic() + TIMEOUT
    await asyncio.gather(*(asyncio.to_thread(client.run, until) for client in clients))
    assert all(client.finished for client in clients)
    return clients


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return Fleet.make(tmp_path_factory.mktemp("plain") / "s.db", rounds=3).run()


@pytest.mark.parametrize("kind", FAST_BROKERS)
def test_a_job_over_a_real_broker(tmp_path: Path, kind: str, expected: bytes) -> None:
    fleet = Fleet.make(tmp_path / "s.db", rounds=3)

    async def main(broker: Listening) -> list[Client]:
        async with server(fleet.store, broker):
            return await run_clients(fleet, broker)

    with BROKERS[kind](tmp_path / "broker") as broker:
        clients = asyncio.run(main(broker))
    assert {client.digest for client in clients} == {expected}
    assert all(each.outcome is Code.COUNTED for client in clients for each in client.outcomes)  # type: ignore[union-attr]


def test_bridge_and_aggregator_apart_on_one_store(tmp_path: Path, expected: bytes) -> None:
    fleet = Fleet.make(tmp_path / "s.db", rounds=3)
    other = Store.open(tmp_path / "s.db")

    async def main(broker: Listening) -> None:
        async with server(fleet.store, broker, key=False), server(other, broker, bridge=False):
            await run_clients(fleet, broker)

    with mosquitto(tmp_path / "broker") as broker:
        asyncio.run(main(broker))
    assert fleet.manifest().digest == expected


def test_server_and_broker_are_killed_and_started_again(tmp_path: Path, expected: bytes) -> None:
    fleet = Fleet.make(tmp_path / "s.db", rounds=3)

    async def main(broker: Listening) -> None:
        running = asyncio.ensure_future(run_clients(fleet, broker))
        for turn in range(6):
            async with server(fleet.store, broker):
                await asyncio.sleep(0.15)
                if turn % 2:
                    await asyncio.to_thread(broker.kill)
                    await asyncio.to_thread(broker.start)
                    await asyncio.sleep(0.15)
        async with server(fleet.store, broker):
            await running

    with mosquitto(tmp_path / "broker") as broker:
        asyncio.run(main(broker))
    assert fleet.manifest().digest == expected
    with fleet.store.read() as db:
        assert len(rounds.every(db, 1)) == 4


def test_a_broker_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gossamer.broker import free_port
    from gossamer.broker_bridge.bridge import Bridge
    from gossamer.broker_bridge.shell import BridgeShell

    fleet = Fleet.make(tmp_path / "s.db")

    async def main() -> None:
        mqtt = MqttSettings("bridge", port=free_port())
        shell = BridgeShell(Bridge(fleet.store, BridgeSettings(TOPICS)), mqtt, give_up_seconds=0.3)
        await shell.run(asyncio.Event())

    with pytest.raises(BrokerUnreachable, match=r"no broker answers at 127\.0\.0\.1"):
        asyncio.run(main())


SCRIPT = """
import sys
from pathlib import Path
from gossamer.aggregator.store import Store
from gossamer.broker_bridge.server import run_server
from gossamer.broker_bridge.settings import BridgeSettings
from gossamer.errors import GossamerError
from gossamer.mqtt import MqttSettings
from gossamer.wire.topics import Topics
from tests.aggregator.fleets import FLEET_KEY

try:
    mqtt = MqttSettings("bridge", port=int(sys.argv[2]))
    run_server(Store.open(Path(sys.argv[1])), key=FLEET_KEY, mqtt=mqtt, bridge=BridgeSettings(Topics("t")))
except GossamerError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def start_server(store: Path, port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(store), str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_sigterm_ends_the_process_and_says_goodbye(tmp_path: Path) -> None:
    Fleet.make(tmp_path / "s.db").store.close()
    states: list[State] = []

    class Listener:
        def connected(self, session_present: bool) -> None:
            link.subscribe(TOPICS.shared_topic("h"))

        def message(self, topic: str, payload: bytes, token: int) -> None:
            message = parse(payload)
            assert isinstance(message, State)
            states.append(message)

        def puback(self, mid: int) -> None: ...

        def disconnected(self, reason: str) -> None: ...

    def wait(count: int) -> None:
        until = time.monotonic() + 10.0
        while len(states) < count and time.monotonic() < until:
            link.on_readable()
            link.on_writable()
            time.sleep(0.005)

    with mosquitto(tmp_path / "broker") as broker:
        link = MqttLink(broker.settings("listener"), Listener())
        link.connect()
        with start_server(tmp_path / "s.db", broker.port) as process:
            wait(1)
            began = time.monotonic()
            process.terminate()
            assert process.wait(5.0) == 0
            assert time.monotonic() - began < 2.0
        wait(2)
        with start_server(tmp_path / "s.db", broker.port) as process:
            wait(3)
            process.kill()  # no goodbye: the broker sends the will
        wait(4)
        link.disconnect()
    assert states == [State(1, 1), State(1, 0), State(2, 1), State(2, 0)]


def test_a_full_disk_ends_the_process_with_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet.make(tmp_path / "s.db")

    def full(*_: object, **__: object) -> None:
        raise DiskFull("no space left for the store; free some, nothing was lost")

    async def main(broker: Listening) -> None:
        stop = asyncio.Event()
        await serve(fleet.store, stop, key=FLEET_KEY, mqtt=broker.settings("b"), bridge=BridgeSettings(TOPICS))

    monkeypatch.setattr(rounds, "open_round", full)
    with mosquitto(tmp_path / "broker") as broker, pytest.raises(DiskFull, match="free some"):
        asyncio.run(main(broker))
