"""One MQTT connection for an application and its agent, over real brokers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from gossamer import Agent
from gossamer.agent.store import read_ledger
from gossamer.errors import InputError
from gossamer.mqtt.link import _Client as MeteredClient
from gossamer.mqtt.sockets import open_socket
from gossamer.wire import messages as msg
from tests.agent.server_side import ServerSide
from tests.agent.test_service import Bridge, configuration, undisturbed_bodies
from tests.brokers import BROKERS, HOST, Listening

from .scripts import python, write

OWN = "pump/17/pressure"


@dataclass
class Application:
    """What a device does anyway: it publishes, listens to everything of its own, and knows its connection."""

    port: int
    version: CallbackAPIVersion = CallbackAPIVersion.VERSION2
    protocol: int = paho.MQTTv311
    heard: list[bytes] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    connects: int = 0
    disconnects: int = 0
    published: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.client = paho.Client(self.version, client_id="application", protocol=self.protocol)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = self.on_connect
        self.client.on_disconnect = self.on_disconnect
        self.client.on_message = self.on_message
        self.client.on_publish = self.on_publish

    def on_connect(self, client: paho.Client, *_: Any) -> None:
        self.connects += 1
        client.subscribe(OWN, 1)

    def on_disconnect(self, *_: Any) -> None:
        self.disconnects += 1

    def on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        (self.heard if message.topic == OWN else self.strange).append(
            message.payload if message.topic == OWN else message.topic
        )

    def on_publish(self, _client: Any, _userdata: Any, mid: int, *_: Any) -> None:
        self.published.add(mid)

    def own_traffic_goes_on(self, bridge: Bridge) -> None:
        payload = str(time.monotonic()).encode()
        info = self.client.publish(OWN, payload, 1)
        bridge.serve(lambda: payload in self.heard and info.mid in self.published)


def driven(application: Application) -> Callable[[], None]:
    """Drive the client as an application without threads does: ``loop`` again and again, in a thread here."""
    ended = threading.Event()

    def drive() -> None:
        while not ended.is_set():
            if application.client.loop(0.05) != paho.MQTT_ERR_SUCCESS and not ended.is_set():
                time.sleep(0.05)
                try:
                    application.client.reconnect()
                except OSError:
                    continue

    thread = threading.Thread(target=drive)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join(10)

    return end


@contextmanager
def running(application: Application, how: str) -> Iterator[None]:
    client = application.client
    client.connect(HOST, application.port, 60)
    if how == "loop_start":
        client.loop_start()
        end: Callable[[], Any] = client.loop_stop
    elif how == "loop_forever":
        thread = threading.Thread(target=client.loop_forever)
        thread.start()
        end = thread.join
    else:
        end = driven(application)
    try:
        yield
    finally:
        client.disconnect()
        end()


@pytest.fixture(params=["mosquitto", pytest.param("embedded", marks=pytest.mark.system)])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listening]:
    with BROKERS[request.param](tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Listening]:
    with BROKERS["mosquitto"](tmp_path / "broker") as broker:
        yield broker


@contextmanager
def bridging(listening: Listening, **server: Any) -> Iterator[Bridge]:
    bridge = Bridge(listening, ServerSide(**server))
    bridge.announce()
    try:
        yield bridge
    finally:
        bridge.link.disconnect()


@pytest.mark.parametrize(
    ("how", "version", "protocol"),
    [
        ("loop_start", CallbackAPIVersion.VERSION2, paho.MQTTv311),
        ("loop_forever", CallbackAPIVersion.VERSION1, paho.MQTTv311),
        ("loop", CallbackAPIVersion.VERSION2, paho.MQTTv5),
        pytest.param("loop_start", CallbackAPIVersion.VERSION1, paho.MQTTv5, marks=pytest.mark.system),
    ],
)
@pytest.mark.filterwarnings("ignore:Callback API version 1:DeprecationWarning")
def test_rounds_beside_the_applications_own_traffic(
    tmp_path: Path, mosquitto: Listening, how: str, version: CallbackAPIVersion, protocol: int
) -> None:
    application = Application(mosquitto.port, version, protocol)
    hooks = [application.client.on_connect, application.client.on_publish]
    agent = Agent(configuration(tmp_path, 1), client=application.client)  # port 1: its own broker is not used
    with bridging(mosquitto) as bridge, running(application, how):
        with agent:
            for number in range(2):
                bridge.serve(lambda number=number: number in bridge.server.counted)
                application.own_traffic_goes_on(bridge)
                bridge.server.advance()
                bridge.announce()
            bridge.serve(lambda: 2 in bridge.server.counted)
        bridge.serve(lambda: bridge.births[-1:] == [msg.Death(1).serialize()])
        application.own_traffic_goes_on(bridge)  # it goes on without the agent
        assert [application.client.on_connect, application.client.on_publish] == hooks
        bridge.announce()
        application.own_traffic_goes_on(bridge)
    assert list(bridge.server.counted.values()) == undisturbed_bodies(3)
    assert application.connects == 1
    assert application.strange == []  # none of our messages came to the application


def test_the_connection_breaks_in_the_middle_of_an_upload(
    tmp_path: Path, listening: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gossamer.agent")
    application = Application(listening.port)
    log: list[bytes] = []
    with bridging(listening, codec="fp32", chunk_bytes=64) as bridge, running(application, "loop_start"):
        agent = Agent(configuration(tmp_path, 1, window_chunks=1), client=application.client)
        real = bridge.server.handle

        def handle(payload: bytes) -> Any:
            if isinstance(msg.parse(payload), msg.Chunk):
                log.append(payload)
                if len(log) == 2:  # of five: the application's connection is cut, not by its will
                    application.client.socket().shutdown(2)
            return real(payload)

        bridge.server.handle = handle  # type: ignore[method-assign]
        with agent:
            bridge.serve(lambda: 0 in bridge.server.counted)
            bridge.serve(lambda: application.connects == 2)
            application.own_traffic_goes_on(bridge)
            bridge.server.advance()
            bridge.announce()
            bridge.serve(lambda: caplog.text.count("update counted") == 2)
    assert application.disconnects == 2
    assert caplog.text.count("the application's client has lost its connection") == 1
    assert list(bridge.server.counted) == [0, 1]
    counters = read_ledger(tmp_path / "state").counters
    assert counters["rounds_counted"] == 2
    # Only what was missing was sent again: each of the pieces once, and at most the one on its way twice.
    assert len(set(log)) <= len(log) <= len(set(log)) + 1


def test_the_application_comes_later_and_the_broker_dies_meanwhile(tmp_path: Path, mosquitto: Listening) -> None:
    application = Application(mosquitto.port)
    agent = Agent(configuration(tmp_path, 1, give_up_seconds=0.1), client=application.client)
    agent.start()
    time.sleep(0.5)
    assert agent.is_running  # patient: to connect is the application's business
    with bridging(mosquitto) as bridge, running(application, "loop_start"):
        bridge.serve(lambda: 0 in bridge.server.counted)
        birth = msg.parse(bridge.births[0])
        assert isinstance(birth, msg.Birth)
        assert birth.boot == 1  # and was not attempted over and over
        mosquitto.kill()
        mosquitto.start()
        bridge.link.abort("the broker died")
        bridge.reconnect()
        bridge.server.advance()
        bridge.serve(lambda: 1 in bridge.server.counted)
        agent.stop()


def test_callbacks_that_the_application_sets_anew(tmp_path: Path, mosquitto: Listening) -> None:
    """Ours are gone then: what they tell is looked for at every tick."""
    application = Application(mosquitto.port)
    with bridging(mosquitto) as bridge, running(application, "loop_start"):
        with Agent(configuration(tmp_path, 1), client=application.client):
            bridge.serve(lambda: 0 in bridge.server.counted)
            connected = application.connects
            application.client.on_connect = application.on_connect
            application.client.on_disconnect = None
            application.client.on_publish = application.on_publish
            application.client.socket().shutdown(2)
            bridge.serve(lambda: application.connects > connected)
            bridge.server.advance()
            bridge.announce()
            bridge.serve(lambda: 1 in bridge.server.counted)
        assert application.client.on_connect == application.on_connect


def test_an_asyncio_application(tmp_path: Path, mosquitto: Listening) -> None:
    """Everything that touches the client happens in the loop's thread, by ``call``."""
    application = Application(mosquitto.port)
    client, threads = application.client, set()

    async def main(bridge: Bridge) -> None:
        loop = asyncio.get_running_loop()
        client.on_socket_open = lambda _c, _u, sock: loop.add_reader(sock, client.loop_read)
        client.on_socket_close = lambda _c, _u, sock: loop.remove_reader(sock)
        client.on_socket_register_write = lambda _c, _u, sock: (
            threads.add(threading.get_ident()), loop.add_writer(sock, client.loop_write)
        )  # fmt: skip
        client.on_socket_unregister_write = lambda _c, _u, sock: loop.remove_writer(sock)
        client.connect(HOST, mosquitto.port, 60)
        with Agent(configuration(tmp_path, 1), client=client, call=loop.call_soon_threadsafe) as agent:
            await asyncio.to_thread(bridge.serve, lambda: 0 in bridge.server.counted)
            await asyncio.to_thread(agent.stop)
        await asyncio.to_thread(bridge.serve, lambda: bridge.births[-1:] == [msg.Death(1).serialize()])
        client.disconnect()

    with bridging(mosquitto) as bridge:
        asyncio.run(main(bridge))
    assert threads == {threading.get_ident()}


