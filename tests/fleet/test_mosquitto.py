"""Password and ACL files, judged by Mosquitto itself."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gossamer.agent.config import load
from gossamer.errors import BrokerRefused, ConfigError
from gossamer.fleet import mosquitto as files_of_mosquitto
from gossamer.fleet.enrolment import BrokerAddress, DeviceSpec, enroll, init_fleet, revoke
from gossamer.fleet.server_files import ServerFiles
from gossamer.mqtt import MqttLink, MqttSettings
from gossamer.wire.topics import Topics
from tests.brokers import HOST, Listening, mosquitto
from tests.lab.namings import NAMINGS
from tests.test_mqtt import Recorder, pump

DEVICES = ("alice", "bob")
every_naming = pytest.mark.parametrize("topics", NAMINGS.values(), ids=NAMINGS, indirect=True)


@pytest.fixture
def topics(request: pytest.FixtureRequest) -> Topics:
    return getattr(request, "param", NAMINGS["default"])


@pytest.fixture
def files(tmp_path: Path, topics: Topics) -> ServerFiles:
    files = ServerFiles(tmp_path / "state")
    address = BrokerAddress(HOST, 1883, tls=False, insecure=False)
    init_fleet(files, topics.fleet, address, accounts=True, topics=topics)
    for name in DEVICES:
        enroll(files, DeviceSpec(name, "m:f", {}))
    return files


@pytest.fixture
def broker(files: ServerFiles, tmp_path: Path) -> Iterator[Listening]:
    with mosquitto(tmp_path / "broker", password_file=files.passwords, acl_file=files.rules) as listening:
        yield listening


Join = Callable[[MqttSettings], tuple[MqttLink, Recorder]]


@pytest.fixture
def join(broker: Listening) -> Iterator[Join]:
    links = []

    def connect(settings: MqttSettings) -> tuple[MqttLink, Recorder]:
        seen = Recorder()
        links.append(MqttLink(replace(settings, port=broker.port), seen))
        links[-1].connect()
        return links[-1], seen

    yield connect
    for link in links:
        link.disconnect()


def device(files: ServerFiles, name: str) -> MqttSettings:
    return load(files.device(name), {}).mqtt()


def server(files: ServerFiles) -> MqttSettings:
    return files.settings({}).mqtt()


def settle(*links: MqttLink) -> None:
    """Until the broker has answered everything that was asked of it."""
    for link in links:
        pump(link, lambda link=link: not link.wants_write() and not link.unacknowledged)


def test_who_may_connect(files: ServerFiles, join: Join) -> None:
    for settings in (device(files, "alice"), device(files, "bob"), server(files)):
        link, seen = join(settings)
        assert link.is_connected
        assert seen.names() == ["connected"]
    alice = device(files, "alice")
    bobs = device(files, "bob").password
    for wrong in (replace(alice, password="wrong"), replace(alice, password=bobs), replace(alice, username="carol"),
                  replace(alice, username=None, password=None)):  # fmt: skip
        with pytest.raises(BrokerRefused):
            join(wrong)


@every_naming
def test_a_device_speaks_for_itself_only(files: ServerFiles, join: Join, topics: Topics) -> None:
    bridge, seen = join(server(files))
    for kind in "us":
        bridge.subscribe(topics.subscription(kind))
    settle(bridge)
    alice, _ = join(device(files, "alice"))
    own = [topics.device_topic(kind, "alice") for kind in "us"]
    foreign = [topics.device_topic(kind, "bob") for kind in "us"]
    foreign += [topics.device_topic("a", "alice"), topics.device_topic("a", "bob")]
    foreign += [topics.shared_topic(kind) for kind in "mch"]
    spy, spied = join(device(files, "bob"))
    for topic in (topics.device_topic("a", "bob"), topics.shared_topic("m")):
        spy.subscribe(topic)
    settle(spy)
    for topic in (*foreign, *own):
        alice.publish(topic, topic.encode())
    settle(alice)
    # What is allowed was sent last: when it is here, what is not allowed would be.
    pump(bridge, lambda: len(seen.payloads()) >= 2)
    assert seen.payloads() == [topic.encode() for topic in own]
    bridge.publish(topics.shared_topic("m"), b"from the server")
    settle(bridge)
    pump(spy, lambda: spied.payloads())
    assert spied.payloads() == [b"from the server"]


@every_naming
def test_a_device_hears_what_is_its_own_only(files: ServerFiles, join: Join, topics: Topics) -> None:
    bridge, _ = join(server(files))
    bob, heard = join(device(files, "bob"))
    foreign = [topics.device_topic(kind, "alice") for kind in "uas"]
    for topic in ("#", *foreign, *map(topics.subscription, "uas"), topics.device_topic("a", "bob")):
        bob.subscribe(topic)
    settle(bob)
    pump(bob, lambda: not bob.wants_write())
    alice, _ = join(device(files, "alice"))
    for kind in "us":
        alice.publish(topics.device_topic(kind, "alice"), b"for the server")
    settle(alice)
    bridge.publish(topics.device_topic("a", "alice"), b"for alice")
    for kind in "mch":
        bridge.publish(topics.shared_topic(kind), b"for all")
    bridge.publish(topics.device_topic("a", "bob"), b"for bob")
    settle(bridge)
    pump(bob, lambda: b"for bob" in heard.payloads())
    assert set(heard.payloads()) == {b"for all", b"for bob"}


def test_a_revoked_device_cannot_connect(files: ServerFiles, broker: Listening, join: Join) -> None:
    alice = device(files, "alice")
    join(alice)[0].disconnect()
    revoke(files, "alice")
    broker.kill()
    broker.start()
    with pytest.raises(BrokerRefused):
        join(alice)
    assert join(device(files, "bob"))[0].is_connected
    assert "alice" not in files.passwords.read_text() + files.rules.read_text()


def test_enrolled_again_under_a_new_key_and_password(files: ServerFiles, broker: Listening, join: Join) -> None:
    before = load(files.device("alice"), {})
    texts = files.passwords.read_text(), files.rules.read_text(), files.device("alice").read_text()
    with pytest.raises(ConfigError, match="enrolled already"):
        enroll(files, DeviceSpec("alice", "m:f", {}))
    assert texts == (files.passwords.read_text(), files.rules.read_text(), files.device("alice").read_text())
    revoke(files, "alice")
    enroll(files, DeviceSpec("alice", "m:f", {}))
    after = load(files.device("alice"), {})
    assert after.device_index == before.device_index
    assert after.device_key != before.device_key
    assert after.broker.password != before.broker.password
    broker.kill()
    broker.start()
    assert join(after.mqtt())[0].is_connected
    with pytest.raises(BrokerRefused):
        join(before.mqtt())


def test_any_name_a_device_may_have_is_an_account(files: ServerFiles, broker: Listening, join: Join) -> None:
    names = ("urn:dev:mac:0024befffe804ff1", "urn:dev:mac:0024befffe804ff2", "a.b_c@d-e", "d" * 64)
    for name in names:
        enroll(files, DeviceSpec(name, "m:f", {}))
    broker.kill()
    broker.start()
    for name in names:
        assert join(device(files, name))[0].is_connected
    revoke(files, names[0])
    assert files.passwords.read_text().count("urn") == files.rules.read_text().count("user urn") == 1


def test_no_device_takes_the_servers_account(files: ServerFiles) -> None:
    before = files.passwords.read_text()
    with pytest.raises(ConfigError, match="choose another"):
        enroll(files, DeviceSpec("gossamer-server", "m:f", {}))
    assert files.passwords.read_text() == before


def test_only_the_owner_reads_the_files(files: ServerFiles) -> None:
    revoke(files, "bob")
    private = [files.passwords, files.rules, files.config, files.key, *files.directory.glob("devices/*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert not list(files.directory.rglob("*.partial"))
    for secret in (device(files, "alice").password, server(files).password):
        assert secret not in files.passwords.read_text()


def test_accounts_of_others_are_left_alone(files: ServerFiles) -> None:
    with files.passwords.open("a") as passwords, files.rules.open("a") as rules:
        passwords.write("grafana:$7$101$AA==$AA==\n")
        rules.write("\nuser grafana\ntopic read stats/#\n")
    revoke(files, "alice")
    enroll(files, DeviceSpec("alice", "m:f", {}))
    assert "grafana:$7$101$AA==$AA==\n" in files.passwords.read_text()
    assert "user grafana\ntopic read stats/#\n" in files.rules.read_text()
    assert files.rules.read_text().count("user alice\n") == 1


def test_the_hash_is_mosquittos_own() -> None:
    assert files_of_mosquitto.hashed("secret", bytes(12)).startswith("$7$101$AAAAAAAAAAAAAAAA$")
    assert files_of_mosquitto.hashed("secret") != files_of_mosquitto.hashed("secret")


def test_an_account_that_cannot_be_written_enrols_nobody(files: ServerFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(files_of_mosquitto, "set_rules", lambda *_: (_ for _ in ()).throw(OSError("no")))
        with pytest.raises(OSError, match="no"):
            enroll(files, DeviceSpec("carol", "m:f", {}))
    assert not files.device("carol").exists()
    enroll(files, DeviceSpec("carol", "m:f", {}))
    assert load(files.device("carol"), {}).device_index == len(DEVICES)
