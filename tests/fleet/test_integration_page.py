"""``docs/integration.md`` and ``deploy/mosquitto``: settings read by the real loaders, files by Mosquitto itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer.agent.config import AgentSettings, parse
from gossamer.errors import BrokerRefused
from gossamer.fleet import mosquitto as files_of_mosquitto
from gossamer.fleet.server_files import ServerFiles, ServerSettings
from gossamer.mqtt import MqttLink, MqttSettings, TlsSettings
from gossamer.settings import parse_toml
from gossamer.wire.limits import MAX_MESSAGE_BYTES
from gossamer.wire.topics import Topics
from tests.brokers import HOST, mosquitto_of, self_signed
from tests.lab.namings import NAMINGS
from tests.test_mqtt import Recorder, pump

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "integration.md").read_text()
SNIPPETS = re.findall(r"```toml\n# (server\.toml|agent)\n(.*?)```", PAGE, re.DOTALL)
TOPICS = Topics("farm1")


def with_files(text: str, directory: Path) -> str:
    """The snippet with its certificates where there are some."""
    for name in re.findall(r'"/etc/gossamer/([^"]+)"', text):
        (directory / name).touch()
    return text.replace("/etc/gossamer", str(directory))


def agent(text: str, directory: Path) -> AgentSettings:
    identity = {
        "fleet": "farm1", "device_id": "pump-17", "device_index": 0, "device_key": "1" * 64, "state_dir": "state",
        "fleet_public_key": "2" * 64, "trainer": "m:f",
    }  # fmt: skip
    return parse({**identity, **parse_toml(with_files(text, directory))}, directory, {})


def server(text: str, directory: Path) -> ServerSettings:
    (directory / "server.toml").write_text(with_files(text, directory))
    return ServerFiles(directory).settings({})


@pytest.mark.parametrize(("kind", "text"), SNIPPETS, ids=range(len(SNIPPETS)))
def test_every_snippet_is_read(kind: str, text: str, tmp_path: Path) -> None:
    settings = agent(text, tmp_path) if kind == "agent" else server(text, tmp_path)
    mqtt = settings.mqtt()
    mqtt.check()
    assert mqtt.tls is not None
    if "amazonaws" in text or "azure" in text:
        assert mqtt.keepalive_seconds <= 1160


def test_the_page_has_all_of_them() -> None:
    for broker in ("Mosquitto", "EMQX", "HiveMQ", "NATS", "RabbitMQ", "AWS IoT Core", "Azure Event Grid"):
        assert re.search(rf"^## .*{broker}", PAGE, re.MULTILINE), broker
    assert len(SNIPPETS) == PAGE.count("```toml") == 9


def test_the_namings_are_those_that_run() -> None:
    for topics in NAMINGS.values():
        if topics != NAMINGS["default"]:
            assert f"`{topics.shared}` | `{topics.device}`" in PAGE
    lengths = [len(NAMINGS[name].device_topic("u", "pump-7")) for name in ("aws", "default")]
    assert "takes {} bytes for `pump-7` where the default takes {}".format(*lengths) in PAGE


def test_the_figures_of_the_page_are_those_of_the_code() -> None:
    assert f"at most {MAX_MESSAGE_BYTES:,} bytes" in PAGE
    limit = re.search(r"message_size_limit (\d+)", (ROOT / "deploy/mosquitto/mosquitto.conf").read_text())
    assert limit is not None
    assert int(limit[1]) >= MAX_MESSAGE_BYTES


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, MqttSettings]]:
    """Mosquitto with the files of deploy/mosquitto, paths and port changed; an account for each of three."""
    path = tmp_path_factory.mktemp("deployed")
    certificate, key = self_signed(path)
    passwords = {name: f"password of {name}" for name in ("alice", "bob", "gossamer-server")}
    for name, password in passwords.items():
        files_of_mosquitto.set_password(path / "passwords", name, password)
    text = (ROOT / "deploy/mosquitto/mosquitto.conf").read_text()
    acl = path / "acl"
    acl.write_text((ROOT / "deploy/mosquitto/gossamer.acl").read_text())
    acl.chmod(0o600)
    changes = {
        "/etc/mosquitto/certs/broker.crt": certificate, "/etc/mosquitto/certs/broker.key": key,
        "/srv/gossamer/mosquitto/passwords": path / "passwords", "/etc/mosquitto/gossamer.acl": acl,
        "/var/lib/mosquitto/": f"{path}/",
    }  # fmt: skip
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, str(new))
    with mosquitto_of(text, 8883, path) as port:
        tls = TlsSettings(ca_file=certificate)
        yield {
            name: MqttSettings(name, HOST, port, username=name, password=password, tls=tls)
            for name, password in passwords.items()
        }
    log = (path / "mosquitto.log").read_text()
    assert "Error" not in log
    warnings = [line for line in log.splitlines() if "Warning" in line and "as root" not in line]
    assert all("ACL pattern 'g1/farm1/" in line for line in warnings), warnings  # as the file itself says


def test_the_deployed_broker_lets_everybody_do_their_own(deployed: dict[str, MqttSettings]) -> None:
    seen = {name: Recorder() for name in deployed}
    links = {name: MqttLink(settings, seen[name]) for name, settings in deployed.items()}
    for name, link in links.items():
        link.connect()
        own = [TOPICS.device_topic("a", name), *map(TOPICS.shared_topic, "mch")]
        link.subscribe("#", *(map(TOPICS.subscription, "us") if name == "gossamer-server" else own))
        pump(link, lambda link=link: link.account().down["subscribe"])
    for topic in (
        *(TOPICS.device_topic(kind, "bob") for kind in "uas"), *map(TOPICS.shared_topic, "mch"),
        TOPICS.device_topic("a", "alice"), *(TOPICS.device_topic(kind, "alice") for kind in "us"),
    ):  # fmt: skip
        links["alice"].publish(topic, topic.encode())
    links["gossamer-server"].publish(TOPICS.device_topic("a", "alice"), bytes(MAX_MESSAGE_BYTES))
    for name in ("bob", "alice"):
        links["gossamer-server"].publish(TOPICS.shared_topic("m"), name.encode())
    for link in links.values():
        pump(link, lambda link=link: not link.unacknowledged and not link.wants_write())
    pump(links["bob"], lambda: b"alice" in seen["bob"].payloads())
    pump(links["alice"], lambda: b"alice" in seen["alice"].payloads())
    pump(links["gossamer-server"], lambda: len(seen["gossamer-server"].payloads()) >= 2)
    own = [TOPICS.device_topic(kind, "alice").encode() for kind in "us"]
    assert [each for each in seen["gossamer-server"].payloads() if each in own] == own
    assert set(seen["gossamer-server"].payloads()) <= {*own, b"bob", b"alice"}
    assert set(seen["bob"].payloads()) == {b"bob", b"alice"}
    assert set(seen["alice"].payloads()) == {bytes(MAX_MESSAGE_BYTES), b"bob", b"alice"}
    for link in links.values():
        link.disconnect()


def test_the_deployed_broker_refuses_strangers(deployed: dict[str, MqttSettings]) -> None:
    alice = deployed["alice"]
    for username, password in ((None, None), ("alice", "wrong"), ("carol", alice.password)):
        settings = MqttSettings("x", HOST, alice.port, username=username, password=password, tls=alice.tls)
        with pytest.raises(BrokerRefused):
            MqttLink(settings, Recorder()).connect()
