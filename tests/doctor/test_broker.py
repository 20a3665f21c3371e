"""What a broker can refuse: certificates of every wrong kind, topics, packets, a server that is away."""

from __future__ import annotations

import datetime
import socket
import threading
import time
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gossamer.agent.config import load
from gossamer.doctor import broker, conversation, device
from gossamer.doctor.certificate import Certificate, Shaken, check_tls, judge
from gossamer.doctor.finding import Level
from gossamer.doctor.packets import Granted
from gossamer.mqtt import MqttSettings, TlsSettings
from gossamer.wire.codes import Reason
from tests.brokers import HOST, mosquitto

from .site import SOON, Site, by_name, failing, site

DAY = 86_400.0


def certificate(directory: Path, *, host: str = HOST, begins: float = -1.0, ends: float = 90.0) -> tuple[Path, Path]:
    """A certificate for an address that is its own authority, valid from and until so many days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a broker")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=begins)).not_valid_after(now + datetime.timedelta(days=ends))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = directory / f"{begins}{ends}{host}.crt", directory / f"{begins}{ends}{host}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return paths


@pytest.mark.parametrize(
    ("wrong", "level", "words", "mend"),
    [
        ({}, Level.OK, "certificate of 127.0.0.1, valid until", ""),
        ({"ends": 5.0}, Level.WARN, "5 days", "renew"),
        ({"begins": -9.0, "ends": -2.0}, Level.FAIL, "certificate ended", "renew the broker's certificate"),
        ({"begins": 2.0}, Level.FAIL, "certificate begins", "clock"),
        ({"host": "10.9.8.7"}, Level.FAIL, "is of 10.9.8.7, not of 127.0.0.1", "broker.host"),
    ],
    ids=["good", "ends-soon", "expired", "not-yet", "other-name"],
)
def test_certificates(tmp_path: Path, wrong: dict[str, object], level: Level, words: str, mend: str) -> None:
    pem, key = certificate(tmp_path, **wrong)  # type: ignore[arg-type]
    with mosquitto(tmp_path / "broker", lines=(f"certfile {pem}", f"keyfile {key}")) as listening:
        settings = MqttSettings("d", port=listening.port, tls=TlsSettings(pem))
        found = check_tls(settings, time.time())
    assert (found.level, words in found.found, mend in found.mend) == (level, True, True), found


def test_an_authority_that_did_not_sign_it_and_a_port_without_tls(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path)
    other, _ = certificate(tmp_path, ends=30.0)
    with mosquitto(tmp_path / "broker", lines=(f"certfile {pem}", f"keyfile {key}")) as listening:
        strange = check_tls(MqttSettings("d", port=listening.port, tls=TlsSettings(other)), time.time())
        system = check_tls(MqttSettings("d", port=listening.port, tls=TlsSettings()), time.time())
        plain = broker.log_in(MqttSettings("d", port=listening.port), broker.Heard())[0]
    for found in (strange, system):
        assert found.level is Level.FAIL
        assert "CN=a broker, unknown to ca_file" in found.found
        assert "broker.ca_file" in found.mend
    assert plain.level is Level.FAIL
    assert "TLS" in plain.found
    with mosquitto(tmp_path / "other") as listening:
        found = check_tls(MqttSettings("d", port=listening.port, tls=TlsSettings(pem)), time.time())
    assert found.level is Level.FAIL
    assert "8883" in found.mend


def test_a_broker_that_wants_client_certificates(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path)
    lines = (f"certfile {pem}", f"keyfile {key}", f"cafile {pem}", "require_certificate true")
    with mosquitto(tmp_path / "broker", lines=lines) as listening:
        settings = MqttSettings("d", port=listening.port, tls=TlsSettings(pem))
        steps = list(broker.reach(settings, time.time()))
        login, link = broker.log_in(settings, broker.Heard())
    # TLS 1.3 lets the client finish before it is refused: then CONNECT goes unanswered.
    assert link is None
    assert Level.FAIL in {login.level, steps[-1].level}


def test_a_handshake_that_failed_in_another_way() -> None:
    seen = Certificate(("b",), "CN=b", 0.0, 9e9)
    found = judge(Shaken(error="tlsv13 alert certificate required"), seen, "b", 1.0)
    assert "certificate_file" in found.mend


@pytest.fixture(scope="module")
def without_server(tmp_path_factory: pytest.TempPathFactory):
    lines = ("max_packet_size 2000",)
    with site(tmp_path_factory.mktemp("doctor") / "site", lines=lines, server=False) as made:
        yield made


def test_a_server_that_is_away_and_packets_that_are_too_large(without_server: Site, tmp_path: Path) -> None:
    settings = load(without_server.config(tmp_path / "a.toml", "pump-1", SOON), {})
    found = by_name(device._broker(replace(settings, chunk_bytes=4000), time.time(), []))
    assert found["broker topics"].level is Level.WARN
    assert "no answer, and the server has left no sign of itself" in found["broker topics"].found
    assert found["broker packet"].level is Level.FAIL
    assert "up to 2000 bytes; chunk_bytes is 4000" in found["broker packet"].found
    assert "chunk_bytes to 1800 or less" in found["broker packet"].mend
    assert failing(found) == {"broker packet"}
    smaller = broker.largest(settings.mqtt(), 1800, "chunk_bytes")
    assert smaller.level is Level.OK


@pytest.mark.parametrize(
    ("code", "up", "level", "words"),
    [
        (1, True, Level.OK, "0.25 s"),
        (Reason.UNKNOWN_DEVICE, True, Level.FAIL, "does not know this device"),
        (None, True, Level.FAIL, "writing g1/farm1/u/"),
        (None, False, Level.WARN, "says that it is away"),
        (None, None, Level.WARN, "has left no sign"),
    ],
)
def test_what_an_answer_means(code: int | None, up: bool | None, level: Level, words: str) -> None:
    from gossamer.wire.topics import Topics

    found = conversation.judge(conversation.Asked(code, 0.25, up, None), Topics("farm1"), "pump-1")
    assert found.level is level
    assert words in found.found


@pytest.mark.parametrize(
    ("reason", "mend"),
    [
        ("Not authorized", "username and password"),
        ("Bad user name or password", "username and password"),
        ("Protocol error", "broker.protocol"),
        ("Unsupported protocol version", "broker.protocol"),
    ],
)
def test_not_every_refusal_is_about_the_account(reason: str, mend: str) -> None:
    found, do = broker.refusal("user 'pump-1'", reason)
    assert found == f"user 'pump-1' is refused: {reason}"
    assert mend in do


def test_what_listens_there_may_be_no_broker() -> None:
    with socket.create_server((HOST, 0)) as web:
        hung_up = threading.Thread(target=lambda: web.accept()[0].close())
        hung_up.start()
        found, link = broker.log_in(MqttSettings("d", HOST, web.getsockname()[1]), broker.Heard())
        hung_up.join()
    assert link is None
    assert (found.level, "is it an MQTT broker" in found.found, "broker.port" in found.mend) == (Level.FAIL, True, True)


@pytest.mark.parametrize(
    ("granted", "level", "words"),
    [
        (Granted(subscribed=[1, 1]), Level.OK, "granted: a/+, b/+"),
        (Granted(subscribed=[1, 0x80]), Level.FAIL, "refused: b/+"),
        (Granted(subscribed=[0x87, 0x87]), Level.FAIL, "refused: a/+, b/+"),
        (Granted(subscribed=[1]), Level.FAIL, "no answer"),
        (Granted(refused="Not authorized"), Level.FAIL, "no answer"),
        (None, Level.FAIL, "no answer"),
    ],
)
def test_what_a_suback_means(granted: Granted | None, level: Level, words: str) -> None:
    found = broker.judge_subscriptions(("a/+", "b/+"), granted)
    assert (found.level, words in found.found) == (level, True)