def test_what_is_counted_is_what_passed(tmp_path: Path, mosquitto: Listening) -> None:
    """Beside a socket that counts: the application itself sends nothing but its connection's own packets."""
    settings = mosquitto.settings("application")
    sock = open_socket(settings, None, None, time.monotonic() + 10, lambda: False)
    client = MeteredClient(sock, CallbackAPIVersion.VERSION2, client_id="application")
    client.connect(HOST, mosquitto.port, 60)
    client.loop_start()
    with bridging(mosquitto) as bridge:
        agent = Agent(configuration(tmp_path, 1), client=client)
        with agent:
            bridge.serve(lambda: 0 in bridge.server.counted)
            bridge.server.advance()
            bridge.announce()
            bridge.serve(lambda: 1 in bridge.server.counted)
        bridge.serve(lambda: bridge.births[-1:] == [msg.Death(1).serialize()])
        client.disconnect()
        client.loop_stop()
    (month,) = read_ledger(tmp_path / "state").months.values()
    passed = sock.account()
    up, down = month["up"], month["down"]
    assert up["payload"] + up["publish"] == passed.up["publish"]
    assert up["subscribe"] == passed.up["subscribe"]
    assert down["subscribe"] == passed.down["subscribe"]
    assert down["payload"] + down["publish"] <= passed.down["publish"]
    assert passed.down["publish"] - down["payload"] - down["publish"] < 200  # what came after the agent's end
    assert set(up) == {"payload", "publish", "puback", "subscribe"}  # of the application's connection, nothing


def test_a_loop_that_ends_before_the_agent(tmp_path: Path, mosquitto: Listening) -> None:
    """`call` raises then, as asyncio's does; the agent waits, and stops when it is told to."""
    application, ended = Application(mosquitto.port), threading.Event()

    def call(function: Callable[[], None]) -> None:
        if ended.is_set():
            raise RuntimeError("Event loop is closed")
        function()

    with bridging(mosquitto) as bridge, running(application, "loop_start"):
        agent = Agent(configuration(tmp_path, 1), client=application.client, call=call)
        with agent:
            bridge.serve(lambda: 0 in bridge.server.counted)
            ended.set()
            bridge.server.advance()
            bridge.announce()
            application.own_traffic_goes_on(bridge)
            assert agent.is_running
        assert agent.error is None


def test_one_agent_for_one_client(tmp_path: Path, mosquitto: Listening) -> None:
    application = Application(mosquitto.port)
    config = configuration(tmp_path, 1)
    second = tmp_path / "second.toml"
    second.write_text(config.read_text().replace('"state"', '"second"'))
    with running(application, "loop_start"):
        with Agent(config, client=application.client):
            other = Agent(second, client=application.client)
            end = time.monotonic() + 10
            while other.error is None and time.monotonic() < end:  # until the first one has it
                with contextlib.suppress(InputError):
                    other.stop()
                other.start()
                time.sleep(0.2)
            with pytest.raises(InputError, match="one client for each"):
                other.stop()
        with Agent(second, client=application.client) as third:  # it is free again
            time.sleep(0.3)
            assert third.is_running


def test_what_is_no_client() -> None:
    with pytest.raises(InputError, match=r"expected a paho\.mqtt"):
        Agent("a.toml", client=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="belongs to client"):
        Agent("a.toml", call=print)


APPLICATION = """
import sys
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from gossamer import Agent
from tests.agent.tiny import make

if __name__ == "__main__":
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="application")
    client.connect("127.0.0.1", int(sys.argv[1]), 60)
    client.loop_start()
    Agent("agent.toml", make, client=client).run()
    client.disconnect()
    client.loop_stop()
    print("ended")
"""


@pytest.mark.system
def test_an_application_that_is_killed_at_random(tmp_path: Path, mosquitto: Listening) -> None:
    """With its agent in it: every round is counted once, and is what it would have been."""
    configuration(tmp_path, 1)
    write(tmp_path, APPLICATION, "application.py")
    with bridging(mosquitto) as bridge:
        server = bridge.server
        for pause in (0.7, 1.1, 0.9, 1.4, 1.2):
            process = python("application.py", str(mosquitto.port), cwd=tmp_path)
            end = time.monotonic() + pause
            bridge.serve(lambda end=end: time.monotonic() > end)
            process.kill()
            process.communicate()
            if server.round in server.counted and server.round < 2:  # the last round is for one that is not killed
                server.advance()
                bridge.announce()
        process = python("application.py", str(mosquitto.port), cwd=tmp_path)
        while server.round < 3 or 3 not in server.counted:
            bridge.serve(lambda: server.round in server.counted)
            if server.round < 3:
                server.advance()
                bridge.announce()
        process.send_signal(signal.SIGTERM)
        out, log = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, "ended\n"), log
    assert list(server.counted.values()) == undisturbed_bodies(4)
